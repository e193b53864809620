/**
 * The Internet checksum (RFC 1071, RFC 1624). A running sum is a 16-bit one's complement sum of
 * big-endian words; it can be carried over pieces in any number, at any alignment and of odd
 * length. Words are read little-endian, whose sum is the byte-swapped big-endian sum (RFC 1071 2
 * (B)), and swapped once at the end. Nothing allocates.
 */
import { CHECKSUM_NONE, type Skb } from './skb.js';

/** Most bytes summed without folding: 2^19 words of 32 bits; a double is exact up to 2^21. */
const BLOCK_BYTES: number = 2 << 20;
const TWO_32 = 2 ** 32;

/** Folds a sum of 16-bit words (any int32 ≥ 0) to 16 bits with end-around carry. */
function fold(sum: number): number {
  sum = (sum & 0xffff) + (sum >>> 16);
  return (sum & 0xffff) + (sum >>> 16);
}

function swap16(sum: number): number {
  return ((sum & 0xff) << 8) | (sum >>> 8);
}

/**
 * Sum of little-endian 16-bit words of at most BLOCK_BYTES bytes, folded; an odd last byte is
 * padded with 0. Words of 32 bits are added as doubles: their carries stay above 2^32, and a
 * conversion costs less than taking both halves of a word apart.
 */
function sumBlock(view: DataView, at: number, end: number): number {
  let sum = 0;
  for (; at + 16 <= end; at += 16) {
    const a = view.getUint32(at, true) + view.getUint32(at + 4, true);
    const b = view.getUint32(at + 8, true) + view.getUint32(at + 12, true);
    sum += a + b;
  }
  for (; at + 2 <= end; at += 2) sum += view.getUint16(at, true);
  if (at < end) sum += view.getUint8(at);
  // Of a double `| 0` takes the low 32 bits; what is above them is below 2^20. Only int32 goes to
  // fold: a larger number would be an object on the heap wherever the call is not inlined.
  const low = sum | 0;
  return fold((low & 0xffff) + (low >>> 16) + ((sum / TWO_32) | 0));
}

/**
 * Adds bytes [offset, offset + length) of `view` to the running sum `sum` (0..0xffff) and returns
 * the new one. The first byte is the high byte of a word; only the last piece of a checksum may
 * have an odd length (else see `checksumAddOdd`).
 */
export function checksumPartial(
  view: DataView,
  offset: number,
  length: number,
  sum: number,
): number {
  const end = offset + length;
  let little = 0;
  while (end - offset > BLOCK_BYTES) {
    little = fold(little + sumBlock(view, offset, offset + BLOCK_BYTES));
    offset += BLOCK_BYTES;
  }
  little = fold(little + sumBlock(view, offset, end));
  return fold(sum + swap16(little));
}

/**
 * The same for a piece that begins at an odd distance from the start: its first byte is the low
 * byte of a word.
 */
export function checksumAddOdd(
  view: DataView,
  offset: number,
  length: number,
  sum: number,
): number {
  return fold(sum + swap16(checksumPartial(view, offset, length, 0)));
}

/** The value for a checksum field: the complement. 0 when the sum covers a correct checksum. */
export function checksumFold(sum: number): number {
  return ~fold(sum) & 0xffff;
}

/**
 * Running sum of the IPv4 pseudo-header (RFC 9293 3.1, RFC 768); `length` = transport header and
 * data, bytes.
 */
export function pseudoSum(saddr: number, daddr: number, protocol: number, length: number): number {
  const addresses = (saddr >>> 16) + (saddr & 0xffff) + (daddr >>> 16) + (daddr & 0xffff);
  return fold(addresses + protocol + (length & 0xffff) + (length >>> 16));
}

/**
 * Running sum over a whole skb from arena offset `from` (inside the linear part or at its end) on:
 * the rest of the linear part, then all fragments, whatever their lengths.
 */
export function skbChecksum(skb: Skb, from: number, initial: number): number {
  const linear = skb.end - from;
  let sum = checksumPartial(skb.view, from, linear, initial);
  if (skb.fragmentBytes === 0) return sum;
  let at = linear;
  for (let i = 0; i < skb.fragments; i++) {
    const bytes = skb.size(i);
    if (bytes === 0) continue;
    const add = (at & 1) === 0 ? checksumPartial : checksumAddOdd;
    sum = add(skb.view, skb.place(i), bytes, sum);
    at += bytes;
  }
  return sum;
}

/**
 * Completes in software a checksum that was left to the link: the field holds the pseudo-header sum
 * (Linux net/core/dev.c: skb_checksum_help).
 */
export function skbChecksumHelp(skb: Skb): void {
  const check = checksumFold(skbChecksum(skb, skb.csumStart, 0));
  skb.view.setUint16(skb.csumStart + skb.csumOffset, check);
  skb.ipSummed = CHECKSUM_NONE;
}

/**
 * New value of a checksum field after one 16-bit word that it covers changed from `from` to `to`
 * (RFC 1624, eqn. 3).
 */
export function checksumUpdate(check: number, from: number, to: number): number {
  return checksumFold((~check & 0xffff) + (~from & 0xffff) + to);
}
