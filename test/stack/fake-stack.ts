/**
 * A stack without a network, for tests of what lies around a stack: listeners by port, connections
 * that are two rings joined crosswise, no packets, no timers. It keeps the words of the socket
 * blocks as the real one does.
 */
import {
  EADDRINUSE,
  ECONNREFUSED,
  ECONNRESET,
  EINVAL,
  ENOBUFS,
  ENOPROTOOPT,
  ENOTCONN,
  EPIPE,
} from '../../src/net/errno.js';
import type { NetNs } from '../../src/net/netns.js';
import {
  RING_CAPACITY,
  RING_HEAD,
  RING_LIMIT,
  RING_PAGE,
  RING_TAIL,
  RING_WAKE,
  ringDue,
  ringPlace,
  ringReset,
  ringTryLock,
  ringUnlock,
  ringUsed,
  STACK_LOCK,
  WAKE_NEVER_DISTANCE,
} from '../../src/net/ring.js';
import {
  BLOCK_ERROR,
  BLOCK_EVENTS,
  BLOCK_LADDR,
  BLOCK_LISTENER,
  BLOCK_LPORT,
  BLOCK_OPTIONS,
  BLOCK_RADDR,
  BLOCK_RCV,
  BLOCK_RPORT,
  BLOCK_SND,
  BLOCK_STATE,
  KIND_TCP,
  SHUT_RD_KEPT,
  type SocketMemory,
} from '../../src/net/sockmem.js';
import {
  EPOLLERR,
  EPOLLHUP,
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_LISTEN,
  TCP_SYN_SENT,
} from '../../src/socket/uapi/constants.js';
import type { SocketEvents, StackCalls } from '../../src/stack/stack-calls.js';

export const STACK_ADDRESS: number = (198 << 24) | (18 << 16) | 1;
/** Connecting to this port stays in SYN-SENT; `establish` ends it. */
export const SLOW_PORT = 9999;

interface FakeSock {
  fd: number;
  port: number;
  backlog: number;
  peer: FakeSock | null;
  finSent: boolean;
  /** The FIN, and the end of a closed socket, wait for the bytes before them. */
  finWaits: boolean;
  closed: boolean;
  options: Map<number, number>;
}

export class FakeStack implements StackCalls {
  /** Owner of the socket made last. */
  lastUid = -1;
  /** What setsockoptText was given, by `fd:name`. */
  readonly texts: Map<string, string> = new Map();
  readonly net: NetNs = null as unknown as NetNs;
  readonly mem: SocketMemory;
  readonly ringBytes: number;
  /** Descriptors whose bytes were announced and consumed; in order. */
  readonly log: string[] = [];
  private readonly events: SocketEvents;
  private readonly socks = new Map<number, FakeSock>();
  private nextPort = 50000;

  constructor(mem: SocketMemory, events: SocketEvents, ringBytes = 4096) {
    this.mem = mem;
    this.events = events;
    this.ringBytes = ringBytes;
  }

  get open(): number {
    return this.socks.size;
  }

  socket(uid: number): number {
    this.lastUid = uid;
    const fd = this.mem.allocFd(KIND_TCP);
    if (fd < 0) return fd;
    this.socks.set(fd, {
      fd,
      port: 0,
      backlog: 0,
      peer: null,
      finSent: false,
      finWaits: false,
      closed: false,
      options: new Map(),
    });
    this.state(fd, TCP_CLOSE, EPOLLOUT | EPOLLHUP);
    return fd;
  }

  private at(fd: number): number {
    return this.mem.blockAt(fd);
  }

  private state(fd: number, state: number, events: number): void {
    Atomics.store(this.mem.ctl, this.at(fd) + BLOCK_STATE, state);
    Atomics.store(this.mem.ctl, this.at(fd) + BLOCK_EVENTS, events);
  }

  private stateOf(fd: number): number {
    return this.mem.ctl[this.at(fd) + BLOCK_STATE]!;
  }

  bind(fd: number, address: number, port: number): number {
    const sock = this.socks.get(fd)!;
    const chosen = port === 0 ? this.nextPort++ : port;
    sock.port = chosen;
    this.mem.ctl[this.at(fd) + BLOCK_LADDR] = address;
    this.mem.ctl[this.at(fd) + BLOCK_LPORT] = chosen;
    return 0;
  }

