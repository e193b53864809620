/** Banner, ready event, summary, and the statistics and negotiation that are pure functions. */
import { expect } from 'chai';
import type { Failure } from '../../src/app/crew.js';
import { parseRange, prefersHtml } from '../../src/app/http/negotiate.js';
import {
  banner,
  type Running,
  readyEvent,
  summarize,
  summaryLines,
  url,
} from '../../src/app/reports.js';
import { parseServeOptions } from '../../src/app/serve-options.js';
import { evenShares, gammaUpper } from '../../src/lab/chi-square.js';

const RUNNING: Running = {
  tun: 'tunstack0',
  address: '198.18.0.1',
  peer: '198.18.0.254',
  mtu: 1500,
  hash: { secret: 4294967295, profile: '6.18', localAddress: '0.0.0.0' },
  control: '/run/tunstack.sock',
  pid: 7,
  enter: '',
  steering: 0,
};

const STATS = [30, 50].map((accepted, worker) => ({
  worker,
  accepted,
  active: 0,
  requests: 2 * accepted,
  bytesIn: 100,
  bytesOut: 1000,
  resets: 0,
  timeouts: 0,
  restarts: worker,
  state: 'serving' as const,
}));

const FAILURES: Failure[] = [
  { name: 'worker 1', worker: 1, times: 1, connections: 3, last: 'out of luck' },
  { name: 'acceptor', worker: null, times: 2, connections: 0, last: 'exit 3' },
];

describe('lab/chi-square', () => {
  it('agrees with tables', () => {
    // Critical values: 3 degrees of freedom at 5 %, 1 at 5 %, 10 at 1 %.
    expect(gammaUpper(1.5, 7.815 / 2)).to.be.closeTo(0.05, 1e-4);
    expect(gammaUpper(0.5, 3.841 / 2)).to.be.closeTo(0.05, 1e-4);
    expect(gammaUpper(5, 23.209 / 2)).to.be.closeTo(0.01, 1e-5);
    expect(gammaUpper(1, 2)).to.be.closeTo(Math.exp(-2), 1e-12);
    expect(gammaUpper(5, 2)).to.be.closeTo(7 * Math.exp(-2), 1e-12);
    expect(gammaUpper(2, 0)).to.equal(1);
  });

  it('judges shares', () => {
    expect(evenShares([25, 25, 25, 25])).to.deep.equal({ chiSquare: 0, pValue: 1, maxOverMin: 1 });
    const uneven = evenShares([10, 30]);
    expect(uneven.chiSquare).to.equal(10);
    expect(uneven.pValue).to.be.closeTo(0.001565, 1e-6);
    expect(uneven.maxOverMin).to.equal(3);
    expect(evenShares([5, 0]).maxOverMin).to.equal(Number.POSITIVE_INFINITY);
    expect(evenShares([0, 0]).pValue).to.equal(1);
    expect(evenShares([7]).pValue).to.equal(1);
  });
});

