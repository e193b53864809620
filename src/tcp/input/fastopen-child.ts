/**
 * A segment for a Fast Open child whose third ACK has not come (RFC 7413 4.2.2; Linux
 * tcp_minisocks.c: tcp_check_req, tcp_input.c: tcp_rcv_synrecv_state_fastopen): until then it is
 * judged as for a request, whose place the child has taken.
 */
import { Mib } from '../../net/mib.js';
import { CA_LOSS } from '../ca-state.js';
import { fastopenQueueRemove } from '../fastopen-queue.js';
import { ACK, RST, type Segment, SYN } from '../segment.js';
import { PENDING_ACK, PENDING_SYNACK } from '../sock.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { rearmRto } from '../timer-arm.js';
import { anyRetransDone, tryUndoRecovery } from '../undo.js';
import { inWindow, oowLimited, oowRateLimited, pawsReject, tcpReset } from './checks.js';

/**
 * A segment for a child whose third ACK has not come. False: it has been dealt with (Linux:
 * tcp_check_req). An ACK is judged by the caller, because text may have been sent.
 */
export function fastopenCheckRequest(tcp: Tcp, tcb: Tcb, seg: Segment): boolean {
  const { net } = tcp;
  const { flags } = seg;
  const old = tcb.tsOk && pawsReject(tcb.tsRecent, tcb.tsRecentUs, seg, net.nowUs);
  if (seg.seq === tcb.irs && (flags & (SYN | RST | ACK)) === SYN && !old) {
    repeatSynAck(tcp, tcb, seg);
    return false;
  }
  if (old || !inWindow(seg, tcb.rcvNxt, (tcb.rcvNxt + tcb.rcvWnd) | 0)) {
    const silent = (flags & RST) !== 0;
    if (!silent && !oowRateLimited(tcp, tcb, seg, Mib.TCPACKSkippedSynRecv)) {
      tcp.mark(tcb, PENDING_ACK);
    }
    if (old) net.count(Mib.PAWSEstab);
    return false;
  }
  if ((flags & RST) !== 0) {
    resetChild(tcp, tcb, seg);
    return false;
  }
  if ((flags & SYN) !== 0 && seg.seq !== tcb.irs) {
    // Anybody can send that: the child stays.
    tcp.wiring.sendReset(tcp, seg);
    return false;
  }
  return (flags & ACK) !== 0;
}

function repeatSynAck(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  if (oowRateLimited(tcp, tcb, seg, Mib.TCPACKSkippedSynRecv)) return;
  tcb.totalRetrans++;
  tcp.net.count(Mib.TCPSynRetrans);
  tcp.net.count(Mib.TcpRetransSegs);
  tcp.mark(tcb, PENDING_SYNACK);
}

function resetChild(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  if (seg.seq === tcb.rcvNxt) {
    fastopenQueueRemove(tcp, tcb, true);
    tcpReset(tcp, tcb);
  } else if (!oowLimited(tcp, tcb, Mib.TCPACKSkippedChallenge)) {
    tcp.net.count(Mib.TCPChallengeACK);
    tcp.mark(tcb, PENDING_ACK);
  }
}

/** The third ACK has been taken (Linux: tcp_rcv_synrecv_state_fastopen). */
export function fastopenEstablished(tcp: Tcp, tcb: Tcb): void {
  const s = tcb.sender;
  if (s !== null) {
    // Lost SYN-ACKs have made that; there is no text that could end it.
    if (tcb.caState === CA_LOSS && s.packetsOut === 0) tryUndoRecovery(tcb, s, tcp.ackEvent);
    if (!anyRetransDone(tcb, s)) s.retransStamped = false;
  }
  tcb.retransmits = 0;
  fastopenQueueRemove(tcp, tcb, false);
  if (s !== null) rearmRto(tcb, s);
}
