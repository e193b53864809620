/**
 * ICMP (RFC 792, RFC 1122 3.2.2, RFC 1812 4.3.2; Linux net/ipv4/icmp.c): echo replies, errors that
 * we send, errors that we receive and hand to the transport they are about. Echo replies that reach
 * us are counted and no more, so are redirects and source quenches (RFC 6633, RFC 9293 MUST-55).
 */
import { checksumFold, checksumPartial, checksumUpdate, skbChecksum } from './checksum.js';
import { isLoopback, isNotOneHost } from './ipv4-address.js';
import { IP_OFFSET, ipRouteSkb, ipSelectIdent, ipv4Xmit } from './ipv4-output.js';
import { ICMPHDR_BYTES, IPHDR_BYTES, IPPROTO_ICMP, icmphdr, iphdr, offsetOf } from './layout.js';
import { Mib } from './mib.js';
import type { NetNs } from './netns.js';
import { CHECKSUM_NONE, type Skb } from './skb.js';

export const ICMP_ECHOREPLY = 0;
export const ICMP_DEST_UNREACH = 3;
export const ICMP_SOURCE_QUENCH = 4;
export const ICMP_REDIRECT = 5;
export const ICMP_ECHO = 8;
export const ICMP_TIME_EXCEEDED = 11;
export const ICMP_PARAMETERPROB = 12;
export const ICMP_TIMESTAMP = 13;
export const ICMP_TIMESTAMPREPLY = 14;
export const ICMP_ADDRESS = 17;
export const ICMP_ADDRESSREPLY = 18;

/** Codes of ICMP_DEST_UNREACH. */
export const ICMP_PROT_UNREACH = 2;
export const ICMP_PORT_UNREACH = 3;
export const ICMP_FRAG_NEEDED = 4;
/** Code of ICMP_TIME_EXCEEDED: fragment reassembly. */
export const ICMP_EXC_FRAGTIME = 1;

const CHECKSUM = offsetOf(icmphdr, 'checksum');
/** The word after the checksum, whatever the type makes of it. */
const REST = offsetOf(icmphdr, 'id');
const MTU = offsetOf(icmphdr, 'sequence');
const IP_FRAG_OFF = offsetOf(iphdr, 'frag_off');
const IP_TTL = offsetOf(iphdr, 'ttl');
const IP_PROTOCOL = offsetOf(iphdr, 'protocol');
const IP_SADDR = offsetOf(iphdr, 'saddr');
const IP_DADDR = offsetOf(iphdr, 'daddr');

/** Largest type that exists for us, and largest code of a destination unreachable. */
const NR_ICMP_TYPES = 18;
const NR_ICMP_UNREACH = 15;
/** A time of a timestamp message: milliseconds since midnight UT. */
const TIME_BYTES = 4;
const DAY_MS = 86_400_000;
/** Transport bytes that an error must quote to be of use (RFC 792: 64 bits). */
const QUOTED_MIN_BYTES = 8;
/** An error message is at most this long (RFC 1812 4.3.2.3), bytes. */
const ERROR_MAX_BYTES = 576;
/**
 * TOS of errors: the service of the packet they are about, precedence "internetwork control" (RFC
 * 1812 4.3.2.5).
 */
const TOS_MASK = 0x1e;
const PREC_INTERNETCONTROL = 0xc0;

