/**
 * eventfd counters in shared memory (Linux: fs/eventfd.c). The counter is one word, so it holds at
 * most 2^32 - 2 where Linux's holds 2^64 - 2; the 8-byte form of read and write is Linux's. Nothing
 * here blocks and nothing tells the stack: `eventCountDue` says when somebody watches.
 */
import { EAGAIN, EINVAL } from '../../net/errno.js';
import { RING_HEAD, RING_LIMIT, RING_TAIL } from '../../net/ring.js';
import { BLOCK_HASH, BLOCK_RCV, BLOCK_SND, type SocketMemory } from '../../net/sockmem.js';
import { EPOLLIN, EPOLLOUT } from './constants.js';

/** The counter is the head word of the send ring. */
const COUNT: number = BLOCK_SND + RING_HEAD;
/** Non-zero: EFD_SEMAPHORE. */
const SEMAPHORE: number = BLOCK_SND + RING_LIMIT;
/** Counts writes, so that fileStamp sees them. */
const WRITES: number = BLOCK_RCV + RING_TAIL;
/** Kept by the stack thread: epoll interests in this descriptor. */
export const EVENT_COUNT_WATCHERS: number = BLOCK_HASH;
/** Largest count. */
const COUNT_MAX = 0xfffffffe;

/** Sets up a fresh block. `initval` is taken modulo 2^32 - 1. */
export function eventCountInit(
  mem: SocketMemory,
  fd: number,
  initval: number,
  semaphore: boolean,
): void {
  const at = mem.blockAt(fd);
  Atomics.store(mem.ctl, at + COUNT, Math.min(initval >>> 0, COUNT_MAX) | 0);
  Atomics.store(mem.ctl, at + SEMAPHORE, semaphore ? 1 : 0);
}

/**
 * Takes the count (or one, for a semaphore) into 8 little-endian bytes: 8, -EAGAIN when it is 0,
 * -EINVAL.
 */
export function eventCountRead(
  mem: SocketMemory,
  fd: number,
  target: Uint8Array,
  offset: number,
  length: number,
): number {
  if (length < 8) return -EINVAL;
  const word = mem.blockAt(fd) + COUNT;
  const semaphore = mem.ctl[mem.blockAt(fd) + SEMAPHORE] !== 0;
  for (;;) {
    const count = Atomics.load(mem.ctl, word);
    if (count === 0) return -EAGAIN;
    const left = semaphore ? (count - 1) | 0 : 0;
    if (Atomics.compareExchange(mem.ctl, word, count, left) !== count) continue;
    const taken = semaphore ? 1 : count;
    for (let i = 0; i < 8; i++) target[offset + i] = i < 4 ? (taken >>> (8 * i)) & 0xff : 0;
    return 8;
  }
}

/**
 * Adds the 8 little-endian bytes to the count: 8, -EAGAIN when that would pass the largest count,
 * -EINVAL.
 */
export function eventCountWrite(
  mem: SocketMemory,
  fd: number,
  source: Uint8Array,
  offset: number,
  length: number,
): number {
  if (length < 8) return -EINVAL;
  let high = 0;
  let low = 0;
  for (let i = 3; i >= 0; i--) {
    low = low * 256 + source[offset + i]!;
    high = high * 256 + source[offset + 4 + i]!;
  }
  if (high === 0xffffffff && low === 0xffffffff) return -EINVAL;
  const at = mem.blockAt(fd);
  for (;;) {
    const count = Atomics.load(mem.ctl, at + COUNT);
    const sum = (count >>> 0) + low;
    if (high !== 0 || sum > COUNT_MAX) return -EAGAIN;
    if (Atomics.compareExchange(mem.ctl, at + COUNT, count, sum | 0) !== count) continue;
    Atomics.add(mem.ctl, at + WRITES, 1);
    return 8;
  }
}

/** EPOLLIN when there is something to read, EPOLLOUT when 1 can be added. */
export function eventCountPoll(mem: SocketMemory, fd: number): number {
  const count = Atomics.load(mem.ctl, mem.blockAt(fd) + COUNT) >>> 0;
  return (count > 0 ? EPOLLIN : 0) | (count < COUNT_MAX ? EPOLLOUT : 0);
}

/** After a write or read: true when somebody watches the descriptor: the stack is to be told. */
export function eventCountDue(mem: SocketMemory, fd: number): boolean {
  return Atomics.load(mem.ctl, mem.blockAt(fd) + EVENT_COUNT_WATCHERS) !== 0;
}
