/**
 * What the service says over WebSocket, SSE and polling, checked.
 *
 * In:    JSON text, or the answer of `GET orders/{id}/location`.
 * Out:   frames with finite numbers, `null` where a value is absent.
 * Never: throws. A frame that is newer than this page, or damaged, is left out.
 */
import type { Point } from '../lib/geo.ts';

/** One position as the service smoothed it. `age_s` counts at the moment of sending. */
export interface Position extends Point {
  accuracy_m: number | null;
  speed_mps: number | null;
  bearing_deg: number | null;
  measured_at_ms: number;
  age_s: number;
  eta_s: number | null;
  distance_m: number | null;
}

export interface OrderEvent {
  event: string;
  event_id: string;
  at_ms: number | null;
  /** Which way it belongs to, when the service says so. */
  leg?: 'pickup' | 'delivery';
  /** Proven afterwards: for the record, not to be announced. */
  late?: boolean;
}

export type Frame =
  | {
      type: 'snapshot';
      state: string | null;
      position: Position | null;
      destination: Point | null;
      cursor: string | null;
    }
  | { type: 'position'; position: Position; cursor: string | null }
  | { type: 'event'; event: OrderEvent; cursor: string | null }
  /** The service cannot reach the positions at the moment; says nothing about the driver. */
  | { type: 'stale'; age_s: number | null }
  | { type: 'ping' };

/** Longest text that is looked at; a frame of ours is a few hundred bytes. */
const FRAME_CHARS_MAX = 64 * 1024;

export function parseFrame(text: string): Frame | null {
  if (text.length > FRAME_CHARS_MAX) return null;
  try {
    return readFrame(JSON.parse(text));
  } catch {
    return null;
  }
}

export function readFrame(value: unknown): Frame | null {
  if (!isRecord(value)) return null;
  const cursor = text(value.cursor);
  switch (value.type) {
    case 'ping':
      return { type: 'ping' };
    case 'stale':
      return { type: 'stale', age_s: number(value.age_s) };
    case 'snapshot':
      return {
        type: 'snapshot',
        state: text(value.state),
        position: readPosition(value.position),
        destination: readPoint(value.destination),
        cursor,
      };
    case 'position': {
      const position = readPosition(value);
      return position && { type: 'position', position, cursor };
    }
    case 'event': {
      const event = readEvent(value);
      return event && { type: 'event', event, cursor };
    }
    default:
      return null;
  }
}

/**
 * The answer to a poll as the frames that a socket would have brought. A position may stand under
 * `position` or at the top; `events` since the cursor may come along.
 */
export function readPoll(value: unknown): Frame[] {
  if (!isRecord(value)) return [];
  const frames: Frame[] = [];
  const cursor = text(value.cursor);
  const state = text(value.state) ?? text(value.order_state);
  frames.push({
    type: 'snapshot',
    state,
    position: readPosition(value.position) ?? readPosition(value),
    destination: readPoint(value.destination),
    cursor,
  });
  if (Array.isArray(value.events)) {
    for (const each of value.events) {
      const event = readEvent(each);
      if (event) frames.push({ type: 'event', event, cursor });
    }
  }
  return frames;
}

export function readEvent(value: unknown): OrderEvent | null {
  if (!isRecord(value)) return null;
  const event = text(value.event);
  if (!event) return null;
  const at = time(value.at);
  const { leg } = value;
  return {
    event,
    event_id: text(value.event_id) ?? `${event}@${at ?? ''}`,
    at_ms: at,
    ...(leg === 'pickup' || leg === 'delivery' ? { leg } : {}),
    ...(value.late === true ? { late: true } : {}),
  };
}

export function readPosition(value: unknown): Position | null {
  if (!isRecord(value)) return null;
  const point = readPoint(value);
  const measured = time(value.measured_at);
  if (!point || measured === null) return null;
  return {
    ...point,
    accuracy_m: number(value.accuracy_m),
    speed_mps: number(value.speed_mps),
    bearing_deg: number(value.bearing_deg),
    measured_at_ms: measured,
    age_s: Math.max(0, number(value.age_s) ?? 0),
    eta_s: number(value.eta_s),
    distance_m: number(value.distance_m),
  };
}

export function readPoint(value: unknown): Point | null {
  if (!isRecord(value)) return null;
  const lat = number(value.lat);
  const lon = number(value.lon);
  if (lat === null || lon === null || Math.abs(lat) > 85 || Math.abs(lon) > 180) return null;
  return { lat, lon };
}

export function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

export function number(value: unknown): number | null {
  return typeof value === 'number' && Number.isFinite(value) ? value : null;
}

export function text(value: unknown): string | null {
  return typeof value === 'string' && value !== '' ? value : null;
}

/** RFC 3339 text, or epoch in milliseconds or microseconds; out: epoch milliseconds. */
export function time(value: unknown): number | null {
  if (typeof value === 'number' && Number.isFinite(value)) {
    return value > 1e14 ? value / 1000 : value;
  }
  if (typeof value !== 'string') return null;
  const parsed = Date.parse(value);
  return Number.isNaN(parsed) ? null : parsed;
}
