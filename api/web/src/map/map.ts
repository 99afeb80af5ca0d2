/**
 * The live map on one canvas.
 *
 * In:    the scene (places, vehicle, words), fixes, borders, tiles, fingers.
 * Out:   pixels, at the device's resolution; whether the map follows the vehicle.
 * Keeps: the painted ground, as long as the camera stands still.
 * Never: draws while nothing changes, or more than 30 times a second for the vehicle alone.
 */
import type { Point } from '../lib/geo.ts';
import type { Borders } from './borders.ts';
import { blend, Camera, type Padding, type View } from './camera.ts';
import { listen } from './gestures.ts';
import { paintGround, paintNames } from './ground.ts';
import * as marks from './marks.ts';
import { Motion, type MotionFix, type Pose } from './motion.ts';
import { readPalette, type Palette } from './palette.ts';
import { Tiles } from './tiles.ts';
import { Trail, type TrailPoint } from './trail.ts';

export interface Scene {
  pickup: Point | null;
  destination: Point | null;
  /** Where the vehicle is bound now: pickup or destination; null when the order is over. */
  target: Point | null;
  kind: marks.VehicleKind;
  fresh: boolean;
  arriving: boolean;
  /** Delivered, cancelled or failed. */
  over: boolean;
  /** Shows the vehicle; false before there is one and after the order. */
  vehicle: boolean;
  words: { pickup: string; destination: string };
}

const FOLLOW_MARGIN_PX = 44;
const FOLLOW_ZOOM_MAX = 16.4;
const FOLLOW_EVERY_MS = 4_000;
const GLIDE_MS = 900;
const CALM_FRAME_MS = 33;
const PULSE_MS = 2_600;
const PIXEL_RATIO_MAX = 3;

interface Glide {
  from: View;
  to: View;
  startMs: number;
  forMs: number;
}

export class LiveMap {
  readonly camera = new Camera();
  readonly trail: Trail;
  private readonly motion: Motion;
  private readonly ground = document.createElement('canvas');
  private groundKey = '';
  private groundVersion = 0;
  private palette: Palette;
  private borders: Borders | null = null;
  private tiles: Tiles | null = null;
  private scene: Scene | null = null;
  private glide: Glide | null = null;
  private following = true;
  private lookedMs = -Infinity;
  private frame = 0;
  private drawnMs = 0;
  private hurry = false;

  constructor(
    private readonly canvas: HTMLCanvasElement,
    private readonly calm: () => boolean,
    trail: Trail,
    private readonly onFollow: (following: boolean) => void,
  ) {
    this.trail = trail;
    this.motion = new Motion(calm);
    this.palette = readPalette(document.documentElement);
    listen(canvas, this.camera, {
      touched: () => this.setFollowing(false),
      changed: () => {
        this.glide = null;
        this.redraw(true);
      },
      glideZoom: (by, x, y) => this.zoomBy(by, x, y),
      follow: () => this.follow(),
    });
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.resize();
  }

  show(scene: Scene): void {
    const first = this.scene === null;
    const targetMoved = this.scene?.target !== scene.target;
    this.scene = scene;
    if (first) this.lookNow();
    else if (targetMoved) this.lookedMs = -Infinity;
    this.redraw();
  }

  push(fix: MotionFix, nowMs: number): void {
    const first = this.motion.last() === null;
    if (!this.motion.push(fix, nowMs)) return;
    this.trail.push(fix);
    if (first) this.lookNow();
    this.redraw();
  }

  /** The route of before. */
  learn(points: readonly TrailPoint[]): void {
    this.trail.merge(points);
    this.redraw();
  }

  setBorders(borders: Borders): void {
    this.borders = borders;
    this.repaint();
  }

  setTiles(template: string): void {
    this.tiles = new Tiles(template, () => this.repaint());
    this.repaint();
  }

  setPadding(padding: Padding): void {
    this.camera.padding = padding;
    if (this.following) this.lookNow();
    this.repaint();
  }

  readTheme(): void {
    this.palette = readPalette(document.documentElement);
    this.repaint();
  }

  zoomBy(by: number, x?: number, y?: number): void {
    const [mx, my] = this.camera.middle();
    const before = this.camera.view();
    const base = this.glide?.to.zoom ?? before.zoom;
    this.camera.zoomAt(base + by, x ?? mx, y ?? my);
    const to = this.camera.view();
    this.camera.look(before);
    // Closer or farther, the vehicle may still be followed; only then does follow end.
    this.setFollowing(false);
    this.glideTo(to, 260);
  }

  follow(): void {
    this.setFollowing(true);
    const view = this.wishedView();
    if (view) this.glideTo(view, GLIDE_MS);
  }

  private setFollowing(following: boolean): void {
    if (this.following === following) return;
    this.following = following;
    this.onFollow(following);
  }

  private resize(): void {
    const { clientWidth, clientHeight } = this.canvas;
    const ratio = Math.min(PIXEL_RATIO_MAX, window.devicePixelRatio || 1);
    this.camera.width = Math.max(1, clientWidth);
    this.camera.height = Math.max(1, clientHeight);
    this.canvas.width = Math.round(this.camera.width * ratio);
    this.canvas.height = Math.round(this.camera.height * ratio);
    if (this.following) this.lookNow();
    this.repaint();
  }

