/**
 * The quiet ground of the map: country, districts, their names, and a measured grid of dots.
 *
 * In:    the camera, the borders (once they are there), the palette.
 * Out:   pixels. The map keeps them as long as the camera stands still.
 */
import type { Border, Borders, Line } from './borders.ts';
import type { Camera } from './camera.ts';
import type { Palette } from './palette.ts';

const LABEL_FONT = '"Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif';

export function paintGround(
  g: CanvasRenderingContext2D,
  camera: Camera,
  borders: Borders | null,
  palette: Palette,
): void {
  g.fillStyle = borders ? palette['map-beyond'] : palette['map-land'];
  g.fillRect(0, 0, camera.width, camera.height);
  if (borders) paintLand(g, camera, borders, palette);
  if (camera.zoom >= 10.5) paintDots(g, camera, palette);
  if (borders) paintBorders(g, camera, borders, palette);
}

/** Names come last, above the tiles too. */
export function paintNames(
  g: CanvasRenderingContext2D,
  camera: Camera,
  borders: Borders,
  palette: Palette,
): void {
  const scale = camera.scale();
  const size = Math.max(10, Math.min(15, 10 + (camera.zoom - 8) * 0.9));
  g.font = `500 ${size}px ${LABEL_FONT}`;
  g.textAlign = 'center';
  g.textBaseline = 'middle';
  g.lineJoin = 'round';
  g.lineWidth = 3;
  g.strokeStyle = palette['map-land'];
  g.fillStyle = palette['map-label'];
  for (const { name, x, y, clearance } of borders.districts) {
    const sx = camera.screenX(x);
    const sy = camera.screenY(y);
    const free = clearance * scale;
    if (sx < -80 || sx > camera.width + 80 || sy < -20 || sy > camera.height + 20) continue;
    // The label point has `free` pixels above and below, and about twice that to each side.
    if (free < size * 0.55 || g.measureText(name).width > free * 4.4) continue;
    g.strokeText(name, sx, sy);
    g.fillText(name, sx, sy);
  }
}

function paintLand(g: CanvasRenderingContext2D, camera: Camera, b: Borders, p: Palette): void {
  g.fillStyle = p['map-land'];
  g.beginPath();
  for (const { rings } of b.districts) rings.forEach((ring) => trace(g, camera, ring));
  g.fill();
}

function paintBorders(g: CanvasRenderingContext2D, camera: Camera, b: Borders, p: Palette): void {
  g.lineJoin = 'round';
  g.lineCap = 'round';
  stroke(
    g,
    camera,
    b.borders.filter((each) => !each.outer),
    p['map-border'],
    camera.zoom < 9 ? 1 : 1.5,
  );
  const outer = b.borders.filter((each) => each.outer);
  stroke(g, camera, outer, p['map-halo'], 7);
  stroke(g, camera, outer, p['map-outline'], 1.75);
}

function stroke(
  g: CanvasRenderingContext2D,
  camera: Camera,
  borders: Border[],
  colour: string,
  width: number,
): void {
  g.strokeStyle = colour;
  g.lineWidth = width;
  g.beginPath();
  for (const border of borders) if (seen(camera, border)) trace(g, camera, border.line);
  g.stroke();
}

function seen(camera: Camera, b: Border): boolean {
  return (
    camera.screenX(b.east) > 0 &&
    camera.screenX(b.west) < camera.width &&
    camera.screenY(b.south) > 0 &&
    camera.screenY(b.north) < camera.height
  );
}

function trace(g: CanvasRenderingContext2D, camera: Camera, line: Line): void {
  const scale = camera.scale();
  const [mx, my] = camera.middle();
  for (let i = 0; i + 1 < line.length; i += 2) {
    const sx = ((line[i] ?? 0) - camera.x) * scale + mx;
    const sy = ((line[i + 1] ?? 0) - camera.y) * scale + my;
    if (i === 0) g.moveTo(sx, sy);
    else g.lineTo(sx, sy);
  }
}

/** Dots fixed to the ground: on an empty map they are what shows that it moves. */
function paintDots(g: CanvasRenderingContext2D, camera: Camera, palette: Palette): void {
  const step = 2 ** -Math.round(camera.zoom + 3);
  const gap = step * camera.scale();
  const [mx, my] = camera.middle();
  const firstX = Math.floor((camera.x - mx / camera.scale()) / step);
  const firstY = Math.floor((camera.y - my / camera.scale()) / step);
  g.fillStyle = palette['map-dot'];
  g.beginPath();
  for (let i = 0; i <= camera.width / gap + 1; i += 1) {
    const sx = camera.screenX((firstX + i) * step);
    for (let j = 0; j <= camera.height / gap + 1; j += 1) {
      const sy = camera.screenY((firstY + j) * step);
      g.rect(sx - 0.75, sy - 0.75, 1.5, 1.5);
    }
  }
  g.fill();
}
