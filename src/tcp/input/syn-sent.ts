/**
 * A segment for a connection that has sent its SYN (RFC 9293 3.10.7.3; Linux tcp_input.c:
 * tcp_rcv_synsent_state_process): SYN-ACK, RST, or the peer's own SYN (simultaneous open).
 */
import { EPOLLIN, EPOLLOUT } from '../../net/epoll-bits.js';
import { Mib } from '../../net/mib.js';
import { ringReset } from '../../net/ring.js';
import { ackNow, delayHandshakeAck } from '../ack-policy.js';
import { ecnTakeSyn } from '../ecn.js';
import { fastopenSynAck } from '../fastopen-client.js';
import { fastopenCrossed } from '../fastopen-path.js';
import { handshakeRtt, initialCwnd } from '../init-transfer.js';
import { advertisedMss, syncMss } from '../mss.js';
import { mtupInit } from '../mtu-probe.js';
import { TIMESTAMP_BYTES } from '../options.js';
import { publishAddresses } from '../publish.js';
import { initReceiveSpace, WINDOW_FIELD_MOST } from '../rcv-space.js';
import { ACK, RST, type Segment, SYN } from '../segment.js';
import { after, before } from '../seq.js';
import { setState } from '../set-state.js';
import { PENDING_OUTPUT, PENDING_SYNACK } from '../sock.js';
import { TCP_ESTABLISHED, TCP_SYN_RECV } from '../state.js';
import { DEFAULT_MSS, type Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { armRetransmit, armTimer, stopRetransmit } from '../timer-arm.js';
import { keepIdleUs } from '../timers.js';
import { tsNow } from '../ts-clock.js';
import { tcpReset } from './checks.js';
import { addSynText } from './syn-text.js';

/** Linux TCP_TIMEOUT_MIN: two ticks, of 4 ms here. */
const TIMEOUT_MIN_US = 8000;

export function synSentArrives(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  const ack = (seg.flags & ACK) !== 0;
  const rst = (seg.flags & RST) !== 0;
  if (ack && (!after(seg.ack, tcb.sndUna) || after(seg.ack, tcb.sndNxt))) {
    if (!rst) tcp.wiring.sendReset(tcp, seg);
    retrySoon(tcp, tcb);
    return;
  }
  if (ack && badEcho(tcp, tcb, seg)) {
    tcp.net.count(Mib.PAWSActive);
    if (!rst) tcp.wiring.sendReset(tcp, seg);
    return;
  }
  if (rst) {
    if (ack) tcpReset(tcp, tcb);
    return;
  }
  if ((seg.flags & SYN) === 0) return;
  takeSyn(tcp, tcb, seg);
  if (ack) established(tcp, tcb, seg);
  else simultaneousOpen(tcp, tcb, seg);
}

/**
 * The peer still has an old connection of this name, which our RST removes: the first SYN is not
 * left to wait for its time-out (5.11).
 */
function retrySoon(tcp: Tcp, tcb: Tcb): void {
  if (tcp.net.sysctl.profile === '5.0' || tcb.retransmits > 0) return;
  tcb.retransUs = tcp.net.nowUs + TIMEOUT_MIN_US;
  armTimer(tcp, tcb);
}

/** The echoed timestamp is not one that our SYNs carried. */
function badEcho(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  if (!tcb.tsOk || !seg.hasTimestamp || seg.tsecr === 0) return false;
  const first = tsNow(tcb.retransStampUs, tcb.tsOffset);
  const last = tsNow(tcp.net.nowUs, tcb.tsOffset);
  return before(seg.tsecr, first) || after(seg.tsecr, last);
}

/**
 * Receive sequence and the options that both want; what our SYN offered stands in tsOk, sackOk and
 * rcvWscale.
 */
function takeSyn(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  tcb.irs = seg.seq;
  tcb.rcvNxt = (seg.seq + 1) | 0;
  tcb.rcvWup = tcb.rcvNxt;
  tcb.sndWl1 = seg.seq;
  tcb.sndWl2 = seg.ack;
  tcb.sndWnd = seg.wnd;
  tcb.maxWindow = Math.max(tcb.maxWindow, seg.wnd);
  tcb.tsOk = tcb.tsOk && seg.hasTimestamp;
  if (tcb.tsOk) {
    tcb.tsRecent = seg.tsval;
    tcb.tsRecentUs = tcp.net.nowUs;
  }
  tcb.sackOk = tcb.sackOk && seg.sackPermitted;
  ecnTakeSyn(tcb, seg);
  tcb.wscaleOk = tcb.wscaleOk && seg.wscale >= 0;
  tcb.sndWscale = tcb.wscaleOk ? seg.wscale : 0;
  if (!tcb.wscaleOk) {
    tcb.rcvWscale = 0;
    tcb.rcvWnd = Math.min(tcb.rcvWnd, WINDOW_FIELD_MOST);
  }
  syncMss(tcp, tcb, seg.mss === 0 ? DEFAULT_MSS : seg.mss);
  mtupInit(tcb);
  // Unlike an accepted one, this connection begins with what the search takes to be safe.
  syncMss(tcp, tcb, tcb.mssClamp);
  tcb.rcvMss = Math.min(tcb.sndMss, tcb.rcvMss);
  initReceiveSpace(tcb, advertisedMss(tcp, tcb) - (tcb.tsOk ? TIMESTAMP_BYTES : 0));
  ringReset(tcp.ctl, tcb.rcvRing, tcb.rcvNxt);
  // With Fast Open text waits in it already.
  if (tcb.tfo === null) ringReset(tcp.ctl, tcb.sndRing, (tcb.iss + 1) | 0);
}

function established(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  // Our SYN counts here, that of a passive open does not (Linux: tcp_snd_una_update).
  tcb.bytesAcked = tcb.counts.bytesAcked = (seg.ack - tcb.iss) | 0;
  tcb.sndUna = seg.ack;
  tcb.sndSml = tcb.sndUna;
  tcb.lastReceivedUs = tcb.lastSentUs = tcp.net.nowUs;
  const withText = tcb.tfo !== null && fastopenSynAck(tcp, tcb, tcb.tfo, seg);
  handshakeRtt(tcb, seg, tcb.rttTimed ? tcp.net.nowUs - tcb.rttSentUs : -1);
  const { retransmits } = tcb;
  tcb.cwnd = initialCwnd(tcb, seg, retransmits, retransmits, tcb.retransStampUs);
  tcb.rttTimed = false;
  tcb.retransmits = tcb.backoff = 0;
  stopRetransmit(tcb);
  if (tcb.keepalive) tcb.keepUs = tcp.net.nowUs + keepIdleUs(tcp, tcb);
  armTimer(tcp, tcb);
  publishAddresses(tcp, tcb);
  setState(tcp, tcb, TCP_ESTABLISHED, EPOLLIN | EPOLLOUT);
  if (withText) addSynText(tcp, tcb, seg);
  if (tcb.deferAccept > 0 || tcb.pingpong) delayHandshakeAck(tcp, tcb);
  else ackNow(tcp, tcb);
  tcp.mark(tcb, PENDING_OUTPUT);
}

/** RFC 9293 MUST-10, 3.5 figure 7: both SYNs crossed; our SYN-ACK repeats our ISN. */
function simultaneousOpen(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  const { retransmits } = tcb;
  tcb.cwnd = initialCwnd(tcb, seg, retransmits, retransmits, tcb.retransStampUs);
  if (tcb.tfo !== null) fastopenCrossed(tcb);
  setState(tcp, tcb, TCP_SYN_RECV);
  tcb.rttTimed = true;
  tcb.rttSentUs = tcp.net.nowUs;
  tcp.mark(tcb, PENDING_SYNACK);
  armRetransmit(tcp, tcb);
}
