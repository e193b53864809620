/**
 * A connection with the verbs of Node's own `_handle` (libuv's TCP wrap): readStart, readStop,
 * write, shutdown, close, reset, getsockname, … They return 0 or a negated errno, never throw, and
 * call back later, never from within the call. Turning numbers into events and exceptions is the
 * business of socket.ts. Listeners are in listen-handle.ts.
 */
import { ECANCELED, EOF } from './errors.js';
import type { Reactor } from './reactor.js';
import { TcpBase, takeOver } from './tcp-base.js';
import {
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  IPPROTO_TCP,
  SHUT_WR,
  SO_ERROR,
  SO_KEEPALIVE,
  SO_LINGER,
  SOL_SOCKET,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_NODELAY,
} from './uapi/constants.js';

const EAGAIN = -11;
const EINTR = -4;
const EINVAL = -22;
const ENOTCONN = -107;
const EALREADY = -114;
const EINPROGRESS = -115;
const ECONNREFUSED = -111;

/** Write calls made in one go before others get their turn. */
const WRITE_TRIES = 16;
/**
 * From this size on a chunk is written by itself rather than copied together with its neighbours.
 */
const GATHER_BYTES = 16384;
/** What libuv sets beside the idle time: probes 1 s apart, 10 of them. */
const KEEPALIVE_INTERVAL_S = 1;
const KEEPALIVE_PROBES = 10;

/** Called with 0 or a negated errno. */
export type Done = (status: number) => void;

interface WriteRequest {
  chunks: Uint8Array[];
  /** First chunk with unsent bytes, and how many of its bytes are sent. */
  index: number;
  offset: number;
  done: Done;
}

/** One connection. */
export class TcpHandle extends TcpBase {
  reading = false;
  bytesRead = 0;
  bytesWritten = 0;
  /** Bytes handed to `write` that the stack has not taken yet. */
  writeQueueSize = 0;
  /** The last `write` could not be finished at once: its `done` will be called. */
  lastWriteAsync = false;
  /** Bytes (a chunk, or a count in the user's buffer), EOF or a negated errno. */
  onread: (nread: number, chunk: Buffer | null) => void = ignore;
  /** The stack died under the connection. */
  onfail: (status: number) => void = ignore;

  private readonly sockopt = new Int32Array(4);
  private readonly writes: WriteRequest[] = [];
  private readonly finished: (() => void)[] = [];
  private connecting: Done | null = null;
  private shuttingDown: Done | null = null;
  private shutdownCalled = false;
  private eof = false;
  /** Reading goes first, as in libuv, but not twice while a write waits. */
  private readLast = false;
  /** Where reads go when the user gave a buffer of his own. */
  userBuffer: Uint8Array | null = null;

  constructor(reactor: Reactor) {
    super('TCPWRAP', reactor);
  }

  /**
   * Takes over a connected descriptor that somebody else made: ours from now on. @returns 0 or
   * -errno
   */
  adopt(fd: number): number {
    const status = takeOver(this.sys, fd, true);
    return status < 0 ? status : this.open(fd);
  }

