/**
 * What TCP knows about a member of a reuseport group, for selectors: two of the questions of
 * reuseport/selector-request.ts: MemberState. The others are about threads and not answered here.
 */
import type { SockCommon } from '../reuseport/sock-common.js';
import { acceptQueueLength } from './accept-queue.js';
import type { Tcb } from './tcb.js';

/** Connections that wait in the accept queue of the listener `sk`. */
export function queueLength(sk: SockCommon): number {
  const tcb = sk as Tcb;
  return acceptQueueLength(tcb.tcp, tcb);
}

/**
 * Connections that came through the listener `sk`, or were moved to it, and are still there,
 * waiting ones included; 0 before it listens.
 */
export function connections(sk: SockCommon): number {
  return (sk as Tcb).listen?.children ?? 0;
}
