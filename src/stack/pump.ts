/**
 * The loop of the stack thread: packets in, commands of the threads, timers and output, doorbells;
 * and when there was nothing to do, sleep until a packet, a doorbell or the next deadline. Work per
 * turn is bounded, so that neither a flood of packets nor a busy thread starves the other. The
 * clock and the sleep are injected; opening devices and making stacks is pump-thread.ts's.
 */
import type { Device } from '../net/env.js';
import { Mib } from '../net/mib.js';
import type { NetNs } from '../net/netns.js';
import type { Skb } from '../net/skb.js';
import {
  G_STACK_SLEEPING,
  G_STATE,
  G_STOP,
  G_TURNS,
  STACK_RUNNING,
  STACK_STOPPED,
} from '../socket/uapi/layout.js';
import { LOOK_MOST_US, Spin } from '../socket/uapi/spin.js';
import type { QuietCollection } from './quiet-collection.js';
import type { Syscalls } from './syscalls.js';

/** Packets taken from the device in one turn. */
const PACKETS_PER_TURN = 64;
/**
 * Turns at the end, for commands that wait: enough for a full ring, not for threads that go on for
 * ever.
 */
const LAST_TURNS = 32;
/**
 * Longest sleep, µs: a sleeping thread cannot be ended from outside, so it looks around at least
 * this often.
 */
const SLEEP_MAX_US = 1_000_000;
/**
 * At the end: how long closed connections may go on delivering, and how often that is looked at,
 * µs.
 */
const FINISH_MAX_US = 2_000_000;
const FINISH_LOOK_US = 20_000;

/** What the pump needs of a device. */
export interface PumpDevice extends Device {
  /** One packet into `skb`: [start, end), ipSummed, gsoSize. False = nothing is waiting. */
  receive(skb: Skb): boolean;
  close(): void;
  readonly counters: PumpCounters;
}

/** What a device counts; added to the stack's counters. */
export interface PumpCounters {
  rxPackets: number;
  rxBytes: number;
  rxErrors: number;
  txPackets: number;
  txBytes: number;
  txDropped: number;
  txErrors: number;
}

/** What the pump needs of a Stack. */
export interface PumpStack {
  readonly net: NetNs;
  /** One packet; what is to be kept of `skb` has been copied, or has another's buffer by then. */
  input(skb: Skb): void;
  /** Due timers, then the output of everything marked. */
  poll(nowUs: number): void;
  /** Time of the next timer, µs; Infinity = none. */
  nextDeadlineUs(): number;
  /** What waits for an answer goes out with the next poll; true when there was any. */
  releaseAcks(): boolean;
  /** Connections that the application has closed and that still have something to say. */
  readonly orphans: number;
  /** Resets every connection. */
  resetAll(): void;
}

export interface PumpParts {
  readonly ctl: Int32Array;
  /** Where our queue's globals begin in `ctl`; default 0: queue 0's. */
  readonly globals?: number;
  readonly stack: PumpStack;
  readonly syscalls: Syscalls;
  readonly device: PumpDevice;
  /** Monotonic time, µs. */
  readonly clock: () => number;
  /** Sleeps until a packet or a doorbell comes, at most `timeoutMs` (fractions allowed). */
  readonly wait: (timeoutMs: number) => void;
  /**
   * How long to look again and again before sleeping, µs, while that pays (see Spin). 0 = not at
   * all.
   */
  readonly spinUs: number;
  /** Lets whoever else can run have the core first; called between two looks. */
  readonly yieldCpu?: () => void;
  /** Called before each sleep. */
  readonly idle?: () => void;
  /** Asked before each sleep while no program runs in this thread. */
  readonly collection?: QuietCollection;
}

export class Pump {
  private readonly parts: PumpParts;
  private readonly ctl: Int32Array;
  private readonly globals: number;
  /** Every packet comes in through this one, whose buffer stays in the cache unless it is lent. */
  private readonly skb: Skb;
  private lastWorkUs = 0;
  /** When a packet or a command came last; work is also what timers bring. */
  private lastTrafficUs = 0;
  /** The last turn found nothing to do. */
  private waiting = false;
  /** When that turn was; 0 = there was none, or we have slept since. */
  private lastLookUs = 0;
  private readonly spin: Spin;
  /** We are said to sleep. */
  private lulled = false;

  constructor(parts: PumpParts) {
    this.parts = parts;
    this.ctl = parts.ctl;
    this.globals = parts.globals ?? 0;
    this.spin = new Spin(parts.spinUs);
    const skb = parts.stack.net.inputSkbs.alloc();
    if (skb === null) throw new RangeError('the arena is too small for one packet');
    this.skb = skb;
  }

  /** One turn. True when there was something to do. */
  runOnce(): boolean {
    const { stack, syscalls, clock } = this.parts;
    const nowUs = clock();
    stack.net.nowUs = nowUs;
    const due = stack.nextDeadlineUs() <= nowUs;
    const packets = this.receive();
    const commands = syscalls.runCommands();
    stack.poll(nowUs);
    syscalls.flush();
    this.count();
    // Nobody else writes it, and who reads it has seconds of patience.
    this.ctl[this.globals + G_TURNS]!++;
    if (packets + commands > 0) this.lastTrafficUs = nowUs;
    const worked = due || packets + commands > 0;
    if (worked) this.noteWork(nowUs);
    return worked;
  }

  private noteWork(nowUs: number): void {
    if (this.waiting) this.spin.waited(nowUs - this.lastWorkUs);
    this.waiting = false;
    this.lastLookUs = 0;
    this.lastWorkUs = nowUs;
  }

