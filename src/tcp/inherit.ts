/**
 * What a connection has of its listener's options (Linux: inet_csk_clone_lock copies the listener;
 * these are the fields that a connection keeps of it). Not inherited: SO_PRIORITY, SO_COOKIE,
 * TCP_DEFER_ACCEPT, TCP_QUICKACK.
 */
import {
  BLOCK_LINGER,
  BLOCK_OPTIONS,
  BLOCK_PEEK_OFF,
  BLOCK_RCVTIMEO,
  BLOCK_SNDTIMEO,
  SHUT_RD_KEPT,
} from '../net/sockmem.js';
import { publishLowat, publishNotsent } from './publish.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** Options that live in the block, as application threads look at them. */
const BLOCK_WORDS_KEPT: readonly number[] = [
  BLOCK_RCVTIMEO,
  BLOCK_SNDTIMEO,
  BLOCK_LINGER,
  BLOCK_OPTIONS,
  BLOCK_PEEK_OFF,
];

export function inheritOptions(tcp: Tcp, child: Tcb, listener: Tcb): void {
  child.uid = listener.uid;
  child.reuse = listener.reuse;
  child.reuseport = listener.reuseport;
  child.bindAddrLock = listener.bindAddrLock;
  child.debug = listener.debug;
  child.broadcast = listener.broadcast;
  child.packetMark = listener.packetMark;
  child.bindAddressNoPort = listener.bindAddressNoPort;
  child.localPortRange = listener.localPortRange;
  child.tos = listener.tos;
  child.ttl = listener.ttl;
  child.minTtl = listener.minTtl;
  child.rare = listener.rare;
  child.pmtudisc = listener.pmtudisc;
  child.rcvSpace = listener.rcvSpace;
  child.rcvLowat = listener.rcvLowat;
  child.userClamp = listener.userClamp;
  child.rcvBufLocked = listener.rcvBufLocked;
  child.sndBufLocked = listener.sndBufLocked;
  child.lingerOn = listener.lingerOn;
  child.lingerSeconds = listener.lingerSeconds;
  child.listenerFd = listener.fd;
  child.shutdown = listener.shutdown;
  inheritTcpOptions(child, listener);
  for (const word of BLOCK_WORDS_KEPT) tcp.ctl[child.at + word] = tcp.ctl[listener.at + word]!;
  tcp.ctl[child.at + BLOCK_OPTIONS]! |= listener.shutdown * SHUT_RD_KEPT;
  publishLowat(tcp, child);
  publishNotsent(tcp, child);
}

function inheritTcpOptions(child: Tcb, listener: Tcb): void {
  child.nodelay = listener.nodelay;
  child.cork = listener.cork;
  child.keepalive = listener.keepalive;
  child.keepIdleUs = listener.keepIdleUs;
  child.keepIntvlUs = listener.keepIntvlUs;
  child.keepCount = listener.keepCount;
  child.userMss = listener.userMss;
  child.synRetries = listener.synRetries;
  child.linger2 = listener.linger2;
  child.userTimeoutMs = listener.userTimeoutMs;
  child.notsentLowat = listener.notsentLowat;
  child.congestion = listener.congestion;
}
