/**
 * One end of a connection as its application sees it: writes what the ledger says, checks what it
 * reads against it, and ends as its plan wants. It is edge-triggered on purpose: it looks at its
 * descriptor only when the stack has called it ready (or when a pause of its own is over), so that
 * a wake-up that is lost shows as a transfer that does not end.
 */
import {
  EAGAIN,
  ECONNABORTED,
  ECONNREFUSED,
  ECONNRESET,
  EHOSTUNREACH,
  ENOBUFS,
  ENOTCONN,
  EPIPE,
  ETIMEDOUT,
} from '../net/errno.js';
import { BLOCK_EVENTS, BLOCK_STATE, STREAM_ENDED } from '../net/sockmem.js';
import { MSG_MORE, MSG_OOB } from '../socket/uapi/constants.js';
import { TCP_CLOSE, TCP_SYN_RECV, TCP_SYN_SENT } from '../tcp/state.js';
import { Dice, FOR_FILE } from './dice.js';
import { must, SimFailure } from './failure.js';
import type { SimHost } from './host.js';
import { type Half, type HalfOwner, type Ledger, STRETCH_MAX } from './ledger.js';
import type { Fault } from './parameters.js';

/** How an end of a connection behaves. */
export interface Plan {
  /** Bytes to write, in pieces of at most that many, with pauses of at most that long. */
  readonly bytes: number;
  readonly writeMost: number;
  readonly writePauseUs: number;
  readonly readMost: number;
  readonly readPauseUs: number;
  /** 'drain' shuts down and reads to the end; the others are ruder. 'hold' waits for the calm. */
  readonly end: 'drain' | 'hold' | 'close' | 'linger' | 'abort' | 'shutRd';
  /** Bytes after which a rude end comes. */
  readonly cut: number;
  /** Every so many writes: urgent, or with more to follow; every so many reads: a look first. */
  readonly urgentEach: number;
  readonly moreEach: number;
  readonly peekEach: number;
  /** Every so many writes comes from a memory file. */
  readonly fileEach: number;
}

const RUDE: readonly Plan['end'][] = ['close', 'linger', 'abort', 'shutRd'];
/** A pause after the arena had no memory left, µs. */
const MEMORY_PAUSE_US = 500_000;
/** In the calm: how long an end whose peer is gone waits before it gives up, µs. */
const PATIENCE_US = 300_000_000;
const SOL_SOCKET = 1;
const SO_LINGER = 13;
const SHUT_RD = 0;
const SHUT_WR = 1;

/** An urgent byte that is so far ahead may be beyond every urgent pointer. */
const POINTER_REACH = 60_000;

/** Draws a plan. */
export function makePlan(dice: Dice, mostBytes: number, faults: ReadonlySet<Fault>): Plan {
  const bytes = dice.chance(0.15) ? 0 : dice.spread(1, mostBytes);
  const pause = (): number => (dice.chance(0.7) ? 0 : dice.spread(1, 200_000));
  const rude = faults.has('rude') && dice.chance(0.5);
  const end = rude ? dice.pick(RUDE) : dice.pick(['drain', 'drain', 'hold']);
  const each = (probability: number): number => (dice.chance(probability) ? dice.int(1, 8) : 0);
  const urgentEach = each(0.6);
  const plan = {
    bytes,
    writeMost: dice.spread(Math.max(1, bytes >> 9), STRETCH_MAX),
    writePauseUs: pause(),
    readMost: dice.spread(Math.max(1, mostBytes >> 9), STRETCH_MAX),
    readPauseUs: pause(),
    end: end as Plan['end'],
    cut: dice.int(0, bytes),
    urgentEach: faults.has('urgent') ? urgentEach : 0,
    moreEach: each(0.3),
    peekEach: each(0.3),
  };
  // Dice of its own, so that all else is as it would be without.
  const files = new Dice(FOR_FILE, bytes, plan.writeMost, plan.cut);
  return { ...plan, fileEach: files.chance(0.4) ? files.int(1, 4) : 0 };
}

/** What an endpoint must know of the world around it. */
export interface EndpointWorld {
  /** One line about what an application does, when somebody watches. */
  readonly log: ((host: SimHost, line: string) => void) | null;
  readonly ledger: Ledger;
  /** Memory is short somewhere. */
  readonly isTight: boolean;
  /** Everything is well again and whatever is open is to come to its end. */
  readonly calm: boolean;
  readonly scratch: Uint8Array;
  /** May a connection between these two addresses have timed out without anybody's fault? */
  mayTimeOut(endpoint: Endpoint): boolean;
  /** Has the host at either end used SYN cookies? They do not know what came before them. */
  hasCookies(endpoint: Endpoint): boolean;
  /** May a connection to there have been refused? */
  mayBeRefused(endpoint: Endpoint): boolean;
}

