/**
 * A whole stack in memory on a virtual clock: packets go in as bytes, come out in a list, and time
 * passes when told to. Deterministic by seed; no thread, no device, no koffi.
 */
import type { Device, Random, Trace } from '../net/env.js';
import { EAGAIN } from '../net/errno.js';
import { IFINDEX_LINK, type Skb } from '../net/skb.js';
import { BLOCK_WORDS, SocketMemory } from '../net/sockmem.js';
import { type Profile, Sysctl, setSysctl } from '../net/sysctl.js';
import {
  fileAccept,
  filePoll,
  fileRead,
  fileTakenDue,
  fileWrite,
  NEED_RING,
} from '../socket/uapi/file-ops.js';
import { Stack, type StackDevice } from '../stack/stack.js';

/** mulberry32: the dice of a run that can be repeated. */
export function seededRandom(seed: number): Random {
  let state = seed | 0;
  return {
    u32(): number {
      state = (state + 0x6d2b79f5) | 0;
      let t = Math.imul(state ^ (state >>> 15), state | 1);
      t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
      return (t ^ (t >>> 14)) >>> 0;
    },
  };
}

/** A link of a stack in memory. */
export interface MemoryLinkOptions {
  /** Default 'tun0', 'tun1', … */
  name?: string;
  /** Dotted quads, each with an optional `/prefix`; default prefix 24. */
  addresses: readonly string[];
  mtu?: number;
  /** Largest super-packet that the link would cut, bytes; default 0 = no offload. */
  gsoMaxBytes?: number;
}

export interface MemoryStackOptions {
  /** Default 1. */
  seed?: number;
  profile?: Profile;
  /** Default '198.18.0.1'. */
  address?: string;
  mtu?: number;
  /** Largest super-packet that the link would cut, bytes; default 0 = no offload. */
  gsoMaxBytes?: number;
  /** net.ipv4.… settings by full name. */
  sysctl?: Record<string, string | number>;
  trace?: Trace | null;
  /** Descriptors and arena bytes; defaults 1024 and 64 MiB. */
  fds?: number;
  arenaBytes?: number;
  /** Gets every packet of the first link instead of the list. */
  device?: Device;
  /** Several links instead of one with `address`, `mtu` and `gsoMaxBytes`. */
  links?: readonly MemoryLinkOptions[];
  /** A connection that was quiet for so long is parked, µs; default as in Stack. */
  parkAfterUs?: number;
  /** See StackOptions; default false. */
  holdsAcks?: boolean;
  /** Text of so many bytes stays in its packet's buffer; default as in Stack. */
  lendLeastBytes?: number;
}

/** Where a packet comes in. */
export interface Ingress {
  /** Interface index; default the first link's. */
  ifindex?: number;
  /** Queue ("CPU"); default 0. */
  cpu?: number;
}

export interface ListenOptions {
  reuseport?: boolean;
  /** int32; default any. */
  address?: number;
}

/** '198.18.0.1' → int32. */
export function ipv4(text: string): number {
  return text.split('.').reduce((sum, part) => (sum << 8) | Number(part), 0);
}

/** '198.18.0.1/24' → address and prefix length. */
function interfaceAddress(text: string): { address: number; prefix: number } {
  const [address = '', prefix = '24'] = text.split('/');
  return { address: ipv4(address), prefix: Number(prefix) };
}

/** A link that keeps what is sent over it. */
export class MemoryLink implements Device {
  readonly name: string;
  readonly mtu: number;
  readonly offload: { readonly checksum: boolean; readonly gsoMaxBytes: number };
  /** Packets sent and not yet taken, oldest first. */
  readonly sent: Uint8Array[] = [];
  /** The link refuses packets while true. */
  full = false;

  constructor(name: string, options: Omit<MemoryLinkOptions, 'addresses'>) {
    this.name = options.name ?? name;
    this.mtu = options.mtu ?? 1500;
    const gsoMaxBytes = options.gsoMaxBytes ?? 0;
    this.offload = { checksum: gsoMaxBytes > 0, gsoMaxBytes };
  }

  transmit(skb: Skb): boolean {
    if (this.full) return false;
    const bytes = new Uint8Array(skb.length);
    skb.copyOut(bytes);
    this.sent.push(bytes);
    return true;
  }
}

/** Thread id + 1 that the one application of a memory stack locks rings with. */
const APPLICATION = 1;

export class MemoryStack {
  readonly stack: Stack;
  readonly mem: SocketMemory;
  /** The first address of the first link. */
  readonly address: number;
  /** The links, in the order of their interface indices. */
  readonly links: readonly MemoryLink[];
  /** Readiness events: [fd, EPOLL bits], oldest first. */
  readonly events: [number, number][] = [];

  constructor(options: MemoryStackOptions = {}) {
    const fds = options.fds ?? 1024;
    const arena = new Uint8Array(options.arenaBytes ?? 64 << 20);
    this.mem = new SocketMemory(new Int32Array(fds * BLOCK_WORDS), arena, 0, fds);
    const sysctl = new Sysctl(options.profile ?? '6.18');
    for (const [name, value] of Object.entries(options.sysctl ?? {})) {
      const error = setSysctl(sysctl, name, String(value));
      if (error !== null) throw new RangeError(error);
    }
    const one = { ...options, addresses: [options.address ?? '198.18.0.1'] };
    const wanted = options.links ?? [one];
    this.links = wanted.map((link, i) => new MemoryLink(`tun${i}`, link));
    const devices = wanted.map((link, i): StackDevice => {
      const device = (i === 0 && options.device) || this.links[i]!;
      const addresses = link.addresses.map(interfaceAddress);
      return { name: this.links[i]!.name, device, addresses };
    });
    this.address = devices[0]?.addresses[0]?.address ?? 0;
    const { parkAfterUs, lendLeastBytes } = options;
    this.stack = new Stack(
      {
        random: seededRandom(options.seed ?? 1),
        trace: options.trace ?? null,
        events: { ready: (fd, bits) => this.events.push([fd, bits]) },
      },
      sysctl,
      this.mem,
      {
        devices,
        holdsAcks: options.holdsAcks ?? false,
        ...(parkAfterUs !== undefined && { parkAfterUs }),
        ...(lendLeastBytes !== undefined && { lendLeastBytes }),
      },
    );
    this.stack.poll(1_000_000);
  }

