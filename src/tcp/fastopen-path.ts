/**
 * What a Fast Open client knows of its peers and of the path to them (RFC 7413 4.1.3, 4.2.1; Linux
 * tcp_metrics.c, tcp_fastopen.c: tcp_fastopen_active_disable and what calls it): the cookies, and
 * when not to try for a while because something on the way swallows such connections.
 */
import { Mib } from '../net/mib.js';
import { deviceOf } from './mss.js';
import { after, seqMax } from './seq.js';
import { TCP_ESTABLISHED } from './state.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** The pause after a failure doubles at most so often. */
const DISABLE_DOUBLINGS = 6;
/** Consecutive time-outs that make a black hole. */
const BLACKHOLE_TIMEOUTS = 2;

/** What is remembered of one peer (Linux: struct tcp_fastopen_metrics). */
interface KnownPeer {
  /** From its last SYN-ACK. */
  mss: number;
  cookie: Uint8Array | null;
  /** The cookie came in the experimental option. */
  exp: boolean;
  /** 1 = ask with the experimental option next; 2 = that was tried, too. */
  tryExp: number;
}

/** Of the whole stack: the peers by both addresses, and whether Fast Open is in pause. */
export class FastopenCache {
  readonly peers: Map<string, KnownPeer> = new Map();
  disabledUs = 0;
  disabledTimes = 0;
}

/** The attempt of one connection (Linux: tcp_fastopen_request and the bits of tcp_sock). */
export class ActiveFastopen {
  /** connect() has been called, and the SYN waits for text. */
  deferred = false;
  /** The SYN has left. */
  sent = false;
  /** It had the option, and that was the experimental one. */
  asked = false;
  exp = false;
  /** Text in the SYN, bytes. */
  synBytes = 0;
  /** Text that the SYN may carry; SO_SNDBUF as it was before that was the limit. */
  spaceBytes = 0;
  sndLimit = 0;
  /** After a pause: success ends the doubling. */
  probesPause = false;
}

/** Made with the first use. */
export function cacheOf(tcp: Tcp): FastopenCache {
  tcp.fastopenCache ??= new FastopenCache();
  return tcp.fastopenCache;
}

/** Fast Open was tried in vain on this path: not again for a while, longer each time. */
function fastopenActiveDisable(tcp: Tcp): void {
  if (tcp.net.sysctl.tcpFastopenBlackholeTimeoutSec === 0) return;
  const cache = cacheOf(tcp);
  cache.disabledUs = tcp.net.nowUs;
  cache.disabledTimes++;
  tcp.net.count(Mib.TCPFastOpenBlackhole);
}

/** Is there a pause now (Linux: tcp_fastopen_active_should_disable)? */
export function inPause(tcp: Tcp, tfo: ActiveFastopen): boolean {
  const seconds = tcp.net.sysctl.tcpFastopenBlackholeTimeoutSec;
  const { disabledUs, disabledTimes } = cacheOf(tcp);
  if (seconds === 0 || disabledTimes === 0) return false;
  const times = 2 ** Math.min(disabledTimes - 1, DISABLE_DOUBLINGS);
  if (tcp.net.nowUs < disabledUs + times * seconds * 1e6) return true;
  tfo.probesPause = true;
  return false;
}

/** Did the peer send anything since the handshake? */
function heardNothing(tcb: Tcb): boolean {
  const first = (tcb.irs + 1) | 0;
  return tcb.rcvNxt === first;
}

/** A RST whose number is not the next, or a FIN beyond it, of a peer that has sent no text. */
export function fastopenOddEnd(tcp: Tcp, tcb: Tcb): void {
  if (tcb.tfo === null || !tcb.tfo.asked || !heardNothing(tcb)) return;
  if (tcb.state === TCP_ESTABLISHED) fastopenActiveDisable(tcp);
}

/** close(): the connection was good, or only a FIN out of order has come of it. */
export function fastopenCloseCheck(tcp: Tcp, tcb: Tcb): void {
  const { tfo } = tcb;
  if (tfo === null || !tfo.asked || !tcb.synAcked) return;
  if (heardNothing(tcb)) {
    const finOnly = tcb.ofoFin && tcb.ofo !== null && tcb.ofo.count === 1;
    if (finOnly && tcb.ofo!.left(0) === tcb.ofoFinSeq) fastopenActiveDisable(tcp);
  } else if (tfo.probesPause && deviceOf(tcp, tcb) !== tcp.net.lo) {
    cacheOf(tcp).disabledTimes = 0;
  }
}

/** A retransmission timer has fired; `expired`: for the last time. */
export function fastopenDetectBlackhole(tcp: Tcp, tcb: Tcb, expired: boolean): void {
  const { tfo, retransmits } = tcb;
  const tried = (tfo !== null && (tfo.asked || tfo.synBytes > 0)) || tcb.synDataAcked;
  if (!tried) return;
  if (retransmits === BLACKHOLE_TIMEOUTS || (retransmits < BLACKHOLE_TIMEOUTS && expired)) {
    fastopenActiveDisable(tcp);
    tcp.net.count(Mib.TCPFastOpenActiveFail);
  }
}

/**
 * The SYNs have crossed: as a rule the peer leaves the text of ours out (as Linux does), so it
 * counts as not sent, until an ACK says otherwise.
 */
export function fastopenCrossed(tcb: Tcb): void {
  tcb.sndNxt = (tcb.iss + 1) | 0;
}

/** The furthest that our SYN may be acknowledged. */
export function synEnd(tcb: Tcb): number {
  if (tcb.tfo === null) return tcb.sndNxt;
  return seqMax(tcb.sndNxt, (tcb.iss + 1 + tcb.tfo.synBytes) | 0);
}

/** SYNs have crossed, and now ours is acknowledged up to `ack`, at most synEnd. */
export function fastopenCrossedAcked(tcp: Tcp, tcb: Tcb, tfo: ActiveFastopen, ack: number): void {
  const taken = after(ack, (tcb.iss + 1) | 0);
  tcb.sndNxt = seqMax(tcb.sndNxt, ack);
  if (taken) tcb.synDataAcked = true;
  if (tfo.synBytes > 0) tcp.net.count(taken ? Mib.TCPFastOpenActive : Mib.TCPFastOpenActiveFail);
}
