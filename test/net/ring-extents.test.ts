/**
 * src/net/ring-extents.ts: a table against a plain list, over the wrap of sequence numbers and of
 * its own cursors; room, growth of the newest entry, and words that a hostile thread has written.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import {
  EXTENT_BYTES,
  EXTENT_OWNER,
  EXTENT_PLACE,
  EXTENT_SEQ,
  extentAdd,
  extentDrop,
  extentDropAny,
  extentEntry,
  extentExtend,
  extentFind,
  extentSlots,
  extentsInit,
  extentsUsed,
} from '../../src/net/ring-extents.js';
import { PAGE_BYTES, type SocketMemory } from '../../src/net/sockmem.js';
import { makeMem } from './fixtures.js';

function makeTable(bytes = PAGE_BYTES): { mem: SocketMemory; table: number } {
  const mem = makeMem({ fds: 8, bytes: 1 << 18 });
  const table = mem.allocRing(bytes);
  mem.words.fill(0x55555555, table * 1024, table * 1024 + bytes / 4);
  extentsInit(mem, table, bytes);
  return { mem, table };
}

interface Entry {
  seq: number;
  bytes: number;
  place: number;
  owner: number;
}

/** The entry with `cursor`, null = none. */
function read(mem: SocketMemory, table: number, cursor: number): Entry | null {
  const at = extentEntry(mem, table, cursor);
  if (at < 0) return null;
  const word = (index: number) => mem.words[at + index]!;
  return {
    seq: word(EXTENT_SEQ),
    bytes: word(EXTENT_BYTES),
    place: word(EXTENT_PLACE),
    owner: word(EXTENT_OWNER),
  };
}

