/**
 * The table of system calls: its type and the records that go in and out. Every call returns a
 * value ≥ 0 or a negated errno and never throws because of what a program passed. sys.ts makes one
 * for a thread; strace.ts wraps one.
 */

/** An IPv4 socket address to pass in: dotted quad, or u32 in host order (0 = any). */
export interface SockaddrArgument {
  address: string | number;
  port: number;
}

/** A socket address as calls fill it in. */
export interface Sockaddr {
  /** AF_INET. */
  family: number;
  /** Dotted quad. */
  address: string;
  port: number;
}

/** struct epoll_event: EPOLL* bits and the caller's own number. */
export interface EpollEvent {
  events: number;
  data: number;
}

/** struct pollfd; `revents` is filled in. A negative fd is skipped. */
export interface PollFd {
  fd: number;
  events: number;
  revents: number;
}

export interface Sys {
  /**
   * A new descriptor. Only AF_INET, SOCK_STREAM (with SOCK_NONBLOCK and SOCK_CLOEXEC) and
   * IPPROTO_TCP or 0.
   */
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: SockaddrArgument): number;
  listen(fd: number, backlog: number): number;
  /** Takes an established connection; `out` gets the peer's address. Blocks unless O_NONBLOCK. */
  accept4(fd: number, flags: number, out?: Sockaddr): number;
  /** Blocks until connected or refused; -EINPROGRESS with O_NONBLOCK. */
  connect(fd: number, address: SockaddrArgument): number;
  /** `value2` is the second int of structures: SO_LINGER takes (l_onoff, l_linger). */
  setsockopt(fd: number, level: number, name: number, value: number, value2?: number): number;
  /**
   * With `out`: fills in the option's int words, returns how many. Without: returns the first word,
   * which suits options that cannot be negative.
   */
  getsockopt(fd: number, level: number, name: number, out?: Int32Array): number;
  getsockname(fd: number, out: Sockaddr): number;
  getpeername(fd: number, out: Sockaddr): number;
  shutdown(fd: number, how: number): number;
  close(fd: number): number;
  /** Bytes read, 0 at the end of the stream. Without `length`: to the end of `buffer`. */
  read(fd: number, buffer: Uint8Array, offset?: number, length?: number): number;
  /** Bytes queued; all of them when the socket blocks. */
  write(fd: number, buffer: Uint8Array, offset?: number, length?: number): number;
  readv(fd: number, buffers: readonly Uint8Array[]): number;
  writev(fd: number, buffers: readonly Uint8Array[]): number;
  /** MSG_DONTWAIT and MSG_NOSIGNAL; others -EOPNOTSUPP. TCP ignores `address`. */
  sendto(fd: number, buffer: Uint8Array, flags: number, address?: SockaddrArgument): number;
  /** MSG_PEEK, MSG_DONTWAIT and MSG_NOSIGNAL; others -EOPNOTSUPP. TCP leaves `out` alone. */
  recvfrom(fd: number, buffer: Uint8Array, flags: number, out?: Sockaddr): number;
  /** The instance belongs to the calling thread. */
  epoll_create1(flags: number): number;
  epoll_ctl(epfd: number, op: number, fd: number, event?: EpollEvent | null): number;
  /** Fills the objects of `events` (making those that are missing); -1 ms = for ever. */
  epoll_wait(epfd: number, events: EpollEvent[], maxevents: number, timeoutMs: number): number;
  poll(fds: PollFd[], timeoutMs: number): number;
  /**
   * F_GETFL, F_SETFL (O_NONBLOCK), F_GETFD, F_SETFD, F_GETOWN, F_SETOWN (the file dies with the
   * calling thread).
   */
  fcntl(fd: number, cmd: number, arg?: number): number;
  /** FIONREAD and SIOCOUTQ write out[0]; FIONBIO reads it. */
  ioctl(fd: number, request: number, out: Int32Array): number;
  /** A counter to read and write 8 bytes at a time (eventfd2). EFD_SEMAPHORE, EFD_NONBLOCK. */
  eventfd(initval: number, flags: number): number;
}
