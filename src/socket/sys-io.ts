/**
 * System calls that move bytes: read, write and their relatives, on sockets and eventfds. In the
 * common case they touch shared memory only; the stack thread is told afterwards if it wants to
 * know, and asked beforehand only to give a send ring its memory.
 */
import { EAGAIN, EBADF, EFAULT, EINVAL, EIO, ENOTSOCK, EOPNOTSUPP } from '../net/errno.js';
import { KIND_EVENTFD, KIND_TCP } from '../net/sockmem.js';
import type { SysContext } from './sys-context.js';
import type { Sys } from './sys-table.js';
import {
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  MSG_DONTWAIT,
  MSG_NOSIGNAL,
  MSG_PEEK,
} from './uapi/constants.js';
import { eventCountDue, eventCountRead, eventCountWrite } from './uapi/event-count.js';
import {
  fileKind,
  filePublishedDue,
  fileRead,
  fileTakenDue,
  fileWrite,
  NEED_RING,
} from './uapi/file-ops.js';
import { OP_ATTACH_SEND, OP_CONSUMED, OP_NOTICE, OP_PUBLISHED } from './uapi/layout.js';

/** Most buffers of one readv or writev (UIO_MAXIOV). */
const IOV_MAX = 1024;

export type SysIo = Pick<Sys, 'read' | 'write' | 'readv' | 'writev' | 'sendto' | 'recvfrom'>;

export function createSysIo(context: SysContext): SysIo {
  return {
    read: (fd, buffer, offset = 0, length = buffer.length - offset) =>
      badRange(buffer, offset, length) || read(context, fd, buffer, offset, length, 0),
    write: (fd, buffer, offset = 0, length = buffer.length - offset) =>
      badRange(buffer, offset, length) || write(context, fd, buffer, offset, length, 0),
    readv: (fd, buffers) => readv(context, fd, buffers),
    writev: (fd, buffers) => writev(context, fd, buffers),
    recvfrom(fd, buffer, flags) {
      if ((flags & ~(MSG_PEEK | MSG_DONTWAIT | MSG_NOSIGNAL)) !== 0) return -EOPNOTSUPP;
      const status = mustBeSocket(context, fd) || badRange(buffer, 0, buffer.length);
      return status || read(context, fd, buffer, 0, buffer.length, flags);
    },
    sendto(fd, buffer, flags) {
      if ((flags & ~(MSG_DONTWAIT | MSG_NOSIGNAL)) !== 0) return -EOPNOTSUPP;
      const status = mustBeSocket(context, fd) || badRange(buffer, 0, buffer.length);
      return status || write(context, fd, buffer, 0, buffer.length, flags);
    },
  };
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

/** True when a call that found nothing to do should wait for it. */
function mayBlock(context: SysContext, fd: number, flags: number): boolean {
  return (flags & MSG_DONTWAIT) === 0 && !context.isNonblocking(fd);
}

function read(
  context: SysContext,
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
  flags: number,
): number {
  const { mem, port } = context;
  const kind = fileKind(mem, fd);
  if (kind === KIND_EVENTFD) return readCount(context, fd, buffer, offset, length);
  if (kind !== KIND_TCP) return kind < 0 ? -EBADF : -EINVAL;
  const peek = (flags & MSG_PEEK) !== 0;
  for (;;) {
    const count = fileRead(mem, fd, port.holder, buffer, offset, length, peek);
    if (count > 0 && !peek && fileTakenDue(mem, fd)) port.post(OP_CONSUMED, fd);
    if (count !== -EAGAIN) return count;
    if (!port.alive) return -EIO;
    if (!mayBlock(context, fd, flags)) return count;
    const status = context.blocking.wait(fd, EPOLLIN | EPOLLRDHUP);
    if (status < 0) return status;
  }
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
    if (count > 0 && eventCountDue(mem, fd)) port.post(OP_NOTICE, fd);
    if (count !== -EAGAIN || !mayBlock(context, fd, 0)) return count;
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
  const { mem, port } = context;
  const kind = fileKind(mem, fd);
  if (kind === KIND_EVENTFD) return writeCount(context, fd, buffer, offset, length);
  if (kind !== KIND_TCP) return kind < 0 ? -EBADF : -EINVAL;
  let done = 0;
  for (;;) {
    const count = fileWrite(mem, fd, port.holder, buffer, offset + done, length - done);
    if (count > 0) {
      if (filePublishedDue(mem, fd)) port.post(OP_PUBLISHED, fd);
      done += count;
    }
    if (done === length && count >= 0) return done;
    const status = makeRoom(context, fd, flags, count < 0 ? count : -EAGAIN);
    if (status < 0) return done > 0 ? done : status;
  }
}

/**
 * After a write that could not take everything for `reason`: ≥ 0 = try again, else what write says.
 */
function makeRoom(context: SysContext, fd: number, flags: number, reason: number): number {
  const { port } = context;
  if (reason === NEED_RING) return port.call(OP_ATTACH_SEND, fd);
  if (reason !== -EAGAIN) return reason;
  if (!port.alive) return -EIO;
  return mayBlock(context, fd, flags) ? context.blocking.wait(fd, EPOLLOUT) : reason;
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
    if (count > 0 && eventCountDue(mem, fd)) port.post(OP_NOTICE, fd);
    if (count !== -EAGAIN || !mayBlock(context, fd, 0)) return count;
    // Not EPOLLOUT: that only says that 1 can be added.
    const status = context.blocking.pause(fd);
    if (status < 0) return status;
  }
}

/** Fills the buffers in order; stops at the first that is not filled. Only the first may block. */
function readv(context: SysContext, fd: number, buffers: readonly Uint8Array[]): number {
  if (buffers.length > IOV_MAX) return -EINVAL;
  let done = 0;
  for (const buffer of buffers) {
    const status = badRange(buffer, 0, buffer.length);
    if (status < 0) return done > 0 ? done : status;
    if (buffer.length === 0) continue;
    const flags = done > 0 ? MSG_DONTWAIT : 0;
    const count = read(context, fd, buffer, 0, buffer.length, flags);
    if (count < 0) return done > 0 ? done : count;
    done += count;
    if (count < buffer.length) break;
  }
  return done;
}

function writev(context: SysContext, fd: number, buffers: readonly Uint8Array[]): number {
  if (buffers.length > IOV_MAX) return -EINVAL;
  let done = 0;
  for (const buffer of buffers) {
    const status = badRange(buffer, 0, buffer.length);
    if (status < 0) return done > 0 ? done : status;
    if (buffer.length === 0) continue;
    const count = write(context, fd, buffer, 0, buffer.length, 0);
    if (count < 0) return done > 0 ? done : count;
    done += count;
    if (count < buffer.length) break;
  }
  return done;
}
