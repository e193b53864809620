/**
 * The calls that a program of socket calls is written in, so that one program runs on the kernel's
 * sockets (kernel-sockets.ts) and on ours (our-sockets.ts). Values ≥ 0, or negated errnos with
 * Linux's numbers.
 */
import { constants } from 'node:os';

export const EINTR = 4;
export const EAGAIN = 11;
export const EINPROGRESS = 115;

export const IPPROTO_IP = 0;
export const IPPROTO_TCP = 6;
export const IP_BIND_ADDRESS_NO_PORT = 24;
export const IP_LOCAL_PORT_RANGE = 51;

export const SOL_SOCKET = 1;
export const SO_REUSEADDR = 2;
export const SO_ERROR = 4;
export const SO_LINGER = 13;
export const SO_REUSEPORT = 15;
export const SO_BINDTODEVICE = 25;
export const SO_ACCEPTCONN = 30;
export const SO_INCOMING_CPU = 49;
export const SO_ATTACH_REUSEPORT_CBPF = 51;
export const SO_ATTACH_REUSEPORT_EBPF = 52;
export const SO_DETACH_REUSEPORT_BPF = 68;

export const SHUT_RD = 0;
export const SHUT_WR = 1;
export const SHUT_RDWR = 2;

export const POLLIN = 1;
export const POLLPRI = 2;
export const POLLOUT = 4;
export const POLLERR = 8;
export const POLLHUP = 16;
export const POLLRDHUP = 0x2000;
/** All that poll() knows. */
export const POLL_EVERYTHING: number = POLLIN | POLLPRI | POLLOUT | POLLRDHUP | 0x3c0;

/** `address` is an int32 bit pattern in host order: 127.0.0.1 is 0x7f000001. */
export interface SocketAddress {
  readonly address: number;
  readonly port: number;
}

export interface SocketCalls {
  /** A non-blocking TCP socket over IPv4 of the effective user `uid`. */
  socket(uid?: number): number;
  bind(fd: number, address: number, port: number): number;
  listen(fd: number, backlog: number): number;
  accept(fd: number): number;
  connect(fd: number, address: number, port: number): number;
  /** With `value2` the option is a structure of two ints (SO_LINGER). */
  setsockopt(fd: number, level: number, name: number, value: number, value2?: number): number;
  setsockoptText(fd: number, level: number, name: number, text: string): number;
  /** Number of ints written to `out`. */
  getsockopt(fd: number, level: number, name: number, out: Int32Array): number;
  getsockname(fd: number): SocketAddress | number;
  getpeername(fd: number): SocketAddress | number;
  shutdown(fd: number, how: number): number;
  close(fd: number): number;
  /** Closes with a RST where there is a connection. */
  abort(fd: number): number;
  /** The POLL* bits of `events` (and POLLERR, POLLHUP) that hold now. */
  poll(fd: number, events: number): number;
  send(fd: number, bytes: Uint8Array, flags?: number): number;
  /** Bytes (none = end of stream), or a negated errno. */
  recv(fd: number, most: number, flags?: number): Uint8Array | number;
  /** The int that a request for one gives. */
  ioctl(fd: number, request: number): number;
  /** connect() to AF_UNSPEC. */
  disconnect(fd: number): number;
  /** Lets packets that are on their way arrive. */
  settle(): void;
  closeAll(): void;
}

const ERRNO_NAMES: ReadonlyMap<number, string> = new Map(
  Object.entries(constants.errno)
    .reverse()
    .map(([name, number]) => [number, name]),
);

/** 'EADDRINUSE' for -98; 'ok' for values. */
export function outcome(value: number): string {
  return value < 0 ? (ERRNO_NAMES.get(-value) ?? `errno ${-value}`) : 'ok';
}

/** '127.0.0.1' → int32. */
export function ipv4(text: string): number {
  return text.split('.').reduce((sum, part) => (sum << 8) | Number(part), 0);
}
