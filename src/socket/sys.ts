/**
 * The system calls of one thread (Linux: net/socket.c, and the parts of fs/ that an event loop
 * needs). What can be done on shared memory is done here and now; what changes a connection's state
 * is a command to the stack thread. Reading and writing is sys-io.ts, memory files sys-file.ts, the
 * epoll instance epoll.ts, blocking block-wait.ts, the table's type sys-table.ts.
 *
 * Differences from Linux: an epoll instance belongs to the thread that made it; a shutdown or close
 * takes effect in the order of this thread's calls, but is carried out by the stack thread a moment
 * later.
 */
import {
  EAFNOSUPPORT,
  EAGAIN,
  EBADF,
  EINPROGRESS,
  EINVAL,
  EIO,
  ENOTCONN,
  ENOTSOCK,
  ENOTTY,
  EPROTONOSUPPORT,
  ESOCKTNOSUPPORT,
} from '../net/errno.js';
import { ringUnlock, ringUsed } from '../net/ring.js';
import {
  BLOCK_FLAGS,
  BLOCK_HASH,
  BLOCK_LADDR,
  BLOCK_LINGER,
  BLOCK_LPORT,
  BLOCK_OWNER,
  BLOCK_RADDR,
  BLOCK_RCV,
  BLOCK_RCVTIMEO,
  BLOCK_RPORT,
  BLOCK_SND,
  BLOCK_SNDTIMEO,
  BLOCK_SOFT_ERROR,
  BLOCK_STATE,
  FILE_CLOSING,
  KIND_EPOLL,
  KIND_TCP,
} from '../net/sockmem.js';
import { Epoll } from './epoll.js';
import { fillSockaddr, SysContext } from './sys-context.js';
import { createSysFile } from './sys-file.js';
import { createSysIo } from './sys-io.js';
import type { Sockaddr, SockaddrArgument, Sys } from './sys-table.js';
import {
  AF_INET,
  AF_UNSPEC,
  EFD_CLOEXEC,
  EFD_NONBLOCK,
  EFD_SEMAPHORE,
  EPOLL_CLOEXEC,
  EPOLLIN,
  EPOLLOUT,
  F_GETFD,
  F_GETFL,
  F_GETOWN,
  F_SETFD,
  F_SETFL,
  F_SETOWN,
  FIONBIO,
  FIONREAD,
  IPPROTO_IP,
  IPPROTO_TCP,
  O_NONBLOCK,
  O_RDWR,
  SHUT_RDWR,
  SIOCATMARK,
  SIOCOUTQ,
  SIOCOUTQNSD,
  SO_ACCEPTCONN,
  SO_DOMAIN,
  SO_ERROR,
  SO_PROTOCOL,
  SO_TYPE,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  SOCK_NONBLOCK,
  SOCK_RAW,
  SOCK_STREAM,
  SOL_SOCKET,
  SOL_TCP,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_LAST_ACK,
  TCP_LISTEN,
  TCP_SAVED_SYN,
  TCP_SYN_SENT,
} from './uapi/constants.js';
import { fileLock } from './uapi/file-block.js';
import {
  FILE_SHUT_RD,
  FILE_SHUT_WR,
  fileAccept,
  fileInq,
  fileKind,
  fileOutq,
  fileQuiesce,
  fileTakeError,
} from './uapi/file-ops.js';
import { fileAtMark } from './uapi/file-read.js';
import { fileOutqNotSent } from './uapi/file-write.js';
import {
  MAX_THREADS,
  OP_BIND,
  OP_CLOSE,
  OP_CONNECT,
  OP_DISCONNECT,
  OP_EPOLL_CREATE,
  OP_EVENTFD,
  OP_GETSOCKOPT,
  OP_GETSOCKOPT_TEXT,
  OP_LISTEN,
  OP_SETSOCKOPT,
  OP_SETSOCKOPT_TEXT,
  OP_SHUTDOWN,
  OP_SOCKET,
} from './uapi/layout.js';
import type { ThreadPort } from './uapi/thread-port.js';

export type { EpollEvent, PollFd, Sockaddr, SockaddrArgument, Sys } from './sys-table.js';

