/**
 * Loss recovery: what is lost, what may be sent (RFC 6675 with SACK, RFC 6582 without, RFC 5681 for
 * the window). The whole model is three marks: everything unsacked below `lossPoint` is lost, what
 * of it lies below `rtxNxt` has been sent again, and recovery ends at `recoveryPoint`. Input calls
 * onAck/onDupAck; output asks nextLost and inFlight.
 */
import { Mib } from '../net/mib.js';
import { Ranges } from './ranges.js';
import type { Segment } from './segment.js';
import { after, before, seqMax, seqMin } from './seq.js';
import { PENDING_HEAD, PENDING_OUTPUT } from './sock.js';
import { CA_LOSS, CA_OPEN, CA_RECOVERY, type Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** RFC 5681 3.2: duplicate ACKs that mean a loss. */
const DUP_THRESH = 3;

/**
 * Takes the SACK blocks of a segment; bytes newly reported. Blocks outside [SND.UNA, SND.NXT] are
 * ignored (RFC 2018 5).
 */
export function takeSacks(tcp: Tcp, tcb: Tcb, seg: Segment): number {
  let fresh = 0;
  for (let i = 0; i < seg.sackCount; i++) {
    const left = seg.sacks[i * 2]!;
    const right = seg.sacks[i * 2 + 1]!;
    if (!before(left, right) || after(right, tcb.sndNxt)) continue;
    if (i === 0 && !after(right, seg.ack)) tcp.net.count(Mib.TCPDSACKRecv);
    if (!after(right, tcb.sndUna) || before(left, seg.ack)) continue;
    if (tcb.sacked === null) tcb.sacked = new Ranges();
    fresh += Math.max(0, tcb.sacked.add(seqMax(left, tcb.sndUna), right));
  }
  return fresh;
}

/** Bytes that are in the network (RFC 6675 4: pipe). */
export function inFlight(tcb: Tcb): number {
  const outstanding = (tcb.sndNxt - tcb.sndUna) | 0;
  let held = tcb.sacked === null ? 0 : tcb.sacked.bytes;
  if (!tcb.sackOk) held = Math.min(tcb.dupAcks * tcb.sndMss, outstanding);
  if (tcb.caState < CA_RECOVERY) return Math.max(0, outstanding - held);
  const from = seqMax(tcb.rtxNxt, tcb.sndUna);
  let lost = (tcb.lossPoint - from) | 0;
  if (lost <= 0) lost = 0;
  else if (tcb.sacked !== null) lost -= tcb.sacked.covered(from, tcb.lossPoint);
  return Math.max(0, outstanding - held - lost);
}

/** Bytes that were sent again and are not yet acknowledged. */
export function resentBytes(tcb: Tcb): number {
  if (tcb.caState < CA_RECOVERY) return 0;
  const end = seqMax(tcb.rtxNxt, tcb.sndUna);
  const held = tcb.sacked === null ? 0 : tcb.sacked.covered(tcb.sndUna, end);
  return ((end - tcb.sndUna) | 0) - held;
}

/** In recovery: first sequence number that is lost and not yet sent again, null = there is none. */
export function nextLost(tcb: Tcb): number | null {
  let seq = seqMax(tcb.rtxNxt, tcb.sndUna);
  if (tcb.sacked !== null) {
    const index = tcb.sacked.find(seq);
    if (index >= 0) seq = tcb.sacked.right(index);
  }
  return before(seq, tcb.lossPoint) ? seq : null;
}

/** End of the hole that begins at `seq`: the next sacked byte or the loss point. */
export function holeEnd(tcb: Tcb, seq: number): number {
  const { sacked } = tcb;
  let end = tcb.lossPoint;
  if (sacked !== null) {
    for (let i = 0; i < sacked.count; i++) {
      if (after(sacked.left(i), seq)) {
        end = seqMin(end, sacked.left(i));
        break;
      }
    }
  }
  return end;
}

/**
 * RFC 6675 4 IsLost: everything below a range counts as lost once more than two segments above it
 * have been sacked, or three separate ranges. Returns the highest such point, or SND.UNA.
 */
function sackLossPoint(tcb: Tcb): number {
  // Only asked after SACK blocks have come.
  const sacked = tcb.sacked!;
  let above = 0;
  for (let i = sacked.count - 1; i >= 0; i--) {
    above += (sacked.right(i) - sacked.left(i)) | 0;
    if (above > (DUP_THRESH - 1) * tcb.sndMss || sacked.count - i >= DUP_THRESH) {
      return sacked.left(i);
    }
  }
  return tcb.sndUna;
}

/**
 * An ACK that does not advance SND.UNA although data is outstanding, or one with new SACK blocks.
 */
export function onDupAck(tcp: Tcp, tcb: Tcb): void {
  if (tcb.caState === CA_OPEN) {
    const lost = tcb.sackOk ? sackLossPoint(tcb) : tcb.sndUna;
    if (after(lost, tcb.sndUna)) enterRecovery(tcp, tcb, lost);
    else if (tcb.dupAcks >= DUP_THRESH && !echoOfRecovery(tcb)) {
      enterRecovery(tcp, tcb, firstHoleEnd(tcb));
    }
  } else if (tcb.caState === CA_RECOVERY && tcb.sackOk) {
    tcb.lossPoint = seqMax(tcb.lossPoint, sackLossPoint(tcb));
  }
  tcp.mark(tcb, PENDING_OUTPUT);
}

/**
 * RFC 6582 4.1: without SACK, duplicate ACKs of what a past recovery sent needlessly again prove
 * nothing.
 */
function echoOfRecovery(tcb: Tcb): boolean {
  return !tcb.sackOk && tcb.sndUna === tcb.recoveryPoint;
}

/**
 * What three duplicate ACKs call lost: the first segment, which ends where SACKed data begins at
 * the latest.
 */
function firstHoleEnd(tcb: Tcb): number {
  const end = (tcb.sndUna + tcb.sndMss) | 0;
  const { sacked } = tcb;
  return sacked !== null && sacked.count > 0 ? seqMin(end, sacked.left(0)) : end;
}

function enterRecovery(tcp: Tcp, tcb: Tcb, lossPoint: number): void {
  tcp.net.count(tcb.sackOk ? Mib.TCPSackRecovery : Mib.TCPRenoRecovery);
  tcb.ssthresh = tcb.congestion.onLoss(tcb);
  tcb.cwnd = tcb.ssthresh;
  tcb.caState = CA_RECOVERY;
  tcb.recoveryPoint = tcb.sndNxt;
  tcb.rtxNxt = tcb.sndUna;
  tcb.lossPoint = seqMin(lossPoint, tcb.sndNxt);
  tcb.rttTimed = false;
  tcp.mark(tcb, PENDING_OUTPUT | PENDING_HEAD);
}

/** SND.UNA has advanced while in recovery: done, or a partial ACK (RFC 6582 3.2, RFC 6675 5). */
export function onRecoveryAdvance(tcp: Tcp, tcb: Tcb, acked: number): void {
  if (!before(tcb.sndUna, tcb.recoveryPoint)) {
    if (tcb.caState === CA_RECOVERY) tcb.cwnd = Math.max(tcb.ssthresh, 2 * tcb.sndMss);
    leaveRecovery(tcb);
    return;
  }
  tcb.rtxNxt = seqMax(tcb.rtxNxt, tcb.sndUna);
  if (tcb.caState === CA_RECOVERY) {
    if (tcb.sackOk) {
      // A partial ACK that stops below what was sent again: that retransmission was lost or is
      // still under way.
      tcb.lossPoint = seqMax(tcb.lossPoint, sackLossPoint(tcb));
    } else {
      // Of the duplicate ACKs, those for what has now been acknowledged no longer stand for bytes
      // in flight.
      const segments = Math.max(0, Math.ceil(acked / tcb.sndMss) - 1);
      tcb.dupAcks = Math.max(0, tcb.dupAcks - segments);
      tcb.rtxNxt = tcb.sndUna;
      tcb.lossPoint = seqMin((tcb.sndUna + tcb.sndMss) | 0, tcb.sndNxt);
      // RFC 6582 3.2 step 3: the first hole goes out at once.
      tcp.mark(tcb, PENDING_HEAD);
    }
  }
  tcp.mark(tcb, PENDING_OUTPUT);
}

function leaveRecovery(tcb: Tcb): void {
  tcb.caState = CA_OPEN;
  tcb.dupAcks = 0;
  tcb.lossPoint = tcb.rtxNxt = tcb.sndUna;
}

/**
 * The retransmission timer fired (RFC 5681 3.1, RFC 6298 5.4-5.6): everything outstanding counts as
 * lost.
 */
export function enterLoss(tcp: Tcp, tcb: Tcb): void {
  // One reduction per window of data, but another one when progress was made since (Linux:
  // tcp_enter_loss).
  const progress = tcb.caState === CA_LOSS && tcb.retransmits === 0;
  if (tcb.caState < CA_RECOVERY || progress || !before(tcb.sndUna, tcb.recoveryPoint)) {
    tcb.ssthresh = tcb.congestion.onRto(tcb);
    tcb.recoveryPoint = tcb.sndNxt;
  }
  tcb.caState = CA_LOSS;
  tcb.cwnd = tcb.sndMss;
  tcb.dupAcks = 0;
  tcb.rtxNxt = tcb.sndUna;
  tcb.lossPoint = tcb.sndNxt;
  tcb.rttTimed = false;
  // RFC 2018 8: the peer may have discarded what it had sacked; the head must be sent in any case.
  if (tcb.sacked !== null && tcb.sacked.find(tcb.sndUna) >= 0) {
    tcp.net.count(Mib.TCPSACKReneging);
    tcb.sacked.clear();
  }
  tcp.mark(tcb, PENDING_OUTPUT | PENDING_HEAD);
}
