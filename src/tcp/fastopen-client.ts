/**
 * TCP Fast Open, the client's side (RFC 7413; Linux tcp_fastopen.c, tcp_output.c:
 * tcp_send_syn_data, tcp_input.c: tcp_rcv_fastopen_synack, tcp_metrics.c): cookies that were given
 * to us, the SYN that carries text, and what its SYN-ACK says. Paths on which that fails are
 * fastopen-path.ts, the server is fastopen.ts.
 */
import { EPOLLOUT } from '../net/epoll-bits.js';
import { Mib } from '../net/mib.js';
import { RING_HEAD, RING_LIMIT, ringReset, ringUsed } from '../net/ring.js';
import { CHRONO_BUSY, chronoStart, chronoStop } from './chrono.js';
import { TFO_CLIENT_NO_COOKIE } from './fastopen-option.js';
import { ActiveFastopen, cacheOf, inPause } from './fastopen-path.js';
import { advertisedMss, currentMss, HEADERS_BYTES, pathMtu } from './mss.js';
import { publishState } from './publish.js';
import { attachSendRing } from './ring-memory.js';
import { segmentsIn } from './rtx-queue.js';
import type { Segment } from './segment.js';
import { after } from './seq.js';
import { PENDING_SYN } from './sock.js';
import { DEFAULT_MSS, type Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';
import { armRetransmit } from './timer-arm.js';

/** Left free in a SYN with text, for whatever the way may add (Linux: MAX_TCP_OPTION_SPACE). */
const OPTION_SPACE_BYTES = 40;
/** Peers that are remembered; the one that was known longest makes room. */
const PEERS_MOST = 1024;
/** An option without a cookie: asks for one. */
const COOKIE_REQUEST: Uint8Array = new Uint8Array(0);

function peerKey(tcb: Tcb): string {
  return `${tcb.rcvSaddr},${tcb.daddr}`;
}

/** Chooses the option of the SYN; true: it may carry text (Linux: tcp_fastopen_cookie_check). */
function cookieCheck(tcp: Tcp, tcb: Tcb, tfo: ActiveFastopen): boolean {
  const known = cacheOf(tcp).peers.get(peerKey(tcb));
  tcb.fastopenCookie = null;
  tcb.fastopenExp = false;
  const mtuMss = pathMtu(tcp, tcb) - HEADERS_BYTES;
  const mss = Math.min(mtuMss, known?.mss ?? advertisedMss(tcp, tcb));
  const userMss = tcb.userMss > 0 ? Math.min(mss, tcb.userMss) : mss;
  // Never 0: tcp_min_snd_mss is 48 at least, however little the peer has announced.
  tfo.spaceBytes = Math.max(userMss, tcp.net.sysctl.tcpMinSndMss) - OPTION_SPACE_BYTES;
  if (inPause(tcp, tfo)) return false;
  if ((tcp.net.sysctl.tcpFastopen & TFO_CLIENT_NO_COOKIE) !== 0 || tcb.fastopenNoCookie) {
    return true;
  }
  if (known?.cookie != null) {
    tcb.fastopenCookie = known.cookie;
    tcb.fastopenExp = known.exp;
    return true;
  }
  tcb.fastopenCookie = COOKIE_REQUEST;
  tcb.fastopenExp = known?.tryExp === 1;
  return false;
}

/**
 * connect() of a socket that wants Fast Open, in SYN-SENT and with its ISN chosen. True: the SYN
 * waits for the application's text, which it writes next (fastopenLaunch); false: it goes now.
 */
export function fastopenBegin(tcp: Tcp, tcb: Tcb): boolean {
  const tfo = new ActiveFastopen();
  tcb.tfo = tfo;
  ringReset(tcp.ctl, tcb.sndRing, (tcb.iss + 1) | 0);
  if (!cookieCheck(tcp, tcb, tfo)) return false;
  if (!attachSendRing(tcp, tcb)) {
    tcb.fastopenCookie = null;
    return false;
  }
  tfo.deferred = true;
  tfo.sndLimit = tcp.ctl[tcb.sndRing + RING_LIMIT]!;
  tcp.ctl[tcb.sndRing + RING_LIMIT] = Math.min(tfo.spaceBytes, tfo.sndLimit);
  publishState(tcp, tcb, EPOLLOUT);
  return true;
}

/** The application has written: the SYN that waited for it goes. */
export function fastopenLaunch(tcp: Tcp, tcb: Tcb, tfo: ActiveFastopen): void {
  tfo.deferred = false;
  tcp.ctl[tcb.sndRing + RING_LIMIT] = tfo.sndLimit;
  tcb.retransStampUs = tcb.rttSentUs = tcp.net.nowUs;
  publishState(tcp, tcb, 0);
  sendFirstSyn(tcp, tcb);
}

/** Linux: tcp_connect. */
export function sendFirstSyn(tcp: Tcp, tcb: Tcb): void {
  tcp.net.count(Mib.TcpActiveOpens);
  tcb.rttTimed = true;
  tcp.mark(tcb, PENDING_SYN);
  armRetransmit(tcp, tcb);
}

/**
 * Bytes of text for the SYN that is about to leave: only the first one has any, as it has the
 * option. It counts as sent from here on.
 */
export function fastopenSynText(tcp: Tcp, tcb: Tcb, tfo: ActiveFastopen): number {
  if (tfo.sent) {
    tcb.fastopenCookie = null;
    return 0;
  }
  tfo.sent = true;
  tfo.asked = tcb.fastopenCookie !== null;
  tfo.exp = tcb.fastopenExp;
  const most = ringUsed(tcp.ctl, tcb.sndRing);
  tfo.synBytes = Math.min(most, tfo.spaceBytes);
  tcb.sndNxt = (tcb.iss + 1 + tfo.synBytes) | 0;
  tcb.ectNxt = tcb.sndNxt;
  if (tfo.synBytes > 0) {
    chronoStart(tcb, CHRONO_BUSY);
    tcp.net.count(Mib.TCPOrigDataSent);
  }
  return tfo.synBytes;
}

/**
 * The SYN-ACK has come, and SND.UNA is what it acknowledges: text of the SYN that it leaves out is
 * sent again with the ACK of it, as if it had not been sent. True: it may bring text of its own.
 */
export function fastopenSynAck(tcp: Tcp, tcb: Tcb, tfo: ActiveFastopen, seg: Segment): boolean {
  remember(tcp, tcb, tfo, seg);
  Atomics.store(tcp.ctl, tcb.sndRing + RING_HEAD, tcb.sndUna);
  return fastopenAcked(tcp, tcb, tfo, tcb.sndUna);
}

/** Our SYN has been acknowledged up to `ack`. False: its text was left out and is sent again. */
function fastopenAcked(tcp: Tcp, tcb: Tcb, tfo: ActiveFastopen, ack: number): boolean {
  const { net } = tcp;
  const left = (tcb.sndNxt - ack) | 0;
  if (left > 0) {
    const segments = segmentsIn(left, currentMss(tcb));
    tcb.sndNxt = ack;
    tcb.totalRetrans += segments;
    tcb.counts.bytesRetrans += left;
    net.count(Mib.TcpRetransSegs, segments);
    net.count(Mib.TCPSlowStartRetrans, segments);
    net.count(Mib.TCPOrigDataSent, -segments);
    net.count(Mib.TCPFastOpenActiveFail);
    return false;
  }
  if (tfo.synBytes > 0) {
    chronoStop(tcb, CHRONO_BUSY);
    tcb.synDataAcked = true;
    net.count(Mib.TCPFastOpenActive);
  }
  return true;
}

/** Does what ends at `end` go again because the peer has left it out of our SYN? */
export function isSynText(tcb: Tcb, end: number): boolean {
  return tcb.tfo !== null && !after(end, (tcb.iss + 1 + tcb.tfo.synBytes) | 0);
}

/** What the SYN-ACK tells for the next time (Linux: tcp_fastopen_cache_set). */
function remember(tcp: Tcp, tcb: Tcb, tfo: ActiveFastopen, seg: Segment): void {
  const { peers } = cacheOf(tcp);
  const key = peerKey(tcb);
  let known = peers.get(key);
  if (known === undefined) {
    if (peers.size >= PEERS_MOST) peers.delete(peers.keys().next().value!);
    known = { mss: 0, cookie: null, exp: false, tryExp: 0 };
    peers.set(key, known);
  }
  known.mss = seg.mss === 0 ? DEFAULT_MSS : seg.mss;
  if (tfo.asked && seg.foLength > 0) {
    known.cookie = tcp.mem.bytes.slice(seg.foAt, seg.foAt + seg.foLength);
    known.exp = seg.foExp;
    return;
  }
  const refused = tfo.asked && tcb.totalRetrans === 0 && seg.foLength < 0 && tfo.synBytes === 0;
  if (!refused || known.cookie !== null) return;
  known.tryExp = Math.max(known.tryExp, tfo.exp ? 2 : 1);
}
