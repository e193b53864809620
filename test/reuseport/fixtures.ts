/**
 * What the tests of lookup and reuseport share: tables over a seeded namespace, sockets, and the
 * socket calls that the transport makes of this room's functions (bind, listen, accept, shutdown),
 * without a transport.
 */
import { readFileSync } from 'node:fs';
import type { Trace } from '../../src/net/env.js';
import { NetNs } from '../../src/net/netns.js';
import { Skb } from '../../src/net/skb.js';
import { type Profile, Sysctl } from '../../src/net/sysctl.js';
import { TCP_CLOSE, TCP_ESTABLISHED, TCP_LISTEN } from '../../src/net/tcp-states.js';
import { inetInheritPort, inetPutPort } from '../../src/reuseport/bhash.js';
import { inetEhashInsert } from '../../src/reuseport/ehash.js';
import { inetCskGetPort } from '../../src/reuseport/get-port.js';
import { inetHashListen, inetUnhashListen } from '../../src/reuseport/hash-listen.js';
import { InetHashinfo } from '../../src/reuseport/hashinfo.js';
import { SK_FULL, SockCommon } from '../../src/reuseport/sock-common.js';
import { CaptureDevice, makeMem, seededRandom } from '../net/fixtures.js';

export interface HashVector {
  saddr: string;
  sport: number;
  daddr: string;
  dport: number;
  secret: number;
  netmix: number;
  hash: number;
  scale: number[];
  hash_any: number;
  scale_any: number[];
  hash_6_15: number;
  scale_6_15: number[];
  hash_any_6_15: number;
  scale_any_6_15: number[];
  portaddr: number;
  portaddr_any: number;
  bhash_slot_65536: number;
}

export function readVectors(): HashVector[] {
  const text = readFileSync(`${process.cwd()}/test/vectors/hash-vectors.json`, 'utf8');
  return JSON.parse(text).ipv4;
}

/** int32 bit pattern of a dotted address. */
export function ip(text: string): number {
  return text.split('.').reduce((word, byte) => (word << 8) | Number(byte), 0);
}

const mem = makeMem({ fds: 8, bytes: 1 << 16 });

/** A packet that came in on `cpu`. */
export function packet(cpu = 0): Skb {
  const skb = new Skb(mem, 0, 256);
  skb.cpu = cpu;
  return skb;
}

export interface TableOptions {
  profile?: Profile;
  seed?: number;
  hashMix?: number;
  secret?: number;
  buckets?: number;
  maxEntries?: number;
  range?: readonly [low: number, high: number];
  autobindReuse?: boolean;
  migrateReq?: boolean;
  trace?: Trace | null;
}

export function makeTables(options: TableOptions = {}): InetHashinfo {
  const dice = seededRandom(options.seed ?? 1);
  // NetNs draws hash_mix first, then the secret.
  const scripted = [options.hashMix, options.secret];
  const random = { u32: (): number => scripted.shift() ?? dice.u32() };
  const sysctl = new Sysctl(options.profile ?? '6.18');
  sysctl.tcpChildEhashEntries = options.buckets ?? 1024;
  sysctl.ipAutobindReuse = options.autobindReuse === true ? 1 : 0;
  sysctl.tcpMigrateReq = options.migrateReq === true ? 1 : 0;
  if (options.range !== undefined) {
    [sysctl.ipLocalPortRangeLow, sysctl.ipLocalPortRangeHigh] = options.range;
  }
  const trace = options.trace ?? null;
  const net = new NetNs({ device: new CaptureDevice(), random, trace }, sysctl, mem);
  return new InetHashinfo(net, options.maxEntries ?? 1 << 20);
}

/** The fields of a socket that a test may set. */
export type SockFields = Partial<Omit<SockCommon, 'kind'>>;

export function sock(fields: SockFields = {}, kind: number = SK_FULL): SockCommon {
  return Object.assign(new SockCommon(kind), fields);
}

/** bind(2): 0 or -errno. */
export function bind(tables: InetHashinfo, sk: SockCommon, addr: number, port: number): number {
  sk.rcvSaddr = addr;
  const error = inetCskGetPort(tables, sk, port);
  if (error !== 0) sk.rcvSaddr = 0;
  else sk.bindPortLock = port !== 0;
  return error;
}

/** listen(2): 0 or -errno. */
export function listen(tables: InetHashinfo, sk: SockCommon): number {
  sk.state = TCP_LISTEN;
  let error = inetCskGetPort(tables, sk, sk.num, true);
  if (error === 0) error = inetHashListen(tables, sk);
  if (error !== 0) sk.state = TCP_CLOSE;
  return error;
}

/** A listener with SO_REUSEPORT (unless told otherwise) on addr:port; throws when it may not. */
export function listener(
  tables: InetHashinfo,
  addr: number,
  port: number,
  fields: SockFields = {},
): SockCommon {
  const sk = sock({ reuseport: true, ...fields });
  const error = bind(tables, sk, addr, port) || listen(tables, sk);
  if (error !== 0) throw new Error(`bind or listen: ${error}`);
  return sk;
}

/** shutdown(2) of a listener: it stops listening and keeps a port that it asked for. */
export function stop(tables: InetHashinfo, sk: SockCommon): void {
  sk.state = TCP_CLOSE;
  inetUnhashListen(tables, sk);
  if (!sk.bindPortLock) inetPutPort(tables, sk);
}

/** close(2) of a listener or bound socket. */
export function close(tables: InetHashinfo, sk: SockCommon): void {
  stop(tables, sk);
  inetPutPort(tables, sk);
}

/** An ESTABLISHED child of `parent` from `daddr`:`dport`. */
export function accept(
  tables: InetHashinfo,
  parent: SockCommon,
  rcvSaddr: number,
  daddr: number,
  dport: number,
): SockCommon {
  const child = sock({
    state: TCP_ESTABLISHED,
    rcvSaddr,
    num: parent.num,
    daddr,
    dport,
    reuse: parent.reuse,
    reuseport: parent.reuseport,
    uid: parent.uid,
  });
  inetInheritPort(tables, parent, child);
  if (!inetEhashInsert(tables, child, null)) throw new Error('connection exists');
  return child;
}
