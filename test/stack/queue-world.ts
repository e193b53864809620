/**
 * The stacks of a device with several queues in the calling thread: packets go in by any queue,
 * commands are carried out as soon as a doorbell rings, links are emptied until nobody has anything
 * to say. For tests.
 */
import type { Device } from '../../src/net/env.js';
import type { Skb } from '../../src/net/skb.js';
import { Sysctl, setSysctl } from '../../src/net/sysctl.js';
import { createSys, type Sys } from '../../src/socket/sys.js';
import * as c from '../../src/socket/uapi/constants.js';
import {
  G_STACK_SLEEPING,
  G_STATE,
  G_STEER_KEY,
  globalAt,
  OP_THREAD_GONE,
  STACK_RUNNING,
} from '../../src/socket/uapi/layout.js';
import {
  createCtl,
  openShared,
  reserveThread,
  type SharedMemory,
  setArena,
} from '../../src/socket/uapi/shared.js';
import { ThreadPort } from '../../src/socket/uapi/thread-port.js';
import { FirstQueue } from '../../src/stack/first-queue.js';
import { OtherQueue } from '../../src/stack/other-queue.js';
import { Stack } from '../../src/stack/stack.js';
import { Syscalls } from '../../src/stack/syscalls.js';
import {
  decodePacket,
  encodePacket,
  ipv4,
  seededRandom,
  type TcpPacket,
} from '../../src/testing/index.js';

export const LOCAL: number = ipv4('198.18.0.1');
export const PEER: number = ipv4('198.18.0.254');

/** A packet that a stack has sent. */
export interface Sent extends TcpPacket {
  queue: number;
  bytes: Uint8Array;
}

/** One stack of the world. */
export interface QueueSide {
  readonly stack: Stack;
  readonly syscalls: Syscalls;
  readonly shared: SharedMemory;
  readonly queued: FirstQueue | OtherQueue;
}

export interface WorldOptions {
  queues: number;
  sysctl?: Record<string, string>;
  /** Queues whose stack thread runs; default all. */
  running?: readonly number[];
}

export class QueueWorld {
  readonly sides: QueueSide[] = [];
  readonly sent: Sent[] = [];
  nowUs = 1_000_000;
  private readonly ctl: SharedArrayBuffer;
  private readonly arena: Uint8Array;
  /** Somebody is in `turn`. */
  private turning = false;

  constructor({ queues, sysctl = {}, running }: WorldOptions) {
    this.ctl = createCtl(512, queues);
    this.arena = new Uint8Array(new SharedArrayBuffer(queues * (16 << 20)));
    new Int32Array(this.ctl)[G_STEER_KEY] = 0x12345678;
    setArena(new Int32Array(this.ctl), 0, 0);
    for (let queue = 0; queue < queues; queue++) this.sides.push(this.side(queue, sysctl));
    const { ctl, layout } = this.first.shared;
    for (const queue of running ?? this.sides.keys()) {
      Atomics.store(ctl, globalAt(layout, G_STATE, queue), STACK_RUNNING);
    }
    this.turn();
  }

  get first(): QueueSide {
    return this.sides[0]!;
  }

  private side(queue: number, settings: Record<string, string>): QueueSide {
    const shared = openShared(this.ctl, this.arena, queue);
    const syscalls = new Syscalls(shared);
    const device: Device = {
      mtu: 1500,
      offload: { checksum: false, gsoMaxBytes: 0 },
      transmit: (skb) => this.take(queue, skb),
    };
    const sysctl = new Sysctl('6.18');
    for (const [name, value] of Object.entries(settings)) setSysctl(sysctl, name, value);
    const env = { device, random: seededRandom(queue + 1), trace: null, events: syscalls };
    const stack = new Stack(env, sysctl, shared.mem, { addresses: [LOCAL], mib: shared.mib });
    syscalls.attach(stack);
    stack.net.nowUs = this.nowUs;
    const parts = { stack, shared, wake: () => {} };
    if (queue > 0) {
      const other = new OtherQueue(parts, syscalls.interests);
      syscalls.onCommands = () => other.drain();
      return { stack, syscalls, shared, queued: other };
    }
    const first = new FirstQueue(parts);
    syscalls.onCommands = () => first.drain();
    syscalls.interests.onEpollClosed = (index) => first.epollClosed(index);
    return { stack, syscalls, shared, queued: first };
  }

  private take(queue: number, skb: Skb): boolean {
    const bytes = new Uint8Array(skb.length);
    skb.copyOut(bytes);
    if (bytes[9] === 6) this.sent.push({ ...decodePacket(bytes), queue, bytes });
    return true;
  }

