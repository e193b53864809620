/**
 * The seam between the event loop of a worker (server-loop.ts) and what speaks on its descriptors:
 * HTTP, echo, discard, chargen, listeners.
 */
import type { Sys } from '../../socket/sys-table.js';

/** The system calls that a worker makes. */
export type ServerSys = Pick<
  Sys,
  | 'socket'
  | 'bind'
  | 'listen'
  | 'accept4'
  | 'read'
  | 'write'
  | 'sendfile'
  | 'close'
  | 'shutdown'
  | 'setsockopt'
  | 'getsockopt'
  | 'fcntl'
  | 'ioctl'
  | 'epoll_create1'
  | 'epoll_ctl'
  | 'epoll_wait'
>;

/** Somebody to whom the events of a descriptor go. */
export interface Handler {
  /** `events` are EPOLL* bits. */
  onEvents(fd: number, events: number): void;
}

/** A handler of connections. */
export interface Protocol extends Handler {
  /** A connection has been accepted; it is registered for reading. */
  opened(fd: number): void;
  /**
   * The worker is leaving: close `fd` now if nothing of it is unfinished, else when it is finished.
   */
  drain(fd: number): void;
  /** `fd` is about to be closed: forget it. */
  closed(fd: number): void;
  /** Time has passed. @returns when to be called again, ms of the same clock, Infinity = never */
  tick(nowMs: number): number;
}

/** What a protocol may do with its connections. */
export interface Connections {
  readonly sys: ServerSys;
  /** Row of WorkerCounters. */
  readonly counters: Float64Array;
  /** Monotonic clock, milliseconds. */
  nowMs(): number;
  /** Waits for `events` on `fd` from now on. */
  interest(fd: number, events: number): void;
  close(fd: number): void;
}
