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
  [
    'option',
    /--[A-Za-z][A-Za-z0-9_]*(?:=(?:"(?:[^"\\\n]|\\.)*"|[^\s`"]+(?:"(?:[^"\\\n]|\\.)*")?))?/y,
  ],
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
  private readonly defines: ReadonlyMap<string, string>;
  private readonly tokens: Token[] = [];
  private at = 0;
  private line = 1;
  /** Where the line begins. */
  private lineAt = 0;
  private spaced = false;
  /** Of each open `#ifdef` whether its lines count. */
  private readonly conditions: boolean[] = [];

  constructor(source: string, defines: ReadonlyMap<string, string>) {
    this.source = source;
    this.defines = defines;
  }

  run(): Token[] {
    for (;;) {
      this.skipBlank();
      if (this.at === this.source.length) break;
      if (this.condition()) continue;
      this.take();
    }
    if (this.conditions.length > 0) throw new ScriptError(this.line, '#ifdef without #endif');
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
      this.conditions.push(this.defines.has(name) === (word === 'ifdef'));
    } else if (this.conditions.length === 0) {
      throw new ScriptError(this.line, `#${word} without #ifdef`);
    } else {
      const counted = this.conditions.pop()!;
      if (word === 'else') this.conditions.push(!counted);
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
    if (kind === 'mark' && (text === '`' || text === '"')) {
      throw new ScriptError(place.line, `${text} without its end`, place);
    }
    this.advance(text);
    if (this.conditions.includes(false)) return;
    this.tokens.push(this.defined({ kind, text: inner(kind, text), ...place, spaced }));
  }

  /** The token that a user definition puts in the place of a word. */
  private defined(token: Token): Token {
    const value = token.kind === 'word' ? this.defines.get(token.text) : undefined;
    if (value === undefined) return token;
    if (value.startsWith('"')) return { ...token, kind: 'string', text: inner('string', value) };
    if (value.startsWith('`')) return { ...token, kind: 'shell', text: inner('shell', value) };
    if (/^0[xX][0-9A-Fa-f]+$/.test(value)) return { ...token, kind: 'hex', text: value };
    if (/^-?\d+$/.test(value)) return { ...token, kind: 'integer', text: value };
    return { ...token, text: value };
  }
}

/**
 * The tokens of a script, the last of kind `end`. Throws ScriptError.
 * @param defines user definitions: `"text"`, `` `command` ``, a number or a word by name
 */
export function lex(source: string, defines: ReadonlyMap<string, string> = new Map()): Token[] {
  return new Lexer(source, defines).run();
}
