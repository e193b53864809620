/**
 * `Socket`: one TCP connection as a Duplex stream, with the properties, events and order of events
 * of Node's `net.Socket` (lib/net.js of Node 20). It is a `stream.Duplex` and not a `net.Socket`,
 * because a net.Socket insists on a handle of libuv. How a connection is set up is in connect.ts;
 * the calls to the stack are in handle.ts.
 */
import { Duplex } from 'node:stream';
import { keepAliveSeconds, normalizeArgs, validateFunction, validateTimeout } from './arguments.js';
import { type ConnectOptions, startConnect } from './connect.js';
import {
  codedError,
  EOF,
  invalidArgValue,
  SocketError,
  socketClosed,
  socketClosedBeforeConnection,
} from './errors.js';
import { TcpHandle } from './handle.js';
import type { Reactor } from './reactor.js';
import { onReadableStreamEnd, undestroy } from './socket-end.js';
import { checkOptions, type SocketOptions } from './socket-options.js';
import type { AddressInfo } from './tcp-base.js';

/** What a Socket needs of the server that accepted it. */
export interface SocketServer {
  _connections: number;
  _emitCloseIfDrained(): void;
}

type WriteCallback = (error?: Error | null) => void;

export class Socket extends Duplex {
  connecting = false;
  /** Set by the server that accepted the connection (and by http, to its own). */
  server: unknown = null;
  timeout?: number | undefined;
  /**
   * @internal the handle, null before connect and after destroy; named as Node's for those who look
   * at it.
   */
  _handle: TcpHandle | null = null;
  /** @internal */
  _server: SocketServer | null = null;
  /** @internal `http` notes here that it has reported an error. */
  _hadError = false;
  /** @internal */
  _peername: AddressInfo | null = null;
  /** @internal */
  _sockname: AddressInfo | null = null;
  /** @internal */
  _host: string | null = null;
  readonly #reactor: Reactor;
  readonly #onread: SocketOptions['onread'];
  #noDelay: boolean;
  #keepAlive: boolean;
  #keepAliveDelayS: number;
  #timer: NodeJS.Timeout | null = null;
  #lastWriteQueueSize = 0;
  /** Bytes of the write that the handle is at. */
  #inFlightBytes = 0;
  #bytesRead = 0;
  #bytesWritten = 0;
  #resetting = false;

  constructor(reactor: Reactor, options: SocketOptions = {}) {
    checkOptions(options);
    const { handle, fd, pauseOnCreate, onread, noDelay, keepAlive, ...rest } = options;
    super({
      ...rest,
      allowHalfOpen: Boolean(options.allowHalfOpen),
      emitClose: false,
      autoDestroy: true,
    });
    this.#reactor = reactor;
    this.#noDelay = Boolean(noDelay);
    this.#keepAlive = Boolean(keepAlive);
    this.#keepAliveDelayS = keepAliveSeconds(options.keepAliveInitialDelay);
    this.#onread = typeof onread?.callback === 'function' ? onread : undefined;
    this.on('end', onReadableStreamEnd);
    if (handle) {
      this._handle = handle;
    } else if (fd !== undefined) {
      this._handle = new TcpHandle(reactor);
      const status = this._handle.adopt(fd);
      if (status < 0) throw new SocketError(status, 'open');
    }
    if (this._handle) {
      this.#attach(this._handle);
      if (options.readable !== false) {
        if (pauseOnCreate) this.pause();
        else this.read(0);
      }
    }
  }

  get pending(): boolean {
    return !this._handle || this.connecting;
  }

  get readyState(): 'opening' | 'open' | 'readOnly' | 'writeOnly' | 'closed' {
    if (this.connecting) return 'opening';
    if (this.readable) return this.writable ? 'open' : 'readOnly';
    return this.writable ? 'writeOnly' : 'closed';
  }

  get bufferSize(): number | undefined {
    return this._handle ? this.writableLength : undefined;
  }

  get bytesRead(): number {
    return this._handle ? this._handle.bytesRead : this.#bytesRead;
  }

