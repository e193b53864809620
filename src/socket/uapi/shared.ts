/**
 * Making and opening the shared memory of a stack: control words in a SharedArrayBuffer, payload in
 * whatever bytes the caller has (a SharedArrayBuffer in tests, mmapped memory with koffi). Also the
 * few things that threads say to each other through the globals: reserving a thread number, where
 * the arena is, that the stack thread has died and why.
 */
import { PAGE_BYTES, SocketMemory } from '../../net/sockmem.js';
import {
  type CtlLayout,
  ctlLayout,
  G_ARENA_HI,
  G_ARENA_LO,
  G_ARENA_PAGES,
  G_MAGIC,
  G_MAX_FDS,
  G_QUEUES,
  G_STACK_SLEEPING,
  G_STACK_WAKE,
  G_STATE,
  G_TEXT,
  G_TEXT_BYTES,
  G_TEXT_MAX_BYTES,
  G_THREADS,
  G_WAKE_FD,
  globalAt,
  MAGIC,
  MAX_FDS_DEFAULT,
  MAX_QUEUES,
  MAX_THREADS,
  MIB_SLOTS,
  STACK_DEAD,
  STACK_STOPPED,
  T_CMD_HEAD,
  T_DONE,
  T_SLEEPING,
  T_STATE,
  T_WAKE,
  THREAD_FREE,
  THREAD_LIVE,
  threadAt,
} from './layout.js';

/** One thread's view of the memory of a stack. */
export interface SharedMemory {
  readonly ctl: Int32Array;
  readonly layout: CtlLayout;
  readonly mem: SocketMemory;
  /** Whose stack thread looks at it; application threads look as queue 0. */
  readonly queue: number;
  /** Counters of that queue's stack, by the indices of net/mib.ts. */
  readonly mib: Float64Array;
}

/**
 * Fresh control words for `maxFds` descriptors and `queues` stack threads.
 * @throws RangeError when `maxFds` is not an integer in 64..4194304, `queues` not one in 1..16
 */
export function createCtl(maxFds: number = MAX_FDS_DEFAULT, queues = 1): SharedArrayBuffer {
  if (!Number.isInteger(maxFds) || maxFds < 64 || maxFds > 1 << 22) {
    throw new RangeError(`maxFds must be an integer in 64..${1 << 22}, not ${maxFds}`);
  }
  if (!Number.isInteger(queues) || queues < 1 || queues > MAX_QUEUES) {
    throw new RangeError(`queues must be an integer in 1..${MAX_QUEUES}, not ${queues}`);
  }
  const layout = ctlLayout(maxFds, queues);
  const buffer = new SharedArrayBuffer(layout.words * 4);
  const ctl = new Int32Array(buffer);
  ctl[G_MAX_FDS] = maxFds;
  ctl[G_QUEUES] = queues;
  for (let queue = 0; queue < queues; queue++) ctl[globalAt(layout, G_WAKE_FD, queue)] = -1;
  Atomics.store(ctl, G_MAGIC, MAGIC);
  return buffer;
}

/**
 * The layout of control words made by createCtl. Throws RangeError when `ctl` is something else.
 */
export function layoutOf(ctl: Int32Array): CtlLayout {
  const layout = ctlLayout(ctl[G_MAX_FDS]!, ctl[G_QUEUES]!);
  if (ctl[G_MAGIC] !== MAGIC || layout.words > ctl.length) {
    throw new RangeError('these are not the control words of a stack of this version');
  }
  return layout;
}

/**
 * A view of the memory for the calling thread.
 * @param buffer made by createCtl
 * @param arena payload bytes, a multiple of PAGE_BYTES, the same in every thread
 * @param queue of a stack thread: its own
 */
export function openShared(buffer: SharedArrayBuffer, arena: Uint8Array, queue = 0): SharedMemory {
  const ctl = new Int32Array(buffer);
  const layout = layoutOf(ctl);
  const share = { part: queue, parts: layout.queues };
  const mem = new SocketMemory(ctl, arena, layout.blocksAt, layout.maxFds, share);
  return { ctl, layout, mem, queue, mib: mibOf(buffer, layout, queue) };
}

/** The counters of the stack of queue `queue`. */
export function mibOf(buffer: SharedArrayBuffer, layout: CtlLayout, queue: number): Float64Array {
  return new Float64Array(buffer, (layout.mibAt + queue * layout.queueWords) * 4, MIB_SLOTS);
}

