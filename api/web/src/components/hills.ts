/** A thousand hills, four of them, with the way winding over and imigongo on the nearest. */
import './hills.css';
import { svg } from '../lib/dom.ts';

const ZIGZAG = Array.from(
  { length: 26 },
  (_, i) => `${i === 0 ? 'M' : 'L'}${i * 20 - 20} ${i % 2 ? 0 : 12}`,
).join('');

const FAR =
  'M-20 150C30 120 60 96 104 96C150 96 170 128 210 128C250 128 268 88 312 88C350 88 370 110 390 124V260H-20Z';
const MID =
  'M-20 182C30 150 70 132 120 140C170 148 196 172 236 166C280 160 310 130 390 146V260H-20Z';
const NEAR =
  'M-20 222C40 190 96 176 150 184C214 194 250 216 300 206C336 199 360 188 390 186V260H-20Z';

/** Each stretch of the way goes over its own hill only, and narrows with distance. */
const DRAWING = `
<clipPath id="hill-far"><path d="${FAR}"/></clipPath>
<clipPath id="hill-mid"><path d="${MID}"/></clipPath>
<clipPath id="hill-near"><path d="${NEAR}"/></clipPath>
<circle class="hills-sun" cx="296" cy="74" r="24"/>
<path class="hills-far" d="${FAR}"/>
<path class="hills-road" clip-path="url(#hill-far)" d="M172 164C202 150 214 143 206 135Q203 131 209 124L211 124Q205.500 131 209 135C218 143 206 153 182 164Z"/>
<path class="hills-mid" d="${MID}"/>
<path class="hills-road" clip-path="url(#hill-mid)" d="M108 198C150 178 196 182 191 171C187 161 166 160 173 144L176 144C171 159 193 158 197 170C202 185 156 182 128 198Z"/>
<path class="hills-near" d="${NEAR}"/>
<g class="hills-mark"><path d="${ZIGZAG}" transform="translate(0 222)"/><path d="${ZIGZAG}" transform="translate(0 232)"/></g>
<path class="hills-road" clip-path="url(#hill-near)" d="M36 264C62 236 127 238 126 219C126 206 107 203 116 176L121 176C115 201 137 204 139 218C141 241 90 242 68 264Z"/>
<path class="hills-end" d="M210 106l8 10-8 10-8-10z"/>`;

export function hills(): Element {
  const drawing = svg('0 0 360 240', DRAWING, 'hills');
  drawing.setAttribute('preserveAspectRatio', 'xMidYMax slice');
  return drawing;
}
