/**
 * The memory that a stack shares with application threads, and the stack's allocators over it:
 * socket blocks (one per file descriptor, fixed words in `ctl`) and ring memory (power-of-two
 * stretches of `bytes`). Only the stack thread allocates; application threads read the layout and
 * move the cursors that are theirs. Of several stack threads each has its own part of `bytes`, and
 * that of queue 0 all descriptors. In tests both are plain buffers.
 *
 * Layout of a socket block, words of `ctl` from `blockAt(fd)`:
 */

import { FdMap } from './fd-map.js';
import { PageAllocator } from './page-allocator.js';

export { FIRST_FD } from './fd-map.js';

/** Counts reuses of this fd: a stale reference is recognised by it. */
export const BLOCK_GEN = 0;
/** KIND_*: what lives here. */
export const BLOCK_KIND = 1;
/** TCP state, Linux's numbers, as last published by the stack. */
export const BLOCK_STATE = 2;
/** O_NONBLOCK, FILE_ACCEPTED, FILE_CLOSING. */
export const BLOCK_FLAGS = 3;
/** Thread id + 1 with whose death this file is closed; 0 = nobody's. */
export const BLOCK_OWNER = 4;
/**
 * Sticky readiness published by the stack: EPOLLRDHUP, EPOLLHUP, EPOLLERR, and EPOLLOUT while
 * sending is allowed; STREAM_ENDED.
 */
export const BLOCK_EVENTS = 5;
/** SO_ERROR: a positive errno, taken by whoever reads it. */
export const BLOCK_ERROR = 6;
/**
 * First arena page of the table that says which bytes of the send ring's stream lie elsewhere
 * (ring-extents.ts), 0 = none do.
 */
export const BLOCK_EXTENTS = 7;
/** Addresses as u32 bit patterns, ports in host order. */
export const BLOCK_LADDR = 8;
export const BLOCK_LPORT = 9;
export const BLOCK_RADDR = 10;
export const BLOCK_RPORT = 11;
/** Flow hash that chose the listener (phash), as int32; of an epoll instance its number. */
export const BLOCK_HASH = 12;
/** Reuseport member index at the time of the SYN (listener: its index now), or -1. */
export const BLOCK_SLOT = 13;
/** Members of that group at the time, 0 = no group. */
export const BLOCK_MEMBERS = 14;
/** fd of the listener that a child came from, or 0. */
export const BLOCK_LISTENER = 15;
/**
 * Ring of received bytes; for a listener the accept ring: int32 entries (fds), cursors count
 * entries.
 */
export const BLOCK_RCV = 16;
/**
 * SND.NXT, as of the end of the last batch: in the word that only an accept ring uses, beside the
 * cursors, which change with it.
 */
export const BLOCK_SND_NXT = 23;
/**
 * Ring of bytes to send; for an eventfd the head word is the counter. A memory file's contents are
 * its page and capacity, and the tail is their size, bytes.
 */
export const BLOCK_SND = 24;
/** Bytes that make the socket readable: SO_RCVLOWAT, or less while the window is closing; 0 = 1. */
export const BLOCK_RCVLOWAT = 32;
/** SO_RCVTIMEO and SO_SNDTIMEO, ms: 0 = for ever, -1 = a call never waits. */
export const BLOCK_RCVTIMEO = 33;
export const BLOCK_SNDTIMEO = 34;
/** SO_LINGER: seconds that close() waits for the peer; 0 = it does not wait. */
export const BLOCK_LINGER = 35;
/**
 * Options that reading looks at: FILE_OOBINLINE, FILE_INQ. And what a child has from its listener,
 * shut down before listen(): SHUT_RD_KEPT, SHUT_WR_KEPT.
 */
export const BLOCK_OPTIONS = 36;
/**
 * Urgent data received (net/urgent.ts): URG_* bits with the byte, its sequence number, and that of
 * an earlier one that was passed over.
 */
export const BLOCK_URG = 37;
export const BLOCK_URG_SEQ = 38;
export const BLOCK_URG_HOLE = 39;
/** First arena page of the table of received text that is not in the ring (net/lent-text.ts). */
export const BLOCK_LENT = 40;
/** Of the last write: SND_MORE, SND_URGENT; and the end of its urgent data. */
export const BLOCK_SND_FLAGS = 41;
export const BLOCK_SND_UP = 42;
/** No EPOLLOUT while as much as this is unsent (TCP_NOTSENT_LOWAT), u32; 0 = no limit. */
export const BLOCK_NOTSENT = 43;
/** 1 = a writer found too much unsent and wants to hear when that is over. */
export const BLOCK_NOSPACE = 44;
/** What ICMP said without ending the connection: a positive errno (Linux: sk_err_soft). */
export const BLOCK_SOFT_ERROR = 45;
/** SO_PEEK_OFF, with its bits turned round: 0 = off (-1). */
export const BLOCK_PEEK_OFF = 46;
/** Queue whose stack thread has the connection; 0 for everything else. */
export const BLOCK_QUEUE = 47;
/** Three cache lines. */
export const BLOCK_WORDS = 48;

