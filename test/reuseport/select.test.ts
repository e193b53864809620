/**
 * src/reuseport/select.ts: the pick by hash, by CPU and by selector, and the migration of
 * unfinished connections.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { reciprocalScale } from '../../src/net/hash.js';
import { Mib } from '../../src/net/mib.js';
import type { Skb } from '../../src/net/skb.js';
import { TCP_ESTABLISHED } from '../../src/net/tcp-states.js';
import {
  reuseportAttachSelector,
  reuseportDetachSock,
  reuseportUpdateIncomingCpu,
} from '../../src/reuseport/group.js';
import type { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import {
  PICKED_BY_CPU,
  PICKED_BY_HASH,
  PICKED_BY_SELECTOR,
  reuseportMigrateSock,
  reuseportSelectSock,
} from '../../src/reuseport/select.js';
import type { Selector, SelectorRequest } from '../../src/reuseport/selector-request.js';
import type { SockCommon } from '../../src/reuseport/sock-common.js';
import {
  accept,
  ip,
  listener,
  makeTables,
  packet,
  sock,
  stop,
  type TableOptions,
} from './fixtures.js';

const US = ip('198.18.0.1');
const PEER = ip('198.18.0.254');

function group(
  count: number,
  options: TableOptions = {},
): { tables: InetHashinfo; socks: SockCommon[]; said: string[] } {
  const said: string[] = [];
  const tables = makeTables({ trace: { selector: (message) => said.push(message) }, ...options });
  return { said, tables, socks: Array.from({ length: count }, () => listener(tables, US, 80)) };
}

function pick(
  tables: InetHashinfo,
  sk: SockCommon,
  hash: number,
  skb: Skb | null = packet(),
): SockCommon | null {
  return reuseportSelectSock(tables, sk, hash, PEER, 40000, US, 80, skb);
}

/** Answers that are the index of no member of four. */
const STRAY: unknown[] = [
  ...[-2, 4, 5, 1e9, 1.5, Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  ...['1', '', null, undefined, true, {}, [], [1], 1n, Symbol('one'), () => 0],
  Object.create(null),
  new Proxy(
    {},
    {
      has() {
        throw new Error('do not ask');
      },
    },
  ),
];

/** Hashes that spread over the whole range. */
const HASHES = Array.from({ length: 64 }, (_, i) => Math.imul(i, 0x9e3779b1));

describe('reuseport/select: by hash', () => {
  it('takes the member at floor(hash * n / 2^32), whichever member was found', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 1, max: 20 }),
        fc.integer(),
        fc.nat(19),
        fc.constantFrom('5.0' as const, '6.18' as const),
        (n, hash, entry, profile) => {
          const { tables, socks } = group(n, { profile, buckets: 16 });
          const expected = socks[Math.floor(((hash >>> 0) * n) / 2 ** 32)]!;
          expect(pick(tables, socks[entry % n]!, hash)).to.equal(expected);
          expect(tables.pickedBy).to.equal(PICKED_BY_HASH);
        },
      ),
      { numRuns: 100 },
    );
  });

  it('is null without a group and in an empty one', () => {
    const { tables, socks } = group(1, { migrateReq: true });
    expect(pick(tables, sock(), 1)).to.equal(null);
    stop(tables, socks[0]!);
    expect(socks[0]!.reuseportCb!.numClosedSocks).to.equal(1);
    expect(pick(tables, socks[0]!, 1)).to.equal(null);
  });

  it('skips ESTABLISHED members today, not in 5.0', () => {
    for (const profile of ['6.18', '5.0'] as const) {
      const { tables, socks } = group(4, { profile });
      socks[1]!.state = TCP_ESTABLISHED;
      socks[3]!.state = TCP_ESTABLISHED;
      const picks = HASHES.map((hash) => socks.indexOf(pick(tables, socks[0]!, hash)!));
      const plain = HASHES.map((hash) => reciprocalScale(hash, 4));
      const skipped = plain.map((i) => (i % 2 === 0 ? i : (i + 1) % 4));
      expect(picks).to.deep.equal(profile === '5.0' ? plain : skipped);
      for (const sk of socks) sk.state = TCP_ESTABLISHED;
      if (profile === '6.18') expect(pick(tables, socks[0]!, 7)).to.equal(null);
    }
  });
});

