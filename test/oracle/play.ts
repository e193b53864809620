/**
 * One scenario on one machine: flows that send segments written as text and sockets that are
 * called. Everything that comes of it is written down as lines in a form that does not depend on
 * the machine (relative sequence numbers, no timestamp values, IP identification only as zero or
 * not), so that two machines agree when their lines do. compare.ts plays scenarios on both.
 */
import { getSystemErrorName } from 'node:util';
import {
  decodePacket,
  encodeIcmpError,
  encodePacket,
  formatSegment,
  type HeaderFields,
  ipv4,
  type OptionText,
  parseSegment,
  type SegmentText,
  type TcpPacket,
} from '../../src/testing/index.js';
import { DEVICES, type Machine } from './machine.js';
import { EINPROGRESS, SO_BINDTODEVICE, SO_REUSEPORT, SOL_SOCKET } from './socket-calls.js';

/** Peers are this host of each device's subnet, or one of so many from 2 on. */
const PEER_HOST = 254;
const OWN_HOSTS = 240;
const ROUTER_HOST = 253;
/** How far beyond the last sequence number a TIME-WAIT puts the ISN of its successor. */
const TIMEWAIT_ISN_STEP = 65_537;
/** What a machine's first timestamp on a flow is called. */
const FIRST_TIMESTAMP = 1000;
/** Local ports of scenarios begin here, one or two for each. */
const FIRST_PORT = 2000;

export const IPPROTO_TCP = 6;
export const TCP_MAXSEG = 2;
export const TCP_SYNCNT = 7;
export const TCP_DEFER_ACCEPT = 9;

/** Counters whose movements belong to what is compared. */
export const COUNTERS: readonly string[] = [
  ...['ListenOverflows', 'ListenDrops', 'TCPReqQFullDoCookies', 'TCPReqQFullDrop'],
  ...['EmbryonicRsts', 'SyncookiesSent', 'SyncookiesRecv', 'SyncookiesFailed'],
  ...['TCPMigrateReqSuccess', 'TCPMigrateReqFailure', 'TCPDeferAcceptDrop', 'PAWSActive'],
  ...['PAWSEstab', 'PAWSOldAck', 'PAWSTimewait', 'TSEcrRejected', 'BeyondWindow'],
  ...['TCPACKSkippedSynRecv', 'TCPACKSkippedPAWS', 'TCPACKSkippedSeq', 'TCPACKSkippedFinWait2'],
  ...['TCPACKSkippedTimeWait', 'TCPACKSkippedChallenge', 'TCPChallengeACK', 'TCPSYNChallenge'],
  ...['TCPAbortOnData', 'TCPAbortOnClose', 'TCPAbortOnLinger', 'TCPAbortOnTimeout'],
  ...['TCPSynRetrans', 'TcpPassiveOpens', 'TcpAttemptFails', 'TcpEstabResets', 'TcpInErrs'],
  ...['TcpInSegs', 'TcpOutRsts', 'TcpRetransSegs', 'TCPMinTTLDrop', 'OutOfWindowIcmps'],
  ...['TCPFastOpenActive', 'TCPFastOpenActiveFail', 'TCPFastOpenPassive'],
];

/** What a scenario does; between two `yield`s no time passes, `yield ms` lets some. */
export type Script = (play: Play) => Generator<number, void, void> | undefined;

export interface ListenerOptions {
  backlog?: number;
  reuseport?: boolean;
  /** A port of this scenario by number, from 0; default 0. */
  port?: number;
  /** The text form of the address; default that of the first device. */
  address?: string;
  /** SO_BINDTODEVICE: a device's number. */
  device?: number;
  /** setsockopt calls before bind: [level, name, value]. */
  options?: readonly (readonly [number, number, number])[];
}

export interface FlowOptions {
  /** The peer's port. */
  port?: number;
  /** The peer's initial sequence number. */
  isn?: number;
  /** The device that its packets come by. */
  device?: number;
  /** It is at an address that other scenarios have not used lately: what ICMP says stays there. */
  ownHost?: boolean;
}

