/**
 * Whose packet is this (Linux net/ipv4/inet_hashtables.c: __inet_lookup): a connection, else a
 * listener bound to the exact address, else one bound to any address; and of a reuseport group
 * which member. When somebody wants to know why, each step is written to `hashinfo.decision`.
 * Parameters are named as in the packet: saddr and sport are the peer's.
 */
import type { Skb } from '../net/skb.js';
import type { Decision } from './decision.js';
import { inetEhashfn } from './ehash.js';
import type { InetHashinfo } from './hashinfo.js';
import { computeScore } from './score.js';
import { PICKED_BY_NONE, reuseportSelectSock } from './select.js';
import type { SockCommon } from './sock-common.js';

/**
 * Linux 6.1 net/ipv4/inet_hashtables.c: __inet_lookup_established. The connection, request or
 * time-wait socket with these addresses and ports, or null.
 * @param dif ingress interface
 */
export function inetLookupEstablished(
  hashinfo: InetHashinfo,
  saddr: number,
  sport: number,
  daddr: number,
  dport: number,
  dif: number,
): SockCommon | null {
  const hash = inetEhashfn(hashinfo, daddr, dport, saddr, sport);
  const sk = hashinfo.ehash.lookup(hash, saddr, daddr, (sport << 16) | dport, dif);
  hashinfo.visited = hashinfo.ehash.visited;
  hashinfo.decision?.recordEstablished(hashinfo, hash, sk);
  return sk;
}

/**
 * Linux 6.1 net/ipv4/inet_hashtables.c: inet_lookup_reuseport. The member of the group of `sk` for
 * this flow, or null.
 * @param addr key address of the scan: a wildcard group hashes with 0.0.0.0, whatever address the
 *   packet came to
 */
function inetLookupReuseport(
  hashinfo: InetHashinfo,
  sk: SockCommon,
  addr: number,
  saddr: number,
  sport: number,
  daddr: number,
  dport: number,
  skb: Skb | null,
): SockCommon | null {
  const phash = inetEhashfn(hashinfo, addr, dport, saddr, sport);
  const picked = reuseportSelectSock(hashinfo, sk, phash, saddr, sport, daddr, dport, skb);
  if (picked === null) return null;
  hashinfo.phash = phash;
  hashinfo.slot = picked.reuseportSlot;
  hashinfo.members = picked.reuseportCb!.numSocks;
  hashinfo.decision?.recordPick(hashinfo, picked);
  return picked;
}

/**
 * Linux 5.0 net/ipv4/inet_hashtables.c: inet_lhash2_lookup. One scan over the listeners of (addr,
 * dport) in list order: the best score, the first of equals; but the first listener with
 * SO_REUSEPORT that scores ends the scan with a member of its group.
 * @param addr daddr in the exact scan, 0 in the wildcard scan
 */
export function inetLhash2Lookup(
  hashinfo: InetHashinfo,
  addr: number,
  saddr: number,
  sport: number,
  daddr: number,
  dport: number,
  dif: number,
  skb: Skb | null,
): SockCommon | null {
  const { lhash2, profile, decision } = hashinfo;
  const cpu = skb === null ? 0 : skb.cpu;
  let best: SockCommon | null = null;
  let hiscore = 0;
  decision?.recordScan(lhash2.bucketOf(addr, dport), addr === daddr);
  for (let slot = lhash2.first(addr, dport); slot >= 0; slot = lhash2.next(slot)) {
    const sk = lhash2.sockAt(slot);
    hashinfo.visited++;
    const score = computeScore(profile, sk, addr, dport, dif, cpu);
    decision?.recordCandidate(profile, sk, addr, score);
    if (score <= hiscore) continue;
    if (sk.reuseport) {
      const picked = inetLookupReuseport(hashinfo, sk, addr, saddr, sport, daddr, dport, skb);
      if (picked !== null) return picked;
    }
    best = sk;
    hiscore = score;
  }
  return best;
}

/** Both scans; the decision, if any, has been begun. */
function lookupListener(
  hashinfo: InetHashinfo,
  saddr: number,
  sport: number,
  daddr: number,
  dport: number,
  dif: number,
  skb: Skb | null,
): SockCommon | null {
  hashinfo.phash = 0;
  hashinfo.slot = -1;
  hashinfo.members = 0;
  hashinfo.pickedBy = PICKED_BY_NONE;
  const sk =
    inetLhash2Lookup(hashinfo, daddr, saddr, sport, daddr, dport, dif, skb) ??
    inetLhash2Lookup(hashinfo, 0, saddr, sport, daddr, dport, dif, skb);
  hashinfo.decision?.recordListener(sk);
  return sk;
}

/** Begins `decision` with the question that a lookup answers. */
function beginDecision(
  decision: Decision,
  hashinfo: InetHashinfo,
  saddr: number,
  sport: number,
  daddr: number,
  dport: number,
  dif: number,
  skb: Skb | null,
): void {
  decision.begin(hashinfo);
  decision.saddr = saddr;
  decision.sport = sport;
  decision.daddr = daddr;
  decision.dport = dport;
  decision.dif = dif;
  decision.cpu = skb === null ? 0 : skb.cpu;
}

/**
 * Linux 6.1 net/ipv4/inet_hashtables.c: __inet_lookup_listener. The listener for a SYN to (daddr,
 * dport), or null. An exact address always beats 0.0.0.0. Leaves phash, slot, members and pickedBy
 * in `hashinfo`.
 * @param skb the packet, whose CPU and selector count; null asks without one
 */
export function inetLookupListener(
  hashinfo: InetHashinfo,
  saddr: number,
  sport: number,
  daddr: number,
  dport: number,
  dif: number,
  skb: Skb | null,
): SockCommon | null {
  hashinfo.visited = 0;
  if (hashinfo.decision !== null) {
    beginDecision(hashinfo.decision, hashinfo, saddr, sport, daddr, dport, dif, skb);
  }
  return lookupListener(hashinfo, saddr, sport, daddr, dport, dif, skb);
}

/**
 * Linux 6.1 include/net/inet_hashtables.h: __inet_lookup. The socket that a TCP segment belongs to:
 * established table first, then listeners; null = nobody's. Addresses are int32 bit patterns.
 */
export function inetLookup(
  hashinfo: InetHashinfo,
  saddr: number,
  sport: number,
  daddr: number,
  dport: number,
  dif: number,
  skb: Skb | null,
): SockCommon | null {
  if (hashinfo.decision !== null) {
    beginDecision(hashinfo.decision, hashinfo, saddr, sport, daddr, dport, dif, skb);
  }
  const sk = inetLookupEstablished(hashinfo, saddr, sport, daddr, dport, dif);
  if (sk !== null) return sk;
  return lookupListener(hashinfo, saddr, sport, daddr, dport, dif, skb);
}
