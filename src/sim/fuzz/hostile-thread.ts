/**
 * The stack's end of the shared memory seen from a hostile application thread: any words at all in
 * command rings, cursors, epoll regions, and in those words of a socket's block that applications
 * may write. The stack may make nonsense of such a thread's own connections; it must not throw, go
 * on for ever, or keep anything once the thread's files are closed.
 */
import { Mib } from '../../net/mib.js';
import { RING_HEAD, RING_LOCK, RING_NOTICE, RING_TAIL, RING_WAKE } from '../../net/ring.js';
import {
  BLOCK_ERROR,
  BLOCK_EXTENTS,
  BLOCK_FLAGS,
  BLOCK_GEN,
  BLOCK_KIND,
  BLOCK_OPTIONS,
  BLOCK_OWNER,
  BLOCK_RCV,
  BLOCK_SND,
  BLOCK_STATE,
  FIRST_FD,
  KIND_FREE,
  KIND_MEMFD,
  KIND_TCP,
  PAGE_BYTES,
} from '../../net/sockmem.js';
import { Sysctl, setSysctl } from '../../net/sysctl.js';
import { fileAccept, fileRead, fileWrite, NEED_RING } from '../../socket/uapi/file-ops.js';
import { NEED_EXTENTS } from '../../socket/uapi/file-write.js';
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
  COMMAND_WORDS,
  commandAt,
  E_HEAD,
  E_TAIL,
  epollAt,
  OP_BIND,
  OP_CLOSE,
  OP_CONNECT,
  OP_FTRUNCATE,
  OP_LISTEN,
  OP_PUBLISHED,
  OP_SETSOCKOPT_TEXT,
  OP_SHUTDOWN,
  OP_SOCKET,
  OP_THREAD_GONE,
  readyAt,
  T_CMD_TAIL,
  T_CMD_WAITING,
  T_DONE,
  T_OUT,
  T_SLEEPING,
  T_TEXT,
  threadAt,
} from '../../socket/uapi/layout.js';
import { fileSend } from '../../socket/uapi/memory-file.js';
import {
  createCtl,
  openShared,
  reserveThread,
  type SharedMemory,
} from '../../socket/uapi/shared.js';
import { Stack } from '../../stack/stack.js';
import { Syscalls } from '../../stack/syscalls.js';
import { TCP_LISTEN } from '../../tcp/state.js';
import { Dice, FOR_CALL } from '../dice.js';
import { must, SimFailure } from '../failure.js';
import { drawOption } from '../knobs.js';
import { addressOf } from '../router.js';

const FDS = 64;
const ARENA_BYTES = 16 << 20;
const THREADS = 3;
const PORTS = [80, 81];
const LOOPBACK = 0x7f000001;
const COMMANDS_MOST = 3;
/** Of one turn: a thread may have more to send than ends. */
const POLLS_MOST = 2000;
const REST_US = 8_000_000_000;
const REST_TURNS = 16;
const TURNS_MOST = 200_000;
/** Longest piece of work that is not a stall, ms; only with a clock. */
const STALL_MS = 1500;
const NASTY = [0, 1, -1, 2, 0x7fffffff, -0x80000000, 0x40000000, 4095, 4096, 65_536, 1 << 24];

/** What the stack has been told. */
export interface HostileResult {
  turns: number;
  commands: number;
  scribbles: number;
  /** Connections that came about nevertheless. */
  connections: number;
}

class HostileFuzz {
  readonly result: HostileResult = { turns: 0, commands: 0, scribbles: 0, connections: 0 };
  private readonly dice: Dice;
  private readonly shared: SharedMemory;
  private readonly ctl: Int32Array;
  private readonly syscalls: Syscalls;
  private readonly stack: Stack;
  private readonly clock: () => number;
  private readonly bytes: Uint8Array = new Uint8Array(20_000);
  private nowUs = 1_000_000;

