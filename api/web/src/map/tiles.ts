/**
 * Raster tiles under the route, when the service has them and the network can carry them.
 *
 * In:    a template with {z}, {x}, {y}.
 * Out:   pixels of the tiles that have come; asks for the missing ones, 6 at a time.
 * Keeps: 96 tiles at most, the least recently drawn goes first.
 * Never: loads on 2G or with save-data; retries a tile that failed.
 */
import type { Camera } from './camera.ts';

const TILES_KEPT = 96;
const LOADS_AT_ONCE = 6;
const ZOOM_MAX = 19;

interface Tile {
  image: HTMLImageElement;
  state: 'waiting' | 'loading' | 'ready' | 'failed';
}

interface Connection {
  saveData?: boolean;
  effectiveType?: string;
}

/** True when the person pays dearly or waits long for every kilobyte. */
export function onThinNetwork(): boolean {
  const { connection } = navigator as Navigator & { connection?: Connection };
  return connection?.saveData === true || (connection?.effectiveType ?? '').includes('2g');
}

/** A template that we can draw; PMTiles archives and anything else are not. */
export function usableTemplate(tiles: string | null): string | null {
  return tiles && ['{z}', '{x}', '{y}'].every((part) => tiles.includes(part)) ? tiles : null;
}

export class Tiles {
  private readonly tiles = new Map<string, Tile>();
  private loading = 0;

  constructor(
    private readonly template: string,
    private readonly changed: () => void,
  ) {}

  paint(g: CanvasRenderingContext2D, camera: Camera, dark: boolean): void {
    const zoom = Math.max(0, Math.min(ZOOM_MAX, Math.round(camera.zoom)));
    const size = camera.scale() / 2 ** zoom;
    const [mx, my] = camera.middle();
    const left = camera.x - mx / camera.scale();
    const top = camera.y - my / camera.scale();
    const count = 2 ** zoom;
    g.globalAlpha = dark ? 0.55 : 0.9;
    for (let x = Math.floor(left * count); camera.screenX(x / count) < camera.width; x += 1) {
      for (let y = Math.floor(top * count); camera.screenY(y / count) < camera.height; y += 1) {
        const tile = this.take(zoom, x, y);
        if (tile.state !== 'ready') continue;
        g.drawImage(tile.image, camera.screenX(x / count), camera.screenY(y / count), size, size);
      }
    }
    g.globalAlpha = 1;
    this.loadNext();
  }

  private take(z: number, x: number, y: number): Tile {
    const key = `${z}/${x}/${y}`;
    const tile = this.tiles.get(key) ?? { image: new Image(), state: 'waiting' as const };
    // Putting it back makes it the youngest.
    this.tiles.delete(key);
    this.tiles.set(key, tile);
    if (this.tiles.size > TILES_KEPT) {
      const [oldest] = this.tiles.keys();
      if (oldest !== undefined) this.tiles.delete(oldest);
    }
    return tile;
  }

  private loadNext(): void {
    for (const [key, tile] of this.tiles) {
      if (this.loading >= LOADS_AT_ONCE) return;
      if (tile.state !== 'waiting') continue;
      const [z = '', x = '', y = ''] = key.split('/');
      tile.state = 'loading';
      this.loading += 1;
      const done = (state: Tile['state']) => (): void => {
        tile.state = state;
        this.loading -= 1;
        this.changed();
      };
      tile.image.onload = done('ready');
      tile.image.onerror = done('failed');
      tile.image.src = this.template.replace('{z}', z).replace('{x}', x).replace('{y}', y);
    }
  }
}
