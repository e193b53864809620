/**
 * Arms a connection's one entry in the timer queue with the earliest of its timers. Firing is in
 * timers.ts.
 */

import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** Call after any of the deadlines has changed. Later deadlines are taken up lazily. */
export function armTimer(tcp: Tcp, tcb: Tcb): void {
  const due = Math.min(tcb.retransUs, tcb.delackUs, tcb.keepUs);
  if (due === Infinity) tcp.net.timers.cancel(tcb);
  else tcp.net.timers.arm(tcb, due);
}

/** (Re)starts the retransmission timer (RFC 6298 5.1, 5.3). */
export function armRetransmit(tcp: Tcp, tcb: Tcb): void {
  tcb.probing = false;
  tcb.retransUs = tcp.net.nowUs + tcb.rtoUs;
  armTimer(tcp, tcb);
}

/** Starts the window probe timer unless it runs (RFC 9293 3.8.6.1). */
export function armProbe(tcp: Tcp, tcb: Tcb, delayUs: number): void {
  if (tcb.retransUs !== Infinity) return;
  tcb.probing = true;
  tcb.retransUs = tcp.net.nowUs + delayUs;
  armTimer(tcp, tcb);
}

/** RFC 6298 5.2: nothing is outstanding any more. */
export function stopRetransmit(tcb: Tcb): void {
  tcb.retransUs = Infinity;
  tcb.probing = false;
}
