/**
 * Byte rings between the stack thread and the application threads. A ring is eight control words in
 * `mem.ctl` (shared by all threads) and a power-of-two stretch of `mem.bytes`. **The cursors are
 * sequence numbers**: a byte with sequence number s lives at offset `s & (capacity - 1)`, so the
 * head of a send ring is SND.UNA and the tail of a receive ring is RCV.NXT, and out-of-order data
 * can be placed past the tail before it is published.
 *
 * One side owns the head (the reader), the other the tail (the writer). An atomic access costs ten
 * times a plain one, so it is kept for what needs it: publishing a cursor, reading the other side's
 * before the bytes that it vouches for, and where both sides set one word and look at another.
 * One's own words are read plainly, and so is what is read after such a load, or what only a later
 * event need make true.
 *
 * Memory is attached, grown and taken away only by the stack thread and only under the ring's lock,
 * which an application thread holds while it copies.
 */
import { PAGE_BYTES, type SocketMemory } from './sockmem.js';

/** Oldest byte still kept (owned by the reader). */
export const RING_HEAD = 0;
/** One past the newest published byte (owned by the writer). */
export const RING_TAIL = 1;
/** First arena page of the memory; 0 = no memory attached. */
export const RING_PAGE = 2;
/** Bytes of memory, a power of two. */
export const RING_CAPACITY = 3;
/** 0 = free, else thread id + 1 of the holder (the stack thread is STACK_LOCK). */
export const RING_LOCK = 4;
/**
 * The side that waits for progress stores here the cursor value at which it wants to be told (see
 * `ringDue`).
 */
export const RING_WAKE = 5;
/**
 * Where in its command ring the thread that last told the stack about this ring has put that
 * command: while it waits there it need not be told again.
 */
export const RING_NOTICE = 6;
/**
 * Send ring: most bytes that may be queued (SO_SNDBUF); accept ring: the backlog; receive ring:
 * BLOCK_SND_NXT is there.
 */
export const RING_LIMIT = 7;

/** Lock value of the stack thread. */
export const STACK_LOCK = 0x7fffffff;
/** A RING_WAKE that is never due: half the number space away. */
export const WAKE_NEVER_DISTANCE = 0x40000000;

/** Bytes between head and tail; what the reader finds by it was written before the tail moved. */
export function ringUsed(ctl: Int32Array, ring: number): number {
  return (Atomics.load(ctl, ring + RING_TAIL) - ctl[ring + RING_HEAD]!) | 0;
}

/** The same for the writer: bytes that it may not overwrite yet. */
export function ringHeld(ctl: Int32Array, ring: number): number {
  return (ctl[ring + RING_TAIL]! - ctl[ring + RING_HEAD]!) | 0;
}

/** Tries to take the ring's lock; never waits. */
export function ringTryLock(ctl: Int32Array, ring: number, holder: number): boolean {
  return Atomics.compareExchange(ctl, ring + RING_LOCK, 0, holder) === 0;
}

export function ringUnlock(ctl: Int32Array, ring: number): void {
  Atomics.store(ctl, ring + RING_LOCK, 0);
}

/**
 * Sets both cursors (a new connection: the first sequence number of the stream). Threads look at
 * them once something is published that says so: a state, a place in an accept queue.
 */
export function ringReset(ctl: Int32Array, ring: number, seq: number): void {
  ctl[ring + RING_HEAD] = seq;
  ctl[ring + RING_WAKE] = (seq + WAKE_NEVER_DISTANCE) | 0;
  ctl[ring + RING_NOTICE] = 0;
  ctl[ring + RING_TAIL] = seq;
}

/** True when `cursor` has reached the value that the other side asked to be told about. */
export function ringDue(ctl: Int32Array, ring: number, cursor: number): boolean {
  return ((cursor - Atomics.load(ctl, ring + RING_WAKE)) | 0) >= 0;
}

/**
 * Copies `length` arena bytes at `from` into the ring at sequence number `seq` (no allocation,
 * nothing published).
 */
