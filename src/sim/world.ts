/**
 * One run: hosts around a router, calls and faults at times that the seed fixes, then a calm in
 * which everything must come to its end, then nothing that is left over. Virtual time only. Throws
 * SimFailure when something is wrong; report.ts says it.
 */

import { Mib } from '../net/mib.js';
import { CHECKSUM_UNNECESSARY } from '../net/skb.js';
import { Application, PORTS } from './application.js';
import type { ArenaPool, SimMemory } from './arena.js';
import { Coverage } from './coverage.js';
import { Dice, FOR_CALL, FOR_HOST, FOR_LIFE, FOR_RARE, mix } from './dice.js';
import type { Endpoint, EndpointWorld } from './endpoint.js';
import { EventQueue, type Timed } from './event-queue.js';
import { SimFailure } from './failure.js';
import { SimHost } from './host.js';
import { describe, Invariants } from './invariants.js';
import { drawProbing, drawRareSysctls, drawSysctls } from './knobs.js';
import { checkCounters, checkNothingLeft } from './leaks.js';
import { Ledger, STRETCH_MAX } from './ledger.js';
import type { Fault, SimParameters } from './parameters.js';
import { makePath, type Path } from './path.js';
import { addressOf, HostLink, Router } from './router.js';
import { type Log, stamp } from './trace.js';

const START_US = 1_000_000;
/** In the calm, until every connection has ended, and after it, until every timer has run. */
const CALM_US = 6_000_000_000;
const REST_US = 1_000_000_000;
const SETTLED_US = 300_000_000;
/** Turns of all hosts without time passing, and in all: more is a loop. */
const SPIN_MOST = 20_000;
const TURNS_MOST = 3_000_000;
const MIB_BYTES = 1 << 20;
const ARENA_MIB = 32;
/** After these not every segment is answered in the calm. */
const UNANSWERED: readonly Fault[] = [
  ...([
    'death',
    'reboot',
    'tight',
    'sysctl',
    'options',
    'rare',
    'unreachable',
    'rate',
    'blackhole',
  ] as const),
];
/** With these memory may run out. */
const WASTEFUL: readonly Fault[] = ['tight', 'options', 'rare'];
/** Ports of connections that are opened from both sides. */
const CROSSED_PORT = 7000;
const LOOPBACK_NET = 127;

/** Something that will be done. */
interface Deed extends Timed {
  run(): void;
}

/** What a run has come to. */
export interface RunResult {
  readonly digest: number;
  readonly turns: number;
  readonly packets: number;
  readonly connections: number;
  readonly bytes: number;
  readonly checks: number;
  /** Virtual time, µs. */
  readonly endUs: number;
  readonly lost: number;
}

/** One host with what goes with it. */
interface Seat {
  host: SimHost;
  application: Application;
  invariants: Invariants;
}

export class World implements EndpointWorld {
  readonly ledger: Ledger = new Ledger();
  readonly scratch: Uint8Array = new Uint8Array(STRETCH_MAX);
  calm = false;
  readonly isTight: boolean;
  readonly log: EndpointWorld['log'];
  private readonly arenas: ArenaPool;
  private readonly memories: SimMemory[] = [];
  private readonly lines: Log | null;
  private readonly parameters: SimParameters;
  private readonly router: Router;
  private readonly seats: Seat[] = [];
  private readonly addresses: readonly number[];
  private readonly deeds: EventQueue<Deed> = new EventQueue();
  private nowUs: number = START_US;
  private calmSinceUs = 0;
  private turns = 0;
  private spins = 0;
  private checks = 0;
  private readonly coverage: Coverage;

  constructor(
    parameters: SimParameters,
    arenas: ArenaPool,
    lines: Log | null,
    coverage: Coverage = new Coverage(),
  ) {
    this.coverage = coverage;
    this.arenas = arenas;
    this.parameters = parameters;
    // A buffer of 4 MiB is an option, too.
    this.isTight = WASTEFUL.some((fault) => parameters.faults.has(fault));
    this.lines = lines;
    this.log = lines && ((host, line) => lines(`${stamp(this.nowUs, host.index)} ${line}`));
    const { hosts } = parameters;
    this.coverage.add(`hosts ${hosts}`);
    const paths: Path[] = [];
    for (let from = 0; from < hosts; from++) {
      for (let to = 0; to < hosts; to++) paths.push(makePath(parameters, from, to));
    }
    this.router = new Router(hosts, paths);
    this.router.nowUs = this.nowUs;
    this.addresses = Array.from({ length: hosts }, (_, i) => addressOf(i));
  }

  private begin(): void {
    const { hosts } = this.parameters;
    for (let i = 0; i < hosts; i++) this.seats.push(this.boot(i, 0));
    for (let i = 0; i < hosts; i++) this.planHost(i);
    this.planPaths();
    this.planCrossed();
  }

