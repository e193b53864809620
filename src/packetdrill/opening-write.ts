/** sendto() and sendmsg() with MSG_FASTOPEN on the stack under test. */
import { EAGAIN, EINPROGRESS } from '../net/errno.js';
import type { PollFd } from '../socket/sys.js';
import {
  AF_UNSPEC,
  EPOLLERR,
  EPOLLHUP,
  EPOLLOUT,
  MSG_DONTWAIT,
  SO_ERROR,
  SOL_SOCKET,
} from '../socket/uapi/constants.js';
import { type Made, PENDING, simple } from './operation.js';
import type { SystemCalls } from './system-calls.js';

/** How the handshake has ended: 0, -errno, or PENDING. */
export function handshakeEnd(calls: SystemCalls, fd: number): number {
  const entry: PollFd = { fd, events: EPOLLOUT, revents: 0 };
  calls.table.poll([entry], 0);
  if ((entry.revents & (EPOLLOUT | EPOLLERR | EPOLLHUP)) === 0) return PENDING;
  return -calls.table.getsockopt(fd, SOL_SOCKET, SO_ERROR);
}

/**
 * Connecting and writing in one call. A blocking socket waits for the handshake and then writes
 * what the SYN did not carry.
 * @param unspecified to AF_UNSPEC
 */
export function openingWrite(
  calls: SystemCalls,
  fd: number,
  length: number,
  flags: number,
  unspecified = false,
): Made {
  const buffer = new Uint8Array(length);
  const waits = calls.blocks(fd) && (flags & MSG_DONTWAIT) === 0;
  const to = unspecified ? { family: AF_UNSPEC, address: 0, port: 0 } : calls.told.connectTo;
  let begun = false;
  let done = 0;
  return simple(() => {
    if (!begun) {
      begun = true;
      const result = calls.table.sendto(fd, buffer, flags, to);
      if (result >= 0 || result === -EINPROGRESS) calls.told.connecting(fd, calls.told.connectTo);
      if (!waits || (result < 0 && result !== -EINPROGRESS)) return result;
      done = Math.max(0, result);
    }
    const ended = handshakeEnd(calls, fd);
    if (ended !== 0) return ended;
    const rest = done < length ? calls.table.write(fd, buffer.subarray(done)) : 0;
    if (rest < 0 && rest !== -EAGAIN) return rest;
    done += Math.max(0, rest);
    return done < length ? PENDING : done;
  });
}
