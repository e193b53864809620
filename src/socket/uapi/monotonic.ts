/**
 * A clock that all threads of a process share: performance.now() begins anew in each thread, but
 * runs on CLOCK_MONOTONIC as process.hrtime() does, so one comparison of the two is enough. Owns no
 * state.
 */

/** Comparisons at most; the best one counts. */
const TRIES = 5;
/** Good enough: no pause came between the readings, ms. */
const CLOSE_MS = 0.05;

/** What to add to the calling thread's performance.now() to get CLOCK_MONOTONIC, ms. */
export function monotonicOffsetMs(): number {
  let offsetMs = 0;
  let bestMs = Number.POSITIVE_INFINITY;
  for (let i = 0; i < TRIES && bestMs > CLOSE_MS; i++) {
    const before = performance.now();
    const [seconds, nanoseconds] = process.hrtime();
    const after = performance.now();
    if (after - before >= bestMs) continue;
    bestMs = after - before;
    offsetMs = seconds * 1000 + nanoseconds / 1e6 - (before + after) / 2;
  }
  return offsetMs;
}
