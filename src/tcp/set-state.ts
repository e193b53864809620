/**
 * The only door through which a connection changes its state (RFC 9293 3.3.2; Linux tcp.c:
 * tcp_set_state, tcp_done). It asserts the transition against the table, counts, traces, takes the
 * socket out of the lookup tables when it closes, and publishes. Also the end of a connection: what
 * happens to memory and descriptor.
 */
import { AssertionError, assert } from '../net/assert.js';
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../net/epoll-bits.js';
import { Mib } from '../net/mib.js';
import { inetPutPort } from '../reuseport/bhash.js';
import { inetEhashRemove } from '../reuseport/ehash.js';
import { reuseportDetachSock, reuseportStopListenSock } from '../reuseport/group.js';
import { inetUnhashListen } from '../reuseport/hash-listen.js';
import { fastopenQueueRemove } from './fastopen-queue.js';
import { publishError, publishNoGroup, publishState } from './publish.js';
import { releaseRings } from './ring-memory.js';
import { rtxPurge } from './rtx-queue.js';
import { PENDING_OUTPUT } from './sock.js';
import {
  inStates,
  STATE_NAMES,
  states,
  TCP_CLOSE,
  TCP_CLOSE_WAIT,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_LAST_ACK,
  TCP_LISTEN,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
  TRANSITIONS,
} from './state.js';
import { RCV_SHUTDOWN, SEND_SHUTDOWN, type Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';
import { TIME_NONE } from './timer-arm.js';

/** RFC 4022 tcpCurrEstab: ESTABLISHED or CLOSE-WAIT. */
const CURR_ESTAB = states(TCP_ESTABLISHED, TCP_CLOSE_WAIT);

/** Moves `tcb` to state `to`; `events` are EPOLL* bits that newly hold. */
export function setState(tcp: Tcp, tcb: Tcb, to: number, events = 0): void {
  const from = tcb.state;
  if (((TRANSITIONS[from]! >>> to) & 1) === 0) badTransition(tcb, to);
  const wasUp = inStates(from, CURR_ESTAB);
  const isUp = inStates(to, CURR_ESTAB);
  if (isUp && !wasUp) tcp.net.count(Mib.TcpCurrEstab);
  if (wasUp && !isUp) tcp.net.count(Mib.TcpCurrEstab, -1);
  if (to === TCP_CLOSE) {
    if (wasUp) tcp.net.count(Mib.TcpEstabResets);
    unhash(tcp, tcb, from);
  }
  if (to === TCP_ESTABLISHED) {
    tcb.synAcked = true;
    tcp.parking.stir();
  }
  tcb.state = to;
  tcp.net.trace?.state?.(tcb.fd, from, to);
  publishState(tcp, tcb, events);
}

/** The message is made only here: it takes longer than the rest of a change of state. */
function badTransition(tcb: Tcb, to: number): never {
  throw new AssertionError(
    `TCP state ${STATE_NAMES[tcb.state]} → ${STATE_NAMES[to]} of fd ${tcb.fd}`,
  );
}

/** Linux: sk->sk_prot->unhash, and the port unless bind() asked for it. */
function unhash(tcp: Tcp, tcb: Tcb, from: number): void {
  if (from === TCP_LISTEN) {
    if (tcb.reuseportCb !== null) tcp.changedGroups.add(tcb.reuseportCb);
    // One that drains has left the lookup already, and waits in the closed section of its group.
    if (tcb.listen!.draining) reuseportStopListenSock(tcp.hashinfo, tcb);
    else inetUnhashListen(tcp.hashinfo, tcb);
    publishNoGroup(tcp, tcb);
  } else if (tcb.ehashSlot >= 0) {
    inetEhashRemove(tcp.hashinfo, tcb);
    tcp.queues?.unhashed(tcb);
  }
  if (tcb.bindBucket !== null && !tcb.bindPortLock) inetPutPort(tcp.hashinfo, tcb);
}

/**
 * Our SYN has not been acknowledged yet. That is so in SYN-SENT and SYN-RECEIVED, and in FIN-WAIT-1
 * after a close() that did not wait for the other side.
 */
export function synOutstanding(tcb: Tcb): boolean {
  return !tcb.synAcked && tcb.sndUna === tcb.iss;
}

/**
 * Our FIN follows the last byte of the send ring (Linux: tcp_close_state, tcp_send_fin). A no-op
 * when it does already.
 */
export function closeSending(tcp: Tcp, tcb: Tcb): void {
  if (tcb.state === TCP_ESTABLISHED || tcb.state === TCP_SYN_RECV) {
    setState(tcp, tcb, TCP_FIN_WAIT1);
  } else if (tcb.state === TCP_CLOSE_WAIT) {
    setState(tcp, tcb, TCP_LAST_ACK);
  } else {
    return;
  }
  tcb.finQueued = true;
  tcb.cork = false;
  tcp.mark(tcb, PENDING_OUTPUT);
}

/**
 * The connection is over (Linux: tcp_done): closed in both directions, timers off. The application,
 * if there is one, keeps the descriptor with whatever unread data there is; an orphan's is freed.
 */
export function tcpDone(tcp: Tcp, tcb: Tcb): void {
  tcp.net.timers.cancel(tcb);
  if (tcb.fastopenQueue !== null) fastopenQueueRemove(tcp, tcb, false);
  tcb.retransUs = tcb.delackUs = tcb.keepUs = Infinity;
  tcb.xmitTimer = TIME_NONE;
  if (tcb.sender !== null) {
    rtxPurge(tcp.rtx, tcb.sender);
    tcp.spareSenders.retire(tcb.sender);
    tcb.sender = null;
  }
  tcb.pending = 0;
  tcb.shutdown = RCV_SHUTDOWN | SEND_SHUTDOWN;
  setState(tcp, tcb, TCP_CLOSE, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP | EPOLLERR);
  if (tcb.orphan) destroy(tcp, tcb);
}

/** The connection died of `errno` (Linux: tcp_reset, tcp_write_err). */
export function tcpFail(tcp: Tcp, tcb: Tcb, errno: number): void {
  if (tcb.state === TCP_SYN_SENT || tcb.state === TCP_SYN_RECV) {
    tcp.net.count(Mib.TcpAttemptFails);
  }
  publishError(tcp, tcb, errno);
  tcpDone(tcp, tcb);
}

/**
 * Gives everything back: port, rings, descriptor. The connection is closed and nobody holds it. A
 * listener whose requests may still migrate stays in its group until the last of them has gone
 * (minisocks.ts: requestLeave).
 */
export function destroy(tcp: Tcp, tcb: Tcb): void {
  assert(tcb.state === TCP_CLOSE && tcb.orphan, 'destroyed while open');
  tcp.net.timers.cancel(tcb);
  tcb.pending = 0;
  if (tcb.listen === null || tcb.listen.reqs === 0) reuseportDetachSock(tcb);
  if (tcb.parent !== null) tcb.parent.children--;
  inetPutPort(tcp.hashinfo, tcb);
  tcp.orphans--;
  tcp.socks[tcb.fd] = null;
  releaseRings(tcp, tcb);
}
