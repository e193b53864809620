/**
 * SO_DRAIN, our own: a listener that takes leave without losing anybody. It is in no table where a
 * SYN could find it, while what is half open becomes connections and what is queued is accepted;
 * EPOLLRDHUP tells when nothing of that is left. Its state stays LISTEN until it is closed, and
 * closing it is an ordinary close. The tables' half is reuseport/hash-listen.ts.
 */
import { EPOLLIN, EPOLLRDHUP } from '../net/epoll-bits.js';
import { EINVAL } from '../net/errno.js';
import { inetDrainListen, inetUndrainListen } from '../reuseport/hash-listen.js';
import { publishNoGroup, publishState } from './publish.js';
import { TCP_LISTEN } from './state.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/**
 * setsockopt(SO_DRAIN). Off again puts the listener back as the last member of its group.
 * @returns 0; -EINVAL: does not listen; -ENOMEM: the group is full, it goes on draining
 */
export function setDrain(tcp: Tcp, tcb: Tcb, on: boolean): number {
  if (tcb.state !== TCP_LISTEN) return -EINVAL;
  const queue = tcb.listen!;
  if (queue.draining === on) return 0;
  if (on) {
    if (tcb.reuseportCb !== null) tcp.changedGroups.add(tcb.reuseportCb);
    inetDrainListen(tcp.hashinfo, tcb);
    publishNoGroup(tcp, tcb);
  } else {
    const error = inetUndrainListen(tcp.hashinfo, tcb);
    if (error !== 0) return error;
    if (tcb.reuseportCb !== null) tcp.changedGroups.add(tcb.reuseportCb);
  }
  queue.draining = on;
  publishState(tcp, tcb, queue.drained ? EPOLLIN | EPOLLRDHUP : 0);
  return 0;
}

/** getsockopt(SO_DRAIN): 0, 1 or -EINVAL; its second word is what is half open. */
export function getDrain(tcb: Tcb): number {
  if (tcb.state !== TCP_LISTEN) return -EINVAL;
  return tcb.listen!.draining ? 1 : 0;
}

/**
 * To be called when a request has left the SYN queue and its child, if it has one, waits in the
 * accept queue: the last of a draining listener is the end of it.
 */
export function drainProgress(tcp: Tcp, listener: Tcb): void {
  if (listener.state !== TCP_LISTEN || !listener.listen!.drained) return;
  publishState(tcp, listener, EPOLLIN | EPOLLRDHUP);
}