/** The counters of a type in and out; types without one of their own have -1. */
const IN_COUNTERS: Int16Array = new Int16Array(NR_ICMP_TYPES + 1).fill(-1);
const OUT_COUNTERS: Int16Array = new Int16Array(NR_ICMP_TYPES + 1).fill(-1);
for (const [type, inIndex, outIndex] of [
  [ICMP_ECHOREPLY, Mib.IcmpInEchoReps, Mib.IcmpOutEchoReps],
  [ICMP_DEST_UNREACH, Mib.IcmpInDestUnreachs, Mib.IcmpOutDestUnreachs],
  [ICMP_SOURCE_QUENCH, Mib.IcmpInSrcQuenchs, Mib.IcmpOutSrcQuenchs],
  [ICMP_REDIRECT, Mib.IcmpInRedirects, Mib.IcmpOutRedirects],
  [ICMP_ECHO, Mib.IcmpInEchos, Mib.IcmpOutEchos],
  [ICMP_TIME_EXCEEDED, Mib.IcmpInTimeExcds, Mib.IcmpOutTimeExcds],
  [ICMP_PARAMETERPROB, Mib.IcmpInParmProbs, Mib.IcmpOutParmProbs],
  [ICMP_TIMESTAMP, Mib.IcmpInTimestamps, Mib.IcmpOutTimestamps],
  [ICMP_TIMESTAMPREPLY, Mib.IcmpInTimestampReps, Mib.IcmpOutTimestampReps],
  [ICMP_ADDRESS, Mib.IcmpInAddrMasks, Mib.IcmpOutAddrMasks],
  [ICMP_ADDRESSREPLY, Mib.IcmpInAddrMaskReps, Mib.IcmpOutAddrMaskReps],
] as const) {
  IN_COUNTERS[type] = inIndex;
  OUT_COUNTERS[type] = outIndex;
}

/**
 * True for the types that answer or ask; all others report errors, about which no error is ever
 * sent.
 */
function isQuery(type: number): boolean {
  return (
    type === ICMP_ECHOREPLY ||
    type === ICMP_ECHO ||
    (type >= ICMP_TIMESTAMP && type <= ICMP_ADDRESSREPLY)
  );
}

/** Linux 5.0 net/ipv4/icmp.c: icmp_rcv. One whole message, addresses set by ipv4Rcv. */
export function icmpRcv(net: NetNs, skb: Skb): void {
  net.count(Mib.IcmpInMsgs);
  const at = skb.transport;
  if (skb.ipSummed === CHECKSUM_NONE && checksumFold(skbChecksum(skb, at, 0)) !== 0) {
    net.count(Mib.IcmpInCsumErrors);
    net.drop(Mib.IcmpInErrors, 'IcmpInCsumErrors', skb);
    return;
  }
  if (skb.end - at < ICMPHDR_BYTES) {
    net.drop(Mib.IcmpInErrors, 'IcmpInErrors', skb);
    return;
  }
  const type = skb.view.getUint8(at);
  if (type > NR_ICMP_TYPES) {
    net.drop(Mib.IcmpInErrors, 'IcmpInErrors', skb);
    return;
  }
  const counter = IN_COUNTERS[type]!;
  if (counter >= 0) net.count(counter);
  if (type === ICMP_ECHO) icmpEcho(net, skb);
  else if (type === ICMP_TIMESTAMP) icmpTimestamp(net, skb);
  else if (
    type === ICMP_DEST_UNREACH ||
    type === ICMP_TIME_EXCEEDED ||
    type === ICMP_PARAMETERPROB
  ) {
    icmpUnreach(net, skb, type, skb.view.getUint8(at + 1));
  }
}

/**
 * Linux 5.0 net/ipv4/icmp.c: icmp_echo. The reply's data is the request's, pointed at where it
 * lies.
 */
function icmpEcho(net: NetNs, skb: Skb): void {
  if (net.sysctl.icmpEchoIgnoreAll !== 0) return;
  const reply = net.outputSkbs.alloc();
  if (reply === null) {
    net.drop(Mib.IcmpOutErrors, 'IcmpOutErrors', skb);
    return;
  }
  const request = skb.transport;
  reply.start += IPHDR_BYTES;
  reply.end = reply.start + ICMPHDR_BYTES;
  reply.bytes.copyWithin(reply.start, request, request + ICMPHDR_BYTES);
  reply.view.setUint8(reply.start, ICMP_ECHOREPLY);
  const data = request + ICMPHDR_BYTES;
  reply.addFragment(data, skb.end - data);
  let check = 0;
  if (skb.ipSummed === CHECKSUM_NONE) {
    // Verified and different in one word only.
    const was = skb.view.getUint16(request);
    const is = reply.view.getUint16(reply.start);
    check = checksumUpdate(skb.view.getUint16(request + CHECKSUM), was, is);
  }
  if (check === 0) {
    // The link vouches for the message, but the field may never have been filled in; or the sum is
    // zero in one of its two ways, of which a message that is all zeros has the other.
    reply.view.setUint16(reply.start + CHECKSUM, 0);
    check = checksumFold(skbChecksum(reply, reply.start, 0));
  }
  reply.view.setUint16(reply.start + CHECKSUM, check);
  xmit(net, reply, ICMP_ECHOREPLY, skb.daddr, skb.saddr, skb.tos);
  net.outputSkbs.release(reply);
}

