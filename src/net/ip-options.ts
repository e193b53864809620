/**
 * Options in the IP header of a packet for us (RFC 791 3.1, RFC 1122 3.2.1.8, RFC 9293 MUST-50;
 * Linux net/ipv4/ip_options.c: ip_options_compile): are they well formed? All are skipped but
 * source routes, which a host refuses, as Linux does by default (accept_source_route = 0). Record
 * route and timestamp are neither filled in nor returned.
 */
import { IPHDR_BYTES } from './layout.js';
import type { Skb } from './skb.js';

const IPOPT_END = 0;
const IPOPT_NOOP = 1;
const IPOPT_RR = 7;
const IPOPT_TIMESTAMP = 68;
const IPOPT_LSRR = 131;
const IPOPT_RA = 148;
const IPOPT_SSRR = 137;

/** Answers of `checkOptions` that are no place in the header. */
export const OPTIONS_FINE = 0;
export const OPTIONS_SOURCE_ROUTE = -1;

/** Low bits of a timestamp option's fourth byte. */
const TS_KIND = 0x0f;
const TS_ONLY = 0;
const TS_AND_ADDRESS = 1;
const TS_PRESPECIFIED = 3;
/** High bits: hosts that found no room, at most so many. */
const TS_OVERFLOW_SHIFT = 4;
const TS_OVERFLOW_MAX = 15;

const SEEN_SOURCE_ROUTE = 1;
const SEEN_RECORD_ROUTE = 2;
const SEEN_TIMESTAMP = 4;

/** The SEEN_* bit of an option that there may be one of; 0 for all others. */
function onlyOnce(type: number): number {
  if (type === IPOPT_LSRR || type === IPOPT_SSRR) return SEEN_SOURCE_ROUTE;
  if (type === IPOPT_RR) return SEEN_RECORD_ROUTE;
  return type === IPOPT_TIMESTAMP ? SEEN_TIMESTAMP : 0;
}

/**
 * Walks the options of the packet whose header is [skb.start, skb.transport).
 * @returns OPTIONS_FINE, OPTIONS_SOURCE_ROUTE, or how far from the header's beginning the byte is
 *   that cannot be right
 */
export function checkOptions(skb: Skb): number {
  const { view, transport } = skb;
  let seen = 0;
  for (let at = skb.start + IPHDR_BYTES; at < transport; ) {
    const type = view.getUint8(at);
    if (type === IPOPT_END) {
      // Nothing may hide behind the end, for who quotes the header.
      skb.bytes.fill(0, at, transport);
      break;
    }
    if (type === IPOPT_NOOP) {
      at++;
      continue;
    }
    const bytes = at + 1 < transport ? view.getUint8(at + 1) : 0;
    const kind = onlyOnce(type);
    const misplaced = bytes < 2 || at + bytes > transport || (seen & kind) !== 0;
    const wrong = misplaced ? 0 : optionWrong(skb, at, bytes);
    if (wrong >= 0) return at + wrong - skb.start;
    seen |= kind;
    at += bytes;
  }
  return (seen & SEEN_SOURCE_ROUTE) !== 0 ? OPTIONS_SOURCE_ROUTE : OPTIONS_FINE;
}

/** Which byte of the option of `bytes` bytes at `at` is wrong; -1 = none. */
function optionWrong(skb: Skb, at: number, bytes: number): number {
  switch (skb.view.getUint8(at)) {
    case IPOPT_LSRR:
    case IPOPT_SSRR:
      return pointerWrong(skb, at, bytes, 3, 4);
    case IPOPT_RR:
      return recordRouteWrong(skb, at, bytes);
    case IPOPT_TIMESTAMP:
      return timestampWrong(skb, at, bytes);
    case IPOPT_RA:
      return bytes < 4 ? 1 : -1;
    default:
      return -1;
  }
}

/** An option of at least `least` bytes whose third is a pointer of at least `first`; -1 = right. */
function pointerWrong(skb: Skb, at: number, bytes: number, least: number, first: number): number {
  if (bytes < least) return 1;
  return skb.view.getUint8(at + 2) < first ? 2 : -1;
}

/** Where room is left it must be for a whole address. */
function recordRouteWrong(skb: Skb, at: number, bytes: number): number {
  const wrong = pointerWrong(skb, at, bytes, 3, 4);
  if (wrong >= 0) return wrong;
  const pointer = skb.view.getUint8(at + 2);
  return pointer <= bytes && pointer + 3 > bytes ? 2 : -1;
}

/** Where room is left it must be for a time, with its address if it has one. */
function timestampWrong(skb: Skb, at: number, bytes: number): number {
  const wrong = pointerWrong(skb, at, bytes, 4, 5);
  if (wrong >= 0) return wrong;
  const pointer = skb.view.getUint8(at + 2);
  const flags = skb.view.getUint8(at + 3);
  const kind = flags & TS_KIND;
  if (pointer > bytes) {
    const full = kind !== TS_PRESPECIFIED && flags >>> TS_OVERFLOW_SHIFT === TS_OVERFLOW_MAX;
    return full ? 3 : -1;
  }
  if (pointer + 3 > bytes) return 2;
  if (kind === TS_ONLY || (kind !== TS_AND_ADDRESS && kind !== TS_PRESPECIFIED)) return -1;
  return pointer + 7 > bytes ? 2 : -1;
}
