/**
 * Segment text and FIN (RFC 9293 3.10.7.4 seventh and eighth; Linux tcp_input.c: tcp_data_queue,
 * tcp_data_queue_ofo, tcp_fin). Payload is copied once, from the packet to its place in the receive
 * ring, or not at all (lend.ts); what lies past a hole is placed too and published when the hole is
 * filled.
 */
import { EPOLLIN, EPOLLRDHUP } from '../../net/epoll-bits.js';
import { Mib } from '../../net/mib.js';
import { RING_CAPACITY, RING_HEAD, RING_TAIL, ringHeld, ringPlace } from '../../net/ring.js';
import type { Skb } from '../../net/skb.js';
import { BLOCK_FLAGS, BLOCK_RCVLOWAT, FILE_ACCEPTED } from '../../net/sockmem.js';
import { ackCheck, ackNow, enterQuickack, onDataReceived } from '../ack-policy.js';
import { ecnCheckCe } from '../ecn.js';
import { lend } from '../lend.js';
import { publishLowat } from '../publish.js';
import { Ranges } from '../ranges.js';
import { growReceiveSpace, growWindow, measureReceiveRtt, tuneReceiveSpace } from '../rcv-space.js';
import { armReadNotice, receiveWindow } from '../rcv-window.js';
import { attachReceiveRing } from '../ring-memory.js';
import { FIN, type Segment } from '../segment.js';
import { after, before, seqMax, seqMin } from '../seq.js';
import { setState } from '../set-state.js';
import {
  CAN_RECEIVE,
  inStates,
  TCP_CLOSE_WAIT,
  TCP_CLOSING,
  TCP_ESTABLISHED,
  TCP_FIN_WAIT1,
  TCP_FIN_WAIT2,
  TCP_SYN_RECV,
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
  const head = before(seg.seq, tcb.rcvNxt);
  // At a closed window even text that is new only behind is refused; a bare FIN is not.
  const closed = window === 0 && head;
  if (closed || (!before(seg.seq, (tcb.rcvNxt + window) | 0) && seg.length > 0)) {
    if (closed) setDsack(tcp, tcb, seg.seq, tcb.rcvNxt, Mib.TCPDSACKOldSent);
    if (window === 0) tcp.net.count(Mib.TCPZeroWindowDrop);
    enterQuickack(tcb);
    ackNow(tcp, tcb);
    return;
  }
  if (after(seg.seq, tcb.rcvNxt)) {
    ecnCheckCe(tcb, seg);
    outOfOrder(tcp, tcb, seg);
  } else {
    inOrder(tcp, tcb, seg);
  }
}

/**
 * All of it is known already: the ACK for it was lost, or the peer retransmitted needlessly (RFC
 * 2883 4).
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

/** There is one D-SACK block: another duplicate counts only if it touches the first. */
function extendDsack(tcp: Tcp, tcb: Tcb, left: number, right: number): void {
  if (tcb.dsackLeft === tcb.dsackRight) {
    setDsack(tcp, tcb, left, right, Mib.TCPDSACKOldSent);
  } else if (!after(left, tcb.dsackRight) && !after(tcb.dsackLeft, right)) {
    tcb.dsackLeft = seqMin(left, tcb.dsackLeft);
    tcb.dsackRight = seqMax(right, tcb.dsackRight);
  }
}

/**
 * Copies what fits of text [seq, seq + length) into the ring; bytes placed (from its first byte
 * on).
 */
function place(
  tcp: Tcp,
  tcb: Tcb,
  seq: number,
  from: number,
  length: number,
  skb: Skb | null = null,
): number {
  if (!attachReceiveRing(tcp, tcb)) {
    tcp.net.count(Mib.TCPRcvQDrop);
    return 0;
  }
  const { ctl } = tcp;
  const head = ctl[tcb.rcvRing + RING_HEAD]!;
  const room = (((head + ctl[tcb.rcvRing + RING_CAPACITY]!) | 0) - seq) | 0;
  const size = Math.max(0, Math.min(length, room));
  if (size < length) tcp.net.count(Mib.TCPRcvQDrop);
  const large = skb !== null && size >= tcp.lendLeastBytes && size > 0;
  if (!large || !lend(tcp, tcb, skb, seq, from, size)) {
    ringPlace(tcp.mem, tcb.rcvRing, seq, from, size);
  }
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
    tuneReceiveSpace(tcp, tcb);
    const placed = place(tcp, tcb, tcb.rcvNxt, seg.data + skip, length, seg.skb);
    cut = placed < length;
    if (placed === 0) {
      ackNow(tcp, tcb);
      return;
    }
    tcb.rcvNxt = (tcb.rcvNxt + placed) | 0;
    onDataReceived(tcp, tcb, seg);
    // After it: the quick ACKs of the first text are more than those of a mark.
    ecnCheckCe(tcb, seg);
    growWindow(tcb, placed);
    measureReceiveRtt(tcp, tcb, seg);
  }
  if (cut) fin = false;
  // Text behind the FIN is none (RFC 9293 3.10.7.4): what waits past it is forgotten.
  const atEnd = fin;
  // A peer whose text runs over the place of its FIN is believed the text, as in Linux.
  if (tcb.ofoFin && after(tcb.rcvNxt, tcb.ofoFinSeq)) tcb.ofoFin = false;
  const filled = !atEnd && mergeOfo(tcp, tcb);
  if (!atEnd && tcb.ofoFin && !before(tcb.rcvNxt, tcb.ofoFinSeq)) {
    tcb.rcvNxt = tcb.ofoFinSeq;
    fin = true;
  }
  tcb.dupAcksOwed = 0;
  tcb.lastActiveUs = tcp.net.nowUs;
  if (length > 0) {
    tcb.counts.bytesReceived += (tcb.rcvNxt - ctl[tcb.rcvRing + RING_TAIL]!) | 0;
    Atomics.store(ctl, tcb.rcvRing + RING_TAIL, tcb.rcvNxt);
    armReadNotice(tcp, tcb);
    if (!fin) dataReady(tcp, tcb);
  }
  const waiting = !atEnd && tcb.ofo !== null && tcb.ofo.count > 0;
  if (filled || cut || waiting) ackNow(tcp, tcb);
  else if (!fin) ackCheck(tcp, tcb, seg.flags);
  // No more of a peer that sends its FIN over and over to a closed window.
  if (fin && length === 0 && receiveWindow(tcb) === 0) ackNow(tcp, tcb);
  if (fin) tcpFin(tcp, tcb);
}

