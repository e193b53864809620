/**
 * Workers that fail while connections come in: whom that costs his connection, that they are
 * started again and take part again, in every accept model; what is left of them; and the end of
 * serve in between.
 */
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'chai';
import { ask } from '../../src/app/control-client.js';
import { connected, exchange, whoamis } from './clients.js';
import { Load } from './load.js';
import { devices, suiteWith } from './machine.js';
import { type ServeProcess, startServe, summaryOf, withServe } from './serve-process.js';

const TEST = { env: { TUNSTACK_TEST: '1' } };
const MIGRATE = ['--sysctl', 'net.ipv4.tcp_migrate_req=1'];
const FAILED =
  /worker (\d+) failed: .*; its (\d+) connections? (?:was|were) reset; starting again/g;
const BACK = /worker \d+ is back/;

interface Crash {
  worker: number;
  connections: number;
}

/** What serve has said about workers that failed. */
function crashes(serve: ServeProcess): Crash[] {
  return [...serve.stderr.matchAll(FAILED)].map(([, worker, connections]) => ({
    worker: Number(worker),
    connections: Number(connections),
  }));
}

function backs(serve: ServeProcess): number {
  return serve.stderr.split(BACK).length - 1;
}

/** Asks for a failure; whoever gets the question fails. */
async function fail({ ready }: ServeProcess, path = '/debug/throw'): Promise<void> {
  expect(await exchange(ready.address, ready.port, path).catch(() => '')).to.equal('');
}

/** Makes one worker fail and waits until it is back; its number. */
async function failAndReturn(serve: ServeProcess, path: string): Promise<number> {
  const before = backs(serve);
  await fail(serve, path);
  await serve.said(BACK, before + 1);
  return crashes(serve).at(-1)!.worker;
}

interface Stats {
  workers: { worker: number; state: string; accepted: number; restarts: number }[];
  resources: { descriptors: number; threads: number; epolls: number };
}

async function stats(serve: ServeProcess): Promise<Stats> {
  return (await ask('stats', serve.control, {})) as Stats;
}

interface Setting {
  args: string[];
  path: string;
  times: number;
  /** Members of the group; 0 = the kernel's choice is not by slot. */
  members: number;
}

const SETTINGS: Record<string, Setting> = {
  'a listener each': { args: MIGRATE, path: '/debug/throw', times: 4, members: 4 },
  '--setup self': {
    args: [...MIGRATE, '--setup', 'self'],
    path: '/debug/exit',
    times: 2,
    members: 4,
  },
  '--accept shared': { args: ['--accept', 'shared'], path: '/debug/exit', times: 2, members: 0 },
  '--accept dispatch': {
    args: ['--accept', 'dispatch'],
    path: '/debug/throw',
    times: 2,
    members: 0,
  },
};

suiteWith(['tun', 'ip'], 'end to end: workers that fail under load', () => {
  for (const [title, { args, path, times, members }] of Object.entries(SETTINGS)) {
    it(`cost only the connections that they had accepted, and come back (${title})`, async () => {
      const victims: number[] = [];
      let reset = 0;
      const body = async (serve: ServeProcess): Promise<void> => {
        const { address, port } = serve.ready;
        const load = new Load(address, port);
        for (let i = 0; i < times; i++) {
          await load.serves(300);
          victims.push(await failAndReturn(serve, path));
        }
        await load.serves(300);
        const { failures } = await load.stop();
        const failed = crashes(serve);
        expect(failed).to.have.lengthOf(times);
        reset = failed.reduce((sum, { connections }) => sum + connections, 0);
        // One connection of each was the one that asked for it.
        expect(failures.length + times, failures.join()).to.be.at.most(reset);
        for (const failure of failures) expect(failure).to.equal('ECONNRESET');
        const { workers } = await stats(serve);
        for (const { worker, state, restarts } of workers) {
          expect(state).to.equal('serving');
          expect(restarts).to.equal(victims.filter((victim) => victim === worker).length);
        }
        const answers = await whoamis(address, port, 200);
        for (const answer of answers) expect(answer.members).to.equal(members);
        if (title === '--accept shared') return; // who is quickest may get them all
        const served = new Set(answers.map(({ worker }) => worker));
        expect([...served].sort()).to.deep.equal([0, 1, 2, 3]);
      };
      const summary = await withServe(args, body, TEST);
      expect([...summary.failed].sort()).to.deep.equal([...new Set(victims)].sort());
      const connections = summary.failures.map((row) => row.connections);
      expect(connections.reduce((sum, count) => sum + count, 0)).to.equal(reset);
    });
  }

  it('leave nothing behind, two dozen times', async () => {
    // Who fails again before serve has looked at his return is not said to be back: states count.
    const settled = async (serve: ServeProcess): Promise<Stats['resources']> => {
      for (;;) {
        const { workers, resources } = await stats(serve);
        if (workers.every(({ state }) => state === 'serving')) return resources;
        await pause(20);
      }
    };
    await withServe(
      ['--workers', '12'],
      async (serve) => {
        const before = await settled(serve);
        expect(before.threads).to.equal(13);
        // Five at a time; a worker that fails again waits longer, so others get their turn.
        while (crashes(serve).length < 24) {
          await Promise.all(Array.from({ length: 5 }, () => fail(serve)));
        }
        expect(await settled(serve)).to.deep.equal(before);
        expect(await whoamis(serve.ready.address, serve.ready.port, 40)).to.have.lengthOf(40);
      },
      TEST,
    );
  });
});

suiteWith(['tun', 'ip'], 'end to end: the last worker fails', () => {
  it('is started again, while new connections are refused', async () => {
    const serve = await startServe(['--workers', '1'], TEST);
    const { address, port } = serve.ready;
    await failAndReturn(serve, '/debug/throw');
    await fail(serve);
    await serve.said(/starting again in 0\.2 s/);
    const refused = await connected(address, port).catch((error: unknown) => error);
    expect(refused).to.have.property('code', 'ECONNREFUSED');
    await serve.said(BACK, 2);
    expect(serve.stderr).to.match(/worker 0 is back \(slot 0 of 1\)/);
    expect(await whoamis(address, port, 4)).to.have.lengthOf(4);
    const stopped = await serve.stop();
    expect(stopped.code, stopped.stderr).to.equal(0);
    expect(summaryOf(stopped).failed).to.deep.equal([0]);
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`does not hold ${signal} up while it waits to be started again`, async () => {
      const serve = await startServe(['--workers', '1'], TEST);
      for (let i = 0; i < 3; i++) await failAndReturn(serve, '/debug/exit');
      await fail(serve);
      await serve.said(/starting again in 0\.8 s/);
      const started = performance.now();
      const { code, stdout, stderr } = await serve.stop(signal);
      expect(code, stderr).to.equal(0);
      expect(performance.now() - started).to.be.below(3000);
      expect(stdout).to.include('"summary"');
      expect(backs(serve)).to.equal(3);
      expect(devices()).to.not.include(serve.ready.tun);
    });
  }
});
