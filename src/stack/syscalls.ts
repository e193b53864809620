/**
 * The stack thread's end of the command rings: takes commands of all threads, carries them out on a
 * Stack, and answers those that wait. Owns descriptors that are no sockets (epoll instances,
 * eventfds, memory files) and what becomes of a dead thread's files. Readiness from the stack
 * (SocketEvents) and the epoll instances are interests.ts. The stack thread of another queue than 0
 * makes no descriptors and has only those that it was given.
 *
 * A command comes from other threads' memory: any words at all are answered or ignored, never
 * believed.
 */
import { EBADF, EINVAL, ENFILE, ENOSYS, ENOTSOCK, EPERM } from '../net/errno.js';
import { MemoryFiles } from '../net/memory-files.js';
import { RING_LOCK, RING_TAIL } from '../net/ring.js';
import { extentsCut } from '../net/ring-extents.js';
import {
  BLOCK_EXTENTS,
  BLOCK_FLAGS,
  BLOCK_GEN,
  BLOCK_HASH,
  BLOCK_KIND,
  BLOCK_OWNER,
  BLOCK_QUEUE,
  BLOCK_RCV,
  BLOCK_SND,
  BLOCK_STATE,
  FILE_CLOSING,
  FIRST_FD,
  KIND_EPOLL,
  KIND_EVENTFD,
  KIND_FREE,
  KIND_MEMFD,
  KIND_TCP,
  O_NONBLOCK,
  type SocketMemory,
} from '../net/sockmem.js';
import { EFD_SEMAPHORE, TCP_LISTEN } from '../socket/uapi/constants.js';
import { eventCountInit } from '../socket/uapi/event-count.js';
import { filePoll } from '../socket/uapi/file-ops.js';
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
  G_THREADS,
  MAX_THREADS,
  OP_ATTACH_SEND,
  OP_BIND,
  OP_CLOSE,
  OP_CONNECT,
  OP_CONSUMED,
  OP_DISCONNECT,
  OP_EPOLL_CREATE,
  OP_EPOLL_CTL,
  OP_EVENTFD,
  OP_EXPLAIN,
  OP_FTRUNCATE,
  OP_GETSOCKOPT,
  OP_GETSOCKOPT_TEXT,
  OP_LIST,
  OP_LISTEN,
  OP_MEMFD_CREATE,
  OP_NOTICE,
  OP_PUBLISHED,
  OP_SETSOCKOPT,
  OP_SETSOCKOPT_TEXT,
  OP_SHUTDOWN,
  OP_SOCKET,
  OP_THREAD_GONE,
  OP_TRACE,
  T_CMD_HEAD,
  T_CMD_TAIL,
  T_CMD_TAKEN,
  T_CMD_WAITING,
  T_DONE,
  T_HOST,
  T_OUT,
  T_OUT_WORDS,
  T_RESULT,
  T_SLEEPING,
  T_STATE,
  T_TEXT,
  T_TEXT_MAX_BYTES,
  THREAD_FREE,
  threadAt,
} from '../socket/uapi/layout.js';
import type { SharedMemory } from '../socket/uapi/shared.js';
import { Interests } from './interests.js';
import type { SocketEvents, StackCalls } from './stack-calls.js';

/** Commands taken from one thread before the next thread's turn. */
const COMMANDS_PER_TURN = 256;

export class Syscalls implements SocketEvents {
  private readonly ctl: Int32Array;
  private readonly layout: CtlLayout;
  private readonly mem: SocketMemory;
  readonly interests: Interests;
  /** Of queue 0 alone, which has all memory files. */
  readonly files: MemoryFiles;
  /** From the thread regions of queue 0 to ours, words; and that queue's number. */
  private readonly shift: number;
  private readonly queue: number;
  /** Called before commands run: what they speak of may be on its way from another queue. */
  onCommands: (() => void) | null = null;
  private calls!: StackCalls;
  /** Takes the opener's questions: see questions.ts. Null = nobody answers. */
  onQuestion: ((op: number, a: number, b: number, c: number, id: number) => number) | null = null;
  private readonly out: Int32Array = new Int32Array(T_OUT_WORDS);
  /** Cursor of the next command of each thread; T_CMD_HEAD only tells the thread. */
  private readonly heads: Int32Array = new Int32Array(MAX_THREADS);
  /** The thread whose commands are taken first, so that each gets its turn. */
  private firstThread = 0;

