/** src/reuseport/ehash.ts: the flow hash against kernel vectors, the table against a Map. */
import { expect } from 'chai';
import fc from 'fast-check';
import { AssertionError } from '../../src/net/assert.js';
import { reciprocalScale } from '../../src/net/hash.js';
import { Ehash, inetEhashfn, inetEhashInsert, inetEhashRemove } from '../../src/reuseport/ehash.js';
import type { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import { inetLookupEstablished } from '../../src/reuseport/lookup.js';
import { SK_REQUEST, type SockCommon } from '../../src/reuseport/sock-common.js';
import { ip, makeTables, readVectors, sock } from './fixtures.js';

const vectors = readVectors();

describe('reuseport/ehash: inetEhashfn', () => {
  it('equals the kernel on every vector, in both forms', () => {
    expect(vectors).to.have.lengthOf(185);
    for (const v of vectors) {
      const options = { hashMix: v.netmix, secret: v.secret, buckets: 16 };
      const old = makeTables({ ...options, profile: '5.0' });
      const now = makeTables({ ...options, profile: '6.18' });
      const [local, remote] = [ip(v.daddr), ip(v.saddr)];
      const cases = [
        [inetEhashfn(old, local, v.dport, remote, v.sport), v.hash, v.scale],
        [inetEhashfn(old, 0, v.dport, remote, v.sport), v.hash_any, v.scale_any],
        [inetEhashfn(now, local, v.dport, remote, v.sport), v.hash_6_15, v.scale_6_15],
        [inetEhashfn(now, 0, v.dport, remote, v.sport), v.hash_any_6_15, v.scale_any_6_15],
      ] as const;
      for (const [actual, hash, scale] of cases) {
        expect(actual).to.equal(actual | 0);
        expect(actual >>> 0).to.equal(hash);
        expect(scale.map((_, i) => reciprocalScale(actual, i + 1))).to.deep.equal(scale);
      }
    }
  });

  it('gives the documented values for 10.0.0.2:40000 -> 10.0.0.1:80 without secrets', () => {
    const hashes = (['5.0', '6.18'] as const).flatMap((profile) => {
      const tables = makeTables({ profile, hashMix: 0, secret: 0 });
      return [ip('10.0.0.1'), 0].map((l) => inetEhashfn(tables, l, 80, ip('10.0.0.2'), 40000));
    });
    expect(hashes.map((h) => h >>> 0)).to.deep.equal([
      3145812443, 2622597228, 1738216176, 3702459360,
    ]);
    expect(hashes.map((h) => reciprocalScale(h, 4))).to.deep.equal([2, 2, 1, 3]);
  });

  it('moves by one with the destination port in the 6.15 form only', () => {
    const step = (profile: '5.0' | '6.18'): number => {
      const tables = makeTables({ profile });
      const at = (port: number): number => inetEhashfn(tables, ip('10.0.0.1'), port, 7, 40000);
      return (at(81) - at(80)) | 0;
    };
    expect(step('6.18')).to.equal(1);
    expect(step('5.0')).not.to.equal(1);
  });

  it('depends on secret + hash_mix modulo 2^32 alone', () => {
    const hash = (secret: number, hashMix: number): number =>
      inetEhashfn(makeTables({ secret, hashMix }), 1, 2, 3, 4);
    expect(hash(0xffffffff, 5)).to.equal(hash(2, 2));
    expect(hash(0xffffffff, 5)).not.to.equal(hash(2, 3));
  });
});

/** Four connections, each with twins bound to no device and to devices 1 and 2. */
function connection(key: number): SockCommon {
  const remote = [ip('10.0.0.1'), ip('200.1.2.3')][key & 1]!;
  const local = [ip('198.18.0.1'), ip('198.18.0.2')][(key >> 1) & 1]!;
  return sock({ daddr: remote, dport: 40000 + (key >> 2), rcvSaddr: local, num: 80 });
}

const KEYS = 24;
const MAX = 20;

/** Size, lookups of every key, and iteration agree with `model`. */
function expectSame(tables: InetHashinfo, model: ReadonlyMap<number, SockCommon>): void {
  expect(tables.ehash.size).to.equal(model.size);
  expect(tables.ehash.full).to.equal(model.size === MAX);
  for (let key = 0; key < KEYS; key++) {
    const { daddr, dport, rcvSaddr, num } = connection(key);
    expect(inetLookupEstablished(tables, daddr, dport, rcvSaddr, num, 1)).to.equal(
      model.get(key) ?? null,
    );
  }
  const all: SockCommon[] = [];
  tables.ehash.forEach((sk) => void all.push(sk));
  expect(all).to.have.members([...model.values()]);
}

describe('reuseport/ehash: the table', () => {
  it('behaves as a Map under random insert, remove and replace', () => {
    const step = fc.record({
      op: fc.constantFrom('insert', 'insert', 'remove', 'replace'),
      key: fc.nat(KEYS - 1),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80, size: 'max' }), fc.integer(), (steps, secret) => {
        const tables = makeTables({ buckets: 16, maxEntries: MAX, secret: secret >>> 0 });
        const model = new Map<number, SockCommon>();
        for (const { op, key } of steps) {
          const present = model.get(key);
          if (op === 'insert') {
            const sk = connection(key);
            const ok = present === undefined && model.size < MAX;
            expect(inetEhashInsert(tables, sk, null)).to.equal(ok);
            expect(sk.ehashSlot >= 0).to.equal(ok);
            if (ok) model.set(key, sk);
          } else if (present !== undefined && op === 'remove') {
            inetEhashRemove(tables, present);
            model.delete(key);
            expect(present.ehashSlot).to.equal(-1);
          } else if (present !== undefined) {
            const sk = connection(key);
            expect(inetEhashInsert(tables, sk, present)).to.equal(true);
            expect(inetEhashInsert(tables, connection(key), present)).to.equal(false);
            model.set(key, sk);
          }
        }
        expectSame(tables, model);
      }),
      { numRuns: 150 },
    );
  });

  it('stores the flow hash in the socket and knows its bucket', () => {
    const tables = makeTables({ buckets: 64 });
    const sk = connection(5);
    inetEhashInsert(tables, sk, null);
    expect(sk.hash).to.equal(inetEhashfn(tables, sk.rcvSaddr, 80, sk.daddr, sk.dport));
    expect(tables.ehash.bucketOf(sk.hash)).to.equal((sk.hash >>> 0) % 64);
    expect(tables.ehash.buckets).to.equal(64);
  });

  it('keeps its chains, newest first, whatever hashes come while buckets are added', () => {
    // Few values, so that chains are long and whole hashes are shared; with and without upper bits.
    const hash = fc.constantFrom(
      0,
      1,
      17,
      0x0100_0001,
      -1,
      0x7fff_ffff,
      16,
      32,
      48,
      0xff00_0010 | 0,
    );
    const step = fc.record({ hash, port: fc.nat(3), remove: fc.boolean(), dev: fc.nat(1) });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120, size: 'max' }), (steps) => {
        const ehash = new Ehash(2, 1000);
        /** Newest first. */
        const model: SockCommon[] = [];
        const firstLike = (like: { hash: number; port: number }): SockCommon | null =>
          model.find((sk) => sk.hash === like.hash && sk.dport === like.port) ?? null;
        for (const { hash, port, remove, dev } of steps) {
          const sk = sock({ daddr: hash, dport: port, rcvSaddr: 1, num: 80, boundDevIf: dev });
          const old = firstLike({ hash, port });
          if (remove && old !== null) {
            ehash.remove(old);
            model.splice(model.indexOf(old), 1);
          } else {
            sk.hash = hash;
            ehash.insert(sk);
            model.unshift(sk);
          }
          for (const like of steps) {
            const ports = (like.port << 16) | 80;
            expect(ehash.lookup(like.hash, like.hash, 1, ports, 1)).to.equal(firstLike(like));
          }
        }
      }),
      { numRuns: 60 },
    );
  });

  it('adds buckets a few at a time, two for a connection at least in the end', () => {
    const ehash = new Ehash(16, 1 << 16);
    const tables = makeTables({ buckets: 16, maxEntries: 1 << 16 });
    let before = ehash.buckets;
    for (let i = 0; i < 50_000; i++) {
      const sk = sock({ daddr: i, dport: 1, rcvSaddr: 1, num: 80 });
      sk.hash = inetEhashfn(tables, 1, 80, i, 1);
      ehash.insert(sk);
      expect(ehash.buckets - before).to.be.within(0, 4);
      expect(ehash.buckets).to.be.at.least(Math.min(i, 16));
      before = ehash.buckets;
    }
    expect(ehash.buckets).to.equal(131_072);
    let visited = 0;
    for (let i = 0; i < 50_000; i++) {
      const hash = inetEhashfn(tables, 1, 80, i, 1);
      expect(ehash.lookup(hash, i, 1, (1 << 16) | 80, 0)!.daddr).to.equal(i);
      visited += ehash.visited;
    }
    expect(visited / 50_000).to.be.within(1, 1.25);
  });

  it('lets twins on different devices coexist and finds each by its device', () => {
    const tables = makeTables();
    const one = Object.assign(connection(1), { boundDevIf: 1 });
    const two = Object.assign(connection(1), { boundDevIf: 2 });
    expect(inetEhashInsert(tables, one, null)).to.equal(true);
    expect(inetEhashInsert(tables, two, null)).to.equal(true);
    expect(inetEhashInsert(tables, Object.assign(connection(1), { boundDevIf: 2 }), null)).to.equal(
      false,
    );
    const find = (dif: number): SockCommon | null =>
      inetLookupEstablished(tables, one.daddr, one.dport, one.rcvSaddr, one.num, dif);
    expect([find(1), find(2), find(3)]).to.have.ordered.members([one, two, null]);
    // An unbound socket takes any device: newest first.
    const any = connection(1);
    expect(inetEhashInsert(tables, any, null)).to.equal(true);
    expect(find(1)).to.equal(any);
    expect(find(3)).to.equal(any);
  });

  it('follows a socket to another device', () => {
    const tables = makeTables();
    const fields = { rcvSaddr: 1, num: 80, daddr: 2, dport: 4000 };
    const sk = sock(fields);
    expect(inetEhashInsert(tables, sk, null)).to.equal(true);
    const seenBy = (): boolean[] =>
      [1, 2, 3].map((dif) => inetLookupEstablished(tables, 2, 4000, 1, 80, dif) === sk);
    expect(seenBy()).to.deep.equal([true, true, true]);
    sk.boundDevIf = 2;
    tables.ehash.updateDevice(sk);
    expect(seenBy()).to.deep.equal([false, true, false]);
    expect(inetEhashInsert(tables, sock({ ...fields, boundDevIf: 3 }), null)).to.equal(true);
    sk.boundDevIf = 0;
    tables.ehash.updateDevice(sk);
    expect(seenBy()).to.deep.equal([true, true, false]);
    expect(() => tables.ehash.updateDevice(sock(fields))).to.throw(AssertionError);
  });

  it('puts a child in the place of its request, once', () => {
    const tables = makeTables();
    const { daddr, dport, rcvSaddr, num } = connection(3);
    const request = sock({ daddr, dport, rcvSaddr, num }, SK_REQUEST);
    expect(inetEhashInsert(tables, request, null)).to.equal(true);
    const slot = request.ehashSlot;
    const child = connection(3);
    expect(inetEhashInsert(tables, child, request)).to.equal(true);
    expect(child.ehashSlot).to.equal(slot);
    expect(request.ehashSlot).to.equal(-1);
    const late = connection(3);
    expect(inetEhashInsert(tables, late, request)).to.equal(false);
    expect(late.ehashSlot).to.equal(-1);
    inetEhashRemove(tables, request);
    expect(tables.ehash.size).to.equal(1);
  });

  it('grows its rows, uses freed rows again and stops at the limit', () => {
    const tables = makeTables({ buckets: 16, maxEntries: 1000 });
    const all: SockCommon[] = [];
    for (let i = 0; i < 1000; i++) {
      const sk = sock({ daddr: i * 7, dport: 1000 + i, rcvSaddr: 1, num: 80 });
      expect(inetEhashInsert(tables, sk, null)).to.equal(true);
      all.push(sk);
    }
    const extra = sock({ daddr: -1, dport: 1, rcvSaddr: 1, num: 80 });
    expect(inetEhashInsert(tables, extra, null)).to.equal(false);
    expect(tables.ehash.full).to.equal(true);
    for (const sk of all) {
      expect(inetLookupEstablished(tables, sk.daddr, sk.dport, 1, 80, 1)).to.equal(sk);
    }
    for (const sk of all.filter((_, i) => i % 3 === 0)) inetEhashRemove(tables, sk);
    expect(inetEhashInsert(tables, extra, null)).to.equal(true);
    expect(extra.ehashSlot).to.be.lessThan(1000);
    expect(inetLookupEstablished(tables, -1, 1, 1, 80, 1)).to.equal(extra);
    expect(inetLookupEstablished(tables, 0, 1000, 1, 80, 1)).to.equal(null);
  });

  it('refuses misuse loudly', () => {
    const tables = makeTables();
    const sk = connection(0);
    expect(() => new Ehash(12, 10)).to.throw('power of two');
    expect(() => tables.ehash.remove(sk)).to.throw('not in ehash');
    inetEhashInsert(tables, sk, null);
    expect(() => tables.ehash.insert(sk)).to.throw('already');
    expect(() => inetEhashInsert(tables, connection(1), sk)).to.throw('another connection');
    expect(() => tables.ehash.replace(sk, sk)).to.throw('in already');
  });

  it('looks at the same number of rows with 60 and with 60,000 connections', () => {
    const average = (connections: number): number => {
      const tables = makeTables({ buckets: 65_536 });
      const all: SockCommon[] = [];
      for (let i = 0; i < connections; i++) {
        const sk = sock({ daddr: ip('10.0.0.0') + i, dport: 40000, rcvSaddr: 1, num: 80 });
        inetEhashInsert(tables, sk, null);
        all.push(sk);
      }
      let visited = 0;
      for (const sk of all) {
        inetLookupEstablished(tables, sk.daddr, sk.dport, 1, 80, 1);
        visited += tables.visited;
      }
      return visited / connections;
    };
    expect(average(60)).to.be.within(1, 1.1);
    expect(average(60_000)).to.be.within(1, 1.25);
  });
});
