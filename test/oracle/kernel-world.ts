/**
 * The running kernel in the place of the stack that packet scripts are played on: a network
 * namespace and a TUN device of its own, the kernel's system calls, real time. Knobs that a script
 * turns are turned in the namespace; what cannot be turned there makes the script one for another
 * system. Which scripts are played, and how their ends are judged, is script-run.ts.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { getSysctl, SYSCTL_NAMES, Sysctl } from '../../src/net/sysctl.js';
import { UnsupportedError } from '../../src/packetdrill/script.js';
import type { ScriptWorld, WorldOptions } from '../../src/packetdrill/script-world.js';
import { applyBaseline } from '../../src/packetdrill/sysctls.js';
import type { EpollEvent } from '../../src/socket/sys-table.js';
import {
  EPOLL_CTL_ADD,
  EPOLLET,
  EPOLLIN,
  EPOLLOUT,
  EPOLLPRI,
  EPOLLRDHUP,
} from '../../src/socket/uapi/constants.js';
import { enterFreshNamespace, kernelSysctl, libc, setKernelSysctl } from './kernel-sockets.js';
import { KernelSys } from './kernel-sys.js';
import { POLLIN } from './socket-calls.js';
import { TunPeer } from './tun-peer.js';

const DEVICE = 'script0';
/** Of the kernel's subnet; everybody else is behind the default route. */
const PREFIX = 16;
const IPPROTO_ICMP = 1;
const IPPROTO_TCP = 6;
/** Everything that may let a call that waits go on. */
const ANYTHING = EPOLLIN | EPOLLOUT | EPOLLPRI | EPOLLRDHUP | EPOLLET;
const EVENTS_MOST = 64;
const CONGESTION = 'net.ipv4.tcp_congestion_control';

/** What the namespace must not have from the machine, whatever a script says. */
const NAMESPACE_KNOBS: Readonly<Record<string, number>> = {
  'net.ipv4.tcp_no_metrics_save': 1,
  'net.ipv4.conf.all.rp_filter': 0,
  [`net.ipv4.conf.${DEVICE}.rp_filter`]: 0,
};

/** The knobs of the namespace, which follow those that a script turns. */
class Knobs {
  private readonly set = new Map<string, string>();

  /**
   * @throws UnsupportedError for a knob that the script has turned and that a namespace does not
   *   have. What only our defaults are differently, the machine decides.
   */
  constructor(sysctl: Sysctl) {
    const baseline = new Sysctl(sysctl.profile);
    applyBaseline(baseline);
    // Its value is that of the interpreter, and about memory only.
    baseline.tcpChildEhashEntries = sysctl.tcpChildEhashEntries;
    for (const name of SYSCTL_NAMES) this.set.set(name, valueIn(baseline, name));
    for (const [name, value] of this.set) turned(name, value);
    this.follow(sysctl);
  }

  follow(sysctl: Sysctl): void {
    for (const name of SYSCTL_NAMES) {
      const value = valueIn(sysctl, name);
      if (this.set.get(name) === value) continue;
      if (!turned(name, value) && name !== CONGESTION) {
        throw new UnsupportedError(1, `the sysctl ${name}: a namespace has none of its own`);
      }
      this.set.set(name, value);
    }
  }
}

function valueIn(sysctl: Sysctl, name: string): string {
  return String(getSysctl(sysctl, name)).replace(/\s+/g, ' ');
}

/** Turns a knob of this namespace; false where there is none. */
function turned(name: string, value: string): boolean {
  try {
    if (kernelSysctl(name).replace(/\s+/g, ' ') !== value) setKernelSysctl(name, value);
    return true;
  } catch {
    return false;
  }
}

export class KernelWorld implements ScriptWorld {
  readonly sys: KernelSys;
  readonly sent: { timeUs: number; bytes: Uint8Array }[] = [];
  callDeadlineUs: number = Number.POSITIVE_INFINITY;
  afterStep: () => void = () => {};
  private readonly options: WorldOptions;
  private readonly limitUs: number;
  private readonly tun: TunPeer;
  private readonly knobs: Knobs;
  private readonly leave: () => void;
  /** Readable when the device or a socket has something new. */
  private readonly epfd: number;
  private readonly pollfd = new Uint8Array(8);
  private readonly timespec = new BigInt64Array(2);
  private readonly events: EpollEvent[] = [];
  private readonly startNs: bigint;