const SOCK_TYPE_MASK = 0xf;
const SOCK_FLAGS: number = SOCK_NONBLOCK | SOCK_CLOEXEC;
/** States in which close() with SO_LINGER waits: the peer does not have everything, or our FIN. */
const LINGERING: number =
  (1 << TCP_ESTABLISHED) |
  (1 << TCP_CLOSE_WAIT) |
  (1 << TCP_FIN_WAIT1) |
  (1 << TCP_CLOSING) |
  (1 << TCP_LAST_ACK);
const EFD_FLAGS: number = EFD_SEMAPHORE | EFD_NONBLOCK | EFD_CLOEXEC;

/** The system calls of the thread that has `port`. Make one table a thread. */
export function createSys(port: ThreadPort): Sys {
  const context = new SysContext(port);
  return {
    ...createSysIo(context),
    ...createSysFile(context),
    socket: (domain, type, protocol) => socket(context, domain, type, protocol),
    bind(fd, address) {
      const status = mustBeTcp(context, fd) || context.parseAddress(address);
      return status || port.call(OP_BIND, fd, context.address, context.portNumber);
    },
    listen: (fd, backlog) => mustBeTcp(context, fd) || port.call(OP_LISTEN, fd, backlog),
    accept4: (fd, flags, out) => accept4(context, fd, flags, out),
    connect: (fd, address) => connect(context, fd, address),
    setsockopt(fd, level, name, value, value2 = 0) {
      const status = mustBeTcp(context, fd);
      if (status < 0) return status;
      return typeof value === 'string'
        ? port.callText(OP_SETSOCKOPT_TEXT, fd, level, name, value)
        : port.call(OP_SETSOCKOPT, fd, level, name, value, value2);
    },
    getsockopt: (fd, level, name, out) => getsockopt(context, fd, level, name, out),
    getsockname(fd, out) {
      const status = mustBeTcp(context, fd);
      if (status === 0) fillFrom(context, fd, out, BLOCK_LADDR, BLOCK_LPORT);
      return status;
    },
    getpeername: (fd, out) => getpeername(context, fd, out),
    shutdown: (fd, how) => shutdown(context, fd, how),
    close: (fd) => close(context, fd),
    epoll_create1(flags) {
      if ((flags & ~EPOLL_CLOEXEC) !== 0) return -EINVAL;
      const fd = port.call(OP_EPOLL_CREATE, 0);
      if (fd < 0) return fd;
      const index = port.ctl[context.mem.blockAt(fd) + BLOCK_HASH]!;
      context.epolls.set(fd, new Epoll(port, index));
      return fd;
    },
    epoll_ctl(epfd, op, fd, event) {
      const epoll = context.epolls.get(epfd);
      if (epoll === undefined) return notAnEpoll(context, epfd);
      return epfd === fd ? -EINVAL : epoll.ctl(op, fd, event);
    },
    epoll_wait(epfd, events, maxevents, timeoutMs) {
      const epoll = context.epolls.get(epfd);
      if (epoll === undefined) return notAnEpoll(context, epfd);
      return epoll.wait(events, maxevents, timeoutMs);
    },
    poll: (fds, timeoutMs) => context.blocking.poll(fds, timeoutMs),
    fcntl: (fd, cmd, arg = 0) => fcntl(context, fd, cmd, arg),
    ioctl: (fd, request, out) => ioctl(context, fd, request, out),
    eventfd(initval, flags) {
      if ((flags & ~EFD_FLAGS) !== 0) return -EINVAL;
      return port.call(OP_EVENTFD, 0, initval | 0, flags);
    },
  };
}

/** 0, -EBADF or -ENOTSOCK. */
function mustBeTcp(context: SysContext, fd: number): number {
  const kind = fileKind(context.mem, fd);
  if (kind < 0) return kind;
  return kind === KIND_TCP ? 0 : -ENOTSOCK;
}

/** Not one of this thread's instances: closed, no epoll instance at all, or another thread's. */
function notAnEpoll(context: SysContext, fd: number): number {
  return fileKind(context.mem, fd) < 0 ? -EBADF : -EINVAL;
}

