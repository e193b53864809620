/**
 * Builds packets for fuzzing into one reused buffer: IPv4 and TCP headers with every field free,
 * options good and bad, ICMP errors with quotes good and bad, then damage to single bytes. What is
 * built is mostly a packet that a peer might have sent, and sometimes nothing of the kind.
 */
import { CWR, ECE, URG } from '../../net/layout.js';
import { internetChecksum } from '../../testing/packet.js';
import type { Dice } from '../dice.js';

const IP_BYTES = 20;
const TCP_BYTES = 20;
const BUFFER_BYTES = 65_535;
const PROTOCOL_ICMP = 1;
const PROTOCOL_TCP = 6;
/** Distances from the right number that hit edges of windows and of the number space. */
const DISTANCES = [-0x80000000, -65_536, -1460, -2, -1, 1, 2, 536, 1460, 65_535, 0x7fffffff];

/** Fields of a segment. */
export interface SegmentFields {
  source: number;
  destination: number;
  sport: number;
  dport: number;
  seq: number;
  ack: number;
  flags: number;
  window: number;
  payload: number;
  urgent: number;
  /** Bits between the data offset and CWR. */
  reserved: number;
  tos: number;
}

/** What the stack has sent, from what the peer has acknowledged of it. */
export interface SentRange {
  readonly una: number;
  readonly ack: number;
}

export class PacketBuilder {
  private readonly buffer: Uint8Array = new Uint8Array(BUFFER_BYTES);
  private readonly view: DataView = new DataView(this.buffer.buffer);
  private readonly dice: Dice;
  private ids = 0;

  constructor(dice: Dice) {
    this.dice = dice;
  }

  /** The packet as it would be sent, with `options` (a multiple of 4 bytes). */
  segment(fields: SegmentFields, options: readonly number[]): Uint8Array {
    const { buffer, view } = this;
    const tcpBytes = TCP_BYTES + options.length + fields.payload;
    view.setUint16(20, fields.sport);
    view.setUint16(22, fields.dport);
    view.setInt32(24, fields.seq);
    view.setInt32(28, fields.ack);
    view.setUint8(32, (((TCP_BYTES + options.length) / 4) << 4) | fields.reserved);
    view.setUint8(33, fields.flags);
    view.setUint16(34, fields.window);
    view.setUint16(36, 0);
    view.setUint16(38, fields.urgent);
    buffer.set(options, 40);
    const { source, destination, tos } = fields;
    const packet = this.ip(source, destination, PROTOCOL_TCP, tcpBytes, tos);
    this.sumTcp(packet);
    return packet;
  }

  /** Writes the IP header in front of `bytes` bytes that are in the buffer. */
  private ip(
    source: number,
    destination: number,
    protocol: number,
    bytes: number,
    tos = 0,
  ): Uint8Array {
    const { buffer, view } = this;
    view.setUint8(0, 0x45);
    view.setUint8(1, tos);
    view.setUint16(2, IP_BYTES + bytes);
    view.setUint16(4, this.ids++ & 0xffff);
    view.setUint16(6, 0);
    view.setUint8(8, 64);
    view.setUint8(9, protocol);
    view.setInt32(12, source);
    view.setInt32(16, destination);
    const packet = buffer.subarray(0, IP_BYTES + bytes);
    this.sumIp(packet);
    return packet;
  }

  private sumIp(packet: Uint8Array): void {
    const { view } = this;
    const bytes = Math.min((packet[0]! & 15) * 4, packet.length);
    if (bytes < IP_BYTES) return;
    view.setUint16(10, 0);
    view.setUint16(10, internetChecksum(packet.subarray(0, bytes)));
  }

  private sumTcp(packet: Uint8Array): void {
    const { view } = this;
    if (packet.length < IP_BYTES + TCP_BYTES) return;
    view.setUint16(36, 0);
    let sum = PROTOCOL_TCP + packet.length - IP_BYTES;
    for (let at = 12; at < IP_BYTES; at += 2) sum += view.getUint16(at);
    view.setUint16(36, internetChecksum(packet.subarray(IP_BYTES), sum));
  }

