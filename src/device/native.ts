/**
 * System calls of the C library through koffi: what a TUN device, the payload arena and the stack
 * thread's sleep need, and no more. koffi is loaded at the first use and once in each thread, so
 * everything that needs no system call works without it. All pointers are passed as numeric
 * addresses (user space ends below 2^53): no view is made for a call.
 */
import { createRequire } from 'node:module';
import { getSystemErrorName } from 'node:util';
import type * as Koffi from 'koffi';
import { DeviceError, EXIT_FAILED } from './errors.js';

/**
 * Every call returns what C returns; after -1 `errno()` has the reason. Addresses and lengths are
 * bytes.
 */
export interface Native {
  open(path: string, flags: number, mode: number): number;
  close(fd: number): number;
  read(fd: number, address: number, length: number): number;
  write(fd: number, address: number, length: number): number;
  /** `iovec` is the address of `count` pairs of 64-bit words (address, length). */
  writev(fd: number, iovec: number, count: number): number;
  /** `argument` is an address, or the integer itself where the request says so. */
  ioctl(fd: number, request: number, argument: number): number;
  socket(domain: number, type: number, protocol: number): number;
  schedYield(): number;
  poll(pollfds: number, count: number, timeoutMs: number): number;
  /** The same in a thread of libuv's: -1 for any failure. */
  pollAsync(pollfds: number, count: number, timeoutMs: number): Promise<number>;
  /** syscall(2) for a call of three integers or addresses that has no function of its own. */
  syscall(number: number, a: number, b: number, c: number): number;
  eventfd(initial: number, flags: number): number;
  mmap(
    address: number,
    length: number,
    protection: number,
    flags: number,
    fd: number,
    offset: number,
  ): number;
  munmap(address: number, length: number): number;
  /** errno of this thread; meaningful directly after a call that failed. */
  errno(): number;
  /** The memory at `address` as an ArrayBuffer; not freed with it. */
  view(address: number, length: number): ArrayBuffer;
}

export const O_RDWR = 0o2;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;
export const AF_INET = 2;
export const SOCK_DGRAM = 2;

const PROT_READ_WRITE = 3;
/**
 * MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE: pages cost nothing until touched; threads share
 * them.
 */
const MAP_ARENA = 0x4022;
/**
 * Where an arena is wished for: below 2^31 an address is a small integer for V8, a larger one an
 * object on the heap in each call. A gibibyte above it is mostly free, as program and malloc's heap
 * begin lower; if it is not the kernel chooses.
 */
const ARENA_ADDRESS = 0x4000_0000;
/** What is smaller is no arena and leaves the place to it. */
const ARENA_LEAST_BYTES: number = 1 << 20;

let loaded: Native | null = null;

/**
 * The calls, bound at first use in this thread. Throws DeviceError `ENOKOFFI` when koffi cannot be
 * loaded.
 */
export function native(): Native {
  loaded ??= bind(requireKoffi());
  return loaded;
}

function requireKoffi(): typeof Koffi {
  try {
    return createRequire(import.meta.url)('koffi') as typeof Koffi;
  } catch (error) {
    throw new DeviceError({
      code: 'ENOKOFFI',
      message: `koffi cannot be loaded on ${process.platform}-${process.arch}: ${reason(error)}`,
      remedy: 'npm ci --include=optional (koffi keeps its binary in an optional package)',
      exitCode: EXIT_FAILED,
    });
  }
}

function reason(error: unknown): string {
  return error instanceof Error ? error.message.split('\n')[0]! : String(error);
}

const POLL: [string, string, string[]] = ['poll', 'int32', ['uintptr_t', 'ulong', 'int32']];

interface AsyncCall {
  async(...values: unknown[]): void;
}

/** A function that is called in a thread of libuv's, and its result a promise. */
function promised(call: AsyncCall): (...values: number[]) => Promise<number> {
  return (...values) =>
    new Promise((resolve, reject) => {
      call.async(...values, (error: Error | null, result: number) => {
        if (error === null) resolve(result);
        else reject(error);
      });
    });
}

function bind(koffi: typeof Koffi): Native {
  const libc = koffi.load(null);
  const bound = <F>(name: string, result: string, parameters: string[]): F =>
    libc.func(name, result, parameters) as unknown as F;
  return {
    open: bound<Native['open']>('open', 'int32', ['str', 'int32', 'uint32']),
    close: bound<Native['close']>('close', 'int32', ['int32']),
    read: bound<Native['read']>('read', 'int32', ['int32', 'uintptr_t', 'size_t']),
    write: bound<Native['write']>('write', 'int32', ['int32', 'uintptr_t', 'size_t']),
    writev: bound<Native['writev']>('writev', 'int32', ['int32', 'uintptr_t', 'int32']),
    ioctl: bound<Native['ioctl']>('ioctl', 'int32', ['int32', 'ulong', 'uintptr_t']),
    socket: bound<Native['socket']>('socket', 'int32', ['int32', 'int32', 'int32']),
    schedYield: bound<Native['schedYield']>('sched_yield', 'int32', []),
    poll: bound<Native['poll']>(...POLL),
    pollAsync: promised(libc.func(...POLL)),
    syscall: bound<Native['syscall']>('syscall', 'long', [
      'long',
      'uintptr_t',
      'uintptr_t',
      'uintptr_t',
    ]),
    eventfd: bound<Native['eventfd']>('eventfd', 'int32', ['uint32', 'int32']),
    mmap: bound<Native['mmap']>('mmap', 'intptr_t', [
      'uintptr_t',
      'size_t',
      'int32',
      'int32',
      'int32',
      'int64',
    ]),
    munmap: bound<Native['munmap']>('munmap', 'int32', ['uintptr_t', 'size_t']),
    errno: () => koffi.errno(),
    view: (address, length) => koffi.view(address, length),
  };
}

/** Where the buffers made by `viewArena` lie. */
const addresses = new WeakMap<ArrayBufferLike, number>();

/**
 * Anonymous zeroed memory, `bytes` long, that every thread of the process can see at the returned
 * address.
 *
 * @throws DeviceError `ENOMEM`
 */
export function mmapArena(bytes: number): { address: number; bytes: Uint8Array } {
  const wish = bytes < ARENA_LEAST_BYTES ? 0 : ARENA_ADDRESS;
  const address = native().mmap(wish, bytes, PROT_READ_WRITE, MAP_ARENA, -1, 0);
  if (address === -1) {
    throw new DeviceError({
      code: 'ENOMEM',
      message: `mmap of ${bytes} bytes failed: ${getSystemErrorName(-native().errno())}`,
      remedy: 'a smaller arena, or a higher limit (ulimit -v, the memory limit of the container)',
      exitCode: EXIT_FAILED,
    });
  }
  return { address, bytes: viewArena(address, bytes) };
}

/**
 * The arena at `address` as this thread sees it. The memory must stay mapped as long as the view is
 * used.
 */
export function viewArena(address: number, bytes: number): Uint8Array {
  const buffer = native().view(address, bytes);
  addresses.set(buffer, address);
  return new Uint8Array(buffer);
}

/**
 * Unmaps an arena. Only when no thread will touch a view of it again: a view of unmapped memory
 * crashes the process.
 */
export function munmapArena(address: number, bytes: number): void {
  native().munmap(address, bytes);
}

/** Address of the first byte of `bytes` when it is a view of an mmapped arena, else 0. */
export function nativeAddress(bytes: Uint8Array): number {
  const address = addresses.get(bytes.buffer);
  return address === undefined ? 0 : address + bytes.byteOffset;
}
