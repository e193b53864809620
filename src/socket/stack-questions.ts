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

  /** Half-open and TIME-WAIT connections. */
  minisocks(): Promise<MinisockRow[]> {
    return this.list<MinisockRow>(LIST_MINISOCKS);
  }

  /** What is inside of each TCP descriptor. */
  details(): Promise<SocketDetail[]> {
    return this.list<SocketDetail>(LIST_DETAILS);
  }

  /** From now on `onPackets` gets `snaplen` bytes of each packet; 0 = no more. */
  async trace(snaplen: number): Promise<void> {
    await this.ask(OP_TRACE, snaplen);
  }

  /** Packets that were not traced because this thread did not keep up, since the stack began. */
  get packetsDropped(): number {
    return Atomics.load(this.port.ctl, G_TAP_DROPPED) >>> 0;
  }

  /** A message with an answer has come. */
  answered(id: number, answer: unknown): void {
    this.waiting.get(id)?.resolve(answer);
    this.waiting.delete(id);
  }

  /** A message with packets has come. */
  traced(batch: TracedBatch): void {
    try {
      this.onPackets?.(batch);
    } finally {
      Atomics.sub(this.port.ctl, G_TAP_IN_FLIGHT, 1);
    }
  }

  /** The stack is gone: nobody will answer. */
  end(): void {
    for (const { reject } of this.waiting.values()) reject(gone(this.port.failure));
    this.waiting.clear();
  }

  private async list<T>(what: number): Promise<T[]> {
    const rows: T[] = [];
    for (let cursor: number | null = 0; cursor !== null; ) {
      const piece = (await this.ask(OP_LIST, what, cursor)) as Piece<T>;
      rows.push(...piece.rows);
      cursor = piece.next;
    }
    return rows;
  }

  private ask(op: number, a = 0, b = 0, c = 0): Promise<unknown> {
    this.asked = (this.asked + 1) | 0;
    const id = this.asked;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject });
      if (this.port.post(op, 0, a, b, c, id)) return;
      this.waiting.delete(id);
      reject(gone(this.port.failure));
    });
  }
}

function gone(why: string | null): StackError {
  return new StackError('ERR_STACK_CLOSED', why ?? 'the stack is closed', 'open another stack');
}
