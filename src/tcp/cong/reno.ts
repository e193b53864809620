/** Reno (RFC 5681): slow start, congestion avoidance by appropriate byte counting, half on loss. */
import type { Tcb } from '../tcb.js';
import { type Congestion, slowStart } from './congestion.js';

export const RENO: Congestion = {
  name: 'reno',

  onAck(tcb: Tcb, acked: number): void {
    const rest = slowStart(tcb, acked);
    if (rest > 0) tcb.cwnd += Math.max(1, Math.floor((tcb.sndMss * rest) / tcb.cwnd));
  },

  onLoss(tcb: Tcb): number {
    return Math.max(tcb.cwnd >> 1, 2 * tcb.sndMss);
  },

  onRto(tcb: Tcb): number {
    return Math.max(tcb.cwnd >> 1, 2 * tcb.sndMss);
  },

  onIdle(): void {},
};
