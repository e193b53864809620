/**
 * Packet memory: one Skb = one packet on its way in or out (Linux: struct sk_buff). All skbs are
 * windows into one arena, the same memory that holds the byte rings, so that payload moves between
 * packet and ring by a memmove without allocating a view. This file does not parse anything.
 */
import { assert } from './assert.js';
import type { NetDevice } from './route.js';
import { PAGE_BYTES, type SocketMemory } from './sockmem.js';

/** Nothing is known about the transport checksum (in: verify it; out: it is complete). */
export const CHECKSUM_NONE = 0;
/** In: the link vouches for it. */
export const CHECKSUM_UNNECESSARY = 1;
/** Out: the field holds the pseudo-header sum, not complemented; the link completes it. */
export const CHECKSUM_PARTIAL = 3;

/** Room before `start` that a device may use for a link header (virtio-net: 10 bytes), bytes. */
export const SKB_HEADROOM = 64;

/** Interface indices: `lo`, and the first device. */
export const IFINDEX_LOOPBACK = 1;
export const IFINDEX_LINK = 2;

/**
 * Fragments of one packet at most: a superpacket of 65,535 bytes, of a send ring in which files are
 * referred to in stretches of 16 KiB or more (tcp/output/transmit.ts).
 */
export const FRAGMENTS_MOST = 14;

export class Skb {
  /** The arena. Offsets below are offsets into it. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  /** First byte of this skb's buffer (SkbPool's to change), and its size. */
  base: number;
  readonly capacity: number;

  /** Linear data is [start, end): begins at the IP header. */
  start = 0;
  end = 0;
  /** Out: stretches of a send ring that follow the linear data (two when the ring wraps). */
  frag0 = 0;
  frag0Bytes = 0;
  frag1 = 0;
  frag1Bytes = 0;
  /** Those beyond two, which only files bring: place and bytes of each; made at first use. */
  private more: Int32Array | null = null;
  private moreWords = 0;
  private moreBytes = 0;

  /**
   * CHECKSUM_*; for PARTIAL the checksum covers [csumStart, end of packet) and goes to csumStart +
   * csumOffset.
   */
  ipSummed: number = CHECKSUM_NONE;
  csumStart = 0;
  csumOffset = 0;
  /**
   * Payload bytes of each segment the link should cut (out) or has merged (in); 0 = one plain
   * packet.
   */
  gsoSize = 0;

  /** Filled by ipv4Rcv and ipv4Xmit. Addresses are u32 in host order, as int32 bit patterns. */
  saddr = 0;
  daddr = 0;
  protocol = 0;
  tos = 0;
  ttl = 0;
  /** Offset of the transport header; transport data is [transport, end). */
  transport = 0;
  /**
   * Index of the interface it came in by, as lookups see it (Linux: inet_iif): for a packet to
   * ourselves the one that has the address. Out: what that will be, should it come back to us.
   */
  ifindex: number = IFINDEX_LINK;
  /** Queue that it came in by ("CPU"). */
  cpu = 0;
  /** In: `lo` for a packet that we sent to ourselves, else null. Out: null = not routed yet. */
  dev: NetDevice | null = null;
  /** The pool's free list, or the queue it waits in. */
  next: Skb | null = null;
  /** Owned by SkbPool: a free skb must not be released again. */
  free = true;

  constructor(mem: SocketMemory, base: number, capacity: number) {
    this.bytes = mem.bytes;
    this.view = mem.view;
    this.base = base;
    this.capacity = capacity;
    this.reset();
  }

  /** Empty packet, data position behind the headroom. */
  reset(): void {
    this.start = this.base + SKB_HEADROOM;
    this.end = this.start;
    this.dropFragments();
    this.ipSummed = CHECKSUM_NONE;
    this.csumStart = this.csumOffset = this.gsoSize = 0;
    this.transport = 0;
    this.ifindex = IFINDEX_LINK;
    this.cpu = 0;
    this.dev = null;
  }

  /** Whole packet, bytes: linear data and all fragments. */
  get length(): number {
    return this.end - this.start + this.fragmentBytes;
  }

  /** Bytes in all fragments. */
  get fragmentBytes(): number {
    return this.frag0Bytes + this.frag1Bytes + this.moreBytes;
  }

  /** Fragments that `place` and `size` can be asked of; of the first two some may be empty. */
  get fragments(): number {
    return 2 + (this.moreWords >> 1);
  }

  /** Arena offset of fragment `index`. */
  place(index: number): number {
    if (index < 2) return index === 0 ? this.frag0 : this.frag1;
    return this.more![(index - 2) * 2]!;
  }

  /** Bytes of fragment `index`. */
  size(index: number): number {
    if (index < 2) return index === 0 ? this.frag0Bytes : this.frag1Bytes;
    return this.more![(index - 2) * 2 + 1]!;
  }