/**
 * Linux 5.0 net/ipv4/icmp.c: icmp_timestamp. Both of our times are now; who does not know the time
 * of day does not answer.
 */
function icmpTimestamp(net: NetNs, skb: Skb): void {
  if (skb.end - skb.transport < ICMPHDR_BYTES + TIME_BYTES) {
    net.drop(Mib.IcmpInErrors, 'IcmpInErrors', skb);
    return;
  }
  if (Number.isNaN(net.utcUs)) return;
  const reply = net.outputSkbs.alloc();
  if (reply === null) {
    net.drop(Mib.IcmpOutErrors, 'IcmpOutErrors', skb);
    return;
  }
  const { view } = reply;
  reply.start += IPHDR_BYTES;
  const at = reply.start;
  reply.end = at + ICMPHDR_BYTES + 3 * TIME_BYTES;
  reply.bytes.copyWithin(at, skb.transport, skb.transport + ICMPHDR_BYTES + TIME_BYTES);
  view.setUint16(at, ICMP_TIMESTAMPREPLY << 8);
  view.setUint16(at + CHECKSUM, 0);
  const times = at + ICMPHDR_BYTES + TIME_BYTES;
  const nowMs = Math.floor((net.utcUs + net.nowUs) / 1000) % DAY_MS;
  view.setUint32(times, nowMs);
  view.setUint32(times + TIME_BYTES, nowMs);
  view.setUint16(at + CHECKSUM, checksumFold(checksumPartial(view, at, reply.end - at, 0)));
  xmit(net, reply, ICMP_TIMESTAMPREPLY, skb.daddr, skb.saddr, skb.tos);
  net.outputSkbs.release(reply);
}

/**
 * Linux 5.0 net/ipv4/icmp.c: icmp_unreach, icmp_socket_deliver. Looks through the quoted packet and
 * hands the error to its transport, with the skb's addresses and TTL those of the quoted packet.
 */
function icmpUnreach(net: NetNs, skb: Skb, type: number, code: number): void {
  const view = skb.view;
  const quoted = skb.transport + ICMPHDR_BYTES;
  const transport = quotedTransport(skb, quoted);
  const saddr = transport < 0 ? 0 : view.getInt32(quoted + IP_SADDR);
  // What we did not send cannot be unreachable for us.
  if (transport < 0 || !net.isLocal(saddr)) {
    net.drop(Mib.IcmpInErrors, 'IcmpInErrors', skb);
    return;
  }
  if (type === ICMP_DEST_UNREACH && code > NR_ICMP_UNREACH) return;
  let info = 0;
  if (type === ICMP_PARAMETERPROB) info = view.getUint8(skb.transport + REST);
  else if (type === ICMP_DEST_UNREACH && code === ICMP_FRAG_NEEDED) {
    info = view.getUint16(skb.transport + MTU);
  }
  const protocol = view.getUint8(quoted + IP_PROTOCOL);
  skb.saddr = saddr;
  skb.daddr = view.getInt32(quoted + IP_DADDR);
  skb.ttl = view.getUint8(quoted + IP_TTL);
  skb.protocol = protocol;
  skb.transport = transport;
  net.inetProtos[protocol]?.err(skb, type, code, info);
}

/**
 * Arena offset of the transport header quoted in an error, or -1 when the quote is malformed or too
 * short.
 */
