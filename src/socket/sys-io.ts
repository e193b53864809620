/**
 * System calls that move bytes: read, write and their relatives, on sockets and eventfds. In the
 * common case they touch shared memory only; the stack thread is told afterwards if it wants to
 * know, and asked beforehand only to give a send ring its memory.
 */
import { EAGAIN, EBADF, EFAULT, EINVAL, EIO, ENOTSOCK } from '../net/errno.js';
import {
  BLOCK_SND,
  BLOCK_SND_FLAGS,
  BLOCK_SNDTIMEO,
  KIND_EVENTFD,
  KIND_TCP,
  SND_MORE,
} from '../net/sockmem.js';
import type { SysContext } from './sys-context.js';
import { opensByWriting, sendFastopen, type Write, writeOpening } from './sys-fastopen.js';
import {
  errorQueueStatus,
  mayWait,
  receive,
  receiveMessage,
  receiveVector,
} from './sys-receive.js';
import type { Message, SockaddrArgument, Sys } from './sys-table.js';
import { EPOLLIN, EPOLLOUT, MSG_FASTOPEN, MSG_MORE, MSG_OOB } from './uapi/constants.js';
import { eventCountDue, eventCountRead, eventCountWrite } from './uapi/event-count.js';
import { fileKind } from './uapi/file-block.js';
import { fileWrite, NEED_RING } from './uapi/file-write.js';
import { OP_ATTACH_SEND, OP_NOTICE, OP_PUBLISHED } from './uapi/layout.js';

/** Most buffers of one call (UIO_MAXIOV). */
const IOV_MAX = 1024;

type IoCalls =
  | 'read'
  | 'write'
  | 'readv'
  | 'writev'
  | 'sendto'
  | 'recvfrom'
  | 'sendmsg'
  | 'recvmsg';

export type SysIo = Pick<Sys, IoCalls>;

export function createSysIo(context: SysContext): SysIo {
  return {
    read: (fd, buffer, offset = 0, length = buffer.length - offset) =>
      badRange(buffer, offset, length) || read(context, fd, buffer, offset, length),
    write: (fd, buffer, offset = 0, length = buffer.length - offset) =>
      badRange(buffer, offset, length) || write(context, fd, buffer, offset, length, 0),
    readv: (fd, buffers) => readv(context, fd, buffers),
    writev: (fd, buffers) => badVector(buffers) || writeVector(context, fd, sound(buffers), 0),
    recvfrom(fd, buffer, flags) {
      const status = mustBeSocket(context, fd) || badRange(buffer, 0, 0) || errorQueueStatus(flags);
      return status || receive(context, fd, buffer, 0, buffer.length, flags);
    },
    sendto(fd, buffer, flags, address) {
      const status = mustBeSocket(context, fd) || badRange(buffer, 0, 0);
      if (status < 0) return status;
      if ((flags & MSG_FASTOPEN) !== 0) return fastopen(context, fd, buffer, flags, address);
      return write(context, fd, buffer, 0, buffer.length, flags);
    },
    recvmsg(fd, message, flags) {
      const status = mustBeSocket(context, fd) || badVector(message.iov) || errorQueueStatus(flags);
      if (status < 0) return status;
      return receiveMessage(context, fd, message, sound(message.iov), flags);
    },
    sendmsg: (fd, message, flags) => sendMessage(context, fd, message, flags),
  };
}

function fastopen(
  context: SysContext,
  fd: number,
  buffer: Uint8Array,
  flags: number,
  address: SockaddrArgument | undefined,
): number {
  return sendFastopen(context, fd, buffer, flags, address, toConnected(context, fd));
}

/** Writes to `fd` for sys-fastopen.ts. */
function toConnected(context: SysContext, fd: number): Write {
  return (from, offset, how) =>
    writeConnected(context, fd, from, offset, from.length - offset, how);
}