  constructor(shared: SharedMemory) {
    this.ctl = shared.ctl;
    this.layout = shared.layout;
    this.mem = shared.mem;
    this.interests = new Interests(shared);
    this.files = new MemoryFiles(shared.mem);
    this.queue = shared.queue;
    this.shift = shared.queue * shared.layout.queueWords;
  }

  /** First word of the region in which `thread` talks to us. */
  private lineAt(thread: number): number {
    return threadAt(this.layout, thread) + this.shift;
  }

  /**
   * Gives the stack that commands are carried out on (it needs this object as its SocketEvents
   * first).
   */
  attach(calls: StackCalls): void {
    this.calls = calls;
  }

  ready(fd: number, events: number): void {
    this.interests.ready(fd, events);
  }

  /** Rings the doorbells of threads with new readiness; at the end of each batch. */
  flush(): void {
    if (this.files.waiting > 0) this.files.reap(this.calls.net.nowUs);
    this.interests.flush();
  }

  /** True when a command waits. */
  pending(): boolean {
    const threads = this.threads;
    for (let thread = 0; thread < threads; thread++) {
      const at = this.lineAt(thread);
      if (this.heads[thread] !== Atomics.load(this.ctl, at + T_CMD_TAIL)) return true;
    }
    return false;
  }

  /** Carries out waiting commands, a bounded number of each thread: how many. */
  runCommands(): number {
    const threads = this.threads;
    if (this.firstThread >= threads) this.firstThread = 0;
    let count = 0;
    for (let i = 0; i < threads; i++) {
      const thread = this.firstThread + i;
      count += this.runThread(thread < threads ? thread : thread - threads, COMMANDS_PER_TURN);
    }
    this.firstThread++;
    return count;
  }

  private get threads(): number {
    return Math.min(MAX_THREADS, Math.max(0, Atomics.load(this.ctl, G_THREADS)));
  }

  private runThread(thread: number, most: number): number {
    const { ctl, heads } = this;
    const at = this.lineAt(thread);
    const tail = Atomics.load(ctl, at + T_CMD_TAIL);
    const waiting = (tail - heads[thread]!) | 0;
    if (waiting === 0) return 0;
    this.onCommands?.();
    // More than the ring holds: the tail is not what a port leaves there. Skip to it.
    if (waiting < 0 || waiting > COMMAND_SLOTS) heads[thread] = tail;
    // Said before they run: whatever a thread publishes after that is a new notice.
    const end = heads[thread]! + Math.min(most, (tail - heads[thread]!) | 0);
    Atomics.store(ctl, at + T_CMD_TAKEN, end | 0);
    let count = 0;
    // The cursor moves before the command runs: the end of a thread runs what is left of that
    // thread's commands.
    for (; count < most && ((tail - heads[thread]!) | 0) > 0; count++) {
      const head = heads[thread]!;
      heads[thread] = head + 1;
      this.run(thread, at, commandAt(at, head));
    }
    Atomics.store(ctl, at + T_CMD_HEAD, heads[thread]!);
    if (Atomics.load(ctl, at + T_CMD_WAITING) !== 0) {
      Atomics.store(ctl, at + T_CMD_WAITING, 0);
      Atomics.notify(ctl, at + T_CMD_HEAD);
    }
    return Math.max(1, count);
  }

  private run(thread: number, at: number, command: number): void {
    const { ctl } = this;
    const ticket = ctl[command + C_TICKET]!;
    const result = this.perform(thread, at, command);
    if (ticket === 0) return;
    ctl[at + T_RESULT] = result;
    Atomics.store(ctl, at + T_DONE, ticket);
    Atomics.notify(ctl, at + T_DONE);
  }

