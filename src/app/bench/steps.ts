/**
 * The way of a byte through our stack, step by step, in memory: two stacks, one sending and one
 * receiving, a bulk of superpackets as over the device, and a request with its answer. Each step is
 * timed by itself; what a real run adds (the device, the kernel at its other end, threads waking
 * each other) is device-limits.ts and the difference. No privilege.
 */
import type { Device } from '../../net/env.js';
import { CHECKSUM_UNNECESSARY, FRAGMENTS_MOST, type Skb } from '../../net/skb.js';
import { fileRead, fileTakenDue, fileWrite, NEED_RING } from '../../socket/uapi/file-ops.js';
import { ipv4, MemoryStack } from '../../testing/memory-stack.js';
import { FailedError } from '../command.js';
import type { AloneProbe, Figure, Said } from './measure.js';
import { rowOf } from './pairs.js';

const PORT = 80;
const APPLICATION = 1;
const BULK_BYTES = 65_160;
const REQUEST_BYTES = 100;
const ANSWER_BYTES = 150;
const HEADER_MAX_BYTES = 128;
const ROUNDS = 2000;
const WARM_UP_ROUNDS = 2000;
/** Until the windows of a bulk are open. */
const GROW_ROUNDS = 200;
/** Virtual time between two steps, µs. */
const STEP_US = 10;
const FRAMES_MAX = 64;

/** A packet on its way: its header here, its payload still in the sender's ring. */
interface Frame {
  readonly header: Uint8Array;
  headerBytes: number;
  /** Place and bytes of each fragment, `words` in all. */
  readonly frags: Int32Array;
  words: number;
  gsoSize: number;
}

/** A link that keeps descriptions of packets: what a device would gather. */
class Link implements Device {
  readonly mtu = 1500;
  readonly offload = { checksum: true, gsoMaxBytes: 65_535 };
  readonly frames: Frame[] = Array.from({ length: FRAMES_MAX }, () => ({
    header: new Uint8Array(HEADER_MAX_BYTES),
    headerBytes: 0,
    frags: new Int32Array(FRAGMENTS_MOST * 2),
    words: 0,
    gsoSize: 0,
  }));
  count = 0;

  transmit(skb: Skb): boolean {
    const frame = this.frames[this.count]!;
    frame.headerBytes = skb.end - skb.start;
    for (let i = 0; i < frame.headerBytes; i++) frame.header[i] = skb.bytes[skb.start + i]!;
    frame.words = 0;
    for (let i = 0; i < skb.fragments; i++) {
      frame.frags[frame.words++] = skb.place(i);
      frame.frags[frame.words++] = skb.size(i);
    }
    frame.gsoSize = skb.gsoSize;
    this.count++;
    return true;
  }
}

class Host {
  readonly link = new Link();
  readonly host: MemoryStack;
  private readonly buffer: Uint8Array = new Uint8Array(1 << 17);

  constructor(address: string, seed: number) {
    // Room for several superpackets from the start: its tuning is not what is measured.
    const room = '4096 1048576 16777216';
    const sysctl = { 'net.ipv4.tcp_rmem': room, 'net.ipv4.tcp_wmem': room };
    this.host = new MemoryStack({ address, seed, device: this.link, gsoMaxBytes: 65_535, sysctl });
  }

  /** Copies what `sender` has sent into an skb of ours each: the kernel's part. */
  take(sender: Host): Skb[] {
    const { frames, count } = sender.link;
    sender.link.count = 0;
    return frames.slice(0, count).map((frame) => {
      const skb = this.host.stack.net.inputSkbs.alloc();
      if (skb === null) throw new FailedError('bench: no packet memory left', '');
      const bytes = sender.host.mem.bytes;
      skb.bytes.set(frame.header.subarray(0, frame.headerBytes), skb.start);
      let end = skb.start + frame.headerBytes;
      for (let i = 0; i < frame.words; i += 2) {
        const place = frame.frags[i]!;
        const size = frame.frags[i + 1]!;
        skb.bytes.set(bytes.subarray(place, place + size), end);
        end += size;
      }
      skb.end = end;
      skb.gsoSize = frame.gsoSize;
      skb.ipSummed = CHECKSUM_UNNECESSARY;
      return skb;
    });
  }

  /** Packets in, and what follows from them. */
  input(skbs: readonly Skb[]): void {
    const { stack } = this.host;
    for (const skb of skbs) {
      stack.input(skb);
      stack.net.inputSkbs.release(skb);
    }
    this.poll();
  }

  poll(): void {
    this.host.stack.poll(this.host.nowUs + STEP_US);
    this.host.events.length = 0;
  }

  /** The application's copy into the send ring, and nothing else. */
  write(fd: number, bytes: Uint8Array): void {
    const { mem, stack } = this.host;
    let taken = fileWrite(mem, fd, APPLICATION, bytes, 0, bytes.length);
    if (taken === NEED_RING) {
      stack.attachSendRing(fd);
      taken = fileWrite(mem, fd, APPLICATION, bytes, 0, bytes.length);
    }
    if (taken !== bytes.length) throw new FailedError(`bench: wrote ${taken} bytes`, '');
  }

  /** The stack looks at what has been written and sends it. */
  send(fd: number): void {
    this.host.stack.published(fd);
    this.poll();
  }

  /** The application's copy out of the receive ring. */
  read(fd: number, length: number): void {
    const got = this.readSome(fd, length);
    if (got !== length) throw new FailedError(`bench: read ${got} of ${length} bytes`, '');
  }

