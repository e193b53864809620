/**
 * The socket tables of one stack (Linux include/net/inet_hashtables.h: struct inet_hashinfo) with
 * their secrets, and what the last lookup left behind: which hash chose which member of how many.
 * The tables themselves are ehash.ts, lhash2.ts and bhash.ts.
 */
import type { NetNs } from '../net/netns.js';
import { Bhash } from './bhash.js';
import type { Decision } from './decision.js';
import { Ehash } from './ehash.js';
import { PortSearch } from './hash-connect.js';
import { Lhash2 } from './lhash2.js';
import { type KernelProfile, kernelProfile } from './profile.js';
import { PICKED_BY_NONE } from './select.js';
import { SelectorRequest } from './selector-request.js';
import type { SockCommon } from './sock-common.js';

/** Linux net/ipv4/tcp.c: tcp_init: bind and listener tables have at most this many buckets. */
const MAX_BUCKETS = 64 << 10;

export class InetHashinfo {
  readonly net: NetNs;
  readonly profile: KernelProfile;
  readonly ehash: Ehash;
  readonly lhash2: Lhash2;
  readonly bhash: Bhash;
  /** Initial value of the flow hash: secret + hash_mix modulo 2^32, int32. */
  readonly ehashInitval: number;

  /** When set, every lookup writes here what it did and why; reused by the next. */
  decision: Decision | null = null;

  /**
   * Left by the last listener lookup: flow hash that chose the member (int32), its index, and how
   * many there were; 0, -1, 0 when no group chose.
   */
  phash = 0;
  slot = -1;
  members = 0;
  /** What made that choice: PICKED_BY_* of select.ts. */
  pickedBy: number = PICKED_BY_NONE;
  /** Table rows that the last lookup looked at, established and listeners together. */
  visited = 0;

  /** Groups made so far; the newest has this id. */
  groupsMade = 0;
  readonly selectorRequest: SelectorRequest;
  /**
   * Microseconds since any start, to measure what selectors cost: the core has no clock of its own.
   * null = they are not measured.
   */
  selectorClock: (() => number) | null = null;

  /**
   * Set by the transport: may the new connection `sk` take over from the time-wait socket `tw` of
   * the same connection (Linux net/ipv4/tcp_ipv4.c: tcp_twsk_unique)? `sk.num` is still 0 when the
   * port is ours to choose. True is final: the transport has disarmed `tw` and chosen the ISN; the
   * tables then put `sk` where `tw` was.
   */
  twskUnique: (tw: SockCommon, sk: SockCommon) => boolean = () => false;

  private search: PortSearch | null = null;

  /**
   * Buckets: net.ipv4.tcp_ehash_entries (a power of two) for ehash, at most 65,536 of them for the
   * others.
   * @param maxEntries most sockets in ehash
   */
  constructor(net: NetNs, maxEntries: number) {
    this.net = net;
    this.profile = kernelProfile(net.sysctl.profile);
    this.ehashInitval = (net.ehashSecret + net.hashMix) | 0;
    const buckets = net.sysctl.tcpChildEhashEntries;
    this.ehash = new Ehash(buckets, maxEntries);
    this.lhash2 = new Lhash2(Math.min(buckets, MAX_BUCKETS), net.hashMix);
    this.bhash = new Bhash(
      Math.min(buckets, MAX_BUCKETS),
      net.hashMix,
      this.profile.portForgetsBinds,
    );
    this.selectorRequest = new SelectorRequest(net.random);
  }

  /** connect()'s secrets and perturbation table, made at the first connect(). */
  get portSearch(): PortSearch {
    this.search ??= new PortSearch(this);
    return this.search;
  }
}
