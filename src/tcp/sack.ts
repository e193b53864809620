/**
 * SACK blocks of an ACK (RFC 2018 4, 5, RFC 2883; Linux tcp_input.c: tcp_sacktag_write_queue,
 * tcp_check_dsack, tcp_is_sackblock_valid, tcp_sacktag_one, tcp_check_sack_reordering): which
 * blocks are believed, what they mark, and what they say about reordering. Who is lost is rack.ts's
 * business.
 */
import { Mib } from '../net/mib.js';
import {
  type AckEvent,
  FLAG_DATA_SACKED,
  FLAG_DSACK_TLP,
  FLAG_DSACKING_ACK,
  FLAG_ORIG_SACK_ACKED,
} from './ack-event.js';
import { CA_LOSS } from './ca-state.js';
import { rackAdvance } from './rack.js';
import {
  LOST,
  NONE,
  RETRANS,
  type RtxTable,
  rtxFind,
  rtxSplit,
  rtxUnlink,
  SACKED_ACKED,
  SACKED_RETRANS,
  textFrom,
  unlinkSent,
} from './rtx-queue.js';
import { MAX_SACK_BLOCKS, type Segment } from './segment.js';
import { highestSackSeq, type Sender } from './sender.js';
import { after, before } from './seq.js';
import type { Tcb } from './tcb.js';

/** A record keeps its segments in 16 bits. */
const PCOUNT_MOST = 0xffff;

/** What a SACK decides about (Linux: TCPCB_TAGBITS). */
const TAGS: number = SACKED_ACKED | SACKED_RETRANS | LOST;

/** The blocks that are believed, ascending: [start, end) pairs. */
const blocks: Int32Array = new Int32Array(MAX_SACK_BLOCKS * 2);

/** Takes the blocks of `seg`, whose ACK field is not taken yet. */
export function sacktagWriteQueue(tcb: Tcb, s: Sender, seg: Segment, ev: AckEvent): void {
  const dsack = checkDsack(tcb, s, seg, ev);
  if (before(seg.ack, (ev.priorSndUna - tcb.maxWindow) | 0) || s.packetsOut === 0) return;
  const count = collectBlocks(tcb, s, seg, ev, dsack);
  const t = tcb.tcp.rtx;
  const dupLeft = dsack ? seg.sacks[0]! : 0;
  const dupRight = dsack ? seg.sacks[1]! : 0;
  let index = NONE;
  for (let i = 0; i < count; i++) {
    const left = blocks[i * 2]!;
    const right = blocks[i * 2 + 1]!;
    // Ascending: what the block before has gone through is not looked at again.
    if (index === NONE || before(t.seq[index]!, left)) index = rtxFind(t, s, left);
    if (index === NONE) break;
    index = tagBlock(tcb, s, ev, index, left, right, dupLeft, dupRight);
    if (index === NONE) break;
  }
  if (tcb.caState !== CA_LOSS || s.undoing) checkSackReordering(tcb, s, ev.reord, false);
}

/** Puts the blocks that are believed into `blocks`, ascending; how many. */
function collectBlocks(tcb: Tcb, s: Sender, seg: Segment, ev: AckEvent, dsack: boolean): number {
  let count = 0;
  for (let i = 0; i < seg.sackCount; i++) {
    const left = seg.sacks[i * 2]!;
    const right = seg.sacks[i * 2 + 1]!;
    if (!isSackblockValid(tcb, s, i === 0 && dsack, left, right)) {
      countDiscarded(tcb, s, seg, i === 0 && dsack, right);
      continue;
    }
    if (!after(right, ev.priorSndUna)) continue;
    let at = count++;
    for (; at > 0 && after(blocks[at * 2 - 2]!, left); at--) {
      blocks[at * 2] = blocks[at * 2 - 2]!;
      blocks[at * 2 + 1] = blocks[at * 2 - 1]!;
    }
    blocks[at * 2] = left;
    blocks[at * 2 + 1] = right;
  }
  return count;
}

function countDiscarded(tcb: Tcb, s: Sender, seg: Segment, dsack: boolean, right: number): void {
  const { net } = tcb.tcp;
  if (dsack) net.count(s.undoing ? Mib.TCPDSACKIgnoredOld : Mib.TCPDSACKIgnoredNoUndo);
  // Blocks that are merely old come with reordered ACKs.
  else if (seg.ack === tcb.sndUna || after(right, tcb.sndUna)) net.count(Mib.TCPSACKDiscard);
}

/**
 * A block lies in what is under way; a D-SACK may also lie in what was acknowledged since the
 * episode began, or a little before.
 */
