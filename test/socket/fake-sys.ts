/**
 * System calls over a network that is one process: TCP as an application sees it (handshake, byte
 * streams with bounded buffers, FIN, RST, backlog), epoll with level and edge triggering, and a
 * doorbell on a real shared word, so that the reactor sleeps in Atomics.waitAsync as it does on the
 * stack. No packets, no time.
 */
import type { Doorbell, NetSys, SysEvent } from '../../src/socket/net-sys.js';
import {
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLLERR,
  EPOLLET,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  F_GETFL,
  F_SETFL,
  F_SETOWN,
  SO_ATTACH_REUSEPORT_SELECTOR,
  SO_ERROR,
  SO_LINGER,
  SO_REUSEPORT,
  SOCK_NONBLOCK,
  SOL_SOCKET,
} from '../../src/socket/uapi/constants.js';

const EBADF = -9;
const EAGAIN = -11;
const EINVAL = -22;
const EPIPE = -32;
const EADDRINUSE = -98;
const EADDRNOTAVAIL = -99;
const ECONNRESET = -104;
const EISCONN = -106;
const ENOTCONN = -107;
const ECONNREFUSED = -111;
const EINPROGRESS = -115;

const { waitAsync } = Atomics as unknown as {
  waitAsync(
    words: Int32Array,
    index: number,
    value: number,
  ): { async: false; value: string } | { async: true; value: Promise<string> };
};

export const HOST = '198.18.0.1';

type Kind = 'idle' | 'listen' | 'connecting' | 'open' | 'epoll';

class File {
  kind: Kind = 'idle';
  readonly fd: number;
  flags = 0;
  address = '0.0.0.0';
  port = 0;
  reusePort = false;
  selector = '';
  lingerReset = false;
  peerAddress = '';
  peerPort = 0;
  error = 0;
  backlog = 0;
  readonly acceptQueue: File[] = [];
  peer: File | null = null;
  readonly received: Uint8Array[] = [];
  receivedBytes = 0;
  finReceived = false;
  finSent = false;
  reset = false;
  /** The last write found no room: reading at the other end makes an EPOLLOUT edge. */
  wantsRoom = false;
  readonly interests = new Map<number, SysEvent>();
  readonly ready = new Set<number>();

  constructor(fd: number) {
    this.fd = fd;
  }
}

export interface FakeNet {
  sys: NetSys;
  doorbell: Doorbell;
  address: string;
  /** Calls made, by name. */
  calls: Map<string, number>;
  /** Option values set, newest last: `fd level name value value2`. */
  options: string[];
  /** Descriptors in use, epoll instances among them. */
  openFds(): number;
  /** Makes accept4 fail with this once; 0 = not. */
  acceptError: number;
  /** Makes a call of this name return the number once. */
  failures: Map<string, number>;
  /** Bytes one write call takes at most. */
  writeMax: number;
  /** Connections whose SYN is never answered go here instead. */
  holdConnects: boolean;
  /** Completes a held connection: 0 or -errno. */
  releaseConnects(status: number): void;
  /** Resets the connection of `fd` as if the peer had sent RST. */
  resetFromPeer(fd: number, errno?: number): void;
  /** Makes a spurious event for `fd`. */
  spurious(fd: number, events: number): void;
  die(): void;
}

