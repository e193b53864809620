/**
 * Connections that a fuzzer brings into every TCP state by an ordinary exchange (RFC 9293 3.3.2):
 * the peer's side of each, with the numbers that the stack expects next, learnt from what it sends.
 */
import type { SimHost } from '../host.js';
import { ACK, FIN, type PacketBuilder, type SegmentFields, SYN } from './packet-builder.js';

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
] as const;
export type Goal = (typeof GOALS)[number];

const SHUT_WR = 1;
const WINDOW = 65_535;

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
  /** The stack's descriptor, or -1. */
  fd = -1;

  constructor(peer: number, sport: number, dport: number, isn: number) {
    this.peer = peer;
    this.sport = sport;
    this.dport = dport;
    this.seq = isn;
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
    this.deliver(this.builder.segment(fields, []));
    const isSequenced = flags & (SYN | FIN) ? 1 : 0;
    // Until the stack has said so itself.
    talk.seq = (fields.seq + payload + isSequenced) | 0;
  }

  /** Brings `talk` into a state, as far as the stack lets it. */
  play(talk: Conversation, goal: Goal): void {
    if (goal === 'listen') return;
    if (goal === 'syn-sent' || goal === 'syn-recv') {
      this.connect(talk);
      if (goal === 'syn-recv') this.send(talk, SYN);
      return;
    }
    this.send(talk, SYN);
    if (goal === 'request') return;
    this.send(talk, ACK);
    talk.fd = this.accept();
    if (talk.fd >= 0 && goal !== 'established') this.finish(talk, goal);
  }

  private connect(talk: Conversation): void {
    const { stack } = this.host;
    const fd = stack.socket(0);
    if (fd < 0) return;
    talk.fd = fd;
    stack.bind(fd, 0, talk.dport);
    stack.connect(fd, talk.peer, talk.sport);
    this.host.poll(stack.net.nowUs);
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
