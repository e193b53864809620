/**
 * The tracer's end of the control socket: asks for packets, hands out each with its decision, and
 * ends in order when told to.
 */
import { connect, type Socket } from 'node:net';
import type { Explanation } from '../reuseport/decision-json.js';
import { readRecords, type TapRecord } from '../stack/tap-record.js';
import { FailedError } from './command.js';
import { FrameReader, type TraceFrame, type TraceStart } from './trace-protocol.js';

/** How long to wait for the last frame. */
const STOP_PATIENCE_MS = 1000;

export interface TraceEvents {
  /** Packets come from now on. */
  started(start: TraceStart): void;
  packet(record: TapRecord, decision: Explanation | null): void;
  /** A batch is through: what was collected can be written. */
  batch(): void;
}

/** A connection to a running stack that delivers packets until it is stopped. */
export class TraceClient {
  /** Packets that the trace lost. */
  dropped = 0;
  /** Settles at the end: resolves after stop(), rejects with FailedError when the stack ended. */
  readonly ended: Promise<void>;
  private readonly socket: Socket;
  private readonly events: TraceEvents;
  private readonly frames = new FrameReader();
  private starting = Buffer.alloc(0);
  private started = false;
  private stopping = false;
  private resolve!: () => void;
  private reject!: (error: Error) => void;

  constructor(path: string, snaplen: number, events: TraceEvents) {
    this.events = events;
    this.ended = new Promise((resolve, reject) => {
      this.resolve = resolve;
      this.reject = reject;
    });
    this.socket = connect(path);
    this.socket.on('connect', () => {
      this.socket.write(`${JSON.stringify({ cmd: 'trace', snaplen })}\n`);
    });
    this.socket.on('data', (chunk) => this.hear(chunk));
    this.socket.on('error', (error) => this.fail(path, error));
    this.socket.on('close', () => this.closed());
  }

  /**
   * No more packets, please. Those that are on their way still come; `ended` resolves when the last
   * count is here.
   */
  stop(): void {
    if (this.stopping) return;
    this.stopping = true;
    this.socket.write('stop\n');
    setTimeout(() => this.socket.destroy(), STOP_PATIENCE_MS).unref();
  }

  private fail(path: string, error: Error): void {
    if (this.started) return; // 'close' comes next
    const remedy = 'start one (npm start), or say where it is: --control PATH';
    this.reject(new FailedError(`no running stack at ${path}: ${error.message}`, remedy));
  }

  private closed(): void {
    if (this.stopping) this.resolve();
    else this.reject(new FailedError('the running stack has ended, and with it the trace', ''));
  }

  private hear(chunk: Buffer): void {
    try {
      const rest = this.started ? chunk : this.start(chunk);
      if (rest === null) return;
      for (const frame of this.frames.push(rest)) this.frame(frame);
    } catch (error) {
      this.reject(error instanceof Error ? error : new Error(String(error)));
      this.socket.destroy();
    }
  }

  /** The first line; what follows it, or null while it is not all there. */
  private start(chunk: Buffer): Buffer | null {
    this.starting = Buffer.concat([this.starting, chunk]);
    const end = this.starting.indexOf('\n');
    if (end < 0) return null;
    const line = JSON.parse(this.starting.toString('utf8', 0, end)) as TraceStart | ErrorLine;
    if ('error' in line) throw new FailedError(`the running stack says: ${line.error}`, '');
    this.started = true;
    this.events.started(line);
    return this.starting.subarray(end + 1);
  }

  private frame({ head, packets }: TraceFrame): void {
    this.dropped = head.dropped;
    if (packets.length > 0) {
      const decisions = new Map(head.decisions);
      for (const [i, record] of readRecords(packets).entries()) {
        this.events.packet(record, decisions.get(i) ?? null);
      }
      this.events.batch();
    }
    if (head.end === true) this.socket.end();
  }
}

interface ErrorLine {
  error: string;
}
