/**
 * Why a packet went where it went: the record that a lookup fills when one is attached
 * (`hashinfo.decision`), and its text form. One object, reused by each lookup: who wants to keep it
 * copies what he needs. No lookup logic here.
 */
import type { ReuseportGroup } from './group.js';
import type { InetHashinfo } from './hashinfo.js';
import type { KernelProfile } from './profile.js';
import {
  cpuTerm,
  deviceTerm,
  FITS,
  familyTerm,
  IPV6_ONLY,
  listenerMismatch,
  OTHER_ADDRESS,
  OTHER_DEVICE,
  OTHER_PORT,
} from './score.js';
import { PICKED_BY_CPU, PICKED_BY_NONE, PICKED_BY_SELECTOR } from './select.js';
import { SK_REQUEST, SK_TIMEWAIT, type SockCommon } from './sock-common.js';

/** Which listener scan found something. */
export type Stage = 'exact' | 'wildcard' | 'none';

/** What became of the packet: whose it is, or nobody's (a SYN then gets a RST). */
export type Verdict =
  | 'established'
  | 'request'
  | 'time-wait'
  | 'listener'
  | 'reuseport'
  | 'no-socket';

/** A listener that a scan looked at. */
export interface Candidate {
  sk: SockCommon;
  stage: Stage;
  /** -1 = cannot take the packet, `mismatch` (score.ts) says why. */
  score: number;
  mismatch: number;
  /** Terms of the score. */
  device: number;
  family: number;
  cpu: number;
}

export class Decision {
  /** The question, as in the packet; addresses and hashes are int32 bit patterns. */
  saddr = 0;
  sport = 0;
  daddr = 0;
  dport = 0;
  dif = 0;
  cpu = 0;
  profile = '';

  /** Established table: skipped when only a listener was asked for. */
  established: 'hit' | 'miss' | 'skipped' = 'skipped';
  hash = 0;
  ehashBucket = -1;
  ehashBuckets = 0;
  /** Rows of the chain that were looked at. */
  ehashVisited = 0;

  /** Listener table: buckets, -1 = not looked at. */
  stage: Stage = 'none';
  exactBucket = -1;
  wildcardBucket = -1;
  lhash2Buckets = 0;
  readonly candidates: Candidate[] = [];

  /**
   * The group that chose, its members at the time in their order, the hash, and the index chosen;
   * -1 = no group.
   */
  group: ReuseportGroup | null = null;
  readonly members: SockCommon[] = [];
  phash = 0;
  index = -1;
  /** PICKED_BY_* of select.ts. */
  pickedBy: number = PICKED_BY_NONE;

  winner: SockCommon | null = null;
  verdict: Verdict = 'no-socket';

  /** Which scan is running. */
  private scan: Stage = 'none';

  /** A lookup begins; the caller sets the question. */
  begin(hashinfo: InetHashinfo): void {
    this.profile = hashinfo.profile.name;
    this.established = 'skipped';
    this.hash = 0;
    this.ehashBucket = -1;
    this.ehashBuckets = hashinfo.ehash.buckets;
    this.ehashVisited = 0;
    this.stage = 'none';
    this.exactBucket = -1;
    this.wildcardBucket = -1;
    this.lhash2Buckets = hashinfo.lhash2.buckets;
    this.candidates.length = 0;
    this.group = null;
    this.members.length = 0;
    this.phash = 0;
    this.index = -1;
    this.pickedBy = PICKED_BY_NONE;
    this.winner = null;
    this.verdict = 'no-socket';
    this.scan = 'none';
  }

  recordEstablished(hashinfo: InetHashinfo, hash: number, sk: SockCommon | null): void {
    this.hash = hash;
    this.ehashBucket = hashinfo.ehash.bucketOf(hash);
    this.ehashVisited = hashinfo.ehash.visited;
    this.established = sk === null ? 'miss' : 'hit';
    if (sk === null) return;
    this.winner = sk;
    this.verdict =
      sk.kind === SK_REQUEST ? 'request' : sk.kind === SK_TIMEWAIT ? 'time-wait' : 'established';
  }

  recordScan(bucket: number, exact: boolean): void {
    this.scan = exact ? 'exact' : 'wildcard';
    if (exact) this.exactBucket = bucket;
    else this.wildcardBucket = bucket;
  }

  recordCandidate(profile: KernelProfile, sk: SockCommon, addr: number, score: number): void {
    this.candidates.push({
      sk,
      stage: this.scan,
      score,
      mismatch: listenerMismatch(sk, addr, this.dport, this.dif),
      device: deviceTerm(profile, sk),
      family: familyTerm(profile, sk),
      cpu: cpuTerm(profile, sk, this.cpu),
    });
  }

