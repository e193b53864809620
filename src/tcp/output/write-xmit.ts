/**
 * New text, and FIN behind the last of it: what may be sent now and in which bursts (RFC 9293
 * 3.8.6.2.1, RFC 1122 4.2.3.4, RFC 5681; Linux tcp_output.c: tcp_write_xmit and what it asks).
 */
import { Mib } from '../../net/mib.js';
import { RING_TAIL } from '../../net/ring.js';
import { BLOCK_SND_FLAGS, BLOCK_SND_UP, SND_URGENT } from '../../net/sockmem.js';
import { CA_RECOVERY } from '../ca-state.js';
import { CHRONO_BUSY, CHRONO_RWND_LIMITED, chronoStart, chronoStop } from '../chrono.js';
import { cwndValidate, slowStartAfterIdle } from '../cwnd.js';
import { isSynText } from '../fastopen-client.js';
import { currentMss, deviceOf, GSO_MAX_BYTES, sizeGoal } from '../mss.js';
import { mtuProbeBytes, mtuProbeSent, PROBE_WAIT } from '../mtu-probe.js';
import { probe0WhenUs } from '../rtt.js';
import { FINAL, NONE, PUSHED, rtxAppend, segmentsIn } from '../rtx-queue.js';
import { ACK, FIN, PSH } from '../segment.js';
import {
  HELD_BY_CWND,
  HELD_BY_RWND,
  HELD_NOT,
  inCwndReduction,
  type Sender,
  senderOf,
} from '../sender.js';
import { after, before, seqMin } from '../seq.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { armProbe, rearmRto, TIME_LOSS_PROBE } from '../timer-arm.js';
import { scheduleLossProbe } from '../tlp.js';
import { transmitBurst } from './burst.js';

/** Largest IPv4 packet less the largest headers. */
const PACKET_PAYLOAD_BYTES = 65_535 - 20 - 60;
/** Only after a pause shorter than this may sending wait for more, µs. */
const DEFER_US = 1000;
/** Linux BITS_PER_TYPE(sk_gso_max_size): longer round trips have no bonus. */
const RTT_SHIFT_MOST = 32;

/** How writeXmit is asked. */
export const XMIT_PUSH = 0;
/** As if Nagle were off (Linux: TCP_NAGLE_OFF). */
export const XMIT_NAGLE_OFF = 1;
/** One burst, without waiting for more (Linux: tcp_push_one). */
const XMIT_PUSH_ONE = 2;
/** One segment whatever cwnd says: a loss probe. */
export const XMIT_PROBE = 3;

/** Bytes of new text that wait, and a FIN that does. Negative: the FIN has been sent. */
function waiting(tcp: Tcp, tcb: Tcb): number {
  return (tcp.ctl[tcb.sndRing + RING_TAIL]! - tcb.sndNxt) | 0;
}

function nothingWaits(tcb: Tcb, unsent: number): boolean {
  return unsent < 0 || (unsent === 0 && (!tcb.finQueued || tcb.finSent));
}

/** Is there a segment that was never sent, and does it fit the window of the peer? */
export function sendHeadFits(tcp: Tcp, tcb: Tcb): boolean {
  const unsent = waiting(tcp, tcb);
  return !nothingWaits(tcb, unsent) && windowTakes(tcb, unsent, currentMss(tcb));
}

/**
 * Does the window take all of the next segment, with the FIN if that is in it (RFC 9293 MUST-38,
 * SHLD-28; Linux: tcp_snd_wnd_test)? A part of one is left to the probe timer.
 */
function windowTakes(tcb: Tcb, unsent: number, mss: number): boolean {
  // RFC 9293 MUST-34, SHLD-15: negative when the window has shrunk.
  const open = (tcb.sndUna + tcb.sndWnd - tcb.sndNxt) | 0;
  const fin = tcb.finQueued && unsent <= mss ? 1 : 0;
  return Math.min(unsent, mss) + fin <= open;
}

/**
 * Must a segment that is not full wait for an ACK (RFC 9293 SHLD-7, MAY-16 with Minshall's
 * variant), or because the socket is corked: for a time only (MUST-60)?
 */
function nagleHolds(tcb: Tcb, s: Sender, mode: number): boolean {
  // RFC 9293 3.8.5: urgent data goes at once.
  if (mode !== XMIT_PUSH || tcb.finQueued || tcb.pushNow || tcb.urgent) return false;
  if (tcb.cork || tcb.more) return true;
  if (tcb.nodelay || s.packetsOut === 0) return false;
  return after(tcb.sndSml, tcb.sndUna) && !after(tcb.sndSml, tcb.sndNxt);
}

/**
 * Segments of a burst (Linux: tcp_tso_segs): about a millisecond's worth at the pace of the
 * connection, more for a near peer.
 */