  /** Commands that name no descriptor; the others go on. */
  private perform(thread: number, at: number, command: number): number {
    const { ctl } = this;
    const a = ctl[command + C_A]!;
    switch (ctl[command + C_OP]) {
      case OP_SOCKET:
      case OP_EPOLL_CREATE:
      case OP_EVENTFD:
      case OP_MEMFD_CREATE:
        return this.queue === 0 ? this.create(thread, command) : -EINVAL;
      case OP_THREAD_GONE:
        return a === thread ? -EINVAL : this.threadGone(a);
      case OP_EXPLAIN:
      case OP_LIST:
      case OP_TRACE:
        return this.question(thread, command);
      default:
        return this.performOnFile(thread, at, command);
    }
  }

  private create(thread: number, command: number): number {
    const { ctl } = this;
    const a = ctl[command + C_A]!;
    if (ctl[command + C_OP] === OP_SOCKET) return this.own(thread, this.calls.socket(a));
    if (ctl[command + C_OP] === OP_EPOLL_CREATE) return this.epollCreate(thread, a !== 0);
    if (ctl[command + C_OP] === OP_MEMFD_CREATE) return this.own(thread, this.files.create());
    return this.eventfd(thread, a, ctl[command + C_B]!);
  }

  /** Answers go to the thread that opened the stack, so it alone may ask. */
  private question(thread: number, command: number): number {
    const { ctl, onQuestion } = this;
    if (thread !== 0) return -EPERM;
    if (onQuestion === null) return -ENOSYS;
    const [op, a, b, c, id] = [C_OP, C_A, C_B, C_C, C_D].map((word) => ctl[command + word]!);
    return onQuestion(op!, a!, b!, c!, id!);
  }

  private performOnFile(thread: number, at: number, command: number): number {
    const { ctl, mem } = this;
    const fd = ctl[command + C_FD]!;
    if (fd < FIRST_FD || fd >= mem.maxFds) return unknownOr(ctl[command + C_OP]!, -EBADF);
    const block = mem.blockAt(fd);
    const kind = ctl[block + BLOCK_KIND]!;
    // A command for an earlier file of this number has nothing to do with the present one.
    const stale =
      kind === KIND_FREE ||
      ctl[block + BLOCK_GEN] !== ctl[command + C_GEN] ||
      ctl[block + BLOCK_QUEUE] !== this.queue;
    if (stale) {
      if (ctl[command + C_OP] === OP_EPOLL_CTL)
        this.interests.gone(thread, ctl[command + C_A]!, fd);
      return unknownOr(ctl[command + C_OP]!, -EBADF);
    }
    switch (ctl[command + C_OP]) {
      case OP_CLOSE:
        return this.close(fd, block, kind);
      case OP_EPOLL_CTL:
        return this.epollControl(thread, fd, block, command);
      case OP_NOTICE:
        this.interests.ready(fd, filePoll(mem, fd));
        return 0;
      case OP_FTRUNCATE:
        return kind === KIND_MEMFD ? this.files.allocate(fd, ctl[command + C_A]!) : -EINVAL;
      default:
        if (kind !== KIND_TCP) return unknownOr(ctl[command + C_OP]!, -ENOTSOCK);
        return this.performOnSocket(fd, at, command);
    }
  }

