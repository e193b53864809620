/**
 * The calls of socket-calls.ts on a stack of ours, through the same `sys` table that applications
 * use: a whole stack in this thread, on a virtual clock. A command is carried out and its packets
 * are delivered before the call returns, as on the kernel's loopback.
 */
import type { Device, Random } from '../../src/net/env.js';
import { type Profile, Sysctl, setSysctl } from '../../src/net/sysctl.js';
import { createSys, type Sockaddr, type Sys } from '../../src/socket/sys.js';
import { F_SETFL, O_NONBLOCK } from '../../src/socket/uapi/constants.js';
import {
  G_STACK_SLEEPING,
  G_STATE,
  OP_SOCKET,
  STACK_RUNNING,
} from '../../src/socket/uapi/layout.js';
import { createCtl, openShared, reserveThread } from '../../src/socket/uapi/shared.js';
import { ThreadPort } from '../../src/socket/uapi/thread-port.js';
import { Stack, type StackDevice } from '../../src/stack/stack.js';
import { Syscalls } from '../../src/stack/syscalls.js';
import { seededRandom } from '../../src/testing/index.js';
import { nearestProfile, runningProfile } from './running-kernel.js';
import { ipv4, type SocketAddress, type SocketCalls } from './socket-calls.js';

/** 127.0.0.1 to .4, which `lo` has on both sides; index 0 is where connect() starts from. */
export const ADDRESSES: readonly number[] = [1, 2, 3, 4].map((host) => ipv4(`127.0.0.${host}`));

const ARENA_BYTES = 32 << 20;
const MAX_FDS = 4096;
/** Rounds of packets that one call may cause. */
const ROUNDS_MOST = 10_000;

export interface OurSocketsOptions {
  /** Initial value of the flow hash (secret plus the namespace's mix), int32; default random. */
  ehashInitval?: number;
  seed?: number;
  /** Default: as the running kernel. */
  profile?: Profile;
  /** Devices beside `lo`; default one without an address. */
  devices?: readonly StackDevice[];
  /** Memory for payload; default 32 MiB. */
  arenaBytes?: number;
  /** Most descriptors at a time; default 4,096. */
  fds?: number;
}

/** Dice whose second throw, which becomes the hash secret, makes the initial value `initval`. */
function loadedDice(seed: number, initval: number): Random {
  const dice = seededRandom(seed);
  const first = [0, initval >>> 0];
  return { u32: () => first.shift() ?? dice.u32() };
}

/** The end of the link: what is not for us goes nowhere. */
export const NOWHERE: Device = {
  mtu: 65_535,
  offload: { checksum: false, gsoMaxBytes: 0 },
  transmit: () => true,
};

export class OurSockets implements SocketCalls {
  readonly stack: Stack;
  readonly sys: Sys;
  private readonly syscalls: Syscalls;
  private readonly port: ThreadPort;
  private readonly open = new Set<number>();
  private readonly name: Sockaddr = { family: 0, address: '', port: 0 };

  constructor(options: OurSocketsOptions = {}) {
    const { seed = 1, ehashInitval } = options;
    const shared = openShared(
      createCtl(options.fds ?? MAX_FDS),
      new Uint8Array(options.arenaBytes ?? ARENA_BYTES),
    );
    this.syscalls = new Syscalls(shared);
    const random = ehashInitval === undefined ? seededRandom(seed) : loadedDice(seed, ehashInitval);
    const sysctl = new Sysctl(options.profile ?? nearestProfile());
    const env = { random, events: this.syscalls };
    const { devices = [{ name: 'tun0', device: NOWHERE, addresses: [] }] } = options;
    this.stack = new Stack(env, sysctl, shared.mem, { devices });
    if (options.profile === undefined) this.beRunningKernel();
    this.syscalls.attach(this.stack);
    Atomics.store(shared.ctl, G_STATE, STACK_RUNNING);
    Atomics.store(shared.ctl, G_STACK_SLEEPING, 1);
    this.port = new ThreadPort(shared, reserveThread(shared.ctl, shared.layout), () => {
      this.settle();
      Atomics.store(shared.ctl, G_STACK_SLEEPING, 1);
    });
    this.sys = createSys(this.port);
    this.stack.poll(1_000_000);
    if (ehashInitval !== undefined) this.mustHash(ehashInitval);
  }

  /** Tables look up their profile when they need it; bhash has a field of it. */
  private beRunningKernel(): void {
    const profile = runningProfile();
    const { hashinfo } = this.stack.tcp;
    Object.assign(hashinfo, { profile });
    Object.assign(hashinfo.bhash, { forgetsBinds: profile.portForgetsBinds });
  }

