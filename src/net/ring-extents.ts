/**
 * Stretches of a ring's stream that lie elsewhere in the arena. A ring's cursors count every byte
 * of its stream; a table of extents says of some ranges of sequence numbers that their bytes are
 * not in the ring's memory but at another place (a file's, a packet's), whose owner it names. Who
 * reads the stream asks the table first; without one (page 0) everything is in the ring.
 *
 * A table is a page or more of the arena: two cursors that count entries, and the entries, ordered
 * by sequence number. One side adds at the tail: who writes the stream. Only the stack thread drops
 * at the head, so that owners get their memory back there, and only it makes tables and takes them
 * away, as it does with ring memory (tcp/ring-memory.ts). Words may hold anything if an application
 * thread wants it so: reading ends, and reads no word that is not in the arena, but what it finds
 * must be held against the arena's size. What an owner is, is its user's business.
 */
import { PAGE_BYTES, type SocketMemory } from './sockmem.js';

/** Words of a table: entries dropped so far, how many there is room for, entries added so far. */
const HEAD = 0;
const SLOTS = 1;
const TAIL = 16;
const ENTRIES = 32;
/** Words of an entry: first byte's sequence number, bytes (0 = dropped), arena offset, owner. */
export const EXTENT_SEQ = 0;
export const EXTENT_BYTES = 1;
export const EXTENT_PLACE = 2;
export const EXTENT_OWNER = 3;
const ENTRY_WORDS = 4;
const PAGE_WORDS: number = PAGE_BYTES / 4;
/** Entries of the largest table. */
const SLOTS_MOST = 4096;

/** Entries that a table of `bytes` (a multiple of PAGE_BYTES) has room for: a power of two. */
export function extentSlots(bytes: number): number {
  const fit = Math.floor((bytes / 4 - ENTRIES) / ENTRY_WORDS);
  return Math.min(SLOTS_MOST, 1 << (31 - Math.clz32(fit)));
}

/** Makes an empty table of the arena's `bytes` bytes from page `table` on. */
export function extentsInit(mem: SocketMemory, table: number, bytes: number): void {
  const at = table * PAGE_WORDS;
  mem.words[at + HEAD] = 0;
  mem.words[at + SLOTS] = extentSlots(bytes);
  Atomics.store(mem.words, at + TAIL, 0);
}

/** Word of the entry with cursor `cursor`. */
function entryAt(words: Int32Array, at: number, cursor: number): number {
  const mask = (words[at + SLOTS]! - 1) & (SLOTS_MOST - 1);
  return Math.min(at + ENTRIES + (cursor & mask) * ENTRY_WORDS, words.length - ENTRY_WORDS);
}

/** Entries in the table; 0 when its cursors make no sense. */
export function extentsUsed(mem: SocketMemory, table: number): number {
  const at = table * PAGE_WORDS;
  const used = (Atomics.load(mem.words, at + TAIL) - Atomics.load(mem.words, at + HEAD)) | 0;
  return used > 0 && used <= SLOTS_MOST ? used : 0;
}

/**
 * Says that the stream's bytes [seq, seq + bytes) lie at arena offset `place`; they must be behind
 * those of all other entries. The cursor of the stream is the caller's to move, afterwards.
 * @returns false when there is no room
 */
export function extentAdd(
  mem: SocketMemory,
  table: number,
  seq: number,
  bytes: number,
  place: number,
  owner: number,
): boolean {
  const { words } = mem;
  const at = table * PAGE_WORDS;
  const tail = words[at + TAIL]!;
  if (((tail - Atomics.load(words, at + HEAD)) | 0) >= words[at + SLOTS]!) return false;
  const entry = entryAt(words, at, tail);
  words[entry + EXTENT_SEQ] = seq;
  words[entry + EXTENT_BYTES] = bytes;
  words[entry + EXTENT_PLACE] = place;
  words[entry + EXTENT_OWNER] = owner;
  Atomics.store(words, at + TAIL, (tail + 1) | 0);
  return true;
}

/**
 * Makes the newest entry longer by `bytes` bytes, if they continue it: in the stream, in the arena,
 * and of the same owner.
 * @returns false when there is no such entry (any more): it has to be a new one
 */