  /** What there is of `length` bytes. */
  readSome(fd: number, length: number): number {
    const got = fileRead(this.host.mem, fd, APPLICATION, this.buffer, 0, length, false);
    return Math.max(0, got); // -EAGAIN: nothing yet
  }

  /** The stack is told of what was read, if it wants to be. */
  tell(fd: number): void {
    if (fileTakenDue(this.host.mem, fd)) this.host.stack.consumed(fd);
    this.poll();
  }
}

const WAYS = ['bulk', 'request'] as const;
const STEPS: readonly (readonly [name: string, about: string])[] = [
  ['write', 'the application copies into the send ring'],
  ['output', 'the stack sends it: window, header, ring to device'],
  ['input', 'the other stack takes it: IP, lookup, TCP, copy into the receive ring, ACK made'],
  ['read', 'the application copies out of the receive ring'],
  ['ack', 'the sender takes the ACK that came of it, or looks that there is none'],
];

const FIGURES: readonly Figure[] = WAYS.flatMap((way) =>
  STEPS.map(([name, about]) => ({
    name: `step-${way}-${name}`,
    unit: 'µs',
    goal: null,
    about: `${way === 'bulk' ? '65,160 bytes' : '100 bytes, then 150 back'}: ${about}`,
  })),
);

/** A connection between two stacks. */
class Pair {
  private readonly client = new Host('198.18.0.2', 2);
  private readonly server = new Host('198.18.0.1', 1);
  private readonly clientFd: number;
  private readonly serverFd: number;
  private readonly clocks: number[] = [];

  constructor() {
    const { client, server } = this;
    const listenFd = server.host.listen(PORT);
    this.clientFd = client.host.stack.socket(0);
    client.host.stack.connect(this.clientFd, ipv4('198.18.0.1'), PORT);
    client.poll();
    for (let i = 0; i < 4; i++) this.exchange();
    this.serverFd = server.host.accept(listenFd);
    if (this.serverFd < 0) throw new FailedError('bench: the stacks did not connect', '');
  }

  /** Whatever either side has to say. */
  private exchange(): void {
    this.server.input(this.server.take(this.client));
    this.client.input(this.client.take(this.server));
  }

  private lap(): void {
    this.clocks.push(performance.now());
  }

  /** `bytes` from `sender` to `receiver`, every step. @returns µs of each */
  private pass(
    sender: Host,
    from: number,
    receiver: Host,
    to: number,
    bytes: Uint8Array,
  ): number[] {
    this.clocks.length = 0;
    this.lap();
    sender.write(from, bytes);
    this.lap();
    sender.send(from);
    this.lap();
    const packets = receiver.take(sender);
    this.lap();
    receiver.input(packets);
    this.lap();
    receiver.read(to, bytes.length);
    this.lap();
    receiver.tell(to);
    const acks = sender.take(receiver);
    this.lap();
    sender.input(acks);
    this.lap();
    const micros = this.clocks.slice(1).map((at, i) => (at - this.clocks[i]!) * 1000);
    // Without the copy between the two (lap 2), which is the kernel's, and the ACK's (lap 5).
    return [micros[0]!, micros[1]!, micros[3]!, micros[4]!, micros[6]!];
  }

  /**
   * Passes `bytes` to the client with as many exchanges as it takes: until windows are open, not
   * everything goes at once.
   */
  grow(bytes: Uint8Array): void {
    const { server, serverFd, client, clientFd } = this;
    server.write(serverFd, bytes);
    server.send(serverFd);
    for (let left = bytes.length; left > 0; ) {
      this.exchange();
      left -= client.readSome(clientFd, left);
      client.tell(clientFd);
      this.exchange();
    }
  }

  /** One way to the client. */
  bulk(bytes: Uint8Array): number[] {
    const { server, serverFd, client, clientFd } = this;
    return this.pass(server, serverFd, client, clientFd, bytes);
  }

  /** There and back: the sum of both. */
  request(question: Uint8Array, answer: Uint8Array): number[] {
    const { server, serverFd, client, clientFd } = this;
    const there = this.pass(client, clientFd, server, serverFd, question);
    const back = this.pass(server, serverFd, client, clientFd, answer);
    return there.map((value, i) => value + back[i]!);
  }
}

/** Values of each step, of the rounds after the warm-up. */
function rounds(take: () => number[]): number[][] {
  const all = Array.from({ length: WARM_UP_ROUNDS + ROUNDS }, take).slice(WARM_UP_ROUNDS);
  return STEPS.map((_, step) => all.map((values) => values[step]!));
}

export const steps: AloneProbe = {
  kind: 'alone',
  needsNetwork: false,
  figures: FIGURES,
  run(): Said {
    const bulk = new Uint8Array(BULK_BYTES).fill(1);
    const question = new Uint8Array(REQUEST_BYTES).fill(2);
    const answer = new Uint8Array(ANSWER_BYTES).fill(3);
    const [slow, quick] = [new Pair(), new Pair()];
    for (let i = 0; i < GROW_ROUNDS; i++) slow.grow(bulk);
    const values = [
      ...rounds(() => slow.bulk(bulk)),
      ...rounds(() => quick.request(question, answer)),
    ];
    const rows = FIGURES.map((row, i) => {
      const full = rowOf(row, { ours: values[i]!, kernel: [] });
      return { ...full, samples: { ours: [], kernel: [] } };
    });
    return { json: rows, lines: [], rows };
  },
};
