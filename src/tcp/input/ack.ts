/**
 * The ACK field (RFC 9293 3.10.7.4 fifth; RFC 5681; Linux tcp_input.c: tcp_ack): what the peer has
 * received and how much more it will take; what that says about round-trip time (clean-rtx.ts),
 * loss (recovery.ts) and congestion is asked here, in Linux's order.
 */
import { EPOLLOUT } from '../../net/epoll-bits.js';
import { Mib } from '../../net/mib.js';
import {
  RING_CAPACITY,
  RING_HEAD,
  RING_LIMIT,
  RING_PAGE,
  RING_TAIL,
  RING_WAKE,
  ringDue,
} from '../../net/ring.js';
import { extentDrop, extentsUsed } from '../../net/ring-extents.js';
import { BLOCK_EXTENTS } from '../../net/sockmem.js';
import {
  type AckEvent,
  FLAG_CA_ALERT,
  FLAG_DATA,
  FLAG_DATA_ACKED,
  FLAG_DSACKING_ACK,
  FLAG_ECE,
  FLAG_FORWARD_PROGRESS,
  FLAG_NOT_DUP,
  FLAG_SET_XMIT_TIMER,
  FLAG_SND_UNA_ADVANCED,
  FLAG_WIN_UPDATE,
} from '../ack-event.js';
import { CA_OPEN } from '../ca-state.js';
import { CHRONO_SNDBUF_LIMITED, chronoStop } from '../chrono.js';
import { cleanRtxQueue } from '../clean-rtx.js';
import { slowStartAfterIdle } from '../cwnd.js';
import { ecnAcceptCwr, ecnEcho } from '../ecn.js';
import { currentMss, GSO_MAX_BYTES, sizeGoal, syncMss } from '../mss.js';
import { cwndReduction, newlyLost } from '../prr.js';
import { rackUpdateReoWnd } from '../rack.js';
import { fastretransAlert } from '../recovery.js';
import { growRing, ringCapacityFor } from '../ring-memory.js';
import { probe0WhenUs } from '../rtt.js';
import { sacktagWriteQueue } from '../sack.js';
import { CWR, type Segment, SYN } from '../segment.js';
import { inCwndReduction, REXMIT_NONE, type Sender, updatePacingRate } from '../sender.js';
import { after, before, seqMin } from '../seq.js';
import { PENDING_OUTPUT } from '../sock.js';
import { TCP_ESTABLISHED } from '../state.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { armXmitTimer, stopRetransmit, TIME_PROBE0, TIME_RETRANS } from '../timer-arm.js';
import { processTlpAck, setXmitTimer } from '../tlp.js';
import { challengeAck } from './checks.js';

/** Where Tcb.bytesAcked stops counting: far above any window. */
const BYTES_ACKED_MOST = 1 << 30;

/** No EPOLLOUT is wanted: far ahead of any cursor. */
const WAKE_NEVER = 0x40000000;

/** Fifth: ACK, which is set. False: the segment must not be looked at any further. */
export function tcpAck(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  const { ack } = seg;
  if (before(ack, tcb.sndUna)) return oldAck(tcp, tcb, seg);
  if (after(ack, tcb.sndNxt)) {
    // RFC 9293: an ACK for something not yet sent is answered with an ACK; kernels before 6.14 kept
    // silent.
    const silent = tcp.net.sysctl.profile === '5.0' && tcb.state === TCP_ESTABLISHED;
    if (!silent) challengeAck(tcp, tcb);
    return false;
  }
  const s = tcb.sender;
  const outstanding = s !== null && s.packetsOut > 0;
  const ev = tcp.ackEvent;
  ev.begin(tcb, s, seg);
  const acked = (ack - tcb.sndUna) | 0;
  if (acked > 0) {
    ev.flag |= FLAG_SND_UNA_ADVANCED;
    tcb.retransmits = 0;
  }
  if (seg.seq !== seg.endSeq) ev.flag |= FLAG_DATA;
  const moved = takeWindow(tcb, seg);
  if (moved !== WINDOW_SAME) ev.flag |= FLAG_WIN_UPDATE;
  if (acked > 0) advance(tcp, tcb, acked);
  if (s !== null) takeMarks(tcb, s, seg, ev);
  if ((seg.flags & CWR) !== 0) ecnAcceptCwr(tcp, tcb, seg);
  tcb.lastAckedUs = tcp.net.nowUs;
  tcb.probesOut = 0;
  tcb.softError = 0;
  if (outstanding) underWay(tcb, s, ack, ev);
  else nothingUnderWay(tcb, s, ack, ev);
  if (acked > 0) growSendRing(tcp, tcb);
  if ((outstanding || acked > 0 || moved === WINDOW_MOVED) && waitsForOutput(tcb, s)) {
    tcp.mark(tcb, PENDING_OUTPUT);
  }
  return true;
}

