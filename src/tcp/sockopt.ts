/**
 * Socket options (Linux core/sock.c: sk_setsockopt, tcp.c: do_tcp_setsockopt and their getters;
 * ip_sockglue.c). Values are ints; SO_LINGER has a second one. What is not here is refused with
 * -ENOPROTOOPT, never ignored.
 */
import { EINVAL, ENOENT, ENOPROTOOPT } from '../net/errno.js';
import { RING_CAPACITY, RING_LIMIT } from '../net/ring.js';
import { BLOCK_ERROR, RING_MAX_BYTES } from '../net/sockmem.js';
import { reuseportUpdateIncomingCpu } from '../reuseport/group.js';
import { AF_INET } from '../reuseport/sock-common.js';
import { acceptQueueLength } from './accept-queue.js';
import { ackNow } from './ack-policy.js';
import { CUBIC } from './cong/cubic.js';
import { RENO } from './cong/reno.js';
import { advertisedMss } from './mss.js';
import { setReceiveSpace } from './rcv-window.js';
import { inFlight, resentBytes } from './recovery.js';
import { PENDING_OUTPUT } from './sock.js';
import { inStates, SYNCHRONIZED, states, TCP_CLOSE, TCP_LISTEN } from './state.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';
import { armTimer } from './timer-arm.js';
import { keepIdleUs, lastHeardUs } from './timers.js';

const SOL_SOCKET = 1;
const IPPROTO_IP = 0;
const IPPROTO_TCP = 6;

const SO_REUSEADDR = 2;
const SO_TYPE = 3;
const SO_ERROR = 4;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_KEEPALIVE = 9;
const SO_LINGER = 13;
const SO_REUSEPORT = 15;
const SO_ACCEPTCONN = 30;
const SO_PROTOCOL = 38;
const SO_DOMAIN = 39;
const SO_INCOMING_CPU = 49;

const IP_TOS = 1;
const IP_TTL = 2;

const TCP_NODELAY = 1;
const TCP_MAXSEG = 2;
const TCP_CORK = 3;
const TCP_KEEPIDLE = 4;
const TCP_KEEPINTVL = 5;
const TCP_KEEPCNT = 6;
const TCP_SYNCNT = 7;
const TCP_INFO = 11;
const TCP_QUICKACK = 12;
const TCP_CONGESTION = 13;

const SOCK_STREAM = 1;
/** Linux SOCK_MIN_RCVBUF, SOCK_MIN_SNDBUF. */
const MIN_RCVBUF_BYTES = 2304;
const MIN_SNDBUF_BYTES = 4608;
/** States in which TCP_MAXSEG reads back what was set. */
const UNCONNECTED = states(TCP_CLOSE, TCP_LISTEN);
const MAX_KEEP_SECONDS = 32_767;
const TCP_INFO_WORDS = 26;

/** 0 or -errno. */
export function tcpSetsockopt(
  tcp: Tcp,
  tcb: Tcb,
  level: number,
  name: number,
  value: number,
  value2: number,
): number {
  switch (level) {
    case SOL_SOCKET:
      return setSocketOption(tcp, tcb, name, value, value2);
    case IPPROTO_TCP:
      return setTcpOption(tcp, tcb, name, value);
    case IPPROTO_IP:
      return setIpOption(tcb, name, value);
  }
  return -ENOPROTOOPT;
}

function setSocketOption(tcp: Tcp, tcb: Tcb, name: number, value: number, value2: number): number {
  const { sysctl } = tcp.net;
  switch (name) {
    case SO_REUSEADDR:
      tcb.reuse = value !== 0;
      return 0;
    case SO_REUSEPORT:
      tcb.reuseport = value !== 0;
      return 0;
    case SO_KEEPALIVE:
      setKeepalive(tcp, tcb, value !== 0);
      return 0;
    case SO_LINGER:
      tcb.lingerOn = value !== 0;
      if (tcb.lingerOn) tcb.lingerSeconds = value2;
      return 0;
    case SO_SNDBUF:
      tcb.sndBufLocked = true;
      tcp.ctl[tcb.sndRing + RING_LIMIT] = bufferBytes(value, sysctl.wmemMax, MIN_SNDBUF_BYTES);
      return 0;
    case SO_RCVBUF:
      tcb.rcvBufLocked = true;
      setReceiveBuffer(tcp, tcb, bufferBytes(value, sysctl.rmemMax, MIN_RCVBUF_BYTES));
      return 0;
    case SO_INCOMING_CPU:
      reuseportUpdateIncomingCpu(tcb, value);
      return 0;
  }
  return -ENOPROTOOPT;
}

/** Linux doubles what is asked for, for its bookkeeping, within the limits. */
function bufferBytes(value: number, max: number, least: number): number {
  return Math.min(Math.max(Math.min(value >>> 0, max) * 2, least), RING_MAX_BYTES);
}

