/**
 * Which worker answers: the shares of many connections, the hash behind each choice recomputed, and
 * the accept models.
 */
import { expect } from 'chai';
import { reciprocalScale } from '../../src/net/hash.js';
import { inetEhashfn } from '../../src/reuseport/ehash.js';
import type { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import { kernelProfile } from '../../src/reuseport/profile.js';
import { chiSquare, shares, type Whoami, whoamis } from './clients.js';
import { must, suiteWith } from './machine.js';
import { type Ready, type ServeProcess, withServe } from './serve-process.js';

/** 99.9 % point of the chi-square distribution with 3 degrees of freedom. */
const CRITICAL = 16.266;

function toInt32(address: string): number {
  return address.split('.').reduce((word, part) => (word << 8) | Number(part), 0);
}

/** The flow hash of a connection as the stack must have computed it. */
function hashOf({ hash }: Ready, answer: Whoami): number {
  const table = { profile: kernelProfile(hash.profile), ehashInitval: hash.secret | 0 };
  return inetEhashfn(
    table as InetHashinfo,
    toInt32(hash.localAddress),
    answer.localPort,
    toInt32(answer.remoteAddress),
    answer.remotePort,
  );
}

function expectChosenByHash(ready: Ready, answer: Whoami, members: number): void {
  const hash = hashOf(ready, answer);
  const what = JSON.stringify(answer);
  expect(answer.members, what).to.equal(members);
  expect(answer.hash, what).to.equal(`0x${(hash >>> 0).toString(16).padStart(8, '0')}`);
  expect(answer.slot, what).to.equal(reciprocalScale(hash, members));
}

const ask = ({ ready }: ServeProcess, count: number): Promise<Whoami[]> =>
  whoamis(ready.address, ready.port, count);

suiteWith(['tun', 'ip', 'curl'], 'end to end: workers', () => {
  it('shares 1,000 connections evenly, each by its hash', async () => {
    // At 99.9 % an honest die fails one run in a thousand; two secrets in a row, one in a million.
    let statistic = Number.POSITIVE_INFINITY;
    for (let run = 0; run < 2 && statistic > CRITICAL; run++) {
      const summary = await withServe([], async (serve) => {
        const answers = await ask(serve, 1000);
        expect(answers).to.have.lengthOf(1000);
        for (const answer of answers) {
          expectChosenByHash(serve.ready, answer, 4);
          expect(answer.worker).to.equal(answer.slot);
          expect(answer.localAddress).to.equal('198.18.0.1');
          expect(answer.remoteAddress).to.equal('198.18.0.254');
        }
        statistic = chiSquare(shares(answers, 4));
      });
      expect(summary.connections.reduce((sum, count) => sum + count, 0)).to.equal(1000);
    }
    expect(statistic).to.be.below(CRITICAL);
  });

  it('answers 200 connections of curl', async () => {
    await withServe([], async (serve) => {
      const url = serve.at('/whoami?[1-200]');
      const text = await must(['curl', '-sS', '--fail', '-H', 'Connection: close', url]);
      const answers = text
        .trim()
        .split('\n')
        .map((line) => JSON.parse(line) as Whoami);
      expect(answers).to.have.lengthOf(200);
      expect(new Set(answers.map(({ remotePort }) => remotePort)).size).to.equal(200);
      for (const answer of answers) expectChosenByHash(serve.ready, answer, 4);
      expect(Math.min(...shares(answers, 4))).to.be.above(0);
    });
  });

  it('chooses by the hash of Linux 5.0 under --profile 5.0', async () => {
    await withServe(['--profile', '5.0', '--workers', '3'], async (serve) => {
      const answers = await ask(serve, 60);
      for (const answer of answers) expectChosenByHash(serve.ready, answer, 3);
    });
  });

  it('lets each worker listen for itself under --setup self', async () => {
    await withServe(['--setup', 'self'], async (serve) => {
      const answers = await ask(serve, 200);
      for (const answer of answers) expectChosenByHash(serve.ready, answer, 4);
      const workerOfSlot = new Map(answers.map(({ slot, worker }) => [slot, worker]));
      expect(new Set(workerOfSlot.values()).size, 'one worker a slot').to.equal(4);
      for (const { slot, worker } of answers) expect(worker).to.equal(workerOfSlot.get(slot));
    });
  });

  it('has one listener for all under --accept shared', async () => {
    await withServe(['--accept', 'shared'], async (serve) => {
      const answers = await ask(serve, 200);
      for (const answer of answers) {
        expect(answer).to.include({ slot: null, members: 0, hash: null });
        expect(answer.worker).to.be.within(0, 3);
      }
    });
  });

  it('hands out evenly under --accept dispatch', async () => {
    const summary = await withServe(['--accept', 'dispatch'], async (serve) => {
      const counts = shares(await ask(serve, 200), 4);
      expect(Math.max(...counts) - Math.min(...counts)).to.be.at.most(4);
    });
    expect(summary.connections.reduce((sum, count) => sum + count, 0)).to.equal(200);
  });

  for (const workers of [1, 64]) {
    it(`runs ${workers} worker${workers === 1 ? '' : 's'}`, async () => {
      await withServe(['--workers', String(workers)], async (serve) => {
        expect(serve.ready.workers).to.equal(workers);
        for (const answer of await ask(serve, 2 * workers)) {
          expectChosenByHash(serve.ready, answer, workers);
        }
      });
    });
  }

  it('answers one after another with --backlog 0', async () => {
    await withServe(['--backlog', '0', '--workers', '1'], async (serve) => {
      const answers = await whoamis(serve.ready.address, serve.ready.port, 20, 1);
      expect(answers).to.have.lengthOf(20);
    });
  });
});
