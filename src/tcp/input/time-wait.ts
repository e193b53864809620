/**
 * TIME-WAIT and an orphan's FIN-WAIT-2 (RFC 9293 3.10.7.4, RFC 1337, RFC 6191; Linux
 * tcp_minisocks.c: tcp_time_wait, tcp_timewait_state_process). Entering it, and what it does with a
 * segment.
 */
import { Mib } from '../../net/mib.js';
import { TIME_WAIT_US, type TimewaitSock, timewaitKill, timewaitReplace } from '../minisocks.js';
import { rememberPeer } from '../proven-peers.js';
import { selectWindow } from '../rcv-window.js';
import { ACK, FIN, RST, type Segment, SYN } from '../segment.js';
import { after, before } from '../seq.js';
import { setState, tcpDone } from '../set-state.js';
import { PENDING_ACK, PENDING_HELD_ACK } from '../sock.js';
import { TCP_FIN_WAIT2, TCP_TIME_WAIT } from '../state.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { armTimer } from '../timer-arm.js';
import { inWindow, oowRateLimited, pawsReject } from './checks.js';

/** What the caller does with the segment after a time-wait socket has seen it. */
export const TW_DONE = 0;
/** A new connection may begin with this SYN: look for a listener; `twIsn` holds the ISN to use. */
export const TW_SYN = 1;
/** Answer with a RST and forget the time-wait socket. */
export const TW_RST = 2;

/** Distance of a reopened connection's ISN from the old one's SND.NXT (Linux: 65535 + 2). */
const ISN_STEP = 65_537;

/**
 * The full socket has sent and received its FIN: a minisocket takes over, and with it the last ACK
 * if that is still to be sent.
 */
export function enterTimeWait(tcp: Tcp, tcb: Tcb): void {
  rememberPeer(tcp, tcb);
  // The window of the last ACK is chosen while there is a buffer (Linux: tcp_fin).
  if ((tcb.pending & PENDING_ACK) !== 0) selectWindow(tcp, tcb);
  const tw = timewaitReplace(tcp, tcb, TCP_TIME_WAIT, TIME_WAIT_US);
  leaveAck(tcp, tcb, tw);
  setState(tcp, tcb, TCP_TIME_WAIT);
  tcpDone(tcp, tcb);
}

/** An orphan in FIN-WAIT-2 keeps only a minisocket, for `timeoutUs`. */
export function enterFinWait2Minisock(tcp: Tcp, tcb: Tcb, timeoutUs: number): void {
  rememberPeer(tcp, tcb);
  const tw = timewaitReplace(tcp, tcb, TCP_FIN_WAIT2, timeoutUs);
  leaveAck(tcp, tcb, tw);
  tcpDone(tcp, tcb);
}

function leaveAck(tcp: Tcp, tcb: Tcb, tw: TimewaitSock): void {
  if ((tcb.pending & (PENDING_ACK | PENDING_HELD_ACK)) === 0) return;
  tw.ipId = (tcb.ipId + 1) & 0xffff;
  tcp.mark(tw, PENDING_ACK);
}

/** How long an orphan waits in FIN-WAIT-2 (Linux: tcp_fin_time), µs. */
function finWait2TimeoutUs(tcp: Tcp, tcb: Tcb): number {
  const seconds = tcb.linger2 > 0 ? tcb.linger2 : tcp.net.sysctl.tcpFinTimeout;
  return Math.max(seconds * 1_000_000, tcb.rtoUs * 3.5);
}

/**
 * Nobody will read what the peer may still send: an orphan in FIN-WAIT-2 waits for tcp_fin_timeout
 * (or TCP_LINGER2) and no longer. The part of it above a minute is waited as a full socket, the
 * rest as a minisocket.
 */
export function waitForPeer(tcp: Tcp, tcb: Tcb): void {
  const timeoutUs = finWait2TimeoutUs(tcp, tcb);
  if (timeoutUs > TIME_WAIT_US) {
    tcb.keepUs = tcp.net.nowUs + timeoutUs - TIME_WAIT_US;
    armTimer(tcp, tcb);
  } else {
    enterFinWait2Minisock(tcp, tcb, timeoutUs);
  }
}

