/**
 * Random programs of socket calls: made from dice, played on any sockets, cut down to the calls
 * that matter when two sides disagree. Every choice that the two sides may make differently is
 * taken away: the range of ephemeral ports is one port, and a reuseport group that listens gets a
 * program that names a member.
 */
import type { Random } from '../../src/net/env.js';
import { ADDRESSES } from './our-sockets.js';
import {
  IP_BIND_ADDRESS_NO_PORT,
  IP_LOCAL_PORT_RANGE,
  IPPROTO_IP,
  IPPROTO_TCP,
  ipv4,
  outcome,
  POLLIN,
  POLLOUT,
  POLLRDHUP,
  SO_ACCEPTCONN,
  SO_BINDTODEVICE,
  SO_ERROR,
  SO_INCOMING_CPU,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOL_SOCKET,
  type SocketAddress,
  type SocketCalls,
} from './socket-calls.js';
import { DEVICE, DEVICE_ADDRESS } from './worlds.js';

const [LOCALHOST = 0, OTHER = 0] = ADDRESSES;
const FOREIGN = ipv4('203.0.113.7');
const ON_DEVICE = ipv4(DEVICE_ADDRESS);
const DEVICES = ['', 'lo', DEVICE, 'none0'];
const USERS = [0, 0, 0, 1000, 1001];
const OPTIONS: Readonly<Record<string, number>> = {
  REUSEADDR: SO_REUSEADDR,
  REUSEPORT: SO_REUSEPORT,
  INCOMING_CPU: SO_INCOMING_CPU,
  ACCEPTCONN: SO_ACCEPTCONN,
  ERROR: SO_ERROR,
};
/** Options that hold nothing up: level, name, values to choose from. */
const SETTINGS: readonly (readonly [level: number, name: number, values: readonly number[]])[] = [
  ...[5, 6, 9, 10, 11, 40, 45, 69, 82].map((name) => [SOL_SOCKET, name, [0, 1]] as const),
  [SOL_SOCKET, 12, [0, 6, 7]],
  [SOL_SOCKET, 18, [0, 1, 3, 5]],
  [SOL_SOCKET, 42, [-1, 0, 1, 4]],
  [SOL_SOCKET, 46, [-1, 0, 50]],
  [SOL_SOCKET, 62, [-1, 0, 0, 0, 1]],
  [SOL_SOCKET, 72, [0, 3, 4]],
  [SOL_SOCKET, 74, [-2, -1, 0, 1]],
  [IPPROTO_TCP, 1, [0, 1]],
  [IPPROTO_TCP, 2, [0, 87, 500]],
  [IPPROTO_TCP, 4, [0, 100]],
  [IPPROTO_TCP, 7, [0, 3]],
  [IPPROTO_TCP, 8, [-1, 0, 20, 121]],
  [IPPROTO_TCP, 10, [0, 1, 30_000]],
  [IPPROTO_TCP, 17, [0, 1, 2]],
  [IPPROTO_TCP, 18, [-1, 0, 5000]],
  [IPPROTO_TCP, 24, [0]],
  [IPPROTO_TCP, 27, [0, 1, 2, 3]],
  [IPPROTO_TCP, 36, [0, 1, 2]],
  [IPPROTO_IP, 1, [0, 0x10, 0xff]],
  [IPPROTO_IP, 2, [-1, 0, 9]],
  [IPPROTO_IP, 10, [0, 1, 5, 6]],
  [IPPROTO_IP, 15, [0, 1]],
  [IPPROTO_IP, 19, [0, 1]],
  [IPPROTO_IP, 21, [-1, 0, 64, 65]],
  [IPPROTO_IP, 26, [0, 2]],
  [IPPROTO_IP, 34, [0, 1]],
  [IPPROTO_IP, 49, [0, 1, 2]],
];
/** FIONREAD, SIOCATMARK; what waits to be acknowledged depends on when ACKs leave. */
const REQUESTS = [0x541b, 0x8905];
/** MSG_OOB, MSG_PEEK, MSG_DONTROUTE, MSG_TRUNC, MSG_WAITALL, MSG_CONFIRM, MSG_ERRQUEUE. */
const SEND_FLAGS = [0, 1, 2, 4, 0x80, 0x100, 0x800, 0x2000];
const RECEIVE_FLAGS = [0, 1, 2, 3, 4, 0x20, 0x80, 0x100, 0x102, 0x2000];
const POLL_EVENTS = POLLIN | POLLOUT | POLLRDHUP;

