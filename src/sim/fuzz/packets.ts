/**
 * Random and mutated packets into every TCP state: a stack with conversations in all of them gets
 * packets that are almost right, answers are parsed, time passes, applications read, write and
 * close. Nothing may throw, stall, leak or run dry. In epochs: at the end of each all is closed,
 * and nothing may be left.
 */

import { ACK, FIN, PSH, RST, SYN } from '../../net/layout.js';
import { CHECKSUM_NONE, CHECKSUM_UNNECESSARY, IFINDEX_LINK } from '../../net/skb.js';
import { inetLookupEstablished } from '../../reuseport/lookup.js';
import type { SockCommon } from '../../reuseport/sock-common.js';
import { SK_REQUEST, SK_TIMEWAIT } from '../../reuseport/sock-common.js';
import {
  IP_MINTTL,
  IPPROTO_IP,
  IPPROTO_TCP,
  MSG_OOB,
  SO_KEEPALIVE,
  SO_REUSEPORT,
  SOL_SOCKET,
  TCP_DEFER_ACCEPT,
  TCP_FASTOPEN,
  TCP_KEEPCNT,
  TCP_KEEPIDLE,
  TCP_KEEPINTVL,
  TCP_LINGER2,
} from '../../socket/uapi/constants.js';
import type { TimewaitSock } from '../../tcp/minisocks.js';
import { STATE_NAMES } from '../../tcp/state.js';
import type { Tcb } from '../../tcp/tcb.js';
import { Coverage } from '../coverage.js';
import { Dice, FOR_PACKETS, FOR_RARE } from '../dice.js';
import { must } from '../failure.js';
import { SimHost } from '../host.js';
import { Invariants } from '../invariants.js';
import { drawOption, drawRareOption, drawRareSysctls, drawSysctls } from '../knobs.js';
import { checkCounters, checkNothingLeft } from '../leaks.js';
import { addressOf } from '../router.js';
import { Conversation, GOALS, isActive, Player } from './conversation.js';
import { EchoLink } from './echo-link.js';
import { PacketBuilder, type SegmentFields } from './packet-builder.js';
import { Scenes } from './scenes.js';

/** Packets of an epoch, and how many of them come before the stack answers at most. */
const EPOCH_PACKETS = 3000;
const BATCH_MOST = 8;
/** At what may be over, before each of them. */
const LOOKS = 4;
/** Conversations at a time. */
const TALKS = 24;
const FDS = 256;
const ARENA_BYTES = 24 << 20;
const LISTEN_PORT = 80;
const FIRST_PORT = 10_000;
/** After an epoch: long enough for every timer. */
const REST_US = 4_000_000_000;
const STEP_MOST = 100_000;
/** A poll with nothing new may mark something again, but not for ever. */
const POLLS_MOST = 1000;
/** How much older than the last one a timestamp may be: about a tick, or half of all numbers. */
const AGES = [1, 2, 1000, 0x7fffffff] as const;
/** What ends a connection is rarer than what goes on with it. */
const KINDS: readonly number[] = [
  ...[ACK, ACK, ACK, ACK, ACK, ACK, ACK | PSH, ACK | PSH, ACK | PSH],
  ...[ACK | FIN, SYN, SYN | ACK, RST, RST | ACK],
];

/** What packets have been through. */
export interface PacketFuzzResult {
  packets: number;
  answers: number;
  epochs: number;
  /** Invariants looked at. */
  checks: number;
  /**
   * Packets by the state of what they were meant for, transitions, what applications did, and every
   * counter: what never counts is a blind spot.
   */
  coverage: Coverage;
}

function nothingYet(): PacketFuzzResult {
  return { packets: 0, answers: 0, epochs: 0, checks: 0, coverage: new Coverage() };
}

