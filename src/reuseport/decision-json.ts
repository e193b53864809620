/**
 * A decision as plain data that can cross threads and sockets and be printed as JSON: everything
 * that is needed to compute the choice again by hand. Addresses are dotted, hashes and words
 * unsigned. Text is made of it by decision-text.ts.
 */
import { formatIpv4, swapWord } from '../net/ipv4-address.js';
import type { Decision, MemberFacts, Stage, Verdict } from './decision.js';
import { FITS, IPV6_ONLY, OTHER_ADDRESS, OTHER_DEVICE, OTHER_PORT } from './score.js';
import { PICKED_BY_CPU, PICKED_BY_SELECTOR } from './select.js';
import type { SockCommon } from './sock-common.js';

/** How full a listener's queue is. */
export interface QueueFill {
  length: number;
  /** Linux counts as full what is longer than the backlog. */
  backlog: number;
  full: boolean;
}

/** What a socket is called outside of the tables; null = it has none. */
export interface SocketName {
  fd: number | null;
  /** Thread that owns it, and that thread as a worker. */
  thread: number | null;
  worker: number | null;
  /** A listener's, while they are known. */
  acceptQueue?: QueueFill;
  synQueue?: QueueFill;
}

export interface SocketEnd {
  address: string;
  port: number;
}

export interface ExplainedSocket extends SocketName {
  /** What it is bound to. */
  local: SocketEnd;
  /** Interface that it is bound to, 0 = any. */
  device: number;
}

export interface ExplainedCandidate extends ExplainedSocket {
  stage: Stage;
  /** -1 = cannot take the packet, `mismatch` says why. */
  score: number;
  terms: { device: number; family: number; cpu: number };
  mismatch: string | null;
}

/** What is hashed: the hash is `plus` + jhash_3words(...words, secret) modulo 2^32. */
export interface HashInput {
  words: [number, number, number];
  plus: number;
}

export interface ExplainedMember extends ExplainedSocket, Partial<MemberFacts> {}

export interface ExplainedGroup extends HashInput {
  /** How many members there were to choose from. */
  members: number;
  /** Local address that the group hashes with. */
  address: string;
  /** What chose: the hash, the hash among the members of the CPU, or the selector. */
  pickedBy: 'hash' | 'cpu' | 'selector';
  /** The index that the hash stands for, whoever chose. */
  byHash: number;
  /** Name of the group's selector, null = none. */
  selector: string | null;
  /** Why the selector was taken away, null = it was not. */
  selectorError: string | null;
  /** The members in their order, or the first of them. */
  sockets: ExplainedMember[];
}

/** What `tunstack explain --json` prints. */
export interface Explanation {
  source: SocketEnd;
  destination: SocketEnd;
  interface: number;
  cpu: number;
  profile: string;
  /** Initial value of the flow hash: the secret with the namespace's mix, as /stats shows it. */
  secret: number;
  established: 'hit' | 'miss' | 'skipped';
  /** Hash in the established table and what it is made of; null when that was not asked. */
  hash: number | null;
  hashInput: HashInput | null;
  stage: Stage;
  /** Buckets looked at (null = not), and how many there are. */
  buckets: {
    established: number | null;
    exact: number | null;
    wildcard: number | null;
    ofEstablished: number;
    ofListeners: number;
  };
  /** Rows of the established table's chain that were looked at. */
  visited: number;
  candidates: ExplainedCandidate[];
  /** The group that chose, null = none was asked; then `phash` and `index` are null, too. */
  group: ExplainedGroup | null;
  phash: number | null;
  index: number | null;
  winner: ExplainedSocket | null;
  verdict: Verdict;
}

export type SocketNames = (sk: SockCommon) => SocketName;

const NAMELESS: SocketNames = () => ({ fd: null, thread: null, worker: null });

const MISMATCHES: Readonly<Record<number, string>> = {
  [OTHER_PORT]: 'another port',
  [IPV6_ONLY]: 'IPv6 only',
  [OTHER_ADDRESS]: 'another address',
  [OTHER_DEVICE]: 'bound to another interface',
};

