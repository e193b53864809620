/**
 * Adapters between the stack and programs written for Node's kernel sockets: an unmodified
 * `http.Server` (and with it express, fastify, koa, ws) serves connections of the stack, and http,
 * https and undici clients connect over it. They only hand sockets over; HTTP and TLS are Node's.
 */
import http from 'node:http';
import https from 'node:https';
import type { Server as NodeServer } from 'node:net';
import type { Duplex } from 'node:stream';
import tls, { type ConnectionOptions } from 'node:tls';
import { codedError } from './errors.js';
import type { Net, NetConnectOptions } from './net.js';
import type { Server } from './server.js';
import type { Socket } from './socket.js';
import type { AddressInfo } from './tcp-base.js';

/** Fields of Node's servers that are not in its types. */
interface NodeServerInternals {
  _handle: object | null;
  _connections: number;
  _emitCloseIfDrained(): void;
  noDelay?: boolean;
  keepAlive?: boolean;
  keepAliveInitialDelay?: number;
}

/**
 * Lets `httpServer` (http, https or any server of Node with a 'connection' event) serve what
 * `stackServer` accepts. It need not listen itself: from then on its `listening`, `address()`,
 * `close(callback)`, time-outs and 'listening', 'close' and 'error' events are those of the stack's
 * listener. Closing the http server closes the stack's.
 * @returns httpServer
 */
export function serve<S extends NodeServer>(httpServer: S, stackServer: Server): S {
  const node = httpServer as unknown as NodeServerInternals;
  stackServer.allowHalfOpen = true;
  stackServer.noDelay ||= node.noDelay === true;
  if (node.keepAlive) {
    stackServer.keepAlive = true;
    stackServer.keepAliveInitialDelay = node.keepAliveInitialDelay ?? 0;
  }
  stackServer.on('connection', (socket: Socket) => {
    node._connections++;
    socket.once('close', () => {
      node._connections--;
      node._emitCloseIfDrained();
    });
    httpServer.emit('connection', socket);
  });
  stackServer.on('error', (error: Error) => httpServer.emit('error', error));
  // Without a 'listening' event of its own an http.Server never starts the clock of its time-outs.
  const onListening = () => {
    if (!httpServer.listening) {
      node._handle = new StackListener(stackServer);
      httpServer.emit('listening');
    }
  };
  if (stackServer.listening) onListening();
  else stackServer.once('listening', onListening);
  stackServer.once('close', () => {
    if (node._handle instanceof StackListener) httpServer.close();
  });
  return httpServer;
}

/** What Node's server believes to be its handle. */
class StackListener {
  private readonly server: Server;

  constructor(server: Server) {
    this.server = server;
  }

  close(): void {
    if (this.server.listening) this.server.close();
  }

  ref(): void {
    this.server.ref();
  }

  unref(): void {
    this.server.unref();
  }

  getsockname(out: Partial<AddressInfo>): number {
    Object.assign(out, this.server.address());
    return 0;
  }
}

type CreateCallback = (error: Error | null, stream: Duplex) => void;

/** `http.Agent` whose connections go over the stack: `http.get(url, { agent: new Agent(net) })`. */
export class Agent extends http.Agent {
  readonly #net: Net;

  constructor(net: Net, options?: http.AgentOptions) {
    super(options);
    this.#net = net;
  }

  override createConnection(options: http.ClientRequestArgs, _callback?: CreateCallback): Duplex {
    return this.#net.connect(options as NetConnectOptions);
  }
}

/** The same for https: TLS is Node's, over a connection of the stack. */
export class HttpsAgent extends https.Agent {
  readonly #net: Net;

  constructor(net: Net, options?: https.AgentOptions) {
    super(options);
    this.#net = net;
  }

  override createConnection(
    options: https.RequestOptions,
    callback?: CreateCallback,
  ): Duplex | null | undefined {
    const socket = this.#net.connect(options as NetConnectOptions);
    return super.createConnection({ ...options, socket } as https.RequestOptions, callback);
  }
}

/** What undici passes to a connector. */
export interface UndiciConnectOptions {
  hostname: string;
  host?: string | undefined;
  protocol: string;
  port: string | number;
  servername?: string | null | undefined;
  localAddress?: string | null | undefined;
  /** A connection to go over, for TLS through a proxy. */
  httpSocket?: Duplex | undefined;
}

export type UndiciCallback = (error: Error | null, socket: Duplex | null) => void;
export type UndiciConnector = (options: UndiciConnectOptions, callback: UndiciCallback) => void;

/**
 * TLS options of undiciConnector, and how long a connection may take, ms (0 = no limit, default
 * 10,000).
 */
export interface UndiciConnectorOptions extends ConnectionOptions {
  connectTimeoutMs?: number;
}

/**
 * For undici: `new Agent({ connect: undiciConnector(net) })`, which also serves `fetch(url, {
 * dispatcher })`.
 */
export function undiciConnector(net: Net, options: UndiciConnectorOptions = {}): UndiciConnector {
  const { connectTimeoutMs = 10_000, ...tlsOptions } = options;
  return (target, callback) => {
    const secure = target.protocol === 'https:';
    const raw = target.httpSocket ?? connectTo(net, target, secure);
    const socket = secure ? secureSocket(raw, target, tlsOptions) : raw;
    (socket as Socket).setNoDelay?.(true);
    let timer: NodeJS.Timeout | undefined;
    const settle = (error: Error | null) => {
      clearTimeout(timer);
      socket.off(event, onConnect);
      socket.off('error', settle);
      callback(error, error ? null : socket);
    };
    const onConnect = () => settle(null);
    const event = secure ? 'secureConnect' : 'connect';
    socket.once(event, onConnect).once('error', settle);
    if (connectTimeoutMs > 0) {
      timer = setTimeout(() => {
        const where = `${target.hostname}:${portOf(target, secure)}`;
        const detail = `(attempted address: ${where}, timeout: ${connectTimeoutMs}ms)`;
        socket.destroy(
          codedError(Error, 'UND_ERR_CONNECT_TIMEOUT', `Connect Timeout Error ${detail}`),
        );
      }, connectTimeoutMs);
    }
  };
}

function portOf(target: UndiciConnectOptions, secure: boolean): number {
  return Number(target.port) || (secure ? 443 : 80);
}

function connectTo(net: Net, target: UndiciConnectOptions, secure: boolean): Socket {
  return net.connect({
    host: target.hostname,
    port: portOf(target, secure),
    localAddress: target.localAddress ?? undefined,
    keepAlive: true,
    keepAliveInitialDelay: 60_000,
  });
}

function secureSocket(
  raw: Duplex,
  target: UndiciConnectOptions,
  options: ConnectionOptions,
): tls.TLSSocket {
  const servername = target.servername || options.servername || target.hostname;
  return tls.connect({ ALPNProtocols: ['http/1.1'], ...options, servername, socket: raw });
}