describe('net/ring-extents', () => {
  it('has room for a power of two of entries', () => {
    expect(extentSlots(PAGE_BYTES)).to.equal(128);
    expect(extentSlots(2 * PAGE_BYTES)).to.equal(256);
    expect(extentSlots(16 << 20)).to.equal(4096);
  });

  it('a fresh table is empty, whatever the memory held', () => {
    const { mem, table } = makeTable();
    expect(extentsUsed(mem, table)).to.equal(0);
    expect(read(mem, table, extentFind(mem, table, 7))).to.equal(null);
    expect(extentDrop(mem, table, 7)).to.equal(-1);
    expect(extentDropAny(mem, table)).to.equal(-1);
  });

  it('finds the entry that ends behind a number, across gaps', () => {
    const { mem, table } = makeTable();
    const base = 0x7ffffff0;
    const seq = (offset: number) => (base + offset) | 0;
    extentAdd(mem, table, seq(100), 50, 4096, 3);
    extentAdd(mem, table, seq(200), 10, 8192, 4);
    const placeFrom = (offset: number) =>
      read(mem, table, extentFind(mem, table, seq(offset)))?.place ?? null;
    expect([0, 99, 100, 149].map(placeFrom)).to.deep.equal([4096, 4096, 4096, 4096]);
    expect([150, 200, 209].map(placeFrom)).to.deep.equal([8192, 8192, 8192]);
    expect(placeFrom(210)).to.equal(null);
  });

  it('takes no more than it has room for, and again once some are dropped', () => {
    const { mem, table } = makeTable();
    for (let i = 0; i < 128; i++) {
      expect(extentAdd(mem, table, i * 10, 10, i, i + 1)).to.equal(true);
    }
    expect(extentAdd(mem, table, 1280, 10, 0, 1)).to.equal(false);
    expect(extentDrop(mem, table, 9)).to.equal(-1);
    expect(extentDrop(mem, table, 10)).to.equal(1);
    expect(extentDrop(mem, table, 10)).to.equal(-1);
    expect(extentAdd(mem, table, 1280, 10, 0, 77)).to.equal(true);
    expect(read(mem, table, extentFind(mem, table, 1280))!.owner).to.equal(77);
  });

  it('only what continues the newest entry makes it longer', () => {
    const { mem, table } = makeTable();
    expect(extentExtend(mem, table, 0, 5, 0, 1)).to.equal(false);
    extentAdd(mem, table, 1000, 100, 4096, 5);
    expect(extentExtend(mem, table, 1101, 5, 4196, 5)).to.equal(false);
    expect(extentExtend(mem, table, 1100, 5, 4197, 5)).to.equal(false);
    expect(extentExtend(mem, table, 1100, 5, 4196, 6)).to.equal(false);
    expect(extentExtend(mem, table, 1100, 5, 4196, 5)).to.equal(true);
    const entry = read(mem, table, extentFind(mem, table, 1104));
    expect(entry).to.deep.equal({ seq: 1000, bytes: 105, place: 4096, owner: 5 });
    expect(extentDrop(mem, table, 1104)).to.equal(-1);
    expect(extentDrop(mem, table, 1105)).to.equal(5);
    // Dropped: a new entry has to be made.
    expect(extentExtend(mem, table, 1105, 5, 4201, 5)).to.equal(false);
  });

  it('does not make an entry longer that is being dropped', () => {
    const { mem, table } = makeTable();
    extentAdd(mem, table, 0, 100, 4096, 5);
    mem.words[extentEntry(mem, table, 0) + EXTENT_BYTES] = 0;
    expect(extentExtend(mem, table, 100, 5, 4196, 5)).to.equal(false);
  });

  it('gives every owner back at the end', () => {
    const { mem, table } = makeTable();
    for (const owner of [9, 8, 7]) extentAdd(mem, table, -owner, 1, 0, owner);
    expect([1, 2, 3, 4].map(() => extentDropAny(mem, table))).to.deep.equal([9, 8, 7, -1]);
  });

  it('is a list in the order of the stream (property)', () => {
    const step = fc.record({
      gap: fc.integer({ min: 0, max: 40_000 }),
      bytes: fc.integer({ min: 1, max: 300_000 }),
      drop: fc.integer({ min: 0, max: 5 }),
    });
    fc.assert(
      fc.property(fc.integer(), fc.array(step, { maxLength: 400 }), (first, steps) => {
        const { mem, table } = makeTable();
        const list: Entry[] = [];
        let seq = first | 0;
        for (const [i, { gap, bytes, drop }] of steps.entries()) {
          seq = (seq + gap) | 0;
          const entry = { seq, bytes, place: i * 3, owner: i };
          const added = extentAdd(mem, table, seq, bytes, entry.place, i);
          expect(added).to.equal(list.length < 128);
          if (added) {
            list.push(entry);
            seq = (seq + bytes) | 0;
          }
          for (let n = 0; n < drop && list.length > 3; n++) {
            const { seq: from, bytes: size, owner } = list.shift()!;
            expect(extentDrop(mem, table, (from + size - 1) | 0)).to.equal(-1);
            expect(extentDrop(mem, table, (from + size) | 0)).to.equal(owner);
          }
          expect(extentsUsed(mem, table)).to.equal(list.length);
          const probe = list[(i * 7) % list.length]!;
          const inside = (probe.seq + (i % probe.bytes)) | 0;
          const cursor = extentFind(mem, table, inside);
          expect(read(mem, table, cursor)).to.deep.equal(probe);
          const next = list[list.indexOf(probe) + 1] ?? null;
          expect(read(mem, table, cursor + 1)).to.deep.equal(next);
        }
      }),
      { numRuns: 30, seed: 1 },
    );
  });

  it('any words at all: reading ends and stays within the arena', () => {
    fc.assert(
      fc.property(fc.array(fc.integer(), { minLength: 48, maxLength: 48 }), (words) => {
        const { mem, table } = makeTable();
        mem.words.set(words, table * 1024);
        for (const seq of words.slice(0, 8)) {
          const at = extentEntry(mem, table, extentFind(mem, table, seq));
          expect(at).to.be.within(-1, mem.words.length - 4);
          expect(extentDrop(mem, table, seq)).to.be.at.least(-1);
        }
        const used = extentsUsed(mem, table);
        expect(used).to.be.within(0, 4096);
        for (let n = 0; n < used; n++) expect(extentDropAny(mem, table)).to.be.at.least(0);
      }),
      { numRuns: 50, seed: 2 },
    );
  });
});
