/**
 * The life of the stack thread: opens the device, maps the payload arena, makes a Stack and runs
 * the pump on it until the main thread asks for the end (G_STOP and a ring at G_WAKE_FD) or
 * something breaks. The thread never returns to its event loop while it runs; what it has to say it
 * posts: see PumpMessage. With several queues there is such a thread for each; that of queue 0 is
 * the first, and opens what the others join. The worker's entry is pump-thread.ts.
 */
// The global of that name is a getter, which costs more than reading the clock.
import { performance } from 'node:perf_hooks';
import { parseIpv4 } from '../device/address.js';
import { Capture, type FileSink, fileSink } from '../device/capture.js';
import { DeviceError, type DeviceErrorFields, EXIT_FAILED, usageError } from '../device/errors.js';
import { mmapArena, viewArena } from '../device/native.js';
import { attachSteering } from '../device/steering.js';
import { openTun, openTunQueue, type TunOptions } from '../device/tun.js';
import type { TunDevice } from '../device/tun-device.js';
import {
  eventfdCreate,
  eventfdRead,
  eventfdWrite,
  POLL_EVENT,
  POLL_GONE,
  pollWait,
  pollWaitAsync,
  yieldCpu,
} from '../device/wait.js';
import type { Trace } from '../net/env.js';
import { type Profile, Sysctl, setSysctl } from '../net/sysctl.js';
import type { Decision } from '../reuseport/decision.js';
import { explanationLines } from '../reuseport/decision-text.js';
import {
  G_EHASH_SECRET,
  G_HASH_MIX,
  G_PROFILE,
  G_STACK_SLEEPING,
  G_STEER_KEY,
  G_STOP,
  G_WAKE_FD,
  globalAt,
  LIST_MINISOCKS,
  OP_EXPLAIN,
  OP_LIST,
} from '../socket/uapi/layout.js';
import { monotonicOffsetMs } from '../socket/uapi/monotonic.js';
import {
  arenaOf,
  declareDead,
  openShared,
  type SharedMemory,
  setArena,
} from '../socket/uapi/shared.js';
import { FirstQueue } from './first-queue.js';
import { type GuestEnd, type GuestOrder, InlineHost } from './inline-host.js';
import { LiveMembers } from './live-members.js';
import { loadSelector } from './load-selector.js';
import { OtherQueue } from './other-queue.js';
import { PacketTap, type TapBatch } from './packet-tap.js';
import { Pump, type PumpStack } from './pump.js';
import { Questions } from './questions.js';
import { ownHeap, QuietCollection } from './quiet-collection.js';
import { createRandom, type SeededRandom } from './random.js';
import { RecentEvents } from './recent-events.js';
import { Stack } from './stack.js';
import { Syscalls } from './syscalls.js';
import { Watchers } from './watchers.js';

/** The worker's `workerData`. */
export interface PumpOptions {
  /** Made by createCtl. */
  readonly ctl: SharedArrayBuffer;
  /**
   * Payload arena, bytes, a multiple of 4096: address space, of which what is touched becomes
   * memory.
   */
  readonly arenaBytes: number;
  readonly tun: TunOptions;
  readonly profile: Profile;
  readonly sysctl: Readonly<Record<string, string | number>>;
  /** See createRandom. */
  readonly seed?: string | number | undefined;
  /** pcapng file, `-` = stdout. */
  readonly pcap?: string | undefined;
  /** How long the stack looks for work before it sleeps, µs; default 0. */
  readonly spinUs?: number | undefined;
  /** Whose stack this is; default 0. How many there are is said in `ctl`. */
  readonly queue?: number | undefined;
  /** For the others: `clockOffsetMs` of queue 0, whose clock they share. */
  readonly clockOffsetMs?: number | undefined;
}

/** What the stack thread posts to its parent. */
export type PumpMessage =
  /** A SYN would be answered from now on, and the arena can be viewed. */
  | ReadyMessage
  /** There will be no stack. */
  | { event: 'failed'; error: DeviceErrorFields }
  /** It ended as asked; `captureFailure` is the errno name that cut the capture short, or null. */
  | { event: 'closed'; captureFailure: string | null }
  /** The answer to the opener's question number `id`. */
  | { event: 'answered'; id: number; answer: unknown }
  /** Traced packets, while somebody traces. */
  | TapBatch
  /** What users should read about their selectors: one was refused or detached, and why. */
  | { event: 'selector'; message: string }
  /** A program that ran in this thread has ended. */
  | GuestEnd
  /**
   * It broke: why, with stack trace, seed and last events. Calls of all threads fail from now on.
   */
  | { event: 'died'; message: string; report: string };

