/**
 * A short list of disjoint ranges of sequence numbers, ascending: what lies past a hole. Used
 * twice: by the receiver for out-of-order data that is in the ring but not published (RFC 9293
 * 3.10.7.4, "assembler"), and by the sender as the scoreboard of SACKed data (RFC 6675). The number
 * of ranges is bounded; what does not fit is refused.
 */
import { after, before, seqMax, seqMin } from './seq.js';

/**
 * More holes than this at once: the newest range is not remembered (receiver: the segment is
 * dropped).
 */
export const MAX_RANGES = 256;

export class Ranges {
  /** [left, right) pairs, ascending. */
  private pairs = new Int32Array(8);
  count = 0;
  /** Sum of the ranges' lengths, bytes. */
  bytes = 0;

  left(index: number): number {
    return this.pairs[index * 2]!;
  }

  right(index: number): number {
    return this.pairs[index * 2 + 1]!;
  }

  /**
   * Adds [left, right), merging what touches. Returns the bytes that are new, or -1 when the list
   * is full.
   */
  add(left: number, right: number): number {
    let first = 0;
    while (first < this.count && before(this.right(first), left)) first++;
    let last = first;
    while (last < this.count && !after(this.left(last), right)) last++;
    if (last === first && this.count === MAX_RANGES) return -1;
    const before_ = this.bytes;
    let merged = (right - left) | 0;
    if (last > first) {
      const l = seqMin(left, this.left(first));
      const r = seqMax(right, this.right(last - 1));
      for (let i = first; i < last; i++) this.bytes -= (this.right(i) - this.left(i)) | 0;
      merged = (r - l) | 0;
      left = l;
      right = r;
    }
    this.splice(first, last - first);
    this.pairs[first * 2] = left;
    this.pairs[first * 2 + 1] = right;
    this.bytes += merged;
    return this.bytes - before_;
  }

  /** Index of the range that contains `seq`, or -1. */
  find(seq: number): number {
    for (let i = 0; i < this.count && !after(this.left(i), seq); i++) {
      if (before(seq, this.right(i))) return i;
    }
    return -1;
  }

  /** Index of the first range that has something in common with [left, right), or -1. */
  firstOverlap(left: number, right: number): number {
    for (let i = 0; i < this.count && before(this.left(i), right); i++) {
      if (after(this.right(i), left)) return i;
    }
    return -1;
  }

  /** Forgets everything before `seq`. */
  trimBefore(seq: number): void {
    let gone = 0;
    while (gone < this.count && !after(this.right(gone), seq)) {
      this.bytes -= (this.right(gone) - this.left(gone)) | 0;
      gone++;
    }
    if (gone > 0) {
      this.pairs.copyWithin(0, gone * 2, this.count * 2);
      this.count -= gone;
    }
    if (this.count > 0 && before(this.left(0), seq)) {
      this.bytes -= (seq - this.left(0)) | 0;
      this.pairs[0] = seq;
    }
  }

  /** Covered bytes within [from, to). */
  covered(from: number, to: number): number {
    let sum = 0;
    for (let i = 0; i < this.count && before(this.left(i), to); i++) {
      const size = (seqMin(this.right(i), to) - seqMax(this.left(i), from)) | 0;
      if (size > 0) sum += size;
    }
    return sum;
  }

  clear(): void {
    this.count = 0;
    this.bytes = 0;
  }

  /** Replaces `remove` ranges at `at` by room for one. */
  private splice(at: number, remove: number): void {
    const shift = 1 - remove;
    if ((this.count + shift) * 2 > this.pairs.length) {
      const larger = new Int32Array(this.pairs.length * 2);
      larger.set(this.pairs);
      this.pairs = larger;
    }
    this.pairs.copyWithin((at + 1) * 2, (at + remove) * 2, this.count * 2);
    this.count += shift;
  }
}
