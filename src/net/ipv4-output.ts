/**
 * IPv4 out (RFC 791, RFC 1122 3.2; Linux net/ipv4/ip_output.c: __ip_local_out, ip_do_fragment;
 * drivers/net/loopback.c; tcp_offload.c: tcp_gso_segment): the header, the way back to ourselves,
 * fragments of what is too large for the link, segments of what it does not cut itself. Which way a
 * packet goes is route.ts.
 */
import { assert } from './assert.js';
import { checksumFold, pseudoSum, skbChecksum, skbChecksumHelp } from './checksum.js';
import { jhash3words } from './hash.js';
import { IPHDR_BYTES, iphdr, offsetOf, tcphdr } from './layout.js';
import { Mib } from './mib.js';
import type { NetNs } from './netns.js';
import type { NetDevice } from './route.js';
import {
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  SKB_HEADROOM,
  type Skb,
} from './skb.js';

const ID = offsetOf(iphdr, 'id');
const TTL = offsetOf(iphdr, 'ttl');
const SADDR = offsetOf(iphdr, 'saddr');
const DADDR = offsetOf(iphdr, 'daddr');

const TCP_SEQ = offsetOf(tcphdr, 'seq');
const TCP_DOFF = offsetOf(tcphdr, 'doff');
const TCP_FLAGS = offsetOf(tcphdr, 'flags');
const TCP_CHECK = offsetOf(tcphdr, 'check');
const FIN_AND_PSH = 0x09;
const CWR = 0x80;
/** Segments up to this size are copied behind their header: cheaper than a gathered write. */
const LINEAR_BYTES = 2048;

/** Flags in frag_off; the other bits are the fragment's offset in units of 8 bytes. */
export const IP_DF = 0x4000;
export const IP_MF = 0x2000;
export const IP_OFFSET = 0x1fff;

const IP_MAX_BYTES = 65_535;
/** Version 4, five words of header. */
const VERSION_IHL = 0x45;
/** Buffer memory that packets to ourselves may hold: 16 superpackets or 512 small packets. */
const LOOPBACK_MAX_BYTES: number = 2 << 20;

/**
 * An identification for a packet that may be fragmented: counts up per (source, destination,
 * protocol), from an offset that an outsider cannot tell from others' (RFC 6864, RFC 7739 5.3;
 * Linux: __ip_select_ident).
 */
export function ipSelectIdent(net: NetNs, saddr: number, daddr: number, protocol: number): number {
  const hash = jhash3words(daddr, saddr, protocol, net.hashMix);
  const slot = hash & (net.ipIdents.length - 1);
  net.ipIdents[slot] = net.ipIdents[slot]! + 1;
  return (net.ipIdents[slot]! + (hash >>> 16)) & 0xffff;
}

/**
 * Writes the 20-byte header of a packet of `total` bytes at arena offset `at`, word by word;
 * addresses and the like from `skb`.
 */
function writeHeader(skb: Skb, at: number, total: number, id: number, fragOff: number): void {
  const { view, saddr, daddr, protocol, tos, ttl } = skb;
  // What the pseudo-header has of it, and the rest.
  const sum =
    pseudoSum(saddr, daddr, protocol, total) +
    ((VERSION_IHL << 8) | tos) +
    id +
    fragOff +
    (ttl << 8);
  view.setInt32(at, (VERSION_IHL << 24) | (tos << 16) | total);
  view.setInt32(at + ID, (id << 16) | fragOff);
  view.setInt32(at + TTL, (ttl << 24) | (protocol << 16) | checksumFold(sum));
  view.setInt32(at + SADDR, saddr);
  view.setInt32(at + DADDR, daddr);
}

/**
 * Chooses the way of `skb` to `daddr` for a socket bound to device `oif` (0 = none): sets skb.dev
 * and the interface that it comes in by if that is `lo`. To be called before ipv4Xmit by who must
 * know the device earlier or is bound to one.
 */
export function ipRouteSkb(net: NetNs, skb: Skb, daddr: number, oif: number): NetDevice {
  const { dev, iif } = net.routes.output(daddr, oif);
  skb.dev = dev;
  skb.ifindex = iif;
  return dev;
}

/**
 * Sends one transport packet: `skb` begins at the transport header, with room for the IP header
 * before it. The header is prepended (skb.start moves), the packet goes to its device (skb.dev,
 * chosen now if it is null), or back to ourselves when that is `lo`, in fragments when it is larger
 * than the MTU, not `df` and not to be cut (gsoSize, by the link or before it). The skb stays with
 * the caller.
 * @param id identification; 0 is fine with `df`
 * @returns false when the packet is lost (counted)
 */
