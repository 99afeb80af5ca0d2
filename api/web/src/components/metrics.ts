/** Two figures: when, and how far. Dimmed and marked while they come from an old fix. */
import './metrics.css';
import { h, setShown, setText } from '../lib/dom.ts';
import { clockWords, distanceWords, etaWords } from '../lib/words.ts';
import type { Lang, Translate } from '../i18n/index.ts';
import type { View } from '../pages/track/view.ts';

export interface Metrics {
  element: HTMLElement;
  update(view: View, serverNowMs: number, district: string | null, lang: Lang, t: Translate): void;
}

interface Figure {
  element: HTMLElement;
  set(name: string, value: string, small: string): void;
}

function figure(): Figure {
  const name = h('dt.figure-name');
  const value = h('dd.figure-value');
  const small = h('dd.figure-small');
  return {
    element: h('div.figure', {}, name, value, small),
    set(nameText, valueText, smallText) {
      setText(name, nameText);
      setText(value, valueText);
      setText(small, smallText);
    },
  };
}

export function metrics(): Metrics {
  const eta = figure();
  const distance = figure();
  const element = h('dl.metrics', {}, eta.element, distance.element);
  return {
    element,
    update(view, serverNowMs, district, lang, t) {
      const { etaS, distanceM, outdated, kind } = view;
      setShown(element, etaS !== null || distanceM !== null);
      setShown(eta.element, etaS !== null);
      setShown(distance.element, distanceM !== null);
      element.classList.toggle('is-outdated', outdated);
      if (etaS !== null) {
        const name = view.leg === 'pickup' ? t('metric.eta_pickup', { kind }) : t('metric.eta');
        const at = t('metric.at', { time: clockWords(serverNowMs + etaS * 1000) });
        eta.set(name, etaWords(t, etaS), outdated ? t('metric.was') : at);
      }
      if (distanceM !== null) {
        const where = district === null || outdated ? '' : t('metric.district', { district });
        const small = outdated && etaS === null ? t('metric.was') : where;
        distance.set(t('metric.distance'), distanceWords(t, lang, distanceM), small);
      }
    },
  };
}
