/**
 * One connection as a script sees it: what it calls the live numbers. A script counts from its own
 * initial sequence numbers (almost always 0); the stack chooses its ISN and the offset of its
 * timestamps. Everything that translates between the two is here.
 */
import { ACK, SYN } from '../net/layout.js';
import type { LiveTcp } from './live-packet.js';
import { ScriptError, type TcpOption } from './script.js';

/** How far a connection has come, as far as naming it needs to know. */
export type ConnectionState =
  | 'listening'
  | 'connecting'
  | 'packet-received'
  | 'syn-sent'
  | 'synack-sent'
  | 'synack-acked';

export class Connection {
  state: ConnectionState;
  localAddress: number;
  localPort: number;
  remoteAddress: number;
  remotePort: number;
  /** The peer's ISN on the wire: the number that its SYN has in the script. */
  remoteIsn = 0;
  /** The stack's ISN, and what the script calls it. */
  localIsn = 0;
  private scriptLocalIsn = 0;
  /** Timestamps that the stack has sent, by what the script calls them. */
  private readonly timestamps = new Map<number, number>();
  /** Live minus script timestamp, known from the first. */
  private timestampOffset: number | null = null;

  constructor(
    state: ConnectionState,
    local: { address: number; port: number },
    remote: { address: number; port: number },
  ) {
    this.state = state;
    this.localAddress = local.address;
    this.localPort = local.port;
    this.remoteAddress = remote.address;
    this.remotePort = remote.port;
  }

  /** Live sequence number of an inbound segment. */
  liveRemoteSeq(seq: number, flags: number, absolute: boolean): number {
    const offset = absolute || (flags & SYN) !== 0 ? 0 : this.remoteIsn;
    return (seq + offset) >>> 0;
  }

  /** Live acknowledgment number of an inbound segment, and edge of its SACK blocks. */
  liveLocalSeq(seq: number): number {
    return (seq + this.localIsn) >>> 0;
  }

  /** What the script calls the sequence number of an outbound segment. */
  scriptLocalSeq(live: number, flags: number): number {
    const offset = (flags & SYN) !== 0 ? this.localIsn - this.scriptLocalIsn : this.localIsn;
    return (live - offset) >>> 0;
  }

  /** What the script calls the acknowledgment number of an outbound segment. */
  scriptRemoteSeq(live: number): number {
    return (live - this.remoteIsn) >>> 0;
  }

  /** Takes note of an inbound segment; later SYNs change no names. */
  received(flags: number, seq: number): void {
    const begins = this.state === 'packet-received' || this.state === 'syn-sent';
    if ((flags & SYN) !== 0 && begins) this.remoteIsn = seq >>> 0;
    if (this.state === 'synack-sent' && (flags & ACK) !== 0) this.state = 'synack-acked';
  }

  /** Takes note of an outbound SYN or SYN-ACK that the script expects with sequence `scriptSeq`. */
  sentSyn(live: LiveTcp, scriptSeq: number): void {
    if (this.state !== 'packet-received' && this.state !== 'connecting') return;
    this.localIsn = live.seq;
    this.scriptLocalIsn = scriptSeq;
    this.state = (live.flags & ACK) !== 0 ? 'synack-sent' : 'syn-sent';
  }

  /** An outbound timestamp was expected as `script` and came as `live`. */
  learnTimestamp(script: number, live: number): void {
    this.timestamps.set(script, live);
    this.timestampOffset ??= (live - script) >>> 0;
  }

  /** What an outbound timestamp would be called, by the offset of the first; null before that. */
  scriptTimestamp(live: number): number | null {
    return this.timestampOffset === null ? null : (live - this.timestampOffset) >>> 0;
  }

  /** The live timestamp that an inbound `ecr` means. Throws ScriptError for one never seen. */
  private liveEcho(ecr: number, scaled: boolean, line: number): number {
    const live = this.timestamps.get(ecr);
    if (live !== undefined) return live;
    if (scaled && this.timestampOffset !== null) return (ecr + this.timestampOffset) >>> 0;
    throw new ScriptError(line, `ecr ${ecr}: the stack has not sent that timestamp`);
  }

  /** Inbound options with live numbers. */
  liveOptions(
    options: readonly TcpOption[],
    flags: number,
    scaled: boolean,
    line: number,
  ): TcpOption[] {
    return options.map((option): TcpOption => {
      if (option.kind === 'sack') {
        const live = (edge: number): number => this.liveLocalSeq(edge);
        return { kind: 'sack', blocks: option.blocks.map(([l, r]) => [live(l), live(r)]) };
      }
      if (option.kind === 'TS' && (flags & ACK) !== 0 && !option.ecrAbsolute) {
        return { ...option, ecr: this.liveEcho(option.ecr, scaled, line) };
      }
      return option;
    });
  }

  /** Outbound options with the script's numbers. */
  scriptOptions(options: readonly TcpOption[]): TcpOption[] {
    return options.map((option): TcpOption => {
      if (option.kind !== 'sack') return option;
      const script = (edge: number): number => this.scriptRemoteSeq(edge);
      return { kind: 'sack', blocks: option.blocks.map(([l, r]) => [script(l), script(r)]) };
    });
  }

  /** Is `tcp`, sent by the stack, of this connection? */
  owns(daddr: number, tcp: LiveTcp): boolean {
    return (
      daddr === this.remoteAddress && tcp.dport === this.remotePort && tcp.sport === this.localPort
    );
  }
}
