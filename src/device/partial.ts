/**
 * Partial transport checksums in memory: is one that the stack hands to a link with offload right,
 * and what is the complete checksum. A TUN device accepts a wrong one without a word when the
 * packet stays on the machine, so the in-memory link is where it is found. IPv4 only.
 */
import { checksumFold, checksumPartial, pseudoSum } from '../net/checksum.js';
import { IPPROTO_TCP, iphdr, offsetOf, TCPHDR_BYTES, tcphdr } from '../net/layout.js';
import type { Skb } from '../net/skb.js';

const PROTOCOL = offsetOf(iphdr, 'protocol');
const SADDR = offsetOf(iphdr, 'saddr');
const DADDR = offsetOf(iphdr, 'daddr');
const TCP_CHECK = offsetOf(tcphdr, 'check');
const DOFF = offsetOf(tcphdr, 'doff');

/**
 * Why a link with offload and this MTU would not carry the packet, whose ipSummed is
 * CHECKSUM_PARTIAL, or '': the checksum's place, the pseudo-header sum in it, and for a
 * super-packet its header and segment size.
 */
export function partialFault(skb: Skb, mtu: number): string {
  const { view, start, end, csumStart, csumOffset } = skb;
  const headerBytes = (view.getUint8(start) & 15) * 4;
  if (csumStart !== start + headerBytes) return 'csumStart is not at the transport header';
  if (csumStart + csumOffset + 2 > end) return 'the checksum field is outside of the linear data';
  const protocol = view.getUint8(start + PROTOCOL);
  const sum = pseudoSum(
    view.getInt32(start + SADDR),
    view.getInt32(start + DADDR),
    protocol,
    skb.length - headerBytes,
  );
  const field = view.getUint16(csumStart + csumOffset);
  // 0 and 0xffff are the same number in one's complement.
  if (sum % 0xffff !== field % 0xffff) return 'the checksum field is not the pseudo-header sum';
  if (skb.gsoSize === 0) {
    return skb.length > mtu ? `packet of ${skb.length} bytes on a link with mtu ${mtu}` : '';
  }
  if (protocol !== IPPROTO_TCP || csumOffset !== TCP_CHECK) return 'a super-packet that is not TCP';
  const tcpBytes = (view.getUint8(csumStart + DOFF) >>> 4) * 4;
  if (tcpBytes < TCPHDR_BYTES || csumStart + tcpBytes > end) {
    return 'a super-packet whose header is not in the linear data';
  }
  const segmentBytes = Math.min(skb.gsoSize, skb.length - headerBytes - tcpBytes);
  return headerBytes + tcpBytes + segmentBytes > mtu
    ? `segments of ${headerBytes + tcpBytes + segmentBytes} bytes on a link with mtu ${mtu}`
    : '';
}

/**
 * Completes a partial checksum in a linear packet: sums [csumStart, length), which includes the
 * pseudo-header sum in the field, and stores the complement there.
 */
export function completeChecksum(
  packet: Uint8Array,
  length: number,
  csumStart: number,
  csumOffset: number,
): void {
  const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
  const sum = checksumPartial(view, csumStart, length - csumStart, 0);
  view.setUint16(csumStart + csumOffset, checksumFold(sum));
}
