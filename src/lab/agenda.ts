/**
 * The clock of a run: what happens when, in virtual microseconds. A binary heap; what was entered
 * first comes first among equals, so that a seed fixes the run.
 */

export class Agenda {
  /** The time of the event taken last, µs. */
  nowUs: number;
  private readonly times: number[] = [];
  private readonly orders: number[] = [];
  private readonly deeds: (() => void)[] = [];
  private entered = 0;

  constructor(startUs: number) {
    this.nowUs = startUs;
  }

  get size(): number {
    return this.times.length;
  }

  /** Does `deed` after `delayUs` (≥ 0). */
  after(delayUs: number, deed: () => void): void {
    const { times, orders, deeds } = this;
    let at = times.length;
    times.push(this.nowUs + delayUs);
    orders.push(this.entered++);
    deeds.push(deed);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.before(at, parent)) break;
      this.swap(at, parent);
      at = parent;
    }
  }

  /** Lets time go on to the next event and does it. False = there is none. */
  step(): boolean {
    const { times, orders, deeds } = this;
    if (times.length === 0) return false;
    const deed = deeds[0]!;
    this.nowUs = times[0]!;
    this.swap(0, times.length - 1);
    times.pop();
    orders.pop();
    deeds.pop();
    this.sink();
    deed();
    return true;
  }

  private sink(): void {
    let at = 0;
    for (;;) {
      let least = at;
      for (const child of [2 * at + 1, 2 * at + 2]) {
        if (child < this.times.length && this.before(child, least)) least = child;
      }
      if (least === at) return;
      this.swap(at, least);
      at = least;
    }
  }

  private before(a: number, b: number): boolean {
    const difference = this.times[a]! - this.times[b]!;
    return difference < 0 || (difference === 0 && this.orders[a]! < this.orders[b]!);
  }

  private swap(a: number, b: number): void {
    swapIn(this.times, a, b);
    swapIn(this.orders, a, b);
    swapIn(this.deeds, a, b);
  }
}

function swapIn<T>(column: T[], a: number, b: number): void {
  const kept = column[a]!;
  column[a] = column[b]!;
  column[b] = kept;
}
