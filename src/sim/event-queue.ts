/**
 * What will happen when: a binary heap of things with a time, first in first out among equals. Owns
 * the order, not the things.
 */
export interface Timed {
  /** Virtual time, µs. */
  atUs: number;
  /** Order among equal times; set by push. */
  order: number;
}

export class EventQueue<T extends Timed> {
  private readonly heap: T[] = [];
  private orders = 0;

  get length(): number {
    return this.heap.length;
  }

  /** Time of the next thing, µs; Infinity = there is none. */
  nextUs(): number {
    return this.heap.length === 0 ? Infinity : this.heap[0]!.atUs;
  }

  push(thing: T): void {
    const { heap } = this;
    thing.order = this.orders++;
    let at = heap.push(thing) - 1;
    while (at > 0) {
      const parent = (at - 1) >>> 1;
      if (!precedes(thing, heap[parent]!)) break;
      heap[at] = heap[parent]!;
      at = parent;
    }
    heap[at] = thing;
  }

  /** Takes the next thing if it is due at `nowUs`, else null. */
  takeDue(nowUs: number): T | null {
    const { heap } = this;
    const first = heap[0];
    if (first === undefined || first.atUs > nowUs) return null;
    const last = heap.pop()!;
    if (heap.length > 0) this.sink(last);
    return first;
  }

  private sink(thing: T): void {
    const { heap } = this;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && precedes(heap[child + 1]!, heap[child]!)) child++;
      if (!precedes(heap[child]!, thing)) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = thing;
  }
}

function precedes(a: Timed, b: Timed): boolean {
  return a.atUs < b.atUs || (a.atUs === b.atUs && a.order < b.order);
}
