/**
 * Segment sizes (RFC 9293 3.7.1, RFC 6691; Linux tcp_output.c: tcp_sync_mss, tcp_current_mss,
 * tcp_bound_to_half_wnd).
 */
import { TIMESTAMP_BYTES } from './options.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** IPv4 and TCP headers without options. */
export const HEADERS_BYTES = 40;
/**
 * TCP header and text of the smallest IPv4 packet that every host takes: the floor while the
 * largest window is tiny.
 */
const HALF_WINDOW_FLOOR = 68 - 20;

/** The MSS option we send: what fits the device, lowered by TCP_MAXSEG. */
export function advertisedMss(tcp: Tcp, tcb: Tcb): number {
  const mss = tcp.net.device.mtu - HEADERS_BYTES;
  return tcb.userMss > 0 ? Math.min(mss, tcb.userMss) : mss;
}

/** Payload of a full segment now: peer's MSS and path MTU, less the options on every segment. */
export function syncMss(tcp: Tcp, tcb: Tcb, peerMss: number): void {
  const path = (tcb.pmtu > 0 ? Math.min(tcb.pmtu, tcp.net.device.mtu) : tcp.net.device.mtu) - 40;
  let mss = Math.min(peerMss, path);
  if (tcb.userMss > 0) mss = Math.min(mss, tcb.userMss);
  mss = Math.max(mss, tcp.net.sysctl.tcpMinSndMss);
  tcb.sndMss = tcb.tsOk ? mss - TIMESTAMP_BYTES : mss;
}

/** A peer that never offers more than a small window gets segments of at most half of it. */
export function currentMss(tcb: Tcb): number {
  const cutoff = tcb.maxWindow > 536 ? tcb.maxWindow >> 1 : tcb.maxWindow;
  if (cutoff === 0 || tcb.sndMss <= cutoff) return tcb.sndMss;
  const floor = tcb.tsOk ? HALF_WINDOW_FLOOR - TIMESTAMP_BYTES : HALF_WINDOW_FLOOR;
  return Math.min(tcb.sndMss, Math.max(cutoff, floor));
}
