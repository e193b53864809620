/**
 * IPv4 in (RFC 791, RFC 1122 3.2; Linux net/ipv4/ip_input.c: ip_rcv_core, ip_rcv_finish,
 * ip_local_deliver; the checks of net/ipv4/route.c: ip_route_input_slow): what is valid and for us
 * goes to its transport, everything else to one reason counter. A host, not a router: nothing is
 * forwarded. Sending is in ipv4-output.ts. IPv6 packets are dropped.
 */
import { checksumFold, checksumPartial } from './checksum.js';
import { FragmentTable } from './fragment.js';
import {
  ICMP_DEST_UNREACH,
  ICMP_PARAMETERPROB,
  ICMP_PROT_UNREACH,
  icmpRcv,
  icmpSend,
} from './icmp.js';
import { checkOptions, OPTIONS_FINE, OPTIONS_SOURCE_ROUTE } from './ip-options.js';
import { isLoopback, isMulticast, isNotOneHost } from './ipv4-address.js';
import { IP_MF, IP_OFFSET } from './ipv4-output.js';
import { IPHDR_BYTES, IPPROTO_ICMP, IPPROTO_IGMP, iphdr, offsetOf } from './layout.js';
import { Mib } from './mib.js';
import type { NetNs } from './netns.js';
import { RTN_BROADCAST, RTN_LOCAL } from './route.js';
import type { Skb } from './skb.js';

export { ipRouteSkb, ipSelectIdent, ipv4Xmit } from './ipv4-output.js';

const TOS = offsetOf(iphdr, 'tos');
const TOT_LEN = offsetOf(iphdr, 'tot_len');
const FRAG_OFF = offsetOf(iphdr, 'frag_off');
const TTL = offsetOf(iphdr, 'ttl');
const PROTOCOL = offsetOf(iphdr, 'protocol');
const SADDR = offsetOf(iphdr, 'saddr');
const DADDR = offsetOf(iphdr, 'daddr');

/** Most packets to ourselves that one call of ipv4Loopback looks at. */
const LOOPBACK_BURST = 64;

/**
 * Takes one packet, [skb.start, skb.end), from the link (or from ipv4Loopback). The caller keeps
 * the skb: whatever is to stay has been copied when this returns, or has got the skb's buffer.
 * Linux 5.0 net/ipv4/ip_input.c: ip_rcv.
 */
export function ipv4Rcv(net: NetNs, skb: Skb): void {
  net.trace?.packet?.('in', skb);
  if (!validate(net, skb)) return;
  const view = skb.view;
  const at = skb.start;
  skb.saddr = view.getInt32(at + SADDR);
  skb.daddr = view.getInt32(at + DADDR);
  skb.protocol = view.getUint8(at + PROTOCOL);
  skb.tos = view.getUint8(at + TOS);
  skb.ttl = view.getUint8(at + TTL);
  skb.transport = at + (view.getUint8(at) & 15) * 4;
  if (!isForUs(net, skb)) return;
  if (skb.transport - at > IPHDR_BYTES && !optionsAcceptable(net, skb)) return;
  if ((view.getUint16(at + FRAG_OFF) & (IP_MF | IP_OFFSET)) === 0) {
    deliver(net, skb);
    return;
  }
  net.ipFrags ??= new FragmentTable(net);
  const whole = net.ipFrags.defrag(skb);
  if (whole === null) return;
  whole.saddr = skb.saddr;
  whole.daddr = skb.daddr;
  whole.protocol = skb.protocol;
  whole.ttl = skb.ttl;
  whole.tos = view.getUint8(whole.start + TOS);
  whole.transport = whole.start + (view.getUint8(whole.start) & 15) * 4;
  deliver(net, whole);
  net.inputSkbs.release(whole);
}

/**
 * Receives packets that we sent to ourselves, at most a burst of them.
 * @returns true when more are waiting: call again before sleeping
 */
export function ipv4Loopback(net: NetNs): boolean {
  for (let n = Math.min(net.loopback.length, LOOPBACK_BURST); n > 0; n--) {
    const skb = net.loopback.shift()!;
    ipv4Rcv(net, skb);
    const pool = skb.capacity === net.outputSkbs.capacity ? net.outputSkbs : net.inputSkbs;
    pool.release(skb);
  }
  return net.loopback.length > 0;
}

