/**
 * Segment sizes (RFC 9293 3.7.1, RFC 6691; Linux tcp_output.c: tcp_sync_mss, tcp_current_mss,
 * tcp_bound_to_half_wnd).
 */
import type { NetDevice } from '../net/route.js';
import type { SockCommon } from '../reuseport/sock-common.js';
import { TIMESTAMP_BYTES } from './options.js';
import { PMTUDISC_DO, PMTUDISC_WANT, type Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** IPv4 and TCP headers without options. */
export const HEADERS_BYTES = 40;
/** Largest IPv4 packet, however large the device's MTU. */
const IP_MAX_BYTES = 65_535;
/**
 * The smallest IPv4 packet that every link takes whole; its TCP header and text: the floor while
 * the largest window is tiny.
 */
const IP_MIN_MTU = 68;
const HALF_WINDOW_FLOOR: number = IP_MIN_MTU - 20;

/**
 * Largest burst of a device without a limit of its own (Linux: GSO_LEGACY_MAX_SIZE, less headers).
 */
export const GSO_MAX_BYTES = 65_215;

/** The device by which packets to the peer of `sk` leave (Linux: __sk_dst_get). */
export function deviceOf(tcp: Tcp, sk: SockCommon): NetDevice {
  return tcp.net.routes.output(sk.daddr, sk.boundDevIf).dev;
}

/** The path MTU to the peer of `tcb`, bytes: its device's, or less if a router said so. */
export function pathMtu(tcp: Tcp, tcb: Tcb): number {
  const mtu = Math.min(deviceOf(tcp, tcb).mtu, IP_MAX_BYTES);
  return tcb.pmtu > 0 ? Math.min(tcb.pmtu, mtu) : mtu;
}

/**
 * The MSS option we send: what fits the device (RFC 9293 MUST-67), lowered by TCP_MAXSEG.
 * @param req the request of listener `tcb` that it is for, if it is for one
 */
export function advertisedMss(tcp: Tcp, tcb: Tcb, req: SockCommon = tcb): number {
  const mss = Math.min(deviceOf(tcp, req).mtu, IP_MAX_BYTES) - HEADERS_BYTES;
  return tcb.userMss > 0 ? Math.min(mss, tcb.userMss) : mss;
}

/** Payload of a packet of `mtu` bytes, not more than the peer takes (Linux: tcp_mtu_to_mss). */
export function mtuToMss(tcb: Tcb, mtu: number): number {
  let mss = Math.min(tcb.mssClamp, mtu - HEADERS_BYTES);
  if (tcb.userMss > 0) mss = Math.min(mss, tcb.userMss);
  mss = Math.max(mss, tcb.tcp.net.sysctl.tcpMinSndMss);
  return tcb.tsOk ? mss - TIMESTAMP_BYTES : mss;
}

/**
 * Payload of a full segment now: peer's MSS and path MTU, less the options on every segment (RFC
 * 9293 MUST-16); not more than has been seen to get through while the path is searched (RFC 4821).
 */
export function syncMss(tcp: Tcp, tcb: Tcb, peerMss: number): void {
  tcb.mssClamp = peerMss;
  const mtu = pathMtu(tcp, tcb);
  const search = tcb.mtuSearch;
  if (search === null) {
    tcb.sndMss = mtuToMss(tcb, mtu);
  } else {
    search.high = Math.min(search.high, mtu);
    tcb.sndMss = mtuToMss(tcb, Math.min(mtu, search.low));
  }
}

/** DF on packets of the connection (Linux: ip_dont_fragment). */
export function dontFragment(tcb: Tcb): boolean {
  return tcb.pmtudisc === PMTUDISC_WANT ? !tcb.pmtuLocked : tcb.pmtudisc === PMTUDISC_DO;
}

/**
 * DF on a SYN-ACK of `bytes`, IP header included (Linux: ip_build_and_send_pkt): one that no link
 * need cut has it always, and no identification, which kernels of 5.0's time gave it all the same.
 */
export function synAckDontFragment(tcb: Tcb, bytes: number): boolean {
  const small = bytes <= IP_MIN_MTU && tcb.tcp.net.sysctl.profile !== '5.0';
  return small || dontFragment(tcb);
}

/** Half of the largest window that the peer has offered, or all of a tiny one, is enough. */
function boundToHalfWindow(tcb: Tcb, bytes: number): number {
  const cutoff = tcb.maxWindow > 536 ? tcb.maxWindow >> 1 : tcb.maxWindow;
  if (cutoff === 0 || bytes <= cutoff) return bytes;
  const floor = tcb.tsOk ? HALF_WINDOW_FLOOR - TIMESTAMP_BYTES : HALF_WINDOW_FLOOR;
  return Math.min(bytes, Math.max(cutoff, floor));
}

/** A peer that never offers more than a small window gets segments of at most half of it. */
export function currentMss(tcb: Tcb): number {
  return boundToHalfWindow(tcb, tcb.sndMss);
}

/** How much the writer would put into one burst, bytes (Linux: tcp_xmit_size_goal). */
export function sizeGoal(tcb: Tcb, mss: number, gsoMaxBytes: number): number {
  const most = boundToHalfWindow(tcb, gsoMaxBytes);
  return Math.max(most - (most % mss), mss);
}
