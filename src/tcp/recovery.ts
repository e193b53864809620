/**
 * Loss recovery (RFC 5681 3.2, 6582, 6675, 8985, 5682; Linux tcp_input.c: tcp_fastretrans_alert,
 * tcp_process_loss, tcp_enter_loss, tcp_enter_recovery, tcp_simple_retransmit): the congestion
 * states and what moves a connection from one to the next. What is lost is found by rack.ts, how
 * much may be sent by prr.ts, what was a mistake by undo.ts; output sends.
 */
import { Mib } from '../net/mib.js';
import { RING_TAIL } from '../net/ring.js';
import {
  type AckEvent,
  FLAG_DATA_SACKED,
  FLAG_ECE,
  FLAG_LOST_RETRANS,
  FLAG_ORIG_SACK_ACKED,
  FLAG_SACK_RENEGING,
  FLAG_SET_XMIT_TIMER,
  FLAG_SND_UNA_ADVANCED,
} from './ack-event.js';
import { CA_CWR, CA_DISORDER, CA_LOSS, CA_OPEN, CA_RECOVERY } from './ca-state.js';
import { ecnQueueCwr } from './ecn.js';
import { currentMss } from './mss.js';
import { mtuProbeLost } from './mtu-probe.js';
import { endCwndReduction, enterCwr, initCwndReduction } from './prr.js';
import { markLost, newrenoMarkLost, rackMarkLost, rackTimeLeft } from './rack.js';
import { NONE, SACKED_ACKED, textFrom } from './rtx-queue.js';
import {
  currentSsthresh,
  inCwndReduction,
  REXMIT_LOST,
  REXMIT_NEW,
  REXMIT_NONE,
  type Sender,
  setCaState,
} from './sender.js';
import { after, before } from './seq.js';
import type { Tcb } from './tcb.js';
import { armXmitTimer, TIME_RETRANS } from './timer-arm.js';
import {
  anyRetransDone,
  initUndo,
  PARTIAL_WAIT,
  tryKeepOpen,
  tryUndoDsack,
  tryUndoLoss,
  tryUndoPartial,
  tryUndoRecovery,
} from './undo.js';

/** The peer may restore a SACKed head that vanished: it gets at least this long, µs. */
const RENEGING_WAIT_US = 10_000;

/** No duplicate ACKs can stand for more than what is out, less what is lost. */
function limitRenoSacked(s: Sender): boolean {
  const holes = Math.min(Math.max(s.lostOut, 1), s.packetsOut);
  if (s.sackedOut + holes <= s.packetsOut) return false;
  s.sackedOut = s.packetsOut - holes;
  return true;
}

/** More duplicate ACKs than segments: they have been reordered. */
function checkRenoReordering(tcb: Tcb, s: Sender, acked: number): void {
  if (!limitRenoSacked(s)) return;
  const { net } = tcb.tcp;
  s.reordering = Math.min(s.packetsOut + acked, net.sysctl.tcpMaxReordering);
  s.reordSeen++;
  net.count(Mib.TCPRenoReorder);
}

/** RFC 3042 2: without SACK a duplicate ACK stands for a segment that has arrived. */
function addRenoSack(tcb: Tcb, s: Sender, dupAcks: number): void {
  if (dupAcks === 0) return;
  const prior = s.sackedOut;
  s.sackedOut += dupAcks;
  checkRenoReordering(tcb, s, 0);
  if (s.sackedOut > prior) s.delivered = (s.delivered + s.sackedOut - prior) | 0;
}

/** Without SACK: `acked` segments are acknowledged, one of them a hole. */
export function removeRenoSacks(tcb: Tcb, s: Sender, acked: number): void {
  if (acked > 0) {
    s.delivered = (s.delivered + Math.max(acked - s.sackedOut, 1)) | 0;
    s.sackedOut = Math.max(0, s.sackedOut - (acked - 1));
  }
  checkRenoReordering(tcb, s, acked);
}