function isSackblockValid(
  tcb: Tcb,
  s: Sender,
  dsack: boolean,
  left: number,
  right: number,
): boolean {
  if (after(right, tcb.sndNxt) || !before(left, right) || !before(left, tcb.sndNxt)) return false;
  if (after(left, tcb.sndUna)) return true;
  if (!dsack || !s.undoing || after(right, tcb.sndUna)) return false;
  if (!before(left, s.undoMarker)) return true;
  if (!after(right, s.undoMarker)) return false;
  return !before(left, (right - tcb.maxWindow) | 0);
}

/** Is the first block a D-SACK: below the ACK, or inside of the second (RFC 2883 4)? */
function checkDsack(tcb: Tcb, s: Sender, seg: Segment, ev: AckEvent): boolean {
  const { net } = tcb.tcp;
  const { sacks } = seg;
  const left = sacks[0]!;
  const right = sacks[1]!;
  if (before(left, seg.ack)) net.count(Mib.TCPDSACKRecv);
  else if (seg.sackCount > 1 && !after(right, sacks[3]!) && !before(left, sacks[2]!)) {
    net.count(Mib.TCPDSACKOfoRecv);
  } else return false;
  const segments = dsackSeen(tcb, s, left, right, ev);
  if (segments === 0) {
    net.count(Mib.TCPDSACKIgnoredDubious);
    return false;
  }
  net.count(Mib.TCPDSACKRecvSegs, segments);
  // Text that is forgotten already can only be counted.
  const known = s.undoing && s.undoRetrans > 0 && after(right, s.undoMarker);
  if (known && !after(right, ev.priorSndUna)) {
    s.undoRetrans = Math.max(0, s.undoRetrans - segments);
  }
  return true;
}

/** Segments that a D-SACK calls needless; 0 = it cannot be about what we have repeated. */
function dsackSeen(tcb: Tcb, s: Sender, left: number, right: number, ev: AckEvent): number {
  const length = (right - left) | 0;
  if (length <= 0 || length > tcb.maxWindow) return 0;
  let segments = 1;
  if (length > tcb.sndMss) segments = Math.ceil(length / tcb.sndMss);
  else if (s.tlpOut && s.tlpHighSeq === right) ev.flag |= FLAG_DSACK_TLP;
  tcb.counts.dsackDups += segments;
  if (tcb.counts.dsackDups > tcb.totalRetrans) return 0;
  // A probe's duplicate says nothing about reordering: a timer has sent it, not RACK.
  if (s.reordSeen > 0 && (ev.flag & FLAG_DSACK_TLP) === 0) s.rackDsackSeen = true;
  ev.flag |= FLAG_DSACKING_ACK;
  ev.sackDelivered += segments;
  return segments;
}

/** Marks the records in [left, right), from `index` on; where the next block may go on. */
function tagBlock(
  tcb: Tcb,
  s: Sender,
  ev: AckEvent,
  index: number,
  left: number,
  right: number,
  dupLeft: number,
  dupRight: number,
): number {
  const t = tcb.tcp.rtx;
  const dsack = dupLeft !== dupRight;
  while (index !== NONE && before(t.seq[index]!, right)) {
    const dup = dsack && matchToSack(t, s, index, dupLeft, dupRight);
    if (dup || matchToSack(t, s, index, left, right)) {
      tagOne(tcb, s, ev, index, dup);
      // What was cut off for the D-SACK must not be joined again before it is looked at.
      if (!dsack) index = mergeSacked(t, s, index);
    }
    index = t.next[index]!;
  }
  return index;
}

/**
 * Is the record within [left, right)? A burst is cut at segment boundaries where the block begins
 * or ends; what is no whole segment does not count.
 */
function matchToSack(t: RtxTable, s: Sender, index: number, left: number, right: number): boolean {
  const seq = t.seq[index]!;
  const end = t.end[index]!;
  const begun = !after(left, seq);
  if (begun && !before(right, end)) return true;
  if (t.pcount[index]! <= 1 || !after(end, left)) return false;
  const mss = t.mss[index]!;
  let bytes = begun ? (right - seq) | 0 : Math.max(mss, (left - seq) | 0);
  if (bytes < mss) return false;
  if (begun) bytes -= bytes % mss;
  else bytes = Math.ceil(bytes / mss) * mss;
  if (bytes >= textFrom(t, index, seq)) return false;
  return rtxSplit(t, s, index, bytes) && begun;
}

