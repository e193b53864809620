/**
 * Reading a TCP descriptor straight from the shared memory (Linux tcp.c: tcp_recvmsg_locked,
 * tcp_recv_urg, tcp_ioctl). Nothing here waits or tells the stack: that is sys-io.ts.
 */
import { EAGAIN, EBADF, EINVAL, ENOTCONN, ENOTSOCK } from '../../net/errno.js';
import { streamCopyOut } from '../../net/lent-text.js';
import { RING_HEAD, RING_PAGE, ringDue, ringHeld, ringUnlock, ringUsed } from '../../net/ring.js';
import {
  BLOCK_ERROR,
  BLOCK_EVENTS,
  BLOCK_GEN,
  BLOCK_PEEK_OFF,
  BLOCK_RCV,
  BLOCK_RCVLOWAT,
  BLOCK_STATE,
  KIND_TCP,
  type SocketMemory,
  STREAM_ENDED,
} from '../../net/sockmem.js';
import {
  urgentHead,
  urgentInline,
  urgentPassed,
  urgentSeq,
  urgentSkip,
  urgentState,
  urgentStop,
  urgentTake,
} from '../../net/urgent.js';
import { EPOLLRDHUP, TCP_CLOSE, TCP_LISTEN, TCP_SYN_RECV, TCP_SYN_SENT } from './constants.js';
import { fileKind, fileLock, fileShut, fileTakeError } from './file-block.js';

/**
 * Reads (or, with `peek`, looks at) up to `length` bytes, and no further than the urgent mark
 * (Linux: tcp_recvmsg_locked).
 * @param holder number of the calling thread + 1, for the ring's lock
 * @param target null: the bytes are thrown away
 * @param ahead peek only: bytes of the stream to look past
 * @returns bytes; 0 = end of stream; -EAGAIN, -ENOTCONN, -EBADF, -ENOTSOCK or the socket's pending
 *   error
 */
export function fileRead(
  mem: SocketMemory,
  fd: number,
  holder: number,
  target: Uint8Array | null,
  offset: number,
  length: number,
  peek: boolean,
  ahead = 0,
): number {
  const kind = fileKind(mem, fd);
  if (kind !== KIND_TCP) return kind < 0 ? kind : -ENOTSOCK;
  const at = mem.blockAt(fd);
  if (mem.ctl[at + BLOCK_STATE] === TCP_LISTEN) return -ENOTCONN;
  const gen = mem.ctl[at + BLOCK_GEN]!;
  const ring = at + BLOCK_RCV;
  for (;;) {
    // A hint: it is looked at again under the lock, or below.
    if (ringHeld(mem.ctl, ring) > ahead) {
      if (length === 0) return 0;
      if (!fileLock(mem.ctl, ring, holder)) return -EAGAIN;
      const stale = mem.ctl[at + BLOCK_GEN] !== gen;
      const count = stale ? -EBADF : copyOut(mem, at, target, offset, length, peek, ahead);
      ringUnlock(mem.ctl, ring);
      if (count !== 0) return count;
    }
    const used = ringUsed(mem.ctl, ring);
    const result = readNothing(mem, at);
    // Bytes may have been published between the look at the ring and the look at the end of the
    // stream.
    if (result !== 0 || ringUsed(mem.ctl, ring) === used) return result;
  }
}

