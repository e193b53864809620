/**
 * What a thread can do to a TCP descriptor on its own, straight on the shared memory and without
 * asking the stack thread: copy bytes out of and into its rings, take a connection from an accept
 * ring, see what it is ready for (Linux: the tcp_recvmsg, tcp_sendmsg, inet_csk_accept and tcp_poll
 * of one socket). Nothing here blocks for longer than another thread's copy, and nothing tells the
 * stack: the `...Due` functions say when it wants to be told. Waiting and telling is sys.ts;
 * eventfd counters are event-count.ts.
 */
import {
  EAGAIN,
  EBADF,
  EINVAL,
  ENOBUFS,
  ENOTCONN,
  ENOTSOCK,
  EOPNOTSUPP,
  EPIPE,
} from '../../net/errno.js';
import {
  RING_CAPACITY,
  RING_HEAD,
  RING_LIMIT,
  RING_LOCK,
  RING_NOTICE,
  RING_PAGE,
  RING_TAIL,
  RING_WAKE,
  ringCopyIn,
  ringCopyOut,
  ringDue,
  ringTryLock,
  ringUnlock,
  ringUsed,
} from '../../net/ring.js';
import {
  BLOCK_ERROR,
  BLOCK_EVENTS,
  BLOCK_FLAGS,
  BLOCK_GEN,
  BLOCK_KIND,
  BLOCK_OWNER,
  BLOCK_RCV,
  BLOCK_SHUT,
  BLOCK_SND,
  BLOCK_STATE,
  FILE_ACCEPTED,
  FILE_CLOSING,
  FIRST_FD,
  KIND_EVENTFD,
  KIND_FREE,
  KIND_TCP,
  O_NONBLOCK,
  type SocketMemory,
} from '../../net/sockmem.js';
import {
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_ESTABLISHED,
  TCP_LISTEN,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
} from './constants.js';
import { eventCountPoll } from './event-count.js';

/** Result of fileWrite: the send ring has no memory yet; have the stack attach it and try again. */
export const NEED_RING: number = -ENOBUFS;

/**
 * BLOCK_FLAGS bits: a shutdown was asked for and is on its way to the stack (which publishes
 * BLOCK_SHUT).
 */
export const FILE_SHUT_RD = 4;
export const FILE_SHUT_WR = 8;

/** Tries at a ring's lock before the thread gives its time slice away. */
const LOCK_SPINS = 2000;
/**
 * Naps of one millisecond before a lock is taken for dead (its holder was killed while it copied).
 */
const LOCK_NAPS = 2000;

/** KIND_* of an open descriptor, or -EBADF for one that is free, being closed or out of range. */
export function fileKind(mem: SocketMemory, fd: number): number {
  if ((fd | 0) !== fd || fd < FIRST_FD || fd >= mem.maxFds) return -EBADF;
  const at = mem.blockAt(fd);
  const kind = Atomics.load(mem.ctl, at + BLOCK_KIND);
  if (kind === KIND_FREE || (mem.ctl[at + BLOCK_FLAGS]! & FILE_CLOSING) !== 0) return -EBADF;
  return kind;
}

/** Bits 1 (reading) and 2 (writing): what the application has shut down, or asked to. */
export function fileShut(mem: SocketMemory, at: number): number {
  return (
    Atomics.load(mem.ctl, at + BLOCK_SHUT) | ((Atomics.load(mem.ctl, at + BLOCK_FLAGS) >> 2) & 3)
  );
}

/**
 * Reads (or, with `peek`, looks at) up to `length` bytes. Linux: tcp_recvmsg.
 * @param holder number of the calling thread + 1, for the ring's lock
 * @returns bytes; 0 = end of stream; -EAGAIN, -ENOTCONN, -EBADF, -ENOTSOCK or the socket's pending
 *   error
 */
