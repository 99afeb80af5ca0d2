/**
 * The route so far.
 *
 * In:    the positions as they come, and those of before the page opened.
 * Out:   lines; a gap that nobody measured is left open, not drawn straight.
 * Keeps: at most 600 points; then every second of the older half goes.
 */
import { distanceM, type Point } from '../lib/geo.ts';

export interface TrailPoint extends Point {
  at_ms: number;
}

const POINTS_MAX = 600;
const STEP_MIN_M = 8;
const GAP_MS = 120_000;
const GAP_M = 1_500;

export class Trail {
  private points: TrailPoint[] = [];

  constructor(points: readonly TrailPoint[] = []) {
    points.forEach((point) => this.push(point));
  }

  push(point: TrailPoint): void {
    const last = this.points.at(-1);
    if (last && (point.at_ms <= last.at_ms || distanceM(last, point) < STEP_MIN_M)) return;
    this.points.push(point);
    if (this.points.length > POINTS_MAX) {
      const half = POINTS_MAX / 2;
      this.points = this.points.filter((_, i) => i >= half || i % 2 === 0);
    }
  }

  /** Puts earlier points where they belong in time. */
  merge(earlier: readonly TrailPoint[]): void {
    const all = [...earlier, ...this.points].sort((a, b) => a.at_ms - b.at_ms);
    this.points = [];
    all.forEach((point) => this.push(point));
  }

  all(): readonly TrailPoint[] {
    return this.points;
  }

  /** Lines up to `until_ms`, split where nothing was measured for long. */
  lines(untilMs = Infinity): TrailPoint[][] {
    const lines: TrailPoint[][] = [];
    let line: TrailPoint[] = [];
    for (const point of this.points) {
      if (point.at_ms > untilMs) break;
      const last = line.at(-1);
      const gap =
        last !== undefined && (point.at_ms - last.at_ms > GAP_MS || distanceM(last, point) > GAP_M);
      if (gap) {
        lines.push(line);
        line = [];
      }
      line.push(point);
    }
    if (line.length > 0) lines.push(line);
    return lines;
  }
}
