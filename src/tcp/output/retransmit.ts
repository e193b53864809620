/**
 * Sending again: what is lost, the head after a time-out, the tail as a probe (RFC 6298 5.4, RFC
 * 8985 7.3; Linux tcp_output.c: tcp_retransmit_skb, tcp_xmit_retransmit_queue,
 * tcp_send_loss_probe).
 */
import { Mib } from '../../net/mib.js';
import { RING_TAIL } from '../../net/ring.js';
import { CA_LOSS } from '../ca-state.js';
import { currentMss, deviceOf } from '../mss.js';
import {
  EVER_RETRANS,
  FINAL,
  LOST,
  NONE,
  PUSHED,
  rtxSentAgain,
  rtxSplit,
  rtxUnlink,
  SACKED_ACKED,
  SACKED_RETRANS,
  segmentsIn,
} from '../rtx-queue.js';
import { ACK, FIN, PSH } from '../segment.js';
import { inCwndReduction, REXMIT_NEW, REXMIT_NONE, type Sender } from '../sender.js';
import { after, before } from '../seq.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { armXmitTimer, rearmRto, TIME_NONE, TIME_REO_TIMEOUT, TIME_RETRANS } from '../timer-arm.js';
import { tsNow } from '../ts-clock.js';
import { transmitBurst } from './burst.js';
import {
  gsoMaxOf,
  sendHeadFits,
  tsoSegs,
  writeXmit,
  XMIT_NAGLE_OFF,
  XMIT_PROBE,
} from './write-xmit.js';

/** What an ACK or a timer has left to be done (Linux: tcp_xmit_recovery). */
export function xmitRecovery(tcp: Tcp, tcb: Tcb, s: Sender): void {
  const { rexmit } = s;
  s.rexmit = REXMIT_NONE;
  if (rexmit === REXMIT_NEW) {
    writeXmit(tcp, tcb, XMIT_NAGLE_OFF);
    if (after(tcb.sndNxt, s.highSeq)) return;
    s.frto = false;
  }
  xmitRetransmitQueue(tcp, tcb, s);
}

/** Sends what is lost again, oldest first, as far as cwnd allows. */
function xmitRetransmitQueue(tcp: Tcp, tcb: Tcb, s: Sender): void {
  const { net, rtx: t } = tcp;
  if (s.packetsOut === 0) return;
  const head = s.rtxHead;
  const linkMost = deviceOf(tcp, tcb).offload.gsoMaxBytes;
  const maxSegs = tsoSegs(tcb, s, currentMss(tcb), gsoMaxOf(linkMost));
  const mib = tcb.caState === CA_LOSS ? Mib.TCPSlowStartRetrans : Mib.TCPFastRetrans;
  let index = s.retransmitHint === NONE ? head : s.retransmitHint;
  let hole = NONE;
  let rearm = false;
  for (; index !== NONE; index = t.next[index]!) {
    if (hole === NONE) s.retransmitHint = index;
    const segs = tcb.cwnd - s.inFlight;
    if (segs <= 0 || s.retransOut >= s.lostOut) break;
    const marks = t.marks[index]!;
    if ((marks & LOST) === 0) {
      if (hole === NONE && (marks & (SACKED_RETRANS | SACKED_ACKED)) === 0) hole = index;
      continue;
    }
    if ((marks & SACKED_RETRANS) !== 0) continue;
    if (!retransmitRecord(tcp, tcb, s, index, Math.min(segs, maxSegs))) break;
    const pcount = t.pcount[index]!;
    net.count(mib, pcount);
    if (inCwndReduction(tcb)) s.prrOut += pcount;
    if (index === head && tcb.xmitTimer !== TIME_REO_TIMEOUT) rearm = true;
  }
  if (rearm) armXmitTimer(tcb, TIME_RETRANS, tcb.rtoUs);
}

/** The head goes out again, whatever cwnd says. */
export function retransmitHead(tcp: Tcp, tcb: Tcb, s: Sender): void {
  if (s.rtxHead !== NONE) retransmitRecord(tcp, tcb, s, s.rtxHead, 1);
}

/** Sends at most `segs` segments of a record again and keeps the books. False: nothing was sent. */
function retransmitRecord(tcp: Tcp, tcb: Tcb, s: Sender, index: number, segs: number): boolean {
  const { rtx: t } = tcp;
  if (!resend(tcp, tcb, s, index, segs)) return false;
  const pcount = t.pcount[index]!;
  // The head may be forced out although it is under way again already.
  if ((t.marks[index]! & SACKED_RETRANS) === 0) s.retransOut += pcount;
  t.marks[index] = t.marks[index]! | SACKED_RETRANS;
  if (!s.retransStamped) {
    s.retransStamped = true;
    s.retransStamp = tsNow(tcp.net.nowUs, tcb.tsOffset);
  }
  s.undoRetrans = Math.max(s.undoRetrans, 0) + pcount;
  return true;
}

