/**
 * Writing to a TCP descriptor straight into the shared memory (Linux tcp.c: tcp_sendmsg_locked,
 * tcp_stream_memory_free, tcp_ioctl). Nothing here waits or tells the stack: that is sys-io.ts.
 */
import { EAGAIN, EBADF, EINVAL, ENOBUFS, ENOMEM, ENOTSOCK, EPIPE } from '../../net/errno.js';
import {
  RING_CAPACITY,
  RING_HEAD,
  RING_LIMIT,
  RING_PAGE,
  RING_TAIL,
  RING_WAKE,
  ringCopyIn,
  ringUnlock,
  ringUsed,
} from '../../net/ring.js';
import {
  BLOCK_GEN,
  BLOCK_NOSPACE,
  BLOCK_NOTSENT,
  BLOCK_SND,
  BLOCK_SND_FLAGS,
  BLOCK_SND_NXT,
  BLOCK_SND_UP,
  BLOCK_STATE,
  KIND_TCP,
  SND_MORE,
  SND_URGENT,
  type SocketMemory,
} from '../../net/sockmem.js';
import {
  MSG_MORE,
  MSG_OOB,
  TCP_CLOSE,
  TCP_CLOSING,
  TCP_FIN_WAIT1,
  TCP_LAST_ACK,
  TCP_LISTEN,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
} from './constants.js';
import { fileKind, fileLock, fileMaySend, fileShut, fileTakeError } from './file-block.js';

/** Result of fileWrite: the send ring has no memory yet; have the stack attach it and try again. */
export const NEED_RING: number = -ENOBUFS;
/** Of fileSend: have the stack attach a table of extents (and a ring), and try again. */
export const NEED_EXTENTS: number = -ENOMEM;

/** TCP_NOTSENT_LOWAT is looked at once for this much (Linux: once a buffer). */
const NOTSENT_UNIT_BYTES = 16 << 10;

/**
 * Queues up to `length` bytes to be sent. Linux: tcp_sendmsg_locked. When not all fit, the ring is
 * armed so that the stack reports EPOLLOUT once a third of it is free.
 * @param flags MSG_MORE and MSG_OOB count; the others are the caller's
 * @returns bytes queued; -EAGAIN, NEED_RING, -EPIPE, -EBADF, -ENOTSOCK or the socket's pending
 *   error
 */
export function fileWrite(
  mem: SocketMemory,
  fd: number,
  holder: number,
  source: Uint8Array,
  offset: number,
  length: number,
  flags = 0,
): number {
  const kind = fileKind(mem, fd);
  if (kind !== KIND_TCP) return kind < 0 ? kind : -ENOTSOCK;
  const at = mem.blockAt(fd);
  const refusal = writeRefusal(mem, at);
  if (refusal !== 0 || length === 0) return refusal;
  const gen = mem.ctl[at + BLOCK_GEN]!;
  const ring = at + BLOCK_SND;
  let done = 0;
  while (done < length) {
    if (!fileLock(mem.ctl, ring, holder)) break;
    let count = 0;
    if (mem.ctl[at + BLOCK_GEN] !== gen) count = -EBADF;
    else if ((fileShut(mem, at) & 2) !== 0) count = -EPIPE;
    else count = copyIn(mem, at, source, offset + done, length - done, flags);
    ringUnlock(mem.ctl, ring);
    if (count < 0) return done > 0 ? done : count;
    done += count;
    // Full. Ask for EPOLLOUT, then look again: the stack may have freed space before it could see
    // the wish.
    if (done < length && !armWriter(mem, at)) break;
  }
  return done > 0 ? done : -EAGAIN;
}

/** 0 when the connection takes bytes, else what write says, in the order of Linux's tcp_sendmsg. */
export function writeRefusal(mem: SocketMemory, at: number): number {
  const error = fileTakeError(mem, at);
  if (error !== 0) return -error;
  if ((fileShut(mem, at) & 2) !== 0) return -EPIPE;
  const state = mem.ctl[at + BLOCK_STATE]!;
  if (fileMaySend(mem, at, state)) return 0;
  return state === TCP_SYN_SENT || state === TCP_SYN_RECV ? -EAGAIN : -EPIPE;
}

function copyIn(
  mem: SocketMemory,
  at: number,
  source: Uint8Array,
  offset: number,
  length: number,
  flags: number,
): number {
  const { ctl } = mem;
  const ring = at + BLOCK_SND;
  if (ctl[ring + RING_PAGE] === 0) return NEED_RING;
  const count = Math.min(length, writeRoom(mem, at));
  if (count <= 0) return 0;
  ringCopyIn(mem, ring, ctl[ring + RING_TAIL]!, source, offset, count);
  publishWrite(mem, at, count, flags);
  return count;
}

/** Bytes that may be queued now; 0 or less = none. */
export function writeRoom(mem: SocketMemory, at: number): number {
  const { ctl } = mem;
  const ring = at + BLOCK_SND;
  return Math.min(
    writerLimit(mem, ring) - ((ctl[ring + RING_TAIL]! - ctl[ring + RING_HEAD]!) | 0),
    roomForUnsent(ctl, at, 1, NOTSENT_UNIT_BYTES),
  );
}

/** The next `count` bytes of the stream are there; the ring is locked. */
export function publishWrite(mem: SocketMemory, at: number, count: number, flags: number): void {
  const { ctl } = mem;
  const ring = at + BLOCK_SND;
  const end = (ctl[ring + RING_TAIL]! + count) | 0;
  markWrite(ctl, at, end, flags);
  Atomics.store(ctl, ring + RING_TAIL, end);
}

