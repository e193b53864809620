/**
 * How older kernels found a listener, written from their documented behaviour over the same
 * sockets for `lab lookup`; the stack itself never uses this. Both walk the bucket of the port
 * alone (listening_hash, 32 buckets), newest listener first, addresses mixed.
 *
 * Linux 3.9 (Herbert 2013): every listener of the bucket is scored; among equals with SO_REUSEPORT
 * a die seeded with the flow hash keeps each with the same chance (reservoir sampling). Linux 4.6
 * (Gallek 2016): the first reuseport listener that scores higher ends the walk, its group being an
 * array that is indexed by the hash.
 */
import { reciprocalScale } from '../net/hash.js';
import { inetEhashfn } from '../reuseport/ehash.js';
import type { InetHashinfo } from '../reuseport/hashinfo.js';
import type { SockCommon } from '../reuseport/sock-common.js';

export interface OldLookup {
  readonly sk: SockCommon | null;
  /** Listeners that were scored. */
  readonly visited: number;
}

/** A SYN from saddr:sport to daddr:dport; addresses are int32. */
export interface Flow {
  readonly saddr: number;
  readonly sport: number;
  readonly daddr: number;
  readonly dport: number;
}

/** compute_score until 4.20, without devices and CPUs: an exact address beats the wildcard. */
function oldScore(sk: SockCommon, { daddr, dport }: Flow): number {
  if (sk.num !== dport) return -1;
  if (sk.rcvSaddr === 0) return 2;
  return sk.rcvSaddr === daddr ? 6 : -1;
}

/** The kernel's cheap generator of the next draw: a linear congruence modulo 2^32. */
function nextDraw(draw: number): number {
  return (Math.imul(draw, 1_664_525) + 1_013_904_223) | 0;
}

/** Linux 3.9 net/ipv4/inet_hashtables.c: __inet_lookup_listener. @param bucket newest first */
export function lookup39(
  hashinfo: InetHashinfo,
  bucket: readonly SockCommon[],
  flow: Flow,
): OldLookup {
  let best: SockCommon | null = null;
  let hiscore = 0;
  let matches = 0;
  let draw = 0;
  for (const sk of bucket) {
    const score = oldScore(sk, flow);
    if (score > hiscore) {
      best = sk;
      hiscore = score;
      matches = 1;
      draw = inetEhashfn(hashinfo, flow.daddr, flow.dport, flow.saddr, flow.sport);
    } else if (score === hiscore && best?.reuseport === true) {
      matches++;
      if (reciprocalScale(draw, matches) === 0) best = sk;
      draw = nextDraw(draw);
    }
  }
  return { sk: best, visited: bucket.length };
}

/** Linux 4.6 net/ipv4/inet_hashtables.c: __inet_lookup_listener. @param bucket newest first */
export function lookup46(
  hashinfo: InetHashinfo,
  bucket: readonly SockCommon[],
  flow: Flow,
): OldLookup {
  let best: SockCommon | null = null;
  let hiscore = 0;
  let visited = 0;
  for (const sk of bucket) {
    visited++;
    const score = oldScore(sk, flow);
    if (score <= hiscore) continue;
    const group = sk.reuseportCb;
    if (sk.reuseport && group !== null) {
      const phash = inetEhashfn(hashinfo, flow.daddr, flow.dport, flow.saddr, flow.sport);
      return { sk: group.socks[reciprocalScale(phash, group.numSocks)]!, visited };
    }
    best = sk;
    hiscore = score;
  }
  return { sk: best, visited };
}
