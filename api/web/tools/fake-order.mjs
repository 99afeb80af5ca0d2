// One made-up order whose vehicle drives through Kigali, for the fake server.
//
// In:    the scenario's name, a clock.
// Out:   the boot text, frames and events exactly as the service words them.
// Note:  the road is invented by hand; it is nobody's trace.

const WAYPOINTS = [
  [30.1262, -1.9361],
  [30.1221, -1.9389],
  [30.1185, -1.9422],
  [30.1129, -1.9431],
  [30.1078, -1.9452],
  [30.1039, -1.9493],
  [30.0987, -1.9509],
  [30.0931, -1.9487],
  [30.0884, -1.9512],
  [30.0846, -1.9551],
  [30.0795, -1.9548],
  [30.0752, -1.9521],
  [30.0713, -1.9536],
  [30.0676, -1.9571],
  [30.0641, -1.9603],
  [30.0602, -1.9618],
  [30.0577, -1.9655],
];
const EARTH_M = 6371008.8;
const RAD = Math.PI / 180;

export function metres([aLon, aLat], [bLon, bLat]) {
  const x = (bLon - aLon) * RAD * Math.cos(((aLat + bLat) / 2) * RAD);
  return Math.hypot(x, (bLat - aLat) * RAD) * EARTH_M;
}

/** Rounds the corners of the hand-made line. */
function smoothed(points) {
  const out = [];
  const at = (i) => points[Math.max(0, Math.min(points.length - 1, i))];
  for (let i = 0; i + 1 < points.length; i += 1) {
    const [p, a, b, n] = [at(i - 1), at(i), at(i + 1), at(i + 2)];
    for (let s = 0; s < 12; s += 1) {
      const u = s / 12;
      out.push(
        [0, 1].map(
          (k) =>
            0.5 *
            (2 * a[k] +
              (b[k] - p[k]) * u +
              (2 * p[k] - 5 * a[k] + 4 * b[k] - n[k]) * u ** 2 +
              (3 * a[k] - p[k] - 3 * b[k] + n[k]) * u ** 3),
        ),
      );
    }
  }
  return [...out, points[points.length - 1]];
}

const ROAD = smoothed(WAYPOINTS);
const DISTANCES = ROAD.reduce(
  (sum, point, i) => [...sum, i === 0 ? 0 : sum[i - 1] + metres(ROAD[i - 1], point)],
  [],
);
export const ROAD_M = DISTANCES[DISTANCES.length - 1];

function onRoad(m) {
  const at = Math.max(0, Math.min(ROAD_M, m));
  const i = Math.max(
    1,
    DISTANCES.findIndex((d) => d >= at),
  );
  const share = (at - DISTANCES[i - 1]) / (DISTANCES[i] - DISTANCES[i - 1] || 1);
  const [a, b] = [ROAD[i - 1], ROAD[i]];
  const bearing = Math.atan2((b[0] - a[0]) * Math.cos(a[1] * RAD), b[1] - a[1]) / RAD;
  return { lon: a[0] + (b[0] - a[0]) * share, lat: a[1] + (b[1] - a[1]) * share, bearing };
}

/**
 * `from`: metres along the road at the start; `speed`: m/s; `silent_s`: age of the last fix;
 * `moves`: whether new fixes come.
 */
const SCENARIOS = {
  pending: { state: 'pending_payment' },
  searching: { state: 'confirmed' },
  nodriver: { state: 'confirmed_no_driver' },
  failed: { state: 'payment_failed' },
  firstfix: { state: 'assigned' },
  pickup: { state: 'assigned', kind: 'ride', from: 0, speed: 8, moves: true, toPickup: true },
  ride: { state: 'picked_up', kind: 'ride', from: 4200, speed: 9, moves: true },
  moving: { state: 'picked_up', from: 3600, speed: 9, moves: true },
  van: { state: 'picked_up', kind: 'shipment_domestic', from: 2600, speed: 11, moves: true },
  arriving: {
    state: 'picked_up',
    from: ROAD_M - 330,
    speed: 3.5,
    moves: true,
    events: ['ARRIVING'],
  },
  arrived: {
    state: 'picked_up',
    from: ROAD_M - 15,
    speed: 0,
    moves: true,
    events: ['ARRIVING', 'ARRIVED'],
  },
  stale: { state: 'picked_up', from: 5200, speed: 9, silent_s: 95 },
  offline: { state: 'picked_up', from: 5200, speed: 9, silent_s: 380, events: ['OFFLINE'] },
  delivered: {
    state: 'delivered',
    from: ROAD_M,
    speed: 0,
    events: ['ARRIVING', 'ARRIVED', 'DELIVERED'],
  },
  cancelled: { state: 'cancelled' },
  expired: { link: 'expired' },
  unknown: { link: 'unknown' },
  closed: { link: 'closed' },
  // The whole last kilometre in about 30 s: moving, ARRIVING, ARRIVED, DELIVERED.
  life: { state: 'picked_up', from: ROAD_M - 900, speed: 40, moves: true, life: true },
};

export const SCENARIO_NAMES = Object.keys(SCENARIOS);

