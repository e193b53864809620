/**
 * Counters and state of all workers in one SharedArrayBuffer: each worker writes its own row, the
 * master writes the row of a worker that is down and the two cells that are orders; everybody reads
 * all. A row is a cache line or two of doubles; a cell has one writer at a time, so plain reads and
 * writes do.
 */

/** Columns of a row. */
export const ACCEPTED = 0;
export const ACTIVE = 1;
export const REQUESTS = 2;
export const BYTES_IN = 3;
export const BYTES_OUT = 4;
export const RESETS = 5;
/** Written by the master: how often the worker was started again. */
export const RESTARTS = 6;
/** Written by the master: number of the thread that is the worker, + 1. */
export const THREAD = 7;
/** Index into WORKER_STATES. */
export const STATE = 8;
/** Written by the master: 1 = the worker is to take no new connections. */
export const DRAIN = 9;
/** Connections given up because the peer was too slow (slow-peers.ts). */
export const TIMEOUTS = 10;
const ROW = 16;

/** Values of STATE. */
export const SERVING = 0;
export const DRAINING = 1;
export const DRAINED = 2;
export const DOWN = 3;

/**
 * `draining`: no new SYNs, but what is queued or half open is still taken; `drained`: nothing is
 * accepted, open connections go on; `down`: it failed and has not been started again yet.
 */
const WORKER_STATES = ['serving', 'draining', 'drained', 'down'] as const;
export type WorkerState = (typeof WORKER_STATES)[number];

/** A row as /stats, the summary and the control socket show it. */
export interface WorkerStats {
  worker: number;
  state: WorkerState;
  accepted: number;
  active: number;
  requests: number;
  bytesIn: number;
  bytesOut: number;
  resets: number;
  timeouts: number;
  restarts: number;
}

export class WorkerCounters {
  readonly shared: SharedArrayBuffer;
  readonly workers: number;
  private readonly cells: Float64Array;

  /** Over `shared` when another thread has made it. */
  constructor(workers: number, shared?: SharedArrayBuffer) {
    this.workers = workers;
    this.shared = shared ?? new SharedArrayBuffer(workers * ROW * 8);
    this.cells = new Float64Array(this.shared);
  }

  /** The cells of one worker, indexed by ACCEPTED and so on. */
  row(worker: number): Float64Array {
    return this.cells.subarray(worker * ROW, (worker + 1) * ROW);
  }

  /** The worker that is thread `thread` now, or null: the master, the acceptor. */
  workerOf(thread: number): number | null {
    for (let worker = 0; worker < this.workers; worker++) {
      if (this.cells[worker * ROW + THREAD] === thread + 1) return worker;
    }
    return null;
  }

  state(worker: number): WorkerState {
    return WORKER_STATES[this.cells[worker * ROW + STATE]!]!;
  }

  stats(): WorkerStats[] {
    const rows: WorkerStats[] = [];
    for (let worker = 0; worker < this.workers; worker++) {
      const row = this.row(worker);
      rows.push({
        worker,
        state: this.state(worker),
        accepted: row[ACCEPTED]!,
        active: row[ACTIVE]!,
        requests: row[REQUESTS]!,
        bytesIn: row[BYTES_IN]!,
        bytesOut: row[BYTES_OUT]!,
        resets: row[RESETS]!,
        timeouts: row[TIMEOUTS]!,
        restarts: row[RESTARTS]!,
      });
    }
    return rows;
  }
}