export class Endpoint implements HalfOwner {
  readonly host: SimHost;
  readonly fd: number;
  readonly peerAddress: number;
  readonly peerPort: number;
  readonly plan: Plan;
  own: Half | null = null;
  peer: Half | null = null;
  read = 0;
  closed = false;
  /** Errno that has ended it, 0 = none. */
  error = 0;
  /** Somebody has asked for SO_ERROR and got it. */
  errorTaken = false;
  /** The peer's stream has come to its end. */
  ended = false;
  /** … by a FIN, which nothing follows: after a shutdown(SHUT_RD) of our own there may be more. */
  private finSeen = false;
  shutRd = false;
  shutWr = false;
  /** Next time that it wants to go on by itself, µs. */
  wakeUs: number = Infinity;
  /** In the calm: when to look whether there is still a peer, µs. */
  giveUpUs: number = Infinity;
  lastProgressUs: number;
  readonly startUs: number;
  private writeUs = 0;
  private readUs = 0;
  private writes = 0;
  private reads = 0;
  private readonly world: EndpointWorld;

  constructor(
    world: EndpointWorld,
    host: SimHost,
    fd: number,
    peerAddress: number,
    peerPort: number,
    plan: Plan,
  ) {
    this.world = world;
    this.host = host;
    this.fd = fd;
    this.peerAddress = peerAddress;
    this.peerPort = peerPort;
    this.plan = plan;
    this.startUs = host.stack.net.nowUs;
    this.lastProgressUs = this.startUs;
  }

  get gone(): boolean {
    // Its application may not have noticed yet.
    const over = this.closed || this.error !== 0 || this.host.dead;
    return over || this.state === TCP_CLOSE;
  }

  get deaf(): boolean {
    return this.shutRd && this.shutWr;
  }

  /** Names what we send: an active opener does that as soon as its SYN has a number. */
  registerOwn(): void {
    this.own = this.host.halves(this.fd, this.world.ledger).own;
    this.own.adopt(this);
  }

  private get state(): number {
    return this.host.mem.ctl[this.host.mem.blockAt(this.fd) + BLOCK_STATE]!;
  }

  private log(what: string): void {
    this.host.did(what);
    const { own, read } = this;
    const sums = `wrote ${own?.written}, read ${read}`;
    this.world.log?.(this.host, `fd ${this.fd} ${what}: ${own?.name}, ${sums}`);
  }

  /** Goes on as far as it can now. */
  step(): void {
    if (this.closed) return;
    this.wakeUs = Infinity;
    const { state } = this;
    // A child of Fast Open may do everything before its handshake is over.
    const isEarly = state === TCP_SYN_RECV && this.peer !== null;
    if (isEarly || (state !== TCP_SYN_SENT && state !== TCP_SYN_RECV)) {
      // Before the SYN-ACK what the peer sends had no name.
      this.peer ??= this.host.halves(this.fd, this.world.ledger).peer;
      this.doWrites();
      this.doReads();
      if (!this.closed) this.maybeEnd();
    }
    if (this.world.calm && !this.closed) this.giveUpUs = this.lastProgressUs + PATIENCE_US;
  }

  /** Fast Open: the SYN waits for text. False = it never went. */
  launch(): boolean {
    this.host.did('launch');
    this.doWrites();
    if (this.closed) return this.own!.written > 0;
    this.host.stack.published(this.fd);
    return true;
  }

  private get nowUs(): number {
    return this.host.stack.net.nowUs;
  }

  private wakeAt(atUs: number): void {
    this.wakeUs = Math.min(this.wakeUs, atUs);
  }

  private doWrites(): void {
    const { plan, world, nowUs } = this;
    const own = this.own!;
    while (!this.closed && !this.shutWr && own.written < plan.bytes) {
      if (nowUs < this.writeUs && !world.calm) {
        this.wakeAt(this.writeUs);
        return;
      }
      const wanted = Math.min(plan.writeMost, plan.bytes - own.written);
      const taken = this.writeOrSend(own.bytes(own.written, wanted));
      if (taken === -ENOBUFS) {
        this.waitForMemory();
        return;
      }
      if (taken === -EAGAIN) return;
      if (taken < 0) {
        this.fail(-taken);
        return;
      }
      must(taken <= wanted, 'write', () => `${taken} of ${wanted} bytes taken`);
      own.written += taken;
      this.noteUrgent();
      this.writes++;
      this.lastProgressUs = nowUs;
      this.writeUs = nowUs + plan.writePauseUs;
      if (this.endsRudely()) return;
    }
  }

