/**
 * The workers that are the threads of one stack (stack/pump-thread.ts), one for each queue of its
 * device: starting them, the first one first, what they say, and their end. They live and die
 * together.
 */
import { type TransferListItem, Worker } from 'node:worker_threads';
import { StackError, toStackError } from './errors.js';
import type { StackThreadOptions } from './open-options.js';
import type { TracedBatch } from './uapi/answers.js';

/** What a stack thread posts (PumpMessage of stack/stack-thread.ts). */
export type StackThreadMessage =
  | ReadyMessage
  | { event: 'failed'; error: unknown }
  | { event: 'closed'; captureFailure: string | null }
  | { event: 'answered'; id: number; answer: unknown }
  | ({ event: 'traced' } & TracedBatch)
  | { event: 'selector'; message: string }
  | { event: 'ended'; id: number; error: unknown }
  | { event: 'died'; message: string; report: string };

export interface ReadyMessage {
  event: 'ready';
  tun: string;
  address: string;
  peer: string;
  mtu: number;
  seed: string;
  clockOffsetMs: number;
  /** errno with which the kernel refused to steer packets to their queues; 0 = it does. */
  steering: number;
}

/**
 * Memory of the stack thread for young objects, MiB (three times V8's semi-space): it makes next to
 * none per packet and one or two per connection. V8's own limit would become 32 MiB resident.
 */
const YOUNG_MB = 12;

/** Hears what happens to the threads. */
export interface StackThreadEvents {
  message(message: StackThreadMessage, queue: number): void;
  /** A thread ended of an exception. */
  error(error: Error): void;
  /** A thread ended, in order or not. */
  exit(code: number): void;
}

export class StackThreads {
  /** What queue 0 said first, with the steering of the last. */
  readonly ready: ReadyMessage;
  /** Resolves when all have ended. */
  readonly exited: Promise<void>;
  private readonly workers: readonly Worker[];

  private constructor(workers: readonly Worker[], ready: ReadyMessage) {
    this.workers = workers;
    this.ready = ready;
    const ends = workers.map((worker) => new Promise<void>((end) => worker.once('exit', end)));
    this.exited = Promise.all(ends).then(() => {});
  }

  /**
   * Starts `queues` threads, each when the one before is ready. Rejects with StackError when one is
   * not; `stop` has asked the others to end then, and they have.
   */
  static async start(
    options: StackThreadOptions,
    queues: number,
    stop: () => void,
  ): Promise<StackThreads> {
    const workers: Worker[] = [];
    try {
      const { worker, ready: first } = await startThread(options);
      workers.push(worker);
      let { steering } = first;
      for (let queue = 1; queue < queues; queue++) {
        const { clockOffsetMs, seed } = first;
        const own = { queue, clockOffsetMs, seed: `${seed}/${queue}` };
        const more = await startThread({ ...options, ...own });
        workers.push(more.worker);
        steering = more.ready.steering;
      }
      return new StackThreads(workers, { ...first, steering });
    } catch (error) {
      stop();
      await Promise.all(workers.map((worker) => ended(worker)));
      throw error;
    }
  }

  listen(events: StackThreadEvents): void {
    for (const [queue, worker] of this.workers.entries()) {
      worker.on('message', (message: StackThreadMessage) => events.message(message, queue));
      worker.on('error', (error) => events.error(toStackError(error)));
      worker.once('exit', (code) => events.exit(code));
      // Like a socket of Node's, what keeps the process alive are open servers and connections. A
      // worker is ref'd by whoever begins to listen to its messages, so this comes last.
      worker.unref();
    }
  }

  /** They keep the process alive until they have ended. */
  ref(): void {
    for (const worker of this.workers) worker.ref();
  }

  /** Sends a message to the thread of `queue`. */
  send(queue: number, message: unknown, transfer: TransferListItem[]): void {
    this.workers[queue]!.postMessage(message, transfer);
  }

  terminate(): void {
    for (const worker of this.workers) void worker.terminate();
  }
}

function ended(worker: Worker): Promise<void> {
  if (worker.threadId < 0) return Promise.resolve();
  return new Promise((end) => worker.once('exit', () => end()));
}

interface Started {
  readonly worker: Worker;
  readonly ready: ReadyMessage;
}

async function startThread(workerData: StackThreadOptions): Promise<Started> {
  const worker = makeWorker(workerData);
  return { worker, ready: await firstMessage(worker) };
}

/**
 * The stack thread, with the flags of this process. `--input-type`, of a program given with -e,
 * does not go with a file; and a list without it may not name what is only for whole processes
 * (V8's flags), though a thread that is given no list takes them as they are.
 */
function makeWorker(workerData: StackThreadOptions): Worker {
  const url = new URL('../stack/pump-thread.js', import.meta.url);
  const resourceLimits = { maxYoungGenerationSizeMb: YOUNG_MB };
  const options = { workerData, name: 'tunstack', resourceLimits };
  const execArgv = process.execArgv.filter((argument) => !argument.startsWith('--input-type'));
  if (execArgv.length === process.execArgv.length) return new Worker(url, options);
  try {
    return new Worker(url, { ...options, execArgv });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'ERR_WORKER_INVALID_EXEC_ARGV') throw error;
    return new Worker(url, { ...options, execArgv: [] });
  }
}

function firstMessage(worker: Worker): Promise<ReadyMessage> {
  return new Promise((resolve, reject) => {
    const settle = (done: () => void) => {
      worker.off('message', onMessage).off('error', onError).off('exit', onExit);
      done();
    };
    const onError = (error: unknown) => settle(() => reject(toStackError(error)));
    const onExit = (code: number) => {
      const text = `the stack thread ended with code ${code} before it was ready`;
      settle(() => reject(new StackError('ERR_STACK_FAILED', text)));
    };
    const onMessage = (message: StackThreadMessage) => {
      if (message.event === 'ready') settle(() => resolve(message));
      else if (message.event === 'failed') onError(message.error);
      else if (message.event === 'died') onError(new Error(message.report));
    };
    worker.on('message', onMessage).on('error', onError).on('exit', onExit);
  });
}
