/**
 * The stack thread's side of `tunstack trace`: packets and the decisions for SYNs are copied into
 * batches, and batches are posted to the main thread, but never more at a time than it keeps up
 * with: what does not fit is counted and forgotten. It waits for nobody. Who gets the batches is
 * the main thread's business.
 */
import type { Skb } from '../net/skb.js';
import type { Decision } from '../reuseport/decision.js';
import type { Explanation } from '../reuseport/decision-json.js';
import { G_TAP_DROPPED, G_TAP_IN_FLIGHT } from '../socket/uapi/layout.js';
import { RECORD_HEAD_BYTES, writeRecordHead } from './tap-record.js';

/** One packet of any size fits, and some hundreds of the usual. */
const BATCH_BYTES = 256 << 10;
/** Packets in a batch at most: their decisions are objects. */
const BATCH_PACKETS = 1024;
/** Batches on their way. */
export const BATCHES_IN_FLIGHT = 16;
/** A packet waits at most this long for others while the stack is too busy to sleep. */
const BATCH_AGE_US = 20_000;

export interface TapBatch {
  event: 'traced';
  /** Records of tap-record.ts. */
  packets: Uint8Array;
  count: number;
  /** Decisions, with the number of their packet in the batch. */
  decisions: [packet: number, decision: Explanation][];
}

export interface TapParts {
  readonly ctl: Int32Array;
  /** Where our queue's globals begin in `ctl`; default 0: queue 0's. */
  readonly globals?: number;
  /** Time in µs; `epochUs` + this is the timestamp. */
  readonly nowUs: () => number;
  readonly epochUs: number;
  readonly explain: (decision: Decision) => Explanation;
  /** Posts a batch to the main thread, which decrements G_TAP_IN_FLIGHT when it is through. */
  readonly post: (batch: TapBatch, transfer: ArrayBuffer[]) => void;
}

export class PacketTap {
  /** Bytes of a packet that are kept. */
  snaplen = 0;
  private readonly parts: TapParts;
  private readonly globals: number;
  private readonly bytes: Uint8Array<ArrayBuffer> = new Uint8Array(BATCH_BYTES);
  private readonly view: DataView = new DataView(this.bytes.buffer);
  private used = 0;
  private count = 0;
  private decisions: [number, Explanation][] = [];
  private startedUs = 0;
  /** The packet that came last is in the batch, so that its decision may be. */
  private lastKept = false;

  constructor(parts: TapParts) {
    this.parts = parts;
    this.globals = parts.globals ?? 0;
  }

  /** Trace.packet. */
  packet(direction: 'in' | 'out', skb: Skb): void {
    const { length } = skb;
    const captured = Math.min(length, this.snaplen);
    const nowUs = this.parts.nowUs();
    if (this.isDue(nowUs, captured)) this.flush();
    this.lastKept = this.count > 0 || this.begins(nowUs);
    if (!this.lastKept) {
      Atomics.add(this.parts.ctl, this.globals + G_TAP_DROPPED, 1);
      return;
    }
    const timestampUs = Math.round(this.parts.epochUs + nowUs);
    writeRecordHead(this.view, this.used, direction, timestampUs, length, captured);
    const at = this.used + RECORD_HEAD_BYTES;
    this.used = at + captured;
    skb.copyOut(this.bytes.subarray(at, this.used));
    this.count++;
  }

  /** Trace.decision: belongs to the packet that came last. */
  decision(decision: Decision): void {
    if (this.lastKept) this.decisions.push([this.count - 1, this.parts.explain(decision)]);
  }

  /** Posts what there is. Called when the stack goes to sleep, and between packets. */
  flush(): void {
    if (this.count === 0) return;
    const { ctl, post } = this.parts;
    const { count, decisions } = this;
    const packets = this.bytes.slice(0, this.used);
    this.used = this.count = 0;
    this.decisions = [];
    this.lastKept = false;
    Atomics.add(ctl, this.globals + G_TAP_IN_FLIGHT, 1);
    post({ event: 'traced', packets, count, decisions }, [packets.buffer]);
  }

  private isDue(nowUs: number, captured: number): boolean {
    if (this.count === 0) return false;
    const full = this.used + RECORD_HEAD_BYTES + captured > BATCH_BYTES;
    return full || this.count >= BATCH_PACKETS || nowUs - this.startedUs >= BATCH_AGE_US;
  }

  /** A new batch begins, if the main thread keeps up. */
  private begins(nowUs: number): boolean {
    const { ctl } = this.parts;
    if (Atomics.load(ctl, this.globals + G_TAP_IN_FLIGHT) >= BATCHES_IN_FLIGHT) return false;
    this.startedUs = nowUs;
    return true;
  }
}
