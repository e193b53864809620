/**
 * src/reuseport/bhash.ts: owners of ports against a Map, inheritance, transfer, change of address.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { ENOENT } from '../../src/net/errno.js';
import { TCP_TIME_WAIT } from '../../src/net/tcp-states.js';
import {
  Bhash,
  inetBhash2UpdateSaddr,
  inetBhashfn,
  inetBindTransfer,
  inetInheritPort,
  inetPutPort,
} from '../../src/reuseport/bhash.js';
import type { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import { SK_TIMEWAIT, type SockCommon } from '../../src/reuseport/sock-common.js';
import { bind, ip, makeTables, readVectors, sock } from './fixtures.js';

/** Ports, buckets and back references show exactly the sockets of `all`. */
function expectOwners(tables: InetHashinfo, all: readonly SockCommon[]): void {
  const { bhash } = tables;
  expect(bhash.ports).to.equal(new Set(all.map((sk) => sk.num)).size);
  for (let port = 100; port < 106; port++) {
    const owners = all.filter((sk) => sk.num === port);
    const bindPort = bhash.findPort(port);
    expect(bindPort?.ownerCount ?? 0).to.equal(owners.length);
    const addrs: number[] = [];
    for (let bucket = bindPort?.buckets ?? null; bucket !== null; bucket = bucket.portNext) {
      addrs.push(bucket.addr);
    }
    expect(addrs).to.have.members([...new Set(owners.map((sk) => sk.rcvSaddr))]);
    for (let addr = 0; addr < 3; addr++) {
      const here = owners.filter((sk) => sk.rcvSaddr === addr);
      const bucket = bhash.find(port, addr);
      expect(bucket?.owners ?? []).to.have.members(here);
      for (const sk of here) expect(bucket!.owners[sk.bindIndex]).to.equal(sk);
    }
  }
}

describe('reuseport/bhash', () => {
  it('hashes ports as the kernel does', () => {
    for (const v of readVectors()) {
      expect(inetBhashfn(v.netmix | 0, v.dport, 65_536)).to.equal(v.bhash_slot_65536);
    }
  });

  it('knows every owner under random binding, leaving and change of address', () => {
    const step = fc.record({
      op: fc.constantFrom('bind', 'bind', 'leave', 'move'),
      port: fc.nat(5),
      addr: fc.nat(2),
      at: fc.nat(),
    });
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 80, size: 'max' }),
        fc.constantFrom(1, 4, 64),
        (steps, buckets) => {
          const tables = makeTables({ buckets });
          const { bhash } = tables;
          const all: SockCommon[] = [];
          for (const { op, port, addr, at } of steps) {
            if (op === 'bind') {
              const sk = sock({ rcvSaddr: addr });
              bhash.bind(sk, 100 + port, false);
              all.push(sk);
            } else if (all.length > 0) {
              const sk = all[at % all.length]!;
              if (op === 'leave') {
                inetPutPort(tables, sk);
                expect([sk.num, sk.bindBucket, sk.bindIndex]).to.deep.equal([0, null, -1]);
                all.splice(all.indexOf(sk), 1);
              } else {
                sk.rcvSaddr = addr;
                inetBhash2UpdateSaddr(tables, sk);
              }
            }
          }
          expectOwners(tables, all);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('lets a child own the port of its listener at its own address', () => {
    const tables = makeTables();
    const parent = sock();
    bind(tables, parent, 0, 80);
    const child = sock({ rcvSaddr: ip('198.18.0.1'), num: 80 });
    expect(inetInheritPort(tables, parent, child)).to.equal(0);
    expect(tables.bhash.findPort(80)!.ownerCount).to.equal(2);
    expect(tables.bhash.find(80, ip('198.18.0.1'))!.owners).to.have.ordered.members([child]);
    inetPutPort(tables, parent);
    expect(tables.bhash.findPort(80)!.ownerCount).to.equal(1);
    expect(inetInheritPort(tables, parent, sock({ num: 80 }))).to.equal(-ENOENT);
    inetPutPort(tables, child);
    expect(tables.bhash.findPort(80)).to.equal(null);
    inetPutPort(tables, child);
    expect(tables.bhash.ports).to.equal(0);
  });

  it('a child of another port than its listener’s owns its own', () => {
    const tables = makeTables();
    const [sk, child] = [sock(), sock({ num: 81 })];
    bind(tables, sk, 0, 80);
    expect(inetInheritPort(tables, sk, child)).to.equal(0);
    expect(tables.bhash.findPort(81)!.ownerCount).to.equal(1);
    expect(tables.bhash.findPort(80)!.ownerCount).to.equal(1);
    inetPutPort(tables, child);
    expect(tables.bhash.findPort(81)).to.equal(null);
  });

  it('passes ownership to a time-wait socket in place', () => {
    const tables = makeTables();
    const sk = sock();
    bind(tables, sk, ip('198.18.0.1'), 80);
    const tw = sock({ rcvSaddr: sk.rcvSaddr, num: 80, state: TCP_TIME_WAIT }, SK_TIMEWAIT);
    inetBindTransfer(sk, tw);
    expect(sk.bindBucket).to.equal(null);
    expect(tables.bhash.find(80, sk.rcvSaddr)!.owners).to.have.ordered.members([tw]);
    inetPutPort(tables, sk);
    expect(tables.bhash.ports).to.equal(1);
    inetPutPort(tables, tw);
    expect(tables.bhash.ports).to.equal(0);
  });

  it('does not move a socket whose address has not changed, or that owns nothing', () => {
    const tables = makeTables();
    const sk = sock();
    inetBhash2UpdateSaddr(tables, sk);
    expect(sk.bindBucket).to.equal(null);
    bind(tables, sk, 5, 80);
    const bucket = sk.bindBucket;
    inetBhash2UpdateSaddr(tables, sk);
    expect(sk.bindBucket).to.equal(bucket);
  });

  it('refuses misuse loudly', () => {
    const tables = makeTables();
    const sk = sock();
    expect(() => new Bhash(5, 0)).to.throw('power of two');
    expect(() => tables.bhash.leave(sk)).to.throw('owns no port');
    expect(() => inetBindTransfer(sk, sock())).to.throw('nothing to give');
    bind(tables, sk, 0, 80);
    expect(() => tables.bhash.bind(sk, 81, false)).to.throw('already');
    expect(() => inetBindTransfer(sk, sock({ num: 81 }))).to.throw('another address');
    expect(() => inetInheritPort(tables, sk, sk)).to.throw('already');
  });
});
