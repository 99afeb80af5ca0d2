/** Three languages side by side; the one in use is pressed. */
import './languages.css';
import { h } from '../lib/dom.ts';
import { LANGS, type Lang, type Translate } from '../i18n/index.ts';

export interface Languages {
  element: HTMLElement;
  update(lang: Lang, t: Translate): void;
}

export function languages(choose: (lang: Lang) => void): Languages {
  const buttons = LANGS.map(({ lang, short, name }) => ({
    lang,
    button: h(
      'button.language',
      { type: 'button', lang, title: name, 'aria-label': name, click: () => choose(lang) },
      short,
    ),
  }));
  const element = h('div.languages', { role: 'group' }, ...buttons.map(({ button }) => button));
  return {
    element,
    update(lang, t) {
      element.setAttribute('aria-label', t('lang.label'));
      for (const each of buttons) {
        each.button.setAttribute('aria-pressed', String(each.lang === lang));
      }
    },
  };
}
