/**
 * Connections that a fuzzer brings into every TCP state by an ordinary exchange (RFC 9293 3.3.2):
 * the peer's side of each, with the numbers that the stack expects next, learnt from what it sends.
 */
import { EINPROGRESS } from '../../net/errno.js';
import { ACK, FIN, SYN } from '../../net/layout.js';
import {
  IP_LOCAL_PORT_RANGE,
  IPPROTO_IP,
  SO_REUSEADDR,
  SOL_SOCKET,
} from '../../socket/uapi/constants.js';
import type { SimHost } from '../host.js';
import type { PacketBuilder, SegmentFields } from './packet-builder.js';

/** States that a conversation can be brought into. */
export const GOALS = [
  'listen',
  'request',
  'syn-sent',
  'syn-recv',
  'established',
  'close-wait',
  'last-ack',
  'fin-wait-1',
  'closing',
  'fin-wait-2',
  'fin-wait-2 orphan',
  'time-wait',
  'active time-wait',
] as const;
export type Goal = (typeof GOALS)[number];

/** Those that the stack opens. */
const ACTIVE: ReadonlySet<Goal> = new Set(['syn-sent', 'syn-recv', 'active time-wait']);

export function isActive(goal: Goal): boolean {
  return ACTIVE.has(goal);
}

const SHUT_WR = 1;
const WINDOW = 65_535;
const NO_TEXT: Uint8Array = new Uint8Array(0);

export class Conversation {
  readonly sport: number;
  dport: number;
  readonly peer: number;
  /** What the peer sends next, and what it acknowledges: learnt from the stack's segments. */
  seq: number;
  ack = 0;
  /** What the peer has acknowledged of it, when it says that something is lost. */
  una = 0;
  /** The stack's last timestamp, and the peer's. */
  tsecr = 0;
  tsval = 1;
  /** Both sides have timestamps, SACK and window scale, if the stack has them. */
  readonly stamped: boolean;
  /** The stack opens it, from a port of its own choice or of bind()'s. */
  readonly chooses: boolean;
  /** The stack's descriptor, or -1. */
  fd = -1;

  constructor(
    peer: number,
    ports: readonly [sport: number, dport: number],
    isn: number,
    habits: { readonly stamped: boolean; readonly chooses: boolean },
  ) {
    this.peer = peer;
    [this.sport, this.dport] = ports;
    this.seq = isn;
    this.stamped = habits.stamped;
    this.chooses = habits.chooses;
  }

  /** Another connection of the same addresses begins. */
  forget(): void {
    this.una = this.ack = 0;
  }

  /** Options of the next segment: what an ordinary peer has in it. */
  options(flags: number, tsecr: number = this.tsecr): number[] {
    if (!this.stamped) return [];
    const out = (flags & SYN) !== 0 ? [2, 4, 5, 180, 3, 3, 7, 1, 4, 2] : [1, 1];
    out.push(8, 10);
    for (const value of [++this.tsval, tsecr]) {
      out.push((value >>> 24) & 255, (value >>> 16) & 255, (value >>> 8) & 255, value & 255);
    }
    return out;
  }

  /** A segment of the stack's has come: `end` is its number after its last byte. */
  heard(end: number, ack: number, acks: boolean): void {
    if (this.una === 0) this.una = end;
    if (((end - this.ack) | 0) > 0 || this.ack === 0) this.ack = end;
    if (acks) this.seq = ack;
  }

  fields(destination: number, flags: number, payload: number): SegmentFields {
    const { peer, sport, dport, seq, ack } = this;
    const window = WINDOW;
    const plain = { urgent: 0, reserved: 0, tos: 0 };
    return { source: peer, destination, sport, dport, seq, ack, flags, window, payload, ...plain };
  }
}

/** Plays the peer of ordinary exchanges. */
export class Player {
  private readonly host: SimHost;
  private readonly builder: PacketBuilder;
  private readonly accept: () => number;
  private readonly deliver: (packet: Uint8Array) => void;
  /** Connections that the stack has begun. */
  connects = 0;

  constructor(
    host: SimHost,
    builder: PacketBuilder,
    accept: () => number,
    deliver: (packet: Uint8Array) => void,
  ) {
    this.host = host;
    this.builder = builder;
    this.accept = accept;
    this.deliver = deliver;
  }

