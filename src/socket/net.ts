/**
 * `createNet`: a `net` of one thread on one stack, with the names of `node:net`: createServer,
 * connect, Server, Socket, isIP. Each thread has its own, because sockets belong to the event loop
 * of the thread that made them.
 */
import { isIP, isIPv4, isIPv6 } from 'node:net';
import { normalizeArgs } from './arguments.js';
import { clientSocketChannel } from './channels.js';
import type { ConnectOptions } from './connect.js';
import type { Doorbell, NetSys } from './net-sys.js';
import { Reactor } from './reactor.js';
import { Server, type ServerOptions } from './server.js';
import { Socket } from './socket.js';
import type { SocketOptions } from './socket-options.js';

export type { ConnectOptions, LookupFunction } from './connect.js';
export { SocketError } from './errors.js';
export type { DropArgument, ListenOptions, ServerOptions } from './server.js';
export type { SocketOptions } from './socket-options.js';
export type { AddressInfo } from './tcp-base.js';
export { isIP, isIPv4, isIPv6, Server, Socket };

/** Options of `connect`: those of the socket and those of the connection. */
export interface NetConnectOptions extends SocketOptions, ConnectOptions {
  /** `socket.setTimeout(timeout)` before connecting. */
  timeout?: number | undefined;
}

type ConnectionListener = (socket: Socket) => void;

/** What a thread brings along for its `net`. */
export interface NetThread {
  sys: NetSys;
  doorbell: Doorbell;
  /** The stack's own address: what `localhost` means. */
  address: string;
}

/** The `net` of one thread. */
export interface Net {
  createServer(options?: ServerOptions | ConnectionListener, listener?: ConnectionListener): Server;
  connect(options: NetConnectOptions, listener?: () => void): Socket;
  connect(port: number | string, listener?: () => void): Socket;
  connect(port: number | string, host: string, listener?: () => void): Socket;
  createConnection: Net['connect'];
  Server: new (
    options?: ServerOptions | ConnectionListener,
    listener?: ConnectionListener,
  ) => Server;
  Socket: new (options?: SocketOptions) => Socket;
  isIP: typeof isIP;
  isIPv4: typeof isIPv4;
  isIPv6: typeof isIPv6;
  /** Destroys every socket and server of the thread: with ENETDOWN (`died`) or without an error. */
  shutdown(died?: boolean): void;
}

const ENETDOWN = -100;

export function createNet(thread: NetThread): Net {
  const reactor = new Reactor(thread.sys, thread.doorbell, thread.address);

  class ThreadSocket extends Socket {
    constructor(options?: SocketOptions) {
      super(reactor, options);
    }
  }

  // A server hands out plain Sockets; they are sockets of this `net` all the same.
  Object.defineProperty(ThreadSocket, Symbol.hasInstance, {
    value: (value: unknown) => value instanceof Socket,
  });
  Object.defineProperty(ThreadSocket, 'name', { value: 'Socket' });

  class ThreadServer extends Server {
    constructor(options?: ServerOptions | ConnectionListener, listener?: ConnectionListener) {
      super(reactor, options, listener);
    }
  }
  Object.defineProperty(ThreadServer, 'name', { value: 'Server' });

  function connect(...args: unknown[]): Socket {
    const [options, callback] = normalizeArgs<NetConnectOptions, () => void>(args);
    const socket = new ThreadSocket(options);
    if (clientSocketChannel.hasSubscribers) clientSocketChannel.publish({ socket });
    if (options.timeout) socket.setTimeout(options.timeout);
    return callback ? socket.connect(options, callback) : socket.connect(options);
  }

  return {
    createServer: (options, listener) => new ThreadServer(options, listener),
    connect,
    createConnection: connect,
    Server: ThreadServer,
    Socket: ThreadSocket,
    isIP,
    isIPv4,
    isIPv6,
    shutdown: (died = false) => reactor.fail(died ? ENETDOWN : 0),
  };
}
