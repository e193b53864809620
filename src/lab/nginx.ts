/**
 * The table of Andrew Hutchings, "Socket Sharding in NGINX Release 1.9.1", NGINX blog, 26 May 2015:
 * wrk against nginx with accept_mutex on (the default then), off, and with reuseport. Published are
 * means and deviations of the latency; how many connections wrk held is not, nor whether they were
 * kept alive.
 *
 * Our reading: wrk opens its connections all at once, more of them than one accept queue of nginx's
 * backlog (511) holds. The stack then drops the third packets of handshakes, and with them
 * requests, which the client repeats after 200 ms; four listeners have four times the room. That
 * gives what the table shows: both shared configurations alike, and under reuseport a deviation
 * several times smaller. (3.3 ms more in the mean and 26 ms of deviation are what 1.6 % of
 * requests, 200 ms late, would add to the figures of reuseport.)
 *
 * Two numbers are chosen. The length of a request is such that four workers that never rest answer
 * in reuseport's published mean of 12.35 ms. The number of clients is such that the deviation of
 * the default comes to about the published one; no verdict claims what was chosen. The rest
 * follows. The published difference between the means (21 %) does not: clients that wait for an
 * answer before they ask again keep the mean at clients x service / workers, however the requests
 * are queued. With fewer clients than one queue holds the shared queue is the more even one, as in
 * cloudflare.ts.
 */
import type { Experiment, LabOptions, LatencyRow, Report, Row } from './experiment.js';
import { scaled } from './experiment.js';
import { BACKLOG } from './host.js';
import { type ServiceResult, serveRequests } from './service.js';
import { latencyRow } from './statistics.js';
import type { WaitWay } from './wait-queue.js';

const WORKERS = 4;
const CLIENTS = 570;
/** All runs together. */
const REQUESTS = 100_000;
/** How often wrk is started: what is lost is lost at the start. */
const RUNS = 5;
const MEAN_MS = 12.35;
const SERVICE_US: number = (MEAN_MS * 1000 * WORKERS) / CLIENTS;
const WAKE_US = 50;
const ACCEPT_US = 5;
const RTT_US = 200;
const TURNAROUND_US = 100;

interface Configuration {
  readonly policy: string;
  readonly model: 'B' | 'C';
  readonly wait: WaitWay;
  readonly publishedMeanMs: number;
  readonly publishedDeviationMs: number;
}

/** Of accept_mutex only the holder waits for the listener: one is woken. Without, all are. */
const CONFIGURATIONS: readonly Configuration[] = [
  configuration('default', 'B', 'exclusive', 15.65, 26.59),
  configuration('accept_mutex off', 'B', 'herd', 15.59, 26.48),
  configuration('reuseport', 'C', 'exclusive', MEAN_MS, 3.15),
];

function configuration(
  policy: string,
  model: 'B' | 'C',
  wait: WaitWay,
  publishedMeanMs: number,
  publishedDeviationMs: number,
): Configuration {
  return { policy, model, wait, publishedMeanMs, publishedDeviationMs };
}

type NginxRow = LatencyRow & Pick<ServiceResult, 'ackDrops' | 'synDrops' | 'failedAccepts'>;

function replay({ policy, model, wait }: Configuration, seed: number, requests: number): NginxRow {
  const results = Array.from({ length: RUNS }, (_, run) =>
    serveRequests({
      // Runs of neighbouring seeds share none.
      seed: seed + run * 1_000_003,
      model,
      workers: WORKERS,
      wait,
      requests,
      serviceUs: (dice) => dice.exponential(SERVICE_US),
      wakeUs: WAKE_US,
      acceptUs: ACCEPT_US,
      load: { clients: CLIENTS, turnaroundUs: (dice) => dice.uniform() * TURNAROUND_US },
      rttUs: RTT_US,
      timedFrom: 'connected',
    }),
  );
  const timesUs = Float64Array.from(results.flatMap((result) => [...result.timesUs]));
  const sum = (of: (result: ServiceResult) => number): number =>
    results.reduce((total, result) => total + of(result), 0);
  return {
    ...latencyRow(policy, timesUs),
    ackDrops: sum((result) => result.ackDrops),
    synDrops: sum((result) => result.synDrops),
    failedAccepts: sum((result) => result.failedAccepts),
  };
}

/** Larger over smaller. */
function ratio(a: number, b: number): number {
  return Math.max(a, b) / Math.min(a, b);
}

function run(options: LabOptions): Report {
  const requests = scaled(REQUESTS / RUNS, options, 8 * CLIENTS);
  const rows = CONFIGURATIONS.map((row) => replay(row, options.seed, requests));
  const [on, off, reuseport] = rows as [NginxRow, NginxRow, NginxRow];
  return {
    experiment: nginx.name,
    seed: options.seed,
    parameters: {
      workers: WORKERS,
      clients: CLIENTS,
      runs: RUNS,
      requests: RUNS * requests,
      serviceMs: SERVICE_US / 1000,
      acceptMs: ACCEPT_US / 1000,
      wakeMs: WAKE_US / 1000,
      roundTripMs: RTT_US / 1000,
      backlog: BACKLOG,
      timed: 'from connected to answered, as wrk does',
      real: 'handshakes, lookup, SYN and accept queues and their overflow, order of the waiters',
      simulated:
        'clock, exponential service, a client that repeats a SYN after 1 s and data after 0.2 s; ' +
        'the holder of accept_mutex is an exclusive waiter',
      chosen:
        'serviceMs for the published mean of reuseport, clients for the published deviation of ' +
        'the default: neither is published',
      differs:
        'a new connection a request. With fewer than 512 clients the shared queue is the more ' +
        'even one, as in `lab cloudflare`. The published means differ by 21 %, ours hardly: ' +
        'clients that wait for answers fix the mean',
    },
    rows: rows as unknown as Row[],
    published: CONFIGURATIONS.map((row) => ({
      policy: row.policy,
      meanMs: row.publishedMeanMs,
      deviationMs: row.publishedDeviationMs,
      source: 'Hutchings, NGINX 2015',
    })),
    verdicts: [
      {
        claim: "default and accept_mutex off are alike (deviations within a quarter of another's)",
        holds: ratio(on.deviationMs, off.deviationMs) < 1.25,
      },
      {
        claim: 'reuseport: deviation at most a quarter of either (published: an eighth)',
        holds: reuseport.deviationMs * 4 <= Math.min(on.deviationMs, off.deviationMs),
      },
      {
        claim: 'reuseport: fewer requests lost to a full accept queue than either',
        holds: reuseport.ackDrops < Math.min(on.ackDrops, off.ackDrops),
      },
    ],
  };
}

export const nginx: Experiment = {
  name: 'nginx',
  summary: 'NGINX 1.9.1: accept_mutex on, off, and reuseport under light requests',
  run,
};