/** How many local ports a scenario may use. */
export const PORTS_EACH = 2;

export class Play {
  readonly machine: Machine;
  /** What happened, in order. */
  readonly log: string[] = [];
  private readonly firstPort: number;
  private readonly flows: Flow[] = [];
  private readonly socks = new Set<Sock>();
  private counted: number[];
  private readonly moved: number[] = COUNTERS.map(() => 0);
  private nextFlow = 0;
  private nextSock = 0;
  private readonly batch: readonly Play[];

  /**
   * @param number of this play among those of its machine: gives it ports of its own
   * @param batch every play that runs on the machine at the same time, this one included
   */
  constructor(machine: Machine, number: number, batch: readonly Play[]) {
    this.machine = machine;
    this.batch = batch;
    this.firstPort = FIRST_PORT + number * PORTS_EACH;
    this.counted = [];
  }

  /** Counters move for this play from here on. */
  resume(): void {
    this.counted = this.machine.counters(COUNTERS);
  }

  /** Counters that move from here on are another play's, or nobody's. */
  suspend(): void {
    const now = this.machine.counters(COUNTERS);
    for (let i = 0; i < now.length; i++) this.moved[i]! += now[i]! - this.counted[i]!;
  }

  /** The end: the counters' lines, and every socket closed. */
  finish(): void {
    for (let i = 1; i < this.log.length; i++) {
      if (followsAtOnce(this.log[i - 1]!, this.log[i]!)) {
        this.log[i - 1] = this.log[i - 1]!.replace(' < P.', ' < .');
      }
    }
    COUNTERS.forEach((name, i) => {
      if (this.moved[i] !== 0) this.log.push(`${name} +${this.moved[i]}`);
    });
    for (const sock of this.socks) this.machine.calls.abort(sock.fd);
  }

  /** A line of the scenario's own. */
  note(text: string): void {
    this.log.push(text);
  }

  /** A host of the subnet for peers of this play. */
  get ownHost(): number {
    return 2 + (((this.firstPort - FIRST_PORT) / PORTS_EACH) % OWN_HOSTS);
  }

  /** The local port with this number within the scenario. */
  portAt(index: number): number {
    return this.firstPort + index;
  }

  owns(port: number): boolean {
    return port >= this.firstPort && port < this.firstPort + PORTS_EACH;
  }

  /** A peer on a port of its own. */
  flow(options: FlowOptions = {}): Flow {
    const name = String.fromCharCode(97 + this.nextFlow++);
    const flow = new Flow(this, name, { port: 40_000 + this.flows.length, ...options });
    this.flows.push(flow);
    return flow;
  }

  /** A socket that listens. */
  listener(options: ListenerOptions = {}): Sock {
    const sock = this.bound(options);
    const result = this.machine.calls.listen(sock.fd, options.backlog ?? 128);
    if (result !== 0) throw new Error(`listen: ${getSystemErrorName(result)}`);
    return sock;
  }