  private send(talk: Conversation, flags: number, payload = 0): void {
    const fields = talk.fields(this.host.address, flags, payload);
    this.deliver(this.builder.segment(fields, talk.options(flags)));
    const isSequenced = flags & (SYN | FIN) ? 1 : 0;
    // Until the stack has said so itself.
    talk.seq = (fields.seq + payload + isSequenced) | 0;
  }

  /** Brings `talk` into a state, as far as the stack lets it. */
  play(talk: Conversation, goal: Goal): void {
    if (goal === 'listen') return;
    if (isActive(goal)) {
      if (!this.connect(talk)) return;
      if (goal === 'syn-recv') this.send(talk, SYN);
      else if (goal === 'active time-wait') this.finishActive(talk);
      return;
    }
    this.send(talk, SYN);
    if (goal === 'request') return;
    this.send(talk, ACK);
    talk.fd = this.accept();
    if (talk.fd >= 0 && goal !== 'established') this.finish(talk, goal);
  }

  /**
   * The stack opens `talk`, a second time as well: where a TIME-WAIT is left, in its place. With
   * `text` it asks for Fast Open.
   */
  connect(talk: Conversation, text: Uint8Array = NO_TEXT): boolean {
    const { stack } = this.host;
    const { dport } = talk;
    const fd = stack.socket(0);
    if (fd < 0) return false;
    talk.forget();
    if (talk.chooses) {
      stack.setsockopt(fd, IPPROTO_IP, IP_LOCAL_PORT_RANGE, (dport << 16) | dport, 0);
    } else {
      stack.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1, 0);
      stack.bind(fd, 0, dport);
    }
    // Without its port the connection would be another one.
    const bound = talk.chooses || stack.sock(fd)?.num === dport;
    if (!bound || !this.begin(fd, talk, text)) {
      stack.close(fd);
      return false;
    }
    talk.fd = fd;
    this.connects++;
    this.host.poll(stack.net.nowUs);
    return true;
  }

  /** Has a SYN got on its way? */
  private begin(fd: number, talk: Conversation, text: Uint8Array): boolean {
    const { stack } = this.host;
    const begun = stack.connect(fd, talk.peer, talk.sport, text.length > 0);
    if (begun !== 0) return begun === -EINPROGRESS;
    // It waits for its text.
    if (this.host.write(fd, text) <= 0) return false;
    stack.published(fd);
    return true;
  }

  /** The peer opens `talk` anew, `step` beyond its last number. */
  reopen(talk: Conversation, step: number): void {
    talk.seq = (talk.seq + step) | 0;
    talk.forget();
    this.send(talk, SYN);
    this.send(talk, ACK);
    if (talk.fd < 0) talk.fd = this.accept();
  }

  /** The stack closes what it has opened. */
  private finishActive(talk: Conversation): void {
    const { seq } = talk;
    this.send(talk, SYN | ACK);
    talk.seq = (seq + 1) | 0;
    this.host.stack.shutdown(talk.fd, SHUT_WR);
    this.host.poll(this.host.stack.net.nowUs);
    this.send(talk, ACK);
    this.send(talk, FIN | ACK);
    this.close(talk);
  }

  private finish(talk: Conversation, goal: Goal): void {
    const { stack } = this.host;
    if (goal === 'close-wait' || goal === 'last-ack') {
      this.send(talk, FIN | ACK);
      if (goal === 'last-ack') this.close(talk);
      return;
    }
    if (goal === 'fin-wait-2 orphan') this.close(talk);
    else stack.shutdown(talk.fd, SHUT_WR);
    if (goal === 'closing') {
      // Our FIN is not acknowledged: the number from before it.
      const before = talk.ack;
      this.host.poll(stack.net.nowUs);
      talk.ack = before;
      this.send(talk, FIN | ACK);
      return;
    }
    this.host.poll(stack.net.nowUs);
    if (goal === 'fin-wait-1') return;
    this.send(talk, ACK);
    if (goal === 'time-wait') this.send(talk, FIN | ACK);
  }

  /** The application's close of the stack's side. */
  close(talk: Conversation): void {
    if (talk.fd < 0) return;
    this.host.stack.close(talk.fd);
    talk.fd = -1;
    this.host.poll(this.host.stack.net.nowUs);
  }
}
