/**
 * src/net/page-allocator.ts: stretches never overlap, are aligned, and merge back to what was
 * there.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { AssertionError } from '../../src/net/assert.js';
import { PageAllocator } from '../../src/net/page-allocator.js';

/** Everything that can be had in single pages. */
function drain(pages: PageAllocator): number {
  let n = 0;
  while (pages.alloc(1) !== 0) n++;
  return n;
}

describe('net/page-allocator', () => {
  it('hands out every page but page 0, lowest first', () => {
    for (const count of [2, 3, 17, 64, 5000, 8192]) {
      const pages = new PageAllocator(count);
      expect(pages.alloc(1)).to.equal(1);
      expect(drain(pages), `${count} pages`).to.equal(count - 2);
      expect(pages.inUse).to.equal(count - 1);
    }
  });

  it('stretches are aligned, disjoint and merge when released', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 2, max: 600 }),
        fc.array(fc.tuple(fc.nat(6), fc.boolean(), fc.nat(1000)), { maxLength: 120 }),
        (count, steps) => {
          const pages = new PageAllocator(count);
          const owner = new Int32Array(count);
          const held: [page: number, size: number][] = [];
          const release = ([page, size]: [number, number]): void => {
            owner.fill(0, page, page + size);
            pages.release(page, size);
          };
          for (const [order, free, pick] of steps) {
            if (free && held.length > 0) {
              release(held.splice(pick % held.length, 1)[0]!);
              continue;
            }
            const size = 2 ** order;
            const page = pages.alloc(size);
            if (page === 0) continue;
            expect(page % size).to.equal(0);
            expect(page + size).to.be.at.most(count);
            expect(owner.subarray(page, page + size).every((x) => x === 0)).to.equal(true);
            owner.fill(1, page, page + size);
            held.push([page, size]);
          }
          expect(pages.inUse).to.equal(owner.reduce((sum, x) => sum + x, 0));
          for (const stretch of held) release(stretch);
          expect(pages.inUse).to.equal(0);
          // Merged: the largest aligned stretch of a fresh arena is there again.
          const largest = 2 ** Math.floor(Math.log2(count - 1));
          const whole = largest * 2 <= count ? largest : largest / 2;
          expect(new PageAllocator(count).alloc(whole)).to.not.equal(0);
          expect(pages.alloc(whole)).to.not.equal(0);
        },
      ),
      { numRuns: 80 },
    );
  });

  it('serves the largest stretch, 16 MiB, and no larger one', () => {
    const pages = new PageAllocator(8192);
    expect(pages.alloc(4096)).to.equal(4096);
    expect(pages.alloc(4096)).to.equal(0);
    expect(() => pages.alloc(8192)).to.throw(AssertionError);
    pages.release(4096, 4096);
    expect(pages.alloc(4096)).to.equal(4096);
  });

  it('does not merge across the 16 MiB limit', () => {
    const pages = new PageAllocator(16_384);
    const stretches = [pages.alloc(4096), pages.alloc(4096), pages.alloc(4096)];
    expect([...stretches].sort((a, b) => a - b)).to.deep.equal([4096, 8192, 12_288]);
    for (const page of stretches) pages.release(page, 4096);
    expect(pages.inUse).to.equal(0);
    expect(pages.alloc(4096)).to.be.oneOf(stretches);
  });

  it('refuses sizes that are no power of two and releases that do not fit', () => {
    const pages = new PageAllocator(64);
    for (const wrong of [0, 3, 0.5, -1]) {
      expect(() => pages.alloc(wrong), `${wrong}`).to.throw(AssertionError);
    }
    const page = pages.alloc(4);
    expect(() => pages.release(page, 2)).to.throw(AssertionError);
    expect(() => pages.release(page + 1, 1)).to.throw(AssertionError);
    pages.release(page, 4);
    expect(() => pages.release(page, 4)).to.throw(AssertionError);
  });
});