/** @param bufferBytes how much one direction of a connection holds */
export function createFakeNet(bufferBytes = 65536): FakeNet {
  const files = new Map<number, File>();
  const calls = new Map<string, number>();
  const word = new Int32Array(new SharedArrayBuffer(4));
  const held: [File, string, number][] = [];
  let armedFor = -1;
  let armedValue = 0;
  let dead = false;
  let nextPort = 49152;

  function allocate(): File {
    let fd = 3;
    while (files.has(fd)) fd++;
    const file = new File(fd);
    files.set(fd, file);
    return file;
  }

  function mask(file: File): number {
    if (file.kind === 'listen') return file.acceptQueue.length > 0 ? EPOLLIN : 0;
    if (file.kind === 'connecting') return 0;
    const error = file.error ? EPOLLERR | EPOLLIN : 0;
    return error | (file.kind === 'idle' ? EPOLLOUT | EPOLLHUP : openMask(file));
  }

  function openMask(file: File): number {
    const ended = file.finReceived || file.reset;
    const writable = room(file) > 0 || file.finSent || file.reset;
    const hangup = file.reset || (file.finReceived && file.finSent);
    return (
      (file.receivedBytes > 0 ? EPOLLIN : 0) |
      (ended ? EPOLLIN | EPOLLRDHUP : 0) |
      (writable ? EPOLLOUT : 0) |
      (hangup ? EPOLLHUP : 0)
    );
  }

  function room(file: File): number {
    return file.peer ? bufferBytes - file.peer.receivedBytes : 0;
  }

  function raise(file: File, events: number): void {
    for (const epoll of files.values()) {
      const interest = epoll.interests.get(file.fd);
      if (!interest || !(events & (interest.events | EPOLLERR | EPOLLHUP))) continue;
      epoll.ready.add(file.fd);
      if (armedFor === epoll.fd) ring();
    }
  }

  function ring(): void {
    armedFor = -1;
    Atomics.add(word, 0, 1);
    Atomics.notify(word, 0);
  }

  function resetFile(file: File, error: number): void {
    if (file.kind !== 'open' || file.reset) return;
    file.reset = true;
    file.error = -error;
    file.received.length = 0;
    file.receivedBytes = 0;
    raise(file, EPOLLIN | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP);
  }

  function portTaken(file: File, address: string, port: number): boolean {
    for (const other of files.values()) {
      if (other === file || other.port !== port || other.kind === 'open') continue;
      if (other.address !== address && other.address !== '0.0.0.0' && address !== '0.0.0.0')
        continue;
      if (!(other.reusePort && file.reusePort)) return true;
    }
    return false;
  }

  function freePort(file: File): number {
    while (portTaken(file, '0.0.0.0', nextPort)) nextPort++;
    return nextPort++;
  }

  function handshake(file: File, address: string, port: number): void {
    const listener = [...files.values()].find(
      (f) => f.kind === 'listen' && f.port === port && f.acceptQueue.length <= f.backlog,
    );
    if (!listener) {
      file.kind = 'idle';
      file.error = -ECONNREFUSED;
      raise(file, EPOLLOUT | EPOLLERR | EPOLLHUP);
      return;
    }
    const child = allocate();
    child.kind = 'open';
    file.kind = 'open';
    child.address = address;
    child.port = port;
    child.peerAddress = file.address;
    child.peerPort = file.port;
    child.peer = file;
    file.peer = child;
    listener.acceptQueue.push(child);
    raise(file, EPOLLOUT);
    raise(listener, EPOLLIN);
  }

  function closeFile(file: File): void {
    files.delete(file.fd);
    for (const epoll of files.values()) {
      epoll.interests.delete(file.fd);
      epoll.ready.delete(file.fd);
    }
    for (const child of file.acceptQueue) {
      if (child.peer) resetFile(child.peer, ECONNRESET);
      files.delete(child.fd);
    }
    const { peer } = file;
    if (file.kind !== 'open' || !peer) return;
    if (file.lingerReset || file.receivedBytes > 0) {
      resetFile(peer, ECONNRESET);
    } else if (!file.reset) {
      peer.finReceived = true;
      raise(peer, EPOLLIN | EPOLLRDHUP);
    }
    file.kind = 'idle';
  }

  function write(fd: number, buffer: Uint8Array, offset: number, length: number): number {
    const file = files.get(fd);
    if (!file) return EBADF;
    if (file.error) {
      const error = -file.error;
      file.error = 0;
      return error;
    }
    const { peer } = file;
    if (file.finSent || file.reset) return EPIPE;
    if (file.kind !== 'open' || !peer) return EPIPE;
    if (!files.has(peer.fd)) {
      // The other end is gone: its RST comes back, the next write finds the pipe broken.
      resetFile(file, ECONNRESET);
      return length;
    }
    const n = Math.min(length, room(file), net.writeMax);
    if (n === 0) {
      file.wantsRoom = true;
      return length === 0 ? 0 : EAGAIN;
    }
    // A copy: a Buffer's own slice() shares the caller's memory.
    peer.received.push(Uint8Array.prototype.slice.call(buffer, offset, offset + n));
    peer.receivedBytes += n;
    raise(peer, EPOLLIN);
    return n;
  }

  function read(fd: number, buffer: Uint8Array, offset: number, length: number): number {
    const file = files.get(fd);
    if (!file) return EBADF;
    if (file.error) {
      const error = -file.error;
      file.error = 0;
      return error;
    }
    if (file.receivedBytes === 0) {
      if (file.kind !== 'open') return ENOTCONN;
      return file.finReceived || file.reset ? 0 : EAGAIN;
    }
    let n = 0;
    while (n < length && file.received.length > 0) {
      const chunk = file.received[0]!;
      const part = chunk.subarray(0, length - n);
      buffer.set(part, offset + n);
      n += part.length;
      if (part.length < chunk.length) file.received[0] = chunk.subarray(part.length);
      else file.received.shift();
    }
    file.receivedBytes -= n;
    if (file.peer?.wantsRoom) {
      file.peer.wantsRoom = false;
      raise(file.peer, EPOLLOUT);
    }
    return n;
  }

  const sys: NetSys = {
    socket: (_domain, type) => {
      const file = allocate();
      file.flags = type & SOCK_NONBLOCK;
      return file.fd;
    },
    bind: (fd, { address, port }) => {
      const file = files.get(fd);
      if (!file) return EBADF;
      if (file.port) return EINVAL;
      if (address !== '0.0.0.0' && address !== HOST) return EADDRNOTAVAIL;
      if (port && portTaken(file, String(address), port)) return EADDRINUSE;
      file.address = String(address);
      file.port = port || freePort(file);
      return 0;
    },
    listen: (fd, backlog) => {
      const file = files.get(fd);
      if (!file) return EBADF;
      file.port ||= freePort(file);
      file.kind = 'listen';
      file.backlog = backlog;
      return 0;
    },
    accept4: (fd, flags) => {
      const file = files.get(fd);
      if (!file) return EBADF;
      if (net.acceptError) {
        const error = net.acceptError;
        net.acceptError = 0;
        return error;
      }
      const child = file.acceptQueue.shift();
      if (!child) return EAGAIN;
      child.flags = flags & SOCK_NONBLOCK;
      return child.fd;
    },
    connect: (fd, { address, port }) => {
      const file = files.get(fd);
      if (!file) return EBADF;
      if (file.kind === 'open') return EISCONN;
      if (file.address === '0.0.0.0') file.address = HOST;
      file.port ||= freePort(file);
      file.peerAddress = String(address);
      file.peerPort = port;
      file.kind = 'connecting';
      if (net.holdConnects) held.push([file, String(address), port]);
      else handshake(file, String(address), port);
      return EINPROGRESS;
    },
    setsockopt: (fd, level, name, value, value2 = 0) => {
      const file = files.get(fd);
      if (!file) return EBADF;
      net.options.push(`${fd} ${level} ${name} ${value} ${value2}`);
      if (level === SOL_SOCKET && name === SO_REUSEPORT) file.reusePort = value !== 0;
      if (level === SOL_SOCKET && name === SO_ATTACH_REUSEPORT_SELECTOR) {
        if (!file.reusePort || value === 'nobody') return EINVAL;
        file.selector = String(value);
      }
      if (name === SO_LINGER && level === SOL_SOCKET) file.lingerReset = !!value && value2 === 0;
      return 0;
    },
    getsockopt: (fd, level, name, out) => {
      const file = files.get(fd);
      if (!file) return EBADF;
      if (level !== SOL_SOCKET) return EINVAL;
      if (name === SO_ATTACH_REUSEPORT_SELECTOR) out[0] = file.selector === '' ? 0 : 1;
      else if (name === SO_ERROR) [out[0], file.error] = [file.error, 0];
      else return EINVAL;
      return 1;
    },
    getsockname: (fd, out) => {
      const file = files.get(fd);
      if (!file) return EBADF;
      out.address = file.address;
      out.port = file.port;
      return 0;
    },
    getpeername: (fd, out) => {
      const file = files.get(fd);
      if (!file) return EBADF;
      if (file.kind !== 'open') return ENOTCONN;
      out.address = file.peerAddress;
      out.port = file.peerPort;
      return 0;
    },
    shutdown: (fd) => {
      const file = files.get(fd);
      if (!file) return EBADF;
      if (file.kind !== 'open' || file.reset) return ENOTCONN;
      file.finSent = true;
      if (file.peer) {
        file.peer.finReceived = true;
        raise(file.peer, EPOLLIN | EPOLLRDHUP);
      }
      raise(file, EPOLLOUT);
      return 0;
    },
    close: (fd) => {
      const file = files.get(fd);
      if (!file) return EBADF;
      closeFile(file);
      return 0;
    },
    read,
    write,
    epoll_create1: () => {
      const file = allocate();
      file.kind = 'epoll';
      return file.fd;
    },
    epoll_ctl: (epfd, op, fd, event) => {
      const epoll = files.get(epfd);
      const file = files.get(fd);
      if (!epoll || !file) return EBADF;
      if (op === EPOLL_CTL_ADD) {
        epoll.interests.set(fd, { ...event });
        if (mask(file) & (event.events | EPOLLERR | EPOLLHUP)) epoll.ready.add(fd);
      } else if (op === EPOLL_CTL_DEL) {
        epoll.interests.delete(fd);
        epoll.ready.delete(fd);
      }
      return 0;
    },
    epoll_wait: (epfd, events, maxevents) => {
      const epoll = files.get(epfd);
      if (!epoll) return EBADF;
      let n = 0;
      for (const fd of [...epoll.ready]) {
        if (n === maxevents) break;
        const interest = epoll.interests.get(fd)!;
        const now = mask(files.get(fd)!) & (interest.events | EPOLLERR | EPOLLHUP) & 0xffff;
        if (interest.events & EPOLLET || !now) epoll.ready.delete(fd);
        if (!now) continue;
        events[n]!.events = now;
        events[n]!.data = interest.data;
        n++;
      }
      return n;
    },
    fcntl: (fd, cmd, arg) => {
      const file = files.get(fd);
      if (!file) return EBADF;
      if (cmd === F_GETFL) return file.flags;
      if (cmd === F_SETFL) file.flags = arg;
      return cmd === F_SETFL || cmd === F_SETOWN ? 0 : EINVAL;
    },
  };

  const counted = Object.fromEntries(
    Object.entries(sys).map(([name, call]: [string, (...args: never[]) => number]) => [
      name,
      (...args: never[]) => {
        calls.set(name, (calls.get(name) ?? 0) + 1);
        const failure = net.failures.get(name);
        if (failure === undefined) return call(...args);
        net.failures.delete(name);
        return failure;
      },
    ]),
  ) as unknown as NetSys;

  const doorbell: Doorbell = {
    arm: (epfd) => {
      armedFor = epfd;
      armedValue = Atomics.load(word, 0);
    },
    disarm: () => {
      armedFor = -1;
    },
    ring: () => {
      const result = waitAsync(word, 0, armedValue);
      return result.async ? result.value : null;
    },
    dead: () => dead,
  };

  const net: FakeNet = {
    sys: counted,
    doorbell,
    address: HOST,
    calls,
    options: [],
    openFds: () => files.size,
    acceptError: 0,
    failures: new Map(),
    writeMax: Number.POSITIVE_INFINITY,
    holdConnects: false,
    releaseConnects: (status) => {
      for (const [file, address, port] of held.splice(0)) {
        if (!files.has(file.fd)) continue;
        if (status === 0) {
          handshake(file, address, port);
        } else {
          file.kind = 'idle';
          file.error = -status;
          raise(file, EPOLLOUT | EPOLLERR | EPOLLHUP);
        }
      }
    },
    resetFromPeer: (fd, errno = ECONNRESET) => resetFile(files.get(fd)!, errno),
    spurious: (fd, events) => raise(files.get(fd)!, events),
    die: () => {
      dead = true;
      ring();
    },
  };
  return net;
}