  constructor(seed: number, clock: () => number) {
    const dice = new Dice(FOR_CALL, seed);
    this.dice = dice;
    this.clock = clock;
    this.shared = openShared(createCtl(FDS), new Uint8Array(new SharedArrayBuffer(ARENA_BYTES)));
    this.ctl = this.shared.ctl;
    this.syscalls = new Syscalls(this.shared);
    const link = { mtu: 1500, offload: { checksum: false, gsoMaxBytes: 0 }, transmit: () => true };
    const sysctl = new Sysctl(dice.chance(0.5) ? '6.18' : '5.0');
    setSysctl(sysctl, 'net.ipv4.tcp_ehash_entries', '256');
    this.stack = new Stack(
      { device: link, random: dice, events: this.syscalls },
      sysctl,
      this.shared.mem,
      {
        addresses: [addressOf(0)],
        lendLeastBytes: dice.pick([5000, 16 << 10]),
      },
    );
    this.syscalls.attach(this.stack);
    this.stack.poll(this.nowUs);
    for (let i = 0; i < THREADS; i++) reserveThread(this.ctl, this.shared.layout);
  }

  private threadAt(): number {
    return threadAt(this.shared.layout, this.dice.int(0, THREADS - 1));
  }

  /** Any word, mostly one that hurts. */
  private word(): number {
    const { dice } = this;
    if (dice.chance(0.4)) return dice.pick(NASTY);
    return dice.chance(0.5) ? dice.int(0, FDS) : dice.u32() | 0;
  }

  /** One command: what a thread would say, with some words wrong. */
  private command(at: number): void {
    const { ctl, dice, shared } = this;
    const tail = Atomics.load(ctl, at + T_CMD_TAIL);
    const to = commandAt(at, tail);
    const fd = dice.int(FIRST_FD, FIRST_FD + 12);
    const words = new Int32Array(COMMAND_WORDS);
    words[C_OP] = dice.chance(0.95) ? dice.int(OP_SOCKET, OP_FTRUNCATE) : this.word();
    // Few closes, so that there is something to be hostile to.
    if (words[C_OP] === OP_CLOSE && dice.chance(0.8)) words[C_OP] = OP_PUBLISHED;
    words[C_FD] = dice.chance(0.95) ? fd : this.word();
    words[C_GEN] = ctl[shared.mem.blockAt(fd) + BLOCK_GEN]!;
    words[C_TICKET] = dice.int(0, 3);
    this.argue(words);
    if (dice.chance(0.1)) words[dice.int(0, COMMAND_WORDS - 1)] = this.word();
    ctl.set(words, to);
    Atomics.store(ctl, at + T_CMD_TAIL, (tail + 1) | 0);
    this.result.commands++;
  }

  /** Arguments that the command may take. */
  private argue(words: Int32Array): void {
    const { dice } = this;
    const option = drawOption(dice);
    words[C_A] = dice.chance(0.5) ? option.level : this.word();
    words[C_B] = dice.chance(0.5) ? option.name : this.word();
    words[C_C] = dice.chance(0.5) ? option.value : this.word();
    words[C_D] = option.value2;
    switch (words[C_OP]) {
      case OP_BIND:
        words[C_A] = dice.pick([0, LOOPBACK, addressOf(0), this.word()]);
        words[C_B] = dice.chance(0.9) ? dice.pick(PORTS) : this.word();
        break;
      case OP_CONNECT:
        words[C_A] = dice.pick([LOOPBACK, LOOPBACK, addressOf(0), this.word()]);
        words[C_B] = dice.chance(0.9) ? dice.pick(PORTS) : this.word();
        break;
      case OP_LISTEN:
        words[C_A] = dice.chance(0.8) ? dice.int(0, 16) : this.word();
        break;
      case OP_SHUTDOWN:
        words[C_A] = dice.int(-1, 3);
        break;
      case OP_SETSOCKOPT_TEXT:
        words[C_A] = 1;
        words[C_B] = dice.pick([25, 0x7401, 0]);
        words[C_C] = dice.pick([0, 3, 4, 16, 4096, 4097, -1]);
        break;
      case OP_FTRUNCATE:
        words[C_A] = dice.chance(0.8) ? dice.spread(1, 100_000) : this.word();
        break;
      case OP_THREAD_GONE:
        // A thread that is gone is one less to be hostile.
        words[C_A] = dice.chance(0.1) ? dice.int(0, THREADS) : this.word();
        break;
    }
  }

