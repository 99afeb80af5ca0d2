/** The canvas, its three buttons and the credit that the borders' licence asks for. */
import './map-frame.css';
import { h, setShown, svg } from '../lib/dom.ts';
import type { Translate } from '../i18n/index.ts';

export interface MapFrame {
  element: HTMLElement;
  canvas: HTMLCanvasElement;
  setFollowing(following: boolean): void;
  setCredit(more: string | null): void;
  update(t: Translate): void;
}

export interface MapButtons {
  zoom(by: number): void;
  follow(): void;
}

const CREDIT = '© WASAC, Ltd. (CC BY 4.0)';
const CREDIT_HREF = 'https://github.com/WASAC/rw-admin-boundary';
const PLUS = '<path d="M12 5v14M5 12h14"/>';
const MINUS = '<path d="M5 12h14"/>';
const AIM = '<path d="M12 3 20 21 12 16.500 4 21z"/>';

export function mapFrame(on: MapButtons): MapFrame {
  const canvas = h('canvas.map-canvas', {
    tabindex: '0',
    role: 'application',
  }) as HTMLCanvasElement;
  const tool = (drawing: string, click: () => void): HTMLElement =>
    h('button.map-button', { type: 'button', click }, svg('0 0 24 24', drawing));
  const follow = tool(AIM, () => on.follow());
  const zoomIn = tool(PLUS, () => on.zoom(1));
  const zoomOut = tool(MINUS, () => on.zoom(-1));
  follow.classList.add('map-follow');
  const tools = h('div.map-tools', {}, follow, h('div.map-zoom', {}, zoomIn, zoomOut));
  const more = h('span');
  const credit = h(
    'p.map-credit',
    {},
    h('a', { href: CREDIT_HREF, rel: 'noreferrer' }, CREDIT),
    more,
  );
  setShown(follow, false);
  return {
    element: h('div.map', {}, canvas, tools, credit),
    canvas,
    setFollowing: (following) => setShown(follow, !following),
    setCredit: (text) => (more.textContent = text === null ? '' : ` · ${text}`),
    update(t) {
      canvas.setAttribute('aria-label', t('map.label'));
      name(follow, t('map.follow'));
      name(zoomIn, t('map.zoom_in'));
      name(zoomOut, t('map.zoom_out'));
    },
  };
}

function name(button: HTMLElement, text: string): void {
  button.setAttribute('aria-label', text);
  button.title = text;
}
