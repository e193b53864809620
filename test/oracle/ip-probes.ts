/**
 * IPv4 packets to send to two stacks and compare the answers of: ICMP of every kind, datagrams for
 * closed ports, options, fragments, addresses that must not be, headers that are wrong. Each probe
 * is a list of packets that are sent at once.
 */
import { ipv4Packet, naiveChecksum, type PacketOptions, pattern } from '../net/fixtures.js';

export interface Probe {
  readonly name: string;
  readonly packets: readonly Uint8Array[];
  /** We are not as the kernel, and why; docs/DIFFERENCES.md has the row. */
  readonly differs?: string;
}

const ICMP = 1;
const IGMP = 2;
const TCP = 6;
const UDP = 17;
const IP_MF = 0x2000;
const IP_DF = 0x4000;

/** An ICMP message with its checksum; `rest` is what follows the checksum. */
function icmp(type: number, code: number, rest: Uint8Array): Uint8Array {
  const message = Buffer.concat([Buffer.from([type, code, 0, 0]), rest]);
  message.writeUInt16BE(naiveChecksum(message), 2);
  return message;
}

function echo(bytes: number, code = 0): Uint8Array {
  return icmp(8, code, Buffer.concat([Buffer.from([0x12, 0x34, 0, 7]), pattern(bytes)]));
}

function ping(bytes: number, options: PacketOptions = {}, code = 0): Uint8Array {
  return ipv4Packet(echo(bytes, code), { protocol: ICMP, ...options });
}

function dotted(text: string): number[] {
  return text.split('.').map(Number);
}

/** Header and data with the checksum over the pseudo-header at `at`. */
function transport(protocol: number, bytes: Buffer, at: number, options: PacketOptions): Buffer {
  const { saddr = '198.18.0.254', daddr = '198.18.0.1' } = options;
  const length = [bytes.length >> 8, bytes.length & 255];
  const pseudo = Buffer.from([...dotted(saddr), ...dotted(daddr), 0, protocol, ...length]);
  bytes.writeUInt16BE(naiveChecksum(Buffer.concat([pseudo, bytes])), at);
  return bytes;
}

interface UdpOptions extends PacketOptions {
  length?: number;
  check?: number;
}

function datagram(bytes: number, options: UdpOptions = {}): Uint8Array {
  const header = Buffer.from([0x30, 0x39, 0, 9, 0, 0, 0, 0]);
  header.writeUInt16BE(options.length ?? bytes + 8, 4);
  const whole = Buffer.concat([header, pattern(bytes)]);
  transport(UDP, whole, 6, options);
  if (options.check !== undefined) whole.writeUInt16BE(options.check, 6);
  return whole;
}

function udp(bytes: number, options: UdpOptions = {}): Uint8Array {
  return ipv4Packet(datagram(bytes, options), { protocol: UDP, ...options });
}

/** A SYN for a port where nobody listens. */
function syn(options: PacketOptions = {}): Uint8Array {
  const header = Buffer.alloc(20);
  header.writeUInt16BE(40_000, 0);
  header.writeUInt16BE(81, 2);
  header.writeUInt32BE(1000, 4);
  header.writeUInt16BE(0x5002, 12);
  header.writeUInt16BE(1024, 14);
  return ipv4Packet(transport(TCP, header, 16, options), { protocol: TCP, ...options });
}

/** `payload` in fragments of `size` bytes. */
function fragments(payload: Uint8Array, size: number, options: PacketOptions): Uint8Array[] {
  const packets: Uint8Array[] = [];
  for (let at = 0; at < payload.length; at += size) {
    const more = at + size < payload.length ? IP_MF : 0;
    const part = payload.slice(at, at + size);
    packets.push(ipv4Packet(part, { ...options, fragOff: more | (at >> 3) }));
  }
  return packets;
}

const quoted: Uint8Array = ipv4Packet(new Uint8Array(8), {
  protocol: UDP,
  saddr: '198.18.0.1',
  daddr: '198.18.0.254',
});

