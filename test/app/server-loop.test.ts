/** The event loop of a worker, the acceptor, listeners and the classic services. */
import { expect } from 'chai';
import { Acceptor } from '../../src/app/demo-server/acceptor.js';
import {
  DispatchQueues,
  GONE,
  QUEUE_SLOTS,
  TAKES,
  TAKES_NONE,
} from '../../src/app/demo-server/dispatch-queue.js';
import { makeListeners } from '../../src/app/demo-server/listeners.js';
import { GRACE_MS, ServerLoop } from '../../src/app/demo-server/server-loop.js';
import {
  CHARGEN_PORT,
  ChargenService,
  chargenPeriod,
  DiscardService,
  EchoService,
} from '../../src/app/demo-server/stream-services.js';
import {
  ACCEPTED,
  DRAIN,
  DRAINED,
  DRAINING,
  SERVING,
  STATE,
  WorkerCounters,
} from '../../src/app/demo-server/worker-counters.js';
import { EPOLLEXCLUSIVE, SO_REUSEPORT } from '../../src/socket/uapi/constants.js';
import { DemoWorld, request, responses } from './demo-world.js';
import { FakeSys } from './fake-sys.js';

const OK = request('GET', '/ok');

describe('app/demo-server/server-loop', () => {
  it('accepts a bounded number per event and comes back for the rest', () => {
    const world = new DemoWorld();
    for (let i = 0; i < 100; i++) world.sys.arrive(world.listenFd);
    world.loop.turn();
    expect(world.row[0]).to.equal(64);
    world.loop.turn();
    expect(world.row[0]).to.equal(100);
  });

  it('shares a listener without a herd, and leaves it open', () => {
    const world = new DemoWorld();
    const shared = world.sys.listener();
    world.loop.serve(shared, world.http, false);
    const [epoll] = [...Array(20).keys()].filter(
      (fd) => world.sys.isOpen(fd) && world.sys.file(fd).kind === 'epoll',
    );
    const { interests } = world.sys.file(epoll!);
    expect(interests.get(shared)!.events & EPOLLEXCLUSIVE).to.equal(EPOLLEXCLUSIVE);
    expect(interests.get(world.listenFd)!.events & EPOLLEXCLUSIVE).to.equal(0);
    world.stop();
    expect(world.sys.isOpen(shared)).to.equal(true);
    expect(world.sys.isOpen(world.listenFd)).to.equal(false);
    expect(interests.has(shared)).to.equal(false);
  });

  it('leaves at once when nothing is open', () => {
    const world = new DemoWorld();
    world.sys.write(world.stopFd, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]), 0, 8);
    world.loop.run();
    expect(world.draining).to.equal(true);
    expect(world.loop.left()).to.equal(true);
  });

  it('closes idle connections, answers those that have asked, waits for the others', () => {
    const world = new DemoWorld();
    const idle = world.connect();
    const asking = world.connect();
    const halfway = world.connect();
    world.exchange(halfway, 'GET /ok HTTP/1.1\r\n');
    const queued = world.sys.arrive(world.listenFd);
    world.sys.peerSends(queued, OK);
    world.sys.peerSends(asking, OK);
    const asked = world.sys.file(asking);
    const queuedFile = world.sys.file(queued);
    world.sys.write(world.stopFd, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]), 0, 8);
    world.settle();
    expect(world.sys.isOpen(idle)).to.equal(false);
    for (const file of [asked, queuedFile]) {
      expect(Buffer.concat(file.written).toString()).to.match(/Connection: close\r\n\r\nOK$/);
    }
    expect(world.loop.left()).to.equal(false);
    world.sys.peerSends(halfway, 'Host: x\r\n\r\n');
    const file = world.sys.file(halfway);
    world.loop.run();
    expect(responses(Buffer.concat(file.written).toString())[0]!.body).to.equal('OK');
    expect(world.sys.closed.every((row) => !row.reset)).to.equal(true);
  });

  it('resets what is still open when the grace period ends', () => {
    const world = new DemoWorld();
    const slow = world.connect();
    world.exchange(slow, 'GET /ok');
    world.stop();
    world.nowMs += GRACE_MS - 1;
    world.loop.turn();
    expect(world.sys.isOpen(slow)).to.equal(true);
    world.nowMs += 1;
    world.loop.turn();
    expect(world.sys.closed).to.deep.equal([{ fd: slow, reset: true }]);
    expect(world.loop.left()).to.equal(true);
  });

  it('holds a connection until what was written has arrived', () => {
    const world = new DemoWorld();
    const idle = world.connect();
    const asking = world.connect();
    const [idleFile, askingFile] = [world.sys.file(idle), world.sys.file(asking)];
    idleFile.unacknowledged = 5;
    askingFile.unacknowledged = 7;
    world.sys.peerSends(asking, OK);
    world.stop();
    expect(idleFile.shutWrite && askingFile.shutWrite).to.equal(true);
    expect(world.loop.left()).to.equal(false);
    idleFile.unacknowledged = 0;
    world.loop.turn();
    expect(world.sys.closed).to.deep.equal([{ fd: idle, reset: false }]);
    world.sys.peerEnds(asking);
    world.settle();
    expect(world.loop.left()).to.equal(true);
    expect(world.sys.closed.every((row) => !row.reset)).to.equal(true);
  });

  it('finishes a long answer before it leaves', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    const file = world.sys.file(fd);
    file.room = 1000;
    world.exchange(fd, request('GET', '/bytes/500000'));
    world.stop();
    expect(world.sys.isOpen(fd)).to.equal(true);
    file.room = Number.POSITIVE_INFINITY;
    world.settle();
    expect(Buffer.concat(file.written).length).to.be.above(499_000);
    expect(world.sys.closed).to.deep.equal([{ fd, reset: false }]);
    expect(world.loop.left()).to.equal(true);
  });
});

