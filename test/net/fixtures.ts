/**
 * What tests of the core share: seeded dice, a device that keeps what it is given, memory over
 * plain buffers, a namespace, and packets built by buffer-layout (not by the code under test).
 */
import type { Device, Trace } from '../../src/net/env.js';
import { iphdr } from '../../src/net/layout.js';
import { NetNs } from '../../src/net/netns.js';
import type { Skb } from '../../src/net/skb.js';
import { BLOCK_WORDS, SocketMemory } from '../../src/net/sockmem.js';
import { type Profile, Sysctl } from '../../src/net/sysctl.js';
import { seededRandom } from '../../src/testing/memory-stack.js';

export { seededRandom };

export interface CaptureOptions {
  mtu?: number;
  checksum?: boolean;
  gsoMaxBytes?: number;
}

/** The bytes of an skb, linear part and fragments, as the wire would see them. */
export function skbBytes(skb: Skb): Uint8Array {
  const out = new Uint8Array(skb.length);
  skb.copyOut(out);
  return out;
}

/** Copies each transmitted packet; refuses all while `full`. */
export class CaptureDevice implements Device {
  packets: Uint8Array[] = [];
  full = false;
  readonly mtu: number;
  readonly offload: { readonly checksum: boolean; readonly gsoMaxBytes: number };

  constructor(options: CaptureOptions = {}) {
    this.mtu = options.mtu ?? 1500;
    this.offload = {
      checksum: options.checksum ?? false,
      gsoMaxBytes: options.gsoMaxBytes ?? 0,
    };
  }

  transmit(skb: Skb): boolean {
    if (this.full) return false;
    this.packets.push(skbBytes(skb));
    return true;
  }

  /** What was sent since the last call. */
  take(): Uint8Array[] {
    const packets = this.packets;
    this.packets = [];
    return packets;
  }
}

/** Socket memory over plain buffers. */
export function makeMem(options: { fds?: number; bytes?: number } = {}): SocketMemory {
  const fds = options.fds ?? 1024;
  const bytes = new Uint8Array(options.bytes ?? 16 << 20);
  return new SocketMemory(new Int32Array(fds * BLOCK_WORDS), bytes, 0, fds);
}

export interface NetOptions {
  seed?: number;
  profile?: Profile;
  device?: Device;
  trace?: Trace | null;
  mem?: SocketMemory;
  /** Our addresses; default 198.18.0.1. */
  addresses?: readonly string[];
}

export function makeNet(options: NetOptions = {}): NetNs {
  const net = new NetNs(
    {
      device: options.device ?? new CaptureDevice(),
      random: seededRandom(options.seed ?? 1),
      trace: options.trace ?? null,
    },
    new Sysctl(options.profile ?? '6.18'),
    options.mem ?? makeMem(),
  );
  for (const text of options.addresses ?? ['198.18.0.1']) net.addAddress(address(text));
  return net;
}

/** '198.18.0.1' as the core has it: u32 in host order, int32 bit pattern. */
export function address(text: string): number {
  return text.split('.').reduce((word, byte) => (word << 8) | Number(byte), 0);
}

/** The Internet checksum, the slow way: 0 when `bytes` include a correct one. */
export function naiveChecksum(bytes: Uint8Array): number {
  let sum = 0;
  for (let i = 0; i < bytes.length; i++) sum += i & 1 ? bytes[i]! : bytes[i]! * 256;
  while (sum > 0xffff) sum = (sum % 0x10000) + Math.floor(sum / 0x10000);
  return 0xffff - sum;
}

export interface PacketOptions {
  saddr?: string;
  daddr?: string;
  protocol?: number;
  tos?: number;
  ttl?: number;
  id?: number;
  /** Flags and offset / 8. */
  fragOff?: number;
  options?: Uint8Array;
  /** When they are to be wrong. */
  totLen?: number;
  check?: number;
  versionIhl?: number;
}

/** An IPv4 packet; from the peer 198.18.0.254 to 198.18.0.1 unless told otherwise. */
export function ipv4Packet(payload: Uint8Array, options: PacketOptions = {}): Uint8Array {
  const headerBytes = iphdr.span + (options.options?.length ?? 0);
  const packet = Buffer.alloc(headerBytes + payload.length);
  const header = {
    version_ihl: options.versionIhl ?? 0x40 | (headerBytes / 4),
    tos: options.tos ?? 0,
    tot_len: options.totLen ?? packet.length,
    id: options.id ?? 0x1234,
    frag_off: options.fragOff ?? 0,
    ttl: options.ttl ?? 64,
    protocol: options.protocol ?? 6,
    check: 0,
    saddr: address(options.saddr ?? '198.18.0.254') >>> 0,
    daddr: address(options.daddr ?? '198.18.0.1') >>> 0,
  };
  iphdr.encode(header, packet);
  if (options.options) packet.set(options.options, iphdr.span);
  packet.set(payload, headerBytes);
  header.check = options.check ?? naiveChecksum(packet.subarray(0, headerBytes));
  iphdr.encode(header, packet);
  return packet;
}

/** Puts `packet` into an empty skb. */
export function fillSkb(skb: Skb, packet: Uint8Array): Skb {
  skb.reset();
  skb.bytes.set(packet, skb.start);
  skb.end = skb.start + packet.length;
  return skb;
}

/**
 * Hands `packet` to `receive` as a device would: an skb from the input pool that goes back
 * afterwards.
 */
export function inject(
  net: NetNs,
  packet: Uint8Array,
  receive: (net: NetNs, skb: Skb) => void,
): void {
  const skb = net.inputSkbs.alloc();
  if (skb === null) throw new Error('input pool is empty');
  receive(net, fillSkb(skb, packet));
  net.inputSkbs.release(skb);
}

/** Bytes 0, 1, 2, … (mod 251), from `first` on. */
export function pattern(length: number, first = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (first + i) % 251);
}

/** The counters that are not zero, by name. */
export function counters(net: NetNs, names: readonly string[]): Record<string, number> {
  const out: Record<string, number> = {};
  for (const [i, name] of names.entries()) if (net.mib[i] !== 0) out[name] = net.mib[i]!;
  return out;
}
