/**
 * One live line to one order, through whatever network there is.
 *
 * In:    an order, the cursor of the page, the transports, a clock.
 * Out:   frames in order; the state of the line, told apart by whose side is down.
 * Keeps: the newest cursor; how often each way failed; the ids of the newest 256 events.
 * Never: gives an event twice; waits when the network or the person just came back.
 *
 * WebSocket in vain, then SSE in vain, then polling; twice each, or once where the service answers a
 * plain question. A way that carried a frame is kept.
 * From SSE and polling it looks up once a minute whether WebSocket works again.
 */
import { waitMs } from './backoff.ts';
import type { Frame } from './frames.ts';
import type { Connect, End, Kind, Transport } from './transports.ts';

export type LinkState =
  'connecting' | 'live' | 'polling' | 'lost' | 'own' | 'service' | 'gone' | 'done';

export interface LinkEnvironment {
  connect: Record<Kind, Connect>;
  probe(orderId: string, cursor: string | null): Promise<Frame[] | End>;
  online(): boolean;
  /** Milliseconds of any steady clock. */
  now(): number;
  random(): number;
  setTimer(run: () => void, afterMs: number): number;
  clearTimer(id: number): void;
}

const TRIES_PER_WAY = 2;
/** The service pings every 25 s; a line silent for longer than this is dead. */
const SILENCE_MAX_MS = 60_000;
const LOOK_UP_MS = 60_000;
/** After a sleep the browser may still call a dead line open: older than this, we call again. */
const TRUSTED_MS = 30_000;
const EVENTS_REMEMBERED = 256;
const WAYS: readonly Kind[] = ['ws', 'sse', 'poll'];

export class Link {
  state: LinkState = 'connecting';
  private way: Kind = 'ws';
  private settled: Kind | null = null;
  private heardAt = 0;
  private failures = 0;
  private failuresOfWay = 0;
  private carried = false;
  private transport: Transport | null = null;
  private retryTimer = 0;
  private silenceTimer = 0;
  private lookUpTimer = 0;
  private readonly seen = new Set<string>();
  private generation = 0;

  constructor(
    private readonly orderId: string,
    private cursor: string | null,
    private readonly env: LinkEnvironment,
    private readonly onFrame: (frame: Frame) => void,
    private readonly onState: (state: LinkState) => void,
  ) {}

  start(): void {
    this.connect();
  }

  /** The network came back, or the person did: try at once, from the best way down. */
  wake(): void {
    if (this.over()) return;
    if (this.state === 'live' && this.env.now() - this.heardAt < TRUSTED_MS) return;
    this.settled = null;
    this.failures = 0;
    this.failuresOfWay = 0;
    this.way = 'ws';
    this.connect();
  }

  /** The browser says that there is no network at all. */
  networkLost(): void {
    if (this.over()) return;
    this.drop();
    this.setState('own');
    this.retryLater();
  }

  /** Hangs up until `wake`, to spare data that nobody looks at. */
  pause(): void {
    if (this.over()) return;
    this.drop();
    this.heardAt = -TRUSTED_MS;
  }

  /** Ends the line for good; nothing more is to come. */
  stop(state: 'gone' | 'done'): void {
    this.drop();
    this.setState(state);
  }

  private over(): boolean {
    return this.state === 'gone' || this.state === 'done';
  }

  private connect(): void {
    this.drop();
    this.carried = false;
    const generation = this.generation;
    const mine = (): boolean => generation === this.generation;
    this.armSilence();
    this.transport = this.env.connect[this.way](this.orderId, this.cursor, {
      open: () => mine() && this.opened(),
      frame: (frame) => mine() && this.take(frame),
      end: (why) => mine() && void this.ended(why),
    });
  }

  private opened(): void {
    this.armSilence();
    if (this.way !== 'ws') {
      this.lookUpTimer = this.env.setTimer(() => this.lookUp(), LOOK_UP_MS);
    }
  }

