/**
 * Hands out the lowest number that nobody has, from 0 on: the members of a reuseport group have one
 * each (SockCommon.reuseportKey). A heap of the numbers given back below the highest ever used, so
 * that taking and giving back cost O(log n) and a group that only grows costs nothing.
 */
export class LowestNumber {
  /** Every number from here on is free. */
  private next = 0;
  /** Free numbers below `next`, a binary heap with the lowest in front. */
  private readonly free: number[] = [];

  /** The lowest free number, taken now. */
  take(): number {
    const { free } = this;
    const lowest = free[0];
    if (lowest === undefined) return this.next++;
    const last = free.pop()!;
    if (free.length > 0) this.sink(last);
    return lowest;
  }

  /** `number` was taken and is free again. */
  give(number: number): void {
    const { free } = this;
    let i = free.length;
    free.push(number);
    while (i > 0) {
      const parent = (i - 1) >>> 1;
      if (free[parent]! <= number) break;
      free[i] = free[parent]!;
      i = parent;
    }
    free[i] = number;
  }

  /** Puts `number` where the front was, and the heap in order. */
  private sink(number: number): void {
    const { free } = this;
    let i = 0;
    for (;;) {
      let child = 2 * i + 1;
      if (child >= free.length) break;
      if (child + 1 < free.length && free[child + 1]! < free[child]!) child++;
      if (free[child]! >= number) break;
      free[i] = free[child]!;
      i = child;
    }
    free[i] = number;
  }
}
