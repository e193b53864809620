/**
 * IPv4/TCP packets as bytes ↔ fields, written without the stack's own code so that a test that uses
 * it checks the stack. Slow and plain on purpose.
 */
import type { OptionText } from './packet-text.js';

/** A TCP/IPv4 packet. Addresses and sequence numbers are unsigned 32-bit. */
export interface TcpPacket {
  source: number;
  destination: number;
  sport: number;
  dport: number;
  seq: number;
  ack: number;
  /** FSRPUEW letters and '.'. */
  flags: string;
  window: number;
  urgent: number;
  options: OptionText[];
  payload: Uint8Array;
  ttl: number;
  tos: number;
  id: number;
  df: boolean;
}

/** Header bits, lowest first. */
const LETTERS = 'FSRP.UEW';

function flagBits(flags: string): number {
  let bits = 0;
  for (const letter of flags) bits |= 1 << LETTERS.indexOf(letter);
  return bits;
}

/** Letters in the order of packetdrill: the ACK dot last. */
function flagLetters(bits: number): string {
  let text = '';
  for (let i = 0; i < 8; i++) if (i !== 4 && (bits >> i) & 1) text += LETTERS[i];
  return (bits >> 4) & 1 ? `${text}.` : text;
}

/** One's complement sum of `bytes`, complemented; `sum` to begin with. */
export function internetChecksum(bytes: Uint8Array, sum = 0): number {
  for (let i = 0; i < bytes.length; i += 2) sum += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}

function pseudoHeader(source: number, destination: number, length: number): number {
  const sum = (source >>> 16) + (source & 0xffff) + (destination >>> 16) + (destination & 0xffff);
  return sum + 6 + length;
}

function optionBytes(options: OptionText[]): number[] {
  const out: number[] = [];
  const u32 = (value: number) =>
    out.push(value >>> 24, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
  for (const option of options) {
    switch (option.kind) {
      case 'eol':
        out.push(0);
        break;
      case 'nop':
        out.push(1);
        break;
      case 'mss':
        out.push(2, 4, option.value >> 8, option.value & 255);
        break;
      case 'wscale':
        out.push(3, 3, option.value);
        break;
      case 'sackOK':
        out.push(4, 2);
        break;
      case 'TS':
        out.push(8, 10);
        u32(option.val);
        u32(option.ecr);
        break;
      case 'sack':
        out.push(5, 2 + option.blocks.length * 8);
        for (const [left, right] of option.blocks) {
          u32(left);
          u32(right);
        }
        break;
    }
  }
  return out;
}

/** The bytes of a packet, checksums included; options are padded with end-of-list. */
export function encodePacket(packet: TcpPacket): Uint8Array {
  const options = optionBytes(packet.options);
  while (options.length % 4 !== 0) options.push(0);
  const tcpBytes = 20 + options.length + packet.payload.length;
  const bytes = new Uint8Array(20 + tcpBytes);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 0x45);
  view.setUint8(1, packet.tos);
  view.setUint16(2, bytes.length);
  view.setUint16(4, packet.id);
  view.setUint16(6, packet.df ? 0x4000 : 0);
  view.setUint8(8, packet.ttl);
  view.setUint8(9, 6);
  view.setUint32(12, packet.source);
  view.setUint32(16, packet.destination);
  view.setUint16(10, internetChecksum(bytes.subarray(0, 20)));
  view.setUint16(20, packet.sport);
  view.setUint16(22, packet.dport);
  view.setUint32(24, packet.seq);
  view.setUint32(28, packet.ack);
  view.setUint8(32, ((20 + options.length) / 4) << 4);
  view.setUint8(33, flagBits(packet.flags));
  view.setUint16(34, packet.window);
  view.setUint16(38, packet.urgent);
  bytes.set(options, 40);
  bytes.set(packet.payload, 40 + options.length);
  const pseudo = pseudoHeader(packet.source, packet.destination, tcpBytes);
  view.setUint16(36, internetChecksum(bytes.subarray(20), pseudo));
  return bytes;
}