/** Linux: __sys_socket, inet_create. */
function socket(context: SysContext, domain: number, type: number, protocol: number): number {
  const flags = type & ~SOCK_TYPE_MASK;
  if ((flags & ~SOCK_FLAGS) !== 0) return -EINVAL;
  if (domain !== AF_INET) return -EAFNOSUPPORT;
  const kind = type & SOCK_TYPE_MASK;
  if (kind === SOCK_DGRAM || kind === SOCK_RAW) return -EPROTONOSUPPORT;
  if (kind !== SOCK_STREAM) return -ESOCKTNOSUPPORT;
  if (protocol !== IPPROTO_IP && protocol !== IPPROTO_TCP) return -EPROTONOSUPPORT;
  // sock_i_uid: the owner of the inode, which is the effective user.
  const uid = process.geteuid?.() ?? 0;
  const fd = context.port.call(OP_SOCKET, 0, uid);
  if (fd >= 0 && (flags & SOCK_NONBLOCK) !== 0) setNonblocking(context, fd, true);
  return fd;
}

/** Linux: inet_csk_accept behind __sys_accept4. */
function accept4(context: SysContext, fd: number, flags: number, out?: Sockaddr): number {
  if ((flags & ~SOCK_FLAGS) !== 0) return -EINVAL;
  const { mem, port } = context;
  let endMs = 0;
  for (;;) {
    const child = fileAccept(mem, fd, port.holder, flags & SOCK_NONBLOCK);
    if (child >= 0) {
      if (out !== undefined) fillFrom(context, child, out, BLOCK_RADDR, BLOCK_RPORT);
      return child;
    }
    if (child !== -EAGAIN) return child;
    if (!port.alive) return -EIO;
    if (context.isNonblocking(fd)) return child;
    if (endMs === 0) endMs = context.endOf(fd, BLOCK_RCVTIMEO);
    const status = context.blocking.wait(fd, EPOLLIN, endMs);
    if (status <= 0) return status || -EAGAIN;
  }
}

/** Linux: __inet_stream_connect. */
function connect(context: SysContext, fd: number, address: SockaddrArgument): number {
  const kind = mustBeTcp(context, fd);
  if (kind < 0) return kind;
  if (address?.family === AF_UNSPEC) return disconnect(context, fd);
  const status = context.parseAddress(address);
  if (status < 0) return status;
  const { port } = context;
  const result = port.call(OP_CONNECT, fd, context.address, context.portNumber);
  if (result !== -EINPROGRESS || context.isNonblocking(fd)) return result;
  const ready = context.blocking.wait(fd, EPOLLOUT, context.endOf(fd, BLOCK_SNDTIMEO));
  if (ready <= 0) return ready || -EINPROGRESS;
  // The second call tells how it ended, and takes note that it was told.
  return port.call(OP_CONNECT, fd, context.address, context.portNumber);
}

/**
 * connect() to AF_UNSPEC (Linux: tcp_disconnect). Nobody may be copying while the stack empties the
 * rings, so this thread holds their locks.
 */
function disconnect(context: SysContext, fd: number): number {
  const { mem, port } = context;
  const at = mem.blockAt(fd);
  const rings = [at + BLOCK_RCV, at + BLOCK_SND];
  const locked = rings.filter((ring) => fileLock(mem.ctl, ring, port.holder));
  const result = port.call(OP_DISCONNECT, fd);
  if (result === 0) Atomics.and(mem.ctl, at + BLOCK_FLAGS, ~(FILE_SHUT_RD | FILE_SHUT_WR));
  for (const ring of locked) ringUnlock(mem.ctl, ring);
  return result;
}

function getsockopt(
  context: SysContext,
  fd: number,
  level: number,
  name: number,
  out?: Int32Array | Uint8Array,
): number {
  const status = mustBeTcp(context, fd);
  if (status < 0) return status;
  const { port } = context;
  if (out instanceof Uint8Array) {
    if (level === SOL_TCP && name === TCP_SAVED_SYN) return savedSyn(context, fd, out);
    return port.answerText(OP_GETSOCKOPT_TEXT, fd, level, name, out);
  }
  const local = level === SOL_SOCKET ? socketFact(context, fd, name) : -1;
  if (local >= 0) {
    if (out === undefined) return local;
    if (out.length === 0) return -EINVAL;
    out[0] = local;
    return 1;
  }
  const words = port.call(OP_GETSOCKOPT, fd, level, name, out === undefined ? 1 : out.length);
  if (words <= 0) return words;
  if (out === undefined) return port.ctl[port.outAt]!;
  const count = Math.min(words, out.length);
  for (let i = 0; i < count; i++) out[i] = port.ctl[port.outAt + i]!;
  return count;
}