export function fileRead(
  mem: SocketMemory,
  fd: number,
  holder: number,
  target: Uint8Array,
  offset: number,
  length: number,
  peek: boolean,
): number {
  const kind = fileKind(mem, fd);
  if (kind !== KIND_TCP) return kind < 0 ? kind : -ENOTSOCK;
  const at = mem.blockAt(fd);
  const state = Atomics.load(mem.ctl, at + BLOCK_STATE);
  if (state === TCP_LISTEN) return -ENOTCONN;
  if (length === 0) return 0;
  const gen = mem.ctl[at + BLOCK_GEN]!;
  const ring = at + BLOCK_RCV;
  for (;;) {
    if (ringUsed(mem.ctl, ring) > 0) {
      if (!fileLock(mem.ctl, ring, holder)) return -EAGAIN;
      const stale = mem.ctl[at + BLOCK_GEN] !== gen;
      const count = stale ? 0 : copyOut(mem, ring, target, offset, length, peek);
      ringUnlock(mem.ctl, ring);
      if (stale) return -EBADF;
      if (count > 0) return count;
    }
    const result = readNothing(mem, at);
    // Bytes may have been published between the look at the ring and the look at the end of the
    // stream.
    if (result !== 0 || ringUsed(mem.ctl, ring) <= 0) return result;
    if (mem.ctl[ring + RING_PAGE] === 0) return result;
  }
}

function copyOut(
  mem: SocketMemory,
  ring: number,
  target: Uint8Array,
  offset: number,
  length: number,
  peek: boolean,
): number {
  const head = Atomics.load(mem.ctl, ring + RING_HEAD);
  const count = Math.min(ringUsed(mem.ctl, ring), length);
  if (count <= 0 || mem.ctl[ring + RING_PAGE] === 0) return 0;
  ringCopyOut(mem, ring, head, target, offset, count);
  if (!peek) Atomics.store(mem.ctl, ring + RING_HEAD, (head + count) | 0);
  return count;
}

/** What read says when no bytes wait, in the order of Linux's tcp_recvmsg. */
function readNothing(mem: SocketMemory, at: number): number {
  const error = fileTakeError(mem, at);
  if (error !== 0) return -error;
  if ((Atomics.load(mem.ctl, at + BLOCK_EVENTS) & EPOLLRDHUP) !== 0) return 0;
  if ((fileShut(mem, at) & 1) !== 0) return 0;
  return Atomics.load(mem.ctl, at + BLOCK_STATE) === TCP_CLOSE ? -ENOTCONN : -EAGAIN;
}

/** SO_ERROR of the block at `at`: a positive errno, which is thereby taken, or 0. */
export function fileTakeError(mem: SocketMemory, at: number): number {
  if (Atomics.load(mem.ctl, at + BLOCK_ERROR) === 0) return 0;
  return Atomics.exchange(mem.ctl, at + BLOCK_ERROR, 0);
}

/**
 * Queues up to `length` bytes to be sent. Linux: tcp_sendmsg. When not all fit, the ring is armed
 * so that the stack reports EPOLLOUT once a third of it is free.
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
    else count = copyIn(mem, ring, source, offset + done, length - done);
    ringUnlock(mem.ctl, ring);
    if (count < 0) return done > 0 ? done : count;
    done += count;
    // Full. Ask for EPOLLOUT, then look again: the stack may have freed space before it could see
    // the wish.
    if (done < length && !armWriter(mem, ring)) break;
  }
  return done > 0 ? done : -EAGAIN;
}

/** 0 when the connection takes bytes, else what write says, in the order of Linux's tcp_sendmsg. */
function writeRefusal(mem: SocketMemory, at: number): number {
  const error = fileTakeError(mem, at);
  if (error !== 0) return -error;
  if ((fileShut(mem, at) & 2) !== 0) return -EPIPE;
  const state = Atomics.load(mem.ctl, at + BLOCK_STATE);
  if (canSend(state)) return 0;
  return state === TCP_SYN_SENT || state === TCP_SYN_RECV ? -EAGAIN : -EPIPE;
}

function copyIn(
  mem: SocketMemory,
  ring: number,
  source: Uint8Array,
  offset: number,
  length: number,
): number {
  if (mem.ctl[ring + RING_PAGE] === 0) return NEED_RING;
  const tail = Atomics.load(mem.ctl, ring + RING_TAIL);
  const count = Math.min(length, writerLimit(mem, ring) - ringUsed(mem.ctl, ring));
  if (count <= 0) return 0;
  ringCopyIn(mem, ring, tail, source, offset, count);
  Atomics.store(mem.ctl, ring + RING_TAIL, (tail + count) | 0);
  return count;
}

/** Most bytes the send ring takes now: SO_SNDBUF, or its memory when that has not grown to it. */
function writerLimit(mem: SocketMemory, ring: number): number {
  return Math.min(mem.ctl[ring + RING_LIMIT]!, mem.ctl[ring + RING_CAPACITY]!);
}

