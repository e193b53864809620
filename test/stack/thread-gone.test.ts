/**
 * Application threads that die, on a whole stack: what they had comes back, number, descriptors,
 * epoll instances and memory, however often it happens. More often than there are numbers.
 */
import { expect } from 'chai';
import type { Device } from '../../src/net/env.js';
import { BLOCK_OWNER } from '../../src/net/sockmem.js';
import { Sysctl, setSysctl } from '../../src/net/sysctl.js';
import { createSys, type Sys } from '../../src/socket/sys.js';
import * as c from '../../src/socket/uapi/constants.js';
import {
  E_OWNER,
  epollAt,
  G_STACK_SLEEPING,
  G_STATE,
  G_THREADS,
  MAX_EPOLLS,
  MAX_THREADS,
  OP_THREAD_GONE,
  STACK_RUNNING,
} from '../../src/socket/uapi/layout.js';
import { createCtl, openShared, reserveThread } from '../../src/socket/uapi/shared.js';
import { ThreadPort } from '../../src/socket/uapi/thread-port.js';
import { Stack } from '../../src/stack/stack.js';
import { Syscalls } from '../../src/stack/syscalls.js';
import {
  decodePacket,
  encodePacket,
  ipv4,
  seededRandom,
  type TcpPacket,
} from '../../src/testing/index.js';

const LOCAL = ipv4('198.18.0.1');
const PEER = ipv4('198.18.0.254');
const CYCLES = MAX_THREADS + 20;

/** A stack whose commands are carried out as soon as its doorbell rings, in this thread. */
class World {
  readonly shared = openShared(createCtl(512), new Uint8Array(new SharedArrayBuffer(16 << 20)));
  readonly syscalls: Syscalls = new Syscalls(this.shared);
  readonly stack: Stack;
  readonly sent: TcpPacket[] = [];
  private nowUs = 1_000_000;
  private sport = 20_000;

  constructor() {
    const device: Device = {
      mtu: 1500,
      offload: { checksum: false, gsoMaxBytes: 0 },
      transmit: (skb) => {
        const whole = new Uint8Array(skb.length);
        skb.copyOut(whole);
        this.sent.push(decodePacket(whole));
        return true;
      },
    };
    const env = { device, random: seededRandom(1), trace: null, events: this.syscalls };
    const { mem, ctl } = this.shared;
    const sysctl = new Sysctl('6.18');
    setSysctl(sysctl, 'net.ipv4.tcp_migrate_req', '1');
    this.stack = new Stack(env, sysctl, mem, { addresses: [LOCAL] });
    this.syscalls.attach(this.stack);
    Atomics.store(ctl, G_STATE, STACK_RUNNING);
    Atomics.store(ctl, G_STACK_SLEEPING, 1);
    this.turn();
  }

  turn(): void {
    this.nowUs += 1000;
    this.stack.net.nowUs = this.nowUs;
    while (this.syscalls.runCommands() > 0);
    this.stack.poll(this.nowUs);
    this.syscalls.flush();
    Atomics.store(this.shared.ctl, G_STACK_SLEEPING, 1);
  }

  thread(): { number: number; port: ThreadPort; sys: Sys } {
    const number = reserveThread(this.shared.ctl, this.shared.layout);
    const port = new ThreadPort(this.shared, number, () => this.turn());
    return { number, port, sys: createSys(port) };
  }

  /** A client that has connected and asked something. */
  connect(): void {
    const sport = this.sport++;
    this.input(sport, 'S', 0, 0);
    const synAck = this.sent.findLast((packet) => packet.dport === sport)!;
    const ack = (synAck.seq + 1) >>> 0;
    this.input(sport, '.', 1, ack);
    this.input(sport, 'P.', 1, ack, 'hello');
  }

  private input(sport: number, flags: string, seq: number, ack: number, text = ''): void {
    const packet = encodePacket({
      source: PEER >>> 0,
      destination: LOCAL >>> 0,
      sport,
      dport: 80,
      seq,
      ack,
      flags,
      window: 65_535,
      urgent: 0,
      options: [],
      payload: new TextEncoder().encode(text),
      ttl: 64,
      tos: 0,
      id: 0,
      df: true,
    });
    const skb = this.stack.net.inputSkbs.alloc()!;
    skb.bytes.set(packet, skb.start);
    skb.end = skb.start + packet.length;
    this.stack.input(skb);
    this.stack.net.inputSkbs.release(skb);
    this.turn();
  }

  /** Numbers that must come back. */
  inUse(): { fds: number; pages: number; epolls: number; threads: number } {
    const { ctl, layout, mem } = this.shared;
    let epolls = 0;
    for (let epoll = 0; epoll < MAX_EPOLLS; epoll++) {
      if (ctl[epollAt(layout, epoll) + E_OWNER] !== 0) epolls++;
    }
    const threads = ctl[G_THREADS]!;
    return { fds: mem.fdsInUse, pages: mem.pagesInUse, epolls, threads };
  }
}