  /** @param limitUs the script is over by then, whatever it waits for */
  constructor(options: WorldOptions, limitUs: number) {
    this.options = options;
    this.limitUs = limitUs;
    this.leave = enterFreshNamespace();
    let tun: TunPeer | null = null;
    try {
      const address = [24, 16, 8, 0].map((shift) => (options.address >>> shift) & 255).join('.');
      tun = new TunPeer(DEVICE, address, { prefix: PREFIX, mtu: options.mtu });
      execFileSync('ip', ['route', 'add', 'default', 'dev', DEVICE]);
      for (const [name, value] of Object.entries(NAMESPACE_KNOBS)) setKernelSysctl(name, value);
      this.knobs = new Knobs(options.sysctl);
    } catch (error) {
      tun?.close();
      this.leave();
      throw error;
    }
    this.tun = tun;
    this.epfd = libc().epoll_create1(0);
    this.sys = new KernelSys(
      (fd) => this.watch(fd, ANYTHING),
      () => valueIn(options.sysctl, CONGESTION),
    );
    this.watch(this.tun.fd, EPOLLIN);
    const view = new DataView(this.pollfd.buffer);
    view.setInt32(0, this.epfd, true);
    view.setInt16(4, POLLIN, true);
    this.startNs = process.hrtime.bigint();
    this.drain();
    this.sent.length = 0;
  }

  private watch(fd: number, events: number): void {
    this.sys.epoll_ctl(this.epfd, EPOLL_CTL_ADD, fd, { events, data: fd });
  }

  get nowUs(): number {
    return Number((process.hrtime.bigint() - this.startNs) / 1000n);
  }

  /** A kernel always may have something to do; nobody waits for it for ever. */
  get idle(): boolean {
    return this.nowUs >= this.limitUs;
  }

  get refusing(): boolean {
    return false;
  }

  set refusing(on: boolean) {
    if (on) throw new UnsupportedError(1, 'a device that takes no packet');
  }

  /** Groups of /proc/net, their lines in pairs `Group: names…` and `Group: values…`. */
  counters(): Record<string, number> {
    const counts: Record<string, number> = {};
    for (const file of ['netstat', 'snmp']) {
      const text = readFileSync(`/proc/thread-self/net/${file}`, 'latin1');
      const rows = text
        .trimEnd()
        .split('\n')
        .map((line) => line.split(' '));
      for (let i = 0; i + 1 < rows.length; i += 2) {
        const group = rows[i]![0]!.slice(0, -1);
        rows[i]!.slice(1).forEach((name, column) => {
          counts[`${group}${name}`] = Number(rows[i + 1]![column + 1]);
        });
      }
    }
    return counts;
  }

  settle(): void {
    this.knobs.follow(this.options.sysctl);
    this.step();
  }

  inject(packet: Uint8Array): void {
    this.tun.write(packet);
    this.step();
  }

  private step(): void {
    this.drain();
    this.afterStep();
    // A call that went on may have had the kernel send something.
    this.drain();
  }

  private drain(): void {
    for (let bytes = this.tun.readAny(); bytes !== null; bytes = this.tun.readAny()) {
      const isIpv4 = bytes[0]! >> 4 === 4;
      if (isIpv4 && (bytes[9] === IPPROTO_TCP || bytes[9] === IPPROTO_ICMP)) {
        this.sent.push({ timeUs: this.nowUs, bytes });
      }
    }
  }

  advanceTo(us: number, done: () => boolean = () => false): void {
    const untilUs = Math.min(us, this.limitUs);
    for (;;) {
      this.step();
      const now = this.nowUs;
      if (done() || now >= untilUs) return;
      const dueUs = this.callDeadlineUs > now ? this.callDeadlineUs : Number.POSITIVE_INFINITY;
      this.sleep(Math.min(untilUs, dueUs) - now);
    }
  }

  /** Until something happens, `us` at most. */
  private sleep(us: number): void {
    const ns = Math.ceil(us * 1000);
    this.timespec[0] = BigInt(Math.floor(ns / 1e9));
    this.timespec[1] = BigInt(ns % 1e9);
    libc().ppoll(this.pollfd, 1, new Uint8Array(this.timespec.buffer), null);
    this.sys.epoll_wait(this.epfd, this.events, EVENTS_MOST, 0);
  }

  release(): void {
    this.sys.closeAll();
    libc().close(this.epfd);
    this.tun.close();
    this.leave();
  }
}
