/**
 * The bridge between a thread's sockets and its event loop. One epoll instance holds all event-loop
 * sockets of the thread, edge-triggered; `Atomics.waitAsync` on the thread's doorbell says when to
 * look at it; and a MessagePort, the cheapest handle that can be ref'd, keeps the process alive
 * while a socket is at work, because a pending `waitAsync` does not.
 *
 * Fairness: every callback of a handle (one read, one accepted connection, one finished write) is
 * an immediate of its own, so that ticks and promises run between two of them exactly as between
 * two of libuv's, and timers and other I/O get their turn. Looking at the epoll instance itself is
 * bounded too. Nothing here blocks.
 */
import { AsyncResource } from 'node:async_hooks';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { Doorbell, NetSys } from './net-sys.js';
import {
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
} from './uapi/constants.js';

/** Events taken from the epoll instance by one call. */
const EVENTS_MAX = 256;
/** Bytes of a read buffer, as libuv suggests to Node. */
const SLAB_BYTES = 65536;
/** Below this much room a slab is given up for a new one. */
const SLAB_ROOM_MIN = 16384;

/** Something with a descriptor that lives on the event loop: a connection or a listener. */
export abstract class ReactorHandle {
  readonly reactor: Reactor;
  /**
   * Callbacks run in the context in which the handle was made, not in that of whoever rang the
   * bell.
   */
  protected readonly resource: AsyncResource;
  fd = -1;
  closed = false;
  /** A read (or accept) may have something; cleared by EAGAIN. */
  protected readReady = false;
  /** A write (or connect) may make progress; cleared by EAGAIN. */
  protected writeReady = false;
  private scheduled = false;
  private refd = true;
  private alive = false;

  constructor(type: string, reactor: Reactor) {
    this.resource = new AsyncResource(type, { requireManualDestroy: true });
    this.reactor = reactor;
  }

  /** Does at most one callback's worth of work. */
  abstract step(): void;
  /** True when `step` has something to do. */
  abstract hasStep(): boolean;
  /**
   * True while the handle waits for something that only a ref'd handle should wait for (libuv:
   * active handle).
   */
  protected abstract isActive(): boolean;
  /**
   * True while a request is under way, which keeps the process alive even when unref'd (libuv:
   * active request).
   */
  protected abstract hasRequest(): boolean;
  /** The stack is going away. `status` is a negated errno, or 0 for an orderly end. */
  abstract fail(status: number): void;

  getAsyncId(): number {
    return this.resource.asyncId();
  }

  /** @internal `step` in the handle's own async context */
  run(): void {
    this.resource.runInAsyncScope(this.step, this);
  }

  /** EPOLL* bits have come. */
  notify(events: number): void {
    if (events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) this.readReady = true;
    if (events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) this.writeReady = true;
    this.schedule();
  }

  /** Has `step` called from an immediate of its own when there is something to do. */
  schedule(): void {
    if (this.scheduled || this.closed || !this.hasStep()) return;
    this.scheduled = true;
    this.reactor.scheduled++;
    setImmediate(runStep, this);
  }

  /** @internal the immediate of `schedule` has come */
  unschedule(): void {
    this.scheduled = false;
    this.reactor.scheduled--;
  }

  ref(): void {
    this.refd = true;
    this.updateLiveness();
  }

  unref(): void {
    this.refd = false;
    this.updateLiveness();
  }

  hasRef(): boolean {
    return this.refd;
  }

  /** To be called after every change of what isActive or hasRequest say. */
  updateLiveness(): void {
    const alive = !this.closed && (this.hasRequest() || (this.refd && this.isActive()));
    if (alive === this.alive) return;
    this.alive = alive;
    if (alive) this.reactor.retain();
    else this.reactor.release();
  }
}

function runStep(handle: ReactorHandle): void {
  handle.unschedule();
  if (handle.closed) return;
  try {
    handle.run();
  } finally {
    // Also when a listener threw: the exception is the program's, the handle goes on if the program
    // does.
    handle.schedule();
  }
}

/** One thread's event-loop sockets. */
export class Reactor {
  readonly sys: NetSys;
  /** What `localhost`, or no host at all, means: the stack's own address. */
  readonly address: string;
  /** Handles whose step is pending. */
  scheduled = 0;
  private readonly doorbell: Doorbell;
  private readonly epfd: number;
  private readonly handles = new Map<number, ReactorHandle>();
  private readonly events: { events: number; data: number }[] = [];
  private slabBuffer: Buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
  private slabUsed = 0;
  private gathered: Buffer | null = null;
  /** A promise of the doorbell is pending: there is never more than one. */
  private waiting = false;
  /** The immediate that looks again is pending. */
  private turning = false;
  private closed = false;
  private alive = 0;
  private keeper: MessagePort | null = null;
  /** The far end; a port whose partner is collected closes. */
  private keeperPeer: MessagePort | null = null;

  constructor(sys: NetSys, doorbell: Doorbell, address: string) {
    this.sys = sys;
    this.doorbell = doorbell;
    this.address = address;
    this.epfd = sys.epoll_create1(0);
    for (let i = 0; i < EVENTS_MAX; i++) this.events.push({ events: 0, data: 0 });
  }

