/**
 * src/reuseport/lhash2.ts: the port-address hash against kernel vectors, list order, and colliding
 * keys.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { ipv4PortaddrHash, Lhash2 } from '../../src/reuseport/lhash2.js';
import { AF_INET6, type SockCommon } from '../../src/reuseport/sock-common.js';
import { ip, readVectors, sock } from './fixtures.js';

function listOf(table: Lhash2, addr: number, port: number): SockCommon[] {
  const list: SockCommon[] = [];
  for (let slot = table.first(addr, port); slot >= 0; slot = table.next(slot)) {
    list.push(table.sockAt(slot));
  }
  return list;
}

describe('reuseport/lhash2', () => {
  it('hashes address and port as the kernel does', () => {
    for (const v of readVectors()) {
      const mix = v.netmix | 0;
      expect(ipv4PortaddrHash(mix, ip(v.daddr), v.dport) >>> 0).to.equal(v.portaddr);
      expect(ipv4PortaddrHash(mix, 0, v.dport) >>> 0).to.equal(v.portaddr_any);
      const table = new Lhash2(4096, mix);
      expect(table.bucketOf(ip(v.daddr), v.dport)).to.equal(v.portaddr % 4096);
    }
  });

  it('lists the newest IPv4 listener first and IPv6 reuseport listeners last', () => {
    const table = new Lhash2(16, 1);
    const make = (family: number, reuseport: boolean): SockCommon => {
      const sk = sock({ num: 80, reuseport });
      sk.family = family;
      table.insert(sk);
      return sk;
    };
    const a = make(2, true);
    const b6 = make(AF_INET6, true);
    const c = make(2, false);
    const d6plain = make(AF_INET6, false);
    const e6 = make(AF_INET6, true);
    expect(listOf(table, 0, 80)).to.have.ordered.members([d6plain, c, a, b6, e6]);
    table.remove(c);
    table.remove(e6);
    table.remove(d6plain);
    expect(listOf(table, 0, 80)).to.have.ordered.members([a, b6]);
    expect(table.size).to.equal(2);
    const f6 = make(AF_INET6, true);
    expect(listOf(table, 0, 80)).to.have.ordered.members([a, b6, f6]);
  });

  it('keeps keys of one bucket apart, as a Map of lists does', () => {
    const step = fc.record({ add: fc.boolean(), addr: fc.nat(2), port: fc.nat(3), at: fc.nat() });
    fc.assert(
      fc.property(
        fc.array(step, { maxLength: 60, size: 'max' }),
        fc.constantFrom(1, 2, 64),
        (steps, buckets) => {
          const table = new Lhash2(buckets, 99);
          const model = new Map<string, SockCommon[]>();
          const all: SockCommon[] = [];
          for (const { add, addr, port, at } of steps) {
            if (add) {
              const sk = sock({ rcvSaddr: addr, num: port });
              table.insert(sk);
              model.set(`${addr}:${port}`, [sk, ...(model.get(`${addr}:${port}`) ?? [])]);
              all.push(sk);
            } else if (all.length > 0) {
              const [sk] = all.splice(at % all.length, 1);
              table.remove(sk!);
              const key = `${sk!.rcvSaddr}:${sk!.num}`;
              model.set(
                key,
                model.get(key)!.filter((other) => other !== sk),
              );
            }
          }
          expect(table.size).to.equal(all.length);
          for (let addr = 0; addr < 3; addr++) {
            for (let port = 0; port < 4; port++) {
              expect(listOf(table, addr, port)).to.have.ordered.members(
                model.get(`${addr}:${port}`) ?? [],
              );
            }
          }
          const seen: SockCommon[] = [];
          table.forEach((sk) => void seen.push(sk));
          expect(seen).to.have.members(all);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('refuses misuse loudly', () => {
    expect(() => new Lhash2(3, 0)).to.throw('power of two');
    const table = new Lhash2(2, 0);
    const sk = sock({ num: 1 });
    expect(() => table.remove(sk)).to.throw('not in lhash2');
    table.insert(sk);
    expect(() => table.insert(sk)).to.throw('already');
    expect(table.buckets).to.equal(2);
  });
});
