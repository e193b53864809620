/**
 * A real stack for an experiment, with clients at the other end of its link: listeners, handshakes
 * packet by packet (SYN, SYN-ACK, ACK through the real lookup, SYN queue and accept queue), accept
 * and close. The link takes no time and loses nothing; checksums are vouched for as a TUN device
 * with offload does. Whom a new connection wakes is the real list of interests
 * (stack/interests.ts), of which wait-queue.ts makes workers that sleep.
 */
import { assert } from '../net/assert.js';
import type { Device } from '../net/env.js';
import { ACK, RST, SYN } from '../net/layout.js';
import { Mib } from '../net/mib.js';
import { CHECKSUM_UNNECESSARY, IFINDEX_LINK, type Skb } from '../net/skb.js';
import { BLOCK_RADDR, BLOCK_RPORT } from '../net/sockmem.js';
import { type Profile, Sysctl } from '../net/sysctl.js';
import { reuseportAttachSelector } from '../reuseport/group.js';
import { inetLookupListener } from '../reuseport/lookup.js';
import type { Selector } from '../reuseport/selector-request.js';
import { SO_REUSEPORT, SOL_SOCKET } from '../socket/uapi/constants.js';
import { fileAccept } from '../socket/uapi/file-ops.js';
import { createCtl, openShared, type SharedMemory } from '../socket/uapi/shared.js';
import { Interests } from '../stack/interests.js';
import { Stack } from '../stack/stack.js';
import { acceptQueueLength } from '../tcp/accept-queue.js';
import { seededRandom } from '../testing/memory-stack.js';

/** 198.18.0.1, the server's address, and its port. */
export const SERVER_ADDRESS: number = (198 << 24) | (18 << 16) | 1;
export const SERVER_PORT = 80;
/** nginx's default backlog. */
export const BACKLOG = 511;

const ARENA_BYTES = 32 << 20;
const FIRST_US = 1_000_000;
const HEADERS_BYTES = 40;
const TCP_AT = 20;
const PROTOCOL_TCP = 6;
const CLIENT_WINDOW = 65_535;

export interface HostOptions {
  readonly seed: number;
  readonly profile?: Profile;
  /** Most sockets at a time. */
  readonly fds?: number;
}

export class LabHost {
  readonly stack: Stack;
  readonly shared: SharedMemory;
  readonly interests: Interests;
  private readonly skb: Skb;
  /** Sequence number of the last SYN-ACK, null when none has come since it was cleared. */
  private synAckSeq: number | null = null;

  constructor(options: HostOptions) {
    const fds = options.fds ?? 4096;
    this.shared = openShared(createCtl(fds), new Uint8Array(ARENA_BYTES));
    this.interests = new Interests(this.shared);
    const device: Device = {
      mtu: 1500,
      offload: { checksum: true, gsoMaxBytes: 0 },
      transmit: (skb) => this.transmitted(skb),
    };
    const sysctl = new Sysctl(options.profile ?? '6.18');
    this.stack = new Stack(
      {
        device,
        random: seededRandom(options.seed),
        events: { ready: (fd, bits) => this.interests.ready(fd, bits) },
      },
      sysctl,
      this.shared.mem,
      { addresses: [SERVER_ADDRESS] },
    );
    this.stack.poll(FIRST_US);
    const skb = this.stack.net.inputSkbs.alloc();
    assert(skb !== null, 'the arena has no room for a packet');
    this.skb = skb;
  }

  /** Where the clock of a run begins, µs. */
  get nowUs(): number {
    return this.stack.net.nowUs;
  }

