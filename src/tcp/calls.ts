/**
 * The user calls (RFC 9293 3.10.1-6; Linux af_inet.c, inet_connection_sock.c, tcp.c): OPEN is
 * socket/bind/listen/connect, then SHUTDOWN, CLOSE and ABORT. SEND and RECEIVE are rings
 * (net/ring.ts): `published` and `consumed` only say that their cursors have moved. Every call
 * returns a value ≥ 0 or a negated errno.
 */

import { EPOLLIN, EPOLLRDHUP } from '../net/epoll-bits.js';
import {
  EACCES,
  EADDRNOTAVAIL,
  EALREADY,
  ECONNABORTED,
  ECONNRESET,
  EINPROGRESS,
  EINVAL,
  EISCONN,
  ENETUNREACH,
  ENFILE,
  ENOBUFS,
  ENOTCONN,
  EOPNOTSUPP,
  EPIPE,
} from '../net/errno.js';
import { isLoopback } from '../net/ipv4-address.js';
import { Mib } from '../net/mib.js';
import { RING_TAIL, ringUsed } from '../net/ring.js';
import { RTN_LOCAL, RTN_UNICAST } from '../net/route.js';
import { BLOCK_ERROR, BLOCK_OWNER, BLOCK_SND_FLAGS, KIND_TCP, SND_MORE } from '../net/sockmem.js';
import { inetCskGetPort } from '../reuseport/get-port.js';
import { inetHashConnect } from '../reuseport/hash-connect.js';
import { inetHashListen } from '../reuseport/hash-listen.js';
import { acceptQueueClose, acceptQueueOpen, acceptQueuePop } from './accept-queue.js';
import { CUBIC } from './cong/cubic.js';
import { RENO } from './cong/reno.js';
import { disconnect, forgetPeer } from './disconnect.js';
import { ecnOffer } from './ecn.js';
import { fastopenBegin, fastopenLaunch, sendFirstSyn } from './fastopen-client.js';
import { fastopenClientOn, fastopenListen } from './fastopen-option.js';
import { fastopenCloseCheck } from './fastopen-path.js';
import { resetQueuedChild } from './input/request.js';
import { waitForPeer } from './input/time-wait.js';
import { ListenState } from './listen-state.js';
import { childMigrate } from './migrate.js';
import { advertisedMss } from './mss.js';
import { TIMESTAMP_BYTES } from './options.js';
import { sockOf } from './parking.js';
import { recallPath } from './path-cache.js';
import {
  mayWrite,
  publishAddresses,
  publishError,
  publishLowat,
  publishNotsent,
  publishState,
} from './publish.js';
import { offeredSpace } from './rcv-space.js';
import { initialWindow, windowScale } from './rcv-window.js';
import { attachExtents, attachSendRing as attachRing } from './ring-memory.js';
import { secureTcpSeq } from './secure-seq.js';
import { closeSending, destroy, setState, tcpDone } from './set-state.js';
import { PENDING_OUTPUT, PENDING_WINDOW } from './sock.js';
import { bindsAnywhere, isTransparent } from './sockopt/kept.js';
import {
  inStates,
  SYNCHRONIZED,
  states,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_LAST_ACK,
  TCP_LISTEN,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
} from './state.js';
import {
  RCV_SHUTDOWN,
  RTO_INITIAL_US,
  SEND_SHUTDOWN,
  SS_CONNECTED,
  SS_CONNECTING,
  SS_DISCONNECTING,
  SS_UNCONNECTED,
  type Tcb,
} from './tcb.js';
import type { Tcp } from './tcp.js';
import { tsOffset } from './ts-clock.js';

/** States in which a connection does not end without a RST (Linux: tcp_need_reset). */
const NEED_RESET = states(
  TCP_ESTABLISHED,
  TCP_CLOSE_WAIT,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_SYN_RECV,
);

/** Both sides have closed: nothing need be said unless the peer has not been told yet. */
const CLOSED_BY_BOTH = states(TCP_CLOSING, TCP_LAST_ACK);

/** No connection yet, or no longer (Linux inet_shutdown: SS_DISCONNECTING). */
const UNCONNECTED = states(TCP_CLOSE, TCP_SYN_SENT, TCP_SYN_RECV);

export const SHUT_RD = 0;
export const SHUT_WR = 1;
export const SHUT_RDWR = 2;

