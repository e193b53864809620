/**
 * Timers: a hierarchical timing wheel (Varghese and Lauck 1987, scheme 7). A time is a number of
 * 12 digits of 5 bits, in whole microseconds; an entry waits in the slot of the highest digit in
 * which its deadline differs from the wheel's time, and is spread over finer slots when the wheel
 * comes there. The finest slot is one microsecond, so nothing is sorted: what fires is in order of
 * the deadlines, and in order of arming where these are equal.
 *
 * To arm, to put off, to cancel takes the same time among a million as alone and allocates nothing.
 * Putting off is lazy: the entry stays in its slot and moves when that comes up. A timer that is
 * armed takes 24 bytes in columns, one that is not takes none.
 */

export interface TimerEntry {
  /** Row in the columns of TimerQueue, -1 when not armed. Owned by TimerQueue. */
  timerIndex: number;
  /** Called once when due; not armed any more, may arm itself again. */
  onTimer(nowUs: number): void;
}

const DIGIT_BITS = 5;
const DIGITS: number = 1 << DIGIT_BITS;
/** A time is two halves of six digits each, integers that V8 keeps unboxed. */
const HALF_LEVELS = 6;
const HALF: number = 2 ** (DIGIT_BITS * HALF_LEVELS);
const LEVELS: number = HALF_LEVELS * 2;

/**
 * A row is a quarter of a cache line: the neighbours in the ring of a slot in its first two words
 * of four, the deadline in its second double of two.
 */
const ROW_BYTES = 16;
const NEXT = 0;
const PREV = 1;
const DUE = 1;

/**
 * Row level * DIGITS + digit is that slot, whose time comes before that of all rows behind it: its
 * ring's head, and a deadline no later than the earliest in it. Row SLOTS is no slot and never due.
 * The others are entries' or free.
 */
const SLOTS: number = LEVELS * DIGITS;
const FIRST_ROW: number = SLOTS + 1;
const ROWS_AT_FIRST = 512;
/** No slot; end of the list of free rows. */
const NONE = -1;
/** The wheel need not turn for less, µs. */
const TURN_LEAST_US = 1024;

/** Index of the lowest bit of `bits`, which is not 0. */
function lowestBit(bits: number): number {
  return 31 - Math.clz32(bits & -bits);
}

/** Which digit the highest bit of `differs` belongs to. */
function digitOf(differs: number): number {
  return ((31 - Math.clz32(differs | 1)) / DIGIT_BITS) | 0;
}

/** `half` with this digit at `level` and zeros below. */
function withDigit(half: number, level: number, digit: number): number {
  const shift = level * DIGIT_BITS;
  return (half & (-DIGITS << shift)) | (digit << shift);
}

export class TimerQueue {
  /** Armed entries. */
  size = 0;
  /** Rows, seen as words and as doubles. Free rows are linked by NEXT. */
  private words: Int32Array;
  private doubles: Float64Array;
  /** Whose row it is: entries[row - FIRST_ROW]. */
  private readonly entries: (TimerEntry | null)[] = [];
  private free = NONE;
  /** A bit for each slot that is not empty, a word for each level; a bit for each such level. */
  private readonly occupied: Int32Array = new Int32Array(LEVELS);
  private levels = 0;
  /** The first slot that is not empty; SLOTS = all are. */
  private first: number = SLOTS;
  /** The slot that is being spread over finer ones: what is due in it comes before all others. */
  private spreading = NONE;
  /** The wheel's time, and its halves. Slots that are not empty begin later, or are just there. */
  private wheelUs = 0;
  private wheelHigh = 0;
  private wheelLow = 0;

  constructor() {
    const rows = new ArrayBuffer(ROWS_AT_FIRST * ROW_BYTES);
    this.words = new Int32Array(rows);
    this.doubles = new Float64Array(rows);
    for (let slot = 0; slot < SLOTS; slot++) {
      this.words[slot * 4 + NEXT] = this.words[slot * 4 + PREV] = slot;
    }
    this.doubles[SLOTS * 2 + DUE] = Infinity;
  }

  /**
   * Arms `entry`, or moves it.
   * @param dueUs µs, below 2 ** 53; a part of a microsecond counts as a whole one
   */
  arm(entry: TimerEntry, dueUs: number): void {
    const atUs = Math.ceil(dueUs);
    let row = entry.timerIndex;
    if (row < 0) {
      row = this.takeRow(entry);
    } else if (atUs >= this.doubles[row * 2 + DUE]!) {
      this.doubles[row * 2 + DUE] = atUs;
      return;
    } else {
      this.unlink(row);
    }
    this.doubles[row * 2 + DUE] = atUs;
    this.link(row);
  }

  /** Disarms `entry`; nothing happens if it is not armed. */
  cancel(entry: TimerEntry): void {
    const row = entry.timerIndex;
    if (row < 0) return;
    entry.timerIndex = -1;
    this.size--;
    this.unlink(row);
    this.entries[row - FIRST_ROW] = null;
    this.words[row * 4 + NEXT] = this.free;
    this.free = row;
  }

  /** When `entry` is due, µs; Infinity when it is not armed. */
  dueUs(entry: TimerEntry): number {
    return entry.timerIndex < 0 ? Infinity : this.doubles[entry.timerIndex * 2 + DUE]!;
  }

  /**
   * When `run` must be called at the latest, µs; Infinity when nothing is armed. That is the
   * earliest deadline, or before it when what was due first has been cancelled or put off, or when
   * `run` has come to its limit.
   */
  nextUs(): number {
    return this.spreading === NONE ? this.doubles[this.first * 2 + DUE]! : this.wheelUs;
  }