const ONE = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);

/** A worker that is told what to do through its row and an eventfd; what it has opened. */
function obedient(world: DemoWorld, drained = false) {
  const drainFd = world.sys.eventfd(0);
  const opened: number[] = [];
  world.row[DRAIN] = drained ? 1 : 0;
  world.loop.watchDrain(drainFd, () => {
    const fd = world.sys.listener();
    opened.push(fd);
    world.loop.serve(fd, world.http, true);
  });
  const order = (drain: boolean): void => {
    world.row[DRAIN] = drain ? 1 : 0;
    world.sys.write(drainFd, ONE, 0, 8);
    world.loop.turn();
  };
  return { opened, order };
}

describe('app/demo-server/server-loop: drain', () => {
  it('takes what is queued and half open, then closes, and serves on what is open', () => {
    const world = new DemoWorld();
    const { sys, row } = world;
    const { opened, order } = obedient(world);
    const [listenFd] = opened as [number];
    expect(row[STATE]).to.equal(SERVING);
    const open = sys.arrive(listenFd);
    world.loop.turn();
    for (let i = 0; i < 100; i++) sys.arrive(listenFd);
    sys.file(listenFd).halfOpen = 1;
    order(true);
    expect(sys.file(listenFd).draining).to.equal(true);
    world.settle();
    expect([row[ACCEPTED], row[STATE]]).to.deep.equal([101, DRAINING]);
    expect(sys.isOpen(listenFd)).to.equal(true);
    sys.arrive(listenFd);
    sys.file(listenFd).halfOpen = 0;
    world.settle();
    expect([row[ACCEPTED], row[STATE]]).to.deep.equal([102, DRAINED]);
    expect(sys.isOpen(listenFd)).to.equal(false);
    expect(responses(world.exchange(open, OK))[0]!.body).to.equal('OK');
    order(true); // once more changes nothing
    expect([row[STATE], opened]).to.deep.equal([DRAINED, [listenFd]]);
    world.stop();
    world.settle();
    expect(world.loop.left()).to.equal(true);
  });

  it('listens again when told to, also while the old listener is not done', () => {
    const world = new DemoWorld();
    const { sys, row } = world;
    const { opened, order } = obedient(world);
    sys.file(opened[0]!).halfOpen = 1;
    order(true);
    order(false);
    expect(row[STATE]).to.equal(SERVING);
    expect(opened).to.have.length(2);
    sys.file(opened[0]!).halfOpen = 0;
    sys.arrive(opened[0]!);
    sys.arrive(opened[1]!);
    world.settle();
    expect([row[ACCEPTED], row[STATE]]).to.deep.equal([2, SERVING]);
    expect(opened.map((fd) => sys.isOpen(fd))).to.deep.equal([false, true]);
    order(true);
    world.settle();
    expect(row[STATE]).to.equal(DRAINED);
  });

  it('leaves a shared listener to the others at once', () => {
    const world = new DemoWorld();
    const { sys, row } = world;
    sys.close(world.listenFd);
    const shared = sys.listener();
    const drainFd = sys.eventfd(0);
    const other = new DemoWorld();
    const loop = new ServerLoop({
      sys,
      counters: row,
      nowMs: () => 0,
      onDraining: () => {},
    });
    loop.watchDrain(drainFd, () => loop.serve(shared, other.http, false));
    row[DRAIN] = 1;
    sys.write(drainFd, ONE, 0, 8);
    loop.turn();
    expect(row[STATE]).to.equal(DRAINED);
    expect(sys.isOpen(shared)).to.equal(true);
    expect(sys.file(shared).draining).to.equal(false);
    sys.arrive(shared);
    expect(sys.pending()).to.equal(false);
  });

  it('begins drained when it was drained before it failed', () => {
    const world = new DemoWorld();
    const { opened, order } = obedient(world, true);
    expect([world.row[STATE], opened]).to.deep.equal([DRAINED, []]);
    order(false);
    expect([world.row[STATE], opened.length]).to.deep.equal([SERVING, 1]);
  });
});

