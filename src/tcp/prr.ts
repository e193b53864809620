/**
 * Proportional rate reduction (RFC 9937 6, RFC 6937; Linux tcp_input.c: tcp_init_cwnd_reduction,
 * tcp_cwnd_reduction, tcp_end_cwnd_reduction, tcp_enter_cwr): in Recovery and CWR the window goes
 * down to ssthresh in step with what is delivered, so that sending never stops.
 */
import { type AckEvent, FLAG_SND_UNA_ADVANCED } from './ack-event.js';
import { CA_CWR, INFINITE_SSTHRESH } from './ca-state.js';
import { ecnQueueCwr } from './ecn.js';
import { type Sender, senderOf, setCaState } from './sender.js';
import type { Tcb } from './tcb.js';

/** The reduction begins: the congestion control says how far. */
export function initCwndReduction(tcb: Tcb, s: Sender): void {
  s.highSeq = tcb.sndNxt;
  s.tlpOut = false;
  s.cwndCnt = 0;
  s.priorCwnd = tcb.cwnd;
  s.prrDelivered = s.prrOut = 0;
  tcb.ssthresh = tcb.congestion.ssthresh(tcb, s);
  ecnQueueCwr(tcb);
}

/**
 * An ACK has delivered `delivered` segments and shown `lost` to be lost: cwnd for what may be sent
 * now. Above ssthresh in proportion; below it no more than was delivered, or one more when that was
 * progress (slow start reduction bound).
 */
export function cwndReduction(
  tcb: Tcb,
  s: Sender,
  delivered: number,
  lost: number,
  flag: number,
): void {
  if (delivered <= 0) return;
  const room = tcb.ssthresh - s.inFlight;
  s.prrDelivered += delivered;
  let send: number;
  if (room < 0) {
    send = Math.ceil((tcb.ssthresh * s.prrDelivered) / s.priorCwnd) - s.prrOut;
  } else {
    send = Math.max(s.prrDelivered - s.prrOut, delivered);
    if ((flag & FLAG_SND_UNA_ADVANCED) !== 0 && lost === 0) send++;
    send = Math.min(room, send);
  }
  // The first retransmission leaves in any case.
  send = Math.max(send, s.prrOut === 0 ? 1 : 0);
  tcb.cwnd = s.inFlight + send;
}

/** The end of Recovery or CWR; not if the reduction was undone. */
export function endCwndReduction(tcb: Tcb, s: Sender): void {
  if (tcb.ssthresh >= INFINITE_SSTHRESH || (tcb.caState !== CA_CWR && !s.undoing)) return;
  tcb.cwnd = tcb.ssthresh;
  s.cwndStampUs = tcb.tcp.net.nowUs;
}

/**
 * The network has said that it is congested (ECN): one reduction per window of data, which is not
 * undone (RFC 3168 6.1.2).
 */
export function enterCwr(tcb: Tcb): void {
  const s = senderOf(tcb);
  s.priorSsthresh = 0;
  if (tcb.caState >= CA_CWR) return;
  s.undoing = false;
  initCwndReduction(tcb, s);
  setCaState(tcb, CA_CWR);
}

/** Segments that `ev` has shown to be lost. */
export function newlyLost(s: Sender, ev: AckEvent): number {
  return (s.lost - ev.lostBefore) | 0;
}
