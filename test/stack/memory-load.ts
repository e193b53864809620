/**
 * The whole way of a request in one thread and in memory: packets of a crowd of clients, a real
 * Stack behind its pump and its command rings, and the demo server's loop on `sys`. Nothing waits,
 * so what a run costs does not depend on the machine: for counting what a packet allocates, and for
 * looking at the path with a profiler. The clients' TCP knows no losses: it acknowledges, asks
 * again, and closes when the server does.
 */

import { Endpoints } from '../../src/app/demo-server/endpoints.js';
import { FilesEndpoint } from '../../src/app/demo-server/files.js';
import { HttpProtocol } from '../../src/app/demo-server/http-protocol.js';
import { makeListeners } from '../../src/app/demo-server/listeners.js';
import { ServerLoop } from '../../src/app/demo-server/server-loop.js';
import { DiscardService } from '../../src/app/demo-server/stream-services.js';
import { REQUESTS } from '../../src/app/demo-server/worker-counters.js';
import { CHECKSUM_UNNECESSARY, SKB_HEADROOM, type Skb } from '../../src/net/skb.js';
import { Sysctl } from '../../src/net/sysctl.js';
import { createSys } from '../../src/socket/sys.js';
import {
  C_TICKET,
  commandAt,
  G_STACK_SLEEPING,
  G_STATE,
  STACK_RUNNING,
  T_CMD_TAIL,
  threadAt,
} from '../../src/socket/uapi/layout.js';
import { createCtl, openShared, reserveThread } from '../../src/socket/uapi/shared.js';
import { ThreadPort } from '../../src/socket/uapi/thread-port.js';
import { Pump, type PumpDevice } from '../../src/stack/pump.js';
import { Stack } from '../../src/stack/stack.js';
import { Syscalls } from '../../src/stack/syscalls.js';
import { ACK, FIN, PSH, SYN } from '../../src/tcp/segment.js';
import { seededRandom } from '../../src/testing/memory-stack.js';

const SERVER = 0xc6120001 | 0; // 198.18.0.1
const CLIENT = 0xc61200fe | 0; // 198.18.0.254
const FIRST_PORT = 10_000;
const HTTP_PORT = 80;
const DISCARD_PORT = 9;
const IP_BYTES = 20;
/** MSS 1460, SACK permitted and timestamps, window scale 7. */
const SYN_OPTIONS = [2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 0, 1, 3, 3, 7];
/** Where the timestamp is in them. */
const SYN_TSVAL = 8;
const SEGMENT_HEADER_BYTES = 32;
const WINDOW = 65_535;
const WSCALE = 7;

export interface LoadOptions {
  connections: number;
  /** What each connection asks for, again and again; empty = nothing. */
  request: string;
  /** A new connection for each request. */
  close?: boolean;
  /** Instead of requests: text for the discard service, in super-packets of this many bytes. */
  uploadBytes?: number;
  /** A link without offload: segments of one MSS, with checksums. */
  plain?: boolean;
}

/** One client's end of a connection. */
interface Client {
  seq: number;
  ack: number;
  /** Our sequence number up to which the server has acknowledged, and may be sent. */
  acked: number;
  edge: number;
  tsval: number;
  /** Upload: end of the text that is queued to be sent. */
  planned: number;
}

/** What a client sends next. */
const SEND_SYN = 0;
const SEND_REQUEST = 1;
const SEND_ACK = 2;
const SEND_FIN = 3;
const SEND_TEXT = 4;

/** The device of the stack, with the clients behind it. */
class ClientLink implements PumpDevice {
  readonly mtu = 1500;
  readonly offload: { checksum: boolean; gsoMaxBytes: number };
  readonly counters = {
    rxPackets: 0,
    rxBytes: 0,
    rxErrors: 0,
    txPackets: 0,
    txBytes: 0,
    txDropped: 0,
    txErrors: 0,
  };
  bytesIn = 0;
  bytesOut = 0;
  private readonly options: LoadOptions;
  private readonly request: Uint8Array;
  private readonly clients: Client[] = [];
  /** What is to be sent: client << 3 | SEND_*. */
  private readonly queue: Int32Array = new Int32Array(1 << 16);
  private head = 0;
  private tail = 0;
  private readonly dport: number;

