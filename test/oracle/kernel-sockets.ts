/**
 * Linux's own socket calls, made by this process through koffi, for tests that hold tunstack to the
 * running kernel. Every call returns a value ≥ 0 or a negated errno, as the calls of our stack do.
 * Sockets are non-blocking unless asked otherwise. Works only inside a network namespace of its
 * own: in the machine's own every use throws. What our stack answers to the same calls is
 * our-sockets.ts.
 */
import { execFileSync } from 'node:child_process';
import { closeSync, openSync, readFileSync, readlinkSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { release } from 'node:os';
import type * as Koffi from 'koffi';
import { EINTR, type SocketAddress, type SocketCalls } from './socket-calls.js';

export const AF_INET = 2;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;
const SOCK_CLOEXEC = 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;
export const SOCKADDR_BYTES = 16;

const CLONE_NEWNET = 0x40000000;

/** System call numbers that the C library has no function for on every version. */
const NUMBERS: Readonly<Record<string, { setresuid: number; bpf: number }>> = {
  x64: { setresuid: 117, bpf: 321 },
  arm64: { setresuid: 147, bpf: 280 },
};

/** The C library's functions; addresses are passed as typed arrays. */
export interface Libc {
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array, length: number): number;
  listen(fd: number, backlog: number): number;
  accept4(fd: number, address: Uint8Array | null, length: Int32Array | null, flags: number): number;
  connect(fd: number, address: Uint8Array, length: number): number;
  setsockopt(fd: number, level: number, name: number, value: Uint8Array, length: number): number;
  getsockopt(
    fd: number,
    level: number,
    name: number,
    value: Uint8Array,
    length: Int32Array,
  ): number;
  getsockname(fd: number, address: Uint8Array, length: Int32Array): number;
  getpeername(fd: number, address: Uint8Array, length: Int32Array): number;
  shutdown(fd: number, how: number): number;
  close(fd: number): number;
  poll(fds: Uint8Array, count: number, timeoutMs: number): number;
  ioctl(fd: number, request: number, value: Int32Array): number;
  ppoll(fds: Uint8Array, count: number, timespec: Uint8Array, signals: null): number;
  fcntl(fd: number, command: number, value: number): number;
  send(fd: number, bytes: Uint8Array | null, length: number, flags: number): number;
  recv(fd: number, bytes: Uint8Array | null, length: number, flags: number): number;
  read(fd: number, bytes: Uint8Array | null, length: number): number;
  sendto(
    fd: number,
    bytes: Uint8Array | null,
    length: number,
    flags: number,
    address: Uint8Array,
    addressLength: number,
  ): number;
  /** `header` is a struct msghdr. */
  sendmsg(fd: number, header: Uint8Array, flags: number): number;
  recvmsg(fd: number, header: Uint8Array, flags: number): number;
  memfd_create(name: string, flags: number): number;
  ftruncate(fd: number, length: number): number;
  pread(fd: number, bytes: Uint8Array, length: number, offset: number): number;
  pwrite(fd: number, bytes: Uint8Array, length: number, offset: number): number;
  /** `offset` is moved by what was sent. */
  sendfile(outFd: number, inFd: number, offset: BigInt64Array, count: number): number;
  epoll_create1(flags: number): number;
  /** `event` is a struct epoll_event, 12 bytes on x86, 16 elsewhere. */
  epoll_ctl(epfd: number, operation: number, fd: number, event: Uint8Array): number;
  epoll_wait(epfd: number, events: Uint8Array, most: number, timeoutMs: number): number;
  sched_setaffinity(pid: number, bytes: number, mask: Uint8Array): number;
  sched_getaffinity(pid: number, bytes: number, mask: Uint8Array): number;
  unshare(flags: number): number;
  setns(fd: number, type: number): number;
  syscall(number: number, a: number, b: number, c: number): number;
  /** bpf(2): command, attributes, their size. */
  bpf(number: number, command: number, attributes: Uint8Array, size: number): number;
  errno(): number;
  /** Address of the memory of `bytes`; stays right only while `bytes` is referenced. */
  addressOf(bytes: Uint8Array): bigint;
}