/** Linux: ___sys_sendmsg. No control message means anything to a sender here. */
function sendMessage(context: SysContext, fd: number, message: Message, flags: number): number {
  const status = mustBeSocket(context, fd) || badVector(message.iov);
  if (status < 0) return status;
  if (message.control !== undefined && message.control.length > 0) return -EINVAL;
  if ((flags & MSG_FASTOPEN) === 0) return writeVector(context, fd, sound(message.iov), flags);
  return fastopen(context, fd, gathered(sound(message.iov)), flags, message.name);
}

function gathered(buffers: readonly Uint8Array[]): Uint8Array {
  const whole = new Uint8Array(buffers.reduce((sum, buffer) => sum + buffer.length, 0));
  let at = 0;
  for (const buffer of buffers) {
    whole.set(buffer, at);
    at += buffer.length;
  }
  return whole;
}

/** 0 when [offset, offset + length) lies inside `buffer`, else -EFAULT. */
function badRange(buffer: Uint8Array, offset: number, length: number): number {
  const inside =
    buffer instanceof Uint8Array && offset >= 0 && length >= 0 && offset + length <= buffer.length;
  return inside ? 0 : -EFAULT;
}

function mustBeSocket(context: SysContext, fd: number): number {
  const kind = fileKind(context.mem, fd);
  if (kind < 0) return kind;
  return kind === KIND_TCP ? 0 : -ENOTSOCK;
}

/** 0, -EINVAL for too many buffers, or -EFAULT when the first is none. */
function badVector(buffers: readonly Uint8Array[]): number {
  if (buffers.length > IOV_MAX) return -EINVAL;
  return buffers.length > 0 && !(buffers[0] instanceof Uint8Array) ? -EFAULT : 0;
}

/** The buffers before the first that is none: what is behind that is not reached. */
function sound(buffers: readonly Uint8Array[]): readonly Uint8Array[] {
  const bad = buffers.findIndex((buffer) => !(buffer instanceof Uint8Array));
  return bad < 0 ? buffers : buffers.slice(0, bad);
}

function read(
  context: SysContext,
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
): number {
  const kind = fileKind(context.mem, fd);
  if (kind === KIND_TCP) return length === 0 ? 0 : receive(context, fd, buffer, offset, length, 0);
  if (kind === KIND_EVENTFD) return readCount(context, fd, buffer, offset, length);
  return kind < 0 ? -EBADF : -EINVAL;
}

function readCount(
  context: SysContext,
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
): number {
  const { mem, port } = context;
  for (;;) {
    const count = eventCountRead(mem, fd, buffer, offset, length);
    if (count > 0 && eventCountDue(mem, fd)) port.notify(OP_NOTICE, fd, BLOCK_SND);
    if (count !== -EAGAIN || !mayWait(context, fd, 0)) return count;
    const status = context.blocking.wait(fd, EPOLLIN);
    if (status < 0) return status;
  }
}

function write(
  context: SysContext,
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
  flags: number,
): number {
  const kind = fileKind(context.mem, fd);
  if (kind === KIND_EVENTFD) return writeCount(context, fd, buffer, offset, length);
  if (kind !== KIND_TCP) return kind < 0 ? -EBADF : -EINVAL;
  if (length > 0 && opensByWriting(context, fd)) {
    const whole = buffer.subarray(offset, offset + length);
    return writeOpening(context, fd, whole, flags, toConnected(context, fd));
  }
  return writeConnected(context, fd, buffer, offset, length, flags);
}

/** Linux: tcp_sendmsg_locked. Waits for room, and for the connection. */
function writeConnected(
  context: SysContext,
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
  flags: number,
): number {
  const { mem, port } = context;
  let done = 0;
  let endMs = 0;
  for (;;) {
    const count = fileWrite(mem, fd, port.holder, buffer, offset + done, length - done, flags);
    if (count > 0) {
      port.notify(OP_PUBLISHED, fd, BLOCK_SND);
      done += count;
    }
    if (done === length && count >= 0) return done;
    const reason = count < 0 ? count : -EAGAIN;
    if (endMs === 0 && reason === -EAGAIN && mayWait(context, fd, flags)) {
      endMs = context.endOf(fd, BLOCK_SNDTIMEO);
    }
    const status = makeRoom(context, fd, reason, endMs);
    if (status < 0) return done > 0 ? done : status;
  }
}

