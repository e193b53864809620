/**
 * What the event-loop sockets need of a thread: these system calls (a part of `Sys`, value or
 * negated errno, see sys.ts) and a doorbell. Declared apart so that `net` can run on anything that
 * answers them.
 */

/** An IPv4 end: dotted address, port in host order. */
export interface SysAddress {
  address: string | number;
  port: number;
}

/** Filled by getsockname and getpeername. */
export interface SysName {
  family: number;
  address: string;
  port: number;
}

export interface SysEvent {
  events: number;
  data: number;
}

export interface NetSys {
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: SysAddress): number;
  listen(fd: number, backlog: number): number;
  accept4(fd: number, flags: number): number;
  connect(fd: number, address: SysAddress): number;
  setsockopt(
    fd: number,
    level: number,
    name: number,
    value: number | string,
    value2?: number,
  ): number;
  getsockopt(fd: number, level: number, name: number, out: Int32Array): number;
  getsockname(fd: number, out: SysName): number;
  getpeername(fd: number, out: SysName): number;
  shutdown(fd: number, how: number): number;
  close(fd: number): number;
  read(fd: number, buffer: Uint8Array, offset: number, length: number): number;
  write(fd: number, buffer: Uint8Array, offset: number, length: number): number;
  epoll_create1(flags: number): number;
  epoll_ctl(epfd: number, op: number, fd: number, event: SysEvent): number;
  epoll_wait(epfd: number, events: SysEvent[], maxevents: number, timeoutMs: number): number;
  fcntl(fd: number, cmd: number, arg: number): number;
}

/** The word that another thread rings when an epoll instance of this thread has become ready. */
export interface Doorbell {
  /**
   * Says "ring me when `epfd` becomes ready"; what became ready before must be looked for after
   * this.
   */
  arm(epfd: number): void;
  /** Says "I am awake and looking": nobody needs to ring. */
  disarm(): void;
  /** After `arm`: a promise of the next ring, or null when it has rung already. */
  ring(): Promise<unknown> | null;
  /** The stack is gone: no call will be answered any more. */
  dead(): boolean;
}
