/**
 * The lookup without a stack: tables with the listeners of `--listen`, the secret of `--secret`,
 * and a SYN that never was. The same code decides that decides for packets; there is no device, no
 * privilege and nothing that stays.
 */
import { EADDRINUSE } from '../net/errno.js';
import { NetNs } from '../net/netns.js';
import { IFINDEX_LINK, Skb } from '../net/skb.js';
import { SocketMemory } from '../net/sockmem.js';
import { type Profile, Sysctl } from '../net/sysctl.js';
import { TCP_LISTEN } from '../net/tcp-states.js';
import { Decision } from '../reuseport/decision.js';
import { type Explanation, explain, type SocketName } from '../reuseport/decision-json.js';
import { inetCskGetPort } from '../reuseport/get-port.js';
import { reuseportAttachSelector } from '../reuseport/group.js';
import { inetHashListen } from '../reuseport/hash-listen.js';
import { InetHashinfo } from '../reuseport/hashinfo.js';
import { inetLookup } from '../reuseport/lookup.js';
import type { Selector } from '../reuseport/selector-request.js';
import { SK_FULL, SockCommon } from '../reuseport/sock-common.js';
import { createRandom } from '../stack/random.js';
import { UsageError } from './command.js';

/** One `--listen`: `count` listeners with SO_REUSEPORT. */
export interface ListenSpec {
  /** As it was typed. */
  text: string;
  /** int32 bit pattern, 0 = any. */
  address: number;
  port: number;
  count: number;
}

export interface OfflineQuestion {
  listens: readonly ListenSpec[];
  /** Initial value of the flow hash, u32: what /stats calls the secret. */
  secret: number;
  /** The part of it that also goes into the listener table's buckets. */
  hashMix: number;
  profile: Profile;
  /** For every group; null = the hash. */
  selector: { name: string; make: () => Selector } | null;
  /** The SYN; addresses are int32 bit patterns. */
  saddr: number;
  sport: number;
  daddr: number;
  dport: number;
}

/** The number of the first descriptor, as in a program that has stdin, stdout and stderr. */
const FIRST_FD = 3;
const SKB_BYTES = 4096;

/** A link to nowhere. */
const NO_DEVICE = {
  mtu: 1500,
  offload: { checksum: false, gsoMaxBytes: 0 },
  transmit: (): boolean => true,
};

function makeTables(question: OfflineQuestion, mem: SocketMemory): InetHashinfo {
  const dice = createRandom(0);
  // A namespace draws the mix, then the secret.
  const first = [question.hashMix, (question.secret - question.hashMix) >>> 0];
  const random = { u32: (): number => first.shift() ?? dice.u32() };
  const sysctl = new Sysctl(question.profile);
  const net = new NetNs({ device: NO_DEVICE, random, trace: null }, sysctl, mem);
  return new InetHashinfo(net, 1);
}

/** The listeners of one --listen enter the tables: bind() and listen() as a program calls them. */
function listenAll(
  tables: InetHashinfo,
  spec: ListenSpec,
  names: Map<SockCommon, SocketName>,
): SockCommon {
  let first: SockCommon | null = null;
  for (let worker = 0; worker < spec.count; worker++) {
    const sk = new SockCommon(SK_FULL);
    sk.reuseport = true;
    sk.rcvSaddr = spec.address;
    let error = inetCskGetPort(tables, sk, spec.port);
    if (error === 0) {
      sk.bindPortLock = true;
      sk.state = TCP_LISTEN;
      error = inetHashListen(tables, sk);
    }
    if (error !== 0) throw refused(spec, -error);
    names.set(sk, { fd: FIRST_FD + names.size, thread: null, worker });
    first ??= sk;
  }
  return first!;
}

function refused(spec: ListenSpec, errno: number): UsageError {
  const why = errno === EADDRINUSE ? 'the address is in use' : `errno ${errno}`;
  return new UsageError(
    `explain: --listen ${spec.text}: ${why}`,
    "tunstack explain 198.18.0.254:51702 198.18.0.1:80 --listen '0.0.0.0:80*4'",
  );
}

/**
 * The decision for the SYN. Workers are numbered within their --listen, descriptors from 3 on in
 * the order of the command line. Throws UsageError when a listener cannot be.
 */
export function explainOffline(question: OfflineQuestion): Explanation {
  const memory = new Uint8Array(SKB_BYTES * 2);
  const mem = new SocketMemory(new Int32Array(0), memory, 0, 0);
  const tables = makeTables(question, mem);
  const names = new Map<SockCommon, SocketName>();
  for (const spec of question.listens) {
    const sk = listenAll(tables, spec, names);
    if (question.selector === null) continue;
    const { make, name } = question.selector;
    reuseportAttachSelector(tables, sk, make(), false, name);
  }
  const { saddr, sport, daddr, dport } = question;
  const decision = new Decision();
  tables.decision = decision;
  inetLookup(tables, saddr, sport, daddr, dport, IFINDEX_LINK, new Skb(mem, 0, SKB_BYTES));
  return explain(decision, (sk) => names.get(sk)!);
}
