/**
 * The map of `ctl`, the control words that all threads of one stack share:
 *
 *     globals | thread regions | epoll regions | counters (Float64) | socket blocks
 *
 * A stack with several queues has as many threads; what lies between globals and blocks is there
 * once for each, with words of its own in the place of some globals (`globalAt`).
 *
 * Everything follows from the numbers of descriptors and queues, which are globals, so that a
 * thread needs nothing but the SharedArrayBuffer to find its way. Regions are touched only when
 * used: the operating system gives memory to what is touched, so the size of the whole is address
 * space, not memory. Words are int32, each with one writer or atomic. Owns no behaviour:
 * thread-port.ts and stack/syscalls.ts are the two ends of a command ring, epoll.ts and
 * stack/interests.ts of a ready ring.
 */
import { BLOCK_WORDS } from '../../net/sockmem.js';

/** Descriptors by default, threads and epoll instances at most. */
export const MAX_FDS_DEFAULT = 131072;
export const MAX_THREADS = 130;
export const MAX_EPOLLS = 200;
/** Room for counters, Float64 each. */
export const MIB_SLOTS = 512;

/** Globals: what this is ("TUN" and a version), and how many descriptors it has. */
export const G_MAGIC = 0;
export const G_MAX_FDS = 1;
/** STACK_*: how the stack thread is. */
export const G_STATE = 2;
/** 1 = the main thread wants the stack thread to end. */
export const G_STOP = 3;
/** 1 = the stack thread sleeps, or is about to: whoever posts a command must wake it. */
export const G_STACK_SLEEPING = 4;
/** In-memory doorbell of the stack thread (tests, no koffi). */
export const G_STACK_WAKE = 5;
/** eventfd that wakes the stack thread, -1 = none. */
export const G_WAKE_FD = 6;
/** Address of the payload arena, low and high half, and its size in pages of 4096 bytes. */
export const G_ARENA_LO = 8;
export const G_ARENA_HI = 9;
export const G_ARENA_PAGES = 10;
/** Kernel profile in hundredths: 500 or 618. */
export const G_PROFILE = 11;
/** Secrets of the flow hash, so that others can compute what lookup computes. */
export const G_EHASH_SECRET = 12;
export const G_HASH_MIX = 13;
/** One more than the highest thread number in use. */
export const G_THREADS = 14;
/** Why the stack thread died: bytes of UTF-8, and where they are. */
export const G_TEXT_BYTES = 15;
/** Batches of traced packets that the main thread has not finished, and packets not traced. */
export const G_TAP_IN_FLIGHT = 16;
export const G_TAP_DROPPED = 17;
/** How long threads look for news before they sleep, while that pays, µs; 0 = not at all. */
export const G_SPIN_US = 18;
/** Queues of the device, each with a stack thread. */
export const G_QUEUES = 19;
/** Key of the hash that says which of them a flow is for (net/steering.ts). */
export const G_STEER_KEY = 22;
/**
 * Of each queue but 0, the two rings between its stack thread and that of queue 0
 * (stack/queue-link.ts): first page of their memory, and cursors, apart by who writes them.
 */
export const G_DOWN_PAGE = 20;
export const G_UP_PAGE = 21;
export const G_DOWN_TAIL = 32;
export const G_UP_HEAD = 33;
export const G_UP_TAIL = 48;
export const G_DOWN_HEAD = 49;
/** Programs that this queue's stack thread has been given to run in itself, so far. */
export const G_GUESTS = 24;
/**
 * Turns of the pump, so that a waiter can tell a busy stack thread from a dead one. In a cache line
 * of its own: what threads look at for each command is not to change hands with every turn.
 */
export const G_TURNS = 64;
export const G_TEXT = 80;
export const G_TEXT_MAX_BYTES = 4096;
const GLOBAL_WORDS: number = G_TEXT + G_TEXT_MAX_BYTES / 4;
/**
 * Globals of which each queue has its own: G_STATE to G_WAKE_FD but G_STOP, G_TAP_*, rings,
 * G_GUESTS, G_TURNS.
 */
