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
  ECONNRESET,
  EINPROGRESS,
  EINVAL,
  EISCONN,
  ENETUNREACH,
  ENFILE,
  ENOBUFS,
  ENOTCONN,
  EPIPE,
} from '../net/errno.js';
import { Mib } from '../net/mib.js';
import { ringUsed } from '../net/ring.js';
import { BLOCK_ERROR, BLOCK_OWNER, KIND_TCP } from '../net/sockmem.js';
import { inetBhash2UpdateSaddr } from '../reuseport/bhash.js';
import { inetCskGetPort } from '../reuseport/get-port.js';
import { inetHashConnect } from '../reuseport/hash-connect.js';
import { inetHashListen } from '../reuseport/hash-listen.js';
import { acceptQueueClose, acceptQueueOpen, acceptQueuePop } from './accept-queue.js';
import { CUBIC } from './cong/cubic.js';
import { RENO } from './cong/reno.js';
import { resetQueuedChild } from './input/request.js';
import { waitForPeer } from './input/time-wait.js';
import { advertisedMss } from './mss.js';
import { publishAddresses, publishError, publishState } from './publish.js';
import { initialWindow, windowScale } from './rcv-window.js';
import { attachSendRing as attachRing } from './ring-memory.js';
import { secureTcpSeq, secureTcpTsOffset } from './secure-seq.js';
import { closeSending, destroy, setState, tcpDone } from './set-state.js';
import { PENDING_OUTPUT, PENDING_SYN, PENDING_WINDOW } from './sock.js';
import {
  CAN_SEND,
  inStates,
  SYNCHRONIZED,
  states,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
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
  SS_UNCONNECTED,
  Tcb,
} from './tcb.js';
import type { Tcp } from './tcp.js';
import { armRetransmit } from './timer-arm.js';

/** States in which a connection does not end without a RST (Linux: tcp_need_reset). */
const NEED_RESET = states(
  TCP_ESTABLISHED,
  TCP_CLOSE_WAIT,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_SYN_RECV,
);

export const SHUT_RD = 0;
export const SHUT_WR = 1;
export const SHUT_RDWR = 2;

/** A closed socket of user `uid`; fd or -ENFILE. */
export function tcpSocket(tcp: Tcp, uid: number): number {
  const fd = tcp.mem.allocFd(KIND_TCP);
  if (fd < 0) return -ENFILE;
  const tcb = new Tcb(tcp, fd);
  tcb.uid = uid;
  tcb.congestion = tcp.net.sysctl.tcpCongestionControl === 0 ? RENO : CUBIC;
  tcp.socks[fd] = tcb;
  publishState(tcp, tcb, 0);
  return fd;
}

/** Linux af_inet.c: __inet_bind. */
export function tcpBind(tcp: Tcp, tcb: Tcb, address: number, port: number): number {
  const { net } = tcp;
  if (address !== 0 && !net.isLocal(address)) return -EADDRNOTAVAIL;
  if (port !== 0 && port < net.sysctl.ipUnprivilegedPortStart && tcb.uid !== 0) return -EACCES;
  if (tcb.state !== TCP_CLOSE || tcb.num !== 0) return -EINVAL;
  tcb.rcvSaddr = address;
  const error = inetCskGetPort(tcp.hashinfo, tcb, port);
  if (error !== 0) {
    tcb.rcvSaddr = 0;
    return error;
  }
  tcb.bindPortLock = port !== 0;
  tcb.bindAddrLock = address !== 0;
  publishAddresses(tcp, tcb);
  return 0;
}

/**
 * Linux inet_connection_sock.c: inet_csk_listen_start. The backlog is unsigned and bounded by
 * somaxconn; the port is tested again, now as a listener; the group is joined in the order of these
 * calls.
 */
