/** A page that has nothing to follow: says why, and where to go. */
import './notice.css';
import { h, setText } from '../lib/dom.ts';
import { hills } from './hills.ts';
import type { Translate } from '../i18n/index.ts';

export type NoticeWord = 'expired' | 'unknown' | 'closed';

export interface Notice {
  element: HTMLElement;
  update(t: Translate): void;
}

export function notice(word: NoticeWord): Notice {
  const title = h('h1.notice-title', { tabindex: '-1' });
  const body = h('p.notice-body');
  const home = h('a.button', { href: '/' });
  const element = h(
    'main.notice',
    {},
    h(
      'div.notice-card',
      {},
      h('div.imigongo.notice-band', { 'aria-hidden': 'true' }),
      title,
      body,
      home,
    ),
    h('div.notice-hills', { 'aria-hidden': 'true' }, hills()),
  );
  return {
    element,
    update(t) {
      setText(title, t(`end.${word}.title`));
      setText(body, t(`end.${word}.body`));
      setText(home, t('end.home'));
    },
  };
}
