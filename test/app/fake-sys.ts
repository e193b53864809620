/**
 * System calls over memory, for tests of what sits on top of them: listeners whose accept queue the
 * test fills, connections whose peer the test plays, eventfds, and level-triggered epoll. A send
 * ring has a capacity, so that EAGAIN and partial writes happen where the test wants them. A wait
 * that could never end throws.
 */

import type { ServerSys } from '../../src/app/demo-server/protocol.js';
import { EAGAIN, EBADF, ECONNRESET, EEXIST, ENOENT, EPIPE } from '../../src/net/errno.js';
import {
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLL_CTL_MOD,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  SHUT_WR,
  SO_DRAIN,
  SO_LINGER,
} from '../../src/socket/uapi/constants.js';

interface Interest {
  events: number;
  data: number;
}

/** One file of the fake. */
class File {
  readonly kind: 'listener' | 'connection' | 'epoll' | 'eventfd';
  /** listener: accept queue. */
  readonly queue: number[] = [];
  /** listener: its port, SO_DRAIN, and handshakes under way. */
  port = 0;
  listening = false;
  draining = false;
  halfOpen = 0;
  /** connection: bytes that came and were not read, the peer's FIN, what was written. */
  incoming: Buffer = Buffer.alloc(0);
  ended = false;
  broken = false;
  written: Buffer[] = [];
  /** Bytes that may still be written before EAGAIN. */
  room: number = Number.POSITIVE_INFINITY;
  shutWrite = false;
  /** Bytes written and not acknowledged. */
  unacknowledged = 0;
  lingerReset = false;
  counter = 0;
  owner = -1;
  readonly interests: Map<number, Interest> = new Map();

  constructor(kind: File['kind']) {
    this.kind = kind;
  }

  ready(): number {
    switch (this.kind) {
      case 'listener':
        if (this.draining && this.halfOpen === 0) return EPOLLIN | EPOLLRDHUP;
        return this.queue.length > 0 ? EPOLLIN : 0;
      case 'eventfd':
        return this.counter > 0 ? EPOLLIN : 0;
      case 'connection': {
        const over = this.ended || this.broken;
        const input = this.incoming.length > 0 || over ? EPOLLIN : 0;
        const output = this.room > 0 || this.broken ? EPOLLOUT : 0;
        const hangup = this.broken || (this.ended && this.shutWrite) ? EPOLLHUP : 0;
        return input | output | hangup | (over ? EPOLLRDHUP : 0);
      }
      default:
        return 0;
    }
  }
}

/** What became of a connection that has been closed. */
export interface Closed {
  fd: number;
  /** Closed by a reset instead of a FIN. */
  reset: boolean;
}

export class FakeSys implements ServerSys {
  readonly closed: Closed[] = [];
  private readonly files = new Map<number, File>();
  /** Longest read, to force short reads. */
  readMax: number = Number.POSITIVE_INFINITY;

  private make(kind: File['kind']): number {
    let fd = 3;
    while (this.files.has(fd)) fd++;
    this.files.set(fd, new File(kind));
    return fd;
  }

  /** A listener, as another thread would have made it. */
  listener(): number {
    const fd = this.make('listener');
    this.file(fd).listening = true;
    return fd;
  }

  /** A connection waits in the accept queue of `listenFd`. @returns its descriptor */
  arrive(listenFd: number): number {
    const fd = this.make('connection');
    this.file(listenFd).queue.push(fd);
    return fd;
  }

  /** A connection that belongs to nobody yet. */
  connection(): number {
    return this.make('connection');
  }

  file(fd: number): File {
    const file = this.files.get(fd);
    if (file === undefined) throw new Error(`fd ${fd} is not open`);
    return file;
  }

  isOpen(fd: number): boolean {
    return this.files.has(fd);
  }

  listenersOn(port: number): number[] {
    return [...this.files].filter(([, file]) => file.port === port).map(([fd]) => fd);
  }

  /** The peer sends. */
  peerSends(fd: number, data: string | Uint8Array): void {
    const file = this.file(fd);
    const bytes = typeof data === 'string' ? Buffer.from(data, 'latin1') : data;
    file.incoming = Buffer.concat([file.incoming, bytes]);
  }

  peerEnds(fd: number): void {
    this.file(fd).ended = true;
  }

  peerResets(fd: number): void {
    this.file(fd).broken = true;
  }

  /** What the server has written since the last call. */
  peerReads(fd: number): Buffer {
    const file = this.file(fd);
    const all = Buffer.concat(file.written);
    file.written = [];
    return all;
  }

  /** Some epoll instance has something to report. */
  pending(): boolean {
    for (const file of this.files.values()) {
      for (const [fd, interest] of file.interests) {
        if ((this.file(fd).ready() & (interest.events | EPOLLHUP)) !== 0) return true;
      }
    }
    return false;
  }

