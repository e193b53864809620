/** Several listeners on one port, through the whole stack: who gets a connection, and why. */
import { expect } from 'chai';
import { reciprocalScale } from '../../src/net/hash.js';
import { BLOCK_MEMBERS, BLOCK_SLOT } from '../../src/net/sockmem.js';
import { inetEhashfn } from '../../src/reuseport/ehash.js';
import { type MemoryStack, Peer } from '../../src/testing/index.js';
import { origin } from './migrate-rig.js';
import { conversation, stateOf } from './state-table.js';

function handshake(peer: Peer): void {
  peer.in('S 0:0(0)');
  peer.out('S. 0:0(0) ack 1');
  peer.in('. 1:1(0) ack 1');
}

/** The one listener of `listeners` that has a connection; its descriptor and the connection's. */
function taken(host: MemoryStack, listeners: number[]): [number, number] {
  const found = listeners
    .map((fd): [number, number] => [fd, host.accept(fd)])
    .filter(([, fd]) => fd >= 0);
  expect(found).to.have.length(1);
  return found[0]!;
}

describe('tcp: a reuseport group', () => {
  for (const profile of ['6.18', '5.0'] as const) {
    for (const exact of [false, true]) {
      it(`chooses by hash (${profile}, ${exact ? 'one address' : 'any address'})`, () => {
        const { host } = conversation({ profile });
        const address = exact ? host.address : 0;
        const listeners = [0, 1, 2].map(() => host.listen(80, 100, { reuseport: true, address }));
        const counts = [0, 0, 0];
        for (let i = 0; i < 60; i++) {
          const peer = new Peer(host, { port: 40_000 + i });
          handshake(peer);
          const [listener, fd] = taken(host, listeners);
          const { hashinfo } = host.stack.tcp;
          const hash = inetEhashfn(hashinfo, address, 80, peer.address, peer.port);
          const slot = reciprocalScale(hash, 3);
          expect(origin(host, fd)).to.deep.equal({ hash, slot, members: 3, listener });
          expect(listener).to.equal(listeners[slot]);
          counts[slot] = counts[slot]! + 1;
          host.stack.abort(fd);
          host.poll();
          peer.out('R. 1:1(0) ack 1');
        }
        expect(Math.min(...counts)).to.be.greaterThan(5);
      });
    }
  }

  it('says the place of each member as soon as listen() is answered', () => {
    const { host } = conversation();
    const places = (fds: number[]): number[][] =>
      fds.map((fd) => {
        const at = host.mem.blockAt(fd);
        return [host.mem.ctl[at + BLOCK_SLOT]!, host.mem.ctl[at + BLOCK_MEMBERS]!];
      });
    const first = host.listen(80, 8, { reuseport: true });
    expect(places([first])).to.deep.equal([[0, 1]]);
    const second = host.listen(80, 8, { reuseport: true });
    expect(places([first, second])).to.deep.equal([
      [0, 2],
      [1, 2],
    ]);
  });

  it('a plain listener is no group', () => {
    const { host, peer } = conversation();
    const listener = host.listen(80);
    const fd = peer.establish(listener);
    expect(origin(host, fd)).to.deep.equal({ hash: 0, slot: -1, members: 0, listener });
  });

  it('the choice is made once, at the SYN', () => {
    const { host } = conversation();
    const listeners = [0, 1].map(() => host.listen(80, 8, { reuseport: true }));
    const all = Array.from({ length: 8 }, (_, i) => new Peer(host, { port: 40_000 + i }));
    for (const peer of all) {
      peer.in('S 0:0(0)');
      peer.out('S. 0:0(0) ack 1');
    }
    listeners.push(host.listen(80, 8, { reuseport: true }));
    for (const peer of all) {
      peer.in('. 1:1(0) ack 1');
      const [listener, fd] = taken(host, listeners);
      expect(listeners.indexOf(listener)).to.be.below(2);
      expect(origin(host, fd)).to.include({ members: 2, listener });
    }
  });

  it('members say their place and number, which follow the leavers', () => {
    const { host } = conversation();
    const listeners = [0, 1, 2, 3].map(() => host.listen(80, 8, { reuseport: true }));
    host.poll();
    const places = () => listeners.map((fd) => [origin(host, fd).slot, origin(host, fd).members]);
    expect(places()).to.deep.equal([
      [0, 4],
      [1, 4],
      [2, 4],
      [3, 4],
    ]);
    host.shutdown(listeners[1]!, 0);
    expect(places()).to.deep.equal([
      [0, 3],
      [-1, 0],
      [2, 3],
      [1, 3],
    ]);
    expect(host.stack.listen(listeners[1]!, 8)).to.equal(0);
    host.poll();
    expect(places()).to.deep.equal([
      [0, 4],
      [3, 4],
      [2, 4],
      [1, 4],
    ]);
  });

  it("a worker's death resets its connections and leaves the rest to the others", () => {
    const { host } = conversation();
    const listeners = [0, 1].map(() => host.listen(80, 100, { reuseport: true }));
    const all = Array.from({ length: 20 }, (_, i) => new Peer(host, { port: 40_000 + i }));
    const served = all.map((peer) => {
      handshake(peer);
      return taken(host, listeners);
    });
    for (const peer of all) peer.quiet();
    const dead = listeners[0]!;
    for (const [listener, fd] of served) if (listener === dead) host.stack.abort(fd);
    host.stack.abort(dead);
    host.poll();
    all.forEach((peer, i) => {
      const died = served[i]![0] === dead;
      expect(stateOf(host, peer)).to.equal(died ? 'gone' : 'ESTAB');
    });
    const resets = host.sent.splice(0).length;
    expect(resets).to.equal(served.filter(([listener]) => listener === dead).length);
    expect(resets).to.be.within(1, 19);
    const late = new Peer(host, { port: 50_000 });
    handshake(late);
    expect(taken(host, [listeners[1]!])[0]).to.equal(listeners[1]);
  });

  it('a closed member that may still be asked for is forgotten with its descriptor', () => {
    const { host } = conversation({ sysctl: { 'net.ipv4.tcp_migrate_req': 1 } });
    const listeners = [0, 1].map(() => host.listen(80, 8, { reuseport: true }));
    const group = host.stack.sock(listeners[0]!)!.reuseportCb!;
    host.shutdown(listeners[0]!, 0);
    expect([group.numSocks, group.numClosedSocks]).to.deep.equal([1, 1]);
    host.close(listeners[0]!);
    expect([group.numSocks, group.numClosedSocks]).to.deep.equal([1, 0]);
  });

  it('a full member does not hand on to others', () => {
    const { host } = conversation();
    const listeners = [0, 1].map(() => host.listen(80, 0, { reuseport: true }));
    const all = Array.from({ length: 30 }, (_, i) => new Peer(host, { port: 40_000 + i }));
    let answered = 0;
    for (const peer of all) {
      peer.in('S 0:0(0)');
      if (host.sent.length === 0) continue;
      peer.out('S. 0:0(0) ack 1');
      peer.in('. 1:1(0) ack 1');
      answered++;
    }
    expect(answered).to.equal(2);
    for (const fd of listeners) expect(host.accept(fd)).to.be.greaterThan(2);
  });
});
