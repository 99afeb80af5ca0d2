/**
 * Distances, bearings and the Web Mercator square.
 *
 * In:    degrees (WGS84).
 * Out:   metres, degrees clockwise from north, or world units: the square [0,1] x [0,1], y southward.
 */

export interface Point {
  lat: number;
  lon: number;
}

const EARTH_M = 6_371_008.8;
const RAD = Math.PI / 180;
/** Metres round the equator of the Mercator sphere. */
const ROUND_M = 40_075_016.686;

/** Great-circle distance in metres. */
export function distanceM(a: Point, b: Point): number {
  const dLat = (b.lat - a.lat) * RAD;
  const dLon = (b.lon - a.lon) * RAD;
  const s =
    Math.sin(dLat / 2) ** 2 +
    Math.cos(a.lat * RAD) * Math.cos(b.lat * RAD) * Math.sin(dLon / 2) ** 2;
  return 2 * EARTH_M * Math.asin(Math.min(1, Math.sqrt(s)));
}

/** Metres east and north of `origin`; flat, good to millimetres over a few kilometres. */
export function toLocal(origin: Point, p: Point): [east: number, north: number] {
  return [
    (p.lon - origin.lon) * RAD * EARTH_M * Math.cos(origin.lat * RAD),
    (p.lat - origin.lat) * RAD * EARTH_M,
  ];
}

/** The inverse of `toLocal`. */
export function fromLocal(origin: Point, east: number, north: number): Point {
  return {
    lat: origin.lat + north / (RAD * EARTH_M),
    lon: origin.lon + east / (RAD * EARTH_M * Math.cos(origin.lat * RAD)),
  };
}

/** The turn from `a` to `b` on the short side, in (-180, 180]. */
export function turnDeg(a: number, b: number): number {
  const turn = ((((b - a) % 360) + 540) % 360) - 180;
  return turn === -180 ? 180 : turn;
}

export function worldX(lon: number): number {
  return lon / 360 + 0.5;
}

export function worldY(lat: number): number {
  const s = Math.sin(lat * RAD);
  return 0.5 - Math.log((1 + s) / (1 - s)) / (4 * Math.PI);
}

export function latOf(y: number): number {
  return Math.atan(Math.sinh(Math.PI * (1 - 2 * y))) / RAD;
}

export function lonOf(x: number): number {
  return (x - 0.5) * 360;
}

/** World units in one metre on the ground at this latitude. */
export function worldPerMetre(lat: number): number {
  return 1 / (ROUND_M * Math.cos(lat * RAD));
}
