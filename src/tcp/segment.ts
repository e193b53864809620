/**
 * One TCP segment as it came in: the header read by offset into a reused object (RFC 9293 3.1, 3.2;
 * Linux tcp_input.c:tcp_parse_options). Lengths are checked once in `parse`; nothing after it can
 * run off the end.
 */
import { FIN, offsetOf, SYN, tcphdr } from '../net/layout.js';
import type { Skb } from '../net/skb.js';

export { ACK, CWR, ECE, FIN, PSH, RST, SYN, URG } from '../net/layout.js';

export const TCP_HEADER_BYTES = 20;

/** Option kinds (RFC 9293 3.2, RFC 7323 2.2, 3.2, RFC 2018 2). */
export const TCPOPT_EOL = 0;
export const TCPOPT_NOP = 1;
export const TCPOPT_MSS = 2;
export const TCPOPT_WINDOW = 3;
export const TCPOPT_SACK_PERM = 4;
export const TCPOPT_SACK = 5;
export const TCPOPT_TIMESTAMP = 8;
/** RFC 7413 4.1.1, and its experimental form (RFC 6994). */
export const TCPOPT_FASTOPEN = 34;
export const TCPOPT_EXP = 254;
export const TCPOPT_FASTOPEN_MAGIC = 0xf989;
const COOKIE_LEAST_BYTES = 4;
const COOKIE_MOST_BYTES = 16;

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
  /** The packet that it came in; null = none has come yet. */
  skb: Skb | null = null;
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
  /** The four reserved bits of the header. */
  reserved = 0;
  /** Arena offset of the IP header. */
  network = 0;
  /** Payload: arena offset and bytes. `endSeq` = seq + payload + SYN + FIN. */
  data = 0;
  length = 0;
  endSeq = 0;
  /** Payload bytes of each merged segment (GRO), 0 = it was one segment. */
  gsoSize = 0;
  tos = 0;
  /** Queue that it came in by. */
  cpu = 0;
  /** The device that the socket it is for is bound to; 0 = none, or there is no socket. */
  boundDevIf = 0;

  hasTimestamp = false;
  tsval = 0;
  tsecr = 0;
  /** From a SYN: MSS option or 0; window shift or -1; SACK permitted. */
  mss = 0;
  wscale = -1;
  sackPermitted = false;
  /**
   * Fast Open option of a SYN: bytes of the cookie (0 = one is asked for) or -1, arena offset of
   * the cookie, and whether it is the experimental option.
   */
  foLength = -1;
  foAt = 0;
  foExp = false;
  /** SACK blocks: [left, right) pairs. */
  sackCount = 0;
  readonly sacks: Int32Array = new Int32Array(MAX_SACK_BLOCKS * 2);

  /** Reads the header at `skb.transport`. False: too short or a data offset that does not fit. */
  parse(skb: Skb): boolean {
    const view = skb.view;
    const at = skb.transport;
    const available = skb.end - at;
    if (available < TCP_HEADER_BYTES) return false;
    const words = view.getUint8(at + DATA_OFFSET);
    const headerBytes = (words >>> 4) * 4;
    if (headerBytes < TCP_HEADER_BYTES || headerBytes > available) return false;
    this.skb = skb;
    this.saddr = skb.saddr;
    this.daddr = skb.daddr;
    this.tos = skb.tos;
    this.cpu = skb.cpu;
    this.boundDevIf = 0;
    this.sport = view.getUint16(at + SOURCE);
    this.dport = view.getUint16(at + DEST);
    this.seq = view.getInt32(at + SEQ);
    this.ack = view.getInt32(at + ACK_SEQ);
    this.flags = view.getUint8(at + FLAGS);
    this.reserved = words & 15;
    // Unsigned (RFC 9293 MUST-1).
    this.wnd = view.getUint16(at + WINDOW);
    this.up = view.getUint16(at + URGENT);
    this.network = skb.start;
    this.data = at + headerBytes;
    this.length = available - headerBytes;
    this.endSeq = (this.seq + this.length + ((this.flags & SYN) >> 1) + (this.flags & FIN)) | 0;
    this.gsoSize = skb.gsoSize;
    this.hasTimestamp = false;
    this.mss = 0;
    this.wscale = -1;
    this.sackPermitted = false;
    this.sackCount = 0;
    this.foLength = -1;
    if (headerBytes > TCP_HEADER_BYTES) this.parseOptions(view, at + TCP_HEADER_BYTES, this.data);
    return true;
  }

  /** Of any segment, aligned or not (RFC 9293 MUST-4, MUST-5, MUST-7, MUST-64). */
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

  /** One option; a known kind of a wrong size is ignored, as is all that is unknown (MUST-6). */
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
      case TCPOPT_FASTOPEN:
        if (syn) this.readCookie(at + 2, size - 2, false);
        break;
      case TCPOPT_EXP:
        if (syn && size >= 4 && view.getUint16(at + 2) === TCPOPT_FASTOPEN_MAGIC) {
          this.readCookie(at + 4, size - 4, true);
        }
        break;
    }
  }

  /** A cookie of an odd length makes no option, one of a wrong length an empty-handed one. */
  private readCookie(at: number, length: number, exp: boolean): void {
    if ((length & 1) !== 0) return;
    const fits = length >= COOKIE_LEAST_BYTES && length <= COOKIE_MOST_BYTES;
    this.foLength = fits || length === 0 ? length : -1;
    this.foAt = at;
    this.foExp = exp;
  }

  private readSacks(view: DataView, at: number, count: number): void {
    this.sackCount = Math.min(count, MAX_SACK_BLOCKS);
    for (let i = 0; i < this.sackCount * 2; i++) this.sacks[i] = view.getInt32(at + i * 4);
  }
}
