/**
 * Initial sequence numbers (RFC 6528) and timestamp offsets: a keyed hash of the connection plus a
 * clock (Linux core/secure_seq.c: secure_tcp_seq, secure_tcp_ts_off).
 */
import type { Random } from '../net/env.js';
import { siphash } from '../net/siphash.js';

/** A fresh 128-bit key. */
export function siphashKeys(random: Random): Int32Array {
  return Int32Array.of(random.u32(), random.u32(), random.u32(), random.u32());
}

/**
 * ISN of a connection: unrelated between 4-tuples, +1 per 64 ns for the same one (RFC 9293 MUST-8,
 * MUST-9, SHLD-1, RFC 6528 3).
 */
export function secureTcpSeq(
  keys: Int32Array,
  saddr: number,
  daddr: number,
  sport: number,
  dport: number,
  nowUs: number,
): number {
  const hash = siphash(keys, saddr, daddr, (sport << 16) | dport, 0);
  return (hash + (Math.floor(nowUs * 15.625) | 0)) | 0;
}

/**
 * Offset of the timestamp clock of a connection, or with ports 0 of all connections to a peer:
 * nobody learns from it for how long we have been up.
 */
export function secureTcpTsOffset(
  keys: Int32Array,
  saddr: number,
  daddr: number,
  sport: number,
  dport: number,
): number {
  return siphash(keys, saddr, daddr, (sport << 16) | dport, 0);
}
