/**
 * Programs that run in a stack thread ("inline", run to completion): waiting for one, loading its
 * module, running it, and telling how it ended. While a program waits for the stack it runs turns
 * of the pump through this object (socket/uapi/host-port.ts). A program that lives on the event
 * loop returns a promise; the loop has a turn between any two of its rounds, and sleeps in a poll
 * that libuv's thread pool makes. An exception of the program is the end of the program, one of the
 * stack the end of the stack.
 */
import type { MessagePort } from 'node:worker_threads';
import { becomeHost, type StackHost } from '../socket/uapi/host.js';
import { G_GUESTS } from '../socket/uapi/layout.js';
import type { Pump } from './pump.js';

/** A program to run. */
export interface GuestOrder {
  /** The opener's number for it. */
  readonly id: number;
  /** URL of a module that exports `main(data, port)`. */
  readonly module: string;
  readonly data: unknown;
  /** Its line to the thread that has started it. */
  readonly port: MessagePort;
}

/** How program `id` ended: `error` is what it threw, or null. */
export interface GuestEnd {
  readonly event: 'ended';
  readonly id: number;
  readonly error: unknown;
}

export interface HostParts {
  readonly ctl: Int32Array;
  /** Whose stack thread this is, and where its globals begin in `ctl`. */
  readonly queue: number;
  readonly globals: number;
  readonly arena: Uint8Array;
  readonly pump: Pump;
  /** The pump's `wait` while the event loop goes on. */
  readonly waitAsync: (timeoutMs: number) => Promise<void>;
  /** Ends that. */
  readonly wake: () => void;
  /** Takes the program that G_GUESTS has announced. */
  readonly take: () => GuestOrder;
  /** Throws when what is to be posted cannot be. */
  readonly post: (end: GuestEnd) => void;
}

interface Program {
  main?: (data: unknown, port: MessagePort) => unknown;
}

export class InlineHost implements StackHost {
  readonly queue: number;
  readonly arena: Uint8Array;
  private readonly parts: HostParts;
  private taken = 0;
  private turning = false;
  /** What a turn has thrown: the stack has broken, whatever the program makes of it. */
  private broken: { readonly error: unknown } | null = null;

  constructor(parts: HostParts) {
    this.parts = parts;
    this.queue = parts.queue;
    this.arena = parts.arena;
  }

  /** Does a program wait to be run? */
  get called(): boolean {
    return Atomics.load(this.parts.ctl, this.parts.globals + G_GUESTS) !== this.taken;
  }

  turn(): boolean {
    if (this.broken !== null) throw this.broken.error;
    if (this.turning) throw new Error('a turn of the stack cannot begin inside another');
    this.turning = true;
    try {
      return this.parts.pump.runOnce();
    } catch (error) {
      this.broken = { error };
      throw error;
    } finally {
      this.turning = false;
    }
  }

  rest(mostMs: number): void {
    this.parts.pump.rest(mostMs * 1000);
  }

  /** Runs the program that waits, until it ends. Throws what a turn of the stack has thrown. */
  async run(): Promise<void> {
    const { ctl, take, pump } = this.parts;
    this.taken = (this.taken + 1) | 0;
    const order = take();
    becomeHost(this, ctl);
    const closed = new Promise<void>((resolve) => {
      order.port.once('close', () => resolve());
    });
    let error: unknown = null;
    try {
      const program = (await this.during(import(order.module))) as Program;
      if (typeof program.main !== 'function') {
        throw new TypeError(`${order.module} exports no function main(data, port)`);
      }
      const running = program.main(order.data, order.port);
      if (running instanceof Promise) await this.during(running);
    } catch (thrown) {
      error = thrown ?? new Error(`${thrown} was thrown`);
    } finally {
      becomeHost(null, ctl);
    }
    if (this.broken !== null) throw this.broken.error;
    // When the stack has been asked to end, the program's calls failed under it.
    this.tell(order, pump.asked ? null : error);
    // A port is closed by the event loop; when the stack is to end, it goes with the thread.
    await this.during(closed).catch(() => {});
  }

  private tell({ id, port }: GuestOrder, error: unknown): void {
    const { post } = this.parts;
    // What the program has said comes before its end.
    port.close();
    try {
      post({ event: 'ended', id, error });
    } catch {
      post({ event: 'ended', id, error: new Error(String(error)) });
    }
  }

  /** Rounds of the event loop with a turn of the stack in each, until `work` settles. */
  private async during<T>(work: Promise<T>): Promise<T> {
    const { pump, wake } = this.parts;
    let fail: (error: unknown) => void = () => {};
    const failed = new Promise<never>((_, reject) => {
      fail = reject;
    });
    let open = true;
    const settled = Promise.race([work, failed]).finally(() => {
      open = false;
      wake();
    });
    settled.catch(() => {});
    // What a callback throws ends the program, not its thread.
    process.on('uncaughtException', fail);
    try {
      while (open && !pump.asked) {
        if (!this.turn()) await this.quiet();
        await new Promise((resolve) => setImmediate(resolve));
      }
      if (open) fail(new Error('the stack ends'));
      return await settled;
    } finally {
      process.off('uncaughtException', fail);
    }
  }

  /** The pump's rest while the event loop goes on. */
  private async quiet(): Promise<void> {
    const { pump, waitAsync } = this.parts;
    const sleepUs = pump.beforeRest(Number.POSITIVE_INFINITY);
    try {
      if (sleepUs > 0) await waitAsync(sleepUs / 1000);
    } finally {
      pump.afterRest();
    }
  }
}