describe('reuseport/select: SO_INCOMING_CPU', () => {
  /** Share of each member among HASHES on `cpu`. */
  function shares(cpus: number[], cpu: number, profile: '5.0' | '6.18' = '6.18'): number[] {
    const { tables, socks } = group(cpus.length, { profile });
    cpus.forEach((want, i) => {
      reuseportUpdateIncomingCpu(socks[i]!, want);
    });
    const counts = socks.map(() => 0);
    for (const hash of HASHES) counts[pick(tables, socks[0]!, hash, packet(cpu))!.reuseportSlot]!++;
    return counts.map((count) => count / HASHES.length);
  }

  it('one member a CPU gets all of that CPU', () => {
    expect(shares([0, 1, -1], 0)).to.deep.equal([1, 0, 0]);
    expect(shares([0, 1, -1], 1)).to.deep.equal([0, 1, 0]);
  });

  it('two members of a CPU share two to one by probing from the hash slot', () => {
    const [first, second, third] = shares([0, 0, 1], 0);
    expect(first).to.be.closeTo(2 / 3, 0.05);
    expect(second).to.be.closeTo(1 / 3, 0.05);
    expect(third).to.equal(0);
  });

  it('nobody on this CPU, or no preference at all: the plain hash', () => {
    const plain = shares([-1, -1, -1], 0);
    expect(shares([0, 1, 2], 7)).to.deep.equal(plain);
    expect(plain.every((share) => share > 0.3)).to.equal(true);
  });

  it('did not exist in 5.0', () => {
    expect(shares([0, 1, -1], 0, '5.0')).to.deep.equal(shares([-1, -1, -1], 0, '5.0'));
  });

  it('says so, and counts follow leaving members', () => {
    const { tables, socks } = group(2);
    reuseportUpdateIncomingCpu(socks[1]!, 3);
    const { reuseportCb } = socks[0]!;
    expect(reuseportCb!.incomingCpu).to.equal(1);
    pick(tables, socks[0]!, 0, packet(3));
    expect(tables.pickedBy).to.equal(PICKED_BY_CPU);
    reuseportDetachSock(socks[1]!);
    expect(reuseportCb!.incomingCpu).to.equal(0);
    const loose = sock();
    reuseportUpdateIncomingCpu(loose, 2);
    expect(loose.incomingCpu).to.equal(2);
  });
});

describe('reuseport/select: by selector', () => {
  it('src_port % n reaches each member, and a new selector takes effect at once', () => {
    for (const n of [10, 20]) {
      const { tables, socks } = group(n);
      const by =
        (modulus: number): Selector =>
        (request) =>
          request.sport % modulus;
      for (const modulus of [n, n / 2]) {
        expect(reuseportAttachSelector(tables, socks[0]!, by(modulus))).to.equal(0);
        for (let port = 0; port < 2 * n; port++) {
          const chosen = reuseportSelectSock(tables, socks[1]!, 5, PEER, port, US, 80, packet());
          expect(chosen).to.equal(socks[port % modulus]);
          expect(tables.pickedBy).to.equal(PICKED_BY_SELECTOR);
        }
      }
    }
  });

  it('sees hash, addresses, ports, CPU, members and the packet, unsigned', () => {
    const { tables, socks } = group(3);
    const skb = packet(6);
    let asked = 0;
    reuseportAttachSelector(tables, socks[0]!, (request) => {
      asked++;
      expect(request.group).to.equal(socks[0]!.reuseportCb);
      expect(request.skb).to.equal(skb);
      expect(request).to.include({
        hash: 0xfffffffe,
        saddr: 0xc61200fe,
        sport: 40000,
        daddr: 0xc6120001,
        dport: 80,
        cpu: 6,
        members: 3,
        dryRun: false,
        migrating: null,
      });
      return 2;
    });
    expect(pick(tables, socks[0]!, -2, skb)).to.equal(socks[2]);
    expect(asked).to.equal(1);
    expect(tables.selectorRequest.skb).to.equal(null);
  });

  it('sees the state of each member by index, and dice', () => {
    const { tables, socks } = group(3);
    const { selectorRequest: request } = tables;
    request.group = socks[0]!.reuseportCb!;
    const nothing = [0, 1, 2].map((i) => [
      request.connections(i),
      request.queueLength(i),
      request.utilisation(i),
      request.heartbeatAgeMs(i),
      request.key(i),
    ]);
    expect(nothing).to.deep.equal([0, 1, 2].map((i) => [0, 0, 0, 0, i]));
    const of = (what: number) => (sk: SockCommon) => what + socks.indexOf(sk);
    request.state = {
      connections: of(10),
      queueLength: of(20),
      utilisation: of(30),
      heartbeatAgeMs: of(40),
    };
    expect([
      request.connections(0),
      request.queueLength(1),
      request.utilisation(2),
      request.heartbeatAgeMs(1),
    ]).to.deep.equal([10, 21, 32, 41]);
    expect(request.random()).to.be.within(0, 0xffffffff);
    expect(request.randomBelow(3)).to.be.within(0, 2);
  });

  it('what is not the index of a member leaves the choice to the hash', () => {
    for (const result of [-1, ...STRAY]) {
      const { tables, socks, said } = group(4);
      reuseportAttachSelector(tables, socks[0]!, () => result as number, false, 'odd.js');
      for (const hash of HASHES.slice(0, 8)) {
        expect(pick(tables, socks[0]!, hash)).to.equal(socks[reciprocalScale(hash, 4)]);
      }
      expect(tables.pickedBy).to.equal(PICKED_BY_HASH);
      expect(socks[0]!.reuseportCb!.selector).not.to.equal(null);
      // -1 says so on purpose; anything else is counted each time and said once.
      expect(tables.net.mib[Mib.TunSelectorFallback]).to.equal(result === -1 ? 0 : 8);
      expect(said).to.have.length(result === -1 ? 0 : 1);
      if (result !== -1) expect(said[0]).to.match(/^selector odd\.js answered .+0 to 3.+hash/);
    }
  });

  it('one that throws is detached, its message kept, and the hash goes on', () => {
    for (const thrown of [new Error('no such worker'), 'no such worker']) {
      const { tables, socks } = group(4);
      let calls = 0;
      reuseportAttachSelector(tables, socks[0]!, () => {
        calls++;
        throw thrown;
      });
      const hash = HASHES[9]!;
      expect(pick(tables, socks[0]!, hash)).to.equal(socks[reciprocalScale(hash, 4)]);
      expect(pick(tables, socks[0]!, hash)).to.equal(socks[reciprocalScale(hash, 4)]);
      expect(calls).to.equal(1);
      const { reuseportCb } = socks[0]!;
      expect(reuseportCb!.selector).to.equal(null);
      expect(reuseportCb!.selectorError).to.contain('no such worker');
      reuseportAttachSelector(tables, socks[0]!, () => 0);
      expect(reuseportCb!.selectorError).to.equal(null);
    }
  });

  it('is not asked without a packet', () => {
    const { tables, socks } = group(2);
    reuseportAttachSelector(tables, socks[0]!, () => 1);
    expect(pick(tables, socks[0]!, 0, null)).to.equal(socks[0]);
  });
});

