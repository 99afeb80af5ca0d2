import { describe, expect, it } from 'vitest';
import type { Frame, Position } from '../../live/frames.ts';
import { readBoot } from './boot.ts';
import { readHistory } from './history.ts';
import { apply, fromBoot, learn, type Model } from './model.ts';
import { view } from './view.ts';

const place = { lat: -1.95, lon: 30.06 };

function boot(over: Record<string, unknown> = {}): Model {
  return fromBoot(
    readBoot(
      JSON.stringify({
        state: 'ok',
        order_id: 'ord_1',
        kind: 'delivery',
        order_state: 'picked_up',
        pickup: place,
        destination: { lat: -1.94, lon: 30.1 },
        position: null,
        cursor: null,
        ...over,
      }),
    ),
    0,
  );
}

function position(over: Partial<Position> = {}): Frame {
  return {
    type: 'position',
    cursor: null,
    position: {
      ...place,
      accuracy_m: 8,
      speed_mps: 7,
      bearing_deg: 90,
      measured_at_ms: 1000,
      age_s: 1,
      eta_s: 420,
      distance_m: 2400,
      ...over,
    },
  };
}

function event(name: string, at_ms: number | null = 5): Frame {
  return { type: 'event', cursor: null, event: { event: name, event_id: name, at_ms } };
}

const after = (model: Model, ...frames: Frame[]): Model =>
  frames.reduce((m, frame) => apply(m, frame, 0), model);

describe('the boot text', () => {
  it('is an unknown link when it is missing, broken or empty', () => {
    for (const json of [null, '', '{', '{}', '[]', '{"state":"ok"}']) {
      expect(readBoot(json).state).toBe('unknown');
    }
  });

  it('keeps expired and closed', () => {
    expect(readBoot('{"state":"expired"}').state).toBe('expired');
    expect(readBoot('{"state":"closed"}').state).toBe('closed');
  });
});

describe('the model', () => {
  it('ignores an older position', () => {
    const model = after(
      boot(),
      position({ measured_at_ms: 5000 }),
      position({ measured_at_ms: 4000, eta_s: 1 }),
    );
    expect(model.position?.eta_s).toBe(420);
  });

  it('is not moved back by a late event', () => {
    expect(after(boot(), event('DELIVERED'), event('ASSIGNED')).orderState).toBe('delivered');
  });

  it('believes a snapshot, also when a driver was taken back', () => {
    const snapshot: Frame = {
      type: 'snapshot',
      state: 'confirmed',
      position: null,
      destination: null,
      cursor: null,
    };
    expect(after(boot({ order_state: 'assigned' }), snapshot).orderState).toBe('confirmed');
  });

  it('keeps ARRIVING to the leg it was said in', () => {
    const model = after(boot({ order_state: 'assigned' }), event('ARRIVING'), event('PICKED_UP'));
    expect(view(model, 'live', 0).banner).toBeNull();
    expect(view(after(model, event('ARRIVING')), 'live', 0).banner).toBe('banner.arriving');
  });

  it('puts missed events of the pickup to the pickup, though the snapshot was ahead of them', () => {
    const model = after(boot(), event('ARRIVING'), event('PICKED_UP'));
    expect(view(model, 'live', 0).banner).toBeNull();
  });

  it('learns what was told before the page opened, and forgets nothing newer', () => {
    const { line, events } = readHistory({
      line: [[30.06, -1.95, 1000], 'odd', [30.07, -1.95, 2000]],
      events: [
        { event: 'ASSIGNED', event_id: 'a', at: 5 },
        { event: 'ARRIVING', event_id: 'b', at: 6, leg: 'pickup' },
        { event: 'PICKED_UP', event_id: 'c', at: 9 },
        { event: 'OFFLINE', event_id: 'd', at: 10 },
      ],
    });
    expect(line.map(({ at_ms }) => at_ms)).toEqual([1000, 2000]);
    const told = learn(boot(), events);
    expect(view(told, 'live', 0).banner).toBeNull();
    expect(told).toMatchObject({ at: { PICKED_UP: 9 }, offline: true, near: { pickup: true } });
    const near = after(boot(), event('ARRIVING', 12), position());
    const both = learn(near, events);
    expect(view(both, 'live', 0).banner).toBe('banner.arriving');
    expect(both).toMatchObject({ offline: false, at: { ARRIVING: 12 } });
    const arriving = { event: 'ARRIVING', event_id: 'e', at_ms: 11, leg: 'delivery' as const };
    expect(view(learn(boot(), [...events.slice(0, 3), arriving]), 'live', 0).banner).toBe(
      'banner.arriving',
    );
    expect(readHistory('odd')).toEqual({ line: [], events: [] });
  });

  it('is back online with a fresh position, not with an old one', () => {
    const off = after(boot(), event('OFFLINE'));
    expect(after(off, position({ age_s: 300 })).offline).toBe(true);
    expect(after(off, position({ age_s: 3 })).offline).toBe(false);
    expect(after(off, event('BACK')).offline).toBe(false);
  });
});

