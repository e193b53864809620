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
/** Letters, `.` for ACK, and a digit for the ACE field, which stands for the letters E, W and A. */
const FLAGS = /^(?:[FSRPU]*(?:[0-7]\.?|\.[0-7])|[FSRPUEWA]+\.?|\.)$/;
const U16 = 0xffff;
const U32 = 0xffff_ffff;
/** What fits into a packet behind the headers. */
const MOST_TEXT = 65_495;
/** ICMP messages that ask or answer, and so have an identifier; all others are about a packet. */
const QUERIES = new Set([0, 8, 13, 14, 15, 16, 17, 18]);
const UNREACHABLE = 3;
const FRAG_NEEDED = 4;
const ELSEWHERE = new Set(['gre', 'mpls', 'encap', 'ipv6', 'udp']);

/** What follows the time of a packet event; the direction is next. */
export function parsePacket(reader: TokenReader, connection: string | null): PacketAction {
  const direction = reader.next().text === '<' ? 'in' : 'out';
  const ip: IpInfo = { ecn: null, tos: null, dscp: null, ttl: null };
  let addresses: PacketAction['addresses'] = null;
  let echoed: Sequence | null = null;
  for (;;) {
    if (reader.sees('[') && startsEchoed(reader)) echoed = parseEchoed(reader);
    else if (reader.sees('(') || reader.sees('[')) parseIpInfo(reader, ip, direction);
    else if (reader.sees('ipv4')) addresses = parseAddresses(reader, ip, direction);
    else break;
  }
  const { text, line, kind } = reader.peek();
  if (kind === 'word' && ELSEWHERE.has(text)) throw new UnsupportedError(line, `${text} packets`);
  if (echoed !== null && !reader.sees('icmp')) reader.fail('`icmp`');
  const body = reader.sees('icmp') ? parseIcmp(reader, echoed) : parseTcp(reader, direction);
  return { kind: 'packet', connection, direction, addresses, ip, body };
}

/** `ipv4 A > B :` */
function parseAddresses(
  reader: TokenReader,
  ip: IpInfo,
  direction: 'in' | 'out',
): { source: string; target: string } {
  reader.expect('ipv4');
  if (reader.sees('(') || reader.sees('[')) parseIpInfo(reader, ip, direction);
  const source = reader.expectKind('ipv4', 'an address').text;
  reader.expect('>');
  const target = reader.expectKind('ipv4', 'an address').text;
  reader.expect(':');
  if (reader.sees('ipv4') || reader.sees('ipv6')) {
    throw new UnsupportedError(reader.line, 'tunnelled packets');
  }
  return { source, target };
}

