/**
 * When a congestion window that was not used is no longer believed (RFC 7661, RFC 2861, RFC 5681
 * 4.1; Linux tcp_output.c: tcp_cwnd_restart, tcp_cwnd_validate, tcp_cwnd_application_limited).
 */
import { RING_TAIL, RING_WAKE } from '../net/ring.js';
import { CA_OPEN } from './ca-state.js';
import { CHRONO_SNDBUF_LIMITED, chronoStart } from './chrono.js';
import { isCwndLimited } from './cong/congestion.js';
import { INITIAL_SEGMENTS } from './init-transfer.js';
import { currentSsthresh, type Sender } from './sender.js';
import { after, before } from './seq.js';
import { CAN_SEND, inStates } from './state.js';
import type { Tcb } from './tcb.js';

/**
 * Something is about to be sent: after a silence of more than one RTO cwnd is halved for each, not
 * below the initial window. ssthresh remembers (Linux: tcp_slow_start_after_idle_check).
 */
export function slowStartAfterIdle(tcb: Tcb, s: Sender): void {
  const { net } = tcb.tcp;
  if (net.sysctl.tcpSlowStartAfterIdle === 0 || s.packetsOut > 0 || tcb.lastSentUs === 0) return;
  let idleUs = net.nowUs - tcb.lastSentUs;
  if (idleUs <= tcb.rtoUs) return;
  tcb.ssthresh = currentSsthresh(tcb);
  const restart = Math.min(INITIAL_SEGMENTS, tcb.cwnd);
  let { cwnd } = tcb;
  for (idleUs -= tcb.rtoUs; idleUs > 0 && cwnd > restart; idleUs -= tcb.rtoUs) cwnd >>= 1;
  tcb.cwnd = Math.max(cwnd, restart);
  s.cwndStampUs = net.nowUs;
  s.cwndUsed = 0;
}

/**
 * After sending: was cwnd what held the sender back in this window of data? Only then does it say
 * anything about the path and may grow.
 */
export function cwndValidate(tcb: Tcb, s: Sender, limited: boolean): void {
  const newWindow = !before(tcb.sndUna, s.cwndUsageSeq);
  if (newWindow || limited || (!s.cwndLimited && s.packetsOut > s.maxPacketsOut)) {
    s.cwndLimited = limited;
    s.maxPacketsOut = s.packetsOut;
    s.cwndUsageSeq = tcb.sndNxt;
  }
  const { net } = tcb.tcp;
  if (isCwndLimited(tcb, s)) {
    s.cwndUsed = 0;
    s.cwndStampUs = net.nowUs;
    return;
  }
  if (s.packetsOut > s.cwndUsed) s.cwndUsed = s.packetsOut;
  const { tcpSlowStartAfterIdle } = net.sysctl;
  if (tcpSlowStartAfterIdle !== 0 && net.nowUs - s.cwndStampUs >= tcb.rtoUs) {
    applicationLimited(tcb, s);
  }
  // All has left, and more would be written if there were room.
  const all = tcb.sndNxt === tcb.tcp.ctl[tcb.sndRing + RING_TAIL];
  if (all && inStates(tcb.state, CAN_SEND) && writerWaits(tcb)) {
    chronoStart(tcb, CHRONO_SNDBUF_LIMITED);
  }
}

/**
 * For an RTO cwnd was not needed: half of what was not used goes. Not while the application waits
 * for room in the send buffer, as then it is that which is too small.
 */
function applicationLimited(tcb: Tcb, s: Sender): void {
  if (tcb.caState === CA_OPEN && !writerWaits(tcb)) {
    const used = Math.max(s.cwndUsed, INITIAL_SEGMENTS);
    if (used < tcb.cwnd) {
      tcb.ssthresh = currentSsthresh(tcb);
      tcb.cwnd = (tcb.cwnd + used) >> 1;
    }
    s.cwndUsed = 0;
  }
  s.cwndStampUs = tcb.tcp.net.nowUs;
}

/** Linux SOCK_NOSPACE: the application has found the send buffer full, and has not been told. */
function writerWaits(tcb: Tcb): boolean {
  const { ctl } = tcb.tcp;
  return !after(ctl[tcb.sndRing + RING_WAKE]!, ctl[tcb.sndRing + RING_TAIL]!);
}