describe('the view', () => {
  it('tells the way, the estimate and the age', () => {
    const shown = view(after(boot(), position()), 'live', 30_000);
    expect(shown).toMatchObject({
      headline: 'head.to_destination',
      freshness: 'live',
      distanceM: 2400,
      ageS: 31,
      etaS: 390,
    });
  });

  it('turns amber after a minute and says out of reach after three', () => {
    const model = after(boot(), position());
    expect(view(model, 'live', 70_000)).toMatchObject({ freshness: 'ageing', outdated: true });
    expect(view(model, 'live', 181_000)).toMatchObject({
      freshness: 'offline',
      headline: 'head.offline',
      etaS: null,
    });
  });

  it('does not blame the driver while our own line is down', () => {
    const model = after(boot(), position());
    for (const link of ['own', 'lost', 'service'] as const) {
      const shown = view(model, link, 600_000);
      expect(shown.headline).toBe('head.to_destination');
      expect(shown.line).toMatch(/^link\./);
      expect(shown.lineWorks).toBe(false);
    }
  });

  it('says that the positions are away on our side, until one comes', () => {
    const stale = after(boot(), position(), { type: 'stale', age_s: 9 });
    expect(view(stale, 'live', 400_000)).toMatchObject({ line: 'link.stale', freshness: 'ageing' });
    const back = after(stale, position({ measured_at_ms: 2000 }));
    expect(view(back, 'live', 0).line).toBeNull();
  });

  it('does not announce what was proven afterwards', () => {
    const late: Frame = {
      type: 'event',
      cursor: null,
      event: { event: 'ARRIVING', event_id: 'x', at_ms: 5, late: true },
    };
    expect(view(after(boot(), late), 'live', 0).banner).toBeNull();
  });

  it('tells the three sides of a broken line apart', () => {
    const lines = (['own', 'lost', 'service'] as const).map((link) => view(boot(), link, 0).line);
    expect(new Set(lines).size).toBe(3);
  });

  it('shows ARRIVING to a page that opened after the event, from the distance alone', () => {
    expect(view(after(boot(), position({ distance_m: 380 })), 'polling', 0).banner).toBe(
      'banner.arriving',
    );
    expect(
      view(after(boot(), position({ distance_m: 380, age_s: 90 })), 'polling', 0).banner,
    ).toBeNull();
  });

  it('ends the banner on arrival and asks for the PIN', () => {
    const shown = view(after(boot(), event('ARRIVING'), event('ARRIVED')), 'live', 0);
    expect(shown).toMatchObject({ banner: null, headline: 'head.arrived', note: 'note.arrived' });
  });

  it('waits for payment, for a driver, for the first fix', () => {
    expect(view(boot({ order_state: 'pending_payment' }), 'live', 0).headline).toBe(
      'head.pending_payment',
    );
    expect(view(boot({ order_state: 'confirmed' }), 'live', 0).headline).toBe(
      'head.finding_driver',
    );
    expect(view(boot({ order_state: 'confirmed_no_driver' }), 'live', 0).headline).toBe(
      'head.no_driver',
    );
    expect(view(boot({ order_state: 'assigned' }), 'live', 0).note).toBe('note.waiting_first_fix');
  });

  it('survives a state that is newer than the page', () => {
    expect(view(boot({ order_state: 'on_the_moon' }), 'live', 0).headline).toBe(
      'head.finding_driver',
    );
  });

  it('walks the steps of a parcel', () => {
    const done = (model: Model) =>
      view(model, 'live', 0).steps?.filter((s) => s.state === 'done').length;
    expect(done(boot({ order_state: 'pending_payment' }))).toBe(0);
    expect(done(boot({ order_state: 'confirmed' }))).toBe(1);
    expect(done(boot({ order_state: 'assigned' }))).toBe(2);
    expect(done(boot())).toBe(3);
    expect(done(after(boot(), event('ARRIVING')))).toBe(4);
    expect(done(after(boot(), event('ARRIVING'), event('ARRIVED')))).toBe(5);
    expect(done(boot({ order_state: 'delivered' }))).toBe(6);
    expect(view(boot({ order_state: 'cancelled' }), 'live', 0).steps).toBeNull();
  });

  it('walks the steps of a ride: the driver comes close before the passenger is on board', () => {
    const ride = boot({ kind: 'ride', order_state: 'assigned' });
    const near = view(after(ride, event('ARRIVING', 77)), 'live', 0).steps;
    expect(near?.map((s) => s.name).slice(2, 5)).toEqual(['arriving', 'arrived', 'picked_up']);
    expect(near?.[2]).toEqual({ name: 'arriving', state: 'done', atMs: 77 });
  });

  it('hides the vehicle before there is a driver and after the end', () => {
    const shown = (order_state: string) =>
      view(after(boot({ order_state }), position()), 'live', 0).vehicle;
    expect(['confirmed', 'assigned', 'picked_up', 'delivered'].map(shown)).toEqual([
      false,
      true,
      true,
      false,
    ]);
  });
});
