/**
 * Two devices joined by a simulated link on virtual time, for tests and simulation: a queue with a
 * rate, then a path with delay, jitter, loss, duplication, reordering and corruption, all drawn
 * from one seed. Packets are copied. A link with offload trusts its ends as a TUN device does, but
 * refuses what the kernel would refuse, and also a wrong partial checksum, which the kernel would
 * not notice. No clock: time is what `advance` says.
 */
import type { Device } from '../net/env.js';
import { IPHDR_BYTES } from '../net/layout.js';
import {
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  SKB_HEADROOM,
  type Skb,
} from '../net/skb.js';
import { LinkCounters } from './link-counters.js';
import { completeChecksum, partialFault } from './partial.js';

/** What the link does to packets; the same in both directions, each with dice of its own. */
export interface LinkFaults {
  /** Probabilities, 0..1, for each packet. */
  loss?: number;
  duplicate?: number;
  reorder?: number;
  corrupt?: number;
}

export interface MemoryPairOptions extends LinkFaults {
  /** One seed fixes every fault; default 1. */
  seed?: number;
  /** Largest IP packet (of a super-packet: of each segment), bytes; default 1500. */
  mtu?: number;
  /**
   * Time on the path, and what is added to it at most, µs; jitter alone does not reorder. Default
   * 0.
   */
  delayUs?: number;
  jitterUs?: number;
  /** How much longer a reordered packet takes, µs; default delayUs + 1000. */
  reorderUs?: number;
  /** Bits per second; default Infinity. */
  rateBps?: number;
  /** Bytes that wait for the rate before `transmit` refuses; default Infinity. */
  queueBytes?: number;
  /** Checksum and segmentation offload as a TUN device has it; default false. */
  offload?: boolean;
}

const SMALL_BYTES = 2048;
const LARGE_BYTES = 64 << 10;

/** A packet on its way. */
class Flight {
  bytes: Uint8Array;
  length = 0;
  arrivalUs = 0;
  /** Order among equal arrival times. */
  order = 0;
  ipSummed: number = CHECKSUM_NONE;
  gsoSize = 0;

  constructor(capacity: number) {
    this.bytes = new Uint8Array(capacity);
  }
}

/** Uniform numbers in [0, 1) from a 32-bit state (a Weyl sequence through a murmur3 finalizer). */
class Dice {
  private state: number;

  constructor(seed: number) {
    this.state = seed | 0;
  }

  u32(): number {
    this.state = (this.state + 0x9e3779b9) | 0;
    let z = this.state;
    z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
    z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
    return (z ^ (z >>> 16)) >>> 0;
  }

  uniform(): number {
    return this.u32() / 2 ** 32;
  }
}

/** Options with their defaults, and the time: shared by both ends. */
class Link {
  nowUs = 0;
  readonly mtu: number;
  readonly offload: boolean;
  readonly loss: number;
  readonly duplicate: number;
  readonly reorder: number;
  readonly corrupt: number;
  readonly delayUs: number;
  readonly jitterUs: number;
  readonly reorderUs: number;
  readonly rateBps: number;
  readonly queueBytes: number;

  constructor(options: MemoryPairOptions) {
    this.mtu = options.mtu ?? 1500;
    this.offload = options.offload ?? false;
    this.loss = options.loss ?? 0;
    this.duplicate = options.duplicate ?? 0;
    this.reorder = options.reorder ?? 0;
    this.corrupt = options.corrupt ?? 0;
    this.delayUs = options.delayUs ?? 0;
    this.jitterUs = options.jitterUs ?? 0;
    this.reorderUs = options.reorderUs ?? this.delayUs + 1000;
    this.rateBps = options.rateBps ?? Number.POSITIVE_INFINITY;
    this.queueBytes = options.queueBytes ?? Number.POSITIVE_INFINITY;
  }
}

