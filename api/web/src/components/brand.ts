/** The name and its mark: a way that zigzags like imigongo. A link home, or plain. */
import './brand.css';
import { h, svg } from '../lib/dom.ts';

const WAY =
  '<rect class="brand-field" width="32" height="32" rx="9"/><path class="brand-way" d="M9 26l8-6.500-6-6L20 6"/><path class="brand-end" d="M22.500 2.800l4 4-4 4-4-4z"/>';

export function brand(href: string | null): HTMLElement {
  const mark = svg('0 0 32 32', WAY, 'brand-mark');
  return h(href === null ? 'span.brand' : 'a.brand', href === null ? {} : { href }, mark, 'Inzira');
}
