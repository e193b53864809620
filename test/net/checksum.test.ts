/** src/net/checksum.ts against a naive implementation, RFC 1071's example and RFC 1624. */
import { expect } from 'chai';
import fc from 'fast-check';
import {
  checksumAddOdd,
  checksumFold,
  checksumPartial,
  checksumUpdate,
  pseudoSum,
  skbChecksum,
  skbChecksumHelp,
} from '../../src/net/checksum.js';
import { CHECKSUM_NONE, CHECKSUM_PARTIAL } from '../../src/net/skb.js';
import { address, makeNet, naiveChecksum, pattern, skbBytes } from './fixtures.js';

const viewOf = (bytes: Uint8Array): DataView =>
  new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

describe('net/checksum', () => {
  it('RFC 1071 section 3: 00 01 f2 03 f4 f5 f6 f7 sums to ddf2', () => {
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    expect(checksumPartial(viewOf(bytes), 0, 8, 0)).to.equal(0xddf2);
    expect(checksumFold(0xddf2)).to.equal(0x220d);
  });

  it('equals the naive sum at every offset and length', () => {
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 0, maxLength: 300 }),
        fc.nat(20),
        fc.nat(300),
        (bytes, offset, length) => {
          offset = Math.min(offset, bytes.length);
          length = Math.min(length, bytes.length - offset);
          const part = bytes.subarray(offset, offset + length);
          const sum = checksumPartial(viewOf(bytes), offset, length, 0);
          expect(checksumFold(sum)).to.equal(naiveChecksum(part));
        },
      ),
      { numRuns: 400 },
    );
  });

  /** Sum of the big-endian words of [at, at + length), byte by byte; 0 only for zeros. */
  const plainSums = (bytes: Uint8Array, at: number, most: number): number[] => {
    const sums = [0];
    let sum = 0;
    for (let n = 0; n < most; n++) {
      sum += bytes[at + n]! * (n % 2 === 0 ? 256 : 1);
      sums.push(sum === 0 ? 0 : ((sum - 1) % 0xffff) + 1);
    }
    return sums;
  };

  it('is right for all lengths to 4096 from all alignments: noise, ones, zeros', () => {
    for (const bytes of [pattern(4112, 5), new Uint8Array(4112).fill(0xff), new Uint8Array(4112)]) {
      for (const at of [0, 1, 2, 3, 7, 15]) {
        const sums = plainSums(bytes, at, 4096);
        const view = viewOf(bytes);
        const wrong = sums.findIndex((sum, n) => checksumPartial(view, at, n, 0) !== sum);
        expect(wrong, `from ${at}: first wrong length`).to.equal(-1);
      }
    }
  });

  it('is right for a stretch of a ring that wraps anywhere', () => {
    const ring = pattern(1024, 11);
    const view = viewOf(ring);
    for (let at = 0; at < 1024; at += 13) {
      const turned = Uint8Array.from([...ring.subarray(at), ...ring.subarray(0, at)]);
      const sums = plainSums(turned, 0, 1024);
      for (const length of [1024 - at, Math.min(1024, 1025 - at), 1023, 1024]) {
        const first = Math.min(length, 1024 - at);
        const add = first % 2 === 0 ? checksumPartial : checksumAddOdd;
        const sum = add(view, 0, length - first, checksumPartial(view, at, first, 0));
        expect(sum, `${length} from ${at}`).to.equal(sums[length]);
      }
    }
  });

  it('does not overflow on large buffers of ones', () => {
    const block = 2 << 20;
    for (const length of [65_535, 65_536, 65_537, block - 1, block, block + 1, 2 * block + 3]) {
      const bytes = new Uint8Array(length + 1).fill(0xff);
      for (const offset of [0, 1]) {
        const sum = checksumPartial(viewOf(bytes), offset, length, 0xffff);
        // Every word is all ones, which is zero in one's complement; an odd last byte is 0xff00.
        expect(sum, `${length}`).to.equal(length % 2 === 0 ? 0xffff : 0xff00);
      }
    }
  });

  it('an odd piece is continued by checksumAddOdd', () => {
    const bytes = pattern(101, 7);
    for (let cut = 1; cut < 101; cut += 2) {
      let sum = checksumPartial(viewOf(bytes), 0, cut, 0);
      sum = checksumAddOdd(viewOf(bytes), cut, 101 - cut, sum);
      expect(checksumFold(sum)).to.equal(naiveChecksum(bytes));
    }
  });

  it('skbChecksum joins linear part and fragments of any length', () => {
    const skb = makeNet().inputSkbs.alloc()!;
    const noise = pattern(4096, 3);
    skb.bytes.set(noise, skb.base + 1000);
    fc.assert(
      fc.property(fc.nat(50), fc.nat(50), fc.nat(50), fc.nat(9), (linear, bytes0, bytes1, skip) => {
        skb.start = skb.base + 1000 + (linear & 3);
        skb.end = skb.start + skip + linear;
        skb.frag0Bytes = skb.frag1Bytes = 0;
        skb.addFragment(skb.base + 1501, bytes0);
        skb.addFragment(skb.base + 2000, bytes1);
        // Beyond two, of odd lengths and at odd places.
        if (bytes0 > 0 && bytes1 > 0 && skb.fragments < 8) skb.addFragment(skb.base + 2101, linear);
        const expected = naiveChecksum(skbBytes(skb).subarray(skip));
        expect(checksumFold(skbChecksum(skb, skb.start + skip, 0))).to.equal(expected);
      }),
      { numRuns: 300 },
    );
  });

  it('pseudoSum is the sum of the pseudo-header', () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.integer(),
        fc.nat(255),
        fc.nat(0xffff),
        (saddr, daddr, protocol, length) => {
          const header = Buffer.alloc(12);
          header.writeInt32BE(saddr, 0);
          header.writeInt32BE(daddr, 4);
          header[9] = protocol;
          header.writeUInt16BE(length, 10);
          const sum = pseudoSum(saddr, daddr, protocol, length);
          expect(checksumFold(sum)).to.equal(naiveChecksum(header));
        },
      ),
      { numRuns: 100 },
    );
    expect(pseudoSum(address('255.255.255.255'), -1, 255, 0xffff)).to.be.within(0, 0xffff);
    expect(pseudoSum(0, 0, 6, 0x10001)).to.equal(8);
  });

  it('skbChecksumHelp completes what was left to the link', () => {
    const skb = makeNet().outputSkbs.alloc()!;
    const bytes = pattern(61);
    bytes[6] = bytes[7] = 0;
    skb.bytes.set(bytes, skb.start);
    skb.end = skb.start + 61;
    const pseudo = pseudoSum(address('198.18.0.1'), address('198.18.0.254'), 17, 61);
    skb.view.setUint16(skb.start + 6, pseudo);
    skb.ipSummed = CHECKSUM_PARTIAL;
    skb.csumStart = skb.start;
    skb.csumOffset = 6;
    skbChecksumHelp(skb);
    expect(skb.ipSummed).to.equal(CHECKSUM_NONE);
    expect(checksumFold(skbChecksum(skb, skb.start, pseudo))).to.equal(0);
  });

  it('RFC 1624: an incremental update equals the sum made anew', () => {
    // The example of RFC 1624 section 4.
    expect(checksumUpdate(0xdd2f, 0x5555, 0x3285)).to.equal(0x0000);
    fc.assert(
      fc.property(
        fc.uint8Array({ minLength: 8, maxLength: 40 }),
        fc.nat(0xffff),
        fc.nat(3),
        (bytes, to, word) => {
          bytes[0] = 1; // a sum of zero words only has two forms
          if (word === 0) to |= 0x100;
          const was = naiveChecksum(bytes);
          const view = viewOf(bytes);
          const from = view.getUint16(word * 2);
          view.setUint16(word * 2, to);
          expect(checksumUpdate(was, from, to)).to.equal(naiveChecksum(bytes));
        },
      ),
      { numRuns: 200 },
    );
  });
});
