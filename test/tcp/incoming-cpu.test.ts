/**
 * SO_INCOMING_CPU through a whole stack: the queue by which a SYN comes in chooses the member of
 * its group, whenever the option was set; and a request stays with its listener.
 */
import { expect } from 'chai';
import type { Profile } from '../../src/net/sysctl.js';
import { MemoryStack, Peer } from '../../src/testing/index.js';

const SOL_SOCKET = 1;
const SO_REUSEPORT = 15;
const SO_INCOMING_CPU = 49;
const CPUS = 4;
const ROUNDS = 8;

const WHEN = ['before SO_REUSEPORT', 'before listen', 'after listen', 'after all listen'] as const;

function set(host: MemoryStack, fd: number, name: number, value: number): void {
  expect(host.stack.setsockopt(fd, SOL_SOCKET, name, value, 0)).to.equal(0);
}

function incomingCpu(host: MemoryStack, fd: number): number {
  const out = new Int32Array(1);
  expect(host.stack.getsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, out)).to.equal(1);
  return out[0]!;
}

/** One listener for each CPU; the option is set at the time that `when` names. */
function perCpu(host: MemoryStack, when: (typeof WHEN)[number]): number[] {
  const { stack } = host;
  const fds = Array.from({ length: CPUS }, (_, cpu) => {
    const fd = stack.socket(0);
    if (when === 'before SO_REUSEPORT') set(host, fd, SO_INCOMING_CPU, cpu);
    set(host, fd, SO_REUSEPORT, 1);
    expect(stack.bind(fd, 0, 80)).to.equal(0);
    if (when === 'before listen') set(host, fd, SO_INCOMING_CPU, cpu);
    expect(stack.listen(fd, 32)).to.equal(0);
    if (when === 'after listen') set(host, fd, SO_INCOMING_CPU, cpu);
    return fd;
  });
  if (when === 'after all listen')
    for (const [cpu, fd] of fds.entries()) {
      set(host, fd, SO_INCOMING_CPU, cpu);
    }
  return fds;
}

let nextPort = 1024;

/** A handshake whose packets come in by queue `cpu`. */
function handshake(host: MemoryStack, cpu: number): void {
  const peer = new Peer(host, { port: nextPort++, ingress: { cpu } });
  peer.in('S 0:0(0) win 65535 <mss 1460>');
  peer.out('S. 0:0(0) ack 1 <...>');
  peer.in('. 1:1(0) ack 1');
}

/** Connections that wait in each listener's queue, by the CPU that they came in by. */
function drain(host: MemoryStack, fds: number[]): number[][] {
  return fds.map((fd) => {
    const cpus = new Array<number>(CPUS).fill(0);
    for (let child = host.accept(fd); child >= 0; child = host.accept(fd)) {
      cpus[incomingCpu(host, child)]!++;
      host.stack.abort(child);
    }
    host.sent.length = 0;
    return cpus;
  });
}

/** Every CPU's connections at its own listener, and nowhere else. */
const OWN: number[][] = Array.from({ length: CPUS }, (_, cpu) =>
  Array.from({ length: CPUS }, (_, other) => (other === cpu ? ROUNDS : 0)),
);

function everyCpu(host: MemoryStack): void {
  for (let round = 0; round < ROUNDS; round++) {
    for (let cpu = 0; cpu < CPUS; cpu++) handshake(host, cpu);
  }
}

describe('tcp: SO_INCOMING_CPU', () => {
  for (const when of WHEN) {
    it(`set ${when}: each connection lands on the listener of its CPU`, () => {
      const host = new MemoryStack({ arenaBytes: 16 << 20 });
      const fds = perCpu(host, when);
      everyCpu(host);
      expect(drain(host, fds)).to.deep.equal(OWN);
      // A listener that wants no CPU gets nothing, and its end changes nothing.
      const extra = host.listen(80, 32, { reuseport: true });
      everyCpu(host);
      expect(drain(host, fds)).to.deep.equal(OWN);
      expect(drain(host, [extra])).to.deep.equal([new Array(CPUS).fill(0)]);
      host.close(extra);
      everyCpu(host);
      expect(drain(host, fds)).to.deep.equal(OWN);
    });
  }

  it('is -1 until it is set, and on a connection the queue of its last segment', () => {
    const host = new MemoryStack();
    const listener = host.listen(80);
    expect(incomingCpu(host, listener)).to.equal(-1);
    const peer = new Peer(host, { port: nextPort++, ingress: { cpu: 2 } });
    peer.in('S 0:0(0) win 65535 <mss 1460>');
    peer.out('S. 0:0(0) ack 1 <...>');
    peer.ingress = { cpu: 3 };
    peer.in('. 1:1(0) ack 1');
    const fd = host.accept(listener);
    expect(incomingCpu(host, fd)).to.equal(3);
    peer.ingress = { cpu: 1 };
    peer.in('P. 1:2(1) ack 1', 'x');
    expect(incomingCpu(host, fd)).to.equal(1);
    expect(incomingCpu(host, listener)).to.equal(-1);
  });

  it('chooses inside a group today; in 5.0 it only counts among plain listeners', () => {
    const owners = (profile: Profile): number => {
      const host = new MemoryStack({ arenaBytes: 16 << 20, profile });
      const fds = perCpu(host, 'before listen');
      everyCpu(host);
      const own = drain(host, fds).map((cpus, cpu) => cpus[cpu]!);
      return own.reduce((sum, n) => sum + n, 0);
    };
    expect(owners('6.18')).to.equal(CPUS * ROUNDS);
    // A quarter by chance.
    expect(owners('5.0')).to.be.within(1, (CPUS * ROUNDS) / 2);
  });

  it('a repeated SYN stays with its listener, whatever has become of the group', () => {
    const host = new MemoryStack({ arenaBytes: 16 << 20 });
    const fds = perCpu(host, 'before listen');
    const peer = new Peer(host, { port: nextPort++, ingress: { cpu: 1 } });
    peer.in('S 0:0(0) win 65535 <mss 1460>');
    peer.out('S. 0:0(0) ack 1 <...>');
    // Another CPU, another order, another size, another wish.
    host.close(fds[0]!);
    for (let i = 0; i < 3; i++) host.listen(80, 32, { reuseport: true });
    set(host, fds[1]!, SO_INCOMING_CPU, 3);
    set(host, fds[3]!, SO_INCOMING_CPU, 1);
    host.advance(600);
    peer.ingress = { cpu: 2 };
    peer.in('S 0:0(0) win 65535 <mss 1460>');
    peer.out('S. 0:0(0) ack 1 <...>');
    peer.ingress = { cpu: 1 };
    peer.in('. 1:1(0) ack 1');
    expect(host.accept(fds[1]!)).to.be.greaterThan(2);
    // A new one goes by the new wishes.
    handshake(host, 1);
    expect(host.accept(fds[3]!)).to.be.greaterThan(2);
  });
});
