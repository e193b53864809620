/**
 * SYN cookies (RFC 4987 3.6; Linux net/ipv4/syncookies.c): when the SYN queue is full, everything
 * that a half-open connection would remember goes into the ISN and the timestamp of the SYN-ACK and
 * comes back with the third ACK. The coding only; who sends and who accepts is input/cookie.ts.
 */
import type { Random } from '../net/env.js';
import { siphash } from '../net/siphash.js';
import { siphashKeys } from './secure-seq.js';
import type { Segment } from './segment.js';

/** Segment sizes that a cookie can remember: the largest that the peer's does not fall below. */
const MSS_TABLE: readonly number[] = [536, 1300, 1440, 1460];
/** Low bits of the cookie that carry hash and table index; the upper eight carry the minute. */
const COOKIE_MASK = 0xffffff;
const MINUTE_US = 60_000_000;
/** A cookie is good for this and the next minute of the counter. */
const MAX_MINUTES = 2;
/** Low bits of the timestamp: window shift (15 = none), SACK and ECN. */
const TS_BITS = 0x3f;
const TS_NO_WSCALE = 0xf;
const TS_SACK = 0x10;
const TS_ECN = 0x20;

/** Two independent keys, made when the first cookie is. */
export class CookieKeys {
  readonly base: Int32Array;
  readonly counted: Int32Array;

  constructor(random: Random) {
    this.base = siphashKeys(random);
    this.counted = siphashKeys(random);
  }
}

/** Options that a timestamp can remember. */
export interface CookieOptions {
  /** -1 = none. */
  wscale: number;
  sack: boolean;
  ecn: boolean;
}

function hash(keys: Int32Array, seg: Segment, count: number): number {
  return siphash(keys, seg.saddr, seg.daddr, (seg.sport << 16) | seg.dport, count);
}

/**
 * The ISN that stands for a SYN `seg` whose sender announced `mss` (Linux: secure_tcp_syn_cookie).
 */
export function cookieIsn(keys: CookieKeys, seg: Segment, mss: number, nowUs: number): number {
  let index = MSS_TABLE.length - 1;
  while (index > 0 && MSS_TABLE[index]! > mss) index--;
  const minute = Math.floor(nowUs / MINUTE_US);
  const low = (hash(keys.counted, seg, minute) + index) & COOKIE_MASK;
  return (hash(keys.base, seg, 0) + seg.seq + (minute << 24) + low) | 0;
}

/** The MSS in the cookie that the third ACK `seg` acknowledges, or 0 when it is none of ours. */
export function cookieMss(keys: CookieKeys, seg: Segment, nowUs: number): number {
  const cookie = (seg.ack - 1 - hash(keys.base, seg, 0) - (seg.seq - 1)) | 0;
  const minute = Math.floor(nowUs / MINUTE_US);
  const age = (minute - (cookie >>> 24)) & 0xff;
  if (age >= MAX_MINUTES) return 0;
  const index = (cookie - hash(keys.counted, seg, minute - age)) & COOKIE_MASK;
  return MSS_TABLE[index] ?? 0;
}

/** A timestamp not after `nowMs` whose low bits are the options (Linux: cookie_init_timestamp). */
export function cookieTimestamp(nowMs: number, options: CookieOptions): number {
  const wscale = options.wscale < 0 ? TS_NO_WSCALE : options.wscale;
  const bits = wscale | (options.sack ? TS_SACK : 0) | (options.ecn ? TS_ECN : 0);
  const stamp = (nowMs & ~TS_BITS) | bits;
  return ((stamp - nowMs) | 0) > 0 ? stamp - (TS_BITS + 1) : stamp;
}

/** The options in an echoed timestamp, its offset taken off (Linux: cookie_timestamp_decode). */
export function cookieOptions(stamp: number): CookieOptions {
  const wscale = stamp & TS_NO_WSCALE;
  return {
    wscale: wscale === TS_NO_WSCALE ? -1 : wscale,
    sack: (stamp & TS_SACK) !== 0,
    ecn: (stamp & TS_ECN) !== 0,
  };
}
