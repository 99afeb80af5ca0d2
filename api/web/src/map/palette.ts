/**
 * The design's colours for the canvas, which cannot read CSS by itself.
 *
 * In:    the custom properties of `design/tokens.css` on the root element.
 * Out:   one plain object; read again when the theme changes.
 */

const NAMES = [
  'map-beyond',
  'map-land',
  'map-border',
  'map-outline',
  'map-label',
  'map-dot',
  'map-ring',
  'map-route',
  'map-casing',
  'map-guide',
  'map-near',
  'map-near-line',
  'map-halo',
  'surface',
  'ink',
  'ink-soft',
  'brand',
  'on-brand',
  'sun',
  'on-sun',
  'quiet',
] as const;

export type Palette = Record<(typeof NAMES)[number], string> & { dark: boolean };

export function readPalette(root: Element): Palette {
  const style = getComputedStyle(root);
  const dark = style.getPropertyValue('--is-dark').trim() === '1';
  const entries = NAMES.map((name) => [name, style.getPropertyValue(`--${name}`).trim()]);
  return { ...(Object.fromEntries(entries) as Record<(typeof NAMES)[number], string>), dark };
}
