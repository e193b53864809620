/**
 * Options of SOL_SOCKET (Linux core/sock.c: sk_setsockopt, sk_getsockopt). What is not here is
 * refused with -ENOPROTOOPT, never ignored. SO_MARK and SO_PRIORITY are kept and read back; there
 * is no routing rule or queue that looks at them.
 */
import { EACCES, EDOM, ENOPROTOOPT, EPERM } from '../../net/errno.js';
import { IPPROTO_TCP } from '../../net/layout.js';
import {
  BLOCK_ERROR,
  BLOCK_LINGER,
  BLOCK_OPTIONS,
  BLOCK_RCVTIMEO,
  BLOCK_SNDTIMEO,
  FILE_OOBINLINE,
} from '../../net/sockmem.js';
import { reuseportDetachSelector, reuseportUpdateIncomingCpu } from '../../reuseport/group.js';
import { AF_INET } from '../../reuseport/sock-common.js';
import { getDrain, setDrain } from '../drain.js';
import { selectorState } from '../selector-option.js';
import { inStates, states, TCP_CLOSE, TCP_LISTEN } from '../state.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { armTimer } from '../timer-arm.js';
import { keepIdleUs } from '../timers.js';
import {
  bufLock,
  forceBuffer,
  setBufLock,
  setRcvbuf,
  setRcvlowat,
  setSndbuf,
  sndbuf,
} from './buffers.js';
import { getRareSocketOption, setRareSocketOption } from './socket-rare.js';

const SO_DEBUG = 1;
const SO_REUSEADDR = 2;
const SO_TYPE = 3;
const SO_ERROR = 4;
const SO_BROADCAST = 6;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_KEEPALIVE = 9;
const SO_OOBINLINE = 10;
const SO_PRIORITY = 12;
const SO_LINGER = 13;
const SO_REUSEPORT = 15;
const SO_RCVLOWAT = 18;
const SO_SNDLOWAT = 19;
const SO_RCVTIMEO = 20;
const SO_SNDTIMEO = 21;
const SO_ACCEPTCONN = 30;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const SO_MARK = 36;
const SO_PROTOCOL = 38;
const SO_DOMAIN = 39;
const SO_INCOMING_CPU = 49;
const SO_INCOMING_NAPI_ID = 56;
const SO_COOKIE = 57;
const SO_RCVTIMEO_NEW = 66;
const SO_SNDTIMEO_NEW = 67;
const SO_DETACH_REUSEPORT_BPF = 68;
const SO_BUF_LOCK = 72;
const SO_ATTACH_REUSEPORT_SELECTOR = 0x7401;
const SO_DRAIN = 0x7402;

const SOCK_STREAM = 1;
const UNCONNECTED = states(TCP_CLOSE, TCP_LISTEN);
const INT_MAX = 0x7fffffff;
/** A tick of a kernel with HZ=250: time-outs are rounded up to it. */
const TICK_US = 4000;
/** Priorities above it are for the privileged (TC_PRIO_INTERACTIVE). */
const PRIORITY_MOST = 6;

/** 0 or -errno. */
export function setSocketOption(
  tcp: Tcp,
  tcb: Tcb,
  name: number,
  value: number,
  value2: number,
): number {
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
      setLinger(tcp, tcb, value !== 0, value2);
      return 0;
    case SO_SNDBUF:
      return setSndbuf(tcp, tcb, value);
    case SO_RCVBUF:
      return setRcvbuf(tcp, tcb, value);
    case SO_SNDBUFFORCE:
      return forceBuffer(tcp, tcb, value, true);
    case SO_RCVBUFFORCE:
      return forceBuffer(tcp, tcb, value, false);
    case SO_BUF_LOCK:
      return setBufLock(tcb, value);
    case SO_RCVLOWAT:
      return setRcvlowat(tcp, tcb, value);
    case SO_RCVTIMEO:
    case SO_RCVTIMEO_NEW:
      return setWaitLimit(tcp, tcb.at + BLOCK_RCVTIMEO, value, value2);
    case SO_SNDTIMEO:
    case SO_SNDTIMEO_NEW:
      return setWaitLimit(tcp, tcb.at + BLOCK_SNDTIMEO, value, value2);
    case SO_INCOMING_CPU:
      reuseportUpdateIncomingCpu(tcb, value);
      return 0;
    case SO_DETACH_REUSEPORT_BPF:
      if (!tcp.hashinfo.profile.detachesSelector) return -ENOPROTOOPT;
      return reuseportDetachSelector(tcb);
    case SO_DRAIN:
      return setDrain(tcp, tcb, value !== 0);
  }
  return setPlainOption(tcp, tcb, name, value, value2);
}

/** Options that are only kept. */
function setPlainOption(tcp: Tcp, tcb: Tcb, name: number, value: number, value2: number): number {
  const privileged = tcb.uid === 0;
  switch (name) {
    case SO_DEBUG:
      if (value !== 0 && !privileged) return -EACCES;
      tcb.debug = value !== 0;
      return 0;
    case SO_BROADCAST:
      tcb.broadcast = value !== 0;
      return 0;
    case SO_OOBINLINE:
      setBlockOption(tcp, tcb, FILE_OOBINLINE, value !== 0);
      return 0;
    case SO_PRIORITY:
      if ((value < 0 || value > PRIORITY_MOST) && !privileged) return -EPERM;
      tcb.priority = value;
      return 0;
    case SO_MARK:
      if (!privileged) return -EPERM;
      tcb.packetMark = value;
      return 0;
  }
  return setRareSocketOption(tcp, tcb, name, value, value2);
}

