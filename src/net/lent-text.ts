/**
 * Received text that stays in the packet buffer that it came in: the buffer is lent to the socket,
 * and the receive ring's table of extents says which stretch of the stream lies there instead of in
 * the ring (compare Linux's sk_receive_queue, which keeps the packets themselves). The cursors of
 * the ring count on as if it had been copied; the ring has a hole there that nobody looks at.
 *
 * Only the stack thread writes the table, and it drops an entry after RING_HEAD has passed its end.
 * A reader finds its way without a lock against that: what it can still be asked for is not
 * dropped, and an entry is not written over while a reader may look at it, for no more than half
 * of the slots are ever in use. Who lends and takes back is tcp/lend.ts.
 */
import { ringCopyOut } from './ring.js';
import {
  EXTENT_BYTES,
  EXTENT_PLACE,
  EXTENT_SEQ,
  extentEntry,
  extentFind,
  extentSlots,
} from './ring-extents.js';
import { BLOCK_LENT, BLOCK_RCV, PAGE_BYTES, type SocketMemory } from './sockmem.js';

/** Memory of a table, and most buffers that one socket may have. */
export const LENT_TABLE_BYTES: number = PAGE_BYTES;
export const LENT_MOST: number = extentSlots(LENT_TABLE_BYTES) >> 1;

/**
 * Copies `length` received bytes from sequence number `seq` on to `target` at `offset`, wherever
 * they lie. `at` is the socket's block. The caller holds the lock of its receive ring; the bytes
 * have been published and not been read.
 */
export function streamCopyOut(
  mem: SocketMemory,
  at: number,
  seq: number,
  target: Uint8Array,
  offset: number,
  length: number,
): void {
  const ring = at + BLOCK_RCV;
  const table = mem.ctl[at + BLOCK_LENT]!;
  if (table !== 0) {
    const { words, bytes } = mem;
    const cursor = extentFind(mem, table, seq);
    for (let n = 0; n < LENT_MOST && length > 0; n++) {
      const entry = extentEntry(mem, table, (cursor + n) | 0);
      if (entry < 0) break;
      let into = (seq - words[entry + EXTENT_SEQ]!) | 0;
      if (into < 0) {
        const plain = Math.min(-into, length);
        ringCopyOut(mem, ring, seq, target, offset, plain);
        seq = (seq + plain) | 0;
        offset += plain;
        length -= plain;
        into = 0;
      }
      const count = Math.min(words[entry + EXTENT_BYTES]! - into, length);
      if (count > 0) {
        const from = words[entry + EXTENT_PLACE]! + into;
        target.set(bytes.subarray(from, from + count), offset);
        seq = (seq + count) | 0;
        offset += count;
        length -= count;
      }
    }
  }
  if (length > 0) ringCopyOut(mem, ring, seq, target, offset, length);
}