describe('app/reports', () => {
  it('announces with the names of the contract', () => {
    expect(readyEvent(parseServeOptions(['--port', '8080']), RUNNING)).to.deep.include({
      event: 'ready',
      url: 'http://198.18.0.1:8080/',
      tun: 'tunstack0',
      workers: 4,
      control: '/run/tunstack.sock',
      hash: { secret: 4294967295, profile: '6.18', localAddress: '0.0.0.0' },
    });
    expect(readyEvent(parseServeOptions([]), RUNNING)).to.include({ queues: 1, steering: null });
    const two = parseServeOptions(['--queues', '2']);
    expect(readyEvent(two, RUNNING)).to.include({ queues: 2, steering: 'ebpf' });
    expect(readyEvent(two, { ...RUNNING, steering: 1 })).to.include({ steering: 'kernel' });
    expect(url('10.0.0.1', 80)).to.equal('http://10.0.0.1/');
  });

  it('shows what to try', () => {
    const text = banner(parseServeOptions([]), RUNNING).join('\n');
    expect(text).to.contain('http://198.18.0.1/').and.to.contain('4 workers, a listener each');
    expect(text).to.contain('curl http://198.18.0.1/whoami').and.not.to.contain('files/');
    const options = parseServeOptions('--workers 1 --services --root . --control /c'.split(' '));
    const more = banner(options, { ...RUNNING, enter: 'nsenter -t 7' }).join('\n');
    expect(more)
      .to.contain('1 worker,')
      .and.to.contain('nsenter -t 7 curl http://198.18.0.1/files/');
    const two = parseServeOptions(['--queues', '2']);
    expect(banner(two, RUNNING).join('\n')).to.contain('2 queues, a stack thread each, packets st');
    expect(banner(two, { ...RUNNING, steering: 1 }).join('\n')).to.contain('the kernel (EPERM');
    expect(text).not.to.contain('queue');
    expect(more).to.contain('nc 198.18.0.1 7').and.to.contain('--control /run/tunstack.sock');
  });

  it('sums up', () => {
    const counters = { TcpRetransSegs: 3, ListenDrops: 2, TunTxDropped: 1, TcpInErrs: 0 };
    const summary = summarize(STATS, counters, 12.34, FAILURES);
    expect(summary).to.deep.include({
      event: 'summary',
      connections: [30, 50],
      bytes: { in: 200, out: 2000 },
      retransmits: 3,
      drops: 3,
      dropReasons: { ListenDrops: 2, TunTxDropped: 1 },
      chiSquare: 5,
      failed: [1],
      failures: FAILURES,
    });
    expect(summaryLines(summary)).to.deep.equal([
      'served for 12.3 s: 80 connections',
      '  worker 0: 30 connections (37.5 %), 60 requests',
      '  worker 1: 50 connections (62.5 %), 100 requests',
      '  worker 1 failed once, 3 connections reset with it; the last reason: out of luck',
      '  acceptor failed 2 times; the last reason: exit 3',
      '  evenness: chi-square 5.00, p = 0.025',
      '  bytes: 200 in, 2000 out; retransmits: 3',
      '  drops: 3 (ListenDrops 2, TunTxDropped 1)',
    ]);
    // Ports repeat, and with a port its worker: a chi-square of these would cry wolf.
    const many = STATS.map((row) => ({ ...row, accepted: row.accepted * 1000 }));
    expect(summaryLines(summarize(many, {}, 1, []))).to.include(
      '  evenness: largest / smallest share 1.67',
    );
    const nothing = summaryLines(summarize([{ ...STATS[0]!, accepted: 0 }], {}, 0, []));
    expect(nothing[1]).to.equal('  worker 0: 0 connections, 60 requests');
    expect(nothing.at(-1)).to.equal('  drops: 0');
  });
});

describe('app/http/negotiate', () => {
  it('knows who prefers HTML', () => {
    for (const accept of [
      'text/html',
      'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8',
      'TEXT/HTML;level=1;q=0.5, text/plain;q=0.4',
    ]) {
      expect(prefersHtml(accept), accept).to.equal(true);
    }
    for (const accept of [
      '',
      '*/*',
      'text/*',
      'text/plain',
      'text/html;q=0.5, text/plain',
      'text/html;q=0',
      'text/html;q=0.5, */*',
      'text/html;q=nonsense',
    ]) {
      expect(prefersHtml(accept), accept).to.equal(false);
    }
  });

  it('reads a single byte range', () => {
    expect(parseRange('bytes=0-0', 10)).to.deep.equal({ from: 0, to: 1 });
    expect(parseRange('Bytes=5-', 10)).to.deep.equal({ from: 5, to: 10 });
    expect(parseRange('bytes=5-99', 10)).to.deep.equal({ from: 5, to: 10 });
    expect(parseRange('bytes=-3', 10)).to.deep.equal({ from: 7, to: 10 });
    expect(parseRange('bytes=-99', 10)).to.deep.equal({ from: 0, to: 10 });
    for (const range of ['', 'bytes=', 'bytes=-', 'bytes=1-2,4-5', 'lines=1-2', 'bytes=3-2']) {
      expect(parseRange(range, 10), range).to.equal(null);
    }
    expect(parseRange('bytes=10-', 10)).to.equal('unsatisfiable');
    expect(parseRange('bytes=-0', 10)).to.equal('unsatisfiable');
    expect(parseRange('bytes=-1', 0)).to.equal('unsatisfiable');
  });
});