  /**
   * What an ordinary application does: a server, connections to it through `lo`, data both ways.
   */
  private honest(): void {
    const { dice, shared, stack } = this;
    const { mem } = shared;
    stack.net.nowUs = this.nowUs;
    const fd = dice.int(FIRST_FD, FIRST_FD + 12);
    const block = mem.blockAt(fd);
    const state = mem.ctl[block + BLOCK_STATE];
    // An application would wait here for whoever holds the lock.
    const locked = mem.ctl[block + BLOCK_RCV + RING_LOCK] || mem.ctl[block + BLOCK_SND + RING_LOCK];
    if (locked) return;
    if (mem.ctl[block + BLOCK_KIND] === KIND_FREE) {
      const made = stack.socket(0);
      if (made < 0) return;
      const address = dice.pick([0, LOOPBACK]);
      if (dice.chance(0.3)) {
        stack.bind(made, address, dice.pick(PORTS));
        stack.listen(made, 8);
      } else {
        stack.connect(made, LOOPBACK, dice.pick(PORTS));
      }
    } else if (state === TCP_LISTEN) {
      fileAccept(mem, fd, dice.int(0, THREADS));
    } else if (mem.ctl[block + BLOCK_KIND] === KIND_MEMFD) {
      this.sendFrom(fd);
    } else if (dice.chance(0.5)) {
      const taken = fileWrite(mem, fd, 1, this.bytes, 0, dice.spread(1, this.bytes.length));
      if (taken === NEED_RING) stack.attachSendRing(fd);
      else if (taken > 0) stack.published(fd);
    } else if (fileRead(mem, fd, 1, this.bytes, 0, dice.spread(1, this.bytes.length), false) > 0) {
      stack.consumed(fd);
    }
  }

  /** Sends from the memory file `file`, whatever its size is now. */
  private sendFrom(file: number): void {
    const { dice, shared, stack } = this;
    const { mem } = shared;
    const fd = dice.int(FIRST_FD, FIRST_FD + 12);
    const block = mem.blockAt(fd);
    if (mem.ctl[block + BLOCK_KIND] !== KIND_TCP || mem.ctl[block + BLOCK_SND + RING_LOCK]) return;
    const bytes = dice.spread(1, 100_000);
    const taken = fileSend(mem, fd, 1, file, 0, bytes, dice.chance(0.9));
    if (taken === NEED_RING || taken === NEED_EXTENTS) stack.attachSendRing(fd, true);
    else if (taken > 0) stack.published(fd);
  }

  /** Writes over a word that an application thread may write. */
  private scribble(): void {
    const { ctl, dice, shared } = this;
    this.result.scribbles++;
    const at = this.threadAt();
    const kind = dice.int(0, 9);
    if (kind === 0) {
      const words = [T_CMD_TAIL, T_CMD_WAITING, T_SLEEPING, T_DONE, T_OUT];
      ctl[at + dice.pick(words)] = this.word();
    } else if (kind === 1) {
      ctl[commandAt(at, dice.int(0, COMMAND_SLOTS - 1)) + dice.int(0, COMMAND_WORDS - 1)] =
        this.word();
    } else if (kind === 2) {
      const epoll = epollAt(shared.layout, dice.int(0, 4));
      ctl[dice.pick([epoll + E_HEAD, epoll + E_TAIL, readyAt(epoll)])] = this.word();
    } else if (kind === 3) {
      const names = ['hash', 'rr', 'tun0', 'lo', '/nowhere', '\0\0'];
      const text = new TextEncoder().encode(dice.pick(names));
      new Uint8Array(ctl.buffer, (at + T_TEXT) * 4, text.length).set(text);
    } else if (kind < 6) {
      this.scribbleOnTable();
    } else {
      this.scribbleOnBlock();
    }
  }

