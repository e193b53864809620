/** `lab` and `bench`: what they print, what they refuse, and their exit codes. */
import { expect } from 'chai';
import { bench } from '../../src/app/bench.js';
import type { LookupCurve } from '../../src/app/bench-lookup.js';
import { EXIT_FAILED } from '../../src/app/command.js';
import { runExperiment } from '../../src/app/lab.js';
import { reportLines, tableLines } from '../../src/app/lab-tables.js';
import type { Report } from '../../src/lab/experiment.js';
import { EXPERIMENTS } from '../../src/lab/experiments.js';
import { listening, run } from './run-main.js';

const REPORT: Report = {
  experiment: 'some',
  seed: 3,
  parameters: { workers: 4, real: 'words '.repeat(40).trim() },
  rows: [
    { model: 'B', shares: [3, 1], maxOverMin: 3, pValue: 0.00012345 },
    { model: 'C', shares: [2, 2], maxOverMin: null, pValue: 0.51239, load: 1234.5678 },
  ],
  published: [{ model: 'B', maxOverMin: 3, source: 'Somebody 2013' }],
  verdicts: [
    { claim: 'this is so', holds: true },
    { claim: 'that is so', holds: false },
  ],
};

describe('app/lab', () => {
  it('prints ours beside what was published, and a line for each verdict', async () => {
    const { code, out, err } = await run('lab', 'epoll-order');
    expect(code).to.equal(0);
    expect(err).to.equal('');
    expect(out).to.match(/^ {2}blocking accept +2 1 0 2 1 0 /m);
    expect(out).to.contain('Majkowski, Cloudflare 2017');
    expect(out.match(/^ {2}✓ /gm)).to.have.lengthOf(3);
  });

  it('--json prints one object on one line', async () => {
    const { code, out } = await run('lab', 'epoll-order', '--seed', '7', '--json');
    expect(code).to.equal(0);
    expect(out).to.not.contain('\n');
    const report = JSON.parse(out) as Report;
    expect(Object.keys(report)).to.deep.equal([
      ...['experiment', 'seed', 'parameters', 'rows', 'published', 'verdicts'],
    ]);
    expect(report).to.include({ experiment: 'epoll-order', seed: 7 });
  });

  it('--seed and --scale go to the experiment', async () => {
    const flows = async (...more: string[]): Promise<Report> =>
      JSON.parse((await run('lab', 'hash', '--scale', '0.2', '--json', ...more)).out);
    const [first, again, other] = [await flows(), await flows('--seed=1'), await flows('--seed=2')];
    expect(first.parameters['flows']).to.equal(1600);
    expect(again).to.deep.equal(first);
    expect(other.rows).to.not.deep.equal(first.rows);
  });

  it('a claim that does not hold is named on stderr, exit code 1', () => {
    const { io, out, err } = listening();
    const experiment = { name: 'some', summary: '', run: () => REPORT };
    expect(runExperiment(experiment, { seed: 3, scale: 1 }, false, io)).to.equal(EXIT_FAILED);
    expect(err).to.deep.equal(['tunstack: lab some: not so: that is so']);
    expect(out.at(-1)).to.equal('  ✗ that is so');
  });

  for (const [argv, what, type] of [
    [['lab'], 'which experiment?', 'lab lookup'],
    [['lab', 'herbet'], 'there is no experiment "herbet"', 'lab herbert'],
    [['lab', 'models', 'hash'], 'unexpected argument "hash"', '--help'],
    [['lab', 'hash', '--seed', '-1'], '--seed must be', '--seed 7'],
    [['lab', 'hash', '--seed', '4294967296'], '--seed must be', '--seed 7'],
    [['lab', 'hash', '--seed', 'x'], '--seed must be', '--seed 7'],
    [['lab', 'hash', '--scale', '0'], '--scale must be', '--scale 0.1'],
    [['lab', 'hash', '--scale', '1.5'], '--scale must be', '--scale 0.1'],
    [['lab', 'hash', '--scale', 'x'], '--scale must be', '--scale 0.1'],
    [['lab', 'cloudflare', '--runs', '1'], '--runs must be', '--runs 50'],
    [['lab', 'cloudflare', '--runs', '1001'], '--runs must be', '--runs 50'],
    [['lab', 'herbert', '--runs', '9'], 'herbert repeats nothing', 'lab herbert'],
  ] as const) {
    it(`refuses ${argv.join(' ')}`, async () => {
      const { code, out, err } = await run(...argv);
      expect({ code, out }).to.deep.equal({ code: 2, out: '' });
      expect(err).to.contain(what).and.to.contain(type);
    });
  }

  it('lists the experiments in its help and when one is unknown', async () => {
    const help = await run('lab', '--help');
    const unknown = await run('lab', 'quantum');
    expect([help.code, unknown.code]).to.deep.equal([0, 2]);
    for (const { name } of EXPERIMENTS) {
      expect(help.out).to.contain(name);
      expect(unknown.err).to.contain(name);
    }
  });
});

