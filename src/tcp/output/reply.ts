/**
 * Segments without a full connection behind them: SYN-ACKs, ACKs of request and time-wait sockets,
 * and RSTs (RFC 9293 3.10.7.1; Linux tcp_ipv4.c: tcp_v4_send_synack, tcp_v4_send_ack,
 * tcp_v4_send_reset; tcp_output.c: tcp_make_synack, tcp_send_active_reset).
 */
import { Mib } from '../../net/mib.js';
import type { RequestSock, TimewaitSock } from '../minisocks.js';
import { advertisedMss, synAckDontFragment } from '../mss.js';
import { writeFastopen, writeSynOptions, writeTimestamp } from '../options.js';
import { WINDOW_FIELD_MOST } from '../rcv-space.js';
import { ACK, ECE, RST, type Segment, SYN, TCP_HEADER_BYTES } from '../segment.js';
import type { Tcb } from '../tcb.js';
import type { Tcp } from '../tcp.js';
import { tsNow } from '../ts-clock.js';
import { acceptableSeq, sendSegment, transmit, writeHeader } from './transmit.js';

const IP_HEADER_BYTES = 20;
/** The ECN bits of the TOS octet are not reflected. */
const TOS_WITHOUT_ECN = 0xfc;

export function sendSynAck(tcp: Tcp, req: RequestSock): void {
  const { net } = tcp;
  const skb = net.outputSkbs.alloc();
  if (skb === null) return;
  const at = skb.start;
  const { listener } = req;
  let end = writeSynOptions(
    skb.view,
    at + TCP_HEADER_BYTES,
    advertisedMss(tcp, listener, req),
    req.sackOk,
    req.tsOk,
    tsNow(net.nowUs, req.tsOffset),
    req.tsRecent,
    req.peerWscale >= 0 ? req.rcvWscale : -1,
  );
  if (req.fastopenCookie !== null) {
    end = writeFastopen(skb.view, end, req.fastopenCookie, req.fastopenExp);
    // A repeated SYN-ACK does without, in case that the option is what it was lost for.
    req.fastopenCookie = null;
  }
  const ack = (req.irs + 1) | 0;
  const window = Math.min(req.rcvWnd, WINDOW_FIELD_MOST);
  const flags = SYN | ACK | (req.ecnOk ? ECE : 0);
  writeHeader(skb.view, at, end, req.num, req.dport, req.iss, ack, flags, window);
  skb.end = end;
  req.lastSentUs = net.nowUs;
  if (req.firstSentUs === 0) req.firstSentUs = net.nowUs;
  const { rcvSaddr, daddr, boundDevIf } = req;
  const df = synAckDontFragment(listener, IP_HEADER_BYTES + end - at);
  const id = df ? 0 : net.random.u32() & 0xffff;
  sendSegment(tcp, skb, rcvSaddr, daddr, listener.tos, listener.ttl, id, df, boundDevIf);
  net.outputSkbs.release(skb);
}

/** An ACK on behalf of a minisocket: same form for both. */
function sendMinisockAck(
  tcp: Tcp,
  sk: RequestSock | TimewaitSock,
  seq: number,
  ack: number,
  window: number,
  tsOk: boolean,
  tsOffset: number,
  tsRecent: number,
  tos: number,
  ttl: number,
  id: number,
): void {
  const { net } = tcp;
  const skb = net.outputSkbs.alloc();
  if (skb === null) return;
  const at = skb.start;
  let end = at + TCP_HEADER_BYTES;
  if (tsOk && tsRecent !== 0) {
    end = writeTimestamp(skb.view, end, tsNow(net.nowUs, tsOffset), tsRecent);
  }
  writeHeader(skb.view, at, end, sk.num, sk.dport, seq, ack, ACK, window);
  skb.end = end;
  sendSegment(tcp, skb, sk.rcvSaddr, sk.daddr, tos, ttl, id, true, sk.boundDevIf);
  net.outputSkbs.release(skb);
}

export function sendRequestAck(tcp: Tcp, req: RequestSock): void {
  const seq = (req.iss + 1) | 0;
  const ack = (req.irs + 1) | 0;
  const window = req.rcvWnd >>> req.rcvWscale;
  const tos = req.tos & TOS_WITHOUT_ECN;
  const { tsOk, tsOffset, tsRecent } = req;
  const ttl = tcp.net.sysctl.ipDefaultTtl;
  sendMinisockAck(tcp, req, seq, ack, window, tsOk, tsOffset, tsRecent, tos, ttl, 0);
}

export function sendTimewaitAck(tcp: Tcp, tw: TimewaitSock): void {
  const window = tw.rcvWnd >>> tw.rcvWscale;
  const { sndNxt, rcvNxt, tsOk, tsOffset, tsRecent, tos } = tw;
  // The ACK that the full socket owed still looks like one of its own.
  const inherited = tw.ipId >= 0;
  const ttl = inherited ? tw.ttl : tcp.net.sysctl.ipDefaultTtl;
  const id = inherited ? tw.ipId : 0;
  tw.ipId = -1;
  sendMinisockAck(tcp, tw, sndNxt, rcvNxt, window, tsOk, tsOffset, tsRecent, tos, ttl, id);
}

/**
 * The RST for `seg`, which belongs to no connection or must not; never for a RST, never to a group
 * address. It leaves by the device that the socket which `seg` was for is bound to, if any.
 */
export function sendReset(tcp: Tcp, seg: Segment): void {
  const { net } = tcp;
  if ((seg.flags & RST) !== 0) return;
  const skb = net.outputSkbs.alloc();
  if (skb === null) return;
  const acked = (seg.flags & ACK) !== 0;
  const seq = acked ? seg.ack : 0;
  const ack = acked ? 0 : seg.endSeq;
  const at = skb.start;
  const end = at + TCP_HEADER_BYTES;
  writeHeader(skb.view, at, end, seg.dport, seg.sport, seq, ack, acked ? RST : RST | ACK, 0);
  skb.end = end;
  net.count(Mib.TcpOutRsts);
  const tos = seg.tos & TOS_WITHOUT_ECN;
  const ttl = net.sysctl.ipDefaultTtl;
  sendSegment(tcp, skb, seg.daddr, seg.saddr, tos, ttl, 0, true, seg.boundDevIf);
  net.outputSkbs.release(skb);
}

/** RST|ACK of a connection that ends abnormally: tells the peer at once. */
export function sendActiveReset(tcp: Tcp, tcb: Tcb): void {
  tcp.net.count(Mib.TcpOutRsts);
  transmit(tcp, tcb, acceptableSeq(tcb), 0, RST | ACK);
}