  private has(fault: Fault): boolean {
    return this.parameters.faults.has(fault);
  }

  /** Starts host `index` with fresh memory. */
  private boot(index: number, life: number): Seat {
    const { seed } = this.parameters;
    const dice = new Dice(FOR_HOST, seed, index, life);
    const profile = dice.chance(0.7) ? '6.18' : '5.0';
    const sysctl = drawSysctls(dice, this.has('sysctl'));
    const wants = new Dice(FOR_HOST, seed, index, life, 1);
    if (this.has('ecn')) sysctl['net.ipv4.tcp_ecn'] = wants.pick(['1', '1', '2']);
    if (this.has('fastopen')) sysctl['net.ipv4.tcp_fastopen'] = wants.pick(['3', '3', '1', '515']);
    const rare = new Dice(FOR_RARE, seed, index, life);
    if (this.has('probing')) Object.assign(sysctl, drawProbing(rare));
    if (this.has('rare')) Object.assign(sysctl, drawRareSysctls(rare));
    const mtu = dice.pick([1500, 1500, 1500, 576, 9000]);
    const gso = dice.pick([0, 65_535, 65_535, 16_384]);
    const tight = dice.chance(0.5) && this.has('tight');
    const arenaBytes = (tight ? dice.pick([1, 2]) : ARENA_MIB) * MIB_BYTES;
    const fds = tight ? dice.int(8, 40) : 512;
    const link = new HostLink(this.router, index, mtu, this.has('offload') ? gso : 0);
    const slownessUs = dice.pick([0, 0, 50, 500, 5000]);
    const host = new SimHost({
      seed,
      index,
      life,
      address: this.addresses[index]!,
      profile,
      sysctl,
      link,
      fds,
      arena: this.arenas.take(arenaBytes),
      slownessUs,
      log: this.lines,
    });
    this.memories.push(host.mem);
    host.poll(this.nowUs);
    this.router.links[index] = link;
    const application = new Application(this, host, this.parameters, this.addresses);
    const seat = { host, application, invariants: new Invariants(host) };
    application.listen(new Dice(FOR_CALL, seed, index, life), PORTS[0]!, false);
    return seat;
  }

  private at(atUs: number, run: () => void): void {
    this.deeds.push({ atUs: START_US + atUs, order: 0, run });
  }

  /** The calls of a host, and the end of its life. */
  private planHost(index: number): void {
    const { seed, calls, timeMs } = this.parameters;
    for (let i = 0; i < calls; i++) {
      const dice = new Dice(FOR_CALL, seed, index, i, 1);
      const atUs = Math.floor(dice.uniform() * timeMs * 1000);
      this.at(atUs, () => this.call(index, dice));
    }
    const dice = new Dice(FOR_LIFE, seed, index);
    const deathUs = Math.floor(dice.uniform() * timeMs * 1000);
    const dies = dice.chance(0.3);
    const outageUs = dice.spread(1000, 20_000_000);
    const reboots = dice.chance(0.4);
    if (dies && this.has('death')) this.at(deathUs, () => this.die(index));
    else if (reboots && this.has('reboot')) {
      this.at(deathUs, () => this.die(index));
      this.at(deathUs + outageUs, () => this.reboot(index));
    }
  }

  private call(index: number, dice: Dice): void {
    const { host, application } = this.seats[index]!;
    if (host.dead) return;
    host.stack.net.nowUs = this.nowUs;
    application.call(dice);
    host.turnUs = this.nowUs;
  }

  private die(index: number): void {
    const { host } = this.seats[index]!;
    host.dead = true;
    this.coverage.add('host dies');
    host.turnUs = Infinity;
    this.router.links[index] = null;
  }

  private reboot(index: number): void {
    const seat = this.seats[index]!;
    const { host, invariants } = seat;
    this.checks += invariants.checks;
    this.cover(seat);
    this.coverage.add('host reboots');
    this.seats[index] = this.boot(index, host.life + 1);
  }

