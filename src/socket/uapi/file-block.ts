/**
 * What every operation on a descriptor needs of its block: is it open and of which kind, what has
 * been shut down, its pending error, and the locks of its rings. Reading is file-read.ts, writing
 * file-write.ts, all else file-ops.ts.
 */
import { EBADF } from '../../net/errno.js';
import { RING_LOCK, ringTryLock } from '../../net/ring.js';
import {
  BLOCK_ERROR,
  BLOCK_EVENTS,
  BLOCK_FLAGS,
  BLOCK_KIND,
  BLOCK_OPTIONS,
  EARLY_WRITE,
  FILE_CLOSING,
  FIRST_FD,
  KIND_FREE,
  type SocketMemory,
} from '../../net/sockmem.js';
import { TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_SYN_RECV, TCP_SYN_SENT } from './constants.js';

/** Tries at a ring's lock before the thread gives its time slice away. */
const LOCK_SPINS = 2000;
/**
 * Naps of one millisecond before a lock is taken for dead (its holder was killed while it copied).
 */
const LOCK_NAPS = 2000;

/** KIND_* of an open descriptor, or -EBADF for one that is free, being closed or out of range. */
export function fileKind(mem: SocketMemory, fd: number): number {
  if ((fd | 0) !== fd || fd < FIRST_FD || fd >= mem.maxFds) return -EBADF;
  const at = mem.blockAt(fd);
  const kind = mem.ctl[at + BLOCK_KIND]!;
  if (kind === KIND_FREE || (mem.ctl[at + BLOCK_FLAGS]! & FILE_CLOSING) !== 0) return -EBADF;
  return kind;
}

/** Bits 1 (reading) and 2 (writing): what the application has shut down, or asked to. */
export function fileShut(mem: SocketMemory, at: number): number {
  return ((mem.ctl[at + BLOCK_OPTIONS]! | mem.ctl[at + BLOCK_FLAGS]!) >> 2) & 3;
}

/** SO_ERROR of the block at `at`: a positive errno, which is thereby taken, or 0. */
export function fileTakeError(mem: SocketMemory, at: number): number {
  if (mem.ctl[at + BLOCK_ERROR] === 0) return 0;
  return Atomics.exchange(mem.ctl, at + BLOCK_ERROR, 0);
}

/** With Fast Open the stack says so before the handshake is over. */
export function fileMaySend(mem: SocketMemory, at: number, state: number): boolean {
  if (state === TCP_ESTABLISHED || state === TCP_CLOSE_WAIT) return true;
  if (state !== TCP_SYN_SENT && state !== TCP_SYN_RECV) return false;
  return (mem.ctl[at + BLOCK_EVENTS]! & EARLY_WRITE) !== 0;
}

/**
 * Takes a ring's lock, waiting for as long as another thread may need to copy. An answer of -EAGAIN
 * instead would be an edge-triggered reader's lost wake-up.
 * @returns false when the holder does not let go within two seconds: it is dead
 */
export function fileLock(ctl: Int32Array, ring: number, holder: number): boolean {
  for (let i = 0; i < LOCK_SPINS; i++) if (ringTryLock(ctl, ring, holder)) return true;
  for (let i = 0; i < LOCK_NAPS; i++) {
    if (ringTryLock(ctl, ring, holder)) return true;
    nap(ctl, ring + RING_LOCK);
  }
  return false;
}

/**
 * Sleeps for at most a millisecond while the word keeps its value; a plain (test) buffer cannot be
 * slept on.
 */
function nap(ctl: Int32Array, word: number): void {
  if (ctl.buffer instanceof SharedArrayBuffer) Atomics.wait(ctl, word, Atomics.load(ctl, word), 1);
}
