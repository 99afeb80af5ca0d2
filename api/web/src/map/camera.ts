/**
 * What part of the world the canvas shows.
 *
 * In:    a centre and a zoom (256 CSS pixels hold the world at zoom 0); the free part of the view.
 * Out:   world units to CSS pixels and back.
 * Never: leaves the zooms between 7 and 18, or Rwanda's neighbourhood.
 */
import { latOf, lonOf, worldX, worldY, type Point } from '../lib/geo.ts';

export interface Padding {
  top: number;
  right: number;
  bottom: number;
  left: number;
}

export const ZOOM_MIN = 7;
export const ZOOM_MAX = 18;
const NONE: Padding = { top: 0, right: 0, bottom: 0, left: 0 };
/** 1° beyond the country on every side: panning ends there. */
const EDGE = { west: worldX(27.8), east: worldX(31.9), north: worldY(0), south: worldY(-3.9) };

export class Camera {
  x = worldX(29.92);
  y = worldY(-1.94);
  zoom = 8;
  width = 1;
  height = 1;
  padding: Padding = NONE;

  scale(): number {
    return 256 * 2 ** this.zoom;
  }

  /** The middle of the part of the view that nothing covers, in CSS pixels. */
  middle(): [number, number] {
    const { padding: p } = this;
    return [(p.left + this.width - p.right) / 2, (p.top + this.height - p.bottom) / 2];
  }

  screenX(x: number): number {
    return (x - this.x) * this.scale() + this.middle()[0];
  }

  screenY(y: number): number {
    return (y - this.y) * this.scale() + this.middle()[1];
  }

  screen(p: Point): [number, number] {
    return [this.screenX(worldX(p.lon)), this.screenY(worldY(p.lat))];
  }

  point(sx: number, sy: number): Point {
    const [mx, my] = this.middle();
    return {
      lon: lonOf(this.x + (sx - mx) / this.scale()),
      lat: latOf(this.y + (sy - my) / this.scale()),
    };
  }

  panBy(dx: number, dy: number): void {
    this.x = clamp(this.x - dx / this.scale(), EDGE.west, EDGE.east);
    this.y = clamp(this.y - dy / this.scale(), EDGE.north, EDGE.south);
  }

  /** Zooms so that the world under a point of the screen stays there. */
  zoomAt(zoom: number, sx: number, sy: number): void {
    const [mx, my] = this.middle();
    const wx = this.x + (sx - mx) / this.scale();
    const wy = this.y + (sy - my) / this.scale();
    this.zoom = clamp(zoom, ZOOM_MIN, ZOOM_MAX);
    this.x = clamp(wx - (sx - mx) / this.scale(), EDGE.west, EDGE.east);
    this.y = clamp(wy - (sy - my) / this.scale(), EDGE.north, EDGE.south);
  }

  /** The view that holds all points with a margin, no closer than `zoomMax`. */
  fit(points: readonly Point[], marginPx: number, zoomMax: number): View {
    const xs = points.map((p) => worldX(p.lon));
    const ys = points.map((p) => worldY(p.lat));
    const [x0, x1] = [Math.min(...xs), Math.max(...xs)];
    const [y0, y1] = [Math.min(...ys), Math.max(...ys)];
    const { padding: p } = this;
    const free = (size: number, used: number): number => Math.max(80, size - used - 2 * marginPx);
    const wide = free(this.width, p.left + p.right) / Math.max(x1 - x0, 1e-12);
    const high = free(this.height, p.top + p.bottom) / Math.max(y1 - y0, 1e-12);
    const zoom = clamp(Math.log2(Math.min(wide, high) / 256), ZOOM_MIN, zoomMax);
    return { x: (x0 + x1) / 2, y: (y0 + y1) / 2, zoom };
  }

  view(): View {
    return { x: this.x, y: this.y, zoom: this.zoom };
  }

  look(view: View): void {
    this.x = view.x;
    this.y = view.y;
    this.zoom = view.zoom;
  }

  /** True while a point is well inside the free part of the view. */
  holds(p: Point, marginPx: number): boolean {
    const [sx, sy] = this.screen(p);
    const { padding } = this;
    return (
      sx > padding.left + marginPx &&
      sx < this.width - padding.right - marginPx &&
      sy > padding.top + marginPx &&
      sy < this.height - padding.bottom - marginPx
    );
  }
}

export interface View {
  x: number;
  y: number;
  zoom: number;
}

/** Between two views; zoom changes by ratio, so that a long glide feels even. */
export function blend(a: View, b: View, share: number): View {
  const eased = share < 0.5 ? 4 * share ** 3 : 1 - (-2 * share + 2) ** 3 / 2;
  const mix = (p: number, q: number): number => p + (q - p) * eased;
  return { x: mix(a.x, b.x), y: mix(a.y, b.y), zoom: mix(a.zoom, b.zoom) };
}

function clamp(value: number, min: number, max: number): number {
  return Math.min(max, Math.max(min, value));
}
