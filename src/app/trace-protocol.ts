/**
 * What goes over the control socket after `{"cmd":"trace","snaplen":N}`: first one line that says
 * what is traced, then frames, each a line (TraceHead) and as many bytes as it names, records of
 * stack/tap-record.ts. The tracer ends with a line `stop`; the last frame says so and has the final
 * count of what was dropped. A connection that ends without it ended with the stack.
 */
import type { Explanation } from '../reuseport/decision-json.js';

/** The first line. */
export interface TraceStart {
  tracing: string;
  snaplen: number;
}

/** The line in front of a frame's packets. */
export interface TraceHead {
  /** Bytes of packets that follow. */
  bytes: number;
  /** Decisions, with the number of their packet in the frame. */
  decisions: [packet: number, decision: Explanation][];
  /** Packets that this tracer did not get, so far. */
  dropped: number;
  /** This is the last frame. */
  end?: true;
}

export interface TraceFrame {
  head: TraceHead;
  packets: Uint8Array;
}

/** Longest line: a decision for each of a batch's packets. */
const LINE_MAX_BYTES = 64 << 20;
const NEWLINE = 10;

/** Puts frames together from what a socket delivers. */
export class FrameReader {
  private pending: Buffer = Buffer.alloc(0);
  private head: TraceHead | null = null;

  /** Frames that are complete now. Throws SyntaxError or RangeError when these are no frames. */
  push(chunk: Buffer): TraceFrame[] {
    this.pending = this.pending.length === 0 ? chunk : Buffer.concat([this.pending, chunk]);
    const frames: TraceFrame[] = [];
    for (let frame = this.take(); frame !== null; frame = this.take()) frames.push(frame);
    return frames;
  }

  private take(): TraceFrame | null {
    if (this.head === null) {
      const end = this.pending.indexOf(NEWLINE);
      if (end < 0 && this.pending.length > LINE_MAX_BYTES) throw new RangeError('an endless line');
      if (end < 0) return null;
      this.head = JSON.parse(this.pending.toString('utf8', 0, end)) as TraceHead;
      this.pending = this.pending.subarray(end + 1);
    }
    const { head } = this;
    if (this.pending.length < head.bytes) return null;
    const packets = this.pending.subarray(0, head.bytes);
    this.pending = this.pending.subarray(head.bytes);
    this.head = null;
    return { head, packets };
  }
}
