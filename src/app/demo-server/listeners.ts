/**
 * Makes listening sockets in the order in which a server makes them: options before bind, bind,
 * listen, and last the selector of the group: attached before, it would found a group of its own
 * that no second listener can join.
 */
import { getSystemErrorMap } from 'node:util';
import {
  AF_INET,
  IPPROTO_TCP,
  SO_ATTACH_REUSEPORT_SELECTOR,
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
 * @param selector of that group: a built-in's name, or the absolute path of a module
 * @returns their descriptors. Throws FailedError with the call that was refused
 */
export function makeListeners(
  sys: ServerSys,
  port: number,
  backlog: number,
  count: number,
  reuseport: boolean,
  selector = 'hash',
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
  if (selector !== 'hash' && fds.length > 0) attachSelector(sys, fds[0]!, selector);
  return fds;
}

/**
 * Gives the group of `fd` its selector, unless it had one before: a group keeps its selector as
 * long as it lives, and one that has failed stays detached.
 */
function attachSelector(sys: ServerSys, fd: number, selector: string): void {
  if (sys.getsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_SELECTOR) > 0) return;
  const result = sys.setsockopt(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_SELECTOR, selector);
  if (result >= 0) return;
  const [code = `errno ${-result}`] = getSystemErrorMap().get(result) ?? [];
  throw new FailedError(
    `--select ${selector}: the selector was refused (${code}); a line of its own says why`,
    'a module whose default export is a function (request) => index',
  );
}

function must(result: number, call: string, port: number): number {
  if (result >= 0) return result;
  const [code = `errno ${-result}`, text = ''] = getSystemErrorMap().get(result) ?? [];
  throw new FailedError(
    `listening on port ${port}: ${call} failed: ${code} (${text})`,
    'another --port',
  );
}
