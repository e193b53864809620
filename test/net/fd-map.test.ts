/** src/net/fd-map.ts: POSIX's lowest free descriptor, against a sorted set. */
import { expect } from 'chai';
import fc from 'fast-check';
import { AssertionError } from '../../src/net/assert.js';
import { FdMap, FIRST_FD } from '../../src/net/fd-map.js';

describe('net/fd-map', () => {
  it('begins at 3 and hands out every descriptor once', () => {
    for (const count of [4, 31, 32, 33, 1024, 1025, 32_769]) {
      const map = new FdMap(count);
      for (let fd = FIRST_FD; fd < count; fd++) expect(map.allocLowest()).to.equal(fd);
      expect(map.allocLowest(), `full at ${count}`).to.equal(-1);
      expect(map.inUse).to.equal(count - FIRST_FD);
      map.release(count - 1);
      expect(map.allocLowest()).to.equal(count - 1);
    }
  });

  it('always gives the lowest free one', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 4, max: 1100 }),
        fc.array(fc.nat(1200), { maxLength: 300 }),
        (count, steps) => {
          const map = new FdMap(count);
          const used = new Set<number>();
          for (const step of steps) {
            if (used.has(step)) {
              map.release(step);
              used.delete(step);
            } else {
              let lowest = FIRST_FD;
              while (used.has(lowest)) lowest++;
              const fd = map.allocLowest();
              expect(fd).to.equal(lowest < count ? lowest : -1);
              if (fd >= 0) used.add(fd);
            }
            expect(map.inUse).to.equal(used.size);
          }
        },
      ),
      { numRuns: 60 },
    );
  });

  it('refuses to release what it has not given', () => {
    const map = new FdMap(100);
    const fd = map.allocLowest();
    map.release(fd);
    for (const wrong of [fd, 0, 2, 100, 5000, -1]) {
      expect(() => map.release(wrong), `${wrong}`).to.throw(AssertionError);
    }
    expect(map.inUse).to.equal(0);
    expect(() => new FdMap(3)).to.throw(AssertionError);
  });
});
