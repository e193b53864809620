/**
 * The way back from a connection to a socket as bind() left it (Linux tcp.c: tcp_disconnect): what
 * the application has set stays, everything that belongs to the connection is forgotten. What the
 * peer is told is calls.ts.
 */
import { RING_HEAD, RING_TAIL } from '../net/ring.js';
import {
  BLOCK_OPTIONS,
  BLOCK_PEEK_OFF,
  BLOCK_SND_FLAGS,
  SHUT_RD_KEPT,
  SHUT_WR_KEPT,
} from '../net/sockmem.js';
import { urgentForget } from '../net/urgent.js';
import { inetBhash2UpdateSaddr } from '../reuseport/bhash.js';
import { SK_FULL } from '../reuseport/sock-common.js';
import { endLending } from './lend.js';
import { publishAddresses, publishLowat, publishState } from './publish.js';
import { detachExtents } from './ring-memory.js';
import { TcpSock } from './sock.js';
import { SS_UNCONNECTED, Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/**
 * What stays beside the fields of every socket: identity, ring memory, socket options, what it was
 * as a listener, its error. Any other field of a Tcb becomes what a new one has.
 */
const KEPT: ReadonlySet<string> = new Set<keyof Tcb>([
  ...(['fd', 'at', 'rcvRing', 'sndRing', 'ringedIndex', 'lastActiveUs', 'ipId'] as const),
  ...(['rcvSpace', 'rcvBufLocked', 'sndBufLocked', 'rcvLowat', 'notsentLowat'] as const),
  ...(['nodelay', 'cork', 'keepalive', 'keepIdleUs', 'keepIntvlUs', 'keepCount'] as const),
  ...(['lingerOn', 'lingerSeconds', 'linger2', 'userMss', 'synRetries', 'userTimeoutMs'] as const),
  ...(['debug', 'broadcast', 'priority', 'packetMark', 'cookie', 'pmtudisc', 'tos'] as const),
  ...(['ttl', 'deferAccept', 'bindAddressNoPort', 'congestion', 'fastopenMax'] as const),
  ...(['fastopenNoCookie', 'fastopenConnect', 'listen', 'listenerFd', 'parent'] as const),
  ...(['fastopenKeys', 'orphan', 'error', 'rare', 'minTtl'] as const),
]);

/** A socket with the fields that all sockets have: those belong to the tables. */
class BareSock extends TcpSock {
  override onTimer(): void {}
}

/** The socket is closed already; it can be used again. */
export function disconnect(tcp: Tcp, tcb: Tcb): void {
  forgetConnection(tcp, tcb);
  tcb.socketState = SS_UNCONNECTED;
  tcb.softError = 0;
  forgetPeer(tcp, tcb, tcb.bindAddrLock ? tcb.rcvSaddr : 0);
  publishLowat(tcp, tcb);
  publishState(tcp, tcb, 0);
}

function forgetConnection(tcp: Tcp, tcb: Tcb): void {
  endLending(tcp, tcb);
  const common = new Set(Object.keys(new BareSock(tcp, SK_FULL)));
  const fresh = Object.entries(new Tcb(tcp, tcb.fd));
  const changed = fresh.filter(([name]) => !KEPT.has(name) && !common.has(name));
  Object.assign(tcb, Object.fromEntries(changed));
  const { ctl } = tcp;
  detachExtents(tcp, tcb);
  for (const ring of [tcb.rcvRing, tcb.sndRing]) {
    Atomics.store(ctl, ring + RING_HEAD, Atomics.load(ctl, ring + RING_TAIL));
  }
  ctl[tcb.at + BLOCK_SND_FLAGS] = 0;
  Atomics.store(ctl, tcb.at + BLOCK_PEEK_OFF, 0);
  Atomics.and(ctl, tcb.at + BLOCK_OPTIONS, ~(SHUT_RD_KEPT | SHUT_WR_KEPT));
  urgentForget(ctl, tcb.at);
}

/** No peer any more, and `bound` is the local address again. */
export function forgetPeer(tcp: Tcp, tcb: Tcb, bound: number): void {
  tcb.daddr = tcb.dport = 0;
  tcb.rcvSaddr = bound;
  inetBhash2UpdateSaddr(tcp.hashinfo, tcb);
  publishAddresses(tcp, tcb);
}
