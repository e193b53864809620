/**
 * Packets on the wire of a script run: bytes to fields with every checksum verified, and fields to
 * bytes. Written without the stack's own code but for numbers that
 * the RFCs assign, so that a script checks the stack. Numbers are live
 * ones: what a script calls them is connection.ts.
 */
import { IPPROTO_ICMP, IPPROTO_TCP } from '../net/layout.js';
import { internetChecksum } from '../testing/packet.js';
import type { TcpOption } from './script.js';

export interface LivePacket {
  /** When the stack sent it, µs since the script began. */
  timeUs: number;
  saddr: number;
  daddr: number;
  tos: number;
  ttl: number;
  protocol: number;
  bytes: Uint8Array;
  tcp: LiveTcp | null;
  icmp: LiveIcmp | null;
}

export interface LiveIcmp {
  type: number;
  code: number;
  /** What the second word says: of queries and replies, and of `frag_needed`. */
  id: number;
  mtu: number;
}

export interface LiveTcp {
  sport: number;
  dport: number;
  seq: number;
  ack: number;
  /** Nine bits: AE (NS), CWR … FIN. */
  flags: number;
  win: number;
  urg: number;
  headerBytes: number;
  options: TcpOption[];
  payload: Uint8Array;
}

/** The ninth flag, in front of those of net/layout.ts (RFC 9768; NS of RFC 3540). */
export const AE = 0x100;
const RESERVED = 0x0e;

/** Experiment identifier of Fast Open's experimental option (RFC 6994). */
const FOEXP_MAGIC = 0xf989;
/** Kinds of the AccECN option (RFC 9768 3.2.3). */
const ACCECN0 = 172;
const ACCECN1 = 174;

function pseudoSum(saddr: number, daddr: number, length: number): number {
  const sum = (saddr >>> 16) + (saddr & 0xffff) + (daddr >>> 16) + (daddr & 0xffff);
  return sum + IPPROTO_TCP + length;
}

/** Throws Error with what is wrong with the packet. */
export function readLivePacket(bytes: Uint8Array, timeUs: number): LivePacket {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes[0] !== 0x45) throw new Error('the packet is not IPv4 with a header of 20 bytes');
  if (view.getUint16(2) !== bytes.length) throw new Error('the IP total length is wrong');
  if (internetChecksum(bytes.subarray(0, 20)) !== 0) throw new Error('the IP checksum is wrong');
  const packet: LivePacket = {
    timeUs,
    saddr: view.getUint32(12),
    daddr: view.getUint32(16),
    tos: bytes[1]!,
    ttl: bytes[8]!,
    protocol: bytes[9]!,
    bytes,
    tcp: null,
    icmp: null,
  };
  if (packet.protocol === IPPROTO_TCP) {
    const sum = pseudoSum(packet.saddr, packet.daddr, bytes.length - 20);
    if (internetChecksum(bytes.subarray(20), sum) !== 0)
      throw new Error('the TCP checksum is wrong');
    packet.tcp = readTcp(view, bytes);
  } else if (packet.protocol === IPPROTO_ICMP) {
    if (internetChecksum(bytes.subarray(20)) !== 0) throw new Error('the ICMP checksum is wrong');
    const [id, mtu] = [view.getUint16(24), view.getUint16(26)];
    packet.icmp = { type: bytes[20]!, code: bytes[21]!, id, mtu };
  }
  return packet;
}

function readTcp(view: DataView, bytes: Uint8Array): LiveTcp {
  const headerBytes = (bytes[32]! >> 4) * 4;
  if (headerBytes < 20 || 20 + headerBytes > bytes.length) {
    throw new Error('the TCP data offset is wrong');
  }
  if ((bytes[32]! & RESERVED) !== 0) throw new Error('reserved bits of the TCP header are set');
  return {
    sport: view.getUint16(20),
    dport: view.getUint16(22),
    seq: view.getUint32(24),
    ack: view.getUint32(28),
    flags: ((bytes[32]! & 1) << 8) | bytes[33]!,
    win: view.getUint16(34),
    urg: view.getUint16(38),
    headerBytes,
    options: readOptions(bytes.subarray(40, 20 + headerBytes)),
    payload: bytes.slice(20 + headerBytes),
  };
}

