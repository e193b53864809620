/** Packets as objects, one a line: what `trace --json` prints. */
import { ACK } from '../net/layout.js';
import type { Explanation } from '../reuseport/decision-json.js';
import { flagsText, type TcpOption, type TracedPacket } from './trace-packet.js';

const PROTOCOLS: Readonly<Record<number, string>> = {
  1: 'icmp',
  6: 'tcp',
  17: 'udp',
  58: 'icmp6',
};

/** The options that mean something, by tcpdump's names. */
export interface TracedOptions {
  mss?: number;
  wscale?: number;
  sackOK?: true;
  timestamp?: { val: number; ecr: number };
  /** Edges as on the wire. */
  sack?: [left: number, right: number][];
}

/** `flags`, `seq`, `ack`, `win` and `options` are there for TCP. */
export interface TracedObject {
  /** Seconds since 1970 with six decimals. */
  time: number;
  direction: 'in' | 'out';
  src: { address: string; port: number | null };
  dst: { address: string; port: number | null };
  protocol: string;
  /** tcpdump's letters. */
  flags?: string;
  /** As on the wire; `ack` null without ACK. */
  seq?: number;
  ack?: number | null;
  /** Not scaled. */
  win?: number;
  options?: TracedOptions;
  /** Bytes of payload; of the whole message for ICMP. */
  length: number;
  /** For each SYN: as `explain --json`. */
  decision?: Explanation;
}

function optionsObject(options: readonly TcpOption[]): TracedOptions {
  const found: TracedOptions = {};
  for (const { kind, value } of options) {
    const view = new DataView(value.buffer, value.byteOffset, value.byteLength);
    if (kind === 2 && value.length === 2) found.mss = view.getUint16(0);
    if (kind === 3 && value.length === 1) found.wscale = view.getUint8(0);
    if (kind === 4) found.sackOK = true;
    if (kind === 8 && value.length === 8) {
      found.timestamp = { val: view.getUint32(0), ecr: view.getUint32(4) };
    }
    if (kind === 5) {
      found.sack = Array.from({ length: value.length >>> 3 }, (_, i) => [
        view.getUint32(8 * i),
        view.getUint32(8 * i + 4),
      ]);
    }
  }
  return found;
}

export function packetObject(
  timestampUs: number,
  direction: 'in' | 'out',
  packet: TracedPacket,
  decision: Explanation | null,
): TracedObject {
  const { src, dst, sport, dport, tcp, length, protocol } = packet;
  return {
    time: timestampUs / 1e6,
    direction,
    src: { address: src, port: sport },
    dst: { address: dst, port: dport },
    protocol: PROTOCOLS[protocol] ?? String(protocol),
    ...(tcp === null
      ? {}
      : {
          flags: flagsText(tcp.flags),
          seq: tcp.seq,
          ack: (tcp.flags & ACK) === 0 ? null : tcp.ack,
          win: tcp.win,
          options: optionsObject(tcp.options),
        }),
    length,
    ...(decision === null ? {} : { decision }),
  };
}