/**
 * Has output anything to look at? Mostly not: an ACK ends what is under way, and what is written
 * from now on marks the connection itself.
 */
function waitsForOutput(tcb: Tcb, s: Sender | null): boolean {
  if (unsentBytes(tcb) > 0 || (tcb.finQueued && !tcb.finSent)) return true;
  if (tcb.urgent || tcb.pushNow) return true;
  return s !== null && s.rexmit !== REXMIT_NONE;
}

/** SACK blocks and ECN-Echo. */
function takeMarks(tcb: Tcb, s: Sender, seg: Segment, ev: AckEvent): void {
  if (tcb.sackOk && seg.sackCount > 0) sacktagWriteQueue(tcb, s, seg, ev);
  if (ecnEcho(tcb, seg)) ev.flag |= FLAG_ECE;
  s.delivered = (s.delivered + ev.sackDelivered) | 0;
}

/** Something was under way when the ACK came: what does it say about that? */
function underWay(tcb: Tcb, s: Sender, ack: number, ev: AckEvent): void {
  cleanRtxQueue(tcb, s, ev);
  rackUpdateReoWnd(tcb, s, ev);
  if (s.tlpOut) processTlpAck(tcb, s, ack, ev.flag);
  const { flag } = ev;
  if ((flag & FLAG_NOT_DUP) === 0 || (flag & FLAG_CA_ALERT) !== 0 || tcb.caState !== CA_OPEN) {
    const news = FLAG_SND_UNA_ADVANCED | FLAG_NOT_DUP | FLAG_DSACKING_ACK;
    alert(tcb, s, ev, (flag & news) === 0 ? 1 : 0);
  }
  if ((ev.flag & FLAG_SET_XMIT_TIMER) !== 0) setXmitTimer(tcb, s);
  congControl(tcb, s, ev, newlyDelivered(tcb, s, ev));
}

/** The congestion state moves; what is to be sent is left to output. */
function alert(tcb: Tcb, s: Sender, ev: AckEvent, dupAcks: number): void {
  const rexmit = fastretransAlert(tcb, s, ev, dupAcks);
  if (rexmit !== REXMIT_NONE) s.rexmit = rexmit;
}

/** Segments that the ACK has delivered. */
function newlyDelivered(tcb: Tcb, s: Sender, ev: AckEvent): number {
  const { net } = tcb.tcp;
  const delivered = (s.delivered - ev.deliveredBefore) | 0;
  if (delivered === 0) return 0;
  net.count(Mib.TCPDelivered, delivered);
  if ((ev.flag & FLAG_ECE) !== 0) {
    s.deliveredCe += delivered;
    net.count(Mib.TCPDeliveredCE, delivered);
  }
  return delivered;
}

/** The window shrinks while the state says so, else it may grow (Linux: tcp_cong_control). */
function congControl(tcb: Tcb, s: Sender, ev: AckEvent, delivered: number): void {
  if (inCwndReduction(tcb)) cwndReduction(tcb, s, delivered, newlyLost(s, ev), ev.flag);
  else if (mayRaiseCwnd(tcb, s, ev.flag)) {
    tcb.congestion.congAvoid(tcb, s, delivered);
    s.cwndStampUs = tcb.tcp.net.nowUs;
  }
  updatePacingRate(tcb, s);
}

