/**
 * src/tcp/lend.ts and src/net/lent-text.ts: a stack that leaves text in its packets' buffers and
 * one that copies all of it are the same for the peer and for the application, whatever comes; who
 * has how many buffers, and when they come back.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { MIB_NAMES, Mib } from '../../src/net/mib.js';
import { RING_HEAD } from '../../src/net/ring.js';

import { BLOCK_LENT } from '../../src/net/sockmem.js';
import { fileRead, fileReadUrgent } from '../../src/socket/uapi/file-read.js';
import type { Tcb } from '../../src/tcp/tcb.js';
import {
  encodePacket,
  MemoryStack,
  type MemoryStackOptions,
  Peer,
} from '../../src/testing/index.js';

const MSS = 1448;
const SOL_SOCKET = 1;
const SO_OOBINLINE = 10;
const PATTERN = Uint8Array.from({ length: 65_536 + 241 }, (_, i) => i % 241);

/** Bytes that tell their place in the stream and the step that they came in. */
function text(seq: number, length: number, step: number): Uint8Array {
  const first = ((seq >>> 0) + step * 17) % 241;
  return PATTERN.subarray(first, first + length);
}

interface Fields {
  /** From RCV.NXT. */
  seq: number;
  length: number;
  flags: string;
  urgent?: number;
}

/** A stack with some connections on port 80. */
class World {
  readonly host: MemoryStack;
  readonly peers: readonly Peer[];
  readonly fds: readonly number[];

  constructor(connections: number, options: MemoryStackOptions = {}) {
    this.host = new MemoryStack({
      gsoMaxBytes: 65_535,
      arenaBytes: 64 << 20,
      fds: 64,
      sysctl: { 'net.ipv4.tcp_rmem': '4096 4194304 6291456' },
      ...options,
    });
    const { host } = this;
    const listener = host.listen(80);
    this.peers = Array.from(
      { length: connections },
      (_, i) => new Peer(host, { port: 40_000 + i }),
    );
    this.fds = this.peers.map((peer) => {
      peer.in(`S 0:0(0) win 65535 <mss ${MSS},sackOK,nop,wscale 7>`);
      peer.out('S. 0:0(0) ack 1 <...>');
      peer.in('. 1:1(0) ack 1 win 65535');
      return host.accept(listener);
    });
  }

  tcb(which: number): Tcb {
    return this.host.stack.sock(this.fds[which]!)!;
  }

  get pool() {
    return this.host.stack.net.inputSkbs;
  }

  segment(which: number, { seq: from, length, flags, urgent = 0 }: Fields, step = 0): Uint8Array {
    const tcb = this.tcb(which);
    const peer = this.peers[which]!;
    const seq = (tcb.rcvNxt + from) >>> 0;
    return encodePacket({
      ...{ source: peer.address >>> 0, destination: peer.localAddress >>> 0, sport: peer.port },
      ...{ dport: 80, seq, ack: tcb.sndNxt >>> 0, flags, window: 65_535, urgent, options: [] },
      ...{ payload: text(seq, length, step), ttl: 64, tos: 0, id: step, df: true },
    });
  }

  /** `length` bytes in order. @returns the bytes */
  bulk(which: number, length: number, step = 0): Uint8Array {
    const packet = this.segment(which, { seq: 0, length, flags: '.' }, step);
    this.host.inject(packet);
    return packet.subarray(packet.length - length);
  }

  read(which: number, most = 1 << 20): Buffer {
    const bytes = this.host.read(this.fds[which]!, most);
    return typeof bytes === 'number' ? Buffer.alloc(0) : Buffer.from(bytes);
  }

  closeAll(): void {
    for (const fd of this.fds) if (this.host.stack.sock(fd)?.orphan === false) this.host.close(fd);
    this.host.advance(400_000);
  }

  /** No buffer and no page is missing. */
  expectNothingLent(): void {
    const { pool, host } = this;
    expect([pool.out, pool.lent, host.stack.tcp.lenders.length]).to.deep.equal([0, 0, 0]);
    const { inputSkbs, outputSkbs } = host.stack.net;
    const pages = (inputSkbs.made * inputSkbs.capacity + outputSkbs.made * 4096) / 4096;
    // The listener's queue has one.
    expect(host.mem.pagesInUse - pages).to.equal(1);
  }
}

type Step =
  | { kind: 'segment'; which: number; fields: Fields; damage: boolean }
  | { kind: 'read' | 'peek' | 'discard'; which: number; bytes: number; ahead: number }
  | { kind: 'inline'; which: number; value: number }
  | { kind: 'wait'; ms: number };