  /** The words of a table of what lies in files that its writer sets: tail, and entries. */
  private scribbleOnTable(): void {
    const { ctl, dice, shared } = this;
    const block = shared.mem.blockAt(dice.int(FIRST_FD, FIRST_FD + 12));
    const table = ctl[block + BLOCK_EXTENTS]!;
    if (ctl[block + BLOCK_KIND] !== KIND_TCP || table === 0) return;
    const word = table * (PAGE_BYTES / 4) + (dice.chance(0.3) ? 16 : dice.int(32, 64));
    shared.mem.words[word] = dice.chance(0.5) ? this.word() : shared.mem.words[word]! + 1;
  }

  private scribbleOnBlock(): void {
    const { ctl, dice, shared } = this;
    const block = shared.mem.blockAt(dice.int(FIRST_FD, FIRST_FD + 12));
    const rcv = block + BLOCK_RCV;
    const snd = block + BLOCK_SND;
    const words = [
      ...[rcv + RING_HEAD, rcv + RING_LOCK, rcv + RING_NOTICE, rcv + RING_WAKE],
      ...[snd + RING_TAIL, snd + RING_LOCK, snd + RING_NOTICE, snd + RING_WAKE],
      ...[block + BLOCK_FLAGS, block + BLOCK_OWNER, block + BLOCK_ERROR, block + BLOCK_OPTIONS],
    ];
    const word = dice.pick(words);
    const near = (ctl[word]! + dice.pick([-1, 1, 100, 5000, 100_000])) | 0;
    // As honest threads do: a little further, or a lot.
    ctl[word] = dice.chance(0.5) ? near : this.word();
    const isLock = word === rcv + RING_LOCK || word === snd + RING_LOCK;
    if (isLock && dice.chance(0.8)) ctl[word] = 0;
    if (dice.chance(0.3)) this.scribbleOnLent();
    if (dice.chance(0.3) && ctl[block + BLOCK_KIND] === KIND_TCP) {
      fileAccept(shared.mem, dice.int(FIRST_FD, FIRST_FD + 12), dice.int(0, THREADS));
    }
  }

  /** A table of lent buffers is in the arena, where every thread can write. */
  private scribbleOnLent(): void {
    const { dice, shared } = this;
    const { lenders } = this.stack.tcp;
    if (lenders.length === 0) return;
    const table = dice.pick(lenders).lent!.table * (PAGE_BYTES / 4);
    // Its cursors, or an entry. With the number of its slots the stack would write elsewhere in the
    // arena, which a thread can do itself.
    const word = table + dice.pick([0, 16, 32 + dice.int(0, 16)]);
    shared.mem.words[word] = this.word();
  }

  /** The stack's turn. */
  private turn(us: number): void {
    const { stack, syscalls } = this;
    stack.net.nowUs = this.nowUs;
    for (let n = 0; this.watched(() => syscalls.runCommands()) > 0; n++) {
      must(n < TURNS_MOST, 'stall', () => 'commands do not end');
    }
    const endUs = this.nowUs + us;
    for (let n = 0; n < POLLS_MOST; n++) {
      const next = Math.max(stack.nextDeadlineUs(), this.nowUs);
      if (next > endUs) break;
      this.nowUs = next;
      this.watched(() => stack.poll(next));
    }
    this.nowUs = endUs;
    this.watched(() => stack.poll(endUs));
    syscalls.flush();
    this.result.turns++;
  }

  /** What the stack does in one piece has to be short. */
  private watched<T>(work: () => T): T {
    const begun = this.clock();
    const result = work();
    const tookMs = this.clock() - begun;
    must(tookMs < STALL_MS, 'stall', () => `a piece of work of ${Math.round(tookMs)} ms`);
    return result;
  }

  /** `turns` turns of the stack with hostile threads around it. */
  run(turns: number): void {
    const { dice } = this;
    for (let i = 0; i < turns; i++) {
      const at = this.threadAt();
      for (let n = dice.int(0, COMMANDS_MOST); n > 0; n--) this.command(at);
      for (let n = dice.int(0, 6); n > 0; n--) this.honest();
      if (dice.chance(0.4)) this.scribble();
      this.turn(dice.chance(0.1) ? dice.spread(1, 5_000_000) : dice.int(0, 1000));
    }
  }

