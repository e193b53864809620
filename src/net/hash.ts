/**
 * Bob Jenkins' hash as Linux uses it (include/linux/jhash.h) and the range reduction that picks a
 * reuseport member (include/linux/kernel.h: reciprocal_scale). All values are 32-bit patterns held
 * as int32; what a word means (byte order) is the caller's business. Not a keyed hash: for secrets
 * see siphash.ts.
 */

/** Linux: JHASH_INITVAL (0xdeadbeef). */
const JHASH_INITVAL: number = 0xdeadbeef | 0;

/** The three words of state between the rounds of jhash2 and jhash; the core is single-threaded. */
const state: Int32Array = new Int32Array(3);

export function rotl32(x: number, r: number): number {
  return (x << r) | (x >>> (32 - r));
}

/** Linux: __jhash_nwords's final mixing; the hash is the last word. */
function jhashFinal(a: number, b: number, c: number): number {
  c = ((c ^ b) - rotl32(b, 14)) | 0;
  a = ((a ^ c) - rotl32(c, 11)) | 0;
  b = ((b ^ a) - rotl32(a, 25)) | 0;
  c = ((c ^ b) - rotl32(b, 16)) | 0;
  a = ((a ^ c) - rotl32(c, 4)) | 0;
  b = ((b ^ a) - rotl32(a, 14)) | 0;
  return ((c ^ b) - rotl32(b, 24)) | 0;
}

/** Linux: __jhash_mix, on `state` after adding three words of input. */
function jhashMix(word0: number, word1: number, word2: number): void {
  let a = (state[0]! + word0) | 0;
  let b = (state[1]! + word1) | 0;
  let c = (state[2]! + word2) | 0;
  a = ((a - c) | 0) ^ rotl32(c, 4);
  c = (c + b) | 0;
  b = ((b - a) | 0) ^ rotl32(a, 6);
  a = (a + c) | 0;
  c = ((c - b) | 0) ^ rotl32(b, 8);
  b = (b + a) | 0;
  a = ((a - c) | 0) ^ rotl32(c, 16);
  c = (c + b) | 0;
  b = ((b - a) | 0) ^ rotl32(a, 19);
  a = (a + c) | 0;
  c = ((c - b) | 0) ^ rotl32(b, 4);
  b = (b + a) | 0;
  state[0] = a;
  state[1] = b;
  state[2] = c;
}

/** Linux 5.0 include/linux/jhash.h: jhash_3words. */
export function jhash3words(a: number, b: number, c: number, initval: number): number {
  const k = (initval + JHASH_INITVAL + 12) | 0;
  return jhashFinal((a + k) | 0, (b + k) | 0, (c + k) | 0);
}

/** Linux 5.0 include/linux/jhash.h: jhash_2words. */
export function jhash2words(a: number, b: number, initval: number): number {
  const k = (initval + JHASH_INITVAL + 8) | 0;
  return jhashFinal((a + k) | 0, (b + k) | 0, k);
}

/** Linux 5.0 include/linux/jhash.h: jhash_1word. */
export function jhash1word(a: number, initval: number): number {
  const k = (initval + JHASH_INITVAL + 4) | 0;
  return jhashFinal((a + k) | 0, k, k);
}

/** Linux 5.0 include/linux/jhash.h: jhash2. Hash of the first `length` words. */
export function jhash2(words: Int32Array, length: number, initval: number): number {
  const k = (JHASH_INITVAL + (length << 2) + initval) | 0;
  if (length === 0) return k;
  state.fill(k);
  let i = 0;
  for (; length - i > 3; i += 3) jhashMix(words[i]!, words[i + 1]!, words[i + 2]!);
  const left = length - i;
  return jhashFinal(
    (state[0]! + words[i]!) | 0,
    (state[1]! + (left > 1 ? words[i + 1]! : 0)) | 0,
    (state[2]! + (left > 2 ? words[i + 2]! : 0)) | 0,
  );
}

/** Up to four bytes at `at` as a little-endian word; bytes from `end` on count as 0. */
function loadWord(bytes: Uint8Array, at: number, end: number): number {
  let word = 0;
  for (let i = Math.min(4, end - at) - 1; i >= 0; i--) word = (word << 8) | bytes[at + i]!;
  return word;
}

/** Linux 5.0 include/linux/jhash.h: jhash. Hash of bytes [offset, offset + length). */
export function jhash(bytes: Uint8Array, offset: number, length: number, initval: number): number {
  const k = (JHASH_INITVAL + length + initval) | 0;
  if (length === 0) return k;
  state.fill(k);
  const end = offset + length;
  let at = offset;
  for (; end - at > 12; at += 12) {
    jhashMix(loadWord(bytes, at, end), loadWord(bytes, at + 4, end), loadWord(bytes, at + 8, end));
  }
  return jhashFinal(
    (state[0]! + loadWord(bytes, at, end)) | 0,
    (state[1]! + loadWord(bytes, at + 4, end)) | 0,
    (state[2]! + loadWord(bytes, at + 8, end)) | 0,
  );
}

/**
 * Maps a 32-bit hash to 0..n-1 by its high bits: floor(hash * n / 2^32). Linux 5.0
 * include/linux/kernel.h: reciprocal_scale. Exact for every u32 hash and 1 ≤ n < 2^32: the product
 * is split so that it never needs 64 bits.
 */
export function reciprocalScale(hash: number, n: number): number {
  const low = (hash & 0xffff) * n;
  return Math.floor(((hash >>> 16) * n + Math.floor(low / 0x10000)) / 0x10000);
}