function hex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

function readOptions(bytes: Uint8Array): TcpOption[] {
  const options: TcpOption[] = [];
  for (let at = 0; at < bytes.length; ) {
    const kind = bytes[at]!;
    if (kind <= 1) {
      options.push({ kind: kind === 0 ? 'eol' : 'nop' });
      at++;
      continue;
    }
    const size = bytes[at + 1] ?? 0;
    if (size < 2 || at + size > bytes.length) throw new Error('a TCP option has a wrong length');
    options.push(readOption(bytes.subarray(at, at + size)));
    at += size;
  }
  return options;
}

function readOption(bytes: Uint8Array): TcpOption {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const size = bytes.length;
  switch (bytes[0]) {
    case 2:
      if (size === 4) return { kind: 'mss', value: view.getUint16(2) };
      break;
    case 3:
      if (size === 3) return { kind: 'wscale', value: bytes[2]! };
      break;
    case 4:
      if (size === 2) return { kind: 'sackOK' };
      break;
    case 5:
      if (size > 2 && size % 8 === 2) return { kind: 'sack', blocks: readBlocks(view) };
      break;
    case 8:
      if (size === 10) {
        const ecr = view.getUint32(6);
        return { kind: 'TS', val: view.getUint32(2), ecr, ecrAbsolute: true };
      }
      break;
    case 19:
      if (size === 18) return { kind: 'md5', digest: hex(bytes.subarray(2)) };
      break;
    case ACCECN0:
    case ACCECN1:
      if (size % 3 === 2) return readAccEcn(bytes);
      break;
    case 34:
      return { kind: 'FO', cookie: hex(bytes.subarray(2)) };
    case 254:
      if (size >= 4 && view.getUint16(2) === FOEXP_MAGIC) {
        return { kind: 'FOEXP', cookie: hex(bytes.subarray(4)) };
      }
      break;
  }
  return { kind: 'raw', hex: hex(bytes) };
}

function readAccEcn(bytes: Uint8Array): TcpOption {
  const counts: number[] = [];
  for (let at = 2; at < bytes.length; at += 3) {
    counts.push((bytes[at]! << 16) | (bytes[at + 1]! << 8) | bytes[at + 2]!);
  }
  return { kind: 'ECN', first: bytes[0] === ACCECN0 ? 0 : 1, counts };
}

function readBlocks(view: DataView): [number, number][] {
  const blocks: [number, number][] = [];
  for (let at = 2; at < view.byteLength; at += 8) {
    blocks.push([view.getUint32(at), view.getUint32(at + 4)]);
  }
  return blocks;
}

function optionBytes(option: TcpOption): number[] {
  const u16 = (value: number): number[] => [(value >>> 8) & 255, value & 255];
  const u32 = (value: number): number[] => [...u16(value >>> 16), ...u16(value)];
  const raw = (text: string): number[] => (text.match(/../g) ?? []).map((two) => parseInt(two, 16));
  switch (option.kind) {
    case 'eol':
      return [0];
    case 'nop':
      return [1];
    case 'mss':
      return [2, 4, ...u16(option.value)];
    case 'wscale':
      return [3, 3, option.value];
    case 'sackOK':
      return [4, 2];
    case 'sack':
      return [5, 2 + 8 * option.blocks.length, ...option.blocks.flat().flatMap(u32)];
    case 'TS':
      return [8, 10, ...u32(option.val ?? 0), ...u32(option.ecr)];
    case 'FO':
      return [34, 2 + option.cookie.length / 2, ...raw(option.cookie)];
    case 'FOEXP':
      return [254, 4 + option.cookie.length / 2, ...u16(FOEXP_MAGIC), ...raw(option.cookie)];
    case 'ECN':
      return [
        option.first === 0 ? ACCECN0 : ACCECN1,
        2 + 3 * option.counts.length,
        ...option.counts.flatMap((count) => u32(count).slice(1)),
      ];
    case 'md5':
      return [19, 18, ...raw(option.digest)];
    case 'raw':
      return raw(option.hex);
  }
}

