/**
 * The packets of a script: `< S 0:0(0) win 65535 <mss 1460>`, `> [ect0] P. 1:11(10) ack 1`,
 * `< icmp unreachable frag_needed mtu 1200 [1:1461(1460)]`. What only other systems can carry
 * (tunnels, UDP while there is none) is an UnsupportedError, so that a script that needs it is
 * skipped and not failed.
 */
import { ICMP_CODES, ICMP_TYPES } from './icmp-names.js';
import type { Token } from './lexer.js';
import { parseTcpOptions } from './parse-tcp-options.js';
import {
  type IcmpBody,
  type IpInfo,
  type PacketAction,
  type Sequence,
  type TcpBody,
  UnsupportedError,
} from './script.js';
import { type TokenReader, wrong } from './token-reader.js';

const FLAG_BITS: Readonly<Record<string, number>> = {
  F: 0x01,
  S: 0x02,
  R: 0x04,
  P: 0x08,
  '.': 0x10,
  U: 0x20,
  E: 0x40,
  W: 0x80,
  A: 0x100,
};
const ECN_MARKS: Readonly<Record<string, number | 'ect01'>> = {
  noecn: 0,
  ect1: 1,
  ect0: 2,
  ce: 3,
  ect01: 'ect01',
};
/** Code points by name (RFC 2474, RFC 2597, RFC 3246, RFC 5865, RFC 8622); csN is 8 N. */
const DSCP: Readonly<Record<string, number>> = {
  ...{ be: 0, ef: 46, va: 44, le: 1, af11: 10, af12: 12, af13: 14, af21: 18, af22: 20, af23: 22 },
  ...{ af31: 26, af32: 28, af33: 30, af41: 34, af42: 36, af43: 38 },
};
const ELSEWHERE = new Set(['gre', 'mpls', 'encap', 'ipv6', 'udp']);

/** What follows the time of a packet event; the direction is next. */
export function parsePacket(reader: TokenReader, connection: string | null): PacketAction {
  const direction = reader.next().text === '<' ? 'in' : 'out';
  const ip: IpInfo = { ecn: null, tos: null, dscp: null, ttl: null };
  let remoteAddress: string | null = null;
  let echoed: Sequence | null = null;
  for (;;) {
    if (reader.sees('[') && startsEchoed(reader)) echoed = parseEchoed(reader);
    else if (reader.sees('(') || reader.sees('[')) parseIpInfo(reader, ip);
    else if (reader.sees('ipv4')) remoteAddress = parseAddresses(reader, ip, direction);
    else break;
  }
  const { text, line, kind } = reader.peek();
  if (kind === 'word' && ELSEWHERE.has(text)) throw new UnsupportedError(line, `${text} packets`);
  if (echoed !== null && !reader.sees('icmp')) reader.fail('`icmp`');
  const body = reader.sees('icmp')
    ? parseIcmp(reader, echoed)
    : parseTcp(reader, remoteAddress, direction);
  return { kind: 'packet', connection, direction, ip, body };
}

/** `ipv4 A > B :`; returns the peer's address. */
function parseAddresses(reader: TokenReader, ip: IpInfo, direction: 'in' | 'out'): string {
  reader.expect('ipv4');
  if (reader.sees('(') || reader.sees('[')) parseIpInfo(reader, ip);
  const source = reader.expectKind('ipv4', 'an address').text;
  reader.expect('>');
  const target = reader.expectKind('ipv4', 'an address').text;
  reader.expect(':');
  if (reader.sees('ipv4') || reader.sees('ipv6')) {
    throw new UnsupportedError(reader.line, 'tunnelled packets');
  }
  return direction === 'in' ? source : target;
}

function parseIpInfo(reader: TokenReader, ip: IpInfo): void {
  const close = reader.next().text === '(' ? ')' : ']';
  do {
    const token = reader.next();
    const { text, line } = token;
    if (text in ECN_MARKS) ip.ecn = ECN_MARKS[text]!;
    else if (text === 'ecn') ip.ecn = parseEcn(reader);
    else if (text === 'dscp') ip.dscp = parseDscp(reader);
    else if (text === 'tos' || text === 'class') ip.tos = reader.integer('a TOS byte');
    else if (text === 'ttl' || text === 'hlim') ip.ttl = reader.integer('a TTL');
    else if (text === 'flowlabel') throw new UnsupportedError(line, 'IPv6 flow labels');
    else wrong(token, `${text} says nothing about an IP header`);
  } while (reader.accept(','));
  reader.expect(close);
}

function parseEcn(reader: TokenReader): number | 'ect01' {
  const mark = ECN_MARKS[reader.peek().text];
  if (mark === undefined) reader.fail('noecn, ect0, ect1, ect01 or ce');
  reader.next();
  return mark;
}

