/** Packets for the tests of `trace`, byte by byte. */

const CLIENT = [198, 18, 0, 254];
const SERVER = [198, 18, 0, 1];

export interface Ipv4Fields {
  /** From the server to the client. */
  back?: boolean;
  /** Flags and offset. */
  fragment?: number;
  options?: number[];
}

export function ipv4(protocol: number, body: Uint8Array, fields: Ipv4Fields = {}): Uint8Array {
  const { back = false, fragment = 0, options = [] } = fields;
  const header = 20 + options.length;
  const packet = new Uint8Array(header + body.length);
  const view = new DataView(packet.buffer);
  packet[0] = 0x40 | (header / 4);
  view.setUint16(2, packet.length);
  view.setUint16(6, fragment);
  packet[8] = 64;
  packet[9] = protocol;
  packet.set(back ? SERVER : CLIENT, 12);
  packet.set(back ? CLIENT : SERVER, 16);
  packet.set(options, 20);
  packet.set(body, header);
  return packet;
}

export interface TcpFields {
  sport?: number;
  dport?: number;
  seq?: number;
  ack?: number;
  win?: number;
  urgent?: number;
  options?: number[];
  data?: number;
}

export function tcp(flags: number, fields: TcpFields = {}): Uint8Array {
  const { sport = 51702, dport = 80, seq = 1000, ack = 0, win = 64240 } = fields;
  const { urgent = 0, options = [], data = 0 } = fields;
  const segment = new Uint8Array(20 + options.length + data);
  const view = new DataView(segment.buffer);
  view.setUint16(0, sport);
  view.setUint16(2, dport);
  view.setUint32(4, seq);
  view.setUint32(8, ack);
  segment[12] = ((20 + options.length) / 4) << 4;
  segment[13] = flags;
  view.setUint16(14, win);
  view.setUint16(18, urgent);
  segment.set(options, 20);
  return segment;
}

export function udp(sport: number, dport: number, data: number): Uint8Array {
  const datagram = new Uint8Array(8 + data);
  const view = new DataView(datagram.buffer);
  view.setUint16(0, sport);
  view.setUint16(2, dport);
  view.setUint16(4, datagram.length);
  return datagram;
}

export function icmp(
  type: number,
  code: number,
  rest: number[] = [0, 0, 0, 0],
  quoted: Uint8Array = new Uint8Array(0),
): Uint8Array {
  return Uint8Array.from([type, code, 0, 0, ...rest, ...quoted]);
}
