/**
 * The application of one host: its listeners, its ends of connections, and the calls that its dice
 * make. Calls that make no sense are made, too; they must be refused and change nothing.
 */
import { EAGAIN, EINPROGRESS, EINVAL, EOPNOTSUPP } from '../net/errno.js';
import { Mib } from '../net/mib.js';
import { BLOCK_RADDR, BLOCK_RPORT } from '../net/sockmem.js';
import {
  IPPROTO_TCP,
  SHUT_RD,
  SHUT_RDWR,
  SHUT_WR,
  SO_ATTACH_REUSEPORT_SELECTOR,
  SO_DRAIN,
  SO_ERROR,
  SO_REUSEADDR,
  SO_REUSEPORT,
  SOL_SOCKET,
  TCP_FASTOPEN,
} from '../socket/uapi/constants.js';
import { TCP_ESTABLISHED } from '../tcp/state.js';
import { type Dice, Dice as DiceOf, FOR_CHILD, FOR_RARE } from './dice.js';
import { Endpoint, type EndpointWorld, makePlan } from './endpoint.js';
import { must } from './failure.js';
import type { SimHost } from './host.js';
import { drawOption, drawQuestion, drawRareOption, SELECTORS } from './knobs.js';
import type { SimParameters } from './parameters.js';

/** Where servers listen; the first is always there. */
export const PORTS: readonly number[] = [80, 81, 8080];
/** MSS indices of a SYN cookie but the first. */
const COOKIE_SLACK = 3;
const LOOPBACK = 0x7f000001;

class Listener {
  readonly fd: number;
  readonly port: number;
  readonly sinceUs: number;
  /** Between two accepts, µs. */
  readonly pauseUs: number;
  wakeUs: number = Infinity;
  draining = false;

  constructor(fd: number, port: number, sinceUs: number, pauseUs: number) {
    this.fd = fd;
    this.port = port;
    this.sinceUs = sinceUs;
    this.pauseUs = pauseUs;
  }
}

export class Application {
  readonly host: SimHost;
  readonly endpoints: Map<number, Endpoint> = new Map();
  readonly listeners: Map<number, Listener> = new Map();
  /** Connections that were asked for and got on their way, and that were accepted. */
  connects = 0;
  accepts = 0;
  private readonly world: EndpointWorld;
  private readonly parameters: SimParameters;
  /** Addresses of all hosts. */
  private readonly addresses: readonly number[];

  constructor(
    world: EndpointWorld,
    host: SimHost,
    parameters: SimParameters,
    addresses: readonly number[],
  ) {
    this.world = world;
    this.host = host;
    this.parameters = parameters;
    this.addresses = addresses;
  }

  /** Looks at everything that has become ready, and at what wanted to go on by itself. */
  turn(nowUs: number): void {
    const { ready } = this.host;
    // What the steps make ready is for the next turn.
    for (const fd of ready.splice(0)) this.look(fd);
    for (const endpoint of this.endpoints.values()) {
      if (endpoint.wakeUs <= nowUs) this.step(endpoint);
      if (endpoint.giveUpUs <= nowUs && !endpoint.closed) endpoint.giveUp();
      if (endpoint.closed) this.endpoints.delete(endpoint.fd);
    }
    for (const listener of this.listeners.values()) {
      if (listener.wakeUs <= nowUs) this.accept(listener);
    }
  }

  /** When it wants its next turn, µs. */
  nextUs(): number {
    let next = Infinity;
    for (const { wakeUs, giveUpUs } of this.endpoints.values()) {
      next = Math.min(next, wakeUs, giveUpUs);
    }
    for (const listener of this.listeners.values()) next = Math.min(next, listener.wakeUs);
    return this.host.ready.length > 0 ? 0 : next;
  }

  /** The calm begins. Whoever waits to be called ready goes on waiting. */
  becalm(): void {
    for (const listener of [...this.listeners.values()]) {
      if (listener.wakeUs !== Infinity) this.accept(listener);
    }
    for (const endpoint of [...this.endpoints.values()]) {
      endpoint.becalm();
      if (endpoint.closed) this.endpoints.delete(endpoint.fd);
    }
  }

  private look(fd: number): void {
    const endpoint = this.endpoints.get(fd);
    if (endpoint !== undefined) this.step(endpoint);
    const listener = this.listeners.get(fd);
    if (listener !== undefined && listener.wakeUs === Infinity) this.accept(listener);
  }

