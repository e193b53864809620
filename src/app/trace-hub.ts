/**
 * The running stack's side of `trace`: any number of tracers on the control socket share one tap of
 * the stack thread, which is there only while one of them is. Each gets what it keeps up with: a
 * tracer with too much unread loses packets, is told how many, and slows nobody else down.
 */
import type { Socket } from 'node:net';
import { type Explanation, withWorkers } from '../reuseport/decision-json.js';
import type { StackQuestions } from '../socket/open.js';
import type { TracedBatch } from '../socket/uapi/answers.js';
import { UsageError } from './command.js';
import type { ControlFields } from './control-protocol.js';
import { Takeover } from './control-server.js';
import type { Roster } from './socket-table.js';
import type { TraceHead, TraceStart } from './trace-protocol.js';

/** Bytes on their way to one tracer. */
const UNREAD_MAX_BYTES = 4 << 20;
const SNAPLEN_MAX = 262_144;

/** One connection that wants packets. */
interface Tracer {
  socket: Socket;
  snaplen: number;
  /** Packets that it did not get because it was slow. */
  dropped: number;
  /** The stack's own count when it came. */
  stackDropped: number;
}

export interface TraceHubParts {
  readonly questions: Pick<StackQuestions, 'trace' | 'onPackets' | 'packetsDropped'>;
  readonly roster: Roster;
  /** Name of the device. */
  readonly tun: string;
}

export class TraceHub {
  private readonly parts: TraceHubParts;
  private readonly tracers = new Set<Tracer>();
  /** What the stack thread was last told. */
  private snaplen = 0;

  constructor(parts: TraceHubParts) {
    this.parts = parts;
    parts.questions.onPackets = (batch) => this.deliver(batch);
  }

  /** Answers the control command `trace`. Throws UsageError. */
  join({ snaplen }: ControlFields): Takeover {
    if (
      !Number.isInteger(snaplen) ||
      (snaplen as number) < 1 ||
      (snaplen as number) > SNAPLEN_MAX
    ) {
      throw new UsageError(`trace: snaplen must be 1 to ${SNAPLEN_MAX}`, 'tunstack trace --help');
    }
    return new Takeover((socket) => void this.enter(socket, snaplen as number));
  }

  private async enter(socket: Socket, snaplen: number): Promise<void> {
    const { questions, tun } = this.parts;
    if (socket.destroyed) return;
    const stackDropped = questions.packetsDropped;
    const tracer: Tracer = { socket, snaplen, dropped: 0, stackDropped };
    const start: TraceStart = { tracing: tun, snaplen };
    this.tracers.add(tracer);
    socket.once('close', () => {
      this.tracers.delete(tracer);
      void this.adjust();
    });
    let heard = '';
    socket.on('data', (text: string) => {
      heard = (heard + text).slice(-16);
      if (heard.includes('stop\n')) this.leave(tracer);
    });
    // The line comes first, whatever packets are already on their way for others.
    socket.write(`${JSON.stringify(start)}\n`);
    await this.adjust();
    if (!socket.destroyed) socket.write(headLine(this.head(tracer, 0)));
  }

  private leave(tracer: Tracer): void {
    if (!this.tracers.delete(tracer)) return;
    tracer.socket.end(headLine({ ...this.head(tracer, 0), end: true }));
    void this.adjust();
  }

  /** Tells the stack thread what the tracers together want, if that has changed. */
  private async adjust(): Promise<void> {
    const snaplen = Math.max(0, ...[...this.tracers].map((tracer) => tracer.snaplen));
    if (snaplen === this.snaplen) return;
    this.snaplen = snaplen;
    try {
      await this.parts.questions.trace(snaplen);
    } catch {
      // The stack is gone, and with it soon the control socket: the tracers learn it from that.
    }
  }

  private head({ dropped, stackDropped }: Tracer, bytes: number): TraceHead {
    const lost = (this.parts.questions.packetsDropped - stackDropped) >>> 0;
    return { bytes, decisions: [], dropped: dropped + lost };
  }

  private deliver({ packets, count, decisions }: TracedBatch): void {
    const { roster } = this.parts;
    const named: TraceHead['decisions'] = decisions.map(([packet, decision]) => [
      packet,
      withWorkers(decision as Explanation, (thread) => roster.workerOf(thread)),
    ]);
    for (const tracer of this.tracers) {
      if (tracer.socket.writableLength > UNREAD_MAX_BYTES) {
        tracer.dropped += count;
        continue;
      }
      const head = { ...this.head(tracer, packets.length), decisions: named };
      tracer.socket.cork();
      tracer.socket.write(headLine(head));
      tracer.socket.write(packets);
      tracer.socket.uncork();
    }
  }
}

function headLine(head: TraceHead): string {
  return `${JSON.stringify(head)}\n`;
}
