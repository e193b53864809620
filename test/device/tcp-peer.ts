/**
 * One TCP connection answered by hand on a TUN device, for the end-to-end tests of the device room:
 * it takes what a kernel socket sends in order and answers with a given number of bytes, as
 * super-packets where the link cuts them. No loss recovery: a TUN device loses nothing at this
 * pace.
 */
import type { TunDevice } from '../../src/device/tun-device.js';
import type { Skb } from '../../src/net/skb.js';
import {
  ACK,
  FIN,
  fill,
  PSH,
  pattern,
  RST,
  SYN,
  superPacket,
  type TcpFields,
  tcp,
} from './packets.js';

const MSS = 1460;
const ISN = 1000;
/** Bytes sent before an acknowledgement is awaited; below any initial receive window of Linux. */
const FLIGHT_MAX = 40_000;

export class TcpPeer {
  /**
   * What came in, and how: largest packet, largest gsoSize, packets whose checksum the link vouched
   * for.
   */
  readonly received: Buffer[] = [];
  receivedBytes = 0;
  largestPacket = 0;
  largestGso = 0;
  trusted = 0;
  reset = false;
  private readonly device: TunDevice;
  private readonly out: Skb;
  /** Arena offset where the bytes to send lie as in a ring. */
  private readonly ring: number;
  private readonly answerBytes: number;
  private readonly answerAfter: number;
  private fields: Omit<TcpFields, 'seq' | 'flags'> | null = null;
  private sent = 0;
  private acked = 0;

  constructor(device: TunDevice, out: Skb, ring: number, answerAfter: number, answerBytes: number) {
    this.device = device;
    this.out = out;
    this.ring = ring;
    this.answerAfter = answerAfter;
    this.answerBytes = answerBytes;
  }

  get done(): boolean {
    return this.acked >= this.answerBytes && this.receivedBytes >= this.answerAfter;
  }

  /** One packet from the device. */
  input(skb: Skb): void {
    const { view, start, end } = skb;
    if (skb.bytes[start] !== 0x45 || skb.bytes[start + 9] !== 6) return;
    const transport = start + 20;
    const flags = view.getUint8(transport + 13);
    const seq = view.getInt32(transport + 4);
    if (flags & RST) {
      this.reset = true;
      return;
    }
    if (flags & SYN) {
      this.fields = {
        saddr: view.getInt32(start + 16),
        daddr: view.getInt32(start + 12),
        sport: view.getUint16(transport + 2),
        dport: view.getUint16(transport),
        ack: (seq + 1) | 0,
      };
      this.send(tcp({ ...this.fields, seq: ISN, flags: SYN | ACK, mss: MSS }));
      return;
    }
    if (this.fields === null) return;
    this.largestPacket = Math.max(this.largestPacket, end - start);
    this.largestGso = Math.max(this.largestGso, skb.gsoSize);
    if (skb.ipSummed !== 0) this.trusted++;
    this.acked = Math.max(this.acked, (view.getInt32(transport + 8) - ISN - 1) | 0);
    const payload = transport + (view.getUint8(transport + 12) >>> 4) * 4;
    if (payload < end && seq === this.fields.ack) {
      this.received.push(Buffer.from(skb.bytes.slice(payload, end)));
      this.receivedBytes += end - payload;
      this.fields.ack = (seq + (end - payload)) | 0;
    }
    if (payload < end || flags & FIN) {
      this.send(tcp({ ...this.fields, seq: (ISN + 1 + this.sent) | 0, flags: ACK }));
    }
    if (this.receivedBytes >= this.answerAfter) this.answer();
  }

  private answer(): void {
    const offloaded = this.device.offload.gsoMaxBytes > 0;
    const most = offloaded ? FLIGHT_MAX : MSS;
    while (this.sent < this.answerBytes && this.sent - this.acked + most <= FLIGHT_MAX) {
      const length = Math.min(most, this.answerBytes - this.sent);
      const payload = pattern(length, this.sent);
      const fields = { ...this.fields!, seq: (ISN + 1 + this.sent) | 0, flags: ACK | PSH };
      if (offloaded) this.sendSuper(fields, payload);
      else this.send(tcp({ ...fields, payload }));
      this.sent += length;
    }
  }

  /** Payload in two fragments of odd length, as a ring that wraps hands them over. */
  private sendSuper(fields: TcpFields, payload: Uint8Array): void {
    const { out } = this;
    const first = (payload.length >>> 1) | 1;
    superPacket(out, fields, payload.length, MSS);
    out.frag0 = this.ring + 100_000 - first;
    out.frag0Bytes = first;
    out.frag1 = this.ring;
    out.frag1Bytes = payload.length - first;
    out.bytes.set(payload.subarray(0, first), out.frag0);
    out.bytes.set(payload.subarray(first), out.frag1);
    this.mustSend();
  }

  private send(packet: Uint8Array): void {
    fill(this.out, packet);
    this.mustSend();
  }

  private mustSend(): void {
    if (!this.device.transmit(this.out)) throw new Error(`refused: ${this.device.lastErrno}`);
  }
}
