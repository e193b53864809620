/**
 * Timers: a binary heap of entries keyed by their deadline in µs. An entry is an object that lives
 * anyway (a TCB, a request socket, a fragment queue) and knows its place, so arming allocates
 * nothing and cancelling is O(log n). Re-arming to a later time is lazy: the heap keeps the earlier
 * key and the entry is re-inserted when that comes up.
 */

export interface TimerEntry {
  /** Place in the heap, -1 when not armed. Owned by TimerQueue. */
  timerIndex: number;
  /** When it is due, µs; Infinity = not armed. Owned by TimerQueue. */
  timerDueUs: number;
  /** Called once when due; not armed any more, may arm itself again. */
  onTimer(nowUs: number): void;
}

export class TimerQueue {
  private readonly entries: TimerEntry[] = [];
  /** Heap key of entries[i]: never later than entries[i].timerDueUs. */
  private readonly keys: number[] = [];

  get size(): number {
    return this.entries.length;
  }

  /** Arms `entry` for `dueUs`, or moves it there. */
  arm(entry: TimerEntry, dueUs: number): void {
    entry.timerDueUs = dueUs;
    const index = entry.timerIndex;
    if (index < 0) {
      this.entries.push(entry);
      this.keys.push(dueUs);
      this.siftUp(this.entries.length - 1, entry, dueUs);
    } else if (dueUs < this.keys[index]!) {
      this.siftUp(index, entry, dueUs);
    }
  }

  /** Disarms `entry`; nothing happens if it is not armed. */
  cancel(entry: TimerEntry): void {
    const index = entry.timerIndex;
    entry.timerDueUs = Infinity;
    if (index < 0) return;
    entry.timerIndex = -1;
    const last = this.entries.pop()!;
    const key = this.keys.pop()!;
    if (last === entry) return;
    if (index > 0 && key < this.keys[(index - 1) >> 1]!) this.siftUp(index, last, key);
    else this.siftDown(index, last, key);
  }

  /** Earliest key, µs: at or before the earliest deadline; Infinity when nothing is armed. */
  nextUs(): number {
    return this.entries.length === 0 ? Infinity : this.keys[0]!;
  }

  /** Fires what is due at `nowUs`, earliest first, at most `limit` entries. */
  run(nowUs: number, limit = 65_536): void {
    for (let n = 0; n < limit && this.entries.length > 0 && this.keys[0]! <= nowUs; n++) {
      const entry = this.entries[0]!;
      if (entry.timerDueUs > this.keys[0]!) {
        // Re-armed to later since: even if that is due too, what is due before it goes first.
        this.siftDown(0, entry, entry.timerDueUs);
        continue;
      }
      this.cancel(entry);
      entry.onTimer(nowUs);
    }
  }

  private siftUp(index: number, entry: TimerEntry, key: number): void {
    while (index > 0) {
      const parent = (index - 1) >> 1;
      if (this.keys[parent]! <= key) break;
      this.place(index, this.entries[parent]!, this.keys[parent]!);
      index = parent;
    }
    this.place(index, entry, key);
  }

  private siftDown(index: number, entry: TimerEntry, key: number): void {
    const size = this.entries.length;
    for (;;) {
      let child = index * 2 + 1;
      if (child >= size) break;
      if (child + 1 < size && this.keys[child + 1]! < this.keys[child]!) child++;
      if (this.keys[child]! >= key) break;
      this.place(index, this.entries[child]!, this.keys[child]!);
      index = child;
    }
    this.place(index, entry, key);
  }

  private place(index: number, entry: TimerEntry, key: number): void {
    this.entries[index] = entry;
    this.keys[index] = key;
    entry.timerIndex = index;
  }
}
