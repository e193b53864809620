/**
 * What a request socket takes from the segment that opened it (Linux tcp_input.c: tcp_openreq_init,
 * tcp_minisocks.c: tcp_openreq_init_rwin). What becomes of the request is listen.ts and cookie.ts.
 */
import { ecnCreateRequest } from '../ecn.js';
import type { RequestSock } from '../minisocks.js';
import { advertisedMss } from '../mss.js';
import { offeredSpace } from '../rcv-space.js';
import { initialWindow, windowScale } from '../rcv-window.js';
import type { Segment } from '../segment.js';
import { DEFAULT_MSS } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { tsOffset } from '../ts-clock.js';

/**
 * Addresses and the options that both sides want (Linux: tcp_openreq_init, tcp_openreq_init_rwin).
 */
export function fillRequest(tcp: Tcp, req: RequestSock, seg: Segment): void {
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
  req.ecnOk = ecnCreateRequest(tcp, seg);
  req.tsOk = seg.hasTimestamp && sysctl.tcpTimestamps !== 0;
  if (req.tsOk) {
    req.tsRecent = seg.tsval;
    req.tsOffset = tsOffset(tcp, seg.daddr, seg.saddr, seg.dport, seg.sport);
  }
  if (seg.wscale >= 0 && sysctl.tcpWindowScaling !== 0) {
    req.peerWscale = seg.wscale;
    req.rcvWscale = windowScale(tcp, listener);
  }
  const mss = advertisedMss(tcp, listener, req) - (req.tsOk ? 12 : 0);
  req.rcvWnd = initialWindow(tcp, offeredSpace(listener), mss, req.rcvWscale);
}
