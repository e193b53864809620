/**
 * pcapng (draft-ietf-opsawg-pcapng): a writer for raw IP packets with µs timestamps, direction and
 * comments, and a reader for tests and tools. The writer fills a buffer of its own and hands it to
 * a sink; it opens no file. Written are section header, interface description and enhanced packet
 * blocks, little-endian; other blocks are skipped by the reader.
 */
import type { Skb } from '../net/skb.js';

export const LINKTYPE_RAW = 101;
/** Largest packet written whole: a super-packet fits with room to spare. */
export const SNAPLEN = 262_144;

const BLOCK_SECTION = 0x0a0d0d0a;
const BLOCK_INTERFACE = 1;
const BLOCK_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;

const OPT_END = 0;
const OPT_COMMENT = 1;
const OPT_SHB_USERAPPL = 4;
const OPT_IF_NAME = 2;
const OPT_IF_TSRESOL = 9;
const OPT_EPB_FLAGS = 2;

/** epb_flags, bits 0 and 1. */
const FLAGS_IN = 1;
const FLAGS_OUT = 2;

const TWO_32 = 2 ** 32;
/** Type and length before a block's body, length again after it. */
const BLOCK_HEAD_BYTES = 8;
const BLOCK_FRAME_BYTES = 12;
const PACKET_HEAD_BYTES = BLOCK_HEAD_BYTES + 20;
const DEFAULT_BUFFER_BYTES = 512 << 10;
const OPTION_MAX_BYTES = 0xffff;

/** Room for one packet block whatever its packet and comments. */
const PACKET_BLOCK_MAX_BYTES = SNAPLEN + PACKET_HEAD_BYTES + 64;

/** Takes bytes of the file; `chunk` is valid only during the call. */
export type PcapngSink = (chunk: Uint8Array) => void;

export interface PcapngWriterOptions {
  /** if_name; default 'tun'. */
  interfaceName?: string;
  /** shb_userappl; default 'tunstack'. */
  application?: string;
  /** The sink has a section header and an interface description already. */
  continues?: boolean;
  /** Bytes collected before the sink is called; at least one block always fits. */
  bufferBytes?: number;
}

const encoder = new TextEncoder();

const pad4 = (length: number): number => (length + 3) & ~3;

export class PcapngWriter {
  /** Packets written so far. */
  packets = 0;
  private readonly sink: PcapngSink;
  private bytes: Uint8Array;
  private view: DataView;
  private readonly flushAt: number;
  private used = 0;
  /**
   * Where the last packet block begins and its end-of-options lies, while it is still in the
   * buffer; else -1.
   */
  private lastBlock = -1;
  private lastOptions = -1;

  /** Writes the section header and one interface description, unless another writer has. */
  constructor(sink: PcapngSink, options: PcapngWriterOptions = {}) {
    this.sink = sink;
    this.flushAt = options.bufferBytes ?? DEFAULT_BUFFER_BYTES;
    this.bytes = new Uint8Array(Math.max(this.flushAt, 4096));
    this.view = new DataView(this.bytes.buffer);
    if (options.continues === true) return;
    this.sectionHeader(options.application ?? 'tunstack');
    this.interfaceDescription(options.interfaceName ?? 'tun');
  }

  /**
   * Adds one packet.
   *
   * @param timestampUs µs since 1970
   * @param packet begins at the IP header; longer than SNAPLEN is cut
   */
  packet(
    timestampUs: number,
    packet: Uint8Array,
    options: { direction?: 'in' | 'out'; comment?: string } = {},
  ): void {
    const at = this.beginPacket(timestampUs, packet.length);
    this.bytes.set(packet.subarray(0, Math.min(packet.length, SNAPLEN)), at);
    this.endPacket(packet.length, options.direction);
    if (options.comment !== undefined) this.annotate(options.comment);
  }

  /** Adds the packet of an skb: linear bytes and fragments. */
  skb(timestampUs: number, skb: Skb, direction: 'in' | 'out'): void {
    const at = this.beginPacket(timestampUs, skb.length);
    skb.copyOut(this.bytes.subarray(at, at + Math.min(skb.length, SNAPLEN)));
    this.endPacket(skb.length, direction);
  }

  /**
   * Adds a comment to the packet written last. False when it has left the buffer already (after
   * `flush`).
   */
  annotate(comment: string): boolean {
    if (this.lastBlock < 0) return false;
    const text = encoder.encode(comment).subarray(0, OPTION_MAX_BYTES);
    this.reserve(this.used + pad4(text.length) + 4);
    this.used = this.lastOptions;
    this.option(OPT_COMMENT, text);
    this.lastOptions = this.used;
    this.option(OPT_END, null);
    this.endBlock(this.lastBlock);
    return true;
  }

