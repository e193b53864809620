/**
 * src/reuseport/get-port.ts: who may have which port, as measured, and which port is chosen. Random
 * histories against the rules are in bind-conflict.test.ts.
 */
import { expect } from 'chai';
import { EADDRINUSE } from '../../src/net/errno.js';
import { TCP_TIME_WAIT } from '../../src/net/tcp-states.js';
import { inetBindTransfer, inetPutPort } from '../../src/reuseport/bhash.js';
import { inetCskGetPort, inetRcvSaddrEqual } from '../../src/reuseport/get-port.js';
import { reuseportAttachSelector, reuseportIsClosed } from '../../src/reuseport/group.js';
import type { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import { AF_INET6, SK_TIMEWAIT, type SockCommon } from '../../src/reuseport/sock-common.js';
import {
  accept,
  bind,
  close,
  ip,
  listen,
  listener,
  makeTables,
  type SockFields,
  sock,
  stop,
} from './fixtures.js';

const LO = ip('127.0.0.1');
const RP: SockFields = { reuseport: true };
const RA: SockFields = { reuse: true };
const firstMember = (): number => 0;

describe('reuseport/get-port: the matrix measured on Linux 6.18', () => {
  /** Binds a first socket, then a second at the same or the given address: both, and the result. */
  function pair(
    first: SockFields,
    second: SockFields,
    addrs: readonly [number, number] = [LO, LO],
    listening = false,
  ): { tables: InetHashinfo; a: SockCommon; b: SockCommon; result: number } {
    const tables = makeTables();
    const a = sock(first);
    const b = sock(second);
    expect(bind(tables, a, addrs[0], 80)).to.equal(0);
    if (listening) expect(listen(tables, a)).to.equal(0);
    return { tables, a, b, result: bind(tables, b, addrs[1], 80) };
  }

  it('an option on one side only does not help', () => {
    for (const mix of [{}, RP, RA, { ...RP, ...RA }]) {
      expect(pair({}, mix).result).to.equal(-EADDRINUSE);
      expect(pair(mix, {}).result).to.equal(-EADDRINUSE);
    }
    expect(pair(RP, RA).result).to.equal(-EADDRINUSE);
  });

  it('SO_REUSEPORT on both, first listening: binds and joins', () => {
    const { tables, a, b, result } = pair(RP, RP, [LO, LO], true);
    expect(result).to.equal(0);
    expect(listen(tables, b)).to.equal(0);
    expect(b.reuseportCb).to.equal(a.reuseportCb);
    expect(a.reuseportCb!.numSocks).to.equal(2);
  });

  it('SO_REUSEADDR on both: both bind, one listens', () => {
    const { tables, a, b, result } = pair(RA, RA);
    expect(result).to.equal(0);
    expect(listen(tables, a)).to.equal(0);
    expect(listen(tables, b)).to.equal(-EADDRINUSE);
    expect(b.lhash2Slot).to.equal(-1);
    expect(b.num).to.equal(80);
    expect(pair(RA, RA, [LO, LO], true).result).to.equal(-EADDRINUSE);
  });

  it('SO_REUSEPORT at 0.0.0.0 and at one address: separate groups', () => {
    const { tables, a, b, result } = pair(RP, RP, [0, LO], true);
    expect(result).to.equal(0);
    expect(listen(tables, b)).to.equal(0);
    expect(b.reuseportCb).not.to.equal(a.reuseportCb);
  });

  it('0.0.0.0 overlaps every address, two addresses do not', () => {
    expect(pair({}, {}, [0, LO]).result).to.equal(-EADDRINUSE);
    expect(pair({}, {}, [LO, 0]).result).to.equal(-EADDRINUSE);
    expect(pair({}, {}, [LO, ip('127.0.0.2')]).result).to.equal(0);
  });

  it('a selector attached before the first bind does not keep others out', () => {
    const tables = makeTables();
    const a = sock(RP);
    expect(reuseportAttachSelector(tables, a, firstMember)).to.equal(0);
    expect(bind(tables, a, LO, 80)).to.equal(0);
    expect(listen(tables, a)).to.equal(0);
    const b = sock(RP);
    expect(bind(tables, b, LO, 80)).to.equal(0);
    expect(listen(tables, b)).to.equal(0);
    expect(a.reuseportCb!.numSocks).to.equal(2);
  });

  it('a selector attached before the second bind: that one has a group and joins nobody', () => {
    const tables = makeTables();
    listener(tables, LO, 80);
    const b = sock(RP);
    reuseportAttachSelector(tables, b, firstMember);
    expect(bind(tables, b, LO, 80)).to.equal(-EADDRINUSE);
  });

  it('both bound, selector on the first before listen: it cannot listen, the second can', () => {
    const { tables, a, b } = pair(RP, RP);
    reuseportAttachSelector(tables, a, firstMember);
    expect(listen(tables, a)).to.equal(-EADDRINUSE);
    expect(listen(tables, b)).to.equal(0);
  });

  it('another user may not join', () => {
    expect(pair(RP, { ...RP, uid: 1 }).result).to.equal(-EADDRINUSE);
    expect(pair({ ...RP, uid: 1 }, { ...RP, uid: 1 }).result).to.equal(0);
  });

  it('options count when they are looked at, not when bind() was called', () => {
    const { tables, a, b, result } = pair(RP, RP, [LO, LO], true);
    expect(result).to.equal(0);
    b.reuseport = false;
    expect(listen(tables, b)).to.equal(-EADDRINUSE);
    b.reuseport = true;
    expect(listen(tables, b)).to.equal(0);
    // Set on the first only after its bind: the second may still come.
    const late = sock();
    expect(bind(tables, late, LO, 81)).to.equal(0);
    late.reuseport = true;
    expect(bind(tables, sock(RP), LO, 81)).to.equal(0);
    expect(a.reuseportCb!.numSocks).to.equal(2);
  });

  it('devices keep sockets apart only when both are bound to different ones', () => {
    const eth0: SockFields = { boundDevIf: 1 };
    const eth1: SockFields = { boundDevIf: 2 };
    expect(pair(eth0, eth1).result).to.equal(0);
    expect(pair(eth0, eth0).result).to.equal(-EADDRINUSE);
    expect(pair(eth0, {}).result).to.equal(-EADDRINUSE);
    expect(pair({}, eth0).result).to.equal(-EADDRINUSE);
  });

  it('children outlive their listener as owners', () => {
    for (const options of [RP, RA]) {
      const tables = makeTables();
      const server = sock(options);
      expect(bind(tables, server, 0, 80) || listen(tables, server)).to.equal(0);
      const child = accept(tables, server, LO, ip('10.0.0.1'), 40000);
      close(tables, server);
      expect(bind(tables, sock(), 0, 80)).to.equal(-EADDRINUSE);
      expect(bind(tables, sock(), ip('127.0.0.2'), 80)).to.equal(0);
      const again = sock(options);
      expect(bind(tables, again, LO, 80) || listen(tables, again)).to.equal(0);
      inetPutPort(tables, child);
      close(tables, again);
      expect(bind(tables, sock(), LO, 80)).to.equal(0);
    }
  });

  it('TIME-WAIT alone needs SO_REUSEADDR on both, or SO_REUSEPORT on both of any user', () => {
    const wait = (options: SockFields): InetHashinfo => {
      const tables = makeTables();
      const old = sock(options);
      expect(bind(tables, old, LO, 80)).to.equal(0);
      const tw = sock({ ...options, rcvSaddr: LO, num: 80, state: TCP_TIME_WAIT }, SK_TIMEWAIT);
      inetBindTransfer(old, tw);
      return tables;
    };
    expect(bind(wait({}), sock(), LO, 80)).to.equal(-EADDRINUSE);
    expect(bind(wait({}), sock(RA), LO, 80)).to.equal(-EADDRINUSE);
    expect(bind(wait(RA), sock(), LO, 80)).to.equal(-EADDRINUSE);
    const tables = wait(RA);
    const server = sock(RA);
    expect(bind(tables, server, 0, 80) || listen(tables, server)).to.equal(0);
    expect(bind(wait({ ...RP, uid: 7 }), sock(RP), LO, 80)).to.equal(0);
  });

  it('an IPv6 socket in between does not let a second IPv4 socket in', () => {
    const tables = makeTables();
    expect(bind(tables, sock(), LO, 80)).to.equal(0);
    const dual = sock({ ...RP, family: AF_INET6 });
    const only = sock({ ...RP, family: AF_INET6, ipv6only: true });
    expect(bind(tables, sock(RP), LO, 80)).to.equal(-EADDRINUSE);
    expect(bind(tables, dual, 0, 80)).to.equal(-EADDRINUSE);
    expect(bind(tables, only, 0, 80)).to.equal(0);
    expect(bind(tables, sock(RP), LO, 80)).to.equal(-EADDRINUSE);
    expect(bind(tables, sock(RP), 0, 80)).to.equal(-EADDRINUSE);
  });

  it('a listener that was shut down comes back to its group', () => {
    const tables = makeTables({ migrateReq: true });
    const [a, b] = [listener(tables, LO, 80), listener(tables, LO, 80)];
    stop(tables, a);
    expect(reuseportIsClosed(a)).to.equal(true);
    expect(listen(tables, a)).to.equal(0);
    expect(b.reuseportCb!.socks.slice(0, 2)).to.have.ordered.members([b, a]);
  });
});

describe('reuseport/get-port: addresses', () => {
  it('overlap of addresses is symmetric, equality without wildcards is exact', () => {
    const dual = sock({ family: AF_INET6 });
    const only = sock({ family: AF_INET6, ipv6only: true });
    const [any, lo, other] = [sock(), sock({ rcvSaddr: LO }), sock({ rcvSaddr: LO + 1 })];
    const overlapping = [
      [any, lo],
      [any, any],
      [dual, lo],
      [dual, any],
      [dual, only],
      [lo, lo],
    ] as const;
    const apart = [
      [lo, other],
      [only, lo],
      [only, any],
    ] as const;
    for (const [a, b] of overlapping) {
      expect(inetRcvSaddrEqual(a, b, true)).to.equal(true);
      expect(inetRcvSaddrEqual(b, a, true)).to.equal(true);
    }
    for (const [a, b] of apart) {
      expect(inetRcvSaddrEqual(a, b, true)).to.equal(false);
      expect(inetRcvSaddrEqual(b, a, true)).to.equal(false);
    }
    expect(inetRcvSaddrEqual(any, lo, false)).to.equal(false);
    expect(inetRcvSaddrEqual(lo, any, false)).to.equal(false);
    expect(inetRcvSaddrEqual(dual, any, false)).to.equal(false);
    expect(inetRcvSaddrEqual(any, any, false)).to.equal(true);
  });
});

describe('reuseport/get-port: bind(0)', () => {
  function bindMany(tables: InetHashinfo, count: number, options: SockFields = {}): number[] {
    const ports: number[] = [];
    for (let i = 0; i < count; i++) {
      const sk = sock(options);
      const error = bind(tables, sk, LO, 0);
      ports.push(error === 0 ? sk.num : error);
    }
    return ports;
  }

  it('takes odd ports of the default range', () => {
    for (const port of bindMany(makeTables(), 40)) {
      expect(port % 2).to.equal(1);
      expect(port).to.be.within(32_768, 60_999);
    }
  });

  it('uses up a range of eight exactly, odd ones first', () => {
    const tables = makeTables({ range: [40_000, 40_007] });
    const ports = bindMany(tables, 8);
    expect(ports.slice(0, 4).sort()).to.deep.equal([40_001, 40_003, 40_005, 40_007]);
    expect(ports.slice(4).sort()).to.deep.equal([40_000, 40_002, 40_004, 40_006]);
    expect(bindMany(tables, 1)).to.deep.equal([-EADDRINUSE]);
    expect(bindMany(makeTables({ range: [40_000, 40_000] }), 2)).to.deep.equal([
      40_000,
      -EADDRINUSE,
    ]);
  });

  it('misses a port of a range of three, as Linux does', () => {
    expect(bindMany(makeTables({ range: [40_000, 40_002] }), 3)).to.deep.equal([
      40_001,
      40_000,
      -EADDRINUSE,
    ]);
  });

  it('passes over reserved ports, which may be asked for', () => {
    const tables = makeTables({ range: [40_000, 40_007] });
    tables.net.sysctl.ipLocalReservedPorts.addRange(40_001, 40_004);
    expect(bindMany(tables, 5).sort()).to.deep.equal([-EADDRINUSE, 40_000, 40_005, 40_006, 40_007]);
    expect(bind(tables, sock(), LO, 40_002)).to.equal(0);
  });

  it('keeps to the range of the socket as far as the namespace has it', () => {
    const own = (low: number, high: number): SockFields => ({
      localPortRange: low | (high << 16),
    });
    const rows: [SockFields, number, number][] = [
      [own(40_010, 40_017), 40_010, 40_017],
      [own(40_010, 40_010), 40_010, 40_010],
      [own(40_020, 0), 40_020, 40_031],
      [own(0, 40_003), 40_000, 40_003],
      [own(30_000, 40_005), 40_000, 40_005],
      [own(40_024, 50_000), 40_024, 40_031],
      [own(50_000, 60_000), 40_000, 40_031],
    ];
    for (const [fields, low, high] of rows) {
      const tables = makeTables({ range: [40_000, 40_031] });
      const count = high - low + 1;
      const ports = bindMany(tables, count + 1, fields);
      expect(ports.slice(0, count).sort()).to.deep.equal(
        Array.from({ length: count }, (_, i) => low + i),
      );
      expect(ports[count]).to.equal(-EADDRINUSE);
    }
  });

  it('with SO_REUSEADDR takes the lower half of the range first', () => {
    const tables = makeTables({ range: [40_000, 40_015] });
    const ports = bindMany(tables, 17, RA);
    expect(ports.slice(0, 8).every((port) => port < 40_008)).to.equal(true);
    expect(ports.slice(0, 4).every((port) => port % 2 === 1)).to.equal(true);
    expect(new Set(ports.slice(0, 16)).size).to.equal(16);
    expect(ports[16]).to.equal(-EADDRINUSE);
  });

  it('shares no port by SO_REUSEPORT, and by SO_REUSEADDR only with ip_autobind_reuse', () => {
    const second = (a: SockFields, b: SockFields, autobindReuse: boolean): number => {
      const tables = makeTables({ range: [40_000, 40_000], autobindReuse });
      expect(bindMany(tables, 1, a)).to.deep.equal([40_000]);
      return bindMany(tables, 1, b)[0]!;
    };
    const both: SockFields = { ...RA, ...RP };
    for (const a of [{}, RA, RP, both]) {
      for (const b of [{}, RA, RP, both]) {
        expect(second(a, b, false)).to.equal(-EADDRINUSE);
        const shared = a.reuse === true && b.reuse === true && !(a.reuseport && b.reuseport);
        expect(second(a, b, true)).to.equal(shared ? 40_000 : -EADDRINUSE);
      }
    }
    expect(second(both, { ...both, uid: 1 }, true)).to.equal(40_000);
  });

  it('listen() of an unbound socket binds itself; after shutdown it gets a new port', () => {
    const tables = makeTables();
    const sk = sock();
    expect(listen(tables, sk)).to.equal(0);
    expect(sk.num).to.be.within(32_768, 60_999);
    stop(tables, sk);
    expect(sk.num).to.equal(0);
    expect(tables.bhash.ports).to.equal(0);
    expect(listen(tables, sk)).to.equal(0);
  });

  it('refuses misuse loudly', () => {
    const tables = makeTables();
    const sk = sock();
    bind(tables, sk, LO, 80);
    expect(() => inetCskGetPort(tables, sk, 0)).to.throw('already');
    expect(() => inetCskGetPort(tables, sk, 81)).to.throw('another port');
  });
});

describe('reuseport/get-port: three hundred addresses, eighty listeners each', () => {
  it('looks only at owners of the address and of 0.0.0.0', () => {
    const tables = makeTables({ buckets: 65_536 });
    const base = ip('10.0.0.0');
    let worst = 0;
    const all: SockCommon[] = [];
    for (let i = 0; i < 300; i++) {
      for (let j = 0; j < 80; j++) {
        const before = tables.bhash.visited;
        all.push(listener(tables, base + i, 8080));
        worst = Math.max(worst, tables.bhash.visited - before);
      }
    }
    // At most 79 owners seen by bind(), 80 by listen().
    expect(worst).to.be.at.most(159);
    expect(tables.bhash.findPort(8080)!.ownerCount).to.equal(24_000);
    expect(all[0]!.reuseportCb!.numSocks).to.equal(80);
    const walking = sock();
    const before = tables.bhash.visited;
    expect(bind(tables, walking, base + 7, 8080)).to.equal(-EADDRINUSE);
    expect(bind(tables, walking, base + 300, 8080)).to.equal(0);
    expect(tables.bhash.visited - before).to.equal(1);
    for (const sk of [...all, walking]) close(tables, sk);
    expect(tables.bhash.ports).to.equal(0);
    expect(tables.lhash2.size).to.equal(0);
  });
});