function acceptorOf(
  sys: FakeSys,
  queues: DispatchQueues,
  fds: { listenFd: number; stopFd: number; wakeFds: number[]; rosterFd?: number },
): Acceptor {
  return new Acceptor({ sys, queues, rosterFd: sys.eventfd(0), queueOwner: 1, ...fds });
}

describe('app/demo-server/acceptor', () => {
  it('hands out in turn, wakes, and the worker takes over', () => {
    const world = new DemoWorld();
    const { sys } = world;
    const queues = new DispatchQueues(3);
    const wakeFds = [sys.eventfd(0), sys.eventfd(0), sys.eventfd(0)];
    const listenFd = sys.listener();
    const stopFd = sys.eventfd(0);
    const acceptor = acceptorOf(sys, queues, { listenFd, stopFd, wakeFds });
    world.loop.serveQueue(queues, 2, wakeFds[2]!, world.http);
    const fds = Array.from({ length: 7 }, () => sys.arrive(listenFd));
    acceptor.turn(0);
    expect([0, 1, 2].map((worker) => QUEUE_SLOTS - queues.room(worker))).to.deep.equal([3, 2, 2]);
    expect(wakeFds.map((fd) => sys.file(fd).counter)).to.deep.equal([1, 1, 1]);
    world.loop.turn();
    expect(world.row[0]).to.equal(2);
    expect(responses(world.exchange(fds[2]!, OK))[0]!.body).to.equal('OK');
    const last = sys.arrive(listenFd);
    sys.write(stopFd, new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]), 0, 8);
    acceptor.run();
    expect(queues.pop(1)).to.equal(fds[1]);
    expect(queues.pop(1)).to.equal(fds[4]);
    expect(queues.pop(1)).to.equal(last);
    expect(queues.pop(1)).to.equal(-1);
  });

  it('passes over a full queue, and leaves connections where they are when all are full', () => {
    const sys = new FakeSys();
    const queues = new DispatchQueues(2);
    const listenFd = sys.listener();
    const stopFd = sys.eventfd(0);
    const wakeFds = [sys.eventfd(0), sys.eventfd(0)];
    const acceptor = acceptorOf(sys, queues, { listenFd, stopFd, wakeFds });
    for (let i = 0; i < QUEUE_SLOTS; i++) queues.push(0, i);
    for (let i = 0; i < QUEUE_SLOTS - 1; i++) queues.push(1, i);
    for (let i = 0; i < 3; i++) sys.arrive(listenFd);
    acceptor.turn(0);
    expect(queues.room(1)).to.equal(0);
    expect(sys.file(listenFd).queue).to.have.length(2);
    acceptor.turn(0);
    expect(sys.file(listenFd).queue).to.have.length(2);
    queues.pop(0);
    acceptor.turn(0);
    expect(sys.file(listenFd).queue).to.have.length(1);
  });

  it('passes over who takes none, and hands on what waits for the dead', () => {
    const sys = new FakeSys();
    const queues = new DispatchQueues(3);
    const [listenFd, stopFd, rosterFd] = [sys.listener(), sys.eventfd(0), sys.eventfd(0)];
    const wakeFds = [sys.eventfd(0), sys.eventfd(0), sys.eventfd(0)];
    const acceptor = acceptorOf(sys, queues, { listenFd, stopFd, wakeFds, rosterFd });
    const fds = Array.from({ length: 6 }, () => sys.arrive(listenFd));
    acceptor.turn(0);
    const lengths = () => [0, 1, 2].map((worker) => queues.length(worker));
    const tell = (): void => {
      sys.write(rosterFd, ONE, 0, 8);
      acceptor.turn(0);
    };
    expect(lengths()).to.deep.equal([2, 2, 2]);
    for (const fd of fds) expect(sys.file(fd).owner, 'owner').to.equal(1);
    queues.setPart(0, TAKES_NONE);
    tell();
    expect(lengths(), 'a drained one empties its own').to.deep.equal([2, 2, 2]);
    queues.setPart(1, GONE);
    tell();
    expect(lengths()).to.deep.equal([2, 0, 4]);
    queues.setPart(2, GONE);
    tell();
    expect(lengths(), 'nobody to give them to').to.deep.equal([2, 0, 4]);
    sys.arrive(listenFd);
    acceptor.turn(0);
    expect(sys.file(listenFd).queue, 'left in the stack').to.have.length(1);
    queues.setPart(1, TAKES);
    tell();
    expect(lengths()).to.deep.equal([2, 5, 0]);
    expect([queues.pop(1), queues.pop(1), queues.pop(1), queues.pop(1)]).to.deep.equal([
      fds[2],
      fds[5],
      fds[1],
      fds[4],
    ]);
  });

  it('waits with those of a dead worker while the queues of the others are full', () => {
    const sys = new FakeSys();
    const queues = new DispatchQueues(2);
    const [listenFd, stopFd] = [sys.listener(), sys.eventfd(0)];
    const wakeFds = [sys.eventfd(0), sys.eventfd(0)];
    queues.push(0, 77);
    queues.setPart(0, GONE);
    for (let i = 0; i < QUEUE_SLOTS; i++) queues.push(1, i);
    const acceptor = acceptorOf(sys, queues, { listenFd, stopFd, wakeFds });
    acceptor.turn(0);
    expect(queues.length(0)).to.equal(1);
    queues.pop(1);
    acceptor.turn(0);
    expect([queues.length(0), queues.length(1)]).to.deep.equal([0, QUEUE_SLOTS]);
  });

  it('is emptied by a worker that starts in the place of a dead one', () => {
    const world = new DemoWorld();
    const { sys } = world;
    const queues = new DispatchQueues(3);
    const fd = sys.connection();
    queues.push(2, fd);
    world.loop.serveQueue(queues, 2, sys.eventfd(0), world.http);
    expect(world.row[ACCEPTED]).to.equal(1);
    expect(sys.file(fd).owner).to.equal(0);
  });

  it('says when a queue had been emptied', () => {
    const queues = new DispatchQueues(1);
    expect(queues.push(0, 7)).to.equal(true);
    expect(queues.push(0, 8)).to.equal(false);
    expect([queues.pop(0), queues.pop(0), queues.pop(0)]).to.deep.equal([7, 8, -1]);
    expect(new DispatchQueues(1, queues.shared).push(0, 9)).to.equal(true);
  });
});

