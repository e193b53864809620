/**
 * `openStack`: starts the thread of a stack on a TUN device (stack/pump-thread.ts), waits until it
 * would answer a SYN, and gives the calling thread its `sys` and `net`. Also everything about the
 * stack's end: close, the process exiting, the stack thread dying. Other threads join with `attach`
 * (attach.ts).
 */
import { Worker } from 'node:worker_threads';
import { stackWaker } from './arena.js';
import { attachParts, type SharedStack, type ThreadParts } from './attach.js';
import { StackError, toStackError } from './errors.js';
import type { Net } from './net.js';
import { checkOpenOptions, type OpenOptions, type StackThreadOptions } from './open-options.js';
import type { SocketRow } from './socket-rows.js';
import { StackQuestions } from './stack-questions.js';
import type { Sys } from './sys-table.js';
import type { TracedBatch } from './uapi/answers.js';
import {
  G_EHASH_SECRET,
  G_SPIN_US,
  G_STACK_SLEEPING,
  G_STATE,
  G_STOP,
  OP_THREAD_GONE,
  STACK_RUNNING,
  STACK_STARTING,
} from './uapi/layout.js';
import { createCtl, declareDead, layoutOf, reserveThread } from './uapi/shared.js';

export { type Attached, attach, type SharedStack } from './attach.js';
export { StackError } from './errors.js';
export type { OpenOptions } from './open-options.js';
export type { SocketRow } from './socket-rows.js';
export type { StackQuestions } from './stack-questions.js';

/** What the stack thread posts (PumpMessage of stack/pump-thread.ts). */
type StackThreadMessage =
  | { event: 'ready'; tun: string; address: string; peer: string; mtu: number; seed: string }
  | { event: 'failed'; error: unknown }
  | { event: 'closed'; captureFailure: string | null }
  | { event: 'answered'; id: number; answer: unknown }
  | ({ event: 'traced' } & TracedBatch)
  | { event: 'selector'; message: string }
  | { event: 'died'; message: string; report: string };

type ReadyMessage = Extract<StackThreadMessage, { event: 'ready' }>;

/**
 * After this long a stack thread that was asked to end is ended, ms. It looks around once a second.
 */
const END_PATIENCE_MS = 5000;
/**
 * Memory of the stack thread for young objects, MiB (three times V8's semi-space): it makes next to
 * none per packet and one or two per connection. V8's own limit would become 32 MiB resident.
 */
const YOUNG_MB = 12;

/** An open stack, in the thread that opened it. */
export class StackHandle {
  readonly tun: string;
  /** The stack's address, and the host's on the device. */
  readonly address: string;
  readonly peer: string;
  readonly mtu: number;
  /** Makes the same ISNs, ports and hash secrets again: `openStack({ seed })`. */
  readonly seed: string;
  /** Secret of the flow hash, unsigned. */
  readonly secret: number;
  /**
   * Called when the stack thread dies; every socket of every thread has failed by then or is about
   * to.
   */
  onFatal: ((error: StackError) => void) | null = null;
  /**
   * Called when something goes on otherwise than its user wanted: a selector was refused, or failed
   * and was detached. Null: a process warning of type StackWarning.
   */
  onWarning: ((message: string) => void) | null = null;
  /** Why the capture file is cut short (an errno name), or null; known after close. */
  captureFailure: string | null = null;

  /** What only the stack thread knows, and the packets it sees. */
  readonly questions: StackQuestions;

  readonly #worker: Worker;
  readonly #parts: ThreadParts;
  readonly #ctl: SharedArrayBuffer;
  readonly #stop: () => void;
  #closing: Promise<void> | null = null;
  #death: StackError | null = null;
  readonly #exited: Promise<void>;