/** TCP_SAVED_SYN is bytes: how many. */
function savedSyn(context: SysContext, fd: number, out: Uint8Array): number {
  const words = new Int32Array(out.length >> 2);
  const count = getsockopt(context, fd, SOL_TCP, TCP_SAVED_SYN, words);
  if (count > 0) out.set(new Uint8Array(words.buffer, 0, count * 4));
  return count * (count > 0 ? 4 : 1);
}

/** Options of SOL_SOCKET that can be read off the block; -1 = ask the stack. */
function socketFact(context: SysContext, fd: number, name: number): number {
  const at = context.mem.blockAt(fd);
  switch (name) {
    case SO_ERROR:
      // RFC 9293 MUST-47.
      return fileTakeError(context.mem, at) || takeSoftError(context.mem.ctl, at);
    case SO_TYPE:
      return SOCK_STREAM;
    case SO_DOMAIN:
      return AF_INET;
    case SO_PROTOCOL:
      return IPPROTO_TCP;
    case SO_ACCEPTCONN:
      return context.mem.ctl[at + BLOCK_STATE] === TCP_LISTEN ? 1 : 0;
    default:
      return -1;
  }
}

function takeSoftError(ctl: Int32Array, at: number): number {
  if (Atomics.load(ctl, at + BLOCK_SOFT_ERROR) === 0) return 0;
  return Atomics.exchange(ctl, at + BLOCK_SOFT_ERROR, 0);
}

function fillFrom(
  context: SysContext,
  fd: number,
  out: Sockaddr,
  address: number,
  port: number,
): void {
  const at = context.mem.blockAt(fd);
  fillSockaddr(out, context.mem.ctl[at + address]!, context.mem.ctl[at + port]!);
}

/** Linux: inet_getname with peer. */
function getpeername(context: SysContext, fd: number, out: Sockaddr): number {
  const status = mustBeTcp(context, fd);
  if (status < 0) return status;
  const at = context.mem.blockAt(fd);
  const state = Atomics.load(context.mem.ctl, at + BLOCK_STATE);
  const connected = state !== TCP_CLOSE && state !== TCP_SYN_SENT && state !== TCP_LISTEN;
  if (!connected || context.mem.ctl[at + BLOCK_RPORT] === 0) return -ENOTCONN;
  fillFrom(context, fd, out, BLOCK_RADDR, BLOCK_RPORT);
  return 0;
}

/**
 * Linux: inet_shutdown. On a connection it cannot fail, so the result is not waited for: flags in
 * the block have this and other threads see it at once.
 */
function shutdown(context: SysContext, fd: number, how: number): number {
  const status = mustBeTcp(context, fd);
  if (status < 0) return status;
  if (!(how >= 0 && how <= SHUT_RDWR)) return -EINVAL;
  const { mem, port } = context;
  const at = mem.blockAt(fd);
  const state = Atomics.load(mem.ctl, at + BLOCK_STATE);
  if (state === TCP_CLOSE || state === TCP_LISTEN || state === TCP_SYN_SENT) {
    return port.call(OP_SHUTDOWN, fd, how);
  }
  const bits = ((how + 1) & 1 ? FILE_SHUT_RD : 0) | ((how + 1) & 2 ? FILE_SHUT_WR : 0);
  Atomics.or(mem.ctl, at + BLOCK_FLAGS, bits);
  fileQuiesce(mem, fd, port.holder);
  return port.post(OP_SHUTDOWN, fd, how) ? 0 : -EIO;
}

/**
 * Linux: filp_close. The first of several threads that close the same file wins; the others get
 * -EBADF.
 */
function close(context: SysContext, fd: number): number {
  const { mem, port } = context;
  const kind = fileKind(mem, fd);
  if (kind < 0) return kind;
  if (kind === KIND_TCP && lingers(context, fd)) return lingerClose(context, fd);
  const flags = Atomics.or(mem.ctl, mem.blockAt(fd) + BLOCK_FLAGS, FILE_CLOSING);
  if ((flags & FILE_CLOSING) !== 0) return -EBADF;
  forget(context, fd);
  if (kind === KIND_EPOLL) context.epolls.delete(fd);
  else if (kind === KIND_TCP) fileQuiesce(mem, fd, port.holder);
  return port.post(OP_CLOSE, fd) ? 0 : -EIO;
}