  /** Black holes and changes of the MTU. */
  private planPaths(): void {
    const { seed, hosts, timeMs } = this.parameters;
    for (let i = 0; i < hosts * hosts; i++) {
      const from = Math.floor(i / hosts);
      const to = i % hosts;
      const dice = new Dice(FOR_LIFE, seed, from, to);
      const path = this.router.path(from, to);
      const holeUs = Math.floor(dice.uniform() * timeMs * 1000);
      const holeEndUs = holeUs + dice.spread(1000, 60_000_000);
      const tells = dice.chance(0.3);
      const hole = dice.chance(0.3);
      const shiftUs = Math.floor(dice.uniform() * timeMs * 1000);
      const mtu = dice.pick([1500, 1400, 1000, 576, 552, 400, 296]);
      const shift = dice.chance(0.4);
      if (hole && this.has('blackhole')) {
        this.at(holeUs, () => {
          path.down = true;
          this.coverage.add('path black hole');
          path.tellsDown = tells && this.has('unreachable');
        });
        this.at(holeEndUs, () => {
          path.down = false;
        });
      }
      if (shift && this.has('mtu')) {
        this.at(shiftUs, () => {
          if (mtu !== path.mtu) this.coverage.add('path other MTU');
          path.mtu = mtu;
        });
      }
    }
  }

  /** Connections that both sides open at once (RFC 9293 3.5, figure 7). */
  private planCrossed(): void {
    const { seed, hosts, timeMs } = this.parameters;
    const dice = new Dice(FOR_LIFE, seed);
    const count = dice.int(0, 2);
    for (let i = 0; i < count; i++) {
      const a = dice.int(0, hosts - 1);
      const b = dice.int(0, hosts - 1);
      const atUs = Math.floor(dice.uniform() * timeMs * 1000);
      const port = CROSSED_PORT + i;
      this.at(atUs, () => {
        this.crossed(a, b, port);
        if (a !== b) this.crossed(b, a, port);
      });
    }
  }

  private crossed(from: number, to: number, port: number): void {
    const { host, application } = this.seats[from]!;
    if (host.dead) return;
    host.stack.net.nowUs = this.nowUs;
    const dice = new Dice(FOR_CALL, this.parameters.seed, from, to, port);
    application.connect(dice, this.addresses[to]!, port, port);
    host.turnUs = this.nowUs;
  }

  /** The whole run. */
  run(): RunResult {
    this.begin();
    const activeUs = START_US + this.parameters.timeMs * 1000;
    this.until(activeUs, () => false);
    this.becalm();
    const ended = this.until(this.nowUs + CALM_US, () => this.allEnded());
    if (!ended) throw new SimFailure('stuck', `connections do not end\n${this.dump()}`);
    this.rest();
    for (const { host, application } of this.living()) {
      checkNothingLeft(host);
      checkCounters(host, application.connects);
    }
    this.coverage.addAll('link', { ...this.router.counts });
    for (const seat of this.seats) this.cover(seat);
    return this.result();
  }

  private cover({ host }: Seat): void {
    this.coverage.merge(host.coverage);
    this.coverage.addMib(host.stack.net.mib);
  }

  /** Gives the memory of all hosts back; the world is over. */
  dispose(): void {
    for (const mem of this.memories.splice(0)) this.arenas.release(mem);
  }

  /** Lets time pass until `endUs` or until `done`. */
  private until(endUs: number, done: () => boolean): boolean {
    for (;;) {
      if (done()) return true;
      const next = this.nextUs();
      if (next > endUs) {
        this.nowUs = Math.max(this.nowUs, endUs);
        return done();
      }
      this.advance(next);
    }
  }

  private nextUs(): number {
    let next = Math.min(this.deeds.nextUs(), this.router.flights.nextUs());
    for (const { host } of this.seats) next = Math.min(next, host.turnUs);
    return next;
  }

  private advance(nextUs: number): void {
    if (nextUs > this.nowUs) this.spins = 0;
    this.nowUs = Math.max(this.nowUs, nextUs);
    this.router.nowUs = this.nowUs;
    for (let deed = this.deeds.takeDue(this.nowUs); deed; deed = this.deeds.takeDue(this.nowUs)) {
      deed.run();
    }
    const { flights, counts, links } = this.router;
    for (let flight = flights.takeDue(this.nowUs); flight; flight = flights.takeDue(this.nowUs)) {
      const link = links[flight.to];
      // A host that was started anew may have another link than the packet was made for.
      const fits = flight.ipSummed !== CHECKSUM_UNNECESSARY || link?.offload.checksum;
      if (!link || !fits) continue;
      counts.delivered++;
      this.seats[flight.to]!.host.receive(flight, this.nowUs);
    }
    for (const seat of this.seats) if (seat.host.turnUs <= this.nowUs) this.turn(seat);
  }

  private turn(seat: Seat): void {
    const { host, application, invariants } = seat;
    this.turns++;
    this.spins++;
    if (this.spins > SPIN_MOST || this.turns > TURNS_MOST) {
      throw new SimFailure('spin', `${this.turns} turns at ${this.nowUs} µs\n${this.dump()}`);
    }
    host.takePackets(this.nowUs);
    application.turn(this.nowUs);
    host.poll(this.nowUs);
    invariants.check();
    host.turnUs = Math.max(this.nowUs, Math.min(host.turnUs, application.nextUs()));
  }

