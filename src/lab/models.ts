/**
 * The three ways to share a port among workers, by the names of Majkowski 2017 and Herbert 2013: A,
 * one acceptor hands out; B, the workers compete for one listener; C, a listener each. What each
 * costs: shares, wake-ups for nothing, queues, and what the one acceptor has to do.
 */
import type { Experiment, LabOptions, LatencyRow, Report, Row, ShareRow } from './experiment.js';
import { SIGNIFICANCE, scaled } from './experiment.js';
import { serveRequests } from './service.js';
import { latencyRow, shareRow } from './statistics.js';
import type { WaitWay } from './wait-queue.js';

const WORKERS = 4;
const REQUESTS = 40_000;
const LOAD = 0.6;
const SERVICE_US = 200;
const ACCEPT_US = 5;
const WAKE_US = 50;

interface ModelRow extends ShareRow, Omit<LatencyRow, 'policy'> {
  readonly wait: WaitWay;
  readonly wakeUps: number;
  readonly failedAccepts: number;
  readonly queueMax: number;
}

function replay(model: 'A' | 'B' | 'C', wait: WaitWay, seed: number, requests: number): ModelRow {
  const result = serveRequests({
    seed,
    model,
    workers: WORKERS,
    wait,
    requests,
    serviceUs: (dice) => dice.exponential(SERVICE_US),
    wakeUs: WAKE_US,
    acceptUs: ACCEPT_US,
    load: { gapUs: (SERVICE_US + ACCEPT_US) / (WORKERS * LOAD) },
  });
  const { policy: _, ...times } = latencyRow(model, result.timesUs);
  const { wakeUps, failedAccepts, queueMax } = result;
  return { ...shareRow(model, result.shares), wait, wakeUps, failedAccepts, queueMax, ...times };
}

function run(options: LabOptions): Report {
  const { seed } = options;
  const requests = scaled(REQUESTS, options, 2000);
  const a = replay('A', 'exclusive', seed, requests);
  const b = replay('B', 'exclusive', seed, requests);
  const herd = replay('B', 'herd', seed, requests);
  const c = replay('C', 'exclusive', seed, requests);
  return {
    experiment: models.name,
    seed,
    parameters: {
      workers: WORKERS,
      connections: requests,
      load: LOAD,
      serviceMs: SERVICE_US / 1000,
      acceptMs: ACCEPT_US / 1000,
      wakeMs: WAKE_US / 1000,
      significance: SIGNIFICANCE,
      real: 'handshakes, lookup, inet_ehashfn, accept queues, order of the waiters',
      simulated: 'clock, Poisson arrivals, exponential service, hand-over in turn by the acceptor',
    },
    rows: [a, b, herd, c] as unknown as Row[],
    published: [
      { model: 'A', says: 'the acceptor can become the bottleneck', source: 'Herbert 2013' },
      { model: 'B', says: 'uneven; workers compete for one queue', source: 'Herbert 2013' },
      {
        model: 'C',
        says: 'no competition; queues apart, so latency suffers',
        source: 'Majkowski 2017',
      },
    ],
    verdicts: [
      {
        claim: 'A: shares equal to one connection; C: equal by chi-square; B: not',
        holds:
          Math.max(...a.shares) - Math.min(...a.shares) <= WORKERS &&
          c.pValue > SIGNIFICANCE &&
          b.pValue < SIGNIFICANCE,
      },
      {
        claim: 'B: workers are woken for nothing; A and C: never',
        holds: b.failedAccepts > 0 && a.failedAccepts === 0 && c.failedAccepts === 0,
      },
      {
        claim: 'B: without EPOLLEXCLUSIVE the herd fails at least twice as often',
        holds: herd.failedAccepts >= 2 * b.failedAccepts,
      },
      {
        claim: 'C: queues apart make requests wait longer than one queue for all (mean and p99)',
        holds: c.meanMs > b.meanMs && c.p99Ms > b.p99Ms,
      },
    ],
  };
}

export const models: Experiment = {
  name: 'models',
  summary: 'one acceptor (A), one listener for all (B), a listener each (C)',
  run,
};