const SIGNATURES: Readonly<Record<string, readonly string[]>> = {
  socket: ['int32', 'int32', 'int32'],
  bind: ['int32', 'void *', 'uint32'],
  listen: ['int32', 'int32'],
  accept4: ['int32', 'void *', 'void *', 'int32'],
  connect: ['int32', 'void *', 'uint32'],
  setsockopt: ['int32', 'int32', 'int32', 'void *', 'uint32'],
  getsockopt: ['int32', 'int32', 'int32', 'void *', 'void *'],
  getsockname: ['int32', 'void *', 'void *'],
  getpeername: ['int32', 'void *', 'void *'],
  shutdown: ['int32', 'int32'],
  close: ['int32'],
  poll: ['void *', 'ulong', 'int32'],
  ioctl: ['int32', 'ulong', 'void *'],
  ppoll: ['void *', 'ulong', 'void *', 'void *'],
  fcntl: ['int32', 'int32', 'long'],
  send: ['int32', 'void *', 'size_t', 'int32'],
  recv: ['int32', 'void *', 'size_t', 'int32'],
  read: ['int32', 'void *', 'size_t'],
  sendto: ['int32', 'void *', 'size_t', 'int32', 'void *', 'uint32'],
  sendmsg: ['int32', 'void *', 'int32'],
  recvmsg: ['int32', 'void *', 'int32'],
  memfd_create: ['str', 'uint32'],
  ftruncate: ['int32', 'int64'],
  pread: ['int32', 'void *', 'size_t', 'int64'],
  pwrite: ['int32', 'void *', 'size_t', 'int64'],
  sendfile: ['int32', 'int32', 'void *', 'size_t'],
  epoll_create1: ['int32'],
  epoll_ctl: ['int32', 'int32', 'int32', 'void *'],
  epoll_wait: ['int32', 'void *', 'int32', 'int32'],
  sched_setaffinity: ['int32', 'size_t', 'void *'],
  sched_getaffinity: ['int32', 'size_t', 'void *'],
  unshare: ['int32'],
  setns: ['int32', 'int32'],
};

/** Those that count bytes. */
const SIZED = new Set([
  ...['send', 'recv', 'read', 'sendto', 'sendmsg', 'recvmsg'],
  ...['pread', 'pwrite', 'sendfile'],
]);

let loaded: Libc | null = null;

/**
 * The calls themselves. Throws in the machine's own network namespace, which is looked at once:
 * nothing here goes there later.
 */
export function libc(): Libc {
  if (loaded === null) {
    assertOwnNamespace();
    loaded = bindLibc(createRequire(import.meta.url)('koffi') as typeof Koffi);
  }
  return loaded;
}

function bindLibc(koffi: typeof Koffi): Libc {
  const library = koffi.load(null);
  const functions: Record<string, unknown> = {
    errno: () => koffi.errno(),
    addressOf: (bytes: Uint8Array) => koffi.address(bytes),
    syscall: library.func('syscall', 'long', ['long', 'long', 'long', 'long']),
    bpf: library.func('syscall', 'long', ['long', 'long', 'void *', 'long']),
  };
  for (const [name, parameters] of Object.entries(SIGNATURES)) {
    const result = SIZED.has(name) ? 'intptr_t' : 'int32';
    functions[name] = library.func(name, result, [...parameters]);
  }
  return functions as unknown as Libc;
}

/** The network namespace of a process, or null when it may not be known. */
function networkNamespace(process: string): string | null {
  try {
    return readlinkSync(`/proc/${process}/ns/net`);
  } catch {
    return null;
  }
}

/** Ids of the processes that this one descends from, nearest first. */
function ancestors(): string[] {
  const found: string[] = [];
  for (let id = 'self'; id !== '0'; ) {
    const stat = readFileSync(`/proc/${id}/stat`, 'utf8');
    id = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]!;
    found.push(id);
  }
  return found;
}

/**
 * Throws unless this process has left the network namespace of the machine: that of process 1, or,
 * where that one is not shown, of the farthest ancestor whose is.
 */
export function assertOwnNamespace(): void {
  const elders = ['1', ...ancestors().reverse()];
  const machine = elders.map(networkNamespace).find((namespace) => namespace !== null);
  if (machine === undefined) throw new Error('cannot tell whose network namespace this is');
  if (machine === networkNamespace('thread-self')) {
    throw new Error('this is the network namespace of the machine: unshare -n');
  }
}

/**
 * A fresh network namespace for this thread, with loopback up: no ports, TIME-WAIT sockets or knobs
 * of other tests. The returned function goes back.
 */
export function enterFreshNamespace(): () => void {
  const c = libc();
  const before = openSync('/proc/thread-self/ns/net', 'r');
  if (c.unshare(CLONE_NEWNET) !== 0) throw new Error(`unshare: errno ${c.errno()}`);
  execFileSync('ip', ['link', 'set', 'lo', 'up']);
  return () => {
    if (c.setns(before, CLONE_NEWNET) !== 0) throw new Error(`setns: errno ${c.errno()}`);
    closeSync(before);
  };
}

/**
 * Gives the namespace a TUN device that is up, has the default route and is read by nobody. `cidr`
 * is its address.
 */
