/**
 * Memory files straight on the shared memory: their size and contents (Linux: mm/shmem.c), and
 * sending from one (Linux: fs/splice.c splice_to_socket, tcp_sendmsg_locked with
 * MSG_SPLICE_PAGES): the bytes are not copied into the send ring, but its stream refers to them.
 * What changes a file's memory is net/memory-files.ts; waiting is sys-file.ts.
 */
import { EAGAIN, EBADF, ENOSPC, ENOTSOCK, EPIPE } from '../../net/errno.js';
import { RING_CAPACITY, RING_PAGE, RING_TAIL, ringPlace, ringUnlock } from '../../net/ring.js';
import { extentAdd, extentExtend, extentsCut } from '../../net/ring-extents.js';
import {
  BLOCK_EXTENTS,
  BLOCK_GEN,
  BLOCK_SND,
  KIND_MEMFD,
  KIND_TCP,
  PAGE_BYTES,
  type SocketMemory,
} from '../../net/sockmem.js';
import { MSG_MORE } from './constants.js';
import { fileKind, fileLock, fileShut } from './file-block.js';
import {
  armWriter,
  NEED_EXTENTS,
  NEED_RING,
  publishWrite,
  writeRefusal,
  writeRoom,
} from './file-write.js';

/**
 * What is shorter is copied into the ring: that costs less than to refer to it, and bounds how many
 * places a packet's bytes come from (FRAGMENTS_MOST of net/skb.ts).
 */
export const REFER_BYTES: number = 16 << 10;

/** Bytes of the memory file `fd`. */
export function memorySize(mem: SocketMemory, fd: number): number {
  return Atomics.load(mem.ctl, mem.blockAt(fd) + BLOCK_SND + RING_TAIL);
}

/** Bytes that it has memory for. */
export function memoryCapacity(mem: SocketMemory, fd: number): number {
  return Atomics.load(mem.ctl, mem.blockAt(fd) + BLOCK_SND + RING_CAPACITY);
}

/** Arena offset of its contents. */
function contentsAt(mem: SocketMemory, fd: number): number {
  return Atomics.load(mem.ctl, mem.blockAt(fd) + BLOCK_SND + RING_PAGE) * PAGE_BYTES;
}

/** Gives it another size, for which it has memory; what is new reads as zeros. */
export function memoryResize(mem: SocketMemory, fd: number, bytes: number): void {
  const had = memorySize(mem, fd);
  const base = contentsAt(mem, fd);
  if (bytes > had) mem.bytes.fill(0, base + had, base + bytes);
  Atomics.store(mem.ctl, mem.blockAt(fd) + BLOCK_SND + RING_TAIL, bytes);
}

/** Copies bytes from `offset` on to `target`: how many there were. */
export function memoryRead(
  mem: SocketMemory,
  fd: number,
  target: Uint8Array,
  offset: number,
): number {
  const count = Math.max(0, Math.min(target.length, memorySize(mem, fd) - offset));
  const from = contentsAt(mem, fd) + offset;
  if (count > 0) target.set(mem.bytes.subarray(from, from + count));
  return count;
}

/** The file's bytes [offset, offset + count), as they lie. */
export function memoryView(
  mem: SocketMemory,
  fd: number,
  offset: number,
  count: number,
): Uint8Array {
  const from = contentsAt(mem, fd) + offset;
  return mem.bytes.subarray(from, from + count);
}

/** Writes `source` at `offset`, as far as there is memory: bytes written, or -ENOSPC. */
export function memoryWrite(
  mem: SocketMemory,
  fd: number,
  source: Uint8Array,
  offset: number,
): number {
  if (source.length === 0) return 0;
  const count = Math.min(source.length, memoryCapacity(mem, fd) - offset);
  if (count <= 0) return -ENOSPC;
  if (offset + count > memorySize(mem, fd)) memoryResize(mem, fd, offset + count);
  mem.bytes.set(source.subarray(0, count), contentsAt(mem, fd) + offset);
  return count;
}

/**
 * Queues up to `count` bytes of the memory file `file`, from `offset` on, to be sent; they must be
 * in the file. When not all fit, the ring is armed as by fileWrite.
 * @param refers false: they are copied (the arena has no memory for a table)
 * @returns bytes queued, NEED_EXTENTS, or what fileWrite says
 */
export function fileSend(
  mem: SocketMemory,
  fd: number,
  holder: number,
  file: number,
  offset: number,
  count: number,
  refers: boolean,
): number {
  const kind = fileKind(mem, fd);
  if (kind !== KIND_TCP) return kind < 0 ? kind : -ENOTSOCK;
  const at = mem.blockAt(fd);
  const refusal = writeRefusal(mem, at);
  if (refusal !== 0) return refusal;
  const gen = mem.ctl[at + BLOCK_GEN]!;
  const ring = at + BLOCK_SND;
  let done = 0;
  while (done < count) {
    if (!fileLock(mem.ctl, ring, holder)) break;
    let taken = 0;
    if (mem.ctl[at + BLOCK_GEN] !== gen) taken = -EBADF;
    else if ((fileShut(mem, at) & 2) !== 0) taken = -EPIPE;
    else taken = queueBytes(mem, at, file, offset + done, count - done, refers);
    ringUnlock(mem.ctl, ring);
    if (taken < 0) return done > 0 ? done : taken;
    done += taken;
    if (done < count && !armWriter(mem, at)) break;
  }
  return done > 0 ? done : -EAGAIN;
}

/** With the ring locked: bytes queued, 0 = there is no room. */
function queueBytes(
  mem: SocketMemory,
  at: number,
  file: number,
  offset: number,
  length: number,
  refers: boolean,
): number {
  const { ctl } = mem;
  const ring = at + BLOCK_SND;
  if (ctl[ring + RING_PAGE] === 0) return NEED_RING;
  const table = ctl[at + BLOCK_EXTENTS]!;
  if (table === 0 && refers && length >= REFER_BYTES) return NEED_EXTENTS;
  const count = Math.min(length, writeRoom(mem, at));
  if (count <= 0) return 0;
  const tail = ctl[ring + RING_TAIL]!;
  const place = contentsAt(mem, file) + offset;
  if (table === 0 || !refer(mem, table, tail, count, place, file)) {
    ringPlace(mem, ring, tail, place, count);
  } else if (fileKind(mem, file) !== KIND_MEMFD) {
    // Closed in the meantime by another thread: its memory may be on its way back.
    extentsCut(mem, table, tail);
    return -EBADF;
  }
  // As Linux: there is more to come unless this was all.
  publishWrite(mem, at, count, count < length ? MSG_MORE : 0);
  return count;
}

/** False: they must be copied. */
function refer(
  mem: SocketMemory,
  table: number,
  seq: number,
  count: number,
  place: number,
  file: number,
): boolean {
  const owner = mem.ctl[mem.blockAt(file) + BLOCK_SND + RING_PAGE]!;
  if (extentExtend(mem, table, seq, count, place, owner)) return true;
  return count >= REFER_BYTES && extentAdd(mem, table, seq, count, place, owner);
}