export function tsoSegs(tcb: Tcb, s: Sender, mss: number, gsoMaxBytes: number): number {
  const { tcpTsoRttLog, tcpMinTsoSegs } = tcb.tcp.net.sysctl;
  let bytes = s.pacingRate / 1024;
  if (bytes < gsoMaxBytes) {
    const shift = Math.floor(s.minRtt.value / (1 << tcpTsoRttLog));
    if (shift < RTT_SHIFT_MOST) bytes += gsoMaxBytes >>> shift;
    if (bytes > gsoMaxBytes) bytes = gsoMaxBytes;
  } else {
    bytes = gsoMaxBytes;
  }
  const segs = Math.floor(bytes / mss);
  return segs > tcpMinTsoSegs ? segs : tcpMinTsoSegs;
}

/**
 * Is it better to wait for the next ACK and then send a larger burst (Linux: tcp_tso_should_defer)?
 * Only when that is expected within a millisecond, and less than a third of the window is to be
 * had.
 */
function shouldDefer(tcb: Tcb, s: Sender, unsent: number, maxSegs: number): boolean {
  if (tcb.caState >= CA_RECOVERY) return false;
  const { net, rtx } = tcb.tcp;
  if (net.nowUs - tcb.lastSentUs > DEFER_US || s.rtxHead === NONE) return false;
  const mss = tcb.sndMss;
  const open = (tcb.sndUna + tcb.sndWnd - tcb.sndNxt) | 0;
  const congestion = (tcb.cwnd - s.inFlight) * mss;
  const limit = Math.min(open, congestion);
  if (limit >= maxSegs * mss) return false;
  const divisor = net.sysctl.tcpTsoWinDivisor;
  const chunk = Math.min(tcb.sndWnd, tcb.cwnd * mss) / Math.max(divisor, 1);
  // With the knob at 0: no more than three segments.
  if (divisor !== 0 ? limit >= Math.floor(chunk) : limit > 3 * mss) return false;
  const expectedUs = rtx.sentUs[s.rtxHead]! + tcb.srttUs - net.nowUs;
  if (expectedUs > Math.min(tcb.srttUs / 2, DEFER_US)) return false;
  if (limit > unsent) return !tcb.finQueued;
  s.heldBy = congestion < open ? HELD_BY_CWND : HELD_BY_RWND;
  return true;
}

/**
 * How much of `unsent` (more than one segment) goes into a burst of at most `segs` (Linux:
 * tcp_mss_split_point): a last part that is not full only if Nagle lets it.
 */
function splitPoint(tcb: Tcb, s: Sender, unsent: number, mss: number, segs: number, mode: number) {
  const open = (tcb.sndUna + tcb.sndWnd - tcb.sndNxt) | 0;
  const needed = Math.min(unsent, open);
  if (segs * mss <= needed) return segs * mss;
  const partial = needed % mss;
  return partial !== 0 && nagleHolds(tcb, s, mode) ? needed - partial : needed;
}

/**
 * Text up to `end` leaves: does it carry PSH, which is thereby taken? At the end of what was
 * written, where the writer has asked for it, and where it has filled a burst without PSH for half
 * of the largest window (RFC 9293 MUST-61, SHLD-27; Linux: tcp_push, forced_push).
 */
function takePush(tcb: Tcb, s: Sender, end: number): boolean {
  const last = end === s.writeSeq && !tcb.unpushed;
  let push = last || end === s.markSeq;
  // Ends of bursts that were filled behind what waited.
  while (!after(s.goalSeq, end)) {
    if (after(s.goalSeq, (s.pushedSeq + s.pushBytes) | 0)) {
      s.pushedSeq = s.goalSeq;
      push = true;
    }
    s.goalSeq = (s.goalSeq + s.goalBytes) | 0;
  }
  if (last) s.pushedSeq = end;
  return push;
}

/**
 * Sends new text, and FIN behind the last of it, as windows allow.
 * @param mode XMIT_*
 */
export function writeXmit(tcp: Tcp, tcb: Tcb, mode: number = XMIT_PUSH): void {
  // What is there by now may be sent, and marks of it have been made before.
  const unsent = (Atomics.load(tcp.ctl, tcb.sndRing + RING_TAIL) - tcb.sndNxt) | 0;
  takeUrgent(tcp, tcb);
  if (nothingWaits(tcb, unsent)) return;
  const s = senderOf(tcb);
  chronoStart(tcb, CHRONO_BUSY);
  const mss = currentMss(tcb);
  const linkMost = Math.min(deviceOf(tcp, tcb).offload.gsoMaxBytes, PACKET_PAYLOAD_BYTES);
  const tail = (tcb.sndNxt + unsent) | 0;
  let sent = 0;
  if (after(tail, s.writeSeq) && mode !== XMIT_PROBE) {
    sent = takeWrite(tcp, tcb, s, tail, mss, linkMost);
  }
  if (tcb.mtuSearch !== null && mode < XMIT_PUSH_ONE) {
    const fin = tcb.finQueued && !tcb.finSent ? 1 : 0;
    const probes = probePath(tcp, tcb, s, (tail + fin) | 0);
    if (probes < 0) {
      if (sent > 0) finish(tcb, s, sent, mode);
      return;
    }
    sent += probes;
  }
  sent += sendUpTo(tcp, tcb, s, tail, mss, linkMost, mode);
  finish(tcb, s, sent, mode);
  // RFC 9293 SHLD-29.
  if (s.packetsOut === 0) armProbe(tcb, probe0WhenUs(tcb));
}

