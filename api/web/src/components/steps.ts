/**
 * The way of the order in six lozenges.
 *
 * A list for readers and wide screens; on a phone a rail, with words for the last and the next step.
 */
import './steps.css';
import { h, setShown, setText } from '../lib/dom.ts';
import { clockWords } from '../lib/words.ts';
import type { Translate } from '../i18n/index.ts';
import type { Step, View } from '../pages/track/view.ts';

export interface Steps {
  element: HTMLElement;
  update(view: View, t: Translate): void;
}

export function steps(): Steps {
  const rows = Array.from({ length: 6 }, row);
  const list = h('ol.steps-list', {}, ...rows.map((each) => each.element));
  const last = h('span.steps-last');
  const next = h('span.steps-next');
  const words = h('p.steps-words', { 'aria-hidden': 'true' }, last, next);
  const element = h('section.steps', {}, list, words);
  return {
    element,
    update(view, t) {
      const shown = view.steps;
      setShown(element, shown !== null);
      if (!shown) return;
      element.setAttribute('aria-label', t('steps.label'));
      shown.forEach((step, i) => rows[i]?.update(step, view.kind, t));
      const done = shown.filter((step) => step.state === 'done').at(-1);
      const now = shown.find((step) => step.state === 'now');
      setText(last, done ? withTime(done, view.kind, t) : '');
      setText(next, now ? name(now, view.kind, t) : '');
    },
  };
}

function row(): { element: HTMLElement; update(step: Step, kind: string, t: Translate): void } {
  const words = h('span.step-name');
  const time = h('span.step-time');
  const state = h('span.only-spoken');
  const mark = h('i.step-mark', { 'aria-hidden': 'true' });
  const element = h('li.step', {}, mark, words, time, state);
  return {
    element,
    update(step, kind, t) {
      element.dataset.step = step.state;
      element.toggleAttribute('aria-current', false);
      if (step.state === 'now') element.setAttribute('aria-current', 'step');
      setText(words, name(step, kind, t));
      setText(time, step.atMs === null ? '' : clockWords(step.atMs));
      setText(state, `, ${t(`step.${step.state}`)}`);
    },
  };
}

function name(step: Step, kind: string, t: Translate): string {
  return t(`step.${step.name}`, { kind });
}

function withTime(step: Step, kind: string, t: Translate): string {
  const text = name(step, kind, t);
  return step.atMs === null ? text : `${text} · ${clockWords(step.atMs)}`;
}
