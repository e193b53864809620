/**
 * The network namespace: what every room of one stack shares (Linux: struct net). Time as a value,
 * knobs, counters, secrets, interfaces and their addresses, timers, packet pools, and the table of
 * transport protocols. No I/O.
 */
import { assert } from './assert.js';
import type { Device, Random, Trace } from './env.js';
import type { FragmentTable } from './fragment.js';
import { IcmpRateLimit } from './icmp-rate-limit.js';
import { MIB_COUNT } from './mib.js';
import { type NetDevice, RouteTable } from './route.js';
import { IFINDEX_LINK, type Skb, SkbPool, SkbQueue } from './skb.js';
import type { SocketMemory } from './sockmem.js';
import type { Sysctl } from './sysctl.js';
import { TimerQueue } from './timer.js';

/** A transport protocol as IPv4 sees it (Linux: struct net_protocol). */
export interface InetProtocol {
  /**
   * One whole datagram: skb.saddr/daddr/tos/ttl are set, transport data is [skb.transport,
   * skb.end).
   */
  rcv(skb: Skb): void;
  /**
   * An ICMP error about a packet of ours. `skb.transport` points at the transport header quoted in
   * the message (at least 8 bytes of it are there); saddr/daddr are those of the quoted packet, so
   * saddr is ours.
   */
  err(skb: Skb, type: number, code: number, info: number): void;
}

/** Largest IPv4 packet with room for headroom, rounded to a ring size: one input skb. */
const INPUT_SKB_BYTES = 128 << 10;
const OUTPUT_SKB_BYTES = 4 << 10;
/** Input buffers for packets, and most that sockets have besides (at most a quarter of memory). */
const PACKETS_MOST = 64;
const LENT_MOST = 128;

export class NetNs {
  /** The time, µs since an arbitrary start; set once per batch, never read from a clock here. */
  nowUs = 0;
  /** Interfaces, addresses and the ways that packets take. */
  readonly routes: RouteTable;
  readonly random: Random;
  readonly trace: Trace | null;
  readonly sysctl: Sysctl;
  readonly mem: SocketMemory;
  /** Counters, indexed by the constants of mib.ts. */
  readonly mib: Float64Array;
  readonly timers: TimerQueue = new TimerQueue();
  /** 128 KiB buffers for packets in, 4 KiB buffers for headers (and small packets) out. */
  readonly inputSkbs: SkbPool;
  readonly outputSkbs: SkbPool;
  readonly inetProtos: (InetProtocol | null)[] = new Array<InetProtocol | null>(256).fill(null);
  /**
   * Random per namespace; added to the hash secrets and mixed into port hashes (Linux:
   * net->hash_mix).
   */
  readonly hashMix: number;
  /** Secrets of inetEhashfn (TCP) and udpEhashfn (Linux: inet_ehash_secret, udp_ehash_secret). */
  readonly ehashSecret: number;
  readonly udpEhashSecret: number;
  /** When `nowUs` was 0, µs since 1970; NaN = nobody has told us the date. */
  utcUs: number = Number.NaN;
  /** Packets to ourselves, waiting for ipv4Loopback. */
  readonly loopback: SkbQueue = new SkbQueue();
  /** Datagrams in reassembly; made by ipv4Rcv when the first fragment comes. */
  ipFrags: FragmentTable | null = null;
  /** Counters that ipSelectIdent takes identifications from. */
  readonly ipIdents: Uint16Array = new Uint16Array(256);
  readonly icmpRateLimit: IcmpRateLimit = new IcmpRateLimit();

  /** @param env `device` becomes the first interface after `lo`, called `name` ('tun0') */
  constructor(
    env: { device: Device; name?: string; random: Random; trace: Trace | null },
    sysctl: Sysctl,
    mem: SocketMemory,
    mib: Float64Array = new Float64Array(MIB_COUNT),
  ) {
    this.routes = new RouteTable(sysctl.profile === '5.0');
    this.routes.addDevice(env.name ?? 'tun0', env.device);
    this.random = env.random;
    this.trace = env.trace;
    this.sysctl = sysctl;
    this.mem = mem;
    this.mib = mib;
    const lendMost = Math.min(LENT_MOST, Math.floor(mem.shareBytes / 4 / INPUT_SKB_BYTES));
    this.inputSkbs = new SkbPool(mem, INPUT_SKB_BYTES, PACKETS_MOST + lendMost, lendMost);
    this.outputSkbs = new SkbPool(mem, OUTPUT_SKB_BYTES, 1024);
    this.hashMix = env.random.u32();
    this.ehashSecret = env.random.u32();
    this.udpEhashSecret = env.random.u32();
  }

  /** Adds `n` to counter `index` (a constant of mib.ts). */
  count(index: number, n = 1): void {
    this.mib[index] = this.mib[index]! + n;
  }

  /** Counts a dropped packet under its one reason. */
  drop(index: number, reason: string, skb: Skb): void {
    this.count(index);
    this.trace?.drop?.(reason, skb);
  }

  /** The interface called `lo`. */
  get lo(): NetDevice {
    return this.routes.lo;
  }

  /**
   * Makes `address` (int32 bit pattern, host order) one of ours.
   * @param prefix length of its subnet's prefix; 32 = it has none
   * @param ifindex the interface that has it; the first one unless told otherwise
   */
  addAddress(address: number, prefix = 32, ifindex: number = IFINDEX_LINK): void {
    const dev = this.routes.device(ifindex);
    assert(dev !== null, 'no such interface');
    this.routes.addAddress(dev, address, prefix);
  }

  isLocal(address: number): boolean {
    return this.routes.isLocal(address);
  }

  /** Our addresses but those of `lo`, int32 bit patterns, by interface in the order of adding. */
  addresses(): number[] {
    const links = this.routes.devices.filter((dev) => dev !== null && dev !== this.lo);
    return links.flatMap((dev) => dev!.addresses.map((own) => own.address));
  }
}
