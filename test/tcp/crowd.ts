/**
 * Hundreds of short connections at once against the listeners of a stack in memory, in every phase
 * a connection has: packets under way, half open, queued, accepted. Each client asks with one byte
 * and is answered by the number of the worker that accepted it. Packets are delayed and reordered
 * at random, and lost if wanted; clients repeat what got no answer. All by one seed.
 */
import type { Random } from '../../src/net/env.js';
import { EAGAIN, EINVAL } from '../../src/net/errno.js';
import { inetLookupEstablished } from '../../src/reuseport/lookup.js';
import { SK_REQUEST } from '../../src/reuseport/sock-common.js';
import { EPOLLRDHUP } from '../../src/socket/uapi/constants.js';
import {
  decodePacket,
  encodePacket,
  MemoryStack,
  seededRandom,
  type TcpPacket,
} from '../../src/testing/index.js';

export const PORT = 80;
const FIRST_PORT = 10_000;
const PEER: number = 0xc61200fe;
/** How long a client waits for an answer before it repeats itself, steps. */
const PATIENCE_STEPS = 400;
const STEP_MS = 1;
/** In one step: does a worker take a connection from its queue, and answer one that it has? */
const ACCEPT_CHANCE = 0.6;
const ANSWER_CHANCE = 0.05;

export type Fate = 'waiting' | 'served' | 'reset';

/** One client, from its side of the wire. */
export class Client {
  readonly number: number;
  readonly isn: number;
  fate: Fate = 'waiting';
  /** The worker that answered, -1 = none. */
  worker = -1;
  /** The stack's initial sequence number + 1, known from its SYN-ACK. */
  rcvNxt = -1;
  /** What it has sent, and step at which it lost patience with that. */
  last: Uint8Array[] = [];
  dueStep = 0;

  constructor(number: number, isn: number) {
    this.number = number;
    this.isn = isn;
  }
}

export interface CrowdOptions {
  seed: number;
  workers: number;
  migrate: boolean;
  /** Share of packets that get lost, each way. */
  loss: number;
}

interface Worker {
  listenFd: number;
  alive: boolean;
  open: Map<number, Client>;
  /** Connections it has taken over. */
  accepted: Set<Client>;
}

export class Crowd {
  readonly host: MemoryStack;
  readonly clients: Client[] = [];
  readonly workers: Worker[] = [];
  readonly random: Random;
  /** Looks that a worker takes at its queue in one step. */
  accepts = 1;
  private readonly options: CrowdOptions;
  /** Packets under way. */
  private readonly toStack: Uint8Array[] = [];
  private readonly toClients: Uint8Array[] = [];
  private steps = 0;

  constructor(options: CrowdOptions) {
    this.options = options;
    this.random = seededRandom(options.seed);
    this.host = new MemoryStack({
      seed: options.seed,
      fds: 4096,
      sysctl: { 'net.ipv4.tcp_migrate_req': options.migrate ? 1 : 0 },
    });
    for (let i = 0; i < options.workers; i++) {
      const listenFd = this.host.listen(PORT, 4000, { reuseport: true });
      this.workers.push({ listenFd, alive: true, open: new Map(), accepted: new Set() });
    }
    this.host.poll();
  }

  chance(share: number): boolean {
    return this.random.u32() < share * 2 ** 32;
  }

  /** One turn of everybody. @param newcomers clients that begin */
  step(newcomers: number): void {
    this.steps++;
    for (let i = 0; i < newcomers; i++) this.begin();
    for (const client of this.clients) {
      if (client.fate === 'waiting' && this.steps >= client.dueStep) this.send(client, client.last);
    }
    this.deliver(this.toStack, (packet) => this.host.input(packet));
    this.host.advance(STEP_MS);
    for (const packet of this.host.sent.splice(0)) this.launch(this.toClients, packet);
    this.deliver(this.toClients, (packet) => this.arrives(decodePacket(packet)));
    for (const worker of this.workers) if (worker.alive) this.work(worker);
  }

  /** Until nobody waits any more, or `limit` steps. */
  settle(limit: number): void {
    for (let i = 0; i < limit && this.waiting() > 0; i++) this.step(0);
  }

  waiting(): number {
    return this.count((client) => client.fate === 'waiting');
  }

  count(test: (client: Client) => boolean): number {
    return this.clients.filter(test).length;
  }

