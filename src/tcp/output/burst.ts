/**
 * Puts a stretch of the send ring on the wire, what Linux would have made one skb of, as a
 * super-packet that the link cuts, or IPv4 before it. PSH is on its last segment (Linux
 * tcp_output.c: __tcp_transmit_skb).
 */
import { GSO_MAX_BYTES } from '../mss.js';
import { FIN, PSH } from '../segment.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { transmit } from './transmit.js';

/**
 * Sends [seq, seq + length) in segments of `mss` bytes. PSH and FIN of `flags` are for the last
 * one; more than one segment ends with PSH in any case.
 * @param linkMost most bytes that the link cuts; 0 = it does not, and as many as usual are cut
 *   before it
 */
export function transmitBurst(
  tcp: Tcp,
  tcb: Tcb,
  seq: number,
  length: number,
  flags: number,
  mss: number,
  linkMost: number,
): boolean {
  if (length <= mss) return transmit(tcp, tcb, seq, length, flags, mss);
  const cut = linkMost > 0 ? linkMost : GSO_MAX_BYTES;
  // By the size that the connection agreed on, no other.
  const most = mss === tcb.sndMss ? Math.max(mss, cut - (cut % mss)) : mss;
  let sent = true;
  for (let at = 0; at < length; at += most) {
    const piece = Math.min(most, length - at);
    const last = at + piece === length;
    const bits = last ? flags | PSH : flags & ~(PSH | FIN);
    sent = transmit(tcp, tcb, (seq + at) | 0, piece, bits) && sent;
  }
  return sent;
}
