/**
 * One application thread's end of the line to the stack thread: it posts commands, waits for
 * results, sleeps on the thread's doorbell and wakes the stack when that sleeps. With several stack
 * threads there is a line to each, and a command goes to the one that has its descriptor. A thread
 * has exactly one port. What the commands mean is stack/syscalls.ts's business, what a program sees
 * of them is sys.ts's.
 */
import { EINVAL, EIO } from '../../net/errno.js';
import { RING_NOTICE } from '../../net/ring.js';
import { BLOCK_GEN, BLOCK_HASH, BLOCK_QUEUE, type SocketMemory } from '../../net/sockmem.js';
import { Heartbeat } from './heartbeat.js';
import {
  C_A,
  C_B,
  C_C,
  C_D,
  C_FD,
  C_GEN,
  C_OP,
  C_TICKET,
  COMMAND_SLOTS,
  type CtlLayout,
  commandAt,
  E_HEAD,
  E_TAIL,
  epollAt,
  G_SPIN_US,
  G_STACK_SLEEPING,
  G_STATE,
  G_TURNS,
  globalAt,
  readyAt,
  STACK_RUNNING,
  STACK_STARTING,
  T_CMD_HEAD,
  T_CMD_TAIL,
  T_CMD_TAKEN,
  T_CMD_WAITING,
  T_DONE,
  T_OUT,
  T_RESULT,
  T_SLEEPING,
  T_TEXT,
  T_TEXT_MAX_BYTES,
  T_WAKE,
  threadAt,
} from './layout.js';
import { causeOfDeath, type SharedMemory } from './shared.js';
import { LOOK_MOST_US, Spin } from './spin.js';

/** T_SLEEPING of a thread whose event loop sleeps: any of its epoll instances may wake it. */
export const SLEEPING_EVENT_LOOP = -1;

/**
 * Looks at a completion before the thread sleeps for it: a stack that is awake answers within
 * microseconds.
 */
const COMPLETION_SPINS = 500;
/** A stack thread that makes no turn for this many seconds is taken for dead. */
const STALL_SECONDS_MAX = 10;
/**
 * How long a thread with a full command ring sleeps before it looks again whether the stack lives,
 * ms.
 */
const ROOM_WAIT_MS = 50;

/** Looks for news between two looks at the clock. */
const LOOKS_AT_A_TIME = 32;

/** Atomics.waitAsync (ES2024), which the ES2023 library does not declare. */
interface WaitAsync {
  waitAsync(
    ctl: Int32Array,
    index: number,
    value: number,
  ): { async: false; value: 'not-equal' | 'timed-out' } | { async: true; value: Promise<string> };
}
const { waitAsync } = Atomics as unknown as WaitAsync;

// The global of that name is a getter, which costs more than reading the clock.
const clock = performance;

const encoder = new TextEncoder();

export class ThreadPort {
  readonly ctl: Int32Array;
  readonly layout: CtlLayout;
  readonly mem: SocketMemory;
  /** Thread number, and the value with which this thread holds locks and owns files. */
  readonly number: number;
  readonly holder: number;
  /** First word of the last synchronous command's output. */
  outAt: number;
  /** Stack threads. */
  readonly queues: number;
  /** Call `worked` before `sleep`; what is not a sleep but shows that the thread runs, too. */
  readonly heartbeat: Heartbeat;

  protected readonly at: number;
  /** Looks at a completion before `pause`. */
  protected looks: number = COMPLETION_SPINS;
  private readonly wakeStack: (queue: number) => void;
  private readonly yieldCpu: () => void;
  private readonly spin: Spin;
  /** Of the last synchronous command to each stack thread. */
  private readonly tickets: Int32Array;
  /** T_CMD_HEAD and T_CMD_TAKEN of each stack thread, as far as we know. */
  private readonly heads: Int32Array;
  private readonly taken: Int32Array;
  private seen = 0;

  /**
   * @param shared this thread's view of the memory
   * @param number a thread number got from reserveThread
   * @param wakeStack ends the sleep of a queue's stack thread; called only when it sleeps
   * @param yieldCpu lets others have the core; called between looks for news
   */
  constructor(
    shared: SharedMemory,
    number: number,
    wakeStack: (queue: number) => void,
    yieldCpu: () => void = () => {},
  ) {
    this.ctl = shared.ctl;
    this.layout = shared.layout;
    this.mem = shared.mem;
    this.number = number;
    this.holder = number + 1;
    this.at = threadAt(shared.layout, number);
    this.outAt = this.at + T_OUT;
    this.wakeStack = wakeStack;
    this.yieldCpu = yieldCpu;
    this.queues = shared.layout.queues;
    this.tickets = new Int32Array(this.queues);
    this.heads = new Int32Array(this.queues);
    this.taken = new Int32Array(this.queues);
    for (let queue = 0; queue < this.queues; queue++) {
      const at = this.lineAt(queue);
      this.tickets[queue] = this.ctl[at + T_DONE]!;
      this.heads[queue] = this.ctl[at + T_CMD_HEAD]!;
      this.taken[queue] = this.ctl[at + T_CMD_TAKEN]!;
    }
    this.heartbeat = new Heartbeat(this.ctl, this.at);
    this.spin = new Spin(this.ctl[G_SPIN_US]!);
  }

