/**
 * The threads of one `serve`: started, waited for, told apart when they fail. Knows nothing of what
 * they do; serve-master.ts gives the orders.
 */
import { Worker } from 'node:worker_threads';
import type { WorkerMessage, WorkerOrder } from './worker-message.js';

export interface PoolEvents {
  /** A thread has ended, however: what it threw is its `failure`. */
  gone(thread: PoolThread): void;
}

export interface PoolThread {
  readonly order: WorkerOrder;
  /** `worker 2` or `acceptor`. */
  readonly name: string;
  readonly worker: Worker;
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

const ENTRY = new URL('./worker.js', import.meta.url);

export class WorkerPool {
  /** Those that have not ended. */
  readonly threads: PoolThread[] = [];
  private readonly events: PoolEvents;
  private readonly entry: URL;

  /** @param entry module that the threads run */
  constructor(events: PoolEvents, entry: URL = ENTRY) {
    this.events = events;
    this.entry = entry;
  }

  start(order: WorkerOrder): PoolThread {
    const name = order.role === 'worker' ? `worker ${order.worker}` : order.role;
    const worker = new Worker(this.entry, { workerData: order, name });
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

  async terminate(): Promise<void> {
    await Promise.all(this.threads.map((thread) => thread.worker.terminate()));
  }
}
