/**
 * SipHash-2-4 (Aumasson, Bernstein 2012; Linux lib/siphash.c), the keyed hash behind ISNs,
 * timestamps offsets, SYN cookies and connect()'s port offsets. A 64-bit value is a pair of int32
 * words, low word first; a message is a sequence of such words. Keys come from the injected Random;
 * this file keeps no secret.
 */

/** v0..v3 as (low, high) pairs; the core is single-threaded. */
const v: Int32Array = new Int32Array(8);
const scratch: Int32Array = new Int32Array(4);

/** Carry of the 32-bit addition that gave `sum`, one addend being `addend`. */
function carry(sum: number, addend: number): number {
  return sum >>> 0 < addend >>> 0 ? 1 : 0;
}

/** `rounds` SipRounds over `v`. */
function sipRounds(rounds: number): void {
  let v0 = v[0]!;
  let v0h = v[1]!;
  let v1 = v[2]!;
  let v1h = v[3]!;
  let v2 = v[4]!;
  let v2h = v[5]!;
  let v3 = v[6]!;
  let v3h = v[7]!;
  let t = 0;
  for (let i = 0; i < rounds; i++) {
    // v0 += v1; v1 = rotl(v1, 13) ^ v0; v0 = rotl(v0, 32)
    v0 = (v0 + v1) | 0;
    v0h = (v0h + v1h + carry(v0, v1)) | 0;
    t = v1;
    v1 = ((v1 << 13) | (v1h >>> 19)) ^ v0;
    v1h = ((v1h << 13) | (t >>> 19)) ^ v0h;
    t = v0;
    v0 = v0h;
    v0h = t;
    // v2 += v3; v3 = rotl(v3, 16) ^ v2
    v2 = (v2 + v3) | 0;
    v2h = (v2h + v3h + carry(v2, v3)) | 0;
    t = v3;
    v3 = ((v3 << 16) | (v3h >>> 16)) ^ v2;
    v3h = ((v3h << 16) | (t >>> 16)) ^ v2h;
    // v0 += v3; v3 = rotl(v3, 21) ^ v0
    v0 = (v0 + v3) | 0;
    v0h = (v0h + v3h + carry(v0, v3)) | 0;
    t = v3;
    v3 = ((v3 << 21) | (v3h >>> 11)) ^ v0;
    v3h = ((v3h << 21) | (t >>> 11)) ^ v0h;
    // v2 += v1; v1 = rotl(v1, 17) ^ v2; v2 = rotl(v2, 32)
    v2 = (v2 + v1) | 0;
    v2h = (v2h + v1h + carry(v2, v1)) | 0;
    t = v1;
    v1 = ((v1 << 17) | (v1h >>> 15)) ^ v2;
    v1h = ((v1h << 17) | (t >>> 15)) ^ v2h;
    t = v2;
    v2 = v2h;
    v2h = t;
  }
  v[0] = v0;
  v[1] = v0h;
  v[2] = v1;
  v[3] = v1h;
  v[4] = v2;
  v[5] = v2h;
  v[6] = v3;
  v[7] = v3h;
}

/** Mixes the 64-bit message word (low, high) in. */
function compress(low: number, high: number): void {
  v[6] = v[6]! ^ low;
  v[7] = v[7]! ^ high;
  sipRounds(2);
  v[0] = v[0]! ^ low;
  v[1] = v[1]! ^ high;
}

/**
 * Hash of the first `length` bytes of a message given as little-endian words (missing bytes of the
 * last word are not read as data: they are masked away).
 * @param key four words: k0 low, k0 high, k1 low, k1 high
 * @param out when given, [low word, high word] of the hash
 * @returns the low word, int32
 */
export function siphashWords(
  key: Int32Array,
  words: Int32Array,
  length: number,
  out: Int32Array | null = null,
): number {
  v[0] = key[0]! ^ 0x70736575;
  v[1] = key[1]! ^ 0x736f6d65;
  v[2] = key[2]! ^ 0x6e646f6d;
  v[3] = key[3]! ^ 0x646f7261;
  v[4] = key[0]! ^ 0x6e657261;
  v[5] = key[1]! ^ 0x6c796765;
  v[6] = key[2]! ^ 0x79746573;
  v[7] = key[3]! ^ 0x74656462;
  const whole = length >>> 3;
  for (let i = 0; i < whole; i++) compress(words[i * 2]!, words[i * 2 + 1]!);
  // The last word: what is left of the message, and its length in the top byte.
  const tail = length & 7;
  const at = whole * 2;
  const low = tail >= 4 ? words[at]! : tail > 0 ? words[at]! & ((1 << (tail * 8)) - 1) : 0;
  const high = tail > 4 ? words[at + 1]! & ((1 << ((tail - 4) * 8)) - 1) : 0;
  compress(low, high | (length << 24));
  v[4] = v[4]! ^ 0xff;
  sipRounds(4);
  const hash = v[0]! ^ v[2]! ^ v[4]! ^ v[6]!;
  if (out !== null) {
    out[0] = hash;
    out[1] = v[1]! ^ v[3]! ^ v[5]! ^ v[7]!;
  }
  return hash;
}

/** Linux lib/siphash.c: siphash_4u32. Hash of the 16 bytes a, b, c, d; see siphashWords. */
export function siphash(
  key: Int32Array,
  a: number,
  b: number,
  c: number,
  d: number,
  out: Int32Array | null = null,
): number {
  scratch[0] = a;
  scratch[1] = b;
  scratch[2] = c;
  scratch[3] = d;
  return siphashWords(key, scratch, 16, out);
}