  /**
   * One listener on the server's port: its descriptor.
   * @param address int32, 0 = any; another than the server's becomes one of ours
   */
  listen(reuseport: boolean, address = 0): number {
    const { stack } = this;
    if (address !== 0) stack.net.addAddress(address);
    const fd = stack.socket(0);
    if (reuseport) stack.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1, 0);
    const error = stack.bind(fd, address, SERVER_PORT) || stack.listen(fd, BACKLOG);
    assert(error === 0, `listening failed with ${error}`);
    return fd;
  }

  /** `count` members of one group, in the order of their listen(). */
  listenGroup(count: number): number[] {
    return Array.from({ length: count }, () => this.listen(true));
  }

  /** A member stops: it leaves its group. */
  unlisten(fd: number): void {
    this.stack.close(fd);
    this.stack.poll(this.nowUs);
  }

  /**
   * The real lookup for a SYN, and nothing more: the index of the member that its group picks, -1
   * when no group was asked. `hashinfo.visited` tells the sockets looked at.
   */
  lookup(address: number, port: number, daddr: number = SERVER_ADDRESS): number {
    const { hashinfo } = this.stack.tcp;
    this.skb.reset();
    inetLookupListener(hashinfo, address | 0, port, daddr, SERVER_PORT, IFINDEX_LINK, this.skb);
    return hashinfo.slot;
  }

  /** Gives the group of `member` a selector; what it sees of the members is the stack's own. */
  select(member: number, selector: Selector): void {
    const { hashinfo } = this.stack.tcp;
    const error = reuseportAttachSelector(hashinfo, this.stack.sock(member)!, selector);
    assert(error === 0, `attaching the selector failed with ${error}`);
  }

  /** Connections in the accept queue of a listener. */
  queueLength(listener: number): number {
    return acceptQueueLength(this.stack.tcp, this.stack.sock(listener)!);
  }

  /**
   * A client's SYN at `nowUs`.
   * @returns the sequence number of the SYN-ACK, null when the stack did not answer: the accept
   *   queue is full
   */
  syn(nowUs: number, address: number, port: number): number | null {
    this.stack.poll(nowUs);
    this.synAckSeq = null;
    this.send(address, port, SYN, 0, 0);
    this.stack.poll(nowUs);
    return this.synAckSeq;
  }

  /**
   * The third packet of that client's handshake: the connection waits in a listener's accept queue
   * then, and whoever sleeps on it has been woken.
   * @param isn what `syn` returned
   * @returns false when the stack dropped it: the accept queue was full by then
   */
  ack(nowUs: number, address: number, port: number, isn: number): boolean {
    const { net } = this.stack;
    this.stack.poll(nowUs);
    const overflows = net.mib[Mib.ListenOverflows]!;
    this.send(address, port, ACK, 1, (isn + 1) | 0);
    this.stack.poll(nowUs);
    return net.mib[Mib.ListenOverflows] === overflows;
  }

  /** accept4(2): a descriptor or -EAGAIN. */
  accept(listener: number): number {
    return fileAccept(this.shared.mem, listener);
  }

  /** The client's port of an accepted connection. */
  clientPort(fd: number): number {
    return this.shared.ctl[this.shared.mem.blockAt(fd) + BLOCK_RPORT]!;
  }

  /** The client's address, u32. */
  clientAddress(fd: number): number {
    return this.shared.ctl[this.shared.mem.blockAt(fd) + BLOCK_RADDR]! >>> 0;
  }

  /** The server is done with a connection: reset, so that no TIME-WAIT outlives the experiment. */
  close(nowUs: number, fd: number): void {
    this.stack.poll(nowUs);
    this.stack.abort(fd);
    this.stack.poll(nowUs);
  }

  private transmitted(skb: Skb): boolean {
    const flags = skb.bytes[skb.start + TCP_AT + 13]!;
    if ((flags & (SYN | RST)) === SYN) this.synAckSeq = skb.view.getInt32(skb.start + TCP_AT + 4);
    return true;
  }

  /** One segment without payload from a client. */
  private send(address: number, port: number, flags: number, seq: number, ack: number): void {
    const { skb } = this;
    skb.reset();
    const { view, start } = skb;
    skb.end = start + HEADERS_BYTES;
    skb.bytes.fill(0, start, skb.end);
    view.setUint8(start, 0x45);
    view.setUint16(start + 2, HEADERS_BYTES);
    view.setUint8(start + 8, 64);
    view.setUint8(start + 9, PROTOCOL_TCP);
    view.setInt32(start + 12, address | 0);
    view.setInt32(start + 16, SERVER_ADDRESS);
    view.setUint16(start + 10, headerChecksum(view, start));
    const tcp = start + TCP_AT;
    view.setUint16(tcp, port);
    view.setUint16(tcp + 2, SERVER_PORT);
    view.setInt32(tcp + 4, seq);
    view.setInt32(tcp + 8, ack);
    view.setUint8(tcp + 12, 5 << 4);
    view.setUint8(tcp + 13, flags);
    view.setUint16(tcp + 14, CLIENT_WINDOW);
    skb.ipSummed = CHECKSUM_UNNECESSARY;
    this.stack.input(skb);
  }
}

/** Of an IPv4 header without options whose checksum field is still 0. */
function headerChecksum(view: DataView, start: number): number {
  let sum = 0;
  for (let at = start; at < start + TCP_AT; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return ~sum & 0xffff;
}