/**
 * Asks the stack to report EPOLLOUT when a third of the send ring is free (Linux:
 * sk_stream_is_writeable with SOCK_NOSPACE).
 * @returns true when that much is free already
 */
function armWriter(mem: SocketMemory, ring: number): boolean {
  const wanted = Math.trunc((writerLimit(mem, ring) * 2) / 3);
  const wake = (Atomics.load(mem.ctl, ring + RING_TAIL) - wanted) | 0;
  Atomics.store(mem.ctl, ring + RING_WAKE, wake);
  return ((Atomics.load(mem.ctl, ring + RING_HEAD) - wake) | 0) >= 0;
}

/**
 * Takes the oldest established connection from a listener's accept ring (Linux: inet_csk_accept).
 * Threads contend by compare-exchange on the head. The child becomes the caller's: FILE_ACCEPTED,
 * its owner and blocking mode are set.
 * @param holder number of the calling thread + 1; the child is closed when that thread dies; 0 =
 *   nobody's
 * @param nonblock O_NONBLOCK or 0
 * @returns the child's descriptor; -EAGAIN (nothing waits), -EINVAL (not listening), -EBADF,
 *   -EOPNOTSUPP (no listener)
 */
export function fileAccept(mem: SocketMemory, fd: number, holder = 0, nonblock = 0): number {
  const kind = fileKind(mem, fd);
  if (kind !== KIND_TCP) {
    if (kind < 0) return kind;
    return kind === KIND_EVENTFD ? -ENOTSOCK : -EOPNOTSUPP;
  }
  const at = mem.blockAt(fd);
  const ring = at + BLOCK_RCV;
  for (;;) {
    if (Atomics.load(mem.ctl, at + BLOCK_STATE) !== TCP_LISTEN) return -EINVAL;
    const head = Atomics.load(mem.ctl, ring + RING_HEAD);
    const page = mem.ctl[ring + RING_PAGE]!;
    if (Atomics.load(mem.ctl, ring + RING_TAIL) === head || page === 0) return -EAGAIN;
    const slot = head & ((mem.ctl[ring + RING_CAPACITY]! >>> 2) - 1);
    const child = Atomics.load(mem.words, page * 1024 + slot);
    // The entry is ours only if nobody moved the head since: the stack never overwrites an entry
    // past the head.
    if (Atomics.compareExchange(mem.ctl, ring + RING_HEAD, head, (head + 1) | 0) !== head) continue;
    const childAt = mem.blockAt(child);
    Atomics.store(mem.ctl, childAt + BLOCK_OWNER, holder);
    Atomics.or(mem.ctl, childAt + BLOCK_FLAGS, FILE_ACCEPTED | (nonblock & O_NONBLOCK));
    return child;
  }
}

/**
 * What the descriptor is ready for now, EPOLL* bits (Linux: tcp_poll). When it cannot be written
 * to, the send ring is armed so that the stack reports EPOLLOUT later. 0 for a bad descriptor and
 * for an epoll instance.
 */
export function filePoll(mem: SocketMemory, fd: number): number {
  const kind = fileKind(mem, fd);
  if (kind === KIND_EVENTFD) return eventCountPoll(mem, fd);
  if (kind !== KIND_TCP) return 0;
  const at = mem.blockAt(fd);
  const state = Atomics.load(mem.ctl, at + BLOCK_STATE);
  const waiting = ringUsed(mem.ctl, at + BLOCK_RCV) > 0;
  if (state === TCP_LISTEN) return waiting ? EPOLLIN : 0;
  const sticky = Atomics.load(mem.ctl, at + BLOCK_EVENTS);
  const shut = fileShut(mem, at);
  const noMore = (sticky & EPOLLRDHUP) !== 0 || (shut & 1) !== 0;
  let events = 0;
  if (Atomics.load(mem.ctl, at + BLOCK_ERROR) !== 0) events |= EPOLLERR;
  if (waiting) events |= EPOLLIN;
  if (noMore) events |= EPOLLIN | EPOLLRDHUP;
  if ((sticky & EPOLLHUP) !== 0 || state === TCP_CLOSE || (noMore && (shut & 2) !== 0)) {
    events |= EPOLLHUP;
  }
  if ((shut & 2) !== 0 || state === TCP_CLOSE) events |= EPOLLOUT;
  else if ((sticky & EPOLLOUT) !== 0) events |= pollOut(mem, state, at + BLOCK_SND);
  return events;
}

