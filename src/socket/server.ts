/**
 * `Server`: a listening socket as an EventEmitter, with the methods, events and close semantics of
 * Node's `net.Server` (lib/net.js of Node 20). Beyond Node 20 it takes `reusePort` (a member of a
 * SO_REUSEPORT group) and `shared` (accept from a descriptor that other threads accept from too).
 * No pipes, no cluster.
 */
import { tracingChannel } from 'node:diagnostics_channel';
import { lookup } from 'node:dns';
import { EventEmitter } from 'node:events';
import { isIP } from 'node:net';
import { resolve } from 'node:path';
import { getDefaultHighWaterMark } from 'node:stream';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import {
  backlogOfArgs,
  keepAliveSeconds,
  normalizeArgs,
  validateNumber,
  validatePort,
  validateSignal,
} from './arguments.js';
import { serverSocketChannel } from './channels.js';
import { codedError, invalidArgType, invalidArgValue, SocketError } from './errors.js';
import type { TcpHandle } from './handle.js';
import { ListenHandle } from './listen-handle.js';
import type { Reactor } from './reactor.js';
import { Socket, type SocketServer } from './socket.js';
import type { AddressInfo } from './tcp-base.js';

const EAFNOSUPPORT = -97;
/** Node's own default. */
const BACKLOG = 511;

export interface ServerOptions {
  allowHalfOpen?: boolean | undefined;
  pauseOnConnect?: boolean | undefined;
  noDelay?: boolean | undefined;
  keepAlive?: boolean | undefined;
  keepAliveInitialDelay?: number | undefined;
  highWaterMark?: number | undefined;
}

export interface ListenOptions {
  port?: number | string | null | undefined;
  /** IPv4 address or name; absent: all addresses of the stack. */
  host?: string | undefined;
  backlog?: number | undefined;
  /** Join (or found) the group of listeners on this port: SO_REUSEPORT before bind. */
  reusePort?: boolean | undefined;
  signal?: AbortSignal | undefined;
  /** A listening descriptor of the stack to take over; it is closed with this server. */
  fd?: number | undefined;
  /**
   * With `fd`: other threads accept from it too, so it is neither owned nor closed by this server.
   */
  shared?: boolean | undefined;
  /**
   * How the group picks: the name of a built-in selector (`hash`, `random`, `rr`, `least`, `p2c`,
   * `consistent`, `cpu`) or a module, as path or file URL. Goes with `reusePort`. The first member
   * to ask decides, for as long as the group lives.
   */
  selector?: string | URL | undefined;
  path?: unknown;
}

/** What 'drop' tells about a connection that was one too many. */
export interface DropArgument {
  localAddress?: string | undefined;
  localPort?: number | undefined;
  localFamily?: string | undefined;
  remoteAddress?: string | undefined;
  remotePort?: number | undefined;
  remoteFamily?: string | undefined;
}

type ConnectionListener = (socket: Socket) => void;
type CloseCallback = (error?: Error) => void;

const listenChannel = tracingChannel('net.server.listen');

export class Server extends EventEmitter implements SocketServer {
  maxConnections?: number;
  allowHalfOpen: boolean;
  pauseOnConnect: boolean;
  noDelay: boolean;
  keepAlive: boolean;
  /** Seconds, as Node keeps it. */
  keepAliveInitialDelay: number;
  highWaterMark: number;
  /** @internal open connections */
  _connections = 0;
  /** @internal */
  _handle: ListenHandle | null = null;
  readonly #reactor: Reactor;
  #unref = false;
  /** A later listen() or close() makes the lookup of an earlier one void. */
  #listeningId = 1;

  constructor(
    reactor: Reactor,
    options?: ServerOptions | ConnectionListener | null,
    listener?: ConnectionListener,
  ) {
    super();
    if (typeof options === 'function') {
      listener = options;
      options = {};
    } else if (options != null && typeof options !== 'object') {
      throw invalidArgType('options', 'of type object', options);
    }
    if (typeof listener === 'function') this.on('connection', listener);
    options ??= {};
    this.#reactor = reactor;
    this.allowHalfOpen = options.allowHalfOpen || false;
    this.pauseOnConnect = !!options.pauseOnConnect;
    this.noDelay = Boolean(options.noDelay);
    this.keepAlive = Boolean(options.keepAlive);
    this.keepAliveInitialDelay = keepAliveSeconds(options.keepAliveInitialDelay);
    const mark = options.highWaterMark;
    const fits = mark !== undefined && validateNumber(mark, 'options.highWaterMark') >= 0;
    this.highWaterMark = fits ? mark : getDefaultHighWaterMark(false);
  }

