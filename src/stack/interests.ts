/**
 * The producing end of all epoll instances (Linux: fs/eventpoll.c ep_poll_callback, ep_insert,
 * ep_free): who wants to know about which descriptor, the ready rings, and the doorbells of the
 * threads. Only the stack thread is here, so a ready ring has one producer. What a thread makes of
 * a ready descriptor is socket/epoll.ts.
 *
 * Of several stack threads that of queue 0 makes and ends the instances, and each fills a ready
 * ring of its own in them.
 *
 * Interests are items in columns, linked into one list per descriptor in the order of Linux's wait
 * queue: plain ones first, newest first; then exclusive ones, oldest first.
 */
// The global of that name is a getter, which costs more than reading the clock.
import { performance } from 'node:perf_hooks';
import { EBADF, EEXIST, EINVAL, EMFILE, ENOENT } from '../net/errno.js';
import { BLOCK_KIND, KIND_EVENTFD, type SocketMemory } from '../net/sockmem.js';
import {
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLEXCLUSIVE,
} from '../socket/uapi/constants.js';
import { EVENT_COUNT_WATCHERS } from '../socket/uapi/event-count.js';
import { filePoll, filePollAll, fileStamp, withNormal } from '../socket/uapi/file-ops.js';
import { stampRing } from '../socket/uapi/heartbeat.js';
import {
  type CtlLayout,
  E_HEAD,
  E_INTERNAL,
  E_OWNER,
  E_TAIL,
  epollAt,
  MAX_EPOLLS,
  MAX_THREADS,
  readyAt,
  T_HOST,
  T_SLEEPING,
  T_WAKE,
  threadAt,
} from '../socket/uapi/layout.js';
import { monotonicOffsetMs } from '../socket/uapi/monotonic.js';
import type { SharedMemory } from '../socket/uapi/shared.js';
import { SLEEPING_EVENT_LOOP } from '../socket/uapi/thread-port.js';

const FIRST_ITEMS = 1024;

export class Interests {
  private readonly ctl: Int32Array;
  private readonly layout: CtlLayout;
  private readonly mem: SocketMemory;

  /** First item of each descriptor; item 0 is nobody. */
  private readonly first: Int32Array;
  private next: Int32Array = new Int32Array(FIRST_ITEMS);
  private epoll: Int32Array = new Int32Array(FIRST_ITEMS);
  private mask: Int32Array = new Int32Array(FIRST_ITEMS);
  private itemFd: Int32Array = new Int32Array(FIRST_ITEMS);
  private free = 0;
  /** Items ever used: [1, used). */
  private used = 1;

  /**
   * Owner thread of each instance, -1 = free; and whether it is how a thread blocks (no
   * descriptor).
   */
  private readonly owner: Int32Array = new Int32Array(MAX_EPOLLS).fill(-1);
  private readonly internal: Uint8Array = new Uint8Array(MAX_EPOLLS);
  /** Next ready slot: the shared tail is written from here, never read back. */
  private readonly tail: Int32Array = new Int32Array(MAX_EPOLLS);
  /** The first that may still be taken, as far as we know. */
  private readonly head: Int32Array = new Int32Array(MAX_EPOLLS);
  /** Of each instance: cursor of the last ready slot that each descriptor was put in. */
  private readonly last: Int32Array[] = [];

  /** Threads to ring at the end of the batch. */
  private readonly rung: Uint8Array = new Uint8Array(MAX_THREADS);
  private readonly toRing: Int32Array = new Int32Array(MAX_THREADS);
  private toRingCount = 0;
  /** Ends the sleep of the stack thread of a queue, in which somebody's program sleeps. */
  wakeHost: (queue: number) => void = () => {};
  /** Told when an instance has ended. */
  onEpollClosed: ((index: number) => void) | null = null;
  /** From the epoll regions of queue 0 to ours, words. */
  private readonly shift: number;
  private readonly queueNumber: number;
  /** This thread's performance.now() to CLOCK_MONOTONIC. */
  private readonly offsetMs: number = monotonicOffsetMs();

  constructor(shared: SharedMemory) {
    this.ctl = shared.ctl;
    this.layout = shared.layout;
    this.mem = shared.mem;
    this.first = new Int32Array(shared.layout.maxFds);
    this.shift = shared.queue * shared.layout.queueWords;
    this.queueNumber = shared.queue;
  }

  /** An empty instance for `thread`: its index, or -EMFILE. */
  createEpoll(thread: number, internal: boolean): number {
    const index = this.owner.indexOf(-1);
    if (index < 0) return -EMFILE;
    const at = epollAt(this.layout, index);
    this.tail[index] = this.head[index] = 0;
    Atomics.store(this.ctl, at + E_HEAD, 0);
    Atomics.store(this.ctl, at + E_TAIL, 0);
    Atomics.store(this.ctl, at + E_OWNER, (thread + 1) | (internal ? E_INTERNAL : 0));
    this.owner[index] = thread;
    this.internal[index] = internal ? 1 : 0;
    return index;
  }