  /** @internal use openStack */
  constructor(worker: Worker, ctl: SharedArrayBuffer, parts: ThreadParts, ready: ReadyMessage) {
    this.#worker = worker;
    this.#ctl = ctl;
    this.#parts = parts;
    this.questions = new StackQuestions(parts.port);
    this.tun = ready.tun;
    this.address = ready.address;
    this.peer = ready.peer;
    this.mtu = ready.mtu;
    this.seed = ready.seed;
    this.secret = parts.memory.ctl[G_EHASH_SECRET]! >>> 0;
    this.#stop = () => askToEnd(parts.memory.ctl);
    // A thread blocked in poll() would hold process.exit() up until poll returns.
    process.once('exit', this.#stop);
    worker.on('message', (message: StackThreadMessage) => this.#hear(message));
    worker.on('error', (error) => this.#die(toStackError(error)));
    this.#exited = new Promise((resolve) => {
      worker.once('exit', (code) => {
        process.off('exit', this.#stop);
        if (this.#closing === null) {
          this.#die(new StackError('ERR_STACK_DIED', `the stack thread ended with code ${code}`));
        }
        resolve();
      });
    });
    // Like a socket of Node's, what keeps the process alive are open servers and connections.
    worker.unref();
  }

  get sys(): Sys {
    return this.#parts.sys;
  }

  get net(): Net {
    return this.#parts.net;
  }

  /** @internal The control words of the stack (uapi/layout.ts): to be read. */
  get ctl(): Int32Array {
    return this.#parts.memory.ctl;
  }

  /** 0: this thread's number. */
  get threadNumber(): number {
    return this.#parts.threadNumber;
  }

  sockets(): SocketRow[] {
    return this.#parts.sockets();
  }

  counters(): Record<string, number> {
    return this.#parts.counters();
  }

  /**
   * What one more thread needs to `attach`. Throws StackError when the stack is gone or threads are
   * used up.
   */
  share(): SharedStack {
    if (!this.#parts.port.alive) throw closedError(this.#parts.port.failure);
    const { ctl, layout } = this.#parts.memory;
    const thread = reserveThread(ctl, layout);
    if (thread < 0) {
      const remedy = 'end one, and say so with threadGone(number)';
      throw new StackError('ERR_STACK_THREADS', 'no more threads can attach to this stack', remedy);
    }
    return { ctl: this.#ctl, arena: null, thread, address: this.address };
  }

  /**
   * A thread that had attached has ended: what it owned is closed or reset. @returns 0 or -errno
   */
  threadGone(threadNumber: number): number {
    return this.#parts.port.call(OP_THREAD_GONE, 0, threadNumber);
  }

  /**
   * Destroys this thread's sockets, ends the stack thread and removes the device. May be called
   * again.
   */
  close(): Promise<void> {
    this.#closing ??= this.#close();
    return this.#closing;
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #close(): Promise<void> {
    this.#worker.ref();
    this.#parts.shutdownNet(false);
    this.#stop();
    const patience = setTimeout(() => void this.#worker.terminate(), END_PATIENCE_MS);
    await this.#exited;
    clearTimeout(patience);
    this.#declareEnd('');
  }

  #hear(message: StackThreadMessage): void {
    if (message.event === 'answered') this.questions.answered(message.id, message.answer);
    if (message.event === 'traced') this.questions.traced(message);
    if (message.event === 'selector') this.#warn(message.message);
    if (message.event === 'closed') this.captureFailure = message.captureFailure;
    if (message.event !== 'died') return;
    const error = new StackError('ERR_STACK_DIED', `the stack thread died: ${message.message}`);
    error.cause = message.report;
    this.#die(error);
  }

  #warn(message: string): void {
    if (this.onWarning !== null) this.onWarning(message);
    else process.emitWarning(message, { type: 'StackWarning', code: 'TUN_SELECTOR' });
  }

  #die(error: StackError): void {
    if (this.#death !== null) return;
    this.#death = error;
    this.#declareEnd(error.message);
    this.#parts.shutdownNet(true);
    if (this.onFatal !== null) {
      this.onFatal(error);
    } else if (this.#closing === null) {
      const detail = typeof error.cause === 'string' ? error.cause : error.remedy;
      process.emitWarning(error.message, { type: 'StackError', code: error.code, detail });
    }
  }

  /** Tells all threads, unless the stack thread has done so itself. */
  #declareEnd(why: string): void {
    const { ctl, layout } = this.#parts.memory;
    const state = Atomics.load(ctl, G_STATE);
    if (state === STACK_RUNNING || state === STACK_STARTING) declareDead(ctl, layout, why);
    this.questions.end();
  }
}

function closedError(why: string | null): StackError {
  return new StackError('ERR_STACK_CLOSED', why ?? 'the stack is closed', 'open another stack');
}

/** Asks the stack thread to end, waking it if it sleeps. */
function askToEnd(ctl: Int32Array): void {
  Atomics.store(ctl, G_STOP, 1);
  Atomics.store(ctl, G_STACK_SLEEPING, 0);
  stackWaker(ctl)();
}

/**
 * Opens a stack on a TUN device: device up, address set, packets answered when the promise
 * resolves. Needs what the device needs (CAP_NET_ADMIN, or a device made beforehand). Rejects with
 * StackError: `code`, `message` (what and why), `remedy` (what to type), `exitCode` (2 wrong
 * option, 77 privilege or device missing).
 */
export async function openStack(options: OpenOptions = {}): Promise<StackHandle> {
  const plan = checkOpenOptions(options);
  const ctl = createCtl();
  const words = new Int32Array(ctl);
  words[G_SPIN_US] = plan.spinUs;
  // The opener is thread 0.
  const thread = reserveThread(words, layoutOf(words));
  const workerData: StackThreadOptions = { ...plan, ctl };
  const worker = startThread(workerData);
  const ready = await firstMessage(worker);
  const parts = attachParts({ ctl, arena: null, thread, address: ready.address });
  return new StackHandle(worker, ctl, parts, ready);
}

/**
 * The stack thread, with the flags of this process. `--input-type`, of a program given with -e,
 * does not go with a file; and a list without it may not name what is only for whole processes
 * (V8's flags), though a thread that is given no list takes them as they are.
 */
function startThread(workerData: StackThreadOptions): Worker {
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
