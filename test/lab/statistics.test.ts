/** Figures of samples that can be computed by hand, and the clock's order. */
import { expect } from 'chai';
import fc from 'fast-check';
import { Agenda } from '../../src/lab/agenda.js';
import { Dice, scaled } from '../../src/lab/experiment.js';
import { latencyRow, quantile, shareRow } from '../../src/lab/statistics.js';

describe('lab/statistics', () => {
  it('takes quantiles between neighbours', () => {
    expect(quantile([1, 2, 3, 4], 0.5)).to.equal(2.5);
    expect(quantile([1, 2, 3], 0.5)).to.equal(2);
    expect(quantile([1, 2, 3], 0)).to.equal(1);
    expect(quantile([1, 2, 3], 1)).to.equal(3);
    expect(quantile([0, 100], 0.99)).to.equal(99);
    expect(quantile([], 0.5)).to.be.NaN;
  });

  it('makes a latency row of times in any order, in milliseconds, and leaves them alone', () => {
    const times = Float64Array.from([9000, 2000, 4000, 4000, 4000, 5000, 5000, 7000]);
    expect(latencyRow('x', times)).to.deep.equal({
      policy: 'x',
      meanMs: 5,
      medianMs: 4.5,
      p99Ms: 8.86,
      minMs: 2,
      maxMs: 9,
      deviationMs: 2,
    });
    expect(times[0]).to.equal(9000);
  });

  it('mean, median and extremes are in order for any sample', () => {
    const sample = fc.array(fc.double({ min: 0, max: 1e7, noNaN: true }), { minLength: 1 });
    fc.assert(
      fc.property(sample, (values) => {
        const row = latencyRow('x', Float64Array.from(values));
        expect(row.minMs).to.be.at.most(row.medianMs).and.at.most(row.meanMs);
        expect(row.maxMs).to.be.at.least(row.p99Ms).and.at.least(row.meanMs);
        expect(row.p99Ms).to.be.at.least(row.medianMs);
        expect(row.deviationMs).to.be.at.most(row.maxMs - row.minMs + 1e-6);
      }),
      { numRuns: 100 },
    );
  });

  it('makes a share row; nobody serves nothing without being seen', () => {
    const row = shareRow('B', [30, 10, 20]);
    expect(row).to.include({ model: 'B', maxOverMin: 3, chiSquare: 10 });
    // Two degrees of freedom: the tail is exp(-x / 2).
    expect(row.pValue).to.be.closeTo(Math.exp(-5), 1e-9);
    expect(shareRow('C', [4, 0])).to.include({ maxOverMin: null, chiSquare: 4 });
  });
});

describe('lab/agenda', () => {
  it('does what is due in the order of time, equals in the order of entry', () => {
    const delays = fc.array(fc.integer({ min: 0, max: 20 }), { maxLength: 60 });
    fc.assert(
      fc.property(delays, (list) => {
        const agenda = new Agenda(1000);
        const done: [number, number][] = [];
        list.forEach((delay, i) => {
          agenda.after(delay, () => done.push([agenda.nowUs, i]));
        });
        expect(agenda.size).to.equal(list.length);
        while (agenda.step());
        const expected = list.map((delay, i): [number, number] => [1000 + delay, i]);
        expected.sort((a, b) => a[0] - b[0] || a[1] - b[1]);
        expect(done).to.deep.equal(expected);
      }),
      { numRuns: 100 },
    );
  });

  it('takes what a deed enters while it is done', () => {
    const agenda = new Agenda(0);
    const times: number[] = [];
    const again = (): void => {
      times.push(agenda.nowUs);
      if (times.length < 3) agenda.after(5, again);
    };
    agenda.after(1, again);
    while (agenda.step());
    expect(times).to.deep.equal([1, 6, 11]);
  });
});

describe('lab/experiment', () => {
  it('throws dice that are fair and repeat with the seed', () => {
    const [one, same, other] = [new Dice(1), new Dice(1), new Dice(2)];
    const draws = Array.from({ length: 2000 }, () => one.uniform());
    expect(Array.from({ length: 2000 }, () => same.uniform())).to.deep.equal(draws);
    expect(other.uniform()).to.not.equal(draws[0]);
    expect(draws.every((draw) => draw >= 0 && draw < 1)).to.equal(true);
    const exponentials = Array.from({ length: 20_000 }, () => one.exponential(7));
    expect(exponentials.reduce((sum, x) => sum + x, 0) / 20_000).to.be.closeTo(7, 0.3);
    expect(Math.min(...exponentials)).to.be.at.least(0);
    expect(new Set(Array.from({ length: 200 }, () => one.below(3)))).to.deep.equal(
      new Set([0, 1, 2]),
    );
  });

  it('scales with a floor', () => {
    expect(scaled(1000, { seed: 1, scale: 0.25 })).to.equal(250);
    expect(scaled(1000, { seed: 1, scale: 0.0001 }, 40)).to.equal(40);
  });
});
