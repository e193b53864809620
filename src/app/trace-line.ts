/**
 * Packets as lines in the form of tcpdump(8) with -n: `12:34:56.789012 IP A.PORT > B.PORT: Flags
 * [S], seq …`. Sequence numbers are counted from each connection's first ACK on, as tcpdump does,
 * unless absolute ones are wanted. What the payload is (HTTP, …) is not told.
 */
import { ACK, FIN, RST, SYN, URG } from '../net/layout.js';
import { flagsText, type TcpOption, type TracedPacket } from './trace-packet.js';

const ICMP = 1;
const TCP = 6;
const UDP = 17;
const ICMPV6 = 58;
const ROUTER_SOLICITATION = 133;

/** Connections whose numbers are remembered; the oldest are forgotten. */
const CONNECTIONS_MAX = 65_536;

/** What to subtract from the numbers of a packet. */
interface Base {
  seq: number;
  ack: number;
}
const ABSOLUTE: Base = { seq: 0, ack: 0 };

/** First sequence numbers of the connections seen. */
export class SequenceBook {
  private readonly firsts = new Map<string, Base>();

  /**
   * The packet's own base. A packet that begins a connection (or is the first that is seen) is
   * written down and shown as it is; so is whatever has no ACK.
   */
  baseOf(packet: TracedPacket): Base {
    const { tcp, src, dst, sport, dport } = packet;
    if (tcp === null || (tcp.flags & ACK) === 0) return ABSOLUTE;
    const here = `${src}.${sport}`;
    const there = `${dst}.${dport}`;
    const forward = here < there;
    const key = forward ? `${here} ${there}` : `${there} ${here}`;
    const known = this.firsts.get(key);
    if (known === undefined || (tcp.flags & SYN) !== 0) {
      const own = { seq: tcp.seq, ack: (tcp.ack - 1) >>> 0 };
      this.remember(key, forward ? own : { seq: own.ack, ack: own.seq });
      return ABSOLUTE;
    }
    return forward ? known : { seq: known.ack, ack: known.seq };
  }

  private remember(key: string, base: Base): void {
    this.firsts.delete(key);
    if (this.firsts.size >= CONNECTIONS_MAX) {
      for (const oldest of this.firsts.keys()) {
        this.firsts.delete(oldest);
        break;
      }
    }
    this.firsts.set(key, base);
  }
}

/** HH:MM:SS.µµµµµµ in local time. */
export function clockText(timestampUs: number): string {
  const us = Math.round(timestampUs);
  const date = new Date(us / 1000);
  const two = (value: number): string => String(value).padStart(2, '0');
  const clock = [date.getHours(), date.getMinutes(), date.getSeconds()].map(two).join(':');
  return `${clock}.${String(us % 1_000_000).padStart(6, '0')}`;
}

function optionText({ kind, value }: TcpOption, base: Base): string {
  const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
  const fixed = `${kind}:${value.length}`;
  switch (fixed) {
    case '0:0':
      return 'eol';
    case '1:0':
      return 'nop';
    case '2:2':
      return `mss ${view.getUint16(0)}`;
    case '3:1':
      return `wscale ${view.getUint8(0)}`;
    case '4:0':
      return 'sackOK';
    case '8:8':
      return `TS val ${view.getUint32(0)} ecr ${view.getUint32(4)}`;
  }
  if (kind === 34) return value.length === 0 ? 'tfo  cookiereq' : `tfo  cookie ${hexText(value)}`;
  if (kind === 5 && value.length > 0 && value.length % 8 === 0) return sackText(view, base);
  return `unknown-${kind}${value.length === 0 ? '' : ` 0x${hexText(value)}`}`;
}

function hexText(bytes: Uint8Array): string {
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}

/** The blocks are of the sequence space that the packet acknowledges. */
function sackText(view: DataView, base: Base): string {
  const blocks: string[] = [];
  for (let at = 0; at < view.byteLength; at += 8) {
    const left = (view.getUint32(at) - base.ack) >>> 0;
    const right = (view.getUint32(at + 4) - base.ack) >>> 0;
    blocks.push(`{${left}:${right}}`);
  }
  return `sack ${blocks.length} ${blocks.join('')}`;
}

