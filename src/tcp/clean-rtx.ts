/**
 * SND.UNA has moved: what is acknowledged leaves the records, and tells round-trip time, delivery
 * and reordering (Linux tcp_input.c: tcp_clean_rtx_queue, tcp_ack_update_rtt).
 */
import {
  type AckEvent,
  FLAG_ACK_MAYBE_DELAYED,
  FLAG_CA_ALERT,
  FLAG_DATA_ACKED,
  FLAG_ORIG_SACK_ACKED,
  FLAG_RETRANS_DATA_ACKED,
  FLAG_SACK_RENEGING,
  FLAG_SET_XMIT_TIMER,
} from './ack-event.js';
import { CHRONO_BUSY, chronoStop } from './chrono.js';
import { mtuProbeAcked } from './mtu-probe.js';
import { rackAdvance } from './rack.js';
import { removeRenoSacks } from './recovery.js';
import { echoedRttUs, rttSample } from './rtt.js';
import {
  LOST,
  NONE,
  RETRANS,
  rtxUnlink,
  SACKED_ACKED,
  SACKED_RETRANS,
  segmentsIn,
  textFrom,
} from './rtx-queue.js';
import { checkSackReordering, rateDelivered } from './sack.js';
import type { Sender } from './sender.js';
import { after, before } from './seq.js';
import type { Tcb } from './tcb.js';
import { spuriousRetrans } from './undo.js';

/** Times of the first and last segment acknowledged that was sent once, µs; -1 = there is none. */
let firstAckUs = -1;
let lastAckUs = -1;
/** Lowest sequence number acknowledged that was neither repeated nor SACKed. */
let reord = 0;

/** Takes what is below SND.UNA off the records. */
export function cleanRtxQueue(tcb: Tcb, s: Sender, ev: AckEvent): void {
  const { rtx: t } = tcb.tcp;
  const priorSacked = s.sackedOut;
  let acked = 0;
  let whole = true;
  firstAckUs = lastAckUs = -1;
  reord = tcb.sndNxt;
  let index = s.rtxHead;
  while (index !== NONE) {
    const end = t.end[index]!;
    let pcount = t.pcount[index]!;
    if (after(end, tcb.sndUna)) {
      whole = false;
      pcount = trimmed(tcb, index);
      if (pcount === 0) break;
    }
    acked += pcount;
    ackedOne(tcb, s, ev, index, pcount);
    if (!whole) {
      trimHead(tcb, index, pcount);
      break;
    }
    const next = t.next[index]!;
    rtxUnlink(t, s, index);
    index = next;
  }
  if (index === NONE) chronoStop(tcb, CHRONO_BUSY);
  else if ((t.marks[index]! & SACKED_ACKED) !== 0) ev.flag |= FLAG_SACK_RENEGING;
  const sampled = measure(tcb, s, ev, acked, whole, priorSacked);
  if ((ev.flag & FLAG_DATA_ACKED) !== 0) progress(tcb, s, ev, acked);
  else if (index !== NONE && sampled && sackedBeforeHead(tcb, ev, index)) {
    ev.flag |= FLAG_SET_XMIT_TIMER;
  }
  tcb.congestion.acked?.(tcb, s, ev.rttUs);
}

/** Segments of a burst that are acknowledged although not all of it is (Linux: tcp_tso_acked). */
function trimmed(tcb: Tcb, index: number): number {
  const { rtx: t } = tcb.tcp;
  const pcount = t.pcount[index]!;
  if (pcount === 1 || !after(tcb.sndUna, t.seq[index]!)) return 0;
  return pcount - segmentsIn(textFrom(t, index, tcb.sndUna), t.mss[index]!);
}

/** Cuts off what is acknowledged: `pcount` segments. */
function trimHead(tcb: Tcb, index: number, pcount: number): void {
  const { rtx: t } = tcb.tcp;
  t.seq[index] = tcb.sndUna;
  t.pcount[index] = t.pcount[index]! - pcount;
}

