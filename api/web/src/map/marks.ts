/**
 * What stands on the map: the route, the rings of distance, the two places, the vehicle.
 *
 * In:    the camera, plain values in degrees and metres, the palette.
 * Out:   pixels. Every shape is drawn here, none is loaded.
 */
import { worldPerMetre, type Point } from '../lib/geo.ts';
import type { Camera } from './camera.ts';
import type { Palette } from './palette.ts';
import type { TrailPoint } from './trail.ts';

export type VehicleKind = 'moto' | 'parcel' | 'van';
type Ctx = CanvasRenderingContext2D;

const TAU = Math.PI * 2;
const FONT = '"Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif';
/** The service says ARRIVING within this distance. */
export const NEAR_M = 400;
const RINGS_M = [1_000, 2_000, 5_000, 10_000, 20_000, 50_000];

/** Line drawings on a 24 x 24 field. */
const GLYPHS: Record<VehicleKind, string> = {
  moto: 'M9 16.5a3.5 3.5 0 1 1-7 0 3.5 3.5 0 0 1 7 0M22 16.5a3.5 3.5 0 1 1-7 0 3.5 3.5 0 0 1 7 0M5.5 16.5 9 10.5h5.5l4 6M14.5 10.5l3-1.5M16.5 5.5h-2.6l4.6 11M9 10.5 5 9.5',
  parcel: 'M12 3l8 4.3v9.4L12 21l-8-4.3V7.3zM4 7.3l8 4.4 8-4.4M12 11.7V21M8 5.2l8 4.3v3',
  van: 'M1.5 6h12v11h-3M13.5 9.500h4.700l4 4.200V17h-2.500M7 17h8.500M1.500 6v11h2M7 17.500a1.900 1.900 0 1 1-3.800 0 1.900 1.900 0 0 1 3.800 0M19.500 17.500a1.900 1.900 0 1 1-3.800 0 1.900 1.900 0 0 1 3.800 0',
};

export function metresToPx(camera: Camera, at: Point, metres: number): number {
  return metres * worldPerMetre(at.lat) * camera.scale();
}

/** Rings round the place to reach: on a map without streets they are the scale. */
export function paintRings(g: Ctx, camera: Camera, target: Point, p: Palette): void {
  const [x, y] = camera.screen(target);
  const reach = Math.hypot(camera.width, camera.height);
  g.font = `500 11px ${FONT}`;
  g.textAlign = 'center';
  g.textBaseline = 'middle';
  g.setLineDash([]);
  for (const metres of RINGS_M) {
    const radius = metresToPx(camera, target, metres);
    if (radius < 70 || radius > reach) continue;
    g.strokeStyle = p['map-ring'];
    g.lineWidth = 1.25;
    circle(g, x, y, radius);
    g.stroke();
    for (const side of [-1, 1])
      label(g, `${metres / 1000} km`, x, y + side * radius, p['map-label'], p['map-land']);
  }
}

/** The circle of ARRIVING; `pulse` in [0,1) makes a wave, null stands still. */
export function paintNear(
  g: Ctx,
  camera: Camera,
  at: Point,
  p: Palette,
  pulse: number | null,
): void {
  const [x, y] = camera.screen(at);
  const radius = metresToPx(camera, at, NEAR_M);
  if (radius < 10) return;
  g.fillStyle = p['map-near'];
  circle(g, x, y, radius);
  g.fill();
  g.strokeStyle = p['map-near-line'];
  g.lineWidth = 1.5;
  g.setLineDash([2, 5]);
  g.lineCap = 'round';
  g.stroke();
  g.setLineDash([]);
  if (pulse === null) return;
  g.globalAlpha = 0.5 * (1 - pulse);
  g.lineWidth = 2;
  circle(g, x, y, radius * (0.25 + 0.75 * pulse));
  g.stroke();
  g.globalAlpha = 1;
}

export function paintRoute(
  g: Ctx,
  camera: Camera,
  lines: TrailPoint[][],
  head: Point | null,
  p: Palette,
): void {
  const draw = (colour: string, width: number): void => {
    g.strokeStyle = colour;
    g.lineWidth = width;
    g.lineJoin = 'round';
    g.lineCap = 'round';
    g.beginPath();
    lines.forEach((line, index) => {
      line.forEach((point, i) => {
        const [x, y] = camera.screen(point);
        if (i === 0) g.moveTo(x, y);
        else g.lineTo(x, y);
      });
      if (head && index === lines.length - 1) g.lineTo(...camera.screen(head));
    });
    g.stroke();
  };
  draw(p['map-casing'], 8);
  draw(p['map-route'], 4.5);
}