/** Largest burst: the link's, or what another link might take. */
export function gsoMaxOf(linkMost: number): number {
  return linkMost > 0 ? linkMost : GSO_MAX_BYTES;
}

/**
 * The writer has put something behind what was known, up to `tail`. It fills one burst after the
 * other, and each full one may leave before the next is begun (Linux: tcp_sendmsg_locked), which
 * decides where PSH is. Segments sent. After a pause cwnd is looked at.
 */
function takeWrite(
  tcp: Tcp,
  tcb: Tcb,
  s: Sender,
  tail: number,
  mss: number,
  linkMost: number,
): number {
  if (s.packetsOut === 0) slowStartAfterIdle(tcb, s);
  s.goalBytes = sizeGoal(tcb, mss, gsoMaxOf(linkMost));
  s.pushBytes = tcb.maxWindow >> 1;
  let start = s.writeSeq;
  s.writeSeq = tail;
  // Behind what waits already nothing leaves: takePush finds the ends of bursts later.
  if (tcb.sndNxt !== start) return 0;
  let sent = 0;
  s.goalSeq = (start + s.goalBytes) | 0;
  while (before(s.goalSeq, tail)) {
    sent += sendFull(tcp, tcb, s, tail, mss, linkMost);
    if (tcb.sndNxt === start) return sent;
    // What has left makes room in the burst.
    start = tcb.sndNxt;
    s.goalSeq = (start + s.goalBytes) | 0;
  }
  if (!tcb.unpushed) s.pushedSeq = tail;
  return sent;
}

/**
 * The burst up to `goalSeq` is full: some of it leaves (Linux: tcp_push_one), or all that may, with
 * PSH at its end, when there was none for long (forced_push). Segments sent.
 */
function sendFull(
  tcp: Tcp,
  tcb: Tcb,
  s: Sender,
  tail: number,
  mss: number,
  linkMost: number,
): number {
  const start = tcb.sndNxt;
  const full = s.goalSeq;
  const forced = after(full, (s.pushedSeq + s.pushBytes) | 0);
  if (forced) s.pushedSeq = s.markSeq = full;
  const mode = forced ? XMIT_NAGLE_OFF : XMIT_PUSH_ONE;
  const probes = forced && tcb.mtuSearch !== null ? probePath(tcp, tcb, s, full) : 0;
  if (probes < 0) return 0;
  const sent = probes + sendUpTo(tcp, tcb, s, full, mss, linkMost, mode);
  // Its PSH goes with its end, which is further on once some of it has left.
  const partly = tcb.sndNxt !== start && tcb.sndNxt !== full;
  if (partly && s.markSeq === full) s.markSeq = seqMin((tcb.sndNxt + s.goalBytes) | 0, tail);
  return sent;
}

/** Sends what is before `limit`, and FIN behind it if that is all. Segments sent. */
function sendUpTo(
  tcp: Tcp,
  tcb: Tcb,
  s: Sender,
  limit: number,
  mss: number,
  linkMost: number,
  mode: number,
): number {
  let sent = 0;
  s.heldBy = HELD_NOT;
  for (;;) {
    const unsent = (limit - tcb.sndNxt) | 0;
    const all = waiting(tcp, tcb) === unsent;
    if (all ? nothingWaits(tcb, unsent) : unsent <= 0) return sent;
    const length = nextBurst(tcb, s, unsent, mss, gsoMaxOf(linkMost), mode);
    if (length < 0) return sent;
    const count = sendNew(tcp, tcb, s, length, all && length === unsent, mss, linkMost);
    sent += count;
    if (count === 0 || mode >= XMIT_PUSH_ONE) return sent;
  }
}

/**
 * Urgent data of any length has been written (RFC 9293 MUST-31; Linux: tcp_mark_urg), or all of it
 * has been acknowledged.
 */
