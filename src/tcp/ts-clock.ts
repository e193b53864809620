/** The timestamp clock (RFC 7323 5.4): 1 kHz plus a random offset per peer. */

/** TSval at `nowUs`, int32. */
export function tsNow(nowUs: number, offset: number): number {
  return (Math.floor(nowUs / 1000) + offset) | 0;
}