function parseIpInfo(reader: TokenReader, ip: IpInfo, direction: 'in' | 'out'): void {
  const close = reader.next().text === '(' ? ')' : ']';
  do {
    const token = reader.next();
    const { text, line } = token;
    if (text in ECN_MARKS) ip.ecn = ECN_MARKS[text]!;
    else if (text === 'ecn') ip.ecn = parseEcn(reader);
    else if (text === 'dscp') ip.dscp = parseDscp(reader);
    else if (text === 'tos' || text === 'class') ip.tos = reader.unsigned('a TOS byte', 255);
    else if (text === 'ttl' || text === 'hlim') ip.ttl = reader.unsigned('a TTL', 255);
    else if (text === 'flowlabel') throw new UnsupportedError(line, 'IPv6 flow labels');
    else wrong(token, `${text} says nothing about an IP header`);
    if (direction === 'in' && ip.ecn === 'ect01') wrong(token, 'ect01 can only be expected');
    if (direction === 'in' && ip.tos !== null && (ip.ecn !== null || ip.dscp !== null)) {
      wrong(token, 'the TOS byte is code point and ECN mark already');
    }
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
  if (reader.is('integer') || reader.is('hex')) return reader.unsigned('a code point', 63);
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

/** Flags are written without spaces. */
function parseFlags(reader: TokenReader): { flags: number; ace: number | null } {
  const first = reader.peek();
  let text = reader.next().text;
  while (!reader.peek().spaced) text += reader.next().text;
  if (text === '-') return { flags: 0, ace: null };
  if (!FLAGS.test(text)) wrong(first, `${text} are no flags of a segment`);
  let flags = 0;
  for (const character of text) flags |= FLAG_BITS[character] ?? 0;
  const digit = /[0-7]/.exec(text);
  return { flags, ace: digit === null ? null : Number(digit[0]) };
}

function parseTcp(reader: TokenReader, direction: 'in' | 'out'): TcpBody {
  let sport: number | null = null;
  let dport: number | null = null;
  if (reader.is('integer') && reader.sees('>', 1)) {
    sport = reader.unsigned('a port', U16);
    reader.expect('>');
    dport = reader.unsigned('a port', U16);
  }
  const { flags, ace } = parseFlags(reader);
  const first = reader.peek();
  const seq = parseSequence(reader);
  if (direction === 'in' && seq.length > MOST_TEXT) {
    wrong(first, `${seq.length} bytes do not fit into a packet: ${MOST_TEXT} do`);
  }
  if (direction === 'in' && seq.unchecked) wrong(first, 'a segment that is sent needs its number');
  const field = (name: string, what: string, most: number): number | null =>
    reader.accept(name) ? reader.unsigned(what, most) : null;
  const ack = field('ack', 'an acknowledgment number', U32);
  if (reader.accept('!') && ack === null) reader.fail('a number before !');
  const win = field('win', 'a window', U16);
  const urg = field('urg', 'an urgent pointer', U16);
  if (direction === 'in' && win === null) {
    wrong(reader.peek(), 'an inbound segment needs a window: `win N`');
  }
  const options = reader.sees('<') ? parseTcpOptions(reader, direction) : [];
  if (reader.sees('{')) throw new UnsupportedError(reader.line, 'packets that are made wrong');
  if (reader.sees('/')) throw new UnsupportedError(reader.line, 'TCP in UDP');
  if (reader.sees('[')) throw new UnsupportedError(reader.line, 'text of a RST that says why');
  return { protocol: 'tcp', sport, dport, flags, ace, seq, ack, win, urg, options };
}

/** `START:END(LEN)`, with `!` absolute; `...(LEN)` = any sequence number. */
function parseSequence(reader: TokenReader): Sequence {
  const first = reader.peek();
  if (reader.is('ellipsis')) {
    reader.next();
    return { start: 0, length: parseLength(reader), absolute: false, unchecked: true };
  }
  const start = reader.unsigned('a sequence number', U32);
  reader.expect(':');
  const end = reader.unsigned('a sequence number', U32);
  const length = parseLength(reader);
  if ((start + length) >>> 0 !== end) {
    const should = (start + length) >>> 0;
    wrong(first, `${start}:${end}(${length}): the end should be ${should}`);
  }
  return { start, length, absolute: reader.accept('!'), unchecked: false };
}

function parseLength(reader: TokenReader): number {
  reader.expect('(');
  const length = reader.unsigned('a length', U32);
  reader.expect(')');
  return length;
}

function parseIcmp(reader: TokenReader, before: Sequence | null): IcmpBody {
  reader.expect('icmp');
  const type = numberedName(reader.next(), ICMP_TYPES, 'type_', 'an ICMP type');
  let code = 0;
  let mtu: number | null = null;
  let id: number | null = null;
  if (reader.is('word') && !reader.sees('mtu') && !reader.sees('id')) {
    const names = type === UNREACHABLE ? ICMP_CODES : {};
    code = numberedName(reader.next(), names, 'code_', 'a code of this ICMP type');
  }
  const mark = reader.peek();
  if (reader.accept('mtu')) mtu = reader.unsigned('an MTU', U16);
  if (mtu !== null && (type !== UNREACHABLE || code !== FRAG_NEEDED)) {
    wrong(mark, 'only `unreachable frag_needed` tells an MTU');
  }
  const name = reader.peek();
  if (reader.accept('id')) id = reader.unsigned('an identifier', U16);
  if (id !== null && !QUERIES.has(type)) wrong(name, 'only queries and replies have an identifier');
  const about = reader.peek();
  const echoed = reader.sees('[') ? parseEchoed(reader) : before;
  if (echoed !== null && QUERIES.has(type)) wrong(about, 'a query or a reply is about no segment');
  return { protocol: 'icmp', type, code, mtu, id, echoed };
}

function numberedName(
  token: Token,
  names: Readonly<Record<string, number>>,
  prefix: string,
  what: string,
): number {
  const { text } = token;
  const digits = text.startsWith(prefix) ? text.slice(prefix.length) : '';
  const number = names[text] ?? (/^\d{1,3}$/.test(digits) ? Number(digits) : NaN);
  if (number >= 0 && number <= 255) return number;
  wrong(token, `${text} is not ${what}`);
}
