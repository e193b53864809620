/**
 * The SYN of a dry run: an IPv4 packet with a bare TCP header, as it would stand in memory when the
 * lookup is made. It is looked at (selectors may read it), never sent.
 */
import {
  IPHDR_BYTES,
  IPPROTO_TCP,
  iphdr,
  offsetOf,
  SYN,
  TCPHDR_BYTES,
  tcphdr,
} from '../net/layout.js';
import type { Skb } from '../net/skb.js';

const WINDOW = 64_240;
const TTL = 64;

/** Fills `skb`, which must be empty. Addresses are int32 bit patterns. */
export function writeSyn(
  skb: Skb,
  saddr: number,
  sport: number,
  daddr: number,
  dport: number,
): void {
  const { view, start } = skb;
  const transport = start + IPHDR_BYTES;
  skb.end = transport + TCPHDR_BYTES;
  skb.bytes.fill(0, start, skb.end);
  view.setUint8(start, 0x45);
  view.setUint16(start + offsetOf(iphdr, 'tot_len'), skb.end - start);
  view.setUint8(start + offsetOf(iphdr, 'ttl'), TTL);
  view.setUint8(start + offsetOf(iphdr, 'protocol'), IPPROTO_TCP);
  view.setInt32(start + offsetOf(iphdr, 'saddr'), saddr);
  view.setInt32(start + offsetOf(iphdr, 'daddr'), daddr);
  view.setUint16(transport + offsetOf(tcphdr, 'source'), sport);
  view.setUint16(transport + offsetOf(tcphdr, 'dest'), dport);
  view.setUint8(transport + offsetOf(tcphdr, 'doff'), (TCPHDR_BYTES / 4) << 4);
  view.setUint8(transport + offsetOf(tcphdr, 'flags'), SYN);
  view.setUint16(transport + offsetOf(tcphdr, 'window'), WINDOW);
  skb.saddr = saddr;
  skb.daddr = daddr;
  skb.protocol = IPPROTO_TCP;
  skb.ttl = TTL;
  skb.tos = 0;
  skb.cpu = 0;
  skb.transport = transport;
}
