/**
 * The established table (Linux net/ipv4/inet_hashtables.c, inet_hashinfo.ehash): every socket that
 * has a peer, of three kinds: full sockets, requests, time-wait sockets. A chain is a list of rows
 * in one Int32Array, 32 bytes a row. Among a million connections each read that waits for memory is
 * dear, so a chain's links carry some bits of the hash of the row that they lead to: whether a row
 * can be the right one is known before it is there. What a match compares is the first half of a
 * row, what leads on is in the second: 16 bytes lie within one cache line wherever the array
 * begins. No object is touched.
 *
 * Unlike Linux's, the table gets more buckets as connections come, two for a connection at least: a
 * few chains are divided at each insertion, as in linear hashing; only the array of buckets is
 * copied at once. Rows grow by doubling. A socket may be parked (tcp/parking.ts): then its row has
 * a descriptor instead of an object, and a lookup wakes it. Listeners are not here (lhash2.ts).
 */
import { AssertionError, assert } from '../net/assert.js';
import { jhash3words } from '../net/hash.js';
import { swapWord } from '../net/ipv4-address.js';
import type { InetHashinfo } from './hashinfo.js';
import type { SockCommon } from './sock-common.js';

/**
 * Words of a row, and what they hold: remote address, local address, remote port << 16 | local
 * port.
 */
const ROW_SHIFT = 3;
const SADDR = 0;
const DADDR = 1;
const PORTS = 2;
const DEV = 3;
const HASH = 4;
/** Link to the next row of the chain, and number of the row before it. */
const NEXT = 5;
const PREV = 6;
/** Descriptor of a socket that is parked. */
const PARKED = 7;

/** No row. */
const NIL = -1;
/**
 * A link is the number of a row + 1 and, above it, the upper bits of its hash; 0 ends a chain.
 * (Buckets are chosen by the lower bits.)
 */
const END = 0;
const ROW_BITS = 24;
const ROW_MASK: number = (1 << ROW_BITS) - 1;
const ROWS_MOST: number = ROW_MASK;
/** Chains divided at an insertion while the table grows. */
const DIVIDED_AT_ONCE = 4;
const INITIAL_ROWS = 256;

/**
 * Linux 6.1 net/ipv4/inet_hashtables.c: inet_ehashfn (with `ehashAddsPort` 6.15's). Hash of a
 * connection, int32. The words are those of a little-endian CPU: addresses and the foreign port
 * byte-swapped, the local port in host order.
 * @param laddr our address; 0 for the flow hash of a wildcard group
 */
export function inetEhashfn(
  hashinfo: InetHashinfo,
  laddr: number,
  lport: number,
  faddr: number,
  fport: number,
): number {
  const l = swapWord(laddr);
  const f = swapWord(faddr);
  const port = ((fport & 0xff) << 8) | (fport >>> 8);
  if (hashinfo.profile.ehashAddsPort) {
    return (lport + jhash3words(l, f, port, hashinfo.ehashInitval)) | 0;
  }
  return jhash3words(l, f, (lport << 16) | port, hashinfo.ehashInitval);
}

function parksNobody(): never {
  throw new AssertionError('nobody parks sockets here');
}

export class Ehash {
  /** Connections in the table, and the most it takes. */
  size = 0;
  readonly maxEntries: number;
  /** Rows that the last lookup looked at. */
  visited = 0;
  /** First link of each bucket. */
  private heads: Int32Array;
  /** Buckets - 1 before the growth that is under way, if any; of them [0, divided) are divided. */
  private mask: number;
  private divided = 0;
  private rows: Int32Array;
  /** Gives a parked socket its object back, by descriptor; set by whoever parks. */
  wake: (fd: number) => SockCommon = parksNobody;
  /** socks[slot] is the socket of row `slot`; null = free, or parked. */
  private readonly socks: (SockCommon | null)[] = [];
  /** First free row, chained by NEXT; rows at `made` and above have never been used. */
  private free = NIL;
  private made = 0;

  /**
   * @param buckets how many there are at first, a power of two
   * @param maxEntries most sockets in the table, 16,777,215 at most
   */
  constructor(buckets: number, maxEntries: number) {
    assert(buckets > 0 && (buckets & (buckets - 1)) === 0, 'ehash size is not a power of two');
    this.heads = new Int32Array(buckets);
    this.mask = buckets - 1;
    this.maxEntries = Math.min(maxEntries, ROWS_MOST);
    this.rows = new Int32Array(Math.min(INITIAL_ROWS, this.maxEntries) << ROW_SHIFT);
  }

  get buckets(): number {
    return this.mask + 1 + this.divided;
  }

  get full(): boolean {
    return this.size >= this.maxEntries;
  }