/** A closed socket of user `uid`; fd or -ENFILE. */
export function tcpSocket(tcp: Tcp, uid: number): number {
  const fd = tcp.mem.allocFd(KIND_TCP);
  if (fd < 0) return -ENFILE;
  const tcb = tcp.parking.newTcb(fd);
  tcb.uid = uid;
  tcb.congestion = tcp.net.sysctl.tcpCongestionControl === 0 ? RENO : CUBIC;
  tcp.socks[fd] = tcb;
  publishLowat(tcp, tcb);
  publishNotsent(tcp, tcb);
  publishState(tcp, tcb, 0);
  return fd;
}

/**
 * RFC 9293 MUST-43; Linux af_inet.c: __inet_bind. With IP_BIND_ADDRESS_NO_PORT and port 0 only the
 * address is taken; connect() or listen() finds a port.
 */
export function tcpBind(tcp: Tcp, tcb: Tcb, address: number, port: number): number {
  const { net } = tcp;
  const nonlocal = net.sysctl.ipNonlocalBind !== 0 || bindsAnywhere(tcb);
  if (address !== 0 && !nonlocal && !net.routes.mayBind(address)) return -EADDRNOTAVAIL;
  if (port !== 0 && port < net.sysctl.ipUnprivilegedPortStart && tcb.uid !== 0) return -EACCES;
  if (tcb.state !== TCP_CLOSE || tcb.num !== 0) return -EINVAL;
  tcb.rcvSaddr = address;
  if (port !== 0 || !tcb.bindAddressNoPort) {
    const error = inetCskGetPort(tcp.hashinfo, tcb, port);
    if (error !== 0) {
      tcb.rcvSaddr = 0;
      publishAddresses(tcp, tcb);
      return error;
    }
  }
  tcb.bindPortLock = port !== 0;
  tcb.bindAddrLock = address !== 0;
  publishAddresses(tcp, tcb);
  return 0;
}

/**
 * RFC 9293 MUST-41, MUST-42; Linux inet_connection_sock.c: inet_csk_listen_start. The backlog is
 * unsigned and bounded by somaxconn; the port is tested again, now as a listener; the group is
 * joined in the order of these calls.
 */
export function tcpListen(tcp: Tcp, tcb: Tcb, backlog: number): number {
  if (tcb.socketState !== SS_UNCONNECTED) return -EINVAL;
  const limit = Math.min(backlog >>> 0, tcp.net.sysctl.somaxconn);
  const listening = tcb.state === TCP_LISTEN;
  let error = listening ? 0 : inetCskGetPort(tcp.hashinfo, tcb, tcb.num, true);
  if (error === 0) error = acceptQueueOpen(tcp, tcb, limit);
  if (error !== 0) return error;
  // Requests of an earlier time as a listener may still be there.
  if (tcb.listen === null) tcb.listen = new ListenState(limit);
  else tcb.listen.backlog = limit;
  if (listening) return 0;
  fastopenListen(tcp, tcb, limit);
  setState(tcp, tcb, TCP_LISTEN);
  error = inetHashListen(tcp.hashinfo, tcb);
  if (error !== 0) {
    setState(tcp, tcb, TCP_CLOSE);
    acceptQueueClose(tcp, tcb);
    return error;
  }
  if (tcb.reuseportCb !== null) tcp.changedGroups.add(tcb.reuseportCb);
  publishAddresses(tcp, tcb);
  return 0;
}

/**
 * Linux af_inet.c: __inet_stream_connect. -EINPROGRESS when the SYN is on its way; the next call
 * tells how that ended. With Fast Open 0 when the SYN waits for text.
 * @param withText MSG_FASTOPEN: text follows at once
 */
export function tcpConnect(
  tcp: Tcp,
  tcb: Tcb,
  address: number,
  port: number,
  withText = false,
): number {
  if (withText && !fastopenClientOn(tcp)) return -EOPNOTSUPP;
  switch (tcb.socketState) {
    case SS_CONNECTED:
      return -EISCONN;
    case SS_CONNECTING:
      if (tcb.tfo?.deferred === true) return withText ? 0 : -EISCONN;
      return connectEnded(tcp, tcb);
    case SS_DISCONNECTING:
      return -EINVAL;
  }
  if (tcb.state !== TCP_CLOSE) return -EISCONN;
  return startConnect(tcp, tcb, address, port, withText);
}

