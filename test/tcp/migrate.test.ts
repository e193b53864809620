/** net.ipv4.tcp_migrate_req: unfinished connections of a listener that stops move to another. */
import { expect } from 'chai';
import { EPOLLIN } from '../../src/net/epoll-bits.js';
import { EAGAIN } from '../../src/net/errno.js';
import { reciprocalScale } from '../../src/net/hash.js';
import { Mib } from '../../src/net/mib.js';
import { reuseportIsClosed } from '../../src/reuseport/group.js';
import { type MemoryStackOptions, Peer } from '../../src/testing/index.js';
import {
  ACK,
  acceptAll,
  connected,
  halfOpen,
  join,
  origin,
  outAll,
  quiet,
  SYN,
  SYNACK,
  start,
  tcbOf,
} from './migrate-rig.js';
import { moved, stateOf } from './state-table.js';

describe('tcp: migration of queued connections', () => {
  for (const way of ['close', 'shutdown', 'abort'] as const) {
    it(`${way} moves them in order, without a word to the peers`, () => {
      const host = start();
      const old = join(host);
      const peers = connected(host, 5);
      peers[0]!.in('R 1:1(0)');
      peers[1]!.in('P. 1:4(3) ack 1', 'abc');
      peers[1]!.out('. 1:1(0) ack 4');
      const other = join(host, 0);
      host.events.length = 0;
      const before = Float64Array.from(host.stack.net.mib);
      if (way === 'close') host.close(old);
      else if (way === 'shutdown') host.shutdown(old, 0);
      else host.stack.abort(old);
      host.poll();
      quiet(peers);
      expect(moved(host, before)).to.deep.equal(['TCPMigrateReqSuccess+5']);
      expect(host.events).to.deep.include([other, EPOLLIN]);
      expect(host.ready(other)).to.equal(EPOLLIN);
      // Backlog 0 would have held one.
      const fds = acceptAll(host, other);
      expect(fds).to.have.length(5);
      expect(fds.map((fd) => tcbOf(host, fd).dport)).to.deep.equal(peers.map(({ port }) => port));
      expect(host.readText(fds[1]!)).to.equal('abc');
      for (const fd of fds) {
        const { hash } = tcbOf(host, fd);
        expect(origin(host, fd)).to.deep.equal({ hash, slot: 0, members: 1, listener: other });
      }
    });
  }

  it('chooses among several by the hash of the connection', () => {
    const host = start();
    const old = join(host);
    connected(host, 30);
    const others = [0, 1, 2].map(() => join(host));
    host.close(old);
    host.poll();
    // The last member took the place of the one that left.
    const order = [others[2]!, others[0]!, others[1]!];
    let count = 0;
    for (const listener of others) {
      for (const fd of acceptAll(host, listener)) {
        expect(order[reciprocalScale(tcbOf(host, fd).hash, 3)]).to.equal(listener);
        expect(origin(host, fd)).to.include({ listener, members: 3 });
        expect(order[origin(host, fd).slot]).to.equal(listener);
        count++;
      }
    }
    expect(count).to.equal(30);
  });

  it('grows the queue of the taker beyond its memory; without any the rest is reset', () => {
    const options = { fds: 3000, arenaBytes: 4 << 20 };
    for (const memory of [true, false]) {
      const host = start(options);
      const old = join(host, 2000);
      connected(host, 1500, 10_000);
      const other = join(host, 4);
      const pages: number[] = [];
      if (!memory) {
        for (let page = 1; page !== 0; pages.push(page)) page = host.mem.allocRing(4096);
      }
      const before = Float64Array.from(host.stack.net.mib);
      host.close(old);
      host.poll();
      expect(acceptAll(host, other)).to.have.length(memory ? 1500 : 1024);
      expect(moved(host, before)).to.deep.equal(
        memory
          ? ['TCPMigrateReqSuccess+1500']
          : [
              'TCPMigrateReqFailure+476',
              'TCPMigrateReqSuccess+1024',
              'TcpEstabResets+476',
              'TcpOutRsts+476',
            ],
      );
      expect(tcbOf(host, other).listen!.children).to.equal(memory ? 1500 : 1024);
    }
  });

  it('without anybody left it resets, and counts the failure', () => {
    const host = start();
    const old = join(host);
    const peers = connected(host, 2);
    const before = Float64Array.from(host.stack.net.mib);
    host.close(old);
    host.poll();
    for (const peer of peers) peer.out('R. 1:1(0) ack 1');
    expect(moved(host, before)).to.deep.equal([
      'TCPMigrateReqFailure+2',
      'TcpEstabResets+2',
      'TcpOutRsts+2',
    ]);
  });

  it('off, in 5.0, and outside of a group it resets without counting', () => {
    const cases: [MemoryStackOptions, boolean][] = [
      [{ sysctl: { 'net.ipv4.tcp_migrate_req': 0 } }, true],
      [{ profile: '5.0' }, true],
      [{}, false],
    ];
    for (const [options, reuseport] of cases) {
      const host = start(options);
      const old = host.listen(80, 8, { reuseport });
      const [peer] = connected(host, 1);
      if (reuseport) join(host);
      const before = Float64Array.from(host.stack.net.mib);
      host.close(old);
      host.poll();
      peer!.out('R. 1:1(0) ack 1');
      expect(moved(host, before)).to.deep.equal(['TcpEstabResets', 'TcpOutRsts']);
    }
  });

  it('what was accepted stays with its owner', () => {
    const host = start();
    const old = join(host);
    const [peer] = connected(host, 1);
    const fd = host.accept(old);
    const other = join(host);
    host.close(old);
    expect(host.accept(other)).to.equal(-EAGAIN);
    peer!.in('P. 1:4(3) ack 1', 'abc');
    peer!.out('. 1:1(0) ack 4');
    expect(host.readText(fd)).to.equal('abc');
  });

  it('the end of the whole stack resets everything, in any order of descriptors', () => {
    const host = start();
    const stranger = new Peer(host, { localPort: 81 });
    stranger.in(SYN);
    stranger.out('R. 0:0(0) ack 1');
    const pages = host.mem.pagesInUse;
    const low = host.stack.socket(0);
    const listeners = [join(host), join(host)];
    // A connection with a lower descriptor than its listener is aborted before it.
    host.close(low);
    const peers = connected(host, 20);
    host.stack.resetAll();
    host.poll();
    expect(host.sent.splice(0)).to.have.length(20);
    for (const peer of peers) expect(stateOf(host, peer)).to.equal('gone');
    for (const fd of listeners) expect(host.stack.sock(fd)).to.equal(null);
    expect(host.mem.fdsInUse).to.equal(0);
    expect(host.mem.pagesInUse).to.equal(pages);
  });
});

