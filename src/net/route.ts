/**
 * Interfaces, their addresses, and which way a packet takes (Linux struct net_device, devinet.c,
 * fib_frontend.c: fib_add_ifaddr; route.c: ip_route_output_key_hash_rcu). There is no routing table
 * to edit: the routes are those that addresses bring with them, and a default route by the first
 * device. `lo` is always there with 127.0.0.0/8. Everything that goes to an address of ours goes by
 * `lo` but counts as having come in by the device that owns the address, as Linux has it since
 * 4.14. Lookups allocate nothing that stays: answers are kept by destination, and used again for
 * whoever asks next (Linux: the dst that a socket caches).
 */
import type { Device } from './env.js';
import { INADDR_BROADCAST, isLoopback, isMulticast, isZeronet } from './ipv4-address.js';
import { IFINDEX_LINK, IFINDEX_LOOPBACK } from './skb.js';

/** What a destination is (Linux: rtm_type). */
export const RTN_UNICAST = 0;
export const RTN_LOCAL = 1;
export const RTN_BROADCAST = 2;
export const RTN_MULTICAST = 3;
export const RTN_UNREACHABLE = 4;

/** 127.0.0.1. */
const INADDR_LOOPBACK = 0x7f000001;
const LOOPBACK_PREFIX = 8;
const LOOPBACK_MTU = 65_536;
/** Longest interface name, bytes (Linux: IFNAMSIZ less the end). */
export const IFNAME_MAX = 15;

/** An address of ours (Linux: struct in_ifaddr). */
export interface InterfaceAddress {
  /** int32 bit pattern, host order. */
  readonly address: number;
  /** Length of the subnet's prefix, 0..32. */
  readonly prefix: number;
}

/** An interface. */
export class NetDevice {
  readonly ifindex: number;
  readonly name: string;
  /** Largest IP packet, bytes. */
  readonly mtu: number;
  readonly offload: Device['offload'];
  /** Where its packets go; null = back to ourselves. */
  readonly link: Device | null;
  readonly addresses: InterfaceAddress[] = [];

  constructor(ifindex: number, name: string, link: Device | null) {
    this.ifindex = ifindex;
    this.name = name;
    this.link = link;
    this.mtu = link === null ? LOOPBACK_MTU : link.mtu;
    this.offload = link === null ? { checksum: true, gsoMaxBytes: LOOPBACK_MTU } : link.offload;
  }
}

/** Answers that are kept, a power of two. */
const KEPT_MOST = 256;

/** The answer to a lookup; a later one may write over it. */
export interface Route {
  /** The destination, int32. */
  daddr: number;
  /** RTN_*. */
  type: number;
  /** The device that the packet leaves by. */
  dev: NetDevice;
  /** The interface that it has come in by when it comes back to us (Linux: rt_iif). */
  iif: number;
  /** Source address for who has none, 0 = there is none (Linux: prefsrc). */
  saddr: number;
}

/** A connected network. */
interface Subnet {
  readonly network: number;
  readonly mask: number;
  readonly dev: NetDevice;
  /** The first address of ours in it. */
  readonly saddr: number;
}

/** The netmask of a prefix length, int32. */
export function netmask(prefix: number): number {
  return prefix === 0 ? 0 : -1 << (32 - prefix);
}

export class RouteTable {
  /** Interfaces by ifindex; 0 is none. */
  readonly devices: (NetDevice | null)[] = [null];
  readonly lo: NetDevice;
  /** Linux before 5.14 takes a subnet's lowest address for a second broadcast address. */
  private readonly lowestIsBroadcast: boolean;
  /** Own addresses but those of `lo`: the subnet that brought them. */
  private readonly locals = new Map<number, Subnet>();
  private readonly broadcasts = new Map<number, NetDevice>();
  /** Longest prefix first; of equals the older. */
  private readonly subnets: Subnet[] = [];
  /** The answer for a socket that is bound to a device. */
  private readonly route: Route;
  /** The answers for all others, by a hash of the destination. */
  private readonly kept: (Route | null)[] = new Array(KEPT_MOST).fill(null);

  constructor(lowestIsBroadcast: boolean) {
    this.lowestIsBroadcast = lowestIsBroadcast;
    this.lo = new NetDevice(IFINDEX_LOOPBACK, 'lo', null);
    this.devices.push(this.lo);
    this.addAddress(this.lo, INADDR_LOOPBACK, LOOPBACK_PREFIX);
    this.route = this.nowhere();
  }

  private nowhere(): Route {
    return { daddr: 0, type: RTN_UNREACHABLE, dev: this.lo, iif: 0, saddr: 0 };
  }

  /** A new interface; the first but `lo` has ifindex IFINDEX_LINK. */
  addDevice(name: string, link: Device): NetDevice {
    const dev = new NetDevice(this.devices.length, name, link);
    this.devices.push(dev);
    this.kept.fill(null);
    return dev;
  }

  /** The interface with this index, or null. */
  device(ifindex: number): NetDevice | null {
    return this.devices[ifindex] ?? null;
  }

  /** The interface called `name`, or null. */
  deviceByName(name: string): NetDevice | null {
    return this.devices.find((dev) => dev !== null && dev.name === name) ?? null;
  }

