/**
 * Numbers of linux/if_tun.h, linux/sockios.h and linux/if.h, and the ioctls that look at and set up
 * a network interface by name (struct ifreq): address, netmask, MTU, queue length, up. What
 * iproute2 would be needed for otherwise.
 */
import type { Native } from './native.js';
import { AF_INET, mmapArena, munmapArena, native, O_CLOEXEC, SOCK_DGRAM } from './native.js';

/** ioctls of /dev/net/tun. */
export const TUNSETIFF = 0x400454ca;
export const TUNSETPERSIST = 0x400454cb;
export const TUNSETOWNER = 0x400454cc;
export const TUNSETOFFLOAD = 0x400454d0;
export const TUNSETVNETHDRSZ = 0x400454d8;
export const TUNSETSTEERINGEBPF = 0x800454e0;

/** ifr_flags of TUNSETIFF. */
export const IFF_TUN = 0x0001;
export const IFF_TAP = 0x0002;
export const IFF_MULTI_QUEUE = 0x0100;
export const IFF_NO_PI = 0x1000;
export const IFF_VNET_HDR = 0x4000;

/** TUNSETOFFLOAD bits: checksums, TCP super-packets. */
export const TUN_F_CSUM = 1;
export const TUN_F_TSO4 = 2;
export const TUN_F_TSO6 = 4;

/** ioctls of any socket, by interface name. */
export const SIOCGIFFLAGS = 0x8913;
export const SIOCSIFFLAGS = 0x8914;
export const SIOCGIFADDR = 0x8915;
export const SIOCSIFADDR = 0x8916;
export const SIOCGIFNETMASK = 0x891b;
export const SIOCSIFNETMASK = 0x891c;
export const SIOCGIFMTU = 0x8921;
export const SIOCSIFMTU = 0x8922;
export const SIOCGIFINDEX = 0x8933;
export const SIOCGIFTXQLEN = 0x8942;
export const SIOCSIFTXQLEN = 0x8943;

export const IFF_UP = 0x1;

/** Longest interface name, bytes (IFNAMSIZ less its zero). */
export const IFNAME_MAX = 15;

const IFREQ_BYTES = 40;
/**
 * struct ifreq: name, then a union that begins here; in it a sockaddr_in {family, port, address} or
 * an int.
 */
const UNION = 16;
const SIN_ADDRESS = UNION + 4;

/**
 * One struct ifreq in native memory and a socket to send it with. Results are ≥ 0, or a negated
 * errno. `close` gives both back.
 */
export class IfReq {
  private readonly calls: Native;
  private readonly address: number;
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private readonly socket: number;

  constructor(device: string) {
    this.calls = native();
    const arena = mmapArena(IFREQ_BYTES);
    this.address = arena.address;
    this.bytes = arena.bytes;
    this.view = new DataView(this.bytes.buffer);
    new TextEncoder().encodeInto(device, this.bytes.subarray(0, IFNAME_MAX));
    this.socket = this.calls.socket(AF_INET, SOCK_DGRAM | O_CLOEXEC, 0);
  }

  close(): void {
    if (this.socket >= 0) this.calls.close(this.socket);
    munmapArena(this.address, IFREQ_BYTES);
  }

  /** TUNSETIFF on `fd`: attaches it to (makes) the device; `flags` are IFF_*. */
  attach(fd: number, flags: number): number {
    this.clearUnion();
    this.view.setInt16(UNION, flags, true);
    return this.request(fd, TUNSETIFF);
  }

  /** An ioctl on `fd` whose argument is the integer `value` itself. */
  setValue(fd: number, request: number, value: number): number {
    return this.result(this.calls.ioctl(fd, request, value));
  }

  /** An ioctl on `fd` whose argument points at the integer `value`. */
  setPointed(fd: number, request: number, value: number): number {
    this.view.setInt32(UNION, value, true);
    return this.result(this.calls.ioctl(fd, request, this.address + UNION));
  }

  /** SIOCSIFADDR, SIOCSIFNETMASK: `address` is an int32 bit pattern, host order. */
  setAddress(request: number, address: number): number {
    this.clearUnion();
    this.view.setUint16(UNION, AF_INET, true);
    this.view.setInt32(SIN_ADDRESS, address, false);
    return this.request(this.socket, request);
  }

  /** SIOCGIFADDR, SIOCGIFNETMASK: the address, or null when the interface has none. */
  getAddress(request: number): number | null {
    this.clearUnion();
    this.view.setUint16(UNION, AF_INET, true);
    return this.request(this.socket, request) < 0 ? null : this.view.getInt32(SIN_ADDRESS, false);
  }

  /** SIOCSIFMTU, SIOCSIFTXQLEN. */
  setInt(request: number, value: number): number {
    this.clearUnion();
    this.view.setInt32(UNION, value, true);
    return this.request(this.socket, request);
  }

  /** SIOCGIFMTU, SIOCGIFTXQLEN, SIOCGIFINDEX: the value, or a negated errno. */
  getInt(request: number): number {
    this.clearUnion();
    const result = this.request(this.socket, request);
    return result < 0 ? result : this.view.getInt32(UNION, true);
  }

  /** Interface flags (IFF_UP, …), or a negated errno. */
  getFlags(): number {
    this.clearUnion();
    const result = this.request(this.socket, SIOCGIFFLAGS);
    return result < 0 ? result : this.view.getUint16(UNION, true);
  }

  /** Raises the interface. */
  up(): number {
    const flags = this.getFlags();
    if (flags < 0) return flags;
    this.view.setInt16(UNION, flags | IFF_UP, true);
    return this.request(this.socket, SIOCSIFFLAGS);
  }

  private clearUnion(): void {
    this.bytes.fill(0, UNION, IFREQ_BYTES);
  }

  private request(fd: number, request: number): number {
    return this.result(this.calls.ioctl(fd, request, this.address));
  }

  private result(value: number): number {
    return value < 0 ? -this.calls.errno() : value;
  }
}
