/**
 * Who owns which port (Linux net/ipv4/inet_hashtables.c: bhash and bhash2). A port in use is a
 * BindPort (Linux: inet_bind_bucket); its owners stand in BindBuckets, one per local address
 * (inet_bind2_bucket), so that a bind to one address does not walk the owners of three hundred
 * others. Owners are bound sockets, listeners, connections and time-wait sockets; requests are not.
 * Whether two owners get along is get-port.ts.
 */
import { assert } from '../net/assert.js';
import { ENOENT } from '../net/errno.js';
import type { InetHashinfo } from './hashinfo.js';
import { ipv4PortaddrHash } from './lhash2.js';
import { SockCommon } from './sock-common.js';

/** Connections whose objects are put away (tcp/parking.ts), as many as look alike. */
export interface ParkedOwners {
  /** Looks like each of them to a conflict test; in no table itself. */
  readonly like: SockCommon;
  count: number;
}

function sameOwner(a: SockCommon, b: SockCommon): boolean {
  return (
    a.reuse === b.reuse &&
    a.reuseport === b.reuseport &&
    a.uid === b.uid &&
    a.boundDevIf === b.boundDevIf &&
    a.family === b.family &&
    a.ipv6only === b.ipv6only &&
    a.state === b.state
  );
}

/** A socket that looks like the owner `sk` to others that want its port. */
function ownerLike(sk: SockCommon): SockCommon {
  const like = new SockCommon(sk.kind);
  const { reuse, reuseport, uid, boundDevIf, family, ipv6only, state, rcvSaddr } = sk;
  return Object.assign(like, {
    ...{ reuse, reuseport, uid, boundDevIf },
    ...{ family, ipv6only, state, rcvSaddr },
  });
}

/** The owners of one port at one local address (0 = any). */
export class BindBucket {
  readonly port: number;
  readonly addr: number;
  readonly bindPort: BindPort;
  /**
   * Nobody has bound to it since it was made by a connect(), or all who did are gone (Linux:
   * fastreuse == -1).
   */
  connectOnly: boolean;
  /** Owners that did not get the port from connect(). */
  boundOwners = 0;
  /** In no particular order; owners[i].bindIndex is i. Those that are parked are not among them. */
  readonly owners: SockCommon[] = [];
  /** Owners that are parked, by what a conflict test sees of them. */
  readonly parked: ParkedOwners[] = [];
  parkedCount = 0;
  /** Neighbours: in the chain of bhash2, and among the buckets of the port. */
  hashNext: BindBucket | null = null;
  portNext: BindBucket | null = null;
  portPrev: BindBucket | null = null;

  constructor(bindPort: BindPort, addr: number, connectOnly: boolean) {
    this.bindPort = bindPort;
    this.connectOnly = connectOnly;
    this.port = bindPort.port;
    this.addr = addr;
  }
}

/** A port in use. */
export class BindPort {
  readonly port: number;
  /**
   * All owners so far got the port from connect(): only then may connect() use it again (fastreuse
   * == -1).
   */
  connectOnly: boolean;
  /** Owners at all addresses. */
  ownerCount = 0;
  /** Buckets that are not connectOnly. */
  boundBuckets = 0;
  /** What fast-reuse.ts remembers. */
  fastReuse = false;
  fastReuseport = 0;
  fastUid = 0;
  fastRcvSaddr = 0;
  fastFamily = 0;
  fastIpv6only = false;
  buckets: BindBucket | null = null;
  next: BindPort | null = null;

  constructor(port: number, connectOnly: boolean) {
    this.port = port;
    this.connectOnly = connectOnly;
  }
}

/** Linux 6.1 include/net/inet_hashtables.h: inet_bhashfn. */
export function inetBhashfn(hashMix: number, port: number, size: number): number {
  return (port + hashMix) & (size - 1);
}

export class Bhash {
  /** Ports in use. */
  ports = 0;
  /** Owners looked at by conflict tests so far. */
  visited = 0;
  private readonly hashMix: number;
  private readonly forgetsBinds: boolean;
  private readonly heads: (BindPort | null)[];
  private readonly addrHeads: (BindBucket | null)[];

  /**
   * @param buckets a power of two
   * @param forgetsBinds KernelProfile.portForgetsBinds
   */
  constructor(buckets: number, hashMix: number, forgetsBinds = false) {
    assert(buckets > 0 && (buckets & (buckets - 1)) === 0, 'bhash size is not a power of two');
    this.hashMix = hashMix;
    this.forgetsBinds = forgetsBinds;
    this.heads = new Array<BindPort | null>(buckets).fill(null);
    this.addrHeads = new Array<BindBucket | null>(buckets).fill(null);
  }

