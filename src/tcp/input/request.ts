/**
 * A segment for a half-open connection (Linux tcp_minisocks.c: tcp_check_req,
 * tcp_create_openreq_child; tcp_ipv4.c: tcp_v4_syn_recv_sock): the third ACK makes a child in the
 * accept queue. The order of the tests is the kernel's.
 */
import { assert } from '../../net/assert.js';
import { EPOLLIN } from '../../net/epoll-bits.js';
import { Mib } from '../../net/mib.js';
import { RING_LIMIT, ringReset } from '../../net/ring.js';
import { KIND_TCP } from '../../net/sockmem.js';
import { inetInheritPort } from '../../reuseport/bhash.js';
import { inetEhashInsert } from '../../reuseport/ehash.js';
import { acceptQueueIsFull, acceptQueuePush } from '../accept-queue.js';
import { initialCwnd } from '../init-transfer.js';
import { type RequestSock, requestDrop, requestUnlink } from '../minisocks.js';
import { syncMss } from '../mss.js';
import { publishAddresses, publishChoice } from '../publish.js';
import { rttSample } from '../rtt.js';
import { ACK, RST, type Segment, SYN } from '../segment.js';
import { between } from '../seq.js';
import { destroy, setState, tcpDone } from '../set-state.js';
import { PENDING_ACK, PENDING_SYNACK } from '../sock.js';
import { TCP_CLOSE, TCP_LISTEN, TCP_SYN_RECV } from '../state.js';
import { RTO_INITIAL_US, RTO_MAX_US, Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { armTimer } from '../timer-arm.js';
import { keepIdleUs } from '../timers.js';
import { tsNow } from '../ts-clock.js';
import { inWindow, oowRateLimited, pawsReject } from './checks.js';
import { synchronizedArrives } from './synchronized.js';

/**
 * The request's listener is gone: the caller forgets the request and looks the segment up again.
 */
export const REQ_ORPHANED = 0;
/** The segment has been dealt with. */
export const REQ_DONE = 1;

export function requestArrives(tcp: Tcp, req: RequestSock, seg: Segment): number {
  const { listener } = req;
  if (listener.state !== TCP_LISTEN) {
    requestDrop(tcp, req);
    return REQ_ORPHANED;
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
    tcp.wiring.sendReset(tcp, seg);
    return REQ_DONE;
  }
  const rcvNxt = (req.irs + 1) | 0;
  const liar = badEcho(tcp, req, seg);
  if (old || liar || !inWindow(seg, rcvNxt, (rcvNxt + req.rcvWnd) | 0)) {
    if ((flags & RST) === 0) answer(tcp, req, seg);
    if (old) net.count(Mib.PAWSEstab);
    else if (liar) net.count(Mib.TSEcrRejected);
    return REQ_DONE;
  }
  if ((flags & RST) !== 0) resetRequest(tcp, req, seg);
  else if ((flags & SYN) !== 0 && seg.seq !== req.irs) killRequest(tcp, req, seg, true);
  else if ((flags & ACK) !== 0) thirdAck(tcp, req, seg);
  return REQ_DONE;
}

/** An ACK that tells the peer where we are, within the rate limit; true: it will go out. */
function answer(tcp: Tcp, req: RequestSock, seg: Segment): boolean {
  if (oowRateLimited(tcp, req, seg, Mib.TCPACKSkippedSynRecv)) return false;
  req.tos = seg.tos;
  tcp.mark(req, PENDING_ACK);
  return true;
}

/** How long the SYN-ACK timer runs now. */
function requestTimeoutUs(req: RequestSock): number {
  return Math.min(RTO_INITIAL_US * 2 ** req.timeouts, RTO_MAX_US);
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
  if (exact || tcp.net.sysctl.profile === '5.0') killRequest(tcp, req, seg, false);
  else if (answer(tcp, req, seg)) tcp.net.count(Mib.TCPChallengeACK);
}

function killRequest(tcp: Tcp, req: RequestSock, seg: Segment, reset: boolean): void {
  if (reset) tcp.wiring.sendReset(tcp, seg);
  tcp.net.count(Mib.EmbryonicRsts);
  tcp.net.count(Mib.TcpAttemptFails);
  requestDrop(tcp, req);
}

/** The handshake is complete if the accept queue has room. */
export function thirdAck(tcp: Tcp, req: RequestSock, seg: Segment): void {
  const { net } = tcp;
  const { listener } = req;
  const child = acceptQueueIsFull(tcp, listener) ? null : createChild(tcp, req, seg);
  if (child === null) {
    net.count(Mib.ListenOverflows);
    net.count(Mib.ListenDrops);
    // The request stays, and a later ACK may find room.
    if (net.sysctl.tcpAbortOnOverflow !== 0) killRequest(tcp, req, seg, true);
    return;
  }
  requestUnlink(tcp, req);
  if ((seg.flags & SYN) !== 0) {
    // The SYN again, with our SYN acknowledged and text: it has been taken, what follows it counts.
    seg.flags &= ~SYN;
    seg.seq = (seg.seq + 1) | 0;
  }
  synchronizedArrives(tcp, child, seg);
  acceptQueuePush(tcp, listener, child.fd);
  tcp.events.ready(listener.fd, EPOLLIN);
}

/**
 * The full socket of a completed handshake, in the request's place in ehash. Null: no descriptor is
 * left.
 */
function createChild(tcp: Tcp, req: RequestSock, seg: Segment): Tcb | null {
  const { net, mem } = tcp;
  const fd = mem.allocFd(KIND_TCP);
  if (fd < 0) return null;
  const { listener } = req;
  const child = new Tcb(tcp, fd);
  tcp.socks[fd] = child;
  inheritOptions(child, listener);
  child.daddr = req.daddr;
  child.dport = req.dport;
  child.rcvSaddr = req.rcvSaddr;
  child.num = req.num;
  const replaced = inetEhashInsert(tcp.hashinfo, child, req);
  assert(replaced, 'third ACK: the request is not in ehash');
  inetInheritPort(tcp.hashinfo, listener, child);
  net.count(Mib.TcpPassiveOpens);
  startFromRequest(tcp, child, req, seg);
  publishAddresses(tcp, child);
  publishChoice(tcp, child, req.phash, req.slot, req.members);
  setState(tcp, child, TCP_SYN_RECV);
  return child;
}

/**
 * Linux: inet_csk_clone_lock copies the listener; these are the fields that a connection keeps of
 * it.
 */
function inheritOptions(child: Tcb, listener: Tcb): void {
  child.boundDevIf = listener.boundDevIf;
  child.uid = listener.uid;
  child.reuse = listener.reuse;
  child.reuseport = listener.reuseport;
  child.nodelay = listener.nodelay;
  child.cork = listener.cork;
  child.keepalive = listener.keepalive;
  child.keepIdleUs = listener.keepIdleUs;
  child.keepIntvlUs = listener.keepIntvlUs;
  child.keepCount = listener.keepCount;
  child.lingerOn = listener.lingerOn;
  child.lingerSeconds = listener.lingerSeconds;
  child.userMss = listener.userMss;
  child.congestion = listener.congestion;
  child.rcvSpace = listener.rcvSpace;
  child.rcvBufLocked = listener.rcvBufLocked;
  child.sndBufLocked = listener.sndBufLocked;
  child.tos = listener.tos;
  child.ttl = listener.ttl;
  child.listenerFd = listener.fd;
}

function startFromRequest(tcp: Tcp, child: Tcb, req: RequestSock, seg: Segment): void {
  const { net, ctl } = tcp;
  child.iss = req.iss;
  child.sndUna = req.iss;
  // Our SYN is no byte.
  child.bytesAcked = -1;
  child.sndNxt = (req.iss + 1) | 0;
  child.sndSml = child.sndUna;
  child.irs = req.irs;
  child.rcvNxt = (req.irs + 1) | 0;
  child.rcvWup = child.rcvNxt;
  child.rcvWnd = req.rcvWnd;
  child.sackOk = req.sackOk;
  child.tsOk = req.tsOk;
  child.tsOffset = req.tsOffset;
  child.tsRecent = req.tsRecent;
  child.tsRecentUs = net.nowUs;
  if (req.peerWscale >= 0) {
    child.wscaleOk = true;
    child.sndWscale = req.peerWscale;
    child.rcvWscale = req.rcvWscale;
  }
  child.sndWnd = seg.wnd * 2 ** child.sndWscale;
  child.maxWindow = child.sndWnd;
  syncMss(tcp, child, req.mss);
  child.rcvMss = Math.min(child.sndMss, child.rcvMss);
  child.totalRetrans = req.retransmits;
  child.cwnd = initialCwnd(child, req.retransmits);
  // A cookie does not know when it was sent.
  if (req.retransmits === 0 && req.firstSentUs > 0) rttSample(child, net.nowUs - req.firstSentUs);
  if (child.keepalive) {
    child.keepUs = net.nowUs + keepIdleUs(tcp, child);
    armTimer(tcp, child);
  }
  ringReset(ctl, child.rcvRing, child.rcvNxt);
  ringReset(ctl, child.sndRing, child.sndNxt);
  ctl[child.sndRing + RING_LIMIT] = ctl[req.listener.sndRing + RING_LIMIT]!;
}

/** A child that nobody has accepted goes with its listener: RST, and everything back. */
export function resetQueuedChild(tcp: Tcp, child: Tcb): void {
  child.orphan = true;
  tcp.orphans++;
  if (child.state !== TCP_CLOSE) {
    tcp.wiring.sendActiveReset(tcp, child);
    tcpDone(tcp, child);
  } else {
    destroy(tcp, child);
  }
}
