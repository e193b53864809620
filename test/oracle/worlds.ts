/**
 * Two worlds to play the same socket calls in: the kernel, in a network namespace that is made for
 * it, and a stack of ours; with the same device and addresses, and ports that neither has used.
 */
import {
  addTunDevice,
  enterFreshNamespace,
  KernelSockets,
  runOnCpu,
  setKernelSysctl,
} from './kernel-sockets.js';
import { NOWHERE, OurSockets, type OurSocketsOptions } from './our-sockets.js';
import { ipv4, type SocketCalls } from './socket-calls.js';

/** The device beside `lo`, on both sides; packets that go there are lost. */
export const DEVICE = 'tun0';
export const DEVICE_ADDRESS = '198.51.100.1';
const DEVICE_PREFIX = 24;

/** Ports of the cases. */
const FIRST_PORT = 2000;
const LAST_PORT = 49_000;
const RANGE = 'net.ipv4.ip_local_port_range';
/** Ephemeral ports, away from those of the cases. */
const WIDE = '50000 60999';

/** One of the two. */
export interface World {
  readonly name: 'linux' | 'ours';
  readonly calls: SocketCalls;
  setSysctl(name: string, value: string | number): void;
}

export class Worlds {
  readonly kernel: KernelSockets;
  readonly ours: OurSockets;
  private readonly linuxWorld: World;
  private readonly ownWorld: World;
  private port = FIRST_PORT;
  private leaveNamespace: () => void;
  private readonly giveBackCpus: () => void;

  /** Enters a namespace; every Worlds must be left again. */
  constructor(options: OurSocketsOptions = {}) {
    this.leaveNamespace = enter();
    this.giveBackCpus = runOnCpu(0);
    const address = { address: ipv4(DEVICE_ADDRESS), prefix: DEVICE_PREFIX };
    const devices = [{ name: DEVICE, device: NOWHERE, addresses: [address] }];
    const kernel = new KernelSockets();
    const ours = new OurSockets({ devices, ...options });
    this.kernel = kernel;
    this.ours = ours;
    this.linuxWorld = { name: 'linux', calls: kernel, setSysctl: setKernelSysctl };
    const setSysctl = (name: string, value: string | number): void => ours.setSysctl(name, value);
    this.ownWorld = { name: 'ours', calls: ours, setSysctl };
    this.widen();
  }

  leave(): void {
    this.kernel.closeAll();
    this.leaveNamespace();
    this.giveBackCpus();
  }

  /** The first of `count` ports that nobody has used. */
  freshPorts(count: number): number {
    const first = this.port;
    this.port += count;
    if (this.port <= LAST_PORT) return first;
    this.kernel.closeAll();
    this.leaveNamespace();
    this.leaveNamespace = enter();
    this.widen();
    this.port = FIRST_PORT + count;
    return FIRST_PORT;
  }

  /**
   * What `body` says in each of the worlds; all sockets and knobs are as before afterwards. Our
   * TIME-WAIT sockets are gone then; the kernel's stay.
   */
  both<T>(body: (world: World) => T): { linux: T; ours: T } {
    return { linux: this.in(this.linuxWorld, body), ours: this.in(this.ownWorld, body) };
  }

  private in<T>(world: World, body: (world: World) => T): T {
    try {
      return body(world);
    } finally {
      world.calls.closeAll();
      world.setSysctl(RANGE, WIDE);
      if (world === this.ownWorld) this.ours.advance(A_MINUTE_MS);
    }
  }

  private widen(): void {
    this.linuxWorld.setSysctl(RANGE, WIDE);
    this.ownWorld.setSysctl(RANGE, WIDE);
  }
}

/** Longer than any TIME-WAIT. */
const A_MINUTE_MS = 70_000;

function enter(): () => void {
  const leave = enterFreshNamespace();
  addTunDevice(DEVICE, `${DEVICE_ADDRESS}/${DEVICE_PREFIX}`);
  return leave;
}

/** Makes the range of ephemeral ports `low` to `high` (one port without `high`), or wide again. */
export function setRange(world: World, low: number | null, high: number | null = low): void {
  world.setSysctl(RANGE, low === null ? WIDE : `${low} ${high}`);
}
