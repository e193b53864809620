/** Several queues: who gets what, whichever queue a packet comes in by. */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import {
  BLOCK_KIND,
  BLOCK_LISTENER,
  BLOCK_OWNER,
  BLOCK_QUEUE,
  BLOCK_SLOT,
  KIND_FREE,
} from '../../src/net/sockmem.js';
import { SK_TIMEWAIT } from '../../src/reuseport/sock-common.js';
import type { Sys } from '../../src/socket/sys.js';
import * as c from '../../src/socket/uapi/constants.js';
import type { TimewaitSock } from '../../src/tcp/minisocks.js';
import { encodePacket } from '../../src/testing/index.js';
import { Client, LOCAL, listener, PEER, QueueWorld } from './queue-world.js';

const decoder = new TextDecoder();

/** A port whose flow is for the second of two queues. */
const ON_SECOND = clientFor(new QueueWorld({ queues: 2 }), 1).sport;

/** What can be read of `fd`. */
function text(sys: Sys, fd: number): string {
  const bytes = new Uint8Array(4096);
  const count = sys.read(fd, bytes);
  return count < 0 ? `${count}` : decoder.decode(bytes.subarray(0, count));
}

function write(sys: Sys, fd: number, what: string): void {
  expect(sys.write(fd, new TextEncoder().encode(what))).to.equal(what.length);
}

/** Descriptors in use of all kinds. */
function descriptors(world: QueueWorld): number {
  const { ctl, mem } = world.first.shared;
  let used = 0;
  for (let fd = 3; fd < mem.maxFds; fd++) {
    if (ctl[mem.blockAt(fd) + BLOCK_KIND] !== KIND_FREE) used++;
  }
  expect(used).to.equal(mem.fdsInUse);
  return used;
}

/** A client whose flow is for `queue`. */
function clientFor(world: QueueWorld, queue: number, from = 20_000): Client {
  for (let sport = from; ; sport++) {
    if (world.queueOf(sport) === queue) return new Client(world, sport);
  }
}

