/**
 * The wire to the kernel's own TCP: a raw TUN device of this network namespace (no virtio-net
 * header, no offload). The kernel has the address on its side, we play everybody else: packets go
 * in as bytes, and what the kernel sends comes out in order. A written packet is processed before
 * write() returns, so an immediate answer is already there; only timers need real time.
 */
import { writeFileSync } from 'node:fs';
import { getSystemErrorName } from 'node:util';
import {
  IFF_NO_PI,
  IFF_TUN,
  IfReq,
  SIOCSIFADDR,
  SIOCSIFMTU,
  SIOCSIFNETMASK,
} from '../../src/device/ifreq.js';
import {
  mmapArena,
  munmapArena,
  native,
  O_CLOEXEC,
  O_NONBLOCK,
  O_RDWR,
} from '../../src/device/native.js';
import { EAGAIN } from '../../src/net/errno.js';
import { ipv4 } from '../../src/testing/index.js';

/** A packet has at most this many bytes, one page of each direction's half of the memory. */
const PACKET_BYTES = 65_536;
const IPPROTO_TCP = 6;

export interface TunPeerOptions {
  /** Of the kernel's subnet on the device; default 24. */
  readonly prefix?: number;
  /** Default 1500. */
  readonly mtu?: number;
}

/** One TUN device; `close` removes it from the machine. */
export class TunPeer {
  readonly name: string;
  /** Non-blocking. */
  readonly fd: number;
  private readonly address: number;
  private readonly bytes: Uint8Array;

  /**
   * @param name of the new device
   * @param kernel the kernel's address on it
   * @throws Error when the device cannot be made (no privilege, name or address taken)
   */
  constructor(name = 'oracle0', kernel = '198.18.0.1', options: TunPeerOptions = {}) {
    const { prefix = 24, mtu = 1500 } = options;
    const calls = native();
    this.name = name;
    this.fd = calls.open('/dev/net/tun', O_RDWR | O_NONBLOCK | O_CLOEXEC, 0);
    if (this.fd < 0) throw new Error(`/dev/net/tun: ${getSystemErrorName(-calls.errno())}`);
    const request = new IfReq(name);
    demand(name, 'TUNSETIFF', request.attach(this.fd, IFF_TUN | IFF_NO_PI));
    withoutIpv6(name);
    demand(name, 'SIOCSIFADDR', request.setAddress(SIOCSIFADDR, ipv4(kernel)));
    demand(name, 'SIOCSIFNETMASK', request.setAddress(SIOCSIFNETMASK, -1 << (32 - prefix)));
    demand(name, 'SIOCSIFMTU', request.setInt(SIOCSIFMTU, mtu));
    demand(name, 'SIOCSIFFLAGS', request.up());
    request.close();
    const arena = mmapArena(PACKET_BYTES);
    this.address = arena.address;
    this.bytes = arena.bytes;
  }

  /** Hands one IPv4 packet to the kernel, which has dealt with it when this returns. */
  write(packet: Uint8Array): void {
    this.bytes.set(packet);
    const written = native().write(this.fd, this.address, packet.length);
    if (written !== packet.length) throw new Error(`${this.name}: write said ${written}`);
  }

  /** The next TCP packet that the kernel has sent, or null; whatever is not TCP/IPv4 is skipped. */
  read(): Uint8Array | null {
    for (let packet = this.readAny(); packet !== null; packet = this.readAny()) {
      if (packet[0] === 0x45 && packet[9] === IPPROTO_TCP) return packet;
    }
    return null;
  }

  /** The next packet of any kind, or null. */
  readAny(): Uint8Array | null {
    const calls = native();
    const length = calls.read(this.fd, this.address, PACKET_BYTES);
    if (length >= 0) return this.bytes.slice(0, length);
    if (calls.errno() === EAGAIN) return null;
    throw new Error(`${this.name}: read: ${getSystemErrorName(-calls.errno())}`);
  }

  close(): void {
    native().close(this.fd);
    munmapArena(this.address, PACKET_BYTES);
  }
}

function demand(name: string, step: string, result: number): void {
  if (result < 0) throw new Error(`${name}: ${step}: ${getSystemErrorName(result)}`);
}

/** Router solicitations and the like would only be skipped; kernels without IPv6 have no file. */
function withoutIpv6(name: string): void {
  try {
    writeFileSync(`/proc/sys/net/ipv6/conf/${name}/disable_ipv6`, '1');
  } catch {
    // Nothing to switch off.
  }
}
