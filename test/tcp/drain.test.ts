/** SO_DRAIN: a listener that gets no new SYNs and loses nobody; and what it tells of itself. */
import { expect } from 'chai';
import { EPOLLIN, EPOLLRDHUP } from '../../src/net/epoll-bits.js';
import { EAGAIN, EINVAL, ENOMEM } from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import { BLOCK_MEMBERS, BLOCK_SLOT } from '../../src/net/sockmem.js';
import { reuseportAttachSelector } from '../../src/reuseport/group.js';
import { connections, queueLength } from '../../src/tcp/member-state.js';
import type { Tcb } from '../../src/tcp/tcb.js';
import { type MemoryStack, type MemoryStackOptions, Peer } from '../../src/testing/index.js';
import { conversation, moved, stateOf } from './state-table.js';

const SOL_SOCKET = 1;
const SO_REUSEPORT = 15;
const SO_DRAIN = 0x7402;
const SYN = 'S 0:0(0) <mss 1460>';
const SYNACK = 'S. 0:0(0) ack 1 <...>';
const ACK = '. 1:1(0) ack 1';
const ENDED = EPOLLIN | EPOLLRDHUP;

const start = (options: MemoryStackOptions = {}): MemoryStack => conversation(options).host;
const join = (host: MemoryStack, backlog = 100): number =>
  host.listen(80, backlog, { reuseport: true });
const tcbOf = (host: MemoryStack, fd: number): Tcb => host.stack.sock(fd)!;

function drain(host: MemoryStack, fd: number, value = 1): number {
  const result = host.stack.setsockopt(fd, SOL_SOCKET, SO_DRAIN, value, 0);
  host.poll();
  return result;
}

/** The option's two words: on or off, and requests that are left; or -errno. */
function drainState(host: MemoryStack, fd: number): number[] | number {
  const out = new Int32Array(2);
  const words = host.stack.getsockopt(fd, SOL_SOCKET, SO_DRAIN, out);
  return words === 2 ? [...out] : words;
}

function halfOpen(host: MemoryStack, port: number): Peer {
  const peer = new Peer(host, { port });
  peer.in(SYN);
  peer.out(SYNACK);
  return peer;
}

/** Slot and group size as the listener's block says them. */
function place(host: MemoryStack, fd: number): number[] {
  const at = host.mem.blockAt(fd);
  return [host.mem.ctl[at + BLOCK_SLOT]!, host.mem.ctl[at + BLOCK_MEMBERS]!];
}

