/**
 * A walk over the tokens of a script with what every part of the parser asks: is this next, take
 * it, it must be there. Errors name the line and what stands there instead.
 */
import type { Token, TokenKind } from './lexer.js';
import { ScriptError } from './script.js';

export class TokenReader {
  private readonly tokens: readonly Token[];
  private at = 0;

  /** @param tokens ending with a token of kind `end` */
  constructor(tokens: readonly Token[]) {
    this.tokens = tokens;
  }

  /** The token `ahead` places on; the end, again and again, when there is none. */
  peek(ahead = 0): Token {
    return this.tokens[Math.min(this.at + ahead, this.tokens.length - 1)]!;
  }

  next(): Token {
    const token = this.peek();
    if (token.kind !== 'end') this.at++;
    return token;
  }

  /** True when the token `ahead` places on is this word or mark. */
  sees(text: string, ahead = 0): boolean {
    const token = this.peek(ahead);
    return (token.kind === 'word' || token.kind === 'mark') && token.text === text;
  }

  is(kind: TokenKind, ahead = 0): boolean {
    return this.peek(ahead).kind === kind;
  }

  /** Takes this word or mark if it is next. */
  accept(text: string): boolean {
    if (!this.sees(text)) return false;
    this.at++;
    return true;
  }

  expect(text: string): Token {
    if (!this.sees(text)) this.fail(`\`${text}\``);
    return this.next();
  }

  expectKind(kind: TokenKind, what: string): Token {
    if (!this.is(kind)) this.fail(what);
    return this.next();
  }

  /** An integer, decimal or hexadecimal. */
  integer(what: string): number {
    const token = this.peek();
    if (token.kind !== 'integer' && token.kind !== 'hex') this.fail(what);
    return Number(this.next().text);
  }

  /** An integer from 0 to `most`. */
  unsigned(what: string, most: number): number {
    const token = this.peek();
    const value = this.integer(what);
    if (value < 0 || value > most) wrong(token, `${token.text}: ${what} is 0 to ${most}`);
    return value;
  }

  isNumber(ahead = 0): boolean {
    return this.is('integer', ahead) || this.is('float', ahead);
  }

  get line(): number {
    return this.peek().line;
  }

  /** Throws: `what` should stand here. */
  fail(what: string): never {
    const token = this.peek();
    const found = token.kind === 'end' ? 'the script ends' : `there is \`${token.text}\``;
    wrong(token, `expected ${what}, but ${found}`);
  }
}

/** Throws ScriptError: what is wrong with what begins at `token`. */
export function wrong(token: Token, message: string): never {
  throw new ScriptError(token.line, message, { column: token.column });
}
