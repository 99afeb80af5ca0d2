/** Where to go, by role. A door whose room is not open yet says so instead of leading nowhere. */
import type { MessageKey } from '../../i18n/index.ts';
import { h, setShown, setText } from '../../lib/dom.ts';
import type { Part } from './main.ts';
import { logOut, type Role } from './session.ts';

interface Place {
  href: string;
  name: MessageKey;
  open: boolean;
}

const PLACES = {
  book: { href: '/book', name: 'home.go.book', open: false },
  drive: { href: '/drive', name: 'home.go.drive', open: false },
  desk: { href: '/desk', name: 'home.go.desk', open: false },
  insight: { href: '/insight', name: 'home.go.insight', open: false },
  gov: { href: '/gov', name: 'home.go.gov', open: false },
  docs: { href: '/docs', name: 'home.go.docs', open: false },
} as const satisfies Record<string, Place>;

const BY_ROLE: Record<Role, (keyof typeof PLACES)[]> = {
  customer: ['book'],
  agent: ['book'],
  driver: ['drive'],
  vendor: ['book'],
  operator: ['desk', 'insight'],
  admin: ['desk', 'insight', 'gov', 'docs'],
  analyst: ['insight'],
  engineer: ['docs', 'insight'],
  government: ['gov', 'insight'],
};

export function placesOf(role: Role): Place[] {
  return BY_ROLE[role].map((name) => PLACES[name]);
}

export function places(role: Role, left: () => void): Part {
  const hello = h('h1.panel-title', { tabindex: '-1' });
  const where = h('p.panel-lead');
  const doors = placesOf(role).map(door);
  const out = h('button.button.is-plain', {
    type: 'button',
    click: () => void logOut().then(left),
  });
  const list = h('ul.doors', {}, ...doors.map(({ element }) => element));
  return {
    element: h('section.panel', {}, hello, where, list, out),
    update(t) {
      setText(hello, t('home.hello'));
      setText(where, t('home.where'));
      doors.forEach((each) => each.update(t));
      setText(out, t('home.logout'));
    },
  };
}

function door(place: Place): Part {
  const name = h('span.door-name');
  const soon = h('span.door-soon');
  const inside = place.open
    ? h('a.door', { href: place.href }, name)
    : h('span.door', { 'aria-disabled': 'true' }, name, soon);
  return {
    element: h('li', {}, inside),
    update(t) {
      setText(name, t(place.name));
      setText(soon, t('home.soon'));
      setShown(soon, !place.open);
    },
  };
}