function forget(context: SysContext, fd: number): void {
  for (const epoll of context.epolls.values()) epoll.forget(fd);
  context.blocking.forget(fd);
}

/**
 * Is there something to wait for (O_NONBLOCK or not, as in Linux)? What has not been read means a
 * RST, which waits for nobody.
 */
function lingers(context: SysContext, fd: number): boolean {
  const { mem } = context;
  const at = mem.blockAt(fd);
  if (Atomics.load(mem.ctl, at + BLOCK_LINGER) <= 0) return false;
  const state = Atomics.load(mem.ctl, at + BLOCK_STATE);
  return ((LINGERING >>> state) & 1) === 1 && ringUsed(mem.ctl, at + BLOCK_RCV) <= 0;
}

/**
 * Linux: sk_stream_wait_close. The connection closes in both directions first, and the descriptor
 * when the peer has everything or the time is over.
 */
function lingerClose(context: SysContext, fd: number): number {
  const { mem, port, blocking } = context;
  const at = mem.blockAt(fd);
  const endMs = blocking.endOf(Atomics.load(mem.ctl, at + BLOCK_LINGER) * 1000);
  let lost = false;
  blocking.linger(fd, LINGERING, endMs, () => {
    const flags = Atomics.or(mem.ctl, at + BLOCK_FLAGS, FILE_CLOSING);
    lost = (flags & FILE_CLOSING) !== 0;
    if (lost) return;
    fileQuiesce(mem, fd, port.holder);
    port.post(OP_SHUTDOWN, fd, SHUT_RDWR);
  });
  if (lost) return -EBADF;
  forget(context, fd);
  return port.post(OP_CLOSE, fd) ? 0 : -EIO;
}

function setNonblocking(context: SysContext, fd: number, on: boolean): void {
  const word = context.mem.blockAt(fd) + BLOCK_FLAGS;
  if (on) Atomics.or(context.mem.ctl, word, O_NONBLOCK);
  else Atomics.and(context.mem.ctl, word, ~O_NONBLOCK);
}

function fcntl(context: SysContext, fd: number, cmd: number, arg: number): number {
  const { mem, port } = context;
  const kind = fileKind(mem, fd);
  if (kind < 0) return kind;
  const at = mem.blockAt(fd);
  switch (cmd) {
    case F_GETFL:
      return O_RDWR | (Atomics.load(mem.ctl, at + BLOCK_FLAGS) & O_NONBLOCK);
    case F_SETFL:
      setNonblocking(context, fd, (arg & O_NONBLOCK) !== 0);
      return 0;
    case F_GETFD:
    case F_SETFD:
      return 0;
    case F_GETOWN:
      return Atomics.load(mem.ctl, at + BLOCK_OWNER);
    case F_SETOWN:
      if (!(arg >= 0 && arg <= MAX_THREADS)) return -EINVAL;
      Atomics.store(mem.ctl, at + BLOCK_OWNER, arg === 0 ? port.holder : arg);
      return 0;
    default:
      return -EINVAL;
  }
}

function ioctl(context: SysContext, fd: number, request: number, out: Int32Array): number {
  const kind = fileKind(context.mem, fd);
  if (kind < 0) return kind;
  if (request === FIONBIO) {
    setNonblocking(context, fd, out[0] !== 0);
    return 0;
  }
  if (kind !== KIND_TCP) return -ENOTTY;
  const count = queueLength(context, fd, request);
  if (count < 0) return count;
  out[0] = count;
  return 0;
}

/** Linux: tcp_ioctl. */
function queueLength(context: SysContext, fd: number, request: number): number {
  const { mem } = context;
  switch (request) {
    case FIONREAD:
      return fileInq(mem, fd);
    case SIOCOUTQ:
      return fileOutq(mem, fd);
    case SIOCOUTQNSD:
      return fileOutqNotSent(mem, fd);
    case SIOCATMARK:
      return fileAtMark(mem, fd) ? 1 : 0;
    default:
      return -ENOTTY;
  }
}