/** What became of an attempt to connect; after a failed one the socket can be used again. */
function connectEnded(tcp: Tcp, tcb: Tcb): number {
  if (tcb.state === TCP_SYN_SENT || tcb.state === TCP_SYN_RECV) return -EALREADY;
  if (tcb.state !== TCP_CLOSE) {
    tcb.socketState = SS_CONNECTED;
    return 0;
  }
  const error = Atomics.exchange(tcp.ctl, tcb.at + BLOCK_ERROR, 0);
  disconnect(tcp, tcb);
  return error === 0 ? -ECONNABORTED : -error;
}

/** Linux tcp_ipv4.c: tcp_v4_connect. */
function startConnect(
  tcp: Tcp,
  tcb: Tcb,
  address: number,
  port: number,
  withText: boolean,
): number {
  const { net } = tcp;
  const bound = tcb.rcvSaddr;
  const local = bound === 0 || net.isLocal(bound);
  // A group's address can be bound to, but nothing can come from there.
  const source = !local && net.routes.mayBind(bound) ? 0 : bound;
  if (!local && source !== 0 && !isTransparent(tcb)) return -ENETUNREACH;
  const peer = address !== 0 ? address : source !== 0 ? source : net.routes.self(tcb.boundDevIf);
  const route = net.routes.output(peer, tcb.boundDevIf);
  // RFC 9293 MUST-46.
  if (route.type !== RTN_UNICAST && route.type !== RTN_LOCAL) return -ENETUNREACH;
  if (isLoopback(source) && route.dev !== net.lo) return -EINVAL;
  // RFC 9293 MUST-44.
  tcb.rcvSaddr = source !== 0 ? source : route.saddr;
  tcb.daddr = peer;
  tcb.dport = port;
  recallPath(tcp, tcb);
  tcb.iss = 0;
  const error = inetHashConnect(tcp.hashinfo, tcb);
  if (error !== 0) {
    forgetPeer(tcp, tcb, bound);
    return error;
  }
  tcb.socketState = SS_CONNECTING;
  publishError(tcp, tcb, 0);
  offerOptions(tcp, tcb);
  setState(tcp, tcb, TCP_SYN_SENT);
  publishAddresses(tcp, tcb);
  // With Fast Open and a cookie the SYN waits for the first text.
  if ((withText || tcb.fastopenConnect) && fastopenBegin(tcp, tcb)) return 0;
  sendFirstSyn(tcp, tcb);
  return -EINPROGRESS;
}

/**
 * connect() to AF_UNSPEC (Linux: tcp_disconnect): ABORT, and the socket can be used again. Nobody
 * else holds the locks of its rings.
 */
export function tcpDisconnect(tcp: Tcp, tcb: Tcb): number {
  if (tcb.state === TCP_LISTEN) {
    stopListening(tcp, tcb);
  } else if (tcb.state !== TCP_CLOSE) {
    const reset = needsReset(tcb);
    if (reset) tcp.wiring.sendActiveReset(tcp, tcb);
    if (reset || tcb.state === TCP_SYN_SENT) publishError(tcp, tcb, ECONNRESET);
    tcpDone(tcp, tcb);
  }
  disconnect(tcp, tcb);
  return 0;
}

/**
 * Sequence numbers and what our SYN offers (Linux: tcp_connect_init). A recycled TIME-WAIT has
 * chosen the ISN.
 */
