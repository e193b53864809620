/**
 * The opener's end of the questions to its stack thread: a question goes out as a command that
 * nobody waits for, its answer comes back as a message (stack/stack-thread.ts), so the opener's
 * event loop never stands still. Also where traced packets arrive. Any thread may hold a stack's
 * memory, but only the opener gets messages, so only it can ask.
 */
import { StackError } from './errors.js';
import type { MinisockRow, Piece, SocketDetail, TracedBatch } from './uapi/answers.js';
import {
  G_TAP_DROPPED,
  G_TAP_IN_FLIGHT,
  globalAt,
  LIST_DETAILS,
  LIST_MINISOCKS,
  OP_EXPLAIN,
  OP_LIST,
  OP_TRACE,
} from './uapi/layout.js';
import type { ThreadPort } from './uapi/thread-port.js';

interface Waiting {
  resolve(answer: unknown): void;
  reject(error: Error): void;
}

export class StackQuestions {
  /** Takes each batch of traced packets. */
  onPackets: ((batch: TracedBatch) => void) | null = null;
  private readonly port: ThreadPort;
  private readonly waiting = new Map<number, Waiting>();
  private asked = 0;

  constructor(port: ThreadPort) {
    this.port = port;
  }

  /**
   * What a SYN would meet now (an Explanation of reuseport/decision-json.ts), as a dry run.
   * Addresses are int32 bit patterns. Null when the stack has no memory for the question.
   */
  explain(saddr: number, sport: number, daddr: number, dport: number): Promise<object | null> {
    const ports = (sport << 16) | dport;
    return this.ask(OP_EXPLAIN, saddr, ports, daddr) as Promise<object | null>;
  }

  /** Half-open and TIME-WAIT connections, which are queue 0's. */
  minisocks(): Promise<MinisockRow[]> {
    return this.list<MinisockRow>(LIST_MINISOCKS, 0);
  }

  /** What is inside of each TCP descriptor. */
  async details(): Promise<SocketDetail[]> {
    const rows: SocketDetail[] = [];
    for (let queue = 0; queue < this.port.queues; queue++) {
      rows.push(...(await this.list<SocketDetail>(LIST_DETAILS, queue)));
    }
    return rows;
  }

  /** From now on `onPackets` gets `snaplen` bytes of each packet; 0 = no more. */
  async trace(snaplen: number): Promise<void> {
    for (let queue = 0; queue < this.port.queues; queue++) {
      await this.askQueue(queue, OP_TRACE, snaplen);
    }
  }

  /** Packets that were not traced because this thread did not keep up, since the stack began. */
  get packetsDropped(): number {
    const { ctl, layout, queues } = this.port;
    let dropped = 0;
    for (let queue = 0; queue < queues; queue++) {
      dropped += Atomics.load(ctl, globalAt(layout, G_TAP_DROPPED, queue)) >>> 0;
    }
    return dropped;
  }

  /** A message with an answer has come. */
  answered(id: number, answer: unknown): void {
    this.waiting.get(id)?.resolve(answer);
    this.waiting.delete(id);
  }

  /** A message with packets has come from the stack thread of `queue`. */
  traced(batch: TracedBatch, queue = 0): void {
    try {
      this.onPackets?.(batch);
    } finally {
      const { ctl, layout } = this.port;
      Atomics.sub(ctl, globalAt(layout, G_TAP_IN_FLIGHT, queue), 1);
    }
  }

  /** The stack is gone: nobody will answer. */
  end(): void {
    for (const { reject } of this.waiting.values()) reject(gone(this.port.failure));
    this.waiting.clear();
  }

  private async list<T>(what: number, queue: number): Promise<T[]> {
    const rows: T[] = [];
    for (let cursor: number | null = 0; cursor !== null; ) {
      const piece = (await this.askQueue(queue, OP_LIST, what, cursor)) as Piece<T>;
      rows.push(...piece.rows);
      cursor = piece.next;
    }
    return rows;
  }

  private ask(op: number, a = 0, b = 0, c = 0): Promise<unknown> {
    return this.askQueue(0, op, a, b, c);
  }

  private askQueue(queue: number, op: number, a = 0, b = 0, c = 0): Promise<unknown> {
    this.asked = (this.asked + 1) | 0;
    const id = this.asked;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      if (this.port.postTo(queue, op, a, b, c, id)) return;
      this.waiting.delete(id);
      reject(gone(this.port.failure));
    });
  }
}

function gone(why: string | null): StackError {
  return new StackError('ERR_STACK_CLOSED', why ?? 'the stack is closed', 'open another stack');
}
