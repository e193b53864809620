/**
 * The system calls of a script on the stack under test. Every descriptor is non-blocking
 * underneath; a call that would block says so and is tried again after each step of the stack.
 * Buffers are zeros. What a script expects of the result is interpreter.ts.
 */
import * as errnos from '../net/errno.js';
import type { EpollEvent, PollFd } from '../socket/sys.js';
import {
  AF_INET,
  AF_UNSPEC,
  EPOLLERR,
  EPOLLHUP,
  EPOLLOUT,
  F_GETFL,
  F_SETFL,
  FIONREAD,
  IPPROTO_TCP,
  O_NONBLOCK,
  O_RDWR,
  SHUT_RDWR,
  SO_LINGER,
  SO_RCVTIMEO,
  SO_SNDTIMEO,
  SOCK_NONBLOCK,
  SOL_SOCKET,
  TCP_CLOSING,
  TCP_FIN_WAIT1,
  TCP_INFO,
  TCP_LAST_ACK,
} from '../socket/uapi/constants.js';
import { type Arguments, Fields } from './arguments.js';
import {
  readCall,
  readvCall,
  recvmsgCall,
  sendmsgCall,
  timeoutEnd,
  writeCall,
  writevCall,
} from './message-calls.js';
import { type Made, type Operation, PENDING, simple } from './operation.js';
import { getsockopt, setsockopt } from './option-calls.js';
import { UnsupportedError } from './script.js';
import type { ScriptCalls } from './script-world.js';

export { type Operation, PENDING } from './operation.js';

const { EAGAIN, EINPROGRESS } = errnos;

/** Told to whoever keeps the connections. */
export interface CallEvents {
  socketMade(fd: number): void;
  listening(fd: number): void;
  connecting(fd: number, to: { address: string; port: number }): void;
  /** Where connect() goes: addresses of scripts are always `...`. */
  readonly connectTo: { address: string; port: number };
  readonly bindTo: { address: string; port: number };
  /** µs, virtual. */
  nowUs(): number;
}

export class SystemCalls {
  private readonly sys: ScriptCalls;
  private readonly events: CallEvents;
  /** Live descriptor by the script's number. */
  private readonly fds = new Map<number, number>();
  /** Live descriptors that the script has made non-blocking. */
  private readonly nonblocking = new Set<number>();

  constructor(sys: ScriptCalls, events: CallEvents) {
    this.sys = sys;
    this.events = events;
  }

  /** Descriptors that are open, live. */
  get open(): number[] {
    return [...this.fds.values()];
  }

  /** The descriptor `live` is what the script calls `script`. */
  name(script: number, live: number): void {
    this.fds.set(script, live);
  }

  live(script: number): number {
    // A number that was never handed out must give EBADF.
    return this.fds.get(script) ?? (script < 0 ? script : 0x7fff_fff0);
  }

  /** Does `live` block, as the script sees it? */
  blocks(live: number): boolean {
    return !this.nonblocking.has(live);
  }

  /** Prepares a call. Throws ScriptError and UnsupportedError. */
  prepare(args: Arguments): Operation {
    const make = CALLS[args.call];
    if (make === undefined) throw new UnsupportedError(args.line, `the system call ${args.call}`);
    const made = make(this, args);
    const { makesFd = false, deadlineUs = Number.POSITIVE_INFINITY, check = () => null } = made;
    return { attempt: made.attempt, makesFd, deadlineUs, check };
  }

  get table(): ScriptCalls {
    return this.sys;
  }

  get told(): CallEvents {
    return this.events;
  }

  /** Takes a new descriptor over: non-blocking underneath. */
  adopt(live: number, nonblocking: boolean): void {
    this.sys.fcntl(live, F_SETFL, O_NONBLOCK);
    if (nonblocking) this.nonblocking.add(live);
    else this.nonblocking.delete(live);
  }

  setNonblocking(live: number, on: boolean): void {
    if (on) this.nonblocking.add(live);
    else this.nonblocking.delete(live);
  }
}

type Maker = (calls: SystemCalls, args: Arguments) => Made;

function socket(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(3);
  const domain = args.isEllipsis(0) ? AF_INET : args.number(0);
  const type = args.number(1);
  const protocol = args.number(2);
  return {
    makesFd: true,
    attempt() {
      const fd = calls.table.socket(domain, type, protocol);
      if (fd >= 0) {
        calls.adopt(fd, (type & SOCK_NONBLOCK) !== 0);
        calls.told.socketMade(fd);
      }
      return fd;
    },
  };
}

function bind(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(3);
  const fd = calls.live(args.number(0));
  const to = args.address(1, calls.told.bindTo);
  return simple(() => calls.table.bind(fd, to));
}

