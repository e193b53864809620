/**
 * Options of IPPROTO_TCP (Linux tcp.c: do_tcp_setsockopt, do_tcp_getsockopt). Those of Fast Open
 * are fastopen-option.ts, TCP_INFO is tcp-info.ts, texts are sockopt-text.ts.
 */
import { EPOLLOUT } from '../../net/epoll-bits.js';
import { EINVAL, ENOENT, ENOPROTOOPT } from '../../net/errno.js';
import { ringUsed } from '../../net/ring.js';
import { BLOCK_OPTIONS, FILE_INQ } from '../../net/sockmem.js';
import { ackNow } from '../ack-policy.js';
import { CUBIC } from '../cong/cubic.js';
import { RENO } from '../cong/reno.js';
import { getFastopenOption, setFastopenOption } from '../fastopen-option.js';
import { currentMss } from '../mss.js';
import { publishNotsent } from '../publish.js';
import { windowUpdateDue } from '../rcv-window.js';
import { PENDING_OUTPUT } from '../sock.js';
import { CAN_SEND, inStates, SYNCHRONIZED, states, TCP_CLOSE, TCP_LISTEN } from '../state.js';
import { RTO_INITIAL_US, RTO_MAX_US, type Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { armTimer } from '../timer-arm.js';
import { keepIdleUs, lastHeardUs } from '../timers.js';
import { setWindowClamp, windowClamp } from './buffers.js';
import { setBlockOption } from './socket-level.js';
import { tcpInfo } from './tcp-info.js';
import { getRareTcpOption, setRareTcpOption } from './tcp-rare.js';

const TCP_NODELAY = 1;
const TCP_MAXSEG = 2;
const TCP_CORK = 3;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_SYNCNT = 7;
const TCP_LINGER2 = 8;
const TCP_DEFER_ACCEPT = 9;
const TCP_WINDOW_CLAMP = 10;
const TCP_INFO = 11;
const TCP_QUICKACK = 12;
const TCP_CONGESTION = 13;
const TCP_USER_TIMEOUT = 18;
const TCP_NOTSENT_LOWAT = 25;
const TCP_INQ = 36;

/** States in which TCP_MAXSEG reads back what was set. */
const UNCONNECTED = states(TCP_CLOSE, TCP_LISTEN);
const MAX_KEEP_SECONDS = 32_767;
/** Longest TCP_LINGER2 (TCP_FIN_TIMEOUT_MAX). */
const LINGER2_MOST_SECONDS = 120;

/** 0 or -errno. */
export function setTcpOption(tcp: Tcp, tcb: Tcb, name: number, value: number): number {
  switch (name) {
    case TCP_NODELAY:
      // RFC 9293 MUST-17. Once, what is queued goes even if the socket is corked.
      tcb.nodelay = value !== 0;
      if (tcb.nodelay) push(tcp, tcb);
      return 0;
    case TCP_CORK:
      setCork(tcp, tcb, value !== 0);
      return 0;
    case TCP_MAXSEG:
      if (value !== 0 && (value < 88 || value > 32_767)) return -EINVAL;
      tcb.userMss = value;
      return 0;
    case TCP_SYNCNT:
      if (value < 1 || value > 127) return -EINVAL;
      tcb.synRetries = value;
      return 0;
    case TCP_LINGER2:
      tcb.linger2 = value < 0 ? -1 : Math.min(value, LINGER2_MOST_SECONDS);
      return 0;
    case TCP_DEFER_ACCEPT:
      tcb.deferAccept = retransOfSeconds(value);
      return 0;
    case TCP_WINDOW_CLAMP:
      return setWindowClamp(tcb, value);
    case TCP_QUICKACK:
      setQuickack(tcp, tcb, value);
      return 0;
    case TCP_CONGESTION:
      return setCongestion(tcb, value);
    case TCP_USER_TIMEOUT:
      if (value < 0) return -EINVAL;
      tcb.userTimeoutMs = value;
      return 0;
    case TCP_NOTSENT_LOWAT:
      tcb.notsentLowat = value;
      publishNotsent(tcp, tcb);
      if (!inStates(tcb.state, UNCONNECTED)) tcp.events.ready(tcb.fd, EPOLLOUT);
      return 0;
    case TCP_INQ:
      if (value < 0 || value > 1) return -EINVAL;
      setBlockOption(tcp, tcb, FILE_INQ, value !== 0);
      return 0;
  }
  const status = setKeepOption(tcp, tcb, name, value);
  if (status !== -ENOPROTOOPT) return status;
  const fastopen = setFastopenOption(tcp, tcb, name, value);
  return fastopen === -ENOPROTOOPT ? setRareTcpOption(tcb, name, value) : fastopen;
}

/** Linux __tcp_sock_set_cork. */
function setCork(tcp: Tcp, tcb: Tcb, on: boolean): void {
  tcb.cork = on;
  if (on) return;
  if (tcb.nodelay) tcb.pushNow = true;
  tcp.mark(tcb, PENDING_OUTPUT);
}

/** What is queued leaves now, as far as windows allow; what is written later is none of it. */
function push(tcp: Tcp, tcb: Tcb): void {
  tcb.pushNow = true;
  tcp.mark(tcb, PENDING_OUTPUT);
}

function setKeepOption(tcp: Tcp, tcb: Tcb, name: number, value: number): number {
  switch (name) {
    case TCP_KEEPIDLE:
      if (value < 1 || value > MAX_KEEP_SECONDS) return -EINVAL;
      // RFC 9293 MUST-27.
      tcb.keepIdleUs = value * 1_000_000;
      if (tcb.keepalive && inStates(tcb.state, SYNCHRONIZED)) {
        tcb.keepUs = Math.max(lastHeardUs(tcb) + tcb.keepIdleUs, tcp.net.nowUs);
        armTimer(tcp, tcb);
      }
      return 0;
    case TCP_KEEPINTVL:
      if (value < 1 || value > MAX_KEEP_SECONDS) return -EINVAL;
      tcb.keepIntvlUs = value * 1_000_000;
      return 0;
    case TCP_KEEPCNT:
      if (value < 1 || value > 127) return -EINVAL;
      tcb.keepCount = value;
      return 0;
  }
  return -ENOPROTOOPT;
}

/**
 * SYN-ACK time-outs that take `seconds`, at most 255 (Linux: secs_to_retrans). They double, so the
 * time is rounded up to 1, 3, 7, … 127, 247, … seconds.
 */
function retransOfSeconds(seconds: number): number {
  let retrans = 0;
  for (let period = 0; seconds > period && retrans < 255; retrans++) {
    period += synAckPeriodSeconds(retrans);
  }
  return retrans;
}

/** What `retrans` SYN-ACK time-outs take, seconds (Linux: retrans_to_secs). */
function secondsOfRetrans(retrans: number): number {
  let seconds = 0;
  for (let i = 0; i < retrans; i++) seconds += synAckPeriodSeconds(i);
  return seconds;
}

/** Length of the i-th SYN-ACK time-out from 0, seconds. */
function synAckPeriodSeconds(i: number): number {
  return Math.min(RTO_INITIAL_US * 2 ** i, RTO_MAX_US) / 1_000_000;
}

/**
 * Linux __tcp_sock_set_quickack: also sends what is being held back, if the application has read
 * everything, as reading would (tcp_cleanup_rbuf); an even value only does that once.
 */
function setQuickack(tcp: Tcp, tcb: Tcb, value: number): void {
  tcb.pingpong = value === 0;
  if (value === 0 || tcb.delackUs === Infinity || !inStates(tcb.state, CAN_SEND)) return;
  if (ringUsed(tcp.ctl, tcb.rcvRing) === 0 || windowUpdateDue(tcp, tcb)) ackNow(tcp, tcb);
  tcb.pingpong = (value & 1) === 0;
}

/**
 * By number, as net.ipv4.tcp_congestion_control: 0 reno, 1 cubic; by name it is sockopt-text.ts.
 */
export function setCongestion(tcb: Tcb, value: number): number {
  if (value !== 0 && value !== 1) return -ENOENT;
  const congestion = value === 0 ? RENO : CUBIC;
  if (congestion === tcb.congestion) return 0;
  tcb.congestion = congestion;
  tcb.congestionState = null;
  // What the other one has reduced is not taken back.
  if (tcb.sender !== null) tcb.sender.priorSsthresh = 0;
  return 0;
}

/** Writes the option's words to `out`; their number or -errno. */
export function getTcpOption(tcp: Tcp, tcb: Tcb, name: number, out: Int32Array): number {
  if (name === TCP_INFO) return tcpInfo(tcp, tcb, out);
  const value = tcpOption(tcp, tcb, name) ?? keepOption(tcp, tcb, name);
  if (value === null) return getRareTcpOption(tcp, tcb, name, out);
  out[0] = value;
  return 1;
}

function tcpOption(tcp: Tcp, tcb: Tcb, name: number): number | null {
  const { sysctl } = tcp.net;
  switch (name) {
    case TCP_NODELAY:
      return tcb.nodelay ? 1 : 0;
    case TCP_CORK:
      return tcb.cork ? 1 : 0;
    case TCP_MAXSEG:
      return tcb.userMss > 0 && inStates(tcb.state, UNCONNECTED) ? tcb.userMss : currentMss(tcb);
    case TCP_SYNCNT:
      return tcb.synRetries > 0 ? tcb.synRetries : sysctl.tcpSynRetries;
    case TCP_LINGER2:
      return tcb.linger2 === 0 ? sysctl.tcpFinTimeout : tcb.linger2;
    case TCP_DEFER_ACCEPT:
      return secondsOfRetrans(tcb.deferAccept);
    case TCP_WINDOW_CLAMP:
      return windowClamp(tcb);
    case TCP_QUICKACK:
      return tcb.pingpong ? 0 : 1;
    case TCP_CONGESTION:
      return tcb.congestion === RENO ? 0 : 1;
    case TCP_USER_TIMEOUT:
      return tcb.userTimeoutMs;
    case TCP_NOTSENT_LOWAT:
      return tcb.notsentLowat;
    case TCP_INQ:
      return (tcp.ctl[tcb.at + BLOCK_OPTIONS]! & FILE_INQ) !== 0 ? 1 : 0;
  }
  return getFastopenOption(tcb, name);
}

function keepOption(tcp: Tcp, tcb: Tcb, name: number): number | null {
  const { sysctl } = tcp.net;
  switch (name) {
    case TCP_KEEPIDLE:
      return keepIdleUs(tcp, tcb) / 1_000_000;
    case TCP_KEEPINTVL:
      return tcb.keepIntvlUs > 0 ? tcb.keepIntvlUs / 1_000_000 : sysctl.tcpKeepaliveIntvl;
    case TCP_KEEPCNT:
      return tcb.keepCount > 0 ? tcb.keepCount : sysctl.tcpKeepaliveProbes;
  }
  return null;
}
