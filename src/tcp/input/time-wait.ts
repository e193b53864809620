/**
 * TIME-WAIT and an orphan's FIN-WAIT-2 (RFC 9293 3.10.7.4, RFC 1337, RFC 6191; Linux
 * tcp_minisocks.c: tcp_time_wait, tcp_timewait_state_process). Entering it, and what it does with a
 * segment.
 */
import { Mib } from '../../net/mib.js';
import { TIME_WAIT_US, type TimewaitSock, timewaitKill, timewaitReplace } from '../minisocks.js';
import { ACK, FIN, RST, type Segment, SYN } from '../segment.js';
import { after, before } from '../seq.js';
import { setState, tcpDone } from '../set-state.js';
import { PENDING_ACK } from '../sock.js';
import { TCP_FIN_WAIT2, TCP_TIME_WAIT } from '../state.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { oowRateLimited, pawsReject } from './checks.js';

/** What the caller does with the segment after a time-wait socket has seen it. */
export const TW_DONE = 0;
/** A new connection may begin with this SYN: look for a listener; `twIsn` holds the ISN to use. */
export const TW_SYN = 1;
/** Answer with a RST. */
export const TW_RST = 2;

/** Distance of a reopened connection's ISN from the old one's SND.NXT (Linux: 65535 + 2). */
const ISN_STEP = 65_537;

/**
 * The full socket has sent and received its FIN: a minisocket takes over, with our last ACK still
 * to send if asked.
 */
export function enterTimeWait(tcp: Tcp, tcb: Tcb, ack: boolean): void {
  const tw = timewaitReplace(tcp, tcb, TCP_TIME_WAIT, TIME_WAIT_US);
  if (tw !== null && ack) tcp.mark(tw, PENDING_ACK);
  setState(tcp, tcb, TCP_TIME_WAIT);
  tcpDone(tcp, tcb);
}

/** An orphan in FIN-WAIT-2 keeps only a minisocket for tcp_fin_timeout. */
export function enterFinWait2Minisock(tcp: Tcp, tcb: Tcb, timeoutUs: number): void {
  timewaitReplace(tcp, tcb, TCP_FIN_WAIT2, timeoutUs);
  tcpDone(tcp, tcb);
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
  const old =
    seg.hasTimestamp && tw.tsOk && pawsReject(tw.tsRecent, tw.tsRecentUs, seg.tsval, tcp.net.nowUs);
  return tw.substate === TCP_FIN_WAIT2
    ? finWait2Arrives(tcp, tw, seg, old)
    : timeWaitArrives(tcp, tw, seg, old);
}

function finWait2Arrives(tcp: Tcp, tw: TimewaitSock, seg: Segment, old: boolean): number {
  const right = (tw.rcvNxt + tw.rcvWnd) | 0;
  const outside = before(seg.endSeq, tw.rcvNxt) || after(seg.seq, right);
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
    timewaitKill(tcp, tw);
    return TW_RST;
  }
  tw.substate = TCP_TIME_WAIT;
  tw.rcvNxt = seg.endSeq;
  rememberTimestamp(tcp, tw, seg);
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
    } else {
      rememberTimestamp(tcp, tw, seg);
      restart(tcp, tw);
    }
    return TW_DONE;
  }
  const opens = (seg.flags & (SYN | RST | ACK)) === SYN;
  if (opens && !old) {
    const newer = seg.hasTimestamp && tw.tsOk && ((seg.tsval - tw.tsRecent) | 0) > 0;
    if (after(seg.seq, tw.rcvNxt) || newer) return TW_SYN;
  }
  if (old) net.count(Mib.PAWSEstab);
  if (rst) return TW_DONE;
  if (old || (seg.flags & ACK) !== 0) restart(tcp, tw);
  return ackTimewait(tcp, tw, seg, Mib.TCPACKSkippedTimeWait);
}

function ackTimewait(tcp: Tcp, tw: TimewaitSock, seg: Segment, counter: number): number {
  if ((seg.flags & RST) === 0 && !oowRateLimited(tcp, tw, seg, counter)) {
    tcp.mark(tw, PENDING_ACK);
  }
  return TW_DONE;
}

/** ISN for the connection that reopens this 4-tuple; 0 means "none", so that value is skipped. */
export function timewaitIsn(tw: TimewaitSock): number {
  const isn = (tw.sndNxt + ISN_STEP) | 0;
  return isn === 0 ? 1 : isn;
}
