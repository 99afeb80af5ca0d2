/**
 * The buyer's page, put together.
 *
 * In:    the boot text; then the line.
 * Out:   the elements, redrawn on news and once a second for the ages.
 * Keeps: the newest model; the last state stays on the screen while nothing can be reached.
 */
import './track.css';
import mapUrl from '../../assets/rwanda-map.json?url';
import { buzz } from '../../components/banner.ts';
import { brand } from '../../components/brand.ts';
import { card } from '../../components/card.ts';
import { languages } from '../../components/languages.ts';
import { mapFrame } from '../../components/map-frame.ts';
import { pill } from '../../components/pill.ts';
import { calmMotion } from '../../design/theme.ts';
import { rememberLang, translator, type Lang } from '../../i18n/index.ts';
import { h } from '../../lib/dom.ts';
import type { Frame, Position } from '../../live/frames.ts';
import { Link, type LinkState } from '../../live/link.ts';
import { decode, districtAt, type Borders, type MapData } from '../../map/borders.ts';
import { LiveMap } from '../../map/map.ts';
import { onThinNetwork, usableTemplate } from '../../map/tiles.ts';
import { Trail } from '../../map/trail.ts';
import type { Boot } from './boot.ts';
import { environment } from './environment.ts';
import { fetchHistory } from './history.ts';
import { apply, fromBoot, isFinal, learn, type Model } from './model.ts';
import { recall, remember } from './remember.ts';
import { sceneOf } from './scene.ts';
import { view } from './view.ts';

const TICK_MS = 1_000;
const MAP_RETRY_MS = 20_000;
/** What is asked of the route of before: enough to draw, little on a thin network. */
const ROUTE_POINTS = 400;
const ROUTE_POINTS_THIN = 80;
/** A hidden page on a thin network hangs up after this, and calls again when it is looked at. */
const HIDDEN_PAUSE_MS = 60_000;

export class TrackPage {
  readonly element: HTMLElement;
  private model: Model;
  private borders: Borders | null = null;
  private banner: string | null | undefined;
  private readonly parts;
  private readonly map: LiveMap;
  private readonly link: Link;
  private readonly openedMs = Date.now();

  constructor(
    private readonly boot: Boot,
    private lang: Lang,
    private readonly onGone: () => void,
  ) {
    this.model = fromBoot(boot, this.openedMs);
    this.parts = {
      languages: languages((choice) => this.choose(choice)),
      pill: pill(),
      card: card(),
      frame: mapFrame({ zoom: (by) => this.map.zoomBy(by), follow: () => this.map.follow() }),
    };
    this.element = this.assemble();
    document.body.prepend(this.element);
    const { frame } = this.parts;
    const trail = new Trail(recall(boot.orderId));
    this.map = new LiveMap(frame.canvas, calmMotion(), trail, (on) => frame.setFollowing(on));
    this.fitMap();
    if (boot.position) this.movePosition(boot.position);
    this.link = new Link(
      boot.orderId,
      boot.cursor,
      environment(),
      (each) => this.take(each),
      (state) => this.lineChanged(state),
    );
    this.render();
    this.listen();
  }

  /** Everything that may wait for the first paint: the line, the past, the borders, the tiles. */
  start(): void {
    if (isFinal(this.model.orderState)) this.link.stop('done');
    else this.link.start();
    void this.loadHistory();
    void this.loadBorders();
    const tiles = usableTemplate(this.boot.tiles);
    if (tiles !== null && !onThinNetwork()) {
      this.map.setTiles(tiles);
      this.parts.frame.setCredit(this.boot.tilesCredit);
    }
    window.setInterval(() => this.render(), TICK_MS);
  }

  readTheme(): void {
    this.map.readTheme();
  }

  private assemble(): HTMLElement {
    const { languages: choice, pill: line, card: order, frame } = this.parts;
    return h(
      'div.track',
      {},
      h('div.track-map', {}, frame.element),
      h('header.track-top', {}, brand('/'), choice.element),
      h('div.track-pill', {}, line.element),
      h('div.track-card', {}, order.element),
    );
  }

  private take(frame: Frame): void {
    this.model = apply(this.model, frame, Date.now());
    if ((frame.type === 'position' || frame.type === 'snapshot') && frame.position) {
      this.movePosition(frame.position);
    }
    if (isFinal(this.model.orderState)) this.link.stop('done');
    this.render();
  }

