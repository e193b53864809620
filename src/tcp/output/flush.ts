/**
 * Output of everything that was marked during a batch: the only place where connections send, so
 * that one ACK answers all segments of the batch (RFC 9293 MUST-58, MUST-59).
 */
import { SK_REQUEST, SK_TIMEWAIT } from '../../reuseport/sock-common.js';
import type { RequestSock, TimewaitSock } from '../minisocks.js';
import { publishSent } from '../publish.js';
import { windowUpdateDue } from '../rcv-window.js';
import { ACK } from '../segment.js';
import {
  PENDING_ACK,
  PENDING_HELD_ACK,
  PENDING_SYN,
  PENDING_SYNACK,
  PENDING_WINDOW,
  type TcpSock,
} from '../sock.js';
import { TCP_CLOSE, TCP_LISTEN } from '../state.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { sendRequestAck, sendSynAck, sendTimewaitAck } from './reply.js';
import { transmitSyn } from './transmit.js';
import { tcpOutput } from './write.js';

/** Serves the dirty list, oldest mark first, at most `limit` sockets. True: the list is empty. */
export function tcpFlush(tcp: Tcp, limit: number): boolean {
  for (let n = 0; n < limit; n++) {
    const sock = tcp.takeDirty();
    if (sock === null) return true;
    serve(tcp, sock);
  }
  return !tcp.hasDirty;
}

function serve(tcp: Tcp, sock: TcpSock): void {
  const { pending } = sock;
  if (sock.kind === SK_REQUEST) {
    sock.pending = 0;
    if ((pending & PENDING_SYNACK) !== 0) sendSynAck(tcp, sock as RequestSock);
    if ((pending & PENDING_ACK) !== 0) sendRequestAck(tcp, sock as RequestSock);
  } else if (sock.kind === SK_TIMEWAIT) {
    sock.pending = 0;
    if ((pending & PENDING_ACK) !== 0) sendTimewaitAck(tcp, sock as TimewaitSock);
  } else {
    serveTcb(tcp, sock as Tcb);
  }
}

function serveTcb(tcp: Tcp, tcb: Tcb): void {
  if (tcb.state === TCP_CLOSE || tcb.state === TCP_LISTEN || tcb.away !== 0) {
    tcb.pending = 0;
    return;
  }
  // What is marked while this runs is for the next turn.
  const window = tcb.pending & PENDING_WINDOW;
  tcb.pending &= ~PENDING_WINDOW;
  if (window !== 0 && windowUpdateDue(tcp, tcb)) tcb.pending |= PENDING_ACK;
  if ((tcb.pending & PENDING_SYN) !== 0) transmitSyn(tcp, tcb, 0);
  if ((tcb.pending & PENDING_SYNACK) !== 0) transmitSyn(tcp, tcb, ACK);
  tcpOutput(tcp, tcb);
  publishSent(tcp, tcb);
  tcb.pending &= PENDING_WINDOW | PENDING_HELD_ACK;
}