function offerOptions(tcp: Tcp, tcb: Tcb): void {
  const { net } = tcp;
  const { sysctl, nowUs } = net;
  if (tcb.iss === 0) {
    tcb.iss = secureTcpSeq(tcp.isnKeys, tcb.rcvSaddr, tcb.daddr, tcb.num, tcb.dport, nowUs);
  }
  tcb.sndUna = tcb.iss;
  tcb.sndNxt = (tcb.iss + 1) | 0;
  tcb.sndSml = tcb.iss;
  tcb.tsOk = sysctl.tcpTimestamps !== 0;
  tcb.tsOffset = tsOffset(tcp, tcb.rcvSaddr, tcb.daddr, tcb.num, tcb.dport);
  tcb.sackOk = sysctl.tcpSack !== 0;
  tcb.ecnFlags = ecnOffer(tcp);
  tcb.ectNxt = tcb.sndNxt;
  tcb.wscaleOk = sysctl.tcpWindowScaling !== 0;
  tcb.rcvWscale = tcb.wscaleOk ? windowScale(tcp, tcb) : 0;
  // In the place of a TIME-WAIT the peer is known to have timestamps (Linux: tcp_connect_init).
  const stamp = tcb.tsOk && tcb.tsRecentUs > 0 ? TIMESTAMP_BYTES : 0;
  const mss = advertisedMss(tcp, tcb) - stamp;
  tcb.rcvWnd = initialWindow(tcp, offeredSpace(tcb), mss, tcb.rcvWscale);
  tcb.rtoUs = RTO_INITIAL_US;
  tcb.retransmits = tcb.backoff = 0;
  tcb.retransStampUs = nowUs;
  tcb.rttSentUs = nowUs;
  tcb.finQueued = tcb.finSent = tcb.synAcked = false;
}

/** Linux af_inet.c: inet_shutdown; tcp.c: tcp_shutdown. `how`: SHUT_*. */
export function tcpShutdown(tcp: Tcp, tcb: Tcb, how: number): number {
  if (how !== SHUT_RD && how !== SHUT_WR && how !== SHUT_RDWR) return -EINVAL;
  const bits = how + 1;
  if (tcb.socketState === SS_CONNECTING) {
    const open = inStates(tcb.state, UNCONNECTED);
    tcb.socketState = open ? SS_DISCONNECTING : SS_CONNECTED;
  }
  switch (tcb.state) {
    case TCP_LISTEN:
      if ((bits & RCV_SHUTDOWN) !== 0) stopListening(tcp, tcb);
      return 0;
    case TCP_CLOSE:
      tcb.shutdown |= bits;
      publishState(tcp, tcb, bits === SEND_SHUTDOWN ? 0 : EPOLLIN | EPOLLRDHUP);
      return -ENOTCONN;
    case TCP_SYN_SENT:
      publishError(tcp, tcb, ECONNRESET);
      tcpDone(tcp, tcb);
      disconnect(tcp, tcb);
      return 0;
  }
  tcb.shutdown |= bits;
  publishState(tcp, tcb, bits === SEND_SHUTDOWN ? 0 : EPOLLIN | EPOLLRDHUP);
  // In SYN-RECEIVED the FIN waits for the end of the handshake.
  if ((bits & SEND_SHUTDOWN) !== 0 && tcb.state !== TCP_SYN_RECV) closeSending(tcp, tcb);
  return 0;
}

/**
 * Linux inet_csk_listen_stop: queued children move to another listener of the group or are reset.
 * Requests are left to find out by themselves, with their next ACK or time-out.
 */
function stopListening(tcp: Tcp, listener: Tcb): void {
  const queue = listener.listen!;
  setState(tcp, listener, TCP_CLOSE, EPOLLIN | EPOLLRDHUP);
  queue.draining = false;
  for (let fd = acceptQueuePop(tcp, listener); fd >= 0; fd = acceptQueuePop(tcp, listener)) {
    const child = sockOf(tcp, fd);
    // It may have been aborted while it waited, when the whole stack ends; and a thread that moves
    // the head back may have us see one that was accepted and closed.
    if (!child || child.orphan || child.parent !== queue) continue;
    if (!childMigrate(tcp, listener, child)) resetQueuedChild(tcp, child);
  }
  acceptQueueClose(tcp, listener);
}

/**
 * The application lets go (Linux tcp.c: __tcp_close): FIN, or RST when that would hide lost data.
 */
