/** src/net/timer.ts against a sorted list. */
import { expect } from 'chai';
import fc from 'fast-check';
import { type TimerEntry, TimerQueue } from '../../src/net/timer.js';

class Entry implements TimerEntry {
  timerIndex = -1;
  fired: number[] = [];
  again: ((nowUs: number) => void) | null = null;

  onTimer(nowUs: number): void {
    this.fired.push(nowUs);
    this.again?.(nowUs);
  }
}

const entriesOf = (count: number): Entry[] => Array.from({ length: count }, () => new Entry());

/** Entries that put their index into `order` when they fire. */
function noting(count: number): { entries: Entry[]; order: number[] } {
  const order: number[] = [];
  const entries = entriesOf(count);
  for (const [i, entry] of entries.entries()) entry.again = () => order.push(i);
  return { entries, order };
}

/** A queue, and beside it who is due when. */
class Pair {
  readonly queue: TimerQueue = new TimerQueue();
  nowUs: number;
  private readonly due = new Map<number, number>();
  private readonly order: number[];
  private readonly entries: Entry[];

  constructor(startUs: number) {
    this.nowUs = startUs;
    ({ entries: this.entries, order: this.order } = noting(20));
  }

  arm(who: number, inUs: number): void {
    this.queue.arm(this.entries[who]!, this.nowUs + inUs);
    this.due.set(who, Math.ceil(this.nowUs + inUs));
  }

  cancel(who: number): void {
    this.queue.cancel(this.entries[who]!);
    this.due.delete(who);
  }

  /** Fires what is due, `limit` at a time: all of it, earliest first. */
  runTo(atUs: number, limit: number): void {
    this.nowUs = Math.max(this.nowUs, atUs);
    this.order.length = 0;
    do this.queue.run(this.nowUs, limit);
    while (this.queue.nextUs() <= this.nowUs);
    const expected = [...this.due.keys()].filter((who) => this.due.get(who)! <= this.nowUs);
    expect(this.order).to.have.members(expected);
    const times = this.order.map((who) => this.due.get(who)!);
    expect(times).to.deep.equal([...times].sort((a, b) => a - b));
    for (const who of expected) this.due.delete(who);
  }

  compare(who: number): void {
    expect(this.queue.size).to.equal(this.due.size);
    expect(this.queue.nextUs()).to.be.at.most(Math.min(Infinity, ...this.due.values()));
    expect(this.queue.dueUs(this.entries[who]!)).to.equal(this.due.get(who) ?? Infinity);
  }
}

