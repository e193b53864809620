/**
 * The event loop of one worker, in nginx's shape: epoll_wait, then for each event accept until
 * there is no more, or hand the event to the protocol of that descriptor. Blocking: `run` returns
 * when the worker has been told to leave and its connections are finished, or reset after the grace
 * period. Told to drain, it stays: its listeners get no new SYNs, what is queued or half open is
 * still taken, and each is closed when nothing of that is left. Speaks no protocol itself.
 */
import {
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLEXCLUSIVE,
  EPOLLIN,
  EPOLLRDHUP,
  F_SETOWN,
  SO_DRAIN,
  SO_LINGER,
  SOCK_NONBLOCK,
  SOL_SOCKET,
} from '../../socket/uapi/constants.js';
import type { DispatchQueues } from './dispatch-queue.js';
import type { Connections, Handler, Protocol, ServerSys } from './protocol.js';
import { ACCEPTED, ACTIVE, DRAIN, DRAINED, DRAINING, SERVING, STATE } from './worker-counters.js';

/** Events of one epoll_wait, as nginx's default. */
const EVENTS_MAX = 512;
/** Connections taken per listener event: then it is the turn of the connections that are there. */
const ACCEPTS_PER_EVENT = 64;
/** How long open connections may take to finish once the worker leaves. */
export const GRACE_MS = 5000;

export interface LoopEnv {
  sys: ServerSys;
  counters: Float64Array;
  /** Monotonic clock, milliseconds. */
  nowMs: () => number;
  /** The worker takes no new connections any more. */
  onDraining: () => void;
}

interface Listener {
  fd: number;
  /** Only this worker accepts from it: it is closed when the worker leaves. */
  own: boolean;
  protocol: Protocol;
  /** It gets no new SYNs any more. */
  draining: boolean;
}

export class ServerLoop implements Connections {
  readonly sys: ServerSys;
  readonly counters: Float64Array;
  /** Batches of events so far: a clock that is read once for each goes by it. */
  batches = 0;
  private readonly env: LoopEnv;
  private readonly epfd: number;
  private readonly events: { events: number; data: number }[] = [];
  private readonly handlers: (Handler | null)[] = [];
  private readonly protocols = new Set<Protocol>();
  private readonly listeners: Listener[] = [];
  /** Empties the acceptor's queue. */
  private takeQueue: () => void = () => {};
  private tickAtMs = Number.POSITIVE_INFINITY;
  /** When what is still open is reset; Infinity while nobody wants to leave. */
  private leaveAtMs = Number.POSITIVE_INFINITY;

  constructor(env: LoopEnv) {
    this.env = env;
    this.sys = env.sys;
    this.counters = env.counters;
    for (let i = 0; i < EVENTS_MAX; i++) this.events.push({ events: 0, data: 0 });
    this.epfd = check(this.sys.epoll_create1(0), 'epoll_create1');
  }

  nowMs(): number {
    return this.env.nowMs();
  }

  /**
   * Accepts from `fd` for `protocol`; `own` = no other worker does (else each event wakes one of
   * them: EPOLLEXCLUSIVE).
   */
  serve(fd: number, protocol: Protocol, own: boolean): void {
    this.protocols.add(protocol);
    const listener = { fd, own, protocol, draining: false };
    this.listeners.push(listener);
    this.watch(fd, own ? EPOLLIN | EPOLLRDHUP : EPOLLIN | EPOLLEXCLUSIVE, {
      onEvents: (_, events) => {
        const more = this.acceptSome(fd, protocol);
        // Reported once nothing is queued or half open any more.
        if (!more && (events & EPOLLRDHUP) !== 0) this.drained(listener);
      },
    });
  }

  /**
   * Does what the cell DRAIN of the counters says whenever `fd` (an eventfd) becomes readable.
   * @param open makes and serves listeners, as at the start
   */
  watchDrain(fd: number, open: () => void): void {
    const counter = new Uint8Array(8);
    const obey = (): void => {
      this.sys.read(fd, counter, 0, 8); // before the look at the order: a later one wakes us again
      const serving = this.counters[STATE] === SERVING;
      if (this.counters[DRAIN] !== 0) {
        if (serving) this.drain();
      } else if (!serving) {
        this.counters[STATE] = SERVING;
        open();
      }
    };
    const serves = this.counters[DRAIN] === 0;
    this.counters[STATE] = serves ? SERVING : DRAINED;
    if (serves) open();
    this.watch(fd, EPOLLIN, { onEvents: obey });
  }

  /** Takes connections over from the acceptor's queue; `wakeFd` is the eventfd that says so. */
  serveQueue(queues: DispatchQueues, worker: number, wakeFd: number, protocol: Protocol): void {
    const counter = new Uint8Array(8);
    this.protocols.add(protocol);
    this.takeQueue = () => {
      this.sys.read(wakeFd, counter, 0, 8); // before emptying: what comes later wakes us again
      for (let fd = queues.pop(worker); fd >= 0; fd = queues.pop(worker)) {
        // Reset with this thread from now on, should it fail.
        this.sys.fcntl(fd, F_SETOWN, 0);
        this.adopt(fd, protocol);
      }
    };
    this.watch(wakeFd, EPOLLIN, { onEvents: this.takeQueue });
    this.takeQueue(); // a worker before us may have been woken for these
  }