  listen(fd: number, backlog: number): number {
    const sock = this.socks.get(fd)!;
    for (const other of this.socks.values()) {
      const taken = other !== sock && other.port === sock.port;
      if (taken && this.stateOf(other.fd) === TCP_LISTEN) return -EADDRINUSE;
    }
    sock.backlog = backlog;
    this.attach(fd, BLOCK_RCV);
    this.mem.ctl[this.at(fd) + BLOCK_RCV + RING_LIMIT] = backlog;
    ringReset(this.mem.ctl, this.at(fd) + BLOCK_RCV, 0);
    this.state(fd, TCP_LISTEN, 0);
    return 0;
  }

  private attach(fd: number, which: number): boolean {
    const ring = this.at(fd) + which;
    const { ctl } = this.mem;
    if (ctl[ring + RING_PAGE] !== 0) return true;
    const page = this.mem.allocRing(this.ringBytes);
    if (page === 0) return false;
    ctl[ring + RING_CAPACITY] = this.ringBytes;
    ctl[ring + RING_LIMIT] = this.ringBytes;
    Atomics.store(ctl, ring + RING_PAGE, page);
    return true;
  }

  connect(fd: number, address: number, port: number): number {
    const sock = this.socks.get(fd)!;
    const { ctl } = this.mem;
    // The second call tells how the first ended.
    const error = Atomics.exchange(ctl, this.at(fd) + BLOCK_ERROR, 0);
    if (error !== 0) return -error;
    if (this.stateOf(fd) === TCP_ESTABLISHED) return 0;
    if (this.stateOf(fd) !== TCP_CLOSE) return -EINVAL;
    if (sock.port === 0) this.bind(fd, STACK_ADDRESS, 0);
    ctl[this.at(fd) + BLOCK_RADDR] = address;
    ctl[this.at(fd) + BLOCK_RPORT] = port;
    this.state(fd, TCP_SYN_SENT, 0);
    if (port !== SLOW_PORT) this.establish(fd);
    return -115;
  }

  /** Ends a connect: to the listener with its port, or refused. */
  establish(fd: number, port: number = this.mem.ctl[this.at(fd) + BLOCK_RPORT]!): void {
    let listener: FakeSock | null = null;
    for (const other of this.socks.values()) {
      if (other.port === port && this.stateOf(other.fd) === TCP_LISTEN) listener = other;
    }
    if (listener === null) {
      this.fail(fd, ECONNREFUSED);
      return;
    }
    const child = this.socket(0);
    const { ctl, words } = this.mem;
    const at = this.at(child);
    ctl[at + BLOCK_LADDR] = ctl[this.at(fd) + BLOCK_RADDR]!;
    ctl[at + BLOCK_LPORT] = port;
    ctl[at + BLOCK_RADDR] = ctl[this.at(fd) + BLOCK_LADDR]!;
    ctl[at + BLOCK_RPORT] = ctl[this.at(fd) + BLOCK_LPORT]!;
    ctl[at + BLOCK_LISTENER] = listener.fd;
    this.socks.get(fd)!.peer = this.socks.get(child)!;
    this.socks.get(child)!.peer = this.socks.get(fd)!;
    // Sequence numbers shortly before they wrap.
    for (const one of [fd, child]) {
      ringReset(ctl, this.at(one) + BLOCK_RCV, 0x7fffff00);
      ringReset(ctl, this.at(one) + BLOCK_SND, 0x7fffff00);
      this.state(one, TCP_ESTABLISHED, EPOLLOUT);
    }
    const ring = this.at(listener.fd) + BLOCK_RCV;
    const tail = ctl[ring + RING_TAIL]!;
    words[ctl[ring + RING_PAGE]! * 1024 + (tail & (this.ringBytes / 4 - 1))] = child;
    Atomics.store(ctl, ring + RING_TAIL, (tail + 1) | 0);
    this.events.ready(fd, EPOLLOUT);
    this.events.ready(listener.fd, EPOLLIN);
  }