describe('reuseport/select: migration', () => {
  function orphan(options: TableOptions): {
    tables: InetHashinfo;
    socks: SockCommon[];
    child: SockCommon;
  } {
    const { tables, socks } = group(4, options);
    const child = accept(tables, socks[0]!, US, PEER, 40000);
    return { tables, socks, child };
  }

  it('moves a connection of a stopped listener by its own hash', () => {
    const { tables, socks, child } = orphan({ migrateReq: true });
    stop(tables, socks[0]!);
    const [, b, c, d] = socks;
    const expected = [d, b, c][reciprocalScale(child.hash, 3)];
    expect(reuseportMigrateSock(tables, socks[0]!, child, null)).to.equal(expected);
    expect(tables.net.mib[Mib.TCPMigrateReqFailure]).to.equal(0);
  });

  it('asks a migrating selector, even without a packet', () => {
    const { tables, socks, child } = orphan({});
    const asked: (SockCommon | null)[] = [];
    let answer = 1;
    const selector = (request: SelectorRequest): number => {
      asked.push(request.migrating);
      expect([request.saddr, request.sport, request.daddr, request.dport]).to.deep.equal([
        PEER >>> 0,
        40000,
        US >>> 0,
        80,
      ]);
      expect(request.hash).to.equal(child.hash >>> 0);
      return answer;
    };
    reuseportAttachSelector(tables, socks[0]!, selector, true);
    stop(tables, socks[0]!);
    expect(reuseportMigrateSock(tables, socks[0]!, child, null)).to.equal(socks[1]);
    answer = -1;
    const byHash = [3, 1, 2][reciprocalScale(child.hash, 3)]!;
    expect(reuseportMigrateSock(tables, socks[0]!, child, packet())).to.equal(socks[byHash]);
    expect(asked).to.have.ordered.members([child, child]);
    expect(tables.selectorRequest.migrating).to.equal(null);
  });

  it('fails and counts when nobody is left or migration went off', () => {
    const { tables, socks, child } = orphan({ migrateReq: true });
    for (const sk of socks) stop(tables, sk);
    expect(reuseportMigrateSock(tables, socks[0]!, child, null)).to.equal(null);
    expect(tables.net.mib[Mib.TCPMigrateReqFailure]).to.equal(1);
    const second = orphan({ migrateReq: true });
    stop(second.tables, second.socks[0]!);
    second.tables.net.sysctl.tcpMigrateReq = 0;
    expect(reuseportMigrateSock(second.tables, second.socks[0]!, second.child, null)).to.equal(
      null,
    );
    expect(second.tables.net.mib[Mib.TCPMigrateReqFailure]).to.equal(1);
  });

  it('is nothing to count when the listener had no group', () => {
    const { tables, child } = orphan({});
    expect(reuseportMigrateSock(tables, sock(), child, null)).to.equal(null);
    expect(tables.net.mib[Mib.TCPMigrateReqFailure]).to.equal(0);
  });
});