  get listening(): boolean {
    return this._handle !== null;
  }

  /**
   * `listen(port[, host][, backlog][, cb])`, `listen(options[, cb])` or `listen([cb])`. 'listening'
   * or 'error' follows; throws for wrong arguments.
   */
  listen(...args: unknown[]): this {
    const [options, callback] = normalizeArgs<ListenOptions, () => void>(args);
    if (this._handle) {
      throw codedError(
        Error,
        'ERR_SERVER_ALREADY_LISTEN',
        'Listen method has been called more than once without closing.',
      );
    }
    checkListenOptions(options);
    if (listenChannel.hasSubscribers) listenChannel.asyncStart.publish({ server: this, options });
    if (callback) this.once('listening', callback);
    const id = ++this.#listeningId;
    this.#addSignal(options);
    const backlog = options.backlog || backlogOfArgs(args) || BACKLOG;
    const { fd } = options;
    const how = { backlog, reusePort: options.reusePort === true, selector: selectorOf(options) };
    if (typeof fd === 'number' && fd >= 0) {
      this.#listenFd(fd, how, options.shared === true);
      return this;
    }
    const port = portOf(args, options);
    if (!options.host) {
      this.#listen('0.0.0.0', port, how);
      return this;
    }
    const host = options.host === 'localhost' ? this.#reactor.address : options.host;
    lookup(host, (error, address) => {
      if (id !== this.#listeningId) return;
      if (error) this.emit('error', error);
      else this.#listen(address, port, how);
    });
    return this;
  }

  address(): AddressInfo | null {
    if (!this._handle) return null;
    const out: Partial<AddressInfo> = {};
    const status = this._handle.getsockname(out);
    if (status < 0) throw new SocketError(status, 'address');
    return out as AddressInfo;
  }

  getConnections(callback: (error: Error | null, count: number) => void): this {
    process.nextTick(callback, null, this._connections);
    return this;
  }

  /** Accepts no more; 'close' (and `callback`) come when the last connection has ended. */
  close(callback?: CloseCallback): this {
    this.#listeningId++;
    if (typeof callback === 'function') {
      if (this._handle) {
        this.once('close', callback);
      } else {
        this.once('close', () => {
          callback(codedError(Error, 'ERR_SERVER_NOT_RUNNING', 'Server is not running.'));
        });
      }
    }
    this._handle?.close();
    this._handle = null;
    this._emitCloseIfDrained();
    return this;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this._handle) await promisify(this.close).call(this);
  }

  ref(): this {
    this.#unref = false;
    this._handle?.ref();
    return this;
  }

  unref(): this {
    this.#unref = true;
    this._handle?.unref();
    return this;
  }

  /** @internal a connection has ended, or listening has */
  _emitCloseIfDrained(): void {
    if (this._handle || this._connections > 0) return;
    process.nextTick(() => this.emit('close'));
  }