/** One stretch, with the ring's lock held; 0 = there is none (an urgent byte was passed over). */
function copyOut(
  mem: SocketMemory,
  at: number,
  target: Uint8Array | null,
  offset: number,
  length: number,
  peek: boolean,
  ahead: number,
): number {
  const { ctl } = mem;
  const ring = at + BLOCK_RCV;
  const first = ctl[ring + RING_HEAD]!;
  if (ctl[ring + RING_PAGE] === 0) return 0;
  // Before the mark is looked at: text past a mark is published after the mark.
  const all = ringUsed(ctl, ring);
  let head = (first + ahead) | 0;
  if (urgentState(ctl, at) === 0) {
    const plain = Math.min(all - ahead, length);
    if (plain <= 0) return 0;
    if (target !== null) streamCopyOut(mem, at, head, target, offset, plain);
    if (!peek) Atomics.store(ctl, ring + RING_HEAD, (head + plain) | 0);
    return plain;
  }
  head = (head + urgentSkip(ctl, at, head)) | 0;
  const used = all - ((head - first) | 0);
  const count = urgentStop(ctl, at, head, Math.min(used, length));
  if (count > 0 && target !== null) streamCopyOut(mem, at, head, target, offset, count);
  if (peek) return Math.max(0, count);
  // A mark at the very end of what has come: passed over as far as that goes.
  const next = count >= 0 ? (head + count) | 0 : (head - 1) | 0;
  if (next === first) return 0;
  Atomics.store(ctl, ring + RING_HEAD, next);
  urgentPassed(ctl, at, next);
  return Math.max(0, count);
}

/** What read says when no bytes wait, in the order of Linux's tcp_recvmsg. */
function readNothing(mem: SocketMemory, at: number): number {
  if ((Atomics.load(mem.ctl, at + BLOCK_EVENTS) & STREAM_ENDED) !== 0) return 0;
  const error = fileTakeError(mem, at);
  if (error !== 0) return -error;
  if ((Atomics.load(mem.ctl, at + BLOCK_EVENTS) & EPOLLRDHUP) !== 0) return 0;
  if ((fileShut(mem, at) & 1) !== 0) return 0;
  return Atomics.load(mem.ctl, at + BLOCK_STATE) === TCP_CLOSE ? -ENOTCONN : -EAGAIN;
}

/**
 * Must a read that has got something stop here: at the urgent mark, or before an error that the
 * next call is to be told?
 * @param ahead of a look: bytes of the stream it has seen
 */
export function fileReadStops(mem: SocketMemory, fd: number, ahead = 0): boolean {
  const at = mem.blockAt(fd);
  if (fileAtMark(mem, fd, ahead)) return true;
  if (mem.ctl[at + BLOCK_ERROR] === 0) return false;
  return ringUsed(mem.ctl, at + BLOCK_RCV) <= ahead;
}

/** SO_PEEK_OFF: where a look begins, bytes; below 0 = off. */
export function filePeekOffset(mem: SocketMemory, fd: number): number {
  return ~mem.ctl[mem.blockAt(fd) + BLOCK_PEEK_OFF]!;
}

/** A look has seen `bytes`, or, below 0, a read has taken so many (Linux: sk_peek_offset_fwd). */
export function movePeekOffset(mem: SocketMemory, fd: number, bytes: number): void {
  const offset = filePeekOffset(mem, fd);
  if (offset < 0) return;
  Atomics.store(mem.ctl, mem.blockAt(fd) + BLOCK_PEEK_OFF, ~Math.max(0, offset + bytes));
}

/** Bytes at the head of the stream that a look at it passes over (see urgentSkip). */
export function filePassedOver(mem: SocketMemory, fd: number): number {
  const at = mem.blockAt(fd);
  return urgentSkip(mem.ctl, at, Atomics.load(mem.ctl, at + BLOCK_RCV + RING_HEAD));
}

/** SIOCATMARK (RFC 9293 MUST-33): all before the mark was read (or seen, `ahead` bytes of it). */
export function fileAtMark(mem: SocketMemory, fd: number, ahead = 0): boolean {
  const at = mem.blockAt(fd);
  if (urgentState(mem.ctl, at) === 0) return false;
  const head = (Atomics.load(mem.ctl, at + BLOCK_RCV + RING_HEAD) + ahead) | 0;
  return urgentSeq(mem.ctl, at) === urgentHead(mem.ctl, at, head);
}

/**
 * recv() with MSG_OOB (Linux: tcp_recv_urg).
 * @returns the byte + 256; 0 = end of stream; -EINVAL: there is no urgent byte, or it is in line;
 *   -EAGAIN: it has not come yet; -ENOTCONN
 */