export interface ReadyMessage {
  event: 'ready';
  tun: string;
  address: string;
  peer: string;
  mtu: number;
  seed: string;
  /** From performance.now() of this thread to CLOCK_MONOTONIC. */
  clockOffsetMs: number;
  /** Of the last of several queues: errno with which the kernel refused to steer, 0 = it does. */
  steering: number;
}

/** For a thread that is given no programs. */
const NOTHING: () => GuestOrder = () => {
  throw new Error('no program waits');
};

/** Receives every message in order; `transfer` as in postMessage. */
export type Post = (message: PumpMessage, transfer?: ArrayBuffer[]) => void;

/** A pump and the host of programs beside it. */
interface Running {
  readonly pump: Pump;
  readonly host: InlineHost;
}

/** One stack with all that is around it. */
class StackThread {
  private readonly options: PumpOptions;
  private readonly post: Post;
  private readonly take: () => GuestOrder;
  private readonly random: SeededRandom;
  private readonly queue: number;
  private readonly clockOffsetMs: number = monotonicOffsetMs();
  /** The stack's clock, µs, and what it showed in 1970. */
  private readonly clock: () => number;
  private readonly epochUs: number;
  private steering = 0;
  private readonly recent = new RecentEvents();
  private device: TunDevice | null = null;
  private sink: FileSink | null = null;
  private capture: Capture | null = null;
  private shared: SharedMemory | null = null;
  private questions!: Questions;
  private watchers: Watchers | null = null;

  constructor(options: PumpOptions, post: Post, take: () => GuestOrder) {
    this.options = options;
    this.post = post;
    this.take = take;
    this.random = createRandom(options.seed);
    this.queue = options.queue ?? 0;
    const { clockOffsetMs = this.clockOffsetMs } = options;
    const shiftMs = this.clockOffsetMs - clockOffsetMs;
    this.clock = () => (performance.now() + shiftMs) * 1000;
    this.epochUs = (performance.timeOrigin - shiftMs) * 1000;
  }

  /** Opens everything. Throws DeviceError for what the user or the machine is to blame for. */
  open(): Running {
    const { options, queue, clock } = this;
    const sysctl = makeSysctl(options);
    this.device = queue === 0 ? openTun(options.tun) : openTunQueue(options.tun);
    if (options.pcap !== undefined) this.startCapture(options.pcap);
    const arena = queue === 0 ? mmapArena(options.arenaBytes) : publishedArena(options.ctl);
    const shared = openShared(options.ctl, arena.bytes, queue);
    this.shared = shared;
    const syscalls = new Syscalls(shared);
    const { device, random } = this;
    const trace = this.trace();
    const env = { random, trace, events: syscalls, loadSelector };
    const address = { address: parseIpv4(device.address)! | 0, prefix: device.prefix };
    const devices = [{ name: device.name, device, addresses: [address] }];
    const stack = new Stack(env, sysctl, shared.mem, {
      devices,
      mib: shared.mib,
      holdsAcks: true,
    });
    syscalls.attach(stack);
    syscalls.interests.wakeHost = (to) => wakeQueue(shared, to);
    stack.tcp.hashinfo.selectorClock = clock;
    stack.tcp.hashinfo.selectorRequest.state = new LiveMembers(shared, stack.net);
    this.watch(stack, trace, shared);
    stack.net.utcUs = this.epochUs;
    syscalls.onQuestion = (op, a, b, c, id) => this.answer(op, a, b, c, id);
    const wakeFd = eventfdCreate();
    const { ctl, layout } = shared;
    if (queue === 0) this.publish(stack, shared, arena.address);
    const pumped = layout.queues === 1 ? stack : this.joinQueues(stack, syscalls, shared);
    Atomics.store(ctl, globalAt(layout, G_WAKE_FD, queue), wakeFd);
    const globals = globalAt(layout, 0, queue);
    const wait = (timeoutMs: number): void => sleep(device, wakeFd, timeoutMs);
    const idle = (): void => this.watchers?.flush();
    const spinUs = options.spinUs ?? 0;
    const parts = { ctl, globals, syscalls, device, clock, wait, spinUs, yieldCpu, idle };
    const pump = new Pump({ ...parts, stack: pumped, collection: new QuietCollection(ownHeap()) });
    return { pump, host: this.host(pump, globals, arena.bytes, wakeFd) };
  }