  /** What the stack knows of a client that has not been accepted. */
  phase(client: Client): 'unknown' | 'half-open' | 'queued' {
    const { hashinfo } = this.host.stack.tcp;
    const port = FIRST_PORT + client.number;
    const { address } = this.host;
    const sk = inetLookupEstablished(hashinfo, PEER | 0, port, address, PORT, 0);
    if (sk === null) return 'unknown';
    return sk.kind === SK_REQUEST ? 'half-open' : 'queued';
  }

  /** As when a worker's thread has died: its connections are reset, then its listener closes. */
  kill(index: number): void {
    const worker = this.workers[index]!;
    worker.alive = false;
    for (const fd of worker.open.keys()) this.host.stack.abort(fd);
    this.host.stack.close(worker.listenFd);
    this.host.poll();
  }

  private begin(): void {
    const client = new Client(this.clients.length, this.random.u32());
    this.clients.push(client);
    this.send(client, [this.packet(client, 'S', 0)]);
  }

  private send(client: Client, packets: Uint8Array[]): void {
    client.last = packets;
    client.dueStep = this.steps + PATIENCE_STEPS + (this.random.u32() % 50);
    for (const packet of packets) this.launch(this.toStack, packet);
  }

  private launch(wire: Uint8Array[], packet: Uint8Array): void {
    if (!this.chance(this.options.loss)) wire.push(packet);
  }

  /** About a tenth of what is under way arrives, in any order. */
  private deliver(wire: Uint8Array[], to: (packet: Uint8Array) => void): void {
    const count = Math.ceil(wire.length * 0.1);
    for (let i = 0; i < count; i++) {
      const pick = this.random.u32() % wire.length;
      const packet = wire[pick]!;
      wire[pick] = wire.at(-1)!;
      wire.pop();
      to(packet);
    }
  }

  private packet(client: Client, flags: string, seq: number, text = ''): Uint8Array {
    return encodePacket({
      source: PEER,
      destination: this.host.address >>> 0,
      sport: FIRST_PORT + client.number,
      dport: PORT,
      seq: (client.isn + seq) >>> 0,
      ack: flags.includes('.') ? client.rcvNxt >>> 0 : 0,
      flags,
      window: 65_535,
      urgent: 0,
      options: [],
      payload: new TextEncoder().encode(text),
      ttl: 64,
      tos: 0,
      id: 0,
      df: true,
    });
  }

  private arrives(packet: TcpPacket): void {
    const client = this.clients[packet.dport - FIRST_PORT]!;
    if (client.fate !== 'waiting') {
      // It is done: whatever else the stack has to say, there is nobody any more.
      if (!packet.flags.includes('R')) this.launch(this.toStack, this.packet(client, 'R', 2));
      return;
    }
    if (packet.flags.includes('R')) client.fate = 'reset';
    else if (packet.flags.includes('S')) {
      client.rcvNxt = (packet.seq + 1) >>> 0;
      this.send(client, [this.packet(client, '.', 1), this.packet(client, 'P.', 1, '?')]);
    } else if (packet.payload.length > 0) {
      client.fate = 'served';
      client.worker = packet.payload[0]!;
      this.launch(this.toStack, this.packet(client, 'R', 2));
    }
  }

  private work(worker: Worker): void {
    for (let look = 0; look < this.accepts && worker.listenFd >= 0; look++) {
      if (!this.chance(ACCEPT_CHANCE)) continue;
      const fd = this.host.accept(worker.listenFd);
      if (fd >= 0) {
        const client = this.clients[this.host.stack.sock(fd)!.dport - FIRST_PORT]!;
        worker.open.set(fd, client);
        worker.accepted.add(client);
      } else if (fd === -EINVAL && (this.host.ready(worker.listenFd) & EPOLLRDHUP) !== 0) {
        this.host.close(worker.listenFd); // drained
        worker.listenFd = -1;
        worker.alive = worker.open.size > 0;
      }
    }
    for (const fd of worker.open.keys()) {
      if (!this.chance(ANSWER_CHANCE)) continue;
      const bytes = this.host.read(fd, 16);
      if (bytes === -EAGAIN) continue;
      if (typeof bytes !== 'number' && bytes.length > 0) {
        this.host.write(fd, Uint8Array.of(this.workers.indexOf(worker)));
      }
      this.host.close(fd);
      worker.open.delete(fd);
    }
  }
}
