/** src/reuseport/group.ts: order, growth, the closed section, selectors' attachment rules. */
import { expect } from 'chai';
import fc from 'fast-check';
import { EBUSY, EINVAL, ENOENT, ENOMEM } from '../../src/net/errno.js';
import {
  type ReuseportGroup,
  reuseportAddSock,
  reuseportAlloc,
  reuseportAttachSelector,
  reuseportDetachSelector,
  reuseportDetachSock,
  reuseportIsClosed,
  reuseportResurrect,
  reuseportStopListenSock,
  reuseportUpdateIncomingCpu,
} from '../../src/reuseport/group.js';
import { inetHashListen, inetUnhashListen } from '../../src/reuseport/hash-listen.js';
import type { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import { AF_INET6, type SockCommon } from '../../src/reuseport/sock-common.js';
import { bind, close, ip, listen, listener, makeTables, sock, stop } from './fixtures.js';

const US = ip('198.18.0.1');
const zero = (): number => 0;

function live(group: ReuseportGroup): (SockCommon | null)[] {
  return group.socks.slice(0, group.numSocks);
}

function closed(group: ReuseportGroup): (SockCommon | null)[] {
  return group.socks.slice(group.maxSocks - group.numClosedSocks).reverse();
}

describe('reuseport/group: order', () => {
  it('is that of listen(), and a hole is filled by the last', () => {
    const tables = makeTables();
    const socks = [0, 1, 2, 3].map(() => sock({ reuseport: true }));
    for (const sk of socks) expect(bind(tables, sk, US, 80)).to.equal(0);
    for (const i of [2, 0, 3, 1]) expect(listen(tables, socks[i]!)).to.equal(0);
    const group = socks[0]!.reuseportCb!;
    const order = (): number[] => live(group).map((sk) => socks.indexOf(sk!));
    expect(order()).to.deep.equal([2, 0, 3, 1]);
    close(tables, socks[2]!);
    expect(order()).to.deep.equal([1, 0, 3]);
    expect(socks[2]!.reuseportCb).to.equal(null);
    socks.push(listener(tables, US, 80));
    expect(order()).to.deep.equal([1, 0, 3, 4]);
    expect(socks.map((sk) => sk.reuseportSlot)).to.deep.equal([1, 0, -1, 2, 3]);
  });

  it('a single listener has a group, without SO_REUSEPORT none', () => {
    const tables = makeTables();
    expect(listener(tables, US, 80).reuseportCb!.numSocks).to.equal(1);
    expect(listener(tables, US, 81, { reuseport: false }).reuseportCb).to.equal(null);
  });

  it('joins only with equal address, port, device, family, V6ONLY and user', () => {
    const tables = makeTables();
    const v6 = { family: AF_INET6 };
    const groups = [
      listener(tables, US, 80),
      listener(tables, 0, 80),
      listener(tables, US, 81),
      listener(tables, US + 1, 80),
      listener(tables, US, 80, { boundDevIf: 1 }),
      listener(tables, US, 80, { boundDevIf: 2 }),
      listener(tables, 0, 80, v6),
      listener(tables, 0, 80, { ...v6, ipv6only: true }),
      // ::ffff:198.18.0.1
      listener(tables, US, 80, v6),
    ].map((sk) => sk.reuseportCb!);
    expect(new Set(groups).size).to.equal(groups.length);
    expect(new Set(groups.map((group) => group.id)).size).to.equal(groups.length);
    expect(groups.map((group) => group.bindInany)).to.deep.equal([
      false,
      true,
      false,
      false,
      false,
      false,
      true,
      true,
      false,
    ]);
    expect(listener(tables, US, 80, { boundDevIf: 1 }).reuseportCb).to.equal(groups[4]);
    expect(listener(tables, 0, 80, { ...v6, ipv6only: true }).reuseportCb).to.equal(groups[7]);
    // Users meet on one port only where devices keep them apart.
    const other = listener(tables, US, 90, { boundDevIf: 1, uid: 1 });
    const mine = listener(tables, US, 90, { boundDevIf: 2 });
    expect(mine.reuseportCb).not.to.equal(other.reuseportCb);
  });

  it('passes over listeners without SO_REUSEPORT and of another user', () => {
    const tables = makeTables();
    const first = listener(tables, US, 80);
    first.reuseport = false;
    const second = sock({ reuseport: true, rcvSaddr: US, num: 80, state: 10 });
    tables.bhash.bind(second, 80, false);
    expect(inetHashListen(tables, second)).to.equal(0);
    expect(second.reuseportCb).not.to.equal(first.reuseportCb);
    const third = sock({ reuseport: true, rcvSaddr: US, num: 80, state: 10, uid: 9 });
    tables.bhash.bind(third, 80, false);
    expect(inetHashListen(tables, third)).to.equal(0);
    expect(third.reuseportCb).not.to.equal(second.reuseportCb);
  });

  it('makes a group for a member that has none yet', () => {
    const tables = makeTables();
    const early = listener(tables, US, 80, { reuseport: false });
    early.reuseport = true;
    const late = listener(tables, US, 80);
    expect(live(late.reuseportCb!)).to.have.ordered.members([early, late]);
  });

  it('is left untouched by unhashing what does not listen', () => {
    const tables = makeTables();
    const sk = sock({ reuseport: true });
    reuseportAttachSelector(tables, sk, zero);
    inetUnhashListen(tables, sk);
    expect(sk.reuseportCb!.numSocks).to.equal(1);
    reuseportDetachSock(sk);
    reuseportDetachSock(sk);
    expect(sk.reuseportCb).to.equal(null);
    expect(() => inetHashListen(tables, sock())).to.throw('without state or port');
  });
});

describe('reuseport/group: size', () => {
  function grow(tables: InetHashinfo, count: number): SockCommon[] {
    const socks = Array.from({ length: count }, () => sock({ reuseport: true }));
    reuseportAlloc(tables, socks[0]!, true);
    for (let i = 1; i < count; i++) {
      expect(reuseportAddSock(tables, socks[i]!, socks[i - 1]!, true)).to.equal(0);
    }
    return socks;
  }

  it('doubles from 128 to 32,768 members, then ENOMEM', () => {
    const tables = makeTables();
    const socks = grow(tables, 128);
    const group = socks[0]!.reuseportCb!;
    const { id } = group;
    expect(group.maxSocks).to.equal(128);
    while (socks.length < 32_768) {
      const sk = sock({ reuseport: true });
      expect(reuseportAddSock(tables, sk, socks[0]!, true)).to.equal(0);
      socks.push(sk);
      if (socks.length === 129) expect(group.maxSocks).to.equal(256);
    }
    expect([group.maxSocks, group.numSocks, group.id]).to.deep.equal([32_768, 32_768, id]);
    const extra = sock({ reuseport: true });
    expect(reuseportAddSock(tables, extra, socks[0]!, true)).to.equal(-ENOMEM);
    expect(extra.reuseportCb).to.equal(null);
    expect(socks.every((sk, i) => sk.reuseportSlot === i && group.socks[i] === sk)).to.equal(true);
    // A stopped listener cannot come from elsewhere either.
    tables.net.sysctl.tcpMigrateReq = 1;
    reuseportAlloc(tables, extra, true);
    reuseportStopListenSock(tables, extra);
    expect(reuseportAddSock(tables, extra, socks[0]!, true)).to.equal(-ENOMEM);
    expect(reuseportIsClosed(extra)).to.equal(true);
    // Room is made at the cost of a closed member.
    reuseportStopListenSock(tables, socks[5]!);
    reuseportStopListenSock(tables, socks[6]!);
    expect(group.numSocks + group.numClosedSocks).to.equal(32_768);
    expect(reuseportAddSock(tables, sock(), socks[0]!, true)).to.equal(0);
    expect(socks[6]!.reuseportCb).to.equal(null);
    expect(closed(group)).to.have.ordered.members([socks[5]]);
  });

  it('keeps both sections when it grows', () => {
    const tables = makeTables({ migrateReq: true });
    const socks = grow(tables, 128);
    const group = socks[0]!.reuseportCb!;
    for (const i of [3, 7, 127]) reuseportStopListenSock(tables, socks[i]!);
    const before = live(group);
    const more = [0, 1, 2, 3].map(() => sock());
    for (const sk of more) reuseportAddSock(tables, sk, socks[0]!, true);
    expect(group.maxSocks).to.equal(256);
    expect(live(group)).to.have.ordered.members([...before, ...more]);
    expect(closed(group)).to.have.ordered.members([socks[3], socks[7], socks[127]]);
  });
});

/** Takes list[i] out as a group does: the last fills the hole. */
function take(list: SockCommon[], i: number): SockCommon {
  const sk = list[i]!;
  list[i] = list[list.length - 1]!;
  list.pop();
  return sk;
}

/** Applies one operation to the group and to the model: live members, stopped members. */
function apply(
  tables: InetHashinfo,
  here: SockCommon[],
  gone: SockCommon[],
  op: string,
  at: number,
  cpu: number,
): void {
  if (op === 'join') {
    const sk = sock({ incomingCpu: cpu });
    reuseportAddSock(tables, sk, here[0]!, false);
    here.push(sk);
  } else if (op === 'return') {
    if (gone.length === 0) return;
    const sk = take(gone, at % gone.length);
    reuseportAddSock(tables, sk, here[0]!, false);
    here.push(sk);
  } else if (op === 'cpu') {
    reuseportUpdateIncomingCpu(here[at % here.length]!, cpu);
  } else if (here.length > 1) {
    const sk = take(here, at % here.length);
    if (op === 'stop') {
      reuseportStopListenSock(tables, sk);
      gone.push(sk);
    } else {
      reuseportDetachSock(sk);
    }
  }
}

/**
 * Both sections of `group` are these sockets in this order, each knows its place, the CPU count is
 * right.
 */
function expectSections(group: ReuseportGroup, here: SockCommon[], gone: SockCommon[]): void {
  const all = [...here, ...gone];
  expect(live(group)).to.have.ordered.members(here);
  expect(closed(group)).to.have.ordered.members(gone);
  expect(all.every((sk) => group.socks[sk.reuseportSlot] === sk)).to.equal(true);
  expect(gone.every(reuseportIsClosed)).to.equal(true);
  expect(here.some(reuseportIsClosed)).to.equal(false);
  expect(group.incomingCpu).to.equal(all.filter((sk) => sk.incomingCpu >= 0).length);
}

describe('reuseport/group: against two lists', () => {
  it('join, leave, stop and return keep order, counts and places', () => {
    const step = fc.record({
      op: fc.constantFrom('join', 'join', 'leave', 'stop', 'return', 'cpu'),
      at: fc.nat(),
      cpu: fc.integer({ min: -1, max: 2 }),
    });
    fc.assert(
      fc.property(fc.array(step, { maxLength: 60, size: 'max' }), (steps) => {
        const tables = makeTables({ migrateReq: true, buckets: 16 });
        const first = listener(tables, US, 80);
        const group = first.reuseportCb!;
        const here = [first];
        const gone: SockCommon[] = [];
        for (const { op, at, cpu } of steps) {
          apply(tables, here, gone, op, at, cpu);
        }
        expectSections(group, here, gone);
      }),
      { numRuns: 150 },
    );
  });
});

describe('reuseport/group: listeners that stop and return', () => {
  it('without migration a stopped listener leaves at once', () => {
    const tables = makeTables();
    const [a, b] = [listener(tables, US, 80), listener(tables, US, 80)];
    stop(tables, a);
    expect(a.reuseportCb).to.equal(null);
    expect(reuseportIsClosed(a)).to.equal(false);
    expect(live(b.reuseportCb!)).to.have.ordered.members([b]);
    expect(listen(tables, a)).to.equal(0);
    expect(live(b.reuseportCb!)).to.have.ordered.members([b, a]);
  });

  it('Linux 5.0 knows no migration, whatever the knob says', () => {
    const tables = makeTables({ profile: '5.0', migrateReq: true });
    const a = listener(tables, US, 80);
    listener(tables, US, 80);
    stop(tables, a);
    expect(a.reuseportCb).to.equal(null);
  });

  it('a migrating selector keeps it in the closed section, an ordinary one does not', () => {
    for (const migrates of [true, false]) {
      const tables = makeTables();
      const [a, b] = [listener(tables, US, 80), listener(tables, US, 80)];
      expect(reuseportAttachSelector(tables, b, zero, migrates)).to.equal(0);
      stop(tables, a);
      expect(reuseportIsClosed(a)).to.equal(migrates);
    }
  });

  it('the last to come back starts a new group without the selector', () => {
    const tables = makeTables({ migrateReq: true });
    const [a, b] = [listener(tables, US, 80), listener(tables, US, 80)];
    const old = a.reuseportCb!;
    reuseportAttachSelector(tables, a, zero);
    stop(tables, a);
    stop(tables, b);
    expect([old.numSocks, old.numClosedSocks, old.empty]).to.deep.equal([0, 2, false]);
    expect(listen(tables, b)).to.equal(0);
    expect(b.reuseportCb).not.to.equal(old);
    expect(b.reuseportCb!.selector).to.equal(null);
    expect(closed(old)).to.have.ordered.members([a]);
    // The other moves over to the group that listens now.
    expect(listen(tables, a)).to.equal(0);
    expect(live(b.reuseportCb!)).to.have.ordered.members([b, a]);
    expect(old.empty).to.equal(true);
  });

  it('only a stopped listener can be resurrected', () => {
    const tables = makeTables({ migrateReq: true });
    const a = listener(tables, US, 80);
    expect(() => reuseportResurrect(tables, a, null, false)).to.throw('closed section');
    expect(() => reuseportResurrect(tables, sock(), null, false)).to.throw('closed section');
    reuseportStopListenSock(tables, sock());
    expect(a.reuseportCb!.numSocks).to.equal(1);
  });

  it('a member of a larger group joins no other', () => {
    const tables = makeTables();
    const a = listener(tables, US, 80);
    listener(tables, US, 80);
    const c = listener(tables, US, 81);
    expect(reuseportAddSock(tables, a, c, false)).to.equal(-EBUSY);
    const alone = listener(tables, US, 82);
    expect(reuseportAddSock(tables, alone, c, false)).to.equal(0);
    expect(live(c.reuseportCb!)).to.have.ordered.members([c, alone]);
    // Through listen(): what was refused does not listen.
    const busy = sock({ reuseport: true, rcvSaddr: US, num: 81, state: 10 });
    tables.bhash.bind(busy, 81, false);
    reuseportAddSock(tables, busy, a, false);
    expect(inetHashListen(tables, busy)).to.equal(-EBUSY);
    expect(busy.lhash2Slot).to.equal(-1);
  });
});

describe('reuseport/group: attaching selectors', () => {
  it('needs SO_REUSEPORT on a fresh socket and a group on a listener', () => {
    const tables = makeTables();
    expect(reuseportAttachSelector(tables, sock(), zero)).to.equal(-EINVAL);
    const plain = listener(tables, US, 80, { reuseport: false });
    expect(reuseportAttachSelector(tables, plain, zero)).to.equal(-EINVAL);
    plain.reuseport = true;
    expect(reuseportAttachSelector(tables, plain, zero)).to.equal(-EINVAL);
    const fresh = sock({ reuseport: true });
    expect(reuseportAttachSelector(tables, fresh, zero)).to.equal(0);
    expect(fresh.reuseportCb!.bindInany).to.equal(false);
    expect(bind(tables, fresh, 0, 81) || listen(tables, fresh)).to.equal(0);
    expect(fresh.reuseportCb!.bindInany).to.equal(true);
  });

  it('replaces the selector of the whole group', () => {
    const tables = makeTables();
    const [a, b] = [listener(tables, US, 80), listener(tables, US, 80)];
    const one = (): number => 1;
    reuseportAttachSelector(tables, a, zero, true);
    reuseportAttachSelector(tables, b, one);
    expect(a.reuseportCb!.selector).to.equal(one);
    expect(a.reuseportCb!.selectorMigrates).to.equal(false);
  });

  it('of a stopped listener goes to a group of its own', () => {
    const tables = makeTables({ migrateReq: true });
    const [a, b] = [listener(tables, US, 80), listener(tables, US, 80)];
    stop(tables, a);
    expect(reuseportAttachSelector(tables, a, zero)).to.equal(0);
    expect(a.reuseportCb).not.to.equal(b.reuseportCb);
    expect(b.reuseportCb!.selector).to.equal(null);
  });

  it('detaches once', () => {
    const tables = makeTables({ migrateReq: true });
    expect(reuseportDetachSelector(sock())).to.equal(-EINVAL);
    expect(reuseportDetachSelector(sock({ reuseport: true }))).to.equal(-ENOENT);
    const [a, b] = [listener(tables, US, 80), listener(tables, US, 80)];
    expect(reuseportDetachSelector(a)).to.equal(-ENOENT);
    reuseportAttachSelector(tables, a, zero);
    stop(tables, a);
    expect(reuseportDetachSelector(a)).to.equal(-ENOENT);
    expect(reuseportDetachSelector(b)).to.equal(0);
    expect(reuseportDetachSelector(b)).to.equal(-ENOENT);
  });
});