/** As the crow flies, and drawn so: dots, not a road. */
export function paintGuide(g: Ctx, camera: Camera, from: Point, to: Point, p: Palette): void {
  g.strokeStyle = p['map-guide'];
  g.lineWidth = 3;
  g.lineCap = 'round';
  g.setLineDash([0.1, 9]);
  g.beginPath();
  g.moveTo(...camera.screen(from));
  g.lineTo(...camera.screen(to));
  g.stroke();
  g.setLineDash([]);
}

export function paintPickup(g: Ctx, camera: Camera, at: Point, text: string, p: Palette): void {
  const [x, y] = camera.screen(at);
  g.fillStyle = p.surface;
  circle(g, x, y, 7);
  g.fill();
  g.strokeStyle = p.brand;
  g.lineWidth = 3.5;
  circle(g, x, y, 5.5);
  g.stroke();
  g.font = `600 12px ${FONT}`;
  g.textAlign = 'center';
  g.textBaseline = 'top';
  label(g, text, x, y + 12, p.ink, p['map-land']);
}

/** A pin whose eye is the lozenge of imigongo. */
export function paintDestination(
  g: Ctx,
  camera: Camera,
  at: Point,
  vehicle: Point | null,
  text: string,
  p: Palette,
): void {
  const [x, y] = camera.screen(at);
  const [vx, vy] = vehicle ? camera.screen(vehicle) : [Infinity, Infinity];
  // A vehicle at the door would hide the pin: then the pin stands on the vehicle.
  const crowded = Math.hypot(vx - x, vy - y) < 34;
  g.save();
  g.translate(crowded ? vx : x, crowded ? vy - 24 : y);
  if (!crowded) {
    g.fillStyle = 'rgba(0,0,0,.18)';
    g.beginPath();
    g.ellipse(0, 1, 8, 3, 0, 0, TAU);
    g.fill();
  }
  const pin = new Path2D('M0 0C-4-9-14-14-14-24a14 14 0 0 1 28 0C14-14 4-9 0 0Z');
  g.fillStyle = p.sun;
  g.fill(pin);
  g.strokeStyle = p.surface;
  g.lineWidth = 2;
  g.stroke(pin);
  g.fillStyle = p['on-sun'];
  g.fill(new Path2D('M0-32 8-24 0-16-8-24Z'));
  g.fillStyle = p.sun;
  g.fill(new Path2D('M0-27.500 3.500-24 0-20.500-3.500-24Z'));
  g.restore();
  g.font = `600 12px ${FONT}`;
  g.textAlign = 'center';
  g.textBaseline = 'top';
  if (!crowded) label(g, text, x, y + 6, p.ink, p['map-land']);
}

export interface VehicleLook {
  at: Point;
  bearing_deg: number | null;
  accuracy_m: number;
  kind: VehicleKind;
  /** Seen lately: in colour. Not: grey, without a direction. */
  fresh: boolean;
}

export function paintVehicle(g: Ctx, camera: Camera, look: VehicleLook, p: Palette): void {
  const [x, y] = camera.screen(look.at);
  const colour = look.fresh ? p.brand : p.quiet;
  const halo = metresToPx(camera, look.at, look.accuracy_m);
  if (halo > 20) {
    g.fillStyle = colour;
    g.globalAlpha = 0.13;
    circle(g, x, y, Math.min(halo, 400));
    g.fill();
    g.globalAlpha = 1;
  }
  g.save();
  g.translate(x, y);
  g.shadowColor = 'rgba(0,0,0,.32)';
  g.shadowBlur = 10;
  g.shadowOffsetY = 3;
  g.fillStyle = p.surface;
  circle(g, 0, 0, 21);
  g.fill();
  g.shadowColor = 'transparent';
  if (look.bearing_deg !== null && look.fresh) {
    g.save();
    g.rotate((look.bearing_deg * Math.PI) / 180);
    g.fillStyle = colour;
    g.strokeStyle = p.surface;
    g.lineWidth = 2;
    g.lineJoin = 'round';
    const beak = new Path2D('M0-30 8.500-17A19 19 0 0 0-8.500-17Z');
    g.stroke(beak);
    g.fill(beak);
    g.restore();
  }
  g.fillStyle = colour;
  circle(g, 0, 0, 18);
  g.fill();
  g.translate(-11.5, -11.5);
  g.scale(0.96, 0.96);
  g.strokeStyle = p['on-brand'];
  g.lineWidth = 1.9;
  g.lineJoin = 'round';
  g.lineCap = 'round';
  g.stroke(new Path2D(GLYPHS[look.kind]));
  g.restore();
}

function circle(g: Ctx, x: number, y: number, radius: number): void {
  g.beginPath();
  g.arc(x, y, radius, 0, TAU);
}

function label(g: Ctx, text: string, x: number, y: number, colour: string, halo: string): void {
  g.lineJoin = 'round';
  g.lineWidth = 4;
  g.strokeStyle = halo;
  g.strokeText(text, x, y);
  g.fillStyle = colour;
  g.fillText(text, x, y);
}
