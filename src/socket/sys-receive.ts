/**
 * System calls that read a socket (Linux tcp.c: tcp_recvmsg, tcp_recv_urg): how much one call is
 * content with (SO_RCVLOWAT, MSG_WAITALL), how long it waits (SO_RCVTIMEO), and what ends it early:
 * the urgent mark, an error, the end of the stream. Copying is uapi/file-read.ts.
 */
import { EAGAIN, EIO } from '../net/errno.js';
import { BLOCK_OPTIONS, BLOCK_RCV, BLOCK_RCVTIMEO, FILE_INQ } from '../net/sockmem.js';
import type { SysContext } from './sys-context.js';
import type { Message } from './sys-table.js';
import {
  EPOLLIN,
  EPOLLRDHUP,
  MSG_CTRUNC,
  MSG_DONTWAIT,
  MSG_ERRQUEUE,
  MSG_OOB,
  MSG_PEEK,
  MSG_TRUNC,
  MSG_WAITALL,
  SOL_TCP,
  TCP_CM_INQ,
} from './uapi/constants.js';
import {
  fileInqHint,
  fileLowat,
  filePassedOver,
  filePeekOffset,
  fileRead,
  fileReadStops,
  fileReadUrgent,
  fileTakenDue,
  movePeekOffset,
} from './uapi/file-read.js';
import { OP_CONSUMED } from './uapi/layout.js';

/**
 * MSG_ERRQUEUE reads another queue, in which nothing ever is (IP_RECVERR is refused). Flags that
 * mean nothing to TCP are passed over, as in Linux.
 */
export function errorQueueStatus(flags: number): number {
  return (flags & MSG_ERRQUEUE) === 0 ? 0 : -EAGAIN;
}

/** Bytes to buffer[offset, offset + length); 0 = end of stream, or -errno. */
export function receive(
  context: SysContext,
  fd: number,
  buffer: Uint8Array,
  offset: number,
  length: number,
  flags: number,
): number {
  if ((flags & MSG_OOB) !== 0) return receiveUrgent(context, fd, buffer, length, flags);
  const peek = (flags & MSG_PEEK) !== 0;
  const target = (flags & MSG_TRUNC) !== 0 ? null : buffer;
  context.waitEndMs = 0;
  let done = 0;
  // Of a look: bytes of the stream that have been seen, or passed over (SO_PEEK_OFF).
  let ahead = peek ? Math.max(0, filePeekOffset(context.mem, fd)) : 0;
  for (;;) {
    const over = peek && done === 0 ? filePassedOver(context.mem, fd) : 0;
    const count = take(context, fd, target, offset + done, length - done, peek, ahead);
    if (count > 0) done += count;
    if (peek && count > 0) ahead += over + count;
    if (count !== -EAGAIN && (count <= 0 || done >= contentWith(context, fd, length, flags))) {
      return done > 0 ? done : count;
    }
    const status = awaitMore(context, fd, flags, ahead, done);
    if (status < 0) return done > 0 ? done : status;
  }
}

/** fileRead, and word to the stack when it wants to hear of it. */
function take(
  context: SysContext,
  fd: number,
  target: Uint8Array | null,
  offset: number,
  length: number,
  peek: boolean,
  ahead: number,
): number {
  const { mem, port } = context;
  const count = fileRead(mem, fd, port.holder, target, offset, length, peek, ahead);
  if (count <= 0) return count;
  movePeekOffset(mem, fd, peek ? count : -count);
  if (!peek && fileTakenDue(mem, fd)) port.notify(OP_CONSUMED, fd, BLOCK_RCV);
  return count;
}

/** Bytes that end the call (Linux: sock_rcvlowat). */
function contentWith(context: SysContext, fd: number, length: number, flags: number): number {
  return (flags & MSG_WAITALL) !== 0 ? length : Math.min(fileLowat(context.mem, fd), length);
}

/** May a call that found nothing to do wait for it? */
export function mayWait(context: SysContext, fd: number, flags: number): boolean {
  return (flags & MSG_DONTWAIT) === 0 && !context.isNonblocking(fd);
}

/**
 * Waits for more than the `done` bytes that there are, if the call may, nothing ends it early, and
 * until SO_RCVTIMEO is over: 1 = look again, or -errno.
 */