  /** Fires what is due at `nowUs`, earliest first. At most `limit` entries are fired or moved. */
  run(nowUs: number, limit = 65_536): void {
    if (nowUs - this.wheelUs < TURN_LEAST_US && this.nextUs() > nowUs) return;
    let left = limit;
    while (this.size > 0) {
      const slot = this.spreading === NONE ? this.first : this.spreading;
      const startUs = this.startUs(slot);
      if (startUs > nowUs) break;
      if (left <= 0) return;
      this.turnTo(startUs);
      left = slot < DIGITS ? this.fire(slot, nowUs, left) : this.spread(slot, left);
    }
    this.turnTo(Math.floor(nowUs));
  }

  /** The entries of a finest slot, whose time has come. Returns what is left of `limit`. */
  private fire(slot: number, nowUs: number, limit: number): number {
    let left = limit;
    for (; left > 0; left--) {
      const row = this.words[slot * 4 + NEXT]!;
      if (row === slot) break;
      if (this.doubles[row * 2 + DUE]! > this.wheelUs) {
        this.move(row);
        continue;
      }
      const entry = this.entries[row - FIRST_ROW]!;
      this.cancel(entry);
      entry.onTimer(nowUs);
    }
    return left;
  }

  /** Spreads a slot over finer ones; later calls go on. Returns what is left of `limit`. */
  private spread(slot: number, limit: number): number {
    this.spreading = slot;
    let left = limit;
    for (; left > 0 && this.spreading === slot; left--) this.move(this.words[slot * 4 + NEXT]!);
    return left;
  }

  /** To the slot for its deadline and the wheel's time as they are now. */
  private move(row: number): void {
    this.unlink(row);
    this.link(row);
  }

  /** When the time of `slot` begins, µs: the wheel's time with that digit, and zeros below. */
  private startUs(slot: number): number {
    const level = slot >> DIGIT_BITS;
    const digit = slot & (DIGITS - 1);
    if (level < HALF_LEVELS) return this.wheelHigh * HALF + withDigit(this.wheelLow, level, digit);
    return withDigit(this.wheelHigh, level - HALF_LEVELS, digit) * HALF;
  }

  private turnTo(atUs: number): void {
    this.wheelUs = atUs;
    this.wheelHigh = Math.floor(atUs / HALF);
    this.wheelLow = atUs - this.wheelHigh * HALF;
  }

  /** The slot of what is due at `atUs`; for what is past the one that the wheel is at. */
  private slotOf(atUs: number): number {
    if (atUs <= this.wheelUs) return this.wheelLow & (DIGITS - 1);
    const high = Math.floor(atUs / HALF);
    if (high === this.wheelHigh) {
      const low = atUs - high * HALF;
      const level = digitOf(low ^ this.wheelLow);
      return level * DIGITS + ((low >> (level * DIGIT_BITS)) & (DIGITS - 1));
    }
    const level = digitOf(high ^ this.wheelHigh);
    const digit = (high >> (level * DIGIT_BITS)) & (DIGITS - 1);
    return (HALF_LEVELS + level) * DIGITS + digit;
  }

  /** Behind the others of its slot. */
  private link(row: number): void {
    const { words, doubles } = this;
    const atUs = doubles[row * 2 + DUE]!;
    const slot = this.slotOf(atUs);
    const last = words[slot * 4 + PREV]!;
    if (last === slot) this.noteOccupied(slot);
    if (last === slot || atUs < doubles[slot * 2 + DUE]!) doubles[slot * 2 + DUE] = atUs;
    words[last * 4 + NEXT] = row;
    words[row * 4 + PREV] = last;
    words[row * 4 + NEXT] = slot;
    words[slot * 4 + PREV] = row;
  }

  private unlink(row: number): void {
    const { words } = this;
    const before = words[row * 4 + PREV]!;
    const after = words[row * 4 + NEXT]!;
    words[before * 4 + NEXT] = after;
    words[after * 4 + PREV] = before;
    if (before === after) this.noteEmpty(before);
  }

  private noteOccupied(slot: number): void {
    const level = slot >> DIGIT_BITS;
    this.occupied[level] = this.occupied[level]! | (1 << (slot & (DIGITS - 1)));
    this.levels |= 1 << level;
    if (slot < this.first) this.first = slot;
  }

  private noteEmpty(slot: number): void {
    const level = slot >> DIGIT_BITS;
    const occupied = this.occupied[level]! & ~(1 << (slot & (DIGITS - 1)));
    this.occupied[level] = occupied;
    if (occupied === 0) this.levels &= ~(1 << level);
    if (slot === this.first) this.first = this.findFirst();
    if (slot === this.spreading) this.spreading = NONE;
  }

  private findFirst(): number {
    if (this.levels === 0) return SLOTS;
    const level = lowestBit(this.levels);
    return level * DIGITS + lowestBit(this.occupied[level]!);
  }

  private takeRow(entry: TimerEntry): number {
    let row = this.free;
    if (row === NONE) {
      row = FIRST_ROW + this.entries.length;
      this.entries.push(entry);
      if (row * 4 === this.words.length) this.grow();
    } else {
      this.free = this.words[row * 4 + NEXT]!;
      this.entries[row - FIRST_ROW] = entry;
    }
    entry.timerIndex = row;
    this.size++;
    return row;
  }

  private grow(): void {
    const rows = new ArrayBuffer(this.words.byteLength * 2);
    const words = new Int32Array(rows);
    words.set(this.words);
    this.words = words;
    this.doubles = new Float64Array(rows);
  }
}
