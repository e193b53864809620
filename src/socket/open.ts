/**
 * `openStack`: starts the thread of a stack on a TUN device (stack/pump-thread.ts), waits until it
 * would answer a SYN, and gives the calling thread its `sys` and `net`. Also everything about the
 * stack's end: close, the process exiting, the stack thread dying. Other threads join with `attach`
 * (attach.ts).
 */
import { stackWaker } from './arena.js';
import { attachParts, type SharedStack, type ThreadParts } from './attach.js';
import { StackError } from './errors.js';
import { type InlineOptions, type InlineProgram, InlinePrograms } from './inline-program.js';
import type { Net } from './net.js';
import { checkOpenOptions, type OpenOptions } from './open-options.js';
import type { SocketRow } from './socket-rows.js';
import { StackQuestions } from './stack-questions.js';
import { type StackThreadMessage, StackThreads } from './stack-threads.js';
import type { Sys } from './sys-table.js';
import {
  type CtlLayout,
  G_EHASH_SECRET,
  G_GUESTS,
  G_SPIN_US,
  G_STACK_SLEEPING,
  G_STATE,
  G_STOP,
  globalAt,
  OP_THREAD_GONE,
  STACK_RUNNING,
  STACK_STARTING,
} from './uapi/layout.js';
import { createCtl, declareDead, layoutOf, reserveThread } from './uapi/shared.js';

export { type Attached, attach, type SharedStack } from './attach.js';
export { StackError } from './errors.js';
export type { InlineOptions, InlineProgram } from './inline-program.js';
export type { OpenOptions } from './open-options.js';
export type { SocketRow } from './socket-rows.js';
export type { StackQuestions } from './stack-questions.js';

/**
 * After this long a stack thread that was asked to end is ended, ms. It looks around once a second.
 */
const END_PATIENCE_MS = 5000;

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
  /** Queues of the device, each with a stack thread. */
  readonly queues: number;
  /**
   * Of several queues: 0 = the kernel puts packets where their connection is; else the errno with
   * which it refused the program for that, and packets may have to be sent on.
   */
  readonly steering: number;
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

  readonly #threads: StackThreads;
  readonly #parts: ThreadParts;
  readonly #programs: InlinePrograms;
  readonly #ctl: SharedArrayBuffer;
  readonly #stop: () => void;
  #closing: Promise<void> | null = null;
  #death: StackError | null = null;

  /** @internal use openStack */
  constructor(threads: StackThreads, ctl: SharedArrayBuffer, parts: ThreadParts) {
    const { ready } = threads;
    this.#threads = threads;
    this.#ctl = ctl;
    this.#parts = parts;
    this.questions = new StackQuestions(parts.port);
    this.tun = ready.tun;
    this.address = ready.address;
    this.peer = ready.peer;
    this.mtu = ready.mtu;
    this.seed = ready.seed;
    this.secret = parts.memory.ctl[G_EHASH_SECRET]! >>> 0;
    this.queues = parts.port.queues;
    this.steering = ready.steering;
    const { ctl: words, layout } = parts.memory;
    this.#stop = () => askToEnd(words, layout);
    this.#programs = new InlinePrograms((queue, order, transfer) => {
      threads.send(queue, order, transfer);
      Atomics.add(words, globalAt(layout, G_GUESTS, queue), 1);
      wakeUp(words, layout, queue);
    });
    // A thread blocked in poll() would hold process.exit() up until poll returns.
    process.once('exit', this.#stop);
    threads.listen({
      message: (message, queue) => this.#hear(message, queue),
      error: (error) => this.#die(error as StackError),
      exit: (code) => {
        if (this.#closing !== null) return;
        this.#die(new StackError('ERR_STACK_DIED', `the stack thread ended with code ${code}`));
      },
    });
    void threads.exited.then(() => {
      process.off('exit', this.#stop);
      this.#programs.stackEnded();
    });
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
   * Runs a program in a stack thread itself: run to completion, without a switch of threads between
   * stack and program. `module` exports `main(data, port)`; what it finds in `data` should be, or
   * contain, what `share()` gave, for `attach`. While it computes, the stack (of that queue) stands
   * still: it runs while the program waits in one of the stack's calls. A program that lives on the
   * event loop returns a promise. Several in one thread run one after the other.
   */
  runInline(module: URL | string, options: InlineOptions = {}): InlineProgram {
    if (!this.#parts.port.alive) throw closedError(this.#parts.port.failure);
    const { queue = 0 } = options;
    if (!Number.isInteger(queue) || queue < 0 || queue >= this.queues) {
      const text = `option 'queue' must be a whole number in 0..${this.queues - 1}, not ${queue}`;
      throw new StackError('EINVAL', text, '', 2);
    }
    return this.#programs.start(String(module), options);
  }

  /**
   * A thread that had attached has ended: what it owned is closed or reset. @returns 0 or -errno
   */
  threadGone(threadNumber: number): number {
    const { port } = this.#parts;
    let status = 0;
    for (let queue = this.queues - 1; queue >= 0 && status === 0; queue--) {
      status = port.callTo(queue, OP_THREAD_GONE, 0, threadNumber);
    }
    return status;
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
    this.#threads.ref();
    this.#parts.shutdownNet(false);
    this.#stop();
    const patience = setTimeout(() => this.#threads.terminate(), END_PATIENCE_MS);
    await this.#threads.exited;
    clearTimeout(patience);
    this.#declareEnd('');
  }

  #hear(message: StackThreadMessage, queue: number): void {
    if (message.event === 'answered') this.questions.answered(message.id, message.answer);
    if (message.event === 'traced') this.questions.traced(message, queue);
    if (message.event === 'selector') this.#warn(message.message);
    if (message.event === 'ended') this.#programs.ended(message.id, message.error);
    if (message.event === 'closed') this.captureFailure ??= message.captureFailure;
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

/** Asks the stack threads to end, waking those that sleep. */
function askToEnd(ctl: Int32Array, layout: CtlLayout): void {
  Atomics.store(ctl, G_STOP, 1);
  for (let queue = 0; queue < layout.queues; queue++) wakeUp(ctl, layout, queue);
}

/** Ends the sleep of a queue's stack thread, if it sleeps. */
function wakeUp(ctl: Int32Array, layout: CtlLayout, queue: number): void {
  Atomics.store(ctl, globalAt(layout, G_STACK_SLEEPING, queue), 0);
  stackWaker(ctl, layout)(queue);
}

/**
 * Opens a stack on a TUN device: device up, address set, packets answered when the promise
 * resolves. Needs what the device needs (CAP_NET_ADMIN, or a device made beforehand). Rejects with
 * StackError: `code`, `message` (what and why), `remedy` (what to type), `exitCode` (2 wrong
 * option, 77 privilege or device missing).
 */
export async function openStack(options: OpenOptions = {}): Promise<StackHandle> {
  const plan = checkOpenOptions(options);
  const ctl = createCtl(undefined, plan.queues);
  const words = new Int32Array(ctl);
  words[G_SPIN_US] = plan.spinUs;
  // The opener is thread 0.
  const thread = reserveThread(words, layoutOf(words));
  const { queues } = plan;
  const stop = (): void => askToEnd(words, layoutOf(words));
  const threads = await StackThreads.start({ ...plan, ctl }, queues, stop);
  const { address } = threads.ready;
  const parts = attachParts({ ctl, arena: null, thread, address });
  return new StackHandle(threads, ctl, parts);
}
