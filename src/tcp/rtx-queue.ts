/**
 * What has been sent and is not acknowledged: one record for each burst, the way Linux keeps one
 * skb (net/ipv4/tcp_output.c: tcp_rtx_queue), but without its bytes, which stay in the send ring.
 * All records of a stack live in one table of typed arrays, so that sending allocates nothing and
 * an idle connection holds nothing. A record is in two lists of its connection: by sequence number,
 * and by the time of its last transmission (Linux: tsorted_sent_queue), unless it was SACKed. What
 * the marks mean is decided elsewhere.
 */
import type { Sender } from './sender.js';
import { after } from './seq.js';

/** Marks (Linux: TCPCB_*): the peer has it; it was sent again and that is under way; it is lost. */
export const SACKED_ACKED = 1;
export const SACKED_RETRANS = 2;
export const LOST = 4;
/** It was sent again at some time. */
export const EVER_RETRANS = 8;
/** Its last segment carries PSH, whenever it is sent. */
export const PUSHED = 16;
/** Its end is our FIN, which is no text. */
export const FINAL = 32;
export const RETRANS: number = SACKED_RETRANS | EVER_RETRANS;

/** No record. */
export const NONE = -1;
/** `sentNext` of a record that is not in the list by time. */
const OFF_LIST = -2;

const FIRST_CAPACITY = 256;
/** Records of all connections together. */
export const RECORDS_MOST = 2_097_152;

export class RtxTable {
  /** [seq, end): a FIN counts. */
  seq: Int32Array = new Int32Array(FIRST_CAPACITY);
  end: Int32Array = new Int32Array(FIRST_CAPACITY);
  /** Segment size that it was cut by, and segments that makes. */
  mss: Uint16Array = new Uint16Array(FIRST_CAPACITY);
  pcount: Uint16Array = new Uint16Array(FIRST_CAPACITY);
  marks: Uint8Array = new Uint8Array(FIRST_CAPACITY);
  /** Last transmission, µs, and Sender.delivered at that time. */
  sentUs: Float64Array = new Float64Array(FIRST_CAPACITY);
  delivered: Int32Array = new Int32Array(FIRST_CAPACITY);
  next: Int32Array = new Int32Array(FIRST_CAPACITY);
  prev: Int32Array = new Int32Array(FIRST_CAPACITY);
  sentNext: Int32Array = new Int32Array(FIRST_CAPACITY);
  sentPrev: Int32Array = new Int32Array(FIRST_CAPACITY);
  inUse = 0;
  private readonly most: number;
  /** Records never used begin here; returned ones hang on `free` by `next`. */
  private fresh = 0;
  private free = NONE;

  constructor(most: number = RECORDS_MOST) {
    this.most = most;
  }

  /** A record with undefined content, NONE = there are too many. */
  alloc(): number {
    let index = this.free;
    if (index !== NONE) {
      this.free = this.next[index]!;
    } else {
      if (this.fresh >= this.most) return NONE;
      index = this.fresh++;
      if (index === this.seq.length) this.grow();
    }
    this.inUse++;
    return index;
  }

  release(index: number): void {
    this.next[index] = this.free;
    this.free = index;
    this.inUse--;
  }

  private grow(): void {
    const size = this.seq.length * 2;
    const larger = <T extends { set(from: T): void }>(to: T, from: T): T => {
      to.set(from);
      return to;
    };
    this.seq = larger(new Int32Array(size), this.seq);
    this.end = larger(new Int32Array(size), this.end);
    this.mss = larger(new Uint16Array(size), this.mss);
    this.pcount = larger(new Uint16Array(size), this.pcount);
    this.marks = larger(new Uint8Array(size), this.marks);
    this.sentUs = larger(new Float64Array(size), this.sentUs);
    this.delivered = larger(new Int32Array(size), this.delivered);
    this.next = larger(new Int32Array(size), this.next);
    this.prev = larger(new Int32Array(size), this.prev);
    this.sentNext = larger(new Int32Array(size), this.sentNext);
    this.sentPrev = larger(new Int32Array(size), this.sentPrev);
  }
}

/** Segments in [seq, end), at least one: a bare FIN is one, too. */
export function segmentsIn(bytes: number, mss: number): number {
  return bytes <= mss ? 1 : Math.ceil(bytes / mss);
}

/**
 * Appends [seq, end), sent now. False: the table is full, and nothing has changed. What is new
 * leaves behind what is repeated and is later than that, though the clock may not show it: else
 * RACK takes it for lost when the repetition is delivered first.
 * @param pcount segments of `mss` bytes that it was sent as
 */
export function rtxAppend(
  t: RtxTable,
  s: Sender,
  seq: number,
  end: number,
  mss: number,
  pcount: number,
  nowUs: number,
): boolean {
  const index = t.alloc();
  if (index === NONE) return false;
  t.seq[index] = seq;
  t.end[index] = end;
  t.mss[index] = mss;
  t.pcount[index] = pcount;
  t.marks[index] = 0;
  t.sentUs[index] = nowUs === s.resentUs ? nowUs + 1 : nowUs;
  t.delivered[index] = s.delivered;
  const last = s.rtxTail;
  t.next[index] = NONE;
  t.prev[index] = last;
  if (last === NONE) s.rtxHead = index;
  else t.next[last] = index;
  s.rtxTail = index;
  linkSent(t, s, index);
  return true;
}