export function ipv4Xmit(
  net: NetNs,
  skb: Skb,
  saddr: number,
  daddr: number,
  protocol: number,
  tos: number,
  ttl: number,
  id: number,
  df: boolean,
): boolean {
  skb.saddr = saddr;
  skb.daddr = daddr;
  skb.protocol = protocol;
  skb.tos = tos;
  skb.ttl = ttl;
  skb.transport = skb.start;
  skb.start -= IPHDR_BYTES;
  const total = skb.length;
  assert(total <= IP_MAX_BYTES, 'packet larger than IPv4 can carry');
  const dev = skb.dev ?? ipRouteSkb(net, skb, daddr, 0);
  if (skb.gsoSize > 0 && dev.offload.gsoMaxBytes === 0) return segment(net, skb, dev, id, df);
  return finish(net, skb, dev, total, id, df);
}

/** `skb` is a whole packet of `total` bytes but for its header. */
function finish(
  net: NetNs,
  skb: Skb,
  dev: NetDevice,
  total: number,
  id: number,
  df: boolean,
): boolean {
  writeHeader(skb, skb.start, total, id, df ? IP_DF : 0);
  net.count(Mib.IpOutRequests);
  if (dev === net.lo) return loop(net, skb, total);
  if (total <= dev.mtu || skb.gsoSize > 0) return toLink(net, skb, dev, total);
  if (!df) return fragment(net, skb, dev, id);
  net.drop(Mib.IpFragFails, 'IpFragFails', skb);
  return false;
}

function toLink(net: NetNs, skb: Skb, dev: NetDevice, total: number): boolean {
  net.trace?.packet?.('out', skb);
  if (!dev.link!.transmit(skb)) {
    net.drop(Mib.IpOutDiscards, 'IpOutDiscards', skb);
    return false;
  }
  net.count(Mib.IpOutTransmits);
  net.count(Mib.IpExtOutOctets, total);
  return true;
}

/** Queues a copy of `skb` for ipv4Loopback. */
function loop(net: NetNs, skb: Skb, total: number): boolean {
  const small = total <= net.outputSkbs.capacity - SKB_HEADROOM;
  const copy =
    net.loopback.bytes < LOOPBACK_MAX_BYTES
      ? (small ? net.outputSkbs : net.inputSkbs).alloc()
      : null;
  if (copy === null) {
    net.drop(Mib.TunLoopbackDropped, 'TunLoopbackDropped', skb);
    return false;
  }
  net.trace?.packet?.('out', skb);
  const { bytes } = skb;
  copy.end = copy.start + total;
  let at = copy.start;
  bytes.copyWithin(at, skb.start, skb.end);
  at += skb.end - skb.start;
  for (let i = 0; i < skb.fragments; i++) {
    const place = skb.place(i);
    bytes.copyWithin(at, place, place + skb.size(i));
    at += skb.size(i);
  }
  // A checksum that was left to the link has nothing to protect on the way to ourselves.
  copy.ipSummed = skb.ipSummed === CHECKSUM_PARTIAL ? CHECKSUM_UNNECESSARY : CHECKSUM_NONE;
  copy.gsoSize = skb.gsoSize;
  copy.dev = net.lo;
  copy.ifindex = skb.ifindex;
  net.loopback.push(copy);
  net.count(Mib.TunLoopbackPackets);
  net.count(Mib.IpOutTransmits);
  net.count(Mib.IpExtOutOctets, total);
  return true;
}

/**
 * Linux 5.0 net/ipv4/ip_output.c: ip_do_fragment. Payload in fragments of `skb` is pointed at, not
 * copied.
 */
function fragment(net: NetNs, skb: Skb, dev: NetDevice, id: number): boolean {
  // Each fragment would leave with a part of the data that the checksum covers: nobody after us
  // could complete it.
  if (skb.ipSummed === CHECKSUM_PARTIAL) skbChecksumHelp(skb);
  const payloadBytes = skb.length - IPHDR_BYTES;
  const most = (dev.mtu - IPHDR_BYTES) & ~7;
  for (let offset = 0; offset < payloadBytes; ) {
    const piece = most > 0 ? net.outputSkbs.alloc() : null;
    if (piece === null) {
      net.drop(Mib.IpFragFails, 'IpFragFails', skb);
      return false;
    }
    const at = piece.start + IPHDR_BYTES;
    const taken = takePiece(skb, piece, at, offset, Math.min(most, payloadBytes - offset));
    piece.transport = at;
    const more = offset + taken < payloadBytes ? IP_MF : 0;
    writeHeader(piece, piece.start, taken + IPHDR_BYTES, id, more | (offset >>> 3));
    net.count(Mib.IpFragCreates);
    const sent = toLink(net, piece, dev, taken + IPHDR_BYTES);
    net.outputSkbs.release(piece);
    // A datagram with a hole is of no use to the receiver.
    if (!sent) return false;
    offset += taken;
  }
  net.count(Mib.IpFragOKs);
  return true;
}