  bucketOf(hash: number): number {
    const bucket = hash & this.mask;
    return bucket < this.divided ? hash & ((this.mask << 1) | 1) : bucket;
  }

  /**
   * The first socket of the chain with these addresses and ports, of which `hash` is the hash, and
   * a fitting device, or null (inet_hashtables.h: inet_match). A socket bound to no device fits
   * every `dif`.
   * @param saddr remote address
   * @param daddr local address
   * @param ports remote port << 16 | local port
   */
  lookup(
    hash: number,
    saddr: number,
    daddr: number,
    ports: number,
    dif: number,
  ): SockCommon | null {
    const rows = this.rows;
    let visited = 0;
    let link = this.heads[this.bucketOf(hash)]!;
    while (link !== END) {
      const row = ((link & ROW_MASK) - 1) << ROW_SHIFT;
      visited++;
      if (
        (link ^ hash) >>> ROW_BITS === 0 &&
        rows[row + SADDR] === saddr &&
        rows[row + PORTS] === ports &&
        rows[row + DADDR] === daddr
      ) {
        const dev = rows[row + DEV]!;
        if (dev === 0 || dev === dif) break;
      }
      link = rows[row + NEXT]!;
    }
    this.visited = visited;
    if (link === END) return null;
    const slot = (link & ROW_MASK) - 1;
    return this.socks[slot] ?? this.wake(rows[(slot << ROW_SHIFT) + PARKED]!);
  }

  /** Adds `sk` under sk.hash at the head of its chain; false when the table is full. */
  insert(sk: SockCommon): boolean {
    assert(sk.ehashSlot === NIL, 'socket is in ehash already');
    if (this.full) return false;
    const slot = this.takeRow();
    const row = slot << ROW_SHIFT;
    const rows = this.rows;
    const bucket = this.bucketOf(sk.hash);
    const next = this.heads[bucket]!;
    rows[row + NEXT] = next;
    rows[row + PREV] = NIL;
    if (next !== END) rows[(((next & ROW_MASK) - 1) << ROW_SHIFT) + PREV] = slot;
    this.heads[bucket] = (sk.hash & ~ROW_MASK) | (slot + 1);
    this.fillRow(slot, sk);
    this.size++;
    if (this.divided > 0 || this.size << 1 > this.mask) this.grow();
    return true;
  }

  /** Puts `sk` into the row of `old`, which leaves. Both are of one connection, as is the hash. */
  replace(old: SockCommon, sk: SockCommon): void {
    const slot = old.ehashSlot;
    assert(
      slot !== NIL && sk.ehashSlot === NIL,
      'ehash replace: nothing to replace, or in already',
    );
    const { rows } = this;
    const row = slot << ROW_SHIFT;
    assert(
      rows[row + SADDR] === sk.daddr &&
        rows[row + DADDR] === sk.rcvSaddr &&
        rows[row + PORTS] === ((sk.dport << 16) | sk.num),
      'ehash replace: another connection',
    );
    sk.hash = rows[row + HASH]!;
    old.ehashSlot = NIL;
    this.fillRow(slot, sk);
  }

  /** The device that `sk` is bound to has changed: packets of that one find it from now on. */
  updateDevice(sk: SockCommon): void {
    assert(sk.ehashSlot !== NIL && this.socks[sk.ehashSlot] === sk, 'socket is not in ehash');
    this.rows[(sk.ehashSlot << ROW_SHIFT) + DEV] = sk.boundDevIf;
  }

  remove(sk: SockCommon): void {
    const slot = sk.ehashSlot;
    assert(slot !== NIL && this.socks[slot] === sk, 'socket is not in ehash');
    const rows = this.rows;
    const row = slot << ROW_SHIFT;
    const next = rows[row + NEXT]!;
    const prev = rows[row + PREV]!;
    if (prev === NIL) this.heads[this.bucketOf(rows[row + HASH]!)] = next;
    else rows[(prev << ROW_SHIFT) + NEXT] = next;
    if (next !== END) rows[(((next & ROW_MASK) - 1) << ROW_SHIFT) + PREV] = prev;
    rows[row + NEXT] = this.free;
    this.free = slot;
    this.socks[slot] = null;
    this.size--;
    sk.ehashSlot = NIL;
  }

  /** The object of `sk` is not needed for now: its row remembers the descriptor `fd`. */
  park(sk: SockCommon, fd: number): void {
    assert(sk.ehashSlot !== NIL && this.socks[sk.ehashSlot] === sk, 'socket is not in ehash');
    this.socks[sk.ehashSlot] = null;
    this.rows[(sk.ehashSlot << ROW_SHIFT) + PARKED] = fd;
  }

