/**
 * Model A's hand-over: one ring of descriptors per worker, filled by the acceptor and emptied by
 * its worker, in a SharedArrayBuffer. Only the acceptor moves a tail; heads are moved by compare
 * and exchange, because the acceptor empties the queue of a worker that has died. Also who takes
 * part: the master says which workers take connections.
 */

/** Descriptors that may wait for one worker (a power of two). */
export const QUEUE_SLOTS = 4096;
/** Words of a row: head, padding to a cache line, tail, who takes part, padding, slots. */
const HEAD = 0;
const TAIL = 16;
const PART = 24;
const SLOTS = 32;
const ROW: number = SLOTS + QUEUE_SLOTS;

/** It takes connections; it takes none, but still empties its queue; it is not there. */
export const TAKES = 0;
export const TAKES_NONE = 1;
export const GONE = 2;

export class DispatchQueues {
  readonly shared: SharedArrayBuffer;
  private readonly words: Int32Array;

  /** Over `shared` when another thread has made it. */
  constructor(workers: number, shared?: SharedArrayBuffer) {
    this.shared = shared ?? new SharedArrayBuffer(workers * ROW * 4);
    this.words = new Int32Array(this.shared);
  }

  /** Master. @param part TAKES, TAKES_NONE or GONE */
  setPart(worker: number, part: number): void {
    Atomics.store(this.words, worker * ROW + PART, part);
  }

  part(worker: number): number {
    return Atomics.load(this.words, worker * ROW + PART);
  }

  /** Descriptors that wait for `worker`. */
  length(worker: number): number {
    const row = worker * ROW;
    return (Atomics.load(this.words, row + TAIL) - Atomics.load(this.words, row + HEAD)) | 0;
  }

  /** Places left in the queue of `worker`; 0 when it takes no connections. */
  room(worker: number): number {
    return this.part(worker) === TAKES ? QUEUE_SLOTS - this.length(worker) : 0;
  }

  /**
   * Producer. The caller has seen room.
   * @returns true when the worker had emptied its queue, so that it must be woken
   */
  push(worker: number, fd: number): boolean {
    const row = worker * ROW;
    const tail = this.words[row + TAIL]!;
    this.words[row + SLOTS + (tail & (QUEUE_SLOTS - 1))] = fd;
    Atomics.store(this.words, row + TAIL, (tail + 1) | 0);
    // After the store: either the worker still sees this entry in its loop, or we see that it had
    // finished.
    return Atomics.load(this.words, row + HEAD) === tail;
  }

  /** @returns a descriptor, or -1 when the queue is empty */
  pop(worker: number): number {
    const row = worker * ROW;
    for (;;) {
      const head = Atomics.load(this.words, row + HEAD);
      if (Atomics.load(this.words, row + TAIL) === head) return -1;
      const fd = this.words[row + SLOTS + (head & (QUEUE_SLOTS - 1))]!;
      // Read before the head moves: until then nobody overwrites the slot.
      const next = (head + 1) | 0;
      if (Atomics.compareExchange(this.words, row + HEAD, head, next) === head) return fd;
    }
  }
}