function parseDscp(reader: TokenReader): number {
  if (reader.is('integer') || reader.is('hex')) return reader.integer('a code point') & 63;
  const selector = /^cs([0-7])$/.exec(reader.peek().text);
  const point = selector !== null ? Number(selector[1]) * 8 : DSCP[reader.peek().text];
  if (point === undefined) reader.fail('a code point: ef, af41, cs1, …');
  reader.next();
  return point;
}

/** Old scripts have the segment that an ICMP message is about in front. */
function startsEchoed(reader: TokenReader): boolean {
  return reader.is('integer', 1) || reader.sees('udp', 1) || reader.sees('raw', 1);
}

function parseEchoed(reader: TokenReader): Sequence {
  reader.expect('[');
  if (reader.sees('udp') || reader.sees('raw')) {
    throw new UnsupportedError(reader.line, `ICMP about ${reader.peek().text}`);
  }
  const echoed = parseSequence(reader);
  reader.expect(']');
  return echoed;
}

/** Flags are written without spaces: letters, `.` for ACK, a digit for the ACE field. */
function parseFlags(reader: TokenReader): { flags: number; ace: number | null } {
  const first = reader.peek();
  let text = reader.next().text;
  while (!reader.peek().spaced) text += reader.next().text;
  if (text === '-') return { flags: 0, ace: null };
  let flags = 0;
  let ace: number | null = null;
  for (const character of text) {
    if (/[0-7]/.test(character) && ace === null) ace = Number(character);
    else if (character in FLAG_BITS) flags |= FLAG_BITS[character]!;
    else wrong(first, `${text} are no flags of a segment`);
  }
  return { flags, ace };
}

function parseTcp(
  reader: TokenReader,
  remoteAddress: string | null,
  direction: 'in' | 'out',
): TcpBody {
  let sport: number | null = null;
  let dport: number | null = null;
  if (reader.is('integer') && reader.sees('>', 1)) {
    sport = reader.integer('a port');
    reader.expect('>');
    dport = reader.integer('a port');
  }
  const { flags, ace } = parseFlags(reader);
  const seq = parseSequence(reader);
  const field = (name: string): number | null =>
    reader.accept(name) ? reader.integer(`a number after ${name}`) : null;
  const ack = field('ack');
  if (reader.accept('!') && ack === null) reader.fail('a number before !');
  const win = field('win');
  const urg = field('urg');
  if (direction === 'in' && win === null) {
    wrong(reader.peek(), 'an inbound segment needs a window: `win N`');
  }
  const options = reader.sees('<') ? parseTcpOptions(reader, direction) : [];
  if (reader.sees('{')) throw new UnsupportedError(reader.line, 'packets that are made wrong');
  if (reader.sees('/')) throw new UnsupportedError(reader.line, 'TCP in UDP');
  if (reader.sees('[')) throw new UnsupportedError(reader.line, 'text of a RST that says why');
  const body = { sport, dport, flags, ace, seq, ack, win, urg, options, remoteAddress };
  return { protocol: 'tcp', ...body };
}

/** `START:END(LEN)`, with `!` absolute; `...(LEN)` = any sequence number. */
function parseSequence(reader: TokenReader): Sequence {
  const first = reader.peek();
  if (reader.is('ellipsis')) {
    reader.next();
    return { start: 0, length: parseLength(reader), absolute: false, unchecked: true };
  }
  const start = reader.integer('a sequence number');
  reader.expect(':');
  const end = reader.integer('a sequence number');
  const length = parseLength(reader);
  if ((start + length) >>> 0 !== end >>> 0) {
    const should = (start + length) >>> 0;
    wrong(first, `${start}:${end}(${length}): the end should be ${should}`);
  }
  return { start, length, absolute: reader.accept('!'), unchecked: false };
}

function parseLength(reader: TokenReader): number {
  reader.expect('(');
  const length = reader.integer('a length');
  reader.expect(')');
  return length;
}

function parseIcmp(reader: TokenReader, before: Sequence | null): IcmpBody {
  reader.expect('icmp');
  const type = named(reader.next(), ICMP_TYPES, 'type_', 'an ICMP type');
  let code = 0;
  let mtu: number | null = null;
  let id: number | null = null;
  if (reader.is('word') && !reader.sees('mtu') && !reader.sees('id')) {
    code = named(reader.next(), ICMP_CODES, 'code_', 'an ICMP code');
  }
  if (reader.accept('mtu')) mtu = reader.integer('an MTU');
  if (reader.accept('id')) id = reader.integer('an identifier');
  const echoed = reader.sees('[') ? parseEchoed(reader) : before;
  return { protocol: 'icmp', type, code, mtu, id, echoed };
}

function named(
  token: Token,
  names: Readonly<Record<string, number>>,
  prefix: string,
  what: string,
): number {
  const { text } = token;
  const number = names[text] ?? (text.startsWith(prefix) ? Number(text.slice(prefix.length)) : NaN);
  if (Number.isInteger(number) && number >= 0 && number <= 255) return number;
  wrong(token, `${text} is not ${what}`);
}