  private host(pump: Pump, globals: number, arena: Uint8Array, wakeFd: number): InlineHost {
    const { queue, take, post } = this;
    const device = this.device!;
    const { ctl } = this.shared!;
    const waitAsync = (timeoutMs: number): Promise<void> => sleepAsync(device, wakeFd, timeoutMs);
    const wake = (): void => eventfdWrite(wakeFd);
    return new InlineHost({ ctl, queue, globals, arena, pump, waitAsync, wake, take, post });
  }

  /** What threads and the stacks of other queues look for. */
  private publish(stack: Stack, { ctl, layout }: SharedMemory, arenaAddress: number): void {
    ctl[G_PROFILE] = this.options.profile === '5.0' ? 500 : 618;
    ctl[G_EHASH_SECRET] = stack.net.ehashSecret;
    ctl[G_HASH_MIX] = stack.net.hashMix;
    if (layout.queues > 1) ctl[G_STEER_KEY] = this.random.u32();
    setArena(ctl, arenaAddress, this.options.arenaBytes);
  }

  /** The stack with its links to those of the other queues. */
  private joinQueues(stack: Stack, syscalls: Syscalls, shared: SharedMemory): PumpStack {
    const { ctl, layout } = shared;
    const parts = { stack, shared, wake: (to: number): void => wakeQueue(shared, to) };
    if (this.queue === 0) {
      const first = new FirstQueue(parts);
      syscalls.onCommands = () => first.drain();
      syscalls.interests.onEpollClosed = (index) => first.epollClosed(index);
      return first;
    }
    const other = new OtherQueue(parts, syscalls.interests);
    syscalls.onCommands = () => other.drain();
    if (this.queue === layout.queues - 1) {
      this.steering = attachSteering(this.device!.fd, layout.queues, ctl[G_STEER_KEY]!);
    }
    return other;
  }

  private startCapture(path: string): void {
    const joins = this.queue !== 0;
    this.sink = fileSink(path, '--pcap', joins);
    this.capture = new Capture(this.sink.write, {
      nowUs: this.clock,
      epochUs: this.epochUs,
      continues: joins,
      interfaceName: this.device!.name,
      describe: (decision) =>
        explanationLines(this.questions.traced(decision as Decision)).join('\n'),
    });
    // The file's head comes before what other queues write.
    this.capture.flush();
  }

  /** Hooks for packets and decisions are set while somebody watches: see Watchers. */
  private trace(): Trace {
    const { recent } = this;
    const state = (fd: number, from: number, to: number): void =>
      recent.record(this.clock(), fd, from, to);
    const selector = (message: string): void => this.post({ event: 'selector', message });
    return { state, selector, packet: undefined, decision: undefined };
  }

  private watch(stack: Stack, trace: Trace, { ctl, layout, queue }: SharedMemory): void {
    const questions = new Questions(stack.tcp);
    this.questions = questions;
    const tap = new PacketTap({
      ctl,
      globals: globalAt(layout, 0, queue),
      nowUs: this.clock,
      epochUs: this.epochUs,
      explain: (decision) => questions.traced(decision),
      post: this.post,
    });
    this.watchers = new Watchers(trace, stack.tcp.hashinfo, this.capture, tap);
  }

  /** Answers a question of the opener's (OP_EXPLAIN, OP_LIST, OP_TRACE) by a message. */
  private answer(op: number, a: number, b: number, c: number, id: number): number {
    const { questions } = this;
    let answer: unknown = null;
    if (op === OP_EXPLAIN) answer = questions.explain(a, b >>> 16, c, b & 0xffff);
    else if (op === OP_LIST) {
      answer = a === LIST_MINISOCKS ? questions.minisocks(b) : questions.details(b);
    } else this.watchers?.setTap(a);
    this.post({ event: 'answered', id, answer });
    return 0;
  }

  ready(): ReadyMessage {
    const { name, address, peer, mtu } = this.device!;
    const { clockOffsetMs, steering } = this;
    const { seed } = this.random;
    return { event: 'ready', tun: name, address, peer, mtu, seed, clockOffsetMs, steering };
  }