  /** Hands everything written so far to the sink. */
  flush(): void {
    if (this.used === 0) return;
    const length = this.used;
    this.used = 0;
    this.lastBlock = -1;
    this.sink(this.bytes.subarray(0, length));
  }

  private sectionHeader(application: string): void {
    const at = this.beginBlock(BLOCK_SECTION);
    this.u32(BYTE_ORDER_MAGIC);
    this.u32(1); // version 1.0
    this.u32(0xffffffff); // section length: not known (64 bits of ones)
    this.u32(0xffffffff);
    this.option(OPT_SHB_USERAPPL, encoder.encode(application));
    this.option(OPT_END, null);
    this.endBlock(at);
  }

  private interfaceDescription(name: string): void {
    const at = this.beginBlock(BLOCK_INTERFACE);
    this.u32(LINKTYPE_RAW);
    this.u32(SNAPLEN);
    this.option(OPT_IF_NAME, encoder.encode(name));
    this.option(OPT_IF_TSRESOL, Uint8Array.of(6));
    this.option(OPT_END, null);
    this.endBlock(at);
  }

  /** Head of an enhanced packet block; returns where the packet's bytes go. */
  private beginPacket(timestampUs: number, length: number): number {
    const captured = Math.min(length, SNAPLEN);
    if (this.used + captured + PACKET_HEAD_BYTES + 64 > this.flushAt) this.flush();
    this.reserve(this.used + Math.min(PACKET_BLOCK_MAX_BYTES, captured + PACKET_HEAD_BYTES + 64));
    this.lastBlock = this.beginBlock(BLOCK_PACKET);
    this.u32(0); // interface
    this.u32(Math.floor(timestampUs / TWO_32));
    this.u32(timestampUs % TWO_32);
    this.u32(captured);
    this.u32(length);
    return this.used;
  }

  private endPacket(length: number, direction: 'in' | 'out' | undefined): void {
    const captured = Math.min(length, SNAPLEN);
    this.bytes.fill(0, this.used + captured, this.used + pad4(captured));
    this.used += pad4(captured);
    if (direction !== undefined) {
      this.u32((4 << 16) | OPT_EPB_FLAGS);
      this.u32(direction === 'in' ? FLAGS_IN : FLAGS_OUT);
    }
    this.lastOptions = this.used;
    this.option(OPT_END, null);
    this.endBlock(this.lastBlock);
    this.packets++;
  }

  private beginBlock(type: number): number {
    const at = this.used;
    this.u32(type);
    this.u32(0);
    return at;
  }

  private endBlock(at: number): void {
    const length = this.used + 4 - at;
    this.u32(length);
    this.view.setUint32(at + 4, length, true);
  }

  private option(code: number, value: Uint8Array | null): void {
    const length = value?.length ?? 0;
    this.u32((length << 16) | code);
    if (value === null) return;
    this.bytes.set(value, this.used);
    this.bytes.fill(0, this.used + length, this.used + pad4(length));
    this.used += pad4(length);
  }

  private u32(value: number): void {
    this.view.setUint32(this.used, value, true);
    this.used += 4;
  }

  /** Grows the buffer when `bytes` do not fit: a block is never cut. */
  private reserve(bytes: number): void {
    if (bytes <= this.bytes.length) return;
    const grown = new Uint8Array(Math.max(bytes, this.bytes.length * 2));
    grown.set(this.bytes.subarray(0, this.used));
    this.bytes = grown;
    this.view = new DataView(grown.buffer);
  }
}

/** One interface description block. */
export interface PcapngInterface {
  linkType: number;
  snaplen: number;
  name: string;
}

/** One enhanced packet block. */
export interface PcapngPacket {
  interfaceId: number;
  /** µs since 1970. */
  timestampUs: number;
  /** Length on the wire; `data` may be shorter. */
  length: number;
  data: Uint8Array;
  direction: 'in' | 'out' | null;
  comments: string[];
}

export interface PcapngFile {
  application: string;
  interfaces: PcapngInterface[];
  packets: PcapngPacket[];
  /** The file ends inside a block (whoever wrote it was killed); what came before is complete. */
  truncated: boolean;
}

/** Not a pcapng file, or damaged. */
export class PcapngError extends Error {
  override readonly name = 'PcapngError';
}

/**
 * Parses a whole file of one or more sections, in either byte order. Packets hold views of `bytes`.
 *
 * @throws PcapngError when it does not begin with a section header or a block's lengths make no
 *   sense
 */
export function readPcapng(bytes: Uint8Array): PcapngFile {
  return new PcapngReader(bytes).read();
}