function listener(sys: Sys): number {
  const fd = sys.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, 0);
  for (const option of [c.SO_REUSEADDR, c.SO_REUSEPORT]) {
    expect(sys.setsockopt(fd, c.SOL_SOCKET, option, 1)).to.equal(0);
  }
  expect(sys.bind(fd, { address: 0, port: 80 })).to.equal(0);
  expect(sys.listen(fd, 511)).to.equal(0);
  return fd;
}

/** A worker's whole life: it accepts two of three connections, answers one, and dies at work. */
function liveAndDie(world: World, master: ThreadPort): number {
  const { number, sys } = world.thread();
  const fd = listener(sys);
  const epfd = sys.epoll_create1(0);
  expect(sys.epoll_ctl(epfd, c.EPOLL_CTL_ADD, fd, { events: c.EPOLLIN, data: fd })).to.equal(0);
  expect(sys.eventfd(0, c.EFD_NONBLOCK)).to.be.above(0);
  for (let i = 0; i < 3; i++) world.connect();
  for (let i = 0; i < 2; i++) {
    const child = sys.accept4(fd, c.SOCK_NONBLOCK);
    expect(child).to.be.above(0);
    const event = { events: c.EPOLLIN, data: child };
    expect(sys.epoll_ctl(epfd, c.EPOLL_CTL_ADD, child, event)).to.equal(0);
    if (i === 0) expect(sys.write(child, new Uint8Array(10_000))).to.equal(10_000);
  }
  world.sent.length = 0;
  expect(master.call(OP_THREAD_GONE, 0, number)).to.equal(0);
  world.turn();
  return number;
}

describe('stack: threads that die', () => {
  it('leave nothing behind, more often than there are thread numbers', () => {
    const world = new World();
    const { port } = world.thread();
    expect(liveAndDie(world, port)).to.equal(1);
    // What one life leaves is what a stack keeps for itself: packet buffers.
    const before = world.inUse();
    expect(before).to.include({ fds: 0, epolls: 0, threads: 2 });
    for (let cycle = 0; cycle < CYCLES; cycle++) {
      expect(liveAndDie(world, port)).to.equal(1);
      const resets = world.sent.filter(({ flags }) => flags.includes('R'));
      expect(resets, 'two accepted, one queued with nobody to move to').to.have.lengthOf(3);
      expect(world.inUse()).to.deep.equal(before);
    }
  });

  it('leave what was not accepted to the others of the group', () => {
    const world = new World();
    const { port } = world.thread();
    const other = world.thread();
    const fd = listener(other.sys);
    const before = world.inUse();
    let served = 0;
    let reset = 0;
    for (let cycle = 0; cycle < 20; cycle++) {
      const dying = world.thread();
      const theirs = listener(dying.sys);
      for (let i = 0; i < 6; i++) world.connect();
      const child = dying.sys.accept4(theirs, c.SOCK_NONBLOCK);
      world.sent.length = 0;
      expect(port.call(OP_THREAD_GONE, 0, dying.number)).to.equal(0);
      world.turn();
      reset += world.sent.filter(({ flags }) => flags.includes('R')).length;
      if (child >= 0) served++;
      for (let got = other.sys.accept4(fd, 0); got >= 0; got = other.sys.accept4(fd, 0)) {
        expect(world.shared.ctl[world.shared.mem.blockAt(got) + BLOCK_OWNER]).to.equal(
          other.number + 1,
        );
        const text = new Uint8Array(16);
        expect(other.sys.read(got, text)).to.equal(5);
        expect(other.sys.setsockopt(got, c.SOL_SOCKET, c.SO_LINGER, 1, 0)).to.equal(0);
        expect(other.sys.close(got)).to.equal(0);
        served++;
      }
      world.turn();
    }
    expect(served).to.equal(120);
    expect(reset, 'one accepted by each that had one').to.be.within(15, 20);
    const { pages } = world.inUse();
    expect(world.inUse()).to.deep.equal({ ...before, threads: 3, pages });
    // Packet buffers, of which the first connections made some.
    expect(pages - before.pages).to.be.at.most(40);
  });

  it('give their numbers back, of which there are no more than so many', () => {
    const world = new World();
    const { port } = world.thread();
    const { ctl, layout } = world.shared;
    const numbers = Array.from({ length: MAX_THREADS }, () => reserveThread(ctl, layout));
    expect(numbers.slice(-2)).to.deep.equal([MAX_THREADS - 1, -1]);
    expect(port.call(OP_THREAD_GONE, 0, 7)).to.equal(0);
    expect([reserveThread(ctl, layout), reserveThread(ctl, layout)]).to.deep.equal([7, -1]);
  });
});
