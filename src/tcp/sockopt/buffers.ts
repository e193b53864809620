/**
 * The sizes that an application may set (Linux core/sock.c: __sock_set_rcvbuf, SO_SNDBUF,
 * SO_BUF_LOCK; tcp.c: tcp_set_rcvlowat, tcp_set_window_clamp). How buffers grow by themselves is
 * rcv-space.ts and input/ack.ts.
 */
import { EPOLLIN, EPOLLOUT } from '../../net/epoll-bits.js';
import { EINVAL, EPERM } from '../../net/errno.js';
import { RING_CAPACITY, RING_HEAD, RING_LIMIT, RING_PAGE, RING_TAIL } from '../../net/ring.js';
import { RING_MAX_BYTES } from '../../net/sockmem.js';
import { publishLowat } from '../publish.js';
import { setReceiveSpace } from '../rcv-space.js';
import { growRing, ringCapacityFor } from '../ring-memory.js';
import { TCP_CLOSE } from '../state.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';

/** Linux SOCK_MIN_RCVBUF, SOCK_MIN_SNDBUF. */
const MIN_RCVBUF_BYTES = 2304;
const MIN_SNDBUF_BYTES = 4608;
/** Bits of SO_BUF_LOCK. */
const SNDBUF_LOCK = 1;
const RCVBUF_LOCK = 2;
const INT_MAX = 0x7fffffff;

/** Linux doubles what is asked for, for its bookkeeping, within the limits. */
function bufferBytes(value: number, least: number): number {
  return Math.min(Math.max(value * 2, least), RING_MAX_BYTES);
}

export function setSndbuf(tcp: Tcp, tcb: Tcb, value: number): number {
  setSendBuffer(tcp, tcb, Math.min(value >>> 0, tcp.net.sysctl.wmemMax));
  return 0;
}

export function setRcvbuf(tcp: Tcp, tcb: Tcb, value: number): number {
  setReceiveBuffer(tcp, tcb, Math.min(value >>> 0, tcp.net.sysctl.rmemMax));
  return 0;
}

/** SO_SNDBUFFORCE, SO_RCVBUFFORCE: beyond wmem_max and rmem_max, for the privileged. */
export function forceBuffer(tcp: Tcp, tcb: Tcb, value: number, send: boolean): number {
  if (tcb.uid !== 0) return -EPERM;
  (send ? setSendBuffer : setReceiveBuffer)(tcp, tcb, Math.max(0, value));
  return 0;
}

function setSendBuffer(tcp: Tcp, tcb: Tcb, value: number): void {
  const { ctl } = tcp;
  const ring = tcb.sndRing;
  const limit = bufferBytes(value, MIN_SNDBUF_BYTES);
  tcb.sndBufLocked = true;
  ctl[ring + RING_LIMIT] = limit;
  const capacity = ctl[ring + RING_CAPACITY]!;
  // The tail may move until the lock is held, never past the capacity: everything is kept.
  if (ctl[ring + RING_PAGE] !== 0 && limit > capacity) {
    growRing(tcp, ring, ringCapacityFor(limit), capacity);
  }
  if (tcb.state !== TCP_CLOSE) tcp.events.ready(tcb.fd, EPOLLOUT);
}

/**
 * Half of the buffer is window. A ring that cannot grow now keeps its size: then what it holds is
 * the limit.
 */
function setReceiveBuffer(tcp: Tcp, tcb: Tcb, value: number): void {
  const space = bufferBytes(value, MIN_RCVBUF_BYTES) >> 1;
  tcb.rcvBufLocked = true;
  if (tcb.listen !== null) tcb.rcvSpace = space;
  else if (!setReceiveSpace(tcp, tcb, space)) {
    tcb.rcvSpace = tcp.ctl[tcb.rcvRing + RING_CAPACITY]! >> 1;
  }
}

export function sndbuf(tcp: Tcp, tcb: Tcb): number {
  const limit = tcp.ctl[tcb.sndRing + RING_LIMIT]!;
  return limit === 0 ? tcp.net.sysctl.tcpWmemDefault : limit;
}

/** SO_BUF_LOCK: which of the two stay as they are. */
export function setBufLock(tcb: Tcb, value: number): number {
  if ((value & ~(SNDBUF_LOCK | RCVBUF_LOCK)) !== 0) return -EINVAL;
  tcb.sndBufLocked = (value & SNDBUF_LOCK) !== 0;
  tcb.rcvBufLocked = (value & RCVBUF_LOCK) !== 0;
  return 0;
}

export function bufLock(tcb: Tcb): number {
  return (tcb.sndBufLocked ? SNDBUF_LOCK : 0) | (tcb.rcvBufLocked ? RCVBUF_LOCK : 0);
}

/** SO_RCVLOWAT, at most half of the largest buffer; the space grows to hold that much. */
export function setRcvlowat(tcp: Tcp, tcb: Tcb, value: number): number {
  const buffer = tcb.rcvBufLocked ? 2 * tcb.rcvSpace : tcp.net.sysctl.tcpRmemMax;
  const lowat = Math.min(value < 0 ? INT_MAX : value, buffer >> 1);
  tcb.rcvLowat = Math.max(1, lowat);
  const most = RING_MAX_BYTES >> 1;
  if (!tcb.rcvBufLocked && lowat > tcb.rcvSpace && tcb.rcvSpace < most) {
    if (tcb.listen !== null) tcb.rcvSpace = Math.min(lowat, most);
    else setReceiveSpace(tcp, tcb, Math.min(lowat, most));
  }
  publishLowat(tcp, tcb);
  // What waits may be enough now.
  const { ctl } = tcp;
  const waiting = ctl[tcb.rcvRing + RING_TAIL] !== Atomics.load(ctl, tcb.rcvRing + RING_HEAD);
  if (waiting && tcb.state !== TCP_CLOSE) tcp.events.ready(tcb.fd, EPOLLIN);
  return 0;
}

/** TCP_WINDOW_CLAMP: no larger window is offered. 0 = no clamp, before there is a connection. */
export function setWindowClamp(tcb: Tcb, value: number): number {
  if (value === 0) {
    if (tcb.state !== TCP_CLOSE) return -EINVAL;
    tcb.userClamp = 0;
    return 0;
  }
  const clamp = Math.max(MIN_RCVBUF_BYTES >> 1, value);
  const old = windowClamp(tcb);
  tcb.userClamp = clamp;
  if (tcb.state === TCP_CLOSE || tcb.listen !== null || clamp === old) return 0;
  tcb.windowClamp = clamp;
  tcb.rcvSsthresh =
    clamp < old
      ? Math.min(tcb.rcvSsthresh, clamp)
      : Math.max(tcb.rcvSsthresh, Math.min(tcb.rcvWnd, clamp));
  return 0;
}

/** What TCP_WINDOW_CLAMP reads: of a connection the clamp in force. */
export function windowClamp(tcb: Tcb): number {
  const unconnected = tcb.state === TCP_CLOSE || tcb.listen !== null;
  return unconnected ? tcb.userClamp : tcb.windowClamp;
}