class PcapngReader {
  private readonly bytes: Uint8Array;
  private readonly view: DataView;
  private little = true;
  /** Interfaces of all sections; ids count from the section's first. */
  private sectionInterfaces = 0;
  private readonly unitsPerUs: number[] = [];
  private readonly file: PcapngFile = {
    application: '',
    interfaces: [],
    packets: [],
    truncated: false,
  };

  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  read(): PcapngFile {
    let at = 0;
    while (at < this.bytes.length) {
      if (at + BLOCK_FRAME_BYTES > this.bytes.length) return this.cut(at);
      const type = this.u32(at);
      if (type === BLOCK_SECTION) this.detectByteOrder(at);
      else if (at === 0) throw new PcapngError('not a pcapng file: no section header');
      const length = this.u32(at + 4);
      if (length < BLOCK_FRAME_BYTES || length % 4 !== 0) {
        throw new PcapngError(`block at ${at} has length ${length}`);
      }
      if (at + length > this.bytes.length) return this.cut(at);
      if (this.u32(at + length - 4) !== length) {
        throw new PcapngError(`block at ${at}: its two lengths differ`);
      }
      this.block(type, at + BLOCK_HEAD_BYTES, at + length - 4);
      at += length;
    }
    return this.file;
  }

  private cut(at: number): PcapngFile {
    if (at === 0) throw new PcapngError('not a pcapng file: too short');
    this.file.truncated = true;
    return this.file;
  }

  private detectByteOrder(at: number): void {
    this.little = this.view.getUint32(at + 8, true) === BYTE_ORDER_MAGIC;
    if (!this.little && this.view.getUint32(at + 8, false) !== BYTE_ORDER_MAGIC) {
      throw new PcapngError(`section header at ${at} has no byte-order magic`);
    }
  }

  private block(type: number, at: number, end: number): void {
    if (type === BLOCK_SECTION) this.section(at, end);
    else if (type === BLOCK_INTERFACE) this.interfaceDescription(at, end);
    else if (type === BLOCK_PACKET) this.enhancedPacket(at, end);
  }

  private section(at: number, end: number): void {
    this.sectionInterfaces = this.file.interfaces.length;
    this.options(at + 16, end, (code, from, length) => {
      if (code === OPT_SHB_USERAPPL) this.file.application = this.text(from, length);
    });
  }

  private interfaceDescription(at: number, end: number): void {
    let name = '';
    let unitsPerUs = 1;
    this.options(at + 8, end, (code, from, length) => {
      if (code === OPT_IF_NAME) name = this.text(from, length);
      if (code === OPT_IF_TSRESOL) {
        const resolution = this.bytes[from]!;
        const base = resolution & 0x80 ? 2 : 10;
        unitsPerUs = base ** (resolution & 0x7f) / 1e6;
      }
    });
    this.unitsPerUs.push(unitsPerUs);
    const linkType = this.view.getUint16(at, this.little);
    this.file.interfaces.push({ linkType, snaplen: this.u32(at + 4), name });
  }

  private enhancedPacket(at: number, end: number): void {
    const interfaceId = this.sectionInterfaces + this.u32(at);
    const unitsPerUs = this.unitsPerUs[interfaceId];
    const captured = this.u32(at + 12);
    if (unitsPerUs === undefined) throw new PcapngError(`packet of interface ${interfaceId}`);
    if (at + 20 + captured > end) throw new PcapngError(`packet at ${at} is longer than its block`);
    const packet: PcapngPacket = {
      interfaceId,
      timestampUs: (this.u32(at + 4) * TWO_32 + this.u32(at + 8)) / unitsPerUs,
      length: this.u32(at + 16),
      data: this.bytes.subarray(at + 20, at + 20 + captured),
      direction: null,
      comments: [],
    };
    this.options(at + 20 + pad4(captured), end, (code, from, length) => {
      if (code === OPT_COMMENT) packet.comments.push(this.text(from, length));
      if (code === OPT_EPB_FLAGS) packet.direction = directionOf(this.u32(from));
    });
    this.file.packets.push(packet);
  }

  private options(
    at: number,
    end: number,
    take: (code: number, from: number, length: number) => void,
  ): void {
    while (at + 4 <= end) {
      const code = this.view.getUint16(at, this.little);
      const length = this.view.getUint16(at + 2, this.little);
      if (code === OPT_END) return;
      if (at + 4 + length > end) throw new PcapngError(`option at ${at} is longer than its block`);
      take(code, at + 4, length);
      at += 4 + pad4(length);
    }
  }

  private text(from: number, length: number): string {
    return new TextDecoder().decode(this.bytes.subarray(from, from + length));
  }

  private u32(at: number): number {
    return this.view.getUint32(at, this.little);
  }
}

function directionOf(flags: number): 'in' | 'out' | null {
  if ((flags & 3) === FLAGS_IN) return 'in';
  return (flags & 3) === FLAGS_OUT ? 'out' : null;
}
