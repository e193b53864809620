/**
 * The stack under test in memory on a virtual clock: packets go in, come out with the time at which
 * they were sent, and system calls go through the same table that a worker thread has. One thread,
 * so that a call is answered before it returns; nothing here ever blocks.
 */
import type { Device } from '../net/env.js';
import { MIB_NAMES, nstatName } from '../net/mib.js';
import type { Skb } from '../net/skb.js';
import { createSys, type Sys } from '../socket/sys.js';
import { G_STACK_SLEEPING, G_STATE, STACK_RUNNING } from '../socket/uapi/layout.js';
import { createCtl, openShared, reserveThread } from '../socket/uapi/shared.js';
import { ThreadPort } from '../socket/uapi/thread-port.js';
import { Stack } from '../stack/stack.js';
import { Syscalls } from '../stack/syscalls.js';
import { seededRandom } from '../testing/memory-stack.js';
import type { ScriptWorld, WorldOptions } from './script-world.js';

/** Descriptors and payload memory of a run. */
const FDS = 256;
const ARENA_BYTES = 64 << 20;
/**
 * The virtual clock when a script begins, µs: no timer may think that it is at the start of time.
 */
const START_US = 1_000_000_000;

/**
 * Payload memory of runs that are over: a run after another is served sooner from the same. What is
 * in it does not matter, every byte is written before it is read.
 */
const spareArenas: Uint8Array[] = [];

export class World implements ScriptWorld {
  readonly sys: Sys;
  private readonly stack: Stack;
  readonly sent: { timeUs: number; bytes: Uint8Array }[] = [];
  private readonly arena: Uint8Array;
  private readonly syscalls: Syscalls;
  callDeadlineUs: number = Number.POSITIVE_INFINITY;
  refusing = false;
  afterStep: () => void = () => {};

  constructor(options: WorldOptions) {
    this.arena = spareArenas.pop() ?? new Uint8Array(ARENA_BYTES);
    const shared = openShared(createCtl(FDS), this.arena);
    this.syscalls = new Syscalls(shared);
    const device: Device = {
      mtu: options.mtu,
      offload: { checksum: false, gsoMaxBytes: 0 },
      transmit: (skb) => this.keep(skb),
    };
    const env = { device, random: seededRandom(options.seed), trace: null, events: this.syscalls };
    const addresses = [options.address | 0];
    this.stack = new Stack(env, options.sysctl, shared.mem, { addresses, mib: shared.mib });
    // It is midnight when the clock begins.
    this.stack.net.utcUs = 0;
    this.syscalls.attach(this.stack);
    Atomics.store(shared.ctl, G_STATE, STACK_RUNNING);
    Atomics.store(shared.ctl, G_STACK_SLEEPING, 1);
    const thread = reserveThread(shared.ctl, shared.layout);
    const port = new ThreadPort(shared, thread, () => {
      while (this.syscalls.runCommands() > 0);
      this.syscalls.flush();
      Atomics.store(shared.ctl, G_STACK_SLEEPING, 1);
    });
    this.sys = createSys(port);
    this.stack.poll(START_US);
  }

  release(): void {
    spareArenas.push(this.arena);
  }

  counters(): Record<string, number> {
    const { mib } = this.stack.net;
    return Object.fromEntries(MIB_NAMES.map((_name, i) => [nstatName(i), mib[i]!] as const));
  }

  get nowUs(): number {
    return this.stack.net.nowUs - START_US;
  }

  private keep(skb: Skb): boolean {
    if (this.refusing) return false;
    const bytes = new Uint8Array(skb.length);
    skb.copyOut(bytes);
    this.sent.push({ timeUs: this.nowUs, bytes });
    return true;
  }

  get idle(): boolean {
    return Math.min(this.stack.nextDeadlineUs(), this.callDeadlineUs) === Infinity;
  }

  settle(): void {
    this.step(this.nowUs);
  }

  inject(packet: Uint8Array): void {
    const { inputSkbs } = this.stack.net;
    const skb = inputSkbs.alloc();
    if (skb === null) throw new Error('no input skb left');
    skb.bytes.set(packet, skb.start);
    skb.end = skb.start + packet.length;
    this.stack.input(skb);
    inputSkbs.release(skb);
    this.settle();
  }

  private step(us: number): void {
    this.stack.poll(us + START_US);
    while (this.syscalls.runCommands() > 0) this.stack.poll(us + START_US);
    this.syscalls.flush();
    this.afterStep();
  }

  /**
   * Lets time pass until `us`, with a stop at each of the stack's deadlines, or until `done` says
   * so after one of them.
   */
  advanceTo(us: number, done: () => boolean = () => false): void {
    while (!done()) {
      const dueUs = this.callDeadlineUs > this.nowUs ? this.callDeadlineUs : Infinity;
      const nextUs = Math.min(this.stack.nextDeadlineUs() - START_US, dueUs);
      if (nextUs > us) {
        if (us > this.nowUs) this.step(us);
        return;
      }
      // What is due now and still due after a step makes no progress without time.
      const stuck = nextUs <= this.nowUs;
      if (stuck && this.nowUs >= us) {
        this.settle();
        return;
      }
      this.step(stuck ? this.nowUs + 1 : nextUs);
    }
  }
}
