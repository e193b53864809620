/** Chains of cells: strings of any size come back as they were, and memory is used again. */
import { expect } from 'chai';
import fc from 'fast-check';
import { CELL_BYTES, CellStore, cellWords } from '../../src/net/cell-store.js';

const MOST = 200;

function words(seed: number): Int32Array {
  return Int32Array.from({ length: cellWords(MOST) }, (_, i) => Math.imul(seed + 1, i + 7));
}

describe('cell store', () => {
  it('gives back what was put, whatever came and went meanwhile', () => {
    const step = fc.record({ put: fc.boolean(), bytes: fc.integer({ min: 1, max: MOST }) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
        const store = new CellStore();
        const kept: { id: number; seed: number; bytes: number }[] = [];
        const take = (at: number): void => {
          const { id, seed, bytes } = kept.splice(at, 1)[0]!;
          const out = new Int32Array(cellWords(MOST));
          store.remove(id, out);
          const used = Math.ceil(bytes / 4);
          expect([...out.subarray(0, used)]).to.deep.equal([...words(seed).subarray(0, used)]);
        };
        for (const [seed, { put, bytes }] of steps.entries()) {
          if (put) kept.push({ id: store.put(words(seed), bytes), seed, bytes });
          else if (kept.length > 0) take(bytes % kept.length);
          const cells = kept.reduce((sum, { bytes }) => sum + Math.ceil(bytes / 28), 0);
          expect(store.inUse).to.equal(cells);
        }
        while (kept.length > 0) take(0);
        expect(store.bytes).to.equal(0);
      }),
      { numRuns: 30, seed: 5 },
    );
  });

  it('grows by chunks, and gives them back when nothing is left', () => {
    const store = new CellStore();
    const ids = Array.from({ length: 5000 }, (_, i) => store.put(words(i), 28));
    expect(store.bytes).to.equal(3 * 2048 * CELL_BYTES);
    expect(new Set(ids).size).to.equal(5000);
    const out = new Int32Array(cellWords(28));
    for (const id of ids) store.remove(id, out);
    expect([...out]).to.deep.equal([...words(4999).subarray(0, 7)]);
    expect(store.bytes).to.equal(0);
    expect(store.put(words(1), 1)).to.be.above(0);
  });
});
