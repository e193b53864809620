/**
 * Writes a connection's public face, the words of its block that application threads read
 * (net/sockmem.ts).
 */
import { EPOLLERR, EPOLLHUP, EPOLLOUT, EPOLLRDHUP } from '../net/epoll-bits.js';
import {
  BLOCK_ERROR,
  BLOCK_EVENTS,
  BLOCK_HASH,
  BLOCK_LADDR,
  BLOCK_LISTENER,
  BLOCK_LPORT,
  BLOCK_MEMBERS,
  BLOCK_RADDR,
  BLOCK_RPORT,
  BLOCK_SLOT,
  BLOCK_STATE,
} from '../net/sockmem.js';
import { CAN_SEND, inStates, TCP_CLOSE } from './state.js';
import { RCV_SHUTDOWN, SEND_SHUTDOWN, type Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** Local and peer address (Linux: inet_sock addresses as getsockname and getpeername show them). */
export function publishAddresses(tcp: Tcp, tcb: Tcb): void {
  const { ctl } = tcp;
  ctl[tcb.at + BLOCK_LADDR] = tcb.rcvSaddr;
  ctl[tcb.at + BLOCK_LPORT] = tcb.num;
  ctl[tcb.at + BLOCK_RADDR] = tcb.daddr;
  ctl[tcb.at + BLOCK_RPORT] = tcb.dport;
}

/** Index and size of each changed reuseport group, in its listeners' blocks; once per batch. */
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

/** State and sticky readiness (Linux tcp.c: tcp_poll); then tells whoever waits for `events`. */
export function publishState(tcp: Tcp, tcb: Tcb, events: number): void {
  const { ctl } = tcp;
  let bits = 0;
  if (tcb.state === TCP_CLOSE || tcb.shutdown === (RCV_SHUTDOWN | SEND_SHUTDOWN)) bits |= EPOLLHUP;
  if ((tcb.shutdown & RCV_SHUTDOWN) !== 0) bits |= EPOLLRDHUP;
  if (inStates(tcb.state, CAN_SEND) || (tcb.shutdown & SEND_SHUTDOWN) !== 0) bits |= EPOLLOUT;
  if (tcb.error !== 0) bits |= EPOLLERR;
  Atomics.store(ctl, tcb.at + BLOCK_STATE, tcb.state);
  Atomics.store(ctl, tcb.at + BLOCK_EVENTS, bits);
  if (events !== 0 && !tcb.orphan) tcp.events.ready(tcb.fd, events);
}

/** Sets SO_ERROR; the application takes it from the block. */
export function publishError(tcp: Tcp, tcb: Tcb, errno: number): void {
  tcb.error = errno;
  Atomics.store(tcp.ctl, tcb.at + BLOCK_ERROR, errno);
}
