/**
 * Writes a connection's public face, the words of its block that application threads read
 * (net/sockmem.ts).
 */
import { EPOLLERR, EPOLLHUP, EPOLLOUT, EPOLLRDHUP } from '../net/epoll-bits.js';
import { RING_TAIL } from '../net/ring.js';
import {
  BLOCK_ERROR,
  BLOCK_EVENTS,
  BLOCK_HASH,
  BLOCK_LADDR,
  BLOCK_LISTENER,
  BLOCK_LPORT,
  BLOCK_MEMBERS,
  BLOCK_NOSPACE,
  BLOCK_NOTSENT,
  BLOCK_RADDR,
  BLOCK_RCVLOWAT,
  BLOCK_RPORT,
  BLOCK_SLOT,
  BLOCK_SND_NXT,
  BLOCK_STATE,
  EARLY_WRITE,
  STREAM_ENDED,
} from '../net/sockmem.js';
import {
  CAN_RECEIVE,
  CAN_SEND,
  inStates,
  TCP_CLOSE,
  TCP_LISTEN,
  TCP_SYN_RECV,
  TCP_SYN_SENT,
} from './state.js';
import { RCV_SHUTDOWN, SEND_SHUTDOWN, type Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/**
 * Local and peer address (Linux: inet_sock addresses as getsockname and getpeername show them). A
 * port that has been given back is still shown (Linux: inet_put_port leaves inet_sport).
 */
export function publishAddresses(tcp: Tcp, tcb: Tcb): void {
  const { ctl } = tcp;
  ctl[tcb.at + BLOCK_LADDR] = tcb.rcvSaddr;
  if (tcb.num !== 0) ctl[tcb.at + BLOCK_LPORT] = tcb.num;
  ctl[tcb.at + BLOCK_RADDR] = tcb.daddr;
  ctl[tcb.at + BLOCK_RPORT] = tcb.dport;
}

/**
 * Index and size of each changed reuseport group, in its listeners' blocks: before listen() is
 * answered, and once per batch for those that leave.
 */
export function publishGroups(tcp: Tcp): void {
  if (tcp.changedGroups.size === 0) return;
  for (const group of tcp.changedGroups) {
    for (let slot = 0; slot < group.numSocks; slot++) {
      const { at } = group.socks[slot] as Tcb;
      tcp.ctl[at + BLOCK_SLOT] = slot;
      tcp.ctl[at + BLOCK_MEMBERS] = group.numSocks;
    }
  }
  tcp.changedGroups.clear();
}

/** A listener that is in no group (any more). */
export function publishNoGroup(tcp: Tcp, tcb: Tcb): void {
  tcp.ctl[tcb.at + BLOCK_SLOT] = -1;
  tcp.ctl[tcb.at + BLOCK_MEMBERS] = 0;
}

/** Which listener got the connection and why. */
export function publishChoice(
  tcp: Tcp,
  tcb: Tcb,
  phash: number,
  slot: number,
  members: number,
): void {
  const { ctl } = tcp;
  ctl[tcb.at + BLOCK_HASH] = phash;
  ctl[tcb.at + BLOCK_SLOT] = slot;
  ctl[tcb.at + BLOCK_MEMBERS] = members;
  ctl[tcb.at + BLOCK_LISTENER] = tcb.listenerFd;
}

/**
 * State and sticky readiness (Linux tcp.c: tcp_poll); then tells whoever waits for `events`. Our
 * own is EPOLLRDHUP at a listener: once its queue is empty nobody will come any more.
 */
export function publishState(tcp: Tcp, tcb: Tcb, events: number): void {
  const { ctl } = tcp;
  let bits = 0;
  const listening = tcb.state === TCP_LISTEN;
  // What was shut down before listen() is for the children.
  const shutdown = listening ? 0 : tcb.shutdown;
  if (tcb.state === TCP_CLOSE || shutdown === (RCV_SHUTDOWN | SEND_SHUTDOWN)) bits |= EPOLLHUP;
  const drained = listening && tcb.listen!.drained;
  if ((shutdown & RCV_SHUTDOWN) !== 0 || drained) bits |= EPOLLRDHUP;
  if (mayWrite(tcb) || (shutdown & SEND_SHUTDOWN) !== 0) bits |= EPOLLOUT;
  if (tcb.error !== 0) bits |= EPOLLERR;
  if (earlyWrite(tcb)) bits |= EARLY_WRITE;
  if (tcb.finReceived) bits |= STREAM_ENDED;
  ctl[tcb.at + BLOCK_STATE] = tcb.state;
  if (tcb.orphan) {
    // Nobody waits for it: who looks reads it sooner or later.
    ctl[tcb.at + BLOCK_EVENTS] = bits;
    return;
  }
  Atomics.store(ctl, tcb.at + BLOCK_EVENTS, bits);
  if (events !== 0) tcp.events.ready(tcb.fd, events);
}

/** Can the application write? With Fast Open also before the handshake is over. */
export function mayWrite(tcb: Tcb): boolean {
  return inStates(tcb.state, CAN_SEND) || earlyWrite(tcb);
}

function earlyWrite(tcb: Tcb): boolean {
  if (tcb.state === TCP_SYN_RECV) return tcb.fastopenQueue !== null;
  return tcb.state === TCP_SYN_SENT && tcb.tfo !== null && tcb.tfo.deferred;
}

/**
 * How many bytes make the socket readable: SO_RCVLOWAT, but no more than there are while less than
 * a segment more may come (Linux: tcp_epollin_ready).
 */
export function publishLowat(tcp: Tcp, tcb: Tcb): void {
  const open = (tcb.rcvWup + tcb.rcvWnd - tcb.rcvNxt) | 0;
  const tight = inStates(tcb.state, CAN_RECEIVE) && open <= tcb.rcvMss;
  const lowat = tight ? 1 : tcb.rcvLowat;
  // Threads read what is beside it all the time: only a change is written.
  if (tcp.ctl[tcb.at + BLOCK_RCVLOWAT] === lowat) return;
  Atomics.store(tcp.ctl, tcb.at + BLOCK_RCVLOWAT, lowat);
}

/** TCP_NOTSENT_LOWAT in force: the option, or the sysctl; 2^32 - 1 is no limit. */
export function publishNotsent(tcp: Tcp, tcb: Tcb): void {
  const limit = tcb.notsentLowat >>> 0 || tcp.net.sysctl.tcpNotsentLowat;
  tcp.ctl[tcb.at + BLOCK_NOTSENT] = limit === 0xffffffff ? 0 : Math.max(1, limit) | 0;
}

/**
 * How far the connection has sent, for who wants to know what is unsent; a writer that waits for
 * less of it is told (Linux: tcp_check_space).
 */
export function publishSent(tcp: Tcp, tcb: Tcb): void {
  const { ctl } = tcp;
  const limit = ctl[tcb.at + BLOCK_NOTSENT]! >>> 0;
  if (limit === 0) {
    // Nobody waits for it, but who was refused before the limit went.
    ctl[tcb.at + BLOCK_SND_NXT] = tcb.sndNxt;
    if (ctl[tcb.at + BLOCK_NOSPACE] === 0) return;
  } else {
    if (ctl[tcb.at + BLOCK_SND_NXT] !== tcb.sndNxt) {
      Atomics.store(ctl, tcb.at + BLOCK_SND_NXT, tcb.sndNxt);
    }
    if (Atomics.load(ctl, tcb.at + BLOCK_NOSPACE) === 0) return;
  }
  const unsent = (Atomics.load(ctl, tcb.sndRing + RING_TAIL) - tcb.sndNxt) | 0;
  if (limit !== 0 && 2 * unsent >= limit) return;
  Atomics.store(ctl, tcb.at + BLOCK_NOSPACE, 0);
  if (!tcb.orphan) tcp.events.ready(tcb.fd, EPOLLOUT);
}

/** Sets SO_ERROR; the application takes it from the block. */
export function publishError(tcp: Tcp, tcb: Tcb, errno: number): void {
  tcb.error = errno;
  Atomics.store(tcp.ctl, tcb.at + BLOCK_ERROR, errno);
}