export function fileReadUrgent(mem: SocketMemory, fd: number, peek: boolean): number {
  const { ctl } = mem;
  const at = mem.blockAt(fd);
  const state = Atomics.load(ctl, at + BLOCK_STATE);
  if (state === TCP_LISTEN) return -ENOTCONN;
  if (urgentInline(ctl, at) || urgentTake(ctl, at, true) === -2) return -EINVAL;
  const events = Atomics.load(ctl, at + BLOCK_EVENTS);
  if (state === TCP_CLOSE && (events & STREAM_ENDED) === 0) return -ENOTCONN;
  const byte = urgentTake(ctl, at, peek);
  if (byte >= 0) return byte + 256;
  if (byte === -2) return -EINVAL;
  const ended = state === TCP_CLOSE || (events & EPOLLRDHUP) !== 0 || (fileShut(mem, at) & 1) !== 0;
  return ended ? 0 : -EAGAIN;
}

/** Bytes that wait, without one that an earlier mark pointed at and reading passes over. */
function unread(ctl: Int32Array, at: number): number {
  const ring = at + BLOCK_RCV;
  // No byte is looked at; that there are some is told again when more come.
  const used = ringHeld(ctl, ring);
  if (used <= 0) return 0;
  const head = ctl[ring + RING_HEAD]!;
  return used - ((urgentHead(ctl, at, head) - head) | 0);
}

/** What FIONREAD counts: bytes up to the urgent mark; -EINVAL for a listener (Linux: tcp_inq). */
export function fileInq(mem: SocketMemory, fd: number): number {
  const { ctl } = mem;
  const at = mem.blockAt(fd);
  const state = Atomics.load(ctl, at + BLOCK_STATE);
  if (state === TCP_LISTEN) return -EINVAL;
  if (state === TCP_SYN_SENT || state === TCP_SYN_RECV) return 0;
  const used = unread(ctl, at);
  if (urgentState(ctl, at) === 0 || urgentInline(ctl, at)) return used;
  const head = Atomics.load(ctl, at + BLOCK_RCV + RING_HEAD);
  const distance = (urgentSeq(ctl, at) - urgentHead(ctl, at, head)) | 0;
  return distance >= 0 && distance < used ? distance : used;
}

/** What TCP_INQ tells: bytes that wait, and 1 more once the peer has closed (tcp_inq_hint). */
export function fileInqHint(mem: SocketMemory, fd: number): number {
  const at = mem.blockAt(fd);
  const ended = (Atomics.load(mem.ctl, at + BLOCK_EVENTS) & STREAM_ENDED) !== 0;
  return unread(mem.ctl, at) + (ended ? 1 : 0);
}

/** Bytes that make the socket readable (SO_RCVLOWAT; Linux: sock_rcvlowat), at least 1. */
export function fileLowat(mem: SocketMemory, fd: number): number {
  return Math.max(1, mem.ctl[mem.blockAt(fd) + BLOCK_RCVLOWAT]!);
}

/** Do so many bytes wait that poll() says so (Linux tcp_poll, tcp_epollin_ready)? */
export function fileReadable(mem: SocketMemory, at: number): boolean {
  const { ctl } = mem;
  const used = unread(ctl, at);
  if (used === 0) return false;
  let target = Math.max(1, ctl[at + BLOCK_RCVLOWAT]!);
  if (urgentState(ctl, at) !== 0 && !urgentInline(ctl, at)) {
    const head = Atomics.load(ctl, at + BLOCK_RCV + RING_HEAD);
    // The byte at the mark is not read with the others.
    if (urgentSeq(ctl, at) === urgentHead(ctl, at, head)) target++;
  }
  return used >= target;
}

/** After fileRead: true when the stack wants to be told (`consumed`). */
export function fileTakenDue(mem: SocketMemory, fd: number): boolean {
  const ring = mem.blockAt(fd) + BLOCK_RCV;
  return ringDue(mem.ctl, ring, mem.ctl[ring + RING_HEAD]!);
}
