/**
 * Counters of all workers in one SharedArrayBuffer: each worker writes its own row, everybody reads
 * all. A row is a cache line or two of doubles; only its owner stores into it, so plain reads and
 * writes do.
 */

/** Columns of a row. */
export const ACCEPTED = 0;
export const ACTIVE = 1;
export const REQUESTS = 2;
export const BYTES_IN = 3;
export const BYTES_OUT = 4;
export const RESETS = 5;
const ROW = 16;

/** A row as /stats, the summary and the control socket show it. */
export interface WorkerStats {
  worker: number;
  accepted: number;
  active: number;
  requests: number;
  bytesIn: number;
  bytesOut: number;
  resets: number;
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

  stats(): WorkerStats[] {
    const rows: WorkerStats[] = [];
    for (let worker = 0; worker < this.workers; worker++) {
      const row = this.row(worker);
      rows.push({
        worker,
        accepted: row[ACCEPTED]!,
        active: row[ACTIVE]!,
        requests: row[REQUESTS]!,
        bytesIn: row[BYTES_IN]!,
        bytesOut: row[BYTES_OUT]!,
        resets: row[RESETS]!,
      });
    }
    return rows;
  }
}