/**
 * The bytes of an ICMP error that quotes the IP header and the first 8 bytes of `packet`, from
 * `source` to the sender of that.
 * @param info second half of the ICMP header's last word: the MTU of "fragmentation needed"
 */
export function encodeIcmpError(
  source: number,
  packet: Uint8Array,
  type: number,
  code: number,
  info = 0,
): Uint8Array {
  const quoted = packet.subarray(0, 28);
  const bytes = new Uint8Array(28 + quoted.length);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 0x45);
  view.setUint16(2, bytes.length);
  view.setUint8(8, 64);
  view.setUint8(9, 1);
  view.setUint32(12, source);
  bytes.set(packet.subarray(12, 16), 16);
  view.setUint16(10, internetChecksum(bytes.subarray(0, 20)));
  view.setUint8(20, type);
  view.setUint8(21, code);
  view.setUint16(26, info);
  bytes.set(quoted, 28);
  view.setUint16(22, internetChecksum(bytes.subarray(20)));
  return bytes;
}

function decodeOptions(bytes: Uint8Array): OptionText[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const options: OptionText[] = [];
  for (let at = 0; at < bytes.length; ) {
    const kind = bytes[at]!;
    if (kind <= 1) {
      options.push({ kind: kind === 0 ? 'eol' : 'nop' });
      at++;
      continue;
    }
    const size = bytes[at + 1]!;
    if (kind === 2) options.push({ kind: 'mss', value: view.getUint16(at + 2) });
    else if (kind === 3) options.push({ kind: 'wscale', value: bytes[at + 2]! });
    else if (kind === 4) options.push({ kind: 'sackOK' });
    else if (kind === 8) {
      options.push({ kind: 'TS', val: view.getUint32(at + 2), ecr: view.getUint32(at + 6) });
    } else if (kind === 5) {
      const blocks: [number, number][] = [];
      for (let i = at + 2; i < at + size; i += 8) {
        blocks.push([view.getUint32(i), view.getUint32(i + 4)]);
      }
      options.push({ kind: 'sack', blocks });
    } else throw new SyntaxError(`unknown TCP option ${kind}`);
    at += size;
  }
  return options;
}

/**
 * Reads a packet and verifies both checksums. Throws Error when one is wrong or it is not TCP over
 * IPv4.
 * @param partial the transport checksum was left to the link: it holds the pseudo-header sum and
 *   is not verified
 */
export function decodePacket(bytes: Uint8Array, partial = false): TcpPacket {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes[0] !== 0x45 || bytes[9] !== 6) throw new Error('not a TCP/IPv4 packet');
  if (view.getUint16(2) !== bytes.length) throw new Error('wrong IPv4 total length');
  if (internetChecksum(bytes.subarray(0, 20)) !== 0) throw new Error('bad IPv4 checksum');
  const source = view.getUint32(12);
  const destination = view.getUint32(16);
  const pseudo = pseudoHeader(source, destination, bytes.length - 20);
  if (!partial && internetChecksum(bytes.subarray(20), pseudo) !== 0) {
    throw new Error('bad TCP checksum');
  }
  const headerBytes = (bytes[32]! >> 4) * 4;
  return {
    source,
    destination,
    sport: view.getUint16(20),
    dport: view.getUint16(22),
    seq: view.getUint32(24),
    ack: view.getUint32(28),
    flags: flagLetters(bytes[33]!),
    window: view.getUint16(34),
    urgent: view.getUint16(38),
    options: decodeOptions(bytes.subarray(40, 20 + headerBytes)),
    payload: bytes.slice(20 + headerBytes),
    ttl: bytes[8]!,
    tos: bytes[1]!,
    id: view.getUint16(4),
    df: (view.getUint16(6) & 0x4000) !== 0,
  };
}
