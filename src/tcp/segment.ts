/**
 * One TCP segment as it came in: the header read by offset into a reused object (RFC 9293 3.1, 3.2;
 * Linux tcp_input.c:tcp_parse_options). Lengths are checked once in `parse`; nothing after it can
 * run off the end.
 */
import { offsetOf, tcphdr } from '../net/layout.js';
import type { Skb } from '../net/skb.js';

export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;
export const URG = 0x20;
export const ECE = 0x40;
export const CWR = 0x80;

export const TCP_HEADER_BYTES = 20;

/** Option kinds (RFC 9293 3.2, RFC 7323, RFC 2018). */
export const TCPOPT_EOL = 0;
export const TCPOPT_NOP = 1;
export const TCPOPT_MSS = 2;
export const TCPOPT_WINDOW = 3;
export const TCPOPT_SACK_PERM = 4;
export const TCPOPT_SACK = 5;
export const TCPOPT_TIMESTAMP = 8;

const SOURCE = offsetOf(tcphdr, 'source');
const DEST = offsetOf(tcphdr, 'dest');
const SEQ = offsetOf(tcphdr, 'seq');
const ACK_SEQ = offsetOf(tcphdr, 'ack_seq');
const DATA_OFFSET = offsetOf(tcphdr, 'doff');
const FLAGS = offsetOf(tcphdr, 'flags');
const WINDOW = offsetOf(tcphdr, 'window');
const URGENT = offsetOf(tcphdr, 'urg_ptr');

/** NOP NOP TIMESTAMP 10: how every modern stack begins the options of a data segment. */
const ALIGNED_TIMESTAMP = 0x0101080a;
/** RFC 7323 2.3: a larger shift is used as 14. */
const MAX_WSCALE = 14;
export const MAX_SACK_BLOCKS = 4;

export class Segment {
  saddr = 0;
  daddr = 0;
  sport = 0;
  dport = 0;
  /** SEG.SEQ, SEG.ACK, SEG.WND (raw, unscaled), SEG.UP. */
  seq = 0;
  ack = 0;
  wnd = 0;
  up = 0;
  flags = 0;
  /** Payload: arena offset and bytes. `endSeq` = seq + payload + SYN + FIN. */
  data = 0;
  length = 0;
  endSeq = 0;
  /** Payload bytes of each merged segment (GRO), 0 = it was one segment. */
  gsoSize = 0;
  tos = 0;

  hasTimestamp = false;
  tsval = 0;
  tsecr = 0;
  /** From a SYN: MSS option or 0; window shift or -1; SACK permitted. */
  mss = 0;
  wscale = -1;
  sackPermitted = false;
  /** SACK blocks: [left, right) pairs. */
  sackCount = 0;
  readonly sacks: Int32Array = new Int32Array(MAX_SACK_BLOCKS * 2);

  /** Reads the header at `skb.transport`. False: too short or a data offset that does not fit. */
  parse(skb: Skb): boolean {
    const view = skb.view;
    const at = skb.transport;
    const available = skb.end - at;
    if (available < TCP_HEADER_BYTES) return false;
    const headerBytes = (view.getUint8(at + DATA_OFFSET) >>> 4) * 4;
    if (headerBytes < TCP_HEADER_BYTES || headerBytes > available) return false;
    this.saddr = skb.saddr;
    this.daddr = skb.daddr;
    this.tos = skb.tos;
    this.sport = view.getUint16(at + SOURCE);
    this.dport = view.getUint16(at + DEST);
    this.seq = view.getInt32(at + SEQ);
    this.ack = view.getInt32(at + ACK_SEQ);
    this.flags = view.getUint8(at + FLAGS);
    this.wnd = view.getUint16(at + WINDOW);
    this.up = view.getUint16(at + URGENT);
    this.data = at + headerBytes;
    this.length = available - headerBytes;
    this.endSeq = (this.seq + this.length + ((this.flags & SYN) >> 1) + (this.flags & FIN)) | 0;
    this.gsoSize = skb.gsoSize;
    this.hasTimestamp = false;
    this.mss = 0;
    this.wscale = -1;
    this.sackPermitted = false;
    this.sackCount = 0;
    if (headerBytes > TCP_HEADER_BYTES) this.parseOptions(view, at + TCP_HEADER_BYTES, this.data);
    return true;
  }

  private parseOptions(view: DataView, at: number, end: number): void {
    if (end - at === 12 && view.getInt32(at) === ALIGNED_TIMESTAMP) {
      this.hasTimestamp = true;
      this.tsval = view.getInt32(at + 4);
      this.tsecr = view.getInt32(at + 8);
      return;
    }
    while (at < end) {
      const kind = view.getUint8(at);
      if (kind === TCPOPT_EOL) return;
      if (kind === TCPOPT_NOP) {
        at++;
        continue;
      }
      if (at + 2 > end) return;
      const size = view.getUint8(at + 1);
      if (size < 2 || at + size > end) return;
      this.readOption(view, kind, at, size);
      at += size;
    }
  }

  /** One option; a known kind of a wrong size is ignored, as is everything unknown. */
  private readOption(view: DataView, kind: number, at: number, size: number): void {
    const syn = (this.flags & SYN) !== 0;
    switch (kind) {
      case TCPOPT_MSS:
        if (size === 4 && syn) this.mss = view.getUint16(at + 2);
        break;
      case TCPOPT_WINDOW:
        if (size === 3 && syn) this.wscale = Math.min(view.getUint8(at + 2), MAX_WSCALE);
        break;
      case TCPOPT_SACK_PERM:
        if (size === 2 && syn) this.sackPermitted = true;
        break;
      case TCPOPT_TIMESTAMP:
        if (size === 10) {
          this.hasTimestamp = true;
          this.tsval = view.getInt32(at + 2);
          this.tsecr = view.getInt32(at + 6);
        }
        break;
      case TCPOPT_SACK:
        if ((size - 2) % 8 === 0 && size > 2) this.readSacks(view, at + 2, (size - 2) >>> 3);
        break;
    }
  }

  private readSacks(view: DataView, at: number, count: number): void {
    this.sackCount = Math.min(count, MAX_SACK_BLOCKS);
    for (let i = 0; i < this.sackCount * 2; i++) this.sacks[i] = view.getInt32(at + i * 4);
  }
}