  /** An ICMP message about a packet of ours that `fields` would answer. */
  icmp(fields: SegmentFields): Uint8Array {
    const { buffer, dice, view } = this;
    const quoted = dice.pick([0, 8, 19, 20, 27, 28, 28, 28, 40, 576]);
    const type = dice.pick([0, 3, 3, 3, 4, 5, 8, 11, 12, 13, 17, dice.int(0, 255)]);
    view.setUint8(20, type);
    view.setUint8(21, dice.chance(0.5) ? 4 : dice.int(0, 16));
    view.setUint16(22, 0);
    view.setUint16(24, dice.u32() & 0xffff);
    view.setUint16(26, dice.pick([0, 1, 68, 296, 552, 576, 1400, 1500, 65_535]));
    for (let at = 28; at < 28 + quoted; at++) buffer[at] = dice.u32() & 255;
    if (quoted >= IP_BYTES && dice.chance(0.8)) {
      view.setUint8(28, dice.chance(0.9) ? 0x45 : 0x4f);
      // A later fragment would not get as far as a socket.
      if (dice.chance(0.9)) view.setUint16(34, dice.pick([0, 0x2000, 0x4000]));
      view.setUint8(37, PROTOCOL_TCP);
      view.setInt32(40, fields.destination);
      view.setInt32(44, fields.source);
    }
    if (quoted >= IP_BYTES + 8 && dice.chance(0.8)) {
      view.setUint16(48, fields.dport);
      view.setUint16(50, fields.sport);
      // The quoted number is ours: what the peer would acknowledge.
      view.setInt32(52, (fields.ack - dice.int(0, 1500)) | 0);
    }
    const packet = this.ip(fields.source, fields.destination, PROTOCOL_ICMP, 8 + quoted);
    view.setUint16(22, internetChecksum(packet.subarray(IP_BYTES)));
    return packet;
  }

  /** Changes fields of the segment before it is built. */
  mutate(fields: SegmentFields): void {
    const { dice } = this;
    const distance = (): number =>
      dice.chance(0.5) ? dice.pick(DISTANCES) : dice.int(-3000, 3000);
    if (dice.chance(0.3)) fields.seq = (fields.seq + distance()) | 0;
    if (dice.chance(0.3)) fields.ack = (fields.ack + distance()) | 0;
    if (dice.chance(0.3)) fields.flags ^= 1 << dice.int(0, 7);
    if (dice.chance(0.05)) fields.flags = dice.int(0, 255);
    if (dice.chance(0.3)) fields.window = dice.pick([0, 1, 2, 535, 65_535, dice.int(0, 65_535)]);
    if (dice.chance(0.3)) fields.payload = dice.pick([0, 1, 536, 1460, dice.spread(1, 9000)]);
    if (dice.chance(0.1)) this.mutateMarks(fields);
    if (dice.chance(0.02)) fields.sport = dice.int(0, 65_535);
    if (dice.chance(0.02)) fields.dport = dice.int(0, 65_535);
    if (dice.chance(0.01)) fields.source = dice.u32() | 0;
    if (dice.chance(0.01)) fields.destination = dice.u32() | 0;
    if (dice.chance(0.005)) fields.payload = dice.int(0, 65_000);
  }

  /** Urgent pointer, ECN and what is reserved. */
  private mutateMarks(fields: SegmentFields): void {
    const { dice } = this;
    if (dice.chance(0.7)) {
      fields.flags |= URG;
      fields.urgent = dice.pick([0, 1, 2, fields.payload, fields.payload + 1, 1460, 65_535]);
    }
    if (dice.chance(0.3)) fields.flags |= dice.pick([ECE, CWR, ECE | CWR]);
    if (dice.chance(0.5)) fields.tos = dice.pick([1, 2, 3, dice.int(0, 255)]);
    if (dice.chance(0.1)) fields.reserved = dice.int(0, 15);
  }

