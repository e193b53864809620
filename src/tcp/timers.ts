/**
 * What happens when a timer fires (RFC 9293 3.10.8; RFC 6298 5; RFC 1122 4.2.3.6; Linux
 * tcp_timer.c, inet_connection_sock.c: reqsk_timer_handler). Handlers change state and mark; output
 * sends afterwards.
 */
import { ETIMEDOUT } from '../net/errno.js';
import { Mib } from '../net/mib.js';
import { ringUsed } from '../net/ring.js';
import { ATO_MIN_US } from './ack-policy.js';
import { CA_DISORDER, CA_LOSS, CA_RECOVERY } from './ca-state.js';
import { fastopenDetectBlackhole } from './fastopen-path.js';
import { enterFinWait2Minisock } from './input/time-wait.js';
import { migrationTarget, requestMigrate } from './migrate.js';
import {
  type RequestSock,
  requestDrop,
  requestTimeoutUs,
  TIME_WAIT_US,
  type TimewaitSock,
  timewaitKill,
} from './minisocks.js';
import { mtuBlackHole } from './mtu-probe.js';
import { negativeAdvice } from './path-cache.js';
import { cwndReduction } from './prr.js';
import { rackReoTimeout } from './rack.js';
import { enterLoss, enterRecovery } from './recovery.js';
import { probe0WhenUs, rtoMaxUs } from './rtt.js';
import { REXMIT_LOST, type Sender, senderOf } from './sender.js';
import { synOutstanding, tcpDone, tcpFail } from './set-state.js';
import {
  PENDING_ACK,
  PENDING_HEAD,
  PENDING_LOST,
  PENDING_PROBE,
  PENDING_SYN,
  PENDING_SYNACK,
  PENDING_TLP,
} from './sock.js';
import { inStates, SYNCHRONIZED, TCP_FIN_WAIT2, TCP_LISTEN, TCP_SYN_SENT } from './state.js';
import { RTO_INITIAL_US, RTO_MIN_US, type Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';
import {
  armTimer,
  armXmitTimer,
  rearmRto,
  TIME_LOSS_PROBE,
  TIME_PROBE0,
  TIME_REO_TIMEOUT,
  TIME_RETRANS,
} from './timer-arm.js';
import { tsNow } from './ts-clock.js';

/**
 * What doubling waits of a kernel take more than ours: its RTO is no less than the floor and a
 * tick, and its longer timers go in steps. Fitted to a kernel with HZ=250 and next to no
 * round-trip time; a tick of 4 ms is 2 % of the floor. With another HZ the limits that are this
 * near may be one time-out off.
 */
const KERNEL_LATENESS = 0.035;
/** Retries of an orphan whose peer answers, when tcp_orphan_retries is 0. */
const ORPHAN_RETRIES = 8;

export function tcbTimer(tcb: Tcb, nowUs: number): void {
  const { tcp } = tcb;
  if (tcb.delackUs <= nowUs) delackTimer(tcp, tcb);
  if (tcb.retransUs <= nowUs) xmitTimer(tcp, tcb);
  if (tcb.keepUs <= nowUs) keepaliveTimer(tcp, tcb, nowUs);
  armTimer(tcp, tcb);
}

/** The sender's timer, for whatever it was set (Linux: tcp_write_timer_handler). */
function xmitTimer(tcp: Tcp, tcb: Tcb): void {
  const event = tcb.xmitTimer;
  tcb.retransUs = Infinity;
  switch (event) {
    case TIME_PROBE0:
      probeTimer(tcp, tcb);
      break;
    case TIME_LOSS_PROBE:
      tcp.mark(tcb, PENDING_TLP);
      break;
    case TIME_REO_TIMEOUT:
      reoTimer(tcp, tcb);
      break;
    default:
      retransmitTimer(tcp, tcb);
  }
}

/** What RACK has waited for has not come: it is lost (Linux: tcp_rack_reo_timeout). */
function reoTimer(tcp: Tcp, tcb: Tcb): void {
  const s = tcb.sender!;
  const lost = s.lost;
  if (rackReoTimeout(tcb, s)) {
    if (tcb.caState !== CA_RECOVERY) {
      enterRecovery(tcb, s, false);
      cwndReduction(tcb, s, 1, (s.lost - lost) | 0, 0);
    }
    s.rexmit = REXMIT_LOST;
    tcp.mark(tcb, PENDING_LOST);
  }
  rearmRto(tcb, s);
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

/** How often a wait doubles from `baseUs` to at most `mostUs`. */
function doublingsOf(baseUs: number, mostUs: number): number {
  return Math.floor(Math.log2(mostUs / baseUs));
}

/** How long `retries` doublings from `baseUs` to `mostUs` take (Linux: tcp_model_timeout), µs. */
export function modelTimeoutUs(retries: number, baseUs: number, mostUs: number): number {
  const doublings = doublingsOf(baseUs, mostUs);
  if (retries <= doublings) return (2 ** (retries + 1) - 1) * baseUs;
  return (2 ** (doublings + 1) - 1) * baseUs + (retries - doublings) * mostUs;
}

/** RFC 6298 5.4, 5.5, 5.6, RFC 9293 MUST-19: the wait doubles. */
function retransmitTimer(tcp: Tcp, tcb: Tcb): void {
  if (synOutstanding(tcb)) {
    handshakeTimer(tcp, tcb);
    return;
  }
  const s = tcb.sender;
  if (s === null || s.packetsOut === 0) return;
  // A window that was taken back is only probed by it: that is no failure of the path.
  const probing = tcb.sndWnd === 0 && !tcb.orphan;
  if (tcb.retransmits === 0 && !(probing && tcb.backoff > 0)) {
    tcb.retransStampUs = tcp.net.nowUs;
  }
  if (!probing) tcp.net.count(Mib.TCPTimeouts);
  if (!probing && timedOut(tcb, tcp.net.sysctl.tcpRetries1, RTO_MIN_US)) doubtPath(tcp, tcb);
  const tired = givesUp(tcp, tcb);
  fastopenDetectBlackhole(tcp, tcb, tired);
  if (tcb.orphan && outOfResources(tcp, tcb, tcb.rtoUs < rtoMaxUs(tcb) || !tired)) return;
  if (tired) {
    abandon(tcp, tcb);
    return;
  }
  if (!probing && tcb.retransmits === 0) countFailure(tcb, s);
  enterLoss(tcb, s);
  if (!probing) {
    tcb.retransmits++;
    tcb.counts.timeouts++;
  }
  tcb.backoff++;
  tcb.rtoUs = Math.min(tcb.rtoUs * 2, rtoMaxUs(tcb));
  armXmitTimer(tcb, TIME_RETRANS, clampedRtoUs(tcp, tcb, tcb.rtoUs));
  tcp.mark(tcb, PENDING_HEAD);
}

/**
 * R1 is reached (RFC 9293 MUST-20, SHLD-10): perhaps the packets are too large, or the path is not
 * what it was.
 */
function doubtPath(tcp: Tcp, tcb: Tcb): void {
  mtuBlackHole(tcp, tcb);
  negativeAdvice(tcp, tcb);
}

/** Counts what the time-out says of the recovery that it interrupts. */
function countFailure(tcb: Tcb, s: Sender): void {
  const { net } = tcb.tcp;
  if (tcb.caState === CA_RECOVERY) {
    net.count(tcb.sackOk ? Mib.TCPSackRecoveryFail : Mib.TCPRenoRecoveryFail);
  } else if (tcb.caState === CA_LOSS) {
    net.count(Mib.TCPLossFailures);
  } else if (tcb.caState === CA_DISORDER || s.sackedOut > 0) {
    net.count(tcb.sackOk ? Mib.TCPSackFailures : Mib.TCPRenoFailures);
  }
}

/**
 * Linux tcp_write_timeout: R2 (RFC 9293 MUST-20, SHLD-11, RFC 1122 4.2.3.5), shorter for orphans. A
 * peer that has closed the window on what is already under way is only probed by the
 * retransmissions, as long as it answers (RFC 9293 MUST-35, SHLD-17).
 */
function givesUp(tcp: Tcp, tcb: Tcb): boolean {
  if (tcb.sndWnd === 0 && !tcb.orphan) return probedInVain(tcp, tcb);
  if (tcb.userTimeoutMs > 0) return userTimeoutOver(tcp, tcb);
  const alive = tcb.rtoUs < rtoMaxUs(tcb);
  const retries = tcb.orphan ? orphanRetries(tcp, tcb, alive) : tcp.net.sysctl.tcpRetries2;
  return timedOut(tcb, retries, RTO_MIN_US);
}

/**
 * The window is closed on what is under way: for ever, while the peer answers and the user has set
 * no limit (Linux: tcp_rtx_probe0_timed_out).
 */
function probedInVain(tcp: Tcp, tcb: Tcb): boolean {
  const { nowUs } = tcp.net;
  const sinceUs = nowUs - tcb.retransStampUs;
  if (sinceUs >= userTimeoutUs(tcb)) return true;
  const mostUs = Math.min(2 * rtoMaxUs(tcb), userTimeoutUs(tcb));
  return nowUs - tcb.lastAckedUs > mostUs && sinceUs > mostUs;
}

/**
 * Has nothing come through for as long as so many retransmissions from `baseUs` on take at least
 * (Linux: retransmits_timed_out)? The first wait is not counted: where our waits are just the
 * doublings of the floor both sides are nearly the same, and a kernel's lateness decides.
 */
function timedOut(tcb: Tcb, retries: number, baseUs: number): boolean {
  if (tcb.retransmits === 0) return false;
  const mostUs = rtoMaxUs(tcb);
  const sinceUs = tcb.tcp.net.nowUs - tcb.retransStampUs;
  const doubledUs = Math.min(sinceUs, 2 ** (doublingsOf(baseUs, mostUs) + 1) * baseUs);
  return sinceUs + doubledUs * KERNEL_LATENESS >= modelTimeoutUs(retries, baseUs, mostUs);
}

/** RFC 5482 3.1, RFC 9293 MUST-21, µs; Infinity = the limits of the sysctls hold. */
function userTimeoutUs(tcb: Tcb): number {
  return tcb.userTimeoutMs > 0 ? tcb.userTimeoutMs * 1000 : Infinity;
}

/** Nothing of what has been sent again was acknowledged for as long as the user would wait. */
function userTimeoutOver(tcp: Tcp, tcb: Tcb): boolean {
  return tcb.retransmits > 0 && tcp.net.nowUs - tcb.retransStampUs >= userTimeoutUs(tcb);
}

/**
 * A retransmission time-out, or less when the user's limit comes first (Linux:
 * tcp_clamp_rto_to_user_timeout).
 */
function clampedRtoUs(tcp: Tcp, tcb: Tcb, rtoUs: number): number {
  if (tcb.userTimeoutMs === 0) return rtoUs;
  const leftUs = tcb.retransStampUs + userTimeoutUs(tcb) - tcp.net.nowUs;
  return Math.min(rtoUs, Math.max(leftUs, 0));
}

/**
 * There are too many orphans: this one ends, sooner when it has little hope (Linux:
 * tcp_out_of_resources). The peer is told if that may matter to it.
 */
function outOfResources(tcp: Tcp, tcb: Tcb, alive: boolean): boolean {
  const { net } = tcp;
  const silentUs = net.nowUs - tcb.lastSentUs;
  let weight = silentUs > 2 * rtoMaxUs(tcb) || !alive ? 2 : 1;
  if (tcb.softError !== 0) weight *= 2;
  if (tcp.orphans * weight <= net.sysctl.tcpMaxOrphans) return false;
  const closed = tcb.sndWnd === 0 && tcb.sndUna === tcb.sndNxt;
  if (alive || silentUs <= TIME_WAIT_US || closed) tcp.wiring.sendActiveReset(tcp, tcb);
  net.count(Mib.TCPAbortOnMemory);
  tcpDone(tcp, tcb);
  return true;
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

/** Our SYN (or the SYN-ACK of a simultaneous open) was not answered (RFC 9293 MUST-22). */
function handshakeTimer(tcp: Tcp, tcb: Tcb): void {
  const { sysctl, nowUs } = tcp.net;
  const linear = tcb.state === TCP_SYN_SENT ? sysctl.tcpSynLinearTimeouts : 0;
  // A Fast Open child may have been accepted already: it gets one more.
  const child = tcb.fastopenQueue !== null;
  const retries = child ? sysctl.tcpSynackRetries + 1 : sysctl.tcpSynRetries;
  const most = tcb.synRetries > 0 ? tcb.synRetries : retries;
  const expired = tcb.retransmits >= most + linear || (!child && synTimedOut(tcp, tcb, most));
  if (!child) fastopenDetectBlackhole(tcp, tcb, expired);
  if (expired) {
    abandon(tcp, tcb);
    return;
  }
  if (!child && tcb.retransmits > 0) negativeAdvice(tcp, tcb);
  tcp.net.count(Mib.TCPTimeouts);
  tcp.net.count(Mib.TCPSynRetrans);
  tcp.net.count(Mib.TcpRetransSegs);
  tcb.totalRetrans++;
  tcb.retransmits++;
  if (child) synAckTimedOut(tcb, senderOf(tcb));
  tcb.rttTimed = false;
  if (tcb.retransmits > linear) tcb.rtoUs = Math.min(tcb.rtoUs * 2, rtoMaxUs(tcb));
  tcb.retransUs = nowUs + clampedRtoUs(tcp, tcb, tcb.rtoUs);
  tcp.mark(tcb, tcb.state === TCP_SYN_SENT ? PENDING_SYN : PENDING_SYNACK);
}

/**
 * The SYN-ACK of a Fast Open child (Linux: tcp_fastopen_synack_timer): the second time-out counts
 * as a loss, as after a handshake that took more than one retransmission; an ACK for what was sent
 * before the first takes that back.
 */
function synAckTimedOut(tcb: Tcb, s: Sender): void {
  if (tcb.retransmits === 2) enterLoss(tcb, s);
  if (s.retransStamped) return;
  s.retransStamped = true;
  s.retransStamp = tsNow(tcb.tcp.net.nowUs, tcb.tsOffset);
}

/** As long as the retries would take if each wait doubled, or as the user would wait. */
function synTimedOut(tcp: Tcp, tcb: Tcb, retries: number): boolean {
  if (tcb.userTimeoutMs > 0) return userTimeoutOver(tcp, tcb);
  return timedOut(tcb, retries, RTO_INITIAL_US);
}

/**
 * RFC 9293 MUST-36, MUST-37, SHLD-30: the window is closed; asks again, for ever while the peer
 * answers, but an orphan's only for a while.
 */
function probeTimer(tcp: Tcp, tcb: Tcb): void {
  const { sysctl, nowUs } = tcp.net;
  if (tcb.probesOut === 0 && tcb.backoff === 0) tcb.probesStampUs = 0;
  const sinceUs = tcb.probesStampUs === 0 ? 0 : nowUs - tcb.probesStampUs;
  if (tcb.probesStampUs === 0) tcb.probesStampUs = nowUs;
  let limit = sysctl.tcpRetries2;
  let tired = sinceUs >= userTimeoutUs(tcb);
  if (tcb.orphan) {
    const alive = tcb.rtoUs * 2 ** tcb.backoff < rtoMaxUs(tcb);
    limit = orphanRetries(tcp, tcb, alive);
    tired ||= !alive && tcb.backoff >= limit;
    if (!tired && outOfResources(tcp, tcb, true)) return;
  }
  if (tired || tcb.probesOut >= limit) {
    abandon(tcp, tcb);
    return;
  }
  tcb.probesOut++;
  if (tcb.backoff < sysctl.tcpRetries2) tcb.backoff++;
  armXmitTimer(tcb, TIME_PROBE0, probe0WhenUs(tcb));
  tcp.net.count(Mib.TCPWinProbe);
  tcp.mark(tcb, PENDING_PROBE);
}

/** RFC 1122 4.2.3.6, RFC 9293 MAY-5: keep-alive; for an orphan in FIN-WAIT-2 its limit. */
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
    // RFC 9293 MUST-26. Data under way shows by itself whether the peer is there.
    tcb.keepUs = (nowUs - heardUs < waitUs ? heardUs : nowUs) + waitUs;
    return;
  }
  const { sysctl } = tcp.net;
  const count = tcb.keepCount > 0 ? tcb.keepCount : sysctl.tcpKeepaliveProbes;
  // RFC 9293 MUST-29: not for one that was lost. A user timeout decides instead of the count.
  const silent = nowUs - heardUs >= userTimeoutUs(tcb) && tcb.probesOut > 0;
  if (tcb.userTimeoutMs > 0 ? silent : tcb.probesOut >= count) {
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
 * A SYN-ACK was not answered (Linux: reqsk_timer_handler): again, until the retries are used up.
 * When the listener has stopped, the request moves to another or is dropped.
 */
export function requestTimer(req: RequestSock, nowUs: number): void {
  const { tcp } = req;
  const { net } = tcp;
  const orphaned = req.listener.state !== TCP_LISTEN;
  if (orphaned) {
    const target = migrationTarget(tcp, req.listener, req, null);
    if (target === null) {
      requestDrop(tcp, req);
      return;
    }
    requestMigrate(req, target);
  }
  const { listener } = req;
  net.count(Mib.TCPTimeouts);
  if (requestExpired(req, synAckRetries(tcp, listener))) {
    if (orphaned) net.count(Mib.TCPMigrateReqFailure);
    requestDrop(tcp, req);
    return;
  }
  // Who waits for text after the ACK is silent until the last period, which is the last chance.
  const resend = !req.acked || req.timeouts >= listener.deferAccept - 1;
  if (req.timeouts === 0) listener.listen!.young--;
  req.timeouts++;
  net.timers.arm(req, nowUs + requestTimeoutUs(req));
  if (orphaned) net.count(Mib.TCPMigrateReqSuccess);
  if (!resend) return;
  req.retransmits++;
  net.count(Mib.TCPSynRetrans);
  net.count(Mib.TcpRetransSegs);
  tcp.mark(req, PENDING_SYNACK);
}

/**
 * How often a SYN-ACK is repeated: less in a queue that is more than half full of requests that are
 * not young, to keep half of it for those that are.
 */
function synAckRetries(tcp: Tcp, listener: Tcb): number {
  const { reqs, young, backlog } = listener.listen!;
  let retries = listener.synRetries > 0 ? listener.synRetries : tcp.net.sysctl.tcpSynackRetries;
  if (reqs * 2 <= Math.max(8, backlog)) return retries;
  for (let most = young * 2; retries > 2 && reqs >= most; most *= 2) retries--;
  return retries;
}

/** Linux syn_ack_recalc: while text is waited for one whose ACK has come outlives the retries. */
function requestExpired(req: RequestSock, retries: number): boolean {
  if (req.timeouts < retries) return false;
  return !req.acked || req.timeouts >= req.listener.deferAccept;
}

export function timewaitTimer(tw: TimewaitSock): void {
  if (tw.substate !== TCP_FIN_WAIT2) tw.tcp.net.count(Mib.TW);
  timewaitKill(tw.tcp, tw);
}