  /** False once the stack thread has ended, in order or not; `failure` has the reason. */
  get alive(): boolean {
    const state = this.ctl[G_STATE];
    return state === STACK_RUNNING || state === STACK_STARTING;
  }

  /** Why the stack cannot be used any more, or null while it can. */
  get failure(): string | null {
    return causeOfDeath(this.ctl);
  }

  /** Sends a command nobody waits for. False = the stack is dead. */
  post(op: number, fd: number, a = 0, b = 0, c = 0, d = 0): boolean {
    return this.send(this.queueOf(fd), op, fd, a, b, c, d, 0);
  }

  /**
   * `post` of a command that says the same however often it is given, after what it speaks of has
   * been published. Not while the last one still waits: who takes that sees what is new, too.
   * @param ring BLOCK_RCV or BLOCK_SND: whose RING_NOTICE remembers where the last one is
   */
  notify(op: number, fd: number, ring: number): void {
    const { ctl } = this;
    const queue = this.queueOf(fd);
    const notice = this.mem.blockAt(fd) + ring + RING_NOTICE;
    if (this.waits(queue, ctl[notice]!, op, fd)) return;
    ctl[notice] = ctl[this.lineAt(queue) + T_CMD_TAIL]!;
    this.send(queue, op, fd, 0, 0, 0, 0, 0);
  }

  /** Is the command at `cursor` this one, and has the stack yet to take it? */
  private waits(queue: number, cursor: number, op: number, fd: number): boolean {
    const { ctl, taken } = this;
    const at = this.lineAt(queue);
    const tail = ctl[at + T_CMD_TAIL]!;
    const age = (tail - cursor) | 0;
    if (age <= 0 || age > ((tail - taken[queue]!) | 0)) return false;
    taken[queue] = Atomics.load(ctl, at + T_CMD_TAKEN);
    if (age > ((tail - taken[queue]!) | 0)) return false;
    // The cursor may be another thread's, or very old.
    const slot = commandAt(at, cursor);
    return (
      ctl[slot + C_OP] === op && ctl[slot + C_FD] === fd && ctl[slot + C_GEN] === this.genOf(fd)
    );
  }

  /** `post` to the stack thread of `queue`, about nothing that has a descriptor. */
  postTo(queue: number, op: number, a = 0, b = 0, c = 0, d = 0): boolean {
    return this.send(queue, op, 0, a, b, c, d, 0);
  }

  /**
   * Sends a command and waits for its result: a value ≥ 0 or -errno; -EIO when the stack is dead.
   */
  call(op: number, fd: number, a = 0, b = 0, c = 0, d = 0): number {
    return this.callTo(this.queueOf(fd), op, fd, a, b, c, d);
  }

  /** `call` of the stack thread of `queue`. */
  callTo(queue: number, op: number, fd: number, a = 0, b = 0, c = 0, d = 0): number {
    const ticket = (this.tickets[queue]! + 1) | 0 || 1;
    this.tickets[queue] = ticket;
    this.outAt = this.lineAt(queue) + T_OUT;
    if (!this.send(queue, op, fd, a, b, c, d, ticket)) return -EIO;
    return this.complete(queue, ticket);
  }

  /** Which stack thread has the file `fd`. */
  private queueOf(fd: number): number {
    if (this.queues === 1 || !(fd > 0 && fd < this.mem.maxFds)) return 0;
    const queue = Atomics.load(this.ctl, this.mem.blockAt(fd) + BLOCK_QUEUE);
    return queue >>> 0 < this.queues ? queue : 0;
  }

  /** First word of this thread's region for the stack thread of `queue`. */
  private lineAt(queue: number): number {
    return this.at + queue * this.layout.queueWords;
  }

  /**
   * `call` with a text, which crosses in this thread's region; -EINVAL when its UTF-8 is longer
   * than T_TEXT_MAX_BYTES.
   */
  callText(op: number, fd: number, a: number, b: number, text: string): number {
    // A character takes a byte at least: what is far too long need not be encoded to know it.
    if (text.length > T_TEXT_MAX_BYTES) return -EINVAL;
    const bytes = encoder.encode(text);
    if (bytes.length > T_TEXT_MAX_BYTES) return -EINVAL;
    const queue = this.queueOf(fd);
    new Uint8Array(this.ctl.buffer, (this.lineAt(queue) + T_TEXT) * 4, bytes.length).set(bytes);
    return this.callTo(queue, op, fd, a, b, bytes.length);
  }

