/**
 * Workers that wait for listeners, on the real list of interests (stack/interests.ts), which has
 * the order of Linux's wait queues: plain entries first and newest first, all of them woken; then
 * exclusive ones, oldest first, of which one sleeper is woken.
 *
 * Three ways to wait, as Linux has them:
 * - `herd`: each worker's epoll instance watches for good; every one is woken (before 4.5, or
 *   without EPOLLEXCLUSIVE);
 * - `exclusive`: the same with EPOLLEXCLUSIVE: one is woken, always the first in the list that
 *   sleeps;
 * - `blocking`: accept(2) sleeps: an exclusive entry that is put at the end for every single wait
 *   (Linux net/ipv4/inet_connection_sock.c: inet_csk_wait_for_connect), so that the longest sleeper
 *   is next. A thread of this stack that blocks in accept4 watches with a plain entry instead; what
 *   is replayed here is Linux.
 */
import { assert } from '../net/assert.js';
import { EPOLL_CTL_ADD, EPOLL_CTL_DEL, EPOLLEXCLUSIVE, EPOLLIN } from '../socket/uapi/constants.js';
import { filePoll, fileStamp } from '../socket/uapi/file-ops.js';
import { T_SLEEPING, threadAt } from '../socket/uapi/layout.js';
import { reserveThread } from '../socket/uapi/shared.js';
import type { LabHost } from './host.js';

export type WaitWay = 'herd' | 'exclusive' | 'blocking';

export class WaitQueue {
  private readonly host: LabHost;
  private readonly way: WaitWay;
  /** By worker: its listener, thread number and epoll instance. */
  private readonly listeners: readonly number[];
  private readonly threads: number[] = [];
  private readonly epolls: number[] = [];
  private readonly watching: boolean[];
  private readonly asleep: boolean[];

  /** @param listeners of each worker, the same one several times when they share it */
  constructor(host: LabHost, listeners: readonly number[], way: WaitWay) {
    this.host = host;
    this.way = way;
    this.listeners = listeners;
    this.watching = listeners.map(() => false);
    this.asleep = listeners.map(() => false);
    const { ctl, layout } = host.shared;
    for (let worker = 0; worker < listeners.length; worker++) {
      const thread = reserveThread(ctl, layout);
      assert(thread >= 0, 'more workers than threads');
      this.threads.push(thread);
      this.epolls.push(host.interests.createEpoll(thread, false));
      if (way !== 'blocking') this.watch(worker);
    }
  }

  private watch(worker: number): void {
    const fd = this.listeners[worker]!;
    const mask = this.way === 'herd' ? EPOLLIN : EPOLLIN | EPOLLEXCLUSIVE;
    const { mem } = this.host.shared;
    const stamp = fileStamp(mem, fd);
    const found = filePoll(mem, fd);
    this.host.interests.control(EPOLL_CTL_ADD, this.epolls[worker]!, fd, mask, stamp, found);
    this.watching[worker] = true;
  }

  /** The worker has found its listener's queue empty and goes to sleep. */
  sleep(worker: number): void {
    if (this.way === 'blocking') {
      const fd = this.listeners[worker]!;
      const epoll = this.epolls[worker]!;
      if (this.watching[worker]) this.host.interests.control(EPOLL_CTL_DEL, epoll, fd, 0, 0, 0);
      this.watch(worker);
    }
    const { ctl, layout } = this.host.shared;
    const at = threadAt(layout, this.threads[worker]!) + T_SLEEPING;
    Atomics.store(ctl, at, this.epolls[worker]! + 1);
    this.asleep[worker] = true;
  }

  isAsleep(worker: number): boolean {
    return this.asleep[worker]!;
  }

  /**
   * The workers that have been woken since the last call, in the order of the list: of plain
   * entries the newest is first.
   */
  takeWoken(): number[] {
    this.host.interests.flush();
    const { ctl, layout } = this.host.shared;
    const woken: number[] = [];
    for (let worker = 0; worker < this.threads.length; worker++) {
      if (!this.asleep[worker]) continue;
      if (Atomics.load(ctl, threadAt(layout, this.threads[worker]!) + T_SLEEPING) !== 0) continue;
      this.asleep[worker] = false;
      woken.push(worker);
    }
    return this.way === 'herd' ? woken.reverse() : woken;
  }
}
