/**
 * The kernel's system calls in the shape of our table (socket/sys-table.ts), so that a packet
 * script makes the same calls of both. Values ≥ 0 or negated errnos; no call waits: scripts poll.
 * Structures are those of a 64-bit little-endian machine. When scripts are played is
 * kernel-world.ts.
 */
import type { ScriptCalls } from '../../src/packetdrill/script-world.js';
import type {
  ControlMessage,
  EpollEvent,
  Message,
  PollFd,
  Sockaddr,
  SockaddrArgument,
} from '../../src/socket/sys-table.js';
import {
  IPPROTO_TCP,
  MSG_NOSIGNAL,
  SO_LINGER,
  SO_RCVTIMEO,
  SO_SNDTIMEO,
  SOL_SOCKET,
  TCP_CONGESTION,
} from '../../src/socket/uapi/constants.js';
import { type Libc, libc, SOCKADDR_BYTES, sockaddr } from './kernel-sockets.js';
import { ipv4 } from './socket-calls.js';

const TIMEVAL_BYTES = 16;
/** struct epoll_event is packed on x86 only. */
const EVENT = process.arch === 'x64' ? { bytes: 12, data: 4 } : { bytes: 16, data: 8 };
/** struct msghdr. */
const MSGHDR = { bytes: 56, iov: 16, iovlen: 24, control: 32, controllen: 40, flags: 48 };
const IOVEC_BYTES = 16;
/** struct cmsghdr: its length, level and type stand in front of the data. */
const CMSG_HEADER = 16;
const CONTROL_BYTES = 256;
/** Bytes that a call with a null pointer is told to move when the table leaves it open. */
const NULL_BYTES = 10;

/** A null pointer is allowed here: what the call says to it is what a script asks. */
type Buffer = Uint8Array | null;

function sockaddrOf({ family, address, port }: SockaddrArgument): Uint8Array {
  return sockaddr(typeof address === 'number' ? address : ipv4(address), port, family);
}

/** A structure on its way to the kernel, and what its pointers point at. */
interface Header {
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly control: Uint8Array;
  /** Must live as long as the call. */
  readonly iovec: Uint8Array;
}

export class KernelSys implements ScriptCalls {
  /** Descriptors that are open. */
  readonly open: Set<number> = new Set();
  private readonly c: Libc = libc();
  private readonly opened: (fd: number) => void;
  private readonly congestion: () => string;
  private readonly length = new Int32Array(1);
  private readonly name = new Uint8Array(SOCKADDR_BYTES);

  /**
   * @param opened told of each new descriptor
   * @param congestion the congestion control that new sockets begin with: a namespace may have as
   *   its default only what the machine allows everybody
   */
  constructor(opened: (fd: number) => void, congestion: () => string) {
    this.opened = opened;
    this.congestion = congestion;
  }

  /** What C returned, with errno in place of -1. */
  private result(value: number): number {
    return value < 0 ? -this.c.errno() : value;
  }

  private made(value: number): number {
    const fd = this.result(value);
    if (fd >= 0) {
      this.open.add(fd);
      this.opened(fd);
    }
    return fd;
  }

