/**
 * The pages' words in three languages.
 *
 * In:    a key of `en.json` and its parameters.
 * Out:   text in the language of the moment.
 * Keeps: the language chosen by hand, in this browser.
 * Never: shows a key: `rw.json` and `fr.json` have every key of `en.json`, or the build fails.
 */
import en from './en.json';
import fr from './fr.json';
import rw from './rw.json';
import { format, type Params } from './format.ts';

export type MessageKey = keyof typeof en;
export type Lang = 'en' | 'rw' | 'fr';
export type Translate = (key: MessageKey, params?: Params) => string;

const MESSAGES: Record<Lang, Record<MessageKey, string>> = { en, rw, fr };

/** In the order in which they are offered; each names itself. */
export const LANGS: readonly { lang: Lang; short: string; name: string }[] = [
  { lang: 'rw', short: 'RW', name: 'Ikinyarwanda' },
  { lang: 'en', short: 'EN', name: 'English' },
  { lang: 'fr', short: 'FR', name: 'Français' },
];

const STORED_AS = 'inzira-lang';

export function isLang(value: unknown): value is Lang {
  return value === 'en' || value === 'rw' || value === 'fr';
}

/** Chosen by hand before, else what the server says, else the browser's first that we speak. */
export function firstLang(offered: unknown): Lang {
  const stored = read();
  if (isLang(stored)) return stored;
  if (isLang(offered)) return offered;
  const spoken = navigator.languages.map((tag) => tag.slice(0, 2)).find(isLang);
  return spoken ?? 'en';
}

export function rememberLang(lang: Lang): void {
  try {
    localStorage.setItem(STORED_AS, lang);
  } catch {
    // Storage may be forbidden; the choice then lasts as long as the page.
  }
}

export function translator(lang: Lang): Translate {
  return (key, params) => format(lang, MESSAGES[lang][key], params);
}

function read(): string | null {
  try {
    return localStorage.getItem(STORED_AS);
  } catch {
    return null;
  }
}