  private movePosition(position: Position): void {
    const receivedMs = performance.now() - position.age_s * 1000;
    this.map.push({ ...position, at_ms: position.measured_at_ms }, receivedMs);
  }

  private lineChanged(state: LinkState): void {
    if (state === 'gone' && !isFinal(this.model.orderState)) this.onGone();
    else this.render();
  }

  private render(): void {
    const nowMs = Date.now();
    if (this.boot.expiresAtMs !== null && this.serverNowMs() > this.boot.expiresAtMs) {
      if (this.link.state !== 'gone' && !isFinal(this.model.orderState)) this.link.stop('gone');
    }
    const t = translator(this.lang);
    const shown = view(this.model, this.link.state, nowMs);
    const { position, orderId } = this.model;
    const district = this.borders && position ? districtAt(this.borders, position) : null;
    const facts = {
      orderId,
      district,
      expiresAtMs: isFinal(this.model.orderState) ? null : this.boot.expiresAtMs,
      serverNowMs: this.serverNowMs(),
    };
    this.parts.card.update(shown, facts, this.lang, t);
    this.parts.pill.update(
      shown.line === null ? null : t(shown.line),
      this.link.state === 'service',
    );
    this.parts.languages.update(this.lang, t);
    this.parts.frame.update(t);
    this.map.show(sceneOf(this.model, shown, t));
    document.documentElement.lang = this.lang;
    document.title = `${shown.banner ? '◆ ' : ''}${t(shown.headline, { kind: shown.kind })} · Inzira`;
    // The buzz is for the moment it happens, not for a page that opens later.
    if (shown.banner !== null && this.banner === null) buzz();
    this.banner = shown.banner;
  }

  private choose(lang: Lang): void {
    this.lang = lang;
    rememberLang(lang);
    this.render();
  }

  private serverNowMs(): number {
    return (this.boot.serverTimeMs ?? this.openedMs) + (Date.now() - this.openedMs);
  }

  /** On a wide screen the card covers the left of the map; on a phone its round top does. */
  private fitMap(): void {
    const wide = matchMedia('(min-width: 56rem)').matches;
    const rem = parseFloat(getComputedStyle(document.documentElement).fontSize) || 16;
    this.map.setPadding(
      wide
        ? { top: 2 * rem, right: 4 * rem, bottom: 2 * rem, left: 28 * rem }
        : { top: 3.5 * rem, right: 2.5 * rem, bottom: 1.5 * rem, left: 0 },
    );
  }

  private listen(): void {
    let hiddenTimer = 0;
    window.addEventListener('online', () => this.link.wake());
    window.addEventListener('offline', () => this.link.networkLost());
    window.addEventListener('resize', () => this.fitMap());
    window.addEventListener('pagehide', () => this.keepRoute());
    document.addEventListener('visibilitychange', () => {
      clearTimeout(hiddenTimer);
      if (document.visibilityState === 'visible') this.link.wake();
      else {
        this.keepRoute();
        const pause = (): void => this.link.pause();
        if (onThinNetwork()) hiddenTimer = window.setTimeout(pause, HIDDEN_PAUSE_MS);
      }
    });
  }

  private keepRoute(): void {
    remember(this.boot.orderId, this.map.trail.all());
  }

  private async loadHistory(): Promise<void> {
    const points = onThinNetwork() ? ROUTE_POINTS_THIN : ROUTE_POINTS;
    const history = await fetchHistory(this.boot.orderId, points);
    // Without an answer the page begins its own route; the next visit asks again.
    if (history === null) return;
    this.model = learn(this.model, history.events);
    this.map.learn(history.line);
    // What was told before is no news: it must not buzz.
    this.banner = undefined;
    this.render();
  }

  private async loadBorders(): Promise<void> {
    try {
      const response = await fetch(mapUrl);
      if (!response.ok) throw new Error(String(response.status));
      this.borders = decode((await response.json()) as MapData);
      this.map.setBorders(this.borders);
      this.render();
    } catch {
      // The route and the places are drawn without borders meanwhile.
      window.setTimeout(() => void this.loadBorders(), MAP_RETRY_MS);
    }
  }
}