  socket(): number {
    return this.make('listener');
  }

  bind(fd: number, address: { port: number }): number {
    this.file(fd).port = address.port;
    return 0;
  }

  listen(fd: number): number {
    this.file(fd).listening = true;
    return 0;
  }

  setsockopt(fd: number, _level: number, name: number, value: number | string = 0): number {
    if (name === SO_LINGER) this.file(fd).lingerReset = true;
    if (name === SO_DRAIN) this.file(fd).draining = value === 1;
    return 0;
  }

  getsockopt(): number {
    return 0;
  }

  fcntl(fd: number, _cmd: number, arg = 0): number {
    this.file(fd).owner = arg;
    return 0;
  }

  ioctl(fd: number, _request: number, out: Int32Array): number {
    out[0] = this.file(fd).unacknowledged;
    return 0;
  }

  accept4(fd: number): number {
    return this.file(fd).queue.shift() ?? -EAGAIN;
  }

  read(
    fd: number,
    buffer: Uint8Array,
    offset = 0,
    length: number = buffer.length - offset,
  ): number {
    const file = this.files.get(fd);
    if (file === undefined) return -EBADF;
    if (file.kind === 'eventfd') return this.readCounter(file, buffer, offset);
    if (file.broken) return -ECONNRESET;
    if (file.incoming.length === 0) return file.ended ? 0 : -EAGAIN;
    const count = Math.min(length, file.incoming.length, this.readMax);
    file.incoming.copy(buffer, offset, 0, count);
    file.incoming = file.incoming.subarray(count);
    return count;
  }

  private readCounter(file: File, buffer: Uint8Array, offset: number): number {
    if (file.counter === 0) return -EAGAIN;
    buffer.fill(0, offset, offset + 8);
    buffer[offset] = file.counter;
    file.counter = 0;
    return 8;
  }

  /** Memory files by descriptor, and how often one was sent from. */
  readonly memory: Map<number, Uint8Array> = new Map();
  sendfiles = 0;

  sendfile(outFd: number, inFd: number, offset: number, count: number): number {
    const contents = this.memory.get(inFd);
    if (contents === undefined) return -EBADF;
    this.sendfiles++;
    const bytes = contents.subarray(offset, offset + count);
    return this.write(outFd, bytes, 0, bytes.length);
  }

  write(
    fd: number,
    buffer: Uint8Array,
    offset = 0,
    length: number = buffer.length - offset,
  ): number {
    const file = this.files.get(fd);
    if (file === undefined) return -EBADF;
    if (file.kind === 'eventfd') {
      file.counter += buffer[offset]!;
      return 8;
    }
    if (file.broken || file.shutWrite) return -EPIPE;
    const count = Math.min(length, file.room);
    if (count === 0) return -EAGAIN;
    file.room -= count;
    file.written.push(Buffer.from(buffer.subarray(offset, offset + count)));
    return count;
  }

  shutdown(fd: number, how: number): number {
    if (how === SHUT_WR) this.file(fd).shutWrite = true;
    return 0;
  }

  close(fd: number): number {
    const file = this.files.get(fd);
    if (file === undefined) return -EBADF;
    if (file.kind === 'connection') this.closed.push({ fd, reset: file.lingerReset });
    this.files.delete(fd);
    for (const other of this.files.values()) other.interests.delete(fd);
    return 0;
  }

  eventfd(initval: number): number {
    const fd = this.make('eventfd');
    this.file(fd).counter = initval;
    return fd;
  }

  epoll_create1(): number {
    return this.make('epoll');
  }

  epoll_ctl(epfd: number, op: number, fd: number, event?: Interest | null): number {
    const { interests } = this.file(epfd);
    const known = interests.has(fd);
    if (op === EPOLL_CTL_ADD && known) return -EEXIST;
    if (op !== EPOLL_CTL_ADD && !known) return -ENOENT;
    if (op === EPOLL_CTL_DEL) interests.delete(fd);
    if (op === EPOLL_CTL_ADD || op === EPOLL_CTL_MOD) interests.set(fd, { ...event! });
    return 0;
  }

  epoll_wait(epfd: number, events: Interest[], maxevents: number, timeoutMs: number): number {
    let count = 0;
    for (const [fd, interest] of this.file(epfd).interests) {
      const ready = this.file(fd).ready() & (interest.events | EPOLLHUP);
      if (ready === 0 || count === maxevents) continue;
      events[count] = { events: ready, data: interest.data };
      count++;
    }
    if (count === 0 && timeoutMs < 0) throw new Error('this wait would never end');
    return count;
  }
}