  /** Device and capture are closed, everybody who waits is told. `error` undefined = as asked. */
  end(error: unknown): PumpMessage {
    this.device?.close();
    this.watchers?.flush();
    this.sink?.close();
    const { shared } = this;
    const message = error instanceof Error ? error.message : String(error);
    if (shared !== null) {
      Atomics.store(shared.ctl, globalAt(shared.layout, G_STACK_SLEEPING, this.queue), 0);
      declareDead(shared.ctl, shared.layout, error === undefined ? '' : message);
      this.endOthers(shared);
    }
    if (error === undefined) {
      return { event: 'closed', captureFailure: this.sink?.failure() ?? null };
    }
    const trace = error instanceof Error ? (error.stack ?? message) : message;
    const report = [trace, `seed ${this.random.seed}`, ...this.recent.lines()].join('\n');
    return { event: 'died', message, report };
  }

  /** One stack does without the others as little as a body without its head. */
  private endOthers(shared: SharedMemory): void {
    const { queues } = shared.layout;
    if (queues > 1) Atomics.store(shared.ctl, G_STOP, 1);
    for (let queue = 0; queue < queues; queue++) {
      if (queue !== this.queue) wakeQueue(shared, queue);
    }
  }
}

/** Ends the sleep of the stack thread of `queue`. */
function wakeQueue({ ctl, layout }: SharedMemory, queue: number): void {
  const fd = Atomics.load(ctl, globalAt(layout, G_WAKE_FD, queue));
  if (fd >= 0) eventfdWrite(fd);
}

/** The arena that the thread of queue 0 has mapped. */
function publishedArena(ctl: SharedArrayBuffer): { address: number; bytes: Uint8Array } {
  const { address, bytes } = arenaOf(new Int32Array(ctl));
  return { address, bytes: viewArena(address, bytes) };
}

/** Sleeps until a packet or a ring; takes the ring off. Throws when the device is gone. */
function sleep(device: TunDevice, wakeFd: number, timeoutMs: number): void {
  awake(device, wakeFd, pollWait(device.fd, wakeFd, timeoutMs));
}

/** The same while the event loop goes on. */
async function sleepAsync(device: TunDevice, wakeFd: number, timeoutMs: number): Promise<void> {
  awake(device, wakeFd, await pollWaitAsync(device.fd, wakeFd, timeoutMs));
}

function awake(device: TunDevice, wakeFd: number, events: number): void {
  if ((events & POLL_EVENT) !== 0) eventfdRead(wakeFd);
  if ((events & POLL_GONE) === 0) return;
  throw new DeviceError({
    code: 'ENODEV',
    message: `the device ${device.name} is gone`,
    remedy: 'somebody deleted it (ip link del); start again',
    exitCode: EXIT_FAILED,
  });
}

function makeSysctl(options: PumpOptions): Sysctl {
  const sysctl = new Sysctl(options.profile);
  for (const [name, value] of Object.entries(options.sysctl)) {
    const wrong = setSysctl(sysctl, name, value);
    if (wrong !== null)
      throw usageError(
        `--sysctl ${name}=${value}: ${wrong}`,
        'names are those of sysctl(8), for example net.ipv4.tcp_max_syn_backlog=256',
      );
  }
  return sysctl;
}

function failure(error: unknown): DeviceErrorFields {
  if (error instanceof DeviceError) return error.toJSON();
  const message = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { code: 'ERR_STACK_FAILED', message, remedy: '', exitCode: EXIT_FAILED };
}

/** The stack alone, and programs in between, until the end. */
async function runBoth({ pump, host }: Running): Promise<void> {
  pump.begin();
  for (;;) {
    pump.turns(() => host.called);
    if (pump.asked) break;
    await host.run();
  }
  pump.end();
}

/**
 * The life of a stack thread.
 * @param post receives every PumpMessage, in order
 * @param take the next program to run in this thread, when G_GUESTS has said that there is one
 */
export async function runStackThread(
  options: PumpOptions,
  post: Post,
  take: () => GuestOrder = NOTHING,
): Promise<void> {
  const thread = new StackThread(options, post, take);
  let running: Running;
  try {
    running = thread.open();
  } catch (error) {
    thread.end(error);
    post({ event: 'failed', error: failure(error) });
    return;
  }
  try {
    post(thread.ready());
    await runBoth(running);
  } catch (error) {
    post(thread.end(error));
    return;
  }
  post(thread.end(undefined));
}