/** One end of the link. What it transmits, the other end receives. */
export class MemoryDevice implements Device {
  readonly mtu: number;
  readonly offload: { readonly checksum: boolean; readonly gsoMaxBytes: number };
  readonly counters: LinkCounters = new LinkCounters();
  /** What the path did to packets sent from here. */
  readonly faults: { lost: number; duplicated: number; reordered: number; corrupted: number } = {
    lost: 0,
    duplicated: 0,
    reordered: 0,
    corrupted: 0,
  };
  /** Why the last packet was counted as txErrors; '' = none was. */
  lastFault = '';
  private readonly link: Link;
  private readonly dice: Dice;
  /** Packets sent from here, binary heap by arrival time. */
  private readonly flights: Flight[] = [];
  private readonly free: { small: Flight[]; large: Flight[] } = { small: [], large: [] };
  private sequence = 0;
  /**
   * When the last bit of what was sent so far leaves the queue, and when the last packet arrives,
   * µs.
   */
  private departureUs = 0;
  private arrivalUs = 0;
  private other: MemoryDevice | null = null;

  /** @internal Made by memoryPair. */
  constructor(link: Link, seed: number) {
    this.link = link;
    this.mtu = link.mtu;
    this.offload = { checksum: link.offload, gsoMaxBytes: link.offload ? 65_535 : 0 };
    this.dice = new Dice(seed);
  }

  /** @internal */
  join(other: MemoryDevice): void {
    this.other = other;
  }

  /**
   * Sends a copy. False = the queue is full (txDropped) or the packet is not one the link carries
   * (txErrors).
   */
  transmit(skb: Skb): boolean {
    const { link, counters } = this;
    const fault = this.refuse(skb);
    if (fault !== '') {
      counters.txErrors++;
      this.lastFault = fault;
      return false;
    }
    const length = skb.length;
    const waitingUs = Math.max(0, this.departureUs - link.nowUs);
    // At an infinite rate nothing ever waits (and Infinity * 0 is no number).
    const waitingBytes = waitingUs === 0 ? 0 : (waitingUs * link.rateBps) / 8e6;
    if (waitingBytes + length > link.queueBytes) {
      counters.txDropped++;
      return false;
    }
    this.departureUs = link.nowUs + waitingUs + (length * 8e6) / link.rateBps;
    counters.txPackets++;
    counters.txBytes += length;
    this.send(skb);
    return true;
  }

  /** Copies the next packet that has arrived into `skb`; false = none has. */
  receive(skb: Skb): boolean {
    const flights = this.other?.flights ?? [];
    const flight = flights[0];
    if (flight === undefined || flight.arrivalUs > this.link.nowUs) return false;
    removeFirst(flights);
    this.other?.recycle(flight);
    if (flight.length > skb.capacity - SKB_HEADROOM) {
      this.counters.rxErrors++;
      return false;
    }
    skb.start = skb.base + SKB_HEADROOM;
    skb.end = skb.start + flight.length;
    skb.bytes.set(flight.bytes.subarray(0, flight.length), skb.start);
    skb.frag0Bytes = 0;
    skb.frag1Bytes = 0;
    skb.ipSummed = flight.ipSummed;
    skb.gsoSize = flight.gsoSize;
    this.counters.rxPackets++;
    this.counters.rxBytes += flight.length;
    return true;
  }

  /** Packets sent from here that the other end has not received yet. */
  get inFlight(): number {
    return this.flights.length;
  }

  /** Arrival time of the next packet sent from here, µs; Infinity = none is on its way. */
  nextUs(): number {
    return this.flights[0]?.arrivalUs ?? Number.POSITIVE_INFINITY;
  }

  /** Why this packet cannot be sent, or ''. */
  private refuse(skb: Skb): string {
    const { link } = this;
    const length = skb.length;
    if (length < IPHDR_BYTES || length > 65_535) return `packet of ${length} bytes`;
    if (!link.offload) {
      if (skb.ipSummed === CHECKSUM_PARTIAL) return 'partial checksum without offload';
      if (skb.gsoSize > 0) return 'super-packet without offload';
    } else if (skb.ipSummed === CHECKSUM_PARTIAL) {
      return partialFault(skb, link.mtu);
    } else if (skb.gsoSize > 0) {
      return 'super-packet with a complete checksum';
    }
    return length > link.mtu ? `packet of ${length} bytes on a link with mtu ${link.mtu}` : '';
  }

