/** Text that comes with a SYN or SYN-ACK (RFC 7413 4.2; Linux: tcp_fastopen_add_skb). */
import { EPOLLIN } from '../../net/epoll-bits.js';
import { RING_CAPACITY, RING_TAIL, ringPlace } from '../../net/ring.js';
import { armReadNotice } from '../rcv-window.js';
import { attachReceiveRing } from '../ring-memory.js';
import { FIN, type Segment } from '../segment.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { tcpFin } from './text.js';

/** Takes text and FIN of `seg`, whose SYN has been taken; for want of memory, neither. */
export function addSynText(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  const fin = (seg.flags & FIN) !== 0;
  if (seg.length === 0 && !fin) return;
  if (seg.length > 0) {
    if (!attachReceiveRing(tcp, tcb)) return;
    const length = Math.min(seg.length, tcp.ctl[tcb.rcvRing + RING_CAPACITY]!);
    ringPlace(tcp.mem, tcb.rcvRing, tcb.rcvNxt, seg.data, length);
    tcb.rcvNxt = (tcb.rcvNxt + length) | 0;
    Atomics.store(tcp.ctl, tcb.rcvRing + RING_TAIL, tcb.rcvNxt);
    armReadNotice(tcp, tcb);
    tcp.events.ready(tcb.fd, EPOLLIN);
  }
  tcb.synDataAcked = true;
  if (fin) tcpFin(tcp, tcb);
}