class PacketFuzz {
  readonly result: PacketFuzzResult = nothingYet();
  private readonly dice: Dice;
  private readonly rare: Dice;
  private readonly builder: PacketBuilder;
  private readonly link: EchoLink;
  private readonly host: SimHost;
  private readonly invariants: Invariants;
  private readonly player: Player;
  private readonly scenes: Scenes;
  private readonly listener: number;
  private second: number;
  private nowUs = 1_000_000;
  private nextPort: number = FIRST_PORT;
  private readonly scratch: Uint8Array = new Uint8Array(65_536);

  constructor(seed: number, arena: Uint8Array) {
    const dice = new Dice(FOR_PACKETS, seed);
    this.dice = dice;
    this.rare = new Dice(FOR_RARE, seed);
    this.builder = new PacketBuilder(dice);
    this.link = new EchoLink(dice.pick([576, 1500, 9000]), dice.pick([0, 65_535]));
    const sysctl = drawSysctls(dice, dice.chance(0.7));
    if (this.rare.chance(0.3)) Object.assign(sysctl, drawRareSysctls(this.rare));
    if (dice.chance(0.5)) sysctl['net.ipv4.tcp_fastopen'] = dice.pick(['3', '519']);
    if (dice.chance(0.3)) sysctl['net.ipv4.tcp_ecn'] = '1';
    if (dice.chance(0.5)) sysctl['net.ipv4.tcp_tw_reuse'] = '1';
    if (dice.chance(0.3)) sysctl['net.ipv4.tcp_mtu_probing'] = dice.pick(['1', '2']);
    if (dice.chance(0.5)) sysctl['net.ipv4.tcp_migrate_req'] = '1';
    if (dice.chance(0.3)) sysctl['net.ipv4.tcp_fastopen_blackhole_timeout_sec'] = '10';
    this.host = new SimHost({
      seed,
      index: 0,
      address: addressOf(0),
      life: 0,
      profile: dice.chance(0.5) ? '6.18' : '5.0',
      sysctl,
      link: this.link,
      fds: FDS,
      arena,
      slownessUs: 0,
      log: null,
    });
    this.host.poll(this.nowUs);
    this.invariants = new Invariants(this.host);
    this.listener = this.listen();
    this.second = dice.chance(0.5) ? this.listen() : -1;
    const deliver = (packet: Uint8Array): void => {
      this.deliver(packet);
      this.poll();
    };
    const { builder, host } = this;
    const player = new Player(host, builder, () => this.accept(), deliver);
    this.player = player;
    this.scenes = new Scenes({
      host,
      dice,
      builder,
      player,
      converse: (active) => this.converse(active, true),
      deliver,
      advance: (us) => this.advance(us),
    });
  }

