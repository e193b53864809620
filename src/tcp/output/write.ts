/**
 * What may be sent now and in which pieces (RFC 9293 3.8.6.2.1, RFC 1122 4.2.3.4, RFC 5681, 6675;
 * Linux tcp_output.c: tcp_write_xmit, tcp_nagle_check, tcp_send_probe0). Runs once per marked
 * connection after a batch of input.
 */
import { Mib } from '../../net/mib.js';
import { RING_PAGE, RING_TAIL } from '../../net/ring.js';
import { currentMss } from '../mss.js';
import { holeEnd, inFlight, nextLost } from '../recovery.js';
import { ACK, FIN, PSH } from '../segment.js';
import { after, before, seqMin } from '../seq.js';
import { PENDING_ACK, PENDING_HEAD, PENDING_PROBE } from '../sock.js';
import { inStates, TRANSMITS } from '../state.js';
import { CA_RECOVERY, type Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { armProbe, armRetransmit, armTimer } from '../timer-arm.js';
import { transmit } from './transmit.js';

/** Largest IPv4 packet less the largest headers. */
const PACKET_PAYLOAD_BYTES = 65_535 - 20 - 60;
/** Answer of sendableBytes: nothing may leave before an ACK makes room in the congestion window. */
const HELD_BY_CWND = -2;

/** Serves the marks of a connection in a state that transmits, then whatever ACK is still owed. */
export function tcpOutput(tcp: Tcp, tcb: Tcb): void {
  // An ACK with SACK blocks cannot ride on data.
  if ((tcb.pending & PENDING_ACK) !== 0 && hasSackBlocks(tcb)) sendAcks(tcp, tcb);
  if (inStates(tcb.state, TRANSMITS)) {
    if (tcb.caState >= CA_RECOVERY) retransmitLost(tcp, tcb);
    writeXmit(tcp, tcb);
  }
  if ((tcb.pending & PENDING_PROBE) !== 0) probe(tcp, tcb);
  if ((tcb.pending & PENDING_ACK) !== 0) sendAcks(tcp, tcb);
}

function hasSackBlocks(tcb: Tcb): boolean {
  return (tcb.ofo !== null && tcb.ofo.count > 0) || tcb.dsackLeft !== tcb.dsackRight;
}

/** One ACK, or as many as there were out-of-order segments (RFC 5681 4.2: each is reported). */
function sendAcks(tcp: Tcp, tcb: Tcb): void {
  const owed = Math.max(1, tcb.dupAcksOwed);
  tcb.dupAcksOwed = 0;
  for (let i = 0; i < owed; i++) transmit(tcp, tcb, tcb.sndNxt, 0, ACK);
}

/**
 * RFC 5681 4.1, Linux tcp_cwnd_restart: half for every RTO of silence, not below the initial
 * window.
 */
function restartAfterIdle(tcp: Tcp, tcb: Tcb): void {
  const { net } = tcp;
  if (tcb.lastSentUs === 0 || net.sysctl.tcpSlowStartAfterIdle === 0) return;
  let idleUs = net.nowUs - tcb.lastSentUs;
  if (idleUs <= tcb.rtoUs) return;
  const floor = Math.min(10 * tcb.sndMss, tcb.cwnd);
  tcb.congestion.onIdle(tcb, net.nowUs);
  tcb.ssthresh = Math.max(tcb.ssthresh, (tcb.cwnd >> 1) + (tcb.cwnd >> 2));
  for (; idleUs > tcb.rtoUs && tcb.cwnd > floor; idleUs -= tcb.rtoUs) tcb.cwnd >>= 1;
  tcb.cwnd = Math.max(tcb.cwnd, floor);
}

/** Bytes that one transmission may carry: a super-packet where the link cuts, else one segment. */
function mostPerPacket(tcp: Tcp, tcb: Tcb, mss: number): number {
  const most = Math.min(tcp.net.device.offload.gsoMaxBytes, PACKET_PAYLOAD_BYTES);
  // A segment cut below the MSS by a tiny window cannot be a super-packet: the link cuts by
  // gsoSize.
  if (most <= mss || mss !== tcb.sndMss) return mss;
  return most - (most % mss);
}

/**
 * Sends lost bytes again, oldest first, as far as cwnd allows; after an RTO the head goes whatever
 * cwnd says.
 */
function retransmitLost(tcp: Tcp, tcb: Tcb): void {
  const mss = currentMss(tcb);
  const most = mostPerPacket(tcp, tcb, mss);
  const dataEnd = tcp.ctl[tcb.sndRing + RING_TAIL]!;
  let force = (tcb.pending & PENDING_HEAD) !== 0;
  for (let seq = nextLost(tcb); seq !== null; seq = nextLost(tcb)) {
    const room = tcb.cwnd - inFlight(tcb);
    if (!force && room < mss) return;
    const wanted = Math.max(mss, Math.min(most, room - (room % mss)));
    const end = seqMin(holeEnd(tcb, seq), (seq + wanted) | 0);
    const length = (seqMin(end, dataEnd) - seq) | 0;
    const fin = tcb.finSent && after(end, dataEnd) ? FIN : 0;
    force = false;
    tcb.pending &= ~PENDING_HEAD;
    tcp.net.count(Mib.TcpRetransSegs, Math.max(1, Math.ceil(length / mss)));
    tcp.net.count(tcb.caState === CA_RECOVERY ? Mib.TCPFastRetrans : Mib.TCPSlowStartRetrans);
    tcb.totalRetrans += Math.max(1, Math.ceil(length / mss));
    const push = length > 0 && !after(dataEnd, end) ? PSH : 0;
    transmit(tcp, tcb, seq, length, ACK | fin | push);
    tcb.rtxNxt = end;
    tcb.rttTimed = false;
  }
}

/**
 * True while a short segment must wait for an ACK (RFC 9293 3.7.4 with Minshall's variant), or the
 * socket is corked.
 */
function nagleHolds(tcb: Tcb): boolean {
  if (tcb.cork) return true;
  if (tcb.nodelay || tcb.finQueued) return false;
  return after(tcb.sndSml, tcb.sndUna) && !after(tcb.sndSml, tcb.sndNxt);
}

/** Sends new data, and FIN behind the last of it, as windows allow. */
function writeXmit(tcp: Tcp, tcb: Tcb): void {
  const ring = tcb.sndRing;
  const mss = currentMss(tcb);
  const most = mostPerPacket(tcp, tcb, mss);
  let idle = tcb.sndUna === tcb.sndNxt;
  let limited = false;
  for (;;) {
    const dataEnd = Atomics.load(tcp.ctl, ring + RING_TAIL);
    const unsent = (dataEnd - tcb.sndNxt) | 0;
    if (unsent < 0 || (unsent === 0 && (!tcb.finQueued || tcb.finSent))) break;
    if (idle) restartAfterIdle(tcp, tcb);
    idle = false;
    const open = (tcb.sndUna + tcb.sndWnd - tcb.sndNxt) | 0;
    const length = sendableBytes(tcb, unsent, open, mss, most);
    const fin = tcb.finQueued && length === unsent && open > length;
    if (length <= 0 && !(fin && unsent === 0)) {
      limited = length === HELD_BY_CWND;
      if (tcb.sndUna === tcb.sndNxt) armProbe(tcp, tcb, tcb.rtoUs);
      break;
    }
    const push = length === unsent && unsent > 0 ? PSH : 0;
    const flags = ACK | push | (fin ? FIN : 0);
    sendNew(tcp, tcb, length, flags, mss);
  }
  validateCwnd(tcb, limited);
}

/**
 * Was cwnd what held the sender back in this window of data (Linux: tcp_cwnd_validate)? Only then
 * does it say anything about the path and may grow (RFC 7661). In slow start using more than half
 * of it is enough: tcp_is_cwnd_limited.
 */
function validateCwnd(tcb: Tcb, limited: boolean): void {
  const flying = inFlight(tcb);
  const newWindow = !before(tcb.sndUna, tcb.cwndUsageSeq);
  if (newWindow || limited || (!tcb.cwndLimited && flying > tcb.maxInFlight)) {
    tcb.cwndLimited = limited;
    tcb.maxInFlight = flying;
    tcb.cwndUsageSeq = tcb.sndNxt;
  }
}

/**
 * How much of `unsent` may leave in one piece; 0 or less: wait (HELD_BY_CWND: for an ACK, the
 * congestion window is full).
 */
function sendableBytes(tcb: Tcb, unsent: number, open: number, mss: number, most: number): number {
  const flying = inFlight(tcb);
  const room = tcb.cwnd - flying;
  if (room < Math.min(mss, unsent) && flying > 0) {
    return HELD_BY_CWND;
  }
  let length = Math.min(unsent, open, Math.max(mss, room - (room % mss)), most);
  if (length >= mss) {
    const rest = length % mss;
    // Whole segments now; a short tail only if it is the end of the data and may go.
    if (rest > 0 && (length < unsent || nagleHolds(tcb))) length -= rest;
    return length;
  }
  if (length < unsent) {
    // RFC 9293 3.8.6.2.1: a part that the window forces is worth sending only if it is half of the
    // largest window.
    return length > 0 && length >= tcb.maxWindow >> 1 ? length : -1;
  }
  return unsent > 0 && nagleHolds(tcb) ? -1 : length;
}

function sendNew(tcp: Tcp, tcb: Tcb, length: number, flags: number, mss: number): void {
  const seq = tcb.sndNxt;
  const fin = (flags & FIN) !== 0 ? 1 : 0;
  if (tcb.sndUna === tcb.sndNxt || tcb.retransUs === Infinity || tcb.probing) {
    armRetransmit(tcp, tcb);
  }
  tcb.sndNxt = (seq + length + fin) | 0;
  if (fin !== 0) tcb.finSent = true;
  if (length > 0 && length % mss !== 0) tcb.sndSml = tcb.sndNxt;
  if (!tcb.rttTimed) {
    tcb.rttTimed = true;
    tcb.rttSeq = tcb.sndNxt;
    tcb.rttSentUs = tcp.net.nowUs;
  }
  tcb.lastActiveUs = tcp.net.nowUs;
  tcp.net.count(Mib.TCPOrigDataSent, Math.ceil(length / mss));
  transmit(tcp, tcb, seq, length, flags);
}

/**
 * RFC 9293 3.8.6.1, Linux tcp_write_wakeup: what fits the window, or an empty segment just below
 * it.
 */
function probe(tcp: Tcp, tcb: Tcb): void {
  tcb.pending &= ~PENDING_PROBE;
  const { ctl } = tcp;
  const dataEnd = Atomics.load(ctl, tcb.sndRing + RING_TAIL);
  const unsent = (dataEnd - tcb.sndNxt) | 0;
  const open = (tcb.sndUna + tcb.sndWnd - tcb.sndNxt) | 0;
  if (unsent > 0 && open > 0 && ctl[tcb.sndRing + RING_PAGE] !== 0) {
    const mss = currentMss(tcb);
    const length = Math.min(unsent, open, mss);
    tcb.probing = false;
    sendNew(tcp, tcb, length, ACK | PSH, mss);
    armTimer(tcp, tcb);
    return;
  }
  transmit(tcp, tcb, (tcb.sndUna - 1) | 0, 0, ACK);
}
