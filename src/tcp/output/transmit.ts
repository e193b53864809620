/**
 * Builds one segment and hands it to IPv4 (RFC 9293 3.10.7.4 "send"; Linux tcp_output.c:
 * __tcp_transmit_skb). Header and options go into a small buffer; payload of more than a few
 * kilobytes stays where it is, in the send ring or in a file, and is pointed at.
 */
import { checksumFold, pseudoSum, skbChecksum } from '../../net/checksum.js';
import { ipRouteSkb, ipv4Xmit } from '../../net/ipv4.js';
import { IPPROTO_TCP, offsetOf, tcphdr } from '../../net/layout.js';
import { Mib } from '../../net/mib.js';
import { moveBytes, RING_CAPACITY, RING_PAGE } from '../../net/ring.js';
import {
  EXTENT_BYTES,
  EXTENT_PLACE,
  EXTENT_SEQ,
  extentEntry,
  extentFind,
} from '../../net/ring-extents.js';
import { CHECKSUM_PARTIAL, FRAGMENTS_MOST, type Skb } from '../../net/skb.js';
import { BLOCK_EXTENTS, PAGE_BYTES } from '../../net/sockmem.js';
import { onAckSent, onDataSent } from '../ack-policy.js';
import { ecnSend, ecnSynFlags } from '../ecn.js';
import { fastopenSynText } from '../fastopen-client.js';
import { advertisedMss, dontFragment, synAckDontFragment } from '../mss.js';
import { writeFastopen, writeSack, writeSynOptions, writeTimestamp } from '../options.js';
import { WINDOW_FIELD_MOST } from '../rcv-space.js';
import { selectWindow } from '../rcv-window.js';
import { ACK, SYN, TCP_HEADER_BYTES, URG } from '../segment.js';
import { after } from '../seq.js';
import { PENDING_ACK } from '../sock.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { tsNow } from '../ts-clock.js';

const SOURCE = offsetOf(tcphdr, 'source');
const SEQ = offsetOf(tcphdr, 'seq');
const ACK_SEQ = offsetOf(tcphdr, 'ack_seq');
const DOFF = offsetOf(tcphdr, 'doff');
const FLAGS = offsetOf(tcphdr, 'flags');
const CHECK = offsetOf(tcphdr, 'check');
const URG_PTR = offsetOf(tcphdr, 'urg_ptr');

const IP_HEADER_BYTES = 20;
/** Largest urgent pointer. */
const URG_PTR_MOST = 0xffff;
/** Payload up to this size is copied behind its header: cheaper than a gathered write. */
const COPY_BYTES = 2048;

/**
 * Writes the fixed header at `at`, word by word; options are there already and end at `end`. The
 * checksum field is left 0.
 */
export function writeHeader(
  view: DataView,
  at: number,
  end: number,
  sport: number,
  dport: number,
  seq: number,
  ack: number,
  flags: number,
  window: number,
): void {
  view.setInt32(at + SOURCE, (sport << 16) | dport);
  view.setInt32(at + SEQ, seq);
  view.setInt32(at + ACK_SEQ, ack);
  view.setInt32(at + DOFF, ((end - at) << 26) | (flags << 16) | window);
  // And the urgent pointer.
  view.setInt32(at + CHECK, 0);
}

/**
 * Completes the checksum (RFC 9293 MUST-2), or leaves it to the link, and sends. `skb` begins at
 * the TCP header.
 * @param oif the device that the socket is bound to, 0 = none
 */
export function sendSegment(
  tcp: Tcp,
  skb: Skb,
  saddr: number,
  daddr: number,
  tos: number,
  ttl: number,
  id: number,
  df: boolean,
  oif: number,
): boolean {
  const { net } = tcp;
  const at = skb.start;
  const pseudo = pseudoSum(saddr, daddr, IPPROTO_TCP, skb.length);
  // What is to be cut is summed afterwards.
  if (ipRouteSkb(net, skb, daddr, oif).offload.checksum || skb.gsoSize > 0) {
    skb.ipSummed = CHECKSUM_PARTIAL;
    skb.csumStart = at;
    skb.csumOffset = CHECK;
    skb.view.setUint16(at + CHECK, pseudo);
  } else {
    skb.view.setUint16(at + CHECK, checksumFold(skbChecksum(skb, at, pseudo)));
  }
  net.count(Mib.TcpOutSegs);
  return ipv4Xmit(net, skb, saddr, daddr, IPPROTO_TCP, tos, ttl, id, df);
}

/**
 * Points the skb at the bytes [seq, seq + length) of the stream, or copies them behind the header
 * when they are few. They are in the ring's memory but for what its table says to be in a file.
 */
