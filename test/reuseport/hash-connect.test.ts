/**
 * src/reuseport/hash-connect.ts: which local port connect() takes, and when a connection is not
 * unique.
 */
import { expect } from 'chai';
import { EADDRINUSE, EADDRNOTAVAIL, ENOBUFS } from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import { TCP_TIME_WAIT } from '../../src/net/tcp-states.js';
import { inetPutPort } from '../../src/reuseport/bhash.js';
import { inetEhashRemove } from '../../src/reuseport/ehash.js';
import { inetCskGetPort } from '../../src/reuseport/get-port.js';
import { inetHashConnect } from '../../src/reuseport/hash-connect.js';
import type { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import { inetLookupEstablished } from '../../src/reuseport/lookup.js';
import { SK_TIMEWAIT, type SockCommon } from '../../src/reuseport/sock-common.js';
import { accept, bind, ip, listener, makeTables, type SockFields, sock } from './fixtures.js';

const US = ip('198.18.0.1');
const PEER = ip('198.18.0.254');

/** connect(2) from US to PEER:dport; the socket, and what it returned. */
function connect(
  tables: InetHashinfo,
  fields: SockFields = {},
): { sk: SockCommon; result: number } {
  const sk = sock({ rcvSaddr: US, daddr: PEER, dport: 80, ...fields });
  return { sk, result: inetHashConnect(tables, sk) };
}

/** Ports of `count` connects to one destination, or the error. */
function connectMany(tables: InetHashinfo, count: number, fields: SockFields = {}): number[] {
  return Array.from({ length: count }, () => {
    const { sk, result } = connect(tables, fields);
    return result === 0 ? sk.num : result;
  });
}

function disconnect(tables: InetHashinfo, sk: SockCommon): void {
  inetEhashRemove(tables, sk);
  inetPutPort(tables, sk);
}

describe('reuseport/hash-connect', () => {
  // RFC 6056 3.3.4.
  it('takes ports of the low end’s parity first and is found in ehash', () => {
    for (const profile of ['5.0', '6.18'] as const) {
      const tables = makeTables({ profile });
      for (let i = 0; i < 40; i++) {
        const { sk, result } = connect(tables);
        expect(result).to.equal(0);
        expect(sk.num % 2).to.equal(0);
        expect(sk.num).to.be.within(32_768, 60_999);
        expect(inetLookupEstablished(tables, PEER, 80, US, sk.num, 1)).to.equal(sk);
      }
      const odd = makeTables({ profile, range: [40_001, 40_100] });
      for (const port of connectMany(odd, 50)) expect(port % 2).to.equal(1);
      for (const port of connectMany(odd, 50)) expect(port % 2).to.equal(0);
    }
  });

  it('uses up a range exactly, per destination', () => {
    const tables = makeTables({ range: [40_000, 40_007] });
    const ports = connectMany(tables, 9);
    expect(new Set(ports.slice(0, 8)).size).to.equal(8);
    expect(ports.slice(0, 4).every((port) => port % 2 === 0)).to.equal(true);
    expect(ports.slice(4, 8).every((port) => port % 2 === 1)).to.equal(true);
    expect(ports[8]).to.equal(-EADDRNOTAVAIL);
    // The same ports serve another destination.
    expect(new Set(connectMany(tables, 8, { dport: 81 }))).to.deep.equal(
      new Set(ports.slice(0, 8)),
    );
    expect(connectMany(tables, 1, { dport: 81 })).to.deep.equal([-EADDRNOTAVAIL]);
    // A socket that got its port from connect() and listens claims it too.
    const [sk] = tables.bhash.find(ports[0]!, US)!.owners;
    expect(tables.bhash.findPort(ports[0]!)!.connectOnly).to.equal(true);
    expect(inetCskGetPort(tables, sk!, ports[0]!)).to.equal(-EADDRINUSE);
    for (const other of tables.bhash.findPort(ports[0]!)!.buckets!.owners) other.reuse = true;
    expect(inetCskGetPort(tables, sk!, ports[0]!)).to.equal(0);
    expect(tables.bhash.findPort(ports[0]!)!.connectOnly).to.equal(false);
    const one = makeTables({ range: [40_000, 40_000] });
    expect(connectMany(one, 2)).to.deep.equal([40_000, -EADDRNOTAVAIL]);
  });

  it('passes over reserved ports', () => {
    const tables = makeTables({ range: [40_000, 40_005] });
    tables.net.sysctl.ipLocalReservedPorts.addRange(40_002, 40_003);
    expect(connectMany(tables, 5).sort()).to.deep.equal([
      -EADDRNOTAVAIL,
      40_000,
      40_001,
      40_004,
      40_005,
    ]);
  });

  it('takes ports of a range of the socket’s own without regard to parity', () => {
    const tables = makeTables({ range: [40_000, 49_999] });
    const localPortRange = 41_001 | (41_005 << 16);
    const ports = connectMany(tables, 6, { localPortRange });
    expect(ports.slice(0, 5).sort()).to.deep.equal([41_001, 41_002, 41_003, 41_004, 41_005]);
    expect(ports[5]).to.equal(-EADDRNOTAVAIL);
    const steps = new Set<number>();
    let last = -1;
    for (let i = 0; i < 100; i++) {
      const { sk } = connect(tables, { dport: 81, localPortRange: 40_000 | (49_999 << 16) });
      if (last >= 0) steps.add((sk.num - last + 10_000) % 10_000);
      last = sk.num;
      disconnect(tables, sk);
    }
    expect([...steps].sort()).to.deep.equal([1, 2, 3, 4, 5, 6, 7, 8]);
  });

  it('passes over ports that some bind() owns, also after connections joined them', () => {
    const tables = makeTables({ range: [40_000, 40_003] });
    expect(bind(tables, sock({ reuse: true }), US, 40_000)).to.equal(0);
    expect(connectMany(tables, 4).sort()).to.deep.equal([-EADDRNOTAVAIL, 40_001, 40_002, 40_003]);
    // A bind() to a port of connections claims it: no new connection from there.
    const claim = sock({ reuse: true });
    for (const sk of tables.bhash.find(40_002, US)!.owners) sk.reuse = true;
    expect(bind(tables, claim, US, 40_002)).to.equal(0);
    expect(connectMany(tables, 4, { dport: 81 })).to.have.members([
      40_001,
      40_003,
      -EADDRNOTAVAIL,
      -EADDRNOTAVAIL,
    ]);
  });

  it('moves on by 2 in 5.0 and by a random even step of 2..16 today', () => {
    const steps = (profile: '5.0' | '6.18'): Set<number> => {
      const tables = makeTables({ profile });
      const taken = new Set<number>();
      const before = connect(tables).sk;
      let last = before.num;
      disconnect(tables, before);
      for (let i = 0; i < 200; i++) {
        const { sk } = connect(tables);
        taken.add((sk.num - last + 28_232) % 28_232);
        last = sk.num;
        disconnect(tables, sk);
      }
      return taken;
    };
    expect([...steps('5.0')]).to.deep.equal([2]);
    expect([...steps('6.18')].sort((a, b) => a - b)).to.deep.equal([2, 4, 6, 8, 10, 12, 14, 16]);
  });

  it('one destination hastens every other in 5.0, and not today', () => {
    const steps = (['5.0', '6.18'] as const).map((profile) => {
      const tables = makeTables({ profile });
      const portOf = (dport: number): number => {
        const { sk } = connect(tables, { dport });
        const { num } = sk;
        disconnect(tables, sk);
        return num;
      };
      const first = portOf(80);
      for (let dport = 1000; dport < 1050; dport++) portOf(dport);
      return (portOf(80) - first + 28_232) % 28_232;
    });
    expect(steps[0]).to.equal(2 * 51);
    expect(steps[1]).to.be.within(2, 16);
  });

  it('starts behind the ports it had to pass over', () => {
    for (const profile of ['5.0', '6.18'] as const) {
      const tables = makeTables({ profile, range: [40_000, 59_999] });
      const start = connect(tables).sk.num;
      const portAt = (steps: number): number => 40_000 + ((start - 40_000 + steps) % 20_000);
      const others: SockCommon[] = [];
      for (let steps = 2; steps <= 40; steps += 2) {
        others.push(sock());
        expect(bind(tables, others.at(-1)!, US, portAt(steps))).to.equal(0);
      }
      expect(connect(tables).sk.num).to.equal(portAt(42));
      for (const sk of others) inetPutPort(tables, sk);
      expect(connect(tables).sk.num).to.equal(portAt(44));
    }
  });

  it('starts elsewhere for another destination and in another ten seconds, not so in 5.0', () => {
    const first = (dport: number, nowUs: number, profile: '5.0' | '6.18' = '6.18'): number => {
      const tables = makeTables({ seed: 5, profile });
      tables.net.nowUs = nowUs;
      return connect(tables, { dport }).sk.num;
    };
    expect(first(80, 0)).to.equal(first(80, 9.9e6));
    expect(first(80, 0)).not.to.equal(first(81, 0));
    expect(first(80, 0)).not.to.equal(first(80, 10e6));
    expect(first(80, 0, '5.0')).not.to.equal(first(81, 0, '5.0'));
    expect(first(80, 0, '5.0')).to.equal(first(80, 1e9, '5.0'));
  });

  it('from a bound port needs a unique connection only', () => {
    const tables = makeTables();
    const a = sock({ reuse: true });
    expect(bind(tables, a, 0, 40_000)).to.equal(0);
    Object.assign(a, { rcvSaddr: US, daddr: PEER, dport: 80 });
    expect(inetHashConnect(tables, a)).to.equal(0);
    expect(a.bindBucket!.addr).to.equal(US);
    expect(a.num).to.equal(40_000);

    const b = sock({ reuse: true });
    expect(bind(tables, b, US, 40_000)).to.equal(0);
    Object.assign(b, { daddr: PEER, dport: 80 });
    expect(inetHashConnect(tables, b)).to.equal(-EADDRNOTAVAIL);
    expect([b.ehashSlot, b.num]).to.deep.equal([-1, 40_000]);
    // Refused, one bound to any address stays so and the caller may reset its address.
    const c = sock({ reuse: true });
    expect(bind(tables, c, 0, 40_000)).to.equal(0);
    Object.assign(c, { rcvSaddr: US, daddr: PEER, dport: 80 });
    expect(inetHashConnect(tables, c)).to.equal(-EADDRNOTAVAIL);
    expect(c.bindBucket!.addr).to.equal(0);
    b.dport = 81;
    expect(inetHashConnect(tables, b)).to.equal(0);
  });

  it('a full table is ENOBUFS and leaves nothing behind', () => {
    const tables = makeTables({ maxEntries: 2 });
    expect(connectMany(tables, 2).every((port) => port > 0)).to.equal(true);
    const { sk, result } = connect(tables);
    expect(result).to.equal(-ENOBUFS);
    expect([sk.num, sk.bindBucket, sk.ehashSlot]).to.deep.equal([0, null, -1]);
    expect(tables.bhash.ports).to.equal(2);
  });

  describe('over a time-wait socket', () => {
    /** One-port tables whose only connection to PEER:80 is in TIME-WAIT. */
    function waiting(): { tables: InetHashinfo; tw: SockCommon } {
      const tables = makeTables({ range: [40_000, 40_000] });
      const { sk } = connect(tables);
      const tw = sock(
        { rcvSaddr: US, num: 40_000, daddr: PEER, dport: 80, state: TCP_TIME_WAIT },
        SK_TIMEWAIT,
      );
      tw.hash = sk.hash;
      tables.ehash.replace(sk, tw);
      const bucket = sk.bindBucket!;
      bucket.owners[0] = tw;
      tw.bindBucket = bucket;
      tw.bindIndex = 0;
      return { tables, tw };
    }

    it('needs the transport’s consent', () => {
      const { tables, tw } = waiting();
      expect(connect(tables).result).to.equal(-EADDRNOTAVAIL);
      expect(tw.ehashSlot).to.be.at.least(0);
      expect(tables.net.mib[Mib.TWRecycled]).to.equal(0);
    });

    it('takes its places when the transport agrees', () => {
      const { tables, tw } = waiting();
      const asked: [SockCommon, SockCommon, number][] = [];
      tables.twskUnique = (old, sk) => {
        asked.push([old, sk, sk.num]);
        return true;
      };
      const { sk, result } = connect(tables);
      expect(result).to.equal(0);
      expect(asked).to.have.lengthOf(1);
      expect(asked[0]).to.have.ordered.members([tw, sk, 0]);
      expect([tw.ehashSlot, tw.bindBucket]).to.deep.equal([-1, null]);
      expect(tables.bhash.find(40_000, US)!.owners).to.have.ordered.members([sk]);
      expect(tables.net.mib[Mib.TWRecycled]).to.equal(1);
      expect(inetLookupEstablished(tables, PEER, 80, US, 40_000, 1)).to.equal(sk);
      // A live connection is never asked for.
      expect(connect(tables).result).to.equal(-EADDRNOTAVAIL);
      expect(asked).to.have.lengthOf(1);
      disconnect(tables, sk);
      expect(tables.bhash.ports).to.equal(0);
    });

    it('from a bound port likewise, and the hook sees the port', () => {
      const { tables, tw } = waiting();
      tw.reuse = true;
      const sk = sock({ reuse: true });
      expect(bind(tables, sk, US, 40_000)).to.equal(0);
      let seen = 0;
      tables.twskUnique = (_, asking) => {
        seen = asking.num;
        return true;
      };
      Object.assign(sk, { daddr: PEER, dport: 80 });
      expect(inetHashConnect(tables, sk)).to.equal(0);
      expect(seen).to.equal(40_000);
      expect(tables.bhash.findPort(40_000)!.ownerCount).to.equal(1);
      expect(tw.bindBucket).to.equal(null);
    });
  });

  it('never collides with a child that a listener accepted', () => {
    const tables = makeTables({ range: [40_000, 40_001] });
    const server = listener(tables, 0, 40_000);
    accept(tables, server, US, PEER, 80);
    expect(connectMany(tables, 2)).to.deep.equal([40_001, -EADDRNOTAVAIL]);
  });
});