/** On a path that reorders a lot any delivery counts, else only what is in order. */
function mayRaiseCwnd(tcb: Tcb, s: Sender, flag: number): boolean {
  const much = s.reordering > tcb.tcp.net.sysctl.tcpReordering;
  return (flag & (much ? FLAG_FORWARD_PROGRESS : FLAG_DATA_ACKED)) !== 0;
}

/** Nothing but our SYN was under way: the ACK may open a window, or call an old loss a mistake. */
function nothingUnderWay(tcb: Tcb, s: Sender | null, ack: number, ev: AckEvent): void {
  if (s !== null && (ev.flag & FLAG_DSACKING_ACK) !== 0) {
    alert(tcb, s, ev, 0);
    newlyDelivered(tcb, s, ev);
  }
  if (tcb.xmitTimer === TIME_RETRANS && tcb.sndUna === tcb.sndNxt) stopRetransmit(tcb);
  ackProbe(tcb);
  if (s?.tlpOut === true) processTlpAck(tcb, s, ack, ev.flag);
}

function unsentBytes(tcb: Tcb): number {
  return (tcb.tcp.ctl[tcb.sndRing + RING_TAIL]! - tcb.sndNxt) | 0;
}

/**
 * A window that takes what waits ends the probing; else the next probe is put off, as the peer is
 * there (Linux: tcp_ack_probe).
 */
function ackProbe(tcb: Tcb): void {
  if (tcb.xmitTimer !== TIME_PROBE0) return;
  const unsent = unsentBytes(tcb);
  const fin = tcb.finQueued && !tcb.finSent ? 1 : 0;
  if (unsent + fin <= 0) return;
  const open = (tcb.sndUna + tcb.sndWnd - tcb.sndNxt) | 0;
  if (Math.min(unsent + fin, sizeGoal(tcb, currentMss(tcb), GSO_MAX_BYTES)) <= open) {
    tcb.backoff = tcb.probesStampUs = 0;
    stopRetransmit(tcb);
    // What still waits, for Nagle or a cork, needs the timer again (Linux: tcp_data_snd_check).
    tcb.tcp.mark(tcb, PENDING_OUTPUT);
  } else {
    armXmitTimer(tcb, TIME_PROBE0, probe0WhenUs(tcb));
  }
}

/**
 * An ACK below SND.UNA: a straggler whose text still counts, or far too old (RFC 5961 5.2, RFC 9293
 * MAY-12).
 */
function oldAck(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  let most = tcb.maxWindow;
  // Newer kernels also know that nothing before the first byte can be acknowledged.
  if (tcp.net.sysctl.profile !== '5.0') most = Math.min(most, tcb.bytesAcked);
  if (before(seg.ack, (tcb.sndUna - most) | 0)) {
    challengeAck(tcp, tcb);
    return false;
  }
  const s = tcb.sender;
  if (s !== null && tcb.sackOk && seg.sackCount > 0) {
    const ev = tcp.ackEvent;
    ev.begin(tcb, s, seg);
    sacktagWriteQueue(tcb, s, seg, ev);
    alert(tcb, s, ev, 0);
    newlyDelivered(tcb, s, ev);
    tcp.mark(tcb, PENDING_OUTPUT);
  }
  return true;
}

/**
 * Is the segment newer than the one that the window came from (Linux: tcp_may_update_window)? Newer
 * kernels also believe a window that closes without any progress.
 */
export function mayUpdateWindow(tcb: Tcb, seg: Segment, wnd: number): boolean {
  if (after(seg.ack, tcb.sndUna) || after(seg.seq, tcb.sndWl1)) return true;
  if (seg.seq !== tcb.sndWl1) return false;
  return wnd > tcb.sndWnd || (wnd === 0 && tcb.tcp.net.sysctl.profile !== '5.0');
}

/** What takeWindow has done. */
const WINDOW_SAME = 0;
/** The segment may say what the window is, but says nothing new. */
const WINDOW_CONFIRMED = 1;
const WINDOW_MOVED = 2;

/**
 * RFC 9293: SND.WL1, SND.WL2 keep old segments from moving the window, a 32-bit number (REC-1)
 * (Linux: tcp_ack_update_window).
 */