/** One call on the socket in slot `slot`; what `a` and `b` are depends on the call. */
export interface Call {
  readonly name: Name;
  readonly slot: number;
  readonly a: number;
  readonly b: number;
}

type Name = keyof typeof MAKERS;
type Pick = (n: number) => number;

/** Ports are numbered: 0 = choose, 1 = the one ephemeral port, 2 = the port after it. */
const pickPort = (pick: Pick): number => [0, 1, 1, 1, 2, 2][pick(6)]!;
const LOCALS = [0, 0, LOCALHOST, LOCALHOST, OTHER, FOREIGN, ON_DEVICE, LOCALHOST];
const pickLocal = (pick: Pick): number => LOCALS[pick(LOCALS.length)]!;
const pickPeer = (pick: Pick): number => [LOCALHOST, LOCALHOST, OTHER, 0, ON_DEVICE][pick(5)]!;
const pickFlag = (pick: Pick): number => (pick(4) === 0 ? 0 : 1);

/** For every call: its arguments. */
const MAKERS = {
  socket: (pick: Pick): [number, number] => [USERS[pick(USERS.length)]!, 0],
  reuseaddr: (pick: Pick): [number, number] => [pickFlag(pick), 0],
  reuseport: (pick: Pick): [number, number] => [pickFlag(pick), 0],
  incomingCpu: (pick: Pick): [number, number] => [pick(4) - 1, 0],
  device: (pick: Pick): [number, number] => [[0, 1, 1, 2, 2, 3][pick(6)]!, 0],
  addressNoPort: (pick: Pick): [number, number] => [pickFlag(pick), 0],
  /** A range of one port, upside down with `b`. */
  portRange: (pick: Pick): [number, number] => [pick(3), pick(8) === 0 ? 1 : 0],
  attach: (pick: Pick): [number, number] => [pick(2), 0],
  detach: (_pick: Pick): [number, number] => [0, 0],
  getsockopt: (pick: Pick): [number, number] => [pick(Object.keys(OPTIONS).length), 0],
  bind: (pick: Pick): [number, number] => [pickLocal(pick), pickPort(pick)],
  /** With the member that the group's program names. */
  listen: (pick: Pick): [number, number] => [[-1, 0, 1, 5][pick(4)]!, pick(2)],
  /** Into slot `a`. */
  accept: (_pick: Pick): [number, number] => [0, 0],
  connect: (pick: Pick): [number, number] => [pickPeer(pick), 1 + pick(2)],
  shutdown: (pick: Pick): [number, number] => [pick(3), 0],
  close: (_pick: Pick): [number, number] => [0, 0],
  abort: (_pick: Pick): [number, number] => [0, 0],
  getsockname: (_pick: Pick): [number, number] => [0, 0],
  getpeername: (_pick: Pick): [number, number] => [0, 0],
  poll: (_pick: Pick): [number, number] => [0, 0],
  send: (_pick: Pick): [number, number] => [0, 0],
  recv: (_pick: Pick): [number, number] => [0, 0],
  /** One of SETTINGS to one of its values; what it reads then. */
  set: (pick: Pick): [number, number] => {
    const index = pick(SETTINGS.length);
    return [index, SETTINGS[index]![2][pick(SETTINGS[index]![2].length)]!];
  },
  get: (pick: Pick): [number, number] => [pick(SETTINGS.length), 0],
  ioctl: (pick: Pick): [number, number] => [pick(REQUESTS.length), 0],
  /** With flags, and so many bytes. */
  sendWith: (pick: Pick): [number, number] => [pick(SEND_FLAGS.length), pick(5)],
  recvWith: (pick: Pick): [number, number] => [pick(RECEIVE_FLAGS.length), pick(6)],
  disconnect: (_pick: Pick): [number, number] => [0, 0],
} as const;

/** Calls that make a difference come up more often. */
const WEIGHTS: readonly Name[] = [
  ...(['socket', 'reuseaddr', 'reuseaddr', 'reuseport', 'reuseport', 'reuseport'] as const),
  ...(['bind', 'bind', 'bind', 'bind', 'bind', 'listen', 'listen', 'listen', 'listen'] as const),
  ...(['connect', 'connect', 'connect', 'accept', 'accept', 'shutdown', 'shutdown'] as const),
  ...(['close', 'close', 'abort', 'getsockopt', 'getsockname', 'getpeername', 'poll'] as const),
  ...(['incomingCpu', 'send', 'recv', 'device', 'device', 'addressNoPort', 'portRange'] as const),
  ...(['attach', 'detach', 'set', 'set', 'set', 'set', 'get', 'get', 'ioctl'] as const),
  ...(['sendWith', 'sendWith', 'recvWith', 'recvWith', 'recvWith', 'disconnect'] as const),
];