describe('app/demo-server/listeners', () => {
  it('sets the options before bind and listens in order', () => {
    const sys = new FakeSys();
    const calls: string[] = [];
    const record = {
      ...sys,
      socket: () => sys.socket(),
      setsockopt: (fd: number, _level: number, name: number) => {
        if (name === SO_REUSEPORT) calls.push(`reuseport ${fd}`);
        return 0;
      },
      bind: (fd: number, address: { port: number }) => {
        calls.push(`bind ${fd}`);
        return sys.bind(fd, address);
      },
      listen: (fd: number) => {
        calls.push(`listen ${fd}`);
        return 0;
      },
    } as unknown as FakeSys;
    expect(makeListeners(record, 80, 511, 2, true)).to.deep.equal([3, 4]);
    expect(calls).to.deep.equal([
      'reuseport 3',
      'reuseport 4',
      'bind 3',
      'bind 4',
      'listen 3',
      'listen 4',
    ]);
  });

  it('names the call that was refused', () => {
    const sys = new FakeSys();
    sys.bind = () => -98;
    expect(() => makeListeners(sys, 80, 511, 1, false)).to.throw(/bind failed: EADDRINUSE/);
    sys.bind = () => -4095;
    expect(() => makeListeners(sys, 80, 511, 1, false)).to.throw(/port 80/);
  });
});

