/**
 * What the stacks of a device with several queues have in common: a stack with links to others, as
 * the pump runs it. It looks at each packet before the stack does, for a packet may have come in by
 * another queue than its connection's; it goes there as it came, and is looked at, counted and
 * traced by the stack that deals with it. Who sends what to whom is first-queue.ts and
 * other-queue.ts; why it is so: docs/adr/0012.
 */
import { IPHDR_BYTES, IPPROTO_TCP, TCPHDR_BYTES } from '../net/layout.js';
import { Mib } from '../net/mib.js';
import type { NetNs } from '../net/netns.js';
import type { Skb } from '../net/skb.js';
import { steerQueue } from '../net/steering.js';
import { inetEhashfn } from '../reuseport/ehash.js';
import type { SockCommon } from '../reuseport/sock-common.js';
import { type CtlLayout, G_STACK_SLEEPING, G_STEER_KEY, globalAt } from '../socket/uapi/layout.js';
import type { SharedMemory } from '../socket/uapi/shared.js';
import { HandOver } from '../tcp/hand-over.js';
import type { Tcp } from '../tcp/tcp.js';
import type { PumpStack } from './pump.js';
import type { LinkReader, LinkWriter } from './queue-link.js';
import type { Stack } from './stack.js';

/** Messages. Down: from queue 0. */
export const M_CHILD = 1; // descriptor; the connection (HandOver.write)
export const M_ABANDON = 2; // descriptor
export const M_EPOLL_CLOSED = 3; // number of the instance
export const M_PACKET = 4; // bytes, ip_summed, gso_size, hops; the packet
export const M_FINAL = 5; // the same: goes no further
/** Up: to queue 0. */
export const M_UNHASHED = 6; // descriptor
export const M_TIMEWAIT = 7; // descriptor, substate; last words, time-out in µs
export const M_FREED = 8; // descriptor

/** Where a packet that nobody has is dealt with; it may meet a connection on its way once. */
export const HOPS_MOST = 3;
/** Another try at what waits for room in a link, µs. */
const RETRY_US = 1000;

/** What the stacks of several queues are made of. */
export interface QueueParts {
  readonly stack: Stack;
  readonly shared: SharedMemory;
  /** Ends the sleep of a queue's stack thread; called only when it sleeps. */
  readonly wake: (queue: number) => void;
}

export abstract class QueueStack implements PumpStack {
  readonly net: NetNs;
  protected readonly stack: Stack;
  protected readonly tcp: Tcp;
  protected readonly ctl: Int32Array;
  protected readonly layout: CtlLayout;
  protected readonly handOver: HandOver;
  /** Packets that come by a link. */
  private readonly skb: Skb;
  /** Links to and from other queues; they have the same order. */
  protected readonly writers: LinkWriter[] = [];
  protected readonly readers: LinkReader[] = [];
  private readonly wake: (queue: number) => void;
  private readonly steerKey: number;
  /** Of the packet that `flowOf` looked at. */
  private saddr = 0;
  private daddr = 0;
  private sport = 0;
  private dport = 0;

  constructor({ stack, shared, wake }: QueueParts) {
    this.stack = stack;
    this.net = stack.net;
    this.tcp = stack.tcp;
    this.ctl = shared.ctl;
    this.layout = shared.layout;
    this.wake = wake;
    this.handOver = new HandOver(stack.tcp);
    this.steerKey = shared.ctl[G_STEER_KEY]!;
    const skb = stack.net.inputSkbs.alloc();
    if (skb === null) throw new RangeError('the arena is too small for several queues');
    this.skb = skb;
  }

  /** One packet from the device. */
  abstract input(skb: Skb): void;
  /** A message of kind `kind` has come by `link`. */
  protected abstract heard(link: LinkReader, kind: number): void;

  poll(nowUs: number): void {
    this.net.nowUs = nowUs;
    this.drain();
    this.stack.poll(nowUs);
    for (const link of this.writers) {
      if (link.backlog > 0) link.flushWaiting();
      this.ring(link);
    }
  }