export function addTunDevice(name: string, cidr: string): void {
  libc();
  execFileSync('ip', ['tuntap', 'add', 'dev', name, 'mode', 'tun']);
  execFileSync('ip', ['addr', 'add', cidr, 'dev', name]);
  execFileSync('ip', ['link', 'set', name, 'up']);
  execFileSync('ip', ['route', 'add', 'default', 'dev', name]);
}

const CPU_MASK_BYTES = 128;

/**
 * Has this thread, and so the packets that it sends over loopback, stay on processor `cpu`. The
 * returned function gives it back those that it had.
 */
export function runOnCpu(cpu: number): () => void {
  const c = libc();
  const before = new Uint8Array(CPU_MASK_BYTES);
  if (c.sched_getaffinity(0, before.length, before) < 0) {
    throw new Error(`sched_getaffinity: errno ${c.errno()}`);
  }
  const mask = new Uint8Array(CPU_MASK_BYTES);
  mask[cpu >> 3] = 1 << (cpu & 7);
  setAffinity(mask);
  return () => setAffinity(before);
}

function setAffinity(mask: Uint8Array): void {
  if (libc().sched_setaffinity(0, mask.length, mask) === 0) return;
  throw new Error(`sched_setaffinity: errno ${libc().errno()}`);
}

/** Is the running kernel at least `major`.`minor`? */
export function kernelAtLeast(major: number, minor: number): boolean {
  const [first = 0, second = 0] = release()
    .split('.')
    .map((part) => Number.parseInt(part, 10));
  return first > major || (first === major && second >= minor);
}

const sysctlPath = (name: string): string => `/proc/sys/${name.replaceAll('.', '/')}`;

/** A knob of this namespace, as text: 'net.ipv4.tcp_syncookies'. */
export function kernelSysctl(name: string): string {
  return readFileSync(sysctlPath(name), 'utf8').trim();
}

/** Sets a knob of this namespace. Throws when the kernel refuses the value. */
export function setKernelSysctl(name: string, value: string | number): void {
  libc();
  writeFileSync(sysctlPath(name), String(value));
}

/** Runs `body` with knobs set, and sets them back. */
export function withKernelSysctl<T>(knobs: Record<string, string | number>, body: () => T): T {
  const before = Object.keys(knobs).map((name) => [name, kernelSysctl(name)] as const);
  try {
    for (const [name, value] of Object.entries(knobs)) setKernelSysctl(name, value);
    return body();
  } finally {
    for (const [name, value] of before) setKernelSysctl(name, value);
  }
}

/**
 * Runs `body` as the effective user `uid`, without the capabilities of root unless it is 0. Only
 * this thread changes (a raw setresuid); synchronous code only.
 */
export function asUser<T>(uid: number, body: () => T): T {
  if (uid === 0) return body();
  becomeUser(uid);
  try {
    return body();
  } finally {
    becomeUser(0);
  }
}

function becomeUser(uid: number): void {
  const { setresuid } = systemCallNumbers();
  if (libc().syscall(setresuid, -1, uid, -1) !== 0) {
    throw new Error(`setresuid to ${uid}: errno ${libc().errno()}`);
  }
}

/** Numbers of the calls made by number on this processor. */
export function systemCallNumbers(): { setresuid: number; bpf: number } {
  const numbers = NUMBERS[process.arch];
  if (numbers === undefined) throw new Error(`no system call numbers for ${process.arch}`);
  return numbers;
}

/** sockaddr_in. */
export function sockaddr(address: number, port: number, family: number = AF_INET): Uint8Array {
  const bytes = new Uint8Array(SOCKADDR_BYTES);
  const view = new DataView(bytes.buffer);
  view.setUint16(0, family, true);
  view.setUint16(2, port);
  view.setInt32(4, address);
  return bytes;
}

/** The kernel's TCP sockets over IPv4. */
export class KernelSockets implements SocketCalls {
  readonly c: Libc = libc();
  /** Open descriptors, and whose they are. */
  private readonly open = new Map<number, number>();
  private readonly length = new Int32Array(1);
  private readonly name = new Uint8Array(SOCKADDR_BYTES);
  private readonly pollfd = new Uint8Array(8);

  /** What C returned, with errno in place of -1. */
  private result(value: number): number {
    return value < 0 ? -this.c.errno() : value;
  }

  private opened(fd: number, uid: number): number {
    if (fd >= 0) this.open.set(fd, uid);
    return fd;
  }

