/**
 * Packetization layer path MTU discovery (RFC 4821 7.4, 7.6, 7.7; Linux tcp_output.c:
 * tcp_mtup_init, tcp_mtu_probe, tcp_mtu_check_reprobe; tcp_input.c: tcp_mtup_probe_success,
 * tcp_mtup_probe_failed; tcp_timer.c: tcp_mtu_probing): what packets the path takes is found out by
 * what arrives, where routers do not say. net.ipv4.tcp_mtu_probing: 1 = after a black hole was
 * noticed, 2 = from the beginning. What routers do say is icmp-error.ts's business; output sends
 * the probe.
 */
import { Mib } from '../net/mib.js';
import { CA_OPEN } from './ca-state.js';
import { currentMss, HEADERS_BYTES, mtuToMss, pathMtu, syncMss } from './mss.js';
import { TIMESTAMP_BYTES } from './options.js';
import { currentSsthresh, type Sender } from './sender.js';
import { after } from './seq.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** Values of net.ipv4.tcp_mtu_probing. */
const PROBING_OFF = 0;
const PROBING_AFTER_BLACK_HOLE = 1;
/** A smaller window cannot do without the second packet that a probe takes the place of. */
const PROBE_CWND_LEAST = 11;

/** The search of one connection (Linux: icsk_mtup and mtu_probe). Sizes are packets', bytes. */
export class MtuSearch {
  /** The path takes this much; it takes no more than that. */
  low: number;
  high: number;
  /** The probe that is under way, 0 = none, and the text in it. */
  probeSize = 0;
  probeStart = 0;
  probeEnd = 0;
  /** When the search began. */
  stampUs: number;

  constructor(tcb: Tcb) {
    const { net } = tcb.tcp;
    this.low = mssToMtu(tcb, net.sysctl.tcpBaseMss);
    this.high = Math.min(tcb.mssClamp + HEADERS_BYTES, pathMtu(tcb.tcp, tcb));
    this.stampUs = net.nowUs;
  }
}

/** Size of a packet with `mss` bytes of text. */
function mssToMtu(tcb: Tcb, mss: number): number {
  return mss + HEADERS_BYTES + (tcb.tsOk ? TIMESTAMP_BYTES : 0);
}

/** The connection has an MSS: begins the search if that is not left until something is lost. */
export function mtupInit(tcb: Tcb): void {
  const { tcpMtuProbing } = tcb.tcp.net.sysctl;
  if (tcpMtuProbing > PROBING_AFTER_BLACK_HOLE) tcb.mtuSearch = new MtuSearch(tcb);
}

/**
 * Nothing has come through for some time-outs, perhaps because of its size: packets of the base
 * size from now on, and of half as much each time that this does not help.
 */
export function mtuBlackHole(tcp: Tcp, tcb: Tcb): void {
  const { sysctl } = tcp.net;
  if (sysctl.tcpMtuProbing === PROBING_OFF) return;
  const search = tcb.mtuSearch;
  if (search === null) {
    tcb.mtuSearch = new MtuSearch(tcb);
  } else {
    const half = mtuToMss(tcb, search.low) >> 1;
    const mss = Math.max(
      Math.min(sysctl.tcpBaseMss, half),
      sysctl.tcpMtuProbeFloor,
      sysctl.tcpMinSndMss,
    );
    search.low = mssToMtu(tcb, mss);
  }
  syncMss(tcp, tcb, tcb.mssClamp);
}

/** What mtuProbeBytes has found. */
export const PROBE_NOT_NOW = -1;
/** Nothing is to be sent until there is room for a probe. */
export const PROBE_WAIT = 0;

/** Bytes of text of the probe that is to be sent now, or PROBE_*. `unsent` bytes wait, FIN too. */
export function mtuProbeBytes(tcb: Tcb, s: Sender, unsent: number): number {
  const search = tcb.mtuSearch;
  if (search === null || search.probeSize !== 0 || tcb.caState !== CA_OPEN) return PROBE_NOT_NOW;
  if (tcb.cwnd < PROBE_CWND_LEAST || hasSackBlocks(tcb)) return PROBE_NOT_NOW;
  const bytes = mtuToMss(tcb, (search.high + search.low) >> 1);
  const { tcpProbeThreshold } = tcb.tcp.net.sysctl;
  if (bytes > mtuToMss(tcb, search.high) || search.high - search.low < tcpProbeThreshold) {
    beginAgain(tcb, search);
    return PROBE_NOT_NOW;
  }
  // Enough behind it, that its loss is noticed soon.
  const needed = bytes + (s.reordering + 1) * tcb.sndMss;
  if (unsent < needed || tcb.sndWnd < needed) return PROBE_NOT_NOW;
  if (after((tcb.sndNxt + needed) | 0, (tcb.sndUna + tcb.sndWnd) | 0)) return PROBE_WAIT;
  if (s.inFlight + 2 > tcb.cwnd) return s.inFlight === 0 ? PROBE_NOT_NOW : PROBE_WAIT;
  return bytes;
}

/** Variable headers: the ACK that we owe has SACK blocks. */
function hasSackBlocks(tcb: Tcb): boolean {
  return (tcb.ofo !== null && tcb.ofo.count > 0) || tcb.dsackLeft !== tcb.dsackRight;
}

/** The search has ended: after tcp_probe_interval the path may be another one. */
function beginAgain(tcb: Tcb, search: MtuSearch): void {
  const { net } = tcb.tcp;
  if (net.nowUs - search.stampUs < net.sysctl.tcpProbeInterval * 1e6) return;
  search.probeSize = 0;
  search.high = tcb.mssClamp + HEADERS_BYTES;
  search.low = mssToMtu(tcb, currentMss(tcb));
  search.stampUs = net.nowUs;
}

/** A probe with the text [start, end) has left; it counts as two segments. */
export function mtuProbeSent(tcb: Tcb, start: number, end: number): void {
  const search = tcb.mtuSearch!;
  search.probeSize = mssToMtu(tcb, (end - start) | 0);
  search.probeStart = start;
  search.probeEnd = end;
  tcb.cwnd--;
}

/** SND.UNA has moved: behind a probe, the path takes its size. cwnd stays the same in bytes. */
export function mtuProbeAcked(tcb: Tcb, s: Sender): void {
  const search = tcb.mtuSearch;
  if (search === null || search.probeSize === 0 || after(search.probeEnd, tcb.sndUna)) return;
  const { net } = tcb.tcp;
  s.priorSsthresh = currentSsthresh(tcb);
  const cwnd = Math.floor((tcb.cwnd * mssToMtu(tcb, tcb.sndMss)) / search.probeSize);
  tcb.cwnd = Math.max(1, cwnd);
  s.cwndCnt = 0;
  s.cwndStampUs = net.nowUs;
  tcb.ssthresh = currentSsthresh(tcb);
  search.low = search.probeSize;
  search.probeSize = 0;
  syncMss(tcb.tcp, tcb, tcb.mssClamp);
  net.count(Mib.TCPMTUPSuccess);
}

/** Something is lost. True: it is the probe, by its size and not by congestion. */
export function mtuProbeLost(tcb: Tcb): boolean {
  const search = tcb.mtuSearch;
  if (search === null || search.probeSize === 0 || tcb.sndUna !== search.probeStart) return false;
  search.high = search.probeSize - 1;
  search.probeSize = 0;
  tcb.tcp.net.count(Mib.TCPMTUPFail);
  tcb.cwnd++;
  return true;
}