  /** Adds a fragment behind the others. False: there are as many as there may be. */
  addFragment(place: number, bytes: number): boolean {
    if (this.frag0Bytes === 0) {
      this.frag0 = place;
      this.frag0Bytes = bytes;
    } else if (this.frag1Bytes === 0) {
      this.frag1 = place;
      this.frag1Bytes = bytes;
    } else {
      if (this.fragments >= FRAGMENTS_MOST) return false;
      this.more ??= new Int32Array((FRAGMENTS_MOST - 2) * 2);
      this.more[this.moreWords++] = place;
      this.more[this.moreWords++] = bytes;
      this.moreBytes += bytes;
    }
    return true;
  }

  /** The linear part alone is left. */
  dropFragments(): void {
    this.frag0 = this.frag0Bytes = this.frag1 = this.frag1Bytes = 0;
    this.moreWords = this.moreBytes = 0;
  }

  /** Copies what fragments point at behind the linear part, which must have room. */
  linearize(): void {
    for (let i = 0; i < this.fragments; i++) {
      const bytes = this.size(i);
      if (bytes === 0) continue;
      const place = this.place(i);
      this.bytes.copyWithin(this.end, place, place + bytes);
      this.end += bytes;
    }
    this.dropFragments();
  }

  /** Copies the whole packet to `target`, from `at` on, as far as there is room: where it ends. */
  copyOut(target: Uint8Array, at = 0): number {
    const { bytes } = this;
    at = copyPiece(bytes, this.start, this.end - this.start, target, at);
    for (let i = 0; i < this.fragments; i++) {
      at = copyPiece(bytes, this.place(i), this.size(i), target, at);
    }
    return at;
  }
}

function copyPiece(
  source: Uint8Array,
  from: number,
  length: number,
  target: Uint8Array,
  at: number,
): number {
  const taken = Math.min(length, target.length - at);
  if (taken > 0) target.set(source.subarray(from, from + taken), at);
  return at + taken;
}

/** Buffers of one size, allocated from the arena on demand and kept. */
export class SkbPool {
  /** Size of each buffer, bytes. */
  readonly capacity: number;
  private readonly mem: SocketMemory;
  private free: Skb | null = null;
  /** Skbs made so far, and how many of them are out: equal to 0 when nothing leaks. */
  made = 0;
  out = 0;
  private readonly maxMade: number;
  /** Buffers that sockets have (tcp/lend.ts), and the most: the others are for packets. */
  lent = 0;
  private readonly lendMost: number;

  /** @param lendMost how many of `maxMade` may be lent at a time */
  constructor(mem: SocketMemory, capacity: number, maxMade: number, lendMost = 0) {
    this.mem = mem;
    this.capacity = capacity;
    this.maxMade = maxMade;
    this.lendMost = lendMost;
  }

  /**
   * An empty skb, or null when the pool's limit or the arena is exhausted (the caller counts and
   * drops).
   */
  alloc(): Skb | null {
    let skb = this.free;
    if (skb !== null) {
      this.free = skb.next;
      skb.next = null;
      skb.reset();
    } else {
      if (this.made >= this.maxMade) return null;
      const page = this.mem.allocRing(this.capacity);
      if (page === 0) return null;
      skb = new Skb(this.mem, page * PAGE_BYTES, this.capacity);
      this.made++;
    }
    skb.free = false;
    this.out++;
    return skb;
  }

  /** How many more buffers may be lent. */
  get lendable(): number {
    return this.lendMost - this.lent;
  }

  /**
   * Parts `skb` from its buffer: `spare`, from alloc(), has it from now on, and `skb` has that of
   * `spare` after its next reset(). Until then its offsets are those of the buffer that is lent.
   */
  lend(skb: Skb, spare: Skb): void {
    const { base } = skb;
    skb.base = spare.base;
    spare.base = base;
    this.lent++;
  }

  /** The buffer of `spare` is not needed any more. */
  takeBack(spare: Skb): void {
    this.lent--;
    this.release(spare);
  }

  release(skb: Skb): void {
    assert(!skb.free, 'skb released twice');
    skb.free = true;
    skb.next = this.free;
    this.free = skb;
    this.out--;
  }
}

/** First in, first out; an skb waits in one queue at most. */
export class SkbQueue {
  private head: Skb | null = null;
  private tail: Skb | null = null;
  length = 0;
  /** Buffer memory of all that wait, bytes. */
  bytes = 0;

  push(skb: Skb): void {
    if (this.tail === null) this.head = skb;
    else this.tail.next = skb;
    this.tail = skb;
    this.length++;
    this.bytes += skb.capacity;
  }

  shift(): Skb | null {
    const skb = this.head;
    if (skb === null) return null;
    this.head = skb.next;
    if (this.head === null) this.tail = null;
    skb.next = null;
    this.length--;
    this.bytes -= skb.capacity;
    return skb;
  }
}