  nextDeadlineUs(): number {
    const { nowUs } = this.net;
    if (this.pending()) return nowUs;
    const due = this.stack.nextDeadlineUs();
    for (const link of this.writers) if (link.backlog > 0) return Math.min(due, nowUs + RETRY_US);
    return due;
  }

  releaseAcks(): boolean {
    return this.stack.releaseAcks();
  }

  /** Deals with everything that the links have brought so far. */
  drain(): void {
    for (const link of this.readers) {
      link.begin();
      for (let kind = link.next(); kind !== 0; kind = link.next()) {
        this.heard(link, kind);
        link.done();
      }
    }
  }

  protected pending(): boolean {
    for (const link of this.readers) if (!link.empty) return true;
    return false;
  }

  get orphans(): number {
    return this.stack.orphans;
  }

  resetAll(): void {
    this.stack.resetAll();
  }

  queueOf(saddr: number, sport: number, daddr: number, dport: number): number {
    return steerQueue(saddr, sport, daddr, dport, this.steerKey, this.layout.queues);
  }

  /**
   * Reads the flow of `skb` if it is a whole TCP segment as far as one can see; the stack looks
   * properly.
   */
  protected flowOf(skb: Skb): boolean {
    const { view, start } = skb;
    const bytes = skb.end - start;
    if (bytes < IPHDR_BYTES + TCPHDR_BYTES || view.getUint8(start) >>> 4 !== 4) return false;
    const fragment = (view.getUint16(start + 6) & 0x3fff) !== 0;
    if (fragment || view.getUint8(start + 9) !== IPPROTO_TCP) return false;
    const headerBytes = (view.getUint8(start) & 15) * 4;
    if (headerBytes < IPHDR_BYTES || headerBytes + TCPHDR_BYTES > bytes) return false;
    this.saddr = view.getInt32(start + 12);
    this.daddr = view.getInt32(start + 16);
    this.sport = view.getUint16(start + headerBytes);
    this.dport = view.getUint16(start + headerBytes + 2);
    return true;
  }

  /** The queue of that flow. */
  protected flowQueue(): number {
    return this.queueOf(this.saddr, this.sport, this.daddr, this.dport);
  }

  /** The connection of that flow in our tables. */
  protected flowSock(ifindex: number): SockCommon | null {
    const { hashinfo } = this.tcp;
    const { saddr, daddr, sport, dport } = this;
    const hash = inetEhashfn(hashinfo, daddr, dport, saddr, sport);
    return hashinfo.ehash.lookup(hash, saddr, daddr, (sport << 16) | dport, ifindex);
  }

  /** The packet of the message that `link` is at, in `this.skb`. */
  protected take(link: LinkReader): Skb {
    const { skb } = this;
    const from = link.payload;
    skb.reset();
    skb.end = skb.start + link.argument(0);
    skb.bytes.copyWithin(skb.start, from, from + link.argument(0));
    skb.ipSummed = link.argument(1);
    skb.gsoSize = link.argument(2);
    return skb;
  }

  /** The packet in `skb` goes to another queue. */
  protected send(link: LinkWriter, kind: number, skb: Skb, hops: number): void {
    const bytes = skb.end - skb.start;
    const sent = link.packet(kind, skb.start, bytes, skb.ipSummed, skb.gsoSize, hops);
    this.net.count(sent ? Mib.TunQueueForwarded : Mib.TunQueueDropped);
  }

  /** Wakes the stack thread at the other end if it sleeps while `link` has something for it. */
  private ring(link: LinkWriter): void {
    if (!link.dirty) return;
    link.dirty = false;
    const sleeping = globalAt(this.layout, G_STACK_SLEEPING, link.queue);
    if (Atomics.load(this.ctl, sleeping) === 0) return;
    if (Atomics.compareExchange(this.ctl, sleeping, 1, 0) === 1) this.wake(link.queue);
  }
}