/** The record is SACKed; `dup`: by a D-SACK. */
function tagOne(tcb: Tcb, s: Sender, ev: AckEvent, index: number, dup: boolean): void {
  const t = tcb.tcp.rtx;
  const seq = t.seq[index]!;
  const end = t.end[index]!;
  const pcount = t.pcount[index]!;
  let marks = t.marks[index]!;
  if (dup && (marks & RETRANS) !== 0) {
    if (s.undoing && s.undoRetrans > 0 && after(end, s.undoMarker)) {
      s.undoRetrans = Math.max(0, s.undoRetrans - pcount);
    }
    if ((marks & SACKED_ACKED) !== 0 && before(seq, ev.reord)) ev.reord = seq;
  }
  if (!after(end, tcb.sndUna)) return;
  if ((marks & SACKED_ACKED) === 0) {
    rackAdvance(tcb, s, marks, end, t.sentUs[index]!);
    if ((marks & RETRANS) === 0) sackedFirstTime(tcb, s, ev, index);
    if ((marks & LOST) !== 0) {
      s.lostOut -= pcount;
      if ((marks & SACKED_RETRANS) !== 0) s.retransOut -= pcount;
      marks &= ~(LOST | SACKED_RETRANS);
    }
    marks |= SACKED_ACKED;
    ev.flag |= FLAG_DATA_SACKED;
    if (s.sackedOut === 0 || after(end, s.highestSack)) s.highestSack = end;
    s.sackedOut += pcount;
    ev.sackDelivered += pcount;
    rateDelivered(t, index, ev);
    unlinkSent(t, s, index);
  }
  if (dup && (marks & SACKED_RETRANS) !== 0) {
    marks &= ~SACKED_RETRANS;
    s.retransOut -= pcount;
  }
  t.marks[index] = marks;
}

/** Never repeated: it tells of reordering, of the episode's truth, and of the RTT. */
function sackedFirstTime(tcb: Tcb, s: Sender, ev: AckEvent, index: number): void {
  const t = tcb.tcp.rtx;
  const seq = t.seq[index]!;
  if (before(seq, highestSackSeq(tcb, s)) && before(seq, ev.reord)) ev.reord = seq;
  if (!after(t.end[index]!, s.highSeq)) ev.flag |= FLAG_ORIG_SACK_ACKED;
  if (ev.firstSackUs < 0) ev.firstSackUs = t.sentUs[index]!;
  ev.lastSackUs = t.sentUs[index]!;
}

/** Linux tcp_rate_skb_delivered: of what an ACK delivers the latest sent counts. */
export function rateDelivered(t: RtxTable, index: number, ev: AckEvent): void {
  const sentUs = t.sentUs[index]!;
  if (sentUs < ev.priorDeliveredUs) return;
  ev.priorDeliveredUs = sentUs;
  ev.priorDelivered = t.delivered[index]!;
}

/** SACKed neighbours become one record (Linux: tcp_shift_skb_data); the one that is left. */
function mergeSacked(t: RtxTable, s: Sender, index: number): number {
  const next = t.next[index]!;
  if (next !== NONE && alike(t, index, next)) absorb(t, s, index, next);
  const prev = t.prev[index]!;
  if (prev === NONE || !alike(t, prev, index)) return index;
  absorb(t, s, prev, index);
  return prev;
}

/**
 * SACKed, and neither lost nor under way again. That one was once repeated is no hindrance: it is
 * true of all of the record that they become.
 */
function alike(t: RtxTable, a: number, b: number): boolean {
  return (
    (t.marks[a]! & TAGS) === SACKED_ACKED &&
    (t.marks[b]! & TAGS) === SACKED_ACKED &&
    t.mss[a] === t.mss[b] &&
    t.pcount[a]! + t.pcount[b]! <= PCOUNT_MOST
  );
}

/** `next` goes into the record before it. */
function absorb(t: RtxTable, s: Sender, index: number, next: number): void {
  t.end[index] = t.end[next]!;
  t.marks[index] = t.marks[index]! | t.marks[next]!;
  t.pcount[index] = t.pcount[index]! + t.pcount[next]!;
  rtxUnlink(t, s, next);
}

/**
 * Text from `low` on was delivered after text above it although it was never repeated: the network
 * reorders, by so many segments. `byTimestamp`: a timestamp has shown it.
 */
export function checkSackReordering(tcb: Tcb, s: Sender, low: number, byTimestamp: boolean): void {
  const { net } = tcb.tcp;
  const fack = highestSackSeq(tcb, s);
  if (!before(low, fack)) return;
  const distance = Math.ceil(((fack - low) | 0) / tcb.sndMss);
  if (distance > s.reordering) {
    s.reordering = Math.min(distance, net.sysctl.tcpMaxReordering);
  }
  s.reordSeen++;
  net.count(byTimestamp ? Mib.TCPTSReorder : Mib.TCPSACKReorder);
}
