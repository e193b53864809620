/**
 * The receive window (RFC 9293 3.8.6; Linux tcp_output.c: __tcp_select_window, tcp_select_window)
 * and how it grows with the application's appetite (tcp_input.c: tcp_rcv_space_adjust). The right
 * edge never moves back.
 */
import { Mib } from '../net/mib.js';
import {
  RING_CAPACITY,
  RING_HEAD,
  RING_PAGE,
  RING_TAIL,
  RING_WAKE,
  ringUsed,
} from '../net/ring.js';
import { RING_MAX_BYTES } from '../net/sockmem.js';
import { growRing, ringCapacityFor } from './ring-memory.js';
import { PENDING_WINDOW } from './sock.js';
import { RCV_SHUTDOWN, type Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** Never due: far ahead of any cursor. */
const WAKE_NEVER = 0x40000000;
/** Receiver's RTT below which the buffer is not tuned more often, µs. */
const TUNE_LEAST_US = 500;
/** Segments of space beyond twice of what is read in a round trip. */
const TUNE_SLACK = 16;

/** Part of the offered window that is still open, bytes. */
export function receiveWindow(tcb: Tcb): number {
  return Math.max(0, (tcb.rcvWup + tcb.rcvWnd - tcb.rcvNxt) | 0);
}

/** Linux tcp_select_initial_window: what a SYN or SYN-ACK offers, whole segments below 64 KiB. */
export function initialWindow(space: number, mss: number): number {
  return Math.min(65_535, space > mss ? space - (space % mss) : space);
}

/**
 * Window shift that lets the largest receive buffer be offered (Linux: tcp_select_initial_window).
 */
export function windowScale(rmemMax: number): number {
  return Math.min(14, Math.max(0, Math.floor(Math.log2(rmemMax)) - 15));
}

/** The window that could be offered now: 0 instead of something silly (RFC 9293 3.8.6.2.2). */
export function offerableWindow(tcp: Tcp, tcb: Tcb): number {
  const full = tcb.rcvSpace;
  const unit = 1 << tcb.rcvWscale;
  let free = Math.max(0, full - ringUsed(tcp.ctl, tcb.rcvRing));
  const mss = Math.min(tcb.rcvMss, full);
  if (free < full >> 1) {
    // What is left may become the window: it must not grow by being scaled.
    free &= -unit;
    if (free < full >> 4 || free < mss) return 0;
  }
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
  return ringUsed(tcp.ctl, tcb.rcvRing) + rounded <= most ? rounded : open;
}

/**
 * True when a window update is worth a segment: the window would at least double (Linux:
 * tcp_cleanup_rbuf).
 */
export function windowUpdateDue(tcp: Tcp, tcb: Tcb): boolean {
  if ((tcb.shutdown & RCV_SHUTDOWN) !== 0) return false;
  const open = receiveWindow(tcb);
  if (2 * open > tcb.rcvSpace) return false;
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
  const tail = ctl[tcb.rcvRing + RING_TAIL]!;
  let wake = (tail + WAKE_NEVER) | 0;
  if (2 * open <= tcb.rcvSpace) {
    // Below that offerableWindow says 0; what the scale cuts off is not counted as free.
    const least = Math.min(tcb.rcvSpace >> 1, Math.max(tcb.rcvSpace >> 4, tcb.rcvMss));
    const unit = 1 << tcb.rcvWscale;
    const free = (Math.max(2 * open, least) + unit - 1) & -unit;
    wake = (tail - Math.max(0, tcb.rcvSpace - free)) | 0;
  }
  Atomics.store(ctl, tcb.rcvRing + RING_WAKE, wake);
  // The reader may have passed that point before it could see it.
  const head = Atomics.load(ctl, tcb.rcvRing + RING_HEAD);
  if (((head - wake) | 0) >= 0) tcp.mark(tcb, PENDING_WINDOW);
}

/**
 * Doubles the receive space while the application takes more than half of it per round trip (Linux:
 * tcp_rcv_space_adjust), up to tcp_rmem[2] / 2.
 */
export function tuneReceiveSpace(tcp: Tcp, tcb: Tcb): void {
  const { net, ctl } = tcp;
  if (net.sysctl.tcpModerateRcvbuf === 0 || tcb.rcvBufLocked) return;
  const elapsed = net.nowUs - tcb.rcvSpaceUs;
  if (elapsed < Math.max(tcb.srttUs, TUNE_LEAST_US)) return;
  const head = Atomics.load(ctl, tcb.rcvRing + RING_HEAD);
  const copied = (head - tcb.rcvSpaceSeq) | 0;
  const fresh = tcb.rcvSpaceUs === 0;
  tcb.rcvSpaceUs = net.nowUs;
  tcb.rcvSpaceSeq = head;
  const most = Math.min(net.sysctl.tcpRmemMax, RING_MAX_BYTES) >> 1;
  if (fresh || tcb.rcvSpace >= most || 2 * copied + TUNE_SLACK * tcb.rcvMss <= tcb.rcvSpace) return;
  setReceiveSpace(tcp, tcb, Math.min(tcb.rcvSpace * 2, most));
}

/**
 * Changes the receive space; the ring, if there is one, holds twice as much, so that what was
 * offered already fits. A larger one waits (false) while the reader holds the lock or the arena is
 * exhausted.
 */
export function setReceiveSpace(tcp: Tcp, tcb: Tcb, space: number): boolean {
  const { ctl } = tcp;
  const wanted = ringCapacityFor(space * 2);
  const page = ctl[tcb.rcvRing + RING_PAGE]!;
  if (page !== 0 && wanted > ctl[tcb.rcvRing + RING_CAPACITY]!) {
    const head = Atomics.load(ctl, tcb.rcvRing + RING_HEAD);
    const { ofo } = tcb;
    const end = ofo !== null && ofo.count > 0 ? ofo.right(ofo.count - 1) : tcb.rcvNxt;
    if (!growRing(tcp, tcb.rcvRing, wanted, (end - head) | 0)) return false;
  }
  tcb.rcvSpace = space;
  return true;
}