  private writeOrSend(bytes: Uint8Array): number {
    const { host, fd, plan, writes } = this;
    const flags = this.writeFlags();
    const sends = plan.fileEach > 0 && flags === 0 && writes % plan.fileEach === 0;
    return sends ? host.sendfile(fd, bytes) : host.write(fd, bytes, flags);
  }

  private writeFlags(): number {
    const { writes, plan } = this;
    const urgent = plan.urgentEach > 0 && writes % plan.urgentEach === 0;
    const more = plan.moreEach > 0 && writes % plan.moreEach === 0;
    return (urgent ? MSG_OOB : 0) | (more ? MSG_MORE : 0);
  }

  /** The last byte that was taken is urgent, if the write was. */
  private noteUrgent(): void {
    const flags = this.writeFlags();
    if ((flags & MSG_MORE) !== 0) this.host.did('write more');
    if ((flags & MSG_OOB) === 0) return;
    this.host.did('write urgent');
    const own = this.own!;
    own.urgent.add(own.written - 1);
    if (this.host.unacknowledged(this.fd) > POINTER_REACH) own.vague = true;
  }

  /** Another connection may give some back; in the calm that is waited for, but not for ever. */
  private waitForMemory(): void {
    must(this.world.isTight, 'memory', () => `fd ${this.fd}: ENOBUFS`);
    const waited = this.nowUs - this.lastProgressUs;
    if (this.world.calm && waited >= PATIENCE_US) this.close();
    else this.wakeAt(this.nowUs + MEMORY_PAUSE_US);
  }

  private doReads(): void {
    const { plan, world, nowUs } = this;
    while (!this.closed && !this.finSeen) {
      if (nowUs < this.readUs && !world.calm) {
        this.wakeAt(this.readUs);
        return;
      }
      const most = world.calm ? STRETCH_MAX : plan.readMost;
      this.look(most);
      if (this.closed) return;
      const count = this.readSome(most);
      if (count === -EAGAIN) return;
      if (count < 0) {
        this.fail(-count);
        return;
      }
      if (count === 0) {
        this.streamEnded();
        return;
      }
      this.peer!.verify(world.scratch, count, this.read);
      this.read += count;
      this.reads++;
      this.lastProgressUs = nowUs;
      this.readUs = nowUs + plan.readPauseUs;
    }
  }

  /** read(), which passes over urgent bytes that are not in line. */
  private readSome(most: number): number {
    const { host, fd, world } = this;
    const from = host.readAt(fd);
    const count = host.read(fd, world.scratch, most);
    const passed = ((host.readAt(fd) - from) | 0) - Math.max(0, count);
    if (passed !== 0) {
      host.did('pass over');
      this.peer!.passOver(passed, this.read);
    }
    this.read += passed;
    return count;
  }

  /** Now and then: MSG_PEEK and MSG_OOB before a read. */
  private look(most: number): void {
    const { host, fd, plan, reads, world } = this;
    if (plan.peekEach === 0 || reads % plan.peekEach !== 0) return;
    const { count, passed } = host.peek(fd, world.scratch, most);
    if (count > 0) {
      host.did('peek');
      this.peer!.verify(world.scratch, count, this.read + passed);
    }
    if (count < 0 && count !== -EAGAIN) {
      this.fail(-count);
      return;
    }
    const urgent = host.readUrgent(fd);
    if (urgent > 0) {
      host.did('read urgent');
      this.peer!.verifyUrgent(urgent - 256);
    }
  }

  /** read() has said 0. */
  private streamEnded(): void {
    const { mem } = this.host;
    if (!this.ended) {
      this.log('end of stream');
      this.lastProgressUs = this.nowUs;
    }
    this.ended = true;
    const fin = (mem.ctl[mem.blockAt(this.fd) + BLOCK_EVENTS]! & STREAM_ENDED) !== 0;
    this.finSeen = fin;
    const peer = this.peer!;
    if (peer.reborn) return;
    if (!fin) {
      const known = this.shutRd || this.errorTaken;
      must(known, 'eof', () => `${peer.name}: an end at ${this.read} without a FIN`);
      return;
    }
    must(peer.finished, 'eof', () => `${peer.name}: an end that the sender has not made`);
    const whole = peer.written === this.read;
    must(whole, 'eof', () => `${peer.name}: an end at ${this.read} of ${peer.written}`);
  }