describe('stack: several queues', () => {
  it('a SYN chooses the same member whichever queue it comes in by', () => {
    const choices = [0, 1, 2, undefined].map((queue) => {
      const world = new QueueWorld({ queues: 3 });
      const { sys } = world.thread();
      const fds = [listener(sys), listener(sys), listener(sys), listener(sys)];
      const { ctl, mem } = world.first.shared;
      return Array.from({ length: 40 }, (_, i) => {
        const client = new Client(world, 30_000 + i);
        client.queue = queue;
        client.connect();
        const child = fds.map((fd) => sys.accept4(fd, 0)).find((fd) => fd >= 0)!;
        const at = mem.blockAt(child);
        expect(ctl[at + BLOCK_LISTENER]).to.equal(fds[ctl[at + BLOCK_SLOT]!]);
        expect(ctl[at + BLOCK_QUEUE]).to.equal(client.own);
        return ctl[at + BLOCK_SLOT];
      });
    });
    expect(new Set(choices[0]).size).to.equal(4);
    for (const other of choices.slice(1)) expect(other).to.deep.equal(choices[0]);
  });

  it('a flow that changes its queue goes on, and is answered by the queue that has it', () => {
    const world = new QueueWorld({ queues: 4 });
    const { sys } = world.thread();
    const fd = listener(sys);
    for (const own of [0, 1, 2, 3]) {
      const client = clientFor(world, own, 21_000);
      client.connect();
      const child = sys.accept4(fd, c.SOCK_NONBLOCK);
      for (let i = 0; i < 12; i++) {
        client.queue = i % 4;
        client.send('P.', `asked ${i};`);
        expect(text(sys, child)).to.equal(`asked ${i};`);
        write(sys, child, `answered ${i}`);
        const last = client.got.at(-1)!;
        expect(decoder.decode(last.payload)).to.equal(`answered ${i}`);
        expect(last.queue).to.equal(own);
        client.ack += last.payload.length;
      }
      expect(sys.close(child)).to.equal(0);
    }
    // Each packet is counted where it is dealt with, once.
    const received = world.count(Mib.IpInReceives);
    expect(received).to.equal(4 * 14);
    expect(world.count(Mib.TunQueueForwarded)).to.be.above(4 * 8);
  });

  it('text may come before its connection has', () => {
    const world = new QueueWorld({ queues: 2 });
    const { sys } = world.thread();
    const fd = listener(sys);
    const client = clientFor(world, 1);
    client.queue = 0;
    client.send('S');
    world.receive(0, client.bytes('.'));
    // Queue 1 has not looked at its link yet.
    world.receive(1, client.bytes('P.', 'early'));
    world.turn();
    expect(text(sys, sys.accept4(fd, 0))).to.equal('early');
    expect(world.count(Mib.TunQueueForwarded), 'nothing').to.equal(0);
  });

  it('commands may come before their connection has', () => {
    const world = new QueueWorld({ queues: 2 });
    const { sys, port } = world.thread();
    const fd = listener(sys);
    const client = clientFor(world, 1);
    client.send('S');
    world.receive(0, client.bytes('.'));
    const child = sys.accept4(fd, c.SOCK_NONBLOCK);
    expect(child).to.be.above(0);
    expect(sys.getsockopt(child, c.IPPROTO_TCP, c.TCP_NODELAY)).to.equal(0);
    expect(port.ctl[port.mem.blockAt(child) + BLOCK_QUEUE]).to.equal(1);
    write(sys, child, 'greeting');
    expect(decoder.decode(client.got.at(-1)!.payload)).to.equal('greeting');
  });

  it('who closes first waits in queue 0, and a new SYN takes over from there', () => {
    const world = new QueueWorld({ queues: 2 });
    const { sys } = world.thread();
    const fd = listener(sys);
    const before = descriptors(world);
    const client = clientFor(world, 1);
    client.connect();
    const child = sys.accept4(fd, 0);
    expect(sys.close(child)).to.equal(0);
    expect(client.got.at(-1)).to.include({ flags: 'F.', queue: 1 });
    client.ack++;
    client.send('F.');
    expect(client.got.at(-1)!.flags).to.equal('.');
    const [first, second] = world.sides;
    expect(first!.stack.tcp.timewaits).to.equal(1);
    expect(second!.stack.tcp.timewaits).to.equal(0);
    expect(second!.stack.tcp.hashinfo.ehash.size).to.equal(0);
    expect(descriptors(world)).to.equal(before);
    // The FIN again: TIME-WAIT acknowledges it.
    const acks = client.got.length;
    client.seq--;
    client.send('F.');
    expect(client.got).to.have.lengthOf(acks + 1);
    client.seq += 100_000;
    client.send('S');
    expect(client.got.at(-1)!.flags).to.equal('S.');
    client.send('.');
    expect(sys.accept4(fd, 0)).to.be.above(0);
  });

  it('TIME-WAIT knows the same as it would with one queue', () => {
    const waiting = [1, 2].map((queues) => {
      const world = new QueueWorld({ queues });
      const { sys } = world.thread();
      const fd = listener(sys);
      const client = new Client(world, ON_SECOND);
      client.options = [{ kind: 'TS', val: 700, ecr: 0 }];
      client.connect();
      const child = sys.accept4(fd, c.SOCK_NONBLOCK);
      client.send('P.', 'some text');
      expect(text(sys, child)).to.equal('some text');
      write(sys, child, 'an answer');
      client.ack += 'an answer'.length;
      expect(sys.setsockopt(child, c.SOL_IP, c.IP_TOS, 0x10)).to.equal(0);
      expect(sys.setsockopt(child, c.SOL_SOCKET, c.SO_REUSEADDR, 0)).to.equal(0);
      client.send('.');
      sys.close(child);
      client.ack++;
      client.send('F.');
      const { ehash } = world.first.stack.tcp.hashinfo;
      const rows = Array.from({ length: ehash.rowsMade }, (_, row) => ehash.sockAt(row));
      const tw = rows.find((sk) => sk !== null) as TimewaitSock;
      expect(tw.kind).to.equal(SK_TIMEWAIT);
      const { sndNxt, tsOffset, timerIndex, hash, bindIndex, ehashSlot, ...same } = tw;
      expect([sndNxt, tsOffset, timerIndex, hash, bindIndex, ehashSlot]).to.have.lengthOf(6);
      return Object.fromEntries(Object.entries(same).filter(([, v]) => typeof v !== 'object'));
    });
    expect(waiting[1]).to.deep.equal(waiting[0]);
    expect(waiting[1]).to.include({ tsOk: true, tos: 0x10, reuse: false });
  });

  it('TIME-WAIT ends, and with it the port', () => {
    const world = new QueueWorld({ queues: 2 });
    const { sys } = world.thread();
    const fd = listener(sys);
    const client = clientFor(world, 1);
    client.connect();
    sys.close(sys.accept4(fd, 0));
    client.ack++;
    client.send('F.');
    expect(sys.close(fd)).to.equal(0);
    expect(world.first.stack.tcp.hashinfo.bhash.ports).to.equal(1);
    world.pass(61_000);
    expect(world.first.stack.tcp.hashinfo.bhash.ports).to.equal(0);
    expect(world.first.stack.tcp.hashinfo.ehash.size).to.equal(0);
    expect(descriptors(world)).to.equal(0);
  });

  it('a reset connection leaves the tables at once and its descriptor when it is closed', () => {
    const world = new QueueWorld({ queues: 2 });
    const { sys } = world.thread();
    const fd = listener(sys);
    const before = descriptors(world);
    const client = clientFor(world, 1);
    client.connect();
    const child = sys.accept4(fd, c.SOCK_NONBLOCK);
    client.send('R.');
    expect(world.first.stack.tcp.hashinfo.ehash.size).to.equal(0);
    expect(text(sys, child)).to.equal('-104');
    expect(descriptors(world)).to.equal(before + 1);
    // The same addresses and ports again, while the old descriptor is open.
    const again = new Client(world, client.sport);
    again.connect();
    const fresh = sys.accept4(fd, c.SOCK_NONBLOCK);
    expect(fresh).to.be.above(child);
    expect(sys.close(child)).to.equal(0);
    again.send('P.', 'hello');
    expect(text(sys, fresh)).to.equal('hello');
    expect(sys.close(fresh)).to.equal(0);
    again.send('R.');
    expect(descriptors(world)).to.equal(before);
  });

  it('both queues of a listener have their limits over all queues', () => {
    const world = new QueueWorld({ queues: 3 });
    const { sys } = world.thread();
    const fd = listener(sys, 4);
    const clients = Array.from({ length: 30 }, (_, i) => new Client(world, 25_000 + i));
    for (const client of clients) client.connect();
    expect(world.count(Mib.ListenOverflows)).to.be.above(0);
    let accepted = 0;
    while (sys.accept4(fd, c.SOCK_NONBLOCK) >= 0) accepted++;
    expect(accepted).to.equal(5);
  });

  it('a listener that closes has its queued connections reset, or moved', () => {
    for (const migrate of ['0', '1']) {
      const sysctl = { 'net.ipv4.tcp_migrate_req': migrate };
      const world = new QueueWorld({ queues: 3, sysctl });
      const { sys } = world.thread();
      const fds = [listener(sys), listener(sys)];
      const clients = Array.from({ length: 30 }, (_, i) => new Client(world, 26_000 + i));
      for (const client of clients) client.connect();
      world.sent.length = 0;
      expect(sys.close(fds[0]!)).to.equal(0);
      const resets = world.sent.filter(({ flags }) => flags.includes('R'));
      let left = 0;
      while (sys.accept4(fds[1]!, c.SOCK_NONBLOCK) >= 0) left++;
      expect(left + resets.length).to.equal(30);
      expect(resets.length === 0).to.equal(migrate === '1');
      expect(left).to.be.above(5);
      expect(descriptors(world)).to.equal(1 + left);
      const { children } = world.first.stack.tcp.socks[fds[1]!]!.listen!;
      expect(children).to.equal(left);
    }
  });

  it('one epoll instance hears of all queues, and another may have its number', () => {
    const world = new QueueWorld({ queues: 3 });
    const { sys } = world.thread();
    const fd = listener(sys);
    const clients = [0, 1, 2].map((queue) => clientFor(world, queue, 27_000));
    for (const client of clients) client.connect();
    const children = clients.map(() => sys.accept4(fd, c.SOCK_NONBLOCK));
    for (let life = 0; life < 3; life++) {
      const epfd = sys.epoll_create1(0);
      for (const child of children) {
        const event = { events: c.EPOLLIN | c.EPOLLET, data: child };
        expect(sys.epoll_ctl(epfd, c.EPOLL_CTL_ADD, child, event)).to.equal(0);
      }
      const events: { events: number; data: number }[] = [];
      for (const client of clients) client.send('P.', 'x');
      expect(sys.epoll_wait(epfd, events, 8, 0)).to.equal(3);
      expect(events.map(({ data }) => data).sort()).to.deep.equal([...children].sort());
      for (const child of children) expect(text(sys, child)).to.equal('x');
      expect(sys.epoll_wait(epfd, events, 8, 0)).to.equal(0);
      expect(sys.close(epfd)).to.equal(0);
    }
  });

  it('a thread that dies takes its connections of all queues with it', () => {
    const world = new QueueWorld({ queues: 3 });
    const { port } = world.thread();
    const before = descriptors(world);
    for (let life = 0; life < 3; life++) {
      const { number, sys } = world.thread();
      const fd = listener(sys);
      const clients = Array.from({ length: 9 }, (_, i) => new Client(world, 28_000 + i));
      for (const client of clients) client.connect();
      for (let i = 0; i < 6; i++) {
        const child = sys.accept4(fd, c.SOCK_NONBLOCK);
        const owner = port.ctl[port.mem.blockAt(child) + BLOCK_OWNER];
        expect(owner).to.equal(number + 1);
      }
      world.sent.length = 0;
      world.threadGone(port, number);
      const resets = world.sent.filter(({ flags }) => flags.includes('R'));
      expect(resets).to.have.lengthOf(9);
      expect(descriptors(world)).to.equal(before);
      for (const { stack } of world.sides) expect(stack.tcp.hashinfo.ehash.size).to.equal(0);
    }
  });

  it('an idle connection is parked on both sides, and wakes by any queue', () => {
    const world = new QueueWorld({ queues: 2 });
    const { sys } = world.thread();
    const fd = listener(sys);
    const before = descriptors(world);
    const [first, second] = world.sides;
    const client = clientFor(world, 1);
    client.connect();
    const child = sys.accept4(fd, c.SOCK_NONBLOCK);
    for (const queue of [1, 0]) {
      world.pass(3000);
      for (const { stack } of world.sides) expect(stack.tcp.parking.parked).to.equal(1);
      client.queue = queue;
      client.send('P.', 'back');
      expect(text(sys, child)).to.equal('back');
      expect(first!.stack.tcp.parking.parked, 'asleep where nothing came').to.equal(queue);
      expect(second!.stack.tcp.parking.parked).to.equal(0);
    }
    world.pass(3000);
    expect(sys.close(child)).to.equal(0);
    client.ack++;
    client.send('F.');
    expect(descriptors(world)).to.equal(before);
    expect(first!.stack.tcp.timewaits).to.equal(1);
  });

  it('an ICMP error finds its connection', () => {
    const world = new QueueWorld({ queues: 2 });
    const { sys } = world.thread();
    const fd = listener(sys);
    const client = clientFor(world, 1);
    client.connect();
    const child = sys.accept4(fd, c.SOCK_NONBLOCK);
    write(sys, child, 'z'.repeat(1400));
    const lost = client.got.findLast(({ payload }) => payload.length > 0)!;
    world.inject(1, fragmentationNeeded(lost.bytes, 600));
    expect(sys.getsockopt(child, c.SOL_IP, c.IP_MTU)).to.equal(600);
    const again = client.got.at(-1)!;
    expect(again.bytes.length).to.be.at.most(600);
    expect(again.queue).to.equal(1);
  });

  it('fragments meet in queue 0, and the segment goes on', () => {
    const world = new QueueWorld({ queues: 2 });
    const { sys } = world.thread();
    const fd = listener(sys);
    const client = clientFor(world, 1);
    client.connect();
    const child = sys.accept4(fd, c.SOCK_NONBLOCK);
    const [head, tail] = fragments(client.bytes('P.', 'cut in two '.repeat(10)));
    world.inject(1, tail);
    world.inject(0, head);
    expect(text(sys, child)).to.equal('cut in two '.repeat(10));
  });

  it('what we connect stays in queue 0, whichever way the answers come', () => {
    const world = new QueueWorld({ queues: 3 });
    const { sys } = world.thread();
    for (let i = 0; i < 6; i++) {
      const fd = sys.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, 0);
      expect(sys.connect(fd, { address: PEER >>> 0, port: 9000 })).to.equal(-115);
      const syn = world.sent.at(-1)!;
      expect(syn).to.include({ flags: 'S', queue: 0 });
      const answer = (flags: string, seq: number, payload = ''): Uint8Array =>
        encodePacket({
          ...syn,
          source: PEER >>> 0,
          destination: LOCAL >>> 0,
          sport: 9000,
          dport: syn.sport,
          seq,
          ack: (syn.seq + 1) >>> 0,
          flags,
          options: [],
          payload: new TextEncoder().encode(payload),
        });
      world.inject(i % 3, answer('S.', 5000));
      expect(sys.getpeername(fd, {} as never)).to.equal(0);
      world.inject((i + 1) % 3, answer('P.', 5001, 'welcome'));
      expect(text(sys, fd)).to.equal('welcome');
    }
  });

  it('a queue whose thread does not run yet is given nothing', () => {
    const world = new QueueWorld({ queues: 2, running: [0] });
    const { sys, port } = world.thread();
    const fd = listener(sys);
    const client = clientFor(world, 1);
    client.connect();
    const child = sys.accept4(fd, c.SOCK_NONBLOCK);
    expect(port.ctl[port.mem.blockAt(child) + BLOCK_QUEUE]).to.equal(0);
    client.send('P.', 'here');
    expect(text(sys, child)).to.equal('here');
  });

  it('connect() to AF_UNSPEC is refused where the socket could not begin anew', () => {
    const world = new QueueWorld({ queues: 2 });
    const { sys } = world.thread();
    const fd = listener(sys);
    const clients = [clientFor(world, 0), clientFor(world, 1)];
    for (const client of clients) client.connect();
    const results = clients.map(() => {
      const child = sys.accept4(fd, c.SOCK_NONBLOCK);
      return sys.connect(child, { family: c.AF_UNSPEC, address: 0, port: 0 });
    });
    expect(results).to.deep.equal([0, -95]);
  });

  it('at the end every connection is reset, once', () => {
    const world = new QueueWorld({ queues: 3 });
    const { sys } = world.thread();
    listener(sys);
    for (let i = 0; i < 20; i++) new Client(world, 29_000 + i).connect();
    world.sent.length = 0;
    for (const { queued } of world.sides) queued.resetAll();
    world.turn();
    expect(world.sent.filter(({ flags }) => flags.includes('R'))).to.have.lengthOf(20);
    expect(descriptors(world)).to.equal(0);
  });
});

