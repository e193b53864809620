/**
 * Tom Herbert's reason for SO_REUSEPORT: the commit message of "soreuseport: TCP/IPv4
 * implementation" (Linux 3.9, January 2013), told again by Michael Kerrisk, "The SO_REUSEPORT
 * socket option", LWN, 13 March 2013. When threads accept from one listener their shares are
 * uneven, as much as 3:1; with a listener each they are uniform. Neither the number of threads nor
 * the load is given: here eight threads, at loads from half busy to nearly saturated.
 */
import type { Experiment, LabOptions, Report, Row, ShareRow } from './experiment.js';
import { SIGNIFICANCE, scaled } from './experiment.js';
import { serveRequests } from './service.js';
import { shareRow } from './statistics.js';
import type { WaitWay } from './wait-queue.js';

const WORKERS = 8;
const REQUESTS = 40_000;
const LOADS: readonly number[] = [0.5, 0.6, 0.7, 0.8, 0.9];
const SERVICE_US = 200;
const ACCEPT_US = 5;
const WAKE_US = 50;

type HerbertRow = ShareRow & { wait: WaitWay; load: number };

function replay(
  model: 'B' | 'C',
  wait: WaitWay,
  load: number,
  seed: number,
  requests: number,
): HerbertRow {
  const { shares } = serveRequests({
    seed,
    model,
    workers: WORKERS,
    wait,
    requests,
    serviceUs: (dice) => dice.exponential(SERVICE_US),
    wakeUs: WAKE_US,
    acceptUs: ACCEPT_US,
    load: { gapUs: (SERVICE_US + ACCEPT_US) / (WORKERS * load) },
  });
  return { ...shareRow(model, shares), wait, load };
}

/** Infinite when a worker got nothing. */
const ratioOf = (row: ShareRow): number => row.maxOverMin ?? Number.POSITIVE_INFINITY;

function run(options: LabOptions): Report {
  const { seed } = options;
  const requests = scaled(REQUESTS, options, 4000);
  const shared = LOADS.map((load) => replay('B', 'exclusive', load, seed, requests));
  const blocking = replay('B', 'blocking', LOADS[0]!, seed, requests);
  const own = replay('C', 'exclusive', LOADS[0]!, seed, requests);
  const most = Math.max(...shared.map(ratioOf));
  return {
    experiment: herbert.name,
    seed,
    parameters: {
      workers: WORKERS,
      connections: requests,
      serviceMs: SERVICE_US / 1000,
      acceptMs: ACCEPT_US / 1000,
      wakeMs: WAKE_US / 1000,
      significance: SIGNIFICANCE,
      real: 'handshakes, lookup, inet_ehashfn, accept queues, order of the waiters',
      simulated: 'clock, Poisson arrivals, exponential service, 50 µs from wake-up to running',
      differs:
        'threads, load and kind of waiting are not published. Here eight threads wait in epoll, ' +
        'where the first in the list is always asked first; with fewer the ratio is smaller, ' +
        'with more it is larger, and blocking accept() is fair',
    },
    rows: [...shared, own, blocking] as unknown as Row[],
    published: [
      { model: 'B', maxOverMin: 3, source: 'Herbert 2013: as high as' },
      { model: 'C', maxOverMin: 1, source: 'Herbert 2013: uniform' },
    ],
    verdicts: [
      {
        claim: `B: one listener is uneven up to 3:1 (up to ${most.toFixed(1)}:1 here)`,
        holds: most >= 3,
      },
      {
        claim: `B: the less idle the workers, the more even; at ${LOADS.at(-1)} busy below 1.5:1`,
        holds:
          shared.every((row, i) => i === 0 || ratioOf(row) < ratioOf(shared[i - 1]!)) &&
          ratioOf(shared.at(-1)!) < 1.5,
      },
      {
        claim: `C: a listener each is uniform at N = ${requests} (chi-square, p > ${SIGNIFICANCE})`,
        holds: own.pValue > SIGNIFICANCE,
      },
      {
        claim: 'B at half load is not uniform by the same test',
        holds: shared[0]!.pValue < SIGNIFICANCE,
      },
    ],
  };
}

export const herbert: Experiment = {
  name: 'herbert',
  summary: 'Herbert 2013: shares of one shared listener (up to 3:1) and of a listener each',
  run,
};