/** Sets or clears a bit of BLOCK_OPTIONS. */
export function setBlockOption(tcp: Tcp, tcb: Tcb, bit: number, on: boolean): void {
  if (on) Atomics.or(tcp.ctl, tcb.at + BLOCK_OPTIONS, bit);
  else Atomics.and(tcp.ctl, tcb.at + BLOCK_OPTIONS, ~bit);
}

/** Linux tcp_set_keepalive (RFC 9293 MUST-24); connect() arms what was set before it. */
function setKeepalive(tcp: Tcp, tcb: Tcb, on: boolean): void {
  const was = tcb.keepalive;
  tcb.keepalive = on;
  if (on === was) return;
  tcb.keepUs = on ? tcp.net.nowUs + keepIdleUs(tcp, tcb) : Infinity;
  tcp.parking.stir();
  if (!inStates(tcb.state, UNCONNECTED)) armTimer(tcp, tcb);
}

/** Off keeps the time. It is unsigned: close() may wait for very long. */
function setLinger(tcp: Tcp, tcb: Tcb, on: boolean, seconds: number): void {
  tcb.lingerOn = on;
  if (on) tcb.lingerSeconds = seconds >>> 0;
  const waits = on ? Math.min(tcb.lingerSeconds, INT_MAX) : 0;
  Atomics.store(tcp.ctl, tcb.at + BLOCK_LINGER, waits);
}

/** Linux sock_set_timeout: nothing = for ever; a negative time = a call never waits. */
function setWaitLimit(tcp: Tcp, word: number, seconds: number, microseconds: number): number {
  if (microseconds < 0 || microseconds >= 1_000_000) return -EDOM;
  let ms = -1;
  if (seconds >= 0) {
    const ticks = Math.ceil(microseconds / TICK_US);
    ms = Math.min(seconds * 1000 + (ticks * TICK_US) / 1000, INT_MAX);
  }
  Atomics.store(tcp.ctl, word, ms);
  return 0;
}

/** Writes the option's words to `out`; their number or -errno. */
export function getSocketOption(tcp: Tcp, tcb: Tcb, name: number, out: Int32Array): number {
  switch (name) {
    case SO_LINGER:
      return two(out, tcb.lingerOn ? 1 : 0, tcb.lingerSeconds | 0);
    case SO_RCVTIMEO:
    case SO_RCVTIMEO_NEW:
      return timeout(tcp, tcb.at + BLOCK_RCVTIMEO, out);
    case SO_SNDTIMEO:
    case SO_SNDTIMEO_NEW:
      return timeout(tcp, tcb.at + BLOCK_SNDTIMEO, out);
    case SO_COOKIE:
      if (tcb.cookie === 0) tcb.cookie = ++tcp.cookies;
      return two(out, tcb.cookie | 0, Math.floor(tcb.cookie / 2 ** 32));
    case SO_DRAIN: {
      // Whether it drains, and how many half-open connections are left.
      const draining = getDrain(tcb);
      return draining < 0 ? draining : two(out, draining, tcb.listen!.reqs);
    }
  }
  const value = socketFact(tcp, tcb, name) ?? plainOption(tcp, tcb, name);
  if (value === null) return getRareSocketOption(tcp, tcb, name, out);
  out[0] = value;
  return 1;
}

function two(out: Int32Array, first: number, second: number): number {
  out[0] = first;
  out[1] = second;
  return 2;
}

function timeout(tcp: Tcp, word: number, out: Int32Array): number {
  const ms = Math.max(0, tcp.ctl[word]!);
  return two(out, Math.floor(ms / 1000), (ms % 1000) * 1000);
}

function socketFact(tcp: Tcp, tcb: Tcb, name: number): number | null {
  switch (name) {
    case SO_TYPE:
      return SOCK_STREAM;
    case SO_PROTOCOL:
      return IPPROTO_TCP;
    case SO_DOMAIN:
      return AF_INET;
    case SO_ACCEPTCONN:
      return tcb.state === TCP_LISTEN ? 1 : 0;
    case SO_ERROR:
      return takeError(tcp, tcb);
    case SO_SNDLOWAT:
      return 1;
    case SO_INCOMING_CPU:
      return tcb.incomingCpu;
    case SO_INCOMING_NAPI_ID:
      // No packet came by a NAPI instance.
      return 0;
    case SO_ATTACH_REUSEPORT_SELECTOR:
      return selectorState(tcb);
  }
  return null;
}

function plainOption(tcp: Tcp, tcb: Tcb, name: number): number | null {
  switch (name) {
    case SO_DEBUG:
      return tcb.debug ? 1 : 0;
    case SO_REUSEADDR:
      return tcb.reuse ? 1 : 0;
    case SO_REUSEPORT:
      return tcb.reuseport ? 1 : 0;
    case SO_BROADCAST:
      return tcb.broadcast ? 1 : 0;
    case SO_KEEPALIVE:
      return tcb.keepalive ? 1 : 0;
    case SO_OOBINLINE:
      return (tcp.ctl[tcb.at + BLOCK_OPTIONS]! & FILE_OOBINLINE) !== 0 ? 1 : 0;
    case SO_PRIORITY:
      return tcb.priority;
    case SO_MARK:
      return tcb.packetMark;
    case SO_RCVLOWAT:
      return tcb.rcvLowat;
    case SO_RCVBUF:
      return tcb.rcvSpace * 2;
    case SO_SNDBUF:
      return sndbuf(tcp, tcb);
    case SO_BUF_LOCK:
      return bufLock(tcb);
  }
  return null;
}

/** SO_ERROR: what ended the connection, else the last soft error (RFC 9293 MUST-47, SHLD-20). */
function takeError(tcp: Tcp, tcb: Tcb): number {
  const error = Atomics.exchange(tcp.ctl, tcb.at + BLOCK_ERROR, 0);
  if (error !== 0) return error;
  const soft = tcb.softError;
  tcb.softError = 0;
  return soft;
}