describe('app/demo-server/stream-services', () => {
  function serving(make: (world: DemoWorld) => EchoService | DiscardService | ChargenService): {
    world: DemoWorld;
    fd: number;
  } {
    const world = new DemoWorld();
    const [listenFd] = makeListeners(world.sys, CHARGEN_PORT, 511, 1, true);
    world.loop.serve(listenFd!, make(world), true);
    const fd = world.sys.arrive(listenFd!);
    world.loop.turn();
    return { world, fd };
  }

  it('echoes everything, also through a narrow send ring', () => {
    const { world, fd } = serving(({ loop }) => new EchoService(loop));
    const data = Buffer.from(Uint8Array.from({ length: 200_000 }, (_, i) => (i * 7) % 256));
    world.sys.file(fd).room = 1;
    world.sys.peerSends(fd, data);
    world.sys.peerEnds(fd);
    const file = world.sys.file(fd);
    while (world.sys.isOpen(fd)) {
      world.settle();
      file.room = 30_000;
    }
    expect(Buffer.concat(file.written).equals(data)).to.equal(true);
  });

  it('discards', () => {
    const { world, fd } = serving(({ loop }) => new DiscardService(loop));
    world.sys.peerSends(fd, Buffer.alloc(100_000));
    world.settle();
    expect(world.row[3]).to.equal(100_000);
    expect(world.sys.peerReads(fd)).to.have.length(0);
    world.sys.peerEnds(fd);
    world.settle();
    expect(world.sys.isOpen(fd)).to.equal(false);
  });

  it('generates the characters of RFC 864 without a seam', () => {
    const { world, fd } = serving(({ loop }) => new ChargenService(loop));
    const period = chargenPeriod();
    const line = Buffer.from(period.subarray(0, 74)).toString();
    expect(line).to.match(/^ !"#\$.*gf?.*\r\n$/s);
    world.sys.file(fd).room = 10_001;
    let text = Buffer.alloc(0);
    for (let i = 0; i < 9; i++) {
      world.sys.peerSends(fd, 'thrown away');
      world.settle();
      text = Buffer.concat([text, world.sys.peerReads(fd)]);
      world.sys.file(fd).room = 10_001;
    }
    expect(text.length).to.equal(90_009);
    expect(text.every((byte, i) => byte === period[i % period.length])).to.equal(true);
    world.sys.peerResets(fd);
    world.settle();
    expect(world.sys.isOpen(fd)).to.equal(false);
  });
});

describe('app/demo-server/worker-counters', () => {
  it('is one table for all threads', () => {
    const counters = new WorkerCounters(2);
    counters.row(1)[2] = 5;
    expect(new WorkerCounters(2, counters.shared).stats()[1]).to.include({
      worker: 1,
      requests: 5,
    });
  });
});