/** Slots of a program's own sockets, and of what they accept. */
const ACCEPTED_SLOTS = 2;

/** A program of 3 to 5 sockets, servers and clients as a rule, and 5 to 15 calls on them. */
export function makeProgram(dice: Random): Call[] {
  const pick: Pick = (n) => dice.u32() % n;
  const slots = 3 + pick(3);
  const calls: Call[] = [];
  const add = (name: Name, slot: number, given: readonly number[] = []): void => {
    const made = MAKERS[name](pick);
    calls.push({ name, slot, a: given[0] ?? made[0], b: given[1] ?? made[1] });
  };
  for (let slot = 0; slot < slots; slot++) add('socket', slot);
  const servers = pick(slots);
  for (let slot = 0; slot < servers; slot++) beServer(pick, add, slot);
  const clients = servers === 0 ? 0 : pick(slots - servers + 1);
  for (let i = 0; i < clients; i++) {
    add('connect', servers + i, [pickPeer(pick), 2]);
    if (pick(2) === 0) add('accept', pick(servers), [slots + pick(ACCEPTED_SLOTS)]);
  }
  for (let count = 5 + pick(11); count > 0; count--) {
    const name = WEIGHTS[pick(WEIGHTS.length)]!;
    const accepted = name === 'accept' ? [slots + pick(ACCEPTED_SLOTS)] : [];
    add(name, pick(slots + ACCEPTED_SLOTS), accepted);
  }
  return calls;
}

/** Mostly a listener on the second port, in a group. */
function beServer(
  pick: Pick,
  add: (name: Name, slot: number, given?: number[]) => void,
  slot: number,
): void {
  if (pick(3) === 0) add('reuseaddr', slot);
  if (pick(4) !== 0) add('reuseport', slot, [1]);
  add('bind', slot, [pickLocal(pick), 2]);
  if (pick(8) !== 0) add('listen', slot, [5]);
}

/** What gives the group of a socket a program, and takes it away. */
export interface Director {
  /** Every later connection goes to member `member`, if there is one. */
  attach(fd: number, member: number): number;
  detach(fd: number): number;
}

/** Plays `program` with `port` as the one ephemeral port; one line a call. */
export function playProgram(
  calls: SocketCalls,
  program: readonly Call[],
  port: number,
  director: Director,
): string[] {
  const player = new Player(calls, port, director);
  return program.map((call) => player.play(call));
}

class Player {
  private readonly calls: SocketCalls;
  private readonly port: number;
  private readonly director: Director;
  private readonly fds: (number | undefined)[] = [];

  constructor(calls: SocketCalls, port: number, director: Director) {
    this.calls = calls;
    this.port = port;
    this.director = director;
  }

  play(call: Call): string {
    const { calls } = this;
    const fd = this.fds[call.slot];
    if (call.name === 'socket') return this.put(call.slot, calls.socket(call.a));
    if (fd === undefined) return 'nothing there';
    if (call.name === 'accept') return this.put(call.a, calls.accept(fd));
    if (call.name === 'close' || call.name === 'abort') {
      this.fds[call.slot] = undefined;
      return outcome(calls[call.name](fd));
    }
    return this.onSocket(call, fd);
  }

  private put(slot: number, fd: number): string {
    if (fd >= 0) {
      const before = this.fds[slot];
      if (before !== undefined) this.calls.close(before);
      this.fds[slot] = fd;
    }
    return outcome(fd);
  }