function quotedTransport(skb: Skb, quoted: number): number {
  if (skb.end - quoted < IPHDR_BYTES) return -1;
  const versionIhl = skb.view.getUint8(quoted);
  const headerBytes = (versionIhl & 15) * 4;
  if (versionIhl >>> 4 !== 4 || headerBytes < IPHDR_BYTES) return -1;
  // A later fragment does not begin with a transport header.
  if ((skb.view.getUint16(quoted + IP_FRAG_OFF) & IP_OFFSET) !== 0) return -1;
  const transport = quoted + headerBytes;
  return skb.end - transport < QUOTED_MIN_BYTES ? -1 : transport;
}

/** RFC 1122 3.2.2: an error is never sent about these. `skb` begins at its IP header. */
function mayNotReport(net: NetNs, skb: Skb): boolean {
  if (isNotOneHost(skb.saddr) || isNotOneHost(skb.daddr)) return true;
  if (isLoopback(skb.saddr) && skb.dev !== net.lo) return true;
  if ((skb.view.getUint16(skb.start + IP_FRAG_OFF) & IP_OFFSET) !== 0) return true;
  if (skb.protocol !== IPPROTO_ICMP) return false;
  return skb.transport >= skb.end || !isQuery(skb.view.getUint8(skb.transport));
}

/** Linux 5.0 net/ipv4/icmp.c: icmpv4_global_allow, icmpv4_xrlim_allow. */
function rateAllows(net: NetNs, type: number, daddr: number): boolean {
  const sysctl = net.sysctl;
  if (((sysctl.icmpRatemask >>> type) & 1) === 0 || net.isLocal(daddr)) return true;
  if (!net.icmpRateLimit.allowGlobal(sysctl, net.nowUs)) {
    net.count(Mib.IcmpOutRateLimitGlobal);
    return false;
  }
  if (net.icmpRateLimit.allowHost(sysctl, net.nowUs, daddr)) return true;
  net.count(Mib.IcmpOutRateLimitHost);
  return false;
}

/**
 * Sends an error about the received packet `skb` to its source, unless RFC 1122 3.2.2 or the rate
 * limit forbids. It quotes the packet's IP header and as much of the rest as fits into 576 bytes
 * (Linux 5.0 net/ipv4/icmp.c: icmp_send).
 * @param skb begins at the IP header; addresses, protocol, tos and transport are set
 * @param info the word after the checksum, as it goes on the wire: next-hop MTU, or pointer << 24
 */
export function icmpSend(net: NetNs, skb: Skb, type: number, code: number, info: number): void {
  if (mayNotReport(net, skb) || !rateAllows(net, type, skb.saddr)) return;
  const error = net.outputSkbs.alloc();
  if (error === null) {
    net.count(Mib.IcmpOutErrors);
    return;
  }
  const dev = ipRouteSkb(net, error, skb.saddr, 0);
  const room = Math.min(ERROR_MAX_BYTES, dev.mtu) - IPHDR_BYTES - ICMPHDR_BYTES;
  const quotedBytes = Math.min(skb.end - skb.start, room);
  error.start += IPHDR_BYTES;
  error.end = error.start + ICMPHDR_BYTES + quotedBytes;
  const view = error.view;
  view.setUint8(error.start, type);
  view.setUint8(error.start + 1, code);
  view.setUint16(error.start + CHECKSUM, 0);
  view.setInt32(error.start + REST, info);
  const quoted = error.start + ICMPHDR_BYTES;
  error.bytes.copyWithin(quoted, skb.start, skb.start + quotedBytes);
  const sum = checksumPartial(view, error.start, ICMPHDR_BYTES + quotedBytes, 0);
  view.setUint16(error.start + CHECKSUM, checksumFold(sum));
  xmit(net, error, type, skb.daddr, skb.saddr, (skb.tos & TOS_MASK) | PREC_INTERNETCONTROL);
  net.outputSkbs.release(error);
}

/** Sends a finished message. */
function xmit(net: NetNs, skb: Skb, type: number, saddr: number, daddr: number, tos: number): void {
  net.count(Mib.IcmpOutMsgs);
  net.count(OUT_COUNTERS[type]!);
  const id = ipSelectIdent(net, saddr, daddr, IPPROTO_ICMP);
  ipv4Xmit(net, skb, saddr, daddr, IPPROTO_ICMP, tos, net.sysctl.ipDefaultTtl, id, false);
}