/** Loss is proven (RFC 6675 5): the window is reduced and what is lost sent again. */
export function enterRecovery(tcb: Tcb, s: Sender, ece: boolean): void {
  if (!anyRetransDone(tcb, s)) s.retransStamped = false;
  tcb.tcp.net.count(tcb.sackOk ? Mib.TCPSackRecovery : Mib.TCPRenoRecovery);
  s.priorSsthresh = 0;
  initUndo(tcb, s);
  if (!inCwndReduction(tcb)) {
    if (!ece) s.priorSsthresh = currentSsthresh(tcb);
    initCwndReduction(tcb, s);
  }
  setCaState(tcb, CA_RECOVERY);
}

/** RFC 6675 5.1: all but what is SACKed is lost, or, if the peer has reneged, simply all. */
function timeoutMarkLost(tcb: Tcb, s: Sender): void {
  const { net, rtx: t } = tcb.tcp;
  const head = s.rtxHead;
  const reneging = (t.marks[head]! & SACKED_ACKED) !== 0;
  if (reneging) {
    net.count(Mib.TCPSACKReneging);
    s.sackedOut = 0;
    s.sackReneging = true;
  } else if (!tcb.sackOk) {
    s.sackedOut = 0;
  }
  for (let index = head; index !== NONE; index = t.next[index]!) {
    if (reneging) t.marks[index] = t.marks[index]! & ~SACKED_ACKED;
    // RFC 8985 6.3: what was sent a moment ago may well be under way.
    else if (tcb.sackOk && index !== head && rackTimeLeft(tcb, s, index, 0) > 0) continue;
    markLost(tcb, s, index);
  }
  s.retransmitHint = NONE;
}

/**
 * The retransmission timer has fired (RFC 5681 3.1, 4.3, RFC 6298 5.4-5.6); there is something
 * under way.
 */
export function enterLoss(tcb: Tcb, s: Sender): void {
  const { net } = tcb.tcp;
  const fresh = tcb.caState < CA_RECOVERY;
  timeoutMarkLost(tcb, s);
  // One reduction per window of data, but another one when progress was made since.
  const progress = tcb.caState === CA_LOSS && tcb.retransmits === 0;
  if (tcb.caState <= CA_DISORDER || !after(s.highSeq, tcb.sndUna) || progress) {
    s.priorSsthresh = currentSsthresh(tcb);
    s.priorCwnd = tcb.cwnd;
    tcb.ssthresh = tcb.congestion.ssthresh(tcb, s);
    initUndo(tcb, s);
  }
  tcb.cwnd = s.inFlight + 1;
  s.cwndCnt = 0;
  s.cwndStampUs = net.nowUs;
  // A time-out in spite of many duplicate ACKs: reordering was overestimated.
  const { tcpReordering, tcpFrto } = net.sysctl;
  if (tcb.caState <= CA_DISORDER && s.sackedOut >= tcpReordering) {
    s.reordering = Math.min(s.reordering, tcpReordering);
  }
  setCaState(tcb, CA_LOSS);
  s.highSeq = tcb.sndNxt;
  s.tlpOut = false;
  ecnQueueCwr(tcb);
  const probing = tcb.mtuSearch !== null && tcb.mtuSearch.probeSize !== 0;
  s.frto = tcpFrto !== 0 && (fresh || tcb.retransmits > 0) && !probing;
}

/**
 * The head is SACKed although the ACK says that it is missing: the peer may have dropped it (RFC
 * 2018 8). It gets a little time to say otherwise.
 */
function checkSackReneging(tcb: Tcb, ev: AckEvent): boolean {
  const both = FLAG_SACK_RENEGING | FLAG_SND_UNA_ADVANCED;
  if ((ev.flag & both) !== both) return false;
  armXmitTimer(tcb, TIME_RETRANS, Math.max(tcb.srttUs / 2, RENEGING_WAIT_US));
  ev.flag &= ~FLAG_SET_XMIT_TIMER;
  return true;
}

