/**
 * What a congestion control is to the rest of TCP (RFC 5681; Linux struct tcp_congestion_ops,
 * tcp_cong.c). One object per algorithm, shared by all connections; per-connection state hangs on
 * tcb.congestionState. cwnd and ssthresh are segments.
 */
import { inSlowStart, type Sender } from '../sender.js';
import type { Tcb } from '../tcb.js';

export interface Congestion {
  readonly name: string;
  /** `acked` segments were delivered while the window may grow. */
  congAvoid(tcb: Tcb, s: Sender, acked: number): void;
  /** A loss or a mark: the new ssthresh. */
  ssthresh(tcb: Tcb, s: Sender): number;
  /** The congestion state is about to become `to` (CA_*). */
  setState?(tcb: Tcb, to: number): void;
  /** Something leaves although nothing was in flight. */
  txStart?(tcb: Tcb): void;
  /** An ACK was taken; `rttUs` is the RTT of the last segment that it delivered, -1 = not known. */
  acked?(tcb: Tcb, s: Sender, rttUs: number): void;
}

/**
 * Is cwnd what holds the sender back (RFC 7661; Linux: tcp_is_cwnd_limited)? In slow start it may
 * grow to twice of what was in use.
 */
export function isCwndLimited(tcb: Tcb, s: Sender): boolean {
  if (s.cwndLimited) return true;
  return inSlowStart(tcb) && tcb.cwnd < 2 * s.maxPacketsOut;
}

/**
 * Slow start (RFC 9293 MUST-19): cwnd grows by what was acknowledged up to ssthresh; returns the
 * segments that are left over. RFC 3465's byte counting without its limit per ACK, as in Linux
 * (tcp_slow_start): a peer that merges ACKs loses nothing.
 */
export function slowStart(tcb: Tcb, acked: number): number {
  const cwnd = Math.min(tcb.cwnd + acked, tcb.ssthresh);
  const rest = acked - (cwnd - tcb.cwnd);
  tcb.cwnd = cwnd;
  return rest;
}

/**
 * Additive increase: one segment for every `w` that are acknowledged (Linux: tcp_cong_avoid_ai).
 */
export function congAvoidAi(tcb: Tcb, s: Sender, w: number, acked: number): void {
  // What was gathered at a larger w counts gently.
  if (s.cwndCnt >= w) {
    s.cwndCnt = 0;
    tcb.cwnd++;
  }
  s.cwndCnt += acked;
  if (s.cwndCnt >= w) {
    const grow = Math.floor(s.cwndCnt / w);
    s.cwndCnt -= grow * w;
    tcb.cwnd += grow;
  }
}
