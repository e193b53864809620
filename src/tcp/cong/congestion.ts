/**
 * What a congestion control is to the rest of TCP (RFC 5681; Linux struct tcp_congestion_ops). One
 * object per algorithm, shared by all connections; per-connection state hangs on
 * tcb.congestionState. cwnd and ssthresh are bytes.
 */
import type { Tcb } from '../tcb.js';

export interface Congestion {
  readonly name: string;
  /** `acked` new bytes were acknowledged while not in recovery and cwnd was the limit. */
  onAck(tcb: Tcb, acked: number, nowUs: number): void;
  /** A loss was found by duplicate ACKs or SACK: the new ssthresh. */
  onLoss(tcb: Tcb): number;
  /** The retransmission timer fired: the new ssthresh. */
  onRto(tcb: Tcb): number;
  /** The connection was idle for longer than an RTO. */
  onIdle(tcb: Tcb, nowUs: number): void;
}

/**
 * Slow start: cwnd grows by what was acknowledged up to ssthresh; returns the bytes that are left
 * over. RFC 3465's byte counting without its limit per ACK, as in Linux (tcp_slow_start): a peer
 * that merges ACKs loses nothing.
 */
export function slowStart(tcb: Tcb, acked: number): number {
  const grow = Math.min(acked, Math.max(0, tcb.ssthresh - tcb.cwnd));
  tcb.cwnd += grow;
  return acked - grow;
}