  /** Bytes sent or waiting to be sent. */
  get bytesWritten(): number {
    const sent = this._handle ? this._handle.bytesWritten : this.#bytesWritten;
    // The stream's own count includes the write under way, which the handle has counted already.
    return sent + Math.max(0, this.writableLength - this.#inFlightBytes);
  }

  get remoteAddress(): string | undefined {
    return this.#getpeername().address;
  }

  get remotePort(): number | undefined {
    return this.#getpeername().port;
  }

  get remoteFamily(): string | undefined {
    return this.#getpeername().family;
  }

  get localAddress(): string | undefined {
    return this.#getsockname().address;
  }

  get localPort(): number | undefined {
    return this.#getsockname().port;
  }

  get localFamily(): string | undefined {
    return this.#getsockname().family;
  }

  /** The local end, or `{}` when there is none. */
  address(): AddressInfo | Record<string, never> {
    return this.#getsockname() as AddressInfo | Record<string, never>;
  }

  /**
   * `connect(options[, cb])` or `connect(port[, host][, cb])`. Without a host, and for `localhost`,
   * the stack itself is meant. Emits 'connect' and 'ready', or 'error'.
   */
  connect(...args: unknown[]): this {
    const [options, callback] = normalizeArgs<ConnectOptions, () => void>(args);
    if (callback) this.once('connect', callback);
    if (options.path) {
      throw invalidArgValue('options.path', options.path, 'is not supported: there are no pipes');
    }
    if (options.port === undefined) {
      throw codedError(
        TypeError,
        'ERR_MISSING_ARGS',
        'The "options" or "port" or "path" argument must be specified',
      );
    }
    if (this.write !== Socket.prototype.write) this.write = Socket.prototype.write;
    if (this.destroyed) {
      this._handle = null;
      this._peername = null;
      this._sockname = null;
    }
    if (!this._handle) {
      undestroy(this);
      this._handle = new TcpHandle(this.#reactor);
      this.#attach(this._handle);
    }
    this._unrefTimer();
    this.connecting = true;
    startConnect(this, this.#reactor, options);
    return this;
  }

  /** @internal the handshake is over: 'connect' and 'ready', then the first read */
  _connected(): void {
    const handle = this._handle!;
    this.connecting = false;
    this._sockname = null;
    this._unrefTimer();
    if (this.#noDelay) handle.setNoDelay(true);
    if (this.#keepAlive) handle.setKeepAlive(true, this.#keepAliveDelayS);
    this.emit('connect');
    this.emit('ready');
    if (!this.isPaused()) this.read(0);
  }

  override _read(size: number): void {
    if (this.connecting || !this._handle) this.once('connect', () => this._read(size));
    else if (!this._handle.reading) this._handle.readStart();
  }

  override _write(chunk: Buffer, _encoding: BufferEncoding, callback: WriteCallback): void {
    this.#write([chunk], chunk.length, callback);
  }

  override _writev(entries: { chunk: Buffer }[], callback: WriteCallback): void {
    let bytes = 0;
    const chunks: Buffer[] = new Array(entries.length);
    for (let i = 0; i < entries.length; i++) {
      const { chunk } = entries[i]!;
      chunks[i] = chunk;
      bytes += chunk.length;
    }
    this.#write(chunks, bytes, callback);
  }

  override _final(callback: WriteCallback): void {
    if (this.pending) {
      this.once('connect', () => this._final(callback));
      return;
    }
    const handle = this._handle;
    if (!handle) {
      callback();
      return;
    }
    const status = handle.shutdown(() => callback());
    if (status < 0) callback();
  }

  override _destroy(error: Error | null, callback: (error?: Error | null) => void): void {
    this.connecting = false;
    clearTimeout(this.#timer ?? undefined);
    const handle = this._handle;
    if (handle) {
      this.#detach(handle, error !== null);
      callback(error);
    } else {
      callback(error);
      process.nextTick(() => this.emit('close'));
    }
    const server = this._server;
    if (server) {
      this._server = null;
      server._connections--;
      server._emitCloseIfDrained();
    }
  }

  /** Ends, and destroys once everything is written. */
  destroySoon(): void {
    if (this.writable) this.end();
    if (this.writableFinished) this.destroy();
    else this.once('finish', this.destroy);
  }

  /** Closes with a RST; while connecting, as soon as that is over. */
  resetAndDestroy(): this {
    if (!this._handle) {
      this.destroy(socketClosed());
    } else if (this.connecting) {
      this.once('connect', () => this.#reset());
    } else {
      this.#reset();
    }
    return this;
  }

  /** 'timeout' after `msecs` without traffic; 0 = never. */
  setTimeout(msecs: number, callback?: () => void): this {
    if (this.destroyed) return this;
    this.timeout = msecs;
    const delay = validateTimeout(msecs, 'msecs');
    clearTimeout(this.#timer ?? undefined);
    this.#timer = null;
    if (callback !== undefined) validateFunction(callback, 'callback');
    if (delay === 0) {
      if (callback) this.removeListener('timeout', callback);
    } else {
      this.#timer = setTimeout(() => this._onTimeout(), delay);
      this.#timer.unref();
      if (callback) this.once('timeout', callback);
    }
    return this;
  }

  setNoDelay(enable = true): this {
    const want = Boolean(enable);
    if (this._handle && want !== this.#noDelay && !this.connecting) this._handle.setNoDelay(want);
    this.#noDelay = want;
    return this;
  }

  setKeepAlive(enable = false, initialDelayMs = 0): this {
    const want = Boolean(enable);
    const delayS = Math.trunc(initialDelayMs / 1000) || 0;
    const changed = want !== this.#keepAlive || (want && delayS !== this.#keepAliveDelayS);
    this.#keepAlive = want;
    this.#keepAliveDelayS = delayS;
    if (this._handle && changed && !this.connecting) this._handle.setKeepAlive(want, delayS);
    return this;
  }

  override pause(): this {
    // With a buffer of the user's own there is no stream buffer that would stop the flow.
    if (this.#onread && !this.connecting && this._handle?.reading) this._handle.readStop();
    return super.pause();
  }

  override resume(): this {
    this.#startUserRead();
    return super.resume();
  }

  override read(size?: number): unknown {
    this.#startUserRead();
    return super.read(size);
  }

  ref(): this {
    if (this._handle) this._handle.ref();
    else this.once('connect', this.ref);
    return this;
  }

  unref(): this {
    if (this._handle) this._handle.unref();
    else this.once('connect', this.unref);
    return this;
  }

  /** @internal traffic: the time-out starts anew (the name is Node's, http calls it) */
  _unrefTimer(): void {
    this.#timer?.refresh();
  }

  /** @internal a time-out while a write makes progress is none */
  _onTimeout(): void {
    const last = this.#lastWriteQueueSize;
    if (last > 0 && this._handle && this._handle.writeQueueSize !== last) {
      this.#lastWriteQueueSize = this._handle.writeQueueSize;
      this._unrefTimer();
      return;
    }
    this.emit('timeout');
  }

  #startUserRead(): void {
    if (this.#onread && !this.connecting && this._handle && !this._handle.reading) {
      this._handle.readStart();
    }
  }

  #attach(handle: TcpHandle): void {
    const user = this.#onread;
    if (user) {
      const { buffer } = user;
      handle.useUserBuffer(typeof buffer === 'function' ? buffer() : buffer);
    }
    handle.onread = (nread, chunk) => this.#onStreamRead(handle, nread, chunk);
    handle.onfail = (status) => this.#onFail(status);
  }

  #onStreamRead(handle: TcpHandle, nread: number, chunk: Buffer | null): void {
    this._unrefTimer();
    if (nread > 0) {
      const more = chunk === null ? this.#deliver(handle, nread) : this.push(chunk);
      if (!more && !handle.closed) handle.readStop();
    } else if (nread === EOF) {
      this.push(null);
      this.read(0);
    } else {
      this.destroy(new SocketError(nread, 'read'));
    }
  }

  /** Calls the user's own read callback; false = stop reading. */
  #deliver(handle: TcpHandle, nread: number): boolean {
    const { buffer, callback } = this.#onread!;
    const more = callback(nread, handle.userBuffer!) !== false;
    if (typeof buffer === 'function') handle.useUserBuffer(buffer());
    return more;
  }

  #onFail(status: number): void {
    if (status === 0) this.destroy();
    else this.destroy(new SocketError(status, this.connecting ? 'connect' : 'read'));
  }

  #write(chunks: Buffer[], bytes: number, callback: WriteCallback): void {
    if (this.connecting) {
      this.#writeLater(chunks, bytes, callback);
      return;
    }
    const handle = this._handle;
    if (!handle) {
      callback(socketClosed());
      return;
    }
    this._unrefTimer();
    const status = handle.write(chunks, (result) => {
      this.#lastWriteQueueSize = 0;
      this.#inFlightBytes = 0;
      if (this.destroyed) {
        callback(null);
      } else if (result < 0) {
        callback(new SocketError(result, 'write'));
      } else {
        this._unrefTimer();
        callback(null);
      }
    });
    if (status < 0) {
      callback(new SocketError(status, 'write'));
    } else if (handle.lastWriteAsync) {
      this.#lastWriteQueueSize = bytes;
      this.#inFlightBytes = bytes;
    } else {
      callback();
    }
  }

  /** Written before the connection is there: kept until it is. */
  #writeLater(chunks: Buffer[], bytes: number, callback: WriteCallback): void {
    const onClose = () => callback(socketClosedBeforeConnection());
    this.once('connect', () => {
      this.off('close', onClose);
      this.#write(chunks, bytes, callback);
    });
    this.once('close', onClose);
  }

  #reset(): void {
    this.#resetting = true;
    this.destroy();
  }

  #detach(handle: TcpHandle, isException: boolean): void {
    this.#bytesRead = handle.bytesRead;
    this.#bytesWritten = handle.bytesWritten;
    const emitClose = () => this.emit('close', isException);
    if (this.#resetting) {
      this.#resetting = false;
      const status = handle.reset(emitClose);
      if (status < 0) {
        this.emit('error', new SocketError(status, 'reset'));
        handle.close(emitClose);
      }
    } else {
      handle.close(emitClose);
    }
    handle.onread = ignore;
    handle.onfail = ignore;
    this._handle = null;
    this._sockname = null;
  }

  #getpeername(): Partial<AddressInfo> {
    if (this._handle && !this.connecting && !this._peername) {
      const out: Partial<AddressInfo> = {};
      if (this._handle.getpeername(out) < 0) return {};
      this._peername = out as AddressInfo;
    }
    return this._peername ?? {};
  }

  #getsockname(): Partial<AddressInfo> {
    if (!this._handle) return {};
    if (!this._sockname) {
      const out: Partial<AddressInfo> = {};
      if (this._handle.getsockname(out) < 0) return {};
      this._sockname = out as AddressInfo;
    }
    return this._sockname;
  }
}

function ignore(): void {}