function identifyPacketLoss(tcb: Tcb, s: Sender, ev: AckEvent): void {
  if (s.rtxHead === NONE) return;
  if (!tcb.sackOk) {
    newrenoMarkLost(tcb, s, (ev.flag & FLAG_SND_UNA_ADVANCED) !== 0);
    return;
  }
  const prior = s.retransOut;
  if (rackMarkLost(tcb, s)) ev.flag &= ~FLAG_SET_XMIT_TIMER;
  if (prior > s.retransOut) ev.flag |= FLAG_LOST_RETRANS;
}

function tryToOpen(tcb: Tcb, s: Sender, ev: AckEvent): void {
  if (!anyRetransDone(tcb, s)) s.retransStamped = false;
  if ((ev.flag & FLAG_ECE) !== 0) enterCwr(tcb);
  if (tcb.caState !== CA_CWR) tryKeepOpen(tcb, s);
}

/** An ACK in Loss (RFC 5682 3.1, with SACK): what to send next. */
function processLoss(tcb: Tcb, s: Sender, ev: AckEvent, dupAcks: number): number {
  const advanced = (ev.flag & FLAG_SND_UNA_ADVANCED) !== 0;
  const recovered = !before(tcb.sndUna, s.highSeq);
  if (advanced && tryUndoLoss(tcb, s, ev, false)) return REXMIT_NONE;
  if (s.frto) {
    // Step 3.b: something that was never repeated has arrived.
    if ((ev.flag & FLAG_ORIG_SACK_ACKED) !== 0 && tryUndoLoss(tcb, s, ev, true)) return REXMIT_NONE;
    if (after(tcb.sndNxt, s.highSeq)) {
      // Step 3.a: the loss was real.
      if ((ev.flag & FLAG_DATA_SACKED) !== 0 || dupAcks > 0) s.frto = false;
    } else if (advanced && !recovered) {
      s.highSeq = tcb.sndNxt;
      // Step 2.b: new segments, if there are any.
      if (hasNew(tcb)) return REXMIT_NEW;
      s.frto = false;
    }
  }
  if (recovered) {
    tryUndoRecovery(tcb, s, ev);
    return REXMIT_NONE;
  }
  if (!tcb.sackOk) {
    if (after(tcb.sndNxt, s.highSeq) && dupAcks > 0) addRenoSack(tcb, s, dupAcks);
    else if (advanced) s.sackedOut = 0;
  }
  return REXMIT_LOST;
}

/** There is something that was never sent, and the window is open. */
function hasNew(tcb: Tcb): boolean {
  const tail = Atomics.load(tcb.tcp.ctl, tcb.sndRing + RING_TAIL);
  const unsent = (tail - tcb.sndNxt) | 0;
  const waiting = unsent > 0 || (unsent === 0 && tcb.finQueued && !tcb.finSent);
  return waiting && after((tcb.sndUna + tcb.sndWnd) | 0, tcb.sndNxt);
}

/** States end when what was sent before them is acknowledged. True: no more to be done. */
function leaveStates(tcb: Tcb, s: Sender, ev: AckEvent): boolean {
  if (tcb.caState === CA_OPEN) {
    s.retransStamped = false;
  } else if (!before(tcb.sndUna, s.highSeq)) {
    if (tcb.caState === CA_CWR) {
      // Something above must be acknowledged, so that the peer has seen our CWR.
      if (tcb.sndUna !== s.highSeq) {
        endCwndReduction(tcb, s);
        setCaState(tcb, CA_OPEN);
      }
    } else if (tcb.caState === CA_RECOVERY) {
      if (!tcb.sackOk) s.sackedOut = 0;
      if (tryUndoRecovery(tcb, s, ev)) return true;
      endCwndReduction(tcb, s);
    }
  }
  return false;
}

