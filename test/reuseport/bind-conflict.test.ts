/**
 * src/reuseport/get-port.ts against an oracle written from the rules of bind() and listen(): a list
 * of owners that is walked, and what the kernel remembers of a port. Random histories of calls,
 * children, TIME-WAIT owners, options that change after bind(), selectors before and after it.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { EADDRINUSE } from '../../src/net/errno.js';
import type { Profile } from '../../src/net/sysctl.js';
import { TCP_ESTABLISHED, TCP_LISTEN, TCP_TIME_WAIT } from '../../src/net/tcp-states.js';
import { inetBindTransfer } from '../../src/reuseport/bhash.js';
import { reuseportAttachSelector } from '../../src/reuseport/group.js';
import type { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import {
  AF_INET,
  AF_INET6,
  SK_TIMEWAIT,
  type SockCommon,
} from '../../src/reuseport/sock-common.js';
import {
  accept,
  bind,
  close,
  listen,
  makeTables,
  type SockFields,
  sock,
  stop,
} from './fixtures.js';

const firstMember = (): number => 0;
const PORTS = [5001, 5002];

/** Local endpoints that a socket receives for: three IPv4 addresses and one IPv6 address. */
function covers(sk: SockCommon): Set<string> {
  if (sk.rcvSaddr !== 0) return new Set([`v4 ${sk.rcvSaddr}`]);
  const v4 = [11, 12, 13].map((addr) => `v4 ${addr}`);
  if (sk.family === AF_INET) return new Set(v4);
  return new Set(sk.ipv6only ? ['v6'] : [...v4, 'v6']);
}

/** A socket, its port while it owns one, and its group: none, live in one, or stopped in one. */
interface Owner {
  sk: SockCommon;
  port: number;
  group: 'none' | 'live' | 'stopped';
}

/** Neither device nor address keeps the two apart. */
function meet(a: SockCommon, b: SockCommon): boolean {
  if (a.boundDevIf !== 0 && b.boundDevIf !== 0 && a.boundDevIf !== b.boundDevIf) return false;
  const here = covers(b);
  return [...covers(a)].some((endpoint) => here.has(endpoint));
}

/** Both could stand in one reuseport group. */
function groupable(self: Owner, { sk }: Owner): boolean {
  const sameUser = self.sk.uid === sk.uid || sk.state === TCP_TIME_WAIT;
  return self.sk.reuseport && sk.reuseport && sameUser && self.group !== 'live';
}

const bothReuse = (a: SockCommon, b: SockCommon): boolean =>
  a.reuse && b.reuse && b.state !== TCP_LISTEN;

/** The table's rows for a port that was asked for. */
function agree(self: Owner, other: Owner): boolean {
  return !meet(self.sk, other.sk) || bothReuse(self.sk, other.sk) || groupable(self, other);
}

/** What the kernel remembers of a port's owners, for those who share it. */
interface Memory {
  reuse: boolean;
  reuseport: 'no' | 'any' | 'strict';
  of: SockCommon | null;
}

interface Fields {
  reuse: boolean;
  reuseport: boolean;
  uid: number;
  boundDevIf: number;
  family: number;
  ipv6only: boolean;
  addr: number;
  port: number;
}

class Model {
  readonly owners: Owner[] = [];
  readonly tables: InetHashinfo;
  readonly memory = new Map<number, Memory>();
  private readonly old: boolean;

  constructor(migrateReq: boolean, profile: Profile) {
    this.old = profile === '5.0';
    this.tables = makeTables({ migrateReq, profile, buckets: 16 });
  }

  private at(port: number): Owner[] {
    return this.owners.filter((owner) => owner.port === port);
  }

  private remembersReuseport({ sk, group }: Owner, { reuseport, of }: Memory): boolean {
    if (reuseport === 'no' || !sk.reuseport || group !== 'none' || of!.uid !== sk.uid) return false;
    if (reuseport === 'any') return true;
    if (of!.family === AF_INET6) return sk.family === AF_INET6 || !of!.ipv6only;
    // A remembered 0.0.0.0 is taken for `::` too, unless that is V6ONLY.
    return !sk.ipv6only && (of!.rcvSaddr === 0 || of!.rcvSaddr === sk.rcvSaddr);
  }

