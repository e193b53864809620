/**
 * The peer of a sender under test, and the path between them: text takes half a round trip there,
 * ACKs half of one back, and what is lost, late or marked on the way is told by a function of the
 * segment and of how often it was sent. So a kernel in real time and our stack in virtual time have
 * the same path as long as they send the same. What was sent is written down, with the peer's ACKs
 * and the sender's TCP_INFO between.
 */
import {
  decodePacket,
  encodeIcmpError,
  encodePacket,
  type OptionText,
  type TcpPacket,
} from '../../src/testing/index.js';
import type { Machine } from './machine.js';
import { ReceivedText } from './received-text.js';
import { ipv4, SHUT_WR, SOL_SOCKET } from './socket-calls.js';

const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_INFO = 11;
const TCP_CONGESTION = 13;
const SO_SNDBUF = 7;
/** Everything that a scenario writes fits. */
const SNDBUF_BYTES = 200_000;

const ICMP_DEST_UNREACH = 3;
const FRAG_NEEDED = 4;
/** What timestamps take of each segment. */
const TIMESTAMP_BYTES = 12;

const SERVER = ipv4('198.18.0.1');
const PEER_NETWORK = ipv4('198.18.0.0');
const PEER_ISN = 0x7ffff000;
/**
 * How long an ACK for a single segment waits for a second one, ms: not always the same, so that it
 * does not meet the segment that the one before has set going.
 */
function delackMs(acks: number): number {
  return 19 + ((acks * 11) % 24);
}

/**
 * What is sent again takes so much longer, ms: RACK does not believe that a round trip which is
 * shorter than all others was one.
 */
const AGAIN_MS = 6;

/** What becomes of one transmission of a segment. */
export interface Fate {
  readonly lost?: boolean;
  /** It takes so much longer, ms. */
  readonly lateMs?: number;
  /** It comes twice. */
  readonly twice?: boolean;
  /** A router marks it (ECN). */
  readonly marked?: boolean;
}

export interface SenderScenario {
  readonly name: string;
  readonly congestion: 'reno' | 'cubic';
  readonly rttMs: number;
  /** When it ends, ms after the handshake. */
  readonly lastMs: number;
  readonly mss: number;
  readonly sack: boolean;
  readonly timestamps: boolean;
  readonly ecn: boolean;
  /** One ACK for so many segments in order; for fewer after a while, or at the same moment. */
  readonly ackEach: number;
  readonly ackWaits: boolean;
  readonly nodelay: boolean;
  /** [ms, bytes] of each write, and whether FIN follows the last one. */
  readonly writes: readonly (readonly [number, number])[];
  readonly fin: boolean;
  /**
   * PSH is compared at the end of all that was written only: before that it depends on how the
   * kernel has put text into buffers.
   */
  readonly pushAtEnds?: boolean;
  /** [ms, bytes] of the peer's window, ascending; the first is the handshake's. */
  readonly windows: readonly (readonly [number, number])[];
  /** [ms, bytes]: from then on larger packets are refused by a router, or only dropped. */
  readonly pathMtu?: readonly [number, number];
  readonly blackHole?: boolean;
  /** @param index of the segment in the stream, by the MSS @param nth transmission, from 1 */
  fate(index: number, nth: number): Fate;
  /** Is the peer's ACK number `nth`, from 1, lost? */
  ackLost(nth: number): boolean;
}

/** Something that happened. */
export interface Entry {
  readonly atMs: number;
  readonly text: string;
  /** The sender did it by itself: nothing came in at that moment. */
  readonly alone: boolean;
}

interface Due {
  readonly atMs: number;
  readonly act: () => void;
}

/** One connection of a machine, whose sending side is looked at. */
export class SenderRun {
  readonly entries: Entry[] = [];
  readonly localPort: number;
  private readonly machine: Machine;
  private readonly scenario: SenderScenario;
  private readonly peer: number;
  private readonly port: number;
  private readonly due: Due[] = [];
  private readonly times = new Map<number, number>();
  private listener = -1;
  private fd = -1;
  private startMs = 0;
  private localIsn = 0;
  private established = false;
  private over = false;
  private highest = 1;
  /** Bytes. */
  private written = 0;
  /** Something that was due at that time is being done. */
  private acting = false;
  private momentMs = 0;
  /** When the packet was read that is looked at. */
  private readMs = 0;
  /** The most that something was done later than it was due. */
  lateMs = 0;

