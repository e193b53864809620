/**
 * What a thread can do to a TCP descriptor on its own, straight on the shared memory and without
 * asking the stack thread: take a connection from an accept ring, see what it is ready for (Linux:
 * inet_csk_accept, tcp_poll), and, in files of their own, copy bytes out of and into its rings.
 * Nothing here blocks for longer than another thread's copy, and nothing tells the stack: the
 * `...Due` functions say when it wants to be told. Waiting and telling is sys.ts; eventfd counters
 * are event-count.ts.
 */
import { EAGAIN, EINVAL, ENOTSOCK, EOPNOTSUPP } from '../../net/errno.js';
import {
  RING_CAPACITY,
  RING_HEAD,
  RING_PAGE,
  RING_TAIL,
  ringUnlock,
  ringUsed,
} from '../../net/ring.js';
import {
  BLOCK_ERROR,
  BLOCK_EVENTS,
  BLOCK_FLAGS,
  BLOCK_KIND,
  BLOCK_OWNER,
  BLOCK_RCV,
  BLOCK_SND,
  BLOCK_STATE,
  FILE_ACCEPTED,
  KIND_EVENTFD,
  KIND_TCP,
  O_NONBLOCK,
  type SocketMemory,
} from '../../net/sockmem.js';
import { URG_VALID, urgentState } from '../../net/urgent.js';
import {
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  TCP_CLOSE,
  TCP_LISTEN,
} from './constants.js';
import { eventCountPoll } from './event-count.js';
import { fileKind, fileLock, fileMaySend, fileShut } from './file-block.js';
import { fileReadable } from './file-read.js';
import { fileWritable } from './file-write.js';

export { fileKind, fileShut, fileTakeError } from './file-block.js';
export { fileInq, fileRead, fileTakenDue } from './file-read.js';
export { fileOutq, fileWrite, NEED_RING } from './file-write.js';

/**
 * BLOCK_FLAGS bits: a shutdown was asked for, and is on its way to the stack or has come there.
 */
export const FILE_SHUT_RD = 4;
export const FILE_SHUT_WR = 8;

/**
 * Takes the oldest established connection from a listener's accept ring (Linux: inet_csk_accept).
 * Threads contend by compare-exchange on the head. The child becomes the caller's: FILE_ACCEPTED,
 * its owner and blocking mode are set.
 * @param holder number of the calling thread + 1; the child is closed when that thread dies; 0 =
 *   nobody's
 * @param nonblock O_NONBLOCK or 0
 * @returns the child's descriptor; -EAGAIN (nothing waits), -EINVAL (not listening, or SO_DRAIN has
 *   come to its end), -EBADF, -EOPNOTSUPP (no listener)
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
    const drained = (Atomics.load(mem.ctl, at + BLOCK_EVENTS) & EPOLLRDHUP) !== 0;
    const head = Atomics.load(mem.ctl, ring + RING_HEAD);
    const tail = Atomics.load(mem.ctl, ring + RING_TAIL);
    // Memory that the stack has exchanged for larger is seen with the first tail in it.
    const page = mem.ctl[ring + RING_PAGE]!;
    if (tail === head || page === 0) return drained ? -EINVAL : -EAGAIN;
    const slots = mem.ctl[ring + RING_CAPACITY]! >>> 2;
    // The listener has stopped since: look again.
    if (slots === 0) continue;
    const slot = head & (slots - 1);
    const child = Atomics.load(mem.words, page * 1024 + slot);
    // The entry is ours only if nobody moved the head since: the stack never overwrites an entry
    // past the head.
    if (Atomics.compareExchange(mem.ctl, ring + RING_HEAD, head, (head + 1) | 0) !== head) continue;
    // A thread has moved the head to where no entry is.
    if (child <= 0 || child >= mem.maxFds) return -EAGAIN;
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
 * @param wanted EPOLL* bits: without EPOLLOUT in it nobody looks for room in the send ring
 */
export function filePoll(mem: SocketMemory, fd: number, wanted = -1): number {
  const kind = fileKind(mem, fd);
  if (kind === KIND_EVENTFD) return eventCountPoll(mem, fd);
  if (kind !== KIND_TCP) return 0;
  const at = mem.blockAt(fd);
  const state = Atomics.load(mem.ctl, at + BLOCK_STATE);
  const sticky = mem.ctl[at + BLOCK_EVENTS]!;
  if (state === TCP_LISTEN) {
    if (ringUsed(mem.ctl, at + BLOCK_RCV) > 0) return EPOLLIN;
    // SO_DRAIN: nobody waits and nobody will come.
    return (sticky & EPOLLRDHUP) !== 0 ? EPOLLIN | EPOLLRDHUP : 0;
  }
  const shut = fileShut(mem, at);
  const noMore = (sticky & EPOLLRDHUP) !== 0 || (shut & 1) !== 0;
  let events = 0;
  if (mem.ctl[at + BLOCK_ERROR] !== 0) events |= EPOLLERR;
  if (fileReadable(mem, at)) events |= EPOLLIN;
  if (noMore) events |= EPOLLIN | EPOLLRDHUP;
  if ((urgentState(mem.ctl, at) & URG_VALID) !== 0) events |= EPOLLPRI;
  if ((sticky & EPOLLHUP) !== 0 || state === TCP_CLOSE || (noMore && (shut & 2) !== 0)) {
    events |= EPOLLHUP;
  }
  if ((shut & 2) !== 0 || state === TCP_CLOSE) events |= EPOLLOUT;
  else if ((sticky & wanted & EPOLLOUT) !== 0) events |= pollOut(mem, at, state);
  return events;
}

/** EPOLLOUT when there is room, or when nothing can be sent any more: a write then tells why. */
function pollOut(mem: SocketMemory, at: number, state: number): number {
  return !fileMaySend(mem, at, state) || fileWritable(mem, at) ? EPOLLOUT : 0;
}

/**
 * filePoll as poll() and epoll tell it: what is readable or writable is "normal" data, too
 * (EPOLLRDNORM, EPOLLWRNORM).
 */
export function filePollAll(mem: SocketMemory, fd: number, wanted = -1): number {
  const events = filePoll(mem, fd, wanted | (wanted >> 6));
  return mem.ctl[mem.blockAt(fd) + BLOCK_KIND] === KIND_TCP ? withNormal(events) : events;
}

/** EPOLLRDNORM beside EPOLLIN, EPOLLWRNORM beside EPOLLOUT: their bits are six places higher. */
export function withNormal(events: number): number {
  return events | ((events & (EPOLLIN | EPOLLOUT)) << 6);
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

/**
 * Returns when no thread is inside the descriptor's rings any more that entered before its flags
 * changed: bytes of a write that was under way come before the FIN, and none come after it.
 */
export function fileQuiesce(mem: SocketMemory, fd: number, holder: number): void {
  const ring = mem.blockAt(fd) + BLOCK_SND;
  if (fileLock(mem.ctl, ring, holder)) ringUnlock(mem.ctl, ring);
}
