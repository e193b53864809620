/**
 * The table of system calls: its type and the records that go in and out. Every call returns a
 * value ≥ 0 or a negated errno and never throws because of what a program passed. sys.ts makes one
 * for a thread; strace.ts wraps one.
 */

/** An IPv4 socket address to pass in: dotted quad, or u32 in host order (0 = any). */
export interface SockaddrArgument {
  /** AF_INET by default. AF_UNSPEC takes connect() back. */
  family?: number;
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

/** A control message with one int (struct cmsghdr): TCP_CM_INQ of SOL_TCP is the only one. */
export interface ControlMessage {
  level: number;
  type: number;
  data: number;
}

/** struct msghdr. */
export interface Message {
  /** Filled or written in order. */
  iov: readonly Uint8Array[];
  /** sendmsg with MSG_FASTOPEN: where to connect. */
  name?: SockaddrArgument;
  /** recvmsg puts them here; without it they are lost, and MSG_CTRUNC says so. */
  control?: ControlMessage[];
  /** Filled in by recvmsg: MSG_OOB, MSG_TRUNC, MSG_CTRUNC. */
  flags?: number;
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
  /**
   * Blocks until connected or refused, or for SO_SNDTIMEO; -EINPROGRESS then and with O_NONBLOCK.
   * To a family of AF_UNSPEC: ends what there is, and the socket can be used again.
   */
  connect(fd: number, address: SockaddrArgument): number;
  /**
   * `value` is a text where the option takes one (SO_BINDTODEVICE, SO_ATTACH_REUSEPORT_SELECTOR: a
   * built-in's name or the absolute path of a module), at most 4096 bytes of UTF-8. `value2` is the
   * second int of structures: SO_LINGER takes (l_onoff, l_linger), SO_RCVTIMEO and SO_SNDTIMEO
   * (tv_sec, tv_usec).
   */
  setsockopt(
    fd: number,
    level: number,
    name: number,
    value: number | string,
    value2?: number,
  ): number;
  /**
   * With `out`: fills in the option's int words, or the UTF-8 of an option that is a text when
   * `out` is bytes; returns how many. Without: returns the first word, which suits options that
   * cannot be negative.
   */
  getsockopt(fd: number, level: number, name: number, out?: Int32Array | Uint8Array): number;
  getsockname(fd: number, out: Sockaddr): number;
  getpeername(fd: number, out: Sockaddr): number;
  shutdown(fd: number, how: number): number;
  /** With SO_LINGER it waits that long for the peer to have everything, even with O_NONBLOCK. */
  close(fd: number): number;
  /**
   * Bytes read, 0 at the end of the stream. Without `length`: to the end of `buffer`. Waits for
   * SO_RCVLOWAT bytes, for SO_RCVTIMEO at most.
   */
  read(fd: number, buffer: Uint8Array, offset?: number, length?: number): number;
  /** Bytes queued; all of them when the socket blocks, unless SO_SNDTIMEO ends that. */
  write(fd: number, buffer: Uint8Array, offset?: number, length?: number): number;
  readv(fd: number, buffers: readonly Uint8Array[]): number;
  writev(fd: number, buffers: readonly Uint8Array[]): number;
  /**
   * MSG_DONTWAIT, MSG_NOSIGNAL, MSG_MORE, MSG_OOB, and MSG_FASTOPEN, which connects to `address`
   * (TCP ignores it otherwise); others mean nothing to TCP.
   */
  sendto(fd: number, buffer: Uint8Array, flags: number, address?: SockaddrArgument): number;
  /**
   * MSG_PEEK, MSG_DONTWAIT, MSG_NOSIGNAL, MSG_WAITALL, MSG_TRUNC (bytes are thrown away) and
   * MSG_OOB; MSG_ERRQUEUE: -EAGAIN; others mean nothing to TCP, which also leaves `out` alone.
   */
  recvfrom(fd: number, buffer: Uint8Array, flags: number, out?: Sockaddr): number;
  /** As sendto. Control messages: -EINVAL. */
  sendmsg(fd: number, message: Message, flags: number): number;
  /** As recvfrom. */
  recvmsg(fd: number, message: Message, flags: number): number;
  /** The instance belongs to the calling thread. */
  epoll_create1(flags: number): number;
  epoll_ctl(epfd: number, op: number, fd: number, event?: EpollEvent | null): number;
  /** Fills the objects of `events` (making those that are missing); -1 ms = for ever. */
  epoll_wait(epfd: number, events: EpollEvent[], maxevents: number, timeoutMs: number): number;
  poll(fds: PollFd[], timeoutMs: number): number;
  /**
   * F_GETFL, F_SETFL (O_NONBLOCK), F_GETFD, F_SETFD, F_GETOWN, F_SETOWN (the file dies with that
   * thread: its number + 1, as F_GETOWN says it; 0 = the calling thread).
   */
  fcntl(fd: number, cmd: number, arg?: number): number;
  /** FIONREAD, SIOCOUTQ, SIOCOUTQNSD and SIOCATMARK write out[0]; FIONBIO reads it. */
  ioctl(fd: number, request: number, out: Int32Array): number;
  /**
   * A file in the stack's memory, to be sent from: MFD_CLOEXEC or 0. Its name is for the eye. It
   * has 0 bytes at first, and belongs to the calling thread like all descriptors.
   */
  memfd_create(name: string, flags: number): number;
  /**
   * Bytes that are new read as zeros. The first size decides how much memory the file has, rounded
   * up to a power of two, 16 MiB at most (-EFBIG); more than that later: -ENOSPC.
   */
  ftruncate(fd: number, length: number): number;
  /** Bytes of a memory file at `offset`; how many, 0 at its end. */
  pread(fd: number, buffer: Uint8Array, offset: number): number;
  /** Makes the file longer where it has memory, -ENOSPC where not. */
  pwrite(fd: number, buffer: Uint8Array, offset: number): number;
  /**
   * Queues bytes of a memory file to be sent, without copying them: what is written to the file
   * before they are acknowledged may be sent instead. Returns how many, fewer at the end of the
   * file, and otherwise what write() of as many says.
   */
  sendfile(outFd: number, inFd: number, offset: number, count: number): number;
  /** A counter to read and write 8 bytes at a time (eventfd2). EFD_SEMAPHORE, EFD_NONBLOCK. */
  eventfd(initval: number, flags: number): number;
}
