/**
 * The ACK field (RFC 9293 3.10.7.4 fifth; RFC 5681, 6298; Linux tcp_input.c: tcp_ack): what the
 * peer has received, how much more it will take, and what that says about loss, round-trip time and
 * congestion.
 */
import { EPOLLOUT } from '../../net/epoll-bits.js';
import {
  RING_CAPACITY,
  RING_HEAD,
  RING_LIMIT,
  RING_PAGE,
  RING_TAIL,
  RING_WAKE,
  ringDue,
} from '../../net/ring.js';
import { onDupAck, onRecoveryAdvance, takeSacks } from '../recovery.js';
import { growRing, ringCapacityFor } from '../ring-memory.js';
import { rttSample } from '../rtt.js';
import { FIN, type Segment, SYN } from '../segment.js';
import { after, before, seqMin } from '../seq.js';
import { PENDING_OUTPUT } from '../sock.js';
import { TCP_ESTABLISHED } from '../state.js';
import { CA_LOSS, CA_OPEN, CA_RECOVERY, type Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { armRetransmit, stopRetransmit } from '../timer-arm.js';
import { tsNow } from '../ts-clock.js';
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
  const outstanding = tcb.sndNxt !== tcb.sndUna;
  tcb.lastAckedUs = tcp.net.nowUs;
  tcb.probesOut = 0;
  const freshSack = tcb.sackOk && seg.sackCount > 0 ? takeSacks(tcp, tcb, seg) : 0;
  const acked = (ack - tcb.sndUna) | 0;
  const windowMoved = updateWindow(tcb, seg);
  if (acked > 0) advance(tcp, tcb, seg, acked);
  if (freshSack > 0 || (acked === 0 && outstanding && isDuplicate(tcb, seg, windowMoved))) {
    if (acked === 0) tcb.dupAcks++;
    onDupAck(tcp, tcb);
  }
  if (windowMoved || acked > 0) {
    if (tcb.probing) {
      tcb.backoff = 0;
      stopRetransmit(tcb);
    }
    tcp.mark(tcb, PENDING_OUTPUT);
  }
  return true;
}

/**
 * RFC 5681 2's duplicate ACK. With SACK one must report something new (RFC 6675 2): D-SACKs and the
 * like do not count.
 */
function isDuplicate(tcb: Tcb, seg: Segment, windowMoved: boolean): boolean {
  return !tcb.sackOk && seg.length === 0 && (seg.flags & (SYN | FIN)) === 0 && !windowMoved;
}

/** An ACK below SND.UNA: a straggler whose text still counts, or far too old (RFC 5961 5.2). */
function oldAck(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  let most = tcb.maxWindow;
  // Newer kernels also know that nothing before the first byte can be acknowledged.
  if (tcp.net.sysctl.profile !== '5.0') most = Math.min(most, tcb.bytesAcked);
  if (before(seg.ack, (tcb.sndUna - most) | 0)) {
    challengeAck(tcp, tcb);
    return false;
  }
  if (tcb.sackOk && seg.sackCount > 0 && takeSacks(tcp, tcb, seg) > 0) onDupAck(tcp, tcb);
  return true;
}

/**
 * RFC 9293: SND.WL1, SND.WL2 keep old segments from moving the window (Linux:
 * tcp_may_update_window).
 */
export function updateWindow(tcb: Tcb, seg: Segment): boolean {
  const wnd = (seg.flags & SYN) !== 0 ? seg.wnd : seg.wnd << tcb.sndWscale;
  const newer =
    after(seg.ack, tcb.sndUna) ||
    after(seg.seq, tcb.sndWl1) ||
    (seg.seq === tcb.sndWl1 && wnd > tcb.sndWnd);
  if (!newer) return false;
  tcb.sndWl1 = seg.seq;
  tcb.sndWl2 = seg.ack;
  if (wnd === tcb.sndWnd) return false;
  tcb.sndWnd = wnd;
  if (wnd > tcb.maxWindow) tcb.maxWindow = wnd;
  return true;
}

