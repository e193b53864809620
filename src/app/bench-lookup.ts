/**
 * `tunstack bench lookup`: what finding a socket costs as the tables grow, measured on this machine
 * in memory: a listener of a group of 1 to 1,024 members, a connection among 1 to 1,000,000, and
 * putting a connection into the table and taking it out. Lookups go through inetLookup with all
 * that a SYN or a segment would cause; keys are drawn beforehand, so that a draw costs nothing.
 *
 * Beside each stands its control (bench-lookup-reads.ts): the same reads of plain arrays of the
 * same size, and nothing else. A million connections are 44 MB of tables, which no cache holds; the
 * control says what that alone costs. Times are CPU time of this process, so that a machine that is
 * busy with others does not show; what is left of them is the caches that they share with us.
 */
import type { Device } from '../net/env.js';
import { NetNs } from '../net/netns.js';
import { IFINDEX_LINK, Skb } from '../net/skb.js';
import { BLOCK_WORDS, SocketMemory } from '../net/sockmem.js';
import { Sysctl } from '../net/sysctl.js';
import { TCP_ESTABLISHED, TCP_LISTEN } from '../net/tcp-states.js';
import { inetEhashfn, inetEhashInsert, inetEhashRemove } from '../reuseport/ehash.js';
import { inetCskGetPort } from '../reuseport/get-port.js';
import { inetHashListen } from '../reuseport/hash-listen.js';
import { InetHashinfo } from '../reuseport/hashinfo.js';
import { inetLookup } from '../reuseport/lookup.js';
import { SK_FULL, SockCommon } from '../reuseport/sock-common.js';
import { seededRandom } from '../testing/memory-stack.js';
import { ConnectionReads, MemberReads } from './bench-lookup-reads.js';

const SERVER: number = (198 << 24) | (18 << 16) | 1;
const PORT = 80;
/** As a machine that expects a million connections is set: net.ipv4.tcp_ehash_entries. */
const EHASH_BUCKETS = 1 << 20;
const KEYS = 1 << 14;
/** A SockCommon takes some 200 bytes. */
const MEMBER_WORDS = 50;
const NO_LINK: Device = {
  mtu: 1500,
  offload: { checksum: false, gsoMaxBytes: 0 },
  transmit: () => true,
};

/** One size and its cost, nanoseconds of CPU an operation: median and range of the rounds. */
export interface CurvePoint {
  /** What grows: members of the group, or connections in the table. */
  readonly of: 'members' | 'connections';
  readonly size: number;
  readonly operation: 'lookup' | 'insert' | 'remove';
  readonly median: number;
  readonly min: number;
  readonly max: number;
  /**
   * The same reads of plain arrays alone, measured right after it; median. null for remove, which
   * touches what was inserted a moment before.
   */
  readonly reads: number | null;
  /** Median of what each round took beyond its reads. */
  readonly beyond: number | null;
  /** Table rows that a lookup looks at, mean; null for insert and remove. */
  readonly visited: number | null;
}

export interface LookupCurve {
  readonly measure: 'lookup-curve';
  readonly unit: 'ns';
  /** Rounds measured for each point, interleaved over the sizes. */
  readonly pairs: number;
  readonly points: readonly CurvePoint[];
}

interface Sizes {
  readonly members: readonly number[];
  readonly connections: readonly number[];
  readonly rounds: number;
  /**
   * Called once all is made: what is garbage by then, hundreds of megabytes, would be collected
   * during the rounds, by other threads, whose CPU time is this process's too.
   */
  readonly made?: () => void;
}

export const FULL: Sizes = {
  members: [1, 4, 16, 64, 256, 1024],
  connections: [1, 10, 100, 1000, 10_000, 100_000, 1_000_000],
  rounds: 7,
};
export const QUICK: Sizes = {
  members: [1, 32, 1024],
  connections: [1, 1000, 100_000],
  rounds: 3,
};

function tables(entries: number): InetHashinfo {
  const mem = new SocketMemory(new Int32Array(8 * BLOCK_WORDS), new Uint8Array(1 << 16), 0, 8);
  const sysctl = new Sysctl('6.18');
  sysctl.tcpChildEhashEntries = EHASH_BUCKETS;
  const net = new NetNs({ device: NO_LINK, random: seededRandom(1), trace: null }, sysctl, mem);
  return new InetHashinfo(net, entries);
}

/** `count` members of one group on the server's port. */
function listenAll(hashinfo: InetHashinfo, count: number): void {
  for (let i = 0; i < count; i++) {
    const sk = new SockCommon(SK_FULL);
    sk.reuseport = true;
    let error = inetCskGetPort(hashinfo, sk, PORT);
    sk.state = TCP_LISTEN;
    error ||= inetHashListen(hashinfo, sk);
    if (error !== 0) throw new Error(`listen: errno ${-error}`);
  }
}

/** The i-th client: 15,000 ports to an address. */
function connection(i: number): SockCommon {
  const sk = new SockCommon(SK_FULL);
  sk.state = TCP_ESTABLISHED;
  sk.rcvSaddr = SERVER;
  sk.num = PORT;
  sk.daddr = ((10 << 24) + Math.floor(i / 15_000)) | 0;
  sk.dport = 32_768 + (i % 15_000);
  return sk;
}

const NS_PER_US = 1000;

/** CPU time of this process so far, ns. */
function cpuNs(): number {
  const { user, system } = process.cpuUsage();
  return (user + system) * NS_PER_US;
}

/** Nanoseconds for each of `count` operations that `deed` does. */
function timed(count: number, deed: () => void): number {
  const start = cpuNs();
  deed();
  return (cpuNs() - start) / count;
}