  socket(domain: number, type: number, protocol: number): number {
    const fd = this.made(this.c.socket(domain, type, protocol));
    if (fd >= 0) this.setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, this.congestion());
    return fd;
  }

  bind(fd: number, address: SockaddrArgument): number {
    return this.result(this.c.bind(fd, sockaddrOf(address), SOCKADDR_BYTES));
  }

  listen(fd: number, backlog: number): number {
    return this.result(this.c.listen(fd, backlog));
  }

  accept4(fd: number, flags: number, out?: Sockaddr): number {
    this.length[0] = SOCKADDR_BYTES;
    const child = this.made(this.c.accept4(fd, this.name, this.length, flags));
    if (child >= 0 && out !== undefined) this.readName(out);
    return child;
  }

  connect(fd: number, address: SockaddrArgument): number {
    return this.result(this.c.connect(fd, sockaddrOf(address), SOCKADDR_BYTES));
  }

  setsockopt(fd: number, level: number, name: number, value: number | string, value2 = 0): number {
    const bytes = optionBytes(level, name, value, value2);
    return this.result(this.c.setsockopt(fd, level, name, bytes, bytes.length));
  }

  getsockopt(fd: number, level: number, name: number, out?: Int32Array | Uint8Array): number {
    const isTime = level === SOL_SOCKET && (name === SO_RCVTIMEO || name === SO_SNDTIMEO);
    const bytes = new Uint8Array(isTime ? TIMEVAL_BYTES : Math.max(4, out?.byteLength ?? 4));
    this.length[0] = bytes.length;
    const error = this.result(this.c.getsockopt(fd, level, name, bytes, this.length));
    if (error < 0) return error;
    const got = bytes.subarray(0, this.length[0]);
    if (out instanceof Uint8Array) return textInto(out, got, level, name);
    const words = isTime ? secondsOf(bytes) : wordsOf(got);
    out?.set(words.slice(0, out.length));
    return out === undefined ? words[0]! : words.length;
  }

  getsockname(fd: number, out: Sockaddr): number {
    this.length[0] = SOCKADDR_BYTES;
    const result = this.result(this.c.getsockname(fd, this.name, this.length));
    if (result >= 0) this.readName(out);
    return result;
  }

  getpeername(fd: number, out: Sockaddr): number {
    this.length[0] = SOCKADDR_BYTES;
    const result = this.result(this.c.getpeername(fd, this.name, this.length));
    if (result >= 0) this.readName(out);
    return result;
  }

  private readName(out: Sockaddr): void {
    const view = new DataView(this.name.buffer);
    out.family = view.getUint16(0, true);
    out.port = view.getUint16(2);
    out.address = this.name.subarray(4, 8).join('.');
  }

  shutdown(fd: number, how: number): number {
    return this.result(this.c.shutdown(fd, how));
  }

  /** Never waits for SO_LINGER: who plays the script has done that. */
  close(fd: number): number {
    const linger = new Int32Array(2);
    this.getsockopt(fd, SOL_SOCKET, SO_LINGER, linger);
    if (linger[0] !== 0 && linger[1] !== 0) this.setsockopt(fd, SOL_SOCKET, SO_LINGER, 0, 0);
    this.open.delete(fd);
    return this.result(this.c.close(fd));
  }

  read(fd: number, buffer: Buffer, offset = 0, length: number = restOf(buffer, offset)): number {
    return this.result(this.c.read(fd, partOf(buffer, offset, length), length));
  }

  write(fd: number, buffer: Buffer, offset = 0, length: number = restOf(buffer, offset)): number {
    const bytes = partOf(buffer, offset, length);
    return this.result(this.c.send(fd, bytes, length, MSG_NOSIGNAL));
  }

  readv(fd: number, buffers: readonly Uint8Array[]): number {
    return this.result(this.c.recvmsg(fd, this.header(buffers, 0).bytes, 0));
  }

  writev(fd: number, buffers: readonly Uint8Array[]): number {
    return this.result(this.c.sendmsg(fd, this.header(buffers, 0).bytes, MSG_NOSIGNAL));
  }

  sendto(fd: number, buffer: Buffer, flags: number, address?: SockaddrArgument): number {
    const [how, length] = [flags | MSG_NOSIGNAL, buffer?.length ?? NULL_BYTES];
    if (address === undefined) return this.result(this.c.send(fd, buffer, length, how));
    const to = sockaddrOf(address);
    return this.result(this.c.sendto(fd, buffer, length, how, to, SOCKADDR_BYTES));
  }

  recvfrom(fd: number, buffer: Buffer, flags: number): number {
    return this.result(this.c.recv(fd, buffer, buffer?.length ?? NULL_BYTES, flags));
  }

  sendmsg(fd: number, { iov, name }: Message, flags: number): number {
    const header = this.header(iov, 0);
    const to = name === undefined ? null : sockaddrOf(name);
    if (to !== null) {
      header.view.setBigUint64(0, this.c.addressOf(to), true);
      header.view.setUint32(8, to.length, true);
    }
    return this.result(this.c.sendmsg(fd, header.bytes, flags | MSG_NOSIGNAL));
  }

  recvmsg(fd: number, message: Message, flags: number): number {
    const header = this.header(message.iov, message.control === undefined ? 0 : CONTROL_BYTES);
    const result = this.result(this.c.recvmsg(fd, header.bytes, flags));
    if (result < 0) return result;
    message.flags = header.view.getInt32(MSGHDR.flags, true);
    const length = Number(header.view.getBigUint64(MSGHDR.controllen, true));
    message.control?.push(...controlMessages(header.control.subarray(0, length)));
    return result;
  }

  /** A struct msghdr for `buffers` with room for control messages. */
  private header(buffers: readonly Uint8Array[], controlBytes: number): Header {
    const bytes = new Uint8Array(MSGHDR.bytes);
    const iovec = new Uint8Array(Math.max(1, buffers.length) * IOVEC_BYTES);
    const control = new Uint8Array(CONTROL_BYTES);
    const view = new DataView(bytes.buffer);
    const vector = new DataView(iovec.buffer);
    buffers.forEach((buffer, i) => {
      const address = buffer.length === 0 ? 0n : this.c.addressOf(buffer);
      vector.setBigUint64(i * IOVEC_BYTES, address, true);
      vector.setBigUint64(i * IOVEC_BYTES + 8, BigInt(buffer.length), true);
    });
    view.setBigUint64(MSGHDR.iov, this.c.addressOf(iovec), true);
    view.setBigUint64(MSGHDR.iovlen, BigInt(buffers.length), true);
    if (controlBytes > 0) {
      view.setBigUint64(MSGHDR.control, this.c.addressOf(control), true);
      view.setBigUint64(MSGHDR.controllen, BigInt(controlBytes), true);
    }
    this.held = { view, bytes, control, iovec };
    return this.held;
  }

  /** The last structure that went to the kernel: its memory stays where it is meanwhile. */
  private held: Header | null = null;

  epoll_create1(flags: number): number {
    return this.made(this.c.epoll_create1(flags));
  }

  epoll_ctl(epfd: number, op: number, fd: number, event?: EpollEvent | null): number {
    const bytes = new Uint8Array(EVENT.bytes);
    const view = new DataView(bytes.buffer);
    view.setInt32(0, event?.events ?? 0, true);
    view.setInt32(EVENT.data, event?.data ?? 0, true);
    return this.result(this.c.epoll_ctl(epfd, op, fd, bytes));
  }

  epoll_wait(epfd: number, events: EpollEvent[], maxevents: number, timeoutMs: number): number {
    const bytes = new Uint8Array(EVENT.bytes * Math.max(1, maxevents));
    const count = this.result(this.c.epoll_wait(epfd, bytes, maxevents, timeoutMs));
    const view = new DataView(bytes.buffer);
    for (let i = 0; i < count; i++) {
      const at = i * EVENT.bytes;
      events[i] = {
        events: view.getInt32(at, true),
        data: view.getInt32(at + EVENT.data, true),
      };
    }
    return count;
  }

  poll(fds: PollFd[], timeoutMs: number): number {
    const bytes = new Uint8Array(8 * fds.length);
    const view = new DataView(bytes.buffer);
    fds.forEach(({ fd, events }, i) => {
      view.setInt32(8 * i, fd, true);
      view.setInt16(8 * i + 4, events, true);
    });
    const count = this.result(this.c.poll(bytes, fds.length, timeoutMs));
    fds.forEach((entry, i) => {
      entry.revents = view.getInt16(8 * i + 6, true);
    });
    return count;
  }

  fcntl(fd: number, cmd: number, arg = 0): number {
    return this.result(this.c.fcntl(fd, cmd, arg));
  }

  ioctl(fd: number, request: number, out: Int32Array): number {
    return this.result(this.c.ioctl(fd, request, out));
  }

  /** Closes what is still open; connections get a RST. */
  closeAll(): void {
    for (const fd of [...this.open]) {
      this.setsockopt(fd, SOL_SOCKET, SO_LINGER, 1, 0);
      this.c.close(fd);
    }
    this.open.clear();
  }
}