/** To the end of the list by time. */
function linkSent(t: RtxTable, s: Sender, index: number): void {
  const last = s.sentTail;
  t.sentPrev[index] = last;
  t.sentNext[index] = NONE;
  if (last === NONE) s.sentHead = index;
  else t.sentNext[last] = index;
  s.sentTail = index;
}

/** Out of the list by time, if it is there (Linux: list_del_init of tcp_tsorted_anchor). */
export function unlinkSent(t: RtxTable, s: Sender, index: number): void {
  const next = t.sentNext[index]!;
  if (next === OFF_LIST) return;
  const prev = t.sentPrev[index]!;
  if (prev === NONE) s.sentHead = next;
  else t.sentNext[prev] = next;
  if (next === NONE) s.sentTail = prev;
  else t.sentPrev[next] = prev;
  t.sentNext[index] = OFF_LIST;
}

/** It was sent again, now (Linux: tcp_update_skb_after_send). */
export function rtxSentAgain(t: RtxTable, s: Sender, index: number, nowUs: number): void {
  s.resentUs = nowUs;
  t.sentUs[index] = nowUs;
  t.delivered[index] = s.delivered;
  unlinkSent(t, s, index);
  linkSent(t, s, index);
}

/** Forgets a record; counters are the caller's business. */
export function rtxUnlink(t: RtxTable, s: Sender, index: number): void {
  const next = t.next[index]!;
  const prev = t.prev[index]!;
  if (prev === NONE) s.rtxHead = next;
  else t.next[prev] = next;
  if (next === NONE) s.rtxTail = prev;
  else t.prev[next] = prev;
  unlinkSent(t, s, index);
  if (s.retransmitHint === index) s.retransmitHint = NONE;
  t.release(index);
}

/** Forgets all of a connection. */
export function rtxPurge(t: RtxTable, s: Sender): void {
  for (let index = s.rtxHead; index !== NONE; ) {
    const next = t.next[index]!;
    t.release(index);
    index = next;
  }
  s.rtxHead = s.rtxTail = s.sentHead = s.sentTail = s.retransmitHint = NONE;
}

/** Bytes of text in a record, from `seq` on. */
export function textFrom(t: RtxTable, index: number, seq: number): number {
  return ((t.end[index]! - seq) | 0) - ((t.marks[index]! & FINAL) !== 0 ? 1 : 0);
}

/**
 * Cuts a record `bytes` behind its beginning (Linux: tcp_fragment). The rest is a record of its own
 * behind it with the same marks and time, and has the PSH and the FIN. False: the table is full.
 */
export function rtxSplit(t: RtxTable, s: Sender, index: number, bytes: number): boolean {
  const rest = t.alloc();
  if (rest === NONE) return false;
  const at = (t.seq[index]! + bytes) | 0;
  const mss = t.mss[index]!;
  t.seq[rest] = at;
  t.end[rest] = t.end[index]!;
  t.mss[rest] = mss;
  t.marks[rest] = t.marks[index]!;
  t.marks[index] = t.marks[index]! & ~(PUSHED | FINAL);
  t.sentUs[rest] = t.sentUs[index]!;
  t.delivered[rest] = t.delivered[index]!;
  t.end[index] = at;
  const next = t.next[index]!;
  t.next[rest] = next;
  t.prev[rest] = index;
  t.next[index] = rest;
  if (next === NONE) s.rtxTail = rest;
  else t.prev[next] = rest;
  const sentNext = t.sentNext[index]!;
  t.sentNext[rest] = sentNext;
  if (sentNext !== OFF_LIST) {
    t.sentPrev[rest] = index;
    t.sentNext[index] = rest;
    if (sentNext === NONE) s.sentTail = rest;
    else t.sentPrev[sentNext] = rest;
  }
  // Together they may be one segment more than before: a cut need not be at a multiple of the MSS.
  const before = t.pcount[index]!;
  t.pcount[index] = segmentsIn(bytes, mss);
  t.pcount[rest] = segmentsIn(textFrom(t, rest, at), mss);
  s.adjustPcount(t.marks[rest]!, before - t.pcount[index]! - t.pcount[rest]!);
  return true;
}

/** The record that contains `seq`, searched from the nearer end; NONE = there is none. */
export function rtxFind(t: RtxTable, s: Sender, seq: number): number {
  if (s.rtxHead === NONE) return NONE;
  const fromHead = (seq - t.seq[s.rtxHead]!) | 0;
  const fromTail = (t.end[s.rtxTail]! - seq) | 0;
  if (fromHead < 0 || fromTail <= 0) return NONE;
  if (fromTail < fromHead) {
    let index = s.rtxTail;
    while (after(t.seq[index]!, seq)) index = t.prev[index]!;
    return index;
  }
  let index = s.rtxHead;
  while (!after(t.end[index]!, seq)) index = t.next[index]!;
  return index;
}
