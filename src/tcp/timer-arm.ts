/**
 * Arms a connection's one entry in the timer queue with the earliest of its timers. Firing is in
 * timers.ts.
 */

import { NONE } from './rtx-queue.js';
import type { Sender } from './sender.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** What Tcb.retransUs is for (Linux: icsk_pending, ICSK_TIME_*). */
export const TIME_NONE = 0;
export const TIME_RETRANS = 1;
/** Window probe. */
export const TIME_PROBE0 = 3;
export const TIME_LOSS_PROBE = 5;
/** RACK waits for what may only be late. */
export const TIME_REO_TIMEOUT = 6;

/**
 * Call after any of the deadlines has changed. An entry that is due earlier is left where it is: it
 * fires, finds nothing due and comes here again. So a connection that puts its deadlines off and
 * draws them in again with each request moves its entry once in the time of a delayed ACK.
 */
export function armTimer(tcp: Tcp, tcb: Tcb): void {
  const { timers } = tcp.net;
  const due = Math.min(tcb.retransUs, tcb.delackUs, tcb.keepUs);
  if (due === Infinity) timers.cancel(tcb);
  else if (due < timers.dueUs(tcb)) timers.arm(tcb, due);
}

/** Sets the sender's timer, µs from now (Linux: tcp_reset_xmit_timer). */
export function armXmitTimer(tcb: Tcb, event: number, delayUs: number): void {
  const { tcp } = tcb;
  tcb.xmitTimer = event;
  tcb.retransUs = tcp.net.nowUs + delayUs;
  armTimer(tcp, tcb);
}

/** (Re)starts the retransmission timer (RFC 6298 5.1, 5.3). */
export function armRetransmit(tcp: Tcp, tcb: Tcb): void {
  tcb.xmitTimer = TIME_RETRANS;
  tcb.retransUs = tcp.net.nowUs + tcb.rtoUs;
  armTimer(tcp, tcb);
}

/** Starts the window probe timer unless a timer runs (RFC 9293 3.8.6.1). */
export function armProbe(tcb: Tcb, delayUs: number): void {
  if (tcb.retransUs !== Infinity) return;
  armXmitTimer(tcb, TIME_PROBE0, delayUs);
}

/** RFC 6298 5.2: nothing is outstanding any more. */
export function stopRetransmit(tcb: Tcb): void {
  tcb.retransUs = Infinity;
  tcb.xmitTimer = TIME_NONE;
}

/** How far away the time-out of the head is, µs; not positive: it is overdue. */
export function rtoDeltaUs(tcb: Tcb, s: Sender): number {
  const { net, rtx } = tcb.tcp;
  if (s.rtxHead === NONE) return tcb.rtoUs;
  return rtx.sentUs[s.rtxHead]! + tcb.rtoUs - net.nowUs;
}

/** Our SYN is not acknowledged, though text or a FIN may have left: the timer is the SYN's. */
export function handshaking(tcb: Tcb): boolean {
  return tcb.sndUna === tcb.iss && !tcb.synAcked;
}

/**
 * The retransmission timer after progress, or in the place of a loss probe or of RACK's wait, which
 * must not put it off (Linux: tcp_rearm_rto).
 */
export function rearmRto(tcb: Tcb, s: Sender): void {
  // The SYN's timer stays; but a child whose third ACK was no good never had one.
  if (handshaking(tcb) && tcb.retransUs !== Infinity) return;
  if (s.packetsOut === 0) {
    stopRetransmit(tcb);
    return;
  }
  const { xmitTimer } = tcb;
  const instead = xmitTimer === TIME_REO_TIMEOUT || xmitTimer === TIME_LOSS_PROBE;
  armXmitTimer(tcb, TIME_RETRANS, instead ? Math.max(rtoDeltaUs(tcb, s), 1) : tcb.rtoUs);
}
