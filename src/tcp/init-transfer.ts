/**
 * What a sender begins with once the handshake is over (RFC 6928, RFC 6298 2.2, 5.7; Linux
 * tcp_input.c: tcp_init_transfer, tcp_synack_rtt_meas, tcp_try_undo_spurious_syn, tcp_metrics.c:
 * tcp_init_metrics): congestion window, round-trip time, RTO.
 */
import { echoedRttUs, rttSample } from './rtt.js';
import type { Segment } from './segment.js';
import type { Tcb } from './tcb.js';
import { tsNow } from './ts-clock.js';

/** RFC 6928 2: ten segments. */
export const INITIAL_SEGMENTS = 10;
/** RFC 6298 5.7: RTO when the handshake has told no round-trip time. */
const RTO_FALLBACK_US = 3_000_000;

/**
 * Ten segments, or one when more than one SYN or SYN-ACK was lost (RFC 5681 3.1): `timeouts` of our
 * timer, and not if `seg`, which completes the handshake, echoes the timestamp of the first of
 * them, sent at `firstUs`.
 */
export function initialCwnd(
  tcb: Tcb,
  seg: Segment,
  timeouts: number,
  retransmissions: number,
  firstUs: number,
): number {
  if (timeouts === 0 || retransmissions <= 1) return INITIAL_SEGMENTS;
  const spurious = echoes(tcb, seg) && seg.tsecr === tsNow(firstUs, tcb.tsOffset);
  return spurious ? INITIAL_SEGMENTS : 1;
}

/**
 * Takes the round-trip time of the handshake: `rttUs`, or with -1 (SYN or SYN-ACK left more than
 * once, or a cookie does not know) what the timestamp that `seg` echoes tells.
 */
export function handshakeRtt(tcb: Tcb, seg: Segment, rttUs: number): void {
  const sampleUs = rttUs < 0 && echoes(tcb, seg) ? echoedRttUs(tcb, seg.tsecr) : rttUs;
  if (sampleUs >= 0) rttSample(tcb, sampleUs);
  if (tcb.srttUs > 0) return;
  tcb.rtoUs = tcb.rttvarUs = tcb.mdevUs = tcb.mdevMaxUs = RTO_FALLBACK_US;
}

function echoes(tcb: Tcb, seg: Segment): boolean {
  return tcb.tsOk && seg.hasTimestamp && seg.tsecr !== 0;
}