function tcpText(packet: TracedPacket, book: SequenceBook | null): string {
  const { tcp, length } = packet;
  if (tcp === null) return '[|tcp]';
  const base = book === null ? ABSOLUTE : book.baseOf(packet);
  const parts = [`Flags [${flagsText(tcp.flags)}]`];
  if (length > 0 || (tcp.flags & (SYN | FIN | RST)) !== 0) {
    const seq = (tcp.seq - base.seq) >>> 0;
    parts.push(`seq ${seq}${length > 0 ? `:${(seq + length) >>> 0}` : ''}`);
  }
  if ((tcp.flags & ACK) !== 0) parts.push(`ack ${(tcp.ack - base.ack) >>> 0}`);
  parts.push(`win ${tcp.win}`);
  if ((tcp.flags & URG) !== 0) parts.push(`urg ${tcp.urgent}`);
  const options = tcp.options.map((option) => optionText(option, base));
  if (tcp.badOptions) options.push('[bad opt]');
  if (options.length > 0) parts.push(`options [${options.join(',')}]`);
  parts.push(`length ${length}`);
  return parts.join(', ');
}

const UNREACHABLE: Readonly<Record<number, string>> = {
  0: 'net ADDRESS unreachable',
  1: 'host ADDRESS unreachable',
  2: 'ADDRESS protocol PROTOCOL unreachable',
  3: 'ADDRESS TRANSPORT port PORT unreachable',
  4: 'ADDRESS unreachable - need to frag (mtu MTU)',
  5: 'ADDRESS unreachable - source route failed',
  9: 'net ADDRESS unreachable - admin prohibited',
  10: 'host ADDRESS unreachable - admin prohibited',
  13: 'host ADDRESS unreachable - admin prohibited filter',
};

/** An error quotes the packet that it is about. */
function unreachableText(view: DataView): string {
  const code = view.getUint8(1);
  const text = UNREACHABLE[code] ?? `ADDRESS unreachable - #${code}`;
  if (view.byteLength < 28) return text.replaceAll(/ ?[A-Z]{3,}/g, '').trim();
  const address = [24, 25, 26, 27].map((at) => view.getUint8(at)).join('.');
  const protocol = view.getUint8(17);
  const header = 8 + (view.getUint8(8) & 15) * 4;
  const port = view.byteLength >= header + 4 ? view.getUint16(header + 2) : 0;
  const transport = protocol === TCP ? 'tcp' : protocol === UDP ? 'udp' : `protocol ${protocol}`;
  return text
    .replace('ADDRESS', address)
    .replace('PROTOCOL', String(protocol))
    .replace('TRANSPORT', transport)
    .replace('PORT', String(port))
    .replace('MTU', String(view.getUint16(6)));
}

function icmpText({ transport: view, length }: TracedPacket): string {
  if (view.byteLength < 8) return '[|icmp]';
  const type = view.getUint8(0);
  const code = view.getUint8(1);
  const echo = `, id ${view.getUint16(4)}, seq ${view.getUint16(6)}`;
  const texts: Readonly<Record<number, () => string>> = {
    0: () => `echo reply${echo}`,
    3: () => unreachableText(view),
    8: () => `echo request${echo}`,
    11: () => (code === 1 ? 'ip reassembly time exceeded' : 'time exceeded in-transit'),
    12: () => `parameter problem - octet ${view.getUint8(4)}`,
  };
  return `ICMP ${texts[type]?.() ?? `type-#${type}`}, length ${length}`;
}

function ends(packet: TracedPacket): string {
  const port = (value: number | null): string => (value === null ? '' : `.${value}`);
  return `${packet.src}${port(packet.sport)} > ${packet.dst}${port(packet.dport)}`;
}

function ipv4Text(packet: TracedPacket, book: SequenceBook | null): string {
  const { protocol } = packet;
  if (packet.fragment || ![ICMP, TCP, UDP].includes(protocol)) {
    const name = `ip-proto-${protocol}`;
    return packet.fragment ? name : `${name} ${packet.length}`;
  }
  if (protocol === TCP) return tcpText(packet, book);
  if (protocol === UDP) return `UDP, length ${packet.length}`;
  return icmpText(packet);
}

/** A host says this much on every new device; the stack speaks IPv4 only. */
function ipv6Payload({ protocol, transport }: TracedPacket): string {
  if (protocol !== ICMPV6 || transport.byteLength === 0) return `ip-proto-${protocol}`;
  const type = transport.getUint8(0);
  return `ICMP6, ${type === ROUTER_SOLICITATION ? 'router solicitation' : `type-#${type}`}`;
}

/**
 * One line without the decision.
 * @param book null = absolute sequence numbers
 */
export function packetLine(
  timestampUs: number,
  packet: TracedPacket,
  book: SequenceBook | null,
): string {
  const clock = clockText(timestampUs);
  if (packet.version === 4) return `${clock} IP ${ends(packet)}: ${ipv4Text(packet, book)}`;
  if (packet.version === 6) {
    return `${clock} IP6 ${ends(packet)}: ${ipv6Payload(packet)}, length ${packet.length}`;
  }
  return `${clock} unknown packet, length ${packet.length}`;
}
