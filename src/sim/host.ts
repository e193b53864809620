/**
 * One host: a whole stack with its memory and its link, and the file operations of its one
 * application thread, on virtual time. Packets wait in an inbox until the host's turn, as they do
 * in a device queue; a turn is what the pump of a stack thread does. What the application wants is
 * application.ts's.
 */

import type { Device } from '../net/env.js';
import { IPPROTO_ICMP, IPPROTO_TCP } from '../net/layout.js';
import { MemoryFiles } from '../net/memory-files.js';
import { RING_HEAD, ringUsed } from '../net/ring.js';
import { CHECKSUM_UNNECESSARY, type Skb } from '../net/skb.js';
import {
  BLOCK_LADDR,
  BLOCK_LPORT,
  BLOCK_RADDR,
  BLOCK_RCV,
  BLOCK_RPORT,
  BLOCK_SND,
} from '../net/sockmem.js';
import { type Profile, Sysctl, setSysctl } from '../net/sysctl.js';
import {
  fileAccept,
  fileRead,
  fileTakenDue,
  fileWrite,
  NEED_RING,
} from '../socket/uapi/file-ops.js';
import { filePassedOver, fileReadUrgent } from '../socket/uapi/file-read.js';
import { NEED_EXTENTS } from '../socket/uapi/file-write.js';
import { fileSend, memoryWrite } from '../socket/uapi/memory-file.js';
import { Stack } from '../stack/stack.js';
import { SimMemory } from './arena.js';
import { Coverage } from './coverage.js';
import { Dice, FOR_STACK } from './dice.js';
import type { Half, Ledger } from './ledger.js';
import type { Flight } from './router.js';
import { type Log, stackTrace } from './trace.js';

const PROTOCOL_AT = 9;
/** Packets taken in one turn. */
const BURST = 64;
/** Thread id + 1 of the application. */
const APPLICATION = 1;

/** The link of a host, which counts. */
export interface CountedLink extends Device {
  /** Packets that were taken from the host, and that it was given. */
  sent: number;
  received: number;
}

export interface HostOptions {
  readonly seed: number;
  readonly index: number;
  readonly address: number;
  /** How often the host has been started before. */
  readonly life: number;
  readonly profile: Profile;
  readonly sysctl: Readonly<Record<string, string>>;
  readonly link: CountedLink;
  readonly fds: number;
  readonly arena: Uint8Array;
  /** How long packets wait for the host at most, µs. */
  readonly slownessUs: number;
  readonly log: Log | null;
}

/** In every so many-th world quick ACKs wait for an answer, as in a stack thread. */
const HOLDERS = 8;
/** Which text a host leaves in its packet's buffer: all, or what is longer. */
const LEND_LEAST_BYTES = [1, 100, 1000, 16 << 10];

export class SimHost {
  readonly index: number;
  readonly address: number;
  readonly life: number;
  readonly stack: Stack;
  readonly mem: SimMemory;
  readonly link: CountedLink;
  readonly slownessUs: number;
  /** When it wants its next turn, µs; Infinity = only when a packet comes. */
  turnUs: number = Infinity;
  /** Stopped answering for ever, or was started anew as another object. */
  dead = false;
  /** Descriptors that have become ready, as told by the stack, and not been looked at. */
  readonly ready: number[] = [];
  /** What its application did and was told, and transitions between states. */
  readonly coverage: Coverage = new Coverage();
  /** Packets of neither TCP nor ICMP that have come: some of them count as delivered. */
  otherPackets = 0;
  /** Memory files of its application. */
  readonly files: MemoryFiles;
  private readonly inbox: Flight[] = [];
  /** Every packet comes in through this one buffer, as in the pump. */
  private readonly skb: Skb;

  constructor(options: HostOptions) {
    this.index = options.index;
    this.address = options.address;
    this.life = options.life;
    this.link = options.link;
    this.slownessUs = options.slownessUs;
    this.mem = new SimMemory(options.arena, options.fds);
    this.files = new MemoryFiles(this.mem);
    const sysctl = new Sysctl(options.profile);
    for (const [name, value] of Object.entries(options.sysctl)) {
      const error = setSysctl(sysctl, name, value);
      if (error !== null) throw new RangeError(error);
    }
    const { seed, index, life, log } = options;
    const told = log === null ? null : stackTrace(log, index, () => this.stack.net.nowUs);
    const state = (fd: number, from: number, to: number): void => {
      this.coverage.addState(from, to);
      told?.state?.(fd, from, to);
    };
    const lendLeastBytes = new Dice(FOR_STACK, seed, index, life, 1).pick(LEND_LEAST_BYTES);
    this.stack = new Stack(
      {
        device: options.link,
        random: new Dice(FOR_STACK, seed, index, life),
        trace: { ...told, state },
        events: { ready: (fd) => this.ready.push(fd) },
      },
      sysctl,
      this.mem,
      { addresses: [options.address], holdsAcks: seed % HOLDERS === 7, lendLeastBytes },
    );
    const skb = this.stack.net.inputSkbs.alloc();
    if (skb === null) throw new RangeError('the arena is too small for one packet');
    this.skb = skb;
  }

  /** A packet has arrived. */
  receive(flight: Flight, nowUs: number): void {
    this.inbox.push(flight);
    this.turnUs = Math.min(this.turnUs, nowUs + this.slownessUs);
  }