const fields: fc.Arbitrary<Fields> = fc.record({
  seq: fc.oneof(
    { weight: 24, arbitrary: fc.constant(0) },
    { weight: 8, arbitrary: fc.integer({ min: -30_000, max: 30_000 }) },
  ),
  length: fc.oneof(
    { weight: 8, arbitrary: fc.integer({ min: 3000, max: 60_000 }) },
    { weight: 1, arbitrary: fc.constant(0) },
    { weight: 4, arbitrary: fc.integer({ min: 1, max: 3000 }) },
  ),
  flags: fc.oneof(
    { weight: 50, arbitrary: fc.constantFrom('.', 'P.') },
    { weight: 3, arbitrary: fc.constant('UP.') },
    { weight: 1, arbitrary: fc.constantFrom('FP.', 'R.', 'S.', 'P') },
  ),
  urgent: fc.integer({ min: 0, max: 65_535 }),
});
const which = fc.constantFrom(0, 0, 0, 1);
const seldom = fc.integer({ min: 0, max: 12 }).map((n) => n === 0);
const bytes = fc.constantFrom(1, 100, 5000, 30_000, 1 << 20, 1 << 20);
const ahead = fc.constantFrom(0, 0, 1, 20_000);
const one = <K extends string>(kind: K) =>
  fc.record({ kind: fc.constant(kind), which, bytes, ahead });
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 12,
    arbitrary: fc.record({ kind: fc.constant('segment'), which, fields, damage: seldom }),
  },
  { weight: 5, arbitrary: one('read') },
  { weight: 3, arbitrary: one('peek') },
  { weight: 1, arbitrary: one('discard') },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('inline'), which, value: fc.constantFrom(0, 1) }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ kind: fc.constant('wait'), ms: fc.constantFrom(1, 40, 600, 3000) }),
  },
) as fc.Arbitrary<Step>;
const steps = fc.array(step, { minLength: 20, maxLength: 60, size: 'max' });

const OURS = new Set<string>(['TunTextLent', 'TunTextCopied']);

/** All that a peer, an application and a tool can see. */
function face({ host, fds }: World): string {
  const counters = MIB_NAMES.flatMap((name, i) => {
    const value = host.stack.net.mib[i]!;
    return OURS.has(name) || value === 0 ? [] : [`${name} ${value}`];
  });
  const connections = fds.map((fd) => {
    const tcb = host.stack.sock(fd);
    if (tcb === null) return null;
    const { state, rcvNxt, rcvWup, rcvWnd, rcvSpace, error } = tcb;
    const urgent = fileReadUrgent(host.mem, fd, true);
    return [state, rcvNxt, rcvWup, rcvWnd, rcvSpace, error, host.ready(fd), urgent];
  });
  const sent = host.sent.splice(0).map((packet) => Buffer.from(packet).toString('hex'));
  return JSON.stringify({ counters, connections, sent, events: host.events.splice(0) }, null, 1);
}

/** What a call of the application gives: an errno, or the bytes. */
function call(world: World, at: Step & { kind: 'read' | 'peek' | 'discard' }): string {
  const { host, fds } = world;
  const fd = fds[at.which]!;
  if (at.kind === 'read') {
    const got = host.read(fd, at.bytes);
    return typeof got === 'number' ? `${got}` : Buffer.from(got).toString('latin1');
  }
  const target = at.kind === 'peek' ? Buffer.alloc(at.bytes) : null;
  const looks = at.kind === 'peek';
  const count = fileRead(host.mem, fd, 1, target, 0, at.bytes, looks, looks ? at.ahead : 0);
  return `${count} ${target?.subarray(0, Math.max(0, count)).toString('latin1')}`;
}

/** One step in both worlds. */
function take(worlds: readonly [World, World], at: Step, number: number): void {
  const [{ host, fds }] = worlds;
  if (at.kind === 'wait') {
    for (const world of worlds) world.host.advance(at.ms);
  } else if (at.kind === 'inline') {
    for (const world of worlds) {
      world.host.stack.setsockopt(fds[at.which]!, SOL_SOCKET, SO_OOBINLINE, at.value, 0);
    }
  } else if (at.kind !== 'segment') {
    const [got, wanted] = worlds.map((world) => call(world, at));
    expect(got === wanted, `${at.kind}: ${got!.length} and ${wanted!.length}`).to.equal(true);
  } else if (host.stack.sock(fds[at.which]!) !== null) {
    const packet = worlds[0].segment(at.which, at.fields, number);
    if (at.damage) packet[packet.length - 1]! ^= 1;
    for (const world of worlds) world.host.inject(packet);
  }
  expect(face(worlds[0])).to.equal(face(worlds[1]));
}

