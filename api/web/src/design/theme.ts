/**
 * Light or dark, as the device asks.
 *
 * In:    `prefers-color-scheme`, `prefers-reduced-motion`.
 * Out:   `data-theme` on the root element; a call when it changes.
 */

export function followTheme(changed: () => void): void {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const set = (): void => {
    document.documentElement.dataset.theme = dark.matches ? 'dark' : 'light';
    changed();
  };
  dark.addEventListener('change', set);
  set();
}

/** True when the person asked for less motion; asked each time, it may change. */
export function calmMotion(): () => boolean {
  const reduced = matchMedia('(prefers-reduced-motion: reduce)');
  return () => reduced.matches;
}
