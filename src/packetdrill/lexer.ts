/**
 * Characters to tokens. The longest match wins, and of equals the first rule of the table; a token
 * remembers whether white space stood before it, because flags (`P.5`) are written without. What a
 * word means is the parser's business.
 */
import { ScriptError } from './script.js';

export type TokenKind =
  | 'option'
  | 'shell'
  | 'code'
  | 'string'
  | 'ipv4'
  | 'ipv6'
  | 'float'
  | 'hex'
  | 'integer'
  | 'word'
  | 'ellipsis'
  | 'mark'
  | 'end';

export interface Token {
  kind: TokenKind;
  /** As written; of strings, shell text and code what is inside, escapes resolved in strings. */
  text: string;
  line: number;
  /** Of its first character on the line, from 1. */
  column: number;
  /** White space or a comment stands before it. */
  spaced: boolean;
}

/** In this order when two match equally far. */
const RULES: readonly [TokenKind, RegExp][] = [
  ['option', /--[A-Za-z][A-Za-z0-9_]*(?:=[^\s`"]*(?:"(?:[^"\\\n]|\\.)*"|`(?:[^`\\]|\\.)*`)?)?/y],
  ['shell', /`(?:[^`\\]|\\[\s\S])*`/y],
  ['code', /%\{[\s\S]*?\}%/y],
  ['string', /"(?:[^"\\]|\\[\s\S])*"/y],
  ['ellipsis', /\.\.\./y],
  ['ipv4', /\d{1,3}\.\d{1,3}\.\d{1,3}\.\d{1,3}(?![\w.])/y],
  ['ipv6', /(?:[0-9A-Fa-f]{1,4}:){7}[0-9A-Fa-f]{1,4}|[0-9A-Fa-f:]*::[0-9A-Fa-f:.]*/y],
  ['float', /-?\d*\.\d+/y],
  ['hex', /0[xX][0-9A-Fa-f]+/y],
  ['integer', /-?\d+/y],
  ['word', /[A-Za-z0-9_]+/y],
  ['mark', /[\s\S]/y],
];

/** Words of the language itself: a definition of one of them replaces nothing. */
const RESERVED = new Set(
  (
    'ack eol ecr mss mtu nop sack sackOK md5 TS val win urg wscale FO FOEXP ECN e0b e1b ceb tos ' +
    'ttl flowlabel ect0 ect1 ect01 noecn ce id icmp udp gre GREv0 mpls label tc raw sum off key ' +
    'seq none checksum present psp spi encap ipv4 ipv6 fd events revents ptr u32 u64 onoff ' +
    'linger htons inet_addr inet6_addr sa_family sin_port sin_addr msg_name msg_iov msg_flags ' +
    'msg_control cmsg_level cmsg_type cmsg_data ee_errno ee_origin ee_type ee_code ee_info ' +
    'ee_data scm_sec scm_nsec flags Flags'
  ).split(' '),
);
/** What begins and must have an end. */
const BRACKETS: readonly (readonly [string, string])[] = [
  ['`', '`'],
  ['"', '"'],
  ['%{', '}%'],
  ['/*', '*/'],
];
const DEFINITION = /^--define=(\w+)=([\s\S]+)$/;
const BLANK = /(?:\s|\/\/[^\n]*|\/\*[\s\S]*?\*\/)+/y;
const CONDITION = /#(ifdef|ifndef|else|endif)\b[ \t]*(\w*)[^\n]*/y;
const ESCAPES: Readonly<Record<string, string>> = {
  n: '\n',
  r: '\r',
  t: '\t',
  f: '\f',
  v: '\v',
  '0': '\0',
};

function unescaped(text: string): string {
  return text.replace(/\\(?:x([0-9A-Fa-f]{2})|([\s\S]))/g, (_all, hex: string, letter: string) =>
    hex === undefined ? (ESCAPES[letter] ?? letter) : String.fromCharCode(parseInt(hex, 16)),
  );
}

/** What a token says, without its quotes. */
function inner(kind: TokenKind, text: string): string {
  if (kind === 'string') return unescaped(text.slice(1, -1));
  // Other backslashes are the shell's.
  if (kind === 'shell') return text.slice(1, -1).replaceAll('\\`', '`');
  if (kind === 'code') return text.slice(2, -2);
  return text;
}

class Lexer {
  private readonly source: string;
  /** From outside; those of the script do not replace them. */
  private readonly given: ReadonlyMap<string, string>;
  private readonly defines: Map<string, string>;
  private readonly tokens: Token[] = [];
  private at = 0;
  private line = 1;
  /** Where the line begins. */
  private lineAt = 0;
  private spaced = false;
  /** Of each open `#ifdef` whether its lines count, and where it stands. */
  private readonly conditions: { counts: boolean; line: number }[] = [];

  constructor(
    source: string,
    given: ReadonlyMap<string, string>,
    known: ReadonlyMap<string, string>,
  ) {
    this.source = source;
    this.given = given;
    this.defines = new Map([...known, ...given]);
  }

  run(): Token[] {
    for (;;) {
      this.skipBlank();
      if (this.at === this.source.length) break;
      if (this.condition()) continue;
      this.take();
    }
    const open = this.conditions.at(-1);
    if (open !== undefined) throw new ScriptError(open.line, '#ifdef without #endif');
    this.tokens.push({ kind: 'end', text: '', ...this.place, spaced: true });
    return this.tokens;
  }

  private match(pattern: RegExp): RegExpExecArray | null {
    pattern.lastIndex = this.at;
    return pattern.exec(this.source);
  }

  private get place(): { line: number; column: number } {
    return { line: this.line, column: this.at - this.lineAt + 1 };
  }

  private advance(text: string): void {
    for (let at = text.indexOf('\n'); at >= 0; at = text.indexOf('\n', at + 1)) {
      this.line++;
      this.lineAt = this.at + at + 1;
    }
    this.at += text.length;
  }

  private skipBlank(): void {
    const blank = this.match(BLANK);
    this.spaced = blank !== null || this.at === 0;
    if (blank !== null) this.advance(blank[0]);
  }

  /** `#ifdef NAME`, `#else`, `#endif` of the FreeBSD dialect. */
  private condition(): boolean {
    const match = this.match(CONDITION);
    if (match === null) return false;
    const [text, word, name = ''] = match;
    if (word === 'ifdef' || word === 'ifndef') {
      const counts = this.defines.has(name) === (word === 'ifdef');
      this.conditions.push({ counts, line: this.line });
    } else if (this.conditions.length === 0) {
      throw new ScriptError(this.line, `#${word} without #ifdef`);
    } else {
      const { counts, line } = this.conditions.pop()!;
      if (word === 'else') this.conditions.push({ counts: !counts, line });
    }
    this.advance(text);
    return true;
  }

  private take(): void {
    let kind: TokenKind = 'mark';
    let text = '';
    for (const [candidate, pattern] of RULES) {
      const match = this.match(pattern);
      if (match !== null && match[0].length > text.length) {
        kind = candidate;
        text = match[0];
      }
    }
    const { place, spaced } = this;
    const open = BRACKETS.find(([begin]) => this.source.startsWith(begin, this.at));
    if (kind === 'mark' && open !== undefined) {
      const [begin, end] = open;
      const what = begin === end ? `${begin} without its end` : `${begin} without its ${end}`;
      throw new ScriptError(place.line, what, place);
    }
    this.advance(text);
    if (this.conditions.some(({ counts }) => !counts)) return;
    const token = { kind, text: inner(kind, text), ...place, spaced };
    if (kind === 'option' && /^--define\b/.test(text)) this.define(token);
    this.tokens.push(this.defined(token));
  }

  /** `--define=SYM=VALUE` of the script itself. */
  private define(token: Token): void {
    const match = DEFINITION.exec(token.text);
    if (match === null) throw new ScriptError(token.line, '--define=SYM=VALUE is meant', token);
    const [, name, value] = match;
    if (!this.given.has(name!)) this.defines.set(name!, value!);
  }

  /** The token that a user definition puts in the place of a word. */
  private defined(token: Token): Token {
    const value = token.kind === 'word' ? this.defines.get(token.text) : undefined;
    if (value === undefined || RESERVED.has(token.text)) return token;
    if (value.startsWith('"')) return { ...token, kind: 'string', text: inner('string', value) };
    if (value.startsWith('`')) return { ...token, kind: 'shell', text: inner('shell', value) };
    if (/^0[xX][0-9A-Fa-f]+$/.test(value)) return { ...token, kind: 'hex', text: value };
    // As strtol() with base 0 has it.
    if (/^0[0-7]+$/.test(value))
      return { ...token, kind: 'integer', text: `${parseInt(value, 8)}` };
    if (/^-?\d+$/.test(value)) return { ...token, kind: 'integer', text: value };
    return { ...token, text: value };
  }
}

/**
 * The tokens of a script, the last of kind `end`. Throws ScriptError.
 * @param given user definitions: `"text"`, `` `command` ``, a number or a word by name
 * @param known the same, but those of the script itself win
 */
export function lex(
  source: string,
  given: ReadonlyMap<string, string> = new Map(),
  known: ReadonlyMap<string, string> = new Map(),
): Token[] {
  return new Lexer(source, given, known).run();
}