describe('tcp/lend', () => {
  it('random segments: lent and copied, all is the same, and all comes back', () => {
    let lent = 0;
    fc.assert(
      fc.property(steps, fc.constantFrom(1, 5000, 16 << 10), (steps, lendLeastBytes) => {
        // A receive buffer that grows with its reader, too.
        const sysctl = { 'net.ipv4.tcp_rmem': '4096 131072 4194304' };
        const worlds = [
          new World(2, { sysctl, lendLeastBytes }),
          new World(2, { sysctl, lendLeastBytes: Infinity }),
        ] as const;
        for (const [i, at] of steps.entries()) take(worlds, at, i);
        for (const which of [0, 1]) {
          const [got, wanted] = worlds.map((world) => world.read(which));
          expect(Buffer.compare(got!, wanted!), 'the rest').to.equal(0);
        }
        lent += worlds[0].host.counter(Mib.TunTextLent);
        expect(worlds[1].host.counter(Mib.TunTextLent)).to.equal(0);
        for (const world of worlds) {
          world.closeAll();
          world.expectNothingLent();
        }
      }),
      { numRuns: 30, seed: 7 },
    );
    expect(lent).to.be.greaterThan(150);
  });

  it('the same while the ring wraps and grows', () => {
    const sysctl = { 'net.ipv4.tcp_rmem': '4096 131072 4194304' };
    const world = new World(1, { sysctl });
    const stream: Uint8Array[] = [];
    for (let i = 0; i < 150; i++) {
      stream.push(world.bulk(0, i % 3 === 0 ? 3000 : 30_000, i));
      world.host.advance(1);
      // At most two are not read.
      if (i < 2) continue;
      const size = stream[0]!.length;
      const got = world.read(0, size);
      expect(Buffer.compare(got, stream.shift()!), `segment ${i}`).to.equal(0);
    }
    expect(world.host.counter(Mib.TunTextLent)).to.equal(100);
    expect(world.host.counter(Mib.TunTextCopied)).to.equal(0);
  });

  it('a read may begin and end anywhere', () => {
    const world = new World(1, { lendLeastBytes: 1000 });
    const all = Buffer.concat([
      ...[world.bulk(0, 500, 1), world.bulk(0, 2000, 2), world.bulk(0, 1500, 3)],
      ...[world.bulk(0, 700, 4), world.bulk(0, 900, 5), world.bulk(0, 5000, 6)],
    ]);
    expect(world.pool.lent).to.equal(3);
    for (let at = 0; at < all.length; at += 333) {
      for (const ahead of [0, 100, 2400]) {
        const target = Buffer.alloc(4000);
        const { mem } = world.host;
        const count = fileRead(mem, world.fds[0]!, 1, target, 0, 4000, true, ahead);
        const wanted = all.subarray(at + ahead, at + ahead + 4000);
        expect(count > 0 ? count : 0).to.equal(wanted.length);
        expect(Buffer.compare(target.subarray(0, wanted.length), wanted)).to.equal(0);
      }
      const got = world.read(0, 333);
      expect(Buffer.compare(got, all.subarray(at, at + 333))).to.equal(0);
    }
  });

  it('small text, text past a hole and what is behind a closed ring are not lent', () => {
    const world = new World(1);
    world.bulk(0, (16 << 10) - 1);
    world.host.inject(world.segment(0, { seq: 100, length: 30_000, flags: '.' }));
    expect(world.pool.lent).to.equal(0);
    expect(world.tcb(0).lent).to.equal(null);
    // The hole is filled by text that reaches past it: from its beginning.
    world.host.inject(world.segment(0, { seq: 0, length: 20_000, flags: '.' }, 5));
    expect(world.pool.lent).to.equal(1);
    // Text that began before RCV.NXT: the rest of it.
    const packet = world.segment(0, { seq: -700, length: 20_000, flags: '.' }, 9);
    world.read(0);
    world.host.inject(packet);
    const got = world.read(0);
    expect(Buffer.compare(got, packet.subarray(packet.length - 19_300))).to.equal(0);
  });

  it('a buffer comes back with the next large segment after it was read', () => {
    const world = new World(1);
    for (let i = 0; i < 3; i++) world.bulk(0, 20_000);
    expect(world.pool.lent).to.equal(3);
    world.read(0, 39_999);
    world.bulk(0, 20_000);
    expect(world.pool.lent).to.equal(3);
    world.read(0, 1);
    world.bulk(0, 20_000);
    expect(world.pool.lent).to.equal(3);
    world.read(0);
    world.bulk(0, 100);
    expect(world.pool.lent).to.equal(3);
    world.read(0);
    world.bulk(0, 20_000);
    expect(world.pool.lent).to.equal(1);
  });

  it('no socket has more buffers than are left for the others', () => {
    const world = new World(3);
    const { host, pool } = world;
    const most = pool.lendable;
    // A quarter of the arena, in buffers of 128 KiB.
    expect(most).to.equal(128);
    for (let i = 0; i < 80; i++) world.bulk(0, 16 << 10);
    expect(pool.lent).to.equal(64);
    expect(host.counter(Mib.TunTextCopied)).to.equal(16);
    for (let i = 0; i < 80; i++) world.bulk(1, 16 << 10);
    expect(pool.lent).to.equal(96);
    for (let i = 0; i < 80; i++) world.bulk(2, 16 << 10);
    expect(pool.lent).to.equal(112);
    // What the others have read comes back although nothing comes for them.
    world.read(0, 4 << 20);
    world.read(1, 4 << 20);
    for (let i = 0; i < 40; i++) world.bulk(2, 16 << 10);
    const counts = [0, 1, 2].map((which) => world.tcb(which).lent!.count);
    expect(counts).to.deep.equal([0, 0, pool.lent]);
    expect(pool.lent).to.be.greaterThan(45);
    world.closeAll();
    world.expectNothingLent();
  });

  it('one that is idle, disconnected, reset or closed gives back what it has', () => {
    const world = new World(4);
    const { host, pool, fds } = world;
    for (const which of [0, 1, 2, 3]) world.bulk(which, 20_000);
    expect(pool.lent).to.equal(4);
    world.read(0);
    host.advance(3000);
    expect(pool.lent).to.equal(3);
    expect(host.mem.ctl[world.tcb(0).at + BLOCK_LENT]).to.equal(0);
    expect(host.stack.disconnect(fds[1]!)).to.equal(0);
    expect(pool.lent).to.equal(2);
    host.inject(world.segment(2, { seq: 0, length: 0, flags: 'R.' }));
    host.close(fds[2]!);
    host.close(fds[3]!);
    host.poll();
    expect(pool.lent).to.equal(0);
    expect(host.stack.tcp.lenders.length).to.equal(0);
    host.close(fds[1]!);
    host.close(fds[0]!);
    host.advance(400_000);
    world.expectNothingLent();
  });

  it('without memory for a table, or a buffer, text is copied', () => {
    const world = new World(1);
    const { host, pool } = world;
    // Packets have come, and the ring has memory.
    const all = [world.bulk(0, 100)];
    const pages: number[] = [];
    const take = () => {
      for (let page = host.mem.allocRing(4096); page !== 0; page = host.mem.allocRing(4096)) {
        pages.push(page);
      }
    };
    take();
    all.push(world.bulk(0, 20_000));
    expect(world.tcb(0).lent).to.equal(null);
    expect(host.counter(Mib.TunTextCopied)).to.equal(1);
    // Room for the table now, but for no buffer.
    host.mem.freeRing(pages.pop()!, 4096);
    all.push(world.bulk(0, 20_000));
    expect(world.tcb(0).lent).to.not.equal(null);
    expect(host.counter(Mib.TunTextCopied)).to.equal(2);
    expect([pool.lent, pool.out]).to.deep.equal([0, 0]);
    expect(Buffer.compare(world.read(0), Buffer.concat(all))).to.equal(0);
  });

  it('a table or a head that a thread has written to costs the stack nothing', () => {
    const world = new World(1);
    const { host, pool } = world;
    world.bulk(0, 20_000);
    const { table } = world.tcb(0).lent!;
    // No room, says the table.
    host.mem.words[table * 1024 + 16] = 1 << 20;
    world.bulk(0, 20_000);
    expect(pool.lent).to.equal(1);
    expect(pool.out).to.equal(1);
    host.mem.ctl[world.tcb(0).rcvRing + RING_HEAD] = 0x12345678;
    world.bulk(0, 20_000);
    world.closeAll();
    world.expectNothingLent();
  });
});