  /** Damage to a packet that is built: header bytes, length, checksums, fragments. */
  damage(packet: Uint8Array): Uint8Array {
    const { dice, view } = this;
    let damaged = packet;
    if (dice.chance(0.4)) {
      const header = Math.min(packet.length, 60);
      for (let n = dice.int(1, 3); n > 0; n--) packet[dice.int(0, header - 1)] = dice.int(0, 255);
    }
    if (dice.chance(0.2)) damaged = this.fragment(packet);
    if (dice.chance(0.1)) damaged = damaged.subarray(0, dice.int(0, damaged.length));
    if (dice.chance(0.1) && damaged.length >= 4) view.setUint16(2, dice.int(0, 65_535));
    // With the right sums the damage gets past the first check.
    if (dice.chance(0.8)) {
      if (damaged.length >= IP_BYTES) this.sumIp(damaged);
      if (damaged.length >= 10 && damaged[9] === PROTOCOL_TCP && dice.chance(0.8)) {
        this.sumTcp(damaged);
        if (damaged.length >= IP_BYTES) this.sumIp(damaged);
      }
    }
    return damaged;
  }

  /** Makes it a fragment of something, in few different datagrams so that some become whole. */
  private fragment(packet: Uint8Array): Uint8Array {
    const { dice, view } = this;
    if (packet.length < IP_BYTES + 16) return packet;
    const more = dice.chance(0.6) ? 0x2000 : 0;
    view.setUint16(4, dice.int(0, 3));
    view.setUint16(6, more | dice.pick([0, 0, 1, 2, 3, 8, 0x1fff, dice.int(0, 0x1fff)]));
    const bytes = dice.pick([8, 16, 24, packet.length - IP_BYTES]);
    const cut = packet.subarray(0, Math.min(packet.length, IP_BYTES + bytes));
    view.setUint16(2, cut.length);
    return cut;
  }

  /** A part of what is under way, mostly: it has come, and what is before it has not. */
  private sackBlock({ una, ack }: SentRange): [left: number, right: number] {
    const { dice } = this;
    const open = (ack - una) | 0;
    if (open > 0 && open < 1 << 24 && dice.chance(0.8)) {
      const left = dice.int(0, open - 1);
      return [(una + left) | 0, (una + dice.int(left + 1, open)) | 0];
    }
    const left = (ack + dice.int(-3000, 6000)) | 0;
    return [left, (left + dice.pick([0, 1, 536, 1460, -1, 0x7fffffff])) | 0];
  }

  /** A Fast Open option (RFC 7413 4.1.1), or its experimental form, with a cookie or none. */
  private fastopen(out: number[]): void {
    const { dice } = this;
    const cookie = dice.pick([0, 0, 4, 8, 8, 16, 3]);
    if (dice.chance(0.7)) out.push(34, 2 + cookie);
    else out.push(254, 4 + cookie, 0xf9, 0x89);
    for (let i = 0; i < cookie; i++) out.push(dice.int(0, 255));
  }

  /** Options, a multiple of 4 bytes: what a peer may send, or lengths and kinds that lie. */
  options(syn: boolean, tsval: number, tsecr: number, sent: SentRange): number[] {
    const { dice } = this;
    const out: number[] = [];
    const u32 = (value: number): void => {
      out.push((value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
    };
    if (syn && dice.chance(0.8))
      out.push(
        2,
        4,
        ...dice.pick([
          [5, 180],
          [0, 0],
          [255, 255],
          [0, 1],
        ]),
      );
    if (syn && dice.chance(0.6)) out.push(4, 2);
    if (syn && dice.chance(0.6)) out.push(3, 3, dice.pick([0, 7, 14, 15, 255]));
    if (dice.chance(0.6)) {
      out.push(8, 10);
      u32(tsval);
      u32(tsecr);
    }
    if (!syn && dice.chance(0.5) && out.length <= 20) {
      const blocks = dice.int(dice.chance(0.1) ? 0 : 1, 2);
      out.push(5, 2 + 8 * blocks);
      for (let i = 0; i < blocks; i++) {
        const [left, right] = this.sackBlock(sent);
        u32(left);
        u32(right);
      }
    }
    if (syn && out.length <= 20 && dice.chance(0.3)) this.fastopen(out);
    if (dice.chance(0.1)) out.push(dice.int(0, 255), dice.int(0, 255), dice.int(0, 255));
    while (out.length % 4 !== 0) out.push(dice.chance(0.9) ? 1 : 0);
    return out.slice(0, 40);
  }
}
