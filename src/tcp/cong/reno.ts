/**
 * Reno (RFC 5681, RFC 9293 MUST-19; Linux tcp_cong.c): slow start, one segment per window, half on
 * loss.
 */
import { inSlowStart, type Sender } from '../sender.js';
import type { Tcb } from '../tcb.js';
import { type Congestion, congAvoidAi, isCwndLimited, slowStart } from './congestion.js';

export const RENO: Congestion = {
  name: 'reno',

  congAvoid(tcb: Tcb, s: Sender, acked: number): void {
    if (!isCwndLimited(tcb, s)) return;
    let rest = acked;
    if (inSlowStart(tcb)) {
      rest = slowStart(tcb, acked);
      if (rest === 0) return;
    }
    congAvoidAi(tcb, s, tcb.cwnd, rest);
  },

  ssthresh(tcb: Tcb): number {
    return Math.max(tcb.cwnd >> 1, 2);
  },
};
