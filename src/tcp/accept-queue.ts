/**
 * The accept queue of a listener (Linux: request_sock_queue's accept list): a ring of descriptors
 * in the shared memory, filled here and emptied by application threads without a round trip. It
 * lives where a connection would have its receive ring; cursors count entries. Linux admits backlog
 * + 1: the test is `length > backlog`. Connections that migrate come without a test, and the ring
 * grows for them.
 */
import { ENOMEM } from '../net/errno.js';
import {
  RING_CAPACITY,
  RING_HEAD,
  RING_LIMIT,
  RING_PAGE,
  RING_TAIL,
  ringHeld,
} from '../net/ring.js';
import { PAGE_BYTES, RING_MAX_BYTES } from '../net/sockmem.js';
import { ringCapacityFor } from './ring-memory.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

const ENTRY_BYTES = 4;

/** Gives `listener` room for backlog + 1 connections, or more room. 0 or -ENOMEM. */
export function acceptQueueOpen(tcp: Tcp, listener: Tcb, backlog: number): number {
  const { ctl, mem } = tcp;
  const ring = listener.rcvRing;
  const capacity = ringCapacityFor((backlog + 1) * ENTRY_BYTES);
  if (ctl[ring + RING_PAGE] === 0) {
    const page = mem.allocRing(capacity);
    if (page === 0) return -ENOMEM;
    ctl[ring + RING_CAPACITY] = capacity;
    Atomics.store(ctl, ring + RING_PAGE, page);
  } else if (capacity > ctl[ring + RING_CAPACITY]! && !growQueue(tcp, listener, capacity)) {
    return -ENOMEM;
  }
  ctl[ring + RING_LIMIT] = backlog;
  return 0;
}

/**
 * Takes the memory of an empty queue back. The cursors stay where they are: a thread that is about
 * to take what is gone must lose the race.
 */
export function acceptQueueClose(tcp: Tcp, listener: Tcb): void {
  const { ctl, mem } = tcp;
  const ring = listener.rcvRing;
  const page = ctl[ring + RING_PAGE]!;
  Atomics.store(ctl, ring + RING_PAGE, 0);
  mem.freeRing(page, ctl[ring + RING_CAPACITY]!);
  ctl[ring + RING_CAPACITY] = 0;
}

/**
 * Larger memory without a lock: the queue is emptied by the same compare-exchange that applications
 * use, so whoever read an entry of the old memory loses the race, then filled again.
 */
function growQueue(tcp: Tcp, listener: Tcb, capacity: number): boolean {
  const { ctl, mem } = tcp;
  const ring = listener.rcvRing;
  const page = mem.allocRing(capacity);
  if (page === 0) return false;
  const waiting: number[] = [];
  for (let fd = acceptQueuePop(tcp, listener); fd >= 0; fd = acceptQueuePop(tcp, listener)) {
    waiting.push(fd);
  }
  mem.freeRing(ctl[ring + RING_PAGE]!, ctl[ring + RING_CAPACITY]!);
  ctl[ring + RING_CAPACITY] = capacity;
  Atomics.store(ctl, ring + RING_PAGE, page);
  for (const fd of waiting) acceptQueuePush(tcp, listener, fd);
  return true;
}

function slotsOf(tcp: Tcp, ring: number): number {
  return tcp.ctl[ring + RING_CAPACITY]! / ENTRY_BYTES;
}

function entryAt(tcp: Tcp, ring: number, cursor: number): number {
  const slot = cursor & (slotsOf(tcp, ring) - 1);
  return tcp.ctl[ring + RING_PAGE]! * (PAGE_BYTES / ENTRY_BYTES) + slot;
}

/** Connections that wait to be accepted; only the stack adds any. */
export function acceptQueueLength(tcp: Tcp, listener: Tcb): number {
  return ringHeld(tcp.ctl, listener.rcvRing);
}

/** Linux sock.h: sk_acceptq_is_full. No backlog is larger than the largest ring. */
export function acceptQueueIsFull(tcp: Tcp, listener: Tcb): boolean {
  const length = acceptQueueLength(tcp, listener);
  return length > listener.listen!.backlog || length >= slotsOf(tcp, listener.rcvRing);
}

/**
 * Appends the descriptor of an established connection, whatever the backlog. False: the ring is
 * full and there is no memory for a larger one, which cannot be while the queue was not full.
 */
export function acceptQueuePush(tcp: Tcp, listener: Tcb, fd: number): boolean {
  const ring = listener.rcvRing;
  const slots = slotsOf(tcp, ring);
  if (acceptQueueLength(tcp, listener) >= slots) {
    const capacity = slots * ENTRY_BYTES * 2;
    if (capacity > RING_MAX_BYTES || !growQueue(tcp, listener, capacity)) return false;
  }
  const tail = tcp.ctl[ring + RING_TAIL]!;
  tcp.mem.words[entryAt(tcp, ring, tail)] = fd;
  Atomics.store(tcp.ctl, ring + RING_TAIL, (tail + 1) | 0);
  return true;
}

/** Takes the oldest connection, racing application threads; -1 when there is none. */
export function acceptQueuePop(tcp: Tcp, listener: Tcb): number {
  const { ctl, mem } = tcp;
  const ring = listener.rcvRing;
  for (;;) {
    const head = Atomics.load(ctl, ring + RING_HEAD);
    const waiting = (Atomics.load(ctl, ring + RING_TAIL) - head) | 0;
    // A head that no accept() leaves there: what is in between is no queue.
    if (waiting <= 0 || waiting > slotsOf(tcp, ring)) return -1;
    const fd = mem.words[entryAt(tcp, ring, head)]!;
    if (Atomics.compareExchange(ctl, ring + RING_HEAD, head, (head + 1) | 0) === head) return fd;
  }
}
