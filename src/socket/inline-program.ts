/**
 * Programs that run in stack threads, seen by the thread that opened the stack: a module that is
 * loaded there, a line to it, and its end. The shape is a Worker's, but it has no thread of its
 * own: it cannot be terminated, and ends by itself or with the stack. stack/inline-host.ts is the
 * other side.
 */
import { EventEmitter } from 'node:events';
import { MessageChannel, type MessagePort, type TransferListItem } from 'node:worker_threads';

export interface InlineOptions {
  /** First argument of `main`: structured-cloneable. */
  readonly data?: unknown;
  readonly transferList?: readonly TransferListItem[];
  /** In the stack thread of which queue; default 0. */
  readonly queue?: number;
}

/**
 * A program in a stack thread. Events: `message` (what it posts to its port), `error` (what it
 * threw), and at last `exit` with 0, or 1 after an error or when the stack has ended before it.
 */
export class InlineProgram extends EventEmitter {
  readonly #port: MessagePort;
  readonly #exited: () => void;
  /** What is known of its end; both parts are needed, and come in any order. */
  #end: { readonly error: unknown; readonly code: number } | null = null;
  #closed = false;
  #over = false;

  /** @internal use StackHandle.runInline */
  constructor(port: MessagePort, exited: () => void) {
    super();
    this.#port = port;
    this.#exited = exited;
    port.on('message', (message) => this.emit('message', message));
    // What was posted before comes before this.
    port.once('close', () => {
      this.#closed = true;
      this.#finish();
    });
  }

  postMessage(message: unknown, transferList?: readonly TransferListItem[]): void {
    this.#port.postMessage(message, transferList);
  }

  /** @internal the stack thread has told how it ended */
  ended(error: unknown, code: number): void {
    this.#end ??= { error, code };
    this.#finish();
  }

  #finish(): void {
    if (this.#over || !this.#closed || this.#end === null) return;
    this.#over = true;
    this.#exited();
    const { error, code } = this.#end;
    if (error !== null) this.emit('error', error);
    this.emit('exit', code);
  }
}

/** What a stack thread is sent (GuestOrder of stack/inline-host.ts). */
export interface InlineOrder {
  readonly id: number;
  readonly module: string;
  readonly data: unknown;
  readonly port: MessagePort;
}

/** The programs of one stack. */
export class InlinePrograms {
  readonly #programs = new Map<number, InlineProgram>();
  readonly #send: (queue: number, order: InlineOrder, transfer: TransferListItem[]) => void;
  #nextId = 1;

  /** @param send gives an order to the stack thread of a queue */
  constructor(send: (queue: number, order: InlineOrder, transfer: TransferListItem[]) => void) {
    this.#send = send;
  }

  start(module: string, { data, transferList = [], queue = 0 }: InlineOptions): InlineProgram {
    const { port1, port2 } = new MessageChannel();
    const id = this.#nextId++;
    this.#send(queue, { id, module, data, port: port2 }, [port2, ...transferList]);
    const program = new InlineProgram(port1, () => this.#programs.delete(id));
    this.#programs.set(id, program);
    return program;
  }

  ended(id: number, error: unknown): void {
    this.#programs.get(id)?.ended(error, error === null ? 0 : 1);
  }

  /** The stack threads are no more, and what ran in them with them. */
  stackEnded(): void {
    for (const program of this.#programs.values()) program.ended(null, 1);
  }
}
