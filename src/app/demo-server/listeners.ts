/**
 * Makes listening sockets in the order in which a server makes them: options before bind, bind,
 * listen.
 */
import { getSystemErrorMap } from 'node:util';
import {
  AF_INET,
  IPPROTO_TCP,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOCK_NONBLOCK,
  SOCK_STREAM,
  SOL_SOCKET,
  TCP_NODELAY,
} from '../../socket/uapi/constants.js';
import { FailedError } from '../command.js';
import type { ServerSys } from './protocol.js';

/** The listeners are bound to any address, as nginx's `listen 80`. */
const ANY_ADDRESS = 0;

/**
 * `count` listeners on `port`; with `reuseport` they form a group in this order.
 * @returns their descriptors. Throws FailedError with the call that was refused
 */
export function makeListeners(
  sys: ServerSys,
  port: number,
  backlog: number,
  count: number,
  reuseport: boolean,
): number[] {
  const fds: number[] = [];
  for (let i = 0; i < count; i++) {
    const fd = must(sys.socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), 'socket', port);
    must(sys.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1), 'setsockopt(SO_REUSEADDR)', port);
    if (reuseport) {
      must(sys.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1), 'setsockopt(SO_REUSEPORT)', port);
    }
    // Inherited by the accepted: one call here instead of one a connection.
    must(sys.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, 1), 'setsockopt(TCP_NODELAY)', port);
    fds.push(fd);
  }
  for (const fd of fds) must(sys.bind(fd, { address: ANY_ADDRESS, port }), 'bind', port);
  for (const fd of fds) must(sys.listen(fd, backlog), 'listen', port);
  return fds;
}

function must(result: number, call: string, port: number): number {
  if (result >= 0) return result;
  const [code = `errno ${-result}`, text = ''] = getSystemErrorMap().get(result) ?? [];
  throw new FailedError(
    `listening on port ${port}: ${call} failed: ${code} (${text})`,
    'another --port',
  );
}
