/**
 * Options of outgoing segments, written in Linux's order (tcp_output.c: tcp_synack_options,
 * tcp_established_options, tcp_options_write) so that captures of both look alike. Input is
 * segment.ts's business.
 */
import type { Ranges } from './ranges.js';
import {
  TCPOPT_EXP,
  TCPOPT_FASTOPEN,
  TCPOPT_FASTOPEN_MAGIC,
  TCPOPT_MSS,
  TCPOPT_NOP,
  TCPOPT_SACK,
  TCPOPT_SACK_PERM,
  TCPOPT_TIMESTAMP,
  TCPOPT_WINDOW,
} from './segment.js';
import { after } from './seq.js';

/** Bytes of NOP NOP TIMESTAMP. */
export const TIMESTAMP_BYTES = 12;

/**
 * Writes the options of a SYN or SYN-ACK at `at`; returns the offset behind them. `wscale` < 0:
 * none. The MSS is always there, and only here (RFC 9293 MUST-14, MUST-65, SHLD-5, MAY-3); each
 * option fills whole words by no-operations in front of it (MUST-68, MUST-69).
 */
export function writeSynOptions(
  view: DataView,
  at: number,
  mss: number,
  sackPermitted: boolean,
  timestamps: boolean,
  tsval: number,
  tsecr: number,
  wscale: number,
): number {
  view.setUint16(at, (TCPOPT_MSS << 8) | 4);
  view.setUint16(at + 2, mss);
  at += 4;
  if (timestamps) {
    view.setUint16(
      at,
      sackPermitted ? (TCPOPT_SACK_PERM << 8) | 2 : (TCPOPT_NOP << 8) | TCPOPT_NOP,
    );
    view.setUint16(at + 2, (TCPOPT_TIMESTAMP << 8) | 10);
    view.setInt32(at + 4, tsval);
    view.setInt32(at + 8, tsecr);
    at += 12;
  } else if (sackPermitted) {
    view.setUint32(at, (TCPOPT_NOP << 24) | (TCPOPT_NOP << 16) | (TCPOPT_SACK_PERM << 8) | 2);
    at += 4;
  }
  if (wscale >= 0) {
    view.setUint32(at, (TCPOPT_NOP << 24) | (TCPOPT_WINDOW << 16) | (3 << 8) | wscale);
    at += 4;
  }
  return at;
}

/** Writes the Fast Open option behind all others, padded; returns the offset behind it. */
export function writeFastopen(
  view: DataView,
  at: number,
  cookie: Uint8Array,
  exp: boolean,
): number {
  const bytes = cookie.length + (exp ? 4 : 2);
  view.setUint8(at, exp ? TCPOPT_EXP : TCPOPT_FASTOPEN);
  view.setUint8(at + 1, bytes);
  if (exp) view.setUint16(at + 2, TCPOPT_FASTOPEN_MAGIC);
  const from = at + bytes - cookie.length;
  for (let i = 0; i < cookie.length; i++) view.setUint8(from + i, cookie[i]!);
  const end = at + ((bytes + 3) & ~3);
  for (let pad = at + bytes; pad < end; pad++) view.setUint8(pad, TCPOPT_NOP);
  return end;
}

/** Writes NOP NOP TIMESTAMP; returns the offset behind it. */
export function writeTimestamp(view: DataView, at: number, tsval: number, tsecr: number): number {
  view.setUint32(at, (TCPOPT_NOP << 24) | (TCPOPT_NOP << 16) | (TCPOPT_TIMESTAMP << 8) | 10);
  view.setInt32(at + 4, tsval);
  view.setInt32(at + 8, tsecr);
  return at + TIMESTAMP_BYTES;
}

/**
 * Writes NOP NOP SACK (RFC 2018 4): a D-SACK block first if there is one (RFC 2883; empty when both
 * are equal), then the range that holds `newest`, then the others from the top. Returns the offset
 * behind it (unchanged: nothing to say).
 */
export function writeSack(
  view: DataView,
  at: number,
  ranges: Ranges | null,
  newest: number,
  dsackLeft: number,
  dsackRight: number,
  maxBlocks: number,
): number {
  const begin = at + 4;
  let to = begin;
  const limit = begin + maxBlocks * 8;
  if (after(dsackRight, dsackLeft)) {
    view.setInt32(to, dsackLeft);
    view.setInt32(to + 4, dsackRight);
    to += 8;
  }
  if (ranges !== null) {
    const first = ranges.find(newest);
    if (first >= 0 && to < limit) to = writeBlock(view, to, ranges, first);
    for (let i = ranges.count - 1; i >= 0 && to < limit; i--) {
      if (i !== first) to = writeBlock(view, to, ranges, i);
    }
  }
  if (to === begin) return at;
  view.setUint32(
    at,
    (TCPOPT_NOP << 24) | (TCPOPT_NOP << 16) | (TCPOPT_SACK << 8) | (to - begin + 2),
  );
  return to;
}

function writeBlock(view: DataView, at: number, ranges: Ranges, index: number): number {
  view.setInt32(at, ranges.left(index));
  view.setInt32(at + 4, ranges.right(index));
  return at + 8;
}