/** SND.UNA moves: memory comes back, clocks tick, windows grow. */
function advance(tcp: Tcp, tcb: Tcb, seg: Segment, acked: number): void {
  const { net } = tcp;
  tcb.sndUna = seg.ack;
  if (tcb.sacked !== null) tcb.sacked.trimBefore(seg.ack);
  tcb.lastActiveUs = net.nowUs;
  tcb.bytesAcked = Math.min(tcb.bytesAcked + acked, BYTES_ACKED_MOST);
  measureRtt(tcp, tcb, seg);
  tcb.retransmits = 0;
  tcb.backoff = 0;
  tcb.softError = 0;
  releaseSent(tcp, tcb);
  const was = tcb.caState;
  if (was >= CA_RECOVERY) onRecoveryAdvance(tcp, tcb, acked);
  else tcb.dupAcks = 0;
  if (mayGrow(tcb, was)) tcb.congestion.onAck(tcb, acked, net.nowUs);
  if (tcb.sndUna === tcb.sndNxt) stopRetransmit(tcb);
  else armRetransmit(tcp, tcb);
  growSendRing(tcp, tcb);
}

/**
 * Slow start after an RTO; else only while cwnd is what limits the sender (Linux:
 * tcp_is_cwnd_limited).
 */
function mayGrow(tcb: Tcb, caState: number): boolean {
  if (caState !== CA_OPEN) return caState === CA_LOSS;
  return tcb.cwndLimited || (tcb.cwnd < tcb.ssthresh && tcb.cwnd < 2 * tcb.maxInFlight);
}

/**
 * RFC 6298 3: Karn's rule for the timed segment, and while something was sent again the timestamp
 * echo (RFC 7323 4). A backed-off RTO stays until there is a sample (RFC 6298 5, note after 5.7):
 * else a path slower than the RTO would never be learnt.
 */
function measureRtt(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  const { nowUs } = tcp.net;
  if (tcb.rttTimed && !before(tcb.sndUna, tcb.rttSeq)) {
    tcb.rttTimed = false;
    rttSample(tcb, nowUs - tcb.rttSentUs);
  } else if (tcb.caState >= CA_RECOVERY && tcb.tsOk && seg.hasTimestamp && seg.tsecr !== 0) {
    const ms = (tsNow(nowUs, tcb.tsOffset) - seg.tsecr) | 0;
    if (ms >= 0) rttSample(tcb, Math.max(ms, 1) * 1000);
  }
}

/** Gives acknowledged bytes of the ring back to the writer (our SYN and FIN take no room in it). */
function releaseSent(tcp: Tcp, tcb: Tcb): void {
  const { ctl } = tcp;
  const tail = Atomics.load(ctl, tcb.sndRing + RING_TAIL);
  const head = tcb.finSent ? seqMin(tcb.sndUna, tail) : tcb.sndUna;
  if (head === ctl[tcb.sndRing + RING_HEAD]) return;
  Atomics.store(ctl, tcb.sndRing + RING_HEAD, head);
  if (ringDue(ctl, tcb.sndRing, head)) {
    Atomics.store(ctl, tcb.sndRing + RING_WAKE, (head + WAKE_NEVER) | 0);
    tcp.events.ready(tcb.fd, EPOLLOUT);
  }
}

/** Linux tcp_sndbuf_expand: room for twice the congestion window, up to tcp_wmem[2]. */
function growSendRing(tcp: Tcp, tcb: Tcb): void {
  const { ctl, net } = tcp;
  const ring = tcb.sndRing;
  const capacity = ctl[ring + RING_CAPACITY]!;
  if (ctl[ring + RING_PAGE] === 0 || tcb.cwnd * 2 <= capacity) return;
  const most = tcb.sndBufLocked ? ringCapacityFor(ctl[ring + RING_LIMIT]!) : net.sysctl.tcpWmemMax;
  if (capacity * 2 > most) return;
  const head = ctl[ring + RING_HEAD]!;
  const used = (Atomics.load(ctl, ring + RING_TAIL) - head) | 0;
  if (used * 2 < capacity) return;
  // The tail may move until the lock is held, never past the capacity: everything is kept.
  if (!growRing(tcp, ring, capacity * 2, capacity)) return;
  if (!tcb.sndBufLocked) ctl[ring + RING_LIMIT] = capacity * 2;
  Atomics.store(ctl, ring + RING_WAKE, (head + WAKE_NEVER) | 0);
  tcp.events.ready(tcb.fd, EPOLLOUT);
}
