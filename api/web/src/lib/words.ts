/**
 * Durations, distances and clock times as a person says them.
 *
 * In:    seconds, metres, epoch milliseconds.
 * Out:   words. Rounded the way a person rounds: never "6 min 43 s", never "1,234 m".
 * Never: uses the phone's time zone: an order in Rwanda is told in Rwandan time (UTC+2 all year).
 */
import type { Lang, Translate } from '../i18n/index.ts';

const KIGALI_AHEAD_MS = 2 * 3600 * 1000;

/** "about 7 min", "17–23 min", "about 1 h 20". */
export function etaWords(t: Translate, etaS: number): string {
  const minutes = etaS / 60;
  if (minutes < 1) return t('eta.under');
  if (minutes <= 10) return t('eta.about', { n: Math.round(minutes) });
  if (minutes < 60) {
    const [a, b] = etaRangeMin(minutes);
    return t('eta.range', { a, b });
  }
  const rounded = Math.round(minutes / 10) * 10;
  return t('eta.hours', { h: Math.floor(rounded / 60), m: pad(rounded % 60) });
}

/** Longer waits are told as a range: 15 % either way, on whole minutes, at least two apart. */
export function etaRangeMin(minutes: number): [number, number] {
  const a = Math.floor(minutes * 0.87);
  return [a, Math.max(a + 2, Math.ceil(minutes * 1.15))];
}

/** "350 m", "2.4 km", "18 km", each language with its own decimal mark. */
export function distanceWords(t: Translate, lang: Lang, metres: number): string {
  if (metres < 995) {
    const step = metres < 100 ? 10 : 50;
    return t('distance.m', { n: Math.max(step, Math.round(metres / step) * step) });
  }
  const km = metres / 1000;
  const n = km < 10 ? km.toFixed(1) : String(Math.round(km));
  return t('distance.km', { n: lang === 'en' ? n : n.replace('.', ',') });
}

/** "just now", "12 s ago", "2 min ago", "1 h 5 min ago". */
export function agoWords(t: Translate, ageS: number): string {
  if (ageS < 5) return t('ago.now');
  if (ageS < 60) return t('ago.seconds', { n: Math.floor(ageS) });
  const minutes = Math.floor(ageS / 60);
  if (minutes < 60) return t('ago.minutes', { n: minutes });
  return t('ago.hours', { h: Math.floor(minutes / 60), m: minutes % 60 });
}

/** "14:32" in Kigali. */
export function clockWords(epochMs: number): string {
  const kigali = new Date(epochMs + KIGALI_AHEAD_MS);
  return `${pad(kigali.getUTCHours())}:${pad(kigali.getUTCMinutes())}`;
}

/** A short, speakable end of an id: `ord_01J…8F3K` is `8F3K`. */
export function shortId(id: string): string {
  return id
    .replace(/^[a-z]+_/, '')
    .slice(-6)
    .toUpperCase();
}

function pad(n: number): string {
  return n < 10 ? `0${n}` : String(n);
}