export class FakeOrder {
  constructor(token, now = () => Date.now()) {
    const name = token.split('.')[0];
    this.token = token;
    this.id = `ord_${token.replace(/\W/g, '').padEnd(10, '7')}K4M9`;
    this.plan = SCENARIOS[name] ?? { link: 'unknown' };
    this.now = now;
    this.startedMs = now();
    this.state = this.plan.state;
    this.events = [];
    const minutes = {
      ASSIGNED: 21,
      PICKED_UP: 14,
      ARRIVING: 2,
      OFFLINE: 4,
      ARRIVED: 1,
      DELIVERED: 0,
    };
    const past = ['assigned', 'picked_up', 'delivered'].includes(this.state)
      ? ['CONFIRMED', 'ASSIGNED']
      : [];
    if (['picked_up', 'delivered'].includes(this.state)) past.push('PICKED_UP');
    for (const event of [...past, ...(this.plan.events ?? [])]) {
      this.emit(event, this.startedMs - (minutes[event] ?? 26) * 60_000);
    }
  }

  get linked() {
    return this.plan.link === undefined;
  }

  emit(event, at = this.now()) {
    const offset = this.events.length + 1;
    const next = {
      type: 'event',
      order_id: this.id,
      event,
      event_id: `evt_${this.token}_${offset}`,
      at: new Date(at).toISOString(),
      cursor: `e${offset}`,
    };
    this.events.push(next);
    if (event === 'DELIVERED') this.state = 'delivered';
    return next;
  }

  cursor() {
    return this.events.length === 0 ? null : `e${this.events.length}`;
  }

  after(cursor) {
    const offset = Number(/^e(\d+)$/.exec(cursor ?? '')?.[1] ?? this.events.length);
    return this.events.slice(offset);
  }

  place() {
    const { from, speed, moves } = this.plan;
    if (from === undefined) return null;
    const seconds = moves ? (this.now() - this.startedMs) / 1000 : 0;
    // Slower in the bends and before the end, as people drive.
    const m = Math.min(ROAD_M, from + speed * seconds);
    return { m, ...onRoad(m), speed: m >= ROAD_M ? 0 : speed };
  }

  target() {
    return this.plan.toPickup ? onRoad(2600) : onRoad(ROAD_M);
  }

  position() {
    const place = this.place();
    if (!place || !['assigned', 'picked_up'].includes(this.state)) return null;
    const silent =
      (this.plan.silent_s ?? 0) + (this.plan.moves ? 0 : (this.now() - this.startedMs) / 1000);
    const target = this.target();
    const left = metres([place.lon, place.lat], [target.lon, target.lat]);
    return {
      lat: place.lat,
      lon: place.lon,
      accuracy_m: 12,
      speed_mps: place.speed,
      bearing_deg: (place.bearing + 360) % 360,
      measured_at: new Date(this.now() - silent * 1000 - 400).toISOString(),
      age_s: silent + 0.4,
      eta_s: Math.round((left * 1.3) / 8.2),
      distance_m: Math.round(left),
    };
  }

  /** Life goes on by itself: true when an event was added. */
  live() {
    if (!this.plan.life) return [];
    const told = (name) => this.events.some(({ event }) => event === name);
    const left = ROAD_M - this.place().m;
    if (left < 400 && !told('ARRIVING')) return [this.emit('ARRIVING')];
    if (left < 50 && !told('ARRIVED')) return [this.emit('ARRIVED')];
    return [];
  }

  /** The answer of `GET orders/{id}/track`. */
  track() {
    const line = this.trail();
    const events = this.events.map((event) => ({ ...event, cursor: undefined }));
    const as_of = new Date(this.now()).toISOString();
    return { order_id: this.id, data_as_of: as_of, points: line.length, line, events };
  }

  trail() {
    const place = this.place();
    if (!place || this.plan.toPickup) return [];
    const points = [];
    for (let m = 1200; m < place.m; m += 60) {
      const { lon, lat } = onRoad(m);
      points.push([
        lon,
        lat,
        Math.round(this.now() - (this.plan.silent_s ?? 0) * 1000 - (place.m - m) * 110),
      ]);
    }
    return points;
  }

  boot(lang, tiles) {
    if (!this.linked) return { state: this.plan.link, token: this.token, lang };
    const point = ({ lat, lon }) => ({ lat, lon });
    return {
      state: 'ok',
      token: this.token,
      order_id: this.id,
      kind: this.plan.kind ?? 'delivery',
      order_state: this.state,
      lang,
      pickup: point(this.plan.toPickup ? onRoad(2600) : onRoad(1200)),
      destination: point(onRoad(ROAD_M)),
      position: this.position(),
      cursor: this.cursor(),
      tiles,
      expires_at: new Date(this.startedMs + 6 * 3600_000).toISOString(),
      server_time: new Date(this.now()).toISOString(),
    };
  }

  snapshot() {
    return {
      type: 'snapshot',
      order_id: this.id,
      state: this.state,
      position: this.position() ?? undefined,
      destination: { lat: onRoad(ROAD_M).lat, lon: onRoad(ROAD_M).lon },
      cursor: this.cursor(),
    };
  }
}
