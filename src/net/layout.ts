/**
 * Wire formats, each declared once with buffer-layout and nowhere else: IPv4 (RFC 791 3.1), TCP
 * (RFC 9293 3.1), ICMP (RFC 792), UDP (RFC 768) and the virtio-net header of a TUN device
 * (linux/virtio_net.h). Field names are those of Linux's structs. Tools and tests use `decode` and
 * `encode`; packets on their way are read by offsets that are taken from here when a file is loaded
 * (`const SEQ = offsetOf(tcphdr, 'seq')`).
 */
import { type Structure, struct, u8, u16, u16be, u32be } from 'buffer-layout';
import { assert } from './assert.js';

/** A fixed header: its size and its codec. */
export interface HeaderLayout {
  /** Size, bytes. */
  readonly span: number;
  /** Field values, unsigned; `buffer` is a Node Buffer. */
  decode(buffer: Uint8Array, offset?: number): Record<string, number>;
  /** Writes the fields that `source` has; returns the span. */
  encode(source: Record<string, number>, buffer: Uint8Array, offset?: number): number;
}

/** Offset of `field` from the beginning of the header, bytes. */
export function offsetOf(layout: HeaderLayout, field: string): number {
  const offset = (layout as Structure).offsetOf(field);
  assert(offset !== undefined, `no field ${field} in this header`);
  return offset;
}

/**
 * IPv4 without options. `version_ihl`: version << 4 | header length in words; `frag_off`: flags and
 * offset / 8.
 */
export const iphdr: HeaderLayout = struct(
  [
    u8('version_ihl'),
    u8('tos'),
    u16be('tot_len'),
    u16be('id'),
    u16be('frag_off'),
    u8('ttl'),
    u8('protocol'),
    u16be('check'),
    u32be('saddr'),
    u32be('daddr'),
  ],
  'iphdr',
);

/**
 * TCP without options. `doff`: header length in words << 4; `flags`: CWR ECE URG ACK PSH RST SYN
 * FIN from bit 7.
 */
export const tcphdr: HeaderLayout = struct(
  [
    u16be('source'),
    u16be('dest'),
    u32be('seq'),
    u32be('ack_seq'),
    u8('doff'),
    u8('flags'),
    u16be('window'),
    u16be('check'),
    u16be('urg_ptr'),
  ],
  'tcphdr',
);

export const udphdr: HeaderLayout = struct(
  [u16be('source'), u16be('dest'), u16be('len'), u16be('check')],
  'udphdr',
);

/**
 * ICMP; `id` and `sequence` as echo has them, `sequence` is the next-hop MTU of "fragmentation
 * needed" (RFC 1191).
 */
export const icmphdr: HeaderLayout = struct(
  [u8('type'), u8('code'), u16be('checksum'), u16be('id'), u16be('sequence')],
  'icmphdr',
);

/** Little-endian, before the IP header of each packet of a TUN device with IFF_VNET_HDR. */
export const virtioNetHdr: HeaderLayout = struct(
  [
    u8('flags'),
    u8('gso_type'),
    u16('hdr_len'),
    u16('gso_size'),
    u16('csum_start'),
    u16('csum_offset'),
  ],
  'virtio_net_hdr',
);

/** Bits of `flags` of a TCP header. */
export const FIN = 0x01;
export const SYN = 0x02;
export const RST = 0x04;
export const PSH = 0x08;
export const ACK = 0x10;
export const URG = 0x20;
export const ECE = 0x40;
export const CWR = 0x80;

/** IP protocol numbers (IANA). */
export const IPPROTO_ICMP = 1;
export const IPPROTO_IGMP = 2;
export const IPPROTO_TCP = 6;
export const IPPROTO_UDP = 17;

export const IPHDR_BYTES = 20;
export const TCPHDR_BYTES = 20;
export const ICMPHDR_BYTES = 8;
export const UDPHDR_BYTES = 8;