  /** Frames vehicle and target; without a vehicle both places; at the end the whole route. */
  private wishedView(pose: Pose | null = this.motion.at(performance.now())): View | null {
    const { scene } = this;
    if (!scene) return null;
    const vehicle = scene.vehicle ? pose : null;
    const points: Point[] =
      vehicle && scene.target
        ? [vehicle, scene.target]
        : [scene.pickup, scene.destination, ...this.trail.all()].filter(
            (p): p is Point => p !== null,
          );
    if (points.length === 0) return null;
    return this.camera.fit(points, FOLLOW_MARGIN_PX, FOLLOW_ZOOM_MAX);
  }

  private lookNow(): void {
    const view = this.wishedView();
    if (!view) return;
    this.glide = null;
    this.camera.look(view);
    this.lookedMs = performance.now();
  }

  /** Follows in steps: a camera that creeps all the time is tiring, and costs a phone its battery. */
  private followOn(pose: Pose | null, nowMs: number): void {
    if (!this.following || this.glide || nowMs - this.lookedMs < FOLLOW_EVERY_MS) return;
    const view = this.wishedView(pose);
    if (!view) return;
    const out = pose !== null && !this.camera.holds(pose, FOLLOW_MARGIN_PX * 0.6);
    if (out || Math.abs(view.zoom - this.camera.zoom) > 0.35) this.glideTo(view, GLIDE_MS);
  }

  private glideTo(to: View, forMs: number): void {
    this.lookedMs = performance.now();
    if (this.calm()) {
      this.camera.look(to);
      this.glide = null;
    } else {
      this.glide = { from: this.camera.view(), to, startMs: performance.now(), forMs };
    }
    this.redraw(true);
  }

  private repaint(): void {
    this.groundVersion += 1;
    this.redraw(true);
  }

  private redraw(hurry = false): void {
    this.hurry ||= hurry;
    if (this.frame === 0) this.frame = requestAnimationFrame((now) => this.tick(now));
  }

  private tick(nowMs: number): void {
    this.frame = 0;
    if (!this.hurry && nowMs - this.drawnMs < CALM_FRAME_MS) return this.redraw();
    this.hurry = false;
    this.drawnMs = nowMs;
    const pose = this.motion.at(nowMs);
    this.followOn(pose, nowMs);
    if (this.glide) {
      const share = Math.min(1, (nowMs - this.glide.startMs) / this.glide.forMs);
      this.camera.look(blend(this.glide.from, this.glide.to, Math.max(0, share)));
      if (share >= 1) this.glide = null;
    }
    this.draw(pose, nowMs);
    const pulsing = this.scene?.arriving === true && !this.calm();
    if (this.glide) this.redraw(true);
    else if (pose?.moving === true || pulsing) this.redraw();
  }

  private draw(pose: Pose | null, nowMs: number): void {
    const g = this.canvas.getContext('2d');
    if (!g) return;
    const ratio = this.canvas.width / this.camera.width;
    this.paintGroundOnce(ratio);
    g.setTransform(1, 0, 0, 1, 0, 0);
    g.drawImage(this.ground, 0, 0);
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    if (this.scene) this.drawScene(g, this.scene, pose, nowMs);
  }

  private paintGroundOnce(ratio: number): void {
    const { x, y, zoom, width, height } = this.camera;
    const key = [x, y, zoom, width, height, ratio, this.groundVersion].join();
    if (key === this.groundKey) return;
    this.groundKey = key;
    this.ground.width = this.canvas.width;
    this.ground.height = this.canvas.height;
    const g = this.ground.getContext('2d');
    if (!g) return;
    g.setTransform(ratio, 0, 0, ratio, 0, 0);
    paintGround(g, this.camera, this.borders, this.palette);
    this.tiles?.paint(g, this.camera, this.palette.dark);
    if (this.borders) paintNames(g, this.camera, this.borders, this.palette);
  }

  private drawScene(
    g: CanvasRenderingContext2D,
    scene: Scene,
    pose: Pose | null,
    now: number,
  ): void {
    const { camera, palette } = this;
    const vehicle = scene.vehicle ? pose : null;
    const near = scene.target ?? scene.destination;
    if (scene.target && !this.tiles) marks.paintRings(g, camera, scene.target, palette);
    if (near) {
      const pulse = scene.arriving && !this.calm() ? (now % PULSE_MS) / PULSE_MS : null;
      marks.paintNear(g, camera, near, palette, pulse);
    }
    const from = vehicle ?? scene.pickup;
    const to = vehicle ? scene.target : scene.destination;
    if (from && to && !scene.over) marks.paintGuide(g, camera, from, to, palette);
    // Measured points that lie ahead of the picture wait: the line ends at the vehicle.
    const until = vehicle && !this.calm() ? this.motion.playMs(now) : Infinity;
    marks.paintRoute(g, camera, this.trail.lines(until), vehicle, palette);
    if (scene.pickup) marks.paintPickup(g, camera, scene.pickup, scene.words.pickup, palette);
    if (vehicle) marks.paintVehicle(g, camera, { at: vehicle, ...scene, ...vehicle }, palette);
    if (scene.destination) {
      const { destination, words } = scene;
      marks.paintDestination(g, camera, destination, vehicle, words.destination, palette);
    }
  }
}
