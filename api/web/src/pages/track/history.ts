/**
 * What happened before the page opened.
 *
 * In:    `GET orders/{id}/track`: `line` as `[[lon, lat, epoch_ms], …]`, `events` as live frames.
 * Out:   the route and the events, oldest first; null when there is no answer.
 * Never: throws; stands before the first paint.
 */
import { isRecord, readEvent, readPoint, time, type OrderEvent } from '../../live/frames.ts';
import type { TrailPoint } from '../../map/trail.ts';

export interface History {
  line: TrailPoint[];
  events: OrderEvent[];
}

export async function fetchHistory(orderId: string, points: number): Promise<History | null> {
  try {
    const path = `/api/v1/orders/${encodeURIComponent(orderId)}/track?points=${points}`;
    const response = await fetch(path, { headers: { accept: 'application/json' } });
    return response.ok ? readHistory(await response.json()) : null;
  } catch {
    return null;
  }
}

export function readHistory(value: unknown): History {
  const { line, events } = isRecord(value) ? value : {};
  return {
    line: (Array.isArray(line) ? line : []).flatMap(readTrailPoint),
    events: (Array.isArray(events) ? events : []).map(readEvent).filter((event) => event !== null),
  };
}

/** An item that is not `[lon, lat, epoch_ms]` is left out. */
function readTrailPoint(item: unknown): TrailPoint[] {
  if (!Array.isArray(item)) return [];
  const point = readPoint({ lon: item[0] as unknown, lat: item[1] as unknown });
  const at = time(item[2]);
  return point && at !== null ? [{ ...point, at_ms: at }] : [];
}
