/**
 * A segment for a listener (RFC 9293 3.10.7.2; Linux tcp_input.c: tcp_rcv_state_process for
 * TCP_LISTEN, tcp_conn_request): a SYN becomes a request socket in the SYN queue, an ACK is
 * answered with a RST.
 */
import { Mib } from '../../net/mib.js';
import { synQueueFull } from '../../reuseport/profile.js';
import { acceptQueueIsFull } from '../accept-queue.js';
import { RequestSock, requestAdd } from '../minisocks.js';
import { advertisedMss } from '../mss.js';
import { initialWindow, windowScale } from '../rcv-window.js';
import { secureTcpSeq, secureTcpTsOffset } from '../secure-seq.js';
import { ACK, FIN, RST, type Segment, SYN } from '../segment.js';
import { PENDING_SYNACK } from '../sock.js';
import { DEFAULT_MSS, RTO_INITIAL_US, type Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';

/** `isn` ≠ 0: the ISN that a TIME-WAIT socket proposes; such a SYN passes the SYN queue's limit. */
export function listenArrives(tcp: Tcp, listener: Tcb, seg: Segment, isn: number): void {
  if ((seg.flags & ACK) !== 0) {
    if ((seg.flags & RST) === 0) tcp.wiring.sendReset(tcp, seg);
    return;
  }
  if ((seg.flags & (RST | FIN)) !== 0 || (seg.flags & SYN) === 0) return;
  connRequest(tcp, listener, seg, isn);
}

function connRequest(tcp: Tcp, listener: Tcb, seg: Segment, isn: number): void {
  const { net, hashinfo } = tcp;
  const queue = listener.listen!;
  if (isn === 0 && synQueueFull(hashinfo.profile, queue.reqs, queue.backlog)) {
    net.count(Mib.TCPReqQFullDrop);
    net.count(Mib.ListenDrops);
    return;
  }
  if (acceptQueueIsFull(tcp, listener)) {
    net.count(Mib.ListenOverflows);
    net.count(Mib.ListenDrops);
    return;
  }
  if (isn === 0 && reservedForProven(tcp, queue.reqs)) {
    net.count(Mib.ListenDrops);
    return;
  }
  const req = new RequestSock(tcp, listener);
  fillRequest(tcp, req, seg);
  req.iss =
    isn !== 0
      ? isn
      : secureTcpSeq(tcp.isnKeys, seg.daddr, seg.saddr, seg.dport, seg.sport, net.nowUs);
  req.phash = hashinfo.phash;
  req.slot = hashinfo.slot;
  req.members = hashinfo.members;
  if (!requestAdd(tcp, req)) {
    net.count(Mib.ListenDrops);
    return;
  }
  if (hashinfo.decision !== null) net.trace?.decision?.(hashinfo.decision);
  net.timers.arm(req, net.nowUs + RTO_INITIAL_US);
  tcp.mark(req, PENDING_SYNACK);
}

/**
 * With SYN cookies off the last quarter of tcp_max_syn_backlog is for peers known to be alive. No
 * record is kept of those, so it is for nobody.
 */
function reservedForProven(tcp: Tcp, reqs: number): boolean {
  const { tcpSyncookies, tcpMaxSynBacklog } = tcp.net.sysctl;
  return tcpSyncookies === 0 && tcpMaxSynBacklog - reqs < tcpMaxSynBacklog >> 2;
}

/**
 * Addresses and the options that both sides want (Linux: tcp_openreq_init, tcp_openreq_init_rwin).
 */
function fillRequest(tcp: Tcp, req: RequestSock, seg: Segment): void {
  const { sysctl } = tcp.net;
  const { listener } = req;
  req.daddr = seg.saddr;
  req.dport = seg.sport;
  req.rcvSaddr = seg.daddr;
  req.num = seg.dport;
  req.boundDevIf = listener.boundDevIf;
  req.uid = listener.uid;
  req.irs = seg.seq;
  req.sndWnd = seg.wnd;
  req.tos = seg.tos;
  req.mss = seg.mss === 0 ? DEFAULT_MSS : seg.mss;
  if (listener.userMss > 0) req.mss = Math.min(req.mss, listener.userMss);
  req.sackOk = seg.sackPermitted && sysctl.tcpSack !== 0;
  req.tsOk = seg.hasTimestamp && sysctl.tcpTimestamps !== 0;
  if (req.tsOk) {
    req.tsRecent = seg.tsval;
    if (sysctl.tcpTimestamps === 1) {
      req.tsOffset = secureTcpTsOffset(tcp.tsKeys, seg.daddr, seg.saddr);
    }
  }
  if (seg.wscale >= 0 && sysctl.tcpWindowScaling !== 0) {
    req.peerWscale = seg.wscale;
    req.rcvWscale = windowScale(Math.max(listener.rcvSpace, sysctl.tcpRmemMax));
  }
  const mss = advertisedMss(tcp, listener) - (req.tsOk ? 12 : 0);
  req.rcvWnd = initialWindow(listener.rcvSpace, mss);
}