/** The words of inetEhashfn for the flow of `decision` to `laddr`. */
function hashInput(decision: Decision, laddr: number): HashInput {
  const { saddr, sport, dport } = decision;
  const port = ((sport & 0xff) << 8) | (sport >>> 8);
  const adds = decision.profile !== '5.0';
  const last = adds ? port : ((dport << 16) | port) >>> 0;
  return { words: [swapWord(laddr) >>> 0, swapWord(saddr) >>> 0, last], plus: adds ? dport : 0 };
}

function explainedSocket(sk: SockCommon, names: SocketNames): ExplainedSocket {
  const local = { address: formatIpv4(sk.rcvSaddr), port: sk.num };
  return { ...names(sk), local, device: sk.boundDevIf };
}

function explainedGroup(decision: Decision, names: SocketNames, most: number): ExplainedGroup {
  const { members, facts, phash, pickedBy, group } = decision;
  const laddr = decision.stage === 'wildcard' ? 0 : decision.daddr;
  const sockets = members.slice(0, most).map((sk, i) => {
    const { acceptQueue, synQueue, ...socket } = explainedSocket(sk, names);
    return { ...socket, ...facts[i] };
  });
  return {
    members: members.length,
    address: formatIpv4(laddr),
    ...hashInput(decision, laddr),
    pickedBy:
      pickedBy === PICKED_BY_SELECTOR ? 'selector' : pickedBy === PICKED_BY_CPU ? 'cpu' : 'hash',
    byHash: Math.floor(((phash >>> 0) * members.length) / 2 ** 32),
    selector: decision.asked ? group!.selectorName : null,
    selectorError: group!.selectorError,
    sockets,
  };
}

function explainedCandidates(decision: Decision, names: SocketNames): ExplainedCandidate[] {
  return decision.candidates.map(({ sk, stage, score, mismatch, device, family, cpu }) => {
    const { acceptQueue, synQueue, ...socket } = explainedSocket(sk, names);
    const why = mismatch === FITS ? null : MISMATCHES[mismatch]!;
    return { ...socket, stage, score, terms: { device, family, cpu }, mismatch: why };
  });
}

/**
 * Copies `decision`, which is reused by the next lookup.
 * @param names how sockets are called; without it they have no names
 * @param most members of the group that are listed; `group.members` always has their number
 */
export function explain(
  decision: Decision,
  names: SocketNames = NAMELESS,
  most: number = Infinity,
): Explanation {
  const d = decision;
  const asked = d.established !== 'skipped';
  const bucket = (index: number): number | null => (index < 0 ? null : index);
  return {
    source: { address: formatIpv4(d.saddr), port: d.sport },
    destination: { address: formatIpv4(d.daddr), port: d.dport },
    interface: d.dif,
    cpu: d.cpu,
    profile: d.profile,
    secret: d.secret >>> 0,
    established: d.established,
    hash: asked ? d.hash >>> 0 : null,
    hashInput: asked ? hashInput(d, d.daddr) : null,
    stage: d.stage,
    buckets: {
      established: bucket(d.ehashBucket),
      exact: bucket(d.exactBucket),
      wildcard: bucket(d.wildcardBucket),
      ofEstablished: d.ehashBuckets,
      ofListeners: d.lhash2Buckets,
    },
    visited: d.ehashVisited,
    candidates: explainedCandidates(d, names),
    group: d.group === null ? null : explainedGroup(d, names, most),
    phash: d.group === null ? null : d.phash >>> 0,
    index: d.group === null ? null : d.index,
    winner: d.winner === null ? null : explainedSocket(d.winner, names),
    verdict: d.verdict,
  };
}

/** The same with the workers as `workerOf` knows them by their threads. */
export function withWorkers(
  explanation: Explanation,
  workerOf: (thread: number) => number | null,
): Explanation {
  const named = <T extends ExplainedSocket>(socket: T): T => {
    const { thread } = socket;
    return { ...socket, worker: thread === null ? null : workerOf(thread) };
  };
  const { candidates, group, winner } = explanation;
  return {
    ...explanation,
    candidates: candidates.map(named),
    group: group === null ? null : { ...group, sockets: group.sockets.map(named) },
    winner: winner === null ? null : named(winner),
  };
}
