/**
 * Why a packet went where it went: the record that a lookup fills when one is attached
 * (`hashinfo.decision`). One object, reused by each lookup: who wants to keep it copies what he
 * needs. As plain data it is decision-json.ts, as text decision-text.ts. No lookup logic here.
 */
import type { ReuseportGroup } from './group.js';
import type { InetHashinfo } from './hashinfo.js';
import type { KernelProfile } from './profile.js';
import { cpuTerm, deviceTerm, familyTerm, listenerMismatch } from './score.js';
import { PICKED_BY_NONE, PICKED_BY_SELECTOR } from './select.js';
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

/** What a selector could know about a member (selector-request.ts: MemberState). */
export interface MemberFacts {
  queueLength: number;
  connections: number;
  utilisation: number;
  heartbeatAgeMs: number;
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
  /** Initial value of the flow hash, int32 (InetHashinfo.ehashInitval). */
  secret = 0;

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
  /** The group has a selector; then, as it saw them, the members in their order. */
  asked = false;
  readonly facts: MemberFacts[] = [];

  winner: SockCommon | null = null;
  verdict: Verdict = 'no-socket';

  /** Which scan is running. */
  private scan: Stage = 'none';

  /** A lookup begins; the caller sets the question. */
  begin(hashinfo: InetHashinfo): void {
    this.profile = hashinfo.profile.name;
    this.secret = hashinfo.ehashInitval;
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
    this.asked = false;
    this.facts.length = 0;
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
    const group = picked.reuseportCb!;
    this.group = group;
    this.phash = hashinfo.phash;
    this.index = hashinfo.slot;
    this.pickedBy = hashinfo.pickedBy;
    for (let i = 0; i < hashinfo.members; i++) this.members.push(group.socks[i]!);
    this.asked = group.selector !== null || this.pickedBy === PICKED_BY_SELECTOR;
    if (this.asked) this.recordFacts(hashinfo);
  }

  private recordFacts(hashinfo: InetHashinfo): void {
    const { state } = hashinfo.selectorRequest;
    for (const sk of this.members) {
      this.facts.push({
        queueLength: state.queueLength(sk),
        connections: state.connections(sk),
        utilisation: state.utilisation(sk),
        heartbeatAgeMs: state.heartbeatAgeMs(sk),
      });
    }
  }

  recordListener(sk: SockCommon | null): void {
    this.winner = sk;
    if (sk === null) return;
    this.stage = this.scan;
    this.verdict = this.group === null ? 'listener' : 'reuseport';
  }
}
