/**
 * One data connection of an iperf3 test, in one direction: what comes is read into one buffer and
 * thrown away, what goes is written from one buffer, and both are counted. Allocates nothing while
 * data flows. A rate is kept by pausing, checked before each block.
 */
import { EAGAIN } from '../net/errno.js';
import type { Sockaddr } from '../socket/sys-table.js';
import {
  EPOLLIN,
  EPOLLOUT,
  EPOLLRDHUP,
  IP_TOS,
  IPPROTO_IP,
  IPPROTO_TCP,
  SO_RCVBUF,
  SO_SNDBUF,
  SOL_SOCKET,
  TCP_CONGESTION,
  TCP_INFO,
  TCP_NODELAY,
} from '../socket/uapi/constants.js';
import { TCP_INFO_FIRST_WORDS, TcpInfoWord } from '../socket/uapi/tcp-info.js';
import type { Connections } from './demo-server/protocol.js';
import { BYTES_IN, BYTES_OUT } from './demo-server/worker-counters.js';
import { CONGESTIONS, type Parameters } from './iperf3-protocol.js';

/** Room of one read. */
export const READ_BYTES: number = 512 << 10;
/** Reads or blocks of one stream per event: then it is the turn of the others. */
const TURNS_PER_EVENT = 16;
/** At most this much is written per event, so that a small buffer is as fair as a large one. */
const EVENT_BYTES: number = 4 << 20;

/** What TCP says of a sender. */
export interface SenderFacts {
  retransmits: number;
  cwndBytes: number;
  rttUs: number;
  rttvarUs: number;
  pmtu: number;
}

/** Buffers that all streams of a test share; the stack copies out of and into them. */
export interface StreamBuffers {
  read: Uint8Array;
  /** One block. */
  block: Uint8Array;
}

export class DataStream {
  readonly fd: number;
  /** iperf3's number of it. */
  readonly id: number;
  readonly sends: boolean;
  readonly local: Sockaddr;
  readonly remote: Sockaddr;
  /** Bytes since the test, or what counts of it, began; and since the last interval. */
  bytes = 0;
  intervalBytes = 0;
  /** Retransmits that happened before the test or what counts of it. */
  private retransBase = 0;
  private retransAtInterval = 0;
  /** Closed, by whichever side. */
  over = false;
  /** Paused until then, ms; 0 = not paused. */
  pausedUntilMs = 0;
  private blockAt = 0;
  /** Bytes since the start of the pace, which an omitted beginning does not reset. */
  private pacedBytes = 0;
  private paceFromMs = 0;
  private readonly bytesPerMs: number;
  private readonly connections: Connections;
  private readonly buffers: StreamBuffers;
  private readonly info: Int32Array = new Int32Array(TCP_INFO_FIRST_WORDS);

  constructor(
    connections: Connections,
    at: { fd: number; id: number; sends: boolean; local: Sockaddr; remote: Sockaddr },
    parameters: Parameters,
    buffers: StreamBuffers,
  ) {
    this.connections = connections;
    this.fd = at.fd;
    this.id = at.id;
    this.sends = at.sends;
    this.local = at.local;
    this.remote = at.remote;
    this.buffers = buffers;
    this.bytesPerMs = parameters.bitsPerSecond / 8000;
    this.configure(parameters);
  }

