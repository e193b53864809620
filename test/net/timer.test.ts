/** src/net/timer.ts against a sorted list. */
import { expect } from 'chai';
import fc from 'fast-check';
import { type TimerEntry, TimerQueue } from '../../src/net/timer.js';

class Entry implements TimerEntry {
  timerIndex = -1;
  timerDueUs: number = Infinity;
  fired: number[] = [];
  again: ((nowUs: number) => void) | null = null;

  onTimer(nowUs: number): void {
    this.fired.push(nowUs);
    this.again?.(nowUs);
  }
}

const entriesOf = (count: number): Entry[] => Array.from({ length: count }, () => new Entry());

describe('net/timer', () => {
  it('fires when due, earliest first, once', () => {
    const queue = new TimerQueue();
    const order: number[] = [];
    const entries = entriesOf(5);
    const due = [50, 10, 40, 10, 20];
    for (const [i, entry] of entries.entries()) {
      entry.again = () => order.push(due[i]!);
      queue.arm(entry, due[i]!);
    }
    expect(queue.nextUs()).to.equal(10);
    queue.run(9);
    expect(order).to.deep.equal([]);
    queue.run(40);
    expect(order).to.deep.equal([10, 10, 20, 40]);
    expect(queue.nextUs()).to.equal(50);
    queue.run(50);
    expect(queue.size).to.equal(0);
    expect(queue.nextUs()).to.equal(Infinity);
    expect(entries[0]!.timerIndex).to.equal(-1);
    expect(entries[0]!.timerDueUs).to.equal(Infinity);
  });

  it('re-arming to later is lazy but never fires early', () => {
    const queue = new TimerQueue();
    const entry = new Entry();
    queue.arm(entry, 100);
    queue.arm(entry, 300);
    expect(queue.size).to.equal(1);
    expect(queue.nextUs()).to.equal(100);
    queue.run(150);
    expect(entry.fired).to.deep.equal([]);
    expect(queue.nextUs()).to.equal(300);
    queue.arm(entry, 200);
    expect(queue.nextUs()).to.equal(200);
    queue.run(200);
    expect(entry.fired).to.deep.equal([200]);
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

  it('does what a sorted list does', () => {
    const step = fc.record({
      what: fc.constantFrom('arm', 'arm', 'cancel', 'run'),
      who: fc.nat(19),
      at: fc.nat(500),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const queue = new TimerQueue();
        const entries = entriesOf(20);
        const model = new Map<Entry, number>();
        const fired: number[] = [];
        for (const entry of entries) entry.again = () => fired.push(entries.indexOf(entry));
        let now = 0;
        for (const { what, who, at } of steps) {
          const entry = entries[who]!;
          if (what === 'arm') {
            queue.arm(entry, now + at);
            model.set(entry, now + at);
          } else if (what === 'cancel') {
            queue.cancel(entry);
            model.delete(entry);
          } else {
            now += at;
            fired.length = 0;
            const due = [...model].filter(([, dueUs]) => dueUs <= now);
            const deadlines = new Map(due.map(([e, dueUs]) => [entries.indexOf(e), dueUs]));
            for (const [e] of due) model.delete(e);
            queue.run(now);
            expect(fired).to.have.members([...deadlines.keys()]);
            const times = fired.map((i) => deadlines.get(i)!);
            expect(times).to.deep.equal([...times].sort((a, b) => a - b));
          }
          expect(queue.size).to.equal(model.size);
          expect(queue.nextUs()).to.be.at.most(Math.min(Infinity, ...model.values()));
        }
      }),
      { numRuns: 150 },
    );
  });
});