/** `pcount` segments of the record are acknowledged. */
function ackedOne(tcb: Tcb, s: Sender, ev: AckEvent, index: number, pcount: number): void {
  const { rtx: t } = tcb.tcp;
  const marks = t.marks[index]!;
  const end = t.end[index]!;
  const seq = t.seq[index]!;
  const sentUs = t.sentUs[index]!;
  if ((marks & RETRANS) !== 0) {
    if ((marks & SACKED_RETRANS) !== 0) s.retransOut -= pcount;
    ev.flag |= FLAG_RETRANS_DATA_ACKED;
  } else if ((marks & SACKED_ACKED) === 0) {
    lastAckUs = sentUs;
    if (firstAckUs < 0) firstAckUs = sentUs;
    if (before(seq, reord)) reord = seq;
    if (!after(end, s.highSeq)) ev.flag |= FLAG_ORIG_SACK_ACKED;
  }
  if ((marks & SACKED_ACKED) !== 0) {
    s.sackedOut -= pcount;
  } else if (tcb.sackOk) {
    s.delivered = (s.delivered + pcount) | 0;
    if (marks === 0 || !spuriousRetrans(tcb, ev, index)) rackAdvance(tcb, s, marks, end, sentUs);
  }
  if ((marks & LOST) !== 0) s.lostOut -= pcount;
  s.packetsOut -= pcount;
  rateDelivered(t, index, ev);
  ev.flag |= FLAG_DATA_ACKED;
}

/** Round-trip times of what was acknowledged or SACKed. True: there was one. */
function measure(
  tcb: Tcb,
  s: Sender,
  ev: AckEvent,
  acked: number,
  whole: boolean,
  priorSacked: number,
): boolean {
  const { nowUs } = tcb.tcp.net;
  let rttUs = -1;
  ev.rttUs = -1;
  if (firstAckUs >= 0 && (ev.flag & FLAG_RETRANS_DATA_ACKED) === 0) {
    rttUs = nowUs - firstAckUs;
    ev.rttUs = nowUs - lastAckUs;
    const runt = ((tcb.sndUna - ev.priorSndUna) | 0) < tcb.sndMss;
    if (
      acked === 1 &&
      whole &&
      priorSacked === 0 &&
      runt &&
      ((ev.priorDelivered + 1) | 0) === s.delivered &&
      (ev.flag & FLAG_CA_ALERT) === 0
    ) {
      ev.flag |= FLAG_ACK_MAYBE_DELAYED;
    }
  }
  if (ev.firstSackUs >= 0) {
    if (rttUs < 0) rttUs = nowUs - ev.firstSackUs;
    ev.rttUs = nowUs - ev.lastSackUs;
  }
  return updateRtt(tcb, s, ev, rttUs);
}

/**
 * Takes the sample; without one (RFC 9293 MUST-18, RFC 6298 3: Karn) the timestamp that the ACK
 * echoes, if it acknowledges something (RFC 7323 4.1). Only a sample ends a back-off (RFC 6298 5,
 * note after 5.7).
 */
function updateRtt(tcb: Tcb, s: Sender, ev: AckEvent, sampleUs: number): boolean {
  const { net } = tcb.tcp;
  let rttUs = sampleUs;
  if (rttUs < 0 && ev.hasEcho && (ev.flag & FLAG_DATA_ACKED) !== 0) {
    rttUs = ev.rttUs = echoedRttUs(tcb, ev.tsecr);
  }
  if (rttUs < 0) return false;
  const late = (ev.flag & FLAG_ACK_MAYBE_DELAYED) !== 0 && ev.rttUs > s.minRtt.value;
  if (!late) s.minRtt.update(net.sysctl.tcpMinRttWlen, net.nowUs, Math.max(ev.rttUs, 1));
  rttSample(tcb, rttUs);
  tcb.backoff = 0;
  return true;
}

/** Text was acknowledged. */
function progress(tcb: Tcb, s: Sender, ev: AckEvent, acked: number): void {
  ev.flag |= FLAG_SET_XMIT_TIMER;
  mtuProbeAcked(tcb, s);
  if (!tcb.sackOk) {
    removeRenoSacks(tcb, s, acked);
    // Without SACK nobody knows which of them it was.
    if ((ev.flag & FLAG_RETRANS_DATA_ACKED) !== 0) ev.flag &= ~FLAG_ORIG_SACK_ACKED;
  } else if (before(reord, ev.priorFack)) {
    checkSackReordering(tcb, s, reord, false);
  }
}

/**
 * Was the SACKed text sent before the head was last sent? Only then does the time-out for the head
 * begin anew: else it might be put off for as long as new text goes through.
 */
function sackedBeforeHead(tcb: Tcb, ev: AckEvent, head: number): boolean {
  return ev.firstSackUs >= 0 && ev.firstSackUs < tcb.tcp.rtx.sentUs[head]!;
}