export const KIND_FREE = 0;
export const KIND_TCP = 1;
export const KIND_EVENTFD = 3;
export const KIND_EPOLL = 4;
export const KIND_MEMFD = 5;

/** BLOCK_FLAGS bits; O_NONBLOCK keeps Linux's value. */
export const O_NONBLOCK = 0o4000;
export const FILE_ACCEPTED = 1;
export const FILE_CLOSING = 2;

/** BLOCK_OPTIONS bits: SO_OOBINLINE, TCP_INQ. */
export const FILE_OOBINLINE = 1;
export const FILE_INQ = 2;
export const SHUT_RD_KEPT = 4;
export const SHUT_WR_KEPT = 8;

/** BLOCK_SND_FLAGS bits: MSG_MORE, and BLOCK_SND_UP is new. */
export const SND_MORE = 1;
export const SND_URGENT = 2;

/** In BLOCK_EVENTS: the peer's FIN has come, and reading says so even if an error came later. */
export const STREAM_ENDED = 0x4000_0000;
/** The same: Fast Open, the application may write before there is a connection. */
export const EARLY_WRITE = 0x8000000;

export const PAGE_BYTES = 4096;
/** Largest single ring, bytes. */
export const RING_MAX_BYTES: number = 16 << 20;

export class SocketMemory {
  /** Control words shared by all threads. */
  readonly ctl: Int32Array;
  /** The payload arena, and two other ways to look at it. */
  readonly bytes: Uint8Array;
  readonly view: DataView;
  readonly words: Int32Array;
  /** First control word of block 0, and number of blocks. */
  readonly blocksAt: number;
  readonly maxFds: number;

  /** Made at first use: application threads never allocate. */
  private fdMap: FdMap | null = null;
  private pageAllocator: PageAllocator | null = null;
  /** Our part of the arena: where it begins, and how many pages it has. */
  private readonly firstPage: number;
  private readonly pageCount: number;

  /**
   * @param ctl control words; blocks occupy [blocksAt, blocksAt + maxFds * BLOCK_WORDS)
   * @param bytes payload arena, a multiple of PAGE_BYTES; page 0 is never handed out
   * @param share which part of the arena ring memory comes from
   */
  constructor(
    ctl: Int32Array,
    bytes: Uint8Array,
    blocksAt: number,
    maxFds: number,
    share: { readonly part: number; readonly parts: number } = { part: 0, parts: 1 },
  ) {
    this.ctl = ctl;
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.words = new Int32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength >>> 2);
    this.blocksAt = blocksAt;
    this.maxFds = maxFds;
    this.pageCount = Math.floor(bytes.byteLength / PAGE_BYTES / share.parts);
    this.firstPage = share.part * this.pageCount;
  }

  private get fds(): FdMap {
    this.fdMap ??= new FdMap(this.maxFds);
    return this.fdMap;
  }

  private get pages(): PageAllocator {
    this.pageAllocator ??= new PageAllocator(this.pageCount);
    return this.pageAllocator;
  }

  blockAt(fd: number): number {
    return this.blocksAt + fd * BLOCK_WORDS;
  }

  /** Lowest free descriptor with a cleared block, or -1 when all are taken. */
  allocFd(kind: number): number {
    const fd = this.fds.allocLowest();
    if (fd < 0) return -1;
    const at = this.blockAt(fd);
    const gen = this.ctl[at + BLOCK_GEN]!;
    this.ctl.fill(0, at, at + BLOCK_WORDS);
    this.ctl[at + BLOCK_GEN] = (gen + 1) | 0;
    this.ctl[at + BLOCK_SLOT] = -1;
    Atomics.store(this.ctl, at + BLOCK_KIND, kind);
    return fd;
  }

  /** The block must hold no ring memory any more. */
  freeFd(fd: number): void {
    Atomics.store(this.ctl, this.blockAt(fd) + BLOCK_KIND, KIND_FREE);
    this.fds.release(fd);
  }

  get fdsInUse(): number {
    return this.fds.inUse;
  }

  /**
   * First page of a free stretch of `capacity` bytes (a power of two ≥ PAGE_BYTES), or 0 when there
   * is none.
   */
  allocRing(capacity: number): number {
    const page = this.pages.alloc(capacity / PAGE_BYTES);
    return page === 0 ? 0 : this.firstPage + page;
  }

  freeRing(page: number, capacity: number): void {
    this.pages.release(page - this.firstPage, capacity / PAGE_BYTES);
  }

  /** Our part of the arena, bytes. */
  get shareBytes(): number {
    return this.pageCount * PAGE_BYTES;
  }

  get pagesInUse(): number {
    return this.pages.inUse;
  }
}
