/** ARRIVING, the one loud thing of the page: spoken at once, and a short buzz where allowed. */
import './banner.css';
import { h, setShown, setText, svg } from '../lib/dom.ts';

export interface Banner {
  element: HTMLElement;
  update(text: string | null): void;
}

const LOZENGE =
  '<path d="M12 1 23 12 12 23 1 12z"/><path class="banner-hole" d="M12 7l5 5-5 5-5-5z"/>';

export function banner(): Banner {
  const words = h('p.banner-words');
  const box = h(
    'div.banner',
    { hidden: true },
    h('div.banner-row', {}, svg('0 0 24 24', LOZENGE, 'banner-mark'), words),
    h('div.imigongo.banner-edge', { 'aria-hidden': 'true' }),
  );
  // The region is there from the start: readers announce only what changes inside a known one.
  const element = h('div', { role: 'alert' }, box);
  return {
    element,
    update(text) {
      setShown(box, text !== null);
      setText(words, text ?? '');
    },
  };
}

export function buzz(): void {
  try {
    if ('vibrate' in navigator) navigator.vibrate([180, 90, 180]);
  } catch {
    // Not allowed before the person touched the page; the banner says it anyway.
  }
}