  /** Takes a non-blocking connected descriptor of this thread. @returns 0 or -errno */
  open(fd: number): number {
    this.fd = fd;
    // Tried at once: what is there already need not be reported first.
    this.readReady = true;
    this.writeReady = true;
    return this.reactor.add(this, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
  }

  /** `done` gets the outcome. @returns 0 or -errno when the attempt could not even begin */
  connect(address: string, port: number, done: Done): number {
    let status = this.create();
    if (status < 0) return status;
    if (this.connecting !== null) return EALREADY;
    status = this.sys.connect(this.fd, { address, port });
    if (status === 0 || status === EINPROGRESS || status === EINTR) {
      this.connecting = done;
      status = this.reactor.add(this, EPOLLIN | EPOLLOUT | EPOLLRDHUP);
      if (status < 0) this.connecting = null;
    } else if (status === ECONNREFUSED) {
      // Known at once, told later, as libuv does.
      this.finish(() => done(ECONNREFUSED));
      status = 0;
    }
    this.updateLiveness();
    return status;
  }

  readStart(): number {
    this.reading = true;
    this.updateLiveness();
    this.schedule();
    return 0;
  }

  readStop(): number {
    this.reading = false;
    this.updateLiveness();
    return 0;
  }

  /** Reads go into `buffer` from now on, and `onread` gets no chunk. */
  useUserBuffer(buffer: Uint8Array): void {
    this.userBuffer = buffer;
  }

  /**
   * Sends all of `chunks` in order. When the stack took them at once, `lastWriteAsync` is false and
   * `done` is not called; otherwise it is true and `done` is called when they are taken.
   * @returns 0 or -errno (nothing will be called)
   */
  write(chunks: Uint8Array[], done: Done): number {
    let total = 0;
    for (const chunk of chunks) total += chunk.length;
    const request: WriteRequest = { chunks, index: 0, offset: 0, done };
    this.writeQueueSize += total;
    this.lastWriteAsync = false;
    if (this.writes.length === 0) {
      const status = this.push(request);
      if (status < 0 && status !== EAGAIN) {
        this.writeQueueSize = 0;
        return status;
      }
      this.bytesWritten += total;
      if (status === 0) return 0;
    } else {
      this.bytesWritten += total;
    }
    this.lastWriteAsync = true;
    this.writes.push(request);
    this.updateLiveness();
    this.schedule();
    return 0;
  }

  /** Ends our side once everything written is taken. */
  shutdown(done: Done): number {
    if (this.fd < 0) return ENOTCONN;
    this.shuttingDown = done;
    if (this.writes.length === 0) this.beginShutdown(done);
    this.updateLiveness();
    return 0;
  }

  /** Closes; `closed` is called later, after the callbacks of writes that were cut off. */
  close(closed: () => void = ignore): void {
    if (this.closed) return;
    this.closed = true;
    this.updateLiveness();
    if (this.fd >= 0) {
      this.reactor.remove(this);
      if (!this.reactor.gone) this.sys.close(this.fd);
      this.fd = -1;
    }
    setImmediate(() => {
      this.resource.runInAsyncScope(() => {
        for (const request of this.writes.splice(0)) request.done(ECANCELED);
        closed();
      });
      this.resource.emitDestroy();
    });
  }

  /** Closes with a RST. @returns 0, or -EINVAL when our side has been shut down */
  reset(closed: () => void = ignore): number {
    if (this.shutdownCalled || this.shuttingDown !== null) return EINVAL;
    if (this.fd >= 0 && !this.reactor.gone) {
      const status = this.sys.setsockopt(this.fd, SOL_SOCKET, SO_LINGER, 1, 0);
      if (status < 0) return status;
    }
    this.close(closed);
    return 0;
  }

  setNoDelay(enable: boolean): number {
    return this.sys.setsockopt(this.fd, IPPROTO_TCP, TCP_NODELAY, enable ? 1 : 0);
  }

  /** @param delayS idle seconds before the first probe; 0 leaves the stack's default */
  setKeepAlive(enable: boolean, delayS: number): number {
    const { sys, fd } = this;
    const status = sys.setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, enable ? 1 : 0);
    if (status < 0 || !enable || delayS <= 0) return status;
    return (
      sys.setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, delayS) ||
      sys.setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S) ||
      sys.setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES)
    );
  }

  override fail(status: number): void {
    this.onfail(status);
  }

  protected override isActive(): boolean {
    return this.reading;
  }

  protected override hasRequest(): boolean {
    return (
      this.connecting !== null ||
      this.writes.length > 0 ||
      this.shuttingDown !== null ||
      this.finished.length > 0
    );
  }

  override hasStep(): boolean {
    if (this.finished.length > 0) return true;
    if (this.connecting !== null) return this.writeReady;
    return this.canRead() || this.canWrite();
  }

  override step(): void {
    const finished = this.finished.shift();
    if (finished !== undefined) {
      this.updateLiveness();
      finished();
    } else if (this.connecting !== null) {
      this.stepConnect(this.connecting);
    } else {
      const first = this.canRead() && !(this.readLast && this.canWrite());
      this.readLast = first && this.stepRead();
      if (!this.readLast && this.canWrite()) this.stepWrite();
    }
  }

  private canRead(): boolean {
    return this.reading && this.readReady && !this.eof;
  }

  private canWrite(): boolean {
    return this.writeReady && this.writes.length > 0;
  }

  /** Has `callback` called from a step of its own. */
  private finish(callback: () => void): void {
    this.finished.push(callback);
    this.schedule();
  }

  private stepConnect(done: Done): void {
    let status = this.sys.getsockopt(this.fd, SOL_SOCKET, SO_ERROR, this.sockopt);
    if (status >= 0) status = -this.sockopt[0]!;
    // A spurious event is told from success by the peer, which only a connected socket has.
    if (status === 0 && this.getpeername({}) === ENOTCONN) {
      this.writeReady = false;
      return;
    }
    this.connecting = null;
    this.updateLiveness();
    done(status);
  }

  /** @returns true when it called back */
  private stepRead(): boolean {
    const buffer = this.userBuffer ?? this.reactor.slab();
    const n = this.sys.read(this.fd, buffer, 0, buffer.length);
    if (n > 0) {
      this.bytesRead += n;
      this.onread(n, this.userBuffer === null ? this.reactor.takeSlab(n) : null);
    } else if (n === EAGAIN) {
      this.readReady = false;
      return false;
    } else if (n !== EINTR) {
      this.eof = n === 0;
      this.reading = false;
      this.updateLiveness();
      this.onread(n === 0 ? EOF : n, null);
    }
    return true;
  }

  private stepWrite(): void {
    const request = this.writes[0]!;
    const status = this.push(request);
    if (status === EAGAIN) return;
    this.writes.shift();
    if (status < 0) this.writeQueueSize = 0;
    if (this.writes.length === 0 && this.shuttingDown !== null && status === 0) {
      this.beginShutdown(this.shuttingDown);
    }
    this.updateLiveness();
    request.done(status);
  }

  /**
   * Gives the stack as much of `request` as it takes. @returns 0 all taken, -EAGAIN not yet, or
   * -errno
   */
  private push(request: WriteRequest): number {
    for (let tries = 0; tries < WRITE_TRIES; tries++) {
      skipEmpty(request);
      if (request.index === request.chunks.length) return 0;
      const n = this.pushSome(request);
      if (n === EAGAIN) {
        this.writeReady = false;
        return EAGAIN;
      }
      if (n < 0 && n !== EINTR) return n;
      if (n > 0) {
        this.writeQueueSize -= n;
        advance(request, n);
      }
    }
    // Still willing, but others are waiting: writeReady stays true and the next step goes on.
    this.writeReady = true;
    skipEmpty(request);
    return request.index === request.chunks.length ? 0 : EAGAIN;
  }

  /**
   * One write call: a large chunk as it is, small ones together, so that they leave as one segment.
   */
  private pushSome(request: WriteRequest): number {
    const { chunks, index, offset } = request;
    const first = chunks[index]!;
    const length = first.length - offset;
    if (index === chunks.length - 1 || length >= GATHER_BYTES) {
      return this.sys.write(this.fd, first, offset, length);
    }
    const gathered = this.reactor.gatherBuffer();
    let filled = 0;
    for (let i = index; i < chunks.length && filled < gathered.length; i++) {
      const from = i === index ? offset : 0;
      const part = chunks[i]!.subarray(from, from + gathered.length - filled);
      gathered.set(part, filled);
      filled += part.length;
    }
    return this.sys.write(this.fd, gathered, 0, filled);
  }

  private beginShutdown(done: Done): void {
    const status = this.sys.shutdown(this.fd, SHUT_WR);
    this.shutdownCalled = true;
    this.finish(() => {
      this.shuttingDown = null;
      this.updateLiveness();
      done(status);
    });
  }
}

function skipEmpty(request: WriteRequest): void {
  const { chunks } = request;
  while (request.index < chunks.length && request.offset === chunks[request.index]!.length) {
    request.index++;
    request.offset = 0;
  }
}

function advance(request: WriteRequest, bytes: number): void {
  const { chunks } = request;
  while (bytes > 0) {
    const rest = chunks[request.index]!.length - request.offset;
    if (bytes < rest) {
      request.offset += bytes;
      return;
    }
    bytes -= rest;
    request.index++;
    request.offset = 0;
  }
}

function ignore(): void {}