function takeUrgent(tcp: Tcp, tcb: Tcb): void {
  const { ctl } = tcp;
  if ((ctl[tcb.at + BLOCK_SND_FLAGS]! & SND_URGENT) !== 0) {
    Atomics.and(ctl, tcb.at + BLOCK_SND_FLAGS, ~SND_URGENT);
    tcb.sndUp = Atomics.load(ctl, tcb.at + BLOCK_SND_UP);
    tcb.urgent = true;
  }
  if (tcb.urgent && !after(tcb.sndUp, tcb.sndUna)) tcb.urgent = false;
}

/** Segments that cwnd allows now; a burst takes at most half of it (Linux: tcp_cwnd_test). */
function cwndQuota(tcb: Tcb, s: Sender): number {
  const room = tcb.cwnd - s.inFlight;
  if (room <= 0) return 0;
  const half = tcb.cwnd > 1 ? tcb.cwnd >> 1 : 1;
  return room < half ? room : half;
}

/** Bytes of the `unsent` that leave next in one burst; negative: none for now. */
function nextBurst(
  tcb: Tcb,
  s: Sender,
  unsent: number,
  mss: number,
  gsoMaxBytes: number,
  mode: number,
): number {
  const segs = mode === XMIT_PROBE ? 1 : cwndQuota(tcb, s);
  if (segs === 0) return -1;
  if (!windowTakes(tcb, unsent, mss)) {
    s.heldBy = HELD_BY_RWND;
    return -1;
  }
  if (unsent <= mss) return unsent < mss && nagleHolds(tcb, s, mode) ? -1 : unsent;
  const maxSegs = tsoSegs(tcb, s, mss, gsoMaxBytes);
  if (mode < XMIT_PUSH_ONE && shouldDefer(tcb, s, unsent, maxSegs)) return -1;
  // Each segment has an urgent pointer of its own.
  if (tcb.urgent) return mss;
  return splitPoint(tcb, s, unsent, mss, Math.min(segs, maxSegs), mode);
}

/**
 * What waits, up to `end`, may begin with a packet that is larger than others. Segments sent: 1, or
 * 0; negative: it is waited for room for one.
 */
function probePath(tcp: Tcp, tcb: Tcb, s: Sender, end: number): number {
  const start = tcb.sndNxt;
  const bytes = mtuProbeBytes(tcb, s, (end - start) | 0);
  if (bytes <= 0) return bytes === PROBE_WAIT ? -1 : 0;
  const sent = sendNew(tcp, tcb, s, bytes, false, bytes, 0);
  if (sent > 0) mtuProbeSent(tcb, start, tcb.sndNxt);
  return sent;
}

/** What follows from having sent. */
function finish(tcb: Tcb, s: Sender, sent: number, mode: number): void {
  if (s.heldBy === HELD_BY_RWND) chronoStart(tcb, CHRONO_RWND_LIMITED);
  else chronoStop(tcb, CHRONO_RWND_LIMITED);
  const limited = s.heldBy === HELD_BY_CWND || s.inFlight >= tcb.cwnd;
  if (sent > 0 || limited) cwndValidate(tcb, s, limited);
  if (sent === 0) return;
  if (inCwndReduction(tcb)) s.prrOut += sent;
  if (mode !== XMIT_PROBE) scheduleLossProbe(tcb, s, false);
}

/**
 * Sends the next `length` bytes, `all` of what there is. Segments that it made, 0 = there is no
 * record to be had.
 */
export function sendNew(
  tcp: Tcp,
  tcb: Tcb,
  s: Sender,
  length: number,
  all: boolean,
  mss: number,
  linkMost: number,
): number {
  const seq = tcb.sndNxt;
  const fin = all && tcb.finQueued ? 1 : 0;
  const end = (seq + length + fin) | 0;
  const pcount = segmentsIn(length, mss);
  const idle = s.packetsOut === 0;
  if (!rtxAppend(tcp.rtx, s, seq, end, mss, pcount, tcp.net.nowUs)) return 0;
  if (s.inFlight === 0 && length > 0) tcb.congestion.txStart?.(tcb);
  let flags = ACK;
  if (length > 0 && takePush(tcb, s, (seq + length) | 0)) {
    flags |= PSH;
    tcp.rtx.marks[s.rtxTail] = PUSHED;
  }
  if (fin !== 0) {
    flags |= FIN;
    tcp.rtx.marks[s.rtxTail] = tcp.rtx.marks[s.rtxTail]! | FINAL;
    tcb.finSent = true;
  }
  tcb.sndNxt = end;
  if (length > 0 && length < pcount * mss && !isSynText(tcb, end)) tcb.sndSml = end;
  s.packetsOut += pcount;
  tcb.lastActiveUs = tcp.net.nowUs;
  tcp.net.count(Mib.TCPOrigDataSent, pcount);
  transmitBurst(tcp, tcb, seq, length, flags, mss, linkMost);
  if (idle || tcb.xmitTimer === TIME_LOSS_PROBE) rearmRto(tcb, s);
  return pcount;
}
