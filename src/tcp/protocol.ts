/**
 * Puts the rooms of TCP together: the protocol object with its seams wired, registered with IPv4.
 */

import { isLoopback } from '../net/ipv4-address.js';
import { IPPROTO_TCP } from '../net/layout.js';
import type { NetNs } from '../net/netns.js';
import { IFINDEX_LOOPBACK } from '../net/skb.js';
import { InetHashinfo } from '../reuseport/hashinfo.js';
import type { SockCommon } from '../reuseport/sock-common.js';
import { tcpV4Rcv } from './input/arrives.js';
import { tcpV4Err } from './input/icmp-error.js';
import type { TimewaitSock } from './minisocks.js';
import { sendActiveReset, sendReset } from './output/reply.js';
import { TCP_FIN_WAIT2 } from './state.js';
import type { Tcb } from './tcb.js';
import { type ReadyListener, Tcp } from './tcp.js';
import { requestTimer, tcbTimer, timewaitTimer } from './timers.js';

/** Distance of a recycled connection's ISN from the old one's SND.NXT (Linux: tcp_twsk_unique). */
const ISN_STEP = 65_537;

/**
 * A TCP for `net`; `maxSockets` bounds the established table, `parkAfterUs` says when a quiet
 * connection is parked (parking.ts).
 */
export function createTcp(
  net: NetNs,
  events: ReadyListener,
  maxSockets: number,
  parkAfterUs?: number,
): Tcp {
  const hashinfo = new InetHashinfo(net, maxSockets);
  const tcp = new Tcp(net, hashinfo, events, parkAfterUs);
  tcp.wiring = { tcbTimer, requestTimer, timewaitTimer, sendReset, sendActiveReset };
  hashinfo.twskUnique = (tw, sk) => twskUnique(tcp, tw as TimewaitSock, sk);
  net.inetProtos[IPPROTO_TCP] = {
    rcv: (skb) => tcpV4Rcv(tcp, skb),
    err: (skb, type, code, info) => tcpV4Err(tcp, skb, type, code, info),
  };
  return tcp;
}

/**
 * May connect() take the place of a TIME-WAIT connection (Linux tcp_ipv4.c: tcp_twsk_unique)?
 * Timestamps must protect the new one. A port that bind() has asked for may be had at once; one
 * that connect() looks for when tcp_tw_reuse says so and tcp_tw_reuse_delay is over.
 */
function twskUnique(tcp: Tcp, tw: TimewaitSock, sk: SockCommon): boolean {
  if (!tw.tsOk || tw.tsRecentUs === 0) return false;
  if (sk.num === 0 && !twReuse(tcp, tw)) return false;
  const tcb = sk as Tcb;
  tcb.iss = (tw.sndNxt + ISN_STEP) | 0;
  if (tcb.iss === 0) tcb.iss = 1;
  tcb.tsRecent = tw.tsRecent;
  tcb.tsRecentUs = tw.tsRecentUs;
  tcp.net.timers.cancel(tw);
  tw.pending = 0;
  tcp.timewaits--;
  return true;
}

function twReuse(tcp: Tcp, tw: TimewaitSock): boolean {
  const { sysctl, nowUs } = tcp.net;
  if (nowUs - tw.enteredUs <= sysctl.tcpTwReuseDelay * 1000) return false;
  // The peer of an orphan's FIN-WAIT-2 has not closed yet (6.12).
  if (tw.substate === TCP_FIN_WAIT2 && sysctl.profile !== '5.0') return false;
  if (sysctl.tcpTwReuse !== 2) return sysctl.tcpTwReuse === 1;
  // Not all that goes by lo is told apart, here as there.
  return tw.boundDevIf === IFINDEX_LOOPBACK || isLoopback(tw.daddr) || isLoopback(tw.rcvSaddr);
}
