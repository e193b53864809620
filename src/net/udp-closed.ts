/**
 * UDP of a host on which nobody listens (RFC 768, RFC 1122 4.1.3.1; Linux net/ipv4/udp.c:
 * __udp4_lib_rcv, __udp4_lib_err): a whole datagram is answered with ICMP port unreachable, a
 * damaged one is counted and dropped. There are no UDP sockets here.
 */
import { checksumFold, pseudoSum, skbChecksum } from './checksum.js';
import { ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, icmpSend } from './icmp.js';
import { IPPROTO_UDP, offsetOf, UDPHDR_BYTES, udphdr } from './layout.js';
import { Mib } from './mib.js';
import type { InetProtocol, NetNs } from './netns.js';
import { CHECKSUM_NONE, type Skb } from './skb.js';

const LEN = offsetOf(udphdr, 'len');
const CHECK = offsetOf(udphdr, 'check');

/** The protocol object for `net.inetProtos`. */
export function closedUdp(net: NetNs): InetProtocol {
  return {
    rcv: (skb) => udpRcv(net, skb),
    // What nobody has sent cannot be unreachable.
    err: (skb) => net.drop(Mib.IcmpInErrors, 'IcmpInErrors', skb),
  };
}

/** Linux net/ipv4/udp.c: __udp4_lib_rcv, when no socket is found. */
function udpRcv(net: NetNs, skb: Skb): void {
  const at = skb.transport;
  const bytes = skb.end - at;
  const length = bytes < UDPHDR_BYTES ? 0 : skb.view.getUint16(at + LEN);
  if (length < UDPHDR_BYTES || length > bytes) {
    net.drop(Mib.UdpInErrors, 'UdpInErrors', skb);
    return;
  }
  skb.end = at + length;
  // RFC 768: a checksum of 0 is none.
  if (skb.ipSummed === CHECKSUM_NONE && skb.view.getUint16(at + CHECK) !== 0) {
    const pseudo = pseudoSum(skb.saddr, skb.daddr, IPPROTO_UDP, length);
    if (checksumFold(skbChecksum(skb, at, pseudo)) !== 0) {
      net.count(Mib.UdpInCsumErrors);
      net.drop(Mib.UdpInErrors, 'UdpInCsumErrors', skb);
      return;
    }
  }
  net.drop(Mib.UdpNoPorts, 'UdpNoPorts', skb);
  icmpSend(net, skb, ICMP_DEST_UNREACH, ICMP_PORT_UNREACH, 0);
}
