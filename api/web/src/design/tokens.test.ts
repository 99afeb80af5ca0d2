import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';

const css = readFileSync(new URL('./tokens.css', import.meta.url), 'utf8');
const [light = '', dark = ''] = css.split(":root[data-theme='dark']");

function token(theme: string, name: string): string {
  return new RegExp(`--${name}:\\s*(#[0-9a-f]{6})`).exec(theme)?.[1] ?? '';
}

/** WCAG relative luminance. */
function luminance(hex: string): number {
  const [r = 0, g = 0, b = 0] = [1, 3, 5].map((i) => {
    const c = parseInt(hex.slice(i, i + 2), 16) / 255;
    return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}

function contrast(a: string, b: string): number {
  const [x = 0, y = 0] = [luminance(a), luminance(b)].sort((p, q) => q - p);
  return (x + 0.05) / (y + 0.05);
}

/** Words on their ground: AA asks for 4.5. */
const WORDS: [ink: string, ground: string][] = [
  ['ink', 'surface'],
  ['ink', 'paper'],
  ['ink', 'sunken'],
  ['ink', 'map-land'],
  ['ink-soft', 'surface'],
  ['ink-soft', 'paper'],
  ['ink-soft', 'map-land'],
  ['on-brand', 'brand'],
  ['on-sun', 'sun'],
  ['amber', 'surface'],
  ['amber', 'sun-soft'],
  ['good', 'surface'],
  ['clay', 'surface'],
  ['clay', 'clay-soft'],
  ['quiet', 'surface'],
  ['link', 'surface'],
  ['map-label', 'map-land'],
  ['ink', 'hill-far'],
];

/** Shapes that carry meaning: AA asks for 3. */
const SHAPES: [shape: string, ground: string][] = [
  ['brand', 'map-land'],
  ['map-route', 'map-land'],
  ['quiet', 'map-land'],
  ['focus', 'surface'],
  ['quiet', 'paper'],
];

for (const [name, theme] of [
  ['light', light],
  ['dark', dark],
] as const) {
  describe(`the ${name} colours`, () => {
    it.each(WORDS)('%s on %s can be read', (ink, ground) => {
      expect(contrast(token(theme, ink), token(theme, ground))).toBeGreaterThanOrEqual(4.5);
    });

    it.each(SHAPES)('%s on %s can be seen', (shape, ground) => {
      expect(contrast(token(theme, shape), token(theme, ground))).toBeGreaterThanOrEqual(3);
    });
  });
}

it('dark redefines every colour that light defines', () => {
  const names = (theme: string): string[] =>
    [...theme.matchAll(/--([\w-]+):\s*(?:#|rgb)/g)].map((m) => m[1] ?? '').sort();
  expect(names(dark)).toEqual(names(light));
});