  private fail(fd: number, errno: number): void {
    Atomics.store(this.mem.ctl, this.at(fd) + BLOCK_ERROR, errno);
    this.state(fd, TCP_CLOSE, EPOLLHUP | EPOLLERR | EPOLLRDHUP);
    this.events.ready(fd, EPOLLERR | EPOLLHUP | EPOLLIN | EPOLLOUT);
  }

  disconnect(fd: number): number {
    this.state(fd, TCP_CLOSE, EPOLLHUP);
    return 0;
  }

  shutdown(fd: number, how: number): number {
    const state = this.stateOf(fd);
    if (state === TCP_CLOSE) return -ENOTCONN;
    Atomics.or(this.mem.ctl, this.at(fd) + BLOCK_OPTIONS, (how + 1) * SHUT_RD_KEPT);
    if (((how + 1) & 2) !== 0) this.sendFin(this.socks.get(fd)!);
    return 0;
  }

  private sendFin(sock: FakeSock): void {
    this.published(sock.fd);
    if (sock.finSent || sock.peer === null) return;
    const left = ringUsed(this.mem.ctl, this.at(sock.fd) + BLOCK_SND);
    if (left > 0) {
      // The rest follows as the peer reads.
      sock.finWaits = true;
      return;
    }
    sock.finSent = true;
    const { peer } = sock;
    if (peer.finSent) this.state(sock.fd, TCP_CLOSE, EPOLLRDHUP | EPOLLHUP);
    else this.state(sock.fd, TCP_FIN_WAIT1, 0);
    const events = EPOLLRDHUP | (peer.finSent ? EPOLLHUP : EPOLLOUT);
    this.state(peer.fd, peer.finSent ? TCP_CLOSE : TCP_CLOSE_WAIT, events);
    this.events.ready(peer.fd, EPOLLIN | EPOLLRDHUP);
  }

  close(fd: number): number {
    const sock = this.socks.get(fd)!;
    if (this.stateOf(fd) === TCP_LISTEN) this.dropQueue(fd);
    else if (this.stateOf(fd) === TCP_ESTABLISHED || this.stateOf(fd) === TCP_CLOSE_WAIT) {
      this.sendFin(sock);
    }
    sock.closed = true;
    return sock.finWaits ? 0 : this.release(sock);
  }

  abort(fd: number): number {
    const sock = this.socks.get(fd)!;
    const { peer } = sock;
    if (peer !== null) this.fail(peer.fd, ECONNRESET);
    return this.release(sock);
  }

  private dropQueue(fd: number): void {
    const ring = this.at(fd) + BLOCK_RCV;
    const { ctl, words } = this.mem;
    while (ringUsed(ctl, ring) > 0) {
      const head = ctl[ring + RING_HEAD]!;
      const child = words[ctl[ring + RING_PAGE]! * 1024 + (head & (this.ringBytes / 4 - 1))]!;
      Atomics.store(ctl, ring + RING_HEAD, (head + 1) | 0);
      this.abort(child);
    }
  }

  private release(sock: FakeSock): number {
    if (sock.peer !== null) sock.peer.peer = null;
    for (const which of [BLOCK_RCV, BLOCK_SND]) {
      const ring = this.at(sock.fd) + which;
      const page = this.mem.ctl[ring + RING_PAGE]!;
      if (page === 0) continue;
      while (!ringTryLock(this.mem.ctl, ring, STACK_LOCK));
      this.mem.ctl[ring + RING_PAGE] = 0;
      this.mem.freeRing(page, this.ringBytes);
      ringUnlock(this.mem.ctl, ring);
    }
    this.socks.delete(sock.fd);
    this.mem.freeFd(sock.fd);
    return 0;
  }

  setsockopt(fd: number, level: number, name: number, value: number, value2: number): number {
    if (level !== 1 && level !== 6) return -ENOPROTOOPT;
    this.socks.get(fd)!.options.set(level * 1000 + name, value);
    this.socks.get(fd)!.options.set(level * 1000 + name + 500, value2);
    return 0;
  }

