/**
 * The Fast Open connections of a listener that wait for their third ACK (Linux: struct
 * fastopen_queue, request_sock.c: reqsk_fastopen_remove): how many there may be, and who counts as
 * one although it is gone. The counts stand in ListenState; who makes such connections is
 * fastopen.ts.
 */
import { Mib } from '../net/mib.js';
import { BLOCK_FLAGS, FILE_ACCEPTED } from '../net/sockmem.js';
import { TCP_LISTEN } from './state.js';
import type { Tcb } from './tcb.js';
import type { Tcp } from './tcp.js';

/** How long one that was reset after accept() goes on counting, µs. */
const RESET_COUNTS_US = 60_000_000;

/**
 * Has `listener` room for one more (RFC 7413 5.1)? Counts TCPFastOpenListenOverflow when it has
 * not.
 */
export function fastopenQueueCheck(tcp: Tcp, listener: Tcb): boolean {
  if (listener.fastopenMax === 0) return false;
  const queue = listener.listen!;
  if (queue.fastopenLen < listener.fastopenMax) return true;
  const oldest = queue.fastopenResets[0];
  if (oldest === undefined || oldest > tcp.net.nowUs) {
    tcp.net.count(Mib.TCPFastOpenListenOverflow);
    return false;
  }
  queue.fastopenResets.shift();
  queue.fastopenLen--;
  return true;
}

/** `child` is one of those of `listener`. */
export function fastopenQueueAdd(listener: Tcb, child: Tcb): void {
  child.fastopenQueue = listener.listen;
  listener.listen!.fastopenLen++;
}

/**
 * `child` is not one any more: its third ACK has come, or it is over. After a RST to one that was
 * accepted its place stays taken for a minute, which is what keeps a flood of SYNs with forged
 * addresses small.
 */
export function fastopenQueueRemove(tcp: Tcp, child: Tcb, reset: boolean): void {
  const queue = child.fastopenQueue;
  if (queue === null) return;
  child.fastopenQueue = null;
  const accepted = (tcp.ctl[child.at + BLOCK_FLAGS]! & FILE_ACCEPTED) !== 0;
  const listener = tcp.socks[child.listenerFd];
  const listens = listener?.listen === queue && listener.state === TCP_LISTEN;
  if (reset && accepted && listens) queue.fastopenResets.push(tcp.net.nowUs + RESET_COUNTS_US);
  else queue.fastopenLen--;
}
