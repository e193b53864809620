/**
 * The receive window (RFC 9293 3.8.6; Linux tcp_output.c: __tcp_select_window, tcp_select_window)
 * within the space that rcv-space.ts gives. The right edge never moves back.
 */
import { Mib } from '../net/mib.js';
import { RING_CAPACITY, RING_HEAD, RING_TAIL, RING_WAKE, ringHeld } from '../net/ring.js';
import { WINDOW_FIELD_MOST } from './rcv-space.js';
import { PENDING_WINDOW } from './sock.js';
import { RCV_SHUTDOWN, type Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** Never due: far ahead of any cursor. */
const WAKE_NEVER = 0x40000000;

/** Part of the offered window that is still open, bytes. */
export function receiveWindow(tcb: Tcb): number {
  return Math.max(0, (tcb.rcvWup + tcb.rcvWnd - tcb.rcvNxt) | 0);
}

/**
 * The window that a connection begins with: whole segments (Linux: tcp_select_initial_window). A
 * SYN or SYN-ACK cannot say more than 64 KiB of it, nor do older kernels begin with more.
 * @param wscale the window scale that both sides want, or 0
 */
export function initialWindow(tcp: Tcp, space: number, mss: number, wscale: number): number {
  const shift = tcp.net.sysctl.profile === '5.0' ? 0 : wscale;
  return Math.min(WINDOW_FIELD_MOST << shift, space > mss ? space - (space % mss) : space);
}

/**
 * Window shift that lets the largest receive space be offered that `tcb` (or a child of it) may
 * come to have (Linux: tcp_select_initial_window): SO_RCVBUF fixes it, TCP_WINDOW_CLAMP bounds it.
 */
export function windowScale(tcp: Tcp, tcb: Tcb): number {
  const { tcpRmemMax, rmemMax } = tcp.net.sysctl;
  let space = tcb.rcvBufLocked ? tcb.rcvSpace : Math.max(tcb.rcvSpace, tcpRmemMax, rmemMax);
  if (tcb.userClamp > 0) space = Math.min(space, tcb.userClamp);
  return Math.min(14, Math.max(0, 31 - Math.clz32(space) - 15));
}

/**
 * The window that could be offered now: 0 instead of something silly (RFC 9293 MUST-39, MAY-8, RFC
 * 1122 4.2.3.3).
 */
export function offerableWindow(tcp: Tcp, tcb: Tcb): number {
  const space = tcb.rcvSpace;
  const full = Math.min(tcb.windowClamp, space);
  const unit = 1 << tcb.rcvWscale;
  let free = Math.max(0, space - ringHeld(tcp.ctl, tcb.rcvRing));
  const mss = Math.min(tcb.rcvMss, full);
  if (free < full >> 1) {
    // What is left may become the window: it must not grow by being scaled.
    free &= -unit;
    if (free < space >> 4 || free < mss) return 0;
  }
  free = Math.min(free, tcb.rcvSsthresh);
  if (unit > 1) return Math.min((free + unit - 1) & -unit, 65_535 << tcb.rcvWscale);
  free = Math.min(free, 65_535);
  const { rcvWnd } = tcb;
  if (rcvWnd > free || rcvWnd + mss <= free) return free - (free % mss);
  return mss === full && free > rcvWnd + (full >> 1) ? free : rcvWnd;
}

/** Chooses the window of a segment that leaves now and remembers it; the (scaled) header field. */
export function selectWindow(tcp: Tcp, tcb: Tcb): number {
  const open = receiveWindow(tcb);
  const old = tcb.rcvWnd >>> tcb.rcvWscale;
  let window = offerableWindow(tcp, tcb);
  // RFC 9293 SHLD-14.
  if (window < open) {
    if (window === 0) tcp.net.count(Mib.TCPWantZeroWindowAdv);
    window = keptWindow(tcp, tcb, open);
  }
  const field = window >>> tcb.rcvWscale;
  if (field === 0 && old !== 0) tcp.net.count(Mib.TCPToZeroWindowAdv);
  if (field !== 0 && old === 0) tcp.net.count(Mib.TCPFromZeroWindowAdv);
  tcb.rcvWnd = window;
  tcb.rcvWup = tcb.rcvNxt;
  armReadNotice(tcp, tcb);
  return field;
}

/**
 * The open window again, though it could not be offered now. The scale forces a choice (RFC 7323
 * 2.4): as in Linux it is rounded up, which moves the edge; but once the ring has no room for that
 * it stays as it is, and the field, which rounds down, lets the window close. What was offered
 * before is still taken then.
 */
function keptWindow(tcp: Tcp, tcb: Tcb, open: number): number {
  const unit = 1 << tcb.rcvWscale;
  const rounded = Math.min((open + unit - 1) & -unit, 65_535 << tcb.rcvWscale);
  const most = Math.max(2 * tcb.rcvSpace, tcp.ctl[tcb.rcvRing + RING_CAPACITY]!);
  return ringHeld(tcp.ctl, tcb.rcvRing) + rounded <= most ? rounded : open;
}

/**
 * True when a window update is worth a segment: the window would at least double (Linux:
 * tcp_cleanup_rbuf).
 */
export function windowUpdateDue(tcp: Tcp, tcb: Tcb): boolean {
  if ((tcb.shutdown & RCV_SHUTDOWN) !== 0) return false;
  const open = receiveWindow(tcb);
  if (2 * open > Math.min(tcb.windowClamp, tcb.rcvSpace)) return false;
  const offer = offerableWindow(tcp, tcb);
  return offer > 0 && offer >= 2 * open;
}

/**
 * Asks the application to tell us when it has read so far that a window update is due. Called
 * whenever the open window has changed; while more than half is open there is nothing to wait for.
 */
export function armReadNotice(tcp: Tcp, tcb: Tcb): void {
  const { ctl } = tcp;
  const open = receiveWindow(tcb);
  const { rcvRing } = tcb;
  const tail = ctl[rcvRing + RING_TAIL]!;
  let wake = (tail + WAKE_NEVER) | 0;
  if (2 * open <= Math.min(tcb.windowClamp, tcb.rcvSsthresh, tcb.rcvSpace)) {
    // Below that offerableWindow says 0; what the scale cuts off is not counted as free.
    const least = Math.min(tcb.rcvSpace >> 1, Math.max(tcb.rcvSpace >> 4, tcb.rcvMss));
    const unit = 1 << tcb.rcvWscale;
    const free = (Math.max(2 * open, least) + unit - 1) & -unit;
    wake = (tail - Math.max(0, tcb.rcvSpace - free)) | 0;
  } else if (((ctl[rcvRing + RING_WAKE]! - tail) | 0) > WAKE_NEVER >> 1) {
    return;
  }
  Atomics.store(ctl, rcvRing + RING_WAKE, wake);
  // The reader may have passed that point before it could see it.
  const head = Atomics.load(ctl, rcvRing + RING_HEAD);
  if (((head - wake) | 0) >= 0) tcp.mark(tcb, PENDING_WINDOW);
}