function restart(tcp: Tcp, tw: TimewaitSock): void {
  tcp.net.timers.arm(tw, tcp.net.nowUs + TIME_WAIT_US);
}

function rememberTimestamp(tcp: Tcp, tw: TimewaitSock, seg: Segment): void {
  if (!seg.hasTimestamp || !tw.tsOk) return;
  tw.tsRecent = seg.tsval;
  tw.tsRecentUs = tcp.net.nowUs;
}

/** Dispatches by substate; TW_*. */
export function timewaitArrives(tcp: Tcp, tw: TimewaitSock, seg: Segment): number {
  const old = tw.tsOk && pawsReject(tw.tsRecent, tw.tsRecentUs, seg, tcp.net.nowUs);
  return tw.substate === TCP_FIN_WAIT2
    ? finWait2Arrives(tcp, tw, seg, old)
    : timeWaitArrives(tcp, tw, seg, old);
}

function finWait2Arrives(tcp: Tcp, tw: TimewaitSock, seg: Segment, old: boolean): number {
  const outside = !inWindow(seg, tw.rcvNxt, (tw.rcvNxt + tw.rcvWnd) | 0);
  if (old || outside) return ackTimewait(tcp, tw, seg, Mib.TCPACKSkippedFinWait2);
  if ((seg.flags & RST) !== 0) {
    timewaitKill(tcp, tw);
    return TW_DONE;
  }
  if ((seg.flags & SYN) !== 0 && !before(seg.seq, tw.rcvNxt)) return TW_RST;
  if ((seg.flags & ACK) === 0 || !after(seg.endSeq, tw.rcvNxt) || seg.endSeq === seg.seq) {
    return TW_DONE;
  }
  // New data to a connection that nobody reads any more, or anything but the FIN that is next.
  if ((seg.flags & FIN) === 0 || seg.endSeq !== ((tw.rcvNxt + 1) | 0)) {
    return TW_RST;
  }
  tw.substate = TCP_TIME_WAIT;
  tw.rcvNxt = seg.endSeq;
  rememberTimestamp(tcp, tw, seg);
  if (seg.hasTimestamp) tw.enteredUs = tcp.net.nowUs;
  restart(tcp, tw);
  tcp.mark(tw, PENDING_ACK);
  return TW_DONE;
}

function timeWaitArrives(tcp: Tcp, tw: TimewaitSock, seg: Segment, old: boolean): number {
  const { net } = tcp;
  const empty = seg.endSeq === seg.seq;
  const rst = (seg.flags & RST) !== 0;
  if (!old && seg.seq === tw.rcvNxt && (empty || rst)) {
    if (rst && net.sysctl.tcpRfc1337 === 0) {
      timewaitKill(tcp, tw);
      return TW_DONE;
    }
    if (!rst) restart(tcp, tw);
    rememberTimestamp(tcp, tw, seg);
    return TW_DONE;
  }
  // RFC 9293 MAY-2, SHLD-4 (RFC 6191).
  const opens = (seg.flags & (SYN | RST | ACK)) === SYN;
  if (opens && !old) {
    const newer = seg.hasTimestamp && tw.tsOk && ((seg.tsval - tw.tsRecent) | 0) > 0;
    if (after(seg.seq, tw.rcvNxt) || newer) return TW_SYN;
  }
  if (old) net.count(net.sysctl.profile === '5.0' ? Mib.PAWSEstab : Mib.PAWSTimewait);
  if (rst) return TW_DONE;
  if (old || (seg.flags & ACK) !== 0) restart(tcp, tw);
  return ackTimewait(tcp, tw, seg, Mib.TCPACKSkippedTimeWait);
}

function ackTimewait(tcp: Tcp, tw: TimewaitSock, seg: Segment, counter: number): number {
  if (!oowRateLimited(tcp, tw, seg, counter)) tcp.mark(tw, PENDING_ACK);
  return TW_DONE;
}

/** ISN for the connection that reopens this 4-tuple; 0 means "none", so that value is skipped. */
export function timewaitIsn(tw: TimewaitSock): number {
  const isn = (tw.sndNxt + ISN_STEP) | 0;
  return isn === 0 ? 1 : isn;
}