describe('net/timer', () => {
  it('fires when due, earliest first, once', () => {
    const queue = new TimerQueue();
    const { entries, order } = noting(5);
    const due = [50, 10, 40, 10, 20];
    for (const [i, entry] of entries.entries()) queue.arm(entry, due[i]!);
    expect(queue.nextUs()).to.equal(10);
    queue.run(9);
    expect(order).to.deep.equal([]);
    queue.run(40);
    expect(order).to.deep.equal([1, 3, 4, 2]);
    expect(queue.nextUs()).to.equal(50);
    queue.run(50);
    expect(queue.size).to.equal(0);
    expect(queue.nextUs()).to.equal(Infinity);
    expect(entries[0]!.timerIndex).to.equal(-1);
    expect(queue.dueUs(entries[0]!)).to.equal(Infinity);
  });

  it('equal deadlines fire in order of arming, from however far they were armed', () => {
    const queue = new TimerQueue();
    const { entries, order } = noting(12);
    const dueUs = 2 ** 45 + 12_345;
    for (const [i, entry] of entries.entries()) {
      queue.run(dueUs - 2 ** (44 - 4 * i));
      queue.arm(entry, dueUs);
    }
    queue.run(dueUs - 1);
    expect(order).to.deep.equal([]);
    queue.run(dueUs);
    expect(order).to.deep.equal([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
  });

  it('re-arming to later is lazy but never fires early', () => {
    const queue = new TimerQueue();
    const entry = new Entry();
    queue.arm(entry, 100);
    queue.arm(entry, 300);
    expect(queue.size).to.equal(1);
    expect(queue.nextUs()).to.equal(100);
    expect(queue.dueUs(entry)).to.equal(300);
    queue.run(150);
    expect(entry.fired).to.deep.equal([]);
    expect(queue.nextUs()).to.equal(300);
    queue.arm(entry, 200);
    expect(queue.nextUs()).to.equal(200);
    queue.run(200);
    expect(entry.fired).to.deep.equal([200]);
  });

  it('what was put off within the microsecond that is due does not fire in it', () => {
    const queue = new TimerQueue();
    const [first, second] = entriesOf(2) as [Entry, Entry];
    first.again = () => queue.arm(second, 60);
    queue.arm(first, 50);
    queue.arm(second, 50);
    queue.run(50);
    expect(second.fired).to.deep.equal([]);
    expect(queue.nextUs()).to.equal(60);
    queue.run(1000);
    expect(second.fired).to.deep.equal([1000]);
  });

  it('parts of a microsecond count as a whole one', () => {
    const queue = new TimerQueue();
    const entry = new Entry();
    queue.arm(entry, 10.25);
    expect(queue.nextUs()).to.equal(11);
    queue.run(10.75);
    expect(entry.fired).to.deep.equal([]);
    queue.run(11.5);
    expect(entry.fired).to.deep.equal([11.5]);
  });

  it('a deadline that is past is due at once, and keeps nothing else waiting', () => {
    const queue = new TimerQueue();
    const { entries, order } = noting(2);
    queue.run(1e6);
    queue.arm(entries[0]!, 1e6 + 1);
    queue.arm(entries[1]!, 5);
    expect(queue.nextUs()).to.equal(5);
    queue.run(1e6);
    expect(order).to.deep.equal([1]);
    queue.run(1e6 + 1);
    expect(order).to.deep.equal([1, 0]);
  });

  it('cancel is harmless when not armed', () => {
    const queue = new TimerQueue();
    const entry = new Entry();
    queue.cancel(entry);
    queue.arm(entry, 5);
    queue.cancel(entry);
    queue.cancel(entry);
    queue.run(10);
    expect(entry.fired).to.deep.equal([]);
    expect(queue.size).to.equal(0);
  });

  it('an entry that re-arms itself for now is bounded by the limit', () => {
    const queue = new TimerQueue();
    const entry = new Entry();
    entry.again = (nowUs) => queue.arm(entry, nowUs);
    queue.arm(entry, 1);
    queue.run(1, 7);
    expect(entry.fired).to.have.lengthOf(7);
    expect(queue.size).to.equal(1);
  });

  it('a crowd in one far slot is moved a limit at a time, and still fires in order', () => {
    const queue = new TimerQueue();
    const { entries, order } = noting(1000);
    const startUs = 7 * 2 ** 30;
    for (const [i, entry] of entries.entries()) queue.arm(entry, startUs + 999 - i);
    queue.run(startUs - 1);
    let calls = 0;
    for (; queue.nextUs() <= startUs + 999; calls++) {
      queue.run(startUs + 999, 100);
      // What is armed meanwhile has its place among them; what is cancelled leaves no trace.
      if (calls === 3) queue.arm(entries[999]!, startUs - 5);
      if (calls === 5) queue.cancel(entries[500]!);
    }
    expect(calls).to.be.within(20, 100);
    const expected = entries.map((_, i) => 999 - i).filter((i) => i !== 500);
    expect(order).to.deep.equal(expected);
  });

  it('rows are used again', () => {
    const queue = new TimerQueue();
    const entries = entriesOf(300);
    for (let round = 0; round < 20; round++) {
      for (const [i, entry] of entries.entries()) queue.arm(entry, round * 1000 + i);
      expect(Math.max(...entries.map((entry) => entry.timerIndex))).to.be.at.most(12 * 32 + 300);
      for (const [i, entry] of entries.entries()) if (i % 3 === 0) queue.cancel(entry);
      queue.run(round * 1000 + 999);
      expect(queue.size).to.equal(0);
    }
    expect(entries[1]!.fired).to.have.lengthOf(20);
    expect(entries[0]!.fired).to.have.lengthOf(0);
  });

  /** Distances of every magnitude, about the borders between digits, with parts of a µs. */
  const distance = fc.oneof(
    fc.nat(40),
    fc.nat(70_000).map((eighths) => eighths / 8),
    fc
      .tuple(fc.nat(46), fc.integer({ min: -2, max: 2 }))
      .map(([power, off]) => Math.max(0, 2 ** power + off)),
  );
  const step = fc.record({
    what: fc.constantFrom('arm', 'arm', 'arm', 'cancel', 'run', 'next'),
    who: fc.nat(19),
    at: distance,
    limit: fc.constantFrom(1, 3, 65_536),
  });

  it('does what a sorted list does', () => {
    const starts = fc.constantFrom(0, 2 ** 30 - 3, 2 ** 31 - 20, 2 ** 32 - 5, 2 ** 50 - 9);
    fc.assert(
      fc.property(starts, fc.array(step, { maxLength: 120 }), (startUs, steps) => {
        const pair = new Pair(startUs);
        for (const { what, who, at, limit } of steps) {
          if (what === 'arm') pair.arm(who, at);
          else if (what === 'cancel') pair.cancel(who);
          else if (what === 'run') pair.runTo(pair.nowUs + at, limit);
          else if (pair.queue.size > 0) pair.runTo(pair.queue.nextUs(), limit);
          pair.compare(who);
        }
      }),
      { numRuns: 300 },
    );
  });

  it('nextUs is the earliest deadline as long as nothing is cancelled or put off', () => {
    fc.assert(
      fc.property(fc.array(distance, { minLength: 1, maxLength: 30 }), (distances) => {
        const queue = new TimerQueue();
        const deadlines = distances.map(Math.ceil).sort((a, b) => a - b);
        for (const [i, entry] of entriesOf(distances.length).entries()) {
          queue.arm(entry, distances[i]!);
        }
        for (const dueUs of new Set(deadlines)) {
          expect(queue.nextUs()).to.equal(dueUs);
          queue.run(dueUs);
        }
        expect(queue.nextUs()).to.equal(Infinity);
      }),
      { numRuns: 100 },
    );
  });

  it('wakes nobody more than once a level for what was cancelled or put off', () => {
    const queue = new TimerQueue();
    const [first, second] = entriesOf(2) as [Entry, Entry];
    queue.arm(first, 1000);
    queue.arm(second, 2 ** 40 + 2 ** 25);
    queue.arm(first, 2 ** 40);
    queue.cancel(second);
    let wakes = 0;
    for (; queue.size > 0; wakes++) queue.run(queue.nextUs());
    expect(first.fired).to.deep.equal([2 ** 40]);
    expect(wakes).to.be.at.most(10);
  });
});
