/**
 * Parked connections (parking.ts): what is parked and what is not, and that nobody can tell: every
 * field of the TCB comes back, whoever wakes it.
 */
import { expect } from 'chai';
import { EADDRINUSE, EAGAIN, EBADF } from '../../src/net/errno.js';
import { inetLookupEstablished } from '../../src/reuseport/lookup.js';
import { PARK_AFTER_US } from '../../src/tcp/parking.js';
import type { Tcb } from '../../src/tcp/tcb.js';
import { ipv4, MemoryStack, Peer } from '../../src/testing/index.js';
import { type Rig, type RigOptions, rig } from './rig.js';

const SOL_SOCKET = 1;
const SO_REUSEADDR = 2;
const SO_KEEPALIVE = 9;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;
const TCP_CONGESTION = 13;
/** Rings go back after a second, the sweep comes once a second; then the hand comes round. */
const QUIET_MS = 4000;

function parkingRig(options: RigOptions = {}): Rig {
  return rig({ parkAfterUs: PARK_AFTER_US, ...options });
}

function parked({ host, fd }: Pick<Rig, 'host' | 'fd'>): boolean {
  return host.stack.tcp.parking.isParked(fd);
}

/** All fields of a TCB, its own objects as plain data; others are compared by identity. */
function fields(tcb: Tcb): Record<string, unknown> {
  const { counts, sender, congestionState, lastActiveUs: _, bindIndex: __, ...rest } = tcb;
  const minRtt = sender === null ? null : { ...sender.minRtt };
  const state = congestionState === null ? null : { ...congestionState };
  return { ...rest, counts: { ...counts }, sender: { ...sender, minRtt }, state };
}

const TIMESTAMPS: RigOptions = {
  syn: '<mss 1460,sackOK,TS val 7 ecr 0,nop,wscale 7>',
  ack: '<nop,nop,TS val 8 ecr 1000>',
  peer: { relativeTimestamps: true },
  rttMs: 20,
};

describe('parking: a connection that was used', () => {
  for (const algorithm of ['reno', 'cubic']) {
    it(`comes back whole, wherever it is woken: ${algorithm}`, () => {
      const c = parkingRig(TIMESTAMPS);
      const { host, peer, fd } = c;
      host.stack.setsockoptText(fd, IPPROTO_TCP, TCP_CONGESTION, algorithm);
      peer.in('P. 1:101(100) ack 1 win 500 <nop,nop,TS val 9 ecr 1000>');
      expect(host.read(fd)).to.have.length(100);
      host.write(fd, 'x'.repeat(5000));
      host.advance(20);
      peer.in('. 101:101(0) ack 5001 win 500 <nop,nop,TS val 30 ecr 1020>');
      host.sent.length = 0;
      host.advance(QUIET_MS);
      expect(parked(c)).to.equal(true);
      const { tcp } = host.stack;
      const before = fields(host.stack.sock(fd)!);
      expect(before).to.deep.include({ sndUna: before['sndNxt'], tsOk: true, sackOk: true });
      expect((before['sender'] as { delivered: number }).delivered).to.be.above(1);
      expect(before['state'] === null).to.equal(algorithm === 'reno');
      host.advance(QUIET_MS);
      expect(parked(c)).to.equal(true);
      expect(tcp.socks[fd]).to.equal(null);
      // Another connection has the object for a while.
      const other = new Peer(host, { port: 41_000 }).establish(c.listener);
      const { peer: p } = c;
      const found = inetLookupEstablished(
        tcp.hashinfo,
        p.address,
        p.port,
        p.localAddress,
        p.localPort,
        2,
      );
      expect(found).to.equal(tcp.socks[fd]);
      expect(fields(found as Tcb)).to.deep.equal(before);
      expect(host.stack.sock(other)!.sndUna).to.not.equal(before['sndUna']);
    });
  }

  it('goes on as if nothing had been: text both ways, and the end', () => {
    const c = parkingRig();
    const { host, peer, fd } = c;
    host.advance(QUIET_MS);
    expect(parked(c)).to.equal(true);
    peer.in('P. 1:6(5) ack 1', 'hello');
    host.advance(50);
    peer.out('. 1:1(0) ack 6');
    expect(host.readText(fd)).to.equal('hello');
    host.advance(QUIET_MS);
    expect(parked(c)).to.equal(true);
    host.write(fd, 'world');
    peer.out('P. 1:6(5) ack 6');
    peer.in('. 6:6(0) ack 6');
    host.advance(QUIET_MS);
    expect(parked(c)).to.equal(true);
    expect(host.close(fd)).to.equal(0);
    peer.out('F. 6:6(0) ack 6');
    peer.in('F. 6:6(0) ack 7');
    peer.out('. 7:7(0) ack 7');
    host.advance(61_000);
    expect(host.stack.tcp.hashinfo.ehash.size).to.equal(0);
    expect(host.stack.tcp.parking.bytes).to.equal(0);
  });
});