  private readonly received: ReceivedText = new ReceivedText();
  private unacked = 0;
  private acks = 0;
  private window: number;
  private tsRecent = 0;
  private lastAck = 1;
  private echoCe = false;

  /** @param number tells it apart from all others of this machine */
  constructor(machine: Machine, scenario: SenderScenario, number: number) {
    this.machine = machine;
    this.scenario = scenario;
    this.localPort = 2000 + (number % 40_000);
    this.port = 10_000 + (number % 50_000);
    // What ICMP says of a path is remembered for the peer's address.
    const host = scenario.pathMtu === undefined ? 2 + (number % 150) : 160 + (number % 90);
    this.peer = PEER_NETWORK + host;
    this.window = scenario.windows[0]![1];
  }

  /** Listens and sends the SYN. */
  begin(): void {
    const { calls } = this.machine;
    this.listener = calls.socket();
    const bound = calls.bind(this.listener, SERVER, this.localPort);
    const listening = calls.listen(this.listener, 1);
    if (bound !== 0 || listening !== 0) throw new Error(`${this.localPort}: ${bound} ${listening}`);
    this.send(this.scenario.ecn ? 'SEW' : 'S', 0, 0, this.synOptions());
  }

  /** When it wants to go on, ms; Infinity: it is over. */
  get dueMs(): number {
    return this.over ? Infinity : (this.due[0]?.atMs ?? Infinity);
  }

  /** Does what is due. */
  step(): void {
    this.acting = true;
    while (this.dueMs <= this.machine.now()) {
      const { atMs, act } = this.due.shift()!;
      this.momentMs = atMs;
      this.lateMs = Math.max(this.lateMs, this.machine.now() - atMs);
      act();
    }
    this.acting = false;
  }

  close(): void {
    const { calls } = this.machine;
    for (const fd of [this.fd, this.listener]) if (fd >= 0) calls.abort(fd);
  }

  private at(atMs: number, act: () => void): void {
    let i = this.due.length;
    while (i > 0 && this.due[i - 1]!.atMs > atMs) i--;
    this.due.splice(i, 0, { atMs, act });
  }

  /**
   * What follows from something that was due is due by that time, though the machine may have been
   * busy: so the order of things is the same on both.
   */
  private after(ms: number, act: () => void): void {
    this.at(this.nowMs + ms, act);
  }

  private get nowMs(): number {
    return this.acting ? this.momentMs : this.readMs;
  }

  private log(text: string): void {
    this.entries.push({
      atMs: this.machine.now() - this.startMs,
      text,
      alone: !this.acting,
    });
  }

  private synOptions(): OptionText[] {
    const { mss, sack, timestamps } = this.scenario;
    const options: OptionText[] = [{ kind: 'mss', value: mss }];
    const nop: OptionText = { kind: 'nop' };
    if (sack) options.push(nop, nop, { kind: 'sackOK' });
    if (timestamps) options.push(nop, nop, { kind: 'TS', val: this.timestamp(), ecr: 0 });
    return options;
  }

  private timestamp(): number {
    return Math.floor(this.machine.now()) >>> 0;
  }

  private send(flags: string, seq: number, ack: number, options: OptionText[]): void {
    this.machine.write(
      encodePacket({
        source: this.peer >>> 0,
        destination: SERVER >>> 0,
        sport: this.port,
        dport: this.localPort,
        seq: (PEER_ISN + seq) >>> 0,
        ack: ack === 0 ? 0 : (this.localIsn + ack) >>> 0,
        flags,
        window: this.window,
        urgent: 0,
        options,
        payload: new Uint8Array(0),
        ...{ ttl: 64, tos: 0, id: 0, df: false },
      }),
      0,
    );
  }

  /** A packet of the sender, one of those that were read at `readMs`. */
  sent(bytes: Uint8Array, readMs: number): void {
    if (this.over) return;
    this.readMs = readMs;
    const packet = decodePacket(bytes);
    if (!this.established) {
      if (packet.flags.startsWith('S')) this.answered(packet);
      return;
    }
    const seq = (packet.seq - this.localIsn) >>> 0;
    this.takeSent(packet, bytes, seq);
  }

  private answered(packet: TcpPacket): void {
    this.established = true;
    this.localIsn = packet.seq;
    this.takeTimestamp(packet);
    this.after(this.scenario.rttMs, () => this.connect());
  }

