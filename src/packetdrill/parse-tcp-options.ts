/** TCP options of a script's packets: `<mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>`. */
import type { Token } from './lexer.js';
import { type TcpOption, UnsupportedError } from './script.js';
import { type TokenReader, wrong } from './token-reader.js';

/** The fields of an AccECN option, in both of its orders. */
const ECN_FIELDS: readonly (readonly string[])[] = [
  ['e0b', 'ceb', 'e1b'],
  ['e1b', 'ceb', 'e0b'],
];
const MD5_BYTES = 16;
const U32 = 0xffff_ffff;

/** The options between `<` and `>`; null = `<...>`, not looked at. */
export function parseTcpOptions(reader: TokenReader, direction: 'in' | 'out'): TcpOption[] | null {
  const open = reader.expect('<');
  if (reader.is('ellipsis')) {
    if (direction === 'in') reader.fail('the options of an inbound segment');
    reader.next();
    reader.expect('>');
    return null;
  }
  const options: TcpOption[] = [];
  if (!reader.sees('>')) {
    do options.push(parseOption(reader, direction));
    while (reader.accept(','));
  }
  reader.expect('>');
  const bytes = options.reduce((sum, option) => sum + optionBytes(option), 0);
  if (bytes % 4 !== 0 || bytes > 40) {
    wrong(open, `the options have ${bytes} bytes: 4, 8, … 40 can be sent`);
  }
  return options;
}

/** Bytes that an option takes in the header. */
export function optionBytes(option: TcpOption): number {
  switch (option.kind) {
    case 'nop':
    case 'eol':
      return 1;
    case 'sackOK':
      return 2;
    case 'mss':
      return 4;
    case 'wscale':
      return 3;
    case 'sack':
      return 2 + 8 * option.blocks.length;
    case 'TS':
      return 10;
    case 'FO':
      return 2 + option.cookie.length / 2;
    case 'FOEXP':
      return 4 + option.cookie.length / 2;
    case 'ECN':
      return 2 + 3 * option.counts.length;
    case 'md5':
      return 2 + option.digest.length / 2;
    case 'raw':
      return option.hex.length / 2;
  }
}

function parseOption(reader: TokenReader, direction: 'in' | 'out'): TcpOption {
  const token = reader.next();
  const { text } = token;
  switch (text) {
    case 'nop':
    case 'eol':
    case 'sackOK':
      return { kind: text };
    case 'mss':
      return { kind: text, value: reader.unsigned('an MSS', 0xffff) };
    case 'wscale':
      return { kind: text, value: reader.unsigned('a window scale', 255) };
    case 'sack':
      return { kind: 'sack', blocks: parseBlocks(reader) };
    case 'TS':
      return parseTimestamp(reader, token, direction);
    case 'FO':
    case 'FOEXP':
      return { kind: text, cookie: parseHex(reader, 'cookie') };
    case 'exp':
      // The FreeBSD dialect's `exp-FO`.
      reader.expect('-');
      reader.expect('FO');
      return { kind: 'FOEXP', cookie: parseHex(reader, 'cookie') };
  }
  if (text === 'ECN') return parseAccEcn(reader, null);
  if (text === 'AccECN0') return parseAccEcn(reader, 0);
  if (text === 'AccECN1') return parseAccEcn(reader, 1);
  if (text === 'md5') return parseMd5(reader, token);
  if (token.kind === 'hex') return parseRaw(token);
  wrong(token, `${text} is no TCP option`);
}

function parseBlocks(reader: TokenReader): [number, number][] {
  const blocks: [number, number][] = [];
  do {
    const left = reader.unsigned('the left edge of a SACK block', U32);
    reader.expect(':');
    blocks.push([left, reader.unsigned('the right edge of a SACK block', U32)]);
  } while (reader.is('integer'));
  return blocks;
}

function parseTimestamp(reader: TokenReader, token: Token, direction: 'in' | 'out'): TcpOption {
  reader.expect('val');
  let val: number | null = null;
  if (reader.is('ellipsis')) reader.next();
  else val = reader.unsigned('a timestamp', U32);
  if (val === null && direction === 'in') wrong(token, 'a timestamp that is sent has a value');
  reader.expect('ecr');
  const ecr = reader.unsigned('a timestamp', U32);
  return { kind: 'TS', val, ecr, ecrAbsolute: reader.accept('!') };
}

/** `e0b N ceb N e1b N` or the other way round; FreeBSD's dialect writes `ee0b` and so on. */
function parseAccEcn(reader: TokenReader, order: 0 | 1 | null): TcpOption {
  const prefix = order === null ? '' : 'e';
  const first = order ?? (reader.sees('e1b') ? 1 : 0);
  const counts: number[] = [];
  for (const name of ECN_FIELDS[first]!) {
    if (!reader.accept(prefix + name)) break;
    counts.push(reader.unsigned('a counter of 24 bits', 0xff_ffff));
  }
  // The dialect of the kernel's scripts has no form for an option without counters.
  if (order === null && counts.length === 0) reader.fail('`e0b` or `e1b`');
  return { kind: 'ECN', first, counts };
}

/** A digest; a valid one would need the key. */
function parseMd5(reader: TokenReader, token: Token): TcpOption {
  if (reader.sees('valid')) throw new UnsupportedError(token.line, 'TCP-MD5 signatures');
  const digest = parseHex(reader, 'digest');
  if (digest.length === 2 * MD5_BYTES) return { kind: 'md5', digest };
  wrong(token, `a digest has ${MD5_BYTES} bytes`);
}

/** The bytes of one option, kind and length too. */
function parseRaw(token: Token): TcpOption {
  const hex = token.text.slice(2).toLowerCase();
  if (hex.length % 2 === 0) return { kind: 'raw', hex };
  wrong(token, `${token.text} has half a byte too much`);
}

/** An even number of hexadecimal digits, or nothing. */
function parseHex(reader: TokenReader, what: string): string {
  if (!reader.is('word') && !reader.is('integer')) return '';
  const token = reader.next();
  if (!/^(?:[0-9A-Fa-f]{2})+$/.test(token.text)) wrong(token, `${token.text} is no ${what}`);
  return token.text.toLowerCase();
}