function listen(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(2);
  const fd = calls.live(args.number(0));
  const backlog = args.number(1);
  return simple(() => {
    const result = calls.table.listen(fd, backlog);
    if (result === 0) calls.told.listening(fd);
    return result;
  });
}

function accept(calls: SystemCalls, args: Arguments): Made {
  if (args.call === 'accept4') args.mustBe(4);
  else args.mustBe(1, 3);
  const fd = calls.live(args.number(0));
  const flags = args.call === 'accept4' ? args.number(3) : 0;
  const endUs = calls.blocks(fd) ? timeoutEnd(calls, fd, SO_RCVTIMEO) : 0;
  return {
    makesFd: true,
    deadlineUs: endUs > 0 ? endUs : Number.POSITIVE_INFINITY,
    attempt() {
      const child = calls.table.accept4(fd, flags);
      if (child >= 0) calls.adopt(child, (flags & SOCK_NONBLOCK) !== 0);
      if (child === -EAGAIN && calls.told.nowUs() < endUs) return PENDING;
      return child;
    },
  };
}

function connect(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(3);
  const fd = calls.live(args.number(0));
  if (args.isUnspecified(1)) {
    const address = { family: AF_UNSPEC, address: 0, port: 0 };
    return simple(() => calls.table.connect(fd, address));
  }
  const to = args.address(1, calls.told.connectTo);
  const endUs = calls.blocks(fd) ? timeoutEnd(calls, fd, SO_SNDTIMEO) : 0;
  let started = false;
  const attempt = (): number => {
    if (!started) {
      started = true;
      const result = calls.table.connect(fd, to);
      if (result === -EINPROGRESS || result === 0) calls.told.connecting(fd, to);
      if (result !== -EINPROGRESS || !calls.blocks(fd)) return result;
    }
    const entry: PollFd = { fd, events: EPOLLOUT, revents: 0 };
    calls.table.poll([entry], 0);
    if ((entry.revents & (EPOLLOUT | EPOLLERR | EPOLLHUP)) === 0) {
      return calls.told.nowUs() < endUs ? PENDING : -EINPROGRESS;
    }
    // The second call tells how it ended.
    return calls.table.connect(fd, to);
  };
  return { attempt, deadlineUs: endUs > 0 ? endUs : Number.POSITIVE_INFINITY };
}

/** With SO_LINGER a blocking socket waits until the peer has everything (sys.ts: lingerClose). */
function close(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(1);
  const fd = calls.live(args.number(0));
  const linger = new Int32Array(2);
  const lingers =
    calls.blocks(fd) && calls.table.getsockopt(fd, SOL_SOCKET, SO_LINGER, linger) === 2;
  const waits = lingers && linger[0] !== 0 && linger[1]! > 0 && unread(calls, fd) === 0;
  if (!waits) return simple(() => calls.table.close(fd));
  const endUs = calls.told.nowUs() + linger[1]! * 1_000_000;
  let begun = false;
  const attempt = (): number => {
    if (!begun) {
      begun = true;
      calls.table.shutdown(fd, SHUT_RDWR);
      return PENDING;
    }
    const state = calls.table.getsockopt(fd, IPPROTO_TCP, TCP_INFO) & 0xff;
    const closing = state === TCP_FIN_WAIT1 || state === TCP_CLOSING || state === TCP_LAST_ACK;
    if (closing && calls.told.nowUs() < endUs) return PENDING;
    return calls.table.close(fd);
  };
  return { attempt, deadlineUs: endUs };
}

function unread(calls: SystemCalls, fd: number): number {
  const out = new Int32Array(1);
  return calls.table.ioctl(fd, FIONREAD, out) < 0 ? 0 : out[0]!;
}

function poll(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(3);
  const wanted = args.counted(0).map((item) => new Fields(item, args.line, 'poll'));
  const entries = wanted.map(
    (fields): PollFd => ({
      ...{ fd: calls.live(fields.number('fd')), events: fields.number('events'), revents: 0 },
    }),
  );
  const endUs = deadline(calls, args.number(2));
  return {
    deadlineUs: endUs,
    attempt() {
      const count = calls.table.poll(entries, 0);
      return count === 0 && calls.told.nowUs() < endUs ? PENDING : count;
    },
    check() {
      const wrong = entries.findIndex((entry, i) => entry.revents !== wanted[i]!.number('revents'));
      if (wrong < 0) return null;
      const [was, should] = [entries[wrong]!.revents, wanted[wrong]!.number('revents')];
      return `expected revents 0x${should.toString(16)}, got 0x${was.toString(16)}`;
    },
  };
}

/** When a time-out in ms ends, µs; -1 = never. */
function deadline(calls: SystemCalls, timeoutMs: number): number {
  return timeoutMs < 0 ? Number.POSITIVE_INFINITY : calls.told.nowUs() + timeoutMs * 1000;
}