  private mustHash(initval: number): void {
    const { ehashInitval } = this.stack.tcp.hashinfo;
    if (ehashInitval !== (initval | 0)) throw new Error('the dice did not make the hash secret');
  }

  /** Carries out commands and delivers packets until nothing is left to do at this time. */
  settle(): void {
    const { net } = this.stack;
    for (let round = 0; round < ROUNDS_MOST; round++) {
      const commands = this.syscalls.runCommands();
      this.stack.poll(net.nowUs);
      if (commands === 0 && this.stack.nextDeadlineUs() > net.nowUs) {
        this.syscalls.flush();
        return;
      }
    }
    throw new Error('packets go round and round');
  }

  /** Lets `ms` milliseconds pass, stopping at every deadline on the way. */
  advance(ms: number): void {
    const { net } = this.stack;
    // Whole microseconds: parts of them would be lost between a deadline and its time.
    const end = Math.round(net.nowUs + ms * 1000);
    for (let next = this.stack.nextDeadlineUs(); next < end; next = this.stack.nextDeadlineUs()) {
      this.stack.poll(Math.max(next, net.nowUs));
    }
    this.stack.poll(end);
    this.settle();
  }

  setSysctl(name: string, value: string | number): void {
    const error = setSysctl(this.stack.net.sysctl, name, String(value));
    if (error !== null) throw new RangeError(error);
  }

  private opened(fd: number): number {
    if (fd >= 0) this.open.add(fd);
    return fd;
  }

  socket(uid = 0): number {
    const fd = this.opened(this.port.call(OP_SOCKET, 0, uid));
    if (fd >= 0) this.sys.fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
  }

  bind(fd: number, address: number, port: number): number {
    return this.sys.bind(fd, { address: address >>> 0, port });
  }

  listen(fd: number, backlog: number): number {
    return this.sys.listen(fd, backlog);
  }

  accept(fd: number): number {
    return this.opened(this.sys.accept4(fd, O_NONBLOCK));
  }

  connect(fd: number, address: number, port: number): number {
    const result = this.sys.connect(fd, { address: address >>> 0, port });
    this.settle();
    return result;
  }

  setsockopt(fd: number, level: number, name: number, value: number, value2 = 0): number {
    return this.sys.setsockopt(fd, level, name, value, value2);
  }

  setsockoptText(fd: number, level: number, name: number, text: string): number {
    return this.stack.setsockoptText(fd, level, name, text);
  }

  getsockopt(fd: number, level: number, name: number, out: Int32Array): number {
    return this.sys.getsockopt(fd, level, name, out);
  }

  getsockname(fd: number): SocketAddress | number {
    return this.named(this.sys.getsockname(fd, this.name));
  }

  getpeername(fd: number): SocketAddress | number {
    return this.named(this.sys.getpeername(fd, this.name));
  }

  private named(status: number): SocketAddress | number {
    if (status < 0) return status;
    return { address: ipv4(this.name.address), port: this.name.port };
  }

  shutdown(fd: number, how: number): number {
    const result = this.sys.shutdown(fd, how);
    this.settle();
    return result;
  }

  close(fd: number): number {
    this.open.delete(fd);
    const result = this.sys.close(fd);
    this.settle();
    return result;
  }

  abort(fd: number): number {
    this.setsockopt(fd, 1, 13, 1, 0);
    return this.close(fd);
  }

  poll(fd: number, events: number): number {
    const fds = [{ fd, events, revents: 0 }];
    const count = this.sys.poll(fds, 0);
    return count < 0 ? count : fds[0]!.revents;
  }

  send(fd: number, bytes: Uint8Array, flags = 0): number {
    const result = this.sys.sendto(fd, bytes, flags);
    this.settle();
    return result;
  }

  ioctl(fd: number, request: number): number {
    const value = new Int32Array(1);
    return this.sys.ioctl(fd, request, value) || value[0]!;
  }

  disconnect(fd: number): number {
    const result = this.sys.connect(fd, { family: 0, address: 0, port: 0 });
    this.settle();
    return result;
  }

  recv(fd: number, most: number, flags = 0): Uint8Array | number {
    const bytes = new Uint8Array(most);
    const count = this.sys.recvfrom(fd, bytes, flags);
    this.settle();
    return count < 0 ? count : bytes.subarray(0, count);
  }

  closeAll(): void {
    for (const fd of [...this.open]) this.close(fd);
  }
}
