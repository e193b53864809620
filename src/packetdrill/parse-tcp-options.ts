/** TCP options of a script's packets: `<mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>`. */
import { ScriptError, type TcpOption, UnsupportedError } from './script.js';
import type { TokenReader } from './token-reader.js';

/** Options of systems that we do not play. */
const ELSEWHERE = new Set(['md5', 'ECN', 'AccECN0', 'AccECN1']);

/** The options between `<` and `>`; null = `<...>`, not looked at. */
export function parseTcpOptions(reader: TokenReader, direction: 'in' | 'out'): TcpOption[] | null {
  const { line } = reader.expect('<');
  if (reader.is('ellipsis')) {
    if (direction === 'in') reader.fail('the options of an inbound segment');
    reader.next();
    reader.expect('>');
    return null;
  }
  const options: TcpOption[] = [];
  if (!reader.sees('>')) {
    do options.push(parseOption(reader));
    while (reader.accept(','));
  }
  reader.expect('>');
  const bytes = options.reduce((sum, option) => sum + optionBytes(option), 0);
  if (bytes % 4 !== 0 || bytes > 40) {
    throw new ScriptError(line, `the options have ${bytes} bytes: 4, 8, … 40 can be sent`);
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
    case 'raw':
      return option.hex.length / 2;
  }
}

function parseOption(reader: TokenReader): TcpOption {
  const { text, line } = reader.next();
  switch (text) {
    case 'nop':
    case 'eol':
    case 'sackOK':
      return { kind: text };
    case 'mss':
    case 'wscale':
      return { kind: text, value: reader.integer(`a number after ${text}`) };
    case 'sack':
      return { kind: 'sack', blocks: parseBlocks(reader) };
    case 'TS':
      return parseTimestamp(reader);
    case 'FO':
    case 'FOEXP':
      return { kind: text, cookie: parseHex(reader, line) };
    case 'exp-FO':
      return { kind: 'FOEXP', cookie: parseHex(reader, line) };
  }
  if (ELSEWHERE.has(text)) throw new UnsupportedError(line, `the TCP option ${text}`);
  throw new ScriptError(line, `${text} is no TCP option`);
}

function parseBlocks(reader: TokenReader): [number, number][] {
  const blocks: [number, number][] = [];
  do {
    const left = reader.integer('the left edge of a SACK block');
    reader.expect(':');
    blocks.push([left, reader.integer('the right edge of a SACK block')]);
  } while (reader.is('integer'));
  return blocks;
}

function parseTimestamp(reader: TokenReader): TcpOption {
  reader.expect('val');
  let val: number | null = null;
  if (reader.is('ellipsis')) reader.next();
  else val = reader.integer('a timestamp');
  reader.expect('ecr');
  const ecr = reader.integer('a timestamp');
  return { kind: 'TS', val, ecr, ecrAbsolute: reader.accept('!') };
}

/** An even number of hexadecimal digits, or nothing. */
function parseHex(reader: TokenReader, line: number): string {
  if (!reader.is('word') && !reader.is('integer')) return '';
  const { text } = reader.next();
  if (!/^(?:[0-9A-Fa-f]{2})+$/.test(text)) throw new ScriptError(line, `${text} is no cookie`);
  return text.toLowerCase();
}
