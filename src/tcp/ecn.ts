/**
 * Explicit congestion notification (RFC 3168, RFC 9293 SHLD-8; Linux tcp_input.c:
 * tcp_ecn_create_request, tcp_ecn_check_ce; tcp_output.c: tcp_ecn_send): who agrees to it, which
 * packets are marked, and how a mark comes back to the sender; what the sender makes of it is
 * prr.ts's business (enterCwr). Not here: accurate ECN, and ECT on control packets (RFC 5562, RFC
 * 8311).
 */
import { enterQuickack } from './ack-policy.js';
import { ACK, CWR, ECE, type Segment, SYN } from './segment.js';
import { before } from './seq.js';
import { PENDING_ACK } from './sock.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** Bits of Tcb.ecnFlags (Linux: tp->ecn_flags). Both sides have agreed. */
export const ECN_OK = 1;
/** The window was reduced: the next new segment says so. */
export const ECN_QUEUE_CWR = 2;
/** A mark has come: ACKs say so until the peer has reduced its window. */
export const ECN_DEMAND_CWR = 4;
/** A packet of the peer was ECN-capable. */
export const ECN_SEEN = 8;

/** Code points of the IP header (RFC 3168 5). */
const ECN_MASK = 3;
const INET_ECN_NOT_ECT = 0;
const INET_ECN_ECT_0 = 2;
const INET_ECN_CE = 3;

/** Immediate ACKs after a mark. */
const ECN_QUICKACKS = 2;

/** net.ipv4.tcp_ecn: ask for it, too. */
const ECN_ASK = 1;

/** Bits of tcpi_options: agreed on, and in use by the peer. */
export function ecnInfo(tcb: Tcb): number {
  const seen = (tcb.ecnFlags & ECN_SEEN) !== 0 ? 16 : 0;
  return (tcb.ecnFlags & ECN_OK) !== 0 ? 8 | seen : 0;
}

/** connect(): ECN_OK until the peer declines (Linux: tcp_ecn_send_syn). */
export function ecnOffer(tcp: Tcp): number {
  return tcp.net.sysctl.tcpEcn === ECN_ASK ? ECN_OK : 0;
}

/**
 * ECN bits of our SYN, or of the SYN-ACK of a simultaneous open. A SYN that is repeated does
 * without, in case that the bits were what it was lost for (RFC 3168 6.1.1.1).
 */
export function ecnSynFlags(tcp: Tcp, tcb: Tcb, flags: number): number {
  if ((tcb.ecnFlags & ECN_OK) === 0) return 0;
  if ((flags & ACK) !== 0) return ECE;
  return tcb.retransmits > 0 && tcp.net.sysctl.tcpEcnFallback !== 0 ? 0 : ECE | CWR;
}

/** The peer's SYN or SYN-ACK has come in SYN-SENT: does it want ECN as well? */
export function ecnTakeSyn(tcb: Tcb, seg: Segment): void {
  const wanted = (seg.flags & ACK) !== 0 ? ECE : ECE | CWR;
  if ((seg.flags & (ECE | CWR)) !== wanted) tcb.ecnFlags &= ~ECN_OK;
}

/**
 * Does the SYN `seg` get ECN (RFC 3168 6.1.1)? Not when its own packet is marked as ECN-capable: a
 * SYN never is, so somebody on the way sets those bits. With one of the reserved bits it may be a
 * newer kind of ECN.
 */
export function ecnCreateRequest(tcp: Tcp, seg: Segment): boolean {
  if ((seg.flags & (ECE | CWR)) !== (ECE | CWR)) return false;
  const marked = (seg.tos & ECN_MASK) !== INET_ECN_NOT_ECT;
  return (!marked || seg.reserved !== 0) && tcp.net.sysctl.tcpEcn !== 0;
}

/**
 * For [seq, seq + length) that is about to leave: ECE and CWR for its header, and above them, by 8
 * bits, the code point of its packet. Only new text is ECN-capable (RFC 3168 6.1.4, 6.1.5).
 */
export function ecnSend(tcb: Tcb, seq: number, length: number): number {
  let bits = (tcb.ecnFlags & ECN_DEMAND_CWR) !== 0 ? ECE : 0;
  if (length > 0 && !before(seq, tcb.ectNxt)) {
    tcb.ectNxt = (seq + length) | 0;
    bits |= INET_ECN_ECT_0 << 8;
    if ((tcb.ecnFlags & ECN_QUEUE_CWR) !== 0) bits |= CWR;
    tcb.ecnFlags &= ~ECN_QUEUE_CWR;
  }
  return bits;
}

/**
 * CWR has come: our demand for it is met (Linux: tcp_ecn_accept_cwr). A pure ACK's counts as well,
 * because many hosts send it so; kernels of the profile 5.0 look at text and FIN only.
 */
export function ecnAcceptCwr(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  if ((tcb.ecnFlags & ECN_OK) === 0) return;
  const bare = seg.seq === seg.endSeq;
  if (bare && tcp.net.sysctl.profile === '5.0') return;
  tcb.ecnFlags &= ~ECN_DEMAND_CWR;
  // The peer's window may be down to one segment: it must not wait for a delayed ACK.
  if (!bare) tcp.mark(tcb, PENDING_ACK);
}

/** What the packet of new text says (RFC 3168 6.1.3; Linux: tcp_ecn_check_ce). */
export function ecnCheckCe(tcb: Tcb, seg: Segment): void {
  if ((tcb.ecnFlags & ECN_OK) === 0) return;
  const codePoint = seg.tos & ECN_MASK;
  if (codePoint === INET_ECN_NOT_ECT) {
    // From a peer that marks its packets: a retransmission.
    if ((tcb.ecnFlags & ECN_SEEN) !== 0) enterQuickack(tcb, ECN_QUICKACKS);
    return;
  }
  tcb.ecnFlags |= ECN_SEEN;
  if (codePoint !== INET_ECN_CE || (tcb.ecnFlags & ECN_DEMAND_CWR) !== 0) return;
  enterQuickack(tcb, ECN_QUICKACKS);
  tcb.ecnFlags |= ECN_DEMAND_CWR;
}

/** The window has been reduced, for whatever reason: the peer is told with the next new text. */
export function ecnQueueCwr(tcb: Tcb): void {
  if ((tcb.ecnFlags & ECN_OK) !== 0) tcb.ecnFlags |= ECN_QUEUE_CWR;
}

/** A reduction was a mistake: nothing need be said about it (Linux: tcp_ecn_withdraw_cwr). */
export function ecnWithdrawCwr(tcb: Tcb): void {
  tcb.ecnFlags &= ~ECN_QUEUE_CWR;
}

/** Does the ACK `seg` report a mark (Linux: tcp_ecn_rcv_ecn_echo)? */
export function ecnEcho(tcb: Tcb, seg: Segment): boolean {
  return (seg.flags & (ECE | SYN)) === ECE && (tcb.ecnFlags & ECN_OK) !== 0;
}