/**
 * After a write that could not take everything for `reason`: ≥ 0 = try again, else what write says.
 * @param endMs when to stop waiting, 0 = does not wait
 */
export function makeRoom(context: SysContext, fd: number, reason: number, endMs: number): number {
  const { port } = context;
  if (reason === NEED_RING) return port.call(OP_ATTACH_SEND, fd);
  if (reason !== -EAGAIN) return reason;
  if (!port.alive) return -EIO;
  if (endMs === 0) return reason;
  return context.blocking.wait(fd, EPOLLOUT, endMs) || -EAGAIN;
}

/** write() of a whole buffer to a socket. */
export function writeBytes(context: SysContext, fd: number, buffer: Uint8Array): number {
  return write(context, fd, buffer, 0, buffer.length, 0);
}

function writeCount(
  context: SysContext,
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
): number {
  const { mem, port } = context;
  for (;;) {
    const count = eventCountWrite(mem, fd, buffer, offset, length);
    if (count > 0 && eventCountDue(mem, fd)) port.notify(OP_NOTICE, fd, BLOCK_SND);
    if (count !== -EAGAIN || !mayWait(context, fd, 0)) return count;
    // Not EPOLLOUT: that only says that 1 can be added.
    const status = context.blocking.pause(fd);
    if (status < 0) return status;
  }
}

/** Linux: do_readv. */
function readv(context: SysContext, fd: number, buffers: readonly Uint8Array[]): number {
  const status = badVector(buffers);
  if (status < 0) return status;
  const kind = fileKind(context.mem, fd);
  if (kind < 0) return -EBADF;
  const whole = sound(buffers);
  const first = whole.find((buffer) => buffer.length > 0);
  if (first === undefined) return 0;
  if (kind !== KIND_TCP) return read(context, fd, first, 0, first.length);
  return receiveVector(context, fd, whole, 0);
}

/**
 * Writes the buffers in order. They are one write: what does not fill a segment waits for the rest,
 * and an urgent mark is at the end of all of them.
 */
function writeVector(
  context: SysContext,
  fd: number,
  buffers: readonly Uint8Array[],
  flags: number,
): number {
  const last = buffers.findLastIndex((buffer) => buffer.length > 0);
  if (last < 0) return write(context, fd, NOTHING, 0, 0, flags);
  // One SYN takes of all of them.
  if (last > 0 && opensByWriting(context, fd)) {
    return writeOpening(context, fd, gathered(buffers), flags, toConnected(context, fd));
  }
  let done = 0;
  for (let i = 0; i <= last; i++) {
    const buffer = buffers[i]!;
    if (buffer.length === 0) continue;
    const how = i < last ? (flags & ~MSG_OOB) | MSG_MORE : flags;
    const count = write(context, fd, buffer, 0, buffer.length, how);
    if (count === buffer.length) {
      done += count;
      continue;
    }
    if (done === 0 || count > 0) done += count;
    if (i < last && (flags & MSG_MORE) === 0) noMore(context, fd);
    break;
  }
  return done;
}

const NOTHING = new Uint8Array(0);

/** A vector came to an early end: what is there need not wait for more. */
function noMore(context: SysContext, fd: number): void {
  const { mem, port } = context;
  const was = Atomics.and(mem.ctl, mem.blockAt(fd) + BLOCK_SND_FLAGS, ~SND_MORE);
  if ((was & SND_MORE) !== 0) port.notify(OP_PUBLISHED, fd, BLOCK_SND);
}
