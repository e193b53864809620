/**
 * Taking a reduction of the window back when it turns out that nothing was lost (RFC 3522 and
 * RFC 4015 by timestamps, RFC 3708 by D-SACKs; Linux tcp_input.c: tcp_try_undo_recovery,
 * tcp_try_undo_partial, tcp_try_undo_loss, tcp_try_undo_dsack).
 */
import { Mib } from '../net/mib.js';
import type { AckEvent } from './ack-event.js';
import { CA_DISORDER, CA_LOSS, CA_OPEN } from './ca-state.js';
import { ecnWithdrawCwr } from './ecn.js';
import { RACK_RECOVERY_THRESH } from './rack.js';
import { EVER_RETRANS, LOST, NONE, RETRANS } from './rtx-queue.js';
import { checkSackReordering } from './sack.js';
import { type Sender, setCaState, UNDO_UNKNOWN } from './sender.js';
import { before } from './seq.js';
import type { Tcb } from './tcb.js';
import { tsNow } from './ts-clock.js';

/** An episode begins: from here on retransmissions and D-SACKs are held against each other. */
export function initUndo(tcb: Tcb, s: Sender): void {
  s.undoing = true;
  s.undoMarker = tcb.sndUna;
  s.undoRetrans = s.retransOut + (s.tlpOut && s.tlpRetrans ? 1 : 0);
  // 0 would mean that every one of them was needless.
  if (s.undoRetrans === 0) s.undoRetrans = UNDO_UNKNOWN;
}

/** Segments that are not in the network any more (Linux: tcp_left_out). */
export function leftOut(s: Sender): number {
  return s.sackedOut + s.lostOut;
}

/** Something of what is under way was repeated (Linux: tcp_any_retrans_done). */
export function anyRetransDone(tcb: Tcb, s: Sender): boolean {
  if (s.retransOut > 0) return true;
  return s.rtxHead !== NONE && (tcb.tcp.rtx.marks[s.rtxHead]! & EVER_RETRANS) !== 0;
}

/** Does the ACK echo a timestamp from before `stamp`? */
function echoBefore(ev: AckEvent, stamp: number): boolean {
  return ev.hasEcho && before(ev.tsecr, stamp);
}

/** A record was repeated, but what the ACK is for is an earlier transmission of it. */
export function spuriousRetrans(tcb: Tcb, ev: AckEvent, index: number): boolean {
  const { rtx: t } = tcb.tcp;
  if ((t.marks[index]! & RETRANS) === 0) return false;
  return echoBefore(ev, tsNow(t.sentUs[index]!, tcb.tsOffset));
}

/**
 * What was acknowledged had only been late: nothing was repeated yet, or the timestamp is from
 * before the first repetition (Linux: tcp_packet_delayed).
 */
function packetDelayed(tcb: Tcb, s: Sender, ev: AckEvent): boolean {
  if (s.retransStamped) return echoBefore(ev, s.retransStamp);
  return tcb.sackOk || before(tcb.sndUna, s.highSeq);
}

function mayUndo(tcb: Tcb, s: Sender, ev: AckEvent): boolean {
  return s.undoing && (s.undoRetrans === 0 || packetDelayed(tcb, s, ev));
}

/** Back to the window of before. `unmarkLoss`: nothing is lost after all. */
function undoCwndReduction(tcb: Tcb, s: Sender, unmarkLoss: boolean): void {
  if (unmarkLoss) {
    const { rtx: t } = tcb.tcp;
    for (let index = s.rtxHead; index !== NONE; index = t.next[index]!) {
      t.marks[index] = t.marks[index]! & ~LOST;
    }
    s.lostOut = 0;
    s.retransmitHint = NONE;
  }
  if (s.priorSsthresh !== 0) {
    tcb.cwnd = Math.max(tcb.cwnd, s.priorCwnd);
    if (s.priorSsthresh > tcb.ssthresh) {
      tcb.ssthresh = s.priorSsthresh;
      ecnWithdrawCwr(tcb);
    }
  }
  s.cwndStampUs = tcb.tcp.net.nowUs;
  s.undoing = false;
  s.rackAdvanced = true;
}

