/**
 * The life of the stack thread: opens the device, maps the payload arena, makes a Stack and runs
 * the pump on it until the main thread asks for the end (G_STOP and a ring at G_WAKE_FD) or
 * something breaks. The thread never returns to its event loop while it runs; what it has to say it
 * posts: see PumpMessage. The worker's entry is pump-thread.ts.
 */
import { parseIpv4 } from '../device/address.js';
import { Capture, type FileSink, fileSink } from '../device/capture.js';
import { DeviceError, type DeviceErrorFields, EXIT_FAILED, usageError } from '../device/errors.js';
import { mmapArena } from '../device/native.js';
import { openTun, type TunOptions } from '../device/tun.js';
import type { TunDevice } from '../device/tun-device.js';
import {
  eventfdCreate,
  eventfdRead,
  POLL_EVENT,
  POLL_GONE,
  pollWait,
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
  G_WAKE_FD,
  LIST_MINISOCKS,
  OP_EXPLAIN,
  OP_LIST,
} from '../socket/uapi/layout.js';
import { declareDead, openShared, type SharedMemory, setArena } from '../socket/uapi/shared.js';
import { LiveMembers } from './live-members.js';
import { loadSelector } from './load-selector.js';
import { PacketTap, type TapBatch } from './packet-tap.js';
import { Pump } from './pump.js';
import { Questions } from './questions.js';
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
}

/** What the stack thread posts to its parent. */
export type PumpMessage =
  /** A SYN would be answered from now on, and the arena can be viewed. */
  | { event: 'ready'; tun: string; address: string; peer: string; mtu: number; seed: string }
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
  /**
   * It broke: why, with stack trace, seed and last events. Calls of all threads fail from now on.
   */
  | { event: 'died'; message: string; report: string };

/** Receives every message in order; `transfer` as in postMessage. */
export type Post = (message: PumpMessage, transfer?: ArrayBuffer[]) => void;

/** The stack's clock: µs since the process began. */
function clock(): number {
  return performance.now() * 1000;
}

/** One stack with all that is around it. */
class StackThread {
  private readonly options: PumpOptions;
  private readonly post: Post;
  private readonly random: SeededRandom;
  private readonly recent = new RecentEvents();
  private device: TunDevice | null = null;
  private sink: FileSink | null = null;
  private capture: Capture | null = null;
  private shared: SharedMemory | null = null;
  private questions!: Questions;
  private watchers: Watchers | null = null;

  constructor(options: PumpOptions, post: Post) {
    this.options = options;
    this.post = post;
    this.random = createRandom(options.seed);
  }

  /** Opens everything. Throws DeviceError for what the user or the machine is to blame for. */
  open(): Pump {
    const { options } = this;
    const sysctl = makeSysctl(options);
    this.device = openTun(options.tun);
    if (options.pcap !== undefined) this.startCapture(options.pcap);
    const arena = mmapArena(options.arenaBytes);
    const shared = openShared(options.ctl, arena.bytes);
    this.shared = shared;
    const syscalls = new Syscalls(shared);
    const { device, random } = this;
    const trace = this.trace();
    const env = { random, trace, events: syscalls, loadSelector };
    const address = { address: parseIpv4(device.address)! | 0, prefix: device.prefix };
    const devices = [{ name: device.name, device, addresses: [address] }];
    const stack = new Stack(env, sysctl, shared.mem, { devices, mib: shared.mib });
    syscalls.attach(stack);
    stack.tcp.hashinfo.selectorClock = clock;
    stack.tcp.hashinfo.selectorRequest.state = new LiveMembers(shared, stack.net);
    this.watch(stack, trace, shared.ctl);
    stack.net.utcUs = performance.timeOrigin * 1000;
    syscalls.onQuestion = (op, a, b, c, id) => this.answer(op, a, b, c, id);
    const wakeFd = eventfdCreate();
    const { ctl } = shared;
    ctl[G_PROFILE] = options.profile === '5.0' ? 500 : 618;
    ctl[G_EHASH_SECRET] = stack.net.ehashSecret;
    ctl[G_HASH_MIX] = stack.net.hashMix;
    Atomics.store(ctl, G_WAKE_FD, wakeFd);
    setArena(ctl, arena.address, options.arenaBytes);
    const wait = (timeoutMs: number): void => sleep(device, wakeFd, timeoutMs);
    const idle = (): void => this.watchers?.flush();
    const spinUs = options.spinUs ?? 0;
    return new Pump({ ctl, stack, syscalls, device, clock, wait, spinUs, yieldCpu, idle });
  }

  private startCapture(path: string): void {
    this.sink = fileSink(path);
    const epochUs = performance.timeOrigin * 1000;
    this.capture = new Capture(this.sink.write, {
      nowUs: clock,
      epochUs,
      interfaceName: this.device!.name,
      describe: (decision) =>
        explanationLines(this.questions.traced(decision as Decision)).join('\n'),
    });
  }

  /** Hooks for packets and decisions are set while somebody watches: see Watchers. */
  private trace(): Trace {
    const { recent } = this;
    const state = (fd: number, from: number, to: number): void =>
      recent.record(clock(), fd, from, to);
    const selector = (message: string): void => this.post({ event: 'selector', message });
    return { state, selector, packet: undefined, decision: undefined };
  }

  private watch(stack: Stack, trace: Trace, ctl: Int32Array): void {
    const questions = new Questions(stack.tcp);
    this.questions = questions;
    const tap = new PacketTap({
      ctl,
      nowUs: clock,
      epochUs: performance.timeOrigin * 1000,
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

  ready(): PumpMessage {
    const { name, address, peer, mtu } = this.device!;
    return { event: 'ready', tun: name, address, peer, mtu, seed: this.random.seed };
  }

  /** Device and capture are closed, everybody who waits is told. `error` undefined = as asked. */
  end(error: unknown): PumpMessage {
    this.device?.close();
    this.watchers?.flush();
    this.sink?.close();
    const { shared } = this;
    const message = error instanceof Error ? error.message : String(error);
    if (shared !== null) {
      Atomics.store(shared.ctl, G_STACK_SLEEPING, 0);
      declareDead(shared.ctl, shared.layout, error === undefined ? '' : message);
    }
    if (error === undefined) {
      return { event: 'closed', captureFailure: this.sink?.failure() ?? null };
    }
    const trace = error instanceof Error ? (error.stack ?? message) : message;
    const report = [trace, `seed ${this.random.seed}`, ...this.recent.lines()].join('\n');
    return { event: 'died', message, report };
  }
}

/** Sleeps until a packet or a ring; takes the ring off. Throws when the device is gone. */
function sleep(device: TunDevice, wakeFd: number, timeoutMs: number): void {
  const events = pollWait(device.fd, wakeFd, timeoutMs);
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

/**
 * The life of a stack thread.
 * @param post receives every PumpMessage, in order
 */
export function runStackThread(options: PumpOptions, post: Post): void {
  const thread = new StackThread(options, post);
  let pump: Pump;
  try {
    pump = thread.open();
  } catch (error) {
    thread.end(error);
    post({ event: 'failed', error: failure(error) });
    return;
  }
  try {
    post(thread.ready());
    pump.run();
  } catch (error) {
    post(thread.end(error));
    return;
  }
  post(thread.end(undefined));
}
