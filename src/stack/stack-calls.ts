/**
 * The calls of a stack (RFC 9293 3.10.1-6 and Linux's socket calls), by file descriptor. Every call
 * returns a value ≥ 0 or a negated errno and never throws because of what a user passed. Payload
 * does not pass through here: an application copies into and out of the rings of `mem` itself and
 * then says `published` or `consumed`.
 */
import type { NetNs } from '../net/netns.js';
import type { SocketMemory } from '../net/sockmem.js';

/**
 * Told by the stack when a descriptor may have become ready (Linux: sk_data_ready, sk_write_space,
 * sk_state_change).
 */
export interface SocketEvents {
  /** `events` are EPOLL* bits that may newly hold; the block's words were published before. */
  ready(fd: number, events: number): void;
}

export interface StackCalls {
  readonly net: NetNs;
  readonly mem: SocketMemory;
  /** A TCP socket owned by user `uid`; fd or -ENFILE. */
  socket(uid: number): number;
  /** `address` int32 bit pattern, 0 = any; `port` 0 = choose. */
  bind(fd: number, address: number, port: number): number;
  listen(fd: number, backlog: number): number;
  /**
   * -EINPROGRESS when the SYN is on its way; readiness EPOLLOUT (or EPOLLERR) tells the end. 0 =
   * the SYN waits for text (Fast Open). `withText`: MSG_FASTOPEN, which comes next.
   */
  connect(fd: number, address: number, port: number, withText?: boolean): number;
  /** connect() to AF_UNSPEC: the connection is aborted, the socket as bind() left it. 0. */
  disconnect(fd: number): number;
  /** `how`: 0 SHUT_RD, 1 SHUT_WR, 2 SHUT_RDWR. */
  shutdown(fd: number, how: number): number;
  /**
   * The application's close: the descriptor is gone at once, the connection closes as TCP demands.
   */
  close(fd: number): number;
  /** Resets the connection and frees the descriptor (a worker died with it). */
  abort(fd: number): number;
  /**
   * `value2` is the second int of structures: SO_LINGER (l_onoff, l_linger), SO_RCVTIMEO and
   * SO_SNDTIMEO (tv_sec, tv_usec).
   */
  setsockopt(fd: number, level: number, name: number, value: number, value2: number): number;
  /** Options whose value is a text: SO_BINDTODEVICE, TCP_CONGESTION, … */
  setsockoptText(fd: number, level: number, name: number, text: string): number;
  /** The option's value if it is a text, or -errno: SO_BINDTODEVICE ('' = bound to none). */
  getsockoptText(fd: number, level: number, name: number): string | number;
  /** Writes the option's int words to `out`; number of words or -errno. */
  getsockopt(fd: number, level: number, name: number, out: Int32Array): number;
  /**
   * The application wants to send but the send ring has no memory yet: attaches it. 0, -ENOBUFS,
   * -EPIPE, … With `refers` it gets a table for what lies in files, too, if there is memory.
   */
  attachSendRing(fd: number, refers?: boolean): number;
  /** The application has published bytes in the send ring (moved its tail). */
  published(fd: number): void;
  /** The application has consumed bytes of the receive ring past RING_WAKE (moved its head). */
  consumed(fd: number): void;
}
