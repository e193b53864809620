/**
 * A thread whose sleep is virtual: a whole stack and its clock in the calling thread, and an agenda
 * of what other threads do meanwhile. A blocking call returns when it would have, and the clock
 * tells when that was.
 */
import { Sysctl } from '../../src/net/sysctl.js';
import { createSys, type Sys } from '../../src/socket/sys.js';
import { G_STACK_SLEEPING, G_STATE, STACK_RUNNING } from '../../src/socket/uapi/layout.js';
import {
  createCtl,
  openShared,
  reserveThread,
  type SharedMemory,
} from '../../src/socket/uapi/shared.js';
import { ThreadPort } from '../../src/socket/uapi/thread-port.js';
import { Stack } from '../../src/stack/stack.js';
import { Syscalls } from '../../src/stack/syscalls.js';
import { ipv4, seededRandom } from '../../src/testing/index.js';

export const ADDRESS = '198.18.0.1';

class VirtualPort extends ThreadPort {
  private readonly world: VirtualWorld;

  constructor(world: VirtualWorld, shared: SharedMemory) {
    super(shared, reserveThread(shared.ctl, shared.layout), () => world.rung());
    this.world = world;
    const clock = { worked: () => world.nowMs, waited: () => world.nowMs, livesOnLoop() {} };
    Object.assign(this, { heartbeat: clock });
  }

  override post(op: number, fd: number, a = 0, b = 0, c = 0, d = 0): boolean {
    this.world.posting = true;
    const sent = super.post(op, fd, a, b, c, d);
    this.world.posting = false;
    return sent;
  }

  override sleep(epoll: number, timeoutMs: number): number {
    this.world.passUntil(this.world.nowMs + timeoutMs, () => !this.readyEmpty(epoll));
    return this.world.nowMs;
  }
}

export class VirtualWorld {
  readonly stack: Stack;
  readonly sysctl: Sysctl = new Sysctl();
  /** The thread that blocks, and another one for the agenda. */
  readonly sys: Sys;
  readonly other: Sys;
  /** The stack thread is at other work: what nobody waits for is done with the next call. */
  busy = false;
  posting = false;
  private readonly shared: SharedMemory;
  private readonly syscalls: Syscalls;
  private readonly agenda: { atMs: number; act: () => void }[] = [];
  private readonly startUs: number;

  constructor() {
    this.shared = openShared(createCtl(64), new Uint8Array(new SharedArrayBuffer(16 << 20)));
    this.syscalls = new Syscalls(this.shared);
    const link = { mtu: 1500, offload: { checksum: false, gsoMaxBytes: 0 }, transmit: () => true };
    const env = { device: link, random: seededRandom(1), events: this.syscalls };
    const addresses = [ipv4(ADDRESS)];
    this.stack = new Stack(env, this.sysctl, this.shared.mem, { addresses });
    this.syscalls.attach(this.stack);
    this.startUs = 1_000_000;
    this.stack.poll(this.startUs);
    Atomics.store(this.shared.ctl, G_STATE, STACK_RUNNING);
    Atomics.store(this.shared.ctl, G_STACK_SLEEPING, 1);
    this.sys = createSys(new VirtualPort(this, this.shared));
    this.other = createSys(new VirtualPort(this, this.shared));
  }

  /** ms since the world began. */
  get nowMs(): number {
    return (this.stack.net.nowUs - this.startUs) / 1000;
  }

  /** `act` happens in `ms` milliseconds, whoever sleeps then. */
  later(ms: number, act: () => void): void {
    this.agenda.push({ atMs: this.nowMs + ms, act });
    this.agenda.sort((a, b) => a.atMs - b.atMs);
  }

  /** A doorbell. */
  rung(): void {
    if (this.busy && this.posting) Atomics.store(this.shared.ctl, G_STACK_SLEEPING, 1);
    else this.carryOut();
  }

  /** Commands, packets to ourselves and doorbells, until nothing is left to do now. */
  carryOut(): void {
    const { stack, syscalls } = this;
    do {
      while (syscalls.runCommands() > 0);
      stack.poll(stack.net.nowUs);
    } while (stack.nextDeadlineUs() <= stack.net.nowUs);
    syscalls.flush();
    // Whoever comes next must ring again.
    Atomics.store(this.shared.ctl, G_STACK_SLEEPING, 1);
  }

  /** Lets time pass until `endMs`, or until `done` holds. Throws when that could take for ever. */
  passUntil(endMs: number, done: () => boolean): void {
    while (!done() && this.nowMs < endMs) {
      const deadlineMs = (this.stack.nextDeadlineUs() - this.startUs) / 1000;
      const nextMs = Math.min(endMs, deadlineMs, this.agenda[0]?.atMs ?? Infinity);
      if (nextMs === Infinity) throw new Error('blocks for ever');
      this.stack.poll(this.startUs + Math.ceil(Math.max(nextMs, this.nowMs) * 1000));
      if ((this.agenda[0]?.atMs ?? Infinity) <= this.nowMs) this.agenda.shift()!.act();
      this.carryOut();
    }
  }
}