  /** The third ACK; the application begins. */
  private connect(): void {
    const { calls } = this.machine;
    const { scenario } = this;
    this.startMs = this.momentMs;
    this.send('.', 1, 1, this.ackOptions());
    this.fd = calls.accept(this.listener);
    if (this.fd < 0) throw new Error(`${scenario.name}: accept: ${this.fd}`);
    demand(calls.setsockoptText(this.fd, IPPROTO_TCP, TCP_CONGESTION, scenario.congestion));
    demand(calls.setsockopt(this.fd, SOL_SOCKET, SO_SNDBUF, SNDBUF_BYTES));
    if (scenario.nodelay) demand(calls.setsockopt(this.fd, IPPROTO_TCP, TCP_NODELAY, 1));
    scenario.writes.forEach(([ms, bytes], i) => {
      const last = i === scenario.writes.length - 1;
      this.at(this.startMs + ms, () => this.write(bytes, last && scenario.fin));
    });
    for (const [ms, bytes] of scenario.windows.slice(1)) {
      this.at(this.startMs + ms, () => this.moveWindow(bytes));
    }
    // Nothing happens any more then, but until then the sender's timers may.
    this.at(this.startMs + scenario.lastMs, () => {
      this.over = true;
    });
  }

  private write(bytes: number, fin: boolean): void {
    const { calls } = this.machine;
    const taken = calls.send(this.fd, new Uint8Array(bytes));
    this.log(`write ${bytes} = ${taken}`);
    this.written += taken;
    this.drainNow();
    if (!fin) return;
    calls.shutdown(this.fd, SHUT_WR);
    this.log('shutdown');
    this.drainNow();
  }

  private moveWindow(bytes: number): void {
    this.window = bytes;
    this.ack();
  }

  /** What the sender has sent because of what has just happened. */
  private drainNow(): void {
    drain(this.machine, this.batch);
  }

  /** All that share the machine. */
  batch: readonly SenderRun[] = [this];

  private takeTimestamp(packet: TcpPacket): void {
    for (const option of packet.options) if (option.kind === 'TS') this.tsRecent = option.val;
  }

  private takeSent(packet: TcpPacket, bytes: Uint8Array, seq: number): void {
    const { scenario } = this;
    const length = packet.payload.length;
    const fin = packet.flags.includes('F') ? 1 : 0;
    const end = seq + length + fin;
    const again = length + fin > 0 && seq < this.highest;
    this.highest = Math.max(this.highest, end);
    const ecn = scenario.ecn ? ` tos ${packet.tos}` : '';
    const df = packet.df ? '' : ' no DF';
    const shown = `${this.flagsOf(packet, seq + length)} ${seq}:${end}`;
    if (packet.flags.includes('R')) return;
    this.log(`> ${shown}${again ? ' again' : ''}${ecn}${df}`);
    const times = (this.times.get(seq) ?? 0) + 1;
    this.times.set(seq, times);
    if (this.tooLarge(bytes)) return;
    const size = scenario.mss - (scenario.timestamps ? TIMESTAMP_BYTES : 0);
    const fate = length + fin > 0 ? scenario.fate(Math.floor((seq - 1) / size), times) : {};
    if (fate.lost) return;
    const ms = scenario.rttMs + (again ? AGAIN_MS : 0) + (fate.lateMs ?? 0);
    for (let i = 0; i < (fate.twice ? 2 : 1); i++) {
      this.after(ms, () => this.arrive(packet, seq, end, fate.marked === true));
    }
  }

  private flagsOf({ flags }: TcpPacket, end: number): string {
    if (!this.scenario.pushAtEnds || end === 1 + this.written) return flags;
    return flags.replace('P', '');
  }

  /** A router on the path does not take it, and may say so. */
  private tooLarge(bytes: Uint8Array): boolean {
    const { pathMtu, blackHole, rttMs } = this.scenario;
    if (pathMtu === undefined || this.nowMs - this.startMs < pathMtu[0]) return false;
    const mtu = pathMtu[1];
    if (bytes.length <= mtu) return false;
    if (blackHole) return true;
    const error = encodeIcmpError(PEER_NETWORK + 254, bytes, ICMP_DEST_UNREACH, FRAG_NEEDED, mtu);
    this.after(rttMs, () => {
      this.log(`< icmp mtu ${mtu}`);
      this.machine.write(error, 0);
      this.drainNow();
    });
    return true;
  }

