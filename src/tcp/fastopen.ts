/**
 * TCP Fast Open, the server's side (RFC 7413; Linux tcp_fastopen.c: tcp_try_fastopen,
 * tcp_fastopen_create_child): a SYN with a valid cookie makes a connection that is in the accept
 * queue at once, with the SYN's text, and may send before the third ACK. How many there may be is
 * fastopen-queue.ts, what comes for such a child input/fastopen-child.ts, the client
 * fastopen-client.ts.
 */
import { assert } from '../net/assert.js';
import { EPOLLIN } from '../net/epoll-bits.js';
import { swapWord } from '../net/ipv4-address.js';
import { Mib } from '../net/mib.js';
import { siphashWords } from '../net/siphash.js';
import { acceptQueuePush } from './accept-queue.js';
import { TFO_SERVER_COOKIE_NOT_REQD, TFO_SERVER_ENABLE } from './fastopen-option.js';
import { fastopenQueueAdd, fastopenQueueCheck } from './fastopen-queue.js';
import { createChild } from './input/request.js';
import { addSynText } from './input/syn-text.js';
import { type RequestSock, requestAdd, requestDrop, requestUnlink } from './minisocks.js';
import { publishState } from './publish.js';
import { siphashKeys } from './secure-seq.js';
import type { Segment } from './segment.js';
import { PENDING_SYNACK } from './sock.js';
import { RTO_INITIAL_US } from './tcb.js';
import type { Tcp } from './tcp.js';
import { armRetransmit } from './timer-arm.js';

/** Bytes of the cookies that we give. */
const COOKIE_BYTES = 8;
/** Words of one key of tcp_fastopen_key, which may have a second one that is only accepted. */
const KEY_WORDS = 4;

const addresses: Int32Array = new Int32Array(2);
const hash: Int32Array = new Int32Array(2);

/** The keys of tcp_fastopen_key; made up when the first cookie is wanted and none is set. */
function keysOf(tcp: Tcp): Int32Array {
  const { sysctl, random } = tcp.net;
  if (sysctl.tcpFastopenKey.length === 0) sysctl.tcpFastopenKey = siphashKeys(random);
  return sysctl.tcpFastopenKey;
}

/** The cookie of the sender of `seg` under one of the keys (RFC 7413 4.1.2). */
function cookieOf(seg: Segment, key: Int32Array): Uint8Array {
  addresses[0] = swapWord(seg.saddr);
  addresses[1] = swapWord(seg.daddr);
  siphashWords(key, addresses, 8, hash);
  const cookie = new Uint8Array(COOKIE_BYTES);
  for (let i = 0; i < COOKIE_BYTES; i++) cookie[i] = hash[i >> 2]! >>> ((i & 3) * 8);
  return cookie;
}

function sameCookie(tcp: Tcp, seg: Segment, cookie: Uint8Array): boolean {
  if (seg.foLength !== COOKIE_BYTES) return false;
  for (let i = 0; i < COOKIE_BYTES; i++) {
    if (tcp.mem.bytes[seg.foAt + i] !== cookie[i]) return false;
  }
  return true;
}

/**
 * Looks whether the SYN `seg` opens its connection at once; `req` is filled and in no table.
 * @returns true when a child has taken over; false: the usual way goes on, and the SYN-ACK carries
 *   `req.fastopenCookie` if that is not null
 */
export function tryFastopen(tcp: Tcp, req: RequestSock, seg: Segment): boolean {
  const { net } = tcp;
  const { listener } = req;
  if (seg.foLength === 0) net.count(Mib.TCPFastOpenCookieReqd);
  if ((net.sysctl.tcpFastopen & TFO_SERVER_ENABLE) === 0) return false;
  if (seg.length === 0 && seg.foLength < 0) return false;
  if (!fastopenQueueCheck(tcp, listener)) return false;
  if ((net.sysctl.tcpFastopen & TFO_SERVER_COOKIE_NOT_REQD) !== 0 || listener.fastopenNoCookie) {
    return openAtOnce(tcp, req, seg, null);
  }
  if (seg.foLength < 0) return false;
  const keys = listener.fastopenKeys ?? keysOf(tcp);
  const cookie = cookieOf(seg, keys.subarray(0, KEY_WORDS));
  req.fastopenExp = seg.foExp;
  req.fastopenCookie = cookie;
  if (seg.foLength === 0) return false;
  if (sameCookie(tcp, seg, cookie)) return openAtOnce(tcp, req, seg, null);
  const second = keys.length > KEY_WORDS;
  if (second && sameCookie(tcp, seg, cookieOf(seg, keys.subarray(KEY_WORDS)))) {
    // Of a key that is going out of use: the SYN-ACK brings the cookie of the other.
    if (!openAtOnce(tcp, req, seg, cookie)) return false;
    net.count(Mib.TCPFastOpenPassiveAltKey);
    return true;
  }
  net.count(Mib.TCPFastOpenPassiveFail);
  return false;
}

/** The child of the SYN `seg`, in SYN-RECEIVED. False: no descriptor is left. */
function openAtOnce(tcp: Tcp, req: RequestSock, seg: Segment, reply: Uint8Array | null): boolean {
  const { net } = tcp;
  const { listener } = req;
  const added = requestAdd(tcp, req);
  const child = added ? createChild(tcp, req, seg, listener) : null;
  if (child === null) {
    if (added) requestDrop(tcp, req);
    net.count(Mib.TCPFastOpenPassiveFail);
    return false;
  }
  requestUnlink(tcp, req);
  fastopenQueueAdd(listener, child);
  child.fastopenCookie = reply;
  child.fastopenExp = seg.foExp;
  // The window of a SYN is not scaled.
  child.sndWnd = child.maxWindow = seg.wnd;
  child.rttTimed = true;
  child.rttSentUs = net.nowUs;
  child.rtoUs = RTO_INITIAL_US;
  publishState(tcp, child, 0);
  addSynText(tcp, child, seg);
  child.rcvWup = child.rcvNxt;
  armRetransmit(tcp, child);
  tcp.mark(child, PENDING_SYNACK);
  const pushed = acceptQueuePush(tcp, listener, child.fd);
  assert(pushed, 'Fast Open: the accept queue was not full, and is');
  tcp.events.ready(listener.fd, EPOLLIN);
  net.count(Mib.TCPFastOpenPassive);
  return true;
}
