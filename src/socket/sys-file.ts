/**
 * System calls on memory files, and sending from them (Linux: memfd_create(2), ftruncate(2),
 * pread(2), pwrite(2), sendfile(2); mm/memfd.c, fs/read_write.c do_sendfile, fs/splice.c). A file
 * has one stretch of the arena, given when it gets its first size; there is no file position, so
 * sendfile() is told the offset and leaves it to the caller to add what it returns.
 */
import { EAGAIN, EBADF, EFAULT, EINVAL, ESPIPE } from '../net/errno.js';
import { BLOCK_SND, BLOCK_SNDTIMEO, KIND_MEMFD, KIND_TCP } from '../net/sockmem.js';
import type { SysContext } from './sys-context.js';
import { opensByWriting } from './sys-fastopen.js';
import { makeRoom, writeBytes } from './sys-io.js';
import { mayWait } from './sys-receive.js';
import type { Sys } from './sys-table.js';
import { MFD_CLOEXEC } from './uapi/constants.js';
import { fileKind } from './uapi/file-block.js';
import { NEED_EXTENTS, NEED_RING } from './uapi/file-write.js';
import { OP_ATTACH_SEND, OP_FTRUNCATE, OP_MEMFD_CREATE, OP_PUBLISHED } from './uapi/layout.js';
import {
  fileSend,
  memoryCapacity,
  memoryRead,
  memoryResize,
  memorySize,
  memoryView,
  memoryWrite,
} from './uapi/memory-file.js';

/** Longest name, bytes: NAME_MAX without the prefix "memfd:". */
const NAME_MOST = 249;
/** Most that one call moves (MAX_RW_COUNT). */
const COUNT_MOST = 0x7ffff000;

type FileCalls = 'memfd_create' | 'ftruncate' | 'pread' | 'pwrite' | 'sendfile';

export function createSysFile(context: SysContext): Pick<Sys, FileCalls> {
  const { mem, port } = context;
  return {
    memfd_create(name, flags) {
      if ((flags & ~MFD_CLOEXEC) !== 0) return -EINVAL;
      if (new TextEncoder().encode(name).length > NAME_MOST) return -EINVAL;
      return port.call(OP_MEMFD_CREATE, 0);
    },
    ftruncate(fd, length) {
      const status = badOffset(length) || mustBeFile(context, fd, EINVAL);
      if (status < 0) return status;
      if (length > memoryCapacity(mem, fd)) {
        const allocated = port.call(OP_FTRUNCATE, fd, Math.min(length, 0x7fffffff));
        if (allocated < 0) return allocated;
      }
      memoryResize(mem, fd, length);
      return 0;
    },
    pread(fd, buffer, offset) {
      const status = badOffset(offset) || mustBeFile(context, fd, ESPIPE) || badBuffer(buffer);
      return status || memoryRead(mem, fd, buffer, offset);
    },
    pwrite(fd, buffer, offset) {
      const status = badOffset(offset) || mustBeFile(context, fd, ESPIPE) || badBuffer(buffer);
      if (status < 0 || buffer.length === 0) return status;
      if (memoryCapacity(mem, fd) === 0) {
        const bytes = Math.min(offset + buffer.length, 0x7fffffff);
        const allocated = port.call(OP_FTRUNCATE, fd, bytes);
        if (allocated < 0) return allocated;
      }
      return memoryWrite(mem, fd, buffer, offset);
    },
    sendfile: (outFd, inFd, offset, count) => sendfile(context, outFd, inFd, offset, count),
  };
}

/** 0, -EBADF, or `-other` for what is no memory file. */
function mustBeFile(context: SysContext, fd: number, other: number): number {
  const kind = fileKind(context.mem, fd);
  if (kind < 0) return -EBADF;
  return kind === KIND_MEMFD ? 0 : -other;
}

/** Looked at before the descriptor, as by the kernel (sendfile() does so after it). */
function badOffset(offset: number): number {
  return Number.isSafeInteger(offset) && offset >= 0 ? 0 : -EINVAL;
}

function badBuffer(buffer: Uint8Array): number {
  return buffer instanceof Uint8Array ? 0 : -EFAULT;
}

/** Linux: do_sendfile, splice_direct_to_actor. */
function sendfile(
  context: SysContext,
  outFd: number,
  inFd: number,
  offset: number,
  count: number,
): number {
  const { mem } = context;
  const status = mustBeFile(context, inFd, ESPIPE) || badOffset(offset) || badOffset(count);
  if (status < 0) return status;
  const kind = fileKind(mem, outFd);
  if (kind !== KIND_TCP) return kind < 0 ? -EBADF : -EINVAL;
  const length = Math.min(count, COUNT_MOST, memorySize(mem, inFd) - offset);
  if (length <= 0) return 0;
  if (opensByWriting(context, outFd)) {
    return writeBytes(context, outFd, memoryView(mem, inFd, offset, length));
  }
  return sendConnected(context, outFd, inFd, offset, length);
}

/** As a write: waits for room, and for the connection. */
function sendConnected(
  context: SysContext,
  outFd: number,
  inFd: number,
  offset: number,
  length: number,
): number {
  const { mem, port } = context;
  let done = 0;
  let endMs = 0;
  let refers = true;
  for (;;) {
    const left = length - done;
    const count = fileSend(mem, outFd, port.holder, inFd, offset + done, left, refers);
    if (count > 0) {
      port.notify(OP_PUBLISHED, outFd, BLOCK_SND);
      done += count;
    }
    if (done === length) return done;
    const reason = count < 0 ? count : -EAGAIN;
    let again = 0;
    if (reason === NEED_RING || reason === NEED_EXTENTS) {
      refers = reason === NEED_RING;
      // Where there is no memory for a table, bytes are copied.
      again = port.call(OP_ATTACH_SEND, outFd, refers ? 0 : 1);
    } else {
      if (endMs === 0 && reason === -EAGAIN && mayWait(context, outFd, 0)) {
        endMs = context.endOf(outFd, BLOCK_SNDTIMEO);
      }
      again = makeRoom(context, outFd, reason, endMs);
    }
    if (again < 0) return done > 0 ? done : again;
  }
}
