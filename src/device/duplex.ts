/**
 * Any Node Duplex that carries one raw IP packet a chunk as a device (the npm package `tuntap2` has
 * this shape). Packets that have arrived wait in a bounded queue until `receive` asks; the stack
 * must run on the stream's event loop, because chunks come as events. No offload.
 */
import type { Duplex } from 'node:stream';
import type { Device } from '../net/env.js';
import { IPHDR_BYTES } from '../net/layout.js';
import { CHECKSUM_NONE, SKB_HEADROOM, type Skb } from '../net/skb.js';
import { LinkCounters } from './link-counters.js';

/** Packets that wait for `receive`; more are dropped and counted (rxErrors). */
const QUEUE_MAX = 1024;

export class DuplexDevice implements Device {
  readonly mtu: number;
  readonly offload: { readonly checksum: false; readonly gsoMaxBytes: 0 } = {
    checksum: false,
    gsoMaxBytes: 0,
  };
  readonly counters: LinkCounters = new LinkCounters();
  /** Called when a packet arrives while the queue is empty: time to `receive`. */
  onReadable: (() => void) | null = null;
  /** The stream has ended, failed or been closed: nothing will come, everything sent is refused. */
  closed = false;
  private readonly duplex: Duplex;
  private readonly queue: Uint8Array[] = [];

  constructor(duplex: Duplex, mtu: number) {
    this.duplex = duplex;
    this.mtu = mtu;
    const onEnd = (): void => {
      this.closed = true;
    };
    duplex.on('data', (chunk: Uint8Array) => this.arrived(chunk));
    duplex.on('end', onEnd);
    duplex.on('error', onEnd);
    duplex.on('close', onEnd);
  }

  /** Copies the oldest waiting packet into `skb`; false = none is waiting. */
  receive(skb: Skb): boolean {
    const packet = this.queue.shift();
    if (packet === undefined) return false;
    if (packet.length > skb.capacity - SKB_HEADROOM) {
      this.counters.rxErrors++;
      return false;
    }
    skb.start = skb.base + SKB_HEADROOM;
    skb.end = skb.start + packet.length;
    skb.bytes.set(packet, skb.start);
    skb.frag0Bytes = 0;
    skb.frag1Bytes = 0;
    skb.ipSummed = CHECKSUM_NONE;
    skb.gsoSize = 0;
    this.counters.rxPackets++;
    this.counters.rxBytes += packet.length;
    return true;
  }

  /**
   * Writes a copy of the packet as one chunk. False = the stream wants a pause, or is closed: the
   * packet is lost.
   */
  transmit(skb: Skb): boolean {
    const { duplex, counters } = this;
    if (this.closed || !duplex.writable) {
      counters.txErrors++;
      return false;
    }
    if (duplex.writableNeedDrain) {
      counters.txDropped++;
      return false;
    }
    const packet = Buffer.allocUnsafe(skb.length);
    skb.copyOut(packet);
    duplex.write(packet);
    counters.txPackets++;
    counters.txBytes += packet.length;
    return true;
  }

  /** Ends the stream. */
  close(): void {
    this.closed = true;
    this.duplex.destroy();
  }

  private arrived(chunk: Uint8Array): void {
    if (chunk.length < IPHDR_BYTES || this.queue.length >= QUEUE_MAX) {
      this.counters.rxErrors++;
      return;
    }
    if (this.queue.push(chunk) === 1) this.onReadable?.();
  }
}

/** A device over `duplex` (one IP packet a chunk, both ways) with the given MTU, bytes. */
export function fromDuplex(duplex: Duplex, mtu: number): DuplexDevice {
  return new DuplexDevice(duplex, mtu);
}
