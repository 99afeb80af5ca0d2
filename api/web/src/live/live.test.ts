import { describe, expect, it } from 'vitest';
import { waitMs } from './backoff.ts';
import { parseFrame, readPoll, type Frame } from './frames.ts';
import { Link, type LinkState } from './link.ts';
import type { End, Handlers, Kind } from './transports.ts';

const position = {
  lat: -1.95,
  lon: 30.06,
  speed_mps: 8,
  bearing_deg: 90,
  accuracy_m: 6,
  measured_at: '2026-09-01T10:00:00Z',
  age_s: 2,
  eta_s: 420,
  distance_m: 2400,
};

describe('frames', () => {
  it('reads the five frames', () => {
    const snapshot = parseFrame(
      JSON.stringify({
        type: 'snapshot',
        order_id: 'ord_1',
        state: 'picked_up',
        position,
        destination: { lat: -1.9, lon: 30 },
        cursor: 'e4',
      }),
    );
    expect(snapshot).toMatchObject({
      type: 'snapshot',
      state: 'picked_up',
      cursor: 'e4',
      position: { eta_s: 420 },
    });
    expect(
      parseFrame(JSON.stringify({ type: 'position', ...position, cursor: 'e4' })),
    ).toMatchObject({
      type: 'position',
      position: { measured_at_ms: Date.UTC(2026, 8, 1, 10) },
    });
    expect(
      parseFrame(
        JSON.stringify({
          type: 'event',
          event: 'ARRIVING',
          event_id: 'x',
          at: '2026-09-01T10:00:00Z',
          cursor: 'e5',
        }),
      ),
    ).toMatchObject({ event: { event: 'ARRIVING', event_id: 'x' } });
    expect(parseFrame('{"type":"ping"}')).toEqual({ type: 'ping' });
    expect(parseFrame('{"type":"stale","age_s":90}')).toEqual({ type: 'stale', age_s: 90 });
  });

  it('leaves out what it cannot read, and never throws', () => {
    for (const text of [
      '',
      'null',
      '[]',
      '{"type":"new"}',
      '{"type":"position","lat":"x"}',
      '{',
      '{"type":"position","lat":91,"lon":0,"measured_at":1}',
    ]) {
      expect(parseFrame(text)).toBeNull();
    }
  });

  it('keeps absent values null', () => {
    const frame = parseFrame('{"type":"position","lat":-1.9,"lon":30,"measured_at":1756720800000}');
    expect(frame).toMatchObject({ position: { speed_mps: null, eta_s: null, age_s: 0 } });
  });

  it('reads a poll, flat or nested, with the events it brings', () => {
    expect(readPoll({ order_id: 'o', state: 'assigned', ...position })[0]).toMatchObject({
      state: 'assigned',
      position: { lat: -1.95 },
    });
    expect(
      readPoll({ position, events: [{ event: 'ARRIVING', event_id: 'a', at: null }] }),
    ).toHaveLength(2);
  });
});

describe('the wait before a new try', () => {
  it('grows, has jitter, and is bounded', () => {
    expect(waitMs(0, 0)).toBe(250);
    expect(waitMs(3, 1)).toBe(4000);
    expect(waitMs(50, 1)).toBe(20_000);
  });
});

interface Line {
  kind: Kind;
  cursor: string | null;
  on: Handlers;
  open: boolean;
}

function rig(probe: Frame[] | End = 'unreachable') {
  const lines: Line[] = [];
  const frames: Frame[] = [];
  const states: LinkState[] = [];
  const timers = new Map<number, { at: number; run: () => void }>();
  const world = { now: 0, online: true, probe, ids: 0 };
  const connect = (kind: Kind) => (_: string, cursor: string | null, on: Handlers) => {
    const line: Line = { kind, cursor, on, open: true };
    lines.push(line);
    return { close: () => ((line.open = false), on.end('closed')) };
  };
  const link = new Link(
    'ord_1',
    'e1',
    {
      connect: { ws: connect('ws'), sse: connect('sse'), poll: connect('poll') },
      probe: () => Promise.resolve(world.probe),
      online: () => world.online,
      now: () => world.now,
      random: () => 1,
      setTimer: (run, after) => {
        timers.set((world.ids += 1), { at: world.now + after, run });
        return world.ids;
      },
      clearTimer: (id) => void timers.delete(id),
    },
    (frame) => frames.push(frame),
    (state) => states.push(state),
  );
  const settle = async () => {
    for (let i = 0; i < 5; i += 1) await Promise.resolve();
  };
  const pass = async (ms: number) => {
    const until = world.now + ms;
    for (;;) {
      await settle();
      const next = [...timers]
        .filter(([, t]) => t.at <= until)
        .sort((a, b) => a[1].at - b[1].at)[0];
      if (!next) break;
      timers.delete(next[0]);
      world.now = Math.max(world.now, next[1].at);
      next[1].run();
    }
    world.now = until;
  };
  const last = (): Line => {
    const line = lines.at(-1);
    if (!line) throw new Error('no line yet');
    return line;
  };
  const fail = async (why: End = 'closed') => {
    last().on.end(why);
    await pass(25_000);
  };
  return { link, lines, frames, states, world, pass, last, fail, settle };
}

