/**
 * Is the packet that the stack sent the one that the script expects? Header by header in the
 * script's own numbers, so that a message shows both sides alike. Times are the interpreter's.
 */
import { ACK, CWR, ECE, SYN } from '../net/layout.js';
import type { Connection } from './connection.js';
import { AE, type LivePacket, type LiveTcp } from './live-packet.js';
import { icmpForm, optionForm, segmentForm } from './packet-form.js';
import type { IcmpBody, IpInfo, PacketAction, TcpBody, TcpOption } from './script.js';

/** What a script says about how closely timestamps are to be looked at. */
export interface MatchRules {
  /** µs a tick of the timestamp clock, 0 = timestamps are not compared. */
  tsTickUs: number;
  /** Largest difference of a timestamp, µs. */
  toleranceUs: number;
}

/** What was expected and what came, each in the script's language; `note` says what is wrong. */
export interface Difference {
  expected: string;
  got: string;
  note: string | null;
}

/** A difference, or null. */
export function differenceOf(
  action: PacketAction,
  packet: LivePacket,
  connection: Connection | null,
  rules: MatchRules,
): Difference | null {
  const { body, ip } = action;
  const sides = ipSides(ip, action.addresses, packet);
  if (body.protocol === 'icmp') return icmpDifference(body, sides, packet, connection);
  if (packet.tcp === null) {
    return different(segmentForm(wantedOf(body, null)), describe(packet, connection));
  }
  return segmentDifference(body, sides, packet.tcp, connection, rules);
}

function different(expected: string, got: string, note: string | null = null): Difference {
  return { expected, got, note };
}

const ECN_NAMES = ['noecn', 'ect1', 'ect0', 'ce'];

/** Of a part of a packet: is it as the script says, and both sides of it, as prefixes. */
interface Sides {
  same: boolean;
  wanted: string;
  is: string;
}

const address = (bits: number): string =>
  [24, 16, 8, 0].map((shift) => (bits >>> shift) & 255).join('.');

function ipSides(ip: IpInfo, addresses: PacketAction['addresses'], packet: LivePacket): Sides {
  const wanted: string[] = [];
  const is: string[] = [];
  const ecn = packet.tos & 3;
  if (ip.ecn !== null) {
    const fits = ip.ecn === 'ect01' ? ecn === 1 || ecn === 2 : ip.ecn === ecn;
    const name = ip.ecn === 'ect01' ? ip.ecn : ECN_NAMES[ip.ecn]!;
    wanted.push(name);
    is.push(fits ? name : ECN_NAMES[ecn]!);
  }
  if (ip.tos !== null) {
    wanted.push(`tos 0x${ip.tos.toString(16)}`);
    is.push(`tos 0x${packet.tos.toString(16)}`);
  }
  if (ip.dscp !== null) {
    wanted.push(`dscp ${ip.dscp}`);
    is.push(`dscp ${packet.tos >> 2}`);
  }
  if (ip.ttl !== null) {
    wanted.push(`ttl ${ip.ttl}`);
    is.push(`ttl ${packet.ttl}`);
  }
  const form = (parts: readonly string[], source: string, target: string): string =>
    (addresses === null ? '' : `ipv4 ${source} > ${target}: `) +
    (parts.length === 0 ? '' : `[${parts.join(',')}] `);
  const texts = {
    wanted: form(wanted, addresses?.source ?? '', addresses?.target ?? ''),
    is: form(is, address(packet.saddr), address(packet.daddr)),
  };
  return { same: texts.wanted === texts.is, ...texts };
}

function icmpDifference(
  body: IcmpBody,
  sides: Sides,
  packet: LivePacket,
  connection: Connection | null,
): Difference | null {
  const { icmp } = packet;
  const wanted = sides.wanted + icmpForm(body);
  // MTU and identifier are shown where the script speaks of them.
  const shownIcmp = icmp !== null && {
    ...icmp,
    mtu: body.mtu === null ? null : icmp.mtu,
    id: body.id === null ? null : icmp.id,
  };
  const is = sides.is + (shownIcmp ? icmpForm(shownIcmp) : describe(packet, connection));
  return wanted === is ? null : different(wanted, is);
}

/** The packet in the script's language; `connection` gives the numbers their names. */
export function describe(packet: LivePacket, connection: Connection | null): string {
  if (packet.icmp !== null) {
    const { type, code } = packet.icmp;
    return icmpForm({ type, code });
  }
  if (packet.tcp === null) return `a packet of protocol ${packet.protocol}`;
  return segmentForm(shown(packet.tcp, connection, null));
}

function shown(
  tcp: LiveTcp,
  connection: Connection | null,
  body: TcpBody | null,
): Parameters<typeof segmentForm>[0] {
  const ace = body === null || body.ace === null ? null : aceOf(tcp.flags);
  const named = connection !== null;
  const absolute = body?.seq.absolute === true;
  return {
    flags: tcp.flags,
    ace,
    seq: named && !absolute ? connection.scriptLocalSeq(tcp.seq, tcp.flags) : tcp.seq,
    length: tcp.payload.length,
    ack: shownAck(tcp, connection),
    win: body !== null && body.win === null ? null : tcp.win,
    urg: tcp.urg,
    options: body !== null && body.options === null ? null : shownOptions(tcp, connection),
  };
}

function shownAck(tcp: LiveTcp, connection: Connection | null): number | null {
  if ((tcp.flags & ACK) === 0) return tcp.ack === 0 ? null : tcp.ack;
  // A SYN-ACK acknowledges the number that the SYN has on the wire.
  const absolute = connection === null || (tcp.flags & SYN) !== 0;
  return absolute ? tcp.ack : connection.scriptRemoteSeq(tcp.ack);
}