function restOf(buffer: Buffer, offset: number): number {
  return buffer === null ? NULL_BYTES : buffer.length - offset;
}

function partOf(buffer: Buffer, offset: number, length: number): Buffer {
  return buffer === null ? null : buffer.subarray(offset, offset + length);
}

/** The value of an option as setsockopt(2) wants it; a character of a text is a byte. */
function optionBytes(
  level: number,
  name: number,
  value: number | string,
  value2: number,
): Uint8Array {
  if (typeof value === 'string') return Uint8Array.from(value, (one) => one.charCodeAt(0));
  if (level !== SOL_SOCKET) return new Uint8Array(Int32Array.of(value).buffer);
  if (name === SO_RCVTIMEO || name === SO_SNDTIMEO) {
    return new Uint8Array(BigInt64Array.of(BigInt(value), BigInt(value2)).buffer);
  }
  const words = name === SO_LINGER ? [value, value2] : [value];
  return new Uint8Array(Int32Array.from(words).buffer);
}

/** struct timeval. */
function secondsOf(bytes: Uint8Array): number[] {
  return Array.from(new BigInt64Array(bytes.buffer, 0, 2), Number);
}

/** The words of a value; one that is a single byte is a word here. */
function wordsOf(bytes: Uint8Array): number[] {
  if (bytes.length < 4) return [...bytes];
  return [...new Int32Array(bytes.buffer, 0, bytes.length >> 2)];
}

/** A text, or bytes that our table gives as one: a character each, in UTF-8. */
function textInto(out: Uint8Array, bytes: Uint8Array, level: number, name: number): number {
  const isName = level === IPPROTO_TCP && name === TCP_CONGESTION;
  const end = isName && bytes.includes(0) ? bytes.indexOf(0) : bytes.length;
  const text = String.fromCharCode(...bytes.subarray(0, end));
  return new TextEncoder().encodeInto(text, out).written;
}

/** The control messages in `bytes`, each with one int. */
function controlMessages(bytes: Uint8Array): ControlMessage[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const found: ControlMessage[] = [];
  for (let at = 0; at + CMSG_HEADER + 4 <= bytes.length; ) {
    const length = Number(view.getBigUint64(at, true));
    found.push({
      level: view.getInt32(at + 8, true),
      type: view.getInt32(at + 12, true),
      data: view.getInt32(at + CMSG_HEADER, true),
    });
    at += Math.max(CMSG_HEADER, (length + 7) & ~7);
  }
  return found;
}