  findPort(port: number): BindPort | null {
    let bindPort: BindPort | null = this.heads[inetBhashfn(this.hashMix, port, this.heads.length)]!;
    while (bindPort !== null && bindPort.port !== port) bindPort = bindPort.next;
    return bindPort;
  }

  find(port: number, addr: number): BindBucket | null {
    let bucket: BindBucket | null = this.addrHeads[this.addrBucketOf(port, addr)]!;
    while (bucket !== null && (bucket.port !== port || bucket.addr !== addr)) {
      bucket = bucket.hashNext;
    }
    return bucket;
  }

  /** Linux: inet_bind_hash. Makes `sk` an owner of `port` at its local address, and sets sk.num. */
  bind(sk: SockCommon, port: number, fromConnect: boolean): void {
    assert(sk.bindBucket === null, 'socket owns a port already');
    const found = this.findPort(port);
    const bindPort = found ?? this.makePort(port, fromConnect);
    sk.connectBind = fromConnect;
    this.join(sk, bindPort);
    if (!fromConnect) this.markBound(sk.bindBucket!);
    sk.num = port;
  }

  /** Somebody has asked for the port at this address by name: connect() leaves it alone. */
  markBound(bucket: BindBucket): void {
    bucket.bindPort.connectOnly = false;
    if (!bucket.connectOnly) return;
    bucket.connectOnly = false;
    bucket.bindPort.boundBuckets++;
  }

  /** Makes `sk` an owner of `bindPort` at its local address. */
  join(sk: SockCommon, bindPort: BindPort): void {
    const bucket = this.find(bindPort.port, sk.rcvSaddr) ?? this.makeBucket(bindPort, sk);
    if (!sk.connectBind) bucket.boundOwners++;
    sk.bindIndex = bucket.owners.length;
    bucket.owners.push(sk);
    sk.bindBucket = bucket;
    bindPort.ownerCount++;
  }

  /** Ends the ownership of `sk`; the port is free when it was the last. */
  leave(sk: SockCommon): void {
    const bindPort = this.leaveBucket(sk);
    sk.connectBind = false;
    if (bindPort.ownerCount === 0) this.dropPort(bindPort);
    else if (this.forgetsBinds && bindPort.boundBuckets === 0) forgetBinds(bindPort);
  }

  /** The local address of the owner `sk` has changed. */
  move(sk: SockCommon): void {
    this.join(sk, this.leaveBucket(sk));
  }

  private leaveBucket(sk: SockCommon): BindPort {
    const bucket = sk.bindBucket;
    assert(bucket !== null && bucket.owners[sk.bindIndex] === sk, 'socket owns no port');
    takeOwner(bucket, sk);
    sk.bindBucket = null;
    if (!sk.connectBind) bucket.boundOwners--;
    const { bindPort } = bucket;
    const nobody = bucket.owners.length + bucket.parkedCount === 0;
    const forgotten = this.forgetsBinds && bucket.boundOwners === 0;
    if (!bucket.connectOnly && (forgotten || nobody)) {
      bucket.connectOnly = true;
      bindPort.boundBuckets--;
    }
    if (nobody) this.dropBucket(bucket);
    bindPort.ownerCount--;
    return bindPort;
  }

  /** The owner `sk` stays one without its object: its bindBucket is what `unpark` needs. */
  park(sk: SockCommon): void {
    const bucket = sk.bindBucket!;
    takeOwner(bucket, sk);
    bucket.parkedCount++;
    const alike = bucket.parked.find(({ like }) => sameOwner(like, sk));
    if (alike === undefined) bucket.parked.push({ like: ownerLike(sk), count: 1 });
    else alike.count++;
  }

  /** `sk` has its object again, and is as it was when it was parked. */
  unpark(sk: SockCommon): void {
    const bucket = sk.bindBucket!;
    const index = bucket.parked.findIndex(({ like }) => sameOwner(like, sk));
    const alike = bucket.parked[index];
    assert(alike !== undefined, 'owner is not parked');
    if (--alike.count === 0) bucket.parked.splice(index, 1);
    bucket.parkedCount--;
    sk.bindIndex = bucket.owners.length;
    bucket.owners.push(sk);
  }

  private addrBucketOf(port: number, addr: number): number {
    return ipv4PortaddrHash(this.hashMix, addr, port) & (this.addrHeads.length - 1);
  }

  private makePort(port: number, connectOnly: boolean): BindPort {
    const head = inetBhashfn(this.hashMix, port, this.heads.length);
    const bindPort = new BindPort(port, connectOnly);
    bindPort.next = this.heads[head]!;
    this.heads[head] = bindPort;
    this.ports++;
    return bindPort;
  }