  socket(uid = 0, blocking = false): number {
    const type = SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK);
    return asUser(uid, () => this.opened(this.result(this.c.socket(AF_INET, type, 0)), uid));
  }

  /** As the user whose socket it is. */
  bind(fd: number, address: number, port: number): number {
    return asUser(this.open.get(fd) ?? 0, () =>
      this.result(this.c.bind(fd, sockaddr(address, port), SOCKADDR_BYTES)),
    );
  }

  /** bind() with raw bytes in place of a sockaddr_in. */
  bindBytes(fd: number, address: Uint8Array): number {
    return this.result(this.c.bind(fd, address, address.length));
  }

  listen(fd: number, backlog: number): number {
    return this.result(this.c.listen(fd, backlog));
  }

  accept(fd: number): number {
    const flags = SOCK_NONBLOCK | SOCK_CLOEXEC;
    const uid = this.open.get(fd) ?? 0;
    return asUser(uid, () => this.opened(this.result(this.c.accept4(fd, null, null, flags)), uid));
  }

  connect(fd: number, address: number, port: number): number {
    return this.result(this.c.connect(fd, sockaddr(address, port), SOCKADDR_BYTES));
  }

  setsockopt(fd: number, level: number, name: number, value: number, value2?: number): number {
    const words = value2 === undefined ? [value] : [value, value2];
    return this.setsockoptBytes(fd, level, name, new Uint8Array(Int32Array.from(words).buffer));
  }

  /** For structures and texts; as the user whose socket it is. */
  setsockoptBytes(fd: number, level: number, name: number, bytes: Uint8Array): number {
    return asUser(this.open.get(fd) ?? 0, () =>
      this.result(this.c.setsockopt(fd, level, name, bytes, bytes.length)),
    );
  }

  setsockoptText(fd: number, level: number, name: number, text: string): number {
    return this.setsockoptBytes(fd, level, name, new TextEncoder().encode(text));
  }

  getsockopt(fd: number, level: number, name: number, out: Int32Array): number {
    this.length[0] = out.byteLength;
    const bytes = new Uint8Array(out.buffer, out.byteOffset, out.byteLength);
    const error = this.result(this.c.getsockopt(fd, level, name, bytes, this.length));
    return error < 0 ? error : this.length[0]! >> 2;
  }

  getsockname(fd: number): SocketAddress | number {
    this.length[0] = SOCKADDR_BYTES;
    const error = this.result(this.c.getsockname(fd, this.name, this.length));
    return error < 0 ? error : this.addressRead();
  }

  getpeername(fd: number): SocketAddress | number {
    this.length[0] = SOCKADDR_BYTES;
    const error = this.result(this.c.getpeername(fd, this.name, this.length));
    return error < 0 ? error : this.addressRead();
  }

  private addressRead(): SocketAddress {
    const view = new DataView(this.name.buffer);
    return { address: view.getInt32(4), port: view.getUint16(2) };
  }

  shutdown(fd: number, how: number): number {
    return this.result(this.c.shutdown(fd, how));
  }

  close(fd: number): number {
    this.open.delete(fd);
    return this.result(this.c.close(fd));
  }

  /** Closes with a RST where there is a connection (SO_LINGER of 0 s). */
  abort(fd: number): number {
    this.setsockopt(fd, 1, 13, 1, 0);
    return this.close(fd);
  }

  poll(fd: number, events: number, timeoutMs = 0): number {
    const view = new DataView(this.pollfd.buffer);
    view.setInt32(0, fd, true);
    view.setInt16(4, events, true);
    view.setInt16(6, 0, true);
    const count = this.result(this.c.poll(this.pollfd, 1, timeoutMs));
    if (count === -EINTR) return this.poll(fd, events, timeoutMs);
    return count < 0 ? count : view.getInt16(6, true);
  }

  send(fd: number, bytes: Uint8Array, flags = 0): number {
    return this.result(this.c.send(fd, bytes, bytes.length, flags | MSG_NOSIGNAL | MSG_DONTWAIT));
  }

  recv(fd: number, most: number, flags = 0): Uint8Array | number {
    const bytes = new Uint8Array(most);
    const count = this.result(this.c.recv(fd, bytes, most, flags | MSG_DONTWAIT));
    return count < 0 ? count : bytes.subarray(0, count);
  }

  ioctl(fd: number, request: number): number {
    const value = new Int32Array(1);
    return this.result(this.c.ioctl(fd, request, value)) || value[0]!;
  }

  disconnect(fd: number): number {
    return this.result(this.c.connect(fd, new Uint8Array(SOCKADDR_BYTES), SOCKADDR_BYTES));
  }

  /** On loopback the kernel has delivered everything by the time a call returns. */
  settle(): void {}

  /** Closes every socket that is still open. */
  closeAll(): void {
    for (const fd of [...this.open.keys()]) this.close(fd);
  }
}