function epollCreate(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(1);
  return { makesFd: true, attempt: () => calls.table.epoll_create1(0) };
}

/** What a script's epoll event carries: of `fd` the live number. */
function epollData(calls: SystemCalls, fields: Fields): number {
  if (fields.has('fd')) return calls.live(fields.number('fd'));
  for (const name of ['u32', 'u64', 'ptr']) if (fields.has(name)) return fields.number(name);
  return 0;
}

function epollControl(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(4);
  const [epfd, op] = [calls.live(args.number(0)), args.number(1)];
  const fd = calls.live(args.number(2));
  const item = args.at(3);
  if (item.kind !== 'struct') return simple(() => calls.table.epoll_ctl(epfd, op, fd, null));
  const fields = args.fields(3);
  const event = { events: fields.number('events'), data: epollData(calls, fields) };
  return simple(() => calls.table.epoll_ctl(epfd, op, fd, event));
}

function epollWait(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(4);
  const epfd = calls.live(args.number(0));
  const wanted = args.fields(1);
  const most = args.number(2);
  const endUs = deadline(calls, args.number(3));
  const events: EpollEvent[] = [];
  return {
    deadlineUs: endUs,
    attempt() {
      const count = calls.table.epoll_wait(epfd, events, most, 0);
      return count === 0 && calls.told.nowUs() < endUs ? PENDING : count;
    },
    check(result) {
      if (result <= 0) return null;
      const first = events[0]!;
      const [bits, data] = [wanted.number('events'), epollData(calls, wanted)];
      if (first.events === bits && first.data === data) return null;
      const form = (is: EpollEvent): string =>
        `events 0x${(is.events >>> 0).toString(16)} of ${is.data}`;
      return `expected ${form({ events: bits, data })}, got ${form(first)}`;
    },
  };
}

function fcntl(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(2, 3);
  const [script, command] = [args.number(0), args.number(1)];
  const fd = calls.live(script);
  if (command === F_GETFL) {
    return simple(() => {
      const flags = calls.table.fcntl(fd, F_GETFL);
      return flags < 0 ? flags : O_RDWR | (calls.blocks(fd) ? 0 : O_NONBLOCK);
    });
  }
  const value = args.number(2);
  return simple(() => {
    if (command !== F_SETFL) return calls.table.fcntl(fd, command, value);
    const result = calls.table.fcntl(fd, F_SETFL, value | O_NONBLOCK);
    if (result >= 0) calls.setNonblocking(fd, (value & O_NONBLOCK) !== 0);
    return result;
  });
}

function ioctl(calls: SystemCalls, args: Arguments): Made {
  args.mustBe(3);
  const [fd, request] = [calls.live(args.number(0)), args.number(1)];
  const wanted = args.boxed(2);
  const out = new Int32Array([wanted]);
  return {
    attempt: () => calls.table.ioctl(fd, request, out),
    check: (result) =>
      result < 0 || out[0] === wanted ? null : `expected the value ${wanted}, got ${out[0]}`,
  };
}

const CALLS: Readonly<Record<string, Maker>> = {
  socket,
  bind,
  listen,
  accept,
  accept4: accept,
  connect,
  read: readCall,
  recv: readCall,
  recvfrom: readCall,
  write: writeCall,
  send: writeCall,
  sendto: writeCall,
  readv: readvCall,
  writev: writevCall,
  recvmsg: recvmsgCall,
  sendmsg: sendmsgCall,
  close,
  shutdown(calls, args) {
    args.mustBe(2);
    const [fd, how] = [calls.live(args.number(0)), args.number(1)];
    return simple(() => calls.table.shutdown(fd, how));
  },
  setsockopt,
  getsockopt,
  poll,
  epoll_create: epollCreate,
  epoll_create1: epollCreate,
  epoll_ctl: epollControl,
  epoll_wait: epollWait,
  fcntl,
  ioctl,
};

/** Is there a call of that name? */
export function isKnownCall(name: string): boolean {
  return name in CALLS;
}

/** `-1 EAGAIN`, or the number. */
export function resultForm(result: number): string {
  return result < 0 ? `-1 ${errnoName(-result)}` : `${result}`;
}

/** ECONNRESET of 104. */
export function errnoName(errno: number): string {
  return Object.entries(errnos).find(([, value]) => value === errno)?.[0] ?? `errno ${errno}`;
}

const SAME_ERRNO: Readonly<Record<string, string>> = {
  EWOULDBLOCK: 'EAGAIN',
  ENOTSUP: 'EOPNOTSUPP',
};

/** Is `result` the failure that `name` stands for? */
export function isErrno(result: number, name: string): boolean {
  return result < 0 && errnoName(-result) === (SAME_ERRNO[name] ?? name);
}
