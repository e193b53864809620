/**
 * What happens when a timer fires (RFC 9293 3.10.8; RFC 6298 5; RFC 1122 4.2.3.6; Linux
 * tcp_timer.c, inet_connection_sock.c: reqsk_timer_handler). Handlers change state and mark; output
 * sends afterwards.
 */
import { ETIMEDOUT } from '../net/errno.js';
import { Mib } from '../net/mib.js';
import { ringUsed } from '../net/ring.js';
import { ATO_MIN_US } from './ack-policy.js';
import { enterFinWait2Minisock } from './input/time-wait.js';
import {
  type RequestSock,
  requestDrop,
  TIME_WAIT_US,
  type TimewaitSock,
  timewaitKill,
} from './minisocks.js';
import { enterLoss } from './recovery.js';
import { synOutstanding, tcpFail } from './set-state.js';
import { PENDING_ACK, PENDING_PROBE, PENDING_SYN, PENDING_SYNACK } from './sock.js';
import { inStates, SYNCHRONIZED, TCP_FIN_WAIT2, TCP_LISTEN, TCP_SYN_SENT } from './state.js';
import { RTO_MAX_US, RTO_MIN_US, type Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';
import { armTimer } from './timer-arm.js';

/** Retries of an orphan whose peer answers, when tcp_orphan_retries is 0. */
const ORPHAN_RETRIES = 8;

export function tcbTimer(tcb: Tcb, nowUs: number): void {
  const { tcp } = tcb;
  if (tcb.delackUs <= nowUs) delackTimer(tcp, tcb);
  if (tcb.retransUs <= nowUs) {
    if (tcb.probing) probeTimer(tcp, tcb);
    else retransmitTimer(tcp, tcb);
  }
  if (tcb.keepUs <= nowUs) keepaliveTimer(tcp, tcb, nowUs);
  armTimer(tcp, tcb);
}

/** Linux tcp_delack_timer_handler. */
function delackTimer(tcp: Tcp, tcb: Tcb): void {
  tcb.delackUs = Infinity;
  if (tcb.pingpong) {
    tcb.pingpong = false;
    tcb.atoUs = ATO_MIN_US;
  } else {
    tcb.atoUs = Math.min(tcb.atoUs * 2, tcb.rtoUs);
  }
  tcp.net.count(Mib.DelayedACKs);
  tcp.mark(tcb, PENDING_ACK);
}

/** How long `retries` doublings from the RTO floor take (Linux: tcp_model_timeout), µs. */
export function modelTimeoutUs(retries: number, baseUs: number): number {
  const doublings = Math.floor(Math.log2(RTO_MAX_US / baseUs));
  if (retries <= doublings) return (2 ** (retries + 1) - 1) * baseUs;
  return (2 ** (doublings + 1) - 1) * baseUs + (retries - doublings) * RTO_MAX_US;
}

/** RFC 6298 5.4-5.6. */
function retransmitTimer(tcp: Tcp, tcb: Tcb): void {
  tcb.retransUs = Infinity;
  if (synOutstanding(tcb)) {
    handshakeTimer(tcp, tcb);
    return;
  }
  if (tcb.sndUna === tcb.sndNxt) return;
  if (tcb.retransmits === 0) tcb.retransStampUs = tcp.net.nowUs - tcb.rtoUs;
  if (givesUp(tcp, tcb)) {
    abandon(tcp, tcb);
    return;
  }
  tcp.net.count(Mib.TCPTimeouts);
  enterLoss(tcp, tcb);
  tcb.retransmits++;
  tcb.backoff++;
  tcb.rtoUs = Math.min(tcb.rtoUs * 2, RTO_MAX_US);
  tcb.retransUs = tcp.net.nowUs + tcb.rtoUs;
}

/**
 * Linux tcp_write_timeout: RFC 1122's R2, shorter for orphans. A peer that has closed the window on
 * what is already under way is only probed by the retransmissions, as long as it answers (RFC 9293
 * SHLD-17).
 */
function givesUp(tcp: Tcp, tcb: Tcb): boolean {
  const { sysctl, nowUs } = tcp.net;
  if (tcb.sndWnd === 0 && !tcb.orphan) return nowUs - tcb.lastAckedUs > 2 * RTO_MAX_US;
  const alive = tcb.rtoUs < RTO_MAX_US;
  const retries = tcb.orphan ? orphanRetries(tcp, tcb, alive) : sysctl.tcpRetries2;
  return nowUs - tcb.retransStampUs >= modelTimeoutUs(retries, RTO_MIN_US);
}

/** Linux tcp_orphan_retries: an orphan whose path was heard of lately may try longer. */
function orphanRetries(tcp: Tcp, tcb: Tcb, alive: boolean): number {
  const retries = tcp.net.sysctl.tcpOrphanRetries;
  if (alive) return retries === 0 ? ORPHAN_RETRIES : retries;
  return tcb.softError !== 0 ? 0 : retries;
}

function abandon(tcp: Tcp, tcb: Tcb): void {
  tcp.net.count(Mib.TCPAbortOnTimeout);
  tcpFail(tcp, tcb, tcb.softError !== 0 ? tcb.softError : ETIMEDOUT);
}

/** Our SYN (or the SYN-ACK of a simultaneous open) was not answered. */
function handshakeTimer(tcp: Tcp, tcb: Tcb): void {
  const { sysctl, nowUs } = tcp.net;
  const linear = tcb.state === TCP_SYN_SENT ? sysctl.tcpSynLinearTimeouts : 0;
  const limit = (tcb.synRetries > 0 ? tcb.synRetries : sysctl.tcpSynRetries) + linear;
  if (tcb.retransmits >= limit) {
    abandon(tcp, tcb);
    return;
  }
  tcp.net.count(Mib.TCPTimeouts);
  tcp.net.count(Mib.TCPSynRetrans);
  tcp.net.count(Mib.TcpRetransSegs);
  tcb.totalRetrans++;
  tcb.retransmits++;
  tcb.rttTimed = false;
  if (tcb.retransmits > linear) tcb.rtoUs = Math.min(tcb.rtoUs * 2, RTO_MAX_US);
  tcb.retransUs = nowUs + tcb.rtoUs;
  tcp.mark(tcb, tcb.state === TCP_SYN_SENT ? PENDING_SYN : PENDING_SYNACK);
}

/**
 * RFC 9293 3.8.6.1: the window is closed; asks again, for ever while the peer answers, but an
 * orphan's only for a while.
 */
function probeTimer(tcp: Tcp, tcb: Tcb): void {
  const { sysctl } = tcp.net;
  tcb.retransUs = Infinity;
  let limit = sysctl.tcpRetries2;
  let tired = false;
  if (tcb.orphan) {
    const alive = tcb.rtoUs * 2 ** tcb.backoff < RTO_MAX_US;
    limit = orphanRetries(tcp, tcb, alive);
    tired = !alive && tcb.backoff >= limit;
  }
  if (tired || tcb.probesOut >= limit) {
    abandon(tcp, tcb);
    return;
  }
  tcb.probesOut++;
  tcb.backoff++;
  tcb.retransUs = tcp.net.nowUs + Math.min(tcb.rtoUs * 2 ** tcb.backoff, RTO_MAX_US);
  tcp.net.count(Mib.TCPWinProbe);
  tcp.mark(tcb, PENDING_PROBE);
}

/** RFC 1122 4.2.3.6 keep-alive; for an orphan in FIN-WAIT-2 its limit. */
function keepaliveTimer(tcp: Tcp, tcb: Tcb, nowUs: number): void {
  tcb.keepUs = Infinity;
  if (tcb.orphan && tcb.state === TCP_FIN_WAIT2) {
    enterFinWait2Minisock(tcp, tcb, TIME_WAIT_US);
    return;
  }
  if (!tcb.keepalive) return;
  const waitUs = keepIdleUs(tcp, tcb);
  const handshake = !inStates(tcb.state, SYNCHRONIZED);
  const unsent = ringUsed(tcp.ctl, tcb.sndRing) !== 0;
  const heardUs = lastHeardUs(tcb);
  if (handshake || unsent || tcb.sndUna !== tcb.sndNxt || nowUs - heardUs < waitUs) {
    // Data under way shows by itself whether the peer is there.
    tcb.keepUs = (nowUs - heardUs < waitUs ? heardUs : nowUs) + waitUs;
    return;
  }
  const { sysctl } = tcp.net;
  const count = tcb.keepCount > 0 ? tcb.keepCount : sysctl.tcpKeepaliveProbes;
  if (tcb.probesOut >= count) {
    tcp.wiring.sendActiveReset(tcp, tcb);
    abandon(tcp, tcb);
    return;
  }
  tcb.probesOut++;
  tcb.keepUs =
    nowUs + (tcb.keepIntvlUs > 0 ? tcb.keepIntvlUs : sysctl.tcpKeepaliveIntvl * 1_000_000);
  tcp.net.count(Mib.TCPKeepAlive);
  tcp.mark(tcb, PENDING_PROBE);
}

/** When the peer was last heard of (Linux: keepalive_time_elapsed). */
export function lastHeardUs(tcb: Tcb): number {
  return Math.max(tcb.lastReceivedUs, tcb.lastAckedUs);
}

/** Idle time before the first keep-alive probe, µs. */
export function keepIdleUs(tcp: Tcp, tcb: Tcb): number {
  return tcb.keepIdleUs > 0 ? tcb.keepIdleUs : tcp.net.sysctl.tcpKeepaliveTime * 1_000_000;
}

/**
 * A SYN-ACK was not answered: again, until the retries are used up; half the queue is kept for
 * young requests.
 */
export function requestTimer(req: RequestSock, nowUs: number): void {
  const { tcp, listener } = req;
  const queue = listener.listen;
  if (listener.state !== TCP_LISTEN || queue === null) {
    requestDrop(tcp, req);
    return;
  }
  let retries = listener.synRetries > 0 ? listener.synRetries : tcp.net.sysctl.tcpSynackRetries;
  if (queue.reqs * 2 > Math.max(8, queue.backlog)) {
    for (let young = queue.young * 2; retries > 2 && queue.reqs >= young; young *= 2) {
      retries--;
    }
  }
  tcp.net.count(Mib.TCPTimeouts);
  if (req.timeouts >= retries) {
    requestDrop(tcp, req);
    return;
  }
  if (req.timeouts === 0) queue.young--;
  req.timeouts++;
  req.retransmits++;
  tcp.net.timers.arm(req, nowUs + Math.min(1_000_000 * 2 ** req.timeouts, RTO_MAX_US));
  tcp.net.count(Mib.TCPSynRetrans);
  tcp.net.count(Mib.TcpRetransSegs);
  tcp.mark(req, PENDING_SYNACK);
}

export function timewaitTimer(tw: TimewaitSock): void {
  if (tw.substate !== TCP_FIN_WAIT2) tw.tcp.net.count(Mib.TW);
  timewaitKill(tw.tcp, tw);
}
