/**
 * The checks of a synchronized connection before its ACK field (RFC 9293 3.10.7.4 first to fourth;
 * RFC 5961; RFC 7323 5.3; Linux tcp_input.c: tcp_validate_incoming, tcp_sequence,
 * tcp_oow_rate_limited, tcp_send_challenge_ack). Each returns false when it has dealt with the
 * segment.
 */
import { ECONNREFUSED, ECONNRESET, EPIPE } from '../../net/errno.js';
import { Mib } from '../../net/mib.js';
import { ringUsed } from '../../net/ring.js';
import { ackNow, enterQuickack } from '../ack-policy.js';
import { fastopenOddEnd, synEnd } from '../fastopen-path.js';
import { receiveWindow } from '../rcv-window.js';
import { ACK, FIN, RST, type Segment, SYN } from '../segment.js';
import { after, before, between } from '../seq.js';
import { tcpFail } from '../set-state.js';
import {
  inStates,
  states,
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_LAST_ACK,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
} from '../state.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';

/** RFC 7323 5.5: a timestamp older than this proves nothing, µs. */
const PAWS_24_DAYS_US = 24 * 86_400e6;
/** A RST with an old timestamp is believed again after this time (Linux TCP_PAWS_MSL), µs. */
const PAWS_MSL_US = 60e6;
/** On a connection a timestamp one tick behind may be mere reordering (TCP_PAWS_WINDOW), ms. */
const PAWS_WINDOW_MS = 1;
const INT_MAX = 0x7fffffff;

/**
 * The peer's FIN has been taken; a RST one below RCV.NXT then comes from a peer that has not seen
 * our ACK of it.
 */
const AFTER_PEER_FIN = states(TCP_CLOSE_WAIT, TCP_CLOSING, TCP_LAST_ACK);

/** What the out-of-window rate limit needs of a socket (full, request, time-wait). */
export interface OowLimited {
  lastOowUs: number;
}

/**
 * True when an answer to an invalid segment must be withheld: at most one per tcp_invalid_ratelimit
 * and socket, but segments with data or FIN are always answered (Linux: tcp_oow_rate_limited).
 */
export function oowRateLimited(tcp: Tcp, sock: OowLimited, seg: Segment, counter: number): boolean {
  if (seg.endSeq !== seg.seq && (seg.flags & SYN) === 0) return false;
  return oowLimited(tcp, sock, counter);
}

/** The same for what is not exempt: answers to segments that could end a connection. */
export function oowLimited(tcp: Tcp, sock: OowLimited, counter: number): boolean {
  const { nowUs, sysctl } = tcp.net;
  if (nowUs - sock.lastOowUs < sysctl.tcpInvalidRatelimit * 1000) {
    tcp.net.count(counter);
    return true;
  }
  sock.lastOowUs = nowUs;
  return false;
}

/** RFC 5961 3.2, 4.2: an ACK that makes a genuine peer show itself, within the rate limits. */
export function challengeAck(tcp: Tcp, tcb: Tcb): void {
  if (oowLimited(tcp, tcb, Mib.TCPACKSkippedChallenge) || challengesUsedUp(tcp)) return;
  tcp.net.count(Mib.TCPChallengeACK);
  ackNow(tcp, tcb);
}

/**
 * RFC 5961 7: the limit of the whole host. The allowance of each second is a random number around
 * it, so that its exhaustion does not tell an attacker anything.
 */
function challengesUsedUp(tcp: Tcp): boolean {
  const { net } = tcp;
  const limit = net.sysctl.tcpChallengeAckLimit;
  if (limit === INT_MAX) return false;
  const second = Math.floor(net.nowUs / 1e6);
  if (second !== tcp.challengeSecond) {
    tcp.challengeSecond = second;
    const half = (limit + 1) >> 1;
    tcp.challengesLeft = limit === 0 ? 0 : half + (net.random.u32() % limit);
  }
  if (tcp.challengesLeft === 0) return true;
  tcp.challengesLeft--;
  return false;
}