describe('parking: what is parked', () => {
  it('who waits to be accepted, and then nothing is due any more', () => {
    const host = new MemoryStack();
    const listener = host.listen(80);
    const peers = [40_000, 40_001, 40_002].map((port) => new Peer(host, { port }));
    for (const peer of peers) {
      peer.in('S 0:0(0) <mss 1460>');
      peer.out('S. 0:0(0) ack 1 <...>');
      peer.in('. 1:1(0) ack 1');
    }
    host.advance(QUIET_MS);
    expect(host.stack.tcp.parking.parked).to.equal(3);
    expect(host.stack.nextDeadlineUs()).to.equal(Infinity);
    expect(host.accept(listener)).to.be.above(listener);
    host.close(listener);
    peers[1]!.out('R. 1:1(0) ack 1');
    peers[2]!.out('R. 1:1(0) ack 1');
    peers[0]!.quiet();
    expect(host.stack.tcp.parking.parked).to.equal(1);
  });

  it('nobody who was heard of a moment ago', () => {
    const c = parkingRig();
    for (let i = 0; i < 10; i++) {
      c.host.advance(PARK_AFTER_US / 2000);
      c.peer.in('. 1:1(0) ack 1');
      expect(parked(c)).to.equal(false);
    }
    c.host.advance(PARK_AFTER_US / 500);
    expect(parked(c)).to.equal(true);
  });

  it('nobody with text that was not read, or not acknowledged', () => {
    const unread = parkingRig();
    unread.peer.in('P. 1:6(5) ack 1');
    unread.host.advance(QUIET_MS);
    expect(parked(unread)).to.equal(false);
    expect(unread.host.read(unread.fd)).to.have.length(5);
    unread.host.advance(QUIET_MS);
    expect(parked(unread)).to.equal(true);
    const unheard = parkingRig();
    unheard.host.write(unheard.fd, 'x');
    unheard.host.advance(QUIET_MS);
    expect(parked(unheard)).to.equal(false);
  });

  it('with keep-alive only once that is off', () => {
    const c = parkingRig();
    c.host.stack.setsockopt(c.fd, SOL_SOCKET, SO_KEEPALIVE, 1, 0);
    c.host.advance(QUIET_MS);
    expect(parked(c)).to.equal(false);
    expect(c.host.stack.nextDeadlineUs()).to.be.above(c.host.nowUs + 1_000_000);
    c.host.stack.setsockopt(c.fd, SOL_SOCKET, SO_KEEPALIVE, 0, 0);
    c.host.advance(QUIET_MS);
    expect(parked(c)).to.equal(true);
  });

  it('nobody when that was not wanted', () => {
    const c = parkingRig({ parkAfterUs: Infinity });
    c.host.advance(QUIET_MS);
    expect(parked(c)).to.equal(false);
    expect(c.host.stack.nextDeadlineUs()).to.equal(Infinity);
  });

  it('thousands, a bounded number at a time', () => {
    const host = new MemoryStack({ fds: 4096 });
    const listener = host.listen(80, 4096);
    for (let port = 10_000; port < 11_000; port++) {
      const peer = new Peer(host, { port });
      peer.establish(listener);
    }
    const { parking } = host.stack.tcp;
    const seen = new Set<number>();
    for (let ms = 0; ms < QUIET_MS; ms++) {
      const before = parking.parked;
      host.advance(1);
      seen.add(parking.parked - before);
    }
    expect(parking.parked).to.equal(1000);
    expect(Math.max(...seen)).to.be.within(1, 128);
    expect(parking.bytes / 1000).to.be.below(200);
  });
});

describe('parking: who asks', () => {
  it('a number that is no descriptor is none', () => {
    const { host } = parkingRig();
    for (const fd of [-1, 1 << 20, 0.5, Number.NaN, 17]) {
      expect(host.stack.sock(fd)).to.equal(null);
      expect(host.stack.close(fd)).to.equal(-EBADF);
    }
  });

  it('options are read and set, and stay', () => {
    const c = parkingRig();
    c.host.advance(QUIET_MS);
    const words = new Int32Array(80);
    expect(c.host.stack.getsockopt(c.fd, IPPROTO_TCP, TCP_INFO, words)).to.be.above(0);
    expect(c.host.stack.setsockopt(c.fd, IPPROTO_TCP, 8, 42, 0)).to.equal(0);
    c.host.advance(QUIET_MS);
    expect(parked(c)).to.equal(true);
    expect(c.host.stack.sock(c.fd)!.linger2).to.equal(42);
  });

  it('bind() sees parked owners of its port', () => {
    const c = parkingRig();
    const { host } = c;
    host.close(c.listener);
    host.advance(QUIET_MS);
    expect(parked(c)).to.equal(true);
    const [plain, sharing] = [host.stack.socket(0), host.stack.socket(0)];
    expect(host.stack.bind(plain, 0, 80)).to.equal(-EADDRINUSE);
    host.stack.setsockopt(sharing, SOL_SOCKET, SO_REUSEADDR, 1, 0);
    expect(host.stack.bind(sharing, 0, 80)).to.equal(-EADDRINUSE);
    expect(parked(c)).to.equal(true);
    c.peer.in('R 1:1(0)');
    host.close(c.fd);
    expect(host.stack.bind(plain, 0, 80)).to.equal(0);
  });

  it('a port of parked and awake owners is free when the last has gone', () => {
    const host = new MemoryStack();
    const listener = host.listen(80);
    const peers = [40_000, 40_001, 40_002].map((port) => new Peer(host, { port }));
    const fds = peers.map((peer) => peer.establish(listener));
    host.advance(QUIET_MS);
    expect(host.stack.tcp.parking.parked).to.equal(3);
    host.close(listener);
    const { bhash } = host.stack.tcp.hashinfo;
    const count = (): number => bhash.find(80, ipv4('198.18.0.1'))?.parkedCount ?? -1;
    expect(count()).to.equal(3);
    host.stack.abort(fds[1]!);
    expect(count()).to.equal(2);
    host.stack.abort(fds[0]!);
    host.stack.abort(fds[2]!);
    expect(count()).to.equal(-1);
    expect(bhash.ports).to.equal(0);
  });

  it('the end of the stack resets them', () => {
    const c = parkingRig();
    c.host.advance(QUIET_MS);
    expect(parked(c)).to.equal(true);
    c.host.stack.resetAll();
    c.peer.out('R. 1:1(0) ack 1');
    expect(c.host.read(c.fd)).to.not.equal(-EAGAIN);
  });
});
