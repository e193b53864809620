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
import { DELETED, InterestTable, LISTED, MUTED } from './interest-table.js';
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

/** Descriptors taken off the ready ring at once. */
const TAKEN_MOST = 256;

export class Epoll {
  /** Number of the epoll region. */
  readonly index: number;
  private readonly port: ThreadPort;
  private readonly mem: SocketMemory;
  private readonly table = new InterestTable();
  /** What is taken off the ready ring at once. */
  private readonly taken: Int32Array = new Int32Array(TAKEN_MOST);
  /** The ready list, oldest first: items, 0 = none. */
  private head = 0;
  private tail = 0;
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
    const item = this.find(fd);
    if (op === EPOLL_CTL_DEL) {
      if (item === 0) return -ENOENT;
      this.table.drop(item);
      return this.tell(fd, EPOLL_CTL_DEL, 0, 0, 0);
    }
    if (event == null) return -EINVAL;
    const events = event.events | 0;
    if (op === EPOLL_CTL_ADD) return this.add(fd, item, events, event.data);
    if (op === EPOLL_CTL_MOD) return this.modify(item, events, event.data);
    return -EINVAL;
  }

  private add(fd: number, existing: number, events: number, data: number): number {
    if ((events & EPOLLEXCLUSIVE) !== 0 && (events & ~EXCLUSIVE_BITS) !== 0) return -EINVAL;
    if (existing !== 0) return -EEXIST;
    const item = this.table.add(fd, this.genOf(fd), events | EPOLLERR | EPOLLHUP, data);
    return this.activate(item, EPOLL_CTL_ADD);
  }

  private modify(item: number, events: number, data: number): number {
    const { table } = this;
    if ((events & EPOLLEXCLUSIVE) !== 0) return -EINVAL;
    if (item === 0) return -ENOENT;
    if ((table.events[item]! & EPOLLEXCLUSIVE) !== 0) return -EINVAL;
    table.events[item] = events | EPOLLERR | EPOLLHUP;
    table.data[item] = data;
    table.flags[item]! &= ~MUTED;
    return this.activate(item, EPOLL_CTL_MOD);
  }

  /**
   * Lists the interest if it is ready now, and has the stack watch it. The stack looks again when
   * it starts to watch: the stamp tells it whether anything has happened since we looked.
   */
  private activate(item: number, op: number): number {
    const fd = this.table.fd[item]!;
    const events = this.table.events[item]!;
    const stamp = fileStamp(this.mem, fd);
    const found = filePollAll(this.mem, fd, events) & events;
    if (found !== 0) this.list(item);
    return this.tell(fd, op, events, stamp, found);
  }

  private tell(fd: number, op: number, events: number, stamp: number, found: number): number {
    const sent = this.port.post(OP_EPOLL_CTL, fd, this.index | (op << 16), events, stamp, found);
    return sent ? 0 : -EIO;
  }

  private genOf(fd: number): number {
    return this.port.ctl[this.mem.blockAt(fd) + BLOCK_GEN]!;
  }

  /** The item of the present file `fd`; one of an earlier file of that number is dropped. */
  private find(fd: number): number {
    const item = this.table.find(fd);
    if (item === 0 || this.table.gen[item] === this.genOf(fd)) return item;
    this.table.drop(item);
    return 0;
  }

  /** This thread closes `fd`: the stack drops its side by itself. */
  forget(fd: number): void {
    const item = this.table.find(fd);
    if (item !== 0) this.table.drop(item);
  }

  private list(item: number): void {
    const { next, flags } = this.table;
    if ((flags[item]! & LISTED) !== 0) return;
    flags[item]! |= LISTED;
    next[item] = 0;
    if (this.tail === 0) this.head = item;
    else next[this.tail] = item;
    this.tail = item;
    this.length++;
  }

  private unlist(): number {
    const { next, flags } = this.table;
    const item = this.head;
    this.head = next[item]!;
    if (this.head === 0) this.tail = 0;
    next[item] = 0;
    flags[item]! &= ~LISTED;
    this.length--;
    return item;
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
    const { port, index, table, taken } = this;
    for (let left = port.takeReady(index, taken); left > 0; left = port.takeReady(index, taken)) {
      for (let i = 0; i < left; i++) {
        const item = table.find(taken[i]!);
        if (item !== 0) this.list(item);
      }
    }
  }

  /** Delivers what is ready now; each interest is looked at once. */
  private collect(events: EpollEvent[], maxEvents: number): number {
    const { table } = this;
    this.takeReady();
    let count = 0;
    for (let looks = this.length; looks > 0 && count < maxEvents; looks--) {
      const item = this.unlist();
      if ((table.flags[item]! & DELETED) !== 0) {
        table.release(item);
        continue;
      }
      const ready = this.ready(item);
      if (ready === 0) continue;
      const asked = table.events[item]!;
      deliver(events, count++, ready, table.data[item]!);
      if ((asked & EPOLLONESHOT) !== 0) table.events[item] = asked & PRIVATE_BITS;
      else if ((asked & EPOLLET) === 0) this.list(item);
    }
    return count;
  }

  private ready(item: number): number {
    const { table } = this;
    const fd = table.fd[item]!;
    if (table.gen[item] !== this.genOf(fd) || fileKind(this.mem, fd) === -EBADF) {
      table.drop(item);
      return 0;
    }
    const events = table.events[item]!;
    if ((events & ~PRIVATE_BITS) === 0) {
      // A spent one-shot that still makes noise: silence it until EPOLL_CTL_MOD arms it again.
      if ((table.flags[item]! & MUTED) === 0) this.tell(fd, EPOLL_CTL_MOD, events, 0, -1);
      table.flags[item]! |= MUTED;
      return 0;
    }
    return filePollAll(this.mem, fd, events) & events;
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