  private performOnSocket(fd: number, at: number, command: number): number {
    const { ctl, calls } = this;
    const a = ctl[command + C_A]!;
    const b = ctl[command + C_B]!;
    switch (ctl[command + C_OP]) {
      case OP_PUBLISHED:
        calls.published(fd);
        return 0;
      case OP_CONSUMED:
        calls.consumed(fd);
        return 0;
      case OP_ATTACH_SEND:
        return calls.attachSendRing(fd, a !== 0);
      case OP_BIND:
        return (b & 0xffff) === b ? calls.bind(fd, a, b) : -EINVAL;
      case OP_LISTEN:
        return calls.listen(fd, a);
      case OP_CONNECT:
        return this.connect(fd, a, b, ctl[command + C_C]!);
      case OP_DISCONNECT:
        return calls.disconnect(fd);
      case OP_SHUTDOWN:
        return a >= 0 && a <= 2 ? calls.shutdown(fd, a) : -EINVAL;
      case OP_SETSOCKOPT:
        return calls.setsockopt(fd, a, b, ctl[command + C_C]!, ctl[command + C_D]!);
      case OP_GETSOCKOPT:
        return this.getsockopt(fd, a, b, ctl[command + C_C]!, at);
      case OP_SETSOCKOPT_TEXT: {
        const bytes = ctl[command + C_C]!;
        if (bytes < 0 || bytes > T_TEXT_MAX_BYTES) return -EINVAL;
        return calls.setsockoptText(fd, a, b, textAt(ctl, at, bytes));
      }
      case OP_GETSOCKOPT_TEXT: {
        const text = calls.getsockoptText(fd, a, b);
        return typeof text === 'number' ? text : putText(ctl, at, text);
      }
      default:
        return -ENOSYS;
    }
  }

  private connect(fd: number, address: number, port: number, withText: number): number {
    if ((port & 0xffff) !== port) return -EINVAL;
    return this.calls.connect(fd, address, port, withText !== 0);
  }

  /** @param most words that the caller has room for */
  private getsockopt(fd: number, level: number, name: number, most: number, at: number): number {
    const room = Math.min(Math.max(0, most), T_OUT_WORDS);
    const words = Math.min(
      this.calls.getsockopt(fd, level, name, this.out.subarray(0, room)),
      room,
    );
    for (let i = 0; i < words; i++) this.ctl[at + T_OUT + i] = this.out[i]!;
    return words;
  }

  /** The new file `fd` (or -errno) belongs to `thread`. */
  private own(thread: number, fd: number): number {
    if (fd >= 0) Atomics.store(this.ctl, this.mem.blockAt(fd) + BLOCK_OWNER, thread + 1);
    return fd;
  }

  /**
   * A new instance: its descriptor, or, for a thread's own way to block, the number of its region.
   */
  private epollCreate(thread: number, internal: boolean): number {
    const index = this.interests.createEpoll(thread, internal);
    if (index < 0 || internal) return index;
    const fd = this.mem.allocFd(KIND_EPOLL);
    if (fd < 0) {
      this.interests.closeEpoll(index);
      return -ENFILE;
    }
    this.ctl[this.mem.blockAt(fd) + BLOCK_HASH] = index;
    return this.own(thread, fd);
  }

  private epollControl(thread: number, fd: number, block: number, command: number): number {
    const { ctl } = this;
    const a = ctl[command + C_A]!;
    const index = a & 0xffff;
    const closing = (ctl[block + BLOCK_FLAGS]! & FILE_CLOSING) !== 0;
    if (closing) this.interests.gone(thread, a, fd);
    if (this.interests.ownerOf(index) !== thread || closing) return -EBADF;
    if (ctl[block + BLOCK_KIND] === KIND_EPOLL) return -EINVAL;
    return this.interests.control(
      a >>> 16,
      index,
      fd,
      ctl[command + C_B]!,
      ctl[command + C_C]!,
      ctl[command + C_D]!,
    );
  }

  private eventfd(thread: number, initval: number, flags: number): number {
    const fd = this.mem.allocFd(KIND_EVENTFD);
    if (fd < 0) return -ENFILE;
    eventCountInit(this.mem, fd, initval, (flags & EFD_SEMAPHORE) !== 0);
    Atomics.or(this.ctl, this.mem.blockAt(fd) + BLOCK_FLAGS, flags & O_NONBLOCK);
    return this.own(thread, fd);
  }

  private close(fd: number, block: number, kind: number): number {
    this.interests.dropFd(fd);
    if (kind === KIND_TCP) return this.calls.close(fd);
    if (kind === KIND_EPOLL) this.interests.closeEpoll(this.ctl[block + BLOCK_HASH]!);
    if (kind === KIND_MEMFD) this.files.close(fd);
    this.mem.freeFd(fd);
    return 0;
  }

