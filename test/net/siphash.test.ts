/**
 * src/net/siphash.ts against the reference vectors of SipHash-2-4 (key 00..0f, message 00, 01, …).
 */
import { expect } from 'chai';
import { siphash, siphashWords } from '../../src/net/siphash.js';

/** Results as 64-bit numbers in hex, by message length. */
const REFERENCE: readonly string[] = [
  '726fdb47dd0e0e31',
  '74f839c593dc67fd',
  '0d6c8009d9a94f5a',
  '85676696d7fb7e2d',
  'cf2794e0277187b7',
  '18765564cd99a68d',
  'cbc9466e58fee3ce',
  'ab0200f58b01d137',
  '93f5f5799a932462',
  '9e0082df0ba9e4b0',
  '7a5dbbc594ddb9f3',
  'f4b32f46226bada7',
  '751e8fbc860ee5fb',
  '14ea5627c0843d90',
  'f723ca908e7af2ee',
  'a129ca6149be45e5',
];

function wordsOf(bytes: readonly number[]): Int32Array {
  const padded = new Uint8Array((bytes.length + 8) & ~3).fill(0xee);
  padded.set(bytes);
  return new Int32Array(padded.buffer);
}

const counting = (length: number): number[] => Array.from({ length }, (_, i) => i);
const KEY = wordsOf(counting(16)).slice(0, 4);

/** SipHash-2-4 with BigInt, straight from the paper. */
function siphashBigInt(key: readonly number[], message: readonly number[]): bigint {
  const mask = (1n << 64n) - 1n;
  const load = (bytes: readonly number[]): bigint =>
    bytes.reduceRight((word, byte) => (word << 8n) | BigInt(byte), 0n);
  const rotl = (x: bigint, r: bigint): bigint => ((x << r) | (x >> (64n - r))) & mask;
  const k0 = load(key.slice(0, 8));
  const k1 = load(key.slice(8));
  const v = [
    k0 ^ 0x736f6d6570736575n,
    k1 ^ 0x646f72616e646f6dn,
    k0 ^ 0x6c7967656e657261n,
    k1 ^ 0x7465646279746573n,
  ] as [bigint, bigint, bigint, bigint];
  const round = (): void => {
    v[0] = (v[0] + v[1]) & mask;
    v[1] = rotl(v[1], 13n) ^ v[0];
    v[0] = rotl(v[0], 32n);
    v[2] = (v[2] + v[3]) & mask;
    v[3] = rotl(v[3], 16n) ^ v[2];
    v[0] = (v[0] + v[3]) & mask;
    v[3] = rotl(v[3], 21n) ^ v[0];
    v[2] = (v[2] + v[1]) & mask;
    v[1] = rotl(v[1], 17n) ^ v[2];
    v[2] = rotl(v[2], 32n);
  };
  for (let at = 0; at <= message.length; at += 8) {
    const part = message.slice(at, at + 8);
    const last = part.length < 8 ? BigInt(message.length & 0xff) << 56n : 0n;
    const word = load(part) | last;
    v[3] ^= word;
    round();
    round();
    v[0] ^= word;
  }
  v[2] ^= 0xffn;
  for (let i = 0; i < 4; i++) round();
  return v[0] ^ v[1] ^ v[2] ^ v[3];
}

function hex(out: Int32Array): string {
  return [out[1]!, out[0]!].map((word) => (word >>> 0).toString(16).padStart(8, '0')).join('');
}

describe('net/siphash', () => {
  it('equals the reference vectors', () => {
    const out = new Int32Array(2);
    for (const [length, expected] of REFERENCE.entries()) {
      const low = siphashWords(KEY, wordsOf(counting(length)), length, out);
      expect(hex(out), `length ${length}`).to.equal(expected);
      expect(low).to.equal(out[0]);
    }
  });

  it('the four-word form hashes sixteen bytes', () => {
    const out = new Int32Array(2);
    const message = counting(16).map((i) => (i * 37 + 200) & 0xff);
    const [a, b, c, d] = wordsOf(message);
    const low = siphash(KEY, a!, b!, c!, d!, out);
    expect(BigInt(`0x${hex(out)}`)).to.equal(siphashBigInt(counting(16), message));
    expect(siphash(KEY, a!, b!, c!, d!)).to.equal(low);
  });

  it('depends on every word of key and message', () => {
    const base = siphash(KEY, 1, 2, 3, 4);
    for (let i = 0; i < 4; i++) {
      const key = KEY.slice();
      key[i] = key[i]! ^ 1;
      expect(siphash(key, 1, 2, 3, 4)).to.not.equal(base);
      const words = [1, 2, 3, 4].map((word, j) => (i === j ? word ^ 0x8000 : word));
      expect(siphash(KEY, words[0]!, words[1]!, words[2]!, words[3]!)).to.not.equal(base);
    }
  });

  it('equals a 64-bit implementation for random keys and messages', () => {
    let seed = 7;
    const byte = (): number => {
      seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
      return seed >>> 24;
    };
    const out = new Int32Array(2);
    for (let length = 0; length < 70; length++) {
      const key = Array.from({ length: 16 }, byte);
      const message = Array.from({ length }, byte);
      siphashWords(wordsOf(key).slice(0, 4), wordsOf(message), length, out);
      expect(BigInt(`0x${hex(out)}`)).to.equal(siphashBigInt(key, message));
    }
  });
});
