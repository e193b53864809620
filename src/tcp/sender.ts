/**
 * What a connection knows of its sending side once it has sent text or a FIN (Linux: struct
 * tcp_sock and inet_connection_sock, the fields of tcp_input.c's loss recovery): counters of
 * segments, marks of an episode of recovery, RACK, TLP, PRR. Made with the first transmission, so
 * that a connection that never sends anything does not have it. cwnd and ssthresh are the Tcb's.
 */

import { CA_CWR, CA_RECOVERY } from './ca-state.js';
import { MinFilter } from './min-filter.js';
import { LOST, NONE, SACKED_ACKED, SACKED_RETRANS } from './rtx-queue.js';
import type { Tcb } from './tcb.js';

/** No duplicates are known to be spurious: Linux's undo_retrans = -1. */
export const UNDO_UNKNOWN = -1;

/** Until something was written. */
const FIRST_GOAL_BYTES: number = 1 << 16;

/** What has ended the last burst, where that is not plain from the counters. */
export const HELD_NOT = 0;
/** The peer's window. */
export const HELD_BY_RWND = 1;
/** cwnd, though a small burst would fit: a larger one is waited for. */
export const HELD_BY_CWND = 2;

/** What output has to do about losses (Linux: REXMIT_*). */
export const REXMIT_NONE = 0;
/** Send what is lost again. */
export const REXMIT_LOST = 1;
/** F-RTO: try new segments first. */
export const REXMIT_NEW = 2;

export class Sender {
  /** Records of the stack's RtxTable: by sequence number, and by time of transmission. */
  rtxHead: number = NONE;
  rtxTail: number = NONE;
  sentHead: number = NONE;
  sentTail: number = NONE;
  /** Where to look first for something to send again. */
  retransmitHint: number = NONE;
  /** When something was last sent again, -1 = never. */
  resentUs = -1;

  /** Segments: sent and not acknowledged, of those SACKed (or duplicate ACKs), lost, sent again. */
  packetsOut = 0;
  sackedOut = 0;
  lostOut = 0;
  retransOut = 0;
  /** Segments ever delivered (our SYN was the first) and ever marked as lost, modulo 2^32. */
  delivered = 1;
  deliveredCe = 0;
  lost = 0;
  /** End of the highest SACKed segment; holds while sackedOut > 0 and SACK is in use. */
  highestSack = 0;

  /** SND.NXT at the last change of the congestion state: it ends when this is acknowledged. */
  highSeq = 0;
  /** Undo (undo.ts): SND.UNA when the episode began (undoing: it is on), and before the episode. */
  undoing = false;
  undoMarker = 0;
  /** Retransmissions of the episode that no D-SACK has called needless. */
  undoRetrans: number = UNDO_UNKNOWN;
  /** 0 = there is nothing to go back to. */
  priorSsthresh = 0;
  priorCwnd = 0;
  /** First retransmission of the episode on the timestamp clock, while `retransStamped`. */
  retransStamp = 0;
  retransStamped = false;
  /** Work for output: REXMIT_*. */
  rexmit: number = REXMIT_NONE;

  /** PRR (prr.ts): segments delivered and sent since the reduction began. */
  prrDelivered = 0;
  prrOut = 0;

  /** F-RTO is deciding whether the time-out was spurious. */
  frto = false;
  /** The peer has dropped what it had SACKed, in this episode. */
  sackReneging = false;

  /** Reordering in segments, and how often there was any. */
  reordering = 0;
  reordSeen = 0;

  /** RACK (rack.ts): the latest transmission that was delivered. */
  rackSentUs = 0;
  rackEndSeq = 0;
  rackRttUs = 0;
  rackAdvanced = false;
  rackDsackSeen = false;
  rackReoWndSteps = 1;
  rackReoWndPersist = 0;
  /** `delivered` when the window was last widened. */
  rackLastDelivered = 0;

  /** TLP (tlp.ts): SND.NXT of the probe that is under way, while `tlpOut`; it repeats text. */
  tlpOut = false;
  tlpHighSeq = 0;
  tlpRetrans = false;

  /** Smallest RTT of the last minutes. */
  readonly minRtt: MinFilter = new MinFilter();
  /** Bytes a second that Linux would pace to: it decides how large bursts are. */
  pacingRate = 0;

