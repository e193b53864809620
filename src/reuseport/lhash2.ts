/**
 * The listener table (Linux net/ipv4/inet_hashtables.c, inet_hashinfo.lhash2), keyed by local
 * address and port. Linux chains listeners of all keys of a bucket; here a bucket chains *keys* and
 * a key chains its listeners, in the same order: listeners of other keys could never match, and so
 * a large group costs its neighbours in the bucket nothing. Which listener is right is score.ts and
 * lookup.ts.
 */
import { assert } from '../net/assert.js';
import { jhash1word } from '../net/hash.js';
import { swapWord } from '../net/ipv4-address.js';
import { AF_INET6, type SockCommon } from './sock-common.js';

const NIL = -1;

/** Linux 6.1 include/net/ip.h: ipv4_portaddr_hash, before masking; int32. */
export function ipv4PortaddrHash(hashMix: number, addr: number, port: number): number {
  return jhash1word(swapWord(addr), hashMix) ^ port;
}

/** All listeners of one local address and port. */
export interface ListenKey {
  readonly addr: number;
  readonly port: number;
  readonly bucket: number;
  /** First and last listener in list order: slots of the table. */
  head: number;
  tail: number;
  next: ListenKey | null;
}

export class Lhash2 {
  /** Listeners in the table. */
  size = 0;
  private readonly hashMix: number;
  private readonly keys: (ListenKey | null)[];
  /** Listener, key, and neighbours in list order, by slot; free slots chain through `nexts`. */
  private readonly socks: (SockCommon | null)[] = [];
  private readonly keyOf: (ListenKey | null)[] = [];
  private readonly nexts: number[] = [];
  private readonly prevs: number[] = [];
  private free = NIL;

  /** @param buckets a power of two */
  constructor(buckets: number, hashMix: number) {
    assert(buckets > 0 && (buckets & (buckets - 1)) === 0, 'lhash2 size is not a power of two');
    this.keys = new Array<ListenKey | null>(buckets).fill(null);
    this.hashMix = hashMix;
  }

  get buckets(): number {
    return this.keys.length;
  }

  bucketOf(addr: number, port: number): number {
    return ipv4PortaddrHash(this.hashMix, addr, port) & (this.keys.length - 1);
  }

  /** Slot of the first listener of (addr, port), or -1. Walk with `next` and `sockAt`. */
  first(addr: number, port: number): number {
    const key = this.findKey(this.bucketOf(addr, port), addr, port);
    return key === null ? NIL : key.head;
  }

  /** Slot of the listener behind `slot` in list order, or -1. */
  next(slot: number): number {
    return this.nexts[slot]!;
  }

  sockAt(slot: number): SockCommon {
    return this.socks[slot]!;
  }

  /**
   * Adds a listener under its local address and port: at the head, newest first, but an IPv6 one
   * with SO_REUSEPORT at the tail, which makes IPv4 groups win over dual-stack ones.
   */
  insert(sk: SockCommon): void {
    assert(sk.lhash2Slot === NIL, 'listener is in lhash2 already');
    const key = this.makeKey(sk.rcvSaddr, sk.num);
    const slot = this.takeSlot();
    this.socks[slot] = sk;
    this.keyOf[slot] = key;
    if (sk.family === AF_INET6 && sk.reuseport) {
      this.link(key, slot, key.tail, NIL);
    } else {
      this.link(key, slot, NIL, key.head);
    }
    sk.lhash2Slot = slot;
    this.size++;
  }

  remove(sk: SockCommon): void {
    const slot = sk.lhash2Slot;
    assert(slot !== NIL && this.socks[slot] === sk, 'listener is not in lhash2');
    const key = this.keyOf[slot]!;
    const next = this.nexts[slot]!;
    const prev = this.prevs[slot]!;
    if (prev === NIL) key.head = next;
    else this.nexts[prev] = next;
    if (next === NIL) key.tail = prev;
    else this.prevs[next] = prev;
    if (key.head === NIL) this.dropKey(key);
    this.socks[slot] = null;
    this.keyOf[slot] = null;
    this.nexts[slot] = this.free;
    this.free = slot;
    this.size--;
    sk.lhash2Slot = NIL;
  }

  /** Calls `visit` for every listener, in no particular order; `visit` may remove that listener. */
  forEach(visit: (sk: SockCommon) => void): void {
    for (const sk of this.socks) if (sk !== null) visit(sk);
  }

  private link(key: ListenKey, slot: number, prev: number, next: number): void {
    this.prevs[slot] = prev;
    this.nexts[slot] = next;
    if (prev === NIL) key.head = slot;
    else this.nexts[prev] = slot;
    if (next === NIL) key.tail = slot;
    else this.prevs[next] = slot;
  }

  private findKey(bucket: number, addr: number, port: number): ListenKey | null {
    let key: ListenKey | null = this.keys[bucket]!;
    while (key !== null && (key.addr !== addr || key.port !== port)) key = key.next;
    return key;
  }

  private makeKey(addr: number, port: number): ListenKey {
    const bucket = this.bucketOf(addr, port);
    const found = this.findKey(bucket, addr, port);
    if (found !== null) return found;
    const key: ListenKey = { addr, port, bucket, head: NIL, tail: NIL, next: this.keys[bucket]! };
    this.keys[bucket] = key;
    return key;
  }

  private dropKey(key: ListenKey): void {
    let before = this.keys[key.bucket]!;
    if (before === key) {
      this.keys[key.bucket] = key.next;
      return;
    }
    while (before.next !== key) before = before.next!;
    before.next = key.next;
  }

  private takeSlot(): number {
    const slot = this.free;
    if (slot === NIL) {
      this.socks.push(null);
      this.keyOf.push(null);
      this.nexts.push(NIL);
      this.prevs.push(NIL);
      return this.socks.length - 1;
    }
    this.free = this.nexts[slot]!;
    return slot;
  }
}
