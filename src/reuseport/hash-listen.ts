/**
 * listen()'s half of the tables (Linux net/ipv4/inet_hashtables.c: __inet_hash, inet_unhash,
 * inet_reuseport_add_sock): a listener enters lhash2 and its reuseport group, and leaves both. Its
 * port it has got before (get-port.ts).
 */
import { assert } from '../net/assert.js';
import { TCP_LISTEN } from '../net/tcp-states.js';
import {
  reuseportAddSock,
  reuseportAlloc,
  reuseportDrainSock,
  reuseportIsClosed,
  reuseportResurrect,
  reuseportStopListenSock,
} from './group.js';
import type { InetHashinfo } from './hashinfo.js';
import type { SockCommon } from './sock-common.js';

/**
 * May `sk` join the group of the listener `sk2`? Both have the same local address and port, as they
 * stand under one key of lhash2; the family tells 0.0.0.0 from `::`.
 */
function sameGroup(sk: SockCommon, sk2: SockCommon): boolean {
  return (
    sk2.family === sk.family &&
    sk2.ipv6only === sk.ipv6only &&
    sk2.boundDevIf === sk.boundDevIf &&
    sk2.reuseport &&
    sk2.uid === sk.uid
  );
}

/** A listener whose group `sk` joins, or null. */
function findGroupmate({ lhash2 }: InetHashinfo, sk: SockCommon): SockCommon | null {
  for (let slot = lhash2.first(sk.rcvSaddr, sk.num); slot >= 0; slot = lhash2.next(slot)) {
    const sk2 = lhash2.sockAt(slot);
    if (sameGroup(sk, sk2)) return sk2;
  }
  return null;
}

/** Linux 6.1 net/ipv4/inet_hashtables.c: inet_reuseport_add_sock. 0, -EBUSY or -ENOMEM. */
function inetReuseportAddSock(hashinfo: InetHashinfo, sk: SockCommon): number {
  const bindInany = sk.rcvSaddr === 0;
  const sk2 = findGroupmate(hashinfo, sk);
  if (sk2 !== null) return reuseportAddSock(hashinfo, sk, sk2, bindInany);
  return reuseportAlloc(hashinfo, sk, bindInany);
}

/**
 * Linux 6.1 net/ipv4/inet_hashtables.c: __inet_hash. `sk` (state LISTEN, owner of its port) joins
 * its reuseport group, if SO_REUSEPORT is set now, and becomes visible to lookups.
 * @returns 0; -EBUSY: it is in a group with others; -ENOMEM: the group is full; then it does not
 *   listen
 */
export function inetHashListen(hashinfo: InetHashinfo, sk: SockCommon): number {
  assert(sk.state === TCP_LISTEN && sk.bindBucket !== null, 'listener without state or port');
  if (sk.reuseport) {
    const error = inetReuseportAddSock(hashinfo, sk);
    if (error !== 0) return error;
  }
  hashinfo.lhash2.insert(sk);
  return 0;
}

/**
 * Linux 6.1 net/ipv4/inet_hashtables.c: inet_unhash, for a listener. Lookups do not find it any
 * more; it leaves its group or, when its unfinished connections may migrate, moves to the closed
 * section (then call reuseportDetachSock when the socket is destroyed). No-op when it does not
 * listen.
 */
export function inetUnhashListen(hashinfo: InetHashinfo, sk: SockCommon): void {
  if (sk.lhash2Slot < 0) return;
  reuseportStopListenSock(hashinfo, sk);
  hashinfo.lhash2.remove(sk);
}

/**
 * Our own, for a listener that drains: lookups do not find it any more, but it keeps its group, in
 * the closed section, to come back to or to hand its connections to when it stops.
 */
export function inetDrainListen(hashinfo: InetHashinfo, sk: SockCommon): void {
  reuseportDrainSock(sk);
  hashinfo.lhash2.remove(sk);
}

/**
 * The way back: `sk` becomes the last member of the group that listens at its address now, or else
 * of its own, which keeps its selector.
 * @returns 0; -EBUSY, -ENOMEM: as inetHashListen, and `sk` goes on draining
 */
export function inetUndrainListen(hashinfo: InetHashinfo, sk: SockCommon): number {
  const own = sk.reuseportCb;
  if (
    sk.reuseport &&
    own !== null &&
    reuseportIsClosed(sk) &&
    findGroupmate(hashinfo, sk) === null
  ) {
    reuseportResurrect(hashinfo, sk, own, own.bindInany);
  }
  return inetHashListen(hashinfo, sk);
}
