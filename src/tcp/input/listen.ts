/**
 * A segment for a listener (RFC 9293 3.10.7.2; Linux tcp_input.c: tcp_rcv_state_process for
 * TCP_LISTEN, tcp_conn_request): a SYN becomes a request socket in the SYN queue, an ACK is
 * answered with a RST.
 */
import { Mib } from '../../net/mib.js';
import { synQueueFull } from '../../reuseport/profile.js';
import { acceptQueueIsFull } from '../accept-queue.js';
import { tryFastopen } from '../fastopen.js';
import { newRequest, requestAdd } from '../minisocks.js';
import { peerIsProven } from '../proven-peers.js';
import { secureTcpSeq } from '../secure-seq.js';
import { ACK, FIN, RST, type Segment, SYN } from '../segment.js';
import { PENDING_SYNACK } from '../sock.js';
import { RTO_INITIAL_US, type Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { cookieArrives, sendCookie } from './cookie.js';
import { fillRequest } from './openreq.js';

/** `isn` ≠ 0: the ISN that a TIME-WAIT socket proposes; such a SYN passes the SYN queue's limit. */
export function listenArrives(tcp: Tcp, listener: Tcb, seg: Segment, isn: number): void {
  if ((seg.flags & ACK) !== 0) {
    if ((seg.flags & RST) !== 0) return;
    if ((seg.flags & SYN) !== 0 || !cookieArrives(tcp, listener, seg)) {
      tcp.wiring.sendReset(tcp, seg);
    }
    return;
  }
  if ((seg.flags & (RST | FIN)) !== 0 || (seg.flags & SYN) === 0) return;
  connRequest(tcp, listener, seg, isn);
}

function connRequest(tcp: Tcp, listener: Tcb, seg: Segment, isn: number): void {
  const { net, hashinfo } = tcp;
  const queue = listener.listen!;
  const { tcpSyncookies } = net.sysctl;
  const full = synQueueFull(hashinfo.profile, queue.reqs, queue.backlog);
  const cookie = isn === 0 && tcpSyncookies !== 0 && (full || tcpSyncookies === 2);
  if (isn === 0 && full && !cookie) {
    net.count(Mib.TCPReqQFullDrop);
    net.count(Mib.ListenDrops);
    return;
  }
  if (cookie) net.count(Mib.TCPReqQFullDoCookies);
  if (acceptQueueIsFull(tcp, listener)) {
    net.count(Mib.ListenOverflows);
    net.count(Mib.ListenDrops);
    return;
  }
  if (isn === 0 && reservedForProven(tcp, queue.reqs) && !peerIsProven(tcp, seg.daddr, seg.saddr)) {
    net.count(Mib.ListenDrops);
    return;
  }
  const req = newRequest(tcp, listener);
  fillRequest(tcp, req, seg);
  if (cookie) {
    sendCookie(tcp, req, seg);
    return;
  }
  req.iss =
    isn !== 0
      ? isn
      : secureTcpSeq(tcp.isnKeys, seg.daddr, seg.saddr, seg.dport, seg.sport, net.nowUs);
  if (listener.rare.saveSyn > 0) req.savedSyn = net.mem.bytes.slice(seg.network, seg.data);
  req.phash = hashinfo.phash;
  req.slot = hashinfo.slot;
  req.members = hashinfo.members;
  if (tryFastopen(tcp, req, seg)) return;
  if (!requestAdd(tcp, req)) {
    net.count(Mib.ListenDrops);
    return;
  }
  net.timers.arm(req, net.nowUs + RTO_INITIAL_US);
  tcp.mark(req, PENDING_SYNACK);
}

/** With SYN cookies off the last quarter of tcp_max_syn_backlog is for peers known to be alive. */
function reservedForProven(tcp: Tcp, reqs: number): boolean {
  const { tcpSyncookies, tcpMaxSynBacklog } = tcp.net.sysctl;
  return tcpSyncookies === 0 && tcpMaxSynBacklog - reqs < tcpMaxSynBacklog >> 2;
}
