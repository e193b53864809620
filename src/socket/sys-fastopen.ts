/**
 * Writing before there is a connection (RFC 7413 4.2.1; Linux tcp.c: tcp_sendmsg_fastopen):
 * sendto() with MSG_FASTOPEN connects and writes in one call, so that the SYN can carry the first
 * bytes; with TCP_FASTOPEN_CONNECT the first write does. The stack says whether it has a cookie for
 * that; what goes on the wire is its business.
 */
import { EINPROGRESS, EINVAL, EOPNOTSUPP } from '../net/errno.js';
import { BLOCK_SNDTIMEO, BLOCK_STATE } from '../net/sockmem.js';
import type { SysContext } from './sys-context.js';
import type { SockaddrArgument } from './sys-table.js';
import { AF_UNSPEC, EPOLLOUT, MSG_DONTWAIT, TCP_SYN_SENT } from './uapi/constants.js';
import { fileMaySend } from './uapi/file-block.js';
import { OP_CONNECT, OP_PUBLISHED } from './uapi/layout.js';

/** Third word of OP_CONNECT: with text to come. */
const WITH_TEXT = 1;

/** Writes `buffer` from `offset` on: sys-io.ts's write. */
export type Write = (buffer: Uint8Array, offset: number, flags: number) => number;

/** Where it goes, in the context's `address` and `portNumber`. */
function target(context: SysContext, address: SockaddrArgument | undefined): number {
  if (address === undefined) return -EINVAL;
  return address.family === AF_UNSPEC ? -EOPNOTSUPP : context.parseAddress(address);
}

/**
 * @returns bytes queued; without O_NONBLOCK and MSG_DONTWAIT all of them, once the connection is
 *   there. -EINPROGRESS: the SYN went without text (it asks for a cookie); -EOPNOTSUPP: to
 *   AF_UNSPEC, or the client's side of net.ipv4.tcp_fastopen is off; otherwise what connect() and
 *   write() say
 */
export function sendFastopen(
  context: SysContext,
  fd: number,
  buffer: Uint8Array,
  flags: number,
  address: SockaddrArgument | undefined,
  write: Write,
): number {
  const status = target(context, address);
  if (status < 0) return status;
  const { port } = context;
  const { address: host, portNumber } = context;
  const waits = (flags & MSG_DONTWAIT) === 0 && !context.isNonblocking(fd);
  const begun = port.call(OP_CONNECT, fd, host, portNumber, WITH_TEXT);
  let done = 0;
  if (begun === 0) {
    // The SYN waits for what is written now.
    if (buffer.length > 0) done = write(buffer, 0, flags | MSG_DONTWAIT);
    if (done < 0) return done;
    launch(context, fd);
    if (!waits) return done > 0 ? done : -EINPROGRESS;
  } else if (begun !== -EINPROGRESS || !waits) {
    return begun;
  }
  return finishOpening(context, fd, buffer, done, flags, write);
}

/**
 * The SYN goes. Until the stack has taken its text the socket is writable because no SYN has left:
 * nobody must look at it, or write again, before that.
 */
function launch({ port }: SysContext, fd: number): void {
  port.call(OP_PUBLISHED, fd);
}

/** Does a write to `fd` make a SYN? */
export function opensByWriting({ mem }: SysContext, fd: number): boolean {
  const at = mem.blockAt(fd);
  return mem.ctl[at + BLOCK_STATE] === TCP_SYN_SENT && fileMaySend(mem, at, TCP_SYN_SENT);
}

/**
 * The first write with TCP_FASTOPEN_CONNECT.
 * @returns as sendFastopen
 */
export function writeOpening(
  context: SysContext,
  fd: number,
  buffer: Uint8Array,
  flags: number,
  write: Write,
): number {
  const done = write(buffer, 0, flags | MSG_DONTWAIT);
  if (done < 0) return done;
  launch(context, fd);
  if ((flags & MSG_DONTWAIT) !== 0 || context.isNonblocking(fd)) return done;
  return finishOpening(context, fd, buffer, done, flags, write);
}

/** `done` bytes of `buffer` are for the SYN: waits for its answer, then writes the others. */
function finishOpening(
  context: SysContext,
  fd: number,
  buffer: Uint8Array,
  done: number,
  flags: number,
  write: Write,
): number {
  const { port } = context;
  const ready = context.blocking.wait(fd, EPOLLOUT, context.endOf(fd, BLOCK_SNDTIMEO));
  if (ready === 0) return done > 0 ? done : -EINPROGRESS;
  const ended = ready < 0 ? ready : port.call(OP_CONNECT, fd);
  if (ended < 0) return ended;
  if (done === buffer.length) return done;
  const rest = write(buffer, done, flags);
  return rest < 0 && done === 0 ? rest : done + Math.max(0, rest);
}
