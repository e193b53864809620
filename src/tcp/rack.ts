/**
 * RACK (RFC 8985 6; Linux tcp_recovery.c): a segment is lost when one that was sent later has been
 * delivered and the time for reordering has passed. Beside it what stands for it without SACK
 * (RFC 6582; tcp_newreno_mark_lost). Marks only; what follows is recovery.ts's business.
 */
import { Mib } from '../net/mib.js';
import type { AckEvent } from './ack-event.js';
import { CA_RECOVERY } from './ca-state.js';
import {
  LOST,
  NONE,
  RETRANS,
  rtxSplit,
  SACKED_ACKED,
  SACKED_RETRANS,
  unlinkSent,
} from './rtx-queue.js';
import type { Sender } from './sender.js';
import { after, before } from './seq.js';
import type { Tcb } from './tcb.js';
import { armXmitTimer, TIME_REO_TIMEOUT } from './timer-arm.js';

/** net.ipv4.tcp_recovery: a window of one step; no notice of three duplicate ACKs. */
const RACK_STATIC_REO_WND = 2;
const RACK_NO_DUPTHRESH = 4;
/** Recoveries that a widened window lasts. */
export const RACK_RECOVERY_THRESH = 16;
const REO_WND_STEPS_MOST = 0xff;
/** Linux TCP_TIMEOUT_MIN_US: no timer of the sender is shorter. */
export const TIMEOUT_MIN_US = 2000;

/** (us1, seq1) was sent after (us2, seq2). */
function sentAfter(us1: number, us2: number, seq1: number, seq2: number): boolean {
  return us1 > us2 || (us1 === us2 && after(seq1, seq2));
}

/**
 * Time that a reordered segment gets, µs (RFC 8985 6.2 step 4; Linux tcp_rack_reo_wnd): none in
 * recovery or after three SACKs, until reordering has been seen.
 */
export function rackReoWnd(tcb: Tcb, s: Sender): number {
  if (s.reordSeen === 0) {
    if (tcb.caState >= CA_RECOVERY) return 0;
    const dupThresh = (tcb.tcp.net.sysctl.tcpRecovery & RACK_NO_DUPTHRESH) === 0;
    if (dupThresh && s.sackedOut >= s.reordering) return 0;
  }
  return Math.min((s.minRtt.value / 4) * s.rackReoWndSteps, tcb.srttUs);
}

/** How much longer the record may take, µs; 0 or less: it is lost. */
export function rackTimeLeft(tcb: Tcb, s: Sender, index: number, reoWndUs: number): number {
  const { net, rtx } = tcb.tcp;
  return s.rackRttUs + reoWndUs - (net.nowUs - rtx.sentUs[index]!);
}

/** Marks the record as lost; a repetition of it may be what is lost (Linux: tcp_mark_skb_lost). */
export function markLost(tcb: Tcb, s: Sender, index: number): void {
  const { net, rtx: t } = tcb.tcp;
  const marks = t.marks[index]!;
  if ((marks & SACKED_ACKED) !== 0) return;
  const pcount = t.pcount[index]!;
  const hint = s.retransmitHint;
  if (hint === NONE ? s.retransOut >= s.lostOut : before(t.seq[index]!, t.seq[hint]!)) {
    s.retransmitHint = index;
  }
  if ((marks & LOST) === 0) {
    s.lostOut += pcount;
    t.marks[index] = marks | LOST;
    s.lost = (s.lost + pcount) | 0;
  } else if ((marks & SACKED_RETRANS) !== 0) {
    t.marks[index] = marks & ~SACKED_RETRANS;
    s.retransOut -= pcount;
    net.count(Mib.TCPLostRetransmit, pcount);
    s.lost = (s.lost + pcount) | 0;
  }
}