const QUEUE_GLOBALS: number = G_TEXT;
/** Queues at most. */
export const MAX_QUEUES = 16;

export const MAGIC = 0x54554e01;

/** Values of G_STATE. */
export const STACK_STARTING = 0;
export const STACK_RUNNING = 1;
export const STACK_STOPPED = 2;
export const STACK_DEAD = 3;

/**
 * Thread region. Words written by different sides are kept 64 bytes apart. Doorbell: incremented,
 * then notified.
 */
export const T_WAKE = 0;
/** 0 = awake, else 1 + index of the epoll instance in which the thread sleeps. */
export const T_SLEEPING = 1;
/** THREAD_*. */
export const T_STATE = 2;
/** 1 = the thread waits for room in its command ring, on T_CMD_HEAD. */
export const T_CMD_WAITING = 3;
/**
 * When the thread last began or ended to wait, or was rung: milliseconds of CLOCK_MONOTONIC as
 * int32. And the share of its recent time that it worked, permille.
 */
export const T_BEAT = 4;
export const T_BUSY = 5;
/**
 * 1 + the queue whose stack thread this thread is (host-port.ts); 0 = it is a thread of its own.
 */
export const T_HOST = 6;
/** Command ring: head moved by the stack thread, tail by the thread; cursors count commands. */
export const T_CMD_HEAD = 16;
/** Said by the stack thread: commands before this cursor are carried out, or are about to be. */
export const T_CMD_TAKEN = 17;
export const T_CMD_TAIL = 32;
/** Completion: ticket of the last synchronous command that is done, its result, words of output. */
export const T_DONE = 48;
export const T_RESULT = 49;
export const T_OUT = 64;
export const T_OUT_WORDS = 80;
export const T_COMMANDS = 144;
export const COMMAND_SLOTS = 4096;
export const COMMAND_WORDS = 8;
/** UTF-8 of an option whose value is a text, for the one synchronous command that is under way. */
export const T_TEXT: number = T_COMMANDS + COMMAND_SLOTS * COMMAND_WORDS;
export const T_TEXT_MAX_BYTES = 4096;
const THREAD_WORDS: number = T_TEXT + T_TEXT_MAX_BYTES / 4;

/** Values of T_STATE. */
export const THREAD_FREE = 0;
export const THREAD_LIVE = 1;

/** Words of a command. */
export const C_OP = 0;
export const C_FD = 1;
export const C_A = 2;
export const C_B = 3;
export const C_C = 4;
export const C_D = 5;
/** 0 = nobody waits for the result. */
export const C_TICKET = 6;
/**
 * BLOCK_GEN of the descriptor when the command was given: a command for an earlier file of that
 * number is ignored.
 */
export const C_GEN = 7;

/** Commands. Those marked ° wait for their result. */
export const OP_SOCKET = 1; // ° a = uid
export const OP_BIND = 2; // ° a = address, b = port
export const OP_LISTEN = 3; // ° a = backlog
export const OP_CONNECT = 4; // ° a = address, b = port, c = 1: MSG_FASTOPEN
export const OP_SHUTDOWN = 5; // (°) a = how
export const OP_CLOSE = 6;
export const OP_SETSOCKOPT = 7; // ° a = level, b = name, c = value, d = value2
export const OP_GETSOCKOPT = 8; // ° a = level, b = name; words to T_OUT
export const OP_ATTACH_SEND = 9; // ° a = 1: files shall be referred to
export const OP_PUBLISHED = 10;
export const OP_CONSUMED = 11;
export const OP_EPOLL_CREATE = 12; // °
export const OP_EPOLL_CTL = 13; // a = epoll | ctl << 16, b = events, c = stamp, d = seen
export const OP_EVENTFD = 14; // ° a = initval, b = flags
export const OP_NOTICE = 15; // an eventfd was read or written
export const OP_THREAD_GONE = 16; // ° a = thread
export const OP_SETSOCKOPT_TEXT = 17; // ° a = level, b = name, c = bytes in T_TEXT
export const OP_GETSOCKOPT_TEXT = 18; // ° a = level, b = name; bytes to T_TEXT
export const OP_DISCONNECT = 19; // °, with both rings locked by the thread
export const OP_MEMFD_CREATE = 20; // °
export const OP_FTRUNCATE = 21; // ° a = bytes; of a memory file that has no memory yet
/** Questions of the opener's thread, answered by a message; d = number of the question. */
export const OP_EXPLAIN = 32; // a = peer's address, b = its port << 16 | our port, c = our address
export const OP_LIST = 33; // a = LIST_*, b = cursor
export const OP_TRACE = 34; // a = bytes of each packet, 0 = no more