const ping: Frame = { type: 'ping' };
const arriving = (id: string, cursor: string): Frame => ({
  type: 'event',
  event: { event: 'ARRIVING', event_id: id, at_ms: 0 },
  cursor,
});

describe('the link', () => {
  it('resumes from the newest cursor and gives no event twice', async () => {
    const { link, lines, frames, last, fail } = rig();
    link.start();
    last().on.open();
    last().on.frame(arriving('a', 'e7'));
    await fail();
    expect(lines).toHaveLength(2);
    expect(last().cursor).toBe('e7');
    last().on.frame(arriving('a', 'e7'));
    last().on.frame(arriving('b', 'e8'));
    expect(frames).toHaveLength(2);
  });

  it('falls back to SSE and then to polling when a way never carries a frame', async () => {
    const { link, lines, fail, last, states } = rig();
    link.start();
    for (let i = 0; i < 4; i += 1) await fail();
    expect(lines.map((line) => line.kind)).toEqual(['ws', 'ws', 'sse', 'sse', 'poll']);
    last().on.open();
    last().on.frame(ping);
    expect(states.at(-1)).toBe('polling');
  });

  it('falls back after one try when the service answers a plain question', async () => {
    const { link, lines, last, pass } = rig([ping]);
    link.start();
    last().on.end('closed');
    await pass(600);
    last().on.end('closed');
    await pass(600);
    expect(lines.map((line) => line.kind)).toEqual(['ws', 'sse', 'poll']);
  });

  it('keeps a way that worked', async () => {
    const { link, fail, last } = rig();
    link.start();
    for (let i = 0; i < 5; i += 1) {
      last().on.frame(ping);
      await fail();
    }
    expect(last().kind).toBe('ws');
  });

  it('looks up once a minute whether WebSocket works again, and goes on if not', async () => {
    const { link, fail, last, pass, states } = rig();
    link.start();
    await fail();
    await fail();
    expect(last().kind).toBe('sse');
    last().on.open();
    last().on.frame(ping);
    await pass(30_000);
    last().on.frame(ping);
    await pass(30_001);
    expect(last().kind).toBe('ws');
    last().on.end('closed');
    expect(last().kind).toBe('sse');
    expect(states.at(-1)).toBe('live');
  });

  it('says whose side is down', async () => {
    const { link, last, world, settle, states } = rig('service');
    link.start();
    last().on.end('closed');
    await settle();
    expect(states.at(-1)).toBe('service');
    world.online = false;
    link.networkLost();
    expect(states.at(-1)).toBe('own');
  });

  it('ends for good when the link may no longer watch', async () => {
    const { link, lines, last, pass, settle } = rig('gone');
    link.start();
    last().on.end('closed');
    await settle();
    expect(link.state).toBe('gone');
    link.wake();
    await pass(100_000);
    expect(lines).toHaveLength(1);
  });

  it('begins anew without a cursor that the service no longer knows', async () => {
    const { link, last, pass } = rig();
    link.start();
    expect(last().cursor).toBe('e1');
    last().on.end('cursor');
    await pass(2_000);
    expect(last()).toMatchObject({ kind: 'ws', cursor: null });
  });

  it('is done when the order is closed', async () => {
    const { link, lines, last, pass } = rig();
    link.start();
    last().on.frame(ping);
    last().on.end('over');
    await pass(100_000);
    expect(link.state).toBe('done');
    expect(lines).toHaveLength(1);
  });

  it('tries at once when the network comes back', async () => {
    const { link, lines, last, world } = rig();
    link.start();
    last().on.frame(ping);
    world.online = false;
    link.networkLost();
    world.online = true;
    link.wake();
    expect(lines).toHaveLength(2);
    await Promise.resolve();
    link.wake();
    last().on.frame(ping);
    link.wake();
    expect(last().open).toBe(true);
  });

  it('calls a line dead after a minute of silence, also after a sleep', async () => {
    const { link, lines, last, pass, world } = rig();
    link.start();
    last().on.frame(ping);
    await pass(62_000);
    expect(lines.length).toBeGreaterThan(1);
    last().on.frame(ping);
    const before = lines.length;
    world.now += 31_000;
    link.wake();
    expect(lines.length).toBe(before + 1);
  });

  it('hears nothing more from a line that it left', () => {
    const { link, lines, frames, last } = rig();
    link.start();
    last().on.frame(ping);
    link.networkLost();
    link.wake();
    lines[0]?.on.frame(arriving('late', 'e9'));
    expect(frames).toHaveLength(1);
  });
});
