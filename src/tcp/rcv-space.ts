/**
 * How much the receive buffer holds, and how that follows the application's appetite (Linux
 * tcp_input.c: tcp_init_buffer_space, tcp_grow_window, tcp_rcv_space_adjust, tcp_rcvbuf_grow,
 * tcp_rcv_rtt_measure). What of it is offered to the peer is rcv-window.ts.
 */
import { RING_CAPACITY, RING_HEAD, RING_PAGE } from '../net/ring.js';
import { RING_MAX_BYTES } from '../net/sockmem.js';
import { growRing, ringCapacityFor } from './ring-memory.js';
import type { Segment } from './segment.js';
import { before } from './seq.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';
import { tsNow } from './ts-clock.js';

/** What a window field can say at most. */
export const WINDOW_FIELD_MOST = 65_535;
/** Shorter segments do not let the window grow. */
const GROW_LEAST_BYTES = 128;
/** Half of the memory that Linux spends on a segment that fits an Ethernet. */
const LARGE_BYTES = 1152;
/** Segments of the first estimate of what is read in a round trip (TCP_INIT_CWND). */
const FIRST_SEGMENTS = 10;

/** The space that may be offered: all of it, or TCP_WINDOW_CLAMP. */
export function offeredSpace(tcb: Tcb): number {
  return tcb.userClamp > 0 ? Math.min(tcb.userClamp, tcb.rcvSpace) : tcb.rcvSpace;
}

/**
 * A connection begins: one segment of the space is held back, and what the handshake offered is
 * the most for now (Linux: tcp_init_buffer_space). `advmss` is our MSS less the options on every
 * segment.
 */
export function initReceiveSpace(tcb: Tcb, advmss: number): void {
  const space = tcb.rcvSpace;
  let clamp = Math.min(WINDOW_FIELD_MOST << tcb.rcvWscale, offeredSpace(tcb));
  if (clamp > 2 * advmss && clamp + advmss > space) clamp = Math.max(2 * advmss, space - advmss);
  tcb.windowClamp = clamp;
  tcb.rcvSsthresh = Math.min(tcb.rcvWnd, clamp);
  tcb.rcvqSpace = Math.min(tcb.rcvSsthresh, tcb.rcvWnd, FIRST_SEGMENTS * advmss);
  tcb.rcvSpaceUs = tcb.tcp.net.nowUs;
  tcb.rcvSpaceSeq = tcb.rcvNxt;
}

/**
 * Text of `length` bytes has come: two segments more may be offered (Linux: tcp_grow_window). Small
 * segments prove nothing; large ones also that nothing need be held back (tcp_measure_rcv_mss).
 */
export function growWindow(tcb: Tcb, length: number): void {
  if (length < GROW_LEAST_BYTES) return;
  const most = offeredSpace(tcb);
  if (length >= LARGE_BYTES && tcb.windowClamp < most) tcb.windowClamp = most;
  const room = tcb.windowClamp - tcb.rcvSsthresh;
  if (room > 0) tcb.rcvSsthresh += Math.min(room, 2 * Math.max(length, tcb.rcvMss));
}

/**
 * The round-trip time as the receiver sees it: between a timestamp's leaving and its echo on a full
 * segment, or else what a window of text takes, of which only the shortest counts.
 */
export function measureReceiveRtt(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  const { nowUs } = tcp.net;
  if (tcb.rcvRttStampUs === 0 || !before(tcb.rcvNxt, tcb.rcvRttSeq)) {
    if (tcb.rcvRttStampUs !== 0) updateReceiveRtt(tcp, tcb, nowUs - tcb.rcvRttStampUs, true);
    tcb.rcvRttSeq = (tcb.rcvNxt + tcb.rcvWnd) | 0;
    tcb.rcvRttStampUs = nowUs;
  }
  if (!tcb.tsOk || !seg.hasTimestamp || seg.tsecr === tcb.rcvRttEcho) return;
  tcb.rcvRttEcho = seg.tsecr;
  if (seg.length < tcb.rcvMss) return;
  const ms = (tsNow(nowUs, tcb.tsOffset) - seg.tsecr) | 0;
  if (ms >= 0) updateReceiveRtt(tcp, tcb, Math.max(1, ms) * 1000, false);
}

/** Linux tcp_rcv_rtt_update: a running mean of echoes, a minimum of windows. */
function updateReceiveRtt(tcp: Tcp, tcb: Tcb, sampleUs: number, window: boolean): void {
  const old = tcb.rcvRttUs;
  const sample = Math.max(1, sampleUs);
  if (old === 0 || sample < old) {
    tcb.rcvRttUs = sample;
  } else if (!window && Atomics.load(tcp.ctl, tcb.rcvRing + RING_HEAD) === tcb.rcvNxt) {
    tcb.rcvRttUs = old + ((sample - old) >> 3);
  }
}

/** Largest receive space: half of tcp_rmem[2], and no ring is larger. */
function mostSpace(tcp: Tcp): number {
  return Math.min(tcp.net.sysctl.tcpRmemMax, RING_MAX_BYTES) >> 1;
}

/**
 * Once in a round trip: the space follows what the application has read in it (dynamic
 * right-sizing; Linux: tcp_rcv_space_adjust). To be called before new text is taken, which nobody
 * can have read yet: what waits then is what the application leaves.
 */
export function tuneReceiveSpace(tcp: Tcp, tcb: Tcb): void {
  const { net, ctl } = tcp;
  if (tcb.rcvRttUs === 0 || net.nowUs - tcb.rcvSpaceUs < tcb.rcvRttUs) return;
  // An estimate: what is read at this very moment counts the next time.
  const head = ctl[tcb.rcvRing + RING_HEAD]!;
  const waiting = (tcb.rcvNxt - head) | 0;
  const copied = ((head - tcb.rcvSpaceSeq) | 0) - waiting;
  tcb.rcvSpaceUs = net.nowUs;
  tcb.rcvSpaceSeq = head;
  if (copied > tcb.rcvqSpace) growReceiveSpace(tcp, tcb, copied);
}

/**
 * `read` bytes were read in a round trip: twice as much is needed while a loss is mended, more if
 * it was less before, for the sender may double once more; and what waits past a hole besides
 * (Linux: tcp_rcvbuf_grow).
 */
export function growReceiveSpace(tcp: Tcp, tcb: Tcb, read: number): void {
  const before = Math.max(1, tcb.rcvqSpace);
  tcb.rcvqSpace = read;
  if (tcp.net.sysctl.tcpModerateRcvbuf === 0 || tcb.rcvBufLocked) return;
  const { ofo } = tcb;
  const ahead = ofo !== null && ofo.count > 0 ? (ofo.right(ofo.count - 1) - tcb.rcvNxt) | 0 : 0;
  const twice = 2 * read;
  const grow = Math.floor((twice * (read - before)) / before);
  const wanted = Math.min(twice + 2 * grow + ahead, mostSpace(tcp));
  if (wanted > tcb.rcvSpace) setReceiveSpace(tcp, tcb, wanted);
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
  tcb.windowClamp = offeredSpace(tcb);
  return true;
}