/** What OP_LIST lists: half-open and TIME-WAIT connections; what ss -i and -e show. */
export const LIST_MINISOCKS = 0;
export const LIST_DETAILS = 1;

/**
 * Epoll region: owner thread + 1 (0 = free), ready ring (head moved by the thread, tail by the
 * stack), in which a descriptor is once at most. The owner is said in the region of queue 0, with
 * E_INTERNAL for an instance that is how a thread blocks.
 */
export const E_OWNER = 0;
export const E_INTERNAL = 0x10000;
export const E_HEAD = 16;
export const E_TAIL = 32;
const EPOLL_HEADER_WORDS = 48;

/** Where everything is, in words of `ctl`. */
export interface CtlLayout {
  readonly maxFds: number;
  readonly queues: number;
  /** From a word of a region of one queue to that of the next. */
  readonly queueWords: number;
  /**
   * Slots of a ready ring: a power of two that holds every descriptor, so that it cannot overflow.
   */
  readonly readySlots: number;
  readonly threadsAt: number;
  readonly epollsAt: number;
  readonly epollWords: number;
  /** Even, so that the counters are 8-byte aligned. */
  readonly mibAt: number;
  readonly blocksAt: number;
  readonly words: number;
}

/** @param maxFds descriptors, at least 64; @param queues 1..MAX_QUEUES */
export function ctlLayout(maxFds: number, queues = 1): CtlLayout {
  const readySlots = 2 ** Math.ceil(Math.log2(Math.max(64, maxFds)));
  const threadsAt = GLOBAL_WORDS;
  const epollsAt = threadsAt + MAX_THREADS * THREAD_WORDS;
  const epollWords = EPOLL_HEADER_WORDS + readySlots;
  const mibAt = (epollsAt + MAX_EPOLLS * epollWords + 1) & ~1;
  const queueEnd = mibAt + MIB_SLOTS * 2;
  const queueWords = (queueEnd - threadsAt + QUEUE_GLOBALS + 1) & ~1;
  const blocksAt = queueEnd + (queues - 1) * queueWords;
  const words = blocksAt + maxFds * BLOCK_WORDS;
  const sizes = { maxFds, queues, readySlots, epollWords, queueWords, words };
  return { ...sizes, threadsAt, epollsAt, mibAt, blocksAt };
}

/** The word that is global `word` (G_*) of queue `queue`; there are QUEUE_GLOBALS of them. */
export function globalAt(layout: CtlLayout, word: number, queue: number): number {
  if (queue === 0) return word;
  return layout.threadsAt + queue * layout.queueWords - QUEUE_GLOBALS + word;
}

/**
 * First word of thread `thread`'s region, that of queue 0; only rings of commands, completions,
 * output and text are there for each queue, `queueWords` apart.
 */
export function threadAt(layout: CtlLayout, thread: number): number {
  return layout.threadsAt + thread * THREAD_WORDS;
}

/** First word of epoll instance `epoll`'s region, that of queue 0: see threadAt. */
export function epollAt(layout: CtlLayout, epoll: number): number {
  return layout.epollsAt + epoll * layout.epollWords;
}

/** First slot of the ready ring of the epoll region at `at`. */
export function readyAt(at: number): number {
  return at + EPOLL_HEADER_WORDS;
}

/** First word of the command with cursor `cursor` in the thread region at `at`. */
export function commandAt(at: number, cursor: number): number {
  return at + T_COMMANDS + (cursor & (COMMAND_SLOTS - 1)) * COMMAND_WORDS;
}