  private endsRudely(): boolean {
    const { plan, own } = this;
    if (this.closed || own!.written < plan.cut) return false;
    if (plan.end === 'abort') this.abort();
    else if (plan.end === 'linger') this.closeLingering();
    else if (plan.end === 'shutRd' && !this.shutRd) this.shutdown(SHUT_RD);
    return this.closed;
  }

  private maybeEnd(): void {
    const { plan, own } = this;
    if (this.endsRudely() || own!.written < plan.bytes) {
      if (!this.closed && this.shutWr && this.ended) this.close();
      return;
    }
    if (plan.end === 'close') {
      this.close();
      return;
    }
    if (plan.end === 'hold' && !this.world.calm) return;
    if (!this.shutWr) this.shutdown(SHUT_WR);
    if (this.ended && !this.closed) this.close();
  }

  /**
   * Nobody is at the other end any more, and nothing has said so: in the calm that is the end.
   * Looks at nothing else: what could go on must have been told so.
   */
  giveUp(): void {
    this.giveUpUs = this.nowUs + PATIENCE_US;
    const patient = this.nowUs < this.lastProgressUs + PATIENCE_US;
    if (!patient && this.isPeerGone) this.close();
  }

  /** The calm begins: pauses are over, and nothing is held back any more. */
  becalm(): void {
    if (this.wakeUs !== Infinity || this.plan.end === 'hold') this.step();
    else this.giveUpUs = this.nowUs + PATIENCE_US;
  }

  private get isPeerGone(): boolean {
    const { peer } = this;
    // One that was begun anew was somebody else before.
    return (
      peer === null || peer.owner === null || peer.owner.gone || peer.owner.deaf || peer.reborn
    );
  }

  /** shutdown(how); what it says is not an error of ours: the peer may have been faster. */
  shutdown(how: number): void {
    if (this.closed) return;
    this.log(`shutdown ${how}`);
    this.host.stack.shutdown(this.fd, how);
    if (how !== SHUT_WR) this.shutRd = true;
    if (how !== SHUT_RD) {
      this.shutWr = true;
      if (this.own !== null) this.own.finished = true;
    }
  }

  close(): void {
    if (this.closed) return;
    this.log('close');
    if (this.own !== null) this.own.finished = true;
    this.closed = true;
    const result = this.host.stack.close(this.fd);
    must(result === 0, 'close', () => `fd ${this.fd}: ${result}`);
  }

  private closeLingering(): void {
    this.host.stack.setsockopt(this.fd, SOL_SOCKET, SO_LINGER, 1, 0);
    this.close();
  }

  abort(): void {
    if (this.closed) return;
    this.log('abort');
    this.closed = true;
    const result = this.host.stack.abort(this.fd);
    must(result === 0, 'abort', () => `fd ${this.fd}: ${result}`);
  }

  /** connect() to nobody: the connection ends, and the descriptor stays. */
  abandon(): void {
    if (this.closed) return;
    this.log('disconnect');
    this.closed = true;
    const result = this.host.stack.disconnect(this.fd);
    must(result === 0, 'disconnect', () => `fd ${this.fd}: ${result}`);
  }

  /** The connection has died of `errno`: was that in order? */
  fail(errno: number): void {
    this.log(`error ${errno}`);
    if (!this.isLegal(errno)) {
      const peer = this.peer?.name ?? 'nobody';
      throw new SimFailure('error', `fd ${this.fd}: errno ${errno}, peer ${peer}`);
    }
    this.error = errno;
    this.close();
  }

  private isLegal(errno: number): boolean {
    const peerGone = this.isPeerGone;
    switch (errno) {
      case ECONNRESET:
      case ECONNABORTED:
        return peerGone || this.deaf || this.world.mayTimeOut(this) || this.world.hasCookies(this);
      case EPIPE:
        return this.shutWr || peerGone || this.errorTaken || this.world.mayTimeOut(this);
      case ENOTCONN:
        return this.shutRd || this.shutWr || this.errorTaken;
      case ECONNREFUSED:
        return this.read === 0 && this.world.mayBeRefused(this);
      case ETIMEDOUT:
      case EHOSTUNREACH:
        return this.world.mayTimeOut(this);
    }
    return false;
  }
}
