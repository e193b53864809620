/**
 * The consuming end of an epoll instance (Linux: fs/eventpoll.c). The stack thread only says "look
 * at this descriptor": it puts its number on the ready ring, once until it is taken off. What is
 * delivered is what the descriptor is ready for at the time of epoll_wait, read from shared memory,
 * so nothing delivered is stale. Level-triggered descriptors that were ready stay on the ready list
 * and are looked at again, in turn, by the next epoll_wait.
 *
 * An instance belongs to the thread that made it. Instances inside instances are not supported.
 * stack/interests.ts is the producing end.
 */
import { EBADF, EEXIST, EINVAL, EIO, ENOENT, EPERM } from '../net/errno.js';
import { BLOCK_GEN, KIND_EPOLL, type SocketMemory } from '../net/sockmem.js';
import type { EpollEvent } from './sys-table.js';
import {
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLERR,
  EPOLLET,
  EPOLLEXCLUSIVE,
  EPOLLHUP,
  EPOLLIN,
  EPOLLONESHOT,
  EPOLLOUT,
  EPOLLWAKEUP,
} from './uapi/constants.js';
import { fileKind, filePollAll, fileStamp } from './uapi/file-ops.js';
import { OP_EPOLL_CTL } from './uapi/layout.js';
import type { ThreadPort } from './uapi/thread-port.js';

/** Bits that describe how, not what: all that is left of a one-shot interest after its shot. */
const PRIVATE_BITS: number = EPOLLWAKEUP | EPOLLONESHOT | EPOLLET | EPOLLEXCLUSIVE;
/** What may be asked for together with EPOLLEXCLUSIVE (EPOLLEXCLUSIVE_OK_BITS). */
const EXCLUSIVE_BITS: number =
  EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLWAKEUP | EPOLLET | EPOLLEXCLUSIVE;

/** Interest in one descriptor (struct epitem). */
class Interest {
  readonly fd: number;
  /**
   * BLOCK_GEN of the file that was meant: a later file with this number is none of our business.
   */
  readonly gen: number;
  events: number;
  data: number;
  /** On the ready list; deleted while there. */
  listed = false;
  deleted = false;
  /** The stack has been told that this spent one-shot interest wants nothing. */
  muted = false;
  next: Interest | null = null;

  constructor(fd: number, gen: number, events: number, data: number) {
    this.fd = fd;
    this.gen = gen;
    this.events = events;
    this.data = data;
  }
}

/** Descriptors taken off the ready ring at once. */
const TAKEN_MOST = 256;

export class Epoll {
  /** Number of the epoll region. */
  readonly index: number;
  private readonly port: ThreadPort;
  private readonly mem: SocketMemory;
  /** By descriptor; shorter than the highest one that is not watched. */
  private readonly interests: (Interest | null)[] = [];
  /** What is taken off the ready ring at once. */
  private readonly taken: Int32Array = new Int32Array(TAKEN_MOST);
  /** The ready list, oldest first. */
  private head: Interest | null = null;
  private tail: Interest | null = null;
  private length = 0;

  constructor(port: ThreadPort, index: number) {
    this.port = port;
    this.mem = port.mem;
    this.index = index;
  }

  /** Linux: do_epoll_ctl. 0 or -errno. */
  ctl(op: number, fd: number, event: EpollEvent | null | undefined): number {
    const kind = fileKind(this.mem, fd);
    if (kind < 0) return kind;
    if (kind === KIND_EPOLL) return -EPERM;
    const interest = this.find(fd);
    if (op === EPOLL_CTL_DEL) {
      if (interest === null) return -ENOENT;
      this.drop(interest);
      return this.tell(fd, EPOLL_CTL_DEL, 0, 0, 0);
    }
    if (event == null) return -EINVAL;
    const events = event.events | 0;
    if (op === EPOLL_CTL_ADD) return this.add(fd, interest, events, event.data);
    if (op === EPOLL_CTL_MOD) return this.modify(interest, events, event.data);
    return -EINVAL;
  }

  private add(fd: number, existing: Interest | null, events: number, data: number): number {
    if ((events & EPOLLEXCLUSIVE) !== 0 && (events & ~EXCLUSIVE_BITS) !== 0) return -EINVAL;
    if (existing !== null) return -EEXIST;
    const interest = new Interest(fd, this.genOf(fd), events | EPOLLERR | EPOLLHUP, data);
    while (this.interests.length <= fd) this.interests.push(null);
    this.interests[fd] = interest;
    return this.activate(interest, EPOLL_CTL_ADD);
  }

  private modify(interest: Interest | null, events: number, data: number): number {
    if ((events & EPOLLEXCLUSIVE) !== 0) return -EINVAL;
    if (interest === null) return -ENOENT;
    if ((interest.events & EPOLLEXCLUSIVE) !== 0) return -EINVAL;
    interest.events = events | EPOLLERR | EPOLLHUP;
    interest.data = data;
    interest.muted = false;
    return this.activate(interest, EPOLL_CTL_MOD);
  }