const SIZES: readonly number[] = [0, 1, 2, 56, 1471, 1472];
const ICMP_PROBES: readonly Probe[] = [
  ...SIZES.map((bytes) => ({ name: `echo of ${bytes} bytes`, packets: [ping(bytes)] })),
  { name: 'echo with a code, TOS and DF', packets: [ping(20, { tos: 4, fragOff: IP_DF }, 9)] },
  { name: 'echo with precedence and ECN', packets: [ping(20, { tos: 0xff })] },
  { name: 'echo with TTL 1', packets: [ping(20, { ttl: 1 })] },
  { name: 'echo with TTL 0', packets: [ping(20, { ttl: 0 })] },
  { name: 'echo with trailing bytes', packets: [Buffer.concat([ping(20), pattern(9)])] },
  {
    name: 'echo with a wrong checksum',
    packets: [ipv4Packet(Buffer.from([8, 0, 1, 1, 0, 0, 0, 0]), { protocol: ICMP })],
  },
  {
    name: 'half an ICMP header',
    packets: [ipv4Packet(icmp(8, 0, new Uint8Array(0)), { protocol: ICMP })],
  },
  ...[0, 9, 10, 14, 15, 16, 17, 18, 19, 30, 42, 43, 200, 255].map((type) => ({
    name: `ICMP type ${type}`,
    packets: [ipv4Packet(icmp(type, 0, pattern(32)), { protocol: ICMP })],
  })),
  ...[4, 8, 12, 16, 20].map((bytes) => ({
    name: `timestamp request of ${bytes + 4} bytes`,
    packets: [ipv4Packet(icmp(13, 0, pattern(bytes)), { protocol: ICMP })],
  })),
  ...[3, 4, 5, 11, 12].map((type) => ({
    name: `ICMP error ${type} about nothing`,
    packets: [
      ipv4Packet(icmp(type, 1, Buffer.concat([new Uint8Array(4), quoted])), { protocol: ICMP }),
    ],
  })),
];

const UDP_PROBES: readonly Probe[] = [
  ...[0, 1, 20, 519, 520, 521, 1472].map((bytes) => ({
    name: `datagram of ${bytes} bytes`,
    packets: [udp(bytes)],
  })),
  { name: 'datagram with TOS and DF', packets: [udp(20, { tos: 0xbf, fragOff: IP_DF })] },
  { name: 'datagram without checksum', packets: [udp(20, { check: 0 })] },
  { name: 'datagram with a wrong checksum', packets: [udp(20, { check: 1 })] },
  { name: 'datagram shorter than its packet', packets: [udp(20, { length: 18, check: 0 })] },
  { name: 'datagram longer than its packet', packets: [udp(20, { length: 40, check: 0 })] },
  { name: 'datagram with a length of 7', packets: [udp(20, { length: 7, check: 0 })] },
  ...[IGMP, 99, 132, 253].map((protocol) => ({
    name: `protocol ${protocol}`,
    packets: [ipv4Packet(pattern(40), { protocol, tos: 0x20 })],
  })),
];

const HEADER_PROBES: readonly Probe[] = [
  { name: 'wrong header checksum', packets: [ping(20, { check: 1 })] },
  { name: 'header of 16 bytes', packets: [ping(20, { versionIhl: 0x44 })] },
  { name: 'header longer than the packet', packets: [ping(0, { versionIhl: 0x4f })] },
  { name: 'length beyond the packet', packets: [ping(20, { totLen: 60 })] },
  { name: 'length below the header', packets: [ping(20, { totLen: 19 })] },
  { name: 'reserved fragment bit', packets: [ping(20, { fragOff: 0x8000 })] },
];

const SOURCES: readonly string[] = [
  ...['127.0.0.1', '198.18.0.255', '198.18.0.0', '255.255.255.255', '224.0.0.1', '240.0.0.1'],
  ...['198.18.0.1', '198.18.0.77', '203.0.113.9', '0.0.0.0'],
];
const DESTINATIONS: readonly string[] = [
  ...['198.18.0.255', '198.18.0.0', '255.255.255.255', '224.0.0.1', '224.0.0.9'],
  ...['198.18.0.77', '127.0.0.1', '203.0.113.9', '0.0.0.0', '240.0.0.1'],
];
const ADDRESS_PROBES: readonly Probe[] = [
  ...SOURCES.flatMap((saddr) => {
    const row = saddr === '198.18.0.255' ? { differs: 'a group is nobody to answer to' } : {};
    return [
      { name: `echo from ${saddr}`, packets: [ping(20, { saddr })], ...row },
      { name: `datagram from ${saddr}`, packets: [udp(20, { saddr })], ...row },
      { name: `SYN from ${saddr}`, packets: [syn({ saddr })], ...row },
    ];
  }),
  ...DESTINATIONS.flatMap((daddr) => [
    { name: `echo to ${daddr}`, packets: [ping(20, { daddr })] },
    { name: `datagram to ${daddr}`, packets: [udp(20, { daddr })] },
    { name: `SYN to ${daddr}`, packets: [syn({ daddr })] },
  ]),
];