/**
 * Half of the buffer is window. A ring that cannot grow now keeps its size: then what it holds is
 * the limit.
 */
function setReceiveBuffer(tcp: Tcp, tcb: Tcb, bytes: number): void {
  if (tcb.listen !== null) tcb.rcvSpace = bytes >> 1;
  else if (!setReceiveSpace(tcp, tcb, bytes >> 1)) {
    tcb.rcvSpace = tcp.ctl[tcb.rcvRing + RING_CAPACITY]! >> 1;
  }
}

/** Linux tcp_set_keepalive; connect() arms what was set before it. */
function setKeepalive(tcp: Tcp, tcb: Tcb, on: boolean): void {
  const was = tcb.keepalive;
  tcb.keepalive = on;
  if (on === was) return;
  tcb.keepUs = on ? tcp.net.nowUs + keepIdleUs(tcp, tcb) : Infinity;
  if (!inStates(tcb.state, UNCONNECTED)) armTimer(tcp, tcb);
}

function setTcpOption(tcp: Tcp, tcb: Tcb, name: number, value: number): number {
  switch (name) {
    case TCP_NODELAY:
      tcb.nodelay = value !== 0;
      tcp.mark(tcb, PENDING_OUTPUT);
      return 0;
    case TCP_CORK:
      tcb.cork = value !== 0;
      tcp.mark(tcb, PENDING_OUTPUT);
      return 0;
    case TCP_MAXSEG:
      if (value !== 0 && (value < 88 || value > 32_767)) return -EINVAL;
      tcb.userMss = value;
      return 0;
    case TCP_KEEPIDLE:
      if (value < 1 || value > MAX_KEEP_SECONDS) return -EINVAL;
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
    case TCP_SYNCNT:
      if (value < 1 || value > 127) return -EINVAL;
      if (name === TCP_KEEPCNT) tcb.keepCount = value;
      else tcb.synRetries = value;
      return 0;
    case TCP_QUICKACK:
      setQuickack(tcp, tcb, value);
      return 0;
    case TCP_CONGESTION:
      return setCongestion(tcb, value);
  }
  return -ENOPROTOOPT;
}

/**
 * Linux __tcp_sock_set_quickack: also sends what is being held back; an even value only does that
 * once.
 */
function setQuickack(tcp: Tcp, tcb: Tcb, value: number): void {
  tcb.pingpong = (value & 1) === 0;
  if (value !== 0 && tcb.delackUs !== Infinity) ackNow(tcp, tcb);
}

/**
 * By number, as net.ipv4.tcp_congestion_control: 0 reno, 1 cubic; names are translated at the edge.
 */
function setCongestion(tcb: Tcb, value: number): number {
  if (value !== 0 && value !== 1) return -ENOENT;
  tcb.congestion = value === 0 ? RENO : CUBIC;
  tcb.congestionState = null;
  return 0;
}

function setIpOption(tcb: Tcb, name: number, value: number): number {
  switch (name) {
    case IP_TOS:
      // The ECN bits belong to TCP.
      tcb.tos = value & 0xfc;
      return 0;
    case IP_TTL:
      if (value !== -1 && (value < 1 || value > 255)) return -EINVAL;
      tcb.ttl = value === -1 ? tcb.tcp.net.sysctl.ipDefaultTtl : value;
      return 0;
  }
  return -ENOPROTOOPT;
}

/** Writes the option's words to `out`; their number or -errno. */
export function tcpGetsockopt(
  tcp: Tcp,
  tcb: Tcb,
  level: number,
  name: number,
  out: Int32Array,
): number {
  if (level === IPPROTO_TCP && name === TCP_INFO) return tcpInfo(tcp, tcb, out);
  if (level === SOL_SOCKET && name === SO_LINGER) {
    out[0] = tcb.lingerOn ? 1 : 0;
    out[1] = tcb.lingerSeconds;
    return 2;
  }
  const value =
    level === SOL_SOCKET ? socketOption(tcp, tcb, name) : protocolOption(tcp, tcb, level, name);
  if (value === null) return -ENOPROTOOPT;
  out[0] = value;
  return 1;
}

function socketOption(tcp: Tcp, tcb: Tcb, name: number): number | null {
  switch (name) {
    case SO_REUSEADDR:
      return tcb.reuse ? 1 : 0;
    case SO_REUSEPORT:
      return tcb.reuseport ? 1 : 0;
    case SO_KEEPALIVE:
      return tcb.keepalive ? 1 : 0;
    case SO_TYPE:
      return SOCK_STREAM;
    case SO_PROTOCOL:
      return IPPROTO_TCP;
    case SO_DOMAIN:
      return AF_INET;
    case SO_ACCEPTCONN:
      return tcb.state === TCP_LISTEN ? 1 : 0;
    case SO_INCOMING_CPU:
      return tcb.incomingCpu;
    case SO_RCVBUF:
      return tcb.rcvSpace * 2;
    case SO_SNDBUF: {
      const limit = tcp.ctl[tcb.sndRing + RING_LIMIT]!;
      return limit === 0 ? tcp.net.sysctl.tcpWmemDefault : limit;
    }
    case SO_ERROR:
      return takeError(tcp, tcb);
  }
  return null;
}