describe('tcp: SO_DRAIN', () => {
  it('new SYNs go to the others, half-open ones finish here', () => {
    const host = start();
    const [old, other] = [join(host), join(host)];
    const peers = Array.from({ length: 20 }, (_, i) => halfOpen(host, 40_000 + i));
    const mine = tcbOf(host, old).listen!.reqs;
    expect(mine).to.be.within(1, 19);
    expect(drainState(host, old)).to.deep.equal([0, mine]);
    expect(drain(host, old)).to.equal(0);
    expect(drainState(host, old)).to.deep.equal([1, mine]);
    expect([place(host, old), place(host, other)]).to.deep.equal([
      [-1, 0],
      [0, 1],
    ]);
    for (let i = 0; i < 20; i++) halfOpen(host, 41_000 + i);
    expect(tcbOf(host, old).listen!.reqs).to.equal(mine);
    for (const peer of peers) peer.in(ACK);
    expect(queueLength(tcbOf(host, old))).to.equal(mine);
    expect(queueLength(tcbOf(host, other))).to.equal(20 - mine);
  });

  it('tells by EPOLLRDHUP that nobody is left, once the queue is empty', () => {
    const host = start();
    const listener = join(host);
    const [first, second] = [halfOpen(host, 40_000), halfOpen(host, 40_001)];
    first.in(ACK);
    drain(host, listener);
    host.events.length = 0;
    expect(host.ready(listener)).to.equal(EPOLLIN);
    expect(host.accept(listener)).to.be.greaterThan(2);
    expect(host.ready(listener)).to.equal(0);
    expect(host.accept(listener)).to.equal(-EAGAIN);
    second.in('P. 1:4(3) ack 1', 'abc');
    second.out('. 1:1(0) ack 4');
    // The end is told with the last connection, and shows behind it.
    expect(host.events).to.deep.include([listener, ENDED]);
    expect(host.ready(listener)).to.equal(EPOLLIN);
    expect(host.readText(host.accept(listener))).to.equal('abc');
    expect(host.ready(listener)).to.equal(ENDED);
    expect(host.accept(listener)).to.equal(-EINVAL);
    expect(tcbOf(host, listener).state, 'LISTEN until it is closed').to.equal(10);
    expect(host.close(listener)).to.equal(0);
    expect(host.mem.fdsInUse).to.equal(2);
  });

  it('with nothing in it ends at once', () => {
    const host = start();
    const listener = join(host);
    host.events.length = 0;
    drain(host, listener);
    expect(host.events).to.deep.equal([[listener, ENDED]]);
    expect(drain(host, listener), 'again').to.equal(0);
    expect(host.events).to.have.length(1);
    expect(host.accept(listener)).to.equal(-EINVAL);
  });

  for (const [name, end] of [
    ['a time-out', (host: MemoryStack) => host.advance(63_000)],
    ['a RST', (_: MemoryStack, peer: Peer) => peer.in('R 1:1(0)')],
    ['an ICMP error', (_: MemoryStack, peer: Peer) => peer.icmp(3, 1)],
  ] as const) {
    it(`${name} of the last request ends it`, () => {
      const host = start();
      const listener = join(host);
      const peer = halfOpen(host, 40_000);
      drain(host, listener);
      expect(host.ready(listener)).to.equal(0);
      end(host, peer);
      expect(stateOf(host, peer)).to.equal('gone');
      expect(host.ready(listener)).to.equal(ENDED);
    });
  }

  it('the only listener: a SYN gets a RST, a cookie too', () => {
    const host = start({ sysctl: { 'net.ipv4.tcp_syncookies': 2 } });
    for (const reuseport of [true, false]) {
      const listener = host.listen(80, 8, { reuseport });
      const cookie = halfOpen(host, 40_000);
      drain(host, listener);
      const peer = new Peer(host, { port: 40_001 });
      peer.in(SYN);
      peer.out('R. 0:0(0) ack 1');
      cookie.in(ACK);
      cookie.out('R 1:1(0)');
      host.close(listener);
    }
  });

  it('a cookie of the leaver is good at the others', () => {
    const host = start({ sysctl: { 'net.ipv4.tcp_syncookies': 2 } });
    const old = join(host);
    const cookie = halfOpen(host, 40_000);
    const other = join(host);
    drain(host, old);
    cookie.in(ACK);
    expect(host.accept(other)).to.be.greaterThan(2);
    expect(host.counter(Mib.SyncookiesRecv)).to.equal(1);
  });

  it('0 puts it back, as the last member', () => {
    const host = start();
    const fds = [join(host), join(host), join(host)];
    const group = tcbOf(host, fds[0]!).reuseportCb!;
    drain(host, fds[0]!);
    expect(group.numSocks).to.equal(2);
    expect(host.ready(fds[0]!)).to.equal(ENDED);
    expect(drain(host, fds[0]!, 0)).to.equal(0);
    expect(drainState(host, fds[0]!)).to.deep.equal([0, 0]);
    expect(host.ready(fds[0]!)).to.equal(0);
    expect(host.accept(fds[0]!)).to.equal(-EAGAIN);
    expect(fds.map((fd) => place(host, fd))).to.deep.equal([
      [2, 3],
      [1, 3],
      [0, 3],
    ]);
    expect([group.numSocks, group.numClosedSocks]).to.deep.equal([3, 0]);
  });

  it('0 keeps the selector of a group of one, and works without a group', () => {
    const host = start();
    const alone = join(host);
    const { hashinfo } = host.stack.tcp;
    expect(reuseportAttachSelector(hashinfo, tcbOf(host, alone), () => 0)).to.equal(0);
    const group = tcbOf(host, alone).reuseportCb!;
    drain(host, alone);
    drain(host, alone, 0);
    expect(tcbOf(host, alone).reuseportCb).to.equal(group);
    expect(group.selector).to.be.a('function');
    halfOpen(host, 40_000);
    const plain = host.listen(81);
    drain(host, plain);
    expect(drain(host, plain, 0)).to.equal(0);
    const peer = new Peer(host, { localPort: 81 });
    peer.in(SYN);
    peer.out(SYNACK);
  });

  it('0 joins the group that has come meanwhile, or none without SO_REUSEPORT', () => {
    const host = start();
    const fds = [join(host), join(host)];
    for (const fd of fds) drain(host, fd);
    const fresh = join(host);
    expect(tcbOf(host, fresh).reuseportCb).not.to.equal(tcbOf(host, fds[0]!).reuseportCb);
    drain(host, fds[0]!, 0);
    expect(tcbOf(host, fds[0]!).reuseportCb).to.equal(tcbOf(host, fresh).reuseportCb);
    expect(place(host, fds[0]!)).to.deep.equal([1, 2]);
    host.stack.setsockopt(fds[1]!, SOL_SOCKET, SO_REUSEPORT, 0, 0);
    expect(drain(host, fds[1]!, 0)).to.equal(0);
    expect(tcbOf(host, fresh).reuseportCb!.numSocks).to.equal(2);
  });

  it('0 fails when the group is full, and it goes on draining', () => {
    const host = start();
    const [old, other] = [join(host), join(host)];
    drain(host, old);
    host.close(other);
    const group = tcbOf(host, join(host)).reuseportCb!;
    const { maxSocks } = group;
    group.socks.length = 65_535;
    group.numSocks = group.maxSocks = 65_535;
    expect(host.stack.setsockopt(old, SOL_SOCKET, SO_DRAIN, 0, 0)).to.equal(-ENOMEM);
    group.numSocks = 1;
    group.maxSocks = maxSocks;
    expect(drainState(host, old)).to.deep.equal([1, 0]);
  });

  it('is for listeners only', () => {
    const host = start();
    const fd = host.stack.socket(0);
    expect(drain(host, fd)).to.equal(-EINVAL);
    expect(drainState(host, fd)).to.equal(-EINVAL);
  });

  it('closing in the middle resets, or with migration on moves', () => {
    for (const migrate of [0, 1]) {
      const host = start({ sysctl: { 'net.ipv4.tcp_migrate_req': migrate } });
      const old = join(host);
      const closing = tcbOf(host, old);
      const [queued, asking] = [halfOpen(host, 40_000), halfOpen(host, 40_001)];
      queued.in(ACK);
      const other = join(host);
      drain(host, old);
      const before = Float64Array.from(host.stack.net.mib);
      host.close(old);
      host.poll();
      if (migrate === 0) {
        queued.out('R. 1:1(0) ack 1');
        asking.in(ACK);
        asking.out('R 1:1(0)');
        expect(moved(host, before)).to.deep.equal(['TcpEstabResets', 'TcpOutRsts+2']);
      } else {
        asking.in(ACK);
        queued.quiet();
        expect(queueLength(tcbOf(host, other))).to.equal(2);
        expect(moved(host, before)).to.deep.equal(['TCPMigrateReqSuccess+2', 'TcpPassiveOpens']);
      }
      expect(closing.reuseportCb).to.equal(null);
      const group = tcbOf(host, other).reuseportCb!;
      expect([group.numSocks, group.numClosedSocks]).to.deep.equal([1, 0]);
    }
  });

  it('after shutdown it listens as if nothing had been', () => {
    for (const migrate of [0, 1]) {
      const host = start({ sysctl: { 'net.ipv4.tcp_migrate_req': migrate } });
      const [old, other] = [join(host), join(host)];
      drain(host, old);
      host.shutdown(old, 0);
      expect(host.stack.listen(old, 8)).to.equal(0);
      host.poll();
      expect(drainState(host, old)).to.deep.equal([0, 0]);
      expect(host.ready(old)).to.equal(0);
      expect(place(host, old)).to.deep.equal([1, 2]);
      expect(place(host, other)).to.deep.equal([0, 2]);
    }
  });

  it('listen() again only changes the backlog', () => {
    const host = start();
    const listener = join(host);
    drain(host, listener);
    expect(host.stack.listen(listener, 3)).to.equal(0);
    expect(drainState(host, listener)).to.deep.equal([1, 0]);
    expect(tcbOf(host, listener).listen!.backlog).to.equal(3);
  });
});