/** ICMP "fragmentation needed and DF set" about `packet`, from a router. */
function fragmentationNeeded(packet: Uint8Array, mtu: number): Uint8Array {
  const bytes = new Uint8Array(20 + 8 + 28);
  const view = new DataView(bytes.buffer);
  bytes.set([0x45, 0, 0, bytes.length, 0, 0, 0, 0, 64, 1]);
  view.setUint32(12, PEER);
  view.setUint32(16, LOCAL);
  bytes.set([3, 4], 20);
  view.setUint16(26, mtu);
  bytes.set(packet.subarray(0, 28), 28);
  view.setUint16(10, sum(bytes.subarray(0, 20)));
  view.setUint16(22, sum(bytes.subarray(20)));
  return bytes;
}

/** `packet` in two fragments. */
function fragments(packet: Uint8Array): [Uint8Array, Uint8Array] {
  const cut = 20 + 48;
  const piece = (payload: Uint8Array, offset: number): Uint8Array => {
    const bytes = new Uint8Array(20 + payload.length);
    bytes.set(packet.subarray(0, 20));
    bytes.set(payload, 20);
    const view = new DataView(bytes.buffer);
    view.setUint16(2, bytes.length);
    view.setUint16(4, 77);
    view.setUint16(6, (offset === 0 ? 0x2000 : 0) | (offset >> 3));
    view.setUint16(10, 0);
    view.setUint16(10, sum(bytes.subarray(0, 20)));
    return bytes;
  };
  return [piece(packet.subarray(20, cut), 0), piece(packet.subarray(cut), cut - 20)];
}

function sum(bytes: Uint8Array): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return ~total & 0xffff;
}
