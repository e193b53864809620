/** sendto() and sendmsg() with MSG_FASTOPEN on the stack under test. */
import { EAGAIN, EINPROGRESS } from '../net/errno.js';
import type { PollFd } from '../socket/sys.js';
import {
  EPOLLERR,
  EPOLLHUP,
  EPOLLOUT,
  MSG_DONTWAIT,
  SO_ERROR,
  SOL_SOCKET,
} from '../socket/uapi/constants.js';
import { type Made, PENDING, simple } from './operation.js';
import type { SystemCalls } from './system-calls.js';

/**
 * Connecting and writing in one call. A blocking socket waits for the handshake and then writes
 * what the SYN did not carry.
 */
export function openingWrite(calls: SystemCalls, fd: number, length: number, flags: number): Made {
  const buffer = new Uint8Array(length);
  const waits = calls.blocks(fd) && (flags & MSG_DONTWAIT) === 0;
  let begun = false;
  let done = 0;
  return simple(() => {
    if (!begun) {
      begun = true;
      const result = calls.table.sendto(fd, buffer, flags, calls.told.connectTo);
      if (result >= 0 || result === -EINPROGRESS) calls.told.connecting(fd);
      if (!waits || (result < 0 && result !== -EINPROGRESS)) return result;
      done = Math.max(0, result);
    }
    const entry: PollFd = { fd, events: EPOLLOUT, revents: 0 };
    calls.table.poll([entry], 0);
    if ((entry.revents & (EPOLLOUT | EPOLLERR | EPOLLHUP)) === 0) return PENDING;
    const error = calls.table.getsockopt(fd, SOL_SOCKET, SO_ERROR);
    if (error !== 0) return -error;
    const rest = done < length ? calls.table.write(fd, buffer.subarray(done)) : 0;
    if (rest < 0 && rest !== -EAGAIN) return rest;
    done += Math.max(0, rest);
    return done < length ? PENDING : done;
  });
}