  /**
   * A command that answers with a text: its bytes are copied to `out` as far as they fit.
   * @returns how many were copied, or -errno
   */
  answerText(op: number, fd: number, a: number, b: number, out: Uint8Array): number {
    const queue = this.queueOf(fd);
    const bytes = this.callTo(queue, op, fd, a, b);
    if (bytes < 0) return bytes;
    const count = Math.min(bytes, out.length);
    out.set(new Uint8Array(this.ctl.buffer, (this.lineAt(queue) + T_TEXT) * 4, count));
    return count;
  }

  private send(
    queue: number,
    op: number,
    fd: number,
    a: number,
    b: number,
    c: number,
    d: number,
    ticket: number,
  ): boolean {
    const { ctl } = this;
    if (!this.alive) return false;
    const at = this.lineAt(queue);
    const tail = ctl[at + T_CMD_TAIL]!;
    if (!this.hasRoom(queue, at, tail) && !this.waitForRoom(queue, at, tail)) return false;
    const slot = commandAt(at, tail);
    ctl[slot + C_OP] = op;
    ctl[slot + C_FD] = fd;
    ctl[slot + C_A] = a;
    ctl[slot + C_B] = b;
    ctl[slot + C_C] = c;
    ctl[slot + C_D] = d;
    ctl[slot + C_TICKET] = ticket;
    ctl[slot + C_GEN] = fd > 0 && fd < this.mem.maxFds ? this.genOf(fd) : 0;
    Atomics.store(ctl, at + T_CMD_TAIL, (tail + 1) | 0);
    this.ringStack(queue);
    return true;
  }

  private genOf(fd: number): number {
    return this.ctl[this.mem.blockAt(fd) + BLOCK_GEN]!;
  }

  private hasRoom(queue: number, at: number, tail: number): boolean {
    const { heads } = this;
    if (((tail - heads[queue]!) | 0) < COMMAND_SLOTS) return true;
    heads[queue] = Atomics.load(this.ctl, at + T_CMD_HEAD);
    return ((tail - heads[queue]!) | 0) < COMMAND_SLOTS;
  }

  /** The stack drains all rings in every turn: there is room soon, unless it is dead (false). */
  private waitForRoom(queue: number, at: number, tail: number): boolean {
    const { ctl } = this;
    for (;;) {
      this.ringStack(queue);
      Atomics.store(ctl, at + T_CMD_WAITING, 1);
      const head = Atomics.load(ctl, at + T_CMD_HEAD);
      if (((tail - head) | 0) < COMMAND_SLOTS) return true;
      if (!this.alive) return false;
      this.pause(queue, at + T_CMD_HEAD, head, ROOM_WAIT_MS);
    }
  }

  /** Wakes the stack thread of `queue` if it sleeps or is about to. */
  private ringStack(queue: number): void {
    const { ctl } = this;
    const sleeping = globalAt(this.layout, G_STACK_SLEEPING, queue);
    if (Atomics.load(ctl, sleeping) === 0) return;
    if (Atomics.compareExchange(ctl, sleeping, 1, 0) === 1) this.wakeStack(queue);
  }

  private complete(queue: number, ticket: number): number {
    const { ctl } = this;
    const at = this.lineAt(queue);
    const done = at + T_DONE;
    for (let i = 0; i < this.looks; i++) {
      if (Atomics.load(ctl, done) === ticket) return ctl[at + T_RESULT]!;
    }
    const turnsAt = globalAt(this.layout, G_TURNS, queue);
    let stalledSeconds = 0;
    for (;;) {
      const seen = Atomics.load(ctl, done);
      if (seen === ticket) return ctl[at + T_RESULT]!;
      if (!this.alive || stalledSeconds >= STALL_SECONDS_MAX) return -EIO;
      const turns = Atomics.load(ctl, turnsAt);
      const news = this.pause(queue, done, seen, 1000);
      const stalled = !news && Atomics.load(ctl, turnsAt) === turns;
      stalledSeconds = stalled ? stalledSeconds + 1 : 0;
    }
  }

  /**
   * Waits until the stack thread of `queue` has changed word `word` from `seen`, at most
   * `timeoutMs`. @returns false when the time is over
   */
  protected pause(_queue: number, word: number, seen: number, timeoutMs: number): boolean {
    return Atomics.wait(this.ctl, word, seen, timeoutMs) !== 'timed-out';
  }

  /** Called at the start of each epoll_wait, also of one that does not sleep. */
  breathe(): void {}