  /** May it, and then what is remembered. */
  private ask(self: Owner, listening: boolean): boolean {
    const { sk, port } = self;
    const others = this.at(port).filter((other) => other !== self);
    const memory = this.memory.get(port) ?? { reuse: false, reuseport: 'no', of: null };
    const short = (memory.reuse && sk.reuse && !listening) || this.remembersReuseport(self, memory);
    if (!short && !others.every((other) => agree(self, other))) return false;
    const fresh = others.length === 0 && this.old;
    const next: Memory = { ...memory, reuse: sk.reuse && !listening && (fresh || memory.reuse) };
    if (!sk.reuseport) next.reuseport = 'no';
    else if (fresh || !this.remembersReuseport(self, memory)) {
      next.reuseport = fresh ? 'any' : 'strict';
      next.of = Object.assign(sock(), {
        uid: sk.uid,
        rcvSaddr: sk.rcvSaddr,
        family: sk.family,
        ipv6only: sk.ipv6only,
      });
    }
    this.memory.set(port, next);
    return true;
  }

  private forgetUnowned(): void {
    for (const port of PORTS) if (this.at(port).length === 0) this.memory.delete(port);
  }

  bind(options: Fields, attach: boolean): void {
    const { addr, port, ...rest } = options;
    const sk = sock({ ...rest, ipv6only: rest.family === AF_INET6 && rest.ipv6only });
    const rcvSaddr = rest.family === AF_INET6 ? 0 : addr;
    const owner: Owner = { sk, port, group: attach && sk.reuseport ? 'live' : 'none' };
    if (attach) reuseportAttachSelector(this.tables, sk, firstMember);
    sk.rcvSaddr = rcvSaddr;
    const ok = this.ask(owner, false);
    expect(bind(this.tables, sk, rcvSaddr, port)).to.equal(ok ? 0 : -EADDRINUSE);
    if (ok) this.owners.push(owner);
  }

  private listen(owner: Owner): void {
    if (owner.sk.state !== 7) return;
    const ok = this.ask(owner, true);
    expect(listen(this.tables, owner.sk)).to.equal(ok ? 0 : -EADDRINUSE);
    if (ok && owner.sk.reuseport) owner.group = 'live';
  }

  private remove(owner: Owner): void {
    close(this.tables, owner.sk);
    this.owners.splice(this.owners.indexOf(owner), 1);
    this.forgetUnowned();
  }

  private stop(owner: Owner): void {
    stop(this.tables, owner.sk);
    const migrates = this.tables.net.sysctl.tcpMigrateReq !== 0 && !this.old;
    if (owner.group !== 'none') owner.group = migrates ? 'stopped' : 'none';
  }

  private wait(owner: Owner): void {
    const { reuse, reuseport, uid, rcvSaddr, num, boundDevIf } = owner.sk;
    const fields = { reuse, reuseport, uid, rcvSaddr, num, boundDevIf, state: TCP_TIME_WAIT };
    const tw = sock(fields, SK_TIMEWAIT);
    inetBindTransfer(owner.sk, tw);
    owner.sk = tw;
  }

  /** A selector for a socket that is bound already: the third row of the table. */
  private attach(owner: Owner): void {
    const { sk } = owner;
    if (sk.state !== 7 || !sk.reuseport) return;
    expect(reuseportAttachSelector(this.tables, sk, firstMember)).to.equal(0);
    owner.group = 'live';
  }

  run(op: string, owner: Owner, dport: number): void {
    const { sk } = owner;
    if (op === 'listen') this.listen(owner);
    else if (op === 'close') this.remove(owner);
    else if (op === 'attach') this.attach(owner);
    else if (op === 'reuse' && sk.state !== TCP_LISTEN) sk.reuse = !sk.reuse;
    else if (op === 'reuseport' && sk.state !== TCP_LISTEN) sk.reuseport = !sk.reuseport;
    else if (op === 'stop' && sk.state === TCP_LISTEN) this.stop(owner);
    else if (op === 'accept' && sk.state === TCP_LISTEN && sk.family === AF_INET) {
      const child = accept(this.tables, sk, sk.rcvSaddr || 12, 99, dport);
      this.owners.push({ sk: child, port: owner.port, group: 'none' });
    } else if (op === 'wait' && sk.state === TCP_ESTABLISHED) this.wait(owner);
  }

