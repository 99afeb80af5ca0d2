/**
 * The route over a reload, before the service has told it again.
 *
 * In:    the trail of this order.
 * Out:   the same after a reload in the same tab.
 * Keeps: 600 points of one order in the tab's own storage; gone with the tab.
 */
import { isRecord, number, readPoint } from '../../live/frames.ts';
import type { TrailPoint } from '../../map/trail.ts';

const STORED_AS = 'inzira-route';

export function recall(orderId: string): TrailPoint[] {
  try {
    const value: unknown = JSON.parse(sessionStorage.getItem(STORED_AS) ?? 'null');
    if (!isRecord(value) || value.order !== orderId || !Array.isArray(value.points)) return [];
    return value.points.flatMap((each: unknown) => {
      const point = readPoint(each);
      const at = isRecord(each) ? number(each.at_ms) : null;
      return point && at !== null ? [{ ...point, at_ms: at }] : [];
    });
  } catch {
    return [];
  }
}

export function remember(orderId: string, points: readonly TrailPoint[]): void {
  const plain = points.map(({ lat, lon, at_ms }) => ({ lat, lon, at_ms }));
  try {
    sessionStorage.setItem(STORED_AS, JSON.stringify({ order: orderId, points: plain }));
  } catch {
    // Full or forbidden: then the route starts anew after a reload.
  }
}
