/**
 * What the page knows about the order.
 *
 * In:    the boot text, then frames in the order in which they come; a steady clock.
 * Out:   a new model for each; the old one is never changed.
 * Never: goes back in time: an older position is ignored, an event never undoes a later state.
 */
import type { Frame, OrderEvent, Position } from '../../live/frames.ts';
import type { Point } from '../../lib/geo.ts';
import type { Boot } from './boot.ts';

export type Leg = 'pickup' | 'delivery';

export interface Model {
  orderId: string;
  kind: string;
  orderState: string;
  pickup: Point | null;
  destination: Point | null;
  position: Position | null;
  /** When the position came, on the steady clock. */
  positionMs: number;
  /** The service said that the phone is silent, and nothing newer has come. */
  offline: boolean;
  /** The service said that it cannot reach the positions, and none has come since. */
  stale: boolean;
  near: Record<Leg, boolean>;
  here: Record<Leg, boolean>;
  /** When each event happened, epoch ms; null when nobody said. */
  at: Partial<Record<string, number | null>>;
}

/** Positions of the last minute are fresh; see the rule in the interface of the service. */
export const FRESH_S = 60;

const RANK: Record<string, number> = {
  pending_payment: 0,
  confirmed: 1,
  confirmed_no_driver: 1,
  assigned: 2,
  picked_up: 3,
  payment_failed: 9,
  delivered: 9,
  cancelled: 9,
};

export function isFinal(orderState: string): boolean {
  return RANK[orderState] === 9;
}

export function legOf(model: { orderState: string }): Leg | null {
  if (model.orderState === 'assigned') return 'pickup';
  return model.orderState === 'picked_up' ? 'delivery' : null;
}

export function fromBoot(boot: Boot, nowMs: number): Model {
  return {
    orderId: boot.orderId,
    kind: boot.kind,
    orderState: boot.orderState,
    pickup: boot.pickup,
    destination: boot.destination,
    position: boot.position,
    positionMs: nowMs,
    offline: false,
    stale: false,
    near: { pickup: false, delivery: false },
    here: { pickup: false, delivery: false },
    at: {},
  };
}

/** Events of before: they bring times and what was told; what is known to be newer stays. */
export function learn(model: Model, events: readonly OrderEvent[]): Model {
  const told = events.reduce(applyEvent, model);
  const fresh = model.position !== null && model.position.age_s <= FRESH_S;
  return {
    ...told,
    orderState: model.orderState,
    offline: model.offline || (told.offline && !fresh),
    near: either(model.near, told.near),
    here: either(model.here, told.here),
    at: { ...told.at, ...model.at },
  };
}

function either(a: Record<Leg, boolean>, b: Record<Leg, boolean>): Record<Leg, boolean> {
  return { pickup: a.pickup || b.pickup, delivery: a.delivery || b.delivery };
}

export function apply(model: Model, frame: Frame, nowMs: number): Model {
  switch (frame.type) {
    case 'ping':
      return model;
    case 'stale':
      return { ...model, stale: true };
    case 'position':
      return applyPosition(model, frame.position, nowMs);
    case 'event':
      return applyEvent(model, frame.event);
    case 'snapshot': {
      const next = {
        ...model,
        orderState: frame.state ?? model.orderState,
        stale: false,
        destination: frame.destination ?? model.destination,
      };
      return frame.position ? applyPosition(next, frame.position, nowMs) : next;
    }
  }
}

function applyPosition(model: Model, position: Position, nowMs: number): Model {
  const known = model.position?.measured_at_ms ?? -Infinity;
  if (position.measured_at_ms < known) return model;
  const news = position.measured_at_ms > known;
  return {
    ...model,
    position,
    positionMs: nowMs,
    stale: model.stale && !news,
    offline: model.offline && !(news && position.age_s <= FRESH_S),
  };
}

function applyEvent(model: Model, { event, at_ms, leg: said, late }: OrderEvent): Model {
  const next = { ...model, at: { ...model.at, [event]: at_ms } };
  const leg = said ?? legOf(model) ?? 'delivery';
  if (late) return next;
  switch (event) {
    case 'ASSIGNED':
      return forward(next, 'assigned');
    case 'PICKED_UP':
      return forward({ ...next, ...newLeg(model) }, 'picked_up');
    case 'DELIVERED':
      return forward(next, 'delivered');
    case 'CANCELLED':
      return forward(next, 'cancelled');
    case 'ARRIVING':
      return { ...next, near: { ...model.near, [leg]: true } };
    case 'ARRIVED':
      return {
        ...next,
        near: { ...model.near, [leg]: true },
        here: { ...model.here, [leg]: true },
      };
    case 'OFFLINE':
      return { ...next, offline: true };
    case 'BACK':
      return { ...next, offline: false };
    default:
      return next;
  }
}

/** What was told before the pick-up, perhaps after a snapshot that was ahead, was of the pickup. */
function newLeg({ near, here }: Model): Pick<Model, 'near' | 'here'> {
  return {
    near: { pickup: near.pickup || near.delivery, delivery: false },
    here: { pickup: here.pickup || here.delivery, delivery: false },
  };
}

function forward(model: Model, orderState: string): Model {
  const further = (RANK[orderState] ?? 0) > (RANK[model.orderState] ?? -1);
  return further ? { ...model, orderState } : model;
}
