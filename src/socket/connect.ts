/**
 * Setting up a connection of a `Socket`: checks the options, finds the address, binds, connects,
 * and tells the socket how it ended (Node's lib/net.js: lookupAndConnect, internalConnect,
 * afterConnect). IPv4 only: an IPv6 address is refused with EAFNOSUPPORT as a machine without IPv6
 * does it.
 */
import { lookup as dnsLookup } from 'node:dns';
import { isIP } from 'node:net';
import { validateFunction, validateNumber, validatePort } from './arguments.js';
import { badAddress, invalidArgType, SocketError } from './errors.js';
import type { TcpHandle } from './handle.js';
import type { Reactor } from './reactor.js';

const EAFNOSUPPORT = -97;
/** What Node binds when only a local port is given. */
const ANY_ADDRESS = '0.0.0.0';

/** `dns.lookup` or something of its shape. */
export type LookupFunction = (
  hostname: string,
  options: { family: number; hints: number },
  callback: (error: Error | null, address: string, family: number) => void,
) => void;

export interface ConnectOptions {
  port?: number | string | undefined;
  /** IPv4 address or name; absent or `localhost`: the stack's own address. */
  host?: string | undefined;
  localAddress?: string | undefined;
  localPort?: number | undefined;
  lookup?: LookupFunction | undefined;
  hints?: number | undefined;
  /** Refused: the stack has no pipes. */
  path?: unknown;
}

/** What connecting needs of a socket. */
interface Connecting {
  connecting: boolean;
  readonly destroyed: boolean;
  _handle: TcpHandle | null;
  _host: string | null;
  emit(event: string, ...args: unknown[]): boolean;
  destroy(error?: Error): unknown;
  _connected(): void;
}

/**
 * Begins; `socket.connecting` is true already. Throws for wrong options, everything else is an
 * 'error' event.
 */
export function startConnect(socket: Connecting, reactor: Reactor, options: ConnectOptions): void {
  const { localAddress, localPort } = options;
  const host = options.host || 'localhost';
  if (localAddress && !isIP(localAddress)) throw badAddress(localAddress);
  if (localPort) validateNumber(localPort, 'options.localPort');
  const { port: given } = options;
  if (typeof given !== 'number' && typeof given !== 'string') {
    throw invalidArgType('options.port', 'one of type number or string', given);
  }
  const port = validatePort(given, 'Port');
  if (typeof host !== 'string') throw invalidArgType('hostname', 'of type string', host);
  const known = host === 'localhost' && !options.lookup ? reactor.address : host;
  if (isIP(known)) {
    process.nextTick(() => {
      if (socket.connecting) internalConnect(socket, known, port, localAddress, localPort);
    });
    return;
  }
  if (options.lookup != null) validateFunction(options.lookup, 'options.lookup');
  socket._host = host;
  const lookup = options.lookup ?? (dnsLookup as LookupFunction);
  lookup(host, { family: 4, hints: options.hints ?? 0 }, (error, address, family) => {
    socket.emit('lookup', error, address, family, host);
    if (!socket.connecting) return;
    if (error) {
      // The listeners of a socket made by connect() are not there yet when a lookup fails at once.
      process.nextTick(() => socket.destroy(error));
    } else if (!isIP(address)) {
      process.nextTick(() => socket.destroy(badAddress(address)));
    } else {
      internalConnect(socket, address, port, localAddress, localPort);
    }
  });
}

function internalConnect(
  socket: Connecting,
  address: string,
  port: number,
  localAddress: string | undefined,
  localPort: number | undefined,
): void {
  const handle = socket._handle;
  if (!handle) return;
  if (localAddress || localPort) {
    const local = localAddress || ANY_ADDRESS;
    const status = isIP(local) === 4 ? handle.bind(local, localPort ?? 0) : EAFNOSUPPORT;
    if (status < 0) {
      socket.destroy(new SocketError(status, 'bind', { address: local, port: localPort }));
      return;
    }
  }
  socket.emit('connectionAttempt', address, port, isIP(address));
  const fail = (status: number, local: { localAddress?: string; localPort?: number }) => {
    const error = new SocketError(status, 'connect', { address, port, ...local });
    socket.emit('connectionAttemptFailed', address, port, isIP(address), error);
    socket.destroy(error);
  };
  const status =
    isIP(address) === 4
      ? handle.connect(address, port, (result) => {
          if (socket.destroyed) return;
          if (result === 0) socket._connected();
          else fail(result, localAddress && localPort ? { localAddress, localPort } : {});
        })
      : EAFNOSUPPORT;
  if (status < 0) fail(status, {});
}
