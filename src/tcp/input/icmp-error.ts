/**
 * ICMP errors about our segments (RFC 9293 3.9.2.2, RFC 5461, RFC 5927 4.1, RFC 1191; Linux
 * tcp_ipv4.c: tcp_v4_err, tcp_req_err). An error must quote a sequence number that is outstanding,
 * else it is nobody's.
 */
import {
  ECONNREFUSED,
  EHOSTDOWN,
  EHOSTUNREACH,
  EMSGSIZE,
  ENETUNREACH,
  ENONET,
  ENOPROTOOPT,
  EOPNOTSUPP,
  EPROTO,
} from '../../net/errno.js';
import { Mib } from '../../net/mib.js';
import type { Skb } from '../../net/skb.js';
import { BLOCK_FLAGS, FILE_ACCEPTED } from '../../net/sockmem.js';
import { inetLookupEstablished } from '../../reuseport/lookup.js';
import { SK_FULL, SK_REQUEST } from '../../reuseport/sock-common.js';
import { type RequestSock, requestDrop } from '../minisocks.js';
import { pathMtu, syncMss } from '../mss.js';
import { rememberPath } from '../path-cache.js';
import { simpleRetransmit } from '../recovery.js';
import { rtoMaxUs, setRto } from '../rtt.js';
import { between } from '../seq.js';
import { tcpFail } from '../set-state.js';
import { PENDING_OUTPUT, PENDING_SYN } from '../sock.js';
import { TCP_SYN_RECV, TCP_SYN_SENT } from '../state.js';
import { PMTUDISC_DONT, PMTUDISC_PROBE, RTO_INITIAL_US, type Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { armRetransmit, armXmitTimer, rtoDeltaUs, TIME_RETRANS } from '../timer-arm.js';

const ICMP_DEST_UNREACH = 3;
const ICMP_TIME_EXCEEDED = 11;
const ICMP_PARAMETER_PROBLEM = 12;
const FRAG_NEEDED = 4;
/** Linux ip_rt_min_pmtu: a smaller claim is not believed. */
const MIN_PMTU = 552;

/**
 * Destination-unreachable codes → errno (Linux icmp.c: icmp_err_convert), and whether SYN-SENT
 * gives up at once.
 */
const UNREACHABLE: readonly number[] = [
  ENETUNREACH,
  EHOSTUNREACH,
  ENOPROTOOPT,
  ECONNREFUSED,
  EMSGSIZE,
  EOPNOTSUPP,
  ENETUNREACH,
  EHOSTDOWN,
  ENONET,
  ENETUNREACH,
  EHOSTUNREACH,
  ENETUNREACH,
  EHOSTUNREACH,
  EHOSTUNREACH,
  EHOSTUNREACH,
  EHOSTUNREACH,
];
/** Net and host unreachable: a half-open connection is given up for them. */
const HOST_UNREACH = 1;

/** RFC 9293 MUST-54, RFC 1122 4.2.3.9. */
export function tcpV4Err(tcp: Tcp, skb: Skb, type: number, code: number, info: number): void {
  const { view, transport: at } = skb;
  const sport = view.getUint16(at);
  const dport = view.getUint16(at + 2);
  const seq = view.getInt32(at + 4);
  const sk = inetLookupEstablished(tcp.hashinfo, skb.daddr, dport, skb.saddr, sport, skb.ifindex);
  if (sk === null) {
    tcp.net.count(Mib.IcmpInErrors);
  } else if (sk.kind === SK_REQUEST) {
    requestError(tcp, sk as RequestSock, seq, type, code);
  } else if (sk.kind === SK_FULL) {
    const tcb = sk as Tcb;
    if (tcb.away !== 0) tcp.queues?.forward(tcb, skb);
    // Of the quoted packet, which is ours as the router had it, as in Linux.
    else if (skb.ttl < tcb.minTtl) tcp.net.drop(Mib.TCPMinTTLDrop, 'TCPMinTTLDrop', skb);
    else connectionError(tcp, tcb, seq, type, code, info);
  }
}

/** Only what concerns the path ends a half-open connection; nothing goes on the wire. */
function requestError(tcp: Tcp, req: RequestSock, seq: number, type: number, code: number): void {
  if (seq !== req.iss) {
    tcp.net.count(Mib.OutOfWindowIcmps);
    return;
  }
  const path =
    type === ICMP_TIME_EXCEEDED ||
    type === ICMP_PARAMETER_PROBLEM ||
    (type === ICMP_DEST_UNREACH && code <= HOST_UNREACH);
  if (!path) return;
  tcp.net.count(Mib.ListenDrops);
  requestDrop(tcp, req);
}

function connectionError(
  tcp: Tcp,
  tcb: Tcb,
  seq: number,
  type: number,
  code: number,
  info: number,
): void {
  if (!between(seq, tcb.sndUna, tcb.sndNxt)) {
    tcp.net.count(Mib.OutOfWindowIcmps);
    return;
  }
  let errno: number;
  if (type === ICMP_DEST_UNREACH) {
    if (code === FRAG_NEEDED) {
      reducePmtu(tcp, tcb, info);
      return;
    }
    errno = UNREACHABLE[code]!;
    if (code <= HOST_UNREACH) revertBackoff(tcb, seq);
  } else if (type === ICMP_TIME_EXCEEDED) errno = EHOSTUNREACH;
  else errno = EPROTO;
  if (isOpening(tcp, tcb)) tcpFail(tcp, tcb, errno);
  // RFC 9293 MUST-56, SHLD-25.
  else tcb.softError = errno;
}

/** A Fast Open child that was accepted is a connection like others. */
function isOpening(tcp: Tcp, tcb: Tcb): boolean {
  if (tcb.state === TCP_SYN_SENT) return true;
  if (tcb.state !== TCP_SYN_RECV) return false;
  return tcb.fastopenQueue === null || (tcp.ctl[tcb.at + BLOCK_FLAGS]! & FILE_ACCEPTED) === 0;
}

/**
 * RFC 6069: the retransmission of SND.UNA was not lost in a congested network but had no way to go;
 * one doubling of the RTO is taken back (Linux: tcp_ld_RTO_revert).
 */
function revertBackoff(tcb: Tcb, seq: number): void {
  const s = tcb.sender;
  if (seq !== tcb.sndUna || tcb.backoff === 0 || tcb.retransmits === 0) return;
  if (s === null || s.packetsOut === 0) return;
  tcb.backoff--;
  if (tcb.srttUs > 0) setRto(tcb);
  else tcb.rtoUs = RTO_INITIAL_US;
  tcb.rtoUs = Math.min(tcb.rtoUs * 2 ** tcb.backoff, rtoMaxUs(tcb));
  armXmitTimer(tcb, TIME_RETRANS, Math.max(rtoDeltaUs(tcb, s), 0));
}

/**
 * RFC 1191 3: smaller segments from now on; what was too large is lost and goes out again at once.
 */
function reducePmtu(tcp: Tcp, tcb: Tcb, mtu: number): void {
  // IP_MTU_DISCOVER may say not to believe it (Linux: ip_sk_accept_pmtu).
  if (tcb.pmtudisc === PMTUDISC_DONT || tcb.pmtudisc > PMTUDISC_PROBE) return;
  const current = pathMtu(tcp, tcb);
  const pmtu = Math.max(mtu, Math.min(MIN_PMTU, current));
  if (mtu < pmtu) tcb.pmtuLocked = true;
  if (pmtu >= current) return;
  tcb.pmtu = pmtu;
  rememberPath(tcp, tcb);
  // What answers our SYN looks again; a child of Fast Open may have sent text already.
  if (tcb.state === TCP_SYN_SENT) {
    if (tcb.tfo !== null && tcb.tfo.synBytes > 0) resendSyn(tcp, tcb);
    return;
  }
  syncMss(tcp, tcb, tcb.mssClamp);
  if (simpleRetransmit(tcb)) tcp.mark(tcb, PENDING_OUTPUT);
}

/** It was the text that made our SYN too large: at once again without (tcp_simple_retransmit). */
function resendSyn(tcp: Tcp, tcb: Tcb): void {
  const { net } = tcp;
  net.count(Mib.TCPSynRetrans);
  net.count(Mib.TcpRetransSegs);
  net.count(Mib.TCPSlowStartRetrans);
  tcb.totalRetrans++;
  tcb.rttTimed = false;
  armRetransmit(tcp, tcb);
  tcp.mark(tcb, PENDING_SYN);
}
