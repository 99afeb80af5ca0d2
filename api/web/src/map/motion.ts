/**
 * Makes a moving vehicle out of fixes that come every few seconds.
 *
 * In:    fixes with the time at which they were measured; a steady clock in milliseconds.
 * Out:   where to draw the vehicle now, which way it points, and whether it moves.
 * Keeps: the last 12 fixes; the error left by the last correction, which fades.
 * Never: runs ahead of the last fix for longer than 8 s or farther than 80 m; turns the long way.
 *
 * The picture runs a little behind the truth (about one interval between fixes, 6 s at most), so
 * that there is a next fix to steer to: then the path between two fixes is a curve along the
 * measured speeds. When the next fix is late, the vehicle rolls on and slows down. A correction is
 * never a jump: the difference fades within a second, unless it is too far to be believed.
 */
import { distanceM, fromLocal, toLocal, turnDeg, type Point } from '../lib/geo.ts';

export interface MotionFix extends Point {
  /** The device's time, epoch ms. */
  at_ms: number;
  speed_mps: number | null;
  bearing_deg: number | null;
  accuracy_m: number | null;
}

export interface Pose extends Point {
  bearing_deg: number | null;
  accuracy_m: number;
  /** The picture changes by itself: draw again on the next frame. */
  moving: boolean;
}

const FIXES_KEPT = 12;
const DELAY_MIN_MS = 800;
const DELAY_MAX_MS = 6_000;
const AHEAD_MAX_MS = 8_000;
const AHEAD_MAX_M = 80;
/** How fast dead reckoning loses faith in the last speed. */
const AHEAD_TAU_S = 4;
/** A correction fades to a third in this time. */
const FADE_TAU_MS = 350;
const TURN_TAU_MS = 220;
/** Farther than this a correction is a leap, not a glide. */
const LEAP_M = 1_500;
const SPEED_MAX_MPS = 60;

type Local = [east: number, north: number];

export class Motion {
  private fixes: MotionFix[] = [];
  private lags: number[] = [];
  private error: Local = [0, 0];
  private shownAt = 0;
  private shownBearing: number | null = null;

  constructor(private readonly calm: () => boolean) {}

  last(): MotionFix | null {
    return this.fixes.at(-1) ?? null;
  }

  /** Takes a fix; an older one than the last is ignored. `received_ms` is on the steady clock. */
  push(fix: MotionFix, receivedMs: number): boolean {
    const last = this.last();
    if (last && fix.at_ms <= last.at_ms) return false;
    const before = last ? this.position(receivedMs) : null;
    this.fixes.push(fix);
    this.lags.push(receivedMs - fix.at_ms);
    if (this.fixes.length > FIXES_KEPT) this.fixes.shift();
    if (this.lags.length > 8) this.lags.shift();
    this.correct(before, receivedMs);
    return true;
  }

  /** Where to draw the vehicle; null before the first fix. */
  at(nowMs: number): Pose | null {
    const last = this.last();
    if (!last) return null;
    const passed = Math.max(0, Math.min(200, nowMs - this.shownAt));
    this.shownAt = nowMs;
    if (this.calm()) {
      this.shownBearing = last.bearing_deg ?? this.shownBearing;
      return this.pose(last, last.accuracy_m, false);
    }
    const fade = Math.exp(-passed / FADE_TAU_MS);
    this.error = [this.error[0] * fade, this.error[1] * fade];
    const here = this.position(nowMs);
    const fading = Math.hypot(...this.error) > 0.3;
    const rolling = this.playMs(nowMs) < last.at_ms + AHEAD_MAX_MS && !this.standing();
    const turning = this.turn(nowMs, passed);
    return this.pose(here, last.accuracy_m, fading || rolling || turning);
  }

  private pose(at: Point, accuracy: number | null, moving: boolean): Pose {
    return {
      lat: at.lat,
      lon: at.lon,
      bearing_deg: this.shownBearing,
      accuracy_m: accuracy ?? 0,
      moving,
    };
  }

  /** The moment of the past that is on the screen now, on the device's clock. */
  playMs(nowMs: number): number {
    return nowMs - Math.min(...this.lags) - this.delayMs();
  }

  /** The usual interval between fixes, so that the next one is there when it is needed. */
  private delayMs(): number {
    const gaps = this.fixes
      .slice(1)
      .map((fix, i) => fix.at_ms - (this.fixes[i]?.at_ms ?? 0))
      .sort((a, b) => a - b);
    const median = gaps[gaps.length >> 1] ?? 0;
    return Math.max(DELAY_MIN_MS, Math.min(DELAY_MAX_MS, median * 1.1));
  }

