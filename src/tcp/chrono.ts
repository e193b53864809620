/**
 * What a sender that has something to send is waiting for, for TCP_INFO alone (Linux tcp_output.c:
 * tcp_chrono_start, tcp_chrono_stop, tcp.c: tcp_get_info_chrono_stats): nothing else, the peer's
 * window, or an application that has filled a send buffer which is too small. One clock runs at a
 * time; the higher number wins. The times stand in Counts.
 */
import { RING_TAIL } from '../net/ring.js';
import type { Tcb } from './tcb.js';

/** Nothing to send, and nothing unacknowledged. */
export const CHRONO_NONE = 0;
export const CHRONO_BUSY = 1;
export const CHRONO_RWND_LIMITED = 2;
export const CHRONO_SNDBUF_LIMITED = 3;

export function chronoStart(tcb: Tcb, type: number): void {
  if (type > tcb.counts.chrono) chronoSet(tcb, type);
}

/** `type` holds no longer: on with plain sending, or with nothing when there is nothing left. */
export function chronoStop(tcb: Tcb, type: number): void {
  const { counts } = tcb;
  if (counts.chrono === CHRONO_NONE) return;
  if (nothingQueued(tcb)) chronoSet(tcb, CHRONO_NONE);
  else if (type === counts.chrono) chronoSet(tcb, CHRONO_BUSY);
}

/** How long clock `type` has been running, µs. */
export function chronoUs(tcb: Tcb, type: number): number {
  const { counts, tcp } = tcb;
  const runs = type === counts.chrono ? tcp.net.nowUs - counts.chronoStartUs : 0;
  if (type === CHRONO_BUSY) return counts.busyUs + runs;
  return (type === CHRONO_RWND_LIMITED ? counts.rwndLimitedUs : counts.sndbufLimitedUs) + runs;
}

function chronoSet(tcb: Tcb, type: number): void {
  const { counts } = tcb;
  const { nowUs } = tcb.tcp.net;
  const passed = nowUs - counts.chronoStartUs;
  if (counts.chrono === CHRONO_BUSY) counts.busyUs += passed;
  else if (counts.chrono === CHRONO_RWND_LIMITED) counts.rwndLimitedUs += passed;
  else if (counts.chrono === CHRONO_SNDBUF_LIMITED) counts.sndbufLimitedUs += passed;
  counts.chronoStartUs = nowUs;
  counts.chrono = type;
}

/** Everything written is acknowledged, and the FIN (Linux: tcp_rtx_and_write_queues_empty). */
function nothingQueued(tcb: Tcb): boolean {
  if (tcb.sender !== null && tcb.sender.packetsOut > 0) return false;
  if (tcb.finQueued && !tcb.finSent) return false;
  return ((tcb.tcp.ctl[tcb.sndRing + RING_TAIL]! - tcb.sndNxt) | 0) <= 0;
}
