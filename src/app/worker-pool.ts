/**
 * The threads of one `serve`: started, waited for, told apart when they fail. With --inline a
 * worker is a program in a stack thread, of the same shape. Knows nothing of what they do; crew.ts
 * gives the orders.
 */
import { Worker } from 'node:worker_threads';
import type { WorkerMessage, WorkerOrder } from './worker-message.js';

export interface PoolEvents {
  /** A thread has ended, however: what it threw is its `failure`. */
  gone(thread: PoolThread): void;
}

/** What a pool needs of a Worker; an InlineProgram has no thread that could be terminated. */
export interface PoolWorker {
  on(event: 'message', hear: (message: WorkerMessage) => void): unknown;
  on(event: 'error', hear: (error: unknown) => void): unknown;
  once(event: 'exit', hear: (code: number) => void): unknown;
  terminate?(): Promise<unknown>;
}

/** Starts what carries out an order. */
export type Start = (order: WorkerOrder, name: string) => PoolWorker;

export interface PoolThread {
  readonly order: WorkerOrder;
  /** `worker 2` or `acceptor`. */
  readonly name: string;
  readonly worker: PoolWorker;
  /** Resolves with true once its loop runs, with false when it ended before that. */
  readonly ready: Promise<boolean>;
  /** Resolves once it takes no new connections any more, or has ended. */
  readonly draining: Promise<void>;
  /** Resolves when it has ended. */
  readonly exited: Promise<void>;
  /** What it died of, if it was an error. */
  failure: Error | null;
  /** Its exit code once it has ended. */
  exitCode: number | null;
}

const ENTRY = new URL('./worker-thread.js', import.meta.url);

/** A thread of its own for each, that runs the module `entry`. */
export function workerThreads(entry: URL = ENTRY): Start {
  return (order, name) => new Worker(entry, { workerData: order, name });
}

export class WorkerPool {
  /** Those that have not ended. */
  readonly threads: PoolThread[] = [];
  private readonly events: PoolEvents;
  private readonly startWorker: Start;

  constructor(events: PoolEvents, startWorker: Start) {
    this.events = events;
    this.startWorker = startWorker;
  }

  start(order: WorkerOrder): PoolThread {
    const name = order.role === 'worker' ? `worker ${order.worker}` : order.role;
    const worker = this.startWorker(order, name);
    const hasEnded = new Promise<void>((resolve) => {
      worker.once('exit', () => resolve());
    });
    const says = (wanted: WorkerMessage): Promise<void> =>
      new Promise((resolve) => {
        worker.on('message', (message: WorkerMessage) => {
          if (message === wanted) resolve();
        });
      });
    const thread: PoolThread = {
      order,
      name,
      worker,
      ready: Promise.race([says('ready').then(() => true), hasEnded.then(() => false)]),
      draining: Promise.race([says('draining'), hasEnded]),
      exited: hasEnded,
      failure: null,
      exitCode: null,
    };
    worker.on('error', (error: unknown) => {
      thread.failure = error instanceof Error ? error : new Error(String(error));
    });
    worker.once('exit', (code: number) => {
      thread.exitCode = code;
      this.threads.splice(this.threads.indexOf(thread), 1);
      this.events.gone(thread);
    });
    this.threads.push(thread);
    return thread;
  }

  /** Until every thread has ended, or for `limitMs`. @returns true when all have */
  async allExited(limitMs: number): Promise<boolean> {
    let timer: NodeJS.Timeout | undefined;
    const timeout = new Promise<void>((resolve) => {
      timer = setTimeout(resolve, limitMs);
    });
    await Promise.race([Promise.all(this.threads.map((thread) => thread.exited)), timeout]);
    clearTimeout(timer);
    return this.threads.length === 0;
  }

  /** Ends the threads that have not ended; programs in stack threads end with those. */
  async terminate(): Promise<void> {
    await Promise.all(this.threads.map(({ worker }) => worker.terminate?.()));
  }
}
