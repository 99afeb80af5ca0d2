/**
 * What the server wrote into the page.
 *
 * In:    the JSON in `<script type="application/json" id="inzira-boot">`.
 * Out:   a checked value; a page without it is an unknown link.
 * Never: throws.
 */
import { isRecord, readPoint, readPosition, text, time, type Position } from '../../live/frames.ts';
import type { Point } from '../../lib/geo.ts';

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
    expiresAtMs: time(boot.expires_at),
    serverTimeMs: time(boot.server_time),
  };
}

function linkWord(value: unknown, orderId: string): LinkWord {
  if (value === 'expired' || value === 'closed') return value;
  return value === 'ok' && orderId !== '' ? 'ok' : 'unknown';
}