  /** Ends an instance and all its interests. */
  closeEpoll(index: number): void {
    this.dropEpoll(index);
    this.owner[index] = -1;
    Atomics.store(this.ctl, epollAt(this.layout, index) + E_OWNER, 0);
    this.onEpollClosed?.(index);
  }

  /** Ends all interests of an instance, which the stack thread of queue 0 has ended. */
  dropEpoll(index: number): void {
    for (let item = 1; item < this.used; item++) {
      const fd = this.itemFd[item]!;
      if (fd !== 0 && this.epoll[item] === index) this.remove(fd, index);
    }
  }

  /** Ends all instances of a thread that has died. */
  closeAllOf(thread: number): void {
    for (let index = 0; index < MAX_EPOLLS; index++) {
      if (this.owner[index] === thread) this.closeEpoll(index);
    }
  }

  /** Owner of instance `index`, -1 = there is no such instance. */
  ownerOf(index: number): number {
    return index >= 0 && index < MAX_EPOLLS ? this.threadOf(index) : -1;
  }

  /** The same for an instance that exists or has existed. */
  private threadOf(index: number): number {
    if (this.shift === 0) return this.owner[index]!;
    const thread = (this.ownerWord(index) & (E_INTERNAL - 1)) - 1;
    return thread < MAX_THREADS ? thread : -1;
  }

  private isInternal(index: number): boolean {
    if (this.shift === 0) return this.internal[index] !== 0;
    return (this.ownerWord(index) & E_INTERNAL) !== 0;
  }

  private ownerWord(index: number): number {
    return Atomics.load(this.ctl, epollAt(this.layout, index) + E_OWNER);
  }

  /**
   * EPOLL_CTL_* on a valid descriptor. Adding and modifying look at the descriptor again and queue
   * it if it is ready for something that the thread has not seen.
   * @param stamp fileStamp and `found` readiness when the thread looked
   */
  control(
    op: number,
    index: number,
    fd: number,
    mask: number,
    stamp: number,
    found: number,
  ): number {
    if (this.ownerOf(index) < 0) return -EBADF;
    const item = this.find(fd, index);
    if (op === EPOLL_CTL_DEL) return item === 0 ? -ENOENT : this.remove(fd, index);
    if (op === EPOLL_CTL_ADD) {
      if (item !== 0) return -EEXIST;
      this.insert(fd, index, mask);
    } else if (op === EPOLL_CTL_MOD) {
      if (item === 0) return -ENOENT;
      this.mask[item] = mask;
    } else {
      return -EINVAL;
    }
    const now = filePollAll(this.mem, fd) & mask;
    const unseen = (now & ~found) !== 0 || fileStamp(this.mem, fd) !== stamp;
    if (now !== 0 && unseen) {
      this.queue(index, fd);
      this.ring(this.threadOf(index));
    }
    return 0;
  }

  /** Linux: __wake_up of the socket's wait queue with key `events`. */
  ready(fd: number, events: number): void {
    const key = withNormal(events);
    for (let item = this.first[fd]!; item !== 0; item = this.next[item]!) {
      const mask = this.mask[item]!;
      if ((mask & key) === 0) continue;
      const index = this.epoll[item]!;
      const thread = this.threadOf(index);
      this.queue(index, fd);
      // One sleeper is woken for an exclusive interest. A thread that is being woken already is no
      // sleeper any more.
      const enough = (mask & EPOLLEXCLUSIVE) !== 0 && this.sleepsIn(thread, index);
      this.ring(thread);
      if (enough) return;
    }
  }

  private sleepsIn(thread: number, index: number): boolean {
    if (this.rung[thread] !== 0) return false;
    const word = Atomics.load(this.ctl, threadAt(this.layout, thread) + T_SLEEPING);
    return word === index + 1 || word === SLEEPING_EVENT_LOOP;
  }

  /**
   * Puts `fd` on the ready ring, unless it is there: who takes it off sees what is new, too, as he
   * polls it then.
   */
  private queue(index: number, fd: number): void {
    const { ctl } = this;
    const at = epollAt(this.layout, index) + this.shift;
    const last = this.lastOf(index, fd);
    const tail = this.tail[index]!;
    if (this.waits(index, at, last[fd]!, fd)) return;
    ctl[this.slotAt(at, tail)] = fd;
    last[fd] = tail;
    this.tail[index] = tail + 1;
    Atomics.store(ctl, at + E_TAIL, (tail + 1) | 0);
  }

  /** Is `fd` in the slot with cursor `cursor`, and not taken yet? */
  private waits(index: number, at: number, cursor: number, fd: number): boolean {
    const { ctl, head } = this;
    const tail = this.tail[index]!;
    const age = (tail - cursor) | 0;
    if (age <= 0 || age > ((tail - head[index]!) | 0)) return false;
    // What became ready is to be seen by who takes `fd` after this look: a store in between, too.
    Atomics.store(ctl, at + E_TAIL, tail);
    head[index] = Atomics.load(ctl, at + E_HEAD);
    // A cursor of very long ago may look young.
    return age <= ((tail - head[index]!) | 0) && ctl[this.slotAt(at, cursor)] === fd;
  }

  private slotAt(at: number, cursor: number): number {
    return readyAt(at) + (cursor & (this.layout.readySlots - 1));
  }

