/**
 * Tail loss probes (RFC 8985 7; Linux tcp_output.c: tcp_schedule_loss_probe, tcp_input.c:
 * tcp_process_tlp_ack): when nothing is heard for two round trips a segment more tells by its ACK
 * what became of the others, without a time-out. Output sends the probe.
 */
import { Mib } from '../net/mib.js';
import {
  FLAG_DATA_SACKED,
  FLAG_DSACK_TLP,
  FLAG_NOT_DUP,
  FLAG_SND_UNA_ADVANCED,
} from './ack-event.js';
import { CA_CWR, CA_OPEN } from './ca-state.js';
import { endCwndReduction, initCwndReduction } from './prr.js';
import { TIMEOUT_MIN_US } from './rack.js';
import { type Sender, setCaState } from './sender.js';
import { after, before } from './seq.js';
import { RTO_INITIAL_US, type Tcb } from './tcb.js';
import { armXmitTimer, handshaking, rearmRto, rtoDeltaUs, TIME_LOSS_PROBE } from './timer-arm.js';
import { tryKeepOpen } from './undo.js';

/** net.ipv4.tcp_early_retrans: the values that mean probes. */
const TLP_KNOB_LEAST = 3;

/**
 * Arms the probe timer (RFC 8985 7.2); false: there is to be no probe. `advancing`: the time-out
 * would begin anew now.
 */
export function scheduleLossProbe(tcb: Tcb, s: Sender, advancing: boolean): boolean {
  const { sysctl } = tcb.tcp.net;
  if (sysctl.tcpEarlyRetrans < TLP_KNOB_LEAST || s.packetsOut === 0 || !tcb.sackOk) return false;
  if (tcb.caState !== CA_OPEN && tcb.caState !== CA_CWR) return false;
  if (handshaking(tcb)) return false;
  let timeoutUs = RTO_INITIAL_US;
  if (tcb.srttUs > 0) {
    // The ACK of a single segment may be delayed by the peer.
    const slack = s.packetsOut === 1 ? sysctl.tcpRtoMinUs : TIMEOUT_MIN_US;
    timeoutUs = 2 * tcb.srttUs + slack;
  }
  const rtoUs = advancing ? tcb.rtoUs : rtoDeltaUs(tcb, s);
  if (rtoUs > 0) timeoutUs = Math.min(timeoutUs, rtoUs);
  armXmitTimer(tcb, TIME_LOSS_PROBE, timeoutUs);
  return true;
}

/** After progress (Linux: tcp_set_xmit_timer). */
export function setXmitTimer(tcb: Tcb, s: Sender): void {
  if (!scheduleLossProbe(tcb, s, true)) rearmRto(tcb, s);
}

/** An ACK while a probe is under way (RFC 8985 7.4.2): was what the probe repeated lost? */
export function processTlpAck(tcb: Tcb, s: Sender, ack: number, flag: number): void {
  if (before(ack, s.tlpHighSeq)) return;
  if (!s.tlpRetrans || (flag & FLAG_DSACK_TLP) !== 0) {
    // New text has arrived, or both the text and its repetition.
    s.tlpOut = false;
  } else if (after(ack, s.tlpHighSeq)) {
    // Only the repetition has: a loss, to be answered as one.
    initCwndReduction(tcb, s);
    setCaState(tcb, CA_CWR);
    endCwndReduction(tcb, s);
    tryKeepOpen(tcb, s);
    tcb.tcp.net.count(Mib.TCPLossProbeRecovery);
  } else if ((flag & (FLAG_SND_UNA_ADVANCED | FLAG_NOT_DUP | FLAG_DATA_SACKED)) === 0) {
    s.tlpOut = false;
  }
}
