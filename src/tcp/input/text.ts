/**
 * Segment text and FIN (RFC 9293 3.10.7.4 seventh and eighth; Linux tcp_input.c: tcp_data_queue,
 * tcp_data_queue_ofo, tcp_fin). Payload is copied once, from the packet to its place in the receive
 * ring; what lies past a hole is placed too and published when the hole is filled.
 */
import { EPOLLIN, EPOLLRDHUP } from '../../net/epoll-bits.js';
import { Mib } from '../../net/mib.js';
import { RING_CAPACITY, RING_HEAD, RING_TAIL, ringPlace } from '../../net/ring.js';
import { ackCheck, ackNow, enterQuickack, onDataReceived } from '../ack-policy.js';
import { Ranges } from '../ranges.js';
import { armReadNotice, receiveWindow, tuneReceiveSpace } from '../rcv-window.js';
import { attachReceiveRing } from '../ring-memory.js';
import { FIN, type Segment } from '../segment.js';
import { after, before, seqMin } from '../seq.js';
import { setState } from '../set-state.js';
import {
  CAN_RECEIVE,
  inStates,
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
} from '../state.js';
import { RCV_SHUTDOWN, type Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { enterTimeWait } from './time-wait.js';

/** Takes text and FIN of an acceptable segment in a state that may receive them. */
export function dataQueue(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  if (seg.endSeq === seg.seq) return;
  // After the peer's FIN there is no new text, whatever a segment says.
  if (!after(seg.endSeq, tcb.rcvNxt) || !inStates(tcb.state, CAN_RECEIVE)) {
    duplicateText(tcp, tcb, seg);
    return;
  }
  const window = receiveWindow(tcb);
  if (!before(seg.seq, (tcb.rcvNxt + window) | 0) && seg.length > 0) {
    if (window === 0) tcp.net.count(Mib.TCPZeroWindowDrop);
    enterQuickack(tcb);
    ackNow(tcp, tcb);
    return;
  }
  if (after(seg.seq, tcb.rcvNxt)) outOfOrder(tcp, tcb, seg);
  else inOrder(tcp, tcb, seg);
}

/**
 * All of it is known already: the ACK for it was lost, or the peer retransmitted needlessly (RFC
 * 2883).
 */
function duplicateText(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  tcp.net.count(Mib.DelayedACKLost);
  setDsack(tcp, tcb, seg.seq, seqMin(seg.endSeq, tcb.rcvNxt), Mib.TCPDSACKOldSent);
  enterQuickack(tcb);
  ackNow(tcp, tcb);
}

function setDsack(tcp: Tcp, tcb: Tcb, left: number, right: number, counter: number): void {
  if (!tcb.sackOk) return;
  tcp.net.count(counter);
  tcb.dsackLeft = left;
  tcb.dsackRight = right;
}

/**
 * Copies what fits of text [seq, seq + length) into the ring; bytes placed (from its first byte
 * on).
 */
function place(tcp: Tcp, tcb: Tcb, seq: number, from: number, length: number): number {
  if (!attachReceiveRing(tcp, tcb)) {
    tcp.net.count(Mib.TCPRcvQDrop);
    return 0;
  }
  const { ctl } = tcp;
  const head = Atomics.load(ctl, tcb.rcvRing + RING_HEAD);
  const room = (((head + ctl[tcb.rcvRing + RING_CAPACITY]!) | 0) - seq) | 0;
  const size = Math.max(0, Math.min(length, room));
  if (size < length) tcp.net.count(Mib.TCPRcvQDrop);
  ringPlace(tcp.mem, tcb.rcvRing, seq, from, size);
  return size;
}

function inOrder(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  const { ctl } = tcp;
  const skip = (tcb.rcvNxt - seg.seq) | 0;
  if (skip > 0) setDsack(tcp, tcb, seg.seq, tcb.rcvNxt, Mib.TCPDSACKOldSent);
  const length = seg.length - skip;
  let fin = (seg.flags & FIN) !== 0;
  let cut = false;
  if (length > 0) {
    const placed = place(tcp, tcb, tcb.rcvNxt, seg.data + skip, length);
    cut = placed < length;
    if (placed === 0) {
      ackNow(tcp, tcb);
      return;
    }
    tcb.rcvNxt = (tcb.rcvNxt + placed) | 0;
    onDataReceived(tcp, tcb, seg);
  }
  if (cut) fin = false;
  const filled = mergeOfo(tcp, tcb);
  if (tcb.ofoFin && !before(tcb.rcvNxt, tcb.ofoFinSeq)) {
    // Text behind the FIN is none (RFC 9293 3.10.7.4).
    tcb.rcvNxt = tcb.ofoFinSeq;
    fin = true;
  }
  tcb.dupAcksOwed = 0;
  tcb.lastActiveUs = tcp.net.nowUs;
  if (length > 0) {
    Atomics.store(ctl, tcb.rcvRing + RING_TAIL, tcb.rcvNxt);
    armReadNotice(tcp, tcb);
    tuneReceiveSpace(tcp, tcb);
    if (!fin) tcp.events.ready(tcb.fd, EPOLLIN);
  }
  if (filled || cut || (tcb.ofo !== null && tcb.ofo.count > 0)) ackNow(tcp, tcb);
  else if (!fin) ackCheck(tcp, tcb);
  if (fin) tcpFin(tcp, tcb);
}

/** Takes what now follows without a gap out of the out-of-order ranges. */
function mergeOfo(tcp: Tcp, tcb: Tcb): boolean {
  const { ofo } = tcb;
  if (ofo === null || ofo.count === 0 || after(ofo.left(0), tcb.rcvNxt)) return false;
  tcp.net.count(Mib.TCPOFOMerge);
  while (ofo.count > 0 && !after(ofo.left(0), tcb.rcvNxt)) {
    const right = ofo.right(0);
    if (after(right, tcb.rcvNxt)) tcb.rcvNxt = right;
    ofo.trimBefore(tcb.rcvNxt);
  }
  return true;
}

/**
 * Text past a hole: placed, remembered, reported by an immediate duplicate ACK with SACK (RFC 5681
 * 4.2, RFC 2018 4).
 */
function outOfOrder(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  const { net } = tcp;
  net.count(Mib.TCPOFOQueue);
  tcb.dupAcksOwed++;
  ackNow(tcp, tcb);
  if (tcb.ofo === null) tcb.ofo = new Ranges();
  const right = seqMin((tcb.rcvNxt + receiveWindow(tcb)) | 0, (seg.seq + seg.length) | 0);
  const length = (right - seg.seq) | 0;
  if (length > 0) {
    const placed = place(tcp, tcb, seg.seq, seg.data, length);
    if (placed < length) {
      net.count(Mib.TCPOFODrop);
      return;
    }
    const fresh = tcb.ofo.add(seg.seq, right);
    if (fresh < 0) {
      net.count(Mib.TCPOFODrop);
      return;
    }
    if (fresh === 0) setDsack(tcp, tcb, seg.seq, right, Mib.TCPDSACKOfoSent);
    tcb.ofoNewest = seg.seq;
  }
  if ((seg.flags & FIN) !== 0 && right === ((seg.seq + seg.length) | 0)) {
    tcb.ofoFin = true;
    tcb.ofoFinSeq = right;
  }
}

/** Eighth: the peer's FIN is next in sequence (Linux: tcp_fin). */
function tcpFin(tcp: Tcp, tcb: Tcb): void {
  tcb.rcvNxt = (tcb.rcvNxt + 1) | 0;
  tcb.shutdown |= RCV_SHUTDOWN;
  tcb.ofoFin = false;
  tcb.ofo = null;
  ackNow(tcp, tcb);
  const events = EPOLLIN | EPOLLRDHUP;
  switch (tcb.state) {
    case TCP_ESTABLISHED:
      tcb.pingpong = true;
      setState(tcp, tcb, TCP_CLOSE_WAIT, events);
      break;
    case TCP_FIN_WAIT1:
      setState(tcp, tcb, TCP_CLOSING, events);
      break;
    case TCP_FIN_WAIT2:
      enterTimeWait(tcp, tcb);
      break;
  }
}
