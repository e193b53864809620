/**
 * The router that joins all hosts: takes what they transmit, checks that it is well formed, does
 * what the path between the two does, and hands over what arrives. It tells senders of packets that
 * are too large and of hosts that are gone (RFC 792, RFC 1191) where the path does. Packets to
 * nobody vanish.
 */
import { CHECKSUM_NONE, CHECKSUM_PARTIAL, CHECKSUM_UNNECESSARY, type Skb } from '../net/skb.js';
import { encodeIcmpError, internetChecksum } from '../testing/packet.js';
import { mix } from './dice.js';
import { EventQueue, type Timed } from './event-queue.js';
import { must } from './failure.js';
import type { CountedLink } from './host.js';
import {
  completeTcpChecksum,
  corruptBits,
  cutFragments,
  cutSegments,
  headersOf,
  mayFragment,
  setEcn,
} from './packet-forms.js';
import { ARRIVES, LOST_IN_BURST, type Path, SWALLOWED } from './path.js';

/** 198.18.1.1 is host 0. */
const FIRST_ADDRESS = (198 << 24) | (18 << 16) | (1 << 8) | 1;
/** 198.18.255.254 sends the router's messages. */
const ROUTER_ADDRESS = (198 << 24) | (18 << 16) | (255 << 8) | 254;
const ICMP_DEST_UNREACH = 3;
const HOST_UNREACH = 1;
const FRAG_NEEDED = 4;
const PROTOCOL_TCP = 6;
const ICMP_INFORMATIONAL = [0, 8];
/** Code points of the IP header (RFC 3168 5). */
const NOT_ECT = 0;
const CE = 3;

export function addressOf(host: number): number {
  return (FIRST_ADDRESS + host) | 0;
}

/** A packet on its way to a host. */
export class Flight implements Timed {
  atUs = 0;
  order = 0;
  readonly to: number;
  readonly bytes: Uint8Array;
  readonly ipSummed: number;
  readonly gsoSize: number;

  constructor(to: number, bytes: Uint8Array, ipSummed: number, gsoSize: number) {
    this.to = to;
    this.bytes = bytes;
    this.ipSummed = ipSummed;
    this.gsoSize = gsoSize;
  }
}

/** What the router did, for reports and for the counters' sums; all but the first are packets. */
export interface RouterCounts {
  taken: number;
  delivered: number;
  /** For whatever reason; the two below are part of it. */
  lost: number;
  lostInBursts: number;
  swallowed: number;
  delayed: number;
  jittered: number;
  overtaking: number;
  duplicated: number;
  corrupted: number;
  /** They waited behind others, or found no place to wait. */
  queued: number;
  queueFull: number;
  /** Too large for the path, with and without telling. */
  tooLarge: number;
  tooLargeUntold: number;
  fragments: number;
  /** Cut out of a super-packet, or delivered as one. */
  segments: number;
  superPackets: number;
  /** Marked by a full queue, or stripped of what it marks. */
  marked: number;
  bleached: number;
  errorsSent: number;
}

function nothingYet(): RouterCounts {
  return {
    taken: 0,
    delivered: 0,
    lost: 0,
    lostInBursts: 0,
    swallowed: 0,
    delayed: 0,
    jittered: 0,
    overtaking: 0,
    duplicated: 0,
    corrupted: 0,
    queued: 0,
    queueFull: 0,
    tooLarge: 0,
    tooLargeUntold: 0,
    fragments: 0,
    segments: 0,
    superPackets: 0,
    marked: 0,
    bleached: 0,
    errorsSent: 0,
  };
}

/** One host's end of the link. */
export class HostLink implements CountedLink {
  readonly mtu: number;
  readonly offload: { readonly checksum: boolean; readonly gsoMaxBytes: number };
  sent = 0;
  received = 0;
  private readonly router: Router;
  private readonly host: number;

  constructor(router: Router, host: number, mtu: number, gsoMaxBytes: number) {
    this.router = router;
    this.host = host;
    this.mtu = mtu;
    this.offload = { checksum: gsoMaxBytes > 0, gsoMaxBytes };
  }