  /** Something that its application does or is told. */
  did(what: string): void {
    this.coverage.add(`call ${what}`);
  }

  /** Packets in, at `nowUs`. */
  takePackets(nowUs: number): void {
    this.stack.net.nowUs = nowUs;
    for (const { bytes, ipSummed, gsoSize } of this.inbox.splice(0, BURST)) {
      this.input(bytes, ipSummed, ipSummed === CHECKSUM_UNNECESSARY ? gsoSize : 0);
    }
  }

  /** One packet in, now. */
  input(bytes: Uint8Array, ipSummed: number, gsoSize: number): void {
    const { skb } = this;
    skb.reset();
    skb.bytes.set(bytes, skb.start);
    skb.end = skb.start + bytes.length;
    skb.ipSummed = ipSummed;
    skb.gsoSize = gsoSize;
    this.link.received++;
    const protocol = bytes[PROTOCOL_AT];
    if (protocol !== IPPROTO_TCP && protocol !== IPPROTO_ICMP) this.otherPackets++;
    this.stack.input(skb);
  }

  /** Timers and output; says when the next turn must be. */
  poll(nowUs: number): void {
    this.stack.poll(nowUs);
    if (this.files.waiting > 0) this.files.reap(nowUs);
    const due = this.inbox.length > 0 ? nowUs : this.stack.nextDeadlineUs();
    this.turnUs = Math.max(due, nowUs);
  }

  get packetsWaiting(): number {
    return this.inbox.length;
  }

  accept(fd: number): number {
    return fileAccept(this.mem, fd, APPLICATION);
  }

  /** `flags`: MSG_MORE, MSG_OOB. */
  write(fd: number, bytes: Uint8Array, flags = 0): number {
    let taken = fileWrite(this.mem, fd, APPLICATION, bytes, 0, bytes.length, flags);
    if (taken === NEED_RING) {
      const attached = this.stack.attachSendRing(fd);
      if (attached !== 0) return attached;
      taken = fileWrite(this.mem, fd, APPLICATION, bytes, 0, bytes.length, flags);
    }
    if (taken > 0) this.stack.published(fd);
    return taken;
  }

  /** The bytes as a memory file, which is closed as soon as it is queued. */
  sendfile(fd: number, bytes: Uint8Array): number {
    const { files, mem } = this;
    const file = files.create();
    if (file < 0) return this.write(fd, bytes);
    const memory = files.allocate(file, bytes.length);
    if (memory === 0) memoryWrite(mem, file, bytes, 0);
    const taken = memory === 0 ? this.sendFrom(fd, file, bytes.length) : this.write(fd, bytes);
    files.close(file);
    mem.freeFd(file);
    return taken;
  }

  private sendFrom(fd: number, file: number, count: number): number {
    const { mem, stack } = this;
    let taken = fileSend(mem, fd, APPLICATION, file, 0, count, true);
    if (taken === NEED_RING || taken === NEED_EXTENTS) {
      const attached = stack.attachSendRing(fd, true);
      if (attached !== 0) return attached;
      taken = fileSend(mem, fd, APPLICATION, file, 0, count, false);
    }
    if (taken > 0) {
      this.did('sendfile');
      stack.published(fd);
    }
    return taken;
  }

  read(fd: number, target: Uint8Array, most: number): number {
    const count = fileRead(this.mem, fd, APPLICATION, target, 0, most, false);
    if (count > 0 && fileTakenDue(this.mem, fd)) this.stack.consumed(fd);
    return count;
  }

  /** MSG_PEEK: what read() would give, and how many urgent bytes it would pass over before. */
  peek(fd: number, target: Uint8Array, most: number): { count: number; passed: number } {
    const passed = filePassedOver(this.mem, fd);
    const count = fileRead(this.mem, fd, APPLICATION, target, 0, most, true);
    return { count, passed };
  }

  /** MSG_OOB: the byte + 256, 0 at the end of the stream, or -errno. */
  readUrgent(fd: number): number {
    return fileReadUrgent(this.mem, fd, false);
  }

  /** Where read() goes on in the numbers of the peer. */
  readAt(fd: number): number {
    return this.mem.ctl[this.mem.blockAt(fd) + BLOCK_RCV + RING_HEAD]!;
  }

  /** Bytes that the peer has not acknowledged. */
  unacknowledged(fd: number): number {
    return ringUsed(this.mem.ctl, this.mem.blockAt(fd) + BLOCK_SND);
  }

  /** What the connection behind `fd` sends, and what it gets. */
  halves(
    fd: number,
    ledger: Ledger,
    irs: number = this.stack.sock(fd)!.irs,
  ): { own: Half; peer: Half } {
    const { ctl } = this.mem;
    const at = this.mem.blockAt(fd);
    const tcb = this.stack.sock(fd)!;
    const address = ctl[at + BLOCK_LADDR]!;
    const port = ctl[at + BLOCK_LPORT]!;
    const peer = ctl[at + BLOCK_RADDR]!;
    const peerPort = ctl[at + BLOCK_RPORT]!;
    return {
      own: ledger.half(address, port, peer, peerPort, tcb.iss),
      peer: ledger.half(peer, peerPort, address, port, irs),
    };
  }
}
