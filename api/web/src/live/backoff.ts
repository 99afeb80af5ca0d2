/**
 * How long to wait before the next try.
 *
 * In:    how many tries failed in a row; a random number in [0, 1).
 * Out:   milliseconds: half of the step is sure, half is jitter, so that ten thousand pages do not
 *        come back in one second after a restart.
 */

const FIRST_MS = 500;
const LONGEST_MS = 20_000;

export function waitMs(failures: number, random: number): number {
  const step = Math.min(LONGEST_MS, FIRST_MS * 2 ** Math.min(failures, 10));
  return step / 2 + (step / 2) * random;
}