  constructor(options: LoadOptions) {
    this.options = options;
    const plain = options.plain === true;
    this.offload = { checksum: !plain, gsoMaxBytes: plain ? 0 : 65_535 };
    this.request = new TextEncoder().encode(options.request);
    this.dport = options.uploadBytes === undefined ? HTTP_PORT : DISCARD_PORT;
    for (let i = 0; i < options.connections; i++) {
      const seq = Math.imul(i, 7919) | 0;
      this.clients.push({ seq, ack: 0, acked: 0, edge: 0, tsval: 1, planned: 0 });
    }
  }

  /** All clients connect. */
  start(): void {
    for (let i = 0; i < this.clients.length; i++) this.enqueue(i, SEND_SYN);
  }

  close(): void {}

  private enqueue(client: number, what: number): void {
    this.queue[this.tail++ & 0xffff] = (client << 3) | what;
  }

  receive(skb: Skb): boolean {
    if (this.head === this.tail) return false;
    const entry = this.queue[this.head++ & 0xffff]!;
    this.build(skb, entry >>> 3, entry & 7);
    this.counters.rxPackets++;
    this.counters.rxBytes += skb.end - skb.start;
    return true;
  }

  private build(skb: Skb, index: number, what: number): void {
    const client = this.clients[index]!;
    const { view } = skb;
    skb.start = skb.base + SKB_HEADROOM;
    const at = skb.start + IP_BYTES;
    let end = at + 20;
    let flags = ACK;
    let text = 0;
    if (what === SEND_SYN) {
      for (let i = 0; i < SYN_OPTIONS.length; i++) view.setUint8(end + i, SYN_OPTIONS[i]!);
      view.setUint32(end + SYN_TSVAL, client.tsval);
      end += SYN_OPTIONS.length;
      flags = SYN;
    } else {
      view.setUint32(end, 0x0101080a);
      view.setUint32(end + 4, client.tsval);
      view.setUint32(end + 8, 0);
      end = at + SEGMENT_HEADER_BYTES;
      if (what === SEND_REQUEST) {
        text = this.request.length;
        skb.bytes.set(this.request, end);
        flags |= PSH;
      } else if (what === SEND_TEXT) {
        text = this.options.uploadBytes!;
        skb.gsoSize = 1448;
        this.bytesIn += text;
      } else if (what === SEND_FIN) flags |= FIN;
    }
    view.setUint16(at, FIRST_PORT + index);
    view.setUint16(at + 2, this.dport);
    view.setInt32(at + 4, client.seq);
    view.setInt32(at + 8, what === SEND_SYN ? 0 : client.ack);
    view.setUint8(at + 12, ((end - at) >> 2) << 4);
    view.setUint8(at + 13, flags);
    view.setUint16(at + 14, WINDOW);
    view.setUint32(at + 16, 0);
    skb.end = end + text;
    this.ipHeader(skb);
    skb.ipSummed = CHECKSUM_UNNECESSARY;
    client.seq = (client.seq + text + (what === SEND_SYN || what === SEND_FIN ? 1 : 0)) | 0;
    if (what === SEND_FIN) this.again(index, client);
  }

  /** A server that closed first keeps TIME-WAIT: the next SYN is beyond it (RFC 6191). */
  private again(index: number, client: Client): void {
    client.seq = (client.seq + 100_000) | 0;
    client.tsval += 10;
    this.enqueue(index, SEND_SYN);
  }

  private ipHeader(skb: Skb): void {
    const { view, start } = skb;
    view.setUint16(start, 0x4500);
    view.setUint16(start + 2, skb.end - start);
    view.setUint32(start + 4, 0x4000);
    view.setUint32(start + 8, 0x40060000);
    view.setInt32(start + 12, CLIENT);
    view.setInt32(start + 16, SERVER);
    let sum = 0;
    for (let i = 0; i < IP_BYTES; i += 2) sum += view.getUint16(start + i);
    sum = (sum & 0xffff) + (sum >>> 16);
    view.setUint16(start + 10, ~(sum + (sum >>> 16)) & 0xffff);
  }

