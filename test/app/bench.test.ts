/**
 * `bench`: its command line, and what it makes of samples. The samples themselves are end to end.
 */
import { expect } from 'chai';
import { parseCounters } from '../../src/app/bench/kernel-counters.js';
import { parseWrk } from '../../src/app/bench/loads.js';
import type { Figure } from '../../src/app/bench/measure.js';
import { parseBenchOptions } from '../../src/app/bench/options.js';
import { median, ratioOf, rowOf } from '../../src/app/bench/pairs.js';
import { figureNames, GROUPS, PROBES, probesFor } from '../../src/app/bench/registry.js';
import { tableLines } from '../../src/app/bench/report.js';
import { UsageError } from '../../src/app/command.js';
import { main } from '../../src/app/main.js';

const FIGURE: Figure = {
  name: 'keepalive',
  unit: '1/s',
  goal: { of: 'ratio', atLeast: 1.5 },
  about: '',
};

async function said(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const lines = { out: [] as string[], err: [] as string[] };
  const io = {
    out: (line: string) => lines.out.push(line),
    err: (line: string) => lines.err.push(line),
    env: {},
    color: false,
  };
  const code = await main(['bench', ...argv], io);
  return { code, out: lines.out.join('\n'), err: lines.err.join('\n') };
}

describe('app/bench: what is made of samples', () => {
  it('takes the middle one, or the mean of the middle two', () => {
    expect(median([9, 1, 5])).to.equal(5);
    expect(median([9, 1, 5, 7])).to.equal(6);
  });

  it('divides medians, and gives the range of the pairs', () => {
    expect(ratioOf([10, 20, 90], [10, 40, 30])).to.deep.equal({
      median: 20 / 30,
      min: 0.5,
      max: 3,
    });
  });

  it('makes a row, and says whether the goal is met', () => {
    const samples = { ours: [300, 100, 200], kernel: [100, 100, 100] };
    const row = rowOf(FIGURE, samples);
    expect(row).to.deep.equal({
      measure: 'keepalive',
      unit: '1/s',
      pairs: 3,
      ours: { median: 200, min: 100, max: 300 },
      kernel: { median: 100, min: 100, max: 100 },
      ratio: { median: 2, min: 1, max: 3 },
      goal: { of: 'ratio', atLeast: 1.5 },
      met: true,
      samples,
    });
    expect(rowOf({ ...FIGURE, goal: { of: 'ratio', atMost: 1.5 } }, samples).met).to.equal(false);
    expect(rowOf({ ...FIGURE, goal: { of: 'ours', atLeast: 201 } }, samples).met).to.equal(false);
    expect(rowOf({ ...FIGURE, goal: null }, samples).met).to.equal(null);
    const alone = rowOf(
      { ...FIGURE, goal: { of: 'ours', atMost: 200 } },
      { ...samples, kernel: [] },
    );
    expect(alone).to.deep.include({ kernel: null, ratio: null, met: true });
  });

  it('prints rows with their goals', () => {
    const row = rowOf(FIGURE, { ours: [45_600, 45_700], kernel: [30_000, 40_000] });
    const [head, line] = tableLines([row]);
    expect(head).to.match(/^measure +unit +pairs +ours +kernel +ours \/ kernel +goal +met$/);
    expect(line!.split(/ {1,}/).join(' ')).to.equal(
      'keepalive 1/s 2 45,650 (45,600-45,700) 35,000 (30,000-40,000) ' +
        '1.30 (1.14-1.52) ratio >= 1.5 no',
    );
  });

  it('reads what wrk says, and does not take errors for answers', () => {
    const text = '  12345 requests in 3.00s, 1MB read\nRequests/sec:   4115.25\n';
    expect(parseWrk(text, 64)).to.deep.equal({ requests: 12_345, perSecond: 4115.25 });
    expect(() => parseWrk(`${text}  Non-2xx or 3xx responses: 7\n`, 64)).to.throw('Non-2xx');
    const errors = '  Socket errors: connect 1, read 60, write 2, timeout 2\n';
    expect(() => parseWrk(text + errors, 64)).to.throw('timeout 2');
    expect(parseWrk(text + errors, 65).requests).to.equal(12_345);
  });

  it("reads the kernel's counters", () => {
    const text = 'Tcp: InSegs OutSegs\nTcp: 5 7\nTcpExt: SyncookiesSent\nTcpExt: 3\n';
    expect(parseCounters(text)).to.deep.equal({
      TcpInSegs: 5,
      TcpOutSegs: 7,
      TcpExtSyncookiesSent: 3,
    });
  });
});

describe('app/bench: command line', () => {
  it('has a probe for every figure, and each name once', () => {
    const names = figureNames();
    expect(new Set(names).size).to.equal(names.length);
    for (const group of Object.values(GROUPS)) expect(names).to.include.members([...group]);
    expect(probesFor(new Set(names))).to.deep.equal(PROBES);
  });

  it('knows names, groups and all', () => {
    const bulk = parseBenchOptions(['bulk-out', 'keepalive', '--pairs', '7']);
    expect([...bulk.names]).to.deep.equal(['bulk-out-1', 'bulk-out-4', 'keepalive']);
    expect(bulk.sizes).to.include({ pairs: 7, seconds: 3, workers: 1, congestion: 'reno' });
    expect(parseBenchOptions([]).names).to.deep.equal(parseBenchOptions(['all']).names);
    const all = parseBenchOptions(['all', '--quick', '--congestion', 'cubic']);
    expect(all.names.size).to.equal(figureNames().length);
    expect(all.sizes).to.include({ pairs: 2, seconds: 1, congestion: 'cubic' });
  });

  it('refuses what it does not know', () => {
    for (const argv of [
      ['warp'],
      ['keepalive', '--pairs', '0'],
      ['keepalive', '--pairs', '1.5'],
      ['keepalive', '--seconds', '61'],
      ['keepalive', '--congestion', 'bbr'],
      ['keepalive', '--speed', '9'],
    ]) {
      expect(() => parseBenchOptions(argv), argv.join(' ')).to.throw(UsageError);
    }
  });

  it('lists the measures with their goals, without any privilege', async () => {
    const { code, out } = await said('--list');
    expect(code).to.equal(0);
    for (const name of figureNames()) expect(out).to.match(new RegExp(`^${name} `, 'm'));
    expect(out).to.match(/^keepalive +1\/s +ratio >= 1\.5 +GET \/ok on 64/m);
  });

  it('says which word is wrong, and what is near it', async () => {
    const { code, err } = await said('keepalives');
    expect(code).to.equal(2);
    expect(err).to.contain('there is no measure "keepalives"').and.to.contain('bench keepalive');
  });
});
