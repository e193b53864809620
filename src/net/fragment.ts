/**
 * Reassembly of IPv4 datagrams (RFC 791 3.2, RFC 815, RFC 1122 3.3.2; Linux
 * net/ipv4/ip_fragment.c). Fragments are copied to their place in a buffer of inputSkbs, so the
 * number of datagrams under way is bounded by the pool and by ipfrag_high_thresh. As in Linux since
 * 4.20 a fragment that overlaps another without being a duplicate spoils the whole datagram (the
 * rule of RFC 5722). Transport checksums are the transport's business.
 */
import { checksumFold, checksumPartial } from './checksum.js';
import { jhash1word } from './hash.js';
import { ICMP_EXC_FRAGTIME, ICMP_TIME_EXCEEDED, icmpSend } from './icmp.js';
import { IP_MF, IP_OFFSET } from './ipv4-output.js';
import { iphdr, offsetOf } from './layout.js';
import { Mib } from './mib.js';
import type { NetNs } from './netns.js';
import type { Skb } from './skb.js';
import type { TimerEntry } from './timer.js';

const TOS = offsetOf(iphdr, 'tos');
const TOT_LEN = offsetOf(iphdr, 'tot_len');
const ID = offsetOf(iphdr, 'id');
const FRAG_OFF = offsetOf(iphdr, 'frag_off');
const CHECK = offsetOf(iphdr, 'check');

/**
 * Datagrams under way, whatever ipfrag_high_thresh says: input buffers must be left for the link.
 */
const QUEUES_MAX = 24;
/** Stretches with holes between them; more than any order of arrival needs at MTUs from 300 up. */
const RANGES_MAX = 128;
/** Room for the largest IP header before the payload, bytes. */
const HEADER_MAX_BYTES = 60;
const IP_MAX_BYTES = 65_535;
/** Senders that ipfrag_max_dist tells apart; two that share a place disturb each other at worst. */
const SENDERS = 64;
const US_PER_SECOND = 1_000_000;

const ECN_CE = 3;
/**
 * Bits `1 << ecn` of what was seen (RFC 3168 5.3): congestion, and packets that could not have
 * shown any.
 */
const SEEN_CE: number = 1 << ECN_CE;
const SEEN_NOT_ECT = 1;

/** One datagram under way (Linux: struct ipq). */
class FragmentQueue implements TimerEntry {
  timerIndex = -1;
  saddr = 0;
  daddr = 0;
  id = 0;
  protocol = 0;
  skb: Skb | null = null;
  /** Payload length so far, bytes; final once the last fragment is there. */
  length = 0;
  lastSeen = false;
  /** Size of the first fragment's header and payload, bytes; 0 = it is not there yet. */
  headerBytes = 0;
  firstBytes = 0;
  ecnSeen = 0;
  /** Number of the sender's fragments when this datagram got its latest one. */
  distance = 0;
  /**
   * Stretches that are there: [starts[i], ends[i]), ascending, neither overlapping nor touching.
   */
  readonly starts: Int32Array = new Int32Array(RANGES_MAX);
  readonly ends: Int32Array = new Int32Array(RANGES_MAX);
  ranges = 0;
  private readonly table: FragmentTable;

  constructor(table: FragmentTable) {
    this.table = table;
  }

  /** Forgets all fragments; key, buffer and timer stay. */
  reset(): void {
    this.length = this.headerBytes = this.firstBytes = this.ecnSeen = this.ranges = 0;
    this.lastSeen = false;
  }

  onTimer(): void {
    this.table.expire(this);
  }

  /** Everything from the first byte to the last is there. */
  get complete(): boolean {
    return (
      this.lastSeen && this.headerBytes > 0 && this.ranges === 1 && this.ends[0] === this.length
    );
  }
}

/** What became of a stretch. */
const INSERTED = 0;
const DUPLICATE = 1;
const OVERLAP = 2;
/** Fragments that cannot be of one datagram, or are too many. */
const SPOILED = 3;

