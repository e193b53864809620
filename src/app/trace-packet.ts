/**
 * An IP packet taken apart for people: addresses, ports, TCP header and options, ICMP. For `trace`
 * only: nothing here is fast, nothing is believed (lengths are checked against what was captured),
 * and a packet that is cut short or broken shows as much as there is.
 */
import { IPPROTO_ICMP, IPPROTO_TCP, IPPROTO_UDP } from '../net/layout.js';

/** One TCP option: its kind, and its value's bytes. */
export interface TcpOption {
  kind: number;
  value: Uint8Array;
}

export interface TcpPart {
  flags: number;
  /** As on the wire, unsigned. */
  seq: number;
  ack: number;
  /** Not scaled. */
  win: number;
  urgent: number;
  options: TcpOption[];
  /** The options end in the middle of one. */
  badOptions: boolean;
}

export interface TracedPacket {
  /** 4 or 6; 0 = neither. */
  version: number;
  protocol: number;
  src: string;
  dst: string;
  /** IPv4 only, u32. */
  saddr: number;
  daddr: number;
  /** null = no ports: another protocol, a later fragment, or cut before them. */
  sport: number | null;
  dport: number | null;
  /** Not the first fragment. */
  fragment: boolean;
  /** Bytes behind the TCP or UDP header; whole message for ICMP; behind the IP header otherwise. */
  length: number;
  /** null = not TCP, or its header is not all there. */
  tcp: TcpPart | null;
  /** What follows the IP header, as far as it was captured. */
  transport: DataView;
}

function dotted(view: DataView, at: number): string {
  return [0, 1, 2, 3].map((i) => view.getUint8(at + i)).join('.');
}

function part(data: Uint8Array, from: number): DataView {
  const at = Math.min(from, data.length);
  return new DataView(data.buffer, data.byteOffset + at, data.length - at);
}

function emptyPacket(data: Uint8Array): TracedPacket {
  return {
    version: 0,
    protocol: -1,
    src: '',
    dst: '',
    saddr: 0,
    daddr: 0,
    sport: null,
    dport: null,
    fragment: false,
    length: data.length,
    tcp: null,
    transport: part(data, data.length),
  };
}

/**
 * @param data begins at the IP header
 * @param length of the packet, which may be more
 */
export function dissect(data: Uint8Array, length: number): TracedPacket {
  const packet = emptyPacket(data);
  const view = part(data, 0);
  const version = data.length > 0 ? data[0]! >>> 4 : 0;
  if (version === 6 && data.length >= 40) dissectIpv6(packet, view, data, length);
  else if (version === 4 && data.length >= 20) dissectIpv4(packet, view, data, length);
  else packet.length = length;
  return packet;
}

function dissectIpv6(packet: TracedPacket, view: DataView, data: Uint8Array, length: number): void {
  packet.version = 6;
  packet.protocol = view.getUint8(6);
  packet.src = ipv6Text(view, 8);
  packet.dst = ipv6Text(view, 24);
  packet.length = Math.max(0, length - 40);
  packet.transport = part(data, 40);
}

/** RFC 5952: lower case, the first of the longest runs of two zero groups or more as `::`. */
function ipv6Text(view: DataView, at: number): string {
  const groups = Array.from({ length: 8 }, (_, i) => view.getUint16(at + 2 * i));
  let [from, most] = [0, 1];
  for (let i = 0, run = 0; i < 8; i++) {
    run = groups[i] === 0 ? run + 1 : 0;
    if (run > most) [from, most] = [i + 1 - run, run];
  }
  const text = (some: number[]): string => some.map((group) => group.toString(16)).join(':');
  if (most === 1) return text(groups);
  return `${text(groups.slice(0, from))}::${text(groups.slice(from + most))}`;
}

function dissectIpv4(packet: TracedPacket, view: DataView, data: Uint8Array, length: number): void {
  const header = (data[0]! & 15) * 4;
  const total = Math.min(length, view.getUint16(2));
  packet.version = 4;
  packet.protocol = view.getUint8(9);
  packet.src = dotted(view, 12);
  packet.dst = dotted(view, 16);
  packet.saddr = view.getUint32(12);
  packet.daddr = view.getUint32(16);
  packet.fragment = (view.getUint16(6) & 0x1fff) !== 0;
  packet.transport = part(data, Math.max(20, header));
  packet.length = Math.max(0, total - Math.max(20, header));
  if (packet.fragment) return;
  if (packet.protocol === IPPROTO_TCP) dissectTcp(packet);
  else if (packet.protocol === IPPROTO_UDP) dissectUdp(packet);
}

function dissectPorts(packet: TracedPacket): void {
  if (packet.transport.byteLength < 4) return;
  packet.sport = packet.transport.getUint16(0);
  packet.dport = packet.transport.getUint16(2);
}

function dissectUdp(packet: TracedPacket): void {
  dissectPorts(packet);
  packet.length = Math.max(0, packet.length - 8);
}

function dissectTcp(packet: TracedPacket): void {
  dissectPorts(packet);
  const { transport } = packet;
  if (transport.byteLength < 20) return;
  const header = Math.max(20, (transport.getUint8(12) >>> 4) * 4);
  packet.length = Math.max(0, packet.length - header);
  const end = Math.min(header, transport.byteLength);
  packet.tcp = {
    flags: transport.getUint8(13),
    seq: transport.getUint32(4),
    ack: transport.getUint32(8),
    win: transport.getUint16(14),
    urgent: transport.getUint16(18),
    ...dissectOptions(transport, end),
  };
}

function dissectOptions(
  view: DataView,
  end: number,
): { options: TcpOption[]; badOptions: boolean } {
  const options: TcpOption[] = [];
  const none = new Uint8Array(0);
  for (let at = 20; at < end; ) {
    const kind = view.getUint8(at);
    if (kind <= 1) {
      options.push({ kind, value: none });
      if (kind === 0) break;
      at++;
      continue;
    }
    const size = at + 1 < end ? view.getUint8(at + 1) : 0;
    if (size < 2 || at + size > end) return { options, badOptions: true };
    options.push({ kind, value: new Uint8Array(view.buffer, view.byteOffset + at + 2, size - 2) });
    at += size;
  }
  return { options, badOptions: false };
}

export function isTcp(packet: TracedPacket): boolean {
  return packet.version === 4 && packet.protocol === IPPROTO_TCP;
}

export function isUdp(packet: TracedPacket): boolean {
  return packet.version === 4 && packet.protocol === IPPROTO_UDP;
}

export function isIcmp(packet: TracedPacket): boolean {
  return packet.version === 4 && packet.protocol === IPPROTO_ICMP;
}

/** tcpdump's letters in tcpdump's order; `none` for no flag at all. */
export function flagsText(flags: number): string {
  const letters = 'FSRP.UEW';
  const text = [...letters].filter((_, bit) => (flags & (1 << bit)) !== 0).join('');
  return text === '' ? 'none' : text;
}