  /** True when the stack is gone: handles must not make calls any more. */
  get gone(): boolean {
    return this.closed;
  }

  /**
   * Watches the handle's descriptor; `extra` EPOLL* bits such as EPOLLEXCLUSIVE. @returns 0 or
   * -errno
   */
  add(handle: ReactorHandle, events: number, extra: number = EPOLLET): number {
    if (this.epfd < 0) return this.epfd;
    const { fd } = handle;
    const status = this.sys.epoll_ctl(this.epfd, EPOLL_CTL_ADD, fd, {
      events: events | extra,
      data: fd,
    });
    if (status < 0) return status;
    this.handles.set(fd, handle);
    this.requestTurn();
    return 0;
  }

  /** Before the descriptor is closed or given away. */
  remove(handle: ReactorHandle): void {
    if (this.handles.get(handle.fd) !== handle) return;
    this.handles.delete(handle.fd);
    if (!this.closed) {
      this.sys.epoll_ctl(this.epfd, EPOLL_CTL_DEL, handle.fd, { events: 0, data: 0 });
    }
  }

  /**
   * Room to read into: at least SLAB_ROOM_MIN bytes, not used by anyone else until the next call.
   */
  slab(): Buffer {
    if (SLAB_BYTES - this.slabUsed < SLAB_ROOM_MIN) {
      this.slabBuffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
      this.slabUsed = 0;
    }
    return this.slabUsed === 0 ? this.slabBuffer : this.slabBuffer.subarray(this.slabUsed);
  }

  /**
   * The `length` bytes just read into `slab()` as a chunk of their own. Small ones are copied out
   * (into Node's pool), so that a program which keeps a few bytes does not keep a slab.
   */
  takeSlab(length: number): Buffer {
    const start = this.slabUsed;
    const chunk = this.slabBuffer.subarray(start, start + length);
    if (length < Buffer.poolSize >>> 1) {
      const copy = Buffer.allocUnsafe(length);
      copy.set(chunk);
      return copy;
    }
    // Chunks begin on 64-byte boundaries: copies between aligned addresses are several times
    // faster.
    this.slabUsed = (start + length + 63) & ~63;
    return chunk;
  }

  /** Scratch memory to put small chunks together in, good until the next call. */
  gatherBuffer(): Buffer {
    this.gathered ??= Buffer.allocUnsafeSlow(SLAB_BYTES);
    return this.gathered;
  }

  retain(): void {
    if (this.alive++ > 0) return;
    if (this.keeper === null) {
      const { port1, port2 } = new MessageChannel();
      this.keeper = port1;
      this.keeperPeer = port2;
    }
    this.keeper.ref();
  }

  release(): void {
    if (--this.alive === 0) this.keeper?.unref();
  }

  /**
   * Ends all handles, with `status` (a negated errno) or in order (0), and the reactor with them.
   */
  fail(status: number): void {
    if (this.closed) return;
    if (status !== 0) this.closed = true;
    for (const handle of [...this.handles.values()]) handle.fail(status);
    if (!this.closed) {
      this.closed = true;
      if (this.epfd >= 0) this.sys.close(this.epfd);
    }
    this.doorbell.disarm();
    this.keeper?.close();
    this.keeperPeer?.close();
  }

  private requestTurn(): void {
    if (this.turning || this.closed) return;
    this.turning = true;
    setImmediate(runTurn, this);
  }

  /**
   * @internal looks at the epoll instance, then comes back (busy) or goes to sleep (nothing to do).
   */
  turn(): void {
    this.turning = false;
    if (this.closed) return;
    if (this.poll() > 0 || this.scheduled > 0) this.requestTurn();
    else this.sleep();
  }

  /** @returns the number of events, at most EVENTS_MAX; a full batch means there may be more */
  private poll(): number {
    const count = this.sys.epoll_wait(this.epfd, this.events, EVENTS_MAX, 0);
    for (let i = 0; i < count; i++) {
      const event = this.events[i]!;
      this.handles.get(event.data)?.notify(event.events);
    }
    return count;
  }

  /** Armed, looked again, asleep: nothing that becomes ready in between is missed. */
  private sleep(): void {
    this.doorbell.arm(this.epfd);
    if (this.doorbell.dead()) {
      this.fail(STACK_GONE);
      return;
    }
    if (this.poll() > 0) {
      this.doorbell.disarm();
      this.requestTurn();
    } else if (!this.waiting) {
      const rung = this.doorbell.ring();
      if (rung === null) {
        this.requestTurn();
      } else {
        this.waiting = true;
        rung.then(() => this.wake());
      }
    }
  }

  private wake(): void {
    this.waiting = false;
    if (this.closed) return;
    this.doorbell.disarm();
    if (this.poll() > 0 || !this.turning) this.requestTurn();
  }
}

/** ENETDOWN: what every call says once the stack has died. */
const STACK_GONE = -100;

function runTurn(reactor: Reactor): void {
  reactor.turn();
}
