/**
 * Round-trip time and RTO (RFC 9293 MUST-18: RFC 6298 2 with Linux's variance floor, tcp_input.c:
 * tcp_rtt_estimator, __tcp_set_rto). srtt gain 1/8, deviation gain 1/4 (1/32 while the RTT
 * shrinks), rttvar follows the largest deviation of each RTT and never falls below 200 ms
 * (net.ipv4.tcp_rto_min_us), so that RTO = srtt + rttvar ≥ 200 ms.
 */
import { after } from './seq.js';
import type { Tcb } from './tcb.js';
import { tsNow } from './ts-clock.js';

/** Least RTT that a timestamp can tell, µs, and the most that Linux believes, in units of it. */
const TICK_US = 1000;
const ECHO_TICKS_MOST = 2_147_482;

/** Least wait between two window probes (TCP_TIMEOUT_MIN: two ticks of a kernel with HZ=250). */
const PROBE_LEAST_US = 8000;

/** Takes one sample, µs (≥ 1). */
export function rttSample(tcb: Tcb, rttUs: number): void {
  const { tcpRtoMinUs } = tcb.tcp.net.sysctl;
  const sample = Math.max(1, rttUs);
  // RFC 6298 2.2, 2.3.
  if (tcb.srttUs === 0) {
    tcb.srttUs = sample;
    tcb.mdevUs = 2 * sample;
    tcb.mdevMaxUs = Math.max(tcb.mdevUs, tcpRtoMinUs);
    tcb.rttvarUs = tcb.mdevMaxUs;
    tcb.rttvarSeq = tcb.sndNxt;
  } else {
    const error = sample - tcb.srttUs;
    tcb.srttUs += error / 8;
    // mdev is kept as the fourfold deviation, as it enters the RTO.
    let deviation = Math.abs(error) - tcb.mdevUs / 4;
    if (error < 0 && deviation > 0) deviation /= 8;
    tcb.mdevUs += deviation;
    if (tcb.mdevUs > tcb.mdevMaxUs) {
      tcb.mdevMaxUs = tcb.mdevUs;
      if (tcb.mdevMaxUs > tcb.rttvarUs) tcb.rttvarUs = tcb.mdevMaxUs;
    }
    if (after(tcb.sndUna, tcb.rttvarSeq)) {
      if (tcb.mdevMaxUs < tcb.rttvarUs) tcb.rttvarUs -= (tcb.rttvarUs - tcb.mdevMaxUs) / 4;
      tcb.rttvarSeq = tcb.sndNxt;
      tcb.mdevMaxUs = tcpRtoMinUs;
    }
  }
  setRto(tcb);
}

/** The round-trip time that an echoed timestamp tells, µs; -1: it is none of ours. */
export function echoedRttUs(tcb: Tcb, tsecr: number): number {
  const ticks = (tsNow(tcb.tcp.net.nowUs, tcb.tsOffset) - tsecr) | 0;
  return ticks < 0 || ticks > ECHO_TICKS_MOST ? -1 : Math.max(ticks, 1) * TICK_US;
}

/** RTO from the estimator, without back-off; there has been a sample. */
export function setRto(tcb: Tcb): void {
  tcb.rtoUs = Math.min(Math.floor(tcb.srttUs + tcb.rttvarUs), rtoMaxUs(tcb));
}

/** Largest RTO, µs: net.ipv4.tcp_rto_max_ms. */
export function rtoMaxUs(tcb: Tcb): number {
  return tcb.tcp.net.sysctl.tcpRtoMaxMs * 1000;
}

/** When the next window probe is due, µs from now (Linux: tcp_probe0_when). */
export function probe0WhenUs(tcb: Tcb): number {
  const { sysctl, nowUs } = tcb.tcp.net;
  const whenUs = Math.min(
    Math.max(tcb.rtoUs, sysctl.tcpRtoMinUs) * 2 ** tcb.backoff,
    rtoMaxUs(tcb),
  );
  if (tcb.userTimeoutMs === 0 || tcb.probesStampUs === 0) return whenUs;
  // RFC 5482: not later than the user would give up (Linux: tcp_clamp_probe0_to_user_timeout).
  const leftUs = tcb.probesStampUs + tcb.userTimeoutMs * 1000 - nowUs;
  return Math.min(whenUs, Math.max(leftUs, PROBE_LEAST_US));
}
