/**
 * src/reuseport/lookup.ts, score.ts: which socket a segment belongs to, and what the search costs.
 */
import { expect } from 'chai';
import { reciprocalScale } from '../../src/net/hash.js';
import { inetEhashfn, inetEhashInsert } from '../../src/reuseport/ehash.js';
import {
  reuseportAttachSelector,
  reuseportDetachSock,
  reuseportUpdateIncomingCpu,
} from '../../src/reuseport/group.js';
import type { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import { inetLhash2Lookup, inetLookup, inetLookupListener } from '../../src/reuseport/lookup.js';
import { kernelProfile } from '../../src/reuseport/profile.js';
import { computeScore } from '../../src/reuseport/score.js';
import { PICKED_BY_NONE } from '../../src/reuseport/select.js';
import {
  AF_INET6,
  SK_REQUEST,
  SK_TIMEWAIT,
  type SockCommon,
} from '../../src/reuseport/sock-common.js';
import { seededRandom } from '../net/fixtures.js';
import {
  accept,
  bind,
  close,
  ip,
  listen,
  listener,
  makeTables,
  packet,
  type SockFields,
  sock,
} from './fixtures.js';

const US = ip('198.18.0.1');
const ALSO_US = ip('198.18.0.2');
const PEER = ip('198.18.0.254');
const V6: SockFields = { family: AF_INET6 };

/** Lookup of a SYN from PEER. */
function syn(
  tables: InetHashinfo,
  options: { sport?: number; daddr?: number; dif?: number; cpu?: number } = {},
): SockCommon | null {
  const { sport = 40000, daddr = US, dif = 1, cpu = 0 } = options;
  return inetLookup(tables, PEER, sport, daddr, 80, dif, packet(cpu));
}

describe('reuseport/score', () => {
  it('gives 2..4 today and 1..3 in 5.0, -1 to who cannot take the packet', () => {
    const cases: [SockFields, number, number][] = [
      [{}, 2, 2],
      [{ boundDevIf: 1 }, 3, 2],
      [{ incomingCpu: 5 }, 3, 3],
      [{ boundDevIf: 1, incomingCpu: 5 }, 4, 3],
      [{ incomingCpu: 4 }, 2, 2],
      [V6, 1, 1],
      [{ ...V6, boundDevIf: 1, incomingCpu: 5 }, 3, 2],
      [{ boundDevIf: 2 }, -1, -1],
      [{ ...V6, ipv6only: true }, -1, -1],
      [{ num: 81 }, -1, -1],
      [{ rcvSaddr: US }, -1, -1],
    ];
    for (const [fields, now, old] of cases) {
      const sk = sock({ num: 80, ...fields });
      expect(computeScore(kernelProfile('6.18'), sk, 0, 80, 1, 5), '6.18').to.equal(now);
      expect(computeScore(kernelProfile('5.0'), sk, 0, 80, 1, 5), '5.0').to.equal(old);
    }
    expect(
      computeScore(kernelProfile('6.18'), sock({ num: 80, rcvSaddr: US }), US, 80, 1, 0),
    ).to.equal(2);
  });
});

describe('reuseport/lookup: connections first', () => {
  it('connection, request or time-wait socket, before any listener', () => {
    const tables = makeTables();
    const server = listener(tables, US, 80);
    const child = accept(tables, server, US, PEER, 40000);
    expect(syn(tables)).to.equal(child);
    expect(syn(tables, { sport: 40001 })).to.equal(server);
    for (const kind of [SK_REQUEST, SK_TIMEWAIT]) {
      const mini = sock({ rcvSaddr: US, num: 80, daddr: PEER, dport: 40000 + kind }, kind);
      expect(inetEhashInsert(tables, mini, null)).to.equal(true);
      expect(syn(tables, { sport: 40000 + kind })).to.equal(mini);
    }
    expect(inetLookupListener(tables, PEER, 40000, US, 80, 1, packet())).to.equal(server);
  });

  it('nobody: null', () => {
    const tables = makeTables();
    expect(syn(tables)).to.equal(null);
    listener(tables, ALSO_US, 80);
    listener(tables, US, 81);
    expect(syn(tables)).to.equal(null);
    expect([tables.phash, tables.slot, tables.members]).to.deep.equal([0, -1, 0]);
  });
});

describe('reuseport/lookup: exact before wildcard', () => {
  it('an exact address beats wildcard listeners made before and after it', () => {
    const orders = [
      [0, 1, 2],
      [1, 0, 2],
      [0, 2, 1],
      [2, 1, 0],
    ];
    for (const profile of ['5.0', '6.18'] as const) {
      for (const order of orders) {
        const tables = makeTables({ profile });
        // The wildcard ones would score higher.
        const makers = [
          (): SockCommon => listener(tables, US, 80),
          (): SockCommon => listener(tables, 0, 80, { boundDevIf: 1, incomingCpu: 0 }),
          (): SockCommon => listener(tables, 0, 80, { ...V6, incomingCpu: 0 }),
        ];
        const made = order.map((i) => makers[i]!());
        expect(syn(tables)).to.equal(made[order.indexOf(0)]);
        expect(syn(tables, { daddr: ALSO_US })).to.equal(made[order.indexOf(1)]);
      }
    }
  });

  it('the wildcard scan takes what the exact one does not want', () => {
    const tables = makeTables();
    listener(tables, US, 80, { boundDevIf: 2 });
    const any = listener(tables, 0, 80);
    expect(syn(tables)).to.equal(any);
    expect(syn(tables, { daddr: ALSO_US })).to.equal(any);
    expect(syn(tables, { dif: 2 })).not.to.equal(any);
  });

  it('of plain listeners the best score wins, the newest of equals', () => {
    const tables = makeTables();
    const make = (fields: SockFields): SockCommon => {
      const sk = sock({ num: 80, rcvSaddr: US, state: 10, ...fields });
      tables.bhash.bind(sk, 80, false);
      tables.lhash2.insert(sk);
      return sk;
    };
    const bound = make({ boundDevIf: 1 });
    const older = make({});
    const newer = make({});
    expect(inetLhash2Lookup(tables, US, PEER, 1, US, 80, 1, packet())).to.equal(bound);
    expect(inetLhash2Lookup(tables, US, PEER, 1, US, 80, 2, packet())).to.equal(newer);
    tables.lhash2.remove(newer);
    expect(inetLhash2Lookup(tables, US, PEER, 1, US, 80, 2, packet())).to.equal(older);
    expect(inetLhash2Lookup(tables, 0, PEER, 1, US, 80, 2, packet())).to.equal(null);
    expect(tables.pickedBy).to.equal(PICKED_BY_NONE);
  });

  it('of plain listeners the one bound to the device wins; in 5.0 that gives no points', () => {
    for (const boundFirst of [true, false]) {
      const winners = (['5.0', '6.18'] as const).map((profile) => {
        const tables = makeTables({ profile });
        const make = (boundDevIf: number): SockCommon => {
          const sk = sock({ num: 80, rcvSaddr: US, state: 10, boundDevIf });
          tables.lhash2.insert(sk);
          return sk;
        };
        for (const dev of boundFirst ? [1, 0] : [0, 1]) make(dev);
        return syn(tables)!.boundDevIf;
      });
      // The newest is the first of equals.
      expect(winners).to.deep.equal([boundFirst ? 0 : 1, 1]);
    }
  });

  it('of plain listeners the one of this CPU wins, in both profiles', () => {
    for (const profile of ['5.0', '6.18'] as const) {
      const tables = makeTables({ profile });
      const make = (incomingCpu: number): SockCommon => {
        const sk = sock({ num: 80, rcvSaddr: US, state: 10, incomingCpu });
        tables.lhash2.insert(sk);
        return sk;
      };
      const socks = [0, 1, -1].map(make);
      const found = [0, 1, 2].map((cpu) => socks.indexOf(syn(tables, { cpu })!));
      expect(found, profile).to.deep.equal([0, 1, 2]);
    }
  });

  it('the first reuseport listener in list order ends the scan, whatever it scores', () => {
    const tables = makeTables();
    const bound = listener(tables, 0, 80, { boundDevIf: 1 });
    const unbound = listener(tables, 0, 80);
    for (let sport = 1; sport < 50; sport++) expect(syn(tables, { sport })).to.equal(unbound);
    const swapped = makeTables();
    listener(swapped, 0, 80);
    const last = listener(swapped, 0, 80, { boundDevIf: 1 });
    expect(syn(swapped)).to.equal(last);
    expect(bound.reuseportCb).not.to.equal(unbound.reuseportCb);
  });

  it('a reuseport listener whose group is gone is a plain candidate', () => {
    const tables = makeTables();
    const sk = listener(tables, US, 80);
    reuseportDetachSock(sk);
    expect(syn(tables)).to.equal(sk);
    expect([tables.phash, tables.slot, tables.members]).to.deep.equal([0, -1, 0]);
  });

  it('IPv4 listeners win over dual-stack ones in both orders, in small and large groups', () => {
    for (const size of [1, 4, 15]) {
      for (const v6First of [true, false]) {
        const tables = makeTables();
        const make = (fields: SockFields): SockCommon[] =>
          Array.from({ length: size }, () => listener(tables, 0, 80, fields));
        const early = make(v6First ? V6 : {});
        const late = make(v6First ? {} : V6);
        const v4 = v6First ? late : early;
        for (let sport = 1; sport < 40; sport++) {
          expect(v4).to.include(syn(tables, { sport }));
        }
        for (const sk of v4) close(tables, sk);
        expect(syn(tables)!.family).to.equal(AF_INET6);
      }
    }
    const only = makeTables();
    listener(only, 0, 80, { ...V6, ipv6only: true });
    expect(syn(only)).to.equal(null);
  });
});

describe('reuseport/lookup: the group’s choice', () => {
  it('hashes with the listener’s key address: 0.0.0.0 for a wildcard group', () => {
    for (const profile of ['5.0', '6.18'] as const) {
      for (const addr of [0, US]) {
        const tables = makeTables({ profile });
        const socks = Array.from({ length: 5 }, () => listener(tables, addr, 80));
        for (let sport = 1000; sport < 1064; sport++) {
          const hash = inetEhashfn(tables, addr, 80, PEER, sport);
          const index = reciprocalScale(hash, 5);
          expect(syn(tables, { sport })).to.equal(socks[index]);
          expect([tables.phash, tables.slot, tables.members]).to.deep.equal([hash, index, 5]);
        }
      }
    }
  });

  it('one client port lands on one member, whichever of our addresses it calls', () => {
    const tables = makeTables();
    for (let i = 0; i < 7; i++) listener(tables, 0, 80);
    for (let sport = 1000; sport < 1050; sport++) {
      expect(syn(tables, { sport })).to.equal(syn(tables, { sport, daddr: ALSO_US }));
    }
  });

  it('a selector of the group decides for SYNs, and sees the packet’s own address', () => {
    const tables = makeTables();
    const socks = [0, 1, 2].map(() => listener(tables, 0, 80));
    const daddrs = new Set<number>();
    reuseportAttachSelector(tables, socks[0]!, (request) => {
      daddrs.add(request.daddr | 0);
      return 1;
    });
    expect(syn(tables)).to.equal(socks[1]);
    expect(tables.slot).to.equal(1);
    expect([...daddrs]).to.deep.equal([US]);
  });

  it('SO_INCOMING_CPU set before or after listen() steers the same way', () => {
    const CPUS = 4;
    for (const when of ['before bind', 'before listen', 'after listen', 'after all']) {
      const tables = makeTables();
      const socks: SockCommon[] = [];
      const set = (sk: SockCommon, cpu: number): void => reuseportUpdateIncomingCpu(sk, cpu);
      for (let cpu = 0; cpu < CPUS; cpu++) {
        const sk = sock({ reuseport: true });
        if (when === 'before bind') set(sk, cpu);
        expect(bind(tables, sk, 0, 80)).to.equal(0);
        if (when === 'before listen') set(sk, cpu);
        expect(listen(tables, sk)).to.equal(0);
        if (when === 'after listen') set(sk, cpu);
        socks.push(sk);
      }
      if (when === 'after all') socks.forEach(set);
      const extra = listener(tables, 0, 80);
      const check = (): void => {
        for (let sport = 1; sport < 40; sport++) {
          for (let cpu = 0; cpu < CPUS; cpu++) {
            expect(syn(tables, { sport, cpu }), when).to.equal(socks[cpu]);
          }
        }
      };
      check();
      close(tables, extra);
      check();
    }
  });

  it('spreads random connections evenly over any number of members', () => {
    const dice = seededRandom(7);
    const SAMPLES = 20_000;
    for (const profile of ['5.0', '6.18'] as const) {
      const tables = makeTables({ profile });
      for (let n = 2; n <= 16; n++) {
        const counts = new Array<number>(n).fill(0);
        for (let i = 0; i < SAMPLES; i++) {
          const saddr = dice.u32() | 0;
          const sport = 1024 + (dice.u32() % 64_512);
          counts[reciprocalScale(inetEhashfn(tables, 0, 80, saddr, sport), n)]!++;
        }
        const expected = SAMPLES / n;
        const chiSquare = counts.reduce((sum, c) => sum + (c - expected) ** 2 / expected, 0);
        // Mean n - 1, deviation sqrt(2(n - 1)): far beyond the 0.1 % point of every n here.
        expect(chiSquare).to.be.lessThan(n - 1 + 5 * Math.sqrt(2 * (n - 1)));
      }
    }
  });
});

describe('reuseport/lookup: cost', () => {
  it('does not grow with the members of the group', () => {
    for (let members = 1; members <= 1024; members *= 2) {
      const tables = makeTables({ buckets: 65_536 });
      for (let i = 0; i < members; i++) listener(tables, US, 80);
      syn(tables);
      expect(tables.visited).to.equal(1);
      expect(tables.members).to.equal(members);
    }
  });

  it('does not grow with the members of a group that shares the bucket', () => {
    const tables = makeTables({ buckets: 16 });
    for (let port = 1000; port < 1040; port++) listener(tables, US, port);
    for (let i = 0; i < 256; i++) listener(tables, US, 81);
    listener(tables, 0, 80);
    syn(tables);
    expect(tables.visited).to.equal(1);
  });

  it('does not grow with addresses: three hundred of them, eighty listeners each', () => {
    const tables = makeTables({ buckets: 65_536 });
    const base = ip('10.0.0.0');
    for (let i = 0; i < 300; i++) {
      for (let j = 0; j < 80; j++) listener(tables, base + i, 80);
    }
    for (let i = 0; i < 300; i++) {
      const sk = syn(tables, { daddr: base + i });
      expect(sk!.rcvSaddr).to.equal(base + i);
      expect(tables.members).to.equal(80);
      expect(tables.visited).to.equal(1);
    }
  });

  it('of a SYN does not grow with connections', () => {
    const average = (connections: number): number => {
      const tables = makeTables({ buckets: 131_072 });
      const server = listener(tables, US, 80);
      for (let i = 0; i < connections; i++) {
        accept(tables, server, US, ip('10.0.0.0') + i, 40000);
      }
      let visited = 0;
      for (let sport = 1; sport <= 500; sport++) {
        expect(syn(tables, { sport })).to.equal(server);
        visited += tables.visited;
      }
      return visited / 500;
    };
    // The listener, and the rows of a bucket: as many on average as there are entries to a bucket.
    for (const connections of [1, 10, 100, 1000, 10_000, 100_000]) {
      const rows = connections / 131_072;
      expect(average(connections), `${connections}`).to.be.within(1, 1.15 + rows);
    }
  });
});