/** Option bytes by name. */
const OPTIONS: Readonly<Record<string, readonly number[]>> = {
  'four no-operations': [1, 1, 1, 1],
  'end and rubbish': [0, 7, 7, 7],
  'record route, room for two': [7, 11, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  'record route, full': [7, 7, 8, 1, 2, 3, 4, 0],
  'record route, half a place': [7, 6, 4, 1, 2, 3, 0, 0],
  'record route, pointer 3': [7, 7, 3, 0, 0, 0, 0, 0],
  'record route twice': [7, 7, 4, 0, 0, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0, 0],
  'record route of 2 bytes': [7, 2, 1, 1],
  'timestamps, room for two': [68, 12, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0],
  'timestamps with addresses': [68, 12, 5, 1, 0, 0, 0, 0, 0, 0, 0, 0],
  'timestamps asked of us': [68, 12, 5, 3, 198, 18, 0, 1, 0, 0, 0, 0],
  'timestamps asked of another': [68, 12, 5, 3, 198, 18, 0, 9, 0, 0, 0, 0],
  'timestamps, full': [68, 8, 9, 0x20, 1, 2, 3, 4],
  'timestamps, full 15 times': [68, 8, 9, 0xf0, 1, 2, 3, 4],
  'timestamps, pointer 4': [68, 8, 4, 0, 1, 2, 3, 4],
  'timestamps of 3 bytes': [68, 3, 5, 1],
  'loose source route to us': [131, 7, 8, 198, 18, 0, 9, 0],
  'loose source route on': [131, 7, 4, 198, 18, 0, 9, 0],
  'strict source route': [137, 7, 8, 198, 18, 0, 9, 0],
  'source route twice': [131, 7, 8, 1, 2, 3, 4, 131, 7, 8, 1, 2, 3, 4, 0, 0],
  'source route of 2 bytes': [131, 2, 1, 1],
  'source route, pointer 3': [131, 7, 3, 198, 18, 0, 9, 0],
  'router alert': [148, 4, 0, 0],
  'router alert of 2 bytes': [148, 2, 1, 1],
  'an unknown option': [200, 4, 1, 1],
  'an option of length 0': [200, 0, 1, 1],
  'an option of length 1': [200, 1, 1, 1],
  'an option beyond the header': [200, 5, 1, 1],
  'an option without length': [1, 1, 1, 200],
};
/** Of these Linux fills in what is asked for, and returns the option. */
const RETURNED: readonly string[] = [
  ...['record route, room for two', 'record route, full', 'record route twice'],
  ...['timestamps, room for two', 'timestamps with addresses', 'timestamps asked of us'],
  ...['timestamps asked of another', 'timestamps, full', 'source route twice'],
];
const OPTION_PROBES: readonly Probe[] = Object.entries(OPTIONS).flatMap(([name, bytes]) => {
  const options = Uint8Array.from(bytes);
  const row = RETURNED.includes(name) ? { differs: 'options are not returned' } : {};
  return [
    { name: `echo with ${name}`, packets: [ping(20, { options })], ...row },
    { name: `datagram with ${name}`, packets: [udp(20, { options })], ...row },
    { name: `SYN with ${name}`, packets: [syn({ options })], ...row },
  ];
});

/** Datagrams in fragments, each with an identification of its own. */
function fragmented(id: number): Probe[] {
  const next = (): PacketOptions => ({ protocol: ICMP, id: id++ });
  const whole = fragments(echo(4000), 1480, next());
  const [first, second, third] = fragments(echo(4000), 1480, next());
  const [a, b, c] = fragments(echo(4000), 1480, next());
  const over = fragments(echo(4000), 1480, next());
  const overlap = fragments(echo(4000), 1472, { protocol: ICMP, id: id - 1 })[1]!;
  return [
    { name: 'echo in fragments', packets: whole },
    { name: 'fragments the other way round', packets: [third!, second!, first!] },
    { name: 'a fragment twice', packets: [a!, b!, b!, c!] },
    { name: 'overlapping fragments', packets: [over[0]!, overlap, over[1]!, over[2]!] },
    { name: 'echo of 65507 bytes', packets: fragments(echo(65_507), 1480, next()) },
    { name: 'datagram in fragments', packets: fragments(datagram(3000), 1480, udpNext(id++)) },
    { name: 'fragments of 8 bytes', packets: fragments(echo(100), 8, next()) },
    {
      name: 'an end before the end',
      packets: [
        ipv4Packet(pattern(64), { ...next(), fragOff: IP_MF | 8 }),
        ipv4Packet(pattern(8), { protocol: ICMP, id: id - 1, fragOff: 2 }),
        ipv4Packet(pattern(64), { protocol: ICMP, id: id - 1, fragOff: IP_MF }),
      ],
    },
  ];
}

function udpNext(id: number): PacketOptions {
  return { protocol: UDP, id };
}

export const PROBES: readonly Probe[] = [
  ...ICMP_PROBES,
  ...UDP_PROBES,
  ...HEADER_PROBES,
  ...ADDRESS_PROBES,
  ...OPTION_PROBES,
  ...fragmented(0x4000),
];
/** More unreachable ports at once than the limits allow. */
export const FLOOD: readonly Uint8Array[] = Array.from({ length: 60 }, () =>
  udp(20, { saddr: '198.18.0.200' }),
);