  #addSignal(options: ListenOptions): void {
    if (options.signal === undefined) return;
    const signal = validateSignal(options.signal, 'options.signal');
    const onAbort = () => {
      this.close();
    };
    if (signal.aborted) {
      process.nextTick(onAbort);
    } else {
      signal.addEventListener('abort', onAbort, { once: true });
      this.once('close', () => signal.removeEventListener('abort', onAbort));
    }
  }

  #listenFd(fd: number, how: ListenHow, shared: boolean): void {
    const handle = new ListenHandle(this.#reactor);
    const status = handle.open(fd, shared);
    if (status < 0) this.#failed(handle, new SocketError(status, 'listen', { describe: true }));
    else this.#start(handle, how, {});
  }

  #listen(address: string, port: number, how: ListenHow): void {
    const handle = new ListenHandle(this.#reactor);
    const details = { address, port, describe: true };
    const status = isIP(address) === 6 ? EAFNOSUPPORT : handle.bind(address, port, how.reusePort);
    if (status < 0) this.#failed(handle, new SocketError(status, 'listen', details));
    else this.#start(handle, how, details);
  }

  #start(
    handle: ListenHandle,
    { backlog, selector }: ListenHow,
    details: { address?: string; port?: number },
  ): void {
    handle.onconnection = (status, client) => this.#onconnection(status, client);
    handle.onfail = (status) => this.#onfail(status);
    const listens = handle.listen(backlog);
    const status = listens < 0 ? listens : handle.select(selector);
    if (status < 0) {
      const syscall = listens < 0 ? 'listen' : 'setsockopt';
      this.#failed(handle, new SocketError(status, syscall, { ...details, describe: true }));
      return;
    }
    this._handle = handle;
    if (listenChannel.hasSubscribers) listenChannel.asyncEnd.publish({ server: this });
    if (this.#unref) handle.unref();
    process.nextTick(() => {
      if (this._handle) this.emit('listening');
    });
  }

  #failed(handle: ListenHandle, error: SocketError): void {
    handle.close();
    if (listenChannel.hasSubscribers) listenChannel.error.publish({ server: this, error });
    process.nextTick(() => this.emit('error', error));
  }

  #onfail(status: number): void {
    const error = status === 0 ? null : new SocketError(status, 'accept');
    this.close();
    if (error) this.emit('error', error);
  }

  #onconnection(status: number, client: TcpHandle | null): void {
    if (client === null) {
      this.emit('error', new SocketError(status, 'accept'));
      return;
    }
    if (this.maxConnections && this._connections >= this.maxConnections) {
      this.emit('drop', dropArgument(client));
      client.close();
      return;
    }
    const socket = new Socket(this.#reactor, {
      handle: client,
      allowHalfOpen: this.allowHalfOpen,
      pauseOnCreate: this.pauseOnConnect,
      readableHighWaterMark: this.highWaterMark,
      writableHighWaterMark: this.highWaterMark,
    });
    if (this.noDelay) socket.setNoDelay(true);
    if (this.keepAlive) socket.setKeepAlive(true, this.keepAliveInitialDelay * 1000);
    this._connections++;
    socket.server = this;
    socket._server = this;
    this.emit('connection', socket);
    if (serverSocketChannel.hasSubscribers) serverSocketChannel.publish({ socket });
  }
}

/** What of the options of `listen` concerns the socket and not the server. */
interface ListenHow {
  backlog: number;
  reusePort: boolean;
  /** As SO_ATTACH_REUSEPORT_SELECTOR takes it; '' = none asked for. */
  selector: string;
}

/**
 * With `captureRejections`, an async 'connection' listener that fails costs its own connection
 * only.
 */
function onRejection(this: Server, error: Error, event: string, ...args: unknown[]): void {
  if (event === 'connection') (args[0] as Socket).destroy(error);
  else this.emit('error', error);
}

Object.defineProperty(Server.prototype, EventEmitter.captureRejectionSymbol, {
  value: onRejection,
  configurable: true,
  writable: true,
});

function checkListenOptions(options: ListenOptions): void {
  if (options.path) {
    throw invalidArgValue('options.path', options.path, 'is not supported: there are no pipes');
  }
}

/** A built-in selector's name, or the absolute path of a module: names have no slash or dot. */
function selectorOf({ selector }: ListenOptions): string {
  if (selector === undefined || selector === 'hash') return '';
  if (selector instanceof URL) return fileURLToPath(selector);
  if (typeof selector !== 'string') {
    throw invalidArgType('options.selector', 'of type string or an instance of URL', selector);
  }
  if (selector === '') {
    throw invalidArgValue('options.selector', selector, 'must be a name or the path of a module');
  }
  return /[./]/.test(selector) ? resolve(selector) : selector;
}

/** The port of `listen`'s many forms, checked; 0 = any free one. */
function portOf(args: readonly unknown[], options: ListenOptions): number {
  const any =
    args.length === 0 ||
    typeof args[0] === 'function' ||
    ('port' in options && options.port === undefined) ||
    options.port === null;
  if (any) return 0;
  const { port } = options;
  if (typeof port === 'number' || typeof port === 'string') {
    return validatePort(port, 'options.port');
  }
  const reason = 'port' in options ? 'is invalid' : 'must have the property "port" or "path"';
  throw invalidArgValue('options', options, reason);
}

function dropArgument(client: TcpHandle): DropArgument {
  const local: Partial<AddressInfo> = {};
  const remote: Partial<AddressInfo> = {};
  client.getsockname(local);
  client.getpeername(remote);
  return {
    localAddress: local.address,
    localPort: local.port,
    localFamily: local.family,
    remoteAddress: remote.address,
    remotePort: remote.port,
    remoteFamily: remote.family,
  };
}
