/**
 * How a call blocks: an epoll region of the thread's own, without a descriptor, that watches every
 * descriptor the thread has ever blocked on, edge-triggered and for good, so that blocking again
 * costs no command. poll() waits the same way. Linux: sk_wait_event, do_poll.
 */
import { EBADF, EIO } from '../net/errno.js';
import { BLOCK_GEN } from '../net/sockmem.js';
import type { PollFd } from './sys-table.js';
import {
  EPOLL_CTL_ADD,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  POLLERR,
  POLLHUP,
  POLLNVAL,
} from './uapi/constants.js';
import { fileKind, filePoll, fileStamp } from './uapi/file-ops.js';
import { OP_EPOLL_CREATE, OP_EPOLL_CTL } from './uapi/layout.js';
import type { ThreadPort } from './uapi/thread-port.js';

const ALWAYS: number = EPOLLERR | EPOLLHUP;
const WATCHED: number = EPOLLIN | EPOLLOUT | EPOLLRDHUP | ALWAYS | EPOLLET;

export class BlockWait {
  private readonly port: ThreadPort;
  /** Number of the epoll region, -1 before the first wait. */
  private index = -1;
  /** BLOCK_GEN of each watched descriptor. */
  private readonly watched = new Map<number, number>();

  constructor(port: ThreadPort) {
    this.port = port;
  }

  /**
   * Blocks until `fd` is ready for one of `events`, has an error, or is closed.
   * @returns its EPOLL* bits, or -EBADF (closed by another thread), -EMFILE, -EIO
   */
  wait(fd: number, events: number): number {
    const status = this.watch(fd);
    if (status < 0) return status;
    const gen = this.watched.get(fd)!;
    for (;;) {
      this.drain();
      if (fileKind(this.port.mem, fd) < 0 || this.genOf(fd) !== gen) return -EBADF;
      const ready = filePoll(this.port.mem, fd) & (events | ALWAYS);
      if (ready !== 0) return ready;
      if (!this.port.alive) return -EIO;
      this.port.sleep(this.index, Number.POSITIVE_INFINITY);
    }
  }

  /** Blocks until anything happens to `fd`; may return early. 0 or -errno as `wait`. */
  pause(fd: number): number {
    const fresh = this.watched.get(fd) !== this.genOf(fd);
    const status = this.watch(fd);
    // What happened before the stack watched has left no trace: the caller must look first.
    if (status < 0 || fresh) return status;
    this.port.sleep(this.index, Number.POSITIVE_INFINITY);
    this.drain();
    if (fileKind(this.port.mem, fd) < 0) return -EBADF;
    return this.port.alive ? 0 : -EIO;
  }

  /**
   * Linux: do_sys_poll. Number of entries with revents, 0 after the time-out (negative = none), or
   * -errno.
   */
  poll(fds: PollFd[], timeoutMs: number): number {
    let count = this.look(fds);
    if (count !== 0 || timeoutMs === 0) return count;
    for (const { fd } of fds) {
      const status = fd < 0 ? 0 : this.watch(fd);
      if (status < 0) return status;
    }
    if (this.index < 0) {
      const status = this.open();
      if (status < 0) return status;
    }
    const endMs = timeoutMs < 0 ? Number.POSITIVE_INFINITY : performance.now() + timeoutMs;
    for (;;) {
      this.drain();
      count = this.look(fds);
      if (count !== 0) return count;
      if (!this.port.alive) return -EIO;
      const leftMs = timeoutMs < 0 ? endMs : endMs - performance.now();
      if (leftMs <= 0) return 0;
      this.port.sleep(this.index, leftMs);
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
    return filePoll(this.port.mem, entry.fd) & (entry.events | POLLERR | POLLHUP);
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
    while (this.port.popReady(this.index) >= 0);
  }
}