function attachPayload(tcp: Tcp, tcb: Tcb, skb: Skb, seq: number, length: number): void {
  const copies = length <= COPY_BYTES;
  const table = tcp.ctl[tcb.at + BLOCK_EXTENTS]!;
  if (table !== 0) {
    const done = attachExtents(tcp, tcb, skb, seq, length, copies, table);
    seq = (seq + done) | 0;
    length -= done;
  }
  if (length > 0) attachRing(tcp, tcb, skb, seq, length, copies);
}

/** Adds arena bytes to the packet: a copy in the linear data, or a fragment. */
function attachBytes(tcp: Tcp, skb: Skb, place: number, bytes: number, copies: boolean): void {
  // More text than memory, as a thread's cursors may say, can reach beyond the arena.
  place = Math.min(place, tcp.mem.bytes.length - bytes);
  if (copies) {
    moveBytes(tcp.mem, skb.end, place, bytes);
    skb.end += bytes;
  } else {
    skb.addFragment(place, bytes);
  }
}

function attachRing(
  tcp: Tcp,
  tcb: Tcb,
  skb: Skb,
  seq: number,
  length: number,
  copies: boolean,
): void {
  const capacity = tcp.ctl[tcb.sndRing + RING_CAPACITY]!;
  const base = tcp.ctl[tcb.sndRing + RING_PAGE]! * PAGE_BYTES;
  // Or there is said to be text where there is no memory.
  const at = seq & Math.max(0, capacity - 1);
  const first = Math.min(length, capacity - at);
  attachBytes(tcp, skb, base + at, first, copies);
  if (first < length) attachBytes(tcp, skb, base, length - first, copies);
}

/**
 * Attaches the bytes up to the end of the last file that they are in, with what is in the ring
 * between files. A table that makes no sense (an application's thread may write to it) ends that:
 * the caller takes what is left from the ring.
 * @returns bytes attached
 */
function attachExtents(
  tcp: Tcp,
  tcb: Tcb,
  skb: Skb,
  seq: number,
  length: number,
  copies: boolean,
  table: number,
): number {
  const { mem } = tcp;
  const { words } = mem;
  let done = 0;
  let cursor = extentFind(mem, table, seq);
  while (done < length && skb.fragments < FRAGMENTS_MOST - 2) {
    const entry = extentEntry(mem, table, cursor);
    if (entry < 0) break;
    const into = (seq + done - words[entry + EXTENT_SEQ]!) | 0;
    if (into < 0) {
      const gap = Math.min(-into, length - done);
      attachRing(tcp, tcb, skb, (seq + done) | 0, gap, copies);
      done += gap;
      continue;
    }
    const bytes = Math.min(words[entry + EXTENT_BYTES]! - into, length - done);
    const place = words[entry + EXTENT_PLACE]! + into;
    if (bytes <= 0 || place < 0 || place + bytes > mem.bytes.length) break;
    attachBytes(tcp, skb, place, bytes, copies);
    done += bytes;
    cursor = (cursor + 1) | 0;
  }
  return done;
}

/**
 * The urgent pointer of a segment before the end of urgent data (RFC 9293 MUST-62; Linux
 * __tcp_transmit_skb). What lies too far ahead is announced as the farthest that the field can say,
 * when that is ahead of all that has been sent.
 */
function writeUrgent(view: DataView, at: number, tcb: Tcb, seq: number): void {
  const distance = (tcb.sndUp - seq) | 0;
  if (distance <= 0) return;
  if (distance > URG_PTR_MOST && !after((seq + URG_PTR_MOST) | 0, tcb.sndNxt)) return;
  view.setUint16(at + URG_PTR, Math.min(distance, URG_PTR_MOST));
  view.setUint8(at + FLAGS, view.getUint8(at + FLAGS) | URG);
}

/** Counts for TCP_INFO. */
function countSent(tcb: Tcb, segments: number, length: number): void {
  const { counts } = tcb;
  counts.segsOut += segments;
  if (length === 0) return;
  counts.dataSegsOut += segments;
  counts.bytesSent += length;
}

/**
 * Sends [seq, seq + length) of the send ring (length may be 0) with `flags`; more than `mss` bytes
 * leave as a super-packet, to be cut. Carries the newest ACK and window. False: nothing was
 * sent (no buffer, or the link refused).
 */
