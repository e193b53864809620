/**
 * Questions that only the stack thread can answer: which listener would get this SYN and why (asked
 * as a dry run, after which nothing is different), which half-open and TIME-WAIT connections there
 * are, what is inside a connection. Answers are plain data for the main thread. Lists are given in
 * pieces of bounded work; the caller comes back with the cursor.
 */
import { formatIpv4 } from '../net/ipv4-address.js';
import { IPPROTO_TCP } from '../net/layout.js';
import { IFINDEX_LINK, type Skb } from '../net/skb.js';
import { BLOCK_OWNER } from '../net/sockmem.js';
import { Decision } from '../reuseport/decision.js';
import { type Explanation, explain, type SocketName } from '../reuseport/decision-json.js';
import { inetLookup } from '../reuseport/lookup.js';
import { synQueueFull } from '../reuseport/profile.js';
import { SK_FULL, SK_REQUEST, SK_TIMEWAIT, type SockCommon } from '../reuseport/sock-common.js';
import type { MinisockRow, Piece, SocketDetail, TcpInfo } from '../socket/uapi/answers.js';
import { TCP_INFO } from '../socket/uapi/constants.js';
import { TcpInfoWord } from '../socket/uapi/tcp-info.js';
import { acceptQueueIsFull, acceptQueueLength } from '../tcp/accept-queue.js';
import { INFINITE_SSTHRESH } from '../tcp/ca-state.js';
import { RENO } from '../tcp/cong/reno.js';
import type { RequestSock, TimewaitSock } from '../tcp/minisocks.js';
import { sockOf } from '../tcp/parking.js';
import { tcpGetsockopt } from '../tcp/sockopt.js';
import { TCP_LISTEN, TCP_TIME_WAIT } from '../tcp/state.js';
import type { Tcb } from '../tcp/tcb.js';
import type { Tcp } from '../tcp/tcp.js';
import { writeSyn } from './dry-syn.js';

/** Rows of a table that one question looks at. */
const LIST_MOST = 1024;
/** Members of a group that the decision of a traced SYN lists. */
const TRACED_MEMBERS = 64;

export class Questions {
  private readonly tcp: Tcp;
  private readonly words: Int32Array = new Int32Array(64);

  constructor(tcp: Tcp) {
    this.tcp = tcp;
  }

  /**
   * What would become of a SYN from saddr:sport to daddr:dport (int32 bit patterns) now; null when
   * there is no memory for one. No counter moves, and selectors are told that it is a dry run.
   */
  explain(saddr: number, sport: number, daddr: number, dport: number): Explanation | null {
    const { net } = this.tcp;
    const skb = net.outputSkbs.alloc();
    if (skb === null) return null;
    writeSyn(skb, saddr, sport, daddr, dport);
    skb.cpu = this.tcp.queues?.queueOf(saddr, sport, daddr, dport) ?? 0;
    try {
      return this.dryRun(skb, sport, dport);
    } finally {
      net.outputSkbs.release(skb);
    }
  }

  private dryRun(skb: Skb, sport: number, dport: number): Explanation {
    const { hashinfo } = this.tcp;
    const { phash, slot, members, pickedBy, visited, decision, ehash, selectorRequest } = hashinfo;
    const ehashVisited = ehash.visited;
    const dry = new Decision();
    hashinfo.decision = dry;
    selectorRequest.dryRun = true;
    try {
      inetLookup(hashinfo, skb.saddr, sport, skb.daddr, dport, IFINDEX_LINK, skb);
      return explain(dry, (sk) => this.name(sk));
    } finally {
      selectorRequest.dryRun = false;
      Object.assign(hashinfo, { phash, slot, members, pickedBy, visited, decision });
      ehash.visited = ehashVisited;
    }
  }

  /** The decision for a SYN that has just come. */
  traced(decision: Decision): Explanation {
    return explain(decision, (sk) => this.name(sk), TRACED_MEMBERS);
  }

  /** Descriptor and owner; a half-open connection is called after its listener. */
  private name(sk: SockCommon): SocketName {
    if (sk.kind === SK_REQUEST) return this.name((sk as RequestSock).listener);
    if (sk.kind !== SK_FULL) return { fd: null, thread: null, worker: null };
    const tcb = sk as Tcb;
    const owner = this.tcp.ctl[tcb.at + BLOCK_OWNER]!;
    const name: SocketName = {
      fd: tcb.fd,
      thread: owner > 0 ? owner - 1 : null,
      worker: owner > 1 ? owner - 2 : null,
    };
    if (tcb.state === TCP_LISTEN && tcb.listen !== null) this.addQueues(tcb, name);
    return name;
  }