  /**
   * Lists the interest if it is ready now, and has the stack watch it. The stack looks again when
   * it starts to watch: the stamp tells it whether anything has happened since we looked.
   */
  private activate(interest: Interest, op: number): number {
    const stamp = fileStamp(this.mem, interest.fd);
    const found = filePollAll(this.mem, interest.fd, interest.events) & interest.events;
    if (found !== 0) this.list(interest);
    return this.tell(interest.fd, op, interest.events, stamp, found);
  }

  private tell(fd: number, op: number, events: number, stamp: number, found: number): number {
    const sent = this.port.post(OP_EPOLL_CTL, fd, this.index | (op << 16), events, stamp, found);
    return sent ? 0 : -EIO;
  }

  private genOf(fd: number): number {
    return this.port.ctl[this.mem.blockAt(fd) + BLOCK_GEN]!;
  }

  /** The interest in the present file `fd`; one in an earlier file of that number is dropped. */
  private find(fd: number): Interest | null {
    const interest = this.interests[fd] ?? null;
    if (interest === null) return null;
    if (interest.gen === this.genOf(fd)) return interest;
    this.drop(interest);
    return null;
  }

  private drop(interest: Interest): void {
    interest.deleted = true;
    if (this.interests[interest.fd] === interest) this.interests[interest.fd] = null;
  }

  /** This thread closes `fd`: the stack drops its side by itself. */
  forget(fd: number): void {
    const interest = this.interests[fd] ?? null;
    if (interest !== null) this.drop(interest);
  }

  private list(interest: Interest): void {
    if (interest.listed) return;
    interest.listed = true;
    interest.next = null;
    if (this.tail === null) this.head = interest;
    else this.tail.next = interest;
    this.tail = interest;
    this.length++;
  }

  private unlist(): Interest {
    const interest = this.head!;
    this.head = interest.next;
    if (this.head === null) this.tail = null;
    interest.next = null;
    interest.listed = false;
    this.length--;
    return interest;
  }

  /**
   * Linux: do_epoll_wait.
   * @param events filled from index 0; objects are made where missing and reused otherwise
   * @param timeoutMs 0 = do not wait, negative = for ever
   * @returns events delivered, 0 after the time-out, -EINVAL, -EIO when the stack dies
   */
  wait(events: EpollEvent[], maxEvents: number, timeoutMs: number): number {
    if (!(maxEvents > 0)) return -EINVAL;
    this.port.breathe();
    let count = this.collect(events, maxEvents);
    const nowMs = this.port.heartbeat.worked();
    if (count > 0 || timeoutMs === 0) return count === 0 && !this.port.alive ? -EIO : count;
    let leftMs = timeoutMs < 0 ? Number.POSITIVE_INFINITY : timeoutMs;
    const endMs = nowMs + leftMs;
    for (;;) {
      if (!this.port.alive) return -EIO;
      if (leftMs <= 0) return 0;
      const wokeMs = this.port.sleep(this.index, leftMs);
      count = this.collect(events, maxEvents);
      if (count > 0) return count;
      leftMs = endMs - wokeMs;
    }
  }

  /** Lists what the stack has found ready, until there is no more. */
  private takeReady(): void {
    const { port, index, interests, taken } = this;
    for (let left = port.takeReady(index, taken); left > 0; left = port.takeReady(index, taken)) {
      for (let i = 0; i < left; i++) {
        const fd = taken[i]!;
        const interest = fd < interests.length ? interests[fd]! : null;
        if (interest !== null) this.list(interest);
      }
    }
  }

  /** Delivers what is ready now; each interest is looked at once. */
  private collect(events: EpollEvent[], maxEvents: number): number {
    this.takeReady();
    let count = 0;
    for (let looks = this.length; looks > 0 && count < maxEvents; looks--) {
      const interest = this.unlist();
      if (interest.deleted) continue;
      const ready = this.ready(interest);
      if (ready === 0) continue;
      deliver(events, count++, ready, interest.data);
      if ((interest.events & EPOLLONESHOT) !== 0) interest.events &= PRIVATE_BITS;
      else if ((interest.events & EPOLLET) === 0) this.list(interest);
    }
    return count;
  }

  private ready(interest: Interest): number {
    const { fd } = interest;
    if (interest.gen !== this.genOf(fd) || fileKind(this.mem, fd) === -EBADF) {
      this.drop(interest);
      return 0;
    }
    if ((interest.events & ~PRIVATE_BITS) === 0) {
      // A spent one-shot that still makes noise: silence it until EPOLL_CTL_MOD arms it again.
      if (!interest.muted) this.tell(fd, EPOLL_CTL_MOD, interest.events, 0, -1);
      interest.muted = true;
      return 0;
    }
    return filePollAll(this.mem, fd, interest.events) & interest.events;
  }
}

function deliver(events: EpollEvent[], at: number, ready: number, data: number): void {
  const event = events[at];
  if (event === undefined) {
    events[at] = { events: ready, data };
  } else {
    event.events = ready;
    event.data = data;
  }
}
