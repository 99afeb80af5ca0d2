import { describe, expect, it } from 'vitest';
import { translator } from '../i18n/index.ts';
import { distanceM, fromLocal, latOf, lonOf, toLocal, turnDeg, worldX, worldY } from './geo.ts';
import { agoWords, clockWords, distanceWords, etaRangeMin, etaWords, shortId } from './words.ts';

const en = translator('en');
const rw = translator('rw');
const fr = translator('fr');

describe('words', () => {
  it('says a short wait as about, a longer one as a range, a long one in hours', () => {
    expect(etaWords(en, 30)).toBe('under 1 min');
    expect(etaWords(en, 7 * 60 + 10)).toBe('about 7 min');
    expect(etaWords(en, 20 * 60)).toBe('17–23 min');
    expect(etaWords(en, 81 * 60)).toBe('about 1 h 20');
    expect(etaWords(en, 119 * 60)).toBe('about 2 h 00');
    expect(etaWords(rw, 7 * 60)).toBe('nk’iminota 7');
    expect(etaWords(rw, 61)).toBe('nk’umunota 1');
  });

  it('keeps a range at least two minutes wide and round the estimate', () => {
    for (let minutes = 10; minutes < 60; minutes += 0.5) {
      const [a, b] = etaRangeMin(minutes);
      expect(a).toBeLessThanOrEqual(minutes);
      expect(b).toBeGreaterThanOrEqual(minutes);
      expect(b - a).toBeGreaterThanOrEqual(2);
    }
  });

  it('rounds distances as people do', () => {
    expect(distanceWords(en, 'en', 3)).toBe('10 m');
    expect(distanceWords(en, 'en', 372)).toBe('350 m');
    expect(distanceWords(en, 'en', 2430)).toBe('2.4 km');
    expect(distanceWords(fr, 'fr', 2430)).toBe('2,4 km');
    expect(distanceWords(rw, 'rw', 18_200)).toBe('km 18');
    expect(distanceWords(en, 'en', 996)).toBe('1.0 km');
  });

  it('says how long ago', () => {
    expect(agoWords(en, 1)).toBe('just now');
    expect(agoWords(en, 59.9)).toBe('59 s ago');
    expect(agoWords(en, 130)).toBe('2 min ago');
    expect(agoWords(en, 3900)).toBe('1 h 5 min ago');
    expect(agoWords(rw, 120)).toBe('hashize iminota 2');
  });

  it('tells the time of Kigali', () => {
    expect(clockWords(Date.UTC(2026, 8, 1, 22, 5))).toBe('00:05');
  });

  it('shortens ids', () => {
    expect(shortId('ord_01j8zq4m3k9f')).toBe('M3K9F'.padStart(6, '4'));
  });
});

describe('geometry', () => {
  const kigali = { lat: -1.9441, lon: 30.0619 };

  it('measures a known distance', () => {
    expect(distanceM(kigali, { lat: -2.5967, lon: 29.7394 })).toBeCloseTo(80_900, -3);
  });

  it('goes to local metres and back', () => {
    const p = { lat: -1.95, lon: 30.1 };
    const back = fromLocal(kigali, ...toLocal(kigali, p));
    expect(back.lat).toBeCloseTo(p.lat, 9);
    expect(back.lon).toBeCloseTo(p.lon, 9);
  });

  it('goes to the Mercator square and back', () => {
    expect(latOf(worldY(kigali.lat))).toBeCloseTo(kigali.lat, 9);
    expect(lonOf(worldX(kigali.lon))).toBeCloseTo(kigali.lon, 9);
  });

  it('turns on the short side', () => {
    expect(turnDeg(350, 10)).toBe(20);
    expect(turnDeg(10, 350)).toBe(-20);
    expect(turnDeg(0, 180)).toBe(180);
  });
});
