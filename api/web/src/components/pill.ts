/** One line about the line: shown only while something is wrong with it. */
import './pill.css';
import { h, setShown, setText } from '../lib/dom.ts';

export interface Pill {
  element: HTMLElement;
  update(text: string | null, serious: boolean): void;
}

export function pill(): Pill {
  const words = h('span');
  const box = h('p.pill', { hidden: true }, h('i.pill-dot', { 'aria-hidden': 'true' }), words);
  const element = h('div.pill-place', { role: 'status' }, box);
  return {
    element,
    update(text, serious) {
      setShown(box, text !== null);
      box.classList.toggle('is-serious', serious);
      if (text !== null) setText(words, text);
    },
  };
}