export function ringPlace(
  mem: SocketMemory,
  ring: number,
  seq: number,
  from: number,
  length: number,
): void {
  const capacity = mem.ctl[ring + RING_CAPACITY]!;
  const base = mem.ctl[ring + RING_PAGE]! * PAGE_BYTES;
  const at = seq & (capacity - 1);
  const first = Math.min(length, capacity - at);
  moveBytes(mem, base + at, from, first);
  if (first < length) moveBytes(mem, base, from + first, length - first);
}

/** Copies `length` bytes of `source` at `offset` into the ring at sequence number `seq`. */
export function ringCopyIn(
  mem: SocketMemory,
  ring: number,
  seq: number,
  source: Uint8Array,
  offset: number,
  length: number,
): void {
  const capacity = mem.ctl[ring + RING_CAPACITY]!;
  const base = mem.ctl[ring + RING_PAGE]! * PAGE_BYTES;
  const at = seq & (capacity - 1);
  const first = Math.min(length, capacity - at);
  const view = length <= WORDS_BYTES ? lastSource.of(source) : null;
  if (view !== null && first === length) copyWords(mem.view, base + at, view, offset, length);
  else copyBytes(mem.bytes, base + at, source, offset, first);
  if (first < length) copyBytes(mem.bytes, base, source, offset + first, length - first);
}

/** Copies `length` ring bytes from sequence number `seq` to `target` at `offset`. */
export function ringCopyOut(
  mem: SocketMemory,
  ring: number,
  seq: number,
  target: Uint8Array,
  offset: number,
  length: number,
): void {
  const capacity = mem.ctl[ring + RING_CAPACITY]!;
  const base = mem.ctl[ring + RING_PAGE]! * PAGE_BYTES;
  const at = seq & (capacity - 1);
  const first = Math.min(length, capacity - at);
  const view = length <= WORDS_BYTES ? lastTarget.of(target) : null;
  if (view !== null && first === length) copyWords(view, offset, mem.view, base + at, length);
  else copyBytes(target, offset, mem.bytes, base + at, first);
  if (first < length) copyBytes(target, offset + first, mem.bytes, base, length - first);
}

/** Up to this many bytes a loop over words does, if there are views on both sides already. */
const WORDS_BYTES = 192;

/** The array that was copied from, or to, last: who uses one again has a view of it made. */
class LastArray {
  private array: Uint8Array | null = null;
  private view: DataView | null = null;

  of(array: Uint8Array): DataView | null {
    if (array !== this.array) {
      this.array = array;
      this.view = null;
    } else if (this.view === null || this.view.byteLength !== array.length) {
      this.view = new DataView(array.buffer, array.byteOffset, array.length);
    }
    return this.view;
  }
}

const lastSource = new LastArray();
const lastTarget = new LastArray();

function copyWords(
  target: DataView,
  at: number,
  source: DataView,
  offset: number,
  length: number,
): void {
  let i = 0;
  for (; i + 8 <= length; i += 8) {
    target.setInt32(at + i, source.getInt32(offset + i));
    target.setInt32(at + i + 4, source.getInt32(offset + i + 4));
  }
  for (; i < length; i++) target.setUint8(at + i, source.getUint8(offset + i));
}

/** More is moved sooner by the builtin, which takes 30 ns whatever the length in mapped memory. */
const MOVE_WORDS_BYTES = 64;

/** Copies `length` arena bytes at `from` to `to`; the two do not overlap. */
export function moveBytes(mem: SocketMemory, to: number, from: number, length: number): void {
  if (length <= MOVE_WORDS_BYTES) copyWords(mem.view, to, mem.view, from, length);
  else mem.bytes.copyWithin(to, from, from + length);
}

/** Below this many bytes a loop beats the view that `set` needs. */
const LOOP_BYTES = 48;

function copyBytes(
  target: Uint8Array,
  at: number,
  source: Uint8Array,
  offset: number,
  length: number,
): void {
  if (length <= LOOP_BYTES) {
    for (let i = 0; i < length; i++) target[at + i] = source[offset + i]!;
  } else {
    target.set(source.subarray(offset, offset + length), at);
  }
}
