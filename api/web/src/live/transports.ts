/**
 * The three ways to hear about an order: WebSocket, SSE, polling.
 *
 * In:    the order's addresses, the newest cursor.
 * Out:   `open` once, `frame` many times, `end` once, with why.
 * Never: retries. The link above decides what comes next.
 */
import { isRecord, number, parseFrame, readPoll, type Frame } from './frames.ts';

export type Kind = 'ws' | 'sse' | 'poll';

/**
 * Why a transport ended. `gone`: the link may no longer watch. `over`: the order is closed, nothing
 * more comes. `cursor`: the cursor is of no use any more. `service`: the service is in trouble.
 */
export type End = 'closed' | 'gone' | 'over' | 'cursor' | 'service' | 'unreachable';

export interface Handlers {
  open(): void;
  frame(frame: Frame): void;
  end(why: End): void;
}

export interface Transport {
  close(): void;
}

export type Connect = (orderId: string, cursor: string | null, on: Handlers) => Transport;

/** What the service means by a close code; any other is a line that broke. */
const ENDS: Record<number, End | undefined> = {
  1000: 'over',
  1013: 'service',
  4400: 'cursor',
  4401: 'gone',
  4403: 'gone',
  4404: 'gone',
  4410: 'gone',
};
const POLL_TIMEOUT_MS = 15_000;
export const POLL_FAST_MS = 5_000;
export const POLL_SLOW_MS = 15_000;

function address(orderId: string, what: string, cursor: string | null): string {
  const after = cursor === null ? '' : `?after=${encodeURIComponent(cursor)}`;
  return `/api/v1/orders/${encodeURIComponent(orderId)}/${what}${after}`;
}

/** Calls `end` at most once, and nothing after it. */
function once(on: Handlers): Handlers & { over(): boolean } {
  let ended = false;
  return {
    open: () => ended || on.open(),
    frame: (frame) => ended || on.frame(frame),
    end: (why) => {
      if (ended) return;
      ended = true;
      on.end(why);
    },
    over: () => ended,
  };
}

export const connectWs: Connect = (orderId, cursor, handlers) => {
  const on = once(handlers);
  const scheme = location.protocol === 'https:' ? 'wss:' : 'ws:';
  const socket = new WebSocket(`${scheme}//${location.host}${address(orderId, 'live', cursor)}`);
  socket.onopen = () => on.open();
  socket.onmessage = ({ data }) => {
    const frame = typeof data === 'string' ? parseFrame(data) : null;
    if (frame) on.frame(frame);
  };
  socket.onclose = ({ code }) => on.end(ENDS[code] ?? 'closed');
  return {
    close: () => {
      on.end('closed');
      socket.close();
    },
  };
};

export const connectSse: Connect = (orderId, cursor, handlers) => {
  const on = once(handlers);
  const source = new EventSource(address(orderId, 'events', cursor));
  const hear = ({ data }: MessageEvent): void => {
    const frame = typeof data === 'string' ? parseFrame(data) : null;
    if (frame) on.frame(frame);
  };
  source.onopen = () => on.open();
  source.onmessage = hear;
  for (const name of ['snapshot', 'position', 'event', 'stale', 'ping']) {
    source.addEventListener(name, hear);
  }
  source.addEventListener('end', ({ data }: MessageEvent) => {
    source.close();
    on.end(ENDS[endCode(data)] ?? 'closed');
  });
  // The browser would retry with its own idea of time and without our newest cursor.
  source.onerror = () => {
    source.close();
    on.end('closed');
  };
  return {
    close: () => {
      source.close();
      on.end('closed');
    },
  };
};

/** The code in SSE's last event, which says what a socket's close code says. */
function endCode(data: unknown): number {
  try {
    const value: unknown = JSON.parse(String(data));
    return isRecord(value) ? (number(value.code) ?? 0) : 0;
  } catch {
    return 0;
  }
}

/** Asks every 5 s, every 15 s on a network that is slow or has to be paid dearly. */
export function connectPoll(everyMs: number): Connect {
  return (orderId, first, handlers) => {
    const on = once(handlers);
    let cursor = first;
    let timer = 0;
    let opened = false;
    const ask = async (): Promise<void> => {
      const answer = await askOnce(orderId, cursor);
      if (on.over()) return;
      if (typeof answer === 'string') {
        on.end(answer);
        return;
      }
      if (!opened) on.open();
      opened = true;
      for (const frame of answer) {
        if ('cursor' in frame && frame.cursor !== null) cursor = frame.cursor;
        on.frame(frame);
      }
      timer = window.setTimeout(() => void ask(), everyMs);
    };
    void ask();
    return {
      close: () => {
        clearTimeout(timer);
        on.end('closed');
      },
    };
  };
}

/** One question; also how the link learns why a socket was refused, which browsers do not say. */
export async function askOnce(orderId: string, cursor: string | null): Promise<Frame[] | End> {
  const stop = new AbortController();
  const timer = setTimeout(() => stop.abort(), POLL_TIMEOUT_MS);
  try {
    const response = await fetch(address(orderId, 'location', cursor), {
      signal: stop.signal,
      credentials: 'same-origin',
      headers: { accept: 'application/json' },
    });
    if (response.status === 204) return [];
    if (response.status === 400) return 'cursor';
    if ([401, 403, 404, 410].includes(response.status)) return 'gone';
    if (!response.ok) return 'service';
    return readPoll(await response.json());
  } catch {
    return 'unreachable';
  } finally {
    clearTimeout(timer);
  }
}
