/**
 * HyStart (Ha and Rhee, "Taming the elephants"; Linux tcp_cubic.c: hystart_update): ends slow start
 * before it loses anything, when a train of ACKs gets as long as half of the round trip, or when
 * the round trip gets longer.
 */
import { Mib } from '../../net/mib.js';
import { GSO_MAX_BYTES } from '../mss.js';
import type { Sender } from '../sender.js';
import { after } from '../seq.js';
import type { Tcb } from '../tcb.js';

/** Smaller windows are left alone, segments. */
const LOW_WINDOW = 16;
/** ACKs that are not further apart belong to one train, µs. */
const ACK_DELTA_US = 2000;
/** Samples of a round before its RTT counts. */
const MIN_SAMPLES = 8;
/** How much longer the round trip may be: an eighth, between these, µs. */
const DELAY_MIN_US = 4000;
const DELAY_MAX_US = 16_000;
const TRAIN_SLACK_MOST_US = 1000;

export interface HystartState {
  /** Smallest RTT of the connection, µs; 0 = none yet. */
  delayMinUs: number;
  /** Slow start has ended by HyStart. */
  found: boolean;
  roundStartUs: number;
  /** The round ends when this is acknowledged. */
  endSeq: number;
  /** Last ACK of the train. */
  lastAckUs: number;
  /** Smallest RTT of the round. */
  currRttUs: number;
  samples: number;
}

/** A new round begins. */
export function hystartReset(tcb: Tcb, h: HystartState): void {
  h.roundStartUs = h.lastAckUs = tcb.tcp.net.nowUs;
  h.endSeq = tcb.sndNxt;
  h.currRttUs = Infinity;
  h.samples = 0;
}

/** How much longer a train may be because links merge packets, µs. */
function ackDelayUs(s: Sender): number {
  return Math.min(TRAIN_SLACK_MOST_US, (GSO_MAX_BYTES * 4e6) / s.pacingRate);
}

/** In slow start an ACK has come whose segment took `delayUs`. */
export function hystartUpdate(tcb: Tcb, s: Sender, h: HystartState, delayUs: number): void {
  const { net } = tcb.tcp;
  if (after(tcb.sndUna, h.endSeq)) hystartReset(tcb, h);
  if (tcb.cwnd < LOW_WINDOW) return;
  if (net.nowUs - h.lastAckUs <= ACK_DELTA_US) {
    h.lastAckUs = net.nowUs;
    const threshold = (h.delayMinUs + ackDelayUs(s)) / 2;
    if (net.nowUs - h.roundStartUs > threshold) {
      h.found = true;
      net.count(Mib.TCPHystartTrainDetect);
      net.count(Mib.TCPHystartTrainCwnd, tcb.cwnd);
      tcb.ssthresh = tcb.cwnd;
    }
  }
  if (delayUs < h.currRttUs) h.currRttUs = delayUs;
  if (h.samples < MIN_SAMPLES) {
    h.samples++;
    return;
  }
  const slack = Math.min(Math.max(h.delayMinUs / 8, DELAY_MIN_US), DELAY_MAX_US);
  if (h.currRttUs <= h.delayMinUs + slack) return;
  h.found = true;
  net.count(Mib.TCPHystartDelayDetect);
  net.count(Mib.TCPHystartDelayCwnd, tcb.cwnd);
  tcb.ssthresh = tcb.cwnd;
}