function takeWindow(tcb: Tcb, seg: Segment): number {
  const wnd = (seg.flags & SYN) !== 0 ? seg.wnd : seg.wnd << tcb.sndWscale;
  if (!mayUpdateWindow(tcb, seg, wnd)) return WINDOW_SAME;
  tcb.sndWl1 = seg.seq;
  tcb.sndWl2 = seg.ack;
  if (wnd === tcb.sndWnd) return WINDOW_CONFIRMED;
  tcb.sndWnd = wnd;
  if (tcb.sender !== null && unsentBytes(tcb) > 0) slowStartAfterIdle(tcb, tcb.sender);
  if (wnd > tcb.maxWindow) {
    tcb.maxWindow = wnd;
    if (tcb.mtuSearch !== null) syncMss(tcb.tcp, tcb, tcb.mssClamp);
  }
  return WINDOW_MOVED;
}

/** SND.UNA moves: memory comes back. */
function advance(tcp: Tcp, tcb: Tcb, acked: number): void {
  tcb.sndUna = (tcb.sndUna + acked) | 0;
  tcb.lastActiveUs = tcp.net.nowUs;
  tcb.bytesAcked = Math.min(tcb.bytesAcked + acked, BYTES_ACKED_MOST);
  tcb.counts.bytesAcked += acked;
  releaseSent(tcp, tcb);
}

/** Gives acknowledged bytes of the ring back to the writer (our SYN and FIN take no room in it). */
function releaseSent(tcp: Tcp, tcb: Tcb): void {
  const { ctl } = tcp;
  const { finSent, sndUna } = tcb;
  const head = finSent ? seqMin(sndUna, Atomics.load(ctl, tcb.sndRing + RING_TAIL)) : sndUna;
  if (head === ctl[tcb.sndRing + RING_HEAD]) return;
  Atomics.store(ctl, tcb.sndRing + RING_HEAD, head);
  if (ctl[tcb.at + BLOCK_EXTENTS] !== 0) dropSent(tcp, ctl[tcb.at + BLOCK_EXTENTS]!, head);
  if (ringDue(ctl, tcb.sndRing, head)) {
    Atomics.store(ctl, tcb.sndRing + RING_WAKE, (head + WAKE_NEVER) | 0);
    chronoStop(tcb, CHRONO_SNDBUF_LIMITED);
    tcp.events.ready(tcb.fd, EPOLLOUT);
  }
}

/** Files that were referred to up to `head` are not any more. */
function dropSent(tcp: Tcp, table: number, head: number): void {
  for (let left = extentsUsed(tcp.mem, table); left > 0; left--) {
    if (extentDrop(tcp.mem, table, head) < 0) return;
  }
}

/** Linux tcp_sndbuf_expand: room for twice the congestion window, up to tcp_wmem[2]. */
function growSendRing(tcp: Tcp, tcb: Tcb): void {
  const { ctl, net } = tcp;
  const ring = tcb.sndRing;
  const capacity = ctl[ring + RING_CAPACITY]!;
  if (ctl[ring + RING_PAGE] === 0 || tcb.cwnd * tcb.sndMss * 2 <= capacity) return;
  const most = tcb.sndBufLocked ? ringCapacityFor(ctl[ring + RING_LIMIT]!) : net.sysctl.tcpWmemMax;
  if (capacity * 2 > most) return;
  const head = ctl[ring + RING_HEAD]!;
  const used = (Atomics.load(ctl, ring + RING_TAIL) - head) | 0;
  if (used * 2 < capacity) return;
  // The tail may move until the lock is held, never past the capacity: everything is kept.
  if (!growRing(tcp, ring, capacity * 2, capacity)) return;
  if (!tcb.sndBufLocked) ctl[ring + RING_LIMIT] = capacity * 2;
  Atomics.store(ctl, ring + RING_WAKE, (head + WAKE_NEVER) | 0);
  chronoStop(tcb, CHRONO_SNDBUF_LIMITED);
  tcp.events.ready(tcb.fd, EPOLLOUT);
}
