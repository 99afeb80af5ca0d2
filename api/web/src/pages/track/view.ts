/**
 * What the page shows, decided in one place.
 *
 * In:    the model, the state of the line, the clock.
 * Out:   message keys and plain values; no words, no elements.
 *
 * Whose silence is it? While our line is down, the age of the fix grows too, and says nothing about
 * the driver: then only the line's words are shown. The same when the service says that it cannot
 * reach the positions (`stale`). "Out of reach" needs the service to say so, or
 * three minutes without a fix on a line that works.
 */
import type { MessageKey } from '../../i18n/index.ts';
import { FRESH_S, isFinal, legOf, type Leg, type Model } from './model.ts';
import type { LinkState } from '../../live/link.ts';

export type Tone = 'calm' | 'near' | 'good' | 'quiet' | 'bad';
export type Freshness = 'none' | 'live' | 'ageing' | 'offline';
export type StepName = 'paid' | 'assigned' | 'picked_up' | 'arriving' | 'arrived' | 'delivered';

export interface Step {
  name: StepName;
  state: 'done' | 'now' | 'next';
  atMs: number | null;
}

export interface View {
  kind: string;
  tone: Tone;
  headline: MessageKey;
  note: MessageKey | null;
  banner: MessageKey | null;
  leg: Leg | null;
  freshness: Freshness;
  ageS: number | null;
  /** Seconds from now; null when nothing honest can be said. */
  etaS: number | null;
  distanceM: number | null;
  /** ETA and distance are from an old fix. */
  outdated: boolean;
  steps: Step[] | null;
  line: MessageKey | null;
  /** News come as they happen: only then may the page call itself live. */
  lineWorks: boolean;
  /** The vehicle may be shown. */
  vehicle: boolean;
}

/** A fix older than this on a line that works: the phone is out of reach. */
export const OFFLINE_S = 180;
/** The service's circle, for a page that opened after the event or polls. */
const NEAR_M = 400;

export function view(model: Model, link: LinkState, nowMs: number): View {
  const leg = legOf(model);
  const ageS = ageOf(model, nowMs);
  const freshness = freshnessOf(model, leg, link, ageS);
  const near = leg !== null && isNear(model, leg, ageS);
  const here = leg !== null && model.here[leg];
  const words = wordsOf(model, leg, freshness, near, here);
  const usable = leg !== null && freshness !== 'none' && freshness !== 'offline' && !here;
  return {
    kind: model.kind,
    leg,
    freshness: leg === null ? 'none' : freshness,
    ageS,
    ...words,
    banner: bannerOf(leg, near && !here && freshness !== 'offline'),
    etaS: usable ? etaOf(model, ageS, nowMs) : null,
    distanceM: leg !== null && !here ? (model.position?.distance_m ?? null) : null,
    outdated: freshness === 'ageing' || freshness === 'offline',
    steps: stepsOf(model, near, here),
    line: lineOf(model, link),
    lineWorks: works(link) && !model.stale,
    vehicle: leg !== null && model.position !== null,
  };
}

const LINE: Record<LinkState, MessageKey | null> = {
  connecting: null,
  live: null,
  polling: 'link.polling',
  lost: 'link.reconnecting',
  own: 'link.own',
  service: 'link.service',
  gone: null,
  done: null,
};

function ageOf(model: Model, nowMs: number): number | null {
  if (!model.position) return null;
  return model.position.age_s + Math.max(0, nowMs - model.positionMs) / 1000;
}

function freshnessOf(
  model: Model,
  leg: Leg | null,
  link: LinkState,
  ageS: number | null,
): Freshness {
  if (leg === null) return 'none';
  if (model.offline) return 'offline';
  if (ageS === null) return 'none';
  if (ageS <= FRESH_S) return 'live';
  return works(link) && !model.stale && ageS > OFFLINE_S ? 'offline' : 'ageing';
}

function lineOf(model: Model, link: LinkState): MessageKey | null {
  if (isFinal(model.orderState)) return null;
  return LINE[link] ?? (model.stale && legOf(model) !== null ? 'link.stale' : null);
}

function works(link: LinkState): boolean {
  return link === 'live' || link === 'polling';
}

function isNear(model: Model, leg: Leg, ageS: number | null): boolean {
  if (model.near[leg]) return true;
  const distance = model.position?.distance_m ?? null;
  return distance !== null && distance <= NEAR_M && ageS !== null && ageS <= FRESH_S;
}

