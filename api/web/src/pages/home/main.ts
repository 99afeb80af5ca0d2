/** The first page `/`: log in, or open a tracking link; then where to go, by role. */
import '../../design/tokens.css';
import '../../design/base.css';
import '../../components/button.css';
import './home.css';
import { brand } from '../../components/brand.ts';
import { hills } from '../../components/hills.ts';
import { languages } from '../../components/languages.ts';
import { followTheme } from '../../design/theme.ts';
import {
  firstLang,
  rememberLang,
  translator,
  type Lang,
  type Translate,
} from '../../i18n/index.ts';
import { h, setText } from '../../lib/dom.ts';
import { loginForm } from './login-form.ts';
import { places } from './places.ts';
import { recallRole, type Role } from './session.ts';
import { trackForm } from './track-form.ts';

/** Whatever can be written anew in another language. */
export interface Part {
  element: HTMLElement;
  update(t: Translate): void;
}

let lang = firstLang(null);
const lead = h('p.home-lead');
const room = h('div.home-room');
const follow = trackForm();
const choice = languages((chosen) => {
  lang = chosen;
  rememberLang(chosen);
  say(chosen);
});
let part: Part = loginForm(enter);

function enter(role: Role): void {
  show(places(role, () => show(loginForm(enter))));
}

function show(next: Part): void {
  part = next;
  room.replaceChildren(next.element);
  say(lang);
  next.element.querySelector<HTMLElement>('h1, h2')?.focus();
}

function say(chosen: Lang): void {
  const t = translator(chosen);
  document.documentElement.lang = chosen;
  setText(lead, t('home.lead'));
  choice.update(chosen, t);
  follow.update(t);
  part.update(t);
}

followTheme(() => undefined);
document.body.prepend(
  h(
    'div.home',
    {},
    h('div.home-hills', { 'aria-hidden': 'true' }, hills()),
    h('header.home-top', {}, brand(null), choice.element),
    h('main.home-main', {}, h('div.home-hero', {}, lead), room, follow.element),
  ),
);
room.append(part.element);
say(lang);
const role = recallRole();
if (role) enter(role);