  /** Gives `dev` an address with the routes that come with it (Linux: fib_add_ifaddr). */
  addAddress(dev: NetDevice, address: number, prefix: number): void {
    const own = address | 0;
    if (this.locals.has(own)) return;
    dev.addresses.push({ address: own, prefix });
    const mask = netmask(prefix);
    const network = own & mask;
    let subnet = this.subnets.find(
      (s) => s.dev === dev && s.mask === mask && s.network === network,
    );
    if (subnet === undefined) {
      subnet = { network, mask, dev, saddr: own };
      this.addSubnet(subnet, prefix);
    }
    if (dev !== this.lo) this.locals.set(own, subnet);
    this.kept.fill(null);
  }

  private addSubnet(subnet: Subnet, prefix: number): void {
    const { network, mask, dev } = subnet;
    // A network of one is the address itself.
    if (prefix === 32) return;
    let at = 0;
    while (at < this.subnets.length && this.subnets[at]!.mask >>> 0 >= mask >>> 0) at++;
    this.subnets.splice(at, 0, subnet);
    if (prefix >= 31) return;
    this.broadcasts.set(network | ~mask, dev);
    if (this.lowestIsBroadcast) this.broadcasts.set(network, dev);
  }

  /** Is `address` one of ours? */
  isLocal(address: number): boolean {
    if (this.locals.has(address | 0)) return true;
    return isLoopback(address) && !this.broadcasts.has(address | 0);
  }

  /** Is `address` the broadcast address of a subnet of ours, or of all? */
  isBroadcast(address: number): boolean {
    return (address | 0) === INADDR_BROADCAST || this.broadcasts.has(address | 0);
  }

  /** May a socket bind to `address` (Linux af_inet.c: inet_addr_valid_or_nonlocal)? */
  mayBind(address: number): boolean {
    return this.isLocal(address) || this.isBroadcast(address) || isMulticast(address);
  }

  /**
   * Source of a packet to 0.0.0.0, which is also its destination: an address of the device bound
   * to, 127.0.0.1 without one.
   */
  self(oif: number): number {
    const dev = this.device(oif) ?? this.lo;
    return dev === this.lo ? INADDR_LOOPBACK : this.selectAddress(dev);
  }

  /**
   * Which way does a packet to `daddr` go (Linux: ip_route_output_key_hash_rcu)? Routes of other
   * devices do not exist for a socket that is bound to one: what no route of its own covers, even
   * an address of ours on another device, is taken to be on the link.
   * @param oif the device bound to, 0 = any
   */
  output(daddr: number, oif: number): Route {
    if (oif !== 0) return this.lookup(this.route, daddr, oif);
    const slot = Math.imul(daddr, 0x9e3779b1) >>> 24;
    const kept = this.kept[slot]!;
    if (kept !== null && kept.daddr === daddr) return kept;
    const route = kept ?? this.nowhere();
    this.kept[slot] = route;
    return this.lookup(route, daddr, 0);
  }

  /** Fills `route`. */
  private lookup(route: Route, daddr: number, oif: number): Route {
    route.daddr = daddr;
    if (this.isLocal(daddr)) {
      const subnet = this.locals.get(daddr);
      const dev = subnet === undefined ? this.lo : subnet.dev;
      if (oif === 0 || oif === dev.ifindex) {
        const saddr = subnet === undefined ? INADDR_LOOPBACK : subnet.saddr;
        return fill(route, RTN_LOCAL, this.lo, dev.ifindex, saddr);
      }
    }
    const dev = oif === 0 ? (this.devices[IFINDEX_LINK] ?? null) : this.device(oif);
    if (dev === null) return fill(route, RTN_UNREACHABLE, this.lo, 0, 0);
    const type = this.groupType(daddr, oif);
    if (type !== RTN_UNICAST) return fill(route, type, dev, dev.ifindex, this.selectAddress(dev));
    for (const subnet of this.subnets) {
      if ((daddr & subnet.mask) !== subnet.network) continue;
      if (oif !== 0 ? subnet.dev !== dev : subnet.dev === this.lo) continue;
      return fill(route, RTN_UNICAST, subnet.dev, subnet.dev.ifindex, subnet.saddr);
    }
    fill(route, RTN_UNICAST, dev, dev.ifindex, this.selectAddress(dev));
    if (isZeronet(daddr) || route.saddr === 0) route.type = RTN_UNREACHABLE;
    return route;
  }

  /** RTN_BROADCAST or RTN_MULTICAST, or RTN_UNICAST for what is one host. */
  private groupType(daddr: number, oif: number): number {
    if (daddr === INADDR_BROADCAST) return RTN_BROADCAST;
    if (isMulticast(daddr)) return RTN_MULTICAST;
    const owner = this.broadcasts.get(daddr);
    if (owner === undefined || (oif !== 0 && owner.ifindex !== oif)) return RTN_UNICAST;
    return RTN_BROADCAST;
  }

  /**
   * The first address of `dev`, or of any other device but `lo`; 0 = there is none (Linux
   * devinet.c: inet_select_addr). Addresses of `lo` are of no use to other hosts.
   */
  private selectAddress(dev: NetDevice): number {
    if (dev !== this.lo && dev.addresses.length > 0) return dev.addresses[0]!.address;
    for (let i = IFINDEX_LINK; i < this.devices.length; i++) {
      const own = this.devices[i]!.addresses[0];
      if (own !== undefined) return own.address;
    }
    return 0;
  }
}

function fill(route: Route, type: number, dev: NetDevice, iif: number, saddr: number): Route {
  route.type = type;
  route.dev = dev;
  route.iif = iif;
  route.saddr = saddr;
  return route;
}