  checkCounts(): void {
    for (const port of PORTS) {
      const counted = this.tables.bhash.findPort(port)?.ownerCount ?? 0;
      expect(counted).to.equal(this.at(port).length);
    }
  }
}

const fields: fc.Arbitrary<Fields> = fc.record({
  reuse: fc.boolean(),
  reuseport: fc.boolean(),
  uid: fc.nat(1),
  boundDevIf: fc.constantFrom(0, 0, 0, 1, 2),
  family: fc.constantFrom(AF_INET, AF_INET, AF_INET, AF_INET6),
  ipv6only: fc.boolean(),
  addr: fc.constantFrom(0, 0, 11, 12, 13),
  port: fc.constantFrom(...PORTS),
});

describe('reuseport: bind() and listen() against the rules', () => {
  const ops = ['bind', 'bind', 'bind', 'bindAttached', 'listen', 'listen', 'close', 'accept'];
  ops.push('wait', 'stop', 'reuse', 'reuseport', 'attach');
  const step = fc.record({ op: fc.constantFrom(...ops), at: fc.nat(), fields });
  const steps = fc.array(step, { maxLength: 40, size: 'max' });

  for (const profile of ['6.18', '5.0'] as const) {
    it(`every call of random histories is answered by them (${profile})`, () => {
      const property = fc.property(steps, fc.boolean(), (history, migrateReq) => {
        const model = new Model(migrateReq, profile);
        let dport = 1;
        for (const { op, at, fields: options } of history) {
          const { length } = model.owners;
          if (op.startsWith('bind')) model.bind(options, op === 'bindAttached');
          else if (length > 0) model.run(op, model.owners[at % length]!, dport++);
        }
        model.checkCounts();
      });
      fc.assert(property, { numRuns: 400 });
    });
  }
});

describe('reuseport: bind(0) against the rules', () => {
  const mix = fc.record({
    reuse: fc.boolean(),
    reuseport: fc.boolean(),
    uid: fc.nat(1),
    addr: fc.constantFrom(0, 11, 12),
    listens: fc.boolean(),
  });

  /** Only with ip_autobind_reuse, and not for those that could stand in one group. */
  function shares(self: Owner, other: Owner, relax: boolean): boolean {
    if (!meet(self.sk, other.sk)) return true;
    return relax && bothReuse(self.sk, other.sk) && !groupable(self, other);
  }

  /** The ports of `open` that `self` may get, by sharing only if there is no other way. */
  function freePorts(self: Owner, owners: Owner[], open: number[], share: boolean): number[] {
    const free = (port: number, relax: boolean): boolean =>
      owners.every((other) => other.port !== port || shares(self, other, relax));
    const strict = open.filter((port) => free(port, false));
    return strict.length > 0 || !share ? strict : open.filter((port) => free(port, true));
  }

  it('takes a port that is free by them, or says that there is none', () => {
    const property = fc.property(
      fc.array(mix, { maxLength: 12, size: 'max' }),
      // In a range of odd size the kernel's walk, in pairs, may miss one port.
      fc.constantFrom(1, 2, 4, 6),
      fc.subarray([0, 1, 2, 3, 4, 5]),
      fc.boolean(),
      (mixes, count, reserved, autobindReuse) => {
        const last = 40_000 + count - 1;
        const tables = makeTables({ range: [40_000, last], autobindReuse });
        const { ipLocalReservedPorts } = tables.net.sysctl;
        for (const i of reserved) ipLocalReservedPorts.addRange(40_000 + i, 40_000 + i);
        const range = Array.from({ length: count }, (_, i) => 40_000 + i);
        const open = range.filter((port) => !ipLocalReservedPorts.has(port));
        const owners: Owner[] = [];
        for (const { addr, listens, ...options } of mixes) {
          const self: Owner = { sk: sock({ ...options, rcvSaddr: addr }), port: 0, group: 'none' };
          const choice = freePorts(self, owners, open, autobindReuse);
          const result = bind(tables, self.sk, addr, 0);
          expect(result).to.equal(choice.length > 0 ? 0 : -EADDRINUSE);
          if (result !== 0) continue;
          self.port = self.sk.num;
          expect(choice).to.include(self.port);
          owners.push(self);
          if (listens && listen(tables, self.sk) === 0 && self.sk.reuseport) self.group = 'live';
        }
      },
    );
    fc.assert(property, { numRuns: 300 });
  });
});