  transmit(skb: Skb): boolean {
    if (!this.router.take(this.host, this, skb)) return false;
    this.sent++;
    return true;
  }
}

export class Router {
  nowUs = 0;
  readonly flights: EventQueue<Flight> = new EventQueue();
  readonly counts: RouterCounts = nothingYet();
  /** Changes with every packet: two runs are the same if their digests are. */
  digest = 0;
  /** paths[from * hosts + to]. */
  private readonly paths: readonly Path[];
  private readonly hosts: number;
  /** Links by host, null = the host is dead: nothing arrives. */
  readonly links: (HostLink | null)[];

  constructor(hosts: number, paths: readonly Path[]) {
    this.hosts = hosts;
    this.paths = paths;
    this.links = new Array<HostLink | null>(hosts).fill(null);
  }

  path(from: number, to: number): Path {
    return this.paths[from * this.hosts + to]!;
  }

  /** Takes a packet from host `from`; false = the queue is full. */
  take(from: number, link: HostLink, skb: Skb): boolean {
    const bytes = gather(skb);
    this.counts.taken++;
    this.digest = mix(this.digest, this.nowUs, from, bytes.length, checkWord(bytes));
    checkPacket(bytes, skb, link.mtu);
    const view = new DataView(bytes.buffer);
    const to = (view.getInt32(16) - FIRST_ADDRESS) | 0;
    if (to < 0 || to >= this.hosts) return true;
    const path = this.path(from, to);
    if (!path.enqueue(this.nowUs, bytes.length)) {
      this.counts.queueFull++;
      return false;
    }
    if (path.hasQueue) this.counts.queued++;
    if (path.down && path.tellsDown) this.tell(from, bytes, HOST_UNREACH, 0);
    this.route(path, from, to, bytes, skb);
    return true;
  }

  private route(path: Path, from: number, to: number, bytes: Uint8Array, skb: Skb): void {
    const partial = skb.ipSummed === CHECKSUM_PARTIAL;
    const most = skb.gsoSize > 0 ? skb.gsoSize + headersOf(bytes) : bytes.length;
    const fits = most <= path.mtu;
    const trusts = this.links[to]?.offload.checksum ?? false;
    // Two ends with offload on a path that fits: what is one piece stays one piece.
    if (partial && fits && trusts) {
      if (skb.gsoSize > 0) this.counts.superPackets++;
      this.fly(path, to, bytes, true, skb.gsoSize);
      return;
    }
    let pieces = [bytes];
    if (skb.gsoSize > 0) {
      pieces = cutSegments(bytes, skb.gsoSize);
      this.counts.segments += pieces.length;
    } else if (partial) completeTcpChecksum(bytes);
    for (const piece of pieces) this.forward(path, from, to, piece);
  }

  private forward(path: Path, from: number, to: number, bytes: Uint8Array): void {
    if (bytes.length <= path.mtu) {
      this.fly(path, to, bytes, false, 0);
    } else if (mayFragment(bytes)) {
      for (const piece of cutFragments(bytes, path.mtu)) {
        this.counts.fragments++;
        this.fly(path, to, piece, false, 0);
      }
    } else if (path.tellsMtu) {
      this.counts.tooLarge++;
      this.tell(from, bytes, FRAG_NEEDED, path.mtu);
    } else {
      this.counts.tooLargeUntold++;
    }
  }

  /** An ICMP error to host `from` about its packet. */
  private tell(from: number, bytes: Uint8Array, code: number, info: number): void {
    if (bytes[9] !== PROTOCOL_TCP && !ICMP_INFORMATIONAL.includes(bytes[20]!)) return;
    const message = encodeIcmpError(ROUTER_ADDRESS, bytes, ICMP_DEST_UNREACH, code, info);
    this.counts.errorsSent++;
    const flight = new Flight(from, message, CHECKSUM_NONE, 0);
    flight.atUs = this.nowUs + (this.path(from, from).delayUs >> 1) + 1;
    this.flights.push(flight);
  }