  private take(frame: Frame): void {
    this.armSilence();
    this.heardAt = this.env.now();
    this.carried = true;
    this.settled = null;
    this.failures = 0;
    this.failuresOfWay = 0;
    this.setState(this.way === 'poll' ? 'polling' : 'live');
    this.deliver(frame);
  }

  private deliver(frame: Frame): void {
    if (frame.type === 'event' && !this.firstTime(frame.event.event_id)) return;
    this.onFrame(frame);
    // Only after the page has it: what was not shown is asked for again.
    if ('cursor' in frame && frame.cursor !== null) this.cursor = frame.cursor;
  }

  private firstTime(eventId: string): boolean {
    if (this.seen.has(eventId)) return false;
    this.seen.add(eventId);
    if (this.seen.size > EVENTS_REMEMBERED) {
      for (const oldest of this.seen) {
        this.seen.delete(oldest);
        break;
      }
    }
    return true;
  }

  private async ended(why: End): Promise<void> {
    const generation = this.generation;
    const carried = this.carried;
    this.clearTimers();
    if (this.settled !== null && !carried && (why === 'closed' || why === 'unreachable')) {
      // WebSocket still does not work here; go on as before, at once.
      this.way = this.settled;
      this.settled = null;
      this.connect();
      return;
    }
    this.failures += 1;
    this.failuresOfWay += 1;
    const reason = why === 'closed' && !carried ? await this.reasonOf() : why;
    if (generation !== this.generation) return;
    if (reason === 'gone' || reason === 'over') {
      this.stop(reason === 'gone' ? 'gone' : 'done');
      return;
    }
    // A cursor that the service no longer knows: begin anew, the snapshot tells how things are.
    if (reason === 'cursor') this.cursor = null;
    if (!carried && reason !== 'cursor') this.tryNextWay(reason === 'closed');
    this.setState(this.stateAfter(reason));
    this.retryLater();
  }

  /** When the service answers a plain question, it is this way that is blocked: no second try. */
  private tryNextWay(serviceAnswers: boolean): void {
    if (this.way === 'poll' || (!serviceAnswers && this.failuresOfWay < TRIES_PER_WAY)) return;
    this.way = WAYS[WAYS.indexOf(this.way) + 1] ?? 'poll';
    this.failuresOfWay = 0;
    if (serviceAnswers) this.failures = 0;
  }

  /** A refused socket says nothing; a plain question does, and brings the newest on the way. */
  private async reasonOf(): Promise<End> {
    const generation = this.generation;
    const answer = await this.env.probe(this.orderId, this.cursor);
    if (typeof answer === 'string') return answer;
    if (generation === this.generation) answer.forEach((frame) => this.deliver(frame));
    return 'closed';
  }

  private stateAfter(why: End): LinkState {
    if (!this.env.online()) return 'own';
    if (why === 'service') return 'service';
    // A page that has only just opened is still connecting, not cut off.
    return this.failures <= 1 && this.state === 'connecting' ? 'connecting' : 'lost';
  }

  private retryLater(): void {
    const after = waitMs(this.failures, this.env.random());
    this.retryTimer = this.env.setTimer(() => this.connect(), after);
  }

  private lookUp(): void {
    this.settled = this.way;
    this.way = 'ws';
    this.connect();
  }

  private armSilence(): void {
    this.env.clearTimer(this.silenceTimer);
    const generation = this.generation;
    this.silenceTimer = this.env.setTimer(() => {
      if (generation !== this.generation) return;
      this.drop();
      void this.ended('unreachable');
    }, SILENCE_MAX_MS);
  }

  private drop(): void {
    this.generation += 1;
    this.clearTimers();
    this.transport?.close();
    this.transport = null;
  }

  private clearTimers(): void {
    this.env.clearTimer(this.retryTimer);
    this.env.clearTimer(this.silenceTimer);
    this.env.clearTimer(this.lookUpTimer);
  }

  private setState(state: LinkState): void {
    if (this.state === state) return;
    this.state = state;
    this.onState(state);
  }
}
