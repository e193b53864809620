/**
 * src/net/hash.ts against vectors compiled from the kernel's jhash.h, and reciprocal_scale against
 * exact arithmetic.
 */
import { readFileSync } from 'node:fs';
import { expect } from 'chai';
import fc from 'fast-check';
import {
  jhash,
  jhash1word,
  jhash2,
  jhash2words,
  jhash3words,
  reciprocalScale,
  rotl32,
} from '../../src/net/hash.js';

interface Vectors {
  jhash_bytes: { hex: string; initval: number; hash: number }[];
  jhash2: { words: number[]; initval: number; hash: number }[];
  jhash_nwords: {
    a: number;
    b: number;
    c: number;
    initval: number;
    jhash_1word: number;
    jhash_2words: number;
    jhash_3words: number;
  }[];
  reciprocal_scale: { v: number; n: number; r: number }[];
}

const vectors: Vectors = JSON.parse(
  readFileSync(`${process.cwd()}/test/vectors/hash-vectors.json`, 'utf8'),
);

describe('net/hash', () => {
  it('jhash of byte strings equals the kernel’s, at any alignment', () => {
    expect(vectors.jhash_bytes).to.have.lengthOf(40);
    for (const { hex, initval, hash } of vectors.jhash_bytes) {
      const bytes = Buffer.from(hex, 'hex');
      for (const offset of [0, 3]) {
        const padded = new Uint8Array(offset + bytes.length + 7).fill(0xa5);
        padded.set(bytes, offset);
        expect(jhash(padded, offset, bytes.length, initval | 0) >>> 0, hex).to.equal(hash);
      }
    }
  });

  it('jhash2 equals the kernel’s', () => {
    expect(vectors.jhash2).to.have.lengthOf(15);
    for (const { words, initval, hash } of vectors.jhash2) {
      const input = Int32Array.from([...words, 0x5a5a5a5a], (word) => word | 0);
      expect(jhash2(input, words.length, initval | 0) >>> 0).to.equal(hash);
    }
  });

  it('jhash of one, two and three words equals the kernel’s', () => {
    expect(vectors.jhash_nwords).to.have.lengthOf(40);
    for (const vector of vectors.jhash_nwords) {
      const [a, b, c, initval] = [vector.a | 0, vector.b | 0, vector.c | 0, vector.initval | 0];
      expect(jhash1word(a, initval) >>> 0).to.equal(vector.jhash_1word);
      expect(jhash2words(a, b, initval) >>> 0).to.equal(vector.jhash_2words);
      expect(jhash3words(a, b, c, initval) >>> 0).to.equal(vector.jhash_3words);
    }
  });

  it('jhash2 of up to three words is the n-word form', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer(), { minLength: 3, maxLength: 3 }),
        fc.integer(),
        ([a, b, c], initval) => {
          const words = Int32Array.of(a!, b!, c!);
          expect(jhash2(words, 1, initval)).to.equal(jhash1word(a!, initval));
          expect(jhash2(words, 2, initval)).to.equal(jhash2words(a!, b!, initval));
          expect(jhash2(words, 3, initval)).to.equal(jhash3words(a!, b!, c!, initval));
        },
      ),
      { numRuns: 100 },
    );
  });

  it('all results are int32', () => {
    expect(jhash3words(-1, -1, -1, -1)).to.satisfy((x: number) => x === (x | 0));
    expect(rotl32(0x40000000, 1)).to.equal(-0x80000000);
    expect(rotl32(1 << 31, 1)).to.equal(1);
  });

  it('reciprocal_scale equals the kernel’s', () => {
    expect(vectors.reciprocal_scale).to.have.lengthOf(104);
    for (const { v, n, r } of vectors.reciprocal_scale) {
      expect(reciprocalScale(v, n), `${v} * ${n}`).to.equal(r);
      expect(reciprocalScale(v | 0, n), `${v | 0} * ${n}`).to.equal(r);
    }
  });

  it('reciprocal_scale is exact for every 32-bit value and range', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 0, max: 0xffffffff }),
        fc.integer({ min: 1, max: 0xffffffff }),
        (v, n) => {
          expect(reciprocalScale(v | 0, n)).to.equal(Number((BigInt(v) * BigInt(n)) >> 32n));
        },
      ),
      { numRuns: 300 },
    );
  });
});