function shownOptions(tcp: LiveTcp, connection: Connection | null): TcpOption[] {
  return connection === null ? tcp.options : connection.scriptOptions(tcp.options);
}

/** The three bits AE, CWR, ECE as a number. */
function aceOf(flags: number): number {
  return (
    ((flags & AE) !== 0 ? 4 : 0) | ((flags & CWR) !== 0 ? 2 : 0) | ((flags & ECE) !== 0 ? 1 : 0)
  );
}

/** What the script expects; `seq` for one that it does not look at. */
function wantedOf(body: TcpBody, seq: number | null): Parameters<typeof segmentForm>[0] {
  return {
    flags: body.flags,
    ace: body.ace,
    seq: body.seq.unchecked && seq !== null ? seq : body.seq.start >>> 0,
    length: body.seq.length,
    ack: body.ack,
    win: body.win,
    urg: body.urg ?? 0,
    options: body.options,
  };
}

function segmentDifference(
  body: TcpBody,
  sides: Sides,
  tcp: LiveTcp,
  connection: Connection | null,
  rules: MatchRules,
): Difference | null {
  const actual = shown(tcp, connection, body);
  const wanted = wantedOf(body, actual.seq);
  const ports = portSides(body, tcp);
  const mask = body.ace === null ? 0x1ff : 0x3f;
  const same =
    (actual.flags & mask) === (wanted.flags & mask) &&
    actual.ace === wanted.ace &&
    actual.seq === wanted.seq &&
    actual.length === wanted.length &&
    sameAck(body.ack, actual.ack, tcp) &&
    actual.win === wanted.win &&
    actual.urg === wanted.urg &&
    sameOptions(body.options, actual.options);
  const expected = sides.wanted + ports.wanted + segmentForm(wanted);
  const options = namedTimestamp(actual.options, body.options, rules);
  const got = sides.is + ports.is + segmentForm({ ...actual, options });
  if (!same || !sides.same || !ports.same) return different(expected, got);
  if (tcp.payload.some((byte) => byte !== 0)) {
    return different(expected, got, 'the payload is not what was written: zeros');
  }
  const timestamp = timestampDifference(body, tcp, connection, rules);
  return timestamp === null ? null : different(expected, got, timestamp);
}

/** A script without `ack` wants the field to be 0; without the flag it is no number of anybody. */
function sameAck(wanted: number | null, named: number | null, tcp: LiveTcp): boolean {
  if (wanted === null) return tcp.ack === 0;
  return wanted === ((tcp.flags & ACK) === 0 ? tcp.ack : named);
}

/** A timestamp that is not compared is shown as the script calls it. */
function namedTimestamp(
  options: readonly TcpOption[] | null,
  wanted: readonly TcpOption[] | null,
  rules: MatchRules,
): readonly TcpOption[] | null {
  const named = wanted?.find((option) => option.kind === 'TS');
  if (options === null || named?.kind !== 'TS' || rules.tsTickUs > 0) return options;
  return options.map((option) => (option.kind === 'TS' ? { ...option, val: named.val } : option));
}

function portSides(body: TcpBody, tcp: LiveTcp): Sides {
  const { sport, dport } = body;
  if (sport === null || dport === null) return { same: true, wanted: '', is: '' };
  const same = sport === tcp.sport && dport === tcp.dport;
  return { same, wanted: `${sport} > ${dport} `, is: `${tcp.sport} > ${tcp.dport} ` };
}

/** Order and content; timestamp values apart, which `timestampDifference` looks at. */
function sameOptions(
  wanted: readonly TcpOption[] | null,
  actual: readonly TcpOption[] | null,
): boolean {
  if (wanted === null) return true;
  if (actual === null || wanted.length !== actual.length) return false;
  return wanted.every((option, i) => {
    const other = actual[i]!;
    if (option.kind !== 'TS') return optionForm(option) === optionForm(other);
    // The echo is the peer's own number.
    return other.kind === 'TS' && option.ecr === other.ecr;
  });
}

function timestampDifference(
  body: TcpBody,
  tcp: LiveTcp,
  connection: Connection | null,
  rules: MatchRules,
): string | null {
  const wanted = body.options?.find((option) => option.kind === 'TS');
  const actual = tcp.options.find((option) => option.kind === 'TS');
  if (wanted?.kind !== 'TS' || actual?.kind !== 'TS' || connection === null) return null;
  if (wanted.val === null) return null;
  const called = connection.scriptTimestamp(actual.val!);
  if (rules.tsTickUs > 0 && called !== null) {
    const apart = Math.abs((called - wanted.val) | 0) * rules.tsTickUs;
    if (apart > rules.toleranceUs) return `TS val ${wanted.val} is meant, it is ${called}`;
  }
  connection.learnTimestamp(wanted.val, actual.val!);
  return null;
}

/** May `next` continue the segment `first` (both live) in one expectation? The reason if not. */
export function aggregationDifference(first: LiveTcp, last: LiveTcp, next: LiveTcp): string | null {
  const end = (last.seq + last.payload.length) >>> 0;
  if (next.seq !== end) return 'the next segment does not continue the sequence space';
  const still = ~(0x01 | 0x08 | CWR) & 0x1ff;
  if ((next.flags & still) !== (first.flags & still)) return 'the next segment has other flags';
  if (next.ack !== first.ack) return 'the next segment acknowledges something else';
  if (next.win !== first.win) return 'the next segment has another window';
  if (next.urg !== first.urg) return 'the next segment has another urgent pointer';
  if (next.headerBytes !== first.headerBytes) return 'the next segment has other options';
  if ((next.flags & SYN) !== 0) return 'the next segment is a SYN';
  return null;
}