  /** `sk` has its object again, and the ehashSlot of before. */
  unpark(sk: SockCommon): void {
    assert(this.socks[sk.ehashSlot] === null, 'socket is not parked in ehash');
    this.socks[sk.ehashSlot] = sk;
  }

  /**
   * Calls `visit` for every socket in the table that is not parked, in no particular order; `visit`
   * may remove that socket.
   */
  forEach(visit: (sk: SockCommon) => void): void {
    for (let slot = 0; slot < this.made; slot++) {
      const sk = this.socks[slot]!;
      if (sk !== null) visit(sk);
    }
  }

  /** Rows ever used: `sockAt` tells who is in one of [0, rowsMade) now. */
  get rowsMade(): number {
    return this.made;
  }

  /** The socket of a row, null = a free one, or parked. For walks in several goes. */
  sockAt(row: number): SockCommon | null {
    return this.socks[row] ?? null;
  }

  /** Divides the next few chains; first of all makes room for as many buckets again. */
  private grow(): void {
    const before = this.mask + 1;
    if (this.divided === 0) {
      const heads = new Int32Array(before << 1);
      heads.set(this.heads);
      this.heads = heads;
    }
    const end = Math.min(this.divided + DIVIDED_AT_ONCE, before);
    for (; this.divided < end; this.divided++) this.divide(this.divided, this.divided + before);
    if (end < before) return;
    this.mask = (before << 1) - 1;
    this.divided = 0;
  }

  /** Moves what belongs into the new bucket `high` there from `low`, each in its order. */
  private divide(low: number, high: number): void {
    const { heads, rows } = this;
    let lowTail = NIL;
    let highTail = NIL;
    let link = heads[low]!;
    heads[low] = END;
    while (link !== END) {
      const slot = (link & ROW_MASK) - 1;
      const row = slot << ROW_SHIFT;
      const next = rows[row + NEXT]!;
      const goesHigh = (rows[row + HASH]! & (high ^ low)) !== 0;
      const tail = goesHigh ? highTail : lowTail;
      if (tail === NIL) heads[goesHigh ? high : low] = link;
      else rows[(tail << ROW_SHIFT) + NEXT] = link;
      rows[row + PREV] = tail;
      rows[row + NEXT] = END;
      if (goesHigh) highTail = slot;
      else lowTail = slot;
      link = next;
    }
  }

  private fillRow(slot: number, sk: SockCommon): void {
    const row = slot << ROW_SHIFT;
    const rows = this.rows;
    rows[row + HASH] = sk.hash;
    rows[row + SADDR] = sk.daddr;
    rows[row + DADDR] = sk.rcvSaddr;
    rows[row + PORTS] = (sk.dport << 16) | sk.num;
    rows[row + DEV] = sk.boundDevIf;
    this.socks[slot] = sk;
    sk.ehashSlot = slot;
  }

  private takeRow(): number {
    const slot = this.free;
    if (slot !== NIL) {
      this.free = this.rows[(slot << ROW_SHIFT) + NEXT]!;
      return slot;
    }
    if (this.made << ROW_SHIFT === this.rows.length) {
      const rows = new Int32Array(Math.min(this.made * 2, this.maxEntries) << ROW_SHIFT);
      rows.set(this.rows);
      this.rows = rows;
    }
    this.socks.push(null);
    return this.made++;
  }
}

/**
 * Linux 6.1 net/ipv4/inet_hashtables.c: inet_ehash_insert. Puts `sk` into ehash and sets sk.hash,
 * that of its addresses and ports.
 * @param replace the socket whose place it takes (a request by its child, a connection by its
 *   time-wait socket)
 * @returns false when `replace` has left the table, or without it when the connection is there
 *   already or the table is full (`hashinfo.ehash.full`); then nothing has changed
 */
export function inetEhashInsert(
  hashinfo: InetHashinfo,
  sk: SockCommon,
  replace: SockCommon | null,
): boolean {
  const ehash = hashinfo.ehash;
  if (replace !== null) {
    if (replace.ehashSlot === NIL) return false;
    ehash.replace(replace, sk);
    return true;
  }
  const hash = inetEhashfn(hashinfo, sk.rcvSaddr, sk.num, sk.daddr, sk.dport);
  const ports = (sk.dport << 16) | sk.num;
  if (ehash.lookup(hash, sk.daddr, sk.rcvSaddr, ports, sk.boundDevIf) !== null) return false;
  sk.hash = hash;
  return ehash.insert(sk);
}

/**
 * Linux 6.1 net/ipv4/inet_hashtables.c: inet_unhash, for a socket with a peer. Nothing happens when
 * it is not in ehash.
 */
export function inetEhashRemove(hashinfo: InetHashinfo, sk: SockCommon): void {
  if (sk.ehashSlot !== NIL) hashinfo.ehash.remove(sk);
}