/**
 * Cuts a super-packet of TCP into packets of gsoSize bytes of text, for a link that does not (Linux
 * net/ipv4/tcp_offload.c: tcp_gso_segment). They differ in sequence number, identification and
 * checksum; FIN and PSH are for the last one, CWR is for the first. One buffer serves for all, with
 * the header in place: devices keep no skb. False: one of them is lost (counted), or all.
 */
function segment(net: NetNs, skb: Skb, dev: NetDevice, id: number, df: boolean): boolean {
  const piece = net.outputSkbs.alloc();
  if (piece === null) {
    net.drop(Mib.IpOutDiscards, 'IpOutDiscards', skb);
    return false;
  }
  const { view, transport, gsoSize } = skb;
  const headerBytes = (view.getUint8(transport + TCP_DOFF) >>> 4) * 4;
  const end = IPHDR_BYTES + headerBytes;
  const text = skb.length - end;
  const seq = view.getInt32(transport + TCP_SEQ);
  const all = view.getUint8(transport + TCP_FLAGS);
  const { start } = piece;
  piece.transport = start + IPHDR_BYTES;
  piece.ifindex = skb.ifindex;
  takePiece(skb, piece, piece.transport, 0, headerBytes);
  let sent = true;
  for (let at = 0; at < text; at += gsoSize) {
    const length = Math.min(gsoSize, text - at);
    piece.start = start;
    piece.dropFragments();
    takePiece(skb, piece, start + end, headerBytes + at, length);
    if (length <= LINEAR_BYTES) piece.linearize();
    let flags = at === 0 ? all : all & ~CWR;
    if (at + length < text) flags &= ~FIN_AND_PSH;
    view.setInt32(piece.transport + TCP_SEQ, (seq + at) | 0);
    view.setUint8(piece.transport + TCP_FLAGS, flags);
    sumSegment(piece, dev);
    sent = finish(net, piece, dev, end + length, id, df) && sent;
    id = (id + 1) & 0xffff;
  }
  net.outputSkbs.release(piece);
  return sent;
}

/** Completes the checksum of a TCP packet that has its header, or leaves that to the link. */
function sumSegment(skb: Skb, dev: NetDevice): void {
  const { view, transport, saddr, daddr, protocol } = skb;
  const pseudo = pseudoSum(saddr, daddr, protocol, skb.length - IPHDR_BYTES);
  if (dev.offload.checksum) {
    skb.ipSummed = CHECKSUM_PARTIAL;
    skb.csumStart = transport;
    skb.csumOffset = TCP_CHECK;
    view.setUint16(transport + TCP_CHECK, pseudo);
  } else {
    view.setUint16(transport + TCP_CHECK, 0);
    view.setUint16(transport + TCP_CHECK, checksumFold(skbChecksum(skb, transport, pseudo)));
  }
}

/**
 * Makes `piece` carry, from arena offset `at` on, `length` payload bytes of `skb` from payload
 * offset `offset` on: what comes from the linear part (a transport header) is copied, the rest
 * pointed at. Returns the bytes taken: fewer, a multiple of 8, when the linear part is larger than
 * the piece's buffer.
 */
function takePiece(skb: Skb, piece: Skb, at: number, offset: number, length: number): number {
  const linear = Math.max(0, skb.end - (skb.transport + offset));
  const room = (piece.capacity - SKB_HEADROOM - IPHDR_BYTES) & ~7;
  if (Math.min(linear, length) > room) length = room;
  const copied = Math.min(linear, length);
  const from = skb.transport + offset;
  if (copied > 0) piece.bytes.copyWithin(at, from, from + copied);
  piece.end = at + copied;
  pointAt(skb, piece, offset + copied - (skb.end - skb.transport), length - copied);
  piece.saddr = skb.saddr;
  piece.daddr = skb.daddr;
  piece.protocol = skb.protocol;
  piece.tos = skb.tos;
  piece.ttl = skb.ttl;
  return length;
}

/** Makes `piece` point at `length` bytes of `skb`, from byte `into` of its fragments on. */
function pointAt(skb: Skb, piece: Skb, into: number, length: number): void {
  for (let i = 0; length > 0 && i < skb.fragments; i++) {
    const bytes = skb.size(i);
    const taken = Math.min(length, bytes - into);
    if (taken > 0) {
      piece.addFragment(skb.place(i) + into, taken);
      length -= taken;
    }
    into = Math.max(0, into - bytes);
  }
}