  private step(endpoint: Endpoint): void {
    endpoint.step();
    if (endpoint.closed) this.endpoints.delete(endpoint.fd);
  }

  private accept(listener: Listener): void {
    const { host } = this;
    listener.wakeUs = Infinity;
    for (;;) {
      const fd = host.accept(listener.fd);
      if (fd === -EAGAIN) return;
      if (fd === -EINVAL) {
        must(listener.draining, 'accept', () => `listener ${listener.fd} does not listen`);
        this.closeListener(listener);
        return;
      }
      must(fd > 0, 'accept', () => `listener ${listener.fd}: ${fd}`);
      this.accepted(fd);
      if (listener.pauseUs > 0 && !this.world.calm) {
        listener.wakeUs = host.stack.net.nowUs + listener.pauseUs;
        return;
      }
    }
  }

  private accepted(fd: number): void {
    const { host, parameters, world } = this;
    const { seed, bytes, faults } = parameters;
    const dice = new DiceOf(FOR_CHILD, seed, host.index, host.life, this.accepts++);
    const plan = makePlan(dice, bytes, faults);
    host.did('accept');
    const at = host.mem.blockAt(fd);
    const { ctl } = host.mem;
    const endpoint = new Endpoint(
      world,
      host,
      fd,
      ctl[at + BLOCK_RADDR]!,
      ctl[at + BLOCK_RPORT]!,
      plan,
    );
    endpoint.registerOwn();
    this.findOpener(endpoint);
    must(!this.endpoints.has(fd), 'accept', () => `fd ${fd} is in use`);
    this.endpoints.set(fd, endpoint);
    this.step(endpoint);
  }

  /**
   * Who has asked for the connection? A SYN cookie holds the MSS in its lowest bits, so that a
   * segment that begins up to three bytes too late may pass for the third ACK (as in Linux): then
   * these bytes are missing.
   */
  private findOpener(endpoint: Endpoint): void {
    const { host, world } = this;
    const { net } = host.stack;
    const { irs } = host.stack.sock(endpoint.fd)!;
    const most = net.mib[Mib.SyncookiesRecv]! > 0 ? COOKIE_SLACK : 0;
    for (let shift = 0; shift <= most; shift++) {
      const { peer } = host.halves(endpoint.fd, world.ledger, (irs - shift) | 0);
      if (peer.owner === null) continue;
      endpoint.peer = peer;
      endpoint.read = shift;
      const ours = peer.owner.peer;
      if (most > 0 && ours !== null && ours !== endpoint.own) world.ledger.distrust(peer);
      return;
    }
    const { peer } = host.halves(endpoint.fd, world.ledger);
    // What passes is any segment whose number and acknowledgement are equally far ahead.
    const ghost = net.mib[Mib.SyncookiesRecv]! > 0 && world.ledger.distrust(peer);
    must(ghost, 'forged', () => `${peer.name}: nobody has asked for it`);
    endpoint.peer = peer;
  }

  /** Has somebody listened on `port` without a break since `sinceUs`? */
  hasListened(port: number, sinceUs: number): boolean {
    for (const listener of this.listeners.values()) {
      if (listener.port === port && listener.sinceUs < sinceUs && !listener.draining) return true;
    }
    return false;
  }