  private lastOf(index: number, fd: number): Int32Array {
    const { last } = this;
    while (last.length <= index) last.push(new Int32Array(FIRST_ITEMS));
    if (fd >= last[index]!.length) {
      const wider = new Int32Array(2 ** Math.ceil(Math.log2(fd + 1)));
      wider.set(last[index]!);
      last[index] = wider;
    }
    return last[index]!;
  }

  private ring(thread: number): void {
    if (thread < 0 || this.rung[thread] !== 0) return;
    this.rung[thread] = 1;
    this.toRing[this.toRingCount++] = thread;
  }

  /**
   * Rings the doorbells of threads with new readiness, if they sleep. To be called at the end of
   * each batch.
   */
  flush(): void {
    let nowMs = 0;
    for (let i = 0; i < this.toRingCount; i++) {
      const thread = this.toRing[i]!;
      this.rung[thread] = 0;
      const at = threadAt(this.layout, thread);
      if (Atomics.load(this.ctl, at + T_SLEEPING) === 0) continue;
      if (nowMs === 0) nowMs = performance.now() + this.offsetMs;
      stampRing(this.ctl, at, nowMs);
      Atomics.store(this.ctl, at + T_SLEEPING, 0);
      Atomics.add(this.ctl, at + T_WAKE, 1);
      Atomics.notify(this.ctl, at + T_WAKE);
      // In our own thread it is awake: it waits for this turn.
      const host = Atomics.load(this.ctl, at + T_HOST);
      if (host !== 0 && host - 1 !== this.queueNumber) this.wakeHost(host - 1);
    }
    this.toRingCount = 0;
  }

  /**
   * The file `fd` is closed: its interests end. Threads that block on it are woken to find that
   * out.
   */
  dropFd(fd: number): void {
    for (let item = this.first[fd]!; item !== 0; ) {
      const following = this.next[item]!;
      const index = this.epoll[item]!;
      if (this.isInternal(index)) {
        this.queue(index, fd);
        this.ring(this.threadOf(index));
      }
      this.release(item);
      item = following;
    }
    this.first[fd] = 0;
    this.countWatchers(fd);
  }

  /**
   * `thread` wants to watch `fd` in instance `to` (its low 16 bits), but another thread has closed
   * it meanwhile: the thread, which may be asleep by now, is woken to find that out.
   */
  gone(thread: number, to: number, fd: number): void {
    const index = to & 0xffff;
    if (this.ownerOf(index) !== thread) return;
    this.queue(index, fd);
    this.ring(thread);
  }

  private find(fd: number, index: number): number {
    let item = this.first[fd]!;
    while (item !== 0 && this.epoll[item] !== index) item = this.next[item]!;
    return item;
  }

  private insert(fd: number, index: number, mask: number): void {
    const item = this.allocItem();
    this.epoll[item] = index;
    this.mask[item] = mask;
    this.itemFd[item] = fd;
    let before = 0;
    if ((mask & EPOLLEXCLUSIVE) !== 0) {
      for (let at = this.first[fd]!; at !== 0; at = this.next[at]!) before = at;
    }
    if (before === 0) {
      this.next[item] = this.first[fd]!;
      this.first[fd] = item;
    } else {
      this.next[item] = 0;
      this.next[before] = item;
    }
    this.countWatchers(fd);
  }

  /**
   * Takes the interest of `index` in `fd` out. An exclusive one may have swallowed a wake-up:
   * others get it.
   */
  private remove(fd: number, index: number): number {
    let before = 0;
    let item = this.first[fd]!;
    while (this.epoll[item] !== index) {
      before = item;
      item = this.next[item]!;
    }
    if (before === 0) this.first[fd] = this.next[item]!;
    else this.next[before] = this.next[item]!;
    const exclusive = (this.mask[item]! & EPOLLEXCLUSIVE) !== 0;
    this.release(item);
    this.countWatchers(fd);
    if (exclusive && this.first[fd] !== 0) this.ready(fd, filePoll(this.mem, fd));
    return 0;
  }

  /** A thread that uses an eventfd tells the stack only when somebody watches it. */
  private countWatchers(fd: number): void {
    const at = this.mem.blockAt(fd);
    if (this.ctl[at + BLOCK_KIND] !== KIND_EVENTFD) return;
    Atomics.store(this.ctl, at + EVENT_COUNT_WATCHERS, this.first[fd] !== 0 ? 1 : 0);
  }

  private allocItem(): number {
    const item = this.free;
    if (item !== 0) {
      this.free = this.next[item]!;
      return item;
    }
    if (this.used === this.next.length) this.grow();
    return this.used++;
  }

  private release(item: number): void {
    this.itemFd[item] = 0;
    this.next[item] = this.free;
    this.free = item;
  }

  private grow(): void {
    const doubled = (column: Int32Array): Int32Array => {
      const wider = new Int32Array(column.length * 2);
      wider.set(column);
      return wider;
    };
    this.next = doubled(this.next);
    this.epoll = doubled(this.epoll);
    this.mask = doubled(this.mask);
    this.itemFd = doubled(this.itemFd);
  }
}
