/**
 * Model A: one thread accepts and hands the connections to the workers in turn. It never looks at
 * what they carry. A worker whose queue is full, or that takes none, is passed over; when that is
 * so of all, connections stay in the accept queue of the stack. What still waits in the queue of a
 * worker that has died goes to the others.
 */
import { EPOLL_CTL_ADD, EPOLLIN, F_SETOWN, SOCK_NONBLOCK } from '../../socket/uapi/constants.js';
import { type DispatchQueues, GONE, TAKES } from './dispatch-queue.js';
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
  /** eventfd: readable = some worker has come, gone or been told to take none. */
  rosterFd: number;
  /** One eventfd per worker. */
  wakeFds: readonly number[];
  /** Who owns a connection (fcntl F_SETOWN) while it waits in a queue. */
  queueOwner: number;
}

export class Acceptor {
  private readonly env: AcceptorEnv;
  private readonly epfd: number;
  /** Waits only for words of the master: used while nobody takes connections. */
  private readonly wordEpfd: number;
  private readonly events: { events: number; data: number }[] = [];
  private readonly one: Uint8Array = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);
  private readonly counter: Uint8Array = new Uint8Array(8);
  private next = 0;
  private leaving = false;
  /** Connections may be waiting for workers that are not there. */
  private stranded = true;

  constructor(env: AcceptorEnv) {
    const { sys, listenFd, stopFd, rosterFd } = env;
    this.env = env;
    this.epfd = check(sys.epoll_create1(0), 'epoll_create1');
    this.wordEpfd = check(sys.epoll_create1(0), 'epoll_create1');
    for (const [epfd, fd] of [
      [this.epfd, listenFd],
      [this.epfd, stopFd],
      [this.epfd, rosterFd],
      [this.wordEpfd, stopFd],
      [this.wordEpfd, rosterFd],
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
    const { sys, stopFd, rosterFd } = this.env;
    if (this.stranded) this.rescue();
    const room = this.nextWorker() >= 0;
    const epfd = room ? this.epfd : this.wordEpfd;
    const wait = room || !this.anyTakes() ? timeoutMs : FULL_WAIT_MS;
    const count = check(sys.epoll_wait(epfd, this.events, 3, wait), 'epoll_wait');
    for (let i = 0; i < count; i++) {
      const { data } = this.events[i]!;
      if (data === stopFd) this.leaving = true;
      if (data === rosterFd) {
        sys.read(rosterFd, this.counter, 0, 8); // before looking: what comes later wakes us again
        this.stranded = true;
      }
    }
    if (this.stranded) this.rescue();
    if (this.leaving) while (this.acceptSome());
    else if (room) this.acceptSome();
  }

  private anyTakes(): boolean {
    return this.env.wakeFds.some((_, worker) => this.env.queues.part(worker) === TAKES);
  }

  /** @returns true when there may be more and room for it */
  private acceptSome(): boolean {
    const { sys, listenFd, queueOwner } = this.env;
    for (let accepts = 0; accepts < ACCEPTS_PER_EVENT; accepts++) {
      const worker = this.nextWorker();
      if (worker < 0) return false;
      const fd = sys.accept4(listenFd, SOCK_NONBLOCK);
      if (fd < 0) return false;
      // Not lost with this thread, nor with the worker that it is meant for.
      sys.fcntl(fd, F_SETOWN, queueOwner);
      this.hand(worker, fd);
    }
    return true;
  }

  private hand(worker: number, fd: number): void {
    const { sys, queues, wakeFds } = this.env;
    if (queues.push(worker, fd)) sys.write(wakeFds[worker]!, this.one, 0, 8);
    this.next = (worker + 1) % wakeFds.length;
  }

  /** Gives what waits for workers that are not there to others, as far as they have room. */
  private rescue(): void {
    const { queues, wakeFds } = this.env;
    this.stranded = false;
    for (let gone = 0; gone < wakeFds.length; gone++) {
      while (queues.part(gone) === GONE) {
        const worker = this.nextWorker();
        if (worker < 0) {
          // Somebody's coming back is told by the roster; with full queues we look again.
          this.stranded = this.anyTakes();
          return;
        }
        const fd = queues.pop(gone);
        if (fd < 0) break;
        this.hand(worker, fd);
      }
    }
  }

  /** Whose turn it is: round robin over the queues with room; -1 = there is none. */
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