/** Linux tcp_data_ready: whoever waits is told when there is as much as SO_RCVLOWAT says. */
function dataReady(tcp: Tcp, tcb: Tcb): void {
  if (tcb.rcvLowat > 1) {
    publishLowat(tcp, tcb);
    const used = ringHeld(tcp.ctl, tcb.rcvRing);
    if (used < tcp.ctl[tcb.at + BLOCK_RCVLOWAT]!) return;
  }
  tcp.events.ready(tcb.fd, EPOLLIN);
}

/**
 * Takes what now follows without a gap out of the out-of-order ranges. What has just come a second
 * time with the text that filled the gap is a duplicate (Linux: tcp_ofo_queue).
 */
function mergeOfo(tcp: Tcp, tcb: Tcb): boolean {
  const { ofo } = tcb;
  if (ofo === null || ofo.count === 0 || after(ofo.left(0), tcb.rcvNxt)) return false;
  tcp.net.count(Mib.TCPOFOMerge);
  const came = tcb.rcvNxt;
  while (ofo.count > 0 && !after(ofo.left(0), tcb.rcvNxt)) {
    const right = ofo.right(0);
    if (before(ofo.left(0), came)) extendDsack(tcp, tcb, ofo.left(0), seqMin(right, came));
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
  tcb.counts.ofoPackets++;
  tcb.dupAcksOwed++;
  ackNow(tcp, tcb);
  if (tcb.ofo === null) tcb.ofo = new Ranges();
  // RFC 9293 SHLD-31, MAY-13: kept, and the ACK tells where we wait.
  // A FIN has a sequence number of its own, and is reported as any other.
  const { seq, endSeq, length } = seg;
  const fits = length === 0 || place(tcp, tcb, seq, seg.data, length) === length;
  if (fits && duplicateOfo(tcp, tcb, tcb.ofo, seq, endSeq)) return;
  if (!fits || tcb.ofo.add(seq, endSeq) < 0) {
    net.count(Mib.TCPOFODrop);
    return;
  }
  tcb.ofoNewest = seq;
  growWindow(tcb, length);
  if (hasReader(tcp, tcb)) growReceiveSpace(tcp, tcb, tcb.rcvqSpace);
  if ((seg.flags & FIN) === 0) return;
  // Of several the first in sequence is the end of the stream: what lies behind it is never looked
  // at.
  const finSeq = (endSeq - 1) | 0;
  if (!tcb.ofoFin || before(finSeq, tcb.ofoFinSeq)) tcb.ofoFinSeq = finSeq;
  tcb.ofoFin = true;
}

/** Nobody reads what nobody has accepted yet, or what is closed (Linux: sk->sk_socket). */
function hasReader(tcp: Tcp, tcb: Tcb): boolean {
  if (tcb.orphan) return false;
  return tcb.parent === null || (tcp.ctl[tcb.at + BLOCK_FLAGS]! & FILE_ACCEPTED) !== 0;
}

/**
 * Reports what of [seq, end) is waiting past the hole already (RFC 2883 4.1.3). True: all of it, so
 * that it says nothing new, not even by a FIN.
 */
function duplicateOfo(tcp: Tcp, tcb: Tcb, ofo: Ranges, seq: number, end: number): boolean {
  const first = ofo.firstOverlap(seq, end);
  if (first < 0) return false;
  const left = seqMax(seq, ofo.left(first));
  const right = seqMin(end, ofo.right(first));
  setDsack(tcp, tcb, left, right, Mib.TCPDSACKOfoSent);
  if (left !== seq || right !== end) return false;
  tcb.ofoNewest = seq;
  return true;
}

/** Eighth: the peer's FIN is next in sequence (RFC 9293 MUST-12; Linux: tcp_fin). */
export function tcpFin(tcp: Tcp, tcb: Tcb): void {
  tcb.rcvNxt = (tcb.rcvNxt + 1) | 0;
  tcb.shutdown |= RCV_SHUTDOWN;
  tcb.ofoFin = false;
  tcb.ofo = null;
  tcb.dsackLeft = tcb.dsackRight = 0;
  tcb.finReceived = true;
  const events = EPOLLIN | EPOLLRDHUP;
  switch (tcb.state) {
    case TCP_SYN_RECV:
    case TCP_ESTABLISHED:
      // The application will close, too, as a rule: its FIN may carry the ACK.
      tcb.pingpong = true;
      setState(tcp, tcb, TCP_CLOSE_WAIT, events);
      ackCheck(tcp, tcb, FIN);
      break;
    case TCP_FIN_WAIT1:
      ackNow(tcp, tcb);
      setState(tcp, tcb, TCP_CLOSING, events);
      break;
    case TCP_FIN_WAIT2:
      ackNow(tcp, tcb);
      enterTimeWait(tcp, tcb);
      break;
  }
}