describe('reuseport: properties of the kernel’s own tests', () => {
  /** 0.0.0.0, an address, the same as a mapped one, `::`, and `::` that is V6ONLY. */
  const forms: { family: number; addr: number; ipv6only?: boolean }[] = [
    { family: AF_INET, addr: 0 },
    { family: AF_INET, addr: 11 },
    { family: AF_INET6, addr: 11 },
    { family: AF_INET6, addr: 0 },
    { family: AF_INET6, addr: 0, ipv6only: true },
  ];
  type Form = (typeof forms)[number];

  /** `::` holds for both families, V6ONLY for one. */
  function apart(a: Form, b: Form): boolean {
    const sixes = a.family === AF_INET6 && b.family === AF_INET6 && a.addr === b.addr;
    return (a.ipv6only === true) !== (b.ipv6only === true) && !sixes;
  }

  /** Binds `order` one after the other; each finds those who got in before. */
  function bindAll(tables: InetHashinfo, order: readonly Form[], mode: SockFields): void {
    const held: Form[] = [];
    for (const form of order) {
      const { addr, ...fields } = form;
      const shared = mode.reuse === true || mode.reuseport === true;
      const free = shared || held.every((other) => apart(form, other));
      const result = bind(tables, sock({ ...mode, ...fields }), addr, 80);
      expect(result).to.equal(free ? 0 : -EADDRINUSE);
      if (free) held.push(form);
    }
  }

  it('bind_wildcard: a conflict does not depend on who came first, V6ONLY keeps apart', () => {
    for (const profile of ['6.18', '5.0'] as const) {
      for (const mode of [{}, { reuse: true }, { reuseport: true }]) {
        for (const first of forms) {
          for (const second of forms) {
            bindAll(makeTables({ profile }), [first, second, ...forms], mode);
          }
        }
      }
    }
  });

  it('reuseaddr_conflict: a bind to `::` in between lets no SO_REUSEPORT socket in', () => {
    for (const profile of ['6.18', '5.0'] as const) {
      for (const ipv6only of [false, true]) {
        const tables = makeTables({ profile });
        const rp = { reuseport: true };
        expect(bind(tables, sock(), 11, 80)).to.equal(0);
        expect(bind(tables, sock(rp), 0, 80)).to.equal(-EADDRINUSE);
        const six = sock({ ...rp, family: AF_INET6, ipv6only });
        expect(bind(tables, six, 0, 80)).to.equal(ipv6only ? 0 : -EADDRINUSE);
        expect(bind(tables, sock(rp), 0, 80)).to.equal(-EADDRINUSE);
        close(tables, six);
        expect(bind(tables, sock(rp), 0, 80)).to.equal(-EADDRINUSE);
        expect(bind(tables, sock(rp), 12, 80), 'another address').to.equal(0);
      }
    }
  });

  it('bind_timewait: a port of TIME-WAIT alone is in use', () => {
    const tables = makeTables();
    const old = sock();
    expect(bind(tables, old, 11, 80)).to.equal(0);
    inetBindTransfer(old, sock({ rcvSaddr: 11, num: 80, state: TCP_TIME_WAIT }, SK_TIMEWAIT));
    for (const addr of [0, 11]) expect(bind(tables, sock(), addr, 80)).to.equal(-EADDRINUSE);
    expect(bind(tables, sock(), 12, 80)).to.equal(0);
  });

  it('reuseaddr_ports_exhausted: who shares the only port of the range', () => {
    const options = [false, true].flatMap((reuse) =>
      [false, true].map((reuseport) => ({ reuse, reuseport })),
    );
    for (const autobindReuse of [false, true]) {
      for (const a of options) {
        for (const b of options) {
          for (const uid of [0, 1]) {
            const tables = makeTables({ range: [40_000, 40_000], autobindReuse });
            expect(bind(tables, sock(a), 11, 0)).to.equal(0);
            const grouped = a.reuseport && b.reuseport && uid === 0;
            const shared = autobindReuse && a.reuse && b.reuse && !grouped;
            const result = bind(tables, sock({ ...b, uid }), 11, 0);
            expect(result).to.equal(shared ? 0 : -EADDRINUSE);
          }
        }
      }
    }
  });
});