  private makeBucket(bindPort: BindPort, sk: SockCommon): BindBucket {
    const head = this.addrBucketOf(bindPort.port, sk.rcvSaddr);
    const bucket = new BindBucket(bindPort, sk.rcvSaddr, sk.connectBind);
    if (!sk.connectBind) bindPort.boundBuckets++;
    bucket.hashNext = this.addrHeads[head]!;
    this.addrHeads[head] = bucket;
    bucket.portNext = bindPort.buckets;
    if (bindPort.buckets !== null) bindPort.buckets.portPrev = bucket;
    bindPort.buckets = bucket;
    return bucket;
  }

  private dropBucket(bucket: BindBucket): void {
    const head = this.addrBucketOf(bucket.port, bucket.addr);
    let before = this.addrHeads[head]!;
    if (before === bucket) {
      this.addrHeads[head] = bucket.hashNext;
    } else {
      while (before.hashNext !== bucket) before = before.hashNext!;
      before.hashNext = bucket.hashNext;
    }
    const { bindPort, portNext, portPrev } = bucket;
    if (portPrev === null) bindPort.buckets = portNext;
    else portPrev.portNext = portNext;
    if (portNext !== null) portNext.portPrev = portPrev;
  }

  private dropPort(bindPort: BindPort): void {
    const head = inetBhashfn(this.hashMix, bindPort.port, this.heads.length);
    let before = this.heads[head]!;
    if (before === bindPort) {
      this.heads[head] = bindPort.next;
    } else {
      while (before.next !== bindPort) before = before.next!;
      before.next = bindPort.next;
    }
    this.ports--;
  }
}

/** The last of the owners takes the place of `sk`. */
function takeOwner(bucket: BindBucket, sk: SockCommon): void {
  const last = bucket.owners.pop()!;
  if (last !== sk) {
    bucket.owners[sk.bindIndex] = last;
    last.bindIndex = sk.bindIndex;
  }
  sk.bindIndex = -1;
}

/** As if nobody had ever bound to it (Linux: the end of inet_bind_bucket_destroy). */
function forgetBinds(bindPort: BindPort): void {
  bindPort.connectOnly = true;
  bindPort.fastReuse = false;
  bindPort.fastReuseport = 0;
}

/**
 * Linux 6.1 net/ipv4/inet_hashtables.c: inet_put_port. Gives the port back (sk.num becomes 0);
 * no-op without one.
 */
export function inetPutPort(hashinfo: InetHashinfo, sk: SockCommon): void {
  if (sk.bindBucket === null) return;
  hashinfo.bhash.leave(sk);
  sk.num = 0;
}

/**
 * Linux 6.1 net/ipv4/inet_hashtables.c: __inet_inherit_port. `child` (num and rcvSaddr set) becomes
 * an owner of its port, which as a rule is the listener's; one that was half open when its listener
 * stopped and began anew on another port has a port of its own.
 * @returns 0, or -ENOENT when the listener has lost its port meanwhile
 */
export function inetInheritPort(
  hashinfo: InetHashinfo,
  listener: SockCommon,
  child: SockCommon,
): number {
  const bucket = listener.bindBucket;
  if (bucket === null) return -ENOENT;
  assert(child.bindBucket === null, 'child owns a port already');
  if (bucket.port === child.num) hashinfo.bhash.join(child, bucket.bindPort);
  else hashinfo.bhash.bind(child, child.num, false);
  return 0;
}

/**
 * The port passes from `from` to `to` in place (the bind half of Linux 6.1
 * net/ipv4/inet_timewait_sock.c: inet_twsk_hashdance): `from` owns none afterwards, its num stays.
 * Both have the same local address and port.
 */
export function inetBindTransfer(from: SockCommon, to: SockCommon): void {
  const bucket = from.bindBucket;
  assert(
    bucket !== null && to.bindBucket === null,
    'bind transfer: nothing to give, or owner already',
  );
  assert(to.num === bucket.port && to.rcvSaddr === bucket.addr, 'bind transfer: another address');
  bucket.owners[from.bindIndex] = to;
  bucket.boundOwners += Number(from.connectBind) - Number(to.connectBind);
  to.bindBucket = bucket;
  to.bindIndex = from.bindIndex;
  from.bindBucket = null;
  from.bindIndex = -1;
}

/**
 * Linux 6.1 net/ipv4/inet_hashtables.c: inet_bhash2_update_saddr. To be called after the local
 * address of an owner has changed (connect() of a socket bound to any address, and its undoing);
 * inetHashConnect does it itself.
 */
export function inetBhash2UpdateSaddr(hashinfo: InetHashinfo, sk: SockCommon): void {
  const bucket = sk.bindBucket;
  if (bucket !== null && bucket.addr !== sk.rcvSaddr) hashinfo.bhash.move(sk);
}
