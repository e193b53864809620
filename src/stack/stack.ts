/**
 * One whole stack as a value: (packet | call | time) → (state, packets, events). No I/O, no clock,
 * no dice of its own; what it needs comes in through the constructor. Many can live in one process.
 */
import type { Device, Random, Trace } from '../net/env.js';
import { EBADF, EOPNOTSUPP } from '../net/errno.js';
import { ipv4Loopback, ipv4Rcv } from '../net/ipv4.js';
import { IPPROTO_UDP } from '../net/layout.js';
import { NetNs } from '../net/netns.js';
import type { InterfaceAddress } from '../net/route.js';
import { IFINDEX_LINK, type Skb } from '../net/skb.js';
import type { SocketMemory } from '../net/sockmem.js';
import type { Sysctl } from '../net/sysctl.js';
import { closedUdp } from '../net/udp-closed.js';
import type { Selector } from '../reuseport/selector-request.js';
import {
  tcpAbort,
  tcpAttachSendRing,
  tcpBind,
  tcpClose,
  tcpConnect,
  tcpConsumed,
  tcpDisconnect,
  tcpListen,
  tcpPublished,
  tcpShutdown,
  tcpSocket,
} from '../tcp/calls.js';
import { LEND_LEAST_BYTES } from '../tcp/lend.js';
import { tcpFlush } from '../tcp/output/flush.js';
import { sockOf } from '../tcp/parking.js';
import { createTcp } from '../tcp/protocol.js';
import { publishGroups } from '../tcp/publish.js';
import { RING_IDLE_US, retryLateDetach, sweepIdleRings } from '../tcp/ring-memory.js';
import { tcpGetsockopt, tcpSetsockopt } from '../tcp/sockopt.js';
import { tcpGetsockoptText, tcpSetsockoptText } from '../tcp/sockopt-text.js';
import type { Tcb } from '../tcp/tcb.js';
import type { Tcp } from '../tcp/tcp.js';
import { SocketMembers } from './socket-members.js';
import type { SocketEvents, StackCalls } from './stack-calls.js';

export interface StackEnv {
  /** The only device; needless when the options have `devices`. */
  readonly device?: Device;
  readonly random: Random;
  readonly trace?: Trace | null;
  readonly events: SocketEvents;
  /** Reads a user's selector: see Tcp.loadSelector. */
  readonly loadSelector?: (path: string) => Selector;
}

/** A device and what it is called and has (Linux: struct net_device). */
export interface StackDevice {
  /** At most 15 characters, as SO_BINDTODEVICE knows it. */
  readonly name: string;
  readonly device: Device;
  /** Addresses are int32 bit patterns, host order; the prefix is the length of their subnet's. */
  readonly addresses: readonly InterfaceAddress[];
}

export interface StackOptions {
  /** Addresses of the only device, int32 bit patterns, without a subnet. */
  readonly addresses?: readonly number[];
  /**
   * Several devices: ifindex counts up from 2 in this order, for 1 is `lo`. The first is the way to
   * what no subnet has.
   */
  readonly devices?: readonly StackDevice[];
  /** Counters in memory of the caller's choice (shared with other threads). */
  readonly mib?: Float64Array;
  /** A connection that was quiet for so long is parked (tcp/parking.ts), µs; Infinity = never. */
  readonly parkAfterUs?: number;
  /** Whoever runs the stack calls `releaseAcks` when there is nothing else to do (held-acks.ts). */
  readonly holdsAcks?: boolean;
  /** Text of so many bytes stays in its packet's buffer (tcp/lend.ts); Infinity = none does. */
  readonly lendLeastBytes?: number;
}

/** Connections served per flush before the next batch of input gets its turn. */
const FLUSH_MOST = 1024;
/** Timers fired per poll. */
const TIMERS_MOST = 4096;

/** The namespace with its devices and addresses. Throws RangeError when there is no device. */
function makeNet(env: StackEnv, sysctl: Sysctl, mem: SocketMemory, options: StackOptions): NetNs {
  const { random, trace = null } = env;
  const devices = options.devices ?? [];
  const device = devices[0]?.device ?? env.device;
  if (device === undefined) throw new RangeError('a stack needs a device');
  const name = devices[0]?.name ?? 'tun0';
  const net = new NetNs({ device, name, random, trace }, sysctl, mem, options.mib);
  for (const more of devices.slice(1)) net.routes.addDevice(more.name, more.device);
  for (const [i, { addresses }] of devices.entries()) {
    for (const { address, prefix } of addresses) net.addAddress(address, prefix, IFINDEX_LINK + i);
  }
  for (const address of options.addresses ?? []) net.addAddress(address);
  return net;
}

export class Stack implements StackCalls {
  readonly net: NetNs;
  readonly mem: SocketMemory;
  readonly tcp: Tcp;
  private sweptUs = 0;

  constructor(env: StackEnv, sysctl: Sysctl, mem: SocketMemory, options: StackOptions) {
    this.net = makeNet(env, sysctl, mem, options);
    this.mem = mem;
    // Every descriptor may have a request or a time-wait socket beside it.
    const most = mem.maxFds * 2 + sysctl.tcpMaxTwBuckets;
    this.tcp = createTcp(this.net, env.events, most, options.parkAfterUs);
    this.tcp.heldAcks.on = options.holdsAcks ?? false;
    this.tcp.lendLeastBytes = options.lendLeastBytes ?? LEND_LEAST_BYTES;
    this.net.inetProtos[IPPROTO_UDP] = closedUdp(this.net);
    this.tcp.loadSelector = env.loadSelector ?? null;
    this.tcp.hashinfo.selectorRequest.state = new SocketMembers();
  }