/** One round of a point; made beforehand, so that rounds of different sizes can take turns. */
interface Probe {
  readonly of: CurvePoint['of'];
  readonly size: number;
  readonly operation: CurvePoint['operation'];
  readonly round: () => number;
  /** Its control, null = it has none. */
  readonly reads: (() => number) | null;
  readonly visited: number | null;
}

/** Mean of the rows that the lookups of `ask(0..KEYS-1)` look at. */
function visitedBy(hashinfo: InetHashinfo, ask: (i: number) => void): number {
  let sum = 0;
  for (let i = 0; i < KEYS; i++) {
    ask(i);
    sum += hashinfo.visited;
  }
  return sum / KEYS;
}

const control =
  (reads: { round(): void }): (() => number) =>
  () =>
    timed(KEYS, () => reads.round());

function membersProbe(size: number): Probe {
  const hashinfo = tables(1024);
  listenAll(hashinfo, size);
  const skb = new Skb(hashinfo.net.mem, 0, 256);
  const random = seededRandom(size);
  const addresses = Int32Array.from({ length: KEYS }, () => random.u32());
  const ports = Uint16Array.from({ length: KEYS }, () => 1024 + (random.u32() % 64_512));
  const ask = (i: number): void => {
    inetLookup(hashinfo, addresses[i]!, ports[i]!, SERVER, PORT, IFINDEX_LINK, skb);
  };
  const slots = Int32Array.from({ length: KEYS }, (_, i) => {
    ask(i);
    return hashinfo.slot;
  });
  return {
    of: 'members',
    size,
    operation: 'lookup',
    round: () =>
      timed(KEYS, () => {
        for (let i = 0; i < KEYS; i++) ask(i);
      }),
    reads: control(new MemberReads(size, slots, MEMBER_WORDS)),
    visited: visitedBy(hashinfo, ask),
  };
}

/** The reads on the way to each of `asked`; to the end of its chain, if it is not in the table. */
function readsOf(
  hashinfo: InetHashinfo,
  socks: readonly SockCommon[],
  asked: readonly SockCommon[],
): ConnectionReads {
  const hashes = Int32Array.from(asked, ({ rcvSaddr, num, daddr, dport }) =>
    inetEhashfn(hashinfo, rcvSaddr, num, daddr, dport),
  );
  const inTable = asked.map((sk) => (sk.ehashSlot < 0 ? null : sk));
  return new ConnectionReads(hashinfo.ehash, socks, inTable, hashes);
}

/** Lookup of, and insertion and removal beside, `size` connections. */
function connectionProbes(size: number): Probe[] {
  const hashinfo = tables(size + KEYS);
  const socks = Array.from({ length: size }, (_, i) => connection(i));
  for (const sk of socks) inetEhashInsert(hashinfo, sk, null);
  const random = seededRandom(size);
  const asked = Int32Array.from({ length: KEYS }, () => random.u32() % size);
  const addresses = asked.map((i) => socks[i]!.daddr);
  const ports = asked.map((i) => socks[i]!.dport);
  const fresh = Array.from({ length: KEYS }, (_, i) => connection(size + i));
  const ask = (i: number): void => {
    inetLookup(hashinfo, addresses[i]!, ports[i]!, SERVER, PORT, IFINDEX_LINK, null);
  };
  const hits = readsOf(
    hashinfo,
    socks,
    Array.from(asked, (i) => socks[i]!),
  );
  const misses = readsOf(hashinfo, socks, fresh);
  const probe = (
    operation: CurvePoint['operation'],
    reads: Probe['reads'],
    round: () => number,
  ): Probe => ({
    of: 'connections',
    size,
    operation,
    round,
    reads,
    visited: operation === 'lookup' ? visitedBy(hashinfo, ask) : null,
  });
  return [
    probe('lookup', control(hits), () =>
      timed(KEYS, () => {
        for (let i = 0; i < KEYS; i++) ask(i);
      }),
    ),
    probe('insert', control(misses), () =>
      timed(KEYS, () => {
        for (const sk of fresh) inetEhashInsert(hashinfo, sk, null);
      }),
    ),
    probe('remove', null, () =>
      timed(KEYS, () => {
        for (const sk of fresh) inetEhashRemove(hashinfo, sk);
      }),
    ),
  ];
}

/** Rounds of warm-up before the first one that counts: the compiler's time is not the table's. */
const WARM_UP_ROUNDS = 3;

function middle(values: readonly number[]): number {
  return values.toSorted((a, b) => a - b)[values.length >> 1]!;
}

export function measureLookupCurve(sizes: Sizes): LookupCurve {
  const { members, connections, rounds } = sizes;
  const probes = [...members.map(membersProbe), ...connections.flatMap(connectionProbes)];
  sizes.made?.();
  const times = probes.map((): number[] => []);
  const reads = probes.map((): number[] => []);
  for (let round = -WARM_UP_ROUNDS; round < rounds; round++) {
    probes.forEach((probe, i) => {
      const ns = probe.round();
      const readNs = probe.reads?.() ?? Number.NaN;
      if (round < 0) return;
      times[i]!.push(ns);
      reads[i]!.push(readNs);
    });
  }
  const points = probes.map((probe, i) => ({
    of: probe.of,
    size: probe.size,
    operation: probe.operation,
    median: middle(times[i]!),
    min: Math.min(...times[i]!),
    max: Math.max(...times[i]!),
    reads: probe.reads === null ? null : middle(reads[i]!),
    beyond: probe.reads === null ? null : middle(times[i]!.map((ns, k) => ns - reads[i]![k]!)),
    visited: probe.visited,
  }));
  return { measure: 'lookup-curve', unit: 'ns', pairs: rounds, points };
}
