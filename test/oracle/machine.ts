/**
 * The two machines that a scenario is played on, behind one face: the running kernel with a TUN
 * peer and real time, and our stack in memory on virtual time. Socket calls, packets in, packets
 * out, knobs, counters and waiting; what is done with them is play.ts.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { MIB_NAMES } from '../../src/net/mib.js';
import { IFINDEX_LINK } from '../../src/net/skb.js';
import { getSysctl } from '../../src/net/sysctl.js';
import { MemoryLink } from '../../src/testing/memory-stack.js';
import { KernelSockets, kernelSysctl, setKernelSysctl } from './kernel-sockets.js';
import { OurSockets } from './our-sockets.js';
import { ipv4, type SocketCalls } from './socket-calls.js';
import { TunPeer } from './tun-peer.js';

/** Settings of /proc/sys/net by full name. */
export type Knobs = Readonly<Record<string, string | number>>;

/** The devices of both machines; each has a subnet of its own. */
export const DEVICES: readonly { readonly name: string; readonly address: string }[] = [
  { name: 'oracle0', address: '198.18.0.1' },
  { name: 'oracle1', address: '198.19.0.1' },
];

export interface Machine {
  readonly kind: 'kernel' | 'ours';
  readonly calls: SocketCalls;
  /** Sets knobs; what they were before. */
  set(knobs: Knobs): Knobs;
  /** Hands over one packet, by that device, and lets everything that follows at once happen. */
  write(packet: Uint8Array, device: number): void;
  /** The next packet that the machine has sent, or null. */
  read(): Uint8Array | null;
  /** Lets time pass. */
  wait(ms: number): Promise<void>;
  /** Milliseconds since some moment. */
  now(): number;
  /** Values of the counters called `names`, in that order. */
  counters(names: readonly string[]): number[];
  close(): void;
}

/**
 * Set on both machines before anything else: the kernel's defaults depend on its version, its
 * configuration and the memory of the machine.
 */
const COMMON_KNOBS: Knobs = {
  'net.ipv4.tcp_rmem': '4096 131072 33554432',
  'net.ipv4.tcp_congestion_control': 'reno',
  'net.ipv4.tcp_syncookies': 1,
  'net.ipv4.tcp_max_syn_backlog': 2048,
};

/** What earlier connections were like must not matter to later ones. */
const KERNEL_KNOBS: Knobs = { 'net.ipv4.tcp_no_metrics_save': 1 };

/** The kernel that runs this test, in the network namespace of this process. */
export class KernelMachine implements Machine {
  readonly kind = 'kernel';
  readonly calls: KernelSockets = new KernelSockets();
  private readonly before: Knobs;
  private readonly tuns: readonly TunPeer[];

  constructor() {
    this.tuns = DEVICES.map(({ name, address }) => new TunPeer(name, address));
    this.before = this.set({ ...COMMON_KNOBS, ...KERNEL_KNOBS });
  }

  set(knobs: Knobs): Knobs {
    const before: Record<string, string> = {};
    for (const [name, value] of Object.entries(knobs)) {
      before[name] = kernelSysctl(name);
      setKernelSysctl(name, value);
    }
    return before;
  }

  write(packet: Uint8Array, device: number): void {
    this.tuns[device]!.write(packet);
  }

  read(): Uint8Array | null {
    for (const tun of this.tuns) {
      const bytes = tun.read();
      if (bytes !== null) return bytes;
    }
    return null;
  }

  async wait(ms: number): Promise<void> {
    await sleep(ms);
  }

  now(): number {
    return performance.now();
  }

  counters(names: readonly string[]): number[] {
    const values = new Map<string, number>();
    readCounters('/proc/net/netstat', 'TcpExt', '', values);
    readCounters('/proc/net/snmp', 'Tcp', 'Tcp', values);
    return names.map((name) => values.get(name) ?? 0);
  }

  /** Closes everything and sets the knobs back. */
  close(): void {
    this.calls.closeAll();
    for (const tun of this.tuns) tun.close();
    this.set(this.before);
  }
}

/** Lines come in pairs `Group: names…` and `Group: values…`. */
function readCounters(path: string, group: string, prefix: string, to: Map<string, number>): void {
  const lines = readFileSync(path, 'latin1').split('\n');
  const [names, values] = lines.filter((line) => line.startsWith(`${group}:`));
  const counts = values!.split(' ');
  names!.split(' ').forEach((name, column) => {
    if (column > 0) to.set(prefix + name, Number(counts[column]));
  });
}

/** How long a packet takes our stack: two are further apart than a repetition and what follows. */
const PACKET_MS = 0.01;

/** Our stack, through the calls that applications make. */
export class OurMachine implements Machine {
  readonly kind = 'ours';
  readonly calls: OurSockets;
  private readonly links: readonly MemoryLink[];

  constructor(seed = 1) {
    this.links = DEVICES.map(({ name }) => new MemoryLink(name, {}));
    const devices = DEVICES.map(({ name, address }, i) => ({
      name,
      device: this.links[i]!,
      addresses: [{ address: ipv4(address), prefix: 24 }],
    }));
    this.calls = new OurSockets({ seed, devices, arenaBytes: 256 << 20 });
    this.set(COMMON_KNOBS);
  }

  set(knobs: Knobs): Knobs {
    const before: Record<string, string> = {};
    for (const [name, value] of Object.entries(knobs)) {
      before[name] = String(getSysctl(this.calls.stack.net.sysctl, name));
      this.calls.setSysctl(name, value);
    }
    return before;
  }

  write(packet: Uint8Array, device: number): void {
    const { stack } = this.calls;
    const skb = stack.net.inputSkbs.alloc()!;
    skb.bytes.set(packet, skb.start);
    skb.end = skb.start + packet.length;
    skb.ifindex = IFINDEX_LINK + device;
    stack.input(skb);
    stack.net.inputSkbs.release(skb);
    this.calls.settle();
    // The clock that initial sequence numbers come from does not stand still.
    this.calls.advance(PACKET_MS);
  }

  read(): Uint8Array | null {
    for (const link of this.links) {
      const bytes = link.sent.shift();
      if (bytes !== undefined) return bytes;
    }
    return null;
  }

  wait(ms: number): Promise<void> {
    // Not less than asked for: time comes in whole microseconds.
    this.calls.advance(Math.ceil(ms * 1000) / 1000);
    return Promise.resolve();
  }

  now(): number {
    return this.calls.stack.net.nowUs / 1000;
  }

  counters(names: readonly string[]): number[] {
    return names.map((name) => this.calls.stack.net.mib[indexOf(name)]!);
  }

  close(): void {
    this.calls.closeAll();
  }
}

function indexOf(name: string): number {
  const index = MIB_NAMES.indexOf(name);
  if (index < 0) throw new RangeError(`no counter is called ${name}`);
  return index;
}