  /**
   * One packet, at `net.nowUs`. The caller keeps the skb, and has set its `ifindex` and `cpu` if it
   * came by another device than the first or another queue than 0.
   */
  input(skb: Skb): void {
    ipv4Rcv(this.net, skb);
  }

  /**
   * Lets time be `nowUs`: due timers, then the output of everything marked, and packets to
   * ourselves.
   */
  poll(nowUs: number): void {
    this.net.nowUs = nowUs;
    this.net.timers.run(nowUs, TIMERS_MOST);
    ipv4Loopback(this.net);
    if (this.tcp.heldAcks.dueUs <= nowUs) this.tcp.heldAcks.release();
    tcpFlush(this.tcp, FLUSH_MOST);
    publishGroups(this.tcp);
    if (nowUs - this.sweptUs >= RING_IDLE_US) {
      this.sweptUs = nowUs;
      sweepIdleRings(this.tcp, nowUs);
      retryLateDetach(this.tcp);
    }
    this.tcp.parking.turn(nowUs);
  }

  /** When poll must run again at the latest, µs; Infinity: may sleep. */
  nextDeadlineUs(): number {
    if (this.tcp.hasDirty || this.net.loopback.length > 0) return this.net.nowUs;
    const sweep = this.tcp.ringed.length > 0 ? this.sweptUs + RING_IDLE_US : Infinity;
    const { heldAcks, parking } = this.tcp;
    return Math.min(this.net.timers.nextUs(), sweep, heldAcks.dueUs, parking.dueUs);
  }

  /** ACKs that wait for an answer go out with the next poll. @returns true when there was any */
  releaseAcks(): boolean {
    return this.tcp.heldAcks.release();
  }

  /** Closed connections that still have something to send. */
  get orphans(): number {
    return this.tcp.orphans;
  }

  /**
   * Resets every connection, so that no peer waits for an answer that will not come: the end of the
   * stack.
   */
  resetAll(): void {
    for (let fd = 0; fd < this.tcp.socks.length; fd++) {
      const tcb = sockOf(this.tcp, fd);
      if (tcb !== null && tcb.away === 0) tcpAbort(this.tcp, tcb);
    }
  }

  /** The connection behind a descriptor, for tools and tests. */
  sock(fd: number): Tcb | null {
    return sockOf(this.tcp, fd);
  }

  /** The socket behind a descriptor that the application still holds. */
  private held(fd: number): Tcb | null {
    const tcb = sockOf(this.tcp, fd);
    return tcb !== null && !tcb.orphan ? tcb : null;
  }

  socket(uid: number): number {
    return tcpSocket(this.tcp, uid);
  }

  bind(fd: number, address: number, port: number): number {
    const tcb = this.held(fd);
    return tcb === null ? -EBADF : tcpBind(this.tcp, tcb, address | 0, port & 0xffff);
  }

  listen(fd: number, backlog: number): number {
    const tcb = this.held(fd);
    if (tcb === null) return -EBADF;
    const status = tcpListen(this.tcp, tcb, backlog);
    publishGroups(this.tcp); // before the answer: whoever has it may look at once
    return status;
  }

  connect(fd: number, address: number, port: number, withText = false): number {
    const tcb = this.held(fd);
    return tcb === null ? -EBADF : tcpConnect(this.tcp, tcb, address | 0, port & 0xffff, withText);
  }

  disconnect(fd: number): number {
    const tcb = this.held(fd);
    // A socket that could listen or connect again belongs to queue 0.
    if (tcb !== null && this.tcp.queue !== 0) return -EOPNOTSUPP;
    return tcb === null ? -EBADF : tcpDisconnect(this.tcp, tcb);
  }

  shutdown(fd: number, how: number): number {
    const tcb = this.held(fd);
    return tcb === null ? -EBADF : tcpShutdown(this.tcp, tcb, how);
  }

  close(fd: number): number {
    const tcb = this.held(fd);
    if (tcb === null) return -EBADF;
    tcpClose(this.tcp, tcb);
    return 0;
  }

  abort(fd: number): number {
    const tcb = this.held(fd);
    if (tcb === null) return -EBADF;
    tcpAbort(this.tcp, tcb);
    return 0;
  }

  setsockopt(fd: number, level: number, name: number, value: number, value2: number): number {
    const tcb = this.held(fd);
    return tcb === null ? -EBADF : tcpSetsockopt(this.tcp, tcb, level, name, value, value2);
  }

  setsockoptText(fd: number, level: number, name: number, text: string): number {
    const tcb = this.held(fd);
    return tcb === null ? -EBADF : tcpSetsockoptText(this.tcp, tcb, level, name, text);
  }

  getsockoptText(fd: number, level: number, name: number): string | number {
    const tcb = this.held(fd);
    return tcb === null ? -EBADF : tcpGetsockoptText(this.tcp, tcb, level, name);
  }

  getsockopt(fd: number, level: number, name: number, out: Int32Array): number {
    const tcb = this.held(fd);
    return tcb === null ? -EBADF : tcpGetsockopt(this.tcp, tcb, level, name, out);
  }

  attachSendRing(fd: number, refers = false): number {
    const tcb = this.held(fd);
    return tcb === null ? -EBADF : tcpAttachSendRing(this.tcp, tcb, refers);
  }

  published(fd: number): void {
    const tcb = sockOf(this.tcp, fd);
    if (tcb !== null) tcpPublished(this.tcp, tcb);
  }

  consumed(fd: number): void {
    const tcb = this.held(fd);
    if (tcb !== null) tcpConsumed(this.tcp, tcb);
  }
}