  private living(): Seat[] {
    return this.seats.filter(({ host }) => !host.dead);
  }

  /** Faults end; everybody finishes. */
  private becalm(): void {
    const { hosts } = this.parameters;
    for (let i = 0; i < hosts * hosts; i++) {
      this.router.path(Math.floor(i / hosts), i % hosts).calm();
    }
    // Outages that reach into the calm end when they would have, calls do not.
    this.calm = true;
    this.calmSinceUs = this.nowUs;
    const answered = !UNANSWERED.some((fault) => this.has(fault));
    for (const { invariants } of this.seats) invariants.answered = answered;
    for (const { host, application } of this.living()) {
      host.stack.net.nowUs = this.nowUs;
      application.becalm();
      host.turnUs = this.nowUs;
    }
  }

  private allEnded(): boolean {
    return (
      this.deeds.length === 0 && this.living().every((s) => s.application.endpoints.size === 0)
    );
  }

  /** Listeners close, timers run. */
  private rest(): void {
    for (const { host, application } of this.living()) {
      host.stack.net.nowUs = this.nowUs;
      application.closeAll();
      host.turnUs = this.nowUs;
    }
    const quiet = this.until(this.nowUs + REST_US, () => this.nextUs() === Infinity);
    if (!quiet) throw new SimFailure('restless', `timers do not end\n${this.dump()}`);
  }

  mayTimeOut(endpoint: Endpoint): boolean {
    const { faults } = this.parameters;
    // Two time-outs of the longest kind on links that are well: somebody has answered.
    const calmUs = this.calm ? this.nowUs - this.calmSinceUs : 0;
    if (calmUs > SETTLED_US && !this.isTight) return false;
    const wild: Fault[] = ['death', 'reboot', 'tight', 'sysctl', 'options', 'rare', 'unreachable'];
    if (wild.some((fault) => faults.has(fault))) return true;
    const from = this.addresses.indexOf(endpoint.host.address);
    const to = this.addresses.indexOf(endpoint.peerAddress);
    if (to < 0) return false;
    return this.router.path(from, to).treacherous || this.router.path(to, from).treacherous;
  }

  private peerSeat(endpoint: Endpoint): Seat {
    const { peerAddress, host } = endpoint;
    const looped = peerAddress >>> 24 === LOOPBACK_NET;
    return this.seats[looped ? host.index : this.addresses.indexOf(peerAddress)]!;
  }

  hasCookies(endpoint: Endpoint): boolean {
    const hosts = [endpoint.host, this.peerSeat(endpoint).host];
    return hosts.some((host) => host.stack.net.mib[Mib.SyncookiesSent]! > 0);
  }

  mayBeRefused(endpoint: Endpoint): boolean {
    const { peerPort } = endpoint;
    const { application } = this.peerSeat(endpoint);
    if (!application.hasListened(peerPort, endpoint.startUs)) return true;
    // A child of Fast Open may be reset before its SYN-ACK has left.
    return this.mayTimeOut(endpoint) || this.ledger.hasEnded(endpoint.own!);
  }

  /** What is still there, for a failure's report. */
  dump(): string {
    const lines: string[] = [];
    for (const { host, application } of this.living()) {
      for (const endpoint of application.endpoints.values()) {
        const tcb = host.stack.sock(endpoint.fd);
        const { own, peer, read, plan } = endpoint;
        const sums = `${own?.name} wrote ${own?.written}/${plan.bytes}, read ${read}`;
        const ends = `${plan.end} shut ${endpoint.shutWr} ended ${endpoint.ended}`;
        const theirs = `of ${peer?.written} (${peer?.owner === null ? 'nobody' : 'somebody'})`;
        const what = tcb === null ? 'no socket' : describe(tcb);
        lines.push(`  host ${host.index}: ${sums} ${theirs}, ${ends}\n    ${what}`);
      }
      if (application.endpoints.size > 0) continue;
      const { timers } = host.stack.net;
      lines.push(
        `  host ${host.index}: ${timers.size} timers, turn ${host.turnUs - this.nowUs} µs`,
      );
    }
    return lines.slice(0, 40).join('\n');
  }

  private result(): RunResult {
    let checks = this.checks;
    let connections = 0;
    for (const { invariants, application } of this.seats) {
      checks += invariants.checks;
      connections += application.accepts;
    }
    const { counts, digest } = this.router;
    return {
      digest: mix(digest, this.turns, this.nowUs) >>> 0,
      turns: this.turns,
      packets: counts.taken,
      connections,
      bytes: this.ledger.bytesWritten(),
      checks,
      endUs: this.nowUs - START_US,
      lost: counts.lost,
    };
  }
}
