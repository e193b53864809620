/**
 * What routers and links do to the bytes of an IPv4 packet: cut a super-packet into segments, cut a
 * packet into fragments, complete a checksum, flip bits. Plain bytes in, plain bytes out; written
 * without the stack's own output code.
 */
import { internetChecksum } from '../testing/packet.js';

const IP_BYTES = 20;
const DF = 0x4000;
const MF = 0x2000;
const FIN_PSH = 0x09;
const ECN_MASK = 3;

/** TCP or ICMP header checksum field, from the transport header on. */
export const TCP_CHECK = 16;

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** Total length and header checksum of the packet as it is now. */
function sealIp(bytes: Uint8Array, view: DataView): void {
  view.setUint16(2, bytes.length);
  view.setUint16(10, 0);
  view.setUint16(10, internetChecksum(bytes.subarray(0, IP_BYTES)));
}

/**
 * Gives an ECN-capable packet another code point (RFC 3168 5); false = it is not ECN-capable, or
 * has that one.
 */
export function setEcn(bytes: Uint8Array, codePoint: number): boolean {
  const old = bytes[1]! & ECN_MASK;
  if (old === 0 || old === codePoint) return false;
  bytes[1] = (bytes[1]! & ~ECN_MASK) | codePoint;
  sealIp(bytes, viewOf(bytes));
  return true;
}

/** Writes the whole checksum of a TCP segment over IPv4 (header of 20 bytes). */
export function completeTcpChecksum(bytes: Uint8Array): void {
  const view = viewOf(bytes);
  view.setUint16(IP_BYTES + TCP_CHECK, 0);
  let sum = 6 + bytes.length - IP_BYTES;
  for (let at = 12; at < IP_BYTES; at += 2) sum += view.getUint16(at);
  view.setUint16(IP_BYTES + TCP_CHECK, internetChecksum(bytes.subarray(IP_BYTES), sum));
}

/** Bytes of the IP and TCP headers. */
export function headersOf(bytes: Uint8Array): number {
  return IP_BYTES + (bytes[IP_BYTES + 12]! >> 4) * 4;
}

/** The segments of a super-packet, as a link with segmentation offload makes them. */
export function cutSegments(bytes: Uint8Array, mss: number): Uint8Array[] {
  const headers = headersOf(bytes);
  const source = viewOf(bytes);
  const segments: Uint8Array[] = [];
  for (let from = headers; from < bytes.length; from += mss) {
    const end = Math.min(from + mss, bytes.length);
    const segment = new Uint8Array(headers + end - from);
    segment.set(bytes.subarray(0, headers));
    segment.set(bytes.subarray(from, end), headers);
    const view = viewOf(segment);
    view.setUint16(4, source.getUint16(4) + segments.length);
    view.setUint32(IP_BYTES + 4, source.getUint32(IP_BYTES + 4) + from - headers);
    // FIN and PSH belong to the last one.
    if (end < bytes.length) segment[IP_BYTES + 13]! &= ~FIN_PSH;
    sealIp(segment, view);
    completeTcpChecksum(segment);
    segments.push(segment);
  }
  return segments;
}

/** May the packet be cut into fragments? */
export function mayFragment(bytes: Uint8Array): boolean {
  return (viewOf(bytes).getUint16(6) & DF) === 0;
}

/** The fragments of a packet, which may be one itself (RFC 791 3.2). */
export function cutFragments(bytes: Uint8Array, mtu: number): Uint8Array[] {
  const most = (mtu - IP_BYTES) & ~7;
  const source = viewOf(bytes).getUint16(6);
  const pieces: Uint8Array[] = [];
  for (let from = IP_BYTES; from < bytes.length; from += most) {
    const end = Math.min(from + most, bytes.length);
    const piece = new Uint8Array(IP_BYTES + end - from);
    piece.set(bytes.subarray(0, IP_BYTES));
    piece.set(bytes.subarray(from, end), IP_BYTES);
    const view = viewOf(piece);
    const more = end < bytes.length ? MF : 0;
    view.setUint16(6, (source | more) + ((from - IP_BYTES) >> 3));
    sealIp(piece, view);
    pieces.push(piece);
  }
  return pieces;
}

/**
 * Inverts at most `bits` (1..15) consecutive bits, some of them: a burst that short cannot make a
 * one's complement sum come out right.
 */
export function corruptBits(bytes: Uint8Array, bit: number, bits: number): void {
  for (let i = 0; i < bits; i += 2) {
    const at = bit + i;
    if (at >>> 3 < bytes.length) bytes[at >>> 3]! ^= 0x80 >> (at & 7);
  }
}
