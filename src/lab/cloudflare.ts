/**
 * The Cloudflare experiment: Marek Majkowski, "Why does one NGINX worker take all the load?",
 * Cloudflare blog, 23 October 2017, with the programs and results published beside it (repository
 * cloudflare/cloudflare-blog, 2017-10-accept-balancing). 12 nginx workers pinned to a CPU each, 200
 * clients, 100,000 requests that burn CPU, a new connection for every request (benchhttp runs with
 * keep-alive off), accept_mutex and multi_accept off.
 *
 * 1.82 ms of CPU a request is what the shared queue's mean says: 200 clients and 12 workers that
 * never rest make 200 / 12 * 1.82 = 30.3 ms.
 */
import type { Selector } from '../reuseport/selector-request.js';
import { builtinSelector } from '../reuseport/selectors/builtin.js';
import type { Experiment, LabOptions, LatencyRow, Report, Row, Verdict } from './experiment.js';
import { scaled } from './experiment.js';
import { serveRequests } from './service.js';
import { latencyRow } from './statistics.js';

const WORKERS = 12;
const CLIENTS = 200;
const REQUESTS = 100_000;
const SERVICE_US = 1820;
/** From wake-up to running: an idle Linux thread, tens of microseconds. */
const WAKE_US = 50;
/** Between an answer and the client's next SYN: a LAN and a goroutine. */
const TURNAROUND_US = 100;
/** The hash's run is repeated to see what chance does to it. */
const HASH_RUNS = 7;
/** A published figure that differs by more from our runs is no run of this model. */
const DEVIATIONS_MOST = 3;

const SOURCE = 'Majkowski, Cloudflare 2017';
const PUBLISHED: readonly LatencyRow[] = [
  published('shared', 30.39, 30.28, 3.61, 72.65, 1.58),
  published('hash', 31.37, 24.67, 1.49, 144.55, 25.27),
];

function published(
  policy: string,
  meanMs: number,
  medianMs: number,
  minMs: number,
  maxMs: number,
  deviationMs: number,
): LatencyRow {
  // The histogram that was published has no 99 % point.
  return { policy, meanMs, medianMs, p99Ms: Number.NaN, minMs, maxMs, deviationMs };
}

function replay(
  policy: string,
  requests: number,
  seed: number,
  model: 'B' | 'C',
  selector: Selector | null,
): LatencyRow {
  const { timesUs } = serveRequests({
    seed,
    model,
    workers: WORKERS,
    wait: 'exclusive',
    selector,
    requests,
    serviceUs: () => SERVICE_US,
    wakeUs: WAKE_US,
    acceptUs: 0,
    load: { clients: CLIENTS, turnaroundUs: (dice) => dice.uniform() * TURNAROUND_US },
  });
  return latencyRow(policy, timesUs);
}

type Figure = 'meanMs' | 'medianMs' | 'maxMs' | 'deviationMs';

/** Mean and standard deviation of a figure over several runs. */
function spread(runs: readonly LatencyRow[], figure: Figure): [number, number] {
  const mean = runs.reduce((sum, row) => sum + row[figure], 0) / runs.length;
  const squares = runs.reduce((sum, row) => sum + (row[figure] - mean) ** 2, 0);
  return [mean, Math.sqrt(squares / (runs.length - 1))];
}

/** `mean 31.1 ± 0.1 (31.0 to 31.3)`, for each figure: one run is one throw of a die. */
function scatter(runs: readonly LatencyRow[]): string {
  const figures: [string, Figure][] = [
    ['mean', 'meanMs'],
    ['median', 'medianMs'],
    ['max', 'maxMs'],
    ['deviation', 'deviationMs'],
  ];
  const texts = figures.map(([name, figure]) => {
    const [mean, deviation] = spread(runs, figure);
    const values = runs.map((row) => row[figure]);
    const range = `${Math.min(...values).toFixed(1)} to ${Math.max(...values).toFixed(1)}`;
    return `${name} ${mean.toFixed(1)} ± ${deviation.toFixed(1)} (${range})`;
  });
  return texts.join(', ');
}