  private position(nowMs: number): Point {
    const path = this.path(this.playMs(nowMs));
    return fromLocal(path, ...this.error);
  }

  private path(playMs: number): Point {
    const { fixes } = this;
    const last = fixes[fixes.length - 1];
    if (!last) throw new Error('a path needs a fix');
    if (playMs >= last.at_ms) return ahead(last, Math.min(playMs - last.at_ms, AHEAD_MAX_MS));
    for (let i = fixes.length - 2; i >= 0; i -= 1) {
      const a = fixes[i];
      const b = fixes[i + 1];
      if (a && b && playMs >= a.at_ms) return between(a, b, playMs);
    }
    return fixes[0] ?? last;
  }

  private correct(before: Point | null, nowMs: number): void {
    this.error = [0, 0];
    const now = this.position(nowMs);
    if (!before) return;
    // A leap is shown as one: gliding across a district would be a lie.
    if (distanceM(before, now) < LEAP_M) this.error = toLocal(now, before);
  }

  private standing(): boolean {
    const last = this.last();
    const previous = this.fixes.at(-2);
    const known = last?.speed_mps ?? null;
    const still = known !== null ? known < 0.5 : true;
    return still && (!previous || !last || distanceM(previous, last) < 3);
  }

  /** Turns the vehicle towards its way, on the short side; true while it is still turning. */
  private turn(nowMs: number, passedMs: number): boolean {
    const wish = this.wishedBearing(nowMs);
    if (wish === null) return false;
    if (this.shownBearing === null) {
      this.shownBearing = wish;
      return false;
    }
    const left = turnDeg(this.shownBearing, wish);
    const share = 1 - Math.exp(-passedMs / TURN_TAU_MS);
    this.shownBearing = (this.shownBearing + left * share + 360) % 360;
    return Math.abs(left) > 1;
  }

  private wishedBearing(nowMs: number): number | null {
    const play = this.playMs(nowMs);
    const a = this.path(play - 250);
    const b = this.path(play + 250);
    const [east, north] = toLocal(a, b);
    // Slower than half a metre a second, direction is noise.
    if (Math.hypot(east, north) < 0.25)
      return this.shownBearing ?? this.last()?.bearing_deg ?? null;
    return (Math.atan2(east, north) * 180) / Math.PI;
  }
}

function velocity(fix: MotionFix): Local | null {
  if (fix.speed_mps === null || fix.bearing_deg === null) return null;
  const speed = Math.min(fix.speed_mps, SPEED_MAX_MPS);
  const angle = (fix.bearing_deg * Math.PI) / 180;
  return [Math.sin(angle) * speed, Math.cos(angle) * speed];
}

/** Rolls on from the last fix, slowing down; bounded in metres. */
function ahead(fix: MotionFix, forMs: number): Point {
  const v = velocity(fix);
  if (!v) return fix;
  const reach = AHEAD_TAU_S * (1 - Math.exp(-forMs / 1000 / AHEAD_TAU_S));
  const metres = Math.hypot(...v) * reach;
  const cut = metres > AHEAD_MAX_M ? AHEAD_MAX_M / metres : 1;
  return fromLocal(fix, v[0] * reach * cut, v[1] * reach * cut);
}

/** A cubic between two fixes that leaves and arrives with the measured velocities. */
function between(a: MotionFix, b: MotionFix, playMs: number): Point {
  const seconds = (b.at_ms - a.at_ms) / 1000;
  const u = (playMs - a.at_ms) / (b.at_ms - a.at_ms);
  const [dx, dy] = toLocal(a, b);
  const straight = Math.hypot(dx, dy);
  const [ax, ay] = tangent(velocity(a), seconds, dx, dy, straight);
  const [bx, by] = tangent(velocity(b), seconds, dx, dy, straight);
  const u2 = u * u;
  const u3 = u2 * u;
  const [h10, h01, h11] = [u3 - 2 * u2 + u, 3 * u2 - 2 * u3, u3 - u2];
  return fromLocal(a, h10 * ax + h01 * dx + h11 * bx, h10 * ay + h01 * dy + h11 * by);
}

/** A tangent longer than the chord makes loops: it is cut; without velocity the chord serves. */
function tangent(v: Local | null, s: number, dx: number, dy: number, straight: number): Local {
  if (!v || s > 30) return [dx, dy];
  const length = Math.hypot(...v) * s;
  const cut = length > straight * 1.3 ? (straight * 1.3) / (length || 1) : 1;
  return [v[0] * s * cut, v[1] * s * cut];
}