  /** A listener; null = refused. */
  listen(dice: Dice, port: number, reuseport: boolean): void {
    const { stack } = this.host;
    const backlog = dice.pick([0, 1, 4, 128, 4096, -1]);
    const pauseUs = dice.chance(0.8) ? 0 : dice.spread(100, 1_000_000);
    const fd = stack.socket(dice.int(0, 1) * 1000);
    if (fd < 0) return;
    stack.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1, 0);
    if (reuseport) stack.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1, 0);
    if (dice.chance(0.3)) {
      stack.setsockoptText(fd, SOL_SOCKET, SO_ATTACH_REUSEPORT_SELECTOR, dice.pick(SELECTORS));
    }
    this.setOption(dice, fd);
    if (this.parameters.faults.has('fastopen')) {
      stack.setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, 5, 0);
    }
    if (stack.bind(fd, 0, port) !== 0 || stack.listen(fd, backlog) !== 0) {
      this.host.did('listen refused');
      stack.close(fd);
      return;
    }
    this.host.did('listen');
    this.listeners.set(fd, new Listener(fd, port, stack.net.nowUs, pauseUs));
  }

  closeListener(listener: Listener): void {
    this.host.did('close listener');
    this.listeners.delete(listener.fd);
    this.host.stack.close(listener.fd);
  }

  /** Opens a connection. `port` 0 = any local port. */
  connect(dice: Dice, address: number, port: number, localPort: number): void {
    const { stack } = this.host;
    const fd = stack.socket(0);
    if (fd < 0) return;
    this.setOption(dice, fd);
    if (localPort !== 0) {
      stack.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1, 0);
      stack.bind(fd, 0, localPort);
    }
    this.open(dice, fd, address, port);
  }

  /** connect() of `fd`, which is closed by a failure. */
  private open(dice: Dice, fd: number, address: number, port: number): void {
    const { host, parameters, world } = this;
    const { stack } = host;
    const { bytes, faults } = parameters;
    const plan = makePlan(dice, bytes, faults);
    const early = dice.chance(0.5) && faults.has('fastopen');
    let result = stack.connect(fd, address, port, early);
    if (result === -EOPNOTSUPP && early) result = stack.connect(fd, address, port);
    host.did('connect');
    if (result !== -EINPROGRESS && result !== 0) {
      host.did(`connect ${result}`);
      must(result < 0, 'connect', () => `connect: ${result}`);
      stack.close(fd);
      return;
    }
    const endpoint = new Endpoint(world, host, fd, address, port, plan);
    endpoint.registerOwn();
    if (result !== 0 || endpoint.launch()) this.connects++;
    if (!endpoint.closed) this.endpoints.set(fd, endpoint);
  }

  private setOption(dice: Dice, fd: number): void {
    const { level, name, value, value2 } = drawOption(dice);
    const wanted = this.parameters.faults.has('options') && dice.chance(0.5);
    if (wanted) this.host.stack.setsockopt(fd, level, name, value, value2);
    this.setRare(fd, name, value);
  }

  /** Dice of its own, fixed by what another option would have been. */
  private setRare(fd: number, ...labels: readonly number[]): void {
    const { faults, seed } = this.parameters;
    if (!faults.has('rare')) return;
    const dice = new DiceOf(FOR_RARE, seed, this.host.index, fd, ...labels);
    if (dice.chance(0.7)) return;
    const { level, name, value } = drawRareOption(dice);
    const result = this.host.stack.setsockopt(fd, level, name, value, 0);
    this.host.did(result === 0 ? 'setsockopt rare' : 'setsockopt refused');
  }

  /** A call that the dice choose. */
  call(dice: Dice): void {
    const { faults } = this.parameters;
    const rude = faults.has('rude');
    const kind = dice.uniform();
    const endpoint = this.someEndpoint(dice);
    if (kind < 0.5) this.connectSomewhere(dice);
    else if (kind < 0.6) this.listen(dice, dice.pick(PORTS), dice.chance(0.5));
    else if (kind < 0.64) this.changeListener(dice);
    else if (kind < 0.74) this.setSome(dice);
    else if (kind < 0.8) this.getSome(dice);
    else if (kind < 0.9) this.nonsense(dice);
    else if (endpoint !== null && kind < 0.94) endpoint.shutdown(SHUT_WR);
    else if (endpoint !== null && kind < 0.97 && rude) this.endRudely(dice, endpoint);
    else if (endpoint !== null && kind >= 0.97 && faults.has('again')) {
      endpoint.abandon();
      this.endpoints.delete(endpoint.fd);
      const port = dice.pick(PORTS);
      this.open(dice, endpoint.fd, dice.pick(this.addresses), port);
      return;
    }
    if (endpoint?.closed) this.endpoints.delete(endpoint.fd);
  }

  private someEndpoint(dice: Dice): Endpoint | null {
    const all = [...this.endpoints.values()];
    return all.length === 0 ? null : dice.pick(all);
  }

  private connectSomewhere(dice: Dice): void {
    const address = dice.chance(0.04) ? LOOPBACK : dice.pick(this.addresses);
    const port = dice.chance(0.7) ? PORTS[0]! : dice.pick(PORTS);
    const localPort = dice.chance(0.85) ? 0 : dice.int(30_000, 30_004);
    this.connect(dice, address, port, localPort);
  }

  /** Ends a listener but the first, or lets it drain. */
  private changeListener(dice: Dice): void {
    const some = [...this.listeners.values()].slice(1);
    if (some.length === 0) return;
    const listener = dice.pick(some);
    if (dice.chance(0.5)) {
      this.closeListener(listener);
      return;
    }
    listener.draining = true;
    this.host.did('drain');
    this.host.stack.setsockopt(listener.fd, SOL_SOCKET, SO_DRAIN, 1, 0);
  }

  private endRudely(dice: Dice, endpoint: Endpoint): void {
    const kind = dice.int(0, 3);
    if (kind === 0) endpoint.close();
    else if (kind === 1) endpoint.abort();
    else endpoint.shutdown(kind === 2 ? SHUT_RD : SHUT_RDWR);
  }

  private someFd(dice: Dice): number {
    return dice.pick([...this.endpoints.keys(), ...this.listeners.keys(), 3]);
  }

  private setSome(dice: Dice): void {
    const fd = this.someFd(dice);
    const { level, name, value, value2 } = drawOption(dice);
    this.setRare(fd, name, value);
    if (!this.parameters.faults.has('options')) return;
    const result = this.host.stack.setsockopt(fd, level, name, value, value2);
    this.host.did(result === 0 ? 'setsockopt' : 'setsockopt refused');
    must(result <= 0, 'setsockopt', () => `${level} ${name} ${value}: ${result}`);
  }

  private getSome(dice: Dice): void {
    const fd = this.someFd(dice);
    const out = new Int32Array(64);
    const [level, name] = dice.chance(0.2) ? [SOL_SOCKET, SO_ERROR] : drawQuestion(dice);
    const words = this.host.stack.getsockopt(fd, level, name, out);
    this.host.did(words >= 0 ? 'getsockopt' : 'getsockopt refused');
    must(words <= out.length, 'getsockopt', () => `${level} ${name}: ${words} words`);
    const took = level === SOL_SOCKET && name === SO_ERROR && words > 0 && out[0] !== 0;
    const endpoint = this.endpoints.get(fd);
    if (took && endpoint !== undefined) {
      endpoint.errorTaken = true;
      // Its application knows now, and looks.
      this.step(endpoint);
    }
  }

  /** Calls that must be refused. */
  private nonsense(dice: Dice): void {
    const { host } = this;
    host.did('nonsense');
    const { stack } = host;
    const wrong = dice.pick([-1, 0, 2, 1 << 20, 2 ** 31 - 1]);
    const results = [
      stack.bind(wrong, dice.u32(), dice.u32()),
      stack.listen(wrong, 1),
      stack.connect(wrong, dice.u32(), 80),
      stack.shutdown(wrong, dice.int(-1, 4)),
      stack.close(wrong),
      stack.attachSendRing(wrong),
      host.accept(wrong),
    ];
    stack.published(wrong);
    stack.consumed(wrong);
    for (const [i, result] of results.entries()) {
      must(result < 0, 'nonsense', () => `call ${i} with descriptor ${wrong}: ${result}`);
    }
    const endpoint = this.someEndpoint(dice);
    if (endpoint === null || stack.sock(endpoint.fd)!.state !== TCP_ESTABLISHED) return;
    const { fd } = endpoint;
    must(stack.bind(fd, 0, 0) < 0, 'nonsense', () => 'bind of a connection');
    must(stack.listen(fd, 1) < 0, 'nonsense', () => 'listen on a connection');
    must(host.accept(fd) < 0, 'nonsense', () => 'accept on a connection');
    must(stack.shutdown(fd, 3) < 0, 'nonsense', () => 'shutdown(3)');
    stack.published(fd);
    stack.consumed(fd);
  }

  /** Lets go of everything. */
  closeAll(): void {
    for (const listener of [...this.listeners.values()]) {
      const { ready, stack } = this.host;
      const called = ready.includes(listener.fd) || listener.wakeUs !== Infinity;
      const left = this.host.accept(listener.fd);
      const isFine = left < 0 || called;
      must(isFine, 'stuck accept', () => `listener ${listener.fd} was never called ready`);
      if (left >= 0) stack.close(left);
      this.closeListener(listener);
    }
    for (const endpoint of [...this.endpoints.values()]) endpoint.close();
    this.endpoints.clear();
  }
}
