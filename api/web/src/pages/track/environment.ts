/** The browser as the line needs it. */
import type { LinkEnvironment } from '../../live/link.ts';
import {
  askOnce,
  connectPoll,
  connectSse,
  connectWs,
  POLL_FAST_MS,
  POLL_SLOW_MS,
} from '../../live/transports.ts';
import { onThinNetwork } from '../../map/tiles.ts';

export function environment(): LinkEnvironment {
  const pollMs = onThinNetwork() ? POLL_SLOW_MS : POLL_FAST_MS;
  return {
    connect: { ws: connectWs, sse: connectSse, poll: connectPoll(pollMs) },
    probe: askOnce,
    online: () => navigator.onLine,
    now: () => performance.now(),
    random: () => Math.random(),
    setTimer: (run, afterMs) => window.setTimeout(run, afterMs),
    clearTimer: (id) => window.clearTimeout(id),
  };
}