  /** A socket that is bound only. */
  bound(options: ListenerOptions = {}): Sock {
    const { calls } = this.machine;
    const fd = calls.socket();
    if (options.reuseport) calls.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1);
    for (const [level, name, value] of options.options ?? []) {
      const result = calls.setsockopt(fd, level, name, value);
      if (result !== 0) throw new Error(`setsockopt ${name}: ${getSystemErrorName(result)}`);
    }
    const { address = DEVICES[0]!.address, device } = options;
    if (device !== undefined) {
      calls.setsockoptText(fd, SOL_SOCKET, SO_BINDTODEVICE, DEVICES[device]!.name);
    }
    const result = calls.bind(fd, ipv4(address), this.portAt(options.port ?? 0));
    if (result !== 0) throw new Error(`bind: ${getSystemErrorName(result)}`);
    return this.sock(fd);
  }

  sock(fd: number): Sock {
    const sock = new Sock(this, fd, `s${this.nextSock++}`);
    this.socks.add(sock);
    return sock;
  }

  /** The flow at the other end of a connection; '' when there is none (any more). */
  private flowOf(fd: number): string {
    const address = this.machine.calls.getpeername(fd);
    if (typeof address === 'number') return '';
    return this.flows.findLast(({ port }) => port === address.port)?.name ?? '';
  }

  /**
   * Everything that waits at any of `listeners`, in the order of the flows: which member of a group
   * has which connection depends on the machine's secret.
   */
  acceptAny(listeners: readonly Sock[]): Sock[] {
    const children: Sock[] = [];
    for (const listener of listeners) {
      for (;;) {
        const fd = this.machine.calls.accept(listener.fd);
        if (fd < 0) break;
        children.push(new Sock(this, fd, `of ${this.flowOf(fd)}`));
      }
    }
    children.sort((one, other) => (one.name < other.name ? -1 : 1));
    for (const child of children) this.socks.add(child);
    this.note(`accepted: ${children.map(({ name }) => name).join(', ')}`);
    this.drain();
    return children;
  }

  forget(sock: Sock): void {
    this.socks.delete(sock);
  }

  /** A packet that the machine has sent from one of this scenario's ports. */
  received(packet: TcpPacket, bytes: Uint8Array): void {
    const flow = this.flows.findLast(
      ({ peer, port }) => peer === (packet.destination | 0) && port === packet.dport,
    );
    if (flow === undefined) this.log.push(`to nobody: ${packet.flags}`);
    else this.log.push(`${flow.name} < ${flow.told(packet)}`);
    if (flow !== undefined) flow.lastBytes = bytes;
  }

  /** Hands everything that the machine has sent to the plays whose ports it comes from. */
  drain(): void {
    const { machine, batch } = this;
    for (let bytes = machine.read(); bytes !== null; bytes = machine.read()) {
      const packet = decodePacket(bytes);
      batch.find((play) => play.owns(packet.sport))?.received(packet, bytes);
    }
  }
}