/** In Recovery. True: go on to repeat what is lost. */
function inRecovery(tcb: Tcb, s: Sender, ev: AckEvent, dupAcks: number): boolean {
  if ((ev.flag & FLAG_SND_UNA_ADVANCED) === 0) {
    if (!tcb.sackOk) addRenoSack(tcb, s, dupAcks);
  } else if (tryUndoPartial(tcb, s, ev) === PARTIAL_WAIT) {
    return false;
  }
  if (tryUndoDsack(tcb, s)) tryToOpen(tcb, s, ev);
  identifyPacketLoss(tcb, s, ev);
  if (tcb.caState !== CA_RECOVERY) {
    if (s.lostOut === 0) return false;
    // It was undone, but there is another loss.
    enterRecovery(tcb, s, (ev.flag & FLAG_ECE) !== 0);
  }
  return true;
}

/** In any other state. True: go on to repeat what is lost. */
function maybeRecover(tcb: Tcb, s: Sender, ev: AckEvent, dupAcks: number): boolean {
  if (!tcb.sackOk) {
    if ((ev.flag & FLAG_SND_UNA_ADVANCED) !== 0) s.sackedOut = 0;
    addRenoSack(tcb, s, dupAcks);
  }
  if (tcb.caState <= CA_DISORDER) tryUndoDsack(tcb, s);
  identifyPacketLoss(tcb, s, ev);
  if (s.lostOut === 0) {
    tryToOpen(tcb, s, ev);
    return false;
  }
  if (tcb.caState < CA_CWR && mtuProbeLost(tcb)) {
    simpleRetransmit(tcb);
    return false;
  }
  enterRecovery(tcb, s, (ev.flag & FLAG_ECE) !== 0);
  return true;
}

/**
 * An ACK that is not plain progress, or comes outside of Open: moves the congestion state.
 * @param dupAcks duplicate ACKs that it stands for
 * @returns what output shall do: REXMIT_*
 */
export function fastretransAlert(tcb: Tcb, s: Sender, ev: AckEvent, dupAcks: number): number {
  if (s.packetsOut === 0) s.sackedOut = 0;
  if ((ev.flag & FLAG_ECE) !== 0) s.priorSsthresh = 0;
  if (checkSackReneging(tcb, ev)) return REXMIT_NONE;
  if (leaveStates(tcb, s, ev)) return REXMIT_NONE;
  if (tcb.caState === CA_RECOVERY) {
    return inRecovery(tcb, s, ev, dupAcks) ? REXMIT_LOST : REXMIT_NONE;
  }
  if (tcb.caState === CA_LOSS) {
    const rexmit = processLoss(tcb, s, ev, dupAcks);
    identifyPacketLoss(tcb, s, ev);
    // On with what is below when the state was left, or repetitions are lost again.
    const open = (tcb.caState as number) === CA_OPEN;
    if (!open && (ev.flag & FLAG_LOST_RETRANS) === 0) return rexmit;
    return maybeRecover(tcb, s, ev, dupAcks) ? REXMIT_LOST : rexmit;
  }
  return maybeRecover(tcb, s, ev, dupAcks) ? REXMIT_LOST : REXMIT_NONE;
}

/**
 * The path takes smaller segments only: what is too large is lost, though not by congestion (RFC
 * 1191 6.4; Linux tcp_simple_retransmit). True: there was something.
 */
export function simpleRetransmit(tcb: Tcb): boolean {
  const s = tcb.sender;
  if (s === null) return false;
  const { rtx: t } = tcb.tcp;
  const mss = currentMss(tcb);
  for (let index = s.rtxHead; index !== NONE; index = t.next[index]!) {
    const length = textFrom(t, index, t.seq[index]!);
    if (Math.min(length, t.mss[index]!) > mss) markLost(tcb, s, index);
  }
  s.retransmitHint = NONE;
  if (s.lostOut === 0) return false;
  if (!tcb.sackOk) limitRenoSacked(s);
  if (tcb.caState !== CA_LOSS) {
    s.highSeq = tcb.sndNxt;
    tcb.ssthresh = currentSsthresh(tcb);
    s.priorSsthresh = 0;
    s.undoing = false;
    setCaState(tcb, CA_LOSS);
  }
  s.rexmit = REXMIT_LOST;
  return true;
}