export function extentExtend(
  mem: SocketMemory,
  table: number,
  seq: number,
  bytes: number,
  place: number,
  owner: number,
): boolean {
  const { words } = mem;
  const at = table * PAGE_WORDS;
  const tail = words[at + TAIL]!;
  if (tail === Atomics.load(words, at + HEAD)) return false;
  const entry = entryAt(words, at, (tail - 1) | 0);
  const had = words[entry + EXTENT_BYTES]!;
  const continues =
    ((words[entry + EXTENT_SEQ]! + had) | 0) === seq &&
    words[entry + EXTENT_PLACE]! + had === place &&
    words[entry + EXTENT_OWNER] === owner;
  if (!continues) return false;
  // The stack may be about to drop it: one of the two has the word first.
  return Atomics.compareExchange(words, entry + EXTENT_BYTES, had, had + bytes) === had;
}

/**
 * Cursor of the first entry that ends after `seq`, whether it begins before it or not. Pass it to
 * `extentEntry`, and count it up for those that follow.
 */
export function extentFind(mem: SocketMemory, table: number, seq: number): number {
  const { words } = mem;
  const at = table * PAGE_WORDS;
  let low = words[at + HEAD]!;
  let size = extentsUsed(mem, table);
  while (size > 0) {
    const half = size >> 1;
    const entry = entryAt(words, at, low + half);
    const end = words[entry + EXTENT_SEQ]! + words[entry + EXTENT_BYTES]!;
    if (((end - seq) | 0) > 0) {
      size = half;
    } else {
      low = (low + half + 1) | 0;
      size -= half + 1;
    }
  }
  return low;
}

/** Word (of `mem.words`) of the entry with that cursor, or -1 when there is none. */
export function extentEntry(mem: SocketMemory, table: number, cursor: number): number {
  const { words } = mem;
  const at = table * PAGE_WORDS;
  const left = (Atomics.load(words, at + TAIL) - cursor) | 0;
  return left > 0 ? entryAt(words, at, cursor) : -1;
}

/**
 * Drops the oldest entry if all of it is before `seq`: what the reader of the stream has done with.
 * Of the stack thread only.
 * @returns its owner, or -1 when nothing was dropped
 */
export function extentDrop(mem: SocketMemory, table: number, seq: number): number {
  const { words } = mem;
  const at = table * PAGE_WORDS;
  if (extentsUsed(mem, table) === 0) return -1;
  const head = words[at + HEAD]!;
  const entry = entryAt(words, at, head);
  const bytes = Atomics.load(words, entry + EXTENT_BYTES);
  if (((seq - (words[entry + EXTENT_SEQ]! + bytes)) | 0) < 0) return -1;
  if (Atomics.compareExchange(words, entry + EXTENT_BYTES, bytes, 0) !== bytes) return -1;
  return take(words, at, head, entry);
}

/**
 * Drops the oldest entry, whatever it is, when nobody adds any more; as often as `extentsUsed` said
 * beforehand.
 * @returns its owner, or -1 when there is none
 */
export function extentDropAny(mem: SocketMemory, table: number): number {
  const { words } = mem;
  const at = table * PAGE_WORDS;
  if (extentsUsed(mem, table) === 0) return -1;
  const head = words[at + HEAD]!;
  return take(words, at, head, entryAt(words, at, head));
}

function take(words: Int32Array, at: number, head: number, entry: number): number {
  const owner = words[entry + EXTENT_OWNER]!;
  Atomics.store(words, at + HEAD, (head + 1) | 0);
  return owner & 0x7fffffff;
}

/**
 * Takes back what goes beyond `seq`, the tail of the stream: its writer died before it moved that.
 * Nobody adds meanwhile.
 */
export function extentsCut(mem: SocketMemory, table: number, seq: number): void {
  const { words } = mem;
  const at = table * PAGE_WORDS;
  for (let left = extentsUsed(mem, table); left > 0; left--) {
    const tail = words[at + TAIL]!;
    const entry = entryAt(words, at, (tail - 1) | 0);
    const kept = (seq - words[entry + EXTENT_SEQ]!) | 0;
    if (kept > 0) {
      words[entry + EXTENT_BYTES] = Math.min(kept, words[entry + EXTENT_BYTES]!);
      return;
    }
    Atomics.store(words, at + TAIL, (tail - 1) | 0);
  }
}

/** Does an entry of the table name `owner`? It may be another thread's, and in motion. */
export function extentsName(mem: SocketMemory, table: number, owner: number): boolean {
  const at = table * PAGE_WORDS;
  const head = Atomics.load(mem.words, at + HEAD);
  for (let i = extentsUsed(mem, table) - 1; i >= 0; i--) {
    if (mem.words[entryAt(mem.words, at, (head + i) | 0) + EXTENT_OWNER] === owner) return true;
  }
  return false;
}