  private fly(path: Path, to: number, bytes: Uint8Array, trusted: boolean, gsoSize: number): void {
    const { counts } = this;
    const fate = path.decide(bytes.length);
    if (fate.lost !== ARRIVES) {
      counts.lost++;
      if (fate.lost === LOST_IN_BURST) counts.lostInBursts++;
      else if (fate.lost === SWALLOWED) counts.swallowed++;
      return;
    }
    if (path.delayUs > 0) counts.delayed++;
    if (fate.jittered) counts.jittered++;
    if (fate.overtakes) counts.overtaking++;
    if (path.bleaches && setEcn(bytes, NOT_ECT)) counts.bleached++;
    if (fate.marked && setEcn(bytes, CE)) counts.marked++;
    if (fate.copyUs > 0) {
      counts.duplicated++;
      this.launch(to, bytes, trusted, gsoSize, fate.copyUs);
    }
    if (fate.bits === 0) {
      this.launch(to, bytes, trusted, gsoSize, fate.arrivalUs);
      return;
    }
    // What was trusted gets its whole checksum first, so that the damage can be found.
    const broken = bytes.slice();
    if (trusted) completeTcpChecksum(broken);
    corruptBits(broken, fate.bit, fate.bits);
    counts.corrupted++;
    this.launch(to, broken, false, gsoSize, fate.arrivalUs);
  }

  private launch(
    to: number,
    bytes: Uint8Array,
    trusted: boolean,
    gsoSize: number,
    arrivalUs: number,
  ): void {
    const summed = trusted ? CHECKSUM_UNNECESSARY : CHECKSUM_NONE;
    const flight = new Flight(to, bytes, summed, gsoSize);
    flight.atUs = arrivalUs;
    this.flights.push(flight);
  }
}

/** All bytes of a packet in one piece. */
function gather(skb: Skb): Uint8Array {
  const bytes = new Uint8Array(skb.length);
  skb.copyOut(bytes);
  return bytes;
}

/** A word that differs when packets do, as a rule: checksums and sequence numbers. */
function checkWord(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer);
  const transport = bytes.length >= 40 ? view.getInt32(24) ^ view.getInt32(36) : 0;
  return view.getInt32(8) ^ transport;
}

/** What a stack sends must be a packet that any other host would take. */
function checkPacket(bytes: Uint8Array, skb: Skb, mtu: number): void {
  const view = new DataView(bytes.buffer);
  const wrong = (what: string): string => `${what} in a packet of ${bytes.length} bytes`;
  must(bytes[0] === 0x45, 'packet', () => wrong('first byte'));
  must(view.getUint16(2) === bytes.length, 'packet', () => wrong('total length'));
  must(internetChecksum(bytes.subarray(0, 20)) === 0, 'packet', () => wrong('IP checksum'));
  must(bytes[8] !== 0, 'packet', () => wrong('TTL'));
  const whole = (view.getUint16(6) & 0x3fff) === 0;
  if (skb.gsoSize === 0) must(bytes.length <= mtu, 'packet', () => wrong(`more than ${mtu}`));
  if (bytes[9] !== PROTOCOL_TCP || !whole) return;
  const headers = headersOf(bytes);
  must(headers >= 40 && headers <= bytes.length, 'packet', () => wrong('data offset'));
  if (skb.gsoSize > 0) {
    must(skb.gsoSize + headers <= mtu, 'packet', () => wrong(`segments of ${skb.gsoSize}`));
  }
  checkFlags(bytes[33]!, bytes.length - headers);
  if (skb.ipSummed === CHECKSUM_PARTIAL) return;
  let sum = PROTOCOL_TCP + bytes.length - 20;
  for (let at = 12; at < 20; at += 2) sum += view.getUint16(at);
  const right = internetChecksum(bytes.subarray(20), sum) === 0;
  must(right, 'packet', () => wrong('TCP checksum'));
}

/** Combinations that no state of the protocol sends. */
function checkFlags(flags: number, payload: number): void {
  const fin = (flags & 1) !== 0;
  const syn = (flags & 2) !== 0;
  const rst = (flags & 4) !== 0;
  const ack = (flags & 16) !== 0;
  const absurd = (syn && (fin || rst)) || (rst && (fin || payload > 0)) || (!syn && !rst && !ack);
  must(!absurd, 'packet', () => `flags 0x${flags.toString(16)} with ${payload} bytes`);
}
