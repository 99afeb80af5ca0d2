/** A labelled field; a password can be shown. */
import './field.css';
import { h, setShown, setText } from '../lib/dom.ts';

export interface Field {
  element: HTMLElement;
  input: HTMLInputElement;
  setWrong(wrong: boolean): void;
  update(label: string, hint: string, show?: string, hide?: string): void;
}

let made = 0;

export function field(attributes: Record<string, string>): Field {
  made += 1;
  const id = `field-${made}`;
  const input = h('input.field-input', { id, ...attributes }) as HTMLInputElement;
  const label = h('label.field-label', { for: id });
  const hint = h('span.field-hint', { id: `${id}-hint` });
  const secret = attributes.type === 'password';
  let words: [show: string, hide: string] = ['', ''];
  const toggle = h('button.field-toggle', { type: 'button', click: flip });
  input.setAttribute('aria-describedby', `${id}-hint`);
  setShown(toggle, secret);

  function flip(): void {
    input.type = input.type === 'password' ? 'text' : 'password';
    write();
  }

  function write(): void {
    setText(toggle, words[input.type === 'password' ? 0 : 1]);
  }

  return {
    element: h('div.field', {}, label, h('div.field-box', {}, input, toggle), hint),
    input,
    setWrong: (wrong) => input.setAttribute('aria-invalid', String(wrong)),
    update(labelText, hintText, show = '', hide = '') {
      setText(label, labelText);
      setText(hint, hintText);
      setShown(hint, hintText !== '');
      words = [show, hide];
      write();
    },
  };
}
