/**
 * Model A's hand-over: one ring of descriptors per worker, filled by the acceptor and emptied by
 * its worker, in a SharedArrayBuffer. One producer, one consumer; each moves only its own cursor.
 */

/** Descriptors that may wait for one worker (a power of two). */
export const QUEUE_SLOTS = 4096;
/** Words of a row: head, padding to a cache line, tail, padding, slots. */
const HEAD = 0;
const TAIL = 16;
const SLOTS = 32;
const ROW: number = SLOTS + QUEUE_SLOTS;

export class DispatchQueues {
  readonly shared: SharedArrayBuffer;
  private readonly words: Int32Array;

  /** Over `shared` when another thread has made it. */
  constructor(workers: number, shared?: SharedArrayBuffer) {
    this.shared = shared ?? new SharedArrayBuffer(workers * ROW * 4);
    this.words = new Int32Array(this.shared);
  }

  /** Places left in the queue of `worker`. */
  room(worker: number): number {
    const row = worker * ROW;
    const used = (Atomics.load(this.words, row + TAIL) - Atomics.load(this.words, row + HEAD)) | 0;
    return QUEUE_SLOTS - used;
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

  /** Consumer. @returns a descriptor, or -1 when the queue is empty */
  pop(worker: number): number {
    const row = worker * ROW;
    const head = this.words[row + HEAD]!;
    if (Atomics.load(this.words, row + TAIL) === head) return -1;
    const fd = this.words[row + SLOTS + (head & (QUEUE_SLOTS - 1))]!;
    Atomics.store(this.words, row + HEAD, (head + 1) | 0);
    return fd;
  }
}