export function transmit(
  tcp: Tcp,
  tcb: Tcb,
  seq: number,
  length: number,
  flags: number,
  mss: number = tcb.sndMss,
): boolean {
  const { net } = tcp;
  const skb = net.outputSkbs.alloc();
  if (skb === null) {
    net.count(Mib.IpOutDiscards);
    return false;
  }
  const { view } = skb;
  const at = skb.start;
  let end = at + TCP_HEADER_BYTES;
  if (tcb.tsOk) end = writeTimestamp(view, end, tsNow(net.nowUs, tcb.tsOffset), tcb.tsRecent);
  if (length === 0 && tcb.sackOk) {
    const { dsackLeft, dsackRight } = tcb;
    const most = tcb.tsOk ? 3 : 4;
    end = writeSack(view, end, tcb.ofo, tcb.ofoNewest, dsackLeft, dsackRight, most);
    tcb.dsackLeft = tcb.dsackRight = 0;
  }
  const window = selectWindow(tcp, tcb);
  const ecn = tcb.ecnFlags === 0 ? 0 : ecnSend(tcb, seq, length);
  const bits = flags | (ecn & 0xff);
  writeHeader(view, at, end, tcb.num, tcb.dport, seq, tcb.rcvNxt, bits, window);
  if (tcb.urgent) writeUrgent(view, at, tcb, seq);
  skb.end = end;
  if (length > 0) attachPayload(tcp, tcb, skb, seq, length);
  let segments = 1;
  if (length > mss) {
    skb.gsoSize = mss;
    segments = Math.ceil(length / mss);
    net.count(Mib.TcpOutSegs, segments - 1);
  }
  countSent(tcb, segments, length);
  const id = (tcb.ipId + 1) & 0xffff;
  // Linux: ip_select_ident_segs.
  tcb.ipId = (tcb.ipId + segments) & 0xffff;
  const df = dontFragment(tcb);
  // RFC 9293 MUST-45, MUST-48, MUST-49, SHLD-22: as the connection has them.
  const { rcvSaddr, daddr, ttl, boundDevIf } = tcb;
  const tos = tcb.tos | (ecn >> 8);
  const sent = sendSegment(tcp, skb, rcvSaddr, daddr, tos, ttl, id, df, boundDevIf);
  net.outputSkbs.release(skb);
  if ((flags & ACK) !== 0) {
    onAckSent(tcb);
    tcb.pending &= ~PENDING_ACK;
  }
  if (length > 0) onDataSent(tcp, tcb);
  return sent;
}

/**
 * Sequence number of a segment without text: SND.NXT, or the end of the window if the peer has
 * taken that back, because it would not accept anything beyond (Linux: tcp_acceptable_seq). What
 * the scale cuts off is not taken back. A listener's child begins behind our SYN, which its peer
 * has acknowledged by its third packet (Linux: tcp_create_openreq_child).
 */
export function acceptableSeq(tcb: Tcb): number {
  const una = tcb.parent !== null && tcb.sndUna === tcb.iss ? tcb.sndUna + 1 : tcb.sndUna;
  const end = (una + tcb.sndWnd) | 0;
  const beyond = (tcb.sndNxt - end) | 0;
  if (beyond <= 0 || (tcb.wscaleOk && beyond < 1 << tcb.rcvWscale)) return tcb.sndNxt;
  return end;
}

/**
 * Sends our SYN, or SYN-ACK of a simultaneous open (flags tell): options as offered, window
 * unscaled.
 */
export function transmitSyn(tcp: Tcp, tcb: Tcb, flags: number): void {
  const { net } = tcp;
  const skb = net.outputSkbs.alloc();
  if (skb === null) return;
  const { view } = skb;
  const at = skb.start;
  const text = tcb.tfo === null || flags !== 0 ? 0 : fastopenSynText(tcp, tcb, tcb.tfo);
  let end = writeSynOptions(
    view,
    at + TCP_HEADER_BYTES,
    advertisedMss(tcp, tcb),
    tcb.sackOk,
    tcb.tsOk,
    tsNow(net.nowUs, tcb.tsOffset),
    tcb.tsRecent,
    tcb.wscaleOk ? tcb.rcvWscale : -1,
  );
  if (tcb.fastopenCookie !== null) {
    end = writeFastopen(view, end, tcb.fastopenCookie, tcb.fastopenExp);
    tcb.fastopenCookie = null;
  }
  const ack = (flags & ACK) !== 0 ? tcb.rcvNxt : 0;
  const bits = flags | SYN | ecnSynFlags(tcp, tcb, flags);
  const window = Math.min(tcb.rcvWnd, WINDOW_FIELD_MOST);
  writeHeader(view, at, end, tcb.num, tcb.dport, tcb.iss, ack, bits, window);
  skb.end = end;
  if (text > 0) attachPayload(tcp, tcb, skb, (tcb.iss + 1) | 0, text);
  const { rcvSaddr, daddr, tos, ttl, boundDevIf } = tcb;
  // The SYN-ACK of a Fast Open is one like all others.
  const child = tcb.fastopenQueue !== null;
  if (!child) tcb.ipId = (tcb.ipId + 1) & 0xffff;
  const df = child ? synAckDontFragment(tcb, IP_HEADER_BYTES + end - at) : dontFragment(tcb);
  const childId = df ? 0 : net.random.u32() & 0xffff;
  const id = child ? childId : tcb.ipId;
  sendSegment(tcp, skb, rcvSaddr, daddr, tos, ttl, id, df, boundDevIf);
  net.outputSkbs.release(skb);
}