  setsockoptText(fd: number, level: number, name: number, text: string): number {
    if (level !== 1) return -ENOPROTOOPT;
    this.texts.set(`${fd}:${name}`, text);
    return 0;
  }

  getsockoptText(fd: number, level: number, name: number): string | number {
    if (level !== 1) return -ENOPROTOOPT;
    return this.texts.get(`${fd}:${name}`) ?? '';
  }

  getsockopt(fd: number, level: number, name: number, out: Int32Array): number {
    if (level !== 1 && level !== 6) return -ENOPROTOOPT;
    out[0] = this.socks.get(fd)!.options.get(level * 1000 + name) ?? 0;
    out[1] = this.socks.get(fd)!.options.get(level * 1000 + name + 500) ?? 0;
    return 2;
  }

  attachSendRing(fd: number): number {
    if (this.stateOf(fd) !== TCP_ESTABLISHED && this.stateOf(fd) !== TCP_CLOSE_WAIT) return -EPIPE;
    return this.attach(fd, BLOCK_SND) ? 0 : -ENOBUFS;
  }

  published(fd: number): void {
    this.log.push(`published ${fd}`);
    this.move(this.socks.get(fd)!);
  }

  consumed(fd: number): void {
    this.log.push(`consumed ${fd}`);
    const ring = this.at(fd) + BLOCK_RCV;
    Atomics.store(
      this.mem.ctl,
      ring + RING_WAKE,
      (this.mem.ctl[ring + RING_TAIL]! + WAKE_NEVER_DISTANCE) | 0,
    );
    const { peer } = this.socks.get(fd)!;
    if (peer !== null) this.move(peer);
  }

  /** What fits goes from the send ring of `sock` to the receive ring of its peer. */
  private move(sock: FakeSock): void {
    const { ctl, mem } = { ctl: this.mem.ctl, mem: this.mem };
    const { peer } = sock;
    if (peer === null) return;
    const from = this.at(sock.fd) + BLOCK_SND;
    const to = this.at(peer.fd) + BLOCK_RCV;
    let waiting = ringUsed(ctl, from);
    if (waiting === 0 || !this.attach(peer.fd, BLOCK_RCV)) return;
    let moved = 0;
    while (waiting > 0) {
      const head = ctl[from + RING_HEAD]!;
      const at = head & (this.ringBytes - 1);
      const room = this.ringBytes - ringUsed(ctl, to);
      const count = Math.min(waiting, this.ringBytes - at, room);
      if (count === 0) break;
      const tail = ctl[to + RING_TAIL]!;
      ringPlace(mem, to, tail, ctl[from + RING_PAGE]! * 4096 + at, count);
      Atomics.store(ctl, to + RING_TAIL, (tail + count) | 0);
      Atomics.store(ctl, from + RING_HEAD, (head + count) | 0);
      waiting -= count;
      moved += count;
    }
    if (waiting > 0) this.askReader(sock, peer, to);
    if (moved > 0) {
      this.events.ready(peer.fd, EPOLLIN);
      this.tellWriter(sock, from);
    }
    if (waiting > 0 || !sock.finWaits) return;
    sock.finWaits = false;
    this.sendFin(sock);
    if (sock.closed) this.release(sock);
  }

  /** More waits than fits: the reader is to say when half of the ring is free. */
  private askReader(sock: FakeSock, peer: FakeSock, to: number): void {
    const { ctl } = this.mem;
    const wake = (ctl[to + RING_TAIL]! - this.ringBytes / 2) | 0;
    Atomics.store(ctl, to + RING_WAKE, wake);
    if (ringDue(ctl, to, Atomics.load(ctl, to + RING_HEAD)) && peer.peer === sock) {
      Atomics.store(ctl, to + RING_WAKE, (wake + WAKE_NEVER_DISTANCE) | 0);
      this.move(sock);
    }
  }

  private tellWriter(sock: FakeSock, from: number): void {
    const { ctl } = this.mem;
    const head = ctl[from + RING_HEAD]!;
    if (!ringDue(ctl, from, head)) return;
    Atomics.store(ctl, from + RING_WAKE, (head + WAKE_NEVER_DISTANCE) | 0);
    this.events.ready(sock.fd, EPOLLOUT);
  }
}
