/**
 * What a marked connection sends after a batch of input: ACKs, what is lost, probes, new text, in
 * Linux's order. How each of them is done is in retransmit.ts, write-xmit.ts and here (window
 * probes; Linux tcp_output.c: tcp_write_wakeup).
 */
import { RING_PAGE, RING_TAIL } from '../../net/ring.js';
import { currentMss } from '../mss.js';
import { ACK } from '../segment.js';
import { REXMIT_NONE, senderOf } from '../sender.js';
import {
  PENDING_ACK,
  PENDING_HEAD,
  PENDING_LOST,
  PENDING_OUTPUT,
  PENDING_PROBE,
  PENDING_TLP,
} from '../sock.js';
import { inStates, TRANSMITS } from '../state.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { retransmitHead, sendLossProbe, xmitRecovery } from './retransmit.js';
import { acceptableSeq, transmit } from './transmit.js';
import { sendNew, writeXmit } from './write-xmit.js';

/** Serves the marks of a connection in a state that transmits, then whatever ACK is still owed. */
export function tcpOutput(tcp: Tcp, tcb: Tcb): void {
  // An ACK with SACK blocks cannot ride on data.
  if ((tcb.pending & PENDING_ACK) !== 0 && hasSackBlocks(tcb)) sendAcks(tcp, tcb);
  if (inStates(tcb.state, TRANSMITS) || tcb.fastopenQueue !== null) {
    const s = tcb.sender;
    if (s !== null) {
      if ((tcb.pending & PENDING_HEAD) !== 0) retransmitHead(tcp, tcb, s);
      if (s.rexmit !== REXMIT_NONE) xmitRecovery(tcp, tcb, s);
      if ((tcb.pending & PENDING_TLP) !== 0) sendLossProbe(tcp, tcb, s);
    }
    if (!onlyTimers(tcb)) writeXmit(tcp, tcb);
    // What is written later is none of it.
    if (tcb.pushNow && tcb.sndNxt === ringTail(tcp, tcb)) tcb.pushNow = false;
  }
  if ((tcb.pending & PENDING_PROBE) !== 0) probe(tcp, tcb);
  if ((tcb.pending & PENDING_ACK) !== 0) sendAcks(tcp, tcb);
}

/**
 * The sender's timers send what they are for, and nothing new (Linux: tcp_write_timer_handler).
 */
function onlyTimers(tcb: Tcb): boolean {
  const { pending } = tcb;
  const timers = PENDING_HEAD | PENDING_LOST | PENDING_TLP;
  return (pending & timers) !== 0 && (pending & PENDING_OUTPUT) === 0;
}

function ringTail(tcp: Tcp, tcb: Tcb): number {
  return Atomics.load(tcp.ctl, tcb.sndRing + RING_TAIL);
}

function hasSackBlocks(tcb: Tcb): boolean {
  return (tcb.ofo !== null && tcb.ofo.count > 0) || tcb.dsackLeft !== tcb.dsackRight;
}

/** One ACK, or as many as there were out-of-order segments (RFC 5681 4.2: each is reported). */
function sendAcks(tcp: Tcp, tcb: Tcb): void {
  const owed = Math.max(1, tcb.dupAcksOwed);
  tcb.dupAcksOwed = 0;
  const seq = acceptableSeq(tcb);
  for (let i = 0; i < owed; i++) transmit(tcp, tcb, seq, 0, ACK);
}

/** RFC 9293 MUST-36, SHLD-12: what fits the window, or an empty segment just below it. */
function probe(tcp: Tcp, tcb: Tcb): void {
  tcb.pending &= ~PENDING_PROBE;
  const { ctl } = tcp;
  const unsent = (ringTail(tcp, tcb) - tcb.sndNxt) | 0;
  const open = (tcb.sndUna + tcb.sndWnd - tcb.sndNxt) | 0;
  if (unsent > 0 && open > 0 && ctl[tcb.sndRing + RING_PAGE] !== 0) {
    const mss = currentMss(tcb);
    const length = Math.min(unsent, open, mss);
    const s = senderOf(tcb);
    // A part of what waits goes with PSH, too.
    s.markSeq = (tcb.sndNxt + length) | 0;
    if (sendNew(tcp, tcb, s, length, length === unsent && open > length, mss, 0) > 0) {
      tcb.probesOut = tcb.backoff = 0;
      return;
    }
  }
  // One that can carry the urgent pointer first.
  if (tcb.urgent) transmit(tcp, tcb, tcb.sndUna, 0, ACK);
  transmit(tcp, tcb, (tcb.sndUna - 1) | 0, 0, ACK);
}
