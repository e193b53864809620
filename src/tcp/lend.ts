/**
 * Packet buffers lent to the sockets that their text is for (net/lent-text.ts, ADR 15): which text
 * is worth it, and when a buffer comes back. In-order text of a large segment is lent; what is
 * small, or past a hole, or finds no other buffer for the packets to come, is copied into the ring.
 *
 * A buffer comes back when the socket's next large segment finds that it was read, when others are
 * short of buffers, and with the ring's memory (ring-memory.ts).
 */
import { LENT_MOST, LENT_TABLE_BYTES } from '../net/lent-text.js';
import { Mib } from '../net/mib.js';
import { RING_HEAD } from '../net/ring.js';
import { extentAdd, extentDropAny, extentsInit } from '../net/ring-extents.js';
import type { Skb } from '../net/skb.js';
import { BLOCK_LENT } from '../net/sockmem.js';
import { before } from './seq.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** Shorter text is copied, bytes: lending costs as much as copying so many. */
export const LEND_LEAST_BYTES: number = 16 << 10;

/** The buffers that a socket has. The table says the same to readers, but is not believed here. */
export class Lent {
  /** Page of the table. */
  readonly table: number;
  /** A ring of buffers, and of the sequence numbers that their text ends before. */
  private readonly skbs: (Skb | null)[] = new Array<Skb | null>(LENT_MOST).fill(null);
  private readonly ends = new Int32Array(LENT_MOST);
  private first = 0;
  count = 0;
  /** Place in Tcp.lenders. */
  index = 0;

  constructor(table: number) {
    this.table = table;
  }

  /** `skb` has text before sequence number `end`. There is room for it. */
  push(skb: Skb, end: number): void {
    const slot = (this.first + this.count++) & (LENT_MOST - 1);
    this.skbs[slot] = skb;
    this.ends[slot] = end;
  }

  /** Where the oldest ends. */
  get end(): number {
    return this.ends[this.first]!;
  }

  shift(): Skb {
    const slot = this.first;
    const skb = this.skbs[slot]!;
    this.skbs[slot] = null;
    this.first = (slot + 1) & (LENT_MOST - 1);
    this.count--;
    return skb;
  }
}

/**
 * Lends the buffer of `skb` to `tcb`: it has text [seq, seq + length) at arena offset `from`. To be
 * called before that is published. False: nothing has changed, the text is to be copied.
 */
export function lend(
  tcp: Tcp,
  tcb: Tcb,
  skb: Skb,
  seq: number,
  from: number,
  length: number,
): boolean {
  const { net, mem } = tcp;
  const lent = tcb.lent ?? openTable(tcp, tcb);
  const spare = lent === null ? null : spareFor(tcp, tcb, lent, skb);
  if (lent === null || spare === null) {
    net.count(Mib.TunTextCopied);
    return false;
  }
  // A table without room is one that an application thread has written to.
  if (!extentAdd(mem, lent.table, seq, length, from, 0)) {
    net.inputSkbs.release(spare);
    return false;
  }
  net.inputSkbs.lend(skb, spare);
  lent.push(spare, (seq + length) | 0);
  net.count(Mib.TunTextLent);
  return true;
}

/** An skb with a buffer for the packets to come, if `tcb` may have that of `skb`; else null. */
function spareFor(tcp: Tcp, tcb: Tcb, lent: Lent, skb: Skb): Skb | null {
  const { inputSkbs } = tcp.net;
  takeBackRead(tcp, tcb, lent);
  if (skb.capacity !== inputSkbs.capacity) return null;
  // No socket has more than are left for the others.
  if (lent.count >= Math.min(LENT_MOST, inputSkbs.lendable)) {
    takeBackElsewhere(tcp);
    return null;
  }
  return inputSkbs.alloc();
}

function openTable(tcp: Tcp, tcb: Tcb): Lent | null {
  const table = tcp.mem.allocRing(LENT_TABLE_BYTES);
  if (table === 0) return null;
  extentsInit(tcp.mem, table, LENT_TABLE_BYTES);
  const lent = new Lent(table);
  lent.index = tcp.lenders.push(tcb) - 1;
  tcb.lent = lent;
  tcp.ctl[tcb.at + BLOCK_LENT] = table;
  return lent;
}

/** Takes back what has been read. */
function takeBackRead(tcp: Tcp, tcb: Tcb, lent: Lent): void {
  if (lent.count === 0) return;
  const head = Atomics.load(tcp.ctl, tcb.rcvRing + RING_HEAD);
  while (lent.count > 0 && !before(head, lent.end)) takeOldest(tcp, lent);
}

/** The same of another socket: of the next one each time, so that a segment does not wait long. */
function takeBackElsewhere(tcp: Tcp): void {
  const { lenders } = tcp;
  if (++tcp.lenderHand >= lenders.length) tcp.lenderHand = 0;
  const tcb = lenders[tcp.lenderHand]!;
  takeBackRead(tcp, tcb, tcb.lent!);
}

function takeOldest(tcp: Tcp, lent: Lent): void {
  extentDropAny(tcp.mem, lent.table);
  tcp.net.inputSkbs.takeBack(lent.shift());
}

/**
 * Takes back all buffers and the table: text that was not read is lost. The ring is locked, or
 * nobody may read it any more.
 */
export function endLending(tcp: Tcp, tcb: Tcb): void {
  const { lent } = tcb;
  if (lent === null) return;
  tcp.ctl[tcb.at + BLOCK_LENT] = 0;
  while (lent.count > 0) takeOldest(tcp, lent);
  tcp.mem.freeRing(lent.table, LENT_TABLE_BYTES);
  const last = tcp.lenders.pop()!;
  if (last !== tcb) {
    tcp.lenders[lent.index] = last;
    last.lent!.index = lent.index;
  }
  tcb.lent = null;
}
