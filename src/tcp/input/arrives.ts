/**
 * SEGMENT ARRIVES (RFC 9293 3.10.7; Linux tcp_ipv4.c: tcp_v4_rcv): validate, look up, dispatch by
 * what was found. The way of every segment begins here.
 */
import { checksumFold, pseudoSum, skbChecksum } from '../../net/checksum.js';
import { IPPROTO_TCP } from '../../net/layout.js';
import { Mib } from '../../net/mib.js';
import { CHECKSUM_NONE, type Skb } from '../../net/skb.js';
import { inetLookup, inetLookupListener } from '../../reuseport/lookup.js';
import { SK_REQUEST, SK_TIMEWAIT, type SockCommon } from '../../reuseport/sock-common.js';
import { type RequestSock, type TimewaitSock, timewaitKill } from '../minisocks.js';
import { ACK, RST, type Segment, SYN } from '../segment.js';
import { PENDING_ACK } from '../sock.js';
import { TCP_CLOSE, TCP_LISTEN, TCP_SYN_SENT } from '../state.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { listenArrives } from './listen.js';
import { REQ_LISTENER, REQ_ORPHANED, requestArrives } from './request.js';
import { synSentArrives } from './syn-sent.js';
import { synchronizedArrives } from './synchronized.js';
import { TW_RST, TW_SYN, timewaitArrives, timewaitIsn } from './time-wait.js';

export function tcpV4Rcv(tcp: Tcp, skb: Skb): void {
  const { net, seg } = tcp;
  net.count(Mib.TcpInSegs);
  if (!seg.parse(skb)) {
    net.drop(Mib.TcpInErrs, 'TcpInErrs', skb);
    return;
  }
  if (skb.ipSummed === CHECKSUM_NONE && !checksumOk(skb)) {
    net.count(Mib.TcpInErrs);
    net.drop(Mib.TcpInCsumErrors, 'TcpInCsumErrors', skb);
    return;
  }
  // A merged super-packet counts as the segments that it was made of.
  if (seg.gsoSize > 0 && seg.length > seg.gsoSize) {
    net.count(Mib.TcpInSegs, Math.ceil(seg.length / seg.gsoSize) - 1);
  }
  const { hashinfo } = tcp;
  const sk = inetLookup(hashinfo, seg.saddr, seg.sport, seg.daddr, seg.dport, skb.ifindex, skb);
  if (sk === null || sk.kind !== SK_TIMEWAIT) traceDecision(tcp, seg);
  deliver(tcp, seg, skb, sk);
}

/** Each SYN has one decision: the lookup's, before anything that it leads to is sent. */
function traceDecision({ net, hashinfo }: Tcp, seg: Segment): void {
  if (hashinfo.decision === null || (seg.flags & (SYN | ACK | RST)) !== SYN) return;
  net.trace?.decision?.(hashinfo.decision);
}

/** RFC 9293 MUST-3. */
function checksumOk(skb: Skb): boolean {
  const length = skb.end - skb.transport;
  const pseudo = pseudoSum(skb.saddr, skb.daddr, IPPROTO_TCP, length);
  return checksumFold(skbChecksum(skb, skb.transport, pseudo)) === 0;
}

function deliver(tcp: Tcp, seg: Segment, skb: Skb, sk: SockCommon | null): void {
  if (sk !== null) seg.boundDevIf = sk.boundDevIf;
  if (sk === null) {
    noConnection(tcp, seg);
  } else if (sk.kind === SK_REQUEST) {
    toRequest(tcp, seg, skb, sk as RequestSock);
  } else if (sk.kind === SK_TIMEWAIT) {
    toTimewait(tcp, seg, skb, sk as TimewaitSock);
  } else {
    toSocket(tcp, sk as Tcb, seg, skb);
  }
}

function toRequest(tcp: Tcp, seg: Segment, skb: Skb, req: RequestSock): void {
  const verdict = requestArrives(tcp, req, seg, skb);
  if (verdict === REQ_ORPHANED) again(tcp, seg, skb);
  else if (verdict === REQ_LISTENER) toListener(tcp, seg, skb, req.listener);
}

/** An ACK that is not for the request may answer a cookie. A closed listener's group takes it. */
function toListener(tcp: Tcp, seg: Segment, skb: Skb, listener: Tcb): void {
  const { hashinfo } = tcp;
  const { saddr, sport, daddr, dport } = seg;
  const sk =
    listener.state === TCP_LISTEN
      ? listener
      : inetLookupListener(hashinfo, saddr, sport, daddr, dport, skb.ifindex, skb);
  if (sk === null) noConnection(tcp, seg);
  else listenArrives(tcp, sk as Tcb, seg, 0);
}

/** The request's listener has closed: whoever listens there now, or nobody, gets the segment. */
function again(tcp: Tcp, seg: Segment, skb: Skb): void {
  const { hashinfo } = tcp;
  const sk = inetLookup(hashinfo, seg.saddr, seg.sport, seg.daddr, seg.dport, skb.ifindex, skb);
  seg.boundDevIf = sk === null ? 0 : sk.boundDevIf;
  if (sk === null) noConnection(tcp, seg);
  else toSocket(tcp, sk as Tcb, seg, skb);
}

function toTimewait(tcp: Tcp, seg: Segment, skb: Skb, tw: TimewaitSock): void {
  const verdict = timewaitArrives(tcp, tw, seg);
  // A SYN that may open a new connection is the listener's, and that lookup is its decision.
  if (verdict !== TW_SYN) traceDecision(tcp, seg);
  if (verdict === TW_RST) {
    tcp.wiring.sendReset(tcp, seg);
    timewaitKill(tcp, tw);
  } else if (verdict === TW_SYN) {
    const { hashinfo } = tcp;
    const listener = inetLookupListener(
      hashinfo,
      seg.saddr,
      seg.sport,
      seg.daddr,
      seg.dport,
      skb.ifindex,
      skb,
    );
    traceDecision(tcp, seg);
    if (listener === null) {
      tcp.mark(tw, PENDING_ACK);
      return;
    }
    const isn = timewaitIsn(tw);
    timewaitKill(tcp, tw);
    listenArrives(tcp, listener as Tcb, seg, isn);
  }
}

function toSocket(tcp: Tcp, tcb: Tcb, seg: Segment, skb: Skb): void {
  if (tcb.away !== 0) {
    tcp.queues?.forward(tcb, skb);
    return;
  }
  if (skb.ttl < tcb.minTtl) {
    tcp.net.drop(Mib.TCPMinTTLDrop, 'TCPMinTTLDrop', skb);
    return;
  }
  if (tcb.state === TCP_LISTEN) {
    listenArrives(tcp, tcb, seg, 0);
    return;
  }
  // Linux: sk_incoming_cpu_update. A group counts its members' wishes by this field.
  if (tcb.reuseportCb === null) tcb.incomingCpu = seg.cpu;
  if (tcb.state === TCP_SYN_SENT) synSentArrives(tcp, tcb, seg);
  else if (tcb.state !== TCP_CLOSE) synchronizedArrives(tcp, tcb, seg);
}

/** RFC 9293 3.10.7.1: CLOSED. */
function noConnection(tcp: Tcp, seg: Segment): void {
  if ((seg.flags & RST) === 0) tcp.wiring.sendReset(tcp, seg);
}
