/**
 * src/net/ring.ts: bytes go in and come out by sequence number, across the wrap of memory and of
 * the number space.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import {
  RING_CAPACITY,
  RING_HEAD,
  RING_LOCK,
  RING_NOTICE,
  RING_PAGE,
  RING_TAIL,
  RING_WAKE,
  ringCopyIn,
  ringCopyOut,
  ringDue,
  ringPlace,
  ringReset,
  ringTryLock,
  ringUnlock,
  ringUsed,
  STACK_LOCK,
} from '../../src/net/ring.js';
import { BLOCK_SND, KIND_TCP, type SocketMemory } from '../../src/net/sockmem.js';
import { makeMem, pattern } from './fixtures.js';

const CAPACITY = 4096;

function makeRing(seq = 0): { mem: SocketMemory; ring: number } {
  const mem = makeMem({ fds: 8, bytes: 1 << 16 });
  const ring = mem.blockAt(mem.allocFd(KIND_TCP)) + BLOCK_SND;
  mem.ctl[ring + RING_PAGE] = mem.allocRing(CAPACITY);
  mem.ctl[ring + RING_CAPACITY] = CAPACITY;
  ringReset(mem.ctl, ring, seq);
  return { mem, ring };
}

describe('net/ring', () => {
  it('reset sets both cursors and clears notices', () => {
    const { mem, ring } = makeRing();
    mem.ctl[ring + RING_NOTICE] = 1;
    ringReset(mem.ctl, ring, -5);
    expect(mem.ctl[ring + RING_HEAD]).to.equal(-5);
    expect(mem.ctl[ring + RING_TAIL]).to.equal(-5);
    expect(mem.ctl[ring + RING_NOTICE]).to.equal(0);
    expect(ringUsed(mem.ctl, ring)).to.equal(0);
  });

  it('used is the distance, also over the wrap of sequence numbers', () => {
    const { mem, ring } = makeRing(0x7ffffff0);
    mem.ctl[ring + RING_TAIL] = (0x7ffffff0 + 100) | 0;
    expect(ringUsed(mem.ctl, ring)).to.equal(100);
  });

  it('is due once the cursor reaches the wake value, and never after a reset', () => {
    const { mem, ring } = makeRing(0x7fffffff);
    for (const ahead of [0, 1, 0x3fffffff]) {
      expect(ringDue(mem.ctl, ring, (0x7fffffff + ahead) | 0)).to.equal(false);
    }
    mem.ctl[ring + RING_WAKE] = (0x7fffffff + 10) | 0;
    expect(ringDue(mem.ctl, ring, (0x7fffffff + 9) | 0)).to.equal(false);
    expect(ringDue(mem.ctl, ring, (0x7fffffff + 10) | 0)).to.equal(true);
    expect(ringDue(mem.ctl, ring, (0x7fffffff + 11) | 0)).to.equal(true);
  });

  it('has one holder at a time', () => {
    const { mem, ring } = makeRing();
    expect(ringTryLock(mem.ctl, ring, STACK_LOCK)).to.equal(true);
    expect(ringTryLock(mem.ctl, ring, 2)).to.equal(false);
    expect(mem.ctl[ring + RING_LOCK]).to.equal(STACK_LOCK);
    ringUnlock(mem.ctl, ring);
    expect(ringTryLock(mem.ctl, ring, 2)).to.equal(true);
  });

  it('what is copied in at a sequence number comes out there', () => {
    fc.assert(
      fc.property(
        fc.integer(),
        fc.integer({ min: 0, max: CAPACITY }),
        fc.nat(30),
        fc.boolean(),
        (seq, length, offset, fromArena) => {
          const { mem, ring } = makeRing(seq);
          const source = pattern(length + offset + 3, seq & 0xff);
          if (fromArena) {
            const from = mem.allocRing(8192) * 4096 + offset;
            mem.bytes.set(source, from);
            ringPlace(mem, ring, seq, from + offset, length);
          } else {
            ringCopyIn(mem, ring, seq, source, offset, length);
          }
          const out = new Uint8Array(length + offset + 2).fill(0xee);
          ringCopyOut(mem, ring, seq, out, offset, length);
          const expected = new Uint8Array(length + offset + 2).fill(0xee);
          expected.set(source.subarray(offset, offset + length), offset);
          expect(Buffer.compare(out, expected)).to.equal(0);
        },
      ),
      { numRuns: 150 },
    );
  });

  it('copies the same from and to an array that is used again', () => {
    const { mem, ring } = makeRing();
    const memory = new Uint8Array(600);
    for (let i = 0; i < memory.length; i++) memory[i] = i * 7;
    const sources = [memory, memory.subarray(13, 500), memory.slice(0, 300)];
    const targets = [new Uint8Array(400), new Uint8Array(500).subarray(5, 320)];
    fc.assert(
      fc.property(fc.infiniteStream(fc.nat(200)), (stream) => {
        const next = (): number => stream.next().value;
        for (let round = 0; round < 20; round++) {
          const [source, target] = [sources[next() % 3]!, targets[next() % 2]!];
          const [seq, from, to, length] = [next() * 41, next() % 99, next() % 99, next()];
          // Twice: the second time there are views of both.
          for (let again = 0; again < 2; again++) {
            target.fill(0xee);
            ringCopyIn(mem, ring, seq, source, from, length);
            ringCopyOut(mem, ring, seq, target, to, length);
            const expected = new Uint8Array(target.length).fill(0xee);
            expected.set(source.subarray(from, from + length), to);
            expect(target).to.deep.equal(expected);
          }
        }
      }),
      { numRuns: 30, seed: 5 },
    );
  });

  it('touches nothing outside its memory', () => {
    const { mem, ring } = makeRing();
    const base = mem.ctl[ring + RING_PAGE]! * 4096;
    mem.bytes.fill(0x11);
    ringCopyIn(mem, ring, CAPACITY - 100, new Uint8Array(200).fill(0x22), 0, 200);
    const touched = [...mem.bytes.keys()].filter((i) => mem.bytes[i] === 0x22);
    expect(touched).to.have.lengthOf(200);
    expect(touched[0]).to.equal(base);
    expect(touched[99]).to.equal(base + 99);
    expect(touched[100]).to.equal(base + CAPACITY - 100);
    expect(touched[199]).to.equal(base + CAPACITY - 1);
  });

  it('out-of-order data keeps its place until the gap is filled', () => {
    const { mem, ring } = makeRing(0x7fffff00);
    const data = pattern(1000);
    const at = (offset: number): number => (0x7fffff00 + offset) | 0;
    ringCopyIn(mem, ring, at(600), data, 600, 400);
    ringCopyIn(mem, ring, at(0), data, 0, 600);
    const out = new Uint8Array(1000);
    ringCopyOut(mem, ring, at(0), out, 0, 1000);
    expect(Buffer.compare(out, data)).to.equal(0);
  });
});