/** RFC 7323 5.3 R1: the timestamp is more than `window` ms older than the last one seen. */
function tooOld(
  tsRecent: number,
  tsRecentUs: number,
  tsval: number,
  nowUs: number,
  window: number,
): boolean {
  if (tsRecent === 0) return false;
  return ((tsRecent - tsval) | 0) > window && nowUs - tsRecentUs < PAWS_24_DAYS_US;
}

/**
 * PAWS of request and time-wait sockets (Linux: tcp_paws_reject): no tick of tolerance, but a RST
 * is believed when the timestamp to compare with is a minute old.
 */
export function pawsReject(
  tsRecent: number,
  tsRecentUs: number,
  seg: Segment,
  nowUs: number,
): boolean {
  if (!seg.hasTimestamp || !tooOld(tsRecent, tsRecentUs, seg.tsval, nowUs, 0)) return false;
  return (seg.flags & RST) === 0 || nowUs - tsRecentUs < PAWS_MSL_US;
}

/**
 * Does the segment touch [left, right)? An empty one also at either edge (Linux tcp_minisocks.c:
 * tcp_in_window, for request and time-wait sockets).
 */
export function inWindow(seg: Segment, left: number, right: number): boolean {
  if (seg.seq === left) return true;
  if (after(seg.endSeq, left) && before(seg.seq, right)) return true;
  return seg.seq === right && seg.endSeq === seg.seq;
}

/** A pure duplicate ACK that was merely overtaken (Linux: tcp_disordered_ack). */
function disorderedAck(tcb: Tcb, seg: Segment): boolean {
  return (
    (seg.flags & ACK) !== 0 &&
    seg.endSeq === seg.seq &&
    seg.seq === tcb.rcvNxt &&
    seg.ack === tcb.sndUna &&
    !(after(seg.seq, tcb.sndWl1) || seg.wnd << tcb.sndWscale > tcb.sndWnd) &&
    ((tcb.tsRecent - seg.tsval) | 0) <= (tcb.rtoUs * 1.2) / 1000
  );
}

/** First, before the sequence number: PAWS (RFC 7323 5.3). A RST needs not pass it. */
function checkPaws(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  if (!seg.hasTimestamp || !tcb.tsOk || (seg.flags & RST) !== 0) return true;
  const { net } = tcp;
  if (!tooOld(tcb.tsRecent, tcb.tsRecentUs, seg.tsval, net.nowUs, PAWS_WINDOW_MS)) return true;
  if (disorderedAck(tcb, seg)) return true;
  if ((seg.flags & SYN) !== 0) {
    challengeSyn(tcp, tcb);
    return false;
  }
  const pureAck = (seg.flags & ACK) !== 0 && seg.endSeq === seg.seq;
  if (pureAck && before(seg.seq, tcb.rcvNxt) && net.sysctl.profile !== '5.0') {
    // An old ACK that was overtaken by data: common, and no reason to answer (6.15).
    net.count(Mib.PAWSOldAck);
    return false;
  }
  net.count(Mib.PAWSEstab);
  if (!oowRateLimited(tcp, tcb, seg, Mib.TCPACKSkippedPAWS)) duplicateAck(tcp, tcb, seg);
  return false;
}

/** First: sequence number, with PAWS in front of it. */
export function checkSequence(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  if (!checkPaws(tcp, tcb, seg)) return false;
  const old = before(seg.endSeq, tcb.rcvWup);
  if (!old && !beyondWindow(tcp, tcb, seg)) return true;
  if ((seg.flags & RST) !== 0) {
    if (resetAfterFin(tcb, seg)) tcpReset(tcp, tcb);
    return false;
  }
  if ((seg.flags & SYN) !== 0) {
    challengeSyn(tcp, tcb);
    return false;
  }
  if (!old && tcp.net.sysctl.profile !== '5.0') tcp.net.count(Mib.BeyondWindow);
  if (!oowRateLimited(tcp, tcb, seg, Mib.TCPACKSkippedSeq)) duplicateAck(tcp, tcb, seg);
  return false;
}

/**
 * The segment begins beyond the window; or, from 6.16 on, text of it ends beyond while received
 * bytes wait to be read (with none waiting a sender that overruns the window a little is forgiven).
 */
