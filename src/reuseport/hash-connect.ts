/**
 * connect()'s half of the tables (Linux net/ipv4/inet_hashtables.c: __inet_hash_connect): which
 * local port, and is the connection unique (RFC 6056 3.3.4, double-hash port selection, with the
 * even half of the range first).
 */
import { EADDRNOTAVAIL, ENOBUFS } from '../net/errno.js';
import { jhash1word } from '../net/hash.js';
import { Mib } from '../net/mib.js';
import { siphash } from '../net/siphash.js';
import { inetBhash2UpdateSaddr, inetBindTransfer, inetPutPort } from './bhash.js';
import { inetEhashfn } from './ehash.js';
import type { InetHashinfo } from './hashinfo.js';
import { inetSkLocalPortRange } from './local-port-range.js';
import { SK_TIMEWAIT, type SockCommon } from './sock-common.js';

/**
 * A destination's ports are shuffled anew this often (Linux net/core/secure_seq.c:
 * EPHEMERAL_PORT_SHUFFLE_PERIOD).
 */
const SHUFFLE_PERIOD_US = 10e6;

/** Where connect() looks first: secrets and the perturbation table, drawn when first used. */
export class PortSearch {
  private readonly key: Int32Array = new Int32Array(4);
  private readonly hashWords: Int32Array = new Int32Array(2);
  private readonly table: Int32Array;
  private readonly shufflePeriodUs: number;
  /** Where in the table the last `start` looked. */
  private slot = 0;

  constructor(hashinfo: InetHashinfo) {
    const { random } = hashinfo.net;
    for (let i = 0; i < 4; i++) this.key[i] = random.u32();
    this.table = new Int32Array(hashinfo.profile.perturbSlots);
    this.shufflePeriodUs = hashinfo.profile.reshufflesPorts ? SHUFFLE_PERIOD_US : Infinity;
    // Linux 5.0 starts its one hint at 0, the table of later kernels starts random.
    if (this.table.length > 1) {
      const seed = random.u32() | 0;
      for (let i = 0; i < this.table.length; i++) this.table[i] = jhash1word(i, seed);
    }
  }

  /**
   * First offset for this destination, u32 (Linux 6.1 net/core/secure_seq.c:
   * secure_ipv4_port_ephemeral, and table_perturb). Leaves in `slot` the place that `advance` moves
   * on.
   */
  start(sk: SockCommon, nowUs: number): number {
    const epoch = Math.floor(nowUs / this.shufflePeriodUs) | 0;
    const low = siphash(this.key, sk.rcvSaddr, sk.daddr, sk.dport, epoch, this.hashWords);
    this.slot = low & (this.table.length - 1);
    // With one slot the low word would be wasted and is the hash itself, as of old.
    const hash = this.table.length > 1 ? this.hashWords[1]! : low;
    return (this.table[this.slot]! + hash) >>> 0;
  }

  /** The next search starts `ports` further on. */
  advance(ports: number): void {
    this.table[this.slot] = this.table[this.slot]! + ports;
  }
}

/**
 * Linux 6.1 net/ipv4/inet_hashtables.c: __inet_check_established. Puts `sk` into ehash as a
 * connection from local port `port`, unless the connection exists. A time-wait socket of the same
 * connection gives way when the transport agrees (`hashinfo.twskUnique`): `sk` takes its places in
 * ehash and bhash.
 * @returns 0; -EADDRNOTAVAIL: not unique; -ENOBUFS: the table is full
 */
function inetCheckEstablished(hashinfo: InetHashinfo, sk: SockCommon, port: number): number {
  const { ehash } = hashinfo;
  const hash = inetEhashfn(hashinfo, sk.rcvSaddr, port, sk.daddr, sk.dport);
  const ports = (sk.dport << 16) | port;
  const other = ehash.lookup(hash, sk.daddr, sk.rcvSaddr, ports, sk.boundDevIf);
  if (other === null) {
    if (ehash.full) return -ENOBUFS;
    sk.num = port;
    sk.hash = hash;
    ehash.insert(sk);
    return 0;
  }
  if (other.kind !== SK_TIMEWAIT || !hashinfo.twskUnique(other, sk)) return -EADDRNOTAVAIL;
  sk.num = port;
  sk.hash = hash;
  ehash.replace(other, sk);
  if (sk.bindBucket === null && other.bindBucket !== null) {
    sk.connectBind = true;
    inetBindTransfer(other, sk);
  } else inetPutPort(hashinfo, other);
  hashinfo.net.count(Mib.TWRecycled);
  return 0;
}

/** Tries one port of the range: 0 = connected from it, else why not. */
function tryPort(hashinfo: InetHashinfo, sk: SockCommon, port: number): number {
  const bindPort = hashinfo.bhash.findPort(port);
  if (bindPort !== null && !bindPort.connectOnly) return -EADDRNOTAVAIL;
  const error = inetCheckEstablished(hashinfo, sk, port);
  if (error === 0 && sk.bindBucket === null) hashinfo.bhash.bind(sk, port, true);
  return error;
}

/**
 * Linux 6.1 net/ipv4/inet_hashtables.c: __inet_hash_connect. Gives `sk` (daddr, dport, rcvSaddr
 * set) its place in ehash. A socket that owns no port (num is 0) gets one of ip_local_port_range:
 * ports of the low end's parity first, starting where the hash of the destination and the
 * perturbation table say; ports that are reserved or that some bind() owns are passed over.
 * @returns 0; -EADDRNOTAVAIL: the connection exists, or no port is left; -ENOBUFS: ehash is full;
 *   then sk.num and its place in bhash are as before
 */
export function inetHashConnect(hashinfo: InetHashinfo, sk: SockCommon): number {
  if (sk.bindBucket !== null) {
    const error = inetCheckEstablished(hashinfo, sk, sk.num);
    if (error === 0) inetBhash2UpdateSaddr(hashinfo, sk);
    return error;
  }
  return connectFromRange(hashinfo, sk);
}

/** Tries the ports of the range for `sk`, each once. */
function connectFromRange(hashinfo: InetHashinfo, sk: SockCommon): number {
  const { net } = hashinfo;
  const range = inetSkLocalPortRange(net.sysctl, sk);
  const { low } = range;
  const high = range.high + 1;
  const reserved = net.sysctl.ipLocalReservedPorts;
  // A socket with a range of its own uses it without regard to parity.
  const step = range.own ? 1 : 2;
  let remaining = high - low;
  if (step === 2 && remaining > 1) remaining &= ~1;
  const search = hashinfo.portSearch;
  let offset = search.start(sk, net.nowUs) % remaining;
  if (step === 2) offset &= ~1;
  for (let pass = 0; pass < step; pass++, offset++) {
    let port = low + offset;
    for (let i = 0; i < remaining; i += step, port += step) {
      if (port >= high) port -= remaining;
      if (reserved.has(port)) continue;
      const error = tryPort(hashinfo, sk, port);
      if (error === -EADDRNOTAVAIL) continue;
      if (error === 0) search.advance(Math.max(i, perturbation(hashinfo, step)) + step);
      return error;
    }
  }
  return -EADDRNOTAVAIL;
}

/** A little randomness when ports are plenty; the walk that it is compared with is long if not. */
function perturbation({ net, profile }: InetHashinfo, step: number): number {
  return profile.perturbRandomly ? (net.random.u32() & 7) * step : 0;
}
