/**
 * The districts of Rwanda, from the delta coded asset.
 *
 * In:    `rwanda-map.json`: every border once, and which borders go round which district.
 * Out:   lines in world units to draw, and the name of the district that a point is in.
 */
import { worldX, worldY, type Point } from '../lib/geo.ts';

export interface MapData {
  credit: string;
  grid: number;
  arcs: number[][];
  districts: [name: string, lon: number, lat: number, clearance: number, rings: number[][]][];
}

/** x0, y0, x1, y1, … in world units. */
export type Line = Float64Array;

export interface Border {
  line: Line;
  /** The country's edge, not a border between two of its districts. */
  outer: boolean;
  west: number;
  east: number;
  north: number;
  south: number;
}

export interface District {
  name: string;
  x: number;
  y: number;
  /** Free height round the label point, world units. */
  clearance: number;
  rings: Line[];
}

export interface Borders {
  credit: string;
  borders: Border[];
  districts: District[];
}

export function decode(data: MapData): Borders {
  const arcs = data.arcs.map((coded) => decodeArc(coded, data.grid));
  const uses = new Array<number>(arcs.length).fill(0);
  const districts = data.districts.map(([name, lon, lat, clearance, rings]) => {
    for (const ring of rings) {
      for (const index of ring)
        uses[index < 0 ? ~index : index] = (uses[index < 0 ? ~index : index] ?? 0) + 1;
    }
    return {
      name,
      x: worldX(lon),
      y: worldY(lat),
      clearance: clearance / 360,
      rings: rings.map((ring) => joined(ring, arcs)),
    };
  });
  return {
    credit: data.credit,
    borders: arcs.map((line, i) => ({ line, outer: uses[i] === 1, ...bounds(line) })),
    districts,
  };
}

/** The name of the district round a point; null beyond the country. */
export function districtAt(borders: Borders, p: Point): string | null {
  const x = worldX(p.lon);
  const y = worldY(p.lat);
  const found = borders.districts.find((d) => d.rings.filter((r) => inside(r, x, y)).length % 2);
  return found?.name ?? null;
}

function decodeArc(coded: number[], grid: number): Line {
  const line = new Float64Array(coded.length);
  let lon = 0;
  let lat = 0;
  for (let i = 0; i + 1 < coded.length; i += 2) {
    lon += coded[i] ?? 0;
    lat += coded[i + 1] ?? 0;
    line[i] = worldX(lon / grid);
    line[i + 1] = worldY(lat / grid);
  }
  return line;
}

/** Puts arcs end to end; `~i` is arc `i` backwards, as TopoJSON has it. */
function joined(ring: number[], arcs: Line[]): Line {
  const out: number[] = [];
  for (const index of ring) {
    const arc = arcs[index < 0 ? ~index : index] ?? new Float64Array();
    const from = out.length > 0 ? 2 : 0;
    for (let i = from; i + 1 < arc.length; i += 2) {
      const j = index < 0 ? arc.length - 2 - i : i;
      out.push(arc[j] ?? 0, arc[j + 1] ?? 0);
    }
  }
  return Float64Array.from(out);
}

function bounds(line: Line): { west: number; east: number; north: number; south: number } {
  let [west, east, north, south] = [1, 0, 1, 0];
  for (let i = 0; i + 1 < line.length; i += 2) {
    const x = line[i] ?? 0;
    const y = line[i + 1] ?? 0;
    west = Math.min(west, x);
    east = Math.max(east, x);
    north = Math.min(north, y);
    south = Math.max(south, y);
  }
  return { west, east, north, south };
}

function inside(ring: Line, px: number, py: number): boolean {
  let odd = false;
  for (let i = 0; i + 3 < ring.length; i += 2) {
    const [ax = 0, ay = 0, bx = 0, by = 0] = ring.subarray(i, i + 4);
    if (ay > py !== by > py && px < ((bx - ax) * (py - ay)) / (by - ay) + ax) odd = !odd;
  }
  return odd;
}