function beyondWindow(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  const right = (tcb.rcvNxt + receiveWindow(tcb)) | 0;
  if (after(seg.seq, right)) return true;
  if (tcp.net.sysctl.profile === '5.0') return false;
  const textEnd = (seg.endSeq - (seg.flags & FIN)) | 0;
  return after(textEnd, right) && ringUsed(tcp.ctl, tcb.rcvRing) > 0;
}

/**
 * Linux tcp_send_dupack: ACK at once; what was a retransmission of known text asks for quick ACKs.
 */
function duplicateAck(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  if (seg.endSeq !== seg.seq && before(seg.seq, tcb.rcvNxt)) {
    tcp.net.count(Mib.DelayedACKLost);
    enterQuickack(tcb);
    if (tcb.sackOk) {
      tcp.net.count(Mib.TCPDSACKOldSent);
      tcb.dsackLeft = seg.seq;
      tcb.dsackRight = after(seg.endSeq, tcb.rcvNxt) ? tcb.rcvNxt : seg.endSeq;
    }
  }
  ackNow(tcp, tcb);
}

function resetAfterFin(tcb: Tcb, seg: Segment): boolean {
  return seg.seq === ((tcb.rcvNxt - 1) | 0) && inStates(tcb.state, AFTER_PEER_FIN);
}

/**
 * Second: RST, with text or not (RFC 9293 SHLD-2), also at a closed window (MUST-66). RFC 5961 3.2:
 * only the exact sequence number resets.
 */
export function checkRst(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  if ((seg.flags & RST) === 0) return true;
  const { ofo } = tcb;
  const exact =
    seg.seq === tcb.rcvNxt ||
    (tcb.sackOk && ofo !== null && ofo.count > 0 && seg.seq === ofo.right(ofo.count - 1)) ||
    resetAfterFin(tcb, seg);
  if (exact) {
    tcpReset(tcp, tcb);
    return false;
  }
  if (tcb.tfo !== null) fastopenOddEnd(tcp, tcb);
  challengeAck(tcp, tcb);
  return false;
}

/** The peer has reset the connection (RFC 9293 MUST-12; Linux: tcp_reset). */
export function tcpReset(tcp: Tcp, tcb: Tcb): void {
  let errno = ECONNRESET;
  if (tcb.state === TCP_SYN_SENT) errno = ECONNREFUSED;
  else if (tcb.state === TCP_CLOSE_WAIT) errno = EPIPE;
  tcpFail(tcp, tcb, errno);
}

function challengeSyn(tcp: Tcp, tcb: Tcb): void {
  if (tcb.state === TCP_ESTABLISHED) tcp.net.count(Mib.TcpInErrs);
  tcp.net.count(Mib.TCPSYNChallenge);
  challengeAck(tcp, tcb);
}

/** Fourth: SYN. RFC 5961 4.2: never kills, always challenged. */
export function checkSyn(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  if ((seg.flags & SYN) === 0) return true;
  // Simultaneous open: the peer's SYN-ACK completes the handshake like a bare ACK. A child's peer
  // has no reason to repeat its SYN with the third ACK.
  const crossed =
    tcb.state === TCP_SYN_RECV &&
    tcb.parent === null &&
    (seg.flags & ACK) !== 0 &&
    between(seg.ack, (tcb.iss + 1) | 0, synEnd(tcb)) &&
    ((seg.seq + 1) | 0) === tcb.rcvNxt &&
    seg.endSeq === tcb.rcvNxt;
  if (!crossed) challengeSyn(tcp, tcb);
  return crossed;
}

/** RFC 7323 4.3: remembers the timestamp to echo, from a segment that covers the last ACK sent. */
export function updateTsRecent(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  if (!seg.hasTimestamp || !tcb.tsOk || after(seg.seq, tcb.rcvWup)) return;
  if (((tcb.tsRecent - seg.tsval) | 0) > 0 && tcb.tsRecent !== 0) {
    if (!(tcp.net.nowUs - tcb.tsRecentUs >= PAWS_24_DAYS_US)) return;
  }
  tcb.tsRecent = seg.tsval;
  tcb.tsRecentUs = tcp.net.nowUs;
}
