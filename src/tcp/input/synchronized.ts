/**
 * A segment for a connection that has seen both SYNs: the eight checks of RFC 9293 3.10.7.4 in the
 * order of the text (Linux tcp_input.c: tcp_rcv_state_process, tcp_rcv_established). The third,
 * security, has nothing to check.
 */
import { EPOLLOUT } from '../../net/epoll-bits.js';
import { Mib } from '../../net/mib.js';
import { ackCheck } from '../ack-policy.js';
import { fastopenCrossedAcked, synEnd } from '../fastopen-path.js';
import { handshakeRtt } from '../init-transfer.js';
import { rememberPeer } from '../proven-peers.js';
import { ACK, FIN, RST, type Segment, SYN } from '../segment.js';
import { after, before, between } from '../seq.js';
import { closeSending, setState, synOutstanding, tcpDone } from '../set-state.js';
import { PENDING_OUTPUT } from '../sock.js';
import {
  CAN_RECEIVE,
  inStates,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_LAST_ACK,
  TCP_SYN_RECV,
} from '../state.js';
import { RCV_SHUTDOWN, SEND_SHUTDOWN, type Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { tcpAck } from './ack.js';
import { checkRst, checkSequence, checkSyn, tcpReset, updateTsRecent } from './checks.js';
import { fastopenCheckRequest, fastopenEstablished } from './fastopen-child.js';
import { dataQueue } from './text.js';
import { enterTimeWait, waitForPeer } from './time-wait.js';
import { urgentArrives } from './urgent.js';

/** The segment is for `tcb`, whose state is SYN-RECEIVED or synchronized. */
export function synchronizedArrives(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  countSegments(tcb, seg);
  const ended = tcb.finReceived;
  if (tcb.fastopenQueue !== null && !fastopenCheckRequest(tcp, tcb, seg)) return;
  // Without any of these bits a segment says nothing: not even its sequence number is answered.
  if ((seg.flags & (ACK | RST | SYN)) === 0) return;
  // First: sequence number. Second: RST. Fourth: SYN.
  if (!checkSequence(tcp, tcb, seg)) return;
  if (!checkRst(tcp, tcb, seg)) return;
  if (!checkSyn(tcp, tcb, seg)) return;
  // Fifth: ACK.
  if (!checkAck(tcp, tcb, seg)) return;
  // Whatever comes is an occasion to send what MSG_MORE has held back.
  if (tcb.more) {
    tcb.more = false;
    tcp.mark(tcb, PENDING_OUTPUT);
  }
  // Sixth: URG. After the peer's FIN there is none (RFC 9293 3.10.7.4).
  if (inStates(tcb.state, CAN_RECEIVE)) urgentArrives(tcp, tcb, seg);
  // Seventh: segment text. Eighth: FIN.
  if (inStates(tcb.state, CAN_RECEIVE)) {
    if (orphanedText(tcp, tcb, seg)) return;
    dataQueue(tcp, tcb, seg);
  } else if (before(seg.seq, tcb.rcvNxt)) {
    // After the peer's FIN only retransmissions of what we have can come: acknowledged again.
    if (!textAfterEnd(tcp, tcb, seg)) dataQueue(tcp, tcb, seg);
  }
  // Whatever comes after the peer's FIN shows that it may wait for the ACK of it.
  if (ended && tcb.delackUs !== Infinity) ackCheck(tcp, tcb, 0);
}

/** A merged super-packet counts as the segments that it was made of. */
function countSegments(tcb: Tcb, seg: Segment): void {
  const { counts } = tcb;
  const segments = seg.gsoSize > 0 ? Math.max(1, Math.ceil(seg.length / seg.gsoSize)) : 1;
  counts.segsIn += segments;
  if (seg.length > 0) counts.dataSegsIn += segments;
}

function checkAck(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  if (synOutstanding(tcb) && !completeHandshake(tcp, tcb, seg)) return false;
  if (!tcpAck(tcp, tcb, seg)) return false;
  if (tcb.fastopenQueue !== null) fastopenEstablished(tcp, tcb);
  // Before a minisocket takes it over.
  updateTsRecent(tcp, tcb, seg);
  return afterAck(tcp, tcb, seg);
}

/** An acceptable ACK of our SYN establishes the connection, another one is answered with a RST. */
function completeHandshake(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  if (!between(seg.ack, (tcb.sndUna + 1) | 0, synEnd(tcb))) {
    tcp.wiring.sendReset(tcp, seg);
    return false;
  }
  tcb.sndWnd = seg.wnd << tcb.sndWscale;
  tcb.maxWindow = Math.max(tcb.maxWindow, tcb.sndWnd);
  tcb.sndWl1 = seg.seq;
  tcb.sndWl2 = seg.ack;
  if (tcb.srttUs === 0) handshakeRtt(tcb, seg, tcb.rttTimed ? tcp.net.nowUs - tcb.rttSentUs : -1);
  tcb.rttTimed = false;
  if (tcb.tfo !== null) fastopenCrossedAcked(tcp, tcb, tcb.tfo, seg.ack);
  if (tcb.state === TCP_SYN_RECV) setState(tcp, tcb, TCP_ESTABLISHED, EPOLLOUT);
  // shutdown(SHUT_WR) has been waiting for this.
  if ((tcb.shutdown & SEND_SHUTDOWN) !== 0) closeSending(tcp, tcb);
  return true;
}

/** What an acceptable ACK means for a connection that is closing. False: the connection is gone. */
function afterAck(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  if (!tcb.finSent || tcb.sndUna !== tcb.sndNxt) return true;
  switch (tcb.state) {
    case TCP_FIN_WAIT1:
      return finAcknowledged(tcp, tcb, seg);
    case TCP_CLOSING:
      enterTimeWait(tcp, tcb);
      return false;
    case TCP_LAST_ACK:
      rememberPeer(tcp, tcb);
      tcpDone(tcp, tcb);
      return false;
  }
  return true;
}

function finAcknowledged(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  tcb.shutdown |= SEND_SHUTDOWN;
  setState(tcp, tcb, TCP_FIN_WAIT2, EPOLLOUT);
  if (!tcb.orphan) return true;
  if (tcb.linger2 < 0) {
    tcp.net.count(Mib.TCPAbortOnData);
    tcpDone(tcp, tcb);
    return false;
  }
  if (orphanedText(tcp, tcb, seg)) return false;
  // The FIN that is next takes this segment to TIME-WAIT at once.
  if ((seg.flags & FIN) !== 0 && seg.endSeq === ((tcb.rcvNxt + 1) | 0)) return true;
  waitForPeer(tcp, tcb);
  return false;
}

/** New text for a connection in FIN-WAIT whose reader is gone (RFC 9293 3.6.1 MAY). */
function orphanedText(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  const closing = tcb.state === TCP_FIN_WAIT1 || tcb.state === TCP_FIN_WAIT2;
  if (!closing || (tcb.shutdown & RCV_SHUTDOWN) === 0) return false;
  return textAfterEnd(tcp, tcb, seg);
}

/**
 * Text, or a FIN past RCV.NXT, that can be delivered to nobody: reset, so that the peer knows that
 * it is lost (RFC 9293 SHLD-3; Linux: TCPAbortOnData). True: the connection is gone.
 */
function textAfterEnd(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  const textEnd = (seg.endSeq - (seg.flags & FIN)) | 0;
  if (seg.endSeq === seg.seq || !after(textEnd, tcb.rcvNxt)) return false;
  tcp.net.count(Mib.TCPAbortOnData);
  tcp.wiring.sendReset(tcp, seg);
  tcpReset(tcp, tcb);
  return true;
}
