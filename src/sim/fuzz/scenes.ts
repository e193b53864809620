/**
 * Exchanges that chance alone does not hit: a peer whose segments were late and not lost (RFC 3522,
 * RFC 3708), a path that gets slower (HyStart), a peer whom the stack greets with text (RFC 7413).
 * Each has a connection of its own, on which the peer speaks with exact numbers; afterwards it is
 * one conversation among the others. An exchange that the sysctls do not allow ends early.
 */
import { ACK, SYN } from '../../net/layout.js';
import { IPPROTO_TCP, TCP_CONGESTION } from '../../socket/uapi/constants.js';
import type { Tcb } from '../../tcp/tcb.js';
import type { Dice } from '../dice.js';
import type { SimHost } from '../host.js';
import type { Conversation, Player } from './conversation.js';
import type { PacketBuilder } from './packet-builder.js';

/** What TCP_CONGESTION calls CUBIC. */
const CUBIC = 1;
/** Segments that are under way when one of them is late. */
const FLIGHT_SEGMENTS = 12;
const TEXT_MOST = 60_000;
/** Less than a tail loss probe waits for, and more than a tick of timestamps. */
const LATE_US = 3000;
/** How long the rounds of a path take that gets slower. */
const ROUNDS_US: readonly number[] = [5000, 30_000, 60_000];
/** Two time-outs of a SYN, or of what follows it. */
const SILENCE_US = 4_000_000;
const TEXT: Uint8Array = new Uint8Array(TEXT_MOST);

/** What a scene does to the stack it is played to. */
export interface Stage {
  readonly host: SimHost;
  readonly dice: Dice;
  readonly builder: PacketBuilder;
  readonly player: Player;
  /** A conversation with options that has not begun; `active`: the stack will begin it. */
  converse(active: boolean): Conversation;
  /** A packet comes in, and what it calls for goes out. */
  deliver(packet: Uint8Array): void;
  advance(us: number): void;
}

export class Scenes {
  private readonly stage: Stage;

  constructor(stage: Stage) {
    this.stage = stage;
  }

  /** Plays one; the conversation that it leaves. */
  play(): Conversation {
    const { dice, player } = this.stage;
    const active = dice.chance(0.4);
    const talk = this.stage.converse(active);
    if (active) {
      this.early(talk);
      return talk;
    }
    player.play(talk, 'established');
    const tcb = this.sock(talk);
    if (tcb === null) return talk;
    if (dice.chance(0.7)) this.late(talk, tcb);
    else this.slower(talk, tcb);
    return talk;
  }

  /** The connection, if it came about. */
  private sock({ fd }: Conversation): Tcb | null {
    return fd < 0 ? null : (this.stage.host.stack.sock(fd) ?? null);
  }

  /** An ACK that echoes `tsecr`, with a SACK block or a D-SACK. */
  private ack(talk: Conversation, ack: number, tsecr: number, block: readonly number[] = []): void {
    const { builder, host } = this.stage;
    const fields = talk.fields(host.address, ACK, 0);
    const options = talk.options(0, tsecr);
    if (block.length > 0) options.push(1, 1, 5, 10);
    for (const edge of block) {
      options.push((edge >>> 24) & 255, (edge >>> 16) & 255, (edge >>> 8) & 255, edge & 255);
    }
    this.stage.deliver(builder.segment({ ...fields, ack }, options));
    talk.una = ack;
  }

  private write(talk: Conversation, bytes: number): void {
    const { host } = this.stage;
    host.write(talk.fd, TEXT.subarray(0, Math.min(bytes, TEXT_MOST)));
    host.poll(host.stack.net.nowUs);
  }

  /** The first of many segments seems lost, is repeated, and had only been late. */
  private late(talk: Conversation, tcb: Tcb): void {
    const { dice } = this.stage;
    const { sndMss } = tcb;
    const first = talk.ack;
    this.write(talk, FLIGHT_SEGMENTS * sndMss);
    const end = talk.ack;
    const hole = (first + sndMss) | 0;
    const right = (hole + 4 * sndMss) | 0;
    if (!tcb.tsOk || !tcb.sackOk || ((end - right) | 0) < 0) return;
    const echo = talk.tsecr;
    this.stage.advance(LATE_US);
    this.ack(talk, first, echo, [hole, right]);
    this.stage.advance(LATE_US);
    const ending = dice.int(0, 2);
    if (ending === 0) this.ack(talk, end, echo);
    else if (ending === 1) this.ack(talk, hole, echo, [hole, right]);
    else {
      this.ack(talk, end, talk.tsecr);
      this.ack(talk, end, talk.tsecr, [first, hole]);
    }
  }

  /** Each round of slow start takes longer than the one before. */
  private slower(talk: Conversation, tcb: Tcb): void {
    const { host, advance } = this.stage;
    host.stack.setsockopt(talk.fd, IPPROTO_TCP, TCP_CONGESTION, CUBIC, 0);
    for (const us of ROUNDS_US) {
      this.write(talk, TEXT_MOST);
      const end = talk.ack;
      advance(us);
      for (let ack = talk.una; ((end - ack) | 0) > 0; this.ack(talk, ack, talk.tsecr)) {
        ack = (ack + Math.min(tcb.sndMss, end - ack)) | 0;
      }
    }
  }

  /** The stack's SYN has text: the peer takes it, leaves it out, or is not heard of. */
  private early(talk: Conversation): void {
    const { builder, dice, host } = this.stage;
    if (!this.stage.player.connect(talk, TEXT.subarray(0, dice.spread(1, 3000)))) return;
    const tfo = this.sock(talk)?.tfo ?? null;
    if (tfo === null) return;
    if (dice.chance(0.15)) {
      this.stage.advance(SILENCE_US);
      return;
    }
    const taken = dice.chance(0.6) ? talk.ack : (talk.ack - tfo.synBytes) | 0;
    const fields = { ...talk.fields(host.address, SYN | ACK, 0), ack: taken };
    const cookie = [34, 10, ...Array.from({ length: 8 }, () => dice.int(0, 255)), 1, 1];
    this.stage.deliver(builder.segment(fields, [...talk.options(SYN), ...cookie]));
    talk.seq = (fields.seq + 1) | 0;
    talk.una = taken;
  }
}