function takeError(tcp: Tcp, tcb: Tcb): number {
  const error = Atomics.exchange(tcp.ctl, tcb.at + BLOCK_ERROR, 0);
  if (error !== 0) return error;
  const soft = tcb.softError;
  tcb.softError = 0;
  return soft;
}

function protocolOption(tcp: Tcp, tcb: Tcb, level: number, name: number): number | null {
  if (level === IPPROTO_IP) return name === IP_TOS ? tcb.tos : name === IP_TTL ? tcb.ttl : null;
  if (level !== IPPROTO_TCP) return null;
  const { sysctl } = tcp.net;
  switch (name) {
    case TCP_NODELAY:
      return tcb.nodelay ? 1 : 0;
    case TCP_CORK:
      return tcb.cork ? 1 : 0;
    case TCP_MAXSEG:
      return tcb.userMss > 0 && inStates(tcb.state, UNCONNECTED) ? tcb.userMss : tcb.sndMss;
    case TCP_KEEPIDLE:
      return keepIdleUs(tcp, tcb) / 1_000_000;
    case TCP_KEEPINTVL:
      return tcb.keepIntvlUs > 0 ? tcb.keepIntvlUs / 1_000_000 : sysctl.tcpKeepaliveIntvl;
    case TCP_KEEPCNT:
      return tcb.keepCount > 0 ? tcb.keepCount : sysctl.tcpKeepaliveProbes;
    case TCP_SYNCNT:
      return tcb.synRetries > 0 ? tcb.synRetries : sysctl.tcpSynRetries;
    case TCP_QUICKACK:
      return tcb.pingpong ? 0 : 1;
    case TCP_CONGESTION:
      return tcb.congestion === RENO ? 0 : 1;
  }
  return null;
}

/**
 * struct tcp_info, its first 104 bytes as words (Linux tcp.c: tcp_get_info); a listener shows its
 * queue in two.
 */
function tcpInfo(tcp: Tcp, tcb: Tcb, out: Int32Array): number {
  if (out.length < TCP_INFO_WORDS) return -EINVAL;
  const { nowUs } = tcp.net;
  out.fill(0, 0, TCP_INFO_WORDS);
  out[0] = tcb.state | (tcb.caState << 8) | (tcb.retransmits << 16) | (tcb.probesOut << 24);
  if (tcb.state === TCP_LISTEN) {
    out[6] = acceptQueueLength(tcp, tcb);
    out[7] = tcb.listen!.backlog;
    return TCP_INFO_WORDS;
  }
  const options = (tcb.tsOk ? 1 : 0) | (tcb.sackOk ? 2 : 0) | (tcb.wscaleOk ? 4 : 0);
  const scales = tcb.sndWscale | (tcb.rcvWscale << 4);
  out[1] = tcb.backoff | (options << 8) | (scales << 16);
  out[2] = tcb.rtoUs;
  out[3] = tcb.atoUs;
  out[4] = tcb.sndMss;
  out[5] = tcb.rcvMss;
  out[6] = Math.ceil(((tcb.sndNxt - tcb.sndUna) | 0) / tcb.sndMss);
  out[7] = tcb.sacked === null ? tcb.dupAcks : Math.ceil(tcb.sacked.bytes / tcb.sndMss);
  out[8] = Math.max(0, out[6] - out[7] - Math.ceil(inFlight(tcb) / tcb.sndMss));
  out[9] = Math.ceil(resentBytes(tcb) / tcb.sndMss);
  out[11] = (nowUs - tcb.lastSentUs) / 1000;
  out[13] = (nowUs - tcb.lastReceivedUs) / 1000;
  out[14] = (nowUs - tcb.lastAckedUs) / 1000;
  out[15] = tcb.pmtu > 0 ? tcb.pmtu : tcp.net.device.mtu;
  out[16] = tcb.rcvSpace;
  out[17] = tcb.srttUs;
  out[18] = tcb.mdevUs / 4;
  out[19] = tcb.ssthresh === Infinity ? 0x7fffffff : tcb.ssthresh / tcb.sndMss;
  out[20] = tcb.cwnd / tcb.sndMss;
  out[21] = advertisedMss(tcp, tcb);
  out[22] = 3;
  out[24] = tcb.rcvSpace;
  out[25] = tcb.totalRetrans;
  return TCP_INFO_WORDS;
}
