/**
 * How long to wait before something that failed is started again: 100 ms, then twice as long each
 * time, 5 s at most; from the beginning once it has lived for 10 s. Pure: the clock is the
 * caller's.
 */

export const FIRST_DELAY_MS = 100;
export const LONGEST_DELAY_MS = 5000;
/** A life of this length forgives all earlier failures. */
export const LONG_LIFE_MS = 10_000;

export class Backoff {
  private nextMs = FIRST_DELAY_MS;

  /**
   * It has failed. @param lifeMs how long it had run, 0 when it could not even start
   * @returns how long to wait, ms
   */
  failed(lifeMs: number): number {
    if (lifeMs >= LONG_LIFE_MS) this.nextMs = FIRST_DELAY_MS;
    const delayMs = this.nextMs;
    this.nextMs = Math.min(2 * delayMs, LONGEST_DELAY_MS);
    return delayMs;
  }
}
