/**
 * The serving end of `tunstack drain`: checks an order that came over the control socket, gives it
 * to the crew, and says how far a worker is. What the worker does then is
 * demo-server/server-loop.ts's; the asking end is drain.ts.
 */
import type { Sys } from '../socket/sys-table.js';
import { FailedError, UsageError } from './command.js';
import type { ControlFields } from './control-protocol.js';
import { ACTIVE, type WorkerCounters, type WorkerState } from './demo-server/worker-counters.js';
import { halfOpenAt } from './handshakes.js';
import type { AcceptModel } from './serve-options.js';
import type { ShownSocket } from './socket-table.js';

/** The answer to `drain` and `drain-status`. */
export interface DrainStatus {
  worker: number;
  state: WorkerState;
  /** Nothing new comes to it, or will when it is back. */
  drained: boolean;
  /** It has listeners of its own, which close; else it only stops accepting. */
  listens: boolean;
  /** Connections that wait to be accepted by it, handshakes under way, open connections. */
  queued: number;
  halfOpen: number;
  open: number;
  /** Place in the reuseport group and its members, null = not in one. */
  slot: number | null;
  members: number;
  /** What becomes of new connections when nobody is left to take them; '' = somebody is. */
  warning: string;
}

/** What an order needs of the running `serve`. */
export interface DrainParts {
  readonly crew: {
    readonly counters: WorkerCounters;
    wanted(worker: number): boolean;
    want(worker: number, connections: boolean): void;
    waiting(worker: number): number;
  };
  readonly sys: Pick<Sys, 'getsockopt'>;
  readonly accept: AcceptModel;
  readonly port: number;
  sockets(): ShownSocket[];
}

/**
 * Has a worker drain, or with `resume` listen again.
 * Throws UsageError for a worker that there is none, FailedError when it is so already.
 */
export function orderDrain(parts: DrainParts, request: ControlFields): DrainStatus {
  const worker = workerOf(parts, request);
  const { crew } = parts;
  const resume = request['resume'] === true;
  if (crew.wanted(worker) === resume) {
    const state = crew.counters.state(worker);
    const already = resume ? 'takes connections' : state === 'draining' ? 'drains' : 'is drained';
    const remedy = resume ? `tunstack drain ${worker}` : `tunstack drain --resume ${worker}`;
    throw new FailedError(`worker ${worker} ${already} already`, remedy);
  }
  crew.want(worker, resume);
  return statusOf(parts, worker);
}

/** How far a worker is. Throws UsageError for a worker that there is none. */
export function drainStatus(parts: DrainParts, request: ControlFields): DrainStatus {
  return statusOf(parts, workerOf(parts, request));
}

function workerOf({ crew }: DrainParts, request: ControlFields): number {
  const { worker } = request;
  const { workers } = crew.counters;
  if (Number.isInteger(worker) && (worker as number) >= 0 && (worker as number) < workers) {
    return worker as number;
  }
  const range = workers === 1 ? 'the only one is 0' : `they are 0 to ${workers - 1}`;
  throw new UsageError(
    `drain: there is no worker ${String(worker)}: ${range}`,
    `tunstack drain ${workers - 1}`,
  );
}

function statusOf(parts: DrainParts, worker: number): DrainStatus {
  const { crew, sys, port } = parts;
  const mine = parts.sockets().filter((row) => row.worker === worker && row.state === 'LISTEN');
  const halfOpen = mine.map(({ fd }) => halfOpenAt(sys, fd));
  const main = mine.find((row) => row.local.port === port && row.slot !== null);
  return {
    worker,
    state: crew.counters.state(worker),
    drained: !crew.wanted(worker),
    listens: parts.accept === 'reuseport',
    queued: sum(mine.map((row) => row.recvQ)) + crew.waiting(worker),
    halfOpen: sum(halfOpen),
    open: crew.counters.row(worker)[ACTIVE]!,
    slot: main?.slot ?? null,
    members: main?.group ?? 0,
    warning: warningOf(parts),
  };
}

function warningOf({ crew, accept }: DrainParts): string {
  const { workers } = crew.counters;
  for (let worker = 0; worker < workers; worker++) {
    if (crew.wanted(worker) && crew.counters.state(worker) !== 'down') return '';
  }
  const fate = accept === 'reuseport' ? 'are refused (RST)' : 'wait in the queue of the listener';
  return `no worker takes connections any more: new ones ${fate}`;
}

function sum(counts: readonly number[]): number {
  return counts.reduce((total, count) => total + count, 0);
}
