/** src/reuseport/decision-json.ts: what is printed is enough to compute the choice again. */
import { expect } from 'chai';
import fc from 'fast-check';
import { jhash3words, reciprocalScale } from '../../src/net/hash.js';
import { Decision } from '../../src/reuseport/decision.js';
import {
  type Explanation,
  explain,
  type HashInput,
  withWorkers,
} from '../../src/reuseport/decision-json.js';
import { inetLookup } from '../../src/reuseport/lookup.js';
import type { SockCommon } from '../../src/reuseport/sock-common.js';
import { accept, ip, listener, makeTables, packet } from './fixtures.js';

/** By hand, from nothing but what was printed. */
function again({ words, plus }: HashInput, secret: number): number {
  const [a, b, c] = words;
  return (plus + jhash3words(a | 0, b | 0, c | 0, secret | 0)) >>> 0;
}

const ADDRESSES = ['0.0.0.0', '198.18.0.1', '198.18.0.2'].map(ip);
const PORTS = [80, 443];

describe('reuseport/decision-json', () => {
  it('names the winner of the lookup, and its numbers can be checked', () => {
    const anyListen = fc.record({
      address: fc.constantFrom(...ADDRESSES),
      port: fc.constantFrom(...PORTS),
      count: fc.integer({ min: 1, max: 5 }),
    });
    const scenario = fc.record({
      profile: fc.constantFrom('5.0' as const, '6.18' as const),
      seed: fc.integer(),
      listens: fc.array(anyListen, { maxLength: 4 }),
      saddr: fc.integer(),
      sport: fc.integer({ min: 1, max: 65535 }),
      daddr: fc.constantFrom(...ADDRESSES.slice(1)),
      dport: fc.constantFrom(...PORTS, 81),
      established: fc.boolean(),
    });
    fc.assert(
      fc.property(scenario, ({ profile, seed, listens, saddr, sport, daddr, dport, ...rest }) => {
        const tables = makeTables({ profile, seed });
        const socks: SockCommon[] = [];
        for (const { address, port, count } of listens) {
          for (let i = 0; i < count; i++) socks.push(listener(tables, address, port));
        }
        if (rest.established && socks.length > 0 && socks[0]!.num === dport) {
          accept(tables, socks[0]!, daddr, saddr, sport);
        }
        const plain = inetLookup(tables, saddr, sport, daddr, dport, 1, packet());
        const plainHash = tables.phash >>> 0;
        const decision = new Decision();
        tables.decision = decision;
        expect(inetLookup(tables, saddr, sport, daddr, dport, 1, packet())).to.equal(plain);
        const fdOf = (sk: SockCommon): number => socks.indexOf(sk);
        const e = explain(decision, (sk) => ({ fd: fdOf(sk), thread: null, worker: null }));
        expect(e.winner?.fd ?? null).to.equal(plain === null ? null : fdOf(plain));
        expect(again(e.hashInput!, e.secret)).to.equal(e.hash);
        expect(e.buckets.established).to.equal(e.hash! % e.buckets.ofEstablished);
        if (e.group === null) {
          expect([e.phash, e.index]).to.deep.equal([null, null]);
          return;
        }
        expect(again(e.group, e.secret)).to.equal(e.phash).and.to.equal(plainHash);
        expect(reciprocalScale(e.phash! | 0, e.group.members)).to.equal(e.index);
        expect(e.group.byHash).to.equal(e.index);
        expect(e.group.sockets[e.index!]!.fd).to.equal(e.winner!.fd);
      }),
      { numRuns: 200 },
    );
  });

  it('survives JSON, and takes other numbers for the workers', () => {
    const tables = makeTables();
    const socks = [0, 1, 2].map(() => listener(tables, 0, 80));
    tables.decision = new Decision();
    inetLookup(tables, ip('10.0.0.2'), 40000, ip('10.0.0.1'), 80, 1, packet());
    const e = explain(tables.decision, (sk) => {
      const i = socks.indexOf(sk);
      return { fd: i + 3, thread: i === 0 ? null : i, worker: i - 1 };
    });
    expect(JSON.parse(JSON.stringify(e)) as Explanation).to.deep.equal(e);
    const renamed = withWorkers(e, (thread) => thread + 10);
    expect(renamed.group!.sockets.map((socket) => socket.worker)).to.deep.equal([null, 11, 12]);
    expect(renamed.winner!.worker).to.equal(renamed.group!.sockets[e.index!]!.worker);
    const nobody = withWorkers({ ...e, group: null, winner: null }, () => null);
    expect([nobody.group, nobody.winner]).to.deep.equal([null, null]);
    expect(nobody.candidates[0]!.worker).to.equal(null);
  });
});
