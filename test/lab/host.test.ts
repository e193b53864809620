/** What the lab calls real is real: handshakes, full queues, groups, whom a wake-up hits. */
import { expect } from 'chai';
import { BACKLOG, LabHost } from '../../src/lab/host.js';
import { WaitQueue, type WaitWay } from '../../src/lab/wait-queue.js';
import { EAGAIN } from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import { builtinSelector } from '../../src/reuseport/selectors/builtin.js';

const CLIENT = (198 << 24) | (18 << 16) | 254;

/** SYN and third packet of one client; whether both were taken. */
function connect(host: LabHost, port: number, address: number = CLIENT): boolean {
  const isn = host.syn(host.nowUs, address, port);
  return isn !== null && host.ack(host.nowUs, address, port, isn);
}

describe('lab/host', () => {
  it('makes connections that can be accepted once and closed', () => {
    const host = new LabHost({ seed: 1, fds: 64 });
    const listener = host.listen(false);
    expect(host.accept(listener)).to.equal(-EAGAIN);
    expect(connect(host, 40_000)).to.equal(true);
    expect(host.queueLength(listener)).to.equal(1);
    const fd = host.accept(listener);
    expect([host.clientAddress(fd), host.clientPort(fd)]).to.deep.equal([CLIENT >>> 0, 40_000]);
    const inUse = host.shared.mem.fdsInUse;
    host.close(host.nowUs, fd);
    expect(host.shared.mem.fdsInUse).to.equal(inUse - 1);
    expect(host.accept(listener)).to.equal(-EAGAIN);
    expect(host.stack.net.mib[Mib.TcpPassiveOpens]).to.equal(1);
  });

  it('drops SYNs on a full accept queue, and third packets that find it full', () => {
    const host = new LabHost({ seed: 1 });
    const listener = host.listen(false);
    const early = host.syn(host.nowUs, CLIENT, 30_000);
    for (let port = 0; port <= BACKLOG; port++) expect(connect(host, 1024 + port)).to.equal(true);
    expect(host.queueLength(listener)).to.equal(BACKLOG + 1);
    expect(host.syn(host.nowUs, CLIENT, 50_000)).to.equal(null);
    expect(host.ack(host.nowUs, CLIENT, 30_000, early!)).to.equal(false);
    host.close(host.nowUs, host.accept(listener));
    // The half-open connection has been kept: the repeated packet completes it.
    expect(host.ack(host.nowUs, CLIENT, 30_000, early!)).to.equal(true);
    expect(host.queueLength(listener)).to.equal(BACKLOG + 1);
  });

  it('looks up as the stack does when the SYN comes', () => {
    const host = new LabHost({ seed: 3, fds: 256 });
    const group = host.listenGroup(4);
    for (let port = 2000; port < 2050; port++) {
      const slot = host.lookup(CLIENT, port);
      const before = host.queueLength(group[slot]!);
      expect(connect(host, port)).to.equal(true);
      expect(host.queueLength(group[slot]!)).to.equal(before + 1);
    }
    const lone = new LabHost({ seed: 3, fds: 64 });
    lone.listen(false);
    expect(lone.lookup(CLIENT, 2000)).to.equal(-1);
  });

  it("gives a selector the stack's own view of its members", () => {
    const host = new LabHost({ seed: 3, fds: 256 });
    const group = host.listenGroup(4);
    host.select(group[0]!, builtinSelector('least')!);
    for (let port = 2000; port < 2040; port++) connect(host, port);
    expect(group.map((fd) => host.queueLength(fd))).to.deep.equal([10, 10, 10, 10]);
  });

  it('a member that stops leaves the group', () => {
    const host = new LabHost({ seed: 3, fds: 64 });
    const [, second, last] = host.listenGroup(3);
    host.unlisten(second!);
    expect(host.stack.sock(last!)!.reuseportSlot).to.equal(1);
    expect(host.stack.sock(last!)!.reuseportCb!.numSocks).to.equal(2);
  });
});

describe('lab/wait-queue', () => {
  function waiting(way: WaitWay): { host: LabHost; listener: number; queue: WaitQueue } {
    const host = new LabHost({ seed: 1, fds: 64 });
    const listener = host.listen(false);
    const queue = new WaitQueue(host, [listener, listener, listener], way);
    for (const worker of [0, 1, 2]) queue.sleep(worker);
    return { host, listener, queue };
  }

  it('herd: all sleepers, the newest entry first', () => {
    const { host, queue } = waiting('herd');
    expect(queue.takeWoken()).to.deep.equal([]);
    connect(host, 2000);
    expect(queue.takeWoken()).to.deep.equal([2, 1, 0]);
    expect(queue.isAsleep(1)).to.equal(false);
    connect(host, 2001);
    expect(queue.takeWoken()).to.deep.equal([]);
  });

  it('exclusive: the oldest entry that sleeps', () => {
    const { host, listener, queue } = waiting('exclusive');
    connect(host, 2000);
    expect(queue.takeWoken()).to.deep.equal([0]);
    connect(host, 2001);
    expect(queue.takeWoken()).to.deep.equal([1]);
    expect(queue.isAsleep(2)).to.equal(true);
    while (host.accept(listener) >= 0);
    queue.sleep(0);
    connect(host, 2002);
    expect(queue.takeWoken()).to.deep.equal([0]);
  });

  it('blocking: the longest sleeper', () => {
    const { host, listener, queue } = waiting('blocking');
    for (const worker of [0, 1, 2, 0]) {
      connect(host, 3000 + host.stack.net.mib[Mib.TcpPassiveOpens]!);
      expect(queue.takeWoken()).to.deep.equal([worker]);
      expect(host.accept(listener)).to.be.above(0);
      queue.sleep(worker);
    }
  });
});
