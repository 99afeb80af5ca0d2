/** The card of the order: banner, headline, figures, steps, and the small print. */
import './card.css';
import { h, setShown, setText } from '../lib/dom.ts';
import { clockWords, shortId } from '../lib/words.ts';
import { banner } from './banner.ts';
import { freshness } from './freshness.ts';
import { metrics } from './metrics.ts';
import { steps } from './steps.ts';
import type { Lang, Translate } from '../i18n/index.ts';
import type { View } from '../pages/track/view.ts';

export interface CardFacts {
  orderId: string;
  expiresAtMs: number | null;
  serverNowMs: number;
  district: string | null;
}

export interface Card {
  element: HTMLElement;
  update(view: View, facts: CardFacts, lang: Lang, t: Translate): void;
}

export function card(): Card {
  const parts = { banner: banner(), freshness: freshness(), metrics: metrics(), steps: steps() };
  const headline = h('h1.card-headline');
  const note = h('p.card-note');
  const head = h('div', { 'aria-live': 'polite' }, headline, note);
  const order = h('span');
  const expires = h('span');
  const element = h(
    'main.card',
    {},
    h('div', {}, parts.banner.element, parts.freshness.element),
    head,
    parts.metrics.element,
    parts.steps.element,
    h('p.card-foot', {}, order, expires),
  );
  return {
    element,
    update(view, facts, lang, t) {
      const { kind } = view;
      element.dataset.tone = view.tone;
      parts.banner.update(view.banner === null ? null : t(view.banner, { kind }));
      parts.freshness.update(view, t);
      setText(headline, t(view.headline, { kind }));
      setShown(note, view.note !== null);
      if (view.note !== null) setText(note, t(view.note, { kind }));
      parts.metrics.update(view, facts.serverNowMs, facts.district, lang, t);
      parts.steps.update(view, t);
      setText(order, t('foot.order', { id: shortId(facts.orderId) }));
      setShown(expires, facts.expiresAtMs !== null);
      setText(expires, t('foot.expires', { time: clockWords(facts.expiresAtMs ?? 0) }));
    },
  };
}
