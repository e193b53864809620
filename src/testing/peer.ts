/**
 * A peer played by hand against a MemoryStack: `in` sends a segment written as text, `out` demands
 * exactly one segment, `quiet` demands none. Sequence numbers are relative to the first SYN of each
 * side, as in packetdrill.
 */

import { IFINDEX_LINK } from '../net/skb.js';
import { type Ingress, ipv4, type MemoryLink, type MemoryStack } from './memory-stack.js';
import { decodePacket, encodeIcmpError, encodePacket, type TcpPacket } from './packet.js';
import { formatSegment, type OptionText, parseSegment, type SegmentText } from './packet-text.js';

export interface PeerOptions {
  /** The peer's address and port; defaults 198.18.0.254 and 40000. */
  address?: string;
  port?: number;
  /** The stack's address and port; default its first address and 80. */
  localAddress?: string;
  localPort?: number;
  /** Where its packets come in, and the link on which it waits for the answers. */
  ingress?: Ingress;
  /** The peer's initial sequence number on the wire. */
  isn?: number;
  /**
   * Texts name the stack's timestamps relative to its first one, which is called 1000: in `TS val`
   * of what comes out and in `ecr` (unless 0) of what goes in. Default false: as on the wire.
   */
  relativeTimestamps?: boolean;
}

/** Header fields of a packet that the text form does not have. */
export type HeaderFields = Partial<Pick<TcpPacket, 'ttl' | 'tos' | 'id' | 'df'>>;

/** What the stack's first timestamp is called when they are relative. */
const FIRST_TIMESTAMP = 1000;

export class Peer {
  readonly host: MemoryStack;
  readonly address: number;
  readonly port: number;
  readonly localAddress: number;
  localPort: number;
  /** Where its packets come in; may be changed. */
  ingress: Ingress;
  readonly isn: number;
  /** The stack's initial sequence number, known from its SYN. */
  localIsn: number | null = null;
  private readonly relativeTimestamps: boolean;
  /** The stack's first timestamp, known from its SYN. */
  private localTimestamp: number | null = null;
  /** The packet that the last `out` took. */
  last: TcpPacket | null = null;
  /** The same as bytes. */
  lastBytes: Uint8Array = new Uint8Array(0);

  constructor(host: MemoryStack, options: PeerOptions = {}) {
    this.host = host;
    this.address = ipv4(options.address ?? '198.18.0.254');
    this.port = options.port ?? 40_000;
    this.localAddress =
      options.localAddress === undefined ? host.address : ipv4(options.localAddress);
    this.localPort = options.localPort ?? 80;
    this.ingress = options.ingress ?? {};
    this.isn = options.isn ?? 0x7ffff000;
    this.relativeTimestamps = options.relativeTimestamps ?? false;
  }

  /** Sends a segment; payload bytes are `payload` or zeros of the length that the text says. */
  in(text: string, payload?: Uint8Array | string, header?: HeaderFields): void {
    this.host.inject(this.bytes(text, payload, header), this.ingress);
  }

  /** The same without letting the stack answer yet: part of a batch. */
  queue(text: string, payload?: Uint8Array | string): void {
    this.host.input(this.bytes(text, payload), this.ingress);
  }

  /** The packet that `in` sends. */
  bytes(text: string, payload?: Uint8Array | string, header: HeaderFields = {}): Uint8Array {
    const segment = parseSegment(text);
    const data = typeof payload === 'string' ? new TextEncoder().encode(payload) : payload;
    if (data !== undefined && data.length !== segment.length) {
      throw new SyntaxError(`${text}: payload is ${data.length} bytes`);
    }
    return encodePacket({
      source: this.address,
      destination: this.localAddress,
      sport: this.port,
      dport: this.localPort,
      seq: (this.isn + segment.seq) >>> 0,
      ack: segment.ack === undefined ? 0 : ((this.localIsn ?? 0) + segment.ack) >>> 0,
      flags: segment.flags,
      window: segment.win ?? 65_535,
      urgent: segment.urg ?? 0,
      options: (segment.options ?? []).map((option) => this.liveOption(option)),
      payload: data ?? new Uint8Array(segment.length),
      ttl: header.ttl ?? 64,
      tos: header.tos ?? 0,
      id: header.id ?? 0,
      df: header.df ?? false,
    });
  }