/** An inbound TCP segment with live numbers. */
export interface SegmentToSend {
  saddr: number;
  daddr: number;
  tos: number;
  ttl: number;
  sport: number;
  dport: number;
  seq: number;
  ack: number;
  flags: number;
  win: number;
  urg: number;
  options: TcpOption[];
  /** Bytes of payload, all zero. */
  length: number;
}

/** Header of a packet that is `bytes`. */
function ipHeader(bytes: Uint8Array, view: DataView, protocol: number, header: IpFields): void {
  view.setUint8(0, 0x45);
  view.setUint8(1, header.tos);
  view.setUint16(2, bytes.length);
  view.setUint8(8, header.ttl);
  view.setUint8(9, protocol);
  view.setUint32(12, header.saddr);
  view.setUint32(16, header.daddr);
  view.setUint16(10, internetChecksum(bytes.subarray(0, 20)));
}

interface IpFields {
  saddr: number;
  daddr: number;
  tos: number;
  ttl: number;
}

/** The bytes of a segment: no IP identification, DF clear, zeros as payload. */
export function buildSegment(segment: SegmentToSend): Uint8Array {
  const options = segment.options.flatMap(optionBytes);
  const headerBytes = 20 + options.length;
  const bytes = new Uint8Array(20 + headerBytes + segment.length);
  const view = new DataView(bytes.buffer);
  ipHeader(bytes, view, IPPROTO_TCP, segment);
  view.setUint16(20, segment.sport);
  view.setUint16(22, segment.dport);
  view.setUint32(24, segment.seq);
  view.setUint32(28, segment.ack);
  view.setUint8(32, ((headerBytes / 4) << 4) | ((segment.flags >> 8) & 1));
  view.setUint8(33, segment.flags & 0xff);
  view.setUint16(34, segment.win);
  view.setUint16(38, segment.urg);
  bytes.set(options, 40);
  const sum = pseudoSum(segment.saddr, segment.daddr, bytes.length - 20);
  view.setUint16(36, internetChecksum(bytes.subarray(20), sum));
  return bytes;
}

/** An inbound ICMP message. */
export interface IcmpToSend extends IpFields {
  type: number;
  code: number;
  id: number;
  mtu: number;
  /**
   * The segment that the stack sent and that the message is about: its addresses, what the first 8
   * bytes of TCP say, and its bytes of payload. Null = a message about nothing.
   */
  quoted: QuotedSegment | null;
}

export interface QuotedSegment {
  saddr: number;
  daddr: number;
  sport: number;
  dport: number;
  seq: number;
  length: number;
}

/** What follows the first 8 bytes by type: three times of day (13, 14), a mask (17, 18); zeros. */
const ICMP_BODY: Readonly<Record<number, number>> = { 13: 12, 14: 12, 17: 4, 18: 4 };

export function buildIcmp(message: IcmpToSend): Uint8Array {
  const { quoted } = message;
  const body = quoted === null ? (ICMP_BODY[message.type] ?? 0) : 28;
  const bytes = new Uint8Array(20 + 8 + body);
  const view = new DataView(bytes.buffer);
  ipHeader(bytes, view, IPPROTO_ICMP, message);
  view.setUint8(20, message.type);
  view.setUint8(21, message.code);
  view.setUint16(24, message.id);
  view.setUint16(26, message.mtu);
  if (quoted !== null) quote(bytes.subarray(28), quoted);
  view.setUint16(22, internetChecksum(bytes.subarray(20)));
  return bytes;
}

/** IP header and the first 8 bytes of TCP of a segment that the stack sent. */
function quote(bytes: Uint8Array, segment: QuotedSegment): void {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const { saddr, daddr, sport, dport, seq } = segment;
  ipHeader(bytes, view, IPPROTO_TCP, { saddr, daddr, tos: 0, ttl: 64 });
  view.setUint16(2, 40 + segment.length);
  view.setUint16(10, 0);
  view.setUint16(10, internetChecksum(bytes.subarray(0, 20)));
  view.setUint16(20, sport);
  view.setUint16(22, dport);
  view.setUint32(24, seq);
}