/** EPOLLOUT when there is room, or when nothing can be sent any more: a write then tells why. */
function pollOut(mem: SocketMemory, state: number, ring: number): number {
  return !canSend(state) || writable(mem, ring) ? EPOLLOUT : 0;
}

function canSend(state: number): boolean {
  return state === TCP_ESTABLISHED || state === TCP_CLOSE_WAIT;
}

function writable(mem: SocketMemory, ring: number): boolean {
  if (mem.ctl[ring + RING_PAGE] === 0) return true;
  const limit = writerLimit(mem, ring);
  if ((limit - ringUsed(mem.ctl, ring)) * 3 >= limit) return true;
  return armWriter(mem, ring);
}

/**
 * A number that changes with every edge on the descriptor (bytes or connections in, room to send,
 * eventfd written): two equal stamps = nothing has happened in between.
 */
export function fileStamp(mem: SocketMemory, fd: number): number {
  const at = mem.blockAt(fd);
  const received = Atomics.load(mem.ctl, at + BLOCK_RCV + RING_TAIL);
  return (received + Atomics.load(mem.ctl, at + BLOCK_SND + RING_HEAD)) | 0;
}

/** FIONREAD: bytes that can be read now; -EINVAL for a listener. */
export function fileInq(mem: SocketMemory, fd: number): number {
  const at = mem.blockAt(fd);
  if (Atomics.load(mem.ctl, at + BLOCK_STATE) === TCP_LISTEN) return -EINVAL;
  return Math.max(0, ringUsed(mem.ctl, at + BLOCK_RCV));
}

/** SIOCOUTQ: bytes queued or sent and not yet acknowledged; -EINVAL for a listener. */
export function fileOutq(mem: SocketMemory, fd: number): number {
  const at = mem.blockAt(fd);
  if (Atomics.load(mem.ctl, at + BLOCK_STATE) === TCP_LISTEN) return -EINVAL;
  return Math.max(0, ringUsed(mem.ctl, at + BLOCK_SND));
}

/** After fileRead: true when the stack must be told (`consumed`) and nobody has yet. */
export function fileTakenDue(mem: SocketMemory, fd: number): boolean {
  const ring = mem.blockAt(fd) + BLOCK_RCV;
  if (!ringDue(mem.ctl, ring, Atomics.load(mem.ctl, ring + RING_HEAD))) return false;
  return Atomics.exchange(mem.ctl, ring + RING_NOTICE, 1) === 0;
}

/** After fileWrite: true when the stack must be told (`published`) and nobody has yet. */
export function filePublishedDue(mem: SocketMemory, fd: number): boolean {
  return Atomics.exchange(mem.ctl, mem.blockAt(fd) + BLOCK_SND + RING_NOTICE, 1) === 0;
}

/**
 * Returns when no thread is inside the descriptor's rings any more that entered before its flags
 * changed: bytes of a write that was under way come before the FIN, and none come after it.
 */
export function fileQuiesce(mem: SocketMemory, fd: number, holder: number): void {
  const ring = mem.blockAt(fd) + BLOCK_SND;
  if (fileLock(mem.ctl, ring, holder)) ringUnlock(mem.ctl, ring);
}

/**
 * Takes a ring's lock, waiting for as long as another thread may need to copy. An answer of -EAGAIN
 * instead would be an edge-triggered reader's lost wake-up.
 * @returns false when the holder does not let go within two seconds: it is dead
 */
function fileLock(ctl: Int32Array, ring: number, holder: number): boolean {
  for (let i = 0; i < LOCK_SPINS; i++) if (ringTryLock(ctl, ring, holder)) return true;
  for (let i = 0; i < LOCK_NAPS; i++) {
    if (ringTryLock(ctl, ring, holder)) return true;
    nap(ctl, ring + RING_LOCK);
  }
  return false;
}

/**
 * Sleeps for at most a millisecond while the word keeps its value; a plain (test) buffer cannot be
 * slept on.
 */
function nap(ctl: Int32Array, word: number): void {
  if (ctl.buffer instanceof SharedArrayBuffer) Atomics.wait(ctl, word, Atomics.load(ctl, word), 1);
}
