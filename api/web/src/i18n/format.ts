/**
 * The one message format: a small, strict part of ICU MessageFormat.
 *
 * In:    `{name}`, `{name, select, a {…} other {…}}`, `{name, plural, one {…} other {…}}`, and `#`
 *        for the number inside a plural; parts may nest.
 * Out:   text. A parameter that is missing stays visible as `{name}`.
 * Never: HTML. What comes out is put into text nodes only.
 */

export type Params = Record<string, string | number>;

type Part =
  | string
  | { hash: true }
  | { name: string }
  | { name: string; plural: boolean; cases: Record<string, Part[]> };

/** Which plural form a number takes. English and Kinyarwanda: one is 1; French: 0 and 1. */
export function pluralForm(lang: string, n: number): 'one' | 'other' {
  if (lang === 'fr') return n >= 0 && n < 2 ? 'one' : 'other';
  return n === 1 ? 'one' : 'other';
}

/** Reads a message into parts; throws on unbalanced braces or a choice without `other`. */
export function parse(text: string): Part[] {
  let at = 0;

  function parts(nested: boolean): Part[] {
    const out: Part[] = [];
    let run = '';
    while (at < text.length) {
      const c = text.charAt(at);
      if (c === '}' && nested) break;
      if (c === '}') throw new Error(`unbalanced } in: ${text}`);
      if (c === '{' || (c === '#' && nested)) {
        if (run) out.push(run);
        run = '';
        at += 1;
        out.push(c === '#' ? { hash: true } : argument());
      } else {
        run += c;
        at += 1;
      }
    }
    if (run) out.push(run);
    return out;
  }

  function until(stop: RegExp): string {
    const from = at;
    while (at < text.length && !stop.test(text.charAt(at))) at += 1;
    if (at >= text.length) throw new Error(`unfinished { in: ${text}`);
    return text.slice(from, at).trim();
  }

  function argument(): Part {
    const name = until(/[,}]/);
    if (text.charAt(at++) === '}') return { name };
    const type = until(/,/);
    at += 1;
    const cases: Record<string, Part[]> = {};
    for (let word = until(/[{}]/); text.charAt(at) === '{'; word = until(/[{}]/)) {
      at += 1;
      cases[word] = parts(true);
      until(/}/);
      at += 1;
    }
    at += 1;
    if (!cases.other) throw new Error(`no "other" in: ${text}`);
    return { name, plural: type === 'plural', cases };
  }

  return parts(false);
}

/** Fills a message. */
export function format(lang: string, text: string, params: Params = {}): string {
  if (!text.includes('{')) return text;
  return fill(parse(text), '');

  function fill(parts: Part[], hash: string): string {
    return parts.map((part) => one(part, hash)).join('');
  }

  function one(part: Part, hash: string): string {
    if (typeof part === 'string') return part;
    if ('hash' in part) return hash;
    const value = params[part.name];
    if (value === undefined) return `{${part.name}}`;
    if (!('cases' in part)) return String(value);
    const word = part.plural ? pluralForm(lang, Number(value)) : String(value);
    return fill(part.cases[word] ?? part.cases.other ?? [], String(value));
  }
}
