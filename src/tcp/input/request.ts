/**
 * A segment for a half-open connection (Linux tcp_minisocks.c: tcp_check_req,
 * tcp_create_openreq_child; tcp_ipv4.c: tcp_v4_syn_recv_sock): the third ACK makes a child in the
 * accept queue. The order of the tests is the kernel's.
 */
import { assert } from '../../net/assert.js';
import { EPOLLIN } from '../../net/epoll-bits.js';
import { Mib } from '../../net/mib.js';
import { RING_LIMIT, ringReset } from '../../net/ring.js';
import type { Skb } from '../../net/skb.js';
import { BLOCK_SND_NXT, KIND_TCP } from '../../net/sockmem.js';
import { inetInheritPort } from '../../reuseport/bhash.js';
import { inetEhashInsert } from '../../reuseport/ehash.js';
import { acceptQueueIsFull, acceptQueuePush } from '../accept-queue.js';
import { drainProgress } from '../drain.js';
import { ECN_OK } from '../ecn.js';
import { inheritOptions } from '../inherit.js';
import { handshakeRtt, initialCwnd } from '../init-transfer.js';
import { migrationTarget, requestChosen } from '../migrate.js';
import { type RequestSock, requestDrop, requestTimeoutUs, requestUnlink } from '../minisocks.js';
import { advertisedMss, syncMss } from '../mss.js';
import { mtupInit } from '../mtu-probe.js';
import { TIMESTAMP_BYTES } from '../options.js';
import { recallPath } from '../path-cache.js';
import { publishAddresses, publishChoice } from '../publish.js';
import { initReceiveSpace } from '../rcv-space.js';
import { ACK, RST, type Segment, SYN } from '../segment.js';
import { between } from '../seq.js';
import { destroy, setState, tcpDone } from '../set-state.js';
import { PENDING_ACK, PENDING_SYNACK } from '../sock.js';
import { TCP_CLOSE, TCP_LISTEN, TCP_SYN_RECV } from '../state.js';
import { SS_CONNECTED, type Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { armTimer } from '../timer-arm.js';
import { keepIdleUs } from '../timers.js';
import { tsNow } from '../ts-clock.js';
import { inWindow, oowLimited, oowRateLimited, pawsReject } from './checks.js';
import { synchronizedArrives } from './synchronized.js';

/**
 * The request's listener is gone: the caller forgets the request and looks the segment up again.
 */
export const REQ_ORPHANED = 0;
/** The segment has been dealt with. */
export const REQ_DONE = 1;
/** The segment acknowledges something else: for the listener, as if there were no request. */
export const REQ_LISTENER = 2;

export function requestArrives(tcp: Tcp, req: RequestSock, seg: Segment, skb: Skb): number {
  let { listener } = req;
  if (listener.state !== TCP_LISTEN) {
    // Whoever would take the request over answers; it moves only as a connection, or by its timer.
    const target = migrationTarget(tcp, listener, req, skb);
    if (target === null) {
      requestDrop(tcp, req);
      return REQ_ORPHANED;
    }
    listener = target;
  }
  const { net } = tcp;
  const { flags } = seg;
  // The SYN's time is not kept: it came about one timeout ago.
  const sinceUs = net.nowUs - requestTimeoutUs(req);
  const old = req.tsOk && pawsReject(req.tsRecent, sinceUs, seg, net.nowUs);
  if (seg.seq === req.irs && (flags & (SYN | RST | ACK)) === SYN && !old) {
    repeatSynAck(tcp, req, seg);
    return REQ_DONE;
  }
  if ((flags & (ACK | RST)) === ACK && seg.ack !== ((req.iss + 1) | 0)) {
    return REQ_LISTENER;
  }
  const rcvNxt = (req.irs + 1) | 0;
  const liar = badEcho(tcp, req, seg);
  if (old || liar || !inWindow(seg, rcvNxt, (rcvNxt + req.rcvWnd) | 0)) {
    const silent = (flags & RST) !== 0;
    if (!silent && !oowRateLimited(tcp, req, seg, Mib.TCPACKSkippedSynRecv)) answer(tcp, req, seg);
    if (old) net.count(Mib.PAWSEstab);
    else if (liar) net.count(Mib.TSEcrRejected);
    return REQ_DONE;
  }
  if ((flags & RST) !== 0) resetRequest(tcp, req, seg);
  else if ((flags & SYN) !== 0 && seg.seq !== req.irs) failRequest(tcp, req, seg, true);
  else if ((flags & ACK) !== 0) acknowledged(tcp, req, seg, listener);
  return REQ_DONE;
}

/** An ACK that tells the peer where we are. */
function answer(tcp: Tcp, req: RequestSock, seg: Segment): void {
  req.tos = seg.tos;
  tcp.mark(req, PENDING_ACK);
}

/** The peer has not seen our SYN-ACK: again, at most every 500 ms, and the timer starts anew. */
function repeatSynAck(tcp: Tcp, req: RequestSock, seg: Segment): void {
  if (oowRateLimited(tcp, req, seg, Mib.TCPACKSkippedSynRecv)) return;
  tcp.net.timers.arm(req, tcp.net.nowUs + requestTimeoutUs(req));
  req.retransmits++;
  tcp.net.count(Mib.TCPSynRetrans);
  tcp.net.count(Mib.TcpRetransSegs);
  tcp.mark(req, PENDING_SYNACK);
}

/** Kernels from 6.15 on want the echoed timestamp to be one that a SYN-ACK carried. */
function badEcho(tcp: Tcp, req: RequestSock, seg: Segment): boolean {
  if (tcp.net.sysctl.profile === '5.0' || !req.tsOk || !seg.hasTimestamp) return false;
  if (seg.tsecr === 0) return false;
  const first = tsNow(req.firstSentUs, req.tsOffset);
  return !between(seg.tsecr, first, tsNow(req.lastSentUs, req.tsOffset));
}

/** RFC 5961 3.2 for half-open connections: exact kills, elsewhere in the window is challenged. */
function resetRequest(tcp: Tcp, req: RequestSock, seg: Segment): void {
  const exact = seg.seq === ((req.irs + 1) | 0);
  if (exact || tcp.net.sysctl.profile === '5.0') failRequest(tcp, req, seg, false);
  else if (!oowLimited(tcp, req, Mib.TCPACKSkippedChallenge)) {
    tcp.net.count(Mib.TCPChallengeACK);
    answer(tcp, req, seg);
  }
}

function failRequest(tcp: Tcp, req: RequestSock, seg: Segment, reset: boolean): void {
  tcp.net.count(Mib.TcpAttemptFails);
  killRequest(tcp, req, seg, reset);
}

function killRequest(tcp: Tcp, req: RequestSock, seg: Segment, reset: boolean): void {
  if (reset) tcp.wiring.sendReset(tcp, seg);
  tcp.net.count(Mib.EmbryonicRsts);
  requestDrop(tcp, req);
}

/** TCP_DEFER_ACCEPT: for a while a bare ACK only tells that the peer is there. */
function acknowledged(tcp: Tcp, req: RequestSock, seg: Segment, listener: Tcb): void {
  if (req.timeouts < listener.deferAccept && seg.endSeq === ((req.irs + 1) | 0)) {
    req.acked = true;
    tcp.net.count(Mib.TCPDeferAcceptDrop);
    return;
  }
  thirdAck(tcp, req, seg, listener);
}

/**
 * The handshake is complete if the accept queue of `listener` has room: the request's own listener,
 * or the one that has taken over from it.
 */
export function thirdAck(tcp: Tcp, req: RequestSock, seg: Segment, listener: Tcb): void {
  const { net } = tcp;
  const moved = listener !== req.listener;
  const child = acceptQueueIsFull(tcp, listener) ? null : createChild(tcp, req, seg, listener);
  if (child === null) {
    net.count(Mib.ListenOverflows);
    net.count(Mib.ListenDrops);
    if (moved) net.count(Mib.TCPMigrateReqFailure);
    // The request stays, and a later ACK may find room.
    req.acked = true;
    if (net.sysctl.tcpAbortOnOverflow !== 0) killRequest(tcp, req, seg, true);
    return;
  }
  requestUnlink(tcp, req);
  synchronizedArrives(tcp, child, seg);
  tcp.queues?.give(child);
  const pushed = acceptQueuePush(tcp, listener, child.fd);
  assert(pushed, 'third ACK: the accept queue was not full, and is');
  if (moved) net.count(Mib.TCPMigrateReqSuccess);
  tcp.events.ready(listener.fd, EPOLLIN);
  drainProgress(tcp, req.listener);
}

/**
 * The full socket of a completed handshake, in the request's place in ehash. Null: no descriptor is
 * left.
 */
export function createChild(tcp: Tcp, req: RequestSock, seg: Segment, listener: Tcb): Tcb | null {
  const { net, mem } = tcp;
  const fd = mem.allocFd(KIND_TCP);
  if (fd < 0) return null;
  const child = tcp.parking.newTcb(fd);
  tcp.socks[fd] = child;
  child.socketState = SS_CONNECTED;
  inheritOptions(tcp, child, listener);
  child.daddr = req.daddr;
  child.dport = req.dport;
  // RFC 9293 MUST-45.
  child.rcvSaddr = req.rcvSaddr;
  child.num = req.num;
  // The listener may have been bound to another device since.
  child.boundDevIf = req.boundDevIf;
  child.incomingCpu = seg.cpu;
  child.savedSyn = req.savedSyn;
  const replaced = inetEhashInsert(tcp.hashinfo, child, req);
  assert(replaced, 'third ACK: the request is not in ehash');
  inetInheritPort(tcp.hashinfo, listener, child);
  child.parent = listener.listen!;
  child.parent.children++;
  if (listener !== req.listener) requestChosen(req, listener);
  net.count(Mib.TcpPassiveOpens);
  startFromRequest(tcp, child, req, seg, tcp.ctl[listener.sndRing + RING_LIMIT]!);
  publishAddresses(tcp, child);
  publishChoice(tcp, child, req.phash, req.slot, req.members);
  setState(tcp, child, TCP_SYN_RECV);
  return child;
}

function startFromRequest(
  tcp: Tcp,
  child: Tcb,
  req: RequestSock,
  seg: Segment,
  sndLimit: number,
): void {
  const { net, ctl } = tcp;
  child.iss = req.iss;
  child.sndUna = req.iss;
  // Our SYN is no byte.
  child.bytesAcked = -1;
  child.counts.bytesAcked = -1;
  child.sndNxt = (req.iss + 1) | 0;
  child.sndSml = child.sndUna;
  child.irs = req.irs;
  child.rcvNxt = (req.irs + 1) | 0;
  child.rcvWup = child.rcvNxt;
  child.rcvWnd = req.rcvWnd;
  child.sackOk = req.sackOk;
  child.ecnFlags = req.ecnOk ? ECN_OK : 0;
  child.ectNxt = child.sndNxt;
  child.tsOk = req.tsOk;
  child.tsOffset = req.tsOffset;
  child.tsRecent = req.tsRecent;
  child.tsRecentUs = net.nowUs;
  child.lastReceivedUs = child.lastSentUs = net.nowUs;
  if (req.peerWscale >= 0) {
    child.wscaleOk = true;
    child.sndWscale = req.peerWscale;
    child.rcvWscale = req.rcvWscale;
  }
  child.sndWnd = seg.wnd << child.sndWscale;
  child.maxWindow = child.sndWnd;
  recallPath(tcp, child);
  syncMss(tcp, child, req.mss);
  mtupInit(child);
  child.rcvMss = Math.min(child.sndMss, child.rcvMss);
  initReceiveSpace(child, advertisedMss(tcp, child) - (child.tsOk ? TIMESTAMP_BYTES : 0));
  child.totalRetrans = req.retransmits;
  child.cwnd = initialCwnd(child, seg, req.timeouts, req.retransmits, req.firstSentUs);
  // A cookie does not know when it was sent.
  const once = req.retransmits === 0 && req.firstSentUs > 0;
  handshakeRtt(child, seg, once ? net.nowUs - req.firstSentUs : -1);
  if (child.keepalive) {
    child.keepUs = net.nowUs + keepIdleUs(tcp, child);
    armTimer(tcp, child);
  }
  ringReset(ctl, child.rcvRing, child.rcvNxt);
  ringReset(ctl, child.sndRing, child.sndNxt);
  ctl[child.at + BLOCK_SND_NXT] = child.sndNxt;
  ctl[child.sndRing + RING_LIMIT] = sndLimit;
}

/** A child that nobody has accepted goes with its listener: RST, and everything back. */
export function resetQueuedChild(tcp: Tcp, child: Tcb): void {
  if (child.away !== 0) {
    tcp.queues?.abandon(child);
    return;
  }
  child.orphan = true;
  tcp.orphans++;
  if (child.state !== TCP_CLOSE) {
    tcp.wiring.sendActiveReset(tcp, child);
    tcpDone(tcp, child);
  } else {
    destroy(tcp, child);
  }
}
