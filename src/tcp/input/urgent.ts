/**
 * Urgent data that comes in (RFC 9293 3.8.5, 3.10.7.4 sixth; RFC 6093; Linux tcp_input.c:
 * tcp_check_urg, tcp_urg). As in BSD the pointer names the byte after the urgent one, and that one
 * byte is all that is out of line. What a reader makes of it is socket/uapi/file-read.ts.
 */
import { EPOLLIN, EPOLLPRI } from '../../net/epoll-bits.js';
import { RING_HEAD } from '../../net/ring.js';
import {
  URG_NOTYET,
  urgentAnnounce,
  urgentArrive,
  urgentInline,
  urgentReplace,
  urgentSeq,
  urgentState,
} from '../../net/urgent.js';
import { type Segment, SYN, URG } from '../segment.js';
import { after, before } from '../seq.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';

/**
 * Sixth: URG (RFC 9293 MUST-30, MUST-32, also at a closed window: MUST-66). To be called before
 * the segment's text is published, so that no reader runs past a mark that it has not seen.
 */
export function urgentArrives(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  if ((seg.flags & URG) !== 0) checkPointer(tcp, tcb, seg);
  const { ctl } = tcp;
  if ((urgentState(ctl, tcb.at) & URG_NOTYET) === 0) return;
  const text = (seg.seq + ((seg.flags & SYN) >> 1)) | 0;
  const offset = (urgentSeq(ctl, tcb.at) - text) | 0;
  if (offset < 0 || offset >= seg.length) return;
  urgentArrive(ctl, tcb.at, tcp.mem.bytes[seg.data + offset]!);
  if (!tcb.orphan) tcp.events.ready(tcb.fd, EPOLLIN | EPOLLPRI);
}

/** Is the pointer news: ahead of what has come, and of the mark that there is? */
function checkPointer(tcp: Tcp, tcb: Tcb, seg: Segment): void {
  const { ctl } = tcp;
  const { at } = tcb;
  const mark = (seg.seq + (seg.up === 0 ? 0 : seg.up - 1)) | 0;
  const head = Atomics.load(ctl, tcb.rcvRing + RING_HEAD);
  if (after(head, mark) || before(mark, tcb.rcvNxt)) return;
  const old = urgentState(ctl, at);
  if (old !== 0 && !after(mark, urgentSeq(ctl, at))) return;
  const standing = old !== 0 && urgentSeq(ctl, at) === head && head !== tcb.rcvNxt;
  if (standing && !urgentInline(ctl, at)) urgentReplace(ctl, at, mark);
  else urgentAnnounce(ctl, at, mark);
}
