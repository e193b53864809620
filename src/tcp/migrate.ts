/**
 * Unfinished connections of a listener that has stopped move to another member of its group (Linux
 * 5.14, net.ipv4.tcp_migrate_req; inet_connection_sock.c: inet_csk_listen_stop,
 * reqsk_timer_handler, inet_csk_complete_hashdance). Who takes them is reuseport/select.ts:
 * reuseportMigrateSock; what happens to those that nobody takes is the callers'.
 */
import { EPOLLIN } from '../net/epoll-bits.js';
import { Mib } from '../net/mib.js';
import type { Skb } from '../net/skb.js';
import { reuseportMigrateSock } from '../reuseport/select.js';
import { acceptQueuePush } from './accept-queue.js';
import { type RequestSock, requestLeave } from './minisocks.js';
import { publishChoice } from './publish.js';
import type { TcpSock } from './sock.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/**
 * The listener that takes over `sock`, a request or a queued child of `listener`, which does not
 * listen any more; null and TCPMigrateReqFailure when there is none (without the counter when
 * `listener` never was in a group, or migration was off when it stopped).
 */
export function migrationTarget(
  tcp: Tcp,
  listener: Tcb,
  sock: TcpSock,
  skb: Skb | null,
): Tcb | null {
  return reuseportMigrateSock(tcp.hashinfo, listener, sock, skb) as Tcb | null;
}

/** The choice that `req`'s child will tell of. */
export function requestChosen(req: RequestSock, target: Tcb): void {
  req.phash = req.hash;
  req.slot = target.reuseportSlot;
  req.members = target.reuseportCb!.numSocks;
}

/** `req` is `target`'s from now on, in its SYN queue (Linux: inet_reqsk_clone). */
export function requestMigrate(req: RequestSock, target: Tcb): void {
  requestLeave(req);
  const queue = target.listen!;
  queue.reqs++;
  if (req.timeouts === 0) queue.young++;
  req.listener = target;
  requestChosen(req, target);
}

/**
 * Moves a child that waited in the accept queue of `listener` to the queue of another, however full
 * that is. False: nobody takes it, or there is no memory for one more.
 */
export function childMigrate(tcp: Tcp, listener: Tcb, child: Tcb): boolean {
  const target = migrationTarget(tcp, listener, child, null);
  if (target === null) return false;
  if (child.fastopenQueue !== null) {
    child.fastopenQueue.fastopenLen--;
    child.fastopenQueue = target.listen!;
    child.fastopenQueue.fastopenLen++;
  }
  child.parent!.children--;
  child.parent = target.listen!;
  child.parent.children++;
  child.listenerFd = target.fd;
  publishChoice(tcp, child, child.hash, target.reuseportSlot, target.reuseportCb!.numSocks);
  if (!acceptQueuePush(tcp, target, child.fd)) {
    tcp.net.count(Mib.TCPMigrateReqFailure);
    return false;
  }
  tcp.net.count(Mib.TCPMigrateReqSuccess);
  tcp.events.ready(target.fd, EPOLLIN);
  return true;
}