describe('app/lab-tables', () => {
  it('aligns numbers to the right and shows gaps, arrays and small numbers', () => {
    expect(tableLines(REPORT.rows)).to.deep.equal([
      'model shares maxOverMin pValue   load',
      'B     3 1             3 1.2e-4      -',
      'C     2 2             - 0.5124 1234.6',
    ]);
  });

  it('breaks long parameters and colours verdicts where colour is wanted', () => {
    const plain = reportLines(REPORT, false);
    expect(plain.every((line) => line.length <= 100)).to.equal(true);
    expect(plain.filter((line) => line.includes('words'))).to.have.lengthOf(3);
    expect(plain).to.include('  ✓ this is so').and.to.include('  ✗ that is so');
    const coloured = reportLines(REPORT, true).join('\n');
    expect(coloured).to.contain('\u001b[32m✓\u001b[0m this');
    expect(coloured).to.contain('\u001b[31m✗\u001b[0m that');
    expect(plain.join('\n')).to.not.contain('\u001b');
  });
});

describe('app/bench', function () {
  this.timeout(30_000);

  it('lookup prints a curve over members and connections', async () => {
    const { io, out } = listening();
    expect(await bench.run(['lookup', '--quick', '--json'], io)).to.equal(0);
    const curve = JSON.parse(out.join('')) as LookupCurve;
    expect(curve).to.include({ measure: 'lookup-curve', unit: 'ns', pairs: 3 });
    expect(
      curve.points.map(({ of, size, operation }) => `${operation} ${size} ${of}`),
    ).to.deep.equal([
      ...[1, 32, 1024].map((n) => `lookup ${n} members`),
      ...[1, 1000, 100_000].flatMap((n) =>
        ['lookup', 'insert', 'remove'].map((operation) => `${operation} ${n} connections`),
      ),
    ]);
    for (const { median, min, max } of curve.points) {
      expect(min).to.be.above(0).and.at.most(median);
      expect(max).to.be.at.least(median);
    }
    for (const { operation, median, max, reads, beyond } of curve.points) {
      expect(reads === null).to.equal(operation === 'remove');
      expect(beyond === null).to.equal(operation === 'remove');
      if (reads === null) continue;
      expect(reads).to.be.above(0);
      // Medians of the same rounds: what is beyond the reads is less than the whole.
      expect(beyond!).to.be.below(max);
      expect(median).to.be.above(0);
    }
    const visited = curve.points.filter(({ operation }) => operation === 'lookup');
    // One listener, whatever the group's size; one connection and whom it shares a bucket with.
    expect(visited.every((point) => point.visited! >= 1 && point.visited! < 1.2)).to.equal(true);
  });

  it('lookup prints a table', async () => {
    const { code, out } = await run('bench', 'lookup', '--quick');
    expect(code).to.equal(0);
    expect(out).to.match(
      /^ns of CPU an operation, 3 rounds\noperation +size +of +median +min +max +reads +beyond/,
    );
    // No bound on a time: a thousand nanoseconds and more are "1,234".
    expect(out).to.match(/^insert +100,000 connections( +[\d,]+){4} +-?[\d,]+ +-$/m);
  });

  it('refuses what nobody has heard of', async () => {
    const unknown = await run('bench', 'lookup', 'warp');
    expect(unknown.code).to.equal(2);
    expect(unknown.err).to.contain('there is no measure "warp"');
    expect((await run('bench', '--help')).code).to.equal(0);
  });
});