  /** True when the link completes checksums, so that sent packets carry partial ones. */
  get partialChecksums(): boolean {
    return this.links[0]!.offload.checksum;
  }

  /** Packets sent over the first link and not yet taken, oldest first. */
  get sent(): Uint8Array[] {
    return this.links[0]!.sent;
  }

  /** The first link refuses packets while true. */
  get linkFull(): boolean {
    return this.links[0]!.full;
  }

  set linkFull(full: boolean) {
    this.links[0]!.full = full;
  }

  /** Virtual time, µs. */
  get nowUs(): number {
    return this.stack.net.nowUs;
  }

  /**
   * One packet in, without its consequences: call poll afterwards (several packets may form a
   * batch).
   */
  input(packet: Uint8Array, ingress: Ingress = {}): void {
    const skb = this.stack.net.inputSkbs.alloc();
    if (skb === null) throw new Error('no input skb left');
    skb.bytes.set(packet, skb.start);
    skb.end = skb.start + packet.length;
    skb.ifindex = ingress.ifindex ?? IFINDEX_LINK;
    skb.cpu = ingress.cpu ?? 0;
    this.stack.input(skb);
    this.stack.net.inputSkbs.release(skb);
  }

  /** One packet in and everything that follows from it at once. */
  inject(packet: Uint8Array, ingress: Ingress = {}): void {
    this.input(packet, ingress);
    this.poll();
  }

  /** Output of what is marked. */
  poll(): void {
    this.stack.poll(this.nowUs);
  }

  /**
   * Lets `ms` milliseconds pass, stopping at every deadline on the way. The clock shows whole
   * microseconds: with parts of them a deadline and the time since may disagree by a rounding, and
   * what is due would not be done.
   */
  advance(ms: number): void {
    const end = Math.round(this.nowUs + ms * 1000);
    for (;;) {
      const next = Math.max(Math.ceil(this.stack.nextDeadlineUs()), this.nowUs);
      if (next > end) break;
      this.stack.poll(next === this.nowUs ? Math.min(next + 1, end) : next);
      if (this.nowUs >= end) break;
    }
    this.stack.poll(end);
  }

  /** A socket bound to (address, port) that listens. Throws on an errno. */
  listen(port: number, backlog = 128, options: ListenOptions = {}): number {
    const fd = this.stack.socket(0);
    if (options.reuseport) this.stack.setsockopt(fd, 1, 15, 1, 0);
    const bound = this.stack.bind(fd, options.address ?? 0, port);
    if (bound !== 0) throw new Error(`bind: errno ${-bound}`);
    const listening = this.stack.listen(fd, backlog);
    if (listening !== 0) throw new Error(`listen: errno ${-listening}`);
    return fd;
  }

  /** Next connection of a listener: fd or -errno. */
  accept(fd: number): number {
    return fileAccept(this.mem, fd, APPLICATION);
  }

  /** Writes bytes; the number taken or -errno. */
  write(fd: number, bytes: Uint8Array | string): number {
    const data = typeof bytes === 'string' ? new TextEncoder().encode(bytes) : bytes;
    let taken = fileWrite(this.mem, fd, APPLICATION, data, 0, data.length);
    if (taken === NEED_RING) {
      const attached = this.stack.attachSendRing(fd);
      if (attached !== 0) return attached;
      taken = fileWrite(this.mem, fd, APPLICATION, data, 0, data.length);
    }
    if (taken > 0) this.stack.published(fd);
    this.settle();
    return taken;
  }

  /**
   * Reads up to `most` bytes; empty = end of stream; a number is -errno (-EAGAIN: nothing there).
   */
  read(fd: number, most: number = 1 << 20): Uint8Array | number {
    const target = new Uint8Array(most);
    const count = fileRead(this.mem, fd, APPLICATION, target, 0, most, false);
    if (count < 0) return count;
    if (fileTakenDue(this.mem, fd)) this.stack.consumed(fd);
    this.settle();
    return target.subarray(0, count);
  }

  /** Everything there is to read, as text. */
  readText(fd: number): string {
    const bytes = this.read(fd);
    if (bytes === -EAGAIN) return '';
    if (typeof bytes === 'number') throw new Error(`read: errno ${-bytes}`);
    return new TextDecoder().decode(bytes);
  }

  /** EPOLL* bits that hold now. */
  ready(fd: number): number {
    return filePoll(this.mem, fd);
  }

  close(fd: number): number {
    const result = this.stack.close(fd);
    this.settle();
    return result;
  }

  shutdown(fd: number, how: number): number {
    const result = this.stack.shutdown(fd, how);
    this.settle();
    return result;
  }

  /** Counter by its Linux name index (net/mib.ts). */
  counter(index: number): number {
    return this.stack.net.mib[index]!;
  }

  private settle(): void {
    this.stack.poll(this.nowUs);
  }
}
