/**
 * `bench` from end to end with tiny sizes: every measure gives its row, and the counts in it are
 * those of something that has happened. How fast anything is, is not looked at. And a run that is
 * interrupted or killed leaves no process behind, and so no namespace and no device.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as delay } from 'node:timers/promises';
import { expect } from 'chai';
import type { Row } from '../../src/app/bench/measure.js';
import { figureNames, GROUPS } from '../../src/app/bench/registry.js';
import { devices, ended, processesMarked, run, suiteWith } from './machine.js';
import { TUNSTACK } from './serve-process.js';

const TINY = ['--quick', '--pairs', '1', '--seconds', '0.2', '--connections', '50'];
const CROWD = ['--crowd', '1000'];
/** Figures that are zero when all goes well. */
const MAY_BE_ZERO = [
  'synflood-failed',
  'cpu-per-gb',
  'cpu-per-gb-in',
  'idle-bytes',
  'step-request-ack',
];
/** Figures without the kernel beside them. */
const ALONE = /^(idle-bytes-1m|crowd-|device-|step-)/;
/** What the names of the measures are, for those who read the JSON. */
const NAMES = [
  ...['keepalive', 'keepalive-http', 'connections-64', 'connections-256', 'bulk-out-1'],
  ...['bulk-out-4', 'bulk-in-1', 'bulk-in-4', 'echo', 'pingpong-p50', 'pingpong-p99'],
  ...['cpu-per-gb', 'cpu-per-mreq', 'plain-out-1500', 'plain-in-1500', 'plain-out-65000'],
  ...['plain-in-65000', 'idle-bytes', 'idle-bytes-1m', 'lookup-curve', 'synflood'],
];

type Printed = Row & { error?: string; machine?: Record<string, unknown> };

/** Runs marked with an environment variable of their own, so that all they started can be found. */
function startMarked(mark: string, ...args: string[]): ChildProcess {
  const [command, ...front] = TUNSTACK;
  return spawn(command!, [...front, 'bench', ...args], {
    env: { ...process.env, TUNSTACK_TEST_MARK: mark },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
}

/** Resolves when the run has taken its first pair. */
function firstPair(child: ChildProcess): Promise<void> {
  let text = '';
  return new Promise((resolve, reject) => {
    child.stderr!.on('data', (more: Buffer) => {
      text += more.toString();
      if (text.includes('bench: 1/')) resolve();
    });
    child.once('close', () => reject(new Error(text)));
  });
}

suiteWith(['netns', 'tun', 'root', 'ip', 'wrk'], 'bench', () => {
  const rows = new Map<string, Printed>();
  let stderr = '';
  let code: number | null = null;

  before(async function () {
    this.timeout(600_000);
    const result = await run([...TUNSTACK, 'bench', 'all', '--json', ...TINY, ...CROWD]);
    ({ stderr, code } = result);
    for (const line of result.stdout.trim().split('\n')) {
      const row = JSON.parse(line) as Printed;
      rows.set(row.measure, row);
    }
  });

  it('ends well and leaves nothing', () => {
    expect({ code, stderr }, stderr).to.include({ code: 0 });
    expect(devices()).to.not.include('bench-tun').and.not.include('bench0');
  });

  it('has every measure that has a name', () => {
    expect(figureNames()).to.include.members(NAMES);
    expect([...rows.keys()]).to.have.members(figureNames());
    expect(Object.keys(GROUPS)).to.include.members([
      ...['http', 'cps', 'bulk', 'lookup', 'memory', 'accept'],
    ]);
  });

  for (const name of figureNames()) {
    if (name === 'lookup-curve') continue; // test/app/lab.test.ts
    it(`${name}: a row with both sides and sane counts`, () => {
      const row = rows.get(name)!;
      expect(row, stderr).to.include.keys('unit', 'pairs', 'ours', 'kernel', 'ratio', 'samples');
      const isAlone = ALONE.test(name);
      expect(row.kernel === null).to.equal(isAlone);
      for (const side of [row.ours, row.kernel]) {
        if (side === null) continue;
        expect(side.min).to.be.at.most(side.median);
        expect(side.max).to.be.at.least(side.median);
        if (!MAY_BE_ZERO.includes(name)) expect(side.min, JSON.stringify(row)).to.be.above(0);
      }
      if (!name.startsWith('step-')) expect(row.samples.ours).to.have.lengthOf(row.pairs);
      expect(row.samples.kernel).to.have.lengthOf(isAlone ? 0 : row.pairs);
      if (row.ratio !== null) {
        expect(row.ratio.median).to.be.closeTo(row.ours.median / row.kernel!.median, 1e-9);
      }
      expect(row.met).to.be.oneOf(row.goal === null ? [null] : [true, false, null]);
    });
  }

  it('counts connections that failed in the flood: none', () => {
    expect(rows.get('synflood-failed')!.samples).to.deep.equal({ ours: [0], kernel: [0] });
  });

  it('says on what machine and with which congestion control', () => {
    const { machine } = rows.get('keepalive')!;
    expect(machine).to.include({ congestion: 'reno', workers: 1, node: process.versions.node });
    expect(machine).to.include.keys('cores', 'model', 'kernel', 'loadAverage', 'seconds');
  });

  it('Ctrl-C ends it with 130, and every process it has started', async () => {
    const mark = `bench-interrupted-${process.pid}`;
    const child = startMarked(mark, 'keepalive', '--pairs', '60', '--seconds', '1');
    await firstPair(child);
    child.kill('SIGINT');
    const { code: exit, stderr: words } = await ended(child);
    expect(exit, words).to.equal(130);
    expect(processesMarked(mark)).to.deep.equal([]);
  });

  it('even killed, it leaves no process', async () => {
    const mark = `bench-killed-${process.pid}`;
    const child = startMarked(mark, 'bulk-in-1', '--pairs', '60', '--seconds', '1');
    await firstPair(child);
    child.kill('SIGKILL');
    await ended(child);
    while (processesMarked(mark).length > 0) await delay(50); // the test's own time limit ends it
  });

  it('refuses without root, and says what to type', async () => {
    const argv = ['setpriv', '--reuid=65534', '--regid=65534', '--clear-groups'];
    const cli = new URL('../../src/app/cli.js', import.meta.url).pathname;
    const { code: exit, stderr: words } = await run([
      ...argv,
      process.execPath,
      cli,
      'bench',
      'echo',
    ]);
    expect({ exit, words }).to.deep.include({ exit: 77 });
    expect(words).to.contain('takes root').and.to.contain('sudo npx tunstack bench');
  });
});
