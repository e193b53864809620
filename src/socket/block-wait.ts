/**
 * How a call blocks: an epoll region of the thread's own, without a descriptor, that watches every
 * descriptor the thread has ever blocked on, edge-triggered and for good, so that blocking again
 * costs no command. poll() waits the same way. Linux: sk_wait_event, do_poll.
 */
import { EBADF, EIO } from '../net/errno.js';
import { BLOCK_GEN, BLOCK_STATE } from '../net/sockmem.js';
import type { PollFd } from './sys-table.js';
import {
  EPOLL_CTL_ADD,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
  POLLERR,
  POLLHUP,
  POLLNVAL,
} from './uapi/constants.js';
import { fileKind, filePoll, filePollAll, fileStamp } from './uapi/file-ops.js';
import { OP_EPOLL_CREATE, OP_EPOLL_CTL } from './uapi/layout.js';
import type { ThreadPort } from './uapi/thread-port.js';

const ALWAYS: number = EPOLLERR | EPOLLHUP;
const WATCHED: number = EPOLLIN | EPOLLPRI | EPOLLOUT | EPOLLRDHUP | ALWAYS | EPOLLET;

/** Descriptors taken off the ready ring at once. */
const TAKEN_MOST = 64;

export class BlockWait {
  private readonly port: ThreadPort;
  /** Number of the epoll region, -1 before the first wait. */
  private index = -1;
  /** BLOCK_GEN of each watched descriptor. */
  private readonly watched = new Map<number, number>();
  private readonly taken: Int32Array = new Int32Array(TAKEN_MOST);

  constructor(port: ThreadPort) {
    this.port = port;
  }

  /** When a wait that begins now ends, for `wait` and `pause`; negative `timeoutMs` = never. */
  endOf(timeoutMs: number): number {
    if (timeoutMs < 0) return Number.POSITIVE_INFINITY;
    return this.port.heartbeat.worked() + timeoutMs;
  }

  /**
   * Blocks until `fd` is ready for one of `events`, has an error, or is closed.
   * @param endMs of `endOf`
   * @returns its EPOLL* bits, 0 when the time is over, or -EBADF (closed by another thread),
   *   -EMFILE, -EIO
   */
  wait(fd: number, events: number, endMs: number = Number.POSITIVE_INFINITY): number {
    const status = this.watch(fd);
    if (status < 0) return status;
    const gen = this.watched.get(fd)!;
    let leftMs = endMs - this.port.heartbeat.worked();
    for (;;) {
      this.drain();
      if (fileKind(this.port.mem, fd) < 0 || this.genOf(fd) !== gen) return -EBADF;
      const ready = filePoll(this.port.mem, fd) & (events | ALWAYS);
      if (ready !== 0) return ready;
      if (!this.port.alive) return -EIO;
      if (leftMs <= 0) return 0;
      leftMs = endMs - this.port.sleep(this.index, leftMs);
    }
  }

  /**
   * Blocks until anything happens to `fd`; may return early. 1, 0 when the time is over, or -errno
   * as `wait`.
   */
  pause(fd: number, endMs: number = Number.POSITIVE_INFINITY): number {
    const fresh = this.watched.get(fd) !== this.genOf(fd);
    const status = this.watch(fd);
    if (status < 0) return status;
    // What happened before the stack watched has left no trace: the caller must look first.
    if (fresh) return 1;
    const leftMs = endMs - this.port.heartbeat.worked();
    if (leftMs <= 0) return 0;
    this.port.sleep(this.index, leftMs);
    this.drain();
    if (fileKind(this.port.mem, fd) < 0) return -EBADF;
    return this.port.alive ? 1 : -EIO;
  }

  /**
   * close() with SO_LINGER: marks the file as closing with `begin`, then waits until its connection
   * is in none of `states` (a bit set of TCP states). The descriptor must not be used by anyone
   * else from `begin` on.
   */
  linger(fd: number, states: number, endMs: number, begin: () => void): void {
    const watched = this.watch(fd) === 0;
    const { mem, ctl, heartbeat } = this.port;
    const state = mem.blockAt(fd) + BLOCK_STATE;
    begin();
    if (!watched) return;
    let leftMs = endMs - heartbeat.worked();
    while (((states >>> Atomics.load(ctl, state)) & 1) === 1) {
      this.drain();
      if (leftMs <= 0 || !this.port.alive) return;
      if (((states >>> Atomics.load(ctl, state)) & 1) === 0) return;
      leftMs = endMs - this.port.sleep(this.index, leftMs);
    }
  }

  /**
   * Linux: do_sys_poll. Number of entries with revents, 0 after the time-out (negative = none), or
   * -errno.
   */
  poll(fds: PollFd[], timeoutMs: number): number {
    let count = this.look(fds);
    const nowMs = this.port.heartbeat.worked();
    if (count !== 0 || timeoutMs === 0) return count;
    for (const { fd } of fds) {
      const status = fd < 0 ? 0 : this.watch(fd);
      if (status < 0) return status;
    }
    if (this.index < 0) {
      const status = this.open();
      if (status < 0) return status;
    }
    let leftMs = timeoutMs < 0 ? Number.POSITIVE_INFINITY : timeoutMs;
    const endMs = nowMs + leftMs;
    for (;;) {
      this.drain();
      count = this.look(fds);
      if (count !== 0) return count;
      if (!this.port.alive) return -EIO;
      if (leftMs <= 0) return 0;
      leftMs = endMs - this.port.sleep(this.index, leftMs);
    }
  }

  private look(fds: PollFd[]): number {
    let count = 0;
    for (const entry of fds) {
      entry.revents = this.revents(entry);
      if (entry.revents !== 0) count++;
    }
    return count;
  }

  private revents(entry: PollFd): number {
    if (entry.fd < 0) return 0;
    if (fileKind(this.port.mem, entry.fd) < 0) return POLLNVAL;
    return filePollAll(this.port.mem, entry.fd) & (entry.events | POLLERR | POLLHUP);
  }

  /** This thread closes `fd`. */
  forget(fd: number): void {
    this.watched.delete(fd);
  }

  private genOf(fd: number): number {
    return this.port.ctl[this.port.mem.blockAt(fd) + BLOCK_GEN]!;
  }

  private open(): number {
    this.index = this.port.call(OP_EPOLL_CREATE, 0, 1);
    return this.index;
  }

  private watch(fd: number): number {
    if (this.index < 0) {
      const status = this.open();
      if (status < 0) return status;
    }
    const gen = this.genOf(fd);
    if (this.watched.get(fd) === gen) return 0;
    const { port } = this;
    const to = this.index | (EPOLL_CTL_ADD << 16);
    const stamp = fileStamp(port.mem, fd);
    const found = filePoll(port.mem, fd);
    if (!port.post(OP_EPOLL_CTL, fd, to, WATCHED, stamp, found)) return -EIO;
    this.watched.set(fd, gen);
    return 0;
  }

  /** Empties the ready ring: what counts is how the descriptors are afterwards. */
  private drain(): void {
    while (this.port.takeReady(this.index, this.taken) > 0);
  }
}