/** How many of the runs are inside the bands around the published figures, all at once. */
function inside(runs: readonly LatencyRow[]): number {
  return runs.filter(({ meanMs, medianMs, maxMs, deviationMs }) => {
    const narrow = medianMs >= 24 && medianMs <= 27 && deviationMs >= 21 && deviationMs <= 27;
    return narrow && meanMs >= 30.4 && meanMs <= 32 && maxMs > 110;
  }).length;
}

function verdictsOf(
  shared: LatencyRow,
  hashes: readonly LatencyRow[],
  better: readonly LatencyRow[],
): Verdict[] {
  const hash = hashes[0]!;
  /** The published figure could be a run of ours: what chance does is seen from all of them. */
  const asPublished = (figure: 'medianMs' | 'deviationMs', name: string): Verdict => {
    const [mean, deviation] = spread(hashes, figure);
    const target = PUBLISHED[1]![figure];
    const runs = `${mean.toFixed(1)} ± ${deviation.toFixed(1)} ms in ${hashes.length} runs`;
    return {
      claim: `hash: the published ${name} of ${target} ms is within chance of ours (${runs})`,
      holds: Math.abs(target - mean) <= DEVIATIONS_MOST * deviation,
    };
  };
  return [
    { claim: 'shared queue: deviation below 2 ms', holds: shared.deviationMs < 2 },
    {
      claim: 'hash: mean 30.4 to 32 ms',
      holds: hash.meanMs >= 30.4 && hash.meanMs <= 32,
    },
    { claim: 'hash: maximum above 110 ms', holds: hash.maxMs > 110 },
    asPublished('medianMs', 'median'),
    asPublished('deviationMs', 'deviation'),
    ...better.map((row) => ({
      claim: `${row.policy}: deviation below 3 ms with private queues`,
      holds: row.deviationMs < 3,
    })),
  ];
}

function run(options: LabOptions): Report {
  const { seed } = options;
  const requests = scaled(REQUESTS, options, CLIENTS);
  const shared = replay('shared', requests, seed, 'B', null);
  const runs = options.runs ?? HASH_RUNS;
  const hashes = Array.from({ length: runs }, (_, i) =>
    // Runs of neighbouring seeds share none.
    replay('hash', requests, i === 0 ? seed : seed + i * 1_000_003, 'C', null),
  );
  const better = ['p2c', 'least'].map((policy) =>
    replay(policy, requests, seed, 'C', builtinSelector(policy)),
  );
  return {
    experiment: cloudflare.name,
    seed,
    parameters: {
      workers: WORKERS,
      clients: CLIENTS,
      requests,
      serviceMs: SERVICE_US / 1000,
      wakeMs: WAKE_US / 1000,
      turnaroundMs: `0 to ${TURNAROUND_US / 1000}`,
      connections: 'one a request, as benchhttp without -k',
      real: 'handshakes, lookup, inet_ehashfn, selectors, accept queues, order of the waiters',
      simulated: 'clock, 1.82 ms on the CPU for every request, clients; the link takes no time',
      hashRuns: runs,
      hashScatter: scatter(hashes),
      hashInside:
        `${inside(hashes)} of ${runs} runs: mean 30.4-32, median 24-27, deviation 21-27, ` +
        'max > 110',
      differs:
        'client addresses are 200 and not 1; ports are drawn at random; a connection ends with a ' +
        'RST; every request costs the same. Queues under the hash wander slowly: median and ' +
        'deviation of a single run of 100,000 requests scatter, so they are judged by several',
    },
    rows: [shared, hashes[0]!, ...better] as unknown as Row[],
    published: PUBLISHED.map(({ p99Ms: _, ...row }) => ({ ...row, source: SOURCE })),
    verdicts: verdictsOf(shared, hashes, better),
  };
}

export const cloudflare: Experiment = {
  name: 'cloudflare',
  repeats: true,
  summary: 'Cloudflare 2017: one shared queue against private ones, then p2c and least',
  run,
};