describe('tcp: migration of half-open connections', () => {
  it('happens when the SYN-ACK timer fires', () => {
    const host = start();
    const old = join(host);
    const peers = halfOpen(host, 3);
    const other = join(host);
    host.close(old);
    quiet(peers);
    const queue = tcbOf(host, other).listen!;
    expect(queue).to.include({ reqs: 0, young: 0 });
    const before = Float64Array.from(host.stack.net.mib);
    host.advance(1000);
    outAll(host, peers, SYNACK);
    expect(queue).to.include({ reqs: 3, young: 0 });
    expect(moved(host, before)).to.deep.equal([
      'TCPMigrateReqSuccess+3',
      'TCPSynRetrans+3',
      'TCPTimeouts+3',
      'TcpRetransSegs+3',
    ]);
    for (const peer of peers) peer.in(ACK);
    expect(queue).to.include({ reqs: 0, young: 0, children: 3 });
    const fds = acceptAll(host, other);
    expect(fds).to.have.length(3);
    for (const fd of fds) {
      const { hash } = tcbOf(host, fd);
      expect(origin(host, fd)).to.deep.equal({ hash, slot: 0, members: 1, listener: other });
    }
    expect(host.counter(Mib.TCPMigrateReqSuccess)).to.equal(3);
  });

  it('happens when the final ACK comes, with the options of the new listener', () => {
    const host = start();
    const old = join(host);
    const [peer] = halfOpen(host, 1);
    const other = join(host);
    expect(host.stack.setsockopt(other, 0, 1, 0x10, 0)).to.equal(0);
    host.close(old);
    const before = Float64Array.from(host.stack.net.mib);
    peer!.in('P. 1:4(3) ack 1', 'abc');
    expect(moved(host, before)).to.deep.equal(['TCPMigrateReqSuccess', 'TcpPassiveOpens']);
    expect(peer!.out('. 1:1(0) ack 4').tos).to.equal(0x10);
    const fd = host.accept(other);
    expect(host.readText(fd)).to.equal('abc');
    expect(origin(host, fd).listener).to.equal(other);
    expect(tcbOf(host, other).listen).to.include({ reqs: 0, children: 1 });
  });

  it('an ACK finds the queue of the new listener full: failure, and the request waits', () => {
    const host = start();
    const old = join(host);
    const peers = halfOpen(host, 2);
    const other = join(host, 0);
    host.close(old);
    peers[0]!.in(ACK);
    const before = Float64Array.from(host.stack.net.mib);
    peers[1]!.in(ACK);
    peers[1]!.quiet();
    expect(moved(host, before)).to.deep.equal([
      'ListenDrops',
      'ListenOverflows',
      'TCPMigrateReqFailure',
    ]);
    expect(stateOf(host, peers[1]!)).to.equal('SYN-RECV');
    expect(acceptAll(host, other)).to.have.length(1);
    host.advance(1000);
    peers[1]!.out(SYNACK);
    peers[1]!.in(ACK);
    expect(acceptAll(host, other)).to.have.length(1);
  });

  it('tcp_abort_on_overflow resets such a one', () => {
    const host = start({ sysctl: { 'net.ipv4.tcp_abort_on_overflow': 1 } });
    const old = join(host);
    const peers = halfOpen(host, 2);
    join(host, 0);
    host.close(old);
    peers[0]!.in(ACK);
    peers[1]!.in(ACK);
    peers[1]!.out('R 1:1(0)');
    expect(stateOf(host, peers[1]!)).to.equal('gone');
    expect(host.stack.tcp.hashinfo.groupsMade).to.equal(1);
  });

  it('a repeated SYN is answered, a RST ends the request, both without a move', () => {
    const host = start();
    const old = join(host);
    const [peer] = halfOpen(host, 1);
    const other = join(host);
    host.close(old);
    peer!.in(SYN);
    peer!.out(SYNACK);
    expect(tcbOf(host, other).listen!.reqs).to.equal(0);
    peer!.in('R 1:1(0)');
    expect(stateOf(host, peer!)).to.equal('gone');
    expect(host.counter(Mib.TCPMigrateReqSuccess)).to.equal(0);
    expect(host.counter(Mib.TCPMigrateReqFailure)).to.equal(0);
  });

  it('a request whose retries are used up does not survive the move', () => {
    const host = start({ sysctl: { 'net.ipv4.tcp_synack_retries': 0 } });
    const old = join(host);
    const [peer] = halfOpen(host, 1);
    const other = join(host);
    host.close(old);
    const before = Float64Array.from(host.stack.net.mib);
    host.advance(1000);
    peer!.quiet();
    expect(stateOf(host, peer!)).to.equal('gone');
    expect(tcbOf(host, other).listen).to.include({ reqs: 0, young: 0 });
    expect(moved(host, before)).to.deep.equal(['TCPMigrateReqFailure', 'TCPTimeouts']);
  });

  it('an old request stays old: young counts those whose SYN-ACK was not repeated', () => {
    const host = start();
    const old = join(host);
    const [first] = halfOpen(host, 1);
    host.advance(1000);
    first!.out(SYNACK);
    const other = join(host);
    host.close(old);
    const queue = tcbOf(host, other).listen!;
    host.advance(2000);
    first!.out(SYNACK);
    expect(queue).to.include({ reqs: 1, young: 0 });
    // Of 100 s of silence it is dropped with the others' retries.
    host.advance(100_000);
    host.sent.length = 0;
    expect(queue).to.include({ reqs: 0, young: 0 });
  });

  it('nobody left: the timer forgets them, an ACK is answered by RST; each is a failure', () => {
    const host = start();
    const old = join(host);
    const [timed, acked] = halfOpen(host, 2);
    host.close(old);
    const before = Float64Array.from(host.stack.net.mib);
    acked!.in(ACK);
    acked!.out('R 1:1(0)');
    host.advance(1000);
    timed!.quiet();
    expect(moved(host, before)).to.deep.equal(['TCPMigrateReqFailure+2', 'TcpOutRsts']);
    expect(host.stack.tcp.hashinfo.ehash.size).to.equal(0);
    expect(host.stack.net.timers.size).to.equal(0);
  });
});

