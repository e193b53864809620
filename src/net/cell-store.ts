/**
 * Memory for many byte strings of a few dozen to a few hundred bytes each: chains of cells of 32
 * bytes in chunks of 64 KiB. There is no object per string, and growing copies nothing. The chunks
 * are given back when no string is left. What the bytes mean is the caller's (tcp/record.ts).
 */
import { assert } from './assert.js';

/** A cell: the number of the next one (0 = it is the last), then bytes. */
const CELL_WORDS = 8;
const PAYLOAD_WORDS: number = CELL_WORDS - 1;
export const CELL_BYTES: number = CELL_WORDS * 4;
const PAYLOAD_BYTES: number = PAYLOAD_WORDS * 4;
const CHUNK_SHIFT = 11;
const CHUNK_CELLS: number = 1 << CHUNK_SHIFT;

export class CellStore {
  /** Cells in use. */
  inUse = 0;
  private chunks: Int32Array[] = [];
  /** First free cell, chained like strings; cells at `made` and above have never been used. */
  private free = 0;
  /** Cell 0 is nobody: 0 means "none". */
  private made = 1;

  /** Bytes of the chunks. */
  get bytes(): number {
    return this.chunks.length * CHUNK_CELLS * CELL_BYTES;
  }

  /**
   * Keeps the first `bytes` bytes of `words`.
   * @param words room for a whole number of payloads (28 bytes)
   * @returns the number of the string, positive
   */
  put(words: Int32Array, bytes: number): number {
    const first = this.take();
    let cell = first;
    let from = 0;
    for (;;) {
      const chunk = this.chunks[cell >>> CHUNK_SHIFT]!;
      const at = (cell & (CHUNK_CELLS - 1)) * CELL_WORDS;
      for (let i = 1; i <= PAYLOAD_WORDS; i++) chunk[at + i] = words[from++]!;
      if (from * 4 >= bytes) {
        chunk[at] = 0;
        return first;
      }
      const next = this.take();
      chunk[at] = next;
      cell = next;
    }
  }

  /** Copies string `first` to the beginning of `words` and forgets it. */
  remove(first: number, words: Int32Array): void {
    let to = 0;
    for (let cell = first; cell !== 0; ) {
      const chunk = this.chunks[cell >>> CHUNK_SHIFT]!;
      const at = (cell & (CHUNK_CELLS - 1)) * CELL_WORDS;
      for (let i = 1; i <= PAYLOAD_WORDS; i++) words[to++] = chunk[at + i]!;
      const next = chunk[at]!;
      chunk[at] = this.free;
      this.free = cell;
      this.inUse--;
      cell = next;
    }
    if (this.inUse > 0) return;
    this.chunks = [];
    this.free = 0;
    this.made = 1;
  }

  private take(): number {
    this.inUse++;
    const cell = this.free;
    if (cell !== 0) {
      this.free = this.chunks[cell >>> CHUNK_SHIFT]![(cell & (CHUNK_CELLS - 1)) * CELL_WORDS]!;
      return cell;
    }
    if (this.made >>> CHUNK_SHIFT === this.chunks.length) {
      assert(this.made < 2 ** 31 - CHUNK_CELLS, 'too many cells');
      this.chunks.push(new Int32Array(CHUNK_CELLS * CELL_WORDS));
    }
    return this.made++;
  }
}

/** Words that hold `bytes` bytes of a string whatever they are: whole payloads. */
export function cellWords(bytes: number): number {
  return Math.ceil(bytes / PAYLOAD_BYTES) * PAYLOAD_WORDS;
}