  /** A segment has come to the peer. */
  private arrive(packet: TcpPacket, seq: number, end: number, marked: boolean): void {
    if (seq <= this.lastAck) this.takeTimestamp(packet);
    if (packet.flags.includes('W')) this.echoCe = false;
    if (marked) this.echoCe = true;
    if (seq === end) {
      // A probe of the window asks for an answer.
      if (seq < this.received.next) this.ack();
      return;
    }
    const plain = end <= this.received.next + this.window && this.received.take(seq, end);
    if (!plain) {
      this.ack();
      return;
    }
    this.unacked++;
    const now = this.unacked >= this.scenario.ackEach || packet.flags.includes('F');
    if (now) this.ack();
    else {
      const { acks } = this;
      this.after(this.scenario.ackWaits ? delackMs(acks) : 0, () => {
        if (this.acks === acks && this.unacked > 0) this.ack();
      });
    }
  }

  private blocks(): [number, number][] {
    const { sack, timestamps } = this.scenario;
    return sack ? this.received.blocks(timestamps ? 3 : 4) : [];
  }

  private ackOptions(): OptionText[] {
    const options: OptionText[] = [];
    const nop: OptionText = { kind: 'nop' };
    if (this.scenario.timestamps) {
      options.push(nop, nop, { kind: 'TS', val: this.timestamp(), ecr: this.tsRecent });
    }
    const blocks = this.blocks();
    if (blocks.length > 0) {
      const onWire = (seq: number): number => (this.localIsn + seq) >>> 0;
      options.push(nop, nop, {
        kind: 'sack',
        blocks: blocks.map(([l, r]) => [onWire(l), onWire(r)]),
      });
    }
    return options;
  }

  private ack(): void {
    this.unacked = 0;
    this.acks++;
    const blocks = this.blocks();
    const options = this.ackOptions();
    this.received.duplicate = null;
    const sacks = blocks.map(([l, r]) => ` ${l}:${r}`).join('');
    const lost = this.scenario.ackLost(this.acks);
    const flags = this.echoCe ? 'E.' : '.';
    const shown = `${flags} ack ${this.received.next} win ${this.window}`;
    this.log(`< ${shown}${sacks}${lost ? ' lost' : ''}`);
    if (lost) return;
    this.lastAck = this.received.next;
    this.send(flags, 1, this.received.next, options);
    this.drainNow();
    this.log(this.info());
  }

  /** What TCP_INFO says of the sender. */
  private info(): string {
    const words = new Int32Array(70);
    const got = this.machine.calls.getsockopt(this.fd, IPPROTO_TCP, TCP_INFO, words);
    if (got < 0) return `info ${got}`;
    const caState = (words[0]! >> 8) & 0xff;
    const retransmits = (words[0]! >> 16) & 0xff;
    const backoff = words[1]! & 0xff;
    const ssthresh = words[19]! >= 0x7fffffff ? 'inf' : words[19]!;
    return (
      `info cwnd ${words[20]} ssthresh ${ssthresh} ca ${caState} out ${words[6]} ` +
      `sacked ${words[7]} lost ${words[8]} retrans ${words[9]} rto# ${retransmits}/${backoff} ` +
      `reord ${words[22]} seen ${words[55]} mss ${words[4]}`
    );
  }
}

function demand(result: number): void {
  if (result < 0) throw new Error(`socket option: ${result}`);
}

/**
 * Hands everything that the machine has sent to the connections that it is for. What a timer sends
 * in one go is of one moment, though real time goes on meanwhile.
 */
function drain(machine: Machine, runs: readonly SenderRun[]): void {
  const readMs = machine.now();
  for (let bytes = machine.read(); bytes !== null; bytes = machine.read()) {
    const port = (bytes[20]! << 8) | bytes[21]!;
    runs.find(({ localPort }) => localPort === port)?.sent(bytes, readMs);
  }
}

/** Connections so far: each has ports of its own. */
let numbers = 0;
/** Time goes on in steps of this, ms: so well is known when something was sent. */
const SLICE_MS = 1;

/** Plays all scenarios at once, a run for each. */
export async function playSenders(
  machine: Machine,
  scenarios: readonly SenderScenario[],
): Promise<readonly SenderRun[]> {
  const runs = scenarios.map((scenario) => new SenderRun(machine, scenario, numbers++));
  for (const run of runs) run.batch = runs;
  for (const run of runs) {
    run.begin();
    drain(machine, runs);
  }
  while (runs.some(({ dueMs }) => dueMs < Infinity)) {
    await machine.wait(SLICE_MS);
    drain(machine, runs);
    for (const run of runs) run.step();
  }
  for (const run of runs) run.close();
  while (machine.read() !== null);
  return runs;
}