describe('tcp: what a listener knows of its connections', () => {
  it('counts those that wait and those that are open, until they are gone', () => {
    const host = start();
    const listener = join(host);
    const tcb = tcbOf(host, listener);
    const state = (): number[] => [queueLength(tcb), connections(tcb)];
    const peers = [0, 1, 2].map((i) => halfOpen(host, 40_000 + i));
    expect(state()).to.deep.equal([0, 0]);
    for (const peer of peers) peer.in(ACK);
    expect(state()).to.deep.equal([3, 3]);
    const [a, b] = [host.accept(listener), host.accept(listener)];
    expect(state()).to.deep.equal([1, 3]);
    host.close(a);
    peers[0]!.out('F. 1:1(0) ack 1');
    expect(state(), 'FIN-WAIT-1').to.deep.equal([1, 3]);
    peers[0]!.in('F. 1:1(0) ack 2');
    peers[0]!.out('. 2:2(0) ack 2');
    expect(stateOf(host, peers[0]!)).to.equal('TIME-WAIT');
    expect(state()).to.deep.equal([1, 2]);
    peers[1]!.in('R 1:1(0)');
    expect(state(), 'the application still has it').to.deep.equal([1, 2]);
    host.close(b);
    expect(state()).to.deep.equal([1, 1]);
    host.close(listener);
    expect(tcb.listen!.children).to.equal(0);
    expect(connections(tcbOf(host, host.stack.socket(0)))).to.equal(0);
  });

  it('a child outlives its listener, which may have begun anew', () => {
    const host = start();
    const listener = join(host);
    const peer = halfOpen(host, 40_000);
    peer.in(ACK);
    const fd = host.accept(listener);
    host.shutdown(listener, 0);
    expect(connections(tcbOf(host, listener))).to.equal(1);
    host.stack.listen(listener, 8);
    expect(connections(tcbOf(host, listener))).to.equal(1);
    host.stack.abort(fd);
    expect(connections(tcbOf(host, listener))).to.equal(0);
  });

  it('a moved connection counts at its new listener', () => {
    const host = start({ sysctl: { 'net.ipv4.tcp_migrate_req': 1 } });
    const old = join(host);
    const closed = tcbOf(host, old);
    const peer = halfOpen(host, 40_000);
    peer.in(ACK);
    const other = join(host);
    host.close(old);
    expect([connections(closed), connections(tcbOf(host, other))]).to.deep.equal([0, 1]);
    host.stack.abort(host.accept(other));
    expect(connections(tcbOf(host, other))).to.equal(0);
  });
});
