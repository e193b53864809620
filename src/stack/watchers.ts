/**
 * Who watches the packets of a stack: a capture to a file for its whole life, a tap while somebody
 * traces, both, or nobody; and then the stack has no hook to call and fills no decision. Owns the
 * wiring only: capture.ts and packet-tap.ts do the work.
 */
import type { Trace } from '../net/env.js';
import { Decision } from '../reuseport/decision.js';
import type { InetHashinfo } from '../reuseport/hashinfo.js';
import type { PacketTap } from './packet-tap.js';

/** A watcher for the stack's whole life. */
export interface StackCapture {
  packet: NonNullable<Trace['packet']>;
  decision(decision: object): void;
  flush(): void;
}

/** Longer than any packet. */
const SNAPLEN_MAX = 262_144;

export class Watchers {
  private readonly trace: Trace;
  private readonly hashinfo: InetHashinfo;
  private readonly capture: StackCapture | null;
  private readonly tap: PacketTap;

  /** @param trace what the stack was made with; its hooks for packets and decisions are ours */
  constructor(trace: Trace, hashinfo: InetHashinfo, capture: StackCapture | null, tap: PacketTap) {
    this.trace = trace;
    this.hashinfo = hashinfo;
    this.capture = capture;
    this.tap = tap;
    this.wire();
  }

  /** Taps packets from now on, `snaplen` bytes of each; 0 = no more. */
  setTap(snaplen: number): void {
    this.tap.flush();
    this.tap.snaplen = Math.min(Math.max(0, snaplen), SNAPLEN_MAX);
    this.wire();
  }

  /** What has been collected goes on its way: before the stack sleeps and at its end. */
  flush(): void {
    this.capture?.flush();
    this.tap.flush();
  }

  private wire(): void {
    const { trace, capture, tap, hashinfo } = this;
    const tapped = tap.snaplen > 0;
    if (capture === null && !tapped) {
      trace.packet = undefined;
      trace.decision = undefined;
      hashinfo.decision = null;
      return;
    }
    trace.packet = (direction, skb) => {
      capture?.packet(direction, skb);
      if (tapped) tap.packet(direction, skb);
    };
    trace.decision = (decision) => {
      capture?.decision(decision);
      if (tapped) tap.decision(decision as Decision);
    };
    hashinfo.decision ??= new Decision();
  }
}