export function tcpListen(tcp: Tcp, tcb: Tcb, backlog: number): number {
  if (tcb.socketState !== SS_UNCONNECTED) return -EINVAL;
  const limit = Math.min(backlog >>> 0, tcp.net.sysctl.somaxconn);
  const listening = tcb.state === TCP_LISTEN;
  let error = listening ? 0 : inetCskGetPort(tcp.hashinfo, tcb, tcb.num);
  if (error === 0) error = acceptQueueOpen(tcp, tcb, limit);
  if (error !== 0) return error;
  // Requests of an earlier time as a listener may still be there.
  if (tcb.listen === null)
    tcb.listen = { backlog: limit, reqs: 0, young: 0, overflowUs: -Infinity };
  else tcb.listen.backlog = limit;
  if (listening) return 0;
  tcb.shutdown = 0;
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
 * Linux af_inet.c: __inet_stream_connect, tcp_ipv4.c: tcp_v4_connect. -EINPROGRESS when the SYN is
 * on its way. A failed attempt that has not been asked about yet reports its error first.
 */
export function tcpConnect(tcp: Tcp, tcb: Tcb, address: number, port: number): number {
  const { net } = tcp;
  if (tcb.state === TCP_SYN_SENT || tcb.state === TCP_SYN_RECV) return -EALREADY;
  if (tcb.state !== TCP_CLOSE || tcb.socketState === SS_CONNECTED) return -EISCONN;
  if (tcb.socketState === SS_CONNECTING) {
    const failed = disconnect(tcp, tcb);
    if (failed !== 0) return -failed;
  }
  const own = net.addresses()[0];
  if (own === undefined || address >>> 28 >= 0xe) return -ENETUNREACH;
  const peer = address === 0 ? own : address;
  const bound = tcb.rcvSaddr;
  if (bound === 0) tcb.rcvSaddr = own;
  tcb.daddr = peer | 0;
  tcb.dport = port;
  tcb.shutdown = 0;
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
  net.count(Mib.TcpActiveOpens);
  tcp.mark(tcb, PENDING_SYN);
  armRetransmit(tcp, tcb);
  return -EINPROGRESS;
}

/** The socket is as bind() left it (Linux: tcp_disconnect); the error that it died of, or 0. */
function disconnect(tcp: Tcp, tcb: Tcb): number {
  tcb.socketState = SS_UNCONNECTED;
  forgetPeer(tcp, tcb, tcb.bindAddrLock ? tcb.rcvSaddr : 0);
  return Atomics.exchange(tcp.ctl, tcb.at + BLOCK_ERROR, 0);
}

/** No peer any more, and `bound` is the local address again. */
function forgetPeer(tcp: Tcp, tcb: Tcb, bound: number): void {
  tcb.daddr = tcb.dport = 0;
  tcb.rcvSaddr = bound;
  inetBhash2UpdateSaddr(tcp.hashinfo, tcb);
  publishAddresses(tcp, tcb);
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
  tcb.tsOffset =
    sysctl.tcpTimestamps === 1 ? secureTcpTsOffset(tcp.tsKeys, tcb.rcvSaddr, tcb.daddr) : 0;
  tcb.sackOk = sysctl.tcpSack !== 0;
  tcb.wscaleOk = sysctl.tcpWindowScaling !== 0;
  tcb.rcvWscale = tcb.wscaleOk ? windowScale(Math.max(tcb.rcvSpace, sysctl.tcpRmemMax)) : 0;
  tcb.rcvWnd = initialWindow(tcb.rcvSpace, advertisedMss(tcp, tcb));
  tcb.rtoUs = RTO_INITIAL_US;
  tcb.retransmits = tcb.backoff = 0;
  tcb.retransStampUs = nowUs;
  tcb.rttSentUs = nowUs;
  tcb.finQueued = tcb.finSent = false;
}

/** Linux af_inet.c: inet_shutdown; tcp.c: tcp_shutdown. `how`: SHUT_*. */
export function tcpShutdown(tcp: Tcp, tcb: Tcb, how: number): number {
  if (how !== SHUT_RD && how !== SHUT_WR && how !== SHUT_RDWR) return -EINVAL;
  const bits = how + 1;
  switch (tcb.state) {
    case TCP_LISTEN:
      if ((bits & RCV_SHUTDOWN) !== 0) stopListening(tcp, tcb);
      return 0;
    case TCP_CLOSE:
      return -ENOTCONN;
    case TCP_SYN_SENT:
      publishError(tcp, tcb, ECONNRESET);
      tcb.socketState = SS_UNCONNECTED;
      tcpDone(tcp, tcb);
      return 0;
  }
  tcb.shutdown |= bits;
  publishState(tcp, tcb, bits === SEND_SHUTDOWN ? 0 : EPOLLIN | EPOLLRDHUP);
  // In SYN-RECEIVED the FIN waits for the end of the handshake.
  if ((bits & SEND_SHUTDOWN) !== 0 && tcb.state !== TCP_SYN_RECV) closeSending(tcp, tcb);
  return 0;
}

/**
 * Linux inet_csk_listen_stop: queued children are reset; requests are answered by RST when their
 * ACK comes.
 */
function stopListening(tcp: Tcp, listener: Tcb): void {
  setState(tcp, listener, TCP_CLOSE, EPOLLIN | EPOLLRDHUP);
  for (let fd = acceptQueuePop(tcp, listener); fd >= 0; fd = acceptQueuePop(tcp, listener)) {
    resetQueuedChild(tcp, tcp.socks[fd]!);
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
  if (tcb.state === TCP_LISTEN) stopListening(tcp, tcb);
  if (tcb.state === TCP_CLOSE) {
    destroy(tcp, tcb);
    return;
  }
  if (ringUsed(tcp.ctl, tcb.rcvRing) > 0) {
    // The peer must learn that nobody has read this, whatever the state.
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
    resetNow(tcp, tcb);
  } else {
    tcb.shutdown = RCV_SHUTDOWN | SEND_SHUTDOWN;
    closeSending(tcp, tcb);
    if (tcb.state === TCP_FIN_WAIT2) waitForPeer(tcp, tcb);
  }
}

/** The end without a good-bye; the peer is told in those states where it would wait for more. */
function resetNow(tcp: Tcp, tcb: Tcb): void {
  if (inStates(tcb.state, NEED_RESET)) tcp.wiring.sendActiveReset(tcp, tcb);
  tcpDone(tcp, tcb);
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

/** Memory for the application to write into: 0, -EPIPE, -ENOTCONN or -ENOBUFS. */
export function tcpAttachSendRing(tcp: Tcp, tcb: Tcb): number {
  if ((tcb.shutdown & SEND_SHUTDOWN) !== 0) return -EPIPE;
  if (!inStates(tcb.state, CAN_SEND)) return -ENOTCONN;
  return attachRing(tcp, tcb) ? 0 : -ENOBUFS;
}

/** The application has written: output after this batch. */
export function tcpPublished(tcp: Tcp, tcb: Tcb): void {
  if (tcb.state !== TCP_CLOSE && tcb.state !== TCP_LISTEN) tcp.mark(tcb, PENDING_OUTPUT);
}

/** The application has read past the point that it was asked to tell. */
export function tcpConsumed(tcp: Tcp, tcb: Tcb): void {
  if (tcb.state !== TCP_CLOSE && tcb.state !== TCP_LISTEN) tcp.mark(tcb, PENDING_WINDOW);
}