/** Notes that [from, to) has come. Linux 5.0 net/ipv4/inet_fragment.c: inet_frag_queue_insert. */
function insertRange(queue: FragmentQueue, from: number, to: number): number {
  const { starts, ends } = queue;
  // The first stretch that ends at or after `from`: the only one that may hold it, or be prolonged
  // by it.
  let i = 0;
  while (i < queue.ranges && ends[i]! < from) i++;
  if (i < queue.ranges && starts[i]! <= from && to <= ends[i]!) return DUPLICATE;
  const joinsLeft = i < queue.ranges && ends[i] === from;
  const right = joinsLeft ? i + 1 : i;
  if (right < queue.ranges && starts[right]! < to) return OVERLAP;
  const joinsRight = right < queue.ranges && starts[right] === to;
  if (joinsLeft && joinsRight) {
    ends[i] = ends[right]!;
    starts.copyWithin(right, right + 1, queue.ranges);
    ends.copyWithin(right, right + 1, queue.ranges);
    queue.ranges--;
  } else if (joinsLeft) {
    ends[i] = to;
  } else if (joinsRight) {
    starts[right] = from;
  } else {
    if (queue.ranges === RANGES_MAX) return SPOILED;
    starts.copyWithin(i + 1, i, queue.ranges);
    ends.copyWithin(i + 1, i, queue.ranges);
    starts[i] = from;
    ends[i] = to;
    queue.ranges++;
  }
  return INSERTED;
}

export class FragmentTable {
  private readonly net: NetNs;
  /** Oldest first. */
  private readonly live: FragmentQueue[] = [];
  private readonly idle: FragmentQueue[] = [];
  private readonly fragmentsFrom: Int32Array = new Int32Array(SENDERS);

  constructor(net: NetNs) {
    this.net = net;
  }

  /** Datagrams under way. */
  get size(): number {
    return this.live.length;
  }

  /**
   * Takes one fragment (a packet that ipv4Rcv has validated; the caller keeps the skb). Returns the
   * whole datagram when this was its last missing piece: an skb of net.inputSkbs that the caller
   * releases, beginning at an IP header that says so; else null. Linux 5.0 net/ipv4/ip_fragment.c:
   * ip_defrag.
   */
  defrag(skb: Skb): Skb | null {
    const net = this.net;
    net.count(Mib.IpReasmReqds);
    const queue = this.find(skb);
    if (queue === null) {
      net.drop(Mib.IpReasmFails, 'IpReasmFails', skb);
      return null;
    }
    const sender = jhash1word(skb.saddr, net.hashMix) & (SENDERS - 1);
    const distance = (this.fragmentsFrom[sender]! + 1) | 0;
    this.fragmentsFrom[sender] = distance;
    const since = (distance - queue.distance) | 0;
    queue.distance = distance;
    const maxDistance = net.sysctl.ipfragMaxDist;
    if (queue.ranges > 0 && maxDistance > 0 && since > maxDistance) {
      // So late that the sender's identifications may have come round: what we have is another
      // datagram.
      net.count(Mib.IpReasmFails);
      queue.reset();
      this.restartTimer(queue);
    }
    const verdict = this.place(queue, skb);
    if (verdict === OVERLAP) net.count(Mib.IpExtReasmOverlaps);
    if (verdict >= OVERLAP) {
      this.release(queue);
      net.drop(Mib.IpReasmFails, 'IpReasmFails', skb);
      return null;
    }
    return queue.complete ? this.finish(queue, skb) : null;
  }

  /**
   * Linux 5.0 net/ipv4/ip_fragment.c: ip_expire. RFC 1122 3.3.2: tells the sender if the first
   * fragment is known.
   */
  expire(queue: FragmentQueue): void {
    const net = this.net;
    net.count(Mib.IpReasmTimeout);
    net.count(Mib.IpReasmFails);
    const skb = queue.skb!;
    if (queue.headerBytes > 0) {
      const payload = skb.start + HEADER_MAX_BYTES;
      skb.start = payload - queue.headerBytes;
      skb.end = payload + queue.firstBytes;
      skb.transport = payload;
      skb.saddr = queue.saddr;
      skb.daddr = queue.daddr;
      skb.protocol = queue.protocol;
      skb.tos = skb.view.getUint8(skb.start + TOS);
      icmpSend(net, skb, ICMP_TIME_EXCEEDED, ICMP_EXC_FRAGTIME, 0);
    }
    this.release(queue);
  }

  /** The queue of `skb`'s datagram, a new one if need be, or null when no buffer is to be had. */
  private find(skb: Skb): FragmentQueue | null {
    const id = skb.view.getUint16(skb.start + ID);
    for (const queue of this.live) {
      if (
        queue.id === id &&
        queue.saddr === skb.saddr &&
        queue.daddr === skb.daddr &&
        queue.protocol === skb.protocol
      ) {
        return queue;
      }
    }
    const buffer = this.allocBuffer();
    if (buffer === null) return null;
    const queue = this.idle.pop() ?? new FragmentQueue(this);
    queue.saddr = skb.saddr;
    queue.daddr = skb.daddr;
    queue.id = id;
    queue.protocol = skb.protocol;
    queue.skb = buffer;
    queue.reset();
    this.live.push(queue);
    this.restartTimer(queue);
    return queue;
  }

