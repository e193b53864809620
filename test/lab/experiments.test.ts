/**
 * Every experiment on a small scale: its verdicts, its shape, and that the seed fixes it. The scale
 * of each is the least that leaves its claims room to be seen.
 */
import { expect } from 'chai';
import type { Report, Row } from '../../src/lab/experiment.js';
import { EXPERIMENTS } from '../../src/lab/experiments.js';

interface Runs {
  /** Scale at which the verdicts must hold. */
  readonly verdicts: number;
  /** Scale of the other tests. */
  readonly scale: number;
  /** Chance has a part in the rows. */
  readonly random: boolean;
}

const RUNS: Readonly<Record<string, Runs>> = {
  models: { verdicts: 0.1, scale: 0.1, random: true },
  herbert: { verdicts: 0.2, scale: 0.1, random: true },
  nginx: { verdicts: 0.2, scale: 0.2, random: true },
  // The start of the run, when queues are empty, is no small part of a short one.
  cloudflare: { verdicts: 0.5, scale: 0.02, random: true },
  'epoll-order': { verdicts: 1, scale: 1, random: false },
  churn: { verdicts: 0.2, scale: 0.2, random: true },
  hash: { verdicts: 0.2, scale: 0.2, random: true },
  lookup: { verdicts: 0.1, scale: 0.1, random: true },
};

const LATENCY = ['policy', 'meanMs', 'medianMs', 'p99Ms', 'minMs', 'maxMs', 'deviationMs'];
const SHARES = ['model', 'shares', 'maxOverMin', 'chiSquare', 'pValue'];
/** The fixed columns of those whose rows have them. */
const COLUMNS: Readonly<Record<string, readonly string[]>> = {
  models: SHARES,
  herbert: SHARES,
  nginx: LATENCY,
  cloudflare: LATENCY,
  hash: SHARES,
};

describe('lab/experiments', () => {
  it('are the eight that the command line names', () => {
    expect(EXPERIMENTS.map(({ name }) => name)).to.deep.equal(Object.keys(RUNS));
  });

  for (const experiment of EXPERIMENTS) {
    const { verdicts, scale, random } = RUNS[experiment.name]!;
    describe(experiment.name, function () {
      this.timeout(120_000);
      let report: Report;
      before(() => {
        report = experiment.run({ seed: 1, scale });
      });

      it('bears out what was published', () => {
        const few = experiment.repeats ? { runs: 3 } : {};
        const whole =
          verdicts === scale ? report : experiment.run({ seed: 1, scale: verdicts, ...few });
        expect(whole.verdicts).to.not.have.lengthOf(0);
        expect(whole.verdicts.filter(({ holds }) => !holds)).to.deep.equal([]);
      });

      it('has the shape that is promised, also as JSON', () => {
        const { experiment: name, seed, parameters, rows, published } = report;
        expect({ name, seed }).to.deep.equal({ name: experiment.name, seed: 1 });
        expect(Object.keys(report)).to.have.members([
          ...['experiment', 'seed', 'parameters', 'rows', 'published', 'verdicts'],
        ]);
        expect(parameters).to.include.all.keys('real', 'simulated');
        expect(published.every((figure: Row) => typeof figure['source'] === 'string')).to.equal(
          true,
        );
        const promised = COLUMNS[name] ?? [];
        for (const found of rows) expect(Object.keys(found)).to.include.members(promised);
        expect(JSON.parse(JSON.stringify(report))).to.deep.equal(report);
      });

      if (experiment.repeats) {
        it('repeats what scatters as often as asked for, and says how it does', () => {
          const { parameters, rows } = experiment.run({ seed: 1, scale: 0.02, runs: 3 });
          expect(parameters['hashRuns']).to.equal(3);
          expect(parameters['hashScatter']).to.match(
            /^mean [\d.]+ ± [\d.]+ \([\d.]+ to [\d.]+\), /,
          );
          expect(parameters['hashInside']).to.match(/^[0-3] of 3 runs: /);
          expect(rows).to.deep.equal(experiment.run({ seed: 1, scale: 0.02 }).rows);
        });
      }

      it('is repeated by its seed and not by another', () => {
        expect(experiment.run({ seed: 1, scale }).rows).to.deep.equal(report.rows);
        const other = experiment.run({ seed: 2, scale }).rows;
        if (random) expect(other).to.not.deep.equal(report.rows);
        else expect(other).to.deep.equal(report.rows);
      });
    });
  }
});