  private addQueues(listener: Tcb, name: SocketName): void {
    const { tcp } = this;
    const { backlog, reqs } = listener.listen!;
    const length = acceptQueueLength(tcp, listener);
    name.acceptQueue = { length, backlog, full: acceptQueueIsFull(tcp, listener) };
    const full = synQueueFull(tcp.hashinfo.profile, reqs, backlog);
    name.synQueue = { length: reqs, backlog, full };
  }

  /** Half-open and TIME-WAIT connections from row `cursor` of the established table on. */
  minisocks(cursor: number): Piece<MinisockRow> {
    const { ehash } = this.tcp.hashinfo;
    const rows: MinisockRow[] = [];
    const end = Math.min(cursor + LIST_MOST, ehash.rowsMade);
    for (let row = Math.max(0, cursor); row < end; row++) {
      const sk = ehash.sockAt(row);
      if (sk === null || sk.kind === SK_FULL) continue;
      rows.push(this.minisock(sk as RequestSock | TimewaitSock));
    }
    return { rows, next: end < ehash.rowsMade ? end : null };
  }

  private minisock(sk: RequestSock | TimewaitSock): MinisockRow {
    const { timers, nowUs } = this.tcp.net;
    const request = sk.kind === SK_REQUEST ? (sk as RequestSock) : null;
    const name = request === null ? null : this.name(request.listener);
    const waits = sk.kind === SK_TIMEWAIT && (sk as TimewaitSock).substate === TCP_TIME_WAIT;
    return {
      state: request !== null ? 'SYN-RECV' : waits ? 'TIME-WAIT' : 'FIN-WAIT-2',
      local: { address: formatIpv4(sk.rcvSaddr), port: sk.num },
      peer: { address: formatIpv4(sk.daddr), port: sk.dport },
      listener: name?.fd ?? null,
      thread: name?.thread ?? null,
      group: request?.members ?? 0,
      slot: request === null || request.slot < 0 ? null : request.slot,
      hash: (request?.phash ?? 0) >>> 0,
      retransmits: request?.retransmits ?? 0,
      expiresMs: Math.max(0, Math.round((timers.dueUs(sk) - nowUs) / 1000)),
      uid: sk.uid,
    };
  }

  /** Insides of the sockets with descriptors from `cursor` on. */
  details(cursor: number): Piece<SocketDetail> {
    const { tcp } = this;
    const rows: SocketDetail[] = [];
    const count = tcp.socks.length;
    const end = Math.min(cursor + LIST_MOST, count);
    for (let fd = Math.max(0, cursor); fd < end; fd++) {
      const tcb = sockOf(tcp, fd);
      if (tcb !== null && tcb.away === 0) rows.push(this.detail(tcb));
    }
    return { rows, next: end < count ? end : null };
  }

  private detail(tcb: Tcb): SocketDetail {
    const group = tcb.reuseportCb;
    return {
      fd: tcb.fd,
      uid: tcb.uid,
      selector: group === null || group.selector === null ? null : group.selectorName,
      synQueue: tcb.listen?.reqs ?? null,
      info: tcb.state === TCP_LISTEN ? null : this.info(tcb),
    };
  }

  private info(tcb: Tcb): TcpInfo {
    const { words } = this;
    tcpGetsockopt(this.tcp, tcb, IPPROTO_TCP, TCP_INFO, words);
    const word = (name: keyof typeof TcpInfoWord): number => words[TcpInfoWord[name]]!;
    return {
      congestion: tcb.congestion === RENO ? 'reno' : 'cubic',
      timestamps: tcb.tsOk,
      sack: tcb.sackOk,
      sndWscale: tcb.wscaleOk ? tcb.sndWscale : null,
      rcvWscale: tcb.wscaleOk ? tcb.rcvWscale : null,
      rtoMs: word('rto') / 1000,
      rttMs: word('rtt') / 1000,
      rttvarMs: word('rttvar') / 1000,
      mss: word('sndMss'),
      pmtu: word('pmtu'),
      rcvMss: word('rcvMss'),
      advMss: word('advmss'),
      cwnd: word('sndCwnd'),
      ssthresh: tcb.ssthresh === INFINITE_SSTHRESH ? null : word('sndSsthresh'),
      unacked: word('unacked'),
      lost: word('lost'),
      retrans: word('retrans'),
      retransTotal: word('totalRetrans'),
      lastSentMs: word('lastDataSent'),
      lastReceivedMs: word('lastDataRecv'),
      lastAckMs: word('lastAckRecv'),
      rcvSpace: word('rcvSpace'),
    };
  }
}