describe('tcp: a closed listener in its group', () => {
  it('stays while requests point at it, though its descriptor is another’s', () => {
    const host = start();
    const old = join(host);
    const group = tcbOf(host, old).reuseportCb!;
    const peers = halfOpen(host, 3);
    const closed = tcbOf(host, old);
    const other = join(host);
    host.close(old);
    expect([group.numSocks, group.numClosedSocks]).to.deep.equal([1, 1]);
    expect(reuseportIsClosed(closed)).to.equal(true);
    const again = host.stack.socket(0);
    expect(again).to.equal(old);
    expect(tcbOf(host, again)).not.to.equal(closed);
    peers[0]!.in(ACK);
    peers[1]!.in('R 1:1(0)');
    expect(group.numClosedSocks).to.equal(1);
    host.advance(1000);
    peers[2]!.out(SYNACK);
    expect(group.numClosedSocks).to.equal(0);
    expect([closed.reuseportCb, closed.listen!.reqs]).to.deep.equal([null, 0]);
    expect(acceptAll(host, other)).to.have.length(1);
  });

  it('leaves at once when it has none, also after others were accepted', () => {
    const host = start();
    const old = join(host);
    const group = tcbOf(host, old).reuseportCb!;
    const closed = tcbOf(host, old);
    connected(host, 2);
    join(host);
    host.close(old);
    expect([group.numSocks, group.numClosedSocks]).to.deep.equal([1, 0]);
    expect(closed.reuseportCb).to.equal(null);
  });

  it('comes back to its group by listen() when it asked for its port', () => {
    const host = start();
    const listeners = [join(host), join(host)];
    const group = tcbOf(host, listeners[0]!).reuseportCb!;
    const peers = halfOpen(host, 20);
    host.shutdown(listeners[0]!, 0);
    expect([group.numSocks, group.numClosedSocks]).to.deep.equal([1, 1]);
    expect(host.stack.listen(listeners[0]!, 100)).to.equal(0);
    expect([group.numSocks, group.numClosedSocks]).to.deep.equal([2, 0]);
    for (const peer of peers) peer.in(ACK);
    const counts = listeners.map((fd) => acceptAll(host, fd).length);
    expect(counts[0]! + counts[1]!).to.equal(20);
    expect(Math.min(...counts), 'its requests were waiting for it').to.be.greaterThan(0);
    expect(host.counter(Mib.TCPMigrateReqSuccess)).to.equal(0);
  });

  it('gets another port when it was chosen for it; old requests complete on the old one', () => {
    const host = start();
    const fd = host.stack.socket(0);
    host.stack.setsockopt(fd, 1, 15, 1, 0);
    expect(host.stack.listen(fd, 8)).to.equal(0);
    const tcb = tcbOf(host, fd);
    const port = tcb.num;
    const group = tcb.reuseportCb!;
    const peer = new Peer(host, { localPort: port });
    peer.in(SYN);
    peer.out(SYNACK);
    host.shutdown(fd, 0);
    expect(host.stack.listen(fd, 8)).to.equal(0);
    expect(tcb.num).not.to.equal(port);
    expect(tcb.reuseportCb).not.to.equal(group);
    peer.in(ACK);
    const child = host.accept(fd);
    expect(tcbOf(host, child).num).to.equal(port);
    const { bhash } = host.stack.tcp.hashinfo;
    expect(bhash.findPort(port)!.ownerCount).to.equal(1);
    expect(bhash.findPort(port)!.connectOnly).to.equal(false);
    host.stack.abort(child);
    expect(bhash.findPort(port)).to.equal(null);
  });
});