  private restartTimer(queue: FragmentQueue): void {
    const { timers, nowUs, sysctl } = this.net;
    timers.arm(queue, nowUs + sysctl.ipfragTime * US_PER_SECOND);
  }

  /** A buffer within the limits; the oldest datagrams make room. */
  private allocBuffer(): Skb | null {
    const { inputSkbs, sysctl } = this.net;
    const most = Math.min(QUEUES_MAX, Math.floor(sysctl.ipfragHighThresh / inputSkbs.capacity));
    while (this.live.length > 0 && this.live.length >= most) this.evictOldest();
    if (most === 0) return null;
    const buffer = inputSkbs.alloc();
    if (buffer !== null || this.live.length === 0) return buffer;
    this.evictOldest();
    return inputSkbs.alloc();
  }

  private evictOldest(): void {
    this.net.count(Mib.IpReasmFails);
    this.release(this.live[0]!);
  }

  /** Frees the buffer and everything else. */
  private release(queue: FragmentQueue): void {
    this.net.inputSkbs.release(queue.skb!);
    this.forget(queue);
  }

  private forget(queue: FragmentQueue): void {
    queue.skb = null;
    this.net.timers.cancel(queue);
    this.live.splice(this.live.indexOf(queue), 1);
    this.idle.push(queue);
  }

  /** Copies the fragment to its place. Linux 5.0 net/ipv4/ip_fragment.c: ip_frag_queue. */
  private place(queue: FragmentQueue, skb: Skb): number {
    const buffer = queue.skb!;
    const fragOff = skb.view.getUint16(skb.start + FRAG_OFF);
    const headerBytes = skb.transport - skb.start;
    const from = (fragOff & IP_OFFSET) * 8;
    let to = from + (skb.end - skb.transport);
    if ((fragOff & IP_MF) === 0) {
      // A second, different end, or data past this one: these fragments are not of one datagram.
      if (to < queue.length || (queue.lastSeen && to !== queue.length)) return SPOILED;
      queue.lastSeen = true;
    } else {
      to &= ~7;
      if (queue.lastSeen && to > queue.length) return SPOILED;
    }
    if (to <= from || headerBytes + to > IP_MAX_BYTES) return SPOILED;
    queue.length = Math.max(queue.length, to);
    const verdict = insertRange(queue, from, to);
    if (verdict !== INSERTED) return verdict;
    const payload = buffer.start + HEADER_MAX_BYTES;
    buffer.bytes.copyWithin(payload + from, skb.transport, skb.transport + to - from);
    if (from === 0) {
      buffer.bytes.copyWithin(payload - headerBytes, skb.start, skb.transport);
      queue.headerBytes = headerBytes;
      queue.firstBytes = to;
    }
    queue.ecnSeen |= 1 << (skb.tos & ECN_CE);
    // The whole has come in where its latest piece has.
    buffer.ifindex = skb.ifindex;
    buffer.cpu = skb.cpu;
    buffer.dev = skb.dev;
    return INSERTED;
  }

  /** Linux 5.0 net/ipv4/ip_fragment.c: ip_frag_reasm. */
  private finish(queue: FragmentQueue, last: Skb): Skb | null {
    const net = this.net;
    const skb = queue.skb!;
    const total = queue.headerBytes + queue.length;
    const markedCe = (queue.ecnSeen & SEEN_CE) !== 0;
    if (total > IP_MAX_BYTES || (markedCe && (queue.ecnSeen & SEEN_NOT_ECT) !== 0)) {
      this.release(queue);
      net.drop(Mib.IpReasmFails, 'IpReasmFails', last);
      return null;
    }
    const view = skb.view;
    skb.start += HEADER_MAX_BYTES - queue.headerBytes;
    skb.end = skb.start + total;
    if (markedCe) view.setUint8(skb.start + TOS, view.getUint8(skb.start + TOS) | ECN_CE);
    view.setUint16(skb.start + TOT_LEN, total);
    view.setUint16(skb.start + FRAG_OFF, 0);
    view.setUint16(skb.start + CHECK, 0);
    const sum = checksumPartial(view, skb.start, queue.headerBytes, 0);
    view.setUint16(skb.start + CHECK, checksumFold(sum));
    this.forget(queue);
    net.count(Mib.IpReasmOKs);
    return skb;
  }
}