  /** The process is gone: nobody holds a lock, every file is closed, and nothing is left. */
  end(): void {
    const { ctl, shared, stack, syscalls } = this;
    const { mem } = shared;
    for (let fd = FIRST_FD; fd < FDS; fd++) {
      const block = mem.blockAt(fd);
      for (const ring of [block + BLOCK_RCV, block + BLOCK_SND]) {
        if (ctl[block + BLOCK_KIND] === KIND_TCP) ctl[ring + RING_LOCK] = 0;
      }
      if (ctl[block + BLOCK_KIND] !== KIND_FREE) this.closeFile(fd, block);
    }
    this.turn(0);
    syscalls.runCommands();
    stack.resetAll();
    for (let n = 0; n < REST_TURNS; n++) this.turn(REST_US / REST_TURNS);
    this.result.connections = stack.net.mib[Mib.TcpPassiveOpens]!;
    this.checkNothingLeft();
  }

  private closeFile(fd: number, block: number): void {
    const { ctl } = this;
    const at = threadAt(this.shared.layout, 0);
    const tail = Atomics.load(ctl, at + T_CMD_TAIL);
    const words = new Int32Array(COMMAND_WORDS);
    words[C_OP] = OP_CLOSE;
    words[C_FD] = fd;
    words[C_GEN] = ctl[block + BLOCK_GEN]!;
    ctl.set(words, commandAt(at, tail));
    Atomics.store(ctl, at + T_CMD_TAIL, (tail + 1) | 0);
    this.syscalls.runCommands();
  }

  private checkNothingLeft(): void {
    const { stack, shared } = this;
    const { tcp, net } = stack;
    const pools = [net.inputSkbs, net.outputSkbs];
    const pages = pools.reduce((sum, pool) => sum + (pool.made * pool.capacity) / PAGE_BYTES, 0);
    const left: Record<string, number> = {
      descriptors: shared.mem.fdsInUse,
      pages: shared.mem.pagesInUse - pages,
      orphans: tcp.orphans,
      timewaits: tcp.timewaits,
      rings: tcp.ringed.length,
      'late rings': tcp.lateDetach.length,
      timers: net.timers.size,
      skbs: net.outputSkbs.out + net.inputSkbs.out,
      lenders: tcp.lenders.length,
      ehash: tcp.hashinfo.ehash.size,
      lhash2: tcp.hashinfo.lhash2.size,
      bhash: tcp.hashinfo.bhash.ports,
    };
    const names = Object.keys(left).filter((name) => left[name] !== 0);
    if (names.length === 0) return;
    throw new SimFailure('leak', names.map((name) => `${left[name]} ${name}`).join(', '));
  }
}

/** Turns of one stack. */
const STACK_TURNS = 400;

/**
 * At least `turns` turns of stacks among hostile threads, `report`ing after every stack. Throws
 * SimFailure, or whatever the stack throws, with the seed of the stack in its message.
 * @param clock milliseconds, to notice a turn that does not end; without one nothing is noticed
 */
export function fuzzHostileThread(
  seed: number,
  turns: number,
  clock: () => number = () => 0,
  report: (result: HostileResult) => void = () => {},
): HostileResult {
  const total: HostileResult = { turns: 0, commands: 0, scribbles: 0, connections: 0 };
  for (let round = 0; total.turns < turns; round++) {
    const fuzz = new HostileFuzz(seed + round, clock);
    try {
      fuzz.run(Math.min(STACK_TURNS, turns - total.turns));
      fuzz.end();
    } catch (error) {
      (error as Error).message =
        `--fuzz threads --seed ${seed + round}: ${(error as Error).message}`;
      throw error;
    }
    total.turns += fuzz.result.turns;
    total.commands += fuzz.result.commands;
    total.scribbles += fuzz.result.scribbles;
    total.connections += fuzz.result.connections;
    report(total);
  }
  return total;
}
