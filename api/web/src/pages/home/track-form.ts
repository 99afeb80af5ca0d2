/** A tracking link that was pasted, opened. */
import { field } from '../../components/field.ts';
import type { Translate } from '../../i18n/index.ts';
import { h, setText } from '../../lib/dom.ts';
import type { Part } from './main.ts';

/** The token of a link like `https://…/t/abc`, or of `/t/abc`; null for anything else. */
export function tokenOf(pasted: string): string | null {
  return /(?:^|\/)t\/([\w-]{8,200})(?:[?#].*)?$/.exec(pasted.trim())?.[1] ?? null;
}

export function trackForm(): Part {
  const link = field({ type: 'text', name: 'link', autocomplete: 'off', inputmode: 'url' });
  const title = h('h2.panel-title.is-small', { tabindex: '-1' });
  const button = h('button.button.is-plain', { type: 'submit' });
  const problem = h('p.panel-problem', { role: 'alert' });
  let t: Translate | null = null;
  const open = (event: Event): void => {
    event.preventDefault();
    const token = tokenOf(link.input.value);
    link.setWrong(token === null);
    setText(problem, token === null && t ? t('home.track.error') : '');
    if (token !== null) location.assign(`/t/${token}`);
  };
  const row = h('div.panel-row', {}, link.element, button);
  return {
    element: h('form.panel.is-quiet', { novalidate: true, submit: open }, title, row, problem),
    update(next) {
      t = next;
      setText(title, t('home.track'));
      link.update(t('home.track.hint'), '');
      setText(button, t('home.track.go'));
      if (problem.textContent) setText(problem, t('home.track.error'));
    },
  };
}