  /** Linux's calls for -N, -w, -S and -C; what they refuse leaves the socket as it is. */
  private configure(parameters: Parameters): void {
    const { sys } = this.connections;
    const { fd } = this;
    sys.setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, parameters.nodelay ? 1 : 0);
    if (parameters.windowBytes > 0) {
      sys.setsockopt(fd, SOL_SOCKET, SO_RCVBUF, parameters.windowBytes);
      sys.setsockopt(fd, SOL_SOCKET, SO_SNDBUF, parameters.windowBytes);
    }
    if (parameters.tos > 0) sys.setsockopt(fd, IPPROTO_IP, IP_TOS, parameters.tos);
    if (parameters.congestion >= 0) {
      sys.setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, parameters.congestion);
    }
  }

  /** Name of its congestion control. */
  congestion(): string {
    return CONGESTIONS[this.connections.sys.getsockopt(this.fd, IPPROTO_TCP, TCP_CONGESTION)] ?? '';
  }

  /** From now on data flows. */
  start(): void {
    this.retransBase = this.facts().retransmits;
    this.paceFromMs = this.connections.nowMs();
    this.listen();
  }

  private listen(): void {
    this.connections.interest(this.fd, (this.sends ? EPOLLOUT : EPOLLIN) | EPOLLRDHUP);
  }

  /** What has flowed so far does not count. */
  reset(): void {
    const { retransmits } = this.facts();
    this.retransBase += retransmits;
    this.retransAtInterval = 0;
    this.bytes = 0;
    this.intervalBytes = 0;
  }

  /** @returns the retransmits of the interval that ends now; begins the next */
  endInterval(facts: SenderFacts): number {
    const retransmits = facts.retransmits - this.retransAtInterval;
    this.retransAtInterval = facts.retransmits;
    this.intervalBytes = 0;
    return retransmits;
  }

  /** As TCP says now, or as it last said before the connection was lost. */
  facts(): SenderFacts {
    const { info } = this;
    if (!this.over) this.connections.sys.getsockopt(this.fd, IPPROTO_TCP, TCP_INFO, info);
    return {
      retransmits: (info[TcpInfoWord.totalRetrans]! >>> 0) - this.retransBase,
      cwndBytes: info[TcpInfoWord.sndCwnd]! * info[TcpInfoWord.sndMss]!,
      rttUs: info[TcpInfoWord.rtt]!,
      rttvarUs: info[TcpInfoWord.rttvar]!,
      pmtu: info[TcpInfoWord.pmtu]!,
    };
  }

  /** @returns false when the connection is over, closed by its peer or lost */
  onEvents(events: number): boolean {
    if (!this.sends) return this.receive();
    return (events & EPOLLRDHUP) === 0 && this.transmit();
  }

  private receive(): boolean {
    const { sys, counters } = this.connections;
    const { read } = this.buffers;
    for (let turn = 0; turn < TURNS_PER_EVENT; turn++) {
      const got = sys.read(this.fd, read, 0, read.length);
      if (got === -EAGAIN) return true;
      if (got <= 0) return false;
      this.bytes += got;
      this.intervalBytes += got;
      counters[BYTES_IN]! += got;
      if (got < read.length) return true;
    }
    return true;
  }

  /** Takes what has arrived and was not read, at the end of a test. */
  drain(): void {
    if (!this.sends && !this.over) this.receive();
  }

  private transmit(): boolean {
    const { sys, counters } = this.connections;
    const { block } = this.buffers;
    let room = EVENT_BYTES;
    for (let turn = 0; turn < TURNS_PER_EVENT * 4 && room > 0; turn++) {
      if (this.bytesPerMs > 0 && this.mustPause()) return true;
      const sent = sys.write(this.fd, block, this.blockAt, block.length - this.blockAt);
      if (sent === -EAGAIN) return true;
      if (sent < 0) return false;
      this.blockAt = (this.blockAt + sent) % block.length;
      this.bytes += sent;
      this.intervalBytes += sent;
      this.pacedBytes += sent;
      counters[BYTES_OUT]! += sent;
      room -= sent;
    }
    return true;
  }

  /** Ahead of its rate: waits for nothing but its end until `resume`. */
  private mustPause(): boolean {
    const dueMs = this.paceFromMs + this.pacedBytes / this.bytesPerMs;
    if (dueMs <= this.connections.nowMs()) return false;
    this.pausedUntilMs = dueMs;
    this.connections.interest(this.fd, EPOLLRDHUP);
    return true;
  }

  resume(): void {
    this.pausedUntilMs = 0;
    this.listen();
  }
}

/** A block to send: zeros, or digits that repeat. */
export function makeBlock(bytes: number, repeating: boolean): Uint8Array {
  const block = new Uint8Array(bytes);
  if (repeating) for (let i = 0; i < bytes; i++) block[i] = 0x30 + (i % 10);
  return block;
}
