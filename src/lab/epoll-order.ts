/**
 * Who is woken: Majkowski 2017 ran three processes on one listener and made six connections, one
 * after another. Those that block in accept() answered 2,1,0,2,1,0; those that wait in epoll with
 * EPOLLEXCLUSIVE 0,0,0,0,0,0. The lists are the real ones (wait-queue.ts).
 */
import { assert } from '../net/assert.js';
import type { Experiment, LabOptions, Report } from './experiment.js';
import { LabHost } from './host.js';
import { WaitQueue, type WaitWay } from './wait-queue.js';

const WORKERS = 3;
const CONNECTIONS = 6;
const CLIENT: number = (198 << 24) | (18 << 16) | 254;
const FIRST_PORT = 40_000;

/** Which worker took each connection, and how many were woken for all of them. */
function replay(wait: WaitWay, seed: number): { order: number[]; wakeUps: number } {
  const host = new LabHost({ seed, fds: 64 });
  const listener = host.listen(false);
  const queue = new WaitQueue(host, new Array<number>(WORKERS).fill(listener), wait);
  // The forked processes came to their first accept() youngest first.
  for (let worker = WORKERS - 1; worker >= 0; worker--) queue.sleep(worker);
  const order: number[] = [];
  let wakeUps = 0;
  for (let i = 0; i < CONNECTIONS; i++) {
    const isn = host.syn(host.nowUs, CLIENT, FIRST_PORT + i);
    assert(isn !== null && host.ack(host.nowUs, CLIENT, FIRST_PORT + i, isn), 'not connected');
    const woken = queue.takeWoken();
    wakeUps += woken.length;
    for (const worker of woken) {
      const fd = host.accept(listener);
      if (fd >= 0) {
        order.push(worker);
        host.close(host.nowUs, fd);
      }
      queue.sleep(worker);
    }
  }
  return { order, wakeUps };
}

function same(a: readonly number[], b: readonly number[]): boolean {
  return a.length === b.length && a.every((value, i) => value === b[i]);
}

const PUBLISHED_BLOCKING: readonly number[] = [2, 1, 0, 2, 1, 0];
const PUBLISHED_EPOLL: readonly number[] = [0, 0, 0, 0, 0, 0];
const SOURCE = 'Majkowski, Cloudflare 2017';

function run({ seed }: LabOptions): Report {
  const blocking = replay('blocking', seed);
  const exclusive = replay('exclusive', seed);
  const herd = replay('herd', seed);
  return {
    experiment: epollOrder.name,
    seed,
    parameters: {
      workers: WORKERS,
      connections: CONNECTIONS,
      real: 'handshakes, accept queue, list of interests and who of it is woken',
      simulated: 'the workers: threads that sleep and wake; there is no chance in this experiment',
      differs:
        'blocking is Linux: each wait is a new exclusive entry at the end of the list. A thread ' +
        'of this stack that blocks in accept4 keeps a plain entry',
    },
    rows: [
      { wait: 'blocking accept', ...blocking },
      { wait: 'epoll, EPOLLEXCLUSIVE', ...exclusive },
      { wait: 'epoll, plain', ...herd },
    ],
    published: [
      { wait: 'blocking accept', order: PUBLISHED_BLOCKING, source: SOURCE },
      { wait: 'epoll, EPOLLEXCLUSIVE', order: PUBLISHED_EPOLL, source: SOURCE },
    ],
    verdicts: [
      {
        claim: 'blocking accept() takes turns: 2,1,0,2,1,0',
        holds: same(blocking.order, PUBLISHED_BLOCKING),
      },
      {
        claim: 'epoll gives one worker everything: 0,0,0,0,0,0',
        holds: same(exclusive.order, PUBLISHED_EPOLL),
      },
      {
        claim: 'plain epoll wakes all for each, and the newest entry takes it',
        holds: herd.wakeUps === WORKERS * CONNECTIONS && herd.order.every((w) => w === WORKERS - 1),
      },
    ],
  };
}

export const epollOrder: Experiment = {
  name: 'epoll-order',
  summary: 'Cloudflare 2017: whom epoll wakes (0,0,0…) and whom blocking accept (2,1,0…)',
  run,
};