  /** True when the ready rings of epoll instance `epoll` are empty. */
  readyEmpty(epoll: number): boolean {
    const { ctl, layout } = this;
    let at = epollAt(layout, epoll);
    for (let queue = 0; queue < this.queues; queue++, at += layout.queueWords) {
      if (ctl[at + E_HEAD] !== Atomics.load(ctl, at + E_TAIL)) return false;
    }
    return true;
  }

  /**
   * Takes descriptors off the ready rings of `epoll` (each stack thread fills one), oldest first,
   * as many as `fds` has room for. They are to be polled afterwards: whatever happens to them from
   * then on queues them again.
   * @returns how many
   */
  takeReady(epoll: number, fds: Int32Array): number {
    let at = epollAt(this.layout, epoll);
    let count = 0;
    for (let queue = 0; queue < this.queues; queue++, at += this.layout.queueWords) {
      count = this.takeFrom(at, fds, count);
    }
    return count;
  }

  private takeFrom(at: number, fds: Int32Array, begin: number): number {
    const { ctl, layout } = this;
    const head = ctl[at + E_HEAD]!;
    const waiting = (Atomics.load(ctl, at + E_TAIL) - head) | 0;
    const count = Math.min(waiting, fds.length - begin);
    if (count <= 0) return begin;
    const slots = readyAt(at);
    const mask = layout.readySlots - 1;
    for (let i = 0; i < count; i++) fds[begin + i] = ctl[slots + ((head + i) & mask)]!;
    // From here on they are not queued any more; published once for all of them.
    Atomics.store(ctl, at + E_HEAD, (head + count) | 0);
    return begin + count;
  }

  /**
   * Sleeps until the doorbell rings, for `timeoutMs` at most (Infinity allowed), unless the ready
   * ring of `epoll` has something already. May return early.
   * @returns when it woke, performance.now()
   */
  sleep(epoll: number, timeoutMs: number): number {
    const { ctl, at, spin } = this;
    const startMs = clock.now();
    if (spin.pays && this.look(epoll, startMs)) return this.heartbeat.waited();
    const seen = Atomics.load(ctl, at + T_WAKE);
    const before = Atomics.exchange(ctl, at + T_SLEEPING, epoll + 1);
    if (this.readyEmpty(epoll) && this.alive) Atomics.wait(ctl, at + T_WAKE, seen, timeoutMs);
    const wokeMs = this.heartbeat.waited();
    spin.waited((wokeMs - startMs) * 1000);
    Atomics.store(ctl, at + T_SLEEPING, before);
    // The event loop of this thread was asleep around us and may have missed its ring: have it look
    // again.
    if (before !== 0) this.ringSelf();
    return wokeMs;
  }

  /** Looks for news for a while: true when there is some. */
  private look(epoll: number, startMs: number): boolean {
    const { spin } = this;
    let nowMs = startMs;
    while ((nowMs - startMs) * 1000 < spin.mostUs && this.alive) {
      this.yieldCpu();
      for (let i = 0; i < LOOKS_AT_A_TIME; i++) {
        if (this.readyEmpty(epoll)) continue;
        spin.waited((nowMs - startMs) * 1000);
        return true;
      }
      const beforeMs = nowMs;
      nowMs = clock.now();
      if ((nowMs - beforeMs) * 1000 > LOOK_MOST_US) spin.interrupted();
    }
    return false;
  }

  /** Ends this thread's own `ring` promise, as if something had become ready. */
  ringSelf(): void {
    Atomics.add(this.ctl, this.at + T_WAKE, 1);
    Atomics.notify(this.ctl, this.at + T_WAKE);
  }

  /**
   * For event loops: "ring me from now on". Look at the epoll instances once more after this.
   * @param epfd the instance that the loop lives on; without it the thread counts as asleep in all
   *   of its instances, which matters to EPOLLEXCLUSIVE only
   */
  arm(epfd = -1): void {
    const { ctl, at } = this;
    const where = epfd < 0 ? SLEEPING_EVENT_LOOP : ctl[this.mem.blockAt(epfd) + BLOCK_HASH]! + 1;
    this.heartbeat.livesOnLoop();
    this.heartbeat.worked();
    this.seen = Atomics.load(ctl, at + T_WAKE);
    Atomics.store(ctl, at + T_SLEEPING, where);
  }

  /** For event loops: "I am awake", nobody needs to ring. */
  disarm(): void {
    this.heartbeat.waited();
    Atomics.store(this.ctl, this.at + T_SLEEPING, 0);
  }

  /**
   * After `arm`: a promise of the next ring, or null when it has rung already. It has no time-out
   * (those leak until they fire) and does not keep the process alive. Wait for one before asking
   * for the next.
   */
  ring(): Promise<unknown> | null {
    const result = waitAsync(this.ctl, this.at + T_WAKE, this.seen);
    return result.async ? result.value : null;
  }

  /** True once the stack is gone: no call will be answered any more. */
  dead(): boolean {
    return !this.alive;
  }
}