  /** Turns of all stacks until nobody has anything to do at this time. */
  turn(): void {
    if (this.turning) return;
    this.turning = true;
    let busy = true;
    while (busy) {
      busy = false;
      for (const { queued, syscalls } of this.sides) {
        queued.net.nowUs = this.nowUs;
        if (syscalls.runCommands() > 0) busy = true;
        if (queued.nextDeadlineUs() <= this.nowUs) busy = true;
        queued.poll(this.nowUs);
        syscalls.flush();
      }
    }
    const { ctl, layout } = this.first.shared;
    for (const queue of this.sides.keys()) {
      Atomics.store(ctl, globalAt(layout, G_STACK_SLEEPING, queue), 1);
    }
    this.turning = false;
  }

  /** Lets `ms` pass, timers and all. */
  pass(ms: number): void {
    const endUs = this.nowUs + ms * 1000;
    for (;;) {
      const due = Math.min(...this.sides.map(({ queued }) => queued.nextDeadlineUs()));
      if (due > endUs) break;
      this.nowUs = Math.max(this.nowUs, Math.ceil(due));
      this.turn();
    }
    this.nowUs = endUs;
    this.turn();
  }

  /** A thread of a program. */
  thread(): { number: number; port: ThreadPort; sys: Sys } {
    const { shared } = this.first;
    const number = reserveThread(shared.ctl, shared.layout);
    const port = new ThreadPort(openShared(this.ctl, this.arena), number, () => this.turn());
    return { number, port, sys: createSys(port) };
  }

  /** What StackHandle.threadGone does. */
  threadGone(port: ThreadPort, number: number): void {
    for (let queue = this.sides.length - 1; queue >= 0; queue--) {
      if (port.callTo(queue, OP_THREAD_GONE, 0, number) !== 0) throw new Error('threadGone');
    }
    this.turn();
  }

  /** Without an answer yet. */
  receive(queue: number, bytes: Uint8Array): void {
    const { queued } = this.sides[queue]!;
    const skb = queued.net.inputSkbs.alloc()!;
    skb.bytes.set(bytes, skb.start);
    skb.end = skb.start + bytes.length;
    queued.net.nowUs = this.nowUs;
    queued.input(skb);
    queued.net.inputSkbs.release(skb);
  }

  /** A packet comes in by `queue`, and is answered. */
  inject(queue: number, bytes: Uint8Array): void {
    this.nowUs += 100;
    this.receive(queue, bytes);
    this.turn();
  }

  queueOf(sport: number, dport = 80): number {
    return this.first.queued.queueOf(PEER, sport, LOCAL, dport);
  }

  /** Counter `index` of all stacks together. */
  count(index: number): number {
    return this.sides.reduce((sum, { stack }) => sum + stack.net.mib[index]!, 0);
  }
}

/** A TCP client played by hand; its packets come in by whichever queue it is told. */
export class Client {
  readonly world: QueueWorld;
  readonly sport: number;
  /** Of the next packet: undefined = the flow's own. */
  queue: number | undefined;
  seq = 1000;
  options: TcpPacket['options'] = [];
  /** What is acknowledged. */
  ack = 0;

  constructor(world: QueueWorld, sport: number) {
    this.world = world;
    this.sport = sport;
  }

  /** The queue of its flow. */
  get own(): number {
    return this.world.queueOf(this.sport);
  }

  /** Packets that it got, newest last. */
  get got(): Sent[] {
    return this.world.sent.filter(({ dport }) => dport === this.sport);
  }

  bytes(flags: string, text = ''): Uint8Array {
    return encodePacket({
      source: PEER >>> 0,
      destination: LOCAL >>> 0,
      sport: this.sport,
      dport: 80,
      seq: this.seq,
      ack: flags.includes('.') ? this.ack : 0,
      flags,
      window: 65_535,
      urgent: 0,
      options: this.options,
      payload: new TextEncoder().encode(text),
      ttl: 64,
      tos: 0,
      id: 0,
      df: true,
    });
  }

  send(flags: string, text = ''): void {
    this.world.inject(this.queue ?? this.own, this.bytes(flags, text));
    const ends = flags.includes('S') || flags.includes('F') ? 1 : 0;
    this.seq += text.length + ends;
    const last = this.got.at(-1);
    if (last === undefined || last.flags.includes('R')) return;
    const fin = last.flags.includes('S') || last.flags.includes('F') ? 1 : 0;
    this.ack = (last.seq + last.payload.length + fin) >>> 0;
  }

  connect(): void {
    this.send('S');
    this.send('.');
  }
}

/** A listener on port 80 of `sys`, one of a group. */
export function listener(sys: Sys, backlog = 100): number {
  const fd = sys.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, 0);
  for (const option of [c.SO_REUSEADDR, c.SO_REUSEPORT]) {
    if (sys.setsockopt(fd, c.SOL_SOCKET, option, 1) !== 0) throw new Error('setsockopt');
  }
  if (sys.bind(fd, { address: 0, port: 80 }) !== 0) throw new Error('bind');
  if (sys.listen(fd, backlog) !== 0) throw new Error('listen');
  return fd;
}
