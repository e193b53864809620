/**
 * When an ACK is sent (RFC 9293 3.8.6.3, RFC 5681 4.2; Linux tcp_input.c: tcp_event_data_recv,
 * __tcp_ack_snd_check, tcp_output.c: tcp_send_delayed_ack): quick ACKs at the start, then delayed
 * by 40-200 ms, and riding on data while the connection plays ping-pong. Decides and marks; output
 * sends.
 */
import { advertisedMss } from './mss.js';
import { PSH, type Segment } from './segment.js';
import { PENDING_ACK, PENDING_HELD_ACK } from './sock.js';
import { DEFAULT_MSS, type Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';
import { armTimer } from './timer-arm.js';

/** Linux TCP_ATO_MIN, TCP_DELACK_MAX. */
export const ATO_MIN_US = 40_000;
/** RFC 9293 MUST-40: far below half a second. */
const DELACK_MAX_US = 200_000;
/** A tick of a kernel with HZ=250. */
const TICK_US = 4000;
const MAX_QUICKACKS = 16;
/** Linux TCP_MIN_MSS. */
const MIN_MSS = 88;

/** An ACK goes out with the next output, whatever else there is to send. */
export function ackNow(tcp: Tcp, tcb: Tcb): void {
  tcp.mark(tcb, PENDING_ACK);
}

/** Linux tcp_incr_quickack: a burst of immediate ACKs while the peer may be in slow start. */
function incrQuickack(tcb: Tcb, most: number): void {
  const quick = Math.max(2, Math.floor(tcb.rcvWnd / (2 * tcb.rcvMss)));
  tcb.quickAcks = Math.max(tcb.quickAcks, Math.min(quick, most));
}

/**
 * Linux tcp_enter_quickack_mode: the same, even if the application has been answering all along.
 */
export function enterQuickack(tcb: Tcb, most: number = MAX_QUICKACKS): void {
  incrQuickack(tcb, most);
  tcb.pingpong = false;
  tcb.atoUs = ATO_MIN_US;
}

/**
 * The size of the peer's segments (Linux: tcp_measure_rcv_mss): the largest one seen, or a smaller
 * one that came twice in a row and is not the tail of something.
 */
function measureRcvMss(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  const size = seg.gsoSize > 0 ? seg.gsoSize : seg.length;
  const last = tcb.lastSegBytes;
  tcb.lastSegBytes = 0;
  if (size >= tcb.rcvMss) {
    tcb.rcvMss = Math.min(size, advertisedMss(tcp, tcb));
  } else if (size >= DEFAULT_MSS || (size >= MIN_MSS && (seg.flags & PSH) === 0)) {
    if (size === last) tcb.rcvMss = size;
    tcb.lastSegBytes = size;
  }
}

/** New in-order data has arrived: estimates the peer's segment size and its pace. */
export function onDataReceived(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  const { nowUs } = tcp.net;
  measureRcvMss(tcp, tcb, seg);
  if (tcb.atoUs === 0) {
    incrQuickack(tcb, MAX_QUICKACKS);
    tcb.atoUs = ATO_MIN_US;
  } else {
    const gap = nowUs - tcb.lastReceivedUs;
    if (gap <= ATO_MIN_US / 2) tcb.atoUs = (tcb.atoUs >> 1) + ATO_MIN_US / 2;
    else if (gap < tcb.atoUs) tcb.atoUs = Math.min((tcb.atoUs >> 1) + gap, tcb.rtoUs);
    else if (gap > tcb.rtoUs) incrQuickack(tcb, MAX_QUICKACKS);
  }
  tcb.lastReceivedUs = nowUs;
}

/**
 * Data is in: now or later?
 * @param flags of the segment; with PSH it is the end of what the peer has to say for now, and an
 *   answer may be near
 */
export function ackCheck(tcp: Tcp, tcb: Tcb, flags: number): void {
  const unacked = (tcb.rcvNxt - tcb.rcvWup) | 0;
  // RFC 9293 SHLD-19: at least every second full segment. Linux holds this ACK back while the
  // reader lags, because its reader sends it then (tcp_cleanup_rbuf); ours reads without a word to
  // the stack.
  if (unacked > tcb.rcvMss) ackNow(tcp, tcb);
  else if (tcb.quickAcks === 0 || tcb.pingpong) delayAck(tcp, tcb);
  else if ((flags & PSH) !== 0) tcp.heldAcks.hold(tcb);
  else ackNow(tcp, tcb);
}

/** RFC 1122 4.2.3.2, RFC 9293 SHLD-18. */
function delayAck(tcp: Tcp, tcb: Tcb): void {
  // Without an estimate, a FIN that no text came before, Linux takes the next tick of its clock.
  let ato = tcb.atoUs === 0 ? TICK_US : Math.max(tcb.atoUs, ATO_MIN_US);
  if (ato > ATO_MIN_US) {
    let most = DELACK_MAX_US;
    if (tcb.srttUs > 0) most = Math.min(most, Math.max(tcb.srttUs, ATO_MIN_US));
    ato = Math.min(ato, most);
  }
  const { nowUs } = tcp.net;
  // One that is about to be sent anyway covers this segment too.
  const soon = tcb.atoUs === 0 ? ato : ato >> 2;
  if (tcb.delackUs <= nowUs + soon) {
    ackNow(tcp, tcb);
  } else if (nowUs + ato < tcb.delackUs) {
    tcb.delackUs = nowUs + ato;
    armTimer(tcp, tcb);
  }
}

/**
 * The last ACK of a handshake waits for data to ride on (Linux: tcp_rcv_synsent_state_process with
 * TCP_DEFER_ACCEPT).
 */
export function delayHandshakeAck(tcp: Tcp, tcb: Tcb): void {
  enterQuickack(tcb);
  tcb.delackUs = tcp.net.nowUs + DELACK_MAX_US;
  armTimer(tcp, tcb);
}

/**
 * An ACK (alone or on data) has left; one that was owed uses up a quick ACK (Linux:
 * tcp_dec_quickack_mode).
 */
export function onAckSent(tcb: Tcb): void {
  const marked = tcb.pending & (PENDING_ACK | PENDING_HELD_ACK);
  const owed = tcb.delackUs !== Infinity || marked !== 0;
  tcb.pending &= ~PENDING_HELD_ACK;
  tcb.delackUs = Infinity;
  if (!owed || tcb.quickAcks === 0) return;
  tcb.quickAcks--;
  if (tcb.quickAcks === 0) tcb.atoUs = ATO_MIN_US;
}

/** Data has left: soon after the peer's, so its ACKs may ride on ours from now on. */
export function onDataSent(tcp: Tcp, tcb: Tcb): void {
  const { nowUs } = tcp.net;
  tcb.lastSentUs = nowUs;
  if (nowUs - tcb.lastReceivedUs < tcb.atoUs) tcb.pingpong = true;
}
