/**
 * What TCP knows about a member of a reuseport group, for selectors: two of the questions of
 * reuseport/selector-request.ts: MemberState. The others are about threads and not answered here.
 */
import { RING_HEAD, RING_TAIL } from '../net/ring.js';
import type { SockCommon } from '../reuseport/sock-common.js';
import type { Tcb } from './tcb.js';

/**
 * Connections that wait in the accept queue of the listener `sk`. The cursors are read plainly: an
 * application may take one this moment, and `least` asks this of many members for one SYN.
 */
export function queueLength(sk: SockCommon): number {
  const tcb = sk as Tcb;
  const { ctl } = tcb.tcp;
  return (ctl[tcb.rcvRing + RING_TAIL]! - ctl[tcb.rcvRing + RING_HEAD]!) | 0;
}

/**
 * Connections that came through the listener `sk`, or were moved to it, and are still there,
 * waiting ones included; 0 before it listens.
 */
export function connections(sk: SockCommon): number {
  return (sk as Tcb).listen?.children ?? 0;
}
