/** How old the last fix is: green while live, amber when old, grey when the phone is silent. */
import './freshness.css';
import { h, setText } from '../lib/dom.ts';
import { agoWords } from '../lib/words.ts';
import type { Translate } from '../i18n/index.ts';
import type { View } from '../pages/track/view.ts';

const LIVE_S = 15;

export interface Freshness {
  element: HTMLElement;
  update(view: View, t: Translate): void;
}

export function freshness(): Freshness {
  const words = h('span');
  const element = h('p.fresh', {}, h('i.fresh-dot', { 'aria-hidden': 'true' }), words);
  return {
    element,
    update(view, t) {
      element.hidden = view.leg === null;
      element.dataset.fresh = view.freshness;
      element.classList.toggle('is-beating', view.freshness === 'live' && view.lineWorks);
      setText(words, text(view, t));
    },
  };
}

function text({ freshness: fresh, ageS, lineWorks }: View, t: Translate): string {
  if (fresh === 'none' || ageS === null) return t('fresh.none');
  const seen = t('fresh.seen', { ago: agoWords(t, ageS) });
  return fresh === 'live' && lineWorks && ageS < LIVE_S
    ? `${t('fresh.live')} · ${agoWords(t, ageS)}`
    : seen;
}
