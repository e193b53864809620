/** The numbers that members of a group keep while their indices change. */
import { expect } from 'chai';
import fc from 'fast-check';
import { reuseportDetachSock, reuseportIsClosed } from '../../src/reuseport/group.js';
import { LowestNumber } from '../../src/reuseport/lowest-number.js';
import type { SockCommon } from '../../src/reuseport/sock-common.js';
import { close, ip, listen, listener, makeTables, stop } from './fixtures.js';

const US = ip('198.18.0.1');

describe('reuseport/lowest-number', () => {
  it('is always the lowest that nobody has', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(30), { maxLength: 200 }), (moves) => {
        const numbers = new LowestNumber();
        const taken = new Set<number>();
        for (const move of moves) {
          const victim = [...taken][move];
          if (victim !== undefined) {
            taken.delete(victim);
            numbers.give(victim);
            continue;
          }
          let lowest = 0;
          while (taken.has(lowest)) lowest++;
          expect(numbers.take()).to.equal(lowest);
          taken.add(lowest);
        }
      }),
      { numRuns: 200 },
    );
  });
});

describe('reuseport/group: keys of the members', () => {
  const keys = (socks: SockCommon[]): number[] => socks.map((sk) => sk.reuseportKey);

  it('stay while the last fills a hole; who comes next takes the leaver’s', () => {
    const tables = makeTables();
    const socks = Array.from({ length: 5 }, () => listener(tables, US, 80));
    expect(keys(socks)).to.deep.equal([0, 1, 2, 3, 4]);
    const [a, b, c, d, e] = socks as [SockCommon, SockCommon, SockCommon, SockCommon, SockCommon];
    reuseportDetachSock(b);
    expect([b.reuseportKey, e.reuseportSlot, e.reuseportKey]).to.deep.equal([-1, 1, 4]);
    reuseportDetachSock(a);
    expect(keys([e, c, d])).to.deep.equal([4, 2, 3]);
    const late = [0, 1, 2].map(() => listener(tables, US, 80));
    expect(keys(late)).to.deep.equal([0, 1, 5]);
  });

  it('are given back by a member that only stops, and taken anew when it listens again', () => {
    const tables = makeTables({ migrateReq: true });
    const socks = [0, 1, 2].map(() => listener(tables, US, 80));
    stop(tables, socks[0]!);
    expect(reuseportIsClosed(socks[0]!)).to.equal(true);
    expect(keys(socks)).to.deep.equal([-1, 1, 2]);
    const other = listener(tables, US, 80);
    expect(other.reuseportKey).to.equal(0);
    expect(listen(tables, socks[0]!)).to.equal(0);
    expect(socks[0]!.reuseportKey).to.equal(3);
    for (const sk of [...socks, other]) {
      close(tables, sk);
      reuseportDetachSock(sk);
      expect(sk.reuseportKey).to.equal(-1);
    }
  });

  it('are all different, and below the size that the group once had', () => {
    fc.assert(
      fc.property(fc.array(fc.nat(60), { minLength: 1, maxLength: 60 }), (moves) => {
        const tables = makeTables();
        const socks: SockCommon[] = [];
        let most = 0;
        for (const move of moves) {
          if (move < socks.length) close(tables, socks.splice(move, 1)[0]!);
          else socks.push(listener(tables, US, 80));
          most = Math.max(most, socks.length);
          expect(new Set(keys(socks)).size).to.equal(socks.length);
          if (socks.length > 0) expect(Math.max(...keys(socks))).to.be.below(most);
        }
      }),
      { numRuns: 40 },
    );
  });

  it('cost little: 32,768 members come, every third goes, and others come', () => {
    const tables = makeTables();
    const socks = Array.from({ length: 32_768 }, () => listener(tables, US, 80));
    const leavers = socks.filter((_, i) => i % 3 === 0);
    for (const sk of leavers.toReversed()) close(tables, sk);
    const late = leavers.map(() => listener(tables, US, 80));
    expect(keys(late)).to.deep.equal(leavers.map((_, i) => i * 3));
  });
});
