/** A thousand hills, four of them, with the way winding over and imigongo on the nearest. */
import './hills.css';
import { svg } from '../lib/dom.ts';

const ZIGZAG = Array.from({ length: 26 }, (_, i) => `${i === 0 ? 'M' : 'L'}${i * 20 - 20} ${i % 2 ? 0 : 12}`).join('');

const DRAWING = `
<circle class="hills-sun" cx="292" cy="62" r="26"/>
<path class="hills-far" d="M-10 132C40 84 84 92 124 112c38-34 82-42 124-4 36-26 84-22 132 18v120H-10z"/>
<path class="hills-mid" d="M-10 160c60-46 116-38 168-6 52-44 118-46 222 2v100H-10z"/>
<path class="hills-road" d="M196 128c-16 10-4 18 6 26 14 12-30 18-56 28-36 14-14 28-40 62" pathLength="1"/>
<path class="hills-near" d="M-10 206c84-44 158-38 222-8 58-22 110-18 168 4v60H-10z"/>
<g class="hills-mark"><path d="${ZIGZAG}" transform="translate(0 216)"/><path d="${ZIGZAG}" transform="translate(0 226)"/></g>
<path class="hills-road" d="M118 184c-22 12 20 22 8 34-10 10-34 14-44 30"/>
<path class="hills-end" d="M196 106l9 11-9 11-9-11z"/>`;

export function hills(): Element {
  const drawing = svg('0 0 360 240', DRAWING, 'hills');
  drawing.setAttribute('preserveAspectRatio', 'xMidYMax slice');
  return drawing;
}