/** Header checks (RFC 1122 3.2.1.1, 3.2.1.2); trims the skb to the packet. Linux: ip_rcv_core. */
function validate(net: NetNs, skb: Skb): boolean {
  const view = skb.view;
  const at = skb.start;
  const bytes = skb.end - at;
  const version = bytes > 0 ? view.getUint8(at) >>> 4 : 0;
  if (version === 6) {
    net.drop(Mib.TunRxIpv6Dropped, 'TunRxIpv6Dropped', skb);
    return false;
  }
  net.count(Mib.IpInReceives);
  net.count(Mib.IpExtInOctets, bytes);
  const headerBytes = bytes < IPHDR_BYTES ? 0 : (view.getUint8(at) & 15) * 4;
  if (version !== 4 || headerBytes < IPHDR_BYTES || headerBytes > bytes) {
    net.drop(Mib.IpInHdrErrors, 'IpInHdrErrors', skb);
    return false;
  }
  // Linux sorts packets by the ECN bits of the TOS byte; the four counters stand in their order.
  net.count(Mib.IpExtInNoECTPkts + (view.getUint8(at + TOS) & 3));
  if (checksumFold(checksumPartial(view, at, headerBytes, 0)) !== 0) {
    net.count(Mib.IpExtInCsumErrors);
    net.drop(Mib.IpInHdrErrors, 'IpExtInCsumErrors', skb);
    return false;
  }
  const total = view.getUint16(at + TOT_LEN);
  if (total > bytes) {
    net.drop(Mib.IpExtInTruncatedPkts, 'IpExtInTruncatedPkts', skb);
    return false;
  }
  if (total < headerBytes) {
    net.drop(Mib.IpInHdrErrors, 'IpInHdrErrors', skb);
    return false;
  }
  skb.end = at + total;
  return true;
}

/**
 * Address checks (RFC 1122 3.2.1.3, RFC 9293 MUST-57, MUST-63). We have joined no multicast group
 * and use no broadcasts, so these are counted and dropped; neither they nor packets with an
 * impossible source are ever answered. Which interface has the address does not matter (RFC 1122
 * 3.3.4.2, the weak model).
 */
function isForUs(net: NetNs, skb: Skb): boolean {
  const looped = skb.dev === net.lo;
  const from = net.routes.output(skb.saddr, 0).type;
  const martian =
    isNotOneHost(skb.saddr) ||
    from === RTN_BROADCAST ||
    (!looped && (isLoopback(skb.saddr) || isLoopback(skb.daddr) || from === RTN_LOCAL));
  if (martian) {
    net.drop(Mib.IpInAddrErrors, 'IpInAddrErrors', skb);
    return false;
  }
  const to = net.routes.output(skb.daddr, 0).type;
  if (to === RTN_LOCAL) return true;
  let reason: number = Mib.IpInAddrErrors;
  let name = 'IpInAddrErrors';
  if (isMulticast(skb.daddr)) {
    reason = Mib.IpExtInMcastPkts;
    name = 'IpExtInMcastPkts';
  } else if (to === RTN_BROADCAST) {
    reason = Mib.IpExtInBcastPkts;
    name = 'IpExtInBcastPkts';
  }
  net.drop(reason, name, skb);
  return false;
}

/** Linux: ip_rcv_options. What is malformed is reported to the sender (RFC 1122 3.2.2.5). */
function optionsAcceptable(net: NetNs, skb: Skb): boolean {
  const wrong = checkOptions(skb);
  if (wrong === OPTIONS_FINE) return true;
  net.drop(Mib.IpInHdrErrors, 'IpInHdrErrors', skb);
  if (wrong !== OPTIONS_SOURCE_ROUTE) icmpSend(net, skb, ICMP_PARAMETERPROB, 0, wrong << 24);
  return false;
}

/** Linux 5.0 net/ipv4/ip_input.c: ip_local_deliver_finish. */
function deliver(net: NetNs, skb: Skb): void {
  if (skb.protocol === IPPROTO_ICMP) {
    net.count(Mib.IpInDelivers);
    icmpRcv(net, skb);
    return;
  }
  // A member of no group has nothing to report, but it knows the protocol (Linux: igmp_rcv).
  if (skb.protocol === IPPROTO_IGMP) {
    net.count(Mib.IpInDelivers);
    return;
  }
  const protocol = net.inetProtos[skb.protocol];
  if (protocol) {
    net.count(Mib.IpInDelivers);
    protocol.rcv(skb);
    return;
  }
  net.drop(Mib.IpInUnknownProtos, 'IpInUnknownProtos', skb);
  icmpSend(net, skb, ICMP_DEST_UNREACH, ICMP_PROT_UNREACH, 0);
}