  /** SACK blocks and timestamp echoes of the peer name the stack's numbers. */
  private liveOption(option: OptionText): OptionText {
    if (option.kind === 'TS' && this.relativeTimestamps && option.ecr !== 0) {
      const ecr = ((this.localTimestamp ?? 0) + option.ecr - FIRST_TIMESTAMP) >>> 0;
      return { ...option, ecr };
    }
    if (option.kind !== 'sack') return option;
    const base = this.localIsn ?? 0;
    return {
      kind: 'sack',
      blocks: option.blocks.map(([l, r]) => [(base + l) >>> 0, (base + r) >>> 0]),
    };
  }

  /** Sends an ICMP error about a packet, by default the one that the last `out` took. */
  icmp(type: number, code: number, info = 0, about: Uint8Array = this.lastBytes): void {
    this.host.inject(encodeIcmpError(this.address, about, type, code, info), this.ingress);
  }

  /**
   * Takes the next packet that the stack sent and compares it with `text`: flags, sequence numbers,
   * length and ack always (no `ack` written = the field is 0), window and options if written.
   * Throws Error with both forms.
   */
  out(text: string): TcpPacket {
    const expected = parseSegment(text);
    const bytes = this.link.sent.shift();
    if (bytes === undefined) throw new Error(`expected ${text}, but nothing was sent`);
    const packet = decodePacket(bytes, this.link.offload.checksum);
    this.last = packet;
    this.lastBytes = bytes;
    if (packet.flags.includes('S')) this.localIsn ??= packet.seq;
    const actual = this.relative(packet);
    const shown: SegmentText = { ...actual };
    if (expected.win === undefined) delete shown.win;
    if (expected.options === undefined) delete shown.options;
    if (expected.options === null) shown.options = null;
    const wanted = formatSegment({ ...expected, ack: expected.ack ?? 0 });
    if (formatSegment(shown) !== wanted) {
      throw new Error(`expected ${wanted}, got ${formatSegment(actual)}`);
    }
    return packet;
  }

  /** Demands that nothing (more) was sent. */
  quiet(): void {
    const bytes = this.link.sent.shift();
    if (bytes === undefined) return;
    const packet = decodePacket(bytes, this.link.offload.checksum);
    throw new Error(`expected nothing, got ${formatSegment(this.relative(packet))}`);
  }

  /** What `packet` looks like as text. The 0 of a RST|ACK that answers no connection stays 0. */
  private relative(packet: TcpPacket): SegmentText {
    const unconnected = packet.flags === 'R.' && packet.seq === 0;
    const firstSeq = packet.flags.includes('S') ? packet.seq : 0;
    const base = unconnected ? 0 : (this.localIsn ?? firstSeq);
    const options = packet.options.map((option): OptionText => {
      if (option.kind === 'TS' && this.relativeTimestamps) {
        this.localTimestamp ??= option.val;
        return { ...option, val: (option.val - this.localTimestamp + FIRST_TIMESTAMP) >>> 0 };
      }
      if (option.kind !== 'sack') return option;
      const blocks = option.blocks.map(([l, r]): [number, number] => [
        (l - this.isn) >>> 0,
        (r - this.isn) >>> 0,
      ]);
      return { kind: 'sack', blocks };
    });
    return {
      flags: packet.flags,
      seq: (packet.seq - base) >>> 0,
      length: packet.payload.length,
      ack: packet.flags.includes('.') ? (packet.ack - this.isn) >>> 0 : packet.ack,
      win: packet.window,
      urg: packet.urgent,
      options,
    };
  }

  /** What the stack has sent over the peer's link. */
  private get link(): MemoryLink {
    return this.host.links[(this.ingress.ifindex ?? IFINDEX_LINK) - IFINDEX_LINK]!;
  }

  /** A whole passive handshake; returns the accepted descriptor. */
  establish(listener: number, options = '<mss 1460>', win = 65_535): number {
    this.in(`S 0:0(0) win ${win} ${options}`);
    this.out('S. 0:0(0) ack 1 <...>');
    this.in(`. 1:1(0) ack 1 win ${win}`);
    const fd = this.host.accept(listener);
    if (fd < 0) throw new Error(`accept: errno ${-fd}`);
    return fd;
  }
}