/** What the stack must know of these bytes before it sees them. */
function markWrite(ctl: Int32Array, at: number, end: number, flags: number): void {
  if ((flags & MSG_OOB) !== 0) {
    Atomics.store(ctl, at + BLOCK_SND_UP, end);
    Atomics.or(ctl, at + BLOCK_SND_FLAGS, SND_URGENT);
  }
  if ((flags & MSG_MORE) !== 0) Atomics.or(ctl, at + BLOCK_SND_FLAGS, SND_MORE);
  else if ((ctl[at + BLOCK_SND_FLAGS]! & SND_MORE) !== 0) {
    Atomics.and(ctl, at + BLOCK_SND_FLAGS, ~SND_MORE);
  }
}

/** Most bytes the send ring takes now: SO_SNDBUF, or its memory when that has not grown to it. */
function writerLimit(mem: SocketMemory, ring: number): number {
  return Math.min(mem.ctl[ring + RING_LIMIT]!, mem.ctl[ring + RING_CAPACITY]!);
}

/** Bytes written that have not been sent for the first time. */
function unsentBytes(ctl: Int32Array, at: number): number {
  const tail = ctl[at + BLOCK_SND + RING_TAIL]!;
  return Math.max(0, (tail - Atomics.load(ctl, at + BLOCK_SND_NXT)) | 0);
}

/**
 * How many bytes TCP_NOTSENT_LOWAT leaves room for (Linux: tcp_stream_memory_free); 0 or less =
 * none.
 * @param scale unsent bytes count so often: 2 when asked whether it is worth to wake a writer
 * @param unit what is allowed is rounded up to this
 */
function roomForUnsent(ctl: Int32Array, at: number, scale: number, unit: number): number {
  const lowat = ctl[at + BLOCK_NOTSENT]! >>> 0;
  if (lowat === 0) return Infinity;
  const room = lowat - unsentBytes(ctl, at) * scale;
  return room <= 0 ? 0 : Math.ceil(room / unit) * unit;
}

/**
 * Asks the stack to report EPOLLOUT when a third of the send ring is free and not too much of it is
 * unsent (Linux: sk_stream_is_writeable with SOCK_NOSPACE).
 * @returns true when that is so already
 */
export function armWriter(mem: SocketMemory, at: number): boolean {
  const { ctl } = mem;
  if (roomForUnsent(ctl, at, 2, 1) <= 0) {
    Atomics.store(ctl, at + BLOCK_NOSPACE, 1);
    if (roomForUnsent(ctl, at, 2, 1) <= 0) return false;
  }
  const ring = at + BLOCK_SND;
  const wanted = Math.trunc((writerLimit(mem, ring) * 2) / 3);
  const wake = (ctl[ring + RING_TAIL]! - wanted) | 0;
  Atomics.store(ctl, ring + RING_WAKE, wake);
  return ((Atomics.load(ctl, ring + RING_HEAD) - wake) | 0) >= 0;
}

/** Is there room to write (Linux: sk_stream_is_writeable)? If not, the stack will tell. */
export function fileWritable(mem: SocketMemory, at: number): boolean {
  const ring = at + BLOCK_SND;
  if (mem.ctl[ring + RING_PAGE] === 0) return true;
  const limit = writerLimit(mem, ring);
  const room = (limit - ringUsed(mem.ctl, ring)) * 3 >= limit;
  if (room && roomForUnsent(mem.ctl, at, 2, 1) > 0) return true;
  return armWriter(mem, at);
}

/**
 * SIOCOUTQ: bytes, and a FIN, that the peer has not acknowledged; -EINVAL for a listener (Linux:
 * tcp_ioctl).
 */
export function fileOutq(mem: SocketMemory, fd: number): number {
  const at = mem.blockAt(fd);
  const state = Atomics.load(mem.ctl, at + BLOCK_STATE);
  if (state === TCP_LISTEN) return -EINVAL;
  if (unopened(state)) return 0;
  return Math.max(0, ringUsed(mem.ctl, at + BLOCK_SND)) + (finUnacked(state) ? 1 : 0);
}

/** SIOCOUTQNSD: bytes, and a FIN, that have not been sent; -EINVAL for a listener. */
export function fileOutqNotSent(mem: SocketMemory, fd: number): number {
  const { ctl } = mem;
  const at = mem.blockAt(fd);
  const state = Atomics.load(ctl, at + BLOCK_STATE);
  if (state === TCP_LISTEN) return -EINVAL;
  if (unopened(state)) return 0;
  const tail = Atomics.load(ctl, at + BLOCK_SND + RING_TAIL);
  const unsent = (tail - Atomics.load(ctl, at + BLOCK_SND_NXT)) | 0;
  // What a reset has left in the ring stays counted; a disconnected socket has nothing there.
  if (state === TCP_CLOSE) return Math.min(Math.max(0, unsent), ringUsed(ctl, at + BLOCK_SND));
  return Math.max(0, unsent + (finUnacked(state) ? 1 : 0));
}

function unopened(state: number): boolean {
  return state === TCP_SYN_SENT || state === TCP_SYN_RECV;
}

function finUnacked(state: number): boolean {
  return state === TCP_FIN_WAIT1 || state === TCP_CLOSING || state === TCP_LAST_ACK;
}