  /**
   * Decides the packet's fate. The dice are thrown equally often for every packet, whatever the
   * options.
   */
  private send(skb: Skb): void {
    const { link, dice, faults } = this;
    const lost = dice.uniform() < link.loss;
    const twice = dice.uniform() < link.duplicate;
    const late = dice.uniform() < link.reorder;
    const corrupted = dice.uniform() < link.corrupt;
    const jitterUs = dice.uniform() * link.jitterUs;
    const bit = dice.u32();
    if (lost) {
      faults.lost++;
      return;
    }
    let arrivalUs = Math.max(this.departureUs + link.delayUs + jitterUs, this.arrivalUs);
    if (late) {
      faults.reordered++;
      arrivalUs += link.reorderUs;
    } else {
      this.arrivalUs = arrivalUs;
    }
    const flight = this.launch(skb, arrivalUs);
    if (corrupted) {
      faults.corrupted++;
      this.corruptFlight(skb, flight, bit);
    }
    if (twice) {
      faults.duplicated++;
      this.launch(skb, arrivalUs);
    }
  }

  private launch(skb: Skb, arrivalUs: number): Flight {
    const length = skb.length;
    const flight =
      length <= SMALL_BYTES
        ? (this.free.small.pop() ?? new Flight(SMALL_BYTES))
        : (this.free.large.pop() ?? new Flight(LARGE_BYTES));
    const { bytes } = flight;
    skb.copyOut(bytes);
    flight.length = length;
    flight.arrivalUs = arrivalUs;
    flight.order = this.sequence++;
    flight.ipSummed = skb.ipSummed === CHECKSUM_PARTIAL ? CHECKSUM_UNNECESSARY : CHECKSUM_NONE;
    flight.gsoSize = skb.gsoSize;
    insert(this.flights, flight);
    return flight;
  }

  /**
   * Flips one bit. What was trusted gets its whole checksum before, so that the receiver can find
   * the damage.
   */
  private corruptFlight(skb: Skb, flight: Flight, bit: number): void {
    if (skb.ipSummed === CHECKSUM_PARTIAL) {
      completeChecksum(flight.bytes, flight.length, skb.csumStart - skb.start, skb.csumOffset);
      flight.ipSummed = CHECKSUM_NONE;
    }
    const at = bit % (flight.length * 8);
    const index = at >>> 3;
    flight.bytes[index] = flight.bytes[index]! ^ (1 << (at & 7));
  }

  private recycle(flight: Flight): void {
    (flight.bytes.length === SMALL_BYTES ? this.free.small : this.free.large).push(flight);
  }
}

function before(a: Flight, b: Flight): boolean {
  return a.arrivalUs < b.arrivalUs || (a.arrivalUs === b.arrivalUs && a.order < b.order);
}

function insert(heap: Flight[], flight: Flight): void {
  let at = heap.push(flight) - 1;
  while (at > 0) {
    const parent = (at - 1) >>> 1;
    if (!before(flight, heap[parent]!)) break;
    heap[at] = heap[parent]!;
    at = parent;
  }
  heap[at] = flight;
}

function removeFirst(heap: Flight[]): void {
  const last = heap.pop()!;
  if (heap.length === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child++;
    if (!before(heap[child]!, last)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
}

/** Two ends and their time. */
export interface MemoryPair {
  readonly a: MemoryDevice;
  readonly b: MemoryDevice;
  /** Sets the time, µs; it never goes back. */
  advance(nowUs: number): void;
  /** When the next packet arrives at either end, µs; Infinity = nothing is on its way. */
  nextUs(): number;
}

/** Makes a link. */
export function memoryPair(options: MemoryPairOptions = {}): MemoryPair {
  const link = new Link(options);
  const seed = options.seed ?? 1;
  const a = new MemoryDevice(link, seed);
  const b = new MemoryDevice(link, Math.imul(seed, 0x27d4eb2f) ^ 0x165667b1);
  a.join(b);
  b.join(a);
  return {
    a,
    b,
    advance: (nowUs) => {
      link.nowUs = Math.max(link.nowUs, nowUs);
    },
    nextUs: () => Math.min(a.nextUs(), b.nextUs()),
  };
}
