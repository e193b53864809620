/**
 * Listeners of both families in one table: whoever is bound to the address receives, and an IPv4
 * SYN goes to an IPv4 socket where there is one. There is no IPv6 on the wire; these are the rules
 * that IPv4 packets meet when IPv6 sockets listen.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import type { Profile } from '../../src/net/sysctl.js';
import type { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import { inetLookupListener } from '../../src/reuseport/lookup.js';
import { AF_INET, AF_INET6, type SockCommon } from '../../src/reuseport/sock-common.js';
import { close, ip, listener, makeTables, packet, type SockFields } from './fixtures.js';

const US = ip('198.18.0.1');
const PEER = ip('198.18.0.254');
const PROFILES: readonly Profile[] = ['5.0', '6.18'];

const V4: SockFields = { family: AF_INET };
const V6: SockFields = { family: AF_INET6 };
const V6_ONLY: SockFields = { family: AF_INET6, ipv6only: true };

function syn(tables: InetHashinfo, sport: number, daddr = US): SockCommon | null {
  return inetLookupListener(tables, PEER, sport, daddr, 80, 1, packet());
}

describe('reuseport: dual-stack listeners', () => {
  it(':: stands in the bucket of 0.0.0.0 and takes IPv4 SYNs unless it is V6ONLY', () => {
    for (const profile of PROFILES) {
      for (const reuseport of [true, false]) {
        const open = makeTables({ profile });
        const sk = listener(open, 0, 80, { ...V6, reuseport });
        expect(syn(open, 1)).to.equal(sk);
        const only = makeTables({ profile });
        listener(only, 0, 80, { ...V6_ONLY, reuseport });
        expect(syn(only, 1)).to.equal(null);
      }
    }
  });

  it('a V6ONLY group and an IPv4 group share a port, and each knows its own', () => {
    const tables = makeTables();
    const v6 = [0, 1].map(() => listener(tables, 0, 80, V6_ONLY));
    const v4 = [0, 1].map(() => listener(tables, 0, 80, V4));
    expect(v6[0]!.reuseportCb).to.equal(v6[1]!.reuseportCb);
    expect(v6[0]!.reuseportCb).to.not.equal(v4[0]!.reuseportCb);
    for (let sport = 1; sport < 50; sport++) expect(v4).to.include(syn(tables, sport));
  });

  // The property of the kernel's selftest reuseport_dualstack.
  it('IPv4 traffic goes to IPv4 sockets in every order of creation and size of groups', () => {
    const order = fc.array(fc.boolean(), { minLength: 1, maxLength: 40 });
    fc.assert(
      fc.property(order, fc.constantFrom(...PROFILES), fc.nat(0xffff), (v6s, profile, sport) => {
        const tables = makeTables({ profile });
        const socks = v6s.map((v6) => listener(tables, 0, 80, v6 ? V6 : V4));
        const v4 = socks.filter((sk) => sk.family === AF_INET);
        const found = syn(tables, sport)!;
        expect(found.family).to.equal(v4.length > 0 ? AF_INET : AF_INET6);
        expect(tables.members).to.equal(v4.length > 0 ? v4.length : socks.length);
        // When the IPv4 ones go, the others take over.
        for (const sk of v4) close(tables, sk);
        expect(syn(tables, sport)?.family).to.equal(
          v4.length < socks.length ? AF_INET6 : undefined,
        );
      }),
      { numRuns: 100 },
    );
  });

  // The property of the kernel's selftest reuseport_addr_any.
  it('who is bound to the address receives, whatever listens on any address around it', () => {
    const wild = fc.array(
      fc.record({
        fields: fc.constantFrom(
          V4,
          V6,
          V6_ONLY,
          { ...V4, boundDevIf: 1 },
          { ...V6, incomingCpu: 0 },
        ),
        early: fc.boolean(),
      }),
      { maxLength: 12 },
    );
    const bound = fc.record({ mapped: fc.boolean(), size: fc.integer({ min: 1, max: 12 }) });
    fc.assert(
      fc.property(wild, bound, fc.constantFrom(...PROFILES), (wilds, { mapped, size }, profile) => {
        const tables = makeTables({ profile });
        for (const { fields, early } of wilds) if (early) listener(tables, 0, 80, fields);
        // ::ffff:198.18.0.1 is the same address to an IPv4 SYN.
        const exact = Array.from({ length: size }, () =>
          listener(tables, US, 80, mapped ? V6 : V4),
        );
        for (const { fields, early } of wilds) if (!early) listener(tables, 0, 80, fields);
        for (let sport = 1; sport < 20; sport++) {
          expect(exact).to.include(syn(tables, sport));
          expect(exact).to.not.include(syn(tables, sport, ip('198.18.0.2')));
        }
      }),
      { numRuns: 100 },
    );
  });

  it('of plain listeners the IPv4 one scores more, in both profiles and orders', () => {
    for (const profile of PROFILES) {
      for (const v6First of [true, false]) {
        const tables = makeTables({ profile });
        const plain = (fields: SockFields): SockCommon => {
          const sk = listener(tables, 0, 81, { ...fields, reuseport: false });
          // Two sockets that conflict in bind() stand beside each other here for the score's sake.
          tables.lhash2.remove(sk);
          tables.bhash.leave(sk);
          sk.num = 80;
          return sk;
        };
        const [v6, v4] = [plain(V6), plain(V4)];
        for (const sk of v6First ? [v6, v4] : [v4, v6]) tables.lhash2.insert(sk);
        expect(syn(tables, 1)).to.equal(v4);
      }
    }
  });
});
