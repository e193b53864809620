/**
 * How the stack thread sleeps and how others wake it: `poll` of the device and of an eventfd. The
 * structures that the calls need lie in one page per thread that is mapped once, so that nothing is
 * allocated for a call.
 */
import { getSystemErrorName } from 'node:util';
import { EINTR } from '../net/errno.js';
import { DeviceError, EXIT_FAILED } from './errors.js';
import { mmapArena, type Native, native, O_CLOEXEC, O_NONBLOCK } from './native.js';

/** Bits of `pollWait`'s result. */
export const POLL_TUN = 1;
export const POLL_EVENT = 2;
/** The device is gone (deleted, or the fd is closed): no packet will ever come. */
export const POLL_GONE = 4;

/**
 * Longest sleep, ms: a thread in `poll` cannot be terminated, so it looks around at least this
 * often.
 */
export const MAX_SLEEP_MS = 1000;

const POLLIN = 1;
/** POLLERR | POLLHUP | POLLNVAL */
const POLL_BROKEN = 0x38;
const SCRATCH_BYTES = 4096;
/**
 * Two struct pollfd {int fd; short events; short revents} at 0; eventfd counters at 16 (written)
 * and 24 (read); two more struct pollfd for `pollWaitAsync` at 32.
 */
const REVENTS_SHIFT = 16;
const COUNTER_OUT = 16;
const COUNTER_IN = 24;
const ASYNC_POLL_AT = 32;

interface Scratch {
  calls: Native;
  address: number;
  words: Int32Array;
}

let scratch: Scratch | null = null;

function threadScratch(): Scratch {
  if (scratch === null) {
    const { address, bytes } = mmapArena(SCRATCH_BYTES);
    const words = new Int32Array(bytes.buffer, 0, SCRATCH_BYTES / 4);
    // The counter that eventfdWrite adds: 1 as a 64-bit word in the machine's byte order.
    new BigUint64Array(bytes.buffer, COUNTER_OUT, 1)[0] = 1n;
    scratch = { calls: native(), address, words };
  }
  return scratch;
}

/**
 * Sleeps until `tunFd` has a packet, `eventFd` is signalled, or `timeoutMs` (rounded up, at most
 * MAX_SLEEP_MS) is over.
 *
 * @returns POLL_* bits, 0 = time-out or interrupted by a signal
 */
export function pollWait(tunFd: number, eventFd: number, timeoutMs: number): number {
  const { calls, address } = scratch ?? threadScratch();
  describePoll(0, tunFd, eventFd);
  const ready = calls.poll(address, 2, wholeMs(timeoutMs));
  if (ready <= 0) {
    if (ready < 0 && calls.errno() !== EINTR) throw waitError('poll', calls.errno());
    return 0;
  }
  return eventsAt(0);
}

function wholeMs(timeoutMs: number): number {
  return timeoutMs >= 0 && timeoutMs < MAX_SLEEP_MS ? Math.ceil(timeoutMs) : MAX_SLEEP_MS;
}

/** Fills the two struct pollfd at word `at`. */
function describePoll(at: number, tunFd: number, eventFd: number): void {
  const { words } = scratch!;
  words[at] = tunFd;
  words[at + 1] = POLLIN;
  words[at + 2] = eventFd;
  words[at + 3] = POLLIN;
}

/** POLL_* bits of what the kernel has written there. */
function eventsAt(at: number): number {
  const { words } = scratch!;
  const tunEvents = words[at + 1]! >>> REVENTS_SHIFT;
  const events = words[at + 3]! >>> REVENTS_SHIFT;
  return (
    ((tunEvents & POLLIN) !== 0 ? POLL_TUN : 0) |
    ((tunEvents & POLL_BROKEN) !== 0 ? POLL_GONE : 0) |
    (events !== 0 ? POLL_EVENT : 0)
  );
}

/**
 * `pollWait` in a thread of libuv's, so that this thread's event loop goes on. One at a time. What
 * goes wrong counts as a wake-up: the next call that does not wait says what it is.
 */
export async function pollWaitAsync(
  tunFd: number,
  eventFd: number,
  timeoutMs: number,
): Promise<number> {
  const { calls, address } = scratch ?? threadScratch();
  const at = ASYNC_POLL_AT;
  describePoll(at >>> 2, tunFd, eventFd);
  const ready = await calls.pollAsync(address + at, 2, wholeMs(timeoutMs));
  return ready <= 0 ? 0 : eventsAt(at >>> 2);
}

/** Lets whoever else can run have this core first (sched_yield). */
export function yieldCpu(): void {
  (scratch ?? threadScratch()).calls.schedYield();
}

/** A new eventfd, non-blocking, counter 0. Any thread may write it; close it with `closeFd`. */
export function eventfdCreate(): number {
  const fd = native().eventfd(0, O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) throw waitError('eventfd', native().errno());
  return fd;
}

/** Wakes whoever sleeps on `fd`; signals that nobody has read yet coalesce. */
export function eventfdWrite(fd: number): void {
  const { calls, address } = scratch ?? threadScratch();
  // A full counter (EAGAIN) means that the sleeper has been signalled 2^64 - 2 times: it will wake.
  calls.write(fd, address + COUNTER_OUT, 8);
}

/** Takes the signals off `fd` so that the next `pollWait` sleeps again. True when there was one. */
export function eventfdRead(fd: number): boolean {
  const { calls, address } = scratch ?? threadScratch();
  return calls.read(fd, address + COUNTER_IN, 8) === 8;
}

/** Closes an eventfd. */
export function closeFd(fd: number): void {
  native().close(fd);
}

function waitError(call: string, errno: number): DeviceError {
  return new DeviceError({
    code: getSystemErrorName(-errno),
    message: `${call} failed: ${getSystemErrorName(-errno)}`,
    remedy: 'look for a limit on open files (ulimit -n)',
    exitCode: EXIT_FAILED,
  });
}
