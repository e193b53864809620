/**
 * struct tcp_info (include/uapi/linux/tcp.h of Linux 6.18; tcp.c: tcp_get_info): 280 bytes as
 * words, with 0 where this stack does not have the fact. A listener shows its queue in two of them.
 */
import { RING_TAIL } from '../../net/ring.js';
import { acceptQueueLength } from '../accept-queue.js';
import { CHRONO_BUSY, CHRONO_RWND_LIMITED, CHRONO_SNDBUF_LIMITED, chronoUs } from '../chrono.js';
import { ecnInfo } from '../ecn.js';
import { INITIAL_SEGMENTS } from '../init-transfer.js';
import { advertisedMss, currentMss, pathMtu } from '../mss.js';
import { TIMESTAMP_BYTES } from '../options.js';
import { TCP_CLOSE, TCP_LISTEN, TCP_SYN_SENT } from '../state.js';
import { RTO_INITIAL_US, type Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';

export const TCP_INFO_WORDS = 70;
/** Bits of tcpi_options beside those of ecnInfo. */
const TCPI_OPT_TIMESTAMPS = 1;
const TCPI_OPT_SACK = 2;
const TCPI_OPT_WSCALE = 4;
const TCPI_OPT_SYN_DATA = 32;

/** As many of the words as `out` holds (at least one); their number. */
export function tcpInfo(tcp: Tcp, tcb: Tcb, out: Int32Array): number {
  const info = out.length >= TCP_INFO_WORDS ? out : new Int32Array(TCP_INFO_WORDS);
  info.fill(0, 0, TCP_INFO_WORDS);
  info[0] = tcb.state | (tcb.caState << 8) | (tcb.retransmits << 16) | (tcb.probesOut << 24);
  if (tcb.state === TCP_LISTEN) {
    info[6] = acceptQueueLength(tcp, tcb);
    info[7] = tcb.listen!.backlog;
    info[20] = INITIAL_SEGMENTS;
    info[22] = tcp.net.sysctl.tcpReordering;
    pacingRates(tcb, info);
  } else {
    firstWords(tcp, tcb, info);
    laterWords(tcp, tcb, info);
    if (tcb.state === TCP_CLOSE && tcb.dport === 0) withoutPeer(info);
  }
  if (info === out) return TCP_INFO_WORDS;
  out.set(info.subarray(0, out.length));
  return out.length;
}

/** What a socket without a peer does not know yet, and what it would begin with. */
function withoutPeer(info: Int32Array): void {
  info[5] = info[15] = info[16] = info[21] = 0;
  info[18] = RTO_INITIAL_US / 4;
  info[20] = INITIAL_SEGMENTS;
}

/** Nothing is paced, but the pace sets the size of bursts; there is no limit to it unless set. */
function pacingRates(tcb: Tcb, info: Int32Array): void {
  const { maxPacingRate } = tcb.rare;
  info.fill(-1, 26, 30);
  if (maxPacingRate !== Infinity) putLong(info, 28, maxPacingRate);
  if (tcb.sender !== null) putLong(info, 26, Math.floor(tcb.sender.pacingRate));
}

/** tcpi_backoff to tcpi_total_retrans: what there was from the beginning. */
function firstWords(tcp: Tcp, tcb: Tcb, info: Int32Array): void {
  const { nowUs } = tcp.net;
  let options = ecnInfo(tcb);
  if (tcb.tsOk) options |= TCPI_OPT_TIMESTAMPS;
  if (tcb.sackOk) options |= TCPI_OPT_SACK;
  if (tcb.wscaleOk) options |= TCPI_OPT_WSCALE;
  if (tcb.synDataAcked) options |= TCPI_OPT_SYN_DATA;
  const scales = tcb.sndWscale | (tcb.rcvWscale << 4);
  info[1] = tcb.backoff | (options << 8) | (scales << 16);
  info[2] = tcb.rtoUs;
  info[3] = tcb.atoUs;
  info[4] = currentMss(tcb);
  info[5] = tcb.rcvMss;
  const s = tcb.sender;
  if (s !== null) {
    info[6] = s.packetsOut;
    info[7] = s.sackedOut;
    info[8] = s.lostOut;
    info[9] = s.retransOut;
  }
  info[11] = (nowUs - tcb.lastSentUs) / 1000;
  info[13] = (nowUs - tcb.lastReceivedUs) / 1000;
  info[14] = (nowUs - tcb.lastAckedUs) / 1000;
  info[15] = pathMtu(tcp, tcb);
  info[16] = Math.min(tcb.rcvSsthresh, tcb.rcvSpace);
  info[17] = tcb.srttUs;
  info[18] = tcb.mdevUs / 4;
  info[19] = tcb.ssthresh;
  info[20] = tcb.cwnd;
  // Once timestamps are agreed on they are room that text does not have.
  const stamped = tcb.tsOk && tcb.state !== TCP_SYN_SENT;
  info[21] = advertisedMss(tcp, tcb) - (stamped ? TIMESTAMP_BYTES : 0);
  info[22] = s === null ? tcp.net.sysctl.tcpReordering : s.reordering;
  info[23] = tcb.rcvRttUs;
  info[24] = tcb.rcvqSpace;
  info[25] = tcb.totalRetrans;
}

/** What later kernels added. */
function laterWords(tcp: Tcp, tcb: Tcb, info: Int32Array): void {
  const { counts } = tcb;
  pacingRates(tcb, info);
  info[37] = -1;
  const s = tcb.sender;
  if (s !== null) {
    info[37] = Math.min(s.minRtt.value, 0xffffffff);
    info[48] = s.delivered;
    info[49] = s.deliveredCe;
    info[55] = s.reordSeen;
  }
  putLong(info, 30, Math.max(0, counts.bytesAcked));
  putLong(info, 32, counts.bytesReceived);
  info[34] = counts.segsOut;
  info[35] = counts.segsIn;
  const tail = tcp.ctl[tcb.sndRing + RING_TAIL]!;
  info[36] = Math.max(0, (tail - tcb.sndNxt) | 0);
  info[38] = counts.dataSegsIn;
  info[39] = counts.dataSegsOut;
  const rwndLimited = chronoUs(tcb, CHRONO_RWND_LIMITED);
  const sndbufLimited = chronoUs(tcb, CHRONO_SNDBUF_LIMITED);
  putLong(info, 42, chronoUs(tcb, CHRONO_BUSY) + rwndLimited + sndbufLimited);
  putLong(info, 44, rwndLimited);
  putLong(info, 46, sndbufLimited);
  putLong(info, 50, counts.bytesSent);
  putLong(info, 52, counts.bytesRetrans);
  info[54] = counts.dsackDups;
  info[56] = counts.ofoPackets;
  info[57] = tcb.sndWnd;
  info[58] = tcb.rcvWnd;
  info[60] = counts.timeouts;
}

/** A number up to 2^53 as two words, the low one first. */
function putLong(info: Int32Array, at: number, value: number): void {
  info[at] = value | 0;
  info[at + 1] = Math.floor(value / 2 ** 32);
}
