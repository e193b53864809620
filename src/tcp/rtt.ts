/**
 * Round-trip time and RTO (RFC 6298 with Linux's variance floor, tcp_input.c: tcp_rtt_estimator,
 * __tcp_set_rto). srtt gain 1/8, deviation gain 1/4 (1/32 while the RTT shrinks), rttvar follows
 * the largest deviation of each RTT and never falls below 200 ms, so that RTO = srtt + rttvar ≥
 * 200 ms.
 */
import { after } from './seq.js';
import { RTO_MAX_US, RTO_MIN_US, type Tcb } from './tcb.js';

/** Takes one sample, µs (≥ 1). */
export function rttSample(tcb: Tcb, rttUs: number): void {
  const sample = Math.max(1, rttUs);
  if (tcb.srttUs === 0) {
    tcb.srttUs = sample;
    tcb.mdevUs = 2 * sample;
    tcb.mdevMaxUs = Math.max(tcb.mdevUs, RTO_MIN_US);
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
      tcb.mdevMaxUs = RTO_MIN_US;
    }
  }
  setRto(tcb);
}

/** RTO from the estimator, without back-off; there has been a sample. */
export function setRto(tcb: Tcb): void {
  tcb.rtoUs = Math.min(Math.floor(tcb.srttUs + tcb.rttvarUs), RTO_MAX_US);
}
