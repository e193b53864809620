/**
 * A listening socket with the verbs of Node's own handle: open, bind, listen, close, and
 * `onconnection` for each connection taken. They return 0 or a negated errno; events and exceptions
 * are the business of server.ts.
 */
import { TcpHandle } from './handle.js';
import type { Reactor } from './reactor.js';
import { TcpBase, takeOver } from './tcp-base.js';
import {
  EPOLLET,
  EPOLLEXCLUSIVE,
  EPOLLIN,
  SO_ATTACH_REUSEPORT_SELECTOR,
  SOCK_NONBLOCK,
  SOL_SOCKET,
} from './uapi/constants.js';

const EAGAIN = -11;
const EINTR = -4;
const ECONNABORTED = -103;

const selectorState = new Int32Array(1);

/** One listening socket. */
export class ListenHandle extends TcpBase {
  /** A connection has come, or -errno of accept. */
  onconnection: (status: number, handle: TcpHandle | null) => void = ignore;
  onfail: (status: number) => void = ignore;
  private listening = false;
  /** Several threads accept from this descriptor: it is not ours to close. */
  private shared = false;

  constructor(reactor: Reactor) {
    super('TCPSERVERWRAP', reactor);
  }

  /**
   * Takes over a listening descriptor; with `shared` beside other threads that accept from it too.
   */
  open(fd: number, shared: boolean): number {
    const status = takeOver(this.sys, fd, !shared);
    if (status < 0) return status;
    this.fd = fd;
    this.shared = shared;
    return 0;
  }

  /** @returns 0 or -errno */
  listen(backlog: number): number {
    let status = this.create();
    // A shared descriptor listens already, with the backlog that its owner gave it.
    if (status === 0 && !this.shared) status = this.sys.listen(this.fd, backlog);
    if (status < 0) return status;
    this.readReady = true;
    // Of many threads on one listener one is woken a connection, not all of them.
    status = this.reactor.add(this, EPOLLIN, this.shared ? EPOLLEXCLUSIVE : EPOLLET);
    if (status < 0) return status;
    this.listening = true;
    this.updateLiveness();
    this.schedule();
    return 0;
  }

  /**
   * Gives the group a selector, unless it has, or had, one: '' = leave it as it is. After listen():
   * a selector attached before would found a group that nobody else can join.
   * @returns 0 or -errno
   */
  select(selector: string): number {
    if (selector === '') return 0;
    const known = this.sys.getsockopt(
      this.fd,
      SOL_SOCKET,
      SO_ATTACH_REUSEPORT_SELECTOR,
      selectorState,
    );
    if (known >= 0 && selectorState[0] !== 0) return 0;
    return this.sys.setsockopt(this.fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_SELECTOR, selector);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.updateLiveness();
    if (this.fd < 0) return;
    this.reactor.remove(this);
    if (!this.shared && !this.reactor.gone) this.sys.close(this.fd);
    this.fd = -1;
    setImmediate(() => this.resource.emitDestroy());
  }

  override fail(status: number): void {
    this.onfail(status);
  }

  protected override isActive(): boolean {
    return this.listening;
  }

  protected override hasRequest(): boolean {
    return false;
  }

  override hasStep(): boolean {
    return this.listening && this.readReady;
  }

  override step(): void {
    const fd = this.sys.accept4(this.fd, SOCK_NONBLOCK);
    if (fd >= 0) {
      const handle = new TcpHandle(this.reactor);
      const status = handle.open(fd);
      if (status === 0) this.onconnection(0, handle);
      else this.sys.close(fd);
    } else if (fd === EAGAIN) {
      this.readReady = false;
    } else if (fd !== EINTR && fd !== ECONNABORTED) {
      this.readReady = false;
      this.onconnection(fd, null);
    }
  }
}

function ignore(): void {}