/** Marks what is lost; the longest time that another segment may still take, µs, 0 = none is. */
function detectLoss(tcb: Tcb, s: Sender): number {
  const { rtx: t } = tcb.tcp;
  const reoWndUs = rackReoWnd(tcb, s);
  let timeoutUs = 0;
  for (let index = s.sentHead; index !== NONE; ) {
    const next = t.sentNext[index]!;
    // What is lost and not yet repeated is known.
    if ((t.marks[index]! & (LOST | SACKED_RETRANS)) !== LOST) {
      if (!sentAfter(s.rackSentUs, t.sentUs[index]!, s.rackEndSeq, t.end[index]!)) break;
      const leftUs = rackTimeLeft(tcb, s, index, reoWndUs);
      if (leftUs <= 0) {
        markLost(tcb, s, index);
        unlinkSent(t, s, index);
      } else if (leftUs > timeoutUs) {
        timeoutUs = leftUs;
      }
    }
    index = next;
  }
  return timeoutUs;
}

/** After an ACK. True: the reordering timer runs. */
export function rackMarkLost(tcb: Tcb, s: Sender): boolean {
  if (!s.rackAdvanced) return false;
  s.rackAdvanced = false;
  const timeoutUs = detectLoss(tcb, s);
  if (timeoutUs === 0) return false;
  const waitUs = Math.min(timeoutUs + TIMEOUT_MIN_US, tcb.rtoUs);
  armXmitTimer(tcb, TIME_REO_TIMEOUT, waitUs);
  return true;
}

/** The reordering timer has fired. True: something was lost. */
export function rackReoTimeout(tcb: Tcb, s: Sender): boolean {
  const before_ = s.inFlight;
  detectLoss(tcb, s);
  return s.inFlight !== before_;
}

/**
 * A record has been delivered: the latest transmission that was (RFC 8985 6.2 step 2, 3). Whether a
 * repeated one was delivered by its repetition is known only if that took long enough.
 */
export function rackAdvance(
  tcb: Tcb,
  s: Sender,
  marks: number,
  endSeq: number,
  sentUs: number,
): void {
  const rttUs = tcb.tcp.net.nowUs - sentUs;
  if (rttUs < s.minRtt.value && (marks & RETRANS) !== 0) return;
  s.rackAdvanced = true;
  s.rackRttUs = rttUs;
  if (sentAfter(sentUs, s.rackSentUs, endSeq, s.rackEndSeq)) {
    s.rackSentUs = sentUs;
    s.rackEndSeq = endSeq;
  }
}

/**
 * D-SACKs widen the window, once per round trip, for sixteen recoveries (RFC 8985 6.2 step 4; Linux
 * tcp_rack_update_reo_wnd).
 */
export function rackUpdateReoWnd(tcb: Tcb, s: Sender, ev: AckEvent): void {
  const fixed = (tcb.tcp.net.sysctl.tcpRecovery & RACK_STATIC_REO_WND) !== 0;
  if (fixed || ev.priorDelivered === 0) return;
  if (before(ev.priorDelivered, s.rackLastDelivered)) s.rackDsackSeen = false;
  if (s.rackDsackSeen) {
    s.rackReoWndSteps = Math.min(REO_WND_STEPS_MOST, s.rackReoWndSteps + 1);
    s.rackDsackSeen = false;
    s.rackLastDelivered = s.delivered;
    s.rackReoWndPersist = RACK_RECOVERY_THRESH;
  } else if (s.rackReoWndPersist === 0) {
    s.rackReoWndSteps = 1;
  }
}

/**
 * Without SACK (RFC 6582 3.2): the head is lost after three duplicate ACKs, and with each partial
 * ACK.
 */
export function newrenoMarkLost(tcb: Tcb, s: Sender, advanced: boolean): void {
  const { rtx: t } = tcb.tcp;
  const many = tcb.caState < CA_RECOVERY && s.sackedOut >= s.reordering;
  if (!many && !(tcb.caState === CA_RECOVERY && advanced)) return;
  const head = s.rtxHead;
  if ((t.marks[head]! & LOST) !== 0) return;
  const mss = t.mss[head]!;
  if (t.pcount[head]! > 1 && ((t.end[head]! - t.seq[head]!) | 0) > mss) {
    rtxSplit(t, s, head, mss);
  }
  markLost(tcb, s, head);
}
