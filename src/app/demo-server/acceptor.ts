/**
 * Model A: one thread accepts and hands the connections to the workers in turn. It never looks at
 * what they carry. A worker whose queue is full is passed over; when all are full, connections stay
 * in the accept queue of the stack.
 */
import { EPOLL_CTL_ADD, EPOLLIN, SOCK_NONBLOCK } from '../../socket/uapi/constants.js';
import type { DispatchQueues } from './dispatch-queue.js';
import type { ServerSys } from './protocol.js';

const ACCEPTS_PER_EVENT = 64;
/** With all queues full: when to look again. */
const FULL_WAIT_MS = 1;

export interface AcceptorEnv {
  sys: ServerSys;
  queues: DispatchQueues;
  listenFd: number;
  /** Readable = accept what is queued and leave. */
  stopFd: number;
  /** One eventfd per worker. */
  wakeFds: readonly number[];
}

export class Acceptor {
  private readonly env: AcceptorEnv;
  private readonly epfd: number;
  /** Waits only for the word to leave: used while all queues are full. */
  private readonly stopEpfd: number;
  private readonly events: { events: number; data: number }[] = [];
  private readonly one: Uint8Array = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);
  private next = 0;
  private leaving = false;

  constructor(env: AcceptorEnv) {
    const { sys, listenFd, stopFd } = env;
    this.env = env;
    this.epfd = check(sys.epoll_create1(0), 'epoll_create1');
    this.stopEpfd = check(sys.epoll_create1(0), 'epoll_create1');
    for (const [epfd, fd] of [
      [this.epfd, listenFd],
      [this.epfd, stopFd],
      [this.stopEpfd, stopFd],
    ] as const) {
      const event = { events: EPOLLIN, data: fd };
      check(sys.epoll_ctl(epfd, EPOLL_CTL_ADD, fd, event), 'epoll_ctl');
    }
  }

  /** Until told to leave. */
  run(): void {
    while (!this.leaving) this.turn(-1);
  }

  /** @param timeoutMs how long to wait for something to do, -1 = for ever */
  turn(timeoutMs: number): void {
    const { sys, stopFd } = this.env;
    const full = !this.anyRoom();
    const epfd = full ? this.stopEpfd : this.epfd;
    const wait = full ? FULL_WAIT_MS : timeoutMs;
    const count = check(sys.epoll_wait(epfd, this.events, 2, wait), 'epoll_wait');
    for (let i = 0; i < count; i++) {
      if (this.events[i]!.data === stopFd) this.leaving = true;
    }
    if (this.leaving) while (this.acceptSome());
    else if (!full) this.acceptSome();
  }

  private anyRoom(): boolean {
    return this.env.wakeFds.some((_, worker) => this.env.queues.room(worker) > 0);
  }

  /** @returns true when there may be more and room for it */
  private acceptSome(): boolean {
    const { sys, queues, listenFd, wakeFds } = this.env;
    for (let accepts = 0; accepts < ACCEPTS_PER_EVENT; accepts++) {
      const worker = this.nextWorker();
      if (worker < 0) return false;
      const fd = sys.accept4(listenFd, SOCK_NONBLOCK);
      if (fd < 0) return false;
      if (queues.push(worker, fd)) sys.write(wakeFds[worker]!, this.one, 0, 8);
      this.next = (worker + 1) % wakeFds.length;
    }
    return true;
  }

  /** Whose turn it is: round robin over the queues with room; -1 = all full. */
  private nextWorker(): number {
    const workers = this.env.wakeFds.length;
    for (let i = 0; i < workers; i++) {
      const worker = (this.next + i) % workers;
      if (this.env.queues.room(worker) > 0) return worker;
    }
    return -1;
  }
}

function check(result: number, call: string): number {
  if (result < 0) throw new Error(`${call} failed with errno ${-result}`);
  return result;
}