  /**
   * A thread has died. What it said before counts; then its files end: listeners are closed, so
   * that they leave their group, connections are reset. Locks that it held while it copied are
   * broken. Queue 0 is told last: its number is free then.
   */
  private threadGone(thread: number): number {
    if (thread < 0 || thread >= MAX_THREADS) return -EINVAL;
    const { ctl, mem } = this;
    const at = threadAt(this.layout, thread);
    this.runThread(thread, COMMAND_SLOTS);
    for (const fd of this.filesOf(thread)) {
      const block = mem.blockAt(fd);
      if (ctl[block + BLOCK_KIND] === KIND_FREE) continue;
      Atomics.or(ctl, block + BLOCK_FLAGS, FILE_CLOSING);
      this.interests.dropFd(fd);
      if (ctl[block + BLOCK_KIND] !== KIND_TCP || ctl[block + BLOCK_STATE] === TCP_LISTEN) {
        this.close(fd, block, ctl[block + BLOCK_KIND]!);
      } else {
        this.calls.abort(fd);
      }
    }
    if (this.queue !== 0) return 0;
    this.interests.closeAllOf(thread);
    Atomics.store(ctl, at + T_SLEEPING, 0);
    Atomics.store(ctl, at + T_HOST, 0);
    Atomics.store(ctl, at + T_STATE, THREAD_FREE);
    return 0;
  }

  /**
   * Descriptors that end with `thread`; breaks its locks on the way. Descriptors are dense, so few
   * blocks are read where they are counted, which is queue 0.
   */
  private filesOf(thread: number): number[] {
    const { ctl, mem } = this;
    const files: number[] = [];
    let left = this.queue === 0 ? mem.fdsInUse : mem.maxFds;
    for (let fd = FIRST_FD; fd < mem.maxFds && left > 0; fd++) {
      const block = mem.blockAt(fd);
      if (ctl[block + BLOCK_KIND] === KIND_FREE) continue;
      left--;
      if (ctl[block + BLOCK_QUEUE] !== this.queue) continue;
      for (const ring of [block + BLOCK_RCV, block + BLOCK_SND]) {
        if (ctl[block + BLOCK_KIND] !== KIND_TCP) continue;
        this.breakLock(block, ring, thread + 1);
      }
      const closing = (ctl[block + BLOCK_FLAGS]! & FILE_CLOSING) !== 0;
      if (ctl[block + BLOCK_OWNER] === thread + 1 && !closing) files.push(fd);
    }
    return files;
  }

  /** What `holder` was about to put behind the tail of a stream never came to be part of it. */
  private breakLock(block: number, ring: number, holder: number): void {
    const { ctl, mem } = this;
    if (Atomics.load(ctl, ring + RING_LOCK) !== holder) return;
    const table = ring === block + BLOCK_SND ? ctl[block + BLOCK_EXTENTS]! : 0;
    if (table !== 0) extentsCut(mem, table, Atomics.load(ctl, ring + RING_TAIL));
    Atomics.compareExchange(ctl, ring + RING_LOCK, holder, 0);
  }
}

/** The first `bytes` bytes of the text in the thread region at `at`. */
function textAt(ctl: Int32Array, at: number, bytes: number): string {
  // Copied: a TextDecoder does not read shared memory.
  const copy = new Uint8Array(ctl.buffer, (at + T_TEXT) * 4, bytes).slice();
  return new TextDecoder().decode(copy);
}

/** Puts a text there, cut to what fits; the number of bytes. */
function putText(ctl: Int32Array, at: number, text: string): number {
  const encoded = new TextEncoder().encode(text).subarray(0, T_TEXT_MAX_BYTES);
  new Uint8Array(ctl.buffer, (at + T_TEXT) * 4, T_TEXT_MAX_BYTES).set(encoded);
  return encoded.length;
}

/** `result` for a command that exists, -ENOSYS for one that does not. */
function unknownOr(op: number, result: number): number {
  return op >= OP_SOCKET && op <= OP_FTRUNCATE ? result : -ENOSYS;
}
