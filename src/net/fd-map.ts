/** Lowest-free-descriptor allocator, as POSIX wants it: three levels of bitmaps, constant cost. */
import { assert } from './assert.js';

/** Descriptors 0, 1 and 2 belong to the process. */
export const FIRST_FD = 3;

export class FdMap {
  /**
   * Bit = 1: free. levels[0] has a bit per descriptor, each higher level a bit per non-zero word
   * below.
   */
  private readonly levels: Uint32Array[] = [];
  inUse = 0;

  private readonly count: number;

  /** @param count descriptors in all, at least FIRST_FD + 1 */
  constructor(count: number) {
    assert(count > FIRST_FD, 'no descriptor to hand out');
    this.count = count;
    let bits = count;
    do {
      const words = (bits + 31) >>> 5;
      const level = new Uint32Array(words).fill(0xffffffff);
      if (bits & 31) level[words - 1] = 2 ** (bits & 31) - 1;
      this.levels.push(level);
      bits = words;
    } while (bits > 1);
    for (let fd = 0; fd < FIRST_FD; fd++) this.take(fd);
  }

  /** Lowest free descriptor ≥ FIRST_FD, or -1. */
  allocLowest(): number {
    let index = 0;
    for (let i = this.levels.length - 1; i >= 0; i--) {
      const word = this.levels[i]![index]!;
      if (word === 0) return -1;
      index = index * 32 + 31 - Math.clz32(word & -word);
    }
    this.take(index);
    this.inUse++;
    return index;
  }

  release(fd: number): void {
    assert(fd >= FIRST_FD && fd < this.count, 'descriptor out of range');
    assert(((this.levels[0]![fd >>> 5]! >>> (fd & 31)) & 1) === 0, 'descriptor released twice');
    this.inUse--;
    let index = fd;
    for (const level of this.levels) {
      level[index >>> 5]! |= 1 << (index & 31);
      index >>>= 5;
    }
  }

  private take(fd: number): void {
    let index = fd;
    for (const level of this.levels) {
      const word = (level[index >>> 5]! & ~(1 << (index & 31))) >>> 0;
      level[index >>> 5] = word;
      if (word !== 0) return;
      index >>>= 5;
    }
  }
}
