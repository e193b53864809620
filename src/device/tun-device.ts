/**
 * The hot path of a TUN device: one `read` a packet in, one `write` or `writev` a packet out,
 * straight from and to the arena. The virtio-net header lives in the skb's headroom directly before
 * the IP header, so a packet without fragments is one stretch of memory. An arena that is not
 * native memory (a plain buffer in a test) goes through a bounce buffer. Nothing here throws
 * because of a packet, and nothing allocates for one. Opening and setting up is tun.ts's.
 */
import type { Device } from '../net/env.js';
import { EAGAIN, ENOBUFS, ENOMEM } from '../net/errno.js';
import { IPHDR_BYTES } from '../net/layout.js';
import { CHECKSUM_NONE, FRAGMENTS_MOST, SKB_HEADROOM, type Skb } from '../net/skb.js';
import { LinkCounters } from './link-counters.js';
import { mmapArena, munmapArena, type Native, native, nativeAddress } from './native.js';
import { readVnetHeader, VNET_HDR_BYTES, writeVnetHeader } from './vnet.js';

/** Largest IP packet, bytes: what one read or write can carry. */
export const PACKET_MAX_BYTES = 65_535;

/**
 * A struct iovec is two 64-bit words: address and length, each written as a low and a high half.
 */
const IOVEC_WORDS = 4;
const IOVEC_MAX: number = 1 + FRAGMENTS_MOST;
const TWO_32 = 2 ** 32;
/** The bounce buffer: the vectors, then room for one packet with its header. */
const BOUNCE_AT = 256;
const BOUNCE_BYTES = 128 << 10;

/** What tun.ts knows about a device that is open and up. */
export interface TunDescription {
  readonly fd: number;
  readonly name: string;
  /**
   * Dotted quads: the stack's address and the host's on this link, and the prefix length of both.
   */
  readonly address: string;
  readonly peer: string;
  readonly prefix: number;
  readonly mtu: number;
  /** Packets that the kernel queues for us; when more come it drops them silently. */
  readonly txqueuelen: number;
  /** The device speaks virtio-net headers. */
  readonly vnet: boolean;
}

export class TunDevice implements Device {
  readonly name: string;
  readonly address: string;
  readonly peer: string;
  readonly prefix: number;
  readonly mtu: number;
  /** Without offload keep window / MSS below it: what does not fit is dropped silently. */
  readonly txqueuelen: number;
  readonly offload: { readonly checksum: boolean; readonly gsoMaxBytes: number };
  readonly counters: LinkCounters = new LinkCounters();
  /** errno of the last failure that was counted as an error, 0 = none. */
  lastErrno = 0;
  /** -1 once closed. */
  fd: number;

  private readonly calls: Native;
  /** Bytes of link header before each packet: VNET_HDR_BYTES or 0. */
  private readonly headerBytes: number;
  /** The arena of the last skb, and where it lies; 0 = not native memory. */
  private arena: Uint8Array = new Uint8Array(0);
  private arenaAddress = 0;
  private readonly scratchAddress: number;
  private readonly scratch: Uint8Array;
  private readonly scratchView: DataView;
  private readonly iovec: Uint32Array;

  constructor(description: TunDescription) {
    this.fd = description.fd;
    this.name = description.name;
    this.address = description.address;
    this.peer = description.peer;
    this.prefix = description.prefix;
    this.mtu = description.mtu;
    this.txqueuelen = description.txqueuelen;
    this.headerBytes = description.vnet ? VNET_HDR_BYTES : 0;
    this.offload = {
      checksum: description.vnet,
      gsoMaxBytes: description.vnet ? PACKET_MAX_BYTES : 0,
    };
    this.calls = native();
    const { address, bytes } = mmapArena(BOUNCE_BYTES);
    this.scratchAddress = address;
    this.scratch = bytes;
    this.scratchView = new DataView(bytes.buffer);
    this.iovec = new Uint32Array(bytes.buffer, 0, IOVEC_MAX * IOVEC_WORDS);
  }

  /**
   * Closes the device; the kernel removes it unless it was made beforehand. May be called again.
   */
  close(): void {
    if (this.fd < 0) return;
    this.calls.close(this.fd);
    this.fd = -1;
    munmapArena(this.scratchAddress, BOUNCE_BYTES);
  }