function awaitMore(
  context: SysContext,
  fd: number,
  flags: number,
  ahead: number,
  done: number,
): number {
  const { blocking, mem, port } = context;
  if (!port.alive) return -EIO;
  if (!mayWait(context, fd, flags) || (done > 0 && fileReadStops(mem, fd, ahead))) return -EAGAIN;
  if (context.waitEndMs === 0) context.waitEndMs = context.endOf(fd, BLOCK_RCVTIMEO);
  const endMs = context.waitEndMs;
  // Bytes that were only looked at are there still: what is waited for is news.
  const status =
    ahead > 0 ? blocking.pause(fd, endMs) : blocking.wait(fd, EPOLLIN | EPOLLRDHUP, endMs);
  if (status < 0) return status;
  return status === 0 || (done > 0 && fileReadStops(mem, fd, ahead)) ? -EAGAIN : 1;
}

/** Never waits. The byte is taken even when there is no room for it, as in Linux. */
function receiveUrgent(
  context: SysContext,
  fd: number,
  buffer: Uint8Array,
  length: number,
  flags: number,
): number {
  const byte = fileReadUrgent(context.mem, fd, (flags & MSG_PEEK) !== 0);
  if (byte <= 0 || length === 0) return Math.min(byte, 0);
  if ((flags & MSG_TRUNC) === 0) buffer[0] = byte & 0xff;
  return 1;
}

/**
 * Fills the buffers in order. What one call is content with counts for all of them together.
 * Neither MSG_OOB nor MSG_TRUNC.
 */
export function receiveVector(
  context: SysContext,
  fd: number,
  buffers: readonly Uint8Array[],
  flags: number,
): number {
  const total = bytesOf(buffers);
  const waits = mayWait(context, fd, flags) && contentWith(context, fd, total, flags) > 1;
  if (!waits && (flags & MSG_PEEK) === 0) return receiveEach(context, fd, buffers, flags);
  // A buffer for all of them, dealt out afterwards: looks and waits then are those of one call.
  const whole = new Uint8Array(total);
  const count = receive(context, fd, whole, 0, total, flags);
  scatter(whole, count, buffers);
  return count;
}

/** Only the first buffer may wait; stops at the first that is not filled. */
function receiveEach(
  context: SysContext,
  fd: number,
  buffers: readonly Uint8Array[],
  flags: number,
): number {
  let done = 0;
  for (const buffer of buffers) {
    if (buffer.length === 0) continue;
    if (done > 0 && fileReadStops(context.mem, fd)) break;
    const how = done > 0 ? flags | MSG_DONTWAIT : flags;
    const count = receive(context, fd, buffer, 0, buffer.length, how);
    if (count < 0) return done > 0 ? done : count;
    done += count;
    if (count < buffer.length) break;
  }
  return done;
}

function scatter(whole: Uint8Array, count: number, buffers: readonly Uint8Array[]): void {
  let at = 0;
  for (const buffer of buffers) {
    const size = Math.min(buffer.length, count - at);
    if (size <= 0) continue;
    buffer.set(whole.subarray(at, at + size));
    at += size;
  }
}

function bytesOf(buffers: readonly Uint8Array[]): number {
  return buffers.reduce((sum, buffer) => sum + buffer.length, 0);
}

/** recvmsg: the bytes go to `iov`; message.flags and message.control tell the rest. */
export function receiveMessage(
  context: SysContext,
  fd: number,
  message: Message,
  iov: readonly Uint8Array[],
  flags: number,
): number {
  const { mem } = context;
  const { control } = message;
  message.flags = 0;
  if (control !== undefined) control.length = 0;
  let count = 0;
  if ((flags & MSG_OOB) !== 0) count = receiveUrgentMessage(context, fd, message, iov, flags);
  else if ((flags & MSG_TRUNC) !== 0) count = receive(context, fd, NOTHING, 0, bytesOf(iov), flags);
  else if (bytesOf(iov) === 0) count = receive(context, fd, NOTHING, 0, 0, flags);
  else count = receiveVector(context, fd, iov, flags);
  if (count < 0) return count;
  if ((Atomics.load(mem.ctl, mem.blockAt(fd) + BLOCK_OPTIONS) & FILE_INQ) !== 0) {
    const inq = { level: SOL_TCP, type: TCP_CM_INQ, data: fileInqHint(mem, fd) };
    if (control === undefined) message.flags |= MSG_CTRUNC;
    else control.push(inq);
  }
  return count;
}

const NOTHING = new Uint8Array(0);

function receiveUrgentMessage(
  context: SysContext,
  fd: number,
  message: Message,
  iov: readonly Uint8Array[],
  flags: number,
): number {
  const byte = fileReadUrgent(context.mem, fd, (flags & MSG_PEEK) !== 0);
  if (byte <= 0) return byte;
  message.flags = MSG_OOB;
  const first = iov.find((buffer) => buffer.length > 0);
  if (first === undefined) {
    message.flags |= MSG_TRUNC;
    return 0;
  }
  if ((flags & MSG_TRUNC) === 0) first[0] = byte & 0xff;
  return 1;
}