  /** Congestion avoidance: segments acknowledged towards the next growth. */
  cwndCnt = 0;
  /** Did cwnd hold back the current window of data; how much of it was in use (RFC 7661)? */
  cwndLimited = false;
  maxPacketsOut = 0;
  cwndUsageSeq = 0;
  cwndUsed = 0;
  cwndStampUs = 0;
  /** HELD_*, for as long as output is at it. */
  heldBy: number = HELD_NOT;

  /** Tail of the send ring that output has seen, and of that how far PSH was promised. */
  writeSeq = 0;
  pushedSeq = 0;
  /** End of the burst that the writer would be filling (Linux: size_goal), and PSH that is due. */
  goalSeq = 0;
  markSeq = 0;
  /** Size of such a burst, and how much without PSH is too much, when it was written. */
  goalBytes: number = FIRST_GOAL_BYTES;
  pushBytes: number = FIRST_GOAL_BYTES;

  constructor(tcb: Tcb) {
    this.begin(tcb);
  }

  /** What depends on the connection; all other fields are as in a new object. */
  begin(tcb: Tcb): void {
    const { net } = tcb.tcp;
    this.reordering = net.sysctl.tcpReordering;
    this.cwndUsageSeq = tcb.sndUna;
    this.writeSeq = this.pushedSeq = this.goalSeq = this.markSeq = tcb.sndNxt;
    this.cwndStampUs = net.nowUs;
    if (tcb.srttUs > 0) this.minRtt.update(net.sysctl.tcpMinRttWlen, net.nowUs, tcb.srttUs);
    updatePacingRate(tcb, this);
  }

  /** Segments in the network (RFC 6675 4, RFC 3042 2; Linux: tcp_packets_in_flight). */
  get inFlight(): number {
    return this.packetsOut - this.sackedOut - this.lostOut + this.retransOut;
  }

  /**
   * A record with `marks` has `less` segments less than before (Linux: tcp_adjust_pcount). Without
   * SACK duplicate ACKs cannot stand for more than what is out.
   */
  adjustPcount(marks: number, less: number, sackOk = true): void {
    this.packetsOut -= less;
    if ((marks & SACKED_ACKED) !== 0) this.sackedOut -= less;
    if ((marks & SACKED_RETRANS) !== 0) this.retransOut -= less;
    if ((marks & LOST) !== 0) this.lostOut -= less;
    if (!sackOk && less > 0) this.sackedOut -= Math.min(this.sackedOut, less);
  }
}

/** The sending side of `tcb`, made when it is first needed. */
export function senderOf(tcb: Tcb): Sender {
  if (tcb.sender === null) tcb.sender = tcb.tcp.spareSenders.take(tcb);
  return tcb.sender;
}

/** Linux tcp_in_cwnd_reduction: CWR or Recovery. */
export function inCwndReduction(tcb: Tcb): boolean {
  return tcb.caState === CA_CWR || tcb.caState === CA_RECOVERY;
}

/** Linux tcp_in_slow_start. */
export function inSlowStart(tcb: Tcb): boolean {
  return tcb.cwnd < tcb.ssthresh;
}

/** Linux tcp_current_ssthresh: what a pause may be resumed with by slow start. */
export function currentSsthresh(tcb: Tcb): number {
  if (inCwndReduction(tcb)) return tcb.ssthresh;
  return Math.max(tcb.ssthresh, (tcb.cwnd >> 1) + (tcb.cwnd >> 2));
}

/**
 * Sequence number behind the highest SACKed segment (Linux: tcp_highest_sack_seq); SND.UNA where
 * there is none, or only duplicate ACKs.
 */
export function highestSackSeq(tcb: Tcb, s: Sender): number {
  return tcb.sackOk && s.sackedOut > 0 ? s.highestSack : tcb.sndUna;
}

/** Moves to congestion state `to` (CA_*); the congestion control is told. */
export function setCaState(tcb: Tcb, to: number): void {
  tcb.congestion.setState?.(tcb, to);
  tcb.caState = to;
}

/** Linux tcp_update_pacing_rate: 200 % of cwnd per RTT in slow start, else 120 %. */
export function updatePacingRate(tcb: Tcb, s: Sender): void {
  const { sysctl } = tcb.tcp.net;
  const slow = tcb.cwnd < tcb.ssthresh >> 1;
  const percent = slow ? sysctl.tcpPacingSsRatio : sysctl.tcpPacingCaRatio;
  const perRtt = (tcb.sndMss * Math.max(tcb.cwnd, s.packetsOut) * percent) / 100;
  const rate = (perRtt * 1e6) / Math.max(tcb.srttUs, 1);
  s.pacingRate = Math.min(rate, tcb.rare.maxPacingRate);
}