  /**
   * Reads one packet into `skb`: [start, end) is the packet, ipSummed and gsoSize say what the link
   * did for us. False = nothing is waiting, or what came was no packet (counted).
   */
  receive(skb: Skb): boolean {
    if (this.fd < 0) return false;
    if (skb.bytes !== this.arena) this.adopt(skb.bytes);
    const start = skb.base + SKB_HEADROOM;
    const at = start - this.headerBytes;
    const room = skb.base + skb.capacity - at;
    const count =
      this.arenaAddress !== 0
        ? this.calls.read(this.fd, this.arenaAddress + at, room)
        : this.readBounced(skb, at, room);
    if (count < this.headerBytes + IPHDR_BYTES) {
      this.readFailed(count);
      return false;
    }
    skb.start = start;
    skb.end = at + count;
    skb.frag0Bytes = 0;
    skb.frag1Bytes = 0;
    if (this.headerBytes !== 0) {
      readVnetHeader(skb, skb.view, at);
    } else {
      skb.ipSummed = CHECKSUM_NONE;
      skb.gsoSize = 0;
    }
    this.counters.rxPackets++;
    this.counters.rxBytes += skb.end - start;
    return true;
  }

  /**
   * Sends one packet: linear bytes and fragments. The link header goes into the ten bytes before
   * skb.start. False = it is lost: the queue is full (txDropped), or the kernel refused it
   * (txErrors, lastErrno).
   */
  transmit(skb: Skb): boolean {
    if (this.fd < 0) return false;
    if (skb.bytes !== this.arena) this.adopt(skb.bytes);
    const at = skb.start - this.headerBytes;
    if (this.arenaAddress === 0 || at < skb.base) return this.transmitBounced(skb);
    if (this.headerBytes !== 0) writeVnetHeader(skb, skb.view, at);
    const address = this.arenaAddress + at;
    const linear = skb.end - at;
    const written =
      skb.fragmentBytes === 0
        ? this.calls.write(this.fd, address, linear)
        : this.gather(skb, address, linear);
    return this.finish(written);
  }

  /** One writev of the linear bytes (with their link header) and the fragments that there are. */
  private gather(skb: Skb, address: number, linear: number): number {
    this.setVector(0, address, linear);
    let count = 1;
    for (let i = 0; i < skb.fragments; i++) {
      const bytes = skb.size(i);
      if (bytes > 0) this.setVector(count++, this.arenaAddress + skb.place(i), bytes);
    }
    return this.calls.writev(this.fd, this.scratchAddress, count);
  }

  /** Little-endian 64-bit words without BigInt: addresses are below 2^53. */
  private setVector(index: number, address: number, length: number): void {
    const at = index * IOVEC_WORDS;
    this.iovec[at] = address;
    this.iovec[at + 1] = address / TWO_32;
    this.iovec[at + 2] = length;
    this.iovec[at + 3] = 0;
  }

  private finish(written: number): boolean {
    if (written < 0) {
      const errno = this.calls.errno();
      if (errno === EAGAIN || errno === ENOBUFS || errno === ENOMEM) {
        this.counters.txDropped++;
      } else {
        this.counters.txErrors++;
        this.lastErrno = errno;
      }
      return false;
    }
    this.counters.txPackets++;
    this.counters.txBytes += written - this.headerBytes;
    return true;
  }

  private readFailed(count: number): void {
    if (count >= 0) {
      this.counters.rxErrors++;
      return;
    }
    const errno = this.calls.errno();
    if (errno === EAGAIN) return;
    this.counters.rxErrors++;
    this.lastErrno = errno;
  }

  private adopt(arena: Uint8Array): void {
    this.arena = arena;
    this.arenaAddress = nativeAddress(arena);
  }

  private readBounced(skb: Skb, at: number, room: number): number {
    const length = Math.min(room, BOUNCE_BYTES - BOUNCE_AT);
    const count = this.calls.read(this.fd, this.scratchAddress + BOUNCE_AT, length);
    if (count > 0) skb.bytes.set(this.scratch.subarray(BOUNCE_AT, BOUNCE_AT + count), at);
    return count;
  }

  private transmitBounced(skb: Skb): boolean {
    if (skb.length > PACKET_MAX_BYTES) {
      this.counters.txErrors++;
      return false;
    }
    if (this.headerBytes !== 0) writeVnetHeader(skb, this.scratchView, BOUNCE_AT);
    const to = skb.copyOut(this.scratch, BOUNCE_AT + this.headerBytes);
    const address = this.scratchAddress + BOUNCE_AT;
    return this.finish(this.calls.write(this.fd, address, to - BOUNCE_AT));
  }
}
