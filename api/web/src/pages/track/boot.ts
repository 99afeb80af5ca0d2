/**
 * What the server wrote into the page.
 *
 * In:    the JSON in `<script type="application/json" id="inzira-boot">`.
 * Out:   a checked value; a page without it is an unknown link.
 * Never: throws.
 */
import { isRecord, readEvent, readPoint, readPosition, text, time } from '../../live/frames.ts';
import type { OrderEvent, Position } from '../../live/frames.ts';
import type { Point } from '../../lib/geo.ts';
import type { TrailPoint } from '../../map/trail.ts';

export type LinkWord = 'ok' | 'expired' | 'unknown' | 'closed';

export interface Boot {
  state: LinkWord;
  orderId: string;
  kind: string;
  orderState: string;
  lang: string | null;
  pickup: Point | null;
  destination: Point | null;
  position: Position | null;
  cursor: string | null;
  tiles: string | null;
  tilesCredit: string | null;
  /** Events until now, when the server sends them: the times of the steps. */
  events: OrderEvent[];
  /** The route before this page opened, when the server sends it. */
  trail: TrailPoint[];
  expiresAtMs: number | null;
  serverTimeMs: number | null;
}

export function readBoot(json: string | null): Boot {
  let value: unknown = null;
  try {
    value = JSON.parse(json ?? 'null');
  } catch {
    // Treated below like a page without a boot text.
  }
  const boot = isRecord(value) ? value : {};
  const orderId = text(boot.order_id) ?? '';
  return {
    state: linkWord(boot.state, orderId),
    orderId,
    kind: text(boot.kind) ?? 'delivery',
    orderState: text(boot.order_state) ?? '',
    lang: text(boot.lang),
    pickup: readPoint(boot.pickup),
    destination: readPoint(boot.destination),
    position: readPosition(boot.position),
    cursor: text(boot.cursor),
    tiles: text(boot.tiles),
    tilesCredit: text(boot.tiles_credit),
    events: (Array.isArray(boot.events) ? boot.events : [])
      .map(readEvent)
      .filter((event) => event !== null),
    trail: readTrail(boot.trail),
    expiresAtMs: time(boot.expires_at),
    serverTimeMs: time(boot.server_time),
  };
}

function linkWord(value: unknown, orderId: string): LinkWord {
  if (value === 'expired' || value === 'closed') return value;
  return value === 'ok' && orderId !== '' ? 'ok' : 'unknown';
}

/** `[[lon, lat, epoch_ms], …]`, oldest first; an item that is not that is left out. */
function readTrail(value: unknown): TrailPoint[] {
  if (!Array.isArray(value)) return [];
  return value.flatMap((item: unknown) => {
    if (!Array.isArray(item)) return [];
    const point = readPoint({ lon: item[0] as unknown, lat: item[1] as unknown });
    const at = time(item[2]);
    return point && at !== null ? [{ ...point, at_ms: at }] : [];
  });
}