  recordPick(hashinfo: InetHashinfo, picked: SockCommon): void {
    const group = picked.reuseportCb;
    this.group = group;
    this.phash = hashinfo.phash;
    this.index = hashinfo.slot;
    this.pickedBy = hashinfo.pickedBy;
    for (let i = 0; i < hashinfo.members; i++) this.members.push(group!.socks[i]!);
  }

  recordListener(sk: SockCommon | null): void {
    this.winner = sk;
    if (sk === null) return;
    this.stage = this.scan;
    this.verdict = this.group === null ? 'listener' : 'reuseport';
  }
}

/** a.b.c.d of an address. */
function dotted(addr: number): string {
  return `${addr >>> 24}.${(addr >>> 16) & 255}.${(addr >>> 8) & 255}.${addr & 255}`;
}

function defaultName(sk: SockCommon): string {
  const local = `${dotted(sk.rcvSaddr)}:${sk.num}`;
  return sk.boundDevIf === 0 ? local : `${local} on interface ${sk.boundDevIf}`;
}

const MISMATCHES: Readonly<Record<number, string>> = {
  [OTHER_PORT]: 'another port',
  [IPV6_ONLY]: 'IPv6 only',
  [OTHER_ADDRESS]: 'another address',
  [OTHER_DEVICE]: 'bound to another interface',
};

function unsignedHex(hash: number): string {
  return `${hash >>> 0} (0x${(hash >>> 0).toString(16).padStart(8, '0')})`;
}

function candidateLine(candidate: Candidate, name: string): string {
  if (candidate.mismatch !== FITS) return `  ${name}: no, ${MISMATCHES[candidate.mismatch]}`;
  const { device, family, cpu, score } = candidate;
  return `  ${name}: score ${score} = device ${device} + family ${family} + cpu ${cpu}`;
}

function scanLines(
  decision: Decision,
  stage: Stage,
  addr: number,
  bucket: number,
  nameOf: (sk: SockCommon) => string,
): string[] {
  const found = decision.candidates.filter((candidate) => candidate.stage === stage);
  const where = `${dotted(addr)}:${decision.dport}, bucket ${bucket} of ${decision.lhash2Buckets}`;
  const count = found.length === 0 ? 'nobody listens' : `${found.length} looked at`;
  return [
    `listeners, ${stage}: ${where}: ${count}`,
    ...found.map((candidate) => candidateLine(candidate, nameOf(candidate.sk))),
  ];
}

function groupLines(decision: Decision, nameOf: (sk: SockCommon) => string): string[] {
  const { members, phash, index } = decision;
  const local = decision.stage === 'wildcard' ? '0.0.0.0' : dotted(decision.daddr);
  const peer = `${dotted(decision.saddr)}:${decision.sport}`;
  const n = members.length;
  const scaled = Math.floor(((phash >>> 0) * n) / 2 ** 32);
  const lines = [
    `reuseport group: ${n} ${n === 1 ? 'member' : 'members'}, in listen() order`,
    ...members.map((sk, i) => `  [${i}] ${nameOf(sk)}${i === index ? '  <==' : ''}`),
    `flow hash of ${peer} -> ${local}:${decision.dport}: ${unsignedHex(phash)}`,
    `hash * ${n} / 2^32 = ${scaled}`,
  ];
  if (decision.pickedBy === PICKED_BY_SELECTOR) {
    lines.push(`the selector chose ${index}`);
  } else if (decision.pickedBy === PICKED_BY_CPU) {
    lines.push(`first member from ${scaled} on of cpu ${decision.cpu}: ${index}`);
  }
  return lines;
}

/**
 * The decision as text, a line a step.
 * @param nameOf how to call a socket; its local address and port if not given
 */
export function explainDecision(
  decision: Decision,
  nameOf: (sk: SockCommon) => string = defaultName,
): string {
  const d = decision;
  const lines = [
    `${dotted(d.saddr)}:${d.sport} -> ${dotted(d.daddr)}:${d.dport}, ` +
      `interface ${d.dif}, cpu ${d.cpu}, rules of Linux ${d.profile}`,
  ];
  if (d.established !== 'skipped') {
    const bucket = `bucket ${d.ehashBucket} of ${d.ehashBuckets}, ${d.ehashVisited} looked at`;
    lines.push(`established: hash ${unsignedHex(d.hash)}, ${bucket}: ${d.established}`);
  }
  if (d.exactBucket >= 0) lines.push(...scanLines(d, 'exact', d.daddr, d.exactBucket, nameOf));
  if (d.wildcardBucket >= 0) lines.push(...scanLines(d, 'wildcard', 0, d.wildcardBucket, nameOf));
  if (d.group !== null) lines.push(...groupLines(d, nameOf));
  lines.push(
    d.winner === null ? `verdict: ${d.verdict}` : `verdict: ${d.verdict}, ${nameOf(d.winner)}`,
  );
  return lines.join('\n');
}