const TEXT_SENT = /^(\w+) < P?\. (\d+):(\d+)\([1-9]/;

/**
 * Two lines of text that was sent in one go. Linux sets PSH where a burst for the link ends, which
 * depends on its measure of the path: only the last of all is compared.
 */
function followsAtOnce(first: string, second: string): boolean {
  const one = TEXT_SENT.exec(first);
  const two = TEXT_SENT.exec(second);
  return one !== null && two !== null && one[1] === two[1] && one[3] === two[2];
}

/** Also of what libuv has no name for. */
function errorName(result: number): string {
  return result === -EINPROGRESS ? 'EINPROGRESS' : getSystemErrorName(result);
}

/** A peer with one address and port: sends what a text says, writes down what comes back. */
export class Flow {
  readonly name: string;
  /** The peer's address and port, and the machine's address. */
  readonly peer: number;
  readonly port: number;
  readonly server: number;
  private readonly device: number;
  readonly isn: number;
  /** The machine's initial sequence number, known from its SYN. */
  private localIsn: number | null = null;
  private localTimestamp: number | null = null;
  private readonly play: Play;
  /** Packets that came, oldest first; the last one as it was. */
  readonly packets: TcpPacket[] = [];
  lastBytes: Uint8Array = new Uint8Array(0);

  constructor(play: Play, name: string, options: FlowOptions & { port: number }) {
    this.play = play;
    this.name = name;
    this.port = options.port;
    this.device = options.device ?? 0;
    this.isn = options.isn ?? 0x7ffff000;
    this.server = ipv4(DEVICES[this.device]!.address);
    this.peer = (this.server & ~255) | (options.ownHost ? play.ownHost : PEER_HOST);
  }

  /** Another peer at the same address and port, which knows nothing of this one. */
  again(isn: number = this.isn): Flow {
    return this.play.flow({ port: this.port, device: this.device, isn });
  }

  /**
   * Sends a segment to local port number `port` of the scenario: sequence numbers relative to the
   * first SYNs, `TS … ecr` relative to the machine's first timestamp, which is called 1000.
   */
  in(text: string, payload?: string, header: HeaderFields = {}, port = 0): void {
    this.play.note(`${this.name} > ${text}`);
    this.quietly(text, payload, header, port);
  }

  /** The same without a line: what it says is another number on each machine. */
  quietly(text: string, payload?: string, header: HeaderFields = {}, port = 0): void {
    const segment = parseSegment(text);
    const packet = this.encode(segment, payload, header, this.play.portAt(port));
    this.play.machine.write(packet, this.device);
    this.play.drain();
  }

  /** A router reports an error about the last packet that came. */
  icmp(type: number, code: number, info = 0): void {
    this.play.note(`${this.name} > icmp ${type} ${code} ${info}`);
    const router = (this.server & ~255) | ROUTER_HOST;
    const error = encodeIcmpError(router >>> 0, this.lastBytes, type, code, info);
    this.play.machine.write(error, this.device);
    this.play.drain();
  }

  private encode(
    segment: SegmentText,
    payload: string | undefined,
    header: HeaderFields,
    dport: number,
  ): Uint8Array {
    const letters = 'abcdefghijklmnopqrstuvwxyz';
    const text = payload ?? letters.repeat(1 + segment.length / 26).slice(0, segment.length);
    const data = new TextEncoder().encode(text);
    if (data.length !== segment.length) throw new SyntaxError('payload of another length');
    return encodePacket({
      source: this.peer >>> 0,
      destination: this.server >>> 0,
      sport: this.port,
      dport,
      seq: (this.isn + segment.seq) >>> 0,
      ack: segment.ack === undefined ? 0 : ((this.localIsn ?? 0) + segment.ack) >>> 0,
      flags: segment.flags,
      window: segment.win ?? 65_535,
      urgent: segment.urg ?? 0,
      options: (segment.options ?? []).map((option) => this.onWire(option)),
      payload: data,
      ...{ ttl: 64, tos: 0, id: 0, df: false, ...header },
    });
  }

  private onWire(option: OptionText): OptionText {
    if (option.kind === 'TS' && option.ecr !== 0) {
      return { ...option, ecr: ((this.localTimestamp ?? 0) + option.ecr - FIRST_TIMESTAMP) >>> 0 };
    }
    if (option.kind !== 'sack') return option;
    const base = this.localIsn ?? 0;
    return {
      kind: 'sack',
      blocks: option.blocks.map(([l, r]) => [(base + l) >>> 0, (base + r) >>> 0]),
    };
  }

  /** A sequence number of the machine as texts name it. */
  relative(seq: number): number {
    return (seq - (this.localIsn ?? 0)) >>> 0;
  }

  /** The line for a packet that came. */
  told(packet: TcpPacket): string {
    this.packets.push(packet);
    const syn = packet.flags.includes('S');
    if (syn) this.localIsn ??= packet.seq;
    const fresh = syn && this.isFresh(packet.seq);
    if (fresh) {
      this.localIsn = packet.seq;
      this.localTimestamp = null;
    }
    for (const option of packet.options) {
      if (option.kind === 'TS') this.localTimestamp ??= option.val;
    }
    const unconnected = packet.flags === 'R.' && packet.seq === 0;
    const base = unconnected ? 0 : (this.localIsn ?? 0);
    const text = formatSegment({
      flags: packet.flags,
      seq: (packet.seq - base) >>> 0,
      length: packet.payload.length,
      ack: packet.flags.includes('.') ? (packet.ack - this.isn) >>> 0 : packet.ack,
      win: packet.window,
      urg: packet.urgent,
      options: packet.options.map((option) => this.inText(option)),
    });
    const id = packet.id === 0 ? '0' : '+';
    const header = `${packet.df ? 'DF ' : ''}ttl ${packet.ttl} tos ${packet.tos} id ${id}`;
    return `${text.replace(/TS val \d+/, 'TS')} (${header})${fresh ? ' fresh ISN' : ''}`;
  }

  /** A new ISN by the clock; not the old one, nor one that a TIME-WAIT has chosen. */
  private isFresh(seq: number): boolean {
    const moved = this.relative(seq);
    return moved !== 0 && (moved < TIMEWAIT_ISN_STEP || moved > TIMEWAIT_ISN_STEP + 10_000);
  }

  private inText(option: OptionText): OptionText {
    if (option.kind !== 'sack') return option;
    const blocks = option.blocks.map(([l, r]): [number, number] => [
      (l - this.isn) >>> 0,
      (r - this.isn) >>> 0,
    ]);
    return { kind: 'sack', blocks };
  }

  /** SYN, SYN-ACK, third ACK: the connection waits to be accepted. */
  handshake(options = '<mss 1460>', port = 0): void {
    const timestamps = options.includes('TS val 100 ecr 0');
    this.in(`S 0:0(0) win 65535 ${options}`, undefined, {}, port);
    this.in(`. 1:1(0) ack 1 win 65535${timestamps ? ' <nop,nop,TS val 101 ecr 1000>' : ''}`);
  }
}

/** A socket of the machine; every call and its result is a line. */
export class Sock {
  readonly fd: number;
  readonly name: string;
  private readonly play: Play;

  constructor(play: Play, fd: number, name: string) {
    this.play = play;
    this.fd = fd;
    this.name = name;
  }

  private said(call: string, result: number): number {
    const text = result < 0 ? errorName(result) : String(result);
    this.play.note(`${call}(${this.name}) = ${text}`);
    this.play.drain();
    return result;
  }

  /** The next connection, or null. */
  accept(): Sock | null {
    const fd = this.play.machine.calls.accept(this.fd);
    if (fd < 0) {
      this.said('accept', fd);
      return null;
    }
    const child = this.play.sock(fd);
    this.play.note(`accept(${this.name}) = ${child.name}`);
    this.play.drain();
    return child;
  }

  recv(most = 4096): void {
    const bytes = this.play.machine.calls.recv(this.fd, most);
    if (typeof bytes === 'number') {
      this.said('recv', bytes);
      return;
    }
    const text = new TextDecoder('latin1').decode(bytes);
    const shown = text.length <= 20 ? text : `${text.slice(0, 8)}…${text.slice(-8)}`;
    this.play.note(`recv(${this.name}) = ${bytes.length} '${shown}'`);
    this.play.drain();
  }

  send(bytes: number): void {
    this.said(`send ${bytes}`, this.play.machine.calls.send(this.fd, new Uint8Array(bytes)));
  }

  listen(backlog: number): void {
    this.said(`listen ${backlog}`, this.play.machine.calls.listen(this.fd, backlog));
  }

  /** To the peer of `flow`. */
  connect(flow: Flow): void {
    const { calls } = this.play.machine;
    this.said('connect', calls.connect(this.fd, flow.peer, flow.port));
  }

  shutdown(how: number): void {
    this.said(`shutdown ${how}`, this.play.machine.calls.shutdown(this.fd, how));
  }

  poll(events: number): void {
    this.said('poll', this.play.machine.calls.poll(this.fd, events));
  }

  setsockopt(level: number, name: number, value: number, value2?: number): void {
    const { calls } = this.play.machine;
    this.said(`setsockopt ${level} ${name}`, calls.setsockopt(this.fd, level, name, value, value2));
  }

  /** The first word of an option's value. */
  getsockopt(level: number, name: number): void {
    const out = new Int32Array(1);
    const result = this.play.machine.calls.getsockopt(this.fd, level, name, out);
    this.said(`getsockopt ${level} ${name}`, result < 0 ? result : out[0]!);
  }

  close(): void {
    this.play.forget(this);
    this.said('close', this.play.machine.calls.close(this.fd));
  }
}
