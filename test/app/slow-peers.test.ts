/** Who keeps a worker waiting is given up after a minute; nobody else is (slow-peers.ts). */
import { expect } from 'chai';
import { LINGER_MS } from '../../src/app/demo-server/http-protocol.js';
import { SLOW_PEER_MS, SlowPeers } from '../../src/app/demo-server/slow-peers.js';
import { DemoWorld, request, responses } from './demo-world.js';

const OK = request('GET', '/ok');

/** Lets `ms` pass in which nothing comes. */
function pass(world: DemoWorld, ms: number): void {
  world.nowMs += ms;
  world.loop.turn();
}

function timeouts(world: DemoWorld): number {
  return world.counters.stats()[2]!.timeouts;
}

describe('app/demo-server/slow-peers', () => {
  it('a head has a minute from its first byte, however often more of it comes', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    expect(world.exchange(fd, OK.slice(0, 10))).to.equal('');
    pass(world, SLOW_PEER_MS - 1);
    expect(world.exchange(fd, OK.slice(10, 12))).to.equal('');
    expect(timeouts(world)).to.equal(0);
    pass(world, 1);
    const [answer] = responses(world.sys.peerReads(fd).toString('latin1'));
    expect(answer!.status).to.equal(408);
    expect(answer!.head).to.contain('Connection: close');
    expect([timeouts(world), world.sys.isOpen(fd)]).to.deep.equal([1, true]);
    pass(world, LINGER_MS);
    expect(world.sys.isOpen(fd)).to.equal(false);
  });

  it('a body has a minute from its last byte', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    world.exchange(fd, request('POST', '/sink', 'Content-Length: 10'));
    for (let i = 0; i < 3; i++) {
      pass(world, SLOW_PEER_MS - 1);
      expect(world.exchange(fd, 'ab')).to.equal('');
    }
    expect(timeouts(world)).to.equal(0);
    pass(world, SLOW_PEER_MS);
    expect(responses(world.sys.peerReads(fd).toString('latin1'))[0]!.status).to.equal(408);
    expect(timeouts(world)).to.equal(1);
  });

  it('who takes nothing of a response for a minute is reset', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    world.sys.file(fd).room = 1000;
    world.exchange(fd, request('GET', '/bytes/300000'));
    pass(world, SLOW_PEER_MS - 1);
    world.sys.file(fd).room = 1000;
    world.loop.turn();
    pass(world, SLOW_PEER_MS - 1);
    expect([timeouts(world), world.sys.isOpen(fd)]).to.deep.equal([0, true]);
    pass(world, 1);
    expect([timeouts(world), world.sys.isOpen(fd)]).to.deep.equal([1, false]);
    expect(world.counters.stats()[2]!.active).to.equal(0);
  });

  it('who is idle, or has been served, is left alone', () => {
    const world = new DemoWorld();
    const idle = world.connect();
    const slow = world.connect();
    world.exchange(slow, OK.slice(0, 10));
    pass(world, SLOW_PEER_MS - 1);
    expect(responses(world.exchange(slow, OK.slice(10)))[0]!.status).to.equal(200);
    // No time-out is armed: a wait would never end.
    expect(() => pass(world, 10 * SLOW_PEER_MS)).to.throw('never end');
    expect(responses(world.exchange(slow, OK))[0]!.status).to.equal(200);
    expect(responses(world.exchange(idle, OK))[0]!.status).to.equal(200);
    expect(timeouts(world)).to.equal(0);
  });

  it('hundreds at once: each at its time', () => {
    const slow = new SlowPeers();
    for (let fd = 0; fd < 300; fd++) slow.waits(fd, fd, false);
    slow.waits(0, 400, true);
    slow.settled(1);
    const overdue: number[] = [];
    for (let nowMs = 0; slow.size > 0; nowMs = slow.nextMs()) {
      for (let fd = slow.takeOverdue(nowMs); fd >= 0; fd = slow.takeOverdue(nowMs)) {
        overdue.push(fd);
      }
    }
    expect(overdue).to.deep.equal([...Array.from({ length: 298 }, (_none, i) => i + 2), 0]);
    expect(slow.nextMs()).to.equal(Number.POSITIVE_INFINITY);
  });
});
