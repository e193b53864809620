/**
 * The two small sockets (Linux tcp_minisocks.c, request_sock.h, inet_timewait_sock.h): a request
 * socket is a half-open connection in its listener's SYN queue, a time-wait socket what is left of
 * a closed one. Both sit in ehash beside full sockets. What they do with a segment is in
 * input/request.ts and input/time-wait.ts; how a request changes its listener is migrate.ts.
 */
import { assert } from '../net/assert.js';
import { Mib } from '../net/mib.js';
import { inetInheritPort, inetPutPort } from '../reuseport/bhash.js';
import { inetEhashInsert, inetEhashRemove } from '../reuseport/ehash.js';
import { reuseportDetachSock } from '../reuseport/group.js';
import { SK_REQUEST, SK_TIMEWAIT } from '../reuseport/sock-common.js';
import { drainProgress } from './drain.js';
import { TcpSock } from './sock.js';
import { TCP_CLOSE, TCP_NEW_SYN_RECV, TCP_TIME_WAIT } from './state.js';
import { RTO_INITIAL_US, RTO_MAX_US, type Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** RFC 9293 MUST-13: 2 MSL, 60 s as in Linux. */
export const TIME_WAIT_US = 60_000_000;
/** As often doubled RTO_INITIAL_US is above RTO_MAX_US, and no int32 is left by a shift. */
const DOUBLINGS_MOST = 7;

/**
 * A half-open connection (SYN received, SYN-ACK sent) of a passive open: a full socket in
 * SYN-RECEIVED has opened actively (RFC 9293 MUST-11), or is about to leave that state.
 */
export class RequestSock extends TcpSock {
  /** Changes when it migrates. */
  listener: Tcb;
  irs = 0;
  iss = 0;
  /** Options of the SYN. */
  mss = 0;
  peerWscale = -1;
  sackOk = false;
  ecnOk = false;
  /** Fast Open option of the first SYN-ACK, null = none. */
  fastopenCookie: Uint8Array | null = null;
  fastopenExp = false;
  /** TCP_SAVE_SYN: IP and TCP header of the SYN. */
  savedSyn: Uint8Array | null = null;
  tsOk = false;
  tsRecent = 0;
  tsOffset = 0;
  /** Window of the SYN (unscaled), and what we offer in the SYN-ACK. */
  sndWnd = 0;
  rcvWnd = 0;
  rcvWscale = 0;
  /** TOS of the segment that is to be answered. */
  tos = 0;
  /** SYN-ACKs repeated by the timer. */
  timeouts = 0;
  /** SYN-ACKs repeated for any reason. */
  retransmits = 0;
  /** A third ACK has come, but could not be used (Linux: ireq->acked). */
  acked = false;
  /** When the first SYN-ACK left (RTT sample of the third ACK), and the last. */
  firstSentUs = 0;
  lastSentUs = 0;
  lastOowUs: number = -Infinity;
  /** The choice: hash, index in the group (-1 = none), members. */
  phash = 0;
  slot = -1;
  members = 0;

  constructor(tcp: Tcp, listener: Tcb) {
    super(tcp, SK_REQUEST);
    this.listener = listener;
    this.state = TCP_NEW_SYN_RECV;
  }

  override onTimer(nowUs: number): void {
    this.tcp.wiring.requestTimer(this, nowUs);
  }
}

/** A request of `listener`'s, in an object that is spare or a new one. */
export function newRequest(tcp: Tcp, listener: Tcb): RequestSock {
  const req = tcp.spareRequests.take();
  if (req === undefined) return new RequestSock(tcp, listener);
  tcp.spareRequests.renew(req, () => new RequestSock(tcp, listener));
  req.listener = listener;
  return req;
}

/**
 * Puts `req` into ehash and its listener's SYN queue. False: the 4-tuple is taken (a duplicate SYN
 * raced).
 */
export function requestAdd(tcp: Tcp, req: RequestSock): boolean {
  if (!inetEhashInsert(tcp.hashinfo, req, null)) return false;
  const queue = req.listener.listen!;
  queue.reqs++;
  queue.young++;
  return true;
}

/**
 * Takes `req` out of its listener's SYN queue; the child has taken its place in ehash, or
 * `requestDrop` removes it.
 */
export function requestUnlink(tcp: Tcp, req: RequestSock): void {
  tcp.net.timers.cancel(req);
  req.pending = 0;
  requestLeave(req);
  tcp.spareRequests.retire(req);
}

/**
 * `req` is not counted at its listener any more. The last one that leaves a listener which is gone
 * takes it out of its reuseport group, where it stood for requests to find the others (Linux: they
 * hold references, and sk_destruct ends with reuseport_detach_sock).
 */
export function requestLeave(req: RequestSock): void {
  const { listener } = req;
  const queue = listener.listen!;
  queue.reqs--;
  if (req.timeouts === 0) queue.young--;
  if (queue.reqs === 0 && listener.orphan && listener.state === TCP_CLOSE) {
    reuseportDetachSock(listener);
  }
}

/** How long the SYN-ACK timer runs now, µs: no knob bounds it (Linux: tcp_reqsk_timeout). */
export function requestTimeoutUs(req: RequestSock): number {
  return Math.min(RTO_INITIAL_US << Math.min(req.timeouts, DOUBLINGS_MOST), RTO_MAX_US);
}

/** Forgets a half-open connection; nothing goes on the wire. */
export function requestDrop(tcp: Tcp, req: RequestSock): void {
  inetEhashRemove(tcp.hashinfo, req);
  requestUnlink(tcp, req);
  drainProgress(tcp, req.listener);
}

/** What is left of a closed connection: TIME-WAIT, or an orphan's FIN-WAIT-2. */
export class TimewaitSock extends TcpSock {
  /** TCP_TIME_WAIT or TCP_FIN_WAIT2; `state` is TCP_TIME_WAIT for the tables. */
  substate: number = TCP_TIME_WAIT;
  rcvNxt = 0;
  sndNxt = 0;
  rcvWnd = 0;
  rcvWscale = 0;
  tsOk = false;
  tsRecent = 0;
  tsRecentUs = 0;
  /** When it came here (Linux: tw_entry_stamp), or in FIN-WAIT-2 to its TIME-WAIT, µs. */
  enteredUs = 0;
  tsOffset = 0;
  tos = 0;
  ttl = 64;
  /**
   * IP identification of the ACK that the full socket has left to us; -1 when it is sent. Our own
   * go with 0.
   */
  ipId = -1;
  lastOowUs: number = -Infinity;

  constructor(tcp: Tcp) {
    super(tcp, SK_TIMEWAIT);
    this.state = TCP_TIME_WAIT;
  }

  override onTimer(): void {
    this.tcp.wiring.timewaitTimer(this);
  }
}

/**
 * Puts a time-wait socket in the place of `tcb` (Linux: tcp_time_wait). When there are too many of
 * them already the connection just ends: what is returned is in no table and can send a last ACK.
 * The caller finishes `tcb` itself.
 */
export function timewaitReplace(
  tcp: Tcp,
  tcb: Tcb,
  substate: number,
  timeoutUs: number,
): TimewaitSock {
  const tw = timewaitOf(tcp, tcb, substate);
  if (tcp.queues?.leaveTimewait(tcb, substate, timeoutUs) === true) return tw;
  if (tcp.timewaits >= tcp.net.sysctl.tcpMaxTwBuckets) {
    tcp.net.count(Mib.TCPTimeWaitOverflow);
    return tw;
  }
  const replaced = inetEhashInsert(tcp.hashinfo, tw, tcb);
  assert(replaced, 'time-wait: the connection is not in ehash');
  // Beside the socket, which has the port until it closes, or for longer if bind() asked for it.
  inetInheritPort(tcp.hashinfo, tcb, tw);
  tcp.timewaits++;
  tcp.net.timers.arm(tw, tcp.net.nowUs + timeoutUs);
  return tw;
}

function newTimewait(tcp: Tcp): TimewaitSock {
  const tw = tcp.spareTimewaits.take();
  if (tw === undefined) return new TimewaitSock(tcp);
  tcp.spareTimewaits.renew(tw, () => new TimewaitSock(tcp));
  return tw;
}

function timewaitOf(tcp: Tcp, tcb: Tcb, substate: number): TimewaitSock {
  const tw = newTimewait(tcp);
  tw.substate = substate;
  tw.daddr = tcb.daddr;
  tw.dport = tcb.dport;
  tw.rcvSaddr = tcb.rcvSaddr;
  tw.num = tcb.num;
  tw.boundDevIf = tcb.boundDevIf;
  tw.reuse = tcb.reuse;
  tw.reuseport = tcb.reuseport;
  tw.uid = tcb.uid;
  tw.connectBind = tcb.connectBind;
  tw.rcvNxt = tcb.rcvNxt;
  tw.sndNxt = tcb.sndNxt;
  tw.rcvWnd = Math.max(0, (tcb.rcvWup + tcb.rcvWnd - tcb.rcvNxt) | 0);
  tw.rcvWscale = tcb.rcvWscale;
  tw.tsOk = tcb.tsOk;
  tw.tsRecent = tcb.tsRecent;
  tw.tsRecentUs = tcb.tsRecentUs;
  tw.enteredUs = tcp.net.nowUs;
  tw.tsOffset = tcb.tsOffset;
  tw.tos = tcb.tos;
  tw.ttl = tcb.ttl;
  return tw;
}

/** The end of a time-wait socket. */
export function timewaitKill(tcp: Tcp, tw: TimewaitSock): void {
  tcp.net.timers.cancel(tw);
  tw.pending = 0;
  inetEhashRemove(tcp.hashinfo, tw);
  inetPutPort(tcp.hashinfo, tw);
  tcp.timewaits--;
  tcp.spareTimewaits.retire(tw);
}