  /** A listener of the group, as a rule with Fast Open. */
  private listen(): number {
    const { dice, host } = this;
    const { stack } = host;
    const fd = stack.socket(0);
    this.set(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    if (dice.chance(0.7)) this.set(fd, IPPROTO_TCP, TCP_FASTOPEN, 5);
    if (dice.chance(0.2)) this.set(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, 3);
    stack.bind(fd, 0, LISTEN_PORT);
    stack.listen(fd, dice.pick([0, 8, 128]));
    return fd;
  }

  private accept(): number {
    const fd = this.host.accept(this.listener);
    return fd >= 0 || this.second < 0 ? fd : this.host.accept(this.second);
  }

  /** The other listener goes or comes: its connections may move (tcp_migrate_req). */
  private changeGroup(): void {
    if (this.second < 0) this.second = this.listen();
    else {
      this.host.stack.close(this.second);
      this.second = -1;
    }
  }

  get mem(): SimHost['mem'] {
    return this.host.mem;
  }

  private deliver(packet: Uint8Array, ipSummed: number = CHECKSUM_NONE, gsoSize = 0): void {
    this.host.stack.net.nowUs = this.nowUs;
    this.host.input(packet, ipSummed, gsoSize);
    this.result.packets++;
  }

  /** Output until there is none; a stack that goes on for ever stalls. */
  private poll(): void {
    const { host } = this;
    for (let n = 0; ; n++) {
      host.poll(this.nowUs);
      if (host.turnUs > this.nowUs) break;
      must(n < POLLS_MOST, 'stall', () => `${n} polls at ${this.nowUs} µs`);
    }
    host.ready.length = 0;
  }

  private advance(us: number): void {
    const endUs = this.nowUs + us;
    for (let n = 0; ; n++) {
      const next = this.host.stack.nextDeadlineUs();
      if (next > endUs) break;
      this.nowUs = Math.max(this.nowUs, next);
      this.poll();
      must(n < STEP_MOST, 'stall', () => `${n} timers until ${endUs} µs`);
    }
    this.nowUs = endUs;
    this.poll();
  }

  /** One epoch of `packets` packets. */
  epoch(packets: number): void {
    const talks: Conversation[] = [];
    const until = this.result.packets + packets;
    while (this.result.packets < until) {
      while (talks.length < TALKS) talks.push(this.open());
      this.tidy(talks);
      for (let n = this.dice.int(1, BATCH_MOST); n > 0; n--) this.attack(this.dice.pick(talks));
      this.poll();
      this.invariants.check();
      this.act(talks);
    }
    this.close(talks);
    this.result.epochs++;
    this.result.answers = this.link.sent;
    this.result.checks = this.invariants.checks;
  }

  private sockOf({ peer, sport, dport }: Conversation): SockCommon | null {
    const { address, stack } = this.host;
    const { hashinfo } = stack.tcp;
    return inetLookupEstablished(hashinfo, peer, sport, address, dport, IFINDEX_LINK);
  }

  /** What is over makes room, as a rule, for another. */
  private tidy(talks: Conversation[]): void {
    for (let n = 0; n < LOOKS && talks.length > 1; n++) {
      const talk = this.dice.pick(talks);
      const over = this.sockOf(talk) === null;
      if (over && this.dice.chance(0.7)) this.retire(talks, talk);
    }
  }

  /** In which state is what the packet is meant for? */
  private noteState(talk: Conversation): void {
    const sk = this.sockOf(talk);
    let name = talk.dport === LISTEN_PORT ? 'LISTEN' : 'UNCONN';
    if (sk !== null && sk.kind === SK_REQUEST) name = 'NEW-SYN-RECV';
    else if (sk !== null && sk.kind === SK_TIMEWAIT) {
      name = `${STATE_NAMES[(sk as TimewaitSock).substate]} minisock`;
    } else if (sk !== null) name = this.nameOf(sk);
    this.result.coverage.add(`packet ${name}`);
  }

  /** A state, and whether somebody still holds the socket, or Fast Open has begun it. */
  private nameOf(sk: SockCommon): string {
    const { state, orphan, fastopenQueue } = sk as Tcb;
    const early = fastopenQueue === null ? '' : ' Fast Open';
    return `${STATE_NAMES[state]}${orphan ? ' orphan' : ''}${early}`;
  }

  private retire(talks: Conversation[], talk: Conversation): void {
    this.letGo(talk);
    this.link.talks.delete(talk.sport);
    talks.splice(talks.indexOf(talk), 1);
  }

  /** Its application closes it, and may not want to wait for the peer's FIN. */
  private letGo(talk: Conversation): void {
    if (this.dice.chance(0.3)) this.set(talk.fd, IPPROTO_TCP, TCP_LINGER2, -1);
    this.player.close(talk);
  }

  private open(): Conversation {
    const { dice } = this;
    const goal = dice.pick(GOALS);
    const talk = this.converse(isActive(goal), dice.chance(0.6));
    this.player.play(talk, goal);
    if (talk.fd >= 0 && dice.chance(0.2)) this.keepAlive(talk.fd);
    return talk;
  }

  /** One that has not begun. */
  private converse(active: boolean, stamped: boolean): Conversation {
    const { dice } = this;
    const port = this.nextPort++;
    if (this.nextPort > 60_000) this.nextPort = FIRST_PORT;
    const dport = active ? 20_000 + (port % 10_000) : LISTEN_PORT;
    const habits = { stamped, chooses: dice.chance(0.5) };
    const talk = new Conversation(addressOf(dice.int(1, 3)), [port, dport], dice.u32() | 0, habits);
    this.link.talks.set(port, talk);
    return talk;
  }

  private set(fd: number, level: number, name: number, value: number): void {
    this.host.stack.setsockopt(fd, level, name, value, 0);
  }

  private keepAlive(fd: number): void {
    const { dice } = this;
    this.set(fd, IPPROTO_TCP, TCP_KEEPIDLE, dice.int(1, 4));
    this.set(fd, IPPROTO_TCP, TCP_KEEPINTVL, dice.int(1, 2));
    this.set(fd, IPPROTO_TCP, TCP_KEEPCNT, dice.int(1, 3));
    this.set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
  }

  /** One packet that is almost what the peer of `talk` would send. */
  private attack(talk: Conversation): void {
    const { builder, dice, host } = this;
    this.noteState(talk);
    const flags = dice.pick(KINDS);
    const payload = flags & PSH || dice.chance(0.2) ? dice.spread(1, 3000) : 0;
    const fields = talk.fields(host.address, flags, payload);
    if (dice.chance(0.05)) {
      this.deliver(builder.icmp(fields));
      return;
    }
    this.pretendLoss(talk, fields);
    if (dice.chance(0.5)) builder.mutate(fields);
    talk.tsval += dice.pick([0, 1, 1, 10, dice.chance(0.01) ? -100_000 : 1]);
    const tsval = talk.tsval - (dice.chance(0.1) ? dice.pick(AGES) : 0);
    const tsecr = dice.chance(0.9) ? talk.tsecr : dice.u32() | 0;
    const options = builder.options((flags & SYN) !== 0, tsval, tsecr, talk);
    fields.payload = Math.min(fields.payload, 65_535 - 40 - options.length);
    const packet = builder.segment(fields, options);
    if (this.link.offload.checksum && dice.chance(0.1)) {
      // As a link with offload merges them; what it vouches for may still be nonsense.
      const damaged = dice.chance(0.2) ? builder.damage(packet) : packet;
      this.deliver(damaged, CHECKSUM_UNNECESSARY, dice.pick([0, 1, 536, 1460, 65_535]));
      return;
    }
    this.deliver(dice.chance(0.2) ? builder.damage(packet) : packet);
  }

  /** Half of all ACKs say that nothing more has come, some that a part has. */
  private pretendLoss(talk: Conversation, fields: SegmentFields): void {
    const { dice } = this;
    const open = (talk.ack - talk.una) | 0;
    if (open <= 0 || dice.chance(0.25)) talk.una = talk.ack;
    else if (dice.chance(0.15)) talk.una = (talk.una + dice.int(1, open)) | 0;
    fields.ack = talk.una;
  }

  /** Now and then the applications do something, time passes, conversations end. */
  private act(talks: Conversation[]): void {
    const { dice, host } = this;
    const talk = dice.pick(talks);
    const kind = dice.uniform();
    if (dice.chance(0.5)) this.writeSome(talks);
    if (kind < 0.3) this.advance(dice.spread(1, 300_000));
    else if (kind < 0.31) this.advance(dice.spread(1, 100_000_000));
    else if (kind < 0.32) this.advance(dice.spread(1_000_000, 10_000_000));
    else if (talk.fd >= 0 && kind < 0.6) host.read(talk.fd, this.scratch, dice.spread(1, 65_536));
    else if (talk.fd >= 0 && kind < 0.63) host.stack.shutdown(talk.fd, dice.int(0, 2));
    else if (talk.fd >= 0 && kind < 0.66) this.setOption(talk.fd);
    else if (kind < 0.7) this.retire(talks, talk);
    else if (kind < 0.71) this.changeGroup();
    else if (talk.fd >= 0 && kind < 0.72) this.urgent(talk.fd);
    else if (kind < 0.76) this.beginAgain(talks);
    else if (kind < 0.78) this.scene(talks);
    this.acceptStrays();
    this.poll();
  }

  private scene(talks: Conversation[]): void {
    talks.push(this.scenes.play());
    // The window that was offered is seen before anything else is said of it.
    this.invariants.check();
  }

  /** Where a TIME-WAIT is, either side opens the same connection again. */
  private beginAgain(talks: readonly Conversation[]): void {
    const { dice, player } = this;
    const over = talks.filter((talk) => this.sockOf(talk)?.kind === SK_TIMEWAIT);
    if (over.length === 0) return;
    const talk = dice.pick(over);
    player.close(talk);
    if (talk.dport !== LISTEN_PORT) {
      player.connect(talk);
      return;
    }
    player.reopen(talk, dice.spread(1, 1 << 20));
    const next = this.sockOf(talk)?.kind;
    if (next !== SK_TIMEWAIT) this.result.coverage.add('packet reopens TIME-WAIT');
  }

  /** So that there is something to be acknowledged, or not. */
  private writeSome(talks: readonly Conversation[]): void {
    const { fd } = this.dice.pick(talks);
    if (fd >= 0) this.host.write(fd, this.scratch.subarray(0, this.dice.spread(1, 20_000)));
  }

  private urgent(fd: number): void {
    this.host.write(fd, this.scratch.subarray(0, this.dice.int(1, 3000)), MSG_OOB);
    this.host.readUrgent(fd);
  }

  private setOption(fd: number): void {
    const { dice, host } = this;
    // Packets of an ordinary peer have 64.
    if (dice.chance(0.1)) this.set(fd, IPPROTO_IP, IP_MINTTL, dice.pick([0, 64, 65, 255]));
    const { level, name, value, value2 } = drawOption(dice);
    host.stack.setsockopt(fd, level, name, value, value2);
    if (!this.rare.chance(0.3)) return;
    const rare = drawRareOption(this.rare);
    host.stack.setsockopt(fd, rare.level, rare.name, rare.value, rare.value2);
  }

  /** Connections that came about by accident belong to nobody. */
  private acceptStrays(): void {
    for (let fd = this.accept(); fd >= 0; fd = this.accept()) this.host.stack.close(fd);
  }

  private close(talks: readonly Conversation[]): void {
    this.acceptStrays();
    for (const talk of talks) this.letGo(talk);
    this.link.talks.clear();
    this.advance(REST_US);
    this.acceptStrays();
    this.advance(REST_US);
  }

  /** The end: not even the listener is left. */
  end(): void {
    this.host.stack.close(this.listener);
    if (this.second >= 0) this.changeGroup();
    this.advance(REST_US);
    this.result.coverage.merge(this.host.coverage);
    this.result.coverage.addMib(this.host.stack.net.mib);
    checkNothingLeft(this.host);
    checkCounters(this.host, this.player.connects);
  }
}

/**
 * Sends at least `packets` packets, `report`ing after every stack. Throws SimFailure, or whatever
 * the stack throws, with the seed of the stack in its message.
 */
export function fuzzPackets(
  seed: number,
  packets: number,
  report: (result: PacketFuzzResult) => void = () => {},
): PacketFuzzResult {
  const total = nothingYet();
  const arena = new Uint8Array(ARENA_BYTES);
  for (let round = 0; total.packets < packets; round++) {
    const fuzz = new PacketFuzz(seed + round, arena);
    try {
      for (let i = 0; i < 4 && total.packets + fuzz.result.packets < packets; i++) {
        fuzz.epoch(Math.min(EPOCH_PACKETS, packets - total.packets - fuzz.result.packets));
      }
      fuzz.end();
    } catch (error) {
      (error as Error).message =
        `--fuzz packets --seed ${seed + round}: ${(error as Error).message}`;
      throw error;
    }
    arena.fill(0, 0, fuzz.mem.highBytes);
    total.packets += fuzz.result.packets;
    total.answers += fuzz.result.answers;
    total.epochs += fuzz.result.epochs;
    total.checks += fuzz.result.checks;
    total.coverage.merge(fuzz.result.coverage);
    report(total);
  }
  return total;
}
