/**
 * When a connection has ring memory and how much (both directions): attached when the first byte
 * comes or goes, doubled when the window or cwnd asks for it, taken back when drained and idle. An
 * idle connection has none. Application threads lock a ring while they copy; what is locked is left
 * for the next turn.
 */
import {
  RING_CAPACITY,
  RING_HEAD,
  RING_LIMIT,
  RING_PAGE,
  RING_TAIL,
  ringTryLock,
  ringUnlock,
  ringUsed,
  STACK_LOCK,
} from '../net/ring.js';
import { extentsInit } from '../net/ring-extents.js';
import { BLOCK_EXTENTS, PAGE_BYTES, RING_MAX_BYTES } from '../net/sockmem.js';
import { endLending } from './lend.js';
import { TCP_LISTEN } from './state.js';
import { SEND_SHUTDOWN, type Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** First send ring unless tcp_wmem says more, bytes; doubled up to tcp_wmem[2] as cwnd grows. */
const SEND_RING_BYTES = 64 << 10;
/** A drained ring is taken back after this long without traffic, µs. */
export const RING_IDLE_US = 1_000_000;
/** Connections looked at in one sweep. */
const SWEEP_MOST = 4096;

/** Smallest ring size that holds `bytes`. */
export function ringCapacityFor(bytes: number): number {
  if (bytes <= PAGE_BYTES) return PAGE_BYTES;
  return bytes >= RING_MAX_BYTES ? RING_MAX_BYTES : 1 << (32 - Math.clz32(Math.ceil(bytes) - 1));
}

function attach(tcp: Tcp, tcb: Tcb, ring: number, capacity: number): boolean {
  const page = tcp.mem.allocRing(capacity);
  if (page === 0) return false;
  const { ctl } = tcp;
  ctl[ring + RING_CAPACITY] = capacity;
  Atomics.store(ctl, ring + RING_PAGE, page);
  tcb.lastActiveUs = tcp.net.nowUs;
  if (tcb.ringedIndex < 0) tcb.ringedIndex = tcp.ringed.push(tcb) - 1;
  return true;
}

/**
 * Makes sure that received bytes have somewhere to go. False: the arena is exhausted. Whoever is
 * spoken to will answer: the send ring comes along, so that the application need not ask for it.
 */
export function attachReceiveRing(tcp: Tcp, tcb: Tcb): boolean {
  if (tcp.ctl[tcb.rcvRing + RING_PAGE] !== 0) return true;
  // The buffer may have been made smaller than what was offered before.
  const offered = (tcb.rcvWup + tcb.rcvWnd - tcb.rcvNxt) | 0;
  const capacity = ringCapacityFor(Math.max(tcb.rcvSpace * 2, offered));
  if (!attach(tcp, tcb, tcb.rcvRing, capacity)) return false;
  if ((tcb.shutdown & SEND_SHUTDOWN) === 0) attachSendRing(tcp, tcb);
  return true;
}

/** Makes sure that the application can write. False: the arena is exhausted. */
export function attachSendRing(tcp: Tcp, tcb: Tcb): boolean {
  if (tcp.ctl[tcb.sndRing + RING_PAGE] !== 0) return true;
  const { tcpWmemDefault, tcpWmemMax } = tcp.net.sysctl;
  let limit = tcp.ctl[tcb.sndRing + RING_LIMIT]!;
  if (!tcb.sndBufLocked || limit === 0) {
    // SO_BUF_LOCK alone locks what a socket begins with.
    const least = tcb.sndBufLocked ? tcpWmemDefault : Math.max(SEND_RING_BYTES, tcpWmemDefault);
    limit = Math.min(least, tcpWmemMax, RING_MAX_BYTES);
    tcp.ctl[tcb.sndRing + RING_LIMIT] = limit;
  }
  return attach(tcp, tcb, tcb.sndRing, ringCapacityFor(limit));
}

/**
 * Makes sure that the stream of a send ring that has memory can refer to files. False: the arena is
 * exhausted.
 */
export function attachExtents(tcp: Tcp, tcb: Tcb): boolean {
  const { ctl, mem } = tcp;
  if (ctl[tcb.at + BLOCK_EXTENTS] !== 0) return true;
  const page = mem.allocRing(PAGE_BYTES);
  if (page === 0) return false;
  extentsInit(mem, page, PAGE_BYTES);
  Atomics.store(ctl, tcb.at + BLOCK_EXTENTS, page);
  return true;
}

/** The stream of the send ring refers to nothing any more; nobody may be writing to it. */
export function detachExtents(tcp: Tcp, tcb: Tcb): void {
  const page = tcp.ctl[tcb.at + BLOCK_EXTENTS]!;
  if (page === 0) return;
  Atomics.store(tcp.ctl, tcb.at + BLOCK_EXTENTS, 0);
  tcp.mem.freeRing(page, PAGE_BYTES);
}

/**
 * Moves a ring's content to memory of `capacity` bytes. False: locked, or no memory; nothing has
 * changed.
 */
export function growRing(tcp: Tcp, ring: number, capacity: number, keepBytes: number): boolean {
  const { ctl, mem } = tcp;
  const oldPage = ctl[ring + RING_PAGE]!;
  const oldCapacity = ctl[ring + RING_CAPACITY]!;
  if (oldPage === 0 || capacity <= oldCapacity || capacity > RING_MAX_BYTES) return false;
  if (!ringTryLock(ctl, ring, STACK_LOCK)) return false;
  const page = mem.allocRing(capacity);
  if (page !== 0) {
    const head = Atomics.load(ctl, ring + RING_HEAD);
    copyRing(tcp, head, keepBytes, oldPage, oldCapacity, page, capacity);
    ctl[ring + RING_CAPACITY] = capacity;
    Atomics.store(ctl, ring + RING_PAGE, page);
    mem.freeRing(oldPage, oldCapacity);
  }
  ringUnlock(ctl, ring);
  return page !== 0;
}

function copyRing(
  tcp: Tcp,
  seq: number,
  bytes: number,
  fromPage: number,
  fromCapacity: number,
  toPage: number,
  toCapacity: number,
): void {
  let left = bytes;
  while (left > 0) {
    const from = seq & (fromCapacity - 1);
    const to = seq & (toCapacity - 1);
    const size = Math.min(left, fromCapacity - from, toCapacity - to);
    const source = fromPage * PAGE_BYTES + from;
    tcp.mem.bytes.copyWithin(toPage * PAGE_BYTES + to, source, source + size);
    seq = (seq + size) | 0;
    left -= size;
  }
}

/** Takes a ring's memory back if nobody is using it right now, and the ring's table with it. */
function detach(tcp: Tcp, tcb: Tcb, ring: number): boolean {
  const { ctl, mem } = tcp;
  const page = ctl[ring + RING_PAGE]!;
  if (page === 0) return true;
  if (!ringTryLock(ctl, ring, STACK_LOCK)) return false;
  // Nobody else uses it before the lock is given back, and who has it then sees this.
  ctl[ring + RING_PAGE] = 0;
  const capacity = ctl[ring + RING_CAPACITY]!;
  ctl[ring + RING_CAPACITY] = 0;
  mem.freeRing(page, capacity);
  if (ring === tcb.sndRing) detachExtents(tcp, tcb);
  else endLending(tcp, tcb);
  ringUnlock(ctl, ring);
  return true;
}

/** The last act of a socket: its rings and its descriptor go back. */
export function releaseRings(tcp: Tcp, tcb: Tcb): void {
  if (detach(tcp, tcb, tcb.rcvRing) && detach(tcp, tcb, tcb.sndRing)) {
    forgetRinged(tcp, tcb);
    if (tcp.queues === null || !tcp.queues.freed(tcb)) tcp.mem.freeFd(tcb.fd);
    tcp.parking.retire(tcb);
  } else {
    tcp.lateDetach.push(tcb);
  }
}

/** Tries again what was locked. */
export function retryLateDetach(tcp: Tcp): void {
  const late = tcp.lateDetach;
  if (late.length === 0) return;
  for (const tcb of late.splice(0)) releaseRings(tcp, tcb);
}

function forgetRinged(tcp: Tcp, tcb: Tcb): void {
  const index = tcb.ringedIndex;
  if (index < 0) return;
  const last = tcp.ringed.pop()!;
  if (last !== tcb) {
    tcp.ringed[index] = last;
    last.ringedIndex = index;
  }
  tcb.ringedIndex = -1;
}

/** Takes back the memory of connections that are drained and have been idle for RING_IDLE_US. */
export function sweepIdleRings(tcp: Tcp, nowUs: number): void {
  const { ctl, ringed } = tcp;
  // Downwards, so that the one that takes a removed one's place has been looked at; on from where
  // the last sweep ended.
  let i = Math.min(tcp.sweepAt === 0 ? ringed.length : tcp.sweepAt, ringed.length);
  const end = Math.max(0, i - SWEEP_MOST);
  tcp.sweepAt = end;
  while (--i >= end) {
    const tcb = ringed[i]!;
    if (tcb.state === TCP_LISTEN || nowUs - tcb.lastActiveUs < RING_IDLE_US) continue;
    if (ringUsed(ctl, tcb.rcvRing) !== 0 || ringUsed(ctl, tcb.sndRing) !== 0) continue;
    if (tcb.ofo !== null && tcb.ofo.count > 0) continue;
    if (!drained(tcp, tcb, tcb.rcvRing) || !drained(tcp, tcb, tcb.sndRing)) continue;
    forgetRinged(tcp, tcb);
  }
}

/**
 * Detaches a ring that is still empty once it is locked (the application may have written
 * meanwhile).
 */
function drained(tcp: Tcp, tcb: Tcb, ring: number): boolean {
  const { ctl, mem } = tcp;
  const page = ctl[ring + RING_PAGE]!;
  if (page === 0) return true;
  if (!ringTryLock(ctl, ring, STACK_LOCK)) return false;
  const empty = Atomics.load(ctl, ring + RING_HEAD) === Atomics.load(ctl, ring + RING_TAIL);
  if (empty) {
    const capacity = ctl[ring + RING_CAPACITY]!;
    Atomics.store(ctl, ring + RING_PAGE, 0);
    ctl[ring + RING_CAPACITY] = 0;
    mem.freeRing(page, capacity);
    if (ring === tcb.sndRing) detachExtents(tcp, tcb);
    else endLending(tcp, tcb);
  }
  ringUnlock(ctl, ring);
  return empty;
}