  private onSocket({ name, a, b }: Call, fd: number): string {
    const { calls } = this;
    switch (name) {
      case 'bind':
        return outcome(calls.bind(fd, a, this.number(b)));
      case 'connect':
        return outcome(calls.connect(fd, a, this.number(b)));
      case 'listen':
        return this.listen(fd, a, b);
      case 'shutdown':
        return outcome(calls.shutdown(fd, a));
      case 'reuseaddr':
        return outcome(calls.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, a));
      case 'reuseport':
        return outcome(calls.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, a));
      case 'incomingCpu':
        return outcome(calls.setsockopt(fd, SOL_SOCKET, SO_INCOMING_CPU, a));
      case 'device':
        return this.device(fd, DEVICES[a]!);
      case 'addressNoPort':
        return outcome(calls.setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, a));
      case 'portRange':
        return outcome(calls.setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, this.range(a, b)));
      case 'attach':
        return outcome(this.director.attach(fd, a));
      case 'detach':
        return `${outcome(this.director.detach(fd))}, ${outcome(this.director.attach(fd, 0))}`;
      case 'getsockopt':
        return this.option(fd, Object.values(OPTIONS)[a]!);
      case 'getsockname':
        return this.named(calls.getsockname(fd));
      case 'getpeername':
        return this.named(calls.getpeername(fd));
      case 'poll':
        return `0x${calls.poll(fd, POLL_EVENTS).toString(16)}`;
      case 'send':
        return outcome(calls.send(fd, Uint8Array.of(1, 2, 3)));
      case 'recv':
        return this.received(calls.recv(fd, 100));
      default:
        return this.further(name, a, b, fd);
    }
  }

  private further(name: Name, a: number, b: number, fd: number): string {
    const { calls } = this;
    switch (name) {
      case 'set': {
        const [level, option] = SETTINGS[a]!;
        return `${outcome(calls.setsockopt(fd, level, option, b))} ${this.setting(fd, a)}`;
      }
      case 'get':
        return this.setting(fd, a);
      case 'ioctl': {
        const count = calls.ioctl(fd, REQUESTS[a]!);
        return count < 0 ? outcome(count) : String(count);
      }
      case 'sendWith': {
        const count = calls.send(fd, Uint8Array.of(1, 2, 3, 4).subarray(0, b), SEND_FLAGS[a]!);
        return count < 0 ? outcome(count) : String(count);
      }
      case 'recvWith':
        return this.received(calls.recv(fd, b, RECEIVE_FLAGS[a]!));
      default:
        return outcome(calls.disconnect(fd));
    }
  }

  /** TCP_MAXSEG and TCP_WINDOW_CLAMP of a connection and TCP_TIMESTAMP are the machine's. */
  private setting(fd: number, index: number): string {
    const [level, name] = SETTINGS[index]!;
    if (level === IPPROTO_TCP && (name === 24 || name === 10 || name === 2)) return '';
    const out = new Int32Array(4);
    const words = this.calls.getsockopt(fd, level, name, out);
    return words < 0 ? outcome(words) : `${words}: ${out.subarray(0, words)}`;
  }

  private number(port: number): number {
    return port === 0 ? 0 : this.port + port - 1;
  }

  /** Not of a connection: whether its ACKs are lost then depends on how long they are delayed. */
  private device(fd: number, name: string): string {
    if (typeof this.calls.getpeername(fd) !== 'number') return 'connected';
    return outcome(this.calls.setsockoptText(fd, SOL_SOCKET, SO_BINDTODEVICE, name));
  }

  private range(port: number, wrong: number): number {
    const number = this.number(port);
    return (number << 16) | (number + wrong);
  }

  private listen(fd: number, backlog: number, member: number): string {
    const result = this.calls.listen(fd, backlog);
    if (result < 0) return outcome(result);
    return `ok, directed ${outcome(this.director.attach(fd, member))}`;
  }

  private option(fd: number, name: number): string {
    const out = new Int32Array(4);
    const words = this.calls.getsockopt(fd, SOL_SOCKET, name, out);
    return words < 0 ? outcome(words) : String(out[0]);
  }

  private named(name: SocketAddress | number): string {
    if (typeof name === 'number') return outcome(name);
    const port = name.port === 0 ? '0' : `+${name.port - this.port}`;
    return `${(name.address >>> 0).toString(16)}:${port}`;
  }

  private received(result: Uint8Array | number): string {
    return typeof result === 'number' ? outcome(result) : `${result.length} bytes`;
  }
}

/** The shortest program found, by leaving out calls, that `fails` still holds for. */
export function shrink(program: readonly Call[], fails: (program: Call[]) => boolean): Call[] {
  let best = [...program];
  for (let again = true; again; ) {
    again = false;
    for (let i = best.length - 1; i >= 0; i--) {
      const shorter = best.filter((_, index) => index !== i);
      if (!fails(shorter)) continue;
      best = shorter;
      again = true;
    }
  }
  return best;
}

/** `bind(#0, 127.0.0.1, 1)`, as a literal case is written. */
export function callText({ name, slot, a, b }: Call): string {
  return `${name}(#${slot}, ${a}, ${b})`;
}

/** The reverse of callText, for the programs that once found a difference. */
export function parseProgram(text: string): Call[] {
  return [...text.matchAll(/(\w+)\(#(\d+), (-?\d+), (-?\d+)\)/g)].map(
    ([, name, slot, a, b]) => ({ name, slot: Number(slot), a: Number(a), b: Number(b) }) as Call,
  );
}
