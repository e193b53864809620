/** The range list against a naive set of bytes, at every place of the sequence space. */
import { expect } from 'chai';
import fc from 'fast-check';
import { MAX_RANGES, Ranges } from '../../src/tcp/ranges.js';

/** Ranges of a set of offsets. */
function runs(set: Set<number>): [number, number][] {
  const sorted = [...set].sort((a, b) => a - b);
  const out: [number, number][] = [];
  for (const at of sorted) {
    const last = out.at(-1);
    if (last !== undefined && last[1] === at) last[1] = at + 1;
    else out.push([at, at + 1]);
  }
  return out;
}

type Step = { kind: 'add' | 'trim'; at: number; length: number };

const steps = fc.array(
  fc.record({
    kind: fc.constantFrom<'add' | 'trim'>('add', 'add', 'add', 'add', 'trim'),
    at: fc.integer({ min: 0, max: 200 }),
    length: fc.integer({ min: 1, max: 30 }),
  }),
  { maxLength: 40 },
);
/** Places where signs change, and others. */
const bases = fc.constantFrom(0, 100, 0x7fffffff - 100, -100, -0x80000000, 12_345_678);

function apply(ranges: Ranges, model: Set<number>, base: number, step: Step): void {
  const left = (base + step.at) | 0;
  if (step.kind === 'trim') {
    ranges.trimBefore(left);
    for (const at of model) if (at < step.at) model.delete(at);
    return;
  }
  const before = model.size;
  for (let i = 0; i < step.length; i++) model.add(step.at + i);
  expect(ranges.add(left, (left + step.length) | 0)).to.equal(model.size - before);
}

describe('tcp: ranges', () => {
  it('is the set of bytes that were added, after any steps', () => {
    fc.assert(
      fc.property(steps, bases, (list, base) => {
        const ranges = new Ranges();
        const model = new Set<number>();
        for (const step of list) {
          apply(ranges, model, base, step);
          const expected = runs(model);
          expect(ranges.count).to.equal(expected.length);
          expect(ranges.bytes).to.equal(model.size);
          expected.forEach(([l, r], i) => {
            expect(ranges.left(i)).to.equal((base + l) | 0);
            expect(ranges.right(i)).to.equal((base + r) | 0);
          });
        }
      }),
      { numRuns: 200 },
    );
  });

  it('finds bytes and counts them within bounds', () => {
    fc.assert(
      fc.property(steps, bases, fc.nat(240), fc.nat(240), (list, base, a, b) => {
        const ranges = new Ranges();
        const model = new Set<number>();
        for (const step of list) apply(ranges, model, base, step);
        const index = ranges.find((base + a) | 0);
        const expected = runs(model).findIndex(([l, r]) => l <= a && a < r);
        expect(index).to.equal(expected);
        const [from, to] = a < b ? [a, b] : [b, a];
        const inside = [...model].filter((at) => at >= from && at < to).length;
        expect(ranges.covered((base + from) | 0, (base + to) | 0)).to.equal(inside);
      }),
      { numRuns: 200 },
    );
  });

  it('merges what touches', () => {
    const ranges = new Ranges();
    expect(ranges.add(10, 20)).to.equal(10);
    expect(ranges.add(30, 40)).to.equal(10);
    expect(ranges.add(20, 30)).to.equal(10);
    expect([ranges.count, ranges.left(0), ranges.right(0)]).to.deep.equal([1, 10, 40]);
    expect(ranges.add(15, 25)).to.equal(0);
  });

  it('holds MAX_RANGES and refuses one more, but still merges', () => {
    const ranges = new Ranges();
    for (let i = 0; i < MAX_RANGES; i++) expect(ranges.add(i * 10, i * 10 + 1)).to.equal(1);
    expect(ranges.add(MAX_RANGES * 10, MAX_RANGES * 10 + 1)).to.equal(-1);
    expect(ranges.bytes).to.equal(MAX_RANGES);
    expect(ranges.add(1, 10)).to.equal(9);
    expect(ranges.count).to.equal(MAX_RANGES - 1);
    expect(ranges.add(MAX_RANGES * 10, MAX_RANGES * 10 + 1)).to.equal(1);
    ranges.clear();
    expect([ranges.count, ranges.bytes]).to.deep.equal([0, 0]);
  });
});