  transmit(skb: Skb): boolean {
    const { view } = skb;
    const at = skb.start + IP_BYTES;
    const index = view.getUint16(at + 2) - FIRST_PORT;
    const client = this.clients[index]!;
    const flags = view.getUint8(at + 13);
    const text = skb.length - IP_BYTES - (view.getUint8(at + 12) >> 4) * 4;
    client.acked = view.getInt32(at + 8);
    client.edge =
      (client.acked + (view.getUint16(at + 14) << ((flags & SYN) !== 0 ? 0 : WSCALE))) | 0;
    client.ack = (view.getInt32(at + 4) + text + ((flags & (SYN | FIN)) !== 0 ? 1 : 0)) | 0;
    this.counters.txPackets++;
    this.counters.txBytes += skb.length;
    this.bytesOut += text;
    this.answer(index, client, flags, text);
    return true;
  }

  private answer(index: number, client: Client, flags: number, text: number): void {
    const { uploadBytes, close } = this.options;
    if (uploadBytes !== undefined) {
      if ((flags & SYN) !== 0) {
        client.planned = client.seq;
        this.enqueue(index, SEND_ACK);
      }
      while (((client.edge - client.planned) | 0) >= uploadBytes) {
        this.enqueue(index, SEND_TEXT);
        client.planned = (client.planned + uploadBytes) | 0;
      }
      return;
    }
    if ((flags & FIN) !== 0) this.enqueue(index, SEND_FIN);
    else if ((flags & SYN) !== 0) {
      this.enqueue(index, SEND_ACK);
      this.enqueue(index, SEND_REQUEST);
    } else if (text > 0 && close !== true) {
      // The answer's last segment says PSH: the next request carries the ACK.
      this.enqueue(index, (flags & PSH) !== 0 && text < 1448 ? SEND_REQUEST : SEND_ACK);
    }
  }
}

/** A server under load: see the head of this file. */
export class MemoryLoad {
  readonly link: ClientLink;
  readonly counters: Float64Array = new Float64Array(16);
  private readonly pump: Pump;
  private readonly loop: ServerLoop;
  private nowUs = 1e6;

  constructor(options: LoadOptions) {
    const shared = openShared(createCtl(8192), new Uint8Array(new ArrayBuffer(256 << 20)));
    const syscalls = new Syscalls(shared);
    const link = new ClientLink(options);
    this.link = link;
    const env = { device: link, random: seededRandom(1), events: syscalls };
    const stack = new Stack(env, new Sysctl('6.18'), shared.mem, {
      addresses: [SERVER],
      holdsAcks: true,
    });
    syscalls.attach(stack);
    const { ctl } = shared;
    Atomics.store(ctl, G_STATE, STACK_RUNNING);
    const clock = (): number => this.nowUs;
    this.pump = new Pump({ ctl, stack, syscalls, device: link, clock, wait() {}, spinUs: 0 });
    const thread = reserveThread(ctl, shared.layout);
    const at = threadAt(shared.layout, thread);
    Atomics.store(ctl, G_STACK_SLEEPING, 1);
    const port = new ThreadPort(shared, thread, () => {
      Atomics.store(ctl, G_STACK_SLEEPING, 1);
      // Only somebody who waits for a result has the stack run at once.
      const command = commandAt(at, ctl[at + T_CMD_TAIL]! - 1);
      if (ctl[command + C_TICKET] !== 0) this.pump.runOnce();
    });
    const sys = createSys(port);
    const impatient = {
      ...sys,
      epoll_wait: (...[fd, events, most]: Parameters<typeof sys.epoll_wait>) =>
        sys.epoll_wait(fd, events, most, 0),
    };
    this.loop = new ServerLoop({
      sys: impatient,
      counters: this.counters,
      nowMs: () => this.nowUs / 1000,
      onDraining() {},
    });
    const view = { worker: 0, connection: () => null as never, stats: () => ({}), nowMs: () => 0 };
    const endpoints = new Endpoints(view, new FilesEndpoint(null), false);
    const http = new HttpProtocol(this.loop, endpoints, () => 1e12);
    this.loop.serve(makeListeners(sys, HTTP_PORT, 511, 1, true)[0]!, http, true);
    const discard = new DiscardService(this.loop);
    this.loop.serve(makeListeners(sys, DISCARD_PORT, 511, 1, true)[0]!, discard, true);
    link.start();
  }

  get requests(): number {
    return this.counters[REQUESTS]!;
  }

  /** One turn of the stack thread and one of the worker. */
  turn(): void {
    this.stackTurn();
    this.workerTurn();
  }

  /** The clock moves, too. */
  stackTurn(): void {
    this.nowUs += 100;
    this.pump.runOnce();
  }

  workerTurn(): void {
    this.loop.turn();
  }
}