export function tcpClose(tcp: Tcp, tcb: Tcb): void {
  const { net } = tcp;
  tcb.orphan = true;
  tcp.orphans++;
  tcp.ctl[tcb.at + BLOCK_OWNER] = 0;
  fastopenCloseCheck(tcp, tcb);
  if (tcb.state === TCP_LISTEN) stopListening(tcp, tcb);
  if (tcb.state === TCP_CLOSE) {
    destroy(tcp, tcb);
    return;
  }
  if (ringUsed(tcp.ctl, tcb.rcvRing) > 0) {
    // RFC 9293 MAY-1, SHLD-3: the peer must learn that nobody has read this, whatever the state.
    net.count(Mib.TCPAbortOnClose);
    tcp.wiring.sendActiveReset(tcp, tcb);
    tcpDone(tcp, tcb);
  } else if (tcb.lingerOn && tcb.lingerSeconds === 0) {
    net.count(Mib.TCPAbortOnData);
    resetNow(tcp, tcb);
  } else if (tcb.state === TCP_SYN_SENT) {
    tcpDone(tcp, tcb);
  } else if (tcp.orphans > net.sysctl.tcpMaxOrphans) {
    net.count(Mib.TCPAbortOnMemory);
    tcp.wiring.sendActiveReset(tcp, tcb);
    tcpDone(tcp, tcb);
  } else {
    tcb.shutdown = RCV_SHUTDOWN | SEND_SHUTDOWN;
    closeSending(tcp, tcb);
    if (tcb.state === TCP_FIN_WAIT2) lingerForPeer(tcp, tcb);
  }
}

/** FIN-WAIT-2 without a reader; TCP_LINGER2 below 0: not at all. */
function lingerForPeer(tcp: Tcp, tcb: Tcb): void {
  if (tcb.linger2 >= 0) {
    waitForPeer(tcp, tcb);
    return;
  }
  tcp.net.count(Mib.TCPAbortOnLinger);
  tcp.wiring.sendActiveReset(tcp, tcb);
  tcpDone(tcp, tcb);
}

/** The end without a good-bye; the peer is told in those states where it would wait for more. */
function resetNow(tcp: Tcp, tcb: Tcb): void {
  if (needsReset(tcb)) tcp.wiring.sendActiveReset(tcp, tcb);
  tcpDone(tcp, tcb);
}

/** Linux tcp_need_reset, and what tcp_disconnect adds to it. */
function needsReset(tcb: Tcb): boolean {
  if (inStates(tcb.state, NEED_RESET)) return true;
  return inStates(tcb.state, CLOSED_BY_BOTH) && unsent(tcb);
}

/** Text or our FIN has not left yet. */
function unsent(tcb: Tcb): boolean {
  const { ctl } = tcb.tcp;
  const text = (Atomics.load(ctl, tcb.sndRing + RING_TAIL) - tcb.sndNxt) | 0;
  return text > 0 || (tcb.finQueued && !tcb.finSent);
}

/** ABORT (RFC 9293 3.10.5): RST at once where there is a peer, and the descriptor is gone. */
export function tcpAbort(tcp: Tcp, tcb: Tcb): void {
  if (inStates(tcb.state, SYNCHRONIZED) || tcb.state === TCP_SYN_RECV) {
    if (!tcb.orphan) {
      tcb.orphan = true;
      tcp.orphans++;
    }
    resetNow(tcp, tcb);
  } else if (!tcb.orphan) {
    tcpClose(tcp, tcb);
  }
}

/**
 * Memory for the application to write into: 0, -EPIPE, -ENOTCONN or -ENOBUFS.
 * @param refers what it writes shall lie in files: a table for that comes along if there is memory
 */
export function tcpAttachSendRing(tcp: Tcp, tcb: Tcb, refers: boolean): number {
  if ((tcb.shutdown & SEND_SHUTDOWN) !== 0) return -EPIPE;
  if (!mayWrite(tcb)) return -ENOTCONN;
  if (!attachRing(tcp, tcb)) return -ENOBUFS;
  if (refers) attachExtents(tcp, tcb);
  return 0;
}

/** The application has written: output after this batch. */
export function tcpPublished(tcp: Tcp, tcb: Tcb): void {
  tcb.unpushed = (tcp.ctl[tcb.at + BLOCK_SND_FLAGS]! & SND_MORE) !== 0;
  tcb.more = tcb.unpushed;
  if (tcb.tfo?.deferred === true) fastopenLaunch(tcp, tcb, tcb.tfo);
  else if (tcb.state !== TCP_CLOSE && tcb.state !== TCP_LISTEN) tcp.mark(tcb, PENDING_OUTPUT);
}

/** The application has read past the point that it was asked to tell. */
export function tcpConsumed(tcp: Tcp, tcb: Tcb): void {
  if (tcb.state !== TCP_CLOSE && tcb.state !== TCP_LISTEN) tcp.mark(tcb, PENDING_WINDOW);
}