/**
 * Without SACK the state is kept until something above the episode is acknowledged: duplicate ACKs
 * of what was repeated needlessly prove nothing (RFC 6582 4.1).
 */
function preventsReopen(tcb: Tcb, s: Sender): boolean {
  if (tcb.sackOk || tcb.sndUna !== s.highSeq) return false;
  if (!anyRetransDone(tcb, s)) s.retransStamped = false;
  return true;
}

/** The episode is over. True: its state is kept for now. */
export function tryUndoRecovery(tcb: Tcb, s: Sender, ev: AckEvent): boolean {
  if (mayUndo(tcb, s, ev)) {
    const mib = tcb.caState === CA_LOSS ? Mib.TCPLossUndo : Mib.TCPFullUndo;
    undoCwndReduction(tcb, s, false);
    tcb.tcp.net.count(mib);
  } else if (s.rackReoWndPersist > 0) {
    s.rackReoWndPersist--;
  }
  if (preventsReopen(tcb, s)) return true;
  setCaState(tcb, CA_OPEN);
  s.sackReneging = false;
  return false;
}

/** D-SACKs have called every retransmission of the episode needless. */
export function tryUndoDsack(tcb: Tcb, s: Sender): boolean {
  if (!s.undoing || s.undoRetrans !== 0) return false;
  s.rackReoWndPersist = Math.min(RACK_RECOVERY_THRESH, s.rackReoWndPersist + 1);
  undoCwndReduction(tcb, s, false);
  tcb.tcp.net.count(Mib.TCPDSACKUndo);
  return true;
}

/** After a time-out: an ACK for the first transmission, or F-RTO's verdict (`frto`). */
export function tryUndoLoss(tcb: Tcb, s: Sender, ev: AckEvent, frto: boolean): boolean {
  if (!frto && !mayUndo(tcb, s, ev)) return false;
  const { net } = tcb.tcp;
  undoCwndReduction(tcb, s, true);
  net.count(Mib.TCPLossUndo);
  if (frto) net.count(Mib.TCPSpuriousRTOs);
  tcb.retransmits = 0;
  if (preventsReopen(tcb, s)) return true;
  if (frto || tcb.sackOk) {
    setCaState(tcb, CA_OPEN);
    s.sackReneging = false;
  }
  return true;
}

/** What tryUndoPartial has found. */
export const PARTIAL_LOSS = 0;
export const PARTIAL_UNDONE = 1;
/** It was late, but repetitions are under way: nothing more is marked or repeated for now. */
export const PARTIAL_WAIT = 2;

/** A partial ACK in Recovery: had what it acknowledges only been late? */
export function tryUndoPartial(tcb: Tcb, s: Sender, ev: AckEvent): number {
  if (!s.undoing || !packetDelayed(tcb, s, ev)) return PARTIAL_LOSS;
  checkSackReordering(tcb, s, ev.priorSndUna, true);
  if (s.retransOut > 0) return PARTIAL_WAIT;
  if (!anyRetransDone(tcb, s)) s.retransStamped = false;
  undoCwndReduction(tcb, s, true);
  tcb.tcp.net.count(Mib.TCPPartialUndo);
  tryKeepOpen(tcb, s);
  return PARTIAL_UNDONE;
}

/** Open, or Disorder while not everything is as it should be. */
export function tryKeepOpen(tcb: Tcb, s: Sender): void {
  const state = leftOut(s) > 0 || anyRetransDone(tcb, s) ? CA_DISORDER : CA_OPEN;
  if (tcb.caState === state) return;
  setCaState(tcb, state);
  s.highSeq = tcb.sndNxt;
}