  private receive(): number {
    const { stack, device } = this.parts;
    const { skb } = this;
    let packets = 0;
    while (packets < PACKETS_PER_TURN) {
      skb.reset();
      if (!device.receive(skb)) break;
      stack.input(skb);
      packets++;
    }
    return packets;
  }

  /** Turns until the main thread asks for the end; then closes the device. */
  run(): void {
    this.begin();
    this.turns(() => false);
    this.end();
  }

  /** Packets are answered from now on. */
  begin(): void {
    Atomics.store(this.ctl, this.globals + G_STATE, STACK_RUNNING);
  }

  /** Has the main thread asked for the end? */
  get asked(): boolean {
    return Atomics.load(this.ctl, G_STOP) !== 0;
  }

  /** Turns until the main thread asks for the end or, looked at before each turn, `until` holds. */
  turns(until: () => boolean): void {
    while (!this.asked && !until()) {
      if (!this.runOnce()) this.rest(this.quietUs());
    }
  }

  /** Collects garbage when that is due. @returns how long to sleep at most, µs */
  private quietUs(): number {
    const { collection, stack } = this.parts;
    if (collection === undefined) return SLEEP_MAX_US;
    const { nowUs, mib } = stack.net;
    const before = collection.collections;
    const leftUs = collection.quiet(nowUs, this.lastTrafficUs);
    mib[Mib.TunQuietCollections]! += collection.collections - before;
    return Math.min(leftUs, SLEEP_MAX_US);
  }

  /** The last turns; then closes the device. */
  end(): void {
    // What threads said before they asked for the end still counts: a FIN goes out.
    this.runOnce();
    for (let i = 0; i < LAST_TURNS && this.parts.syscalls.pending(); i++) this.runOnce();
    this.finish();
    // Queue 0 waits for the others; when all have ended is said by the thread.
    if (this.globals !== 0) Atomics.store(this.ctl, this.globals + G_STATE, STACK_STOPPED);
    this.parts.device.close();
  }

  /**
   * Lets closed connections deliver what they have, for a while, and resets what is left: no peer
   * waits for an answer that will never come.
   */
  private finish(): void {
    const { stack, clock, wait } = this.parts;
    const startUs = stack.net.nowUs;
    while (stack.orphans > 0) {
      const nowUs = clock();
      if (nowUs - startUs >= FINISH_MAX_US) break;
      if (this.runOnce() || stack.releaseAcks()) continue;
      const sleepUs = this.sleepUs(nowUs, FINISH_LOOK_US);
      if (sleepUs === 0) continue;
      this.parts.idle?.();
      wait(sleepUs / 1000);
    }
    stack.resetAll();
    this.runOnce();
  }

  /**
   * After a turn that found nothing: sleeps, at most `mostUs`, if nothing has come in the meantime.
   * Or returns at once, when another look is better than sleep.
   */
  rest(mostUs: number): void {
    const sleepUs = this.beforeRest(mostUs);
    if (sleepUs > 0) this.parts.wait(sleepUs / 1000);
    this.afterRest();
  }

  /**
   * The first half of `rest`, for who sleeps in a way of his own, and calls `afterRest` then.
   * Whoever posts a command once we are said to sleep sees that and rings; what was posted before
   * is seen by `pending`.
   * @returns how long to sleep, µs; 0 = not at all
   */
  beforeRest(mostUs: number): number {
    const { stack, syscalls, clock, yieldCpu, idle } = this.parts;
    const nowUs = clock();
    if (this.looksAgain(nowUs)) {
      yieldCpu?.();
      return 0;
    }
    // No answer has come in time: the ACK goes alone.
    if (stack.releaseAcks()) return 0;
    this.lulled = true;
    Atomics.store(this.ctl, this.globals + G_STACK_SLEEPING, 1);
    if (syscalls.pending() || this.asked) return 0;
    const sleepUs = this.sleepUs(nowUs, Math.min(mostUs, SLEEP_MAX_US));
    if (sleepUs > 0) {
      // What is slept is no look that was interrupted.
      this.lastLookUs = 0;
      idle?.();
    }
    return sleepUs;
  }

  afterRest(): void {
    // Another look was no sleep: the word is left alone then, as threads read it all the time.
    if (this.lulled) Atomics.store(this.ctl, this.globals + G_STACK_SLEEPING, 0);
    this.lulled = false;
  }

  /** Is another turn better than sleep? */
  private looksAgain(nowUs: number): boolean {
    const { spin, lastLookUs } = this;
    if (lastLookUs !== 0 && nowUs - lastLookUs > LOOK_MOST_US) spin.interrupted();
    this.waiting = true;
    this.lastLookUs = nowUs;
    return spin.pays && nowUs - this.lastWorkUs < spin.mostUs;
  }

  /** Until the next deadline, at most `mostUs`. */
  private sleepUs(nowUs: number, mostUs: number): number {
    return Math.max(0, Math.min(mostUs, this.parts.stack.nextDeadlineUs() - nowUs));
  }

  /** What the device has counted becomes the stack's Tun* counters. */
  private count(): void {
    const { mib } = this.parts.stack.net;
    const { counters } = this.parts.device;
    mib[Mib.TunRxPackets] = counters.rxPackets;
    mib[Mib.TunRxBytes] = counters.rxBytes;
    mib[Mib.TunRxErrors] = counters.rxErrors;
    mib[Mib.TunTxPackets] = counters.txPackets;
    mib[Mib.TunTxBytes] = counters.txBytes;
    mib[Mib.TunTxDropped] = counters.txDropped + counters.txErrors;
  }
}
