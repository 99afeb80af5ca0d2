import { describe, expect, it } from 'vitest';
import en from './en.json';
import fr from './fr.json';
import rw from './rw.json';
import { format, parse, pluralForm } from './format.ts';

const all = { en, rw, fr } as Record<string, Record<string, string>>;

function paramsOf(text: string): string[] {
  const names = new Set<string>();
  const walk = (parts: ReturnType<typeof parse>): void => {
    for (const part of parts) {
      if (typeof part === 'string' || 'hash' in part) continue;
      names.add(part.name);
      if ('cases' in part) Object.values(part.cases).forEach(walk);
    }
  };
  walk(parse(text));
  return [...names].sort();
}

describe('the three languages', () => {
  for (const [lang, messages] of Object.entries(all)) {
    it(`${lang} has every key, and no other`, () => {
      expect(Object.keys(messages).sort()).toEqual(Object.keys(en).sort());
    });

    it(`${lang} asks for the same parameters as English`, () => {
      for (const [key, text] of Object.entries(messages)) {
        expect([key, paramsOf(text)]).toEqual([
          key,
          paramsOf((en as Record<string, string>)[key] ?? ''),
        ]);
      }
    });

    it(`${lang} has no empty message, straight apostrophe or stray space`, () => {
      for (const [key, text] of Object.entries(messages)) {
        expect([key, text.trim()]).toEqual([key, text]);
        expect([key, text.includes("'"), text.length > 0]).toEqual([key, false, true]);
      }
    });
  }
});

describe('the message format', () => {
  it('fills parameters', () => {
    expect(format('en', 'Seen {ago}', { ago: '2 min ago' })).toBe('Seen 2 min ago');
  });

  it('leaves a missing parameter visible', () => {
    expect(format('en', 'Seen {ago}')).toBe('Seen {ago}');
  });

  it('chooses a plural and puts the number for #', () => {
    const text = '{n, plural, one {umunota #} other {iminota #}}';
    expect(format('rw', text, { n: 1 })).toBe('umunota 1');
    expect(format('rw', text, { n: 7 })).toBe('iminota 7');
  });

  it('counts as each language does', () => {
    expect(pluralForm('fr', 0)).toBe('one');
    expect(pluralForm('en', 0)).toBe('other');
  });

  it('chooses by word and falls back to other', () => {
    const text = '{kind, select, ride {On board} other {Picked up}}';
    expect(format('en', text, { kind: 'ride' })).toBe('On board');
    expect(format('en', text, { kind: 'delivery' })).toBe('Picked up');
  });

  it('nests', () => {
    const text = '{h, plural, one {# h {m}} other {# hh {m}}}!';
    expect(format('en', text, { h: 2, m: 5 })).toBe('2 hh 5!');
  });

  it('refuses a choice without other, and unbalanced braces', () => {
    expect(() => parse('{n, plural, one {a}}')).toThrow(/other/);
    expect(() => parse('{n')).toThrow();
    expect(() => parse('n}')).toThrow();
  });
});
