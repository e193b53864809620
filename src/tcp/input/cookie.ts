/**
 * SYN cookies at a listener (Linux net/ipv4/syncookies.c: cookie_v4_init_sequence, cookie_v4_check;
 * include/net/tcp.h: tcp_synq_overflow): a SYN-ACK that nobody remembers, and the ACK that brings
 * everything back. The coding is syncookies.ts.
 */
import { Mib } from '../../net/mib.js';
import { acceptQueueIsFull } from '../accept-queue.js';
import { newRequest, type RequestSock, requestAdd, requestDrop } from '../minisocks.js';
import { offeredSpace } from '../rcv-space.js';
import { initialWindow, windowScale } from '../rcv-window.js';
import type { Segment } from '../segment.js';
import { PENDING_SYNACK } from '../sock.js';
import { CookieKeys, cookieIsn, cookieMss, cookieOptions, cookieTimestamp } from '../syncookies.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { fillRequest } from './openreq.js';
import { thirdAck } from './request.js';

/** Linux TCP_SYNCOOKIE_VALID: how long after the last cookie ACKs are looked at for one. */
const VALID_US = 120_000_000;

/** Answers the SYN `seg` by a cookie; `req` is filled, and forgotten once the SYN-ACK has left. */
export function sendCookie(tcp: Tcp, req: RequestSock, seg: Segment): void {
  const { net } = tcp;
  tcp.cookieKeys ??= new CookieKeys(net.random);
  req.iss = cookieIsn(tcp.cookieKeys, seg, req.mss, net.nowUs);
  if (req.tsOk) {
    const nowMs = Math.floor(net.nowUs / 1000);
    const options = { wscale: req.peerWscale, sack: req.sackOk, ecn: req.ecnOk };
    req.tsOffset = (req.tsOffset + cookieTimestamp(nowMs, options) - nowMs) | 0;
  } else {
    req.peerWscale = -1;
    req.sackOk = false;
    req.ecnOk = false;
  }
  const { listener } = req;
  // A member of a group may get the ACK of another member's cookie.
  if (listener.reuseportCb !== null) listener.reuseportCb.synqOverflowUs = net.nowUs;
  else listener.listen!.overflowUs = net.nowUs;
  net.count(Mib.SyncookiesSent);
  tcp.mark(req, PENDING_SYNACK);
  tcp.spareRequests.retire(req);
}

function overflowUs(listener: Tcb): number {
  return listener.reuseportCb?.synqOverflowUs ?? listener.listen!.overflowUs;
}

/** Takes an ACK for a listener as the answer to a cookie. False: it is none, the caller resets. */
export function cookieArrives(tcp: Tcp, listener: Tcb, seg: Segment): boolean {
  const { net } = tcp;
  const { cookieKeys } = tcp;
  if (net.sysctl.tcpSyncookies === 0 || cookieKeys === null) return false;
  if (net.nowUs - overflowUs(listener) > VALID_US) return false;
  const mss = cookieMss(cookieKeys, seg, net.nowUs);
  if (mss === 0) {
    net.count(Mib.SyncookiesFailed);
    return false;
  }
  net.count(Mib.SyncookiesRecv);
  const req = newRequest(tcp, listener);
  if (!recall(tcp, req, seg, mss)) return false;
  // The window is reckoned anew, by the peer's segment size: ours was not remembered.
  req.rcvWnd = initialWindow(tcp, offeredSpace(listener), mss, req.rcvWscale);
  // The lookup of this very ACK has chosen the listener.
  req.phash = tcp.hashinfo.phash;
  req.slot = tcp.hashinfo.slot;
  req.members = tcp.hashinfo.members;
  if (acceptQueueIsFull(tcp, listener) || !requestAdd(tcp, req)) {
    net.count(Mib.ListenOverflows);
    net.count(Mib.ListenDrops);
    return true;
  }
  thirdAck(tcp, req, seg, listener);
  // No descriptor was left: nothing is remembered, as before.
  if (req.ehashSlot >= 0) requestDrop(tcp, req);
  return true;
}

/** The request as it was when its SYN came. False: the echo claims options that we never offer. */
function recall(tcp: Tcp, req: RequestSock, seg: Segment, mss: number): boolean {
  const { sysctl } = tcp.net;
  // An ACK carries neither option; the SYN's come from the timestamp.
  fillRequest(tcp, req, seg);
  req.mss = mss;
  req.irs = (seg.seq - 1) | 0;
  req.iss = (seg.ack - 1) | 0;
  if (!req.tsOk) return !seg.hasTimestamp;
  const { wscale, sack, ecn } = cookieOptions((seg.tsecr - req.tsOffset) | 0);
  if ((sack && sysctl.tcpSack === 0) || (wscale >= 0 && sysctl.tcpWindowScaling === 0))
    return false;
  req.sackOk = sack;
  req.ecnOk = ecn && sysctl.tcpEcn !== 0;
  req.peerWscale = Math.min(wscale, 14);
  if (wscale >= 0) req.rcvWscale = windowScale(tcp, req.listener);
  return true;
}