function etaOf(model: Model, ageS: number | null, nowMs: number): number | null {
  const eta = model.position?.eta_s ?? null;
  if (eta === null) return null;
  // An estimate runs down with the clock as long as the vehicle is known to move.
  const passed = ageS !== null && ageS <= FRESH_S ? (nowMs - model.positionMs) / 1000 : 0;
  return Math.max(0, eta - passed);
}

function bannerOf(leg: Leg | null, near: boolean): MessageKey | null {
  if (!near || leg === null) return null;
  return leg === 'pickup' ? 'banner.arriving_pickup' : 'banner.arriving';
}

interface Words {
  tone: Tone;
  headline: MessageKey;
  note: MessageKey | null;
}

const AT_REST: Record<string, Words> = {
  pending_payment: { tone: 'calm', headline: 'head.pending_payment', note: 'note.pending_payment' },
  confirmed: { tone: 'calm', headline: 'head.finding_driver', note: 'note.finding_driver' },
  confirmed_no_driver: { tone: 'calm', headline: 'head.no_driver', note: 'note.no_driver' },
  payment_failed: { tone: 'bad', headline: 'head.payment_failed', note: 'note.payment_failed' },
  delivered: { tone: 'good', headline: 'head.delivered', note: 'note.delivered' },
  cancelled: { tone: 'bad', headline: 'head.cancelled', note: 'note.cancelled' },
};

function wordsOf(
  model: Model,
  leg: Leg | null,
  fresh: Freshness,
  near: boolean,
  here: boolean,
): Words {
  if (leg === null) {
    return (
      AT_REST[model.orderState] ?? { tone: 'calm', headline: 'head.finding_driver', note: null }
    );
  }
  const pickup = leg === 'pickup';
  if (here) {
    return {
      tone: 'good',
      headline: pickup ? 'head.arrived_pickup' : 'head.arrived',
      note: pickup ? 'note.arrived_pickup' : 'note.arrived',
    };
  }
  if (fresh === 'offline') {
    const note = model.position ? 'note.offline' : 'note.offline_never';
    return { tone: 'quiet', headline: 'head.offline', note };
  }
  if (near) {
    return {
      tone: 'near',
      headline: pickup ? 'head.arriving_pickup' : 'head.arriving',
      note: null,
    };
  }
  return {
    tone: 'calm',
    headline: pickup ? 'head.to_pickup' : 'head.to_destination',
    note: fresh === 'none' ? 'note.waiting_first_fix' : null,
  };
}

/** A passenger waits for the driver at the pickup; a parcel is waited for at its end. */
const ORDER_OF_RIDE: StepName[] = [
  'paid',
  'assigned',
  'arriving',
  'arrived',
  'picked_up',
  'delivered',
];
const ORDER_OF_PARCEL: StepName[] = [
  'paid',
  'assigned',
  'picked_up',
  'arriving',
  'arrived',
  'delivered',
];

const EVENT_OF: Record<StepName, string[]> = {
  paid: ['PAID', 'CONFIRMED'],
  assigned: ['ASSIGNED'],
  picked_up: ['PICKED_UP'],
  arriving: ['ARRIVING'],
  arrived: ['ARRIVED', 'ARRIVED_BACKFILL'],
  delivered: ['DELIVERED'],
};

function stepsOf(model: Model, near: boolean, here: boolean): Step[] | null {
  if (model.orderState === 'cancelled' || model.orderState === 'payment_failed') return null;
  const ride = model.kind === 'ride';
  const order = ride ? ORDER_OF_RIDE : ORDER_OF_PARCEL;
  const done = doneCount(model.orderState, ride, near, here);
  return order.map((name, i) => ({
    name,
    state: i < done ? 'done' : i === done ? 'now' : 'next',
    atMs: i < done ? timeOf(model, name) : null,
  }));
}

function doneCount(orderState: string, ride: boolean, near: boolean, here: boolean): number {
  const close = here ? 2 : near ? 1 : 0;
  switch (orderState) {
    case 'pending_payment':
      return 0;
    case 'assigned':
      return 2 + (ride ? close : 0);
    case 'picked_up':
      return ride ? 5 : 3 + close;
    case 'delivered':
      return 6;
    default:
      return 1;
  }
}

function timeOf(model: Model, name: StepName): number | null {
  for (const event of EVENT_OF[name]) {
    const at = model.at[event];
    if (at != null) return at;
  }
  return null;
}
