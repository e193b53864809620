/**
 * IPv4 packets and skbs for the tests of the device room: built by hand, checksums by the tested
 * core functions.
 */
import { checksumFold, checksumPartial, pseudoSum } from '../../src/net/checksum.js';
import { Skb } from '../../src/net/skb.js';
import { SocketMemory } from '../../src/net/sockmem.js';

export const HOST: number = 0xc61200fe | 0;
export const STACK: number = 0xc6120001 | 0;

export const FIN = 1;
export const SYN = 2;
export const RST = 4;
export const PSH = 8;
export const ACK = 16;

export interface TcpFields {
  saddr: number;
  daddr: number;
  sport: number;
  dport: number;
  seq: number;
  ack: number;
  flags: number;
  window?: number;
  mss?: number;
  payload?: Uint8Array;
}

/** Socket memory over `arena` (default: a plain buffer). */
export function makeMemory(arena: Uint8Array = new Uint8Array(4 << 20)): SocketMemory {
  return new SocketMemory(new Int32Array(1024), arena, 0, 16);
}

export function makeSkb(mem: SocketMemory, capacity: number = 128 << 10): Skb {
  return new Skb(mem, mem.allocRing(capacity) * 4096, capacity);
}

/** Puts `packet` into the skb's linear part. */
export function fill(skb: Skb, packet: Uint8Array): Skb {
  skb.reset();
  skb.bytes.set(packet, skb.start);
  skb.end = skb.start + packet.length;
  return skb;
}

/** The whole packet: linear part and fragments. */
export function packetOf(skb: Skb): Uint8Array {
  return Buffer.concat([
    skb.bytes.subarray(skb.start, skb.end),
    skb.bytes.subarray(skb.frag0, skb.frag0 + skb.frag0Bytes),
    skb.bytes.subarray(skb.frag1, skb.frag1 + skb.frag1Bytes),
  ]);
}

/** IPv4 header (no options) before `transport`; `totalBytes` when more follows than is here. */
export function ipv4(
  saddr: number,
  daddr: number,
  protocol: number,
  transport: Uint8Array,
  totalBytes: number = 20 + transport.length,
): Uint8Array {
  const packet = new Uint8Array(20 + transport.length);
  const view = new DataView(packet.buffer);
  packet[0] = 0x45;
  view.setUint16(2, totalBytes);
  packet[8] = 64;
  packet[9] = protocol;
  view.setInt32(12, saddr);
  view.setInt32(16, daddr);
  view.setUint16(10, checksumFold(checksumPartial(view, 0, 20, 0)));
  packet.set(transport, 20);
  return packet;
}

function seal(transport: Uint8Array, at: number, initial: number): Uint8Array {
  const view = new DataView(transport.buffer, transport.byteOffset, transport.length);
  view.setUint16(at, 0);
  view.setUint16(at, checksumFold(checksumPartial(view, 0, transport.length, initial)));
  return transport;
}

export function udp(
  saddr: number,
  daddr: number,
  sport: number,
  dport: number,
  payload: Uint8Array,
): Uint8Array {
  const datagram = new Uint8Array(8 + payload.length);
  const view = new DataView(datagram.buffer);
  view.setUint16(0, sport);
  view.setUint16(2, dport);
  view.setUint16(4, datagram.length);
  datagram.set(payload, 8);
  return ipv4(saddr, daddr, 17, seal(datagram, 6, pseudoSum(saddr, daddr, 17, datagram.length)));
}

export function echoRequest(saddr: number, daddr: number, payload: Uint8Array): Uint8Array {
  const message = new Uint8Array(8 + payload.length);
  message[0] = 8;
  message.set(payload, 8);
  return ipv4(saddr, daddr, 1, seal(message, 2, 0));
}

function tcpHeader(fields: TcpFields): Uint8Array {
  const options = fields.mss === undefined ? 0 : 4;
  const header = new Uint8Array(20 + options);
  const view = new DataView(header.buffer);
  view.setUint16(0, fields.sport);
  view.setUint16(2, fields.dport);
  view.setInt32(4, fields.seq);
  view.setInt32(8, fields.ack);
  header[12] = (header.length / 4) << 4;
  header[13] = fields.flags;
  view.setUint16(14, fields.window ?? 65_535);
  if (fields.mss !== undefined) {
    view.setUint16(20, 0x0204);
    view.setUint16(22, fields.mss);
  }
  return header;
}

/** A segment with its whole checksum. */
export function tcp(fields: TcpFields): Uint8Array {
  const header = tcpHeader(fields);
  const segment = new Uint8Array(header.length + (fields.payload?.length ?? 0));
  segment.set(header);
  segment.set(fields.payload ?? [], header.length);
  const initial = pseudoSum(fields.saddr, fields.daddr, 6, segment.length);
  return ipv4(fields.saddr, fields.daddr, 6, seal(segment, 16, initial));
}

/**
 * Only the headers of a segment into `skb`, for `payloadBytes` in fragments that the caller sets;
 * the checksum is partial, and the link is to cut it into segments of `gsoSize`.
 */
export function superPacket(
  skb: Skb,
  fields: TcpFields,
  payloadBytes: number,
  gsoSize: number,
): Skb {
  const header = tcpHeader(fields);
  const segmentBytes = header.length + payloadBytes;
  const sum = pseudoSum(fields.saddr, fields.daddr, 6, segmentBytes);
  new DataView(header.buffer).setUint16(16, sum);
  fill(skb, ipv4(fields.saddr, fields.daddr, 6, header, 20 + segmentBytes));
  skb.ipSummed = 3;
  skb.csumStart = skb.start + 20;
  skb.csumOffset = 16;
  skb.gsoSize = gsoSize;
  return skb;
}

/** Byte i is `i % 251`. */
export function pattern(length: number, from = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (from + i) % 251);
}