/** Publishes where the mmapped arena is, so that each thread can view it. */
export function setArena(ctl: Int32Array, address: number, bytes: number): void {
  Atomics.store(ctl, G_ARENA_LO, address | 0);
  Atomics.store(ctl, G_ARENA_HI, Math.floor(address / 2 ** 32));
  Atomics.store(ctl, G_ARENA_PAGES, bytes / PAGE_BYTES);
}

/** What setArena published; bytes = 0 before that. */
export function arenaOf(ctl: Int32Array): { address: number; bytes: number } {
  const high = Atomics.load(ctl, G_ARENA_HI);
  return {
    address: high * 2 ** 32 + (Atomics.load(ctl, G_ARENA_LO) >>> 0),
    bytes: Atomics.load(ctl, G_ARENA_PAGES) * PAGE_BYTES,
  };
}

/**
 * Takes the lowest free thread number; -1 when all are in use. The stack frees it when the thread
 * is gone.
 */
export function reserveThread(ctl: Int32Array, layout: CtlLayout): number {
  for (let thread = 0; thread < MAX_THREADS; thread++) {
    const word = threadAt(layout, thread) + T_STATE;
    if (Atomics.compareExchange(ctl, word, THREAD_FREE, THREAD_LIVE) !== THREAD_FREE) continue;
    let known = Atomics.load(ctl, G_THREADS);
    while (known <= thread) {
      const seen = Atomics.compareExchange(ctl, G_THREADS, known, thread + 1);
      if (seen === known) break;
      known = seen;
    }
    return thread;
  }
  return -1;
}

/**
 * Wakes a stack thread that sleeps in `sleepInMemory`: the doorbell of a stack without an eventfd.
 */
export function wakeInMemory(ctl: Int32Array): void {
  Atomics.add(ctl, G_STACK_WAKE, 1);
  Atomics.notify(ctl, G_STACK_WAKE);
}

/**
 * The pump's `wait` of a stack without a device to poll: until `wakeInMemory`, at most `timeoutMs`.
 */
export function sleepInMemory(ctl: Int32Array, timeoutMs: number): void {
  const seen = Atomics.load(ctl, G_STACK_WAKE);
  // Who took the flag before we looked rings, or has rung, a doorbell that we would sleep over.
  if (Atomics.load(ctl, G_STACK_SLEEPING) === 0) return;
  Atomics.wait(ctl, G_STACK_WAKE, seen, timeoutMs);
}

/**
 * The stack thread is no more: every waiter wakes and finds it so. Called by the stack thread
 * itself, or by whoever sees it exit without having said so.
 * @param why shown to whoever uses the stack; empty = it was asked to stop
 */
export function declareDead(ctl: Int32Array, layout: CtlLayout, why: string): void {
  const text = new TextEncoder().encode(why).subarray(0, G_TEXT_MAX_BYTES);
  const bytes = new Uint8Array(ctl.buffer, ctl.byteOffset + G_TEXT * 4, G_TEXT_MAX_BYTES);
  bytes.set(text);
  Atomics.store(ctl, G_TEXT_BYTES, text.length);
  Atomics.store(ctl, G_STATE, why === '' ? STACK_STOPPED : STACK_DEAD);
  const threads = Atomics.load(ctl, G_THREADS);
  for (let thread = 0; thread < threads; thread++) {
    const at = threadAt(layout, thread);
    Atomics.add(ctl, at + T_WAKE, 1);
    Atomics.store(ctl, at + T_SLEEPING, 0);
    for (const word of [T_WAKE, T_DONE, T_CMD_HEAD]) Atomics.notify(ctl, at + word);
  }
}

/** Why the stack cannot be used any more, or null while it can. */
export function causeOfDeath(ctl: Int32Array): string | null {
  const state = Atomics.load(ctl, G_STATE);
  if (state === STACK_STOPPED) return 'the stack has been closed';
  if (state !== STACK_DEAD) return null;
  const length = Math.min(Atomics.load(ctl, G_TEXT_BYTES), G_TEXT_MAX_BYTES);
  // Copied: a TextDecoder does not read shared memory.
  const bytes = new Uint8Array(ctl.buffer, ctl.byteOffset + G_TEXT * 4, length).slice();
  return `the stack thread died: ${new TextDecoder().decode(bytes)}`;
}
