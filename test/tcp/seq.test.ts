/** Sequence arithmetic against the definition in whole numbers. */
import { expect } from 'chai';
import fc from 'fast-check';
import {
  between,
  after as isAfter,
  before as isBefore,
  seqMax,
  seqMin,
} from '../../src/tcp/seq.js';

const seq = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const step = fc.integer({ min: 1, max: 2 ** 31 - 1 });

describe('tcp: sequence numbers', () => {
  it('orders across both wraps', () => {
    expect(isBefore(0x7fffffff, -0x80000000)).to.equal(true);
    expect(isBefore(-1, 0)).to.equal(true);
    expect(isAfter(0, -1)).to.equal(true);
    expect(isBefore(5, 5)).to.equal(false);
    expect(isAfter(5, 5)).to.equal(false);
    expect(between(-1, -2, 1)).to.equal(true);
    expect(between(2, -2, 1)).to.equal(false);
    expect(between(0, 0, 0)).to.equal(true);
  });

  it('a step forward is after, everywhere and for every step below 2^31', () => {
    fc.assert(
      fc.property(seq, step, (a, n) => {
        const b = (a + n) | 0;
        expect(isBefore(a, b)).to.equal(true);
        expect(isAfter(b, a)).to.equal(true);
        expect(isBefore(b, a)).to.equal(false);
        expect(seqMax(a, b)).to.equal(b);
        expect(seqMax(b, a)).to.equal(b);
        expect(seqMin(a, b)).to.equal(a);
        expect(seqMin(b, a)).to.equal(a);
      }),
      { numRuns: 300 },
    );
  });

  it('between counts unsigned distances from the low end', () => {
    const distance = fc.integer({ min: 0, max: 2 ** 32 - 1 });
    fc.assert(
      fc.property(seq, distance, distance, (low, width, at) => {
        const inside = between((low + at) | 0, low, (low + width) | 0);
        expect(inside).to.equal(at <= width);
      }),
      { numRuns: 300 },
    );
  });
});