/** Linux __tcp_retransmit_skb. False: beyond the window of the peer, or no record to be had. */
function resend(tcp: Tcp, tcb: Tcb, s: Sender, index: number, segs: number): boolean {
  const { net, rtx: t } = tcp;
  // Nothing can be told from a probe that is mixed with repetitions.
  if (tcb.mtuSearch !== null) tcb.mtuSearch.probeSize = 0;
  if (before(t.seq[index]!, tcb.sndUna)) t.seq[index] = tcb.sndUna;
  const seq = t.seq[index]!;
  const mss = currentMss(tcb);
  let open = (tcb.sndUna + tcb.sndWnd - seq) | 0;
  if (open <= 0) {
    // The window was taken back (RFC 9293 SHLD-16, MAY-7): only the head goes, and asks for it.
    if (seq !== tcb.sndUna) return false;
    open = mss;
  }
  let most = tcb.urgent ? mss : mss * segs;
  if (most > open) most = open < mss ? open : open - (open % mss);
  if (!fitRecord(tcb, s, index, most, mss, open)) return false;
  const pcount = t.pcount[index]!;
  const dataEnd = Atomics.load(tcp.ctl, tcb.sndRing + RING_TAIL);
  const end = t.end[index]!;
  const fin = tcb.finSent && after(end, dataEnd) ? 1 : 0;
  const length = (end - fin - seq) | 0;
  const flags = ACK | (fin !== 0 ? FIN : 0) | ((t.marks[index]! & PUSHED) !== 0 ? PSH : 0);
  net.count(Mib.TcpRetransSegs, pcount);
  tcb.totalRetrans += pcount;
  tcb.counts.bytesRetrans += length;
  const linkMost = deviceOf(tcp, tcb).offload.gsoMaxBytes;
  if (!transmitBurst(tcp, tcb, seq, length, flags, mss, linkMost)) {
    net.count(Mib.TCPRetransFail, pcount);
  }
  // Not new segments (RFC 4022: tcpOutSegs).
  net.count(Mib.TcpOutSegs, -pcount);
  t.marks[index] = t.marks[index]! | EVER_RETRANS;
  rtxSentAgain(t, s, index, net.nowUs);
  return true;
}

/**
 * Makes the record one of at most `most` bytes in segments of `mss`: cuts it, or takes in the small
 * ones behind it (Linux: tcp_retrans_try_collapse).
 */
function fitRecord(
  tcb: Tcb,
  s: Sender,
  index: number,
  most: number,
  mss: number,
  open: number,
): boolean {
  const { rtx: t } = tcb.tcp;
  const length = (t.end[index]! - t.seq[index]!) | 0;
  if (t.mss[index] !== mss) t.mss[index] = mss;
  if (textLength(tcb, index, length) > most) return rtxSplit(t, s, index, most);
  const old = t.pcount[index]!;
  const pcount = segmentsIn(textLength(tcb, index, length), mss);
  if (pcount !== old) {
    t.pcount[index] = pcount;
    s.adjustPcount(t.marks[index]!, old - pcount, tcb.sackOk);
  }
  const room = Math.min(open, mss);
  if (length < room && tcb.tcp.net.sysctl.tcpRetransCollapse !== 0) collapse(tcb, s, index, room);
  return true;
}

/** Bytes of `length` that are text: a FIN is none. */
function textLength(tcb: Tcb, index: number, length: number): number {
  const { rtx: t, ctl } = tcb.tcp;
  const dataEnd = Atomics.load(ctl, tcb.sndRing + RING_TAIL);
  return tcb.finSent && after(t.end[index]!, dataEnd) ? length - 1 : length;
}

/** Takes single segments behind the record into it while they fit into `room` bytes. */
function collapse(tcb: Tcb, s: Sender, index: number, room: number): void {
  const { rtx: t } = tcb.tcp;
  if ((t.marks[index]! & SACKED_ACKED) !== 0 || t.pcount[index]! > 1) return;
  let left = room - textLength(tcb, index, (t.end[index]! - t.seq[index]!) | 0);
  const edge = (tcb.sndUna + tcb.sndWnd) | 0;
  for (let next = t.next[index]!; next !== NONE; next = t.next[index]!) {
    const marks = t.marks[next]!;
    if (t.pcount[next]! > 1 || (marks & SACKED_ACKED) !== 0) return;
    left -= textLength(tcb, next, (t.end[next]! - t.seq[next]!) | 0);
    if (left < 0 || after(t.end[next]!, edge)) return;
    t.end[index] = t.end[next]!;
    t.marks[index] = t.marks[index]! | (marks & (EVER_RETRANS | PUSHED | FINAL));
    s.adjustPcount(marks, t.pcount[next]!, tcb.sackOk);
    const hinted = s.retransmitHint === next;
    rtxUnlink(t, s, next);
    if (hinted) s.retransmitHint = index;
  }
}

/**
 * Nothing was heard for two round trips: the next segment, or the last one again, asks for an ACK
 * (RFC 8985 7.3).
 */
export function sendLossProbe(tcp: Tcp, tcb: Tcb, s: Sender): void {
  if (!s.tlpOut && probeSent(tcp, tcb, s)) {
    s.tlpOut = true;
    s.tlpHighSeq = tcb.sndNxt;
    tcp.net.count(Mib.TCPLossProbes);
    // The time-out begins anew.
    tcb.xmitTimer = TIME_NONE;
  }
  rearmRto(tcb, s);
}

function probeSent(tcp: Tcp, tcb: Tcb, s: Sender): boolean {
  const { rtx: t } = tcp;
  s.tlpRetrans = false;
  if (sendHeadFits(tcp, tcb)) {
    const before_ = s.packetsOut;
    writeXmit(tcp, tcb, XMIT_PROBE);
    return s.packetsOut > before_;
  }
  let last = s.rtxTail;
  if (last === NONE) return false;
  const mss = currentMss(tcb);
  const pcount = t.pcount[last]!;
  if (pcount > 1 && ((t.end[last]! - t.seq[last]!) | 0) > (pcount - 1) * mss) {
    t.mss[last] = mss;
    if (!rtxSplit(t, s, last, (pcount - 1) * mss)) return false;
    last = s.rtxTail;
  }
  if (!resend(tcp, tcb, s, last, 1)) return false;
  s.tlpRetrans = true;
  return true;
}
