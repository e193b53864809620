/**
 * Sequence number arithmetic modulo 2^32 on int32 (RFC 9293 3.4; Linux include/net/tcp.h: before,
 * after, between). `(a - b) | 0` is the signed distance; every comparison is relative and holds for
 * distances below 2^31.
 */

/** a < b. */
export function before(a: number, b: number): boolean {
  return ((a - b) | 0) < 0;
}

/** a > b. */
export function after(a: number, b: number): boolean {
  return ((b - a) | 0) < 0;
}

/** low ≤ x ≤ high. */
export function between(x: number, low: number, high: number): boolean {
  return (high - low) >>> 0 >= (x - low) >>> 0;
}

/** The later of two. */
export function seqMax(a: number, b: number): number {
  return ((a - b) | 0) > 0 ? a : b;
}

/** The earlier of two. */
export function seqMin(a: number, b: number): number {
  return ((a - b) | 0) < 0 ? a : b;
}
