/** The log-in form: two fields, one button, and clear words for each way it can go wrong. */
import { field } from '../../components/field.ts';
import type { MessageKey, Translate } from '../../i18n/index.ts';
import { h, setText } from '../../lib/dom.ts';
import type { Params } from '../../i18n/format.ts';
import type { Part } from './main.ts';
import { logIn, phoneOf, type LoginEnd, type Role } from './session.ts';

interface Trouble {
  key: MessageKey;
  params?: Params;
}

export function loginForm(done: (role: Role) => void): Part {
  const phone = field({
    type: 'tel',
    name: 'username',
    autocomplete: 'username',
    inputmode: 'tel',
  });
  const password = field({ type: 'password', name: 'password', autocomplete: 'current-password' });
  const title = h('h1.panel-title', { tabindex: '-1' });
  const button = h('button.button', { type: 'submit' });
  const problem = h('p.panel-problem', { role: 'alert' });
  let trouble: Trouble | null = null;
  let busy = false;
  let t: Translate | null = null;

  const write = (): void => {
    if (!t) return;
    setText(title, t('home.login'));
    phone.update(t('home.phone'), t('home.phone.hint'));
    password.update(t('home.password'), '', t('home.password.show'), t('home.password.hide'));
    setText(button, t(busy ? 'home.wait' : 'home.submit'));
    button.setAttribute('aria-disabled', String(busy));
    setText(problem, trouble ? t(trouble.key, trouble.params) : '');
  };

  const submit = async (): Promise<void> => {
    if (busy) return;
    const number = phoneOf(phone.input.value);
    phone.setWrong(number === null);
    password.setWrong(password.input.value === '');
    if (number === null || password.input.value === '') {
      trouble = { key: number === null ? 'home.error.phone' : 'home.error.password' };
      (number === null ? phone : password).input.focus();
      write();
      return;
    }
    busy = true;
    trouble = null;
    write();
    const end = await logIn(number, password.input.value);
    busy = false;
    if ('done' in end) {
      done(end.done);
      return;
    }
    trouble = troubleOf(end);
    write();
  };

  const sent = (event: Event): void => {
    event.preventDefault();
    void submit();
  };
  const fields = [title, phone.element, password.element, problem, button];
  const element = h('form.panel', { novalidate: true, submit: sent }, ...fields);
  return {
    element,
    update(next) {
      t = next;
      write();
    },
  };
}

function troubleOf(end: Exclude<LoginEnd, { done: Role }>): Trouble {
  if (end.failed === 'limit') return { key: 'home.error.limit', params: { s: end.waitS } };
  return { key: `home.error.${end.failed}` };
}