  /**
   * Begins to leave when `fd` (an eventfd of all workers) becomes readable; it is left readable for
   * the others.
   */
  watchStop(fd: number): void {
    this.watch(fd, EPOLLIN, {
      onEvents: () => {
        check(this.sys.epoll_ctl(this.epfd, EPOLL_CTL_DEL, fd, null), 'epoll_ctl');
        this.leave();
      },
    });
  }

  interest(fd: number, events: number): void {
    check(this.sys.epoll_ctl(this.epfd, EPOLL_CTL_MOD, fd, { events, data: fd }), 'epoll_ctl');
  }

  close(fd: number): void {
    (this.handlers[fd] as Protocol).closed(fd);
    this.handlers[fd] = null;
    this.counters[ACTIVE]!--;
    this.sys.close(fd); // leaves the epoll set with it
  }

  /** Until the worker has left. */
  run(): void {
    while (!this.left()) this.turn();
  }

  /** One epoll_wait and what it brings. */
  turn(): void {
    const count = check(
      this.sys.epoll_wait(this.epfd, this.events, EVENTS_MAX, this.timeoutMs()),
      'epoll_wait',
    );
    this.batches++;
    for (let i = 0; i < count; i++) {
      const { events, data } = this.events[i]!;
      // An earlier event of this batch may have closed it.
      this.handlers[data]?.onEvents(data, events);
    }
    this.tick();
  }

  /** Told to leave, and nothing is open any more. */
  left(): boolean {
    return this.leaveAtMs !== Number.POSITIVE_INFINITY && this.counters[ACTIVE] === 0;
  }

  private watch(fd: number, events: number, handler: Handler): void {
    while (this.handlers.length <= fd) this.handlers.push(null);
    this.handlers[fd] = handler;
    check(this.sys.epoll_ctl(this.epfd, EPOLL_CTL_ADD, fd, { events, data: fd }), 'epoll_ctl');
  }

  /** @returns true when there may be more */
  private acceptSome(listenFd: number, protocol: Protocol): boolean {
    for (let accepts = 0; accepts < ACCEPTS_PER_EVENT; accepts++) {
      const fd = this.sys.accept4(listenFd, SOCK_NONBLOCK);
      // Whatever the error: level-triggered, a queue that is not empty is reported again.
      if (fd < 0) return false;
      this.adopt(fd, protocol);
    }
    return true;
  }

  private adopt(fd: number, protocol: Protocol): void {
    this.counters[ACCEPTED]!++;
    this.counters[ACTIVE]!++;
    this.watch(fd, EPOLLIN | EPOLLRDHUP, protocol);
    protocol.opened(fd);
  }

  /** No new connections: own listeners finish what they have, others are left to the others. */
  private drain(): void {
    this.counters[STATE] = DRAINING;
    this.takeQueue();
    for (const listener of [...this.listeners]) {
      if (!listener.own) this.forget(listener);
      else {
        listener.draining = true;
        check(this.sys.setsockopt(listener.fd, SOL_SOCKET, SO_DRAIN, 1), 'setsockopt(SO_DRAIN)');
      }
    }
    this.noteDrained();
  }

  private drained(listener: Listener): void {
    this.forget(listener);
    this.noteDrained();
  }

  private noteDrained(): void {
    if (this.counters[STATE] !== DRAINING) return;
    if (!this.listeners.some(({ draining }) => draining)) this.counters[STATE] = DRAINED;
  }

  /** Watches a listener no longer; closed when it is this worker's own. */
  private forget(listener: Listener): void {
    const { fd, own } = listener;
    this.handlers[fd] = null;
    if (own) this.sys.close(fd);
    else check(this.sys.epoll_ctl(this.epfd, EPOLL_CTL_DEL, fd, null), 'epoll_ctl');
    this.listeners.splice(this.listeners.indexOf(listener), 1);
  }

  private leave(): void {
    this.leaveAtMs = this.nowMs() + GRACE_MS;
    this.takeQueue();
    for (const listener of [...this.listeners]) {
      // Whoever is queued has been told by SYN-ACK that he is served.
      while (this.acceptSome(listener.fd, listener.protocol));
      this.forget(listener);
    }
    this.env.onDraining();
    this.forEachConnection((fd, protocol) => protocol.drain(fd));
  }

  private tick(): void {
    const nowMs = this.nowMs();
    if (nowMs >= this.leaveAtMs) this.forEachConnection((fd) => this.reset(fd));
    this.tickAtMs = Number.POSITIVE_INFINITY;
    for (const protocol of this.protocols) {
      this.tickAtMs = Math.min(this.tickAtMs, protocol.tick(nowMs));
    }
  }

  private reset(fd: number): void {
    this.sys.setsockopt(fd, SOL_SOCKET, SO_LINGER, 1, 0);
    this.close(fd);
  }

  private forEachConnection(visit: (fd: number, protocol: Protocol) => void): void {
    for (let fd = 0; fd < this.handlers.length; fd++) {
      const handler = this.handlers[fd] as Protocol | null;
      if (handler !== null && this.protocols.has(handler)) visit(fd, handler);
    }
  }

  private timeoutMs(): number {
    const nextMs = Math.min(this.tickAtMs, this.leaveAtMs);
    if (nextMs === Number.POSITIVE_INFINITY) return -1;
    return Math.max(0, Math.ceil(nextMs - this.nowMs()));
  }
}

/** A call that can fail only by our own mistake. */
function check(result: number, call: string): number {
  if (result < 0) throw new Error(`${call} failed with errno ${-result}`);
  return result;
}
