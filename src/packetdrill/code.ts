/**
 * The statements between `%{` and `}%`: the small part of Python that test scripts use. `assert X`,
 * `assert X, message`, `print(X)`, `name = X` and `+=`, `-=`; X with numbers, strings, names,
 * parentheses, `+ - * // % & |`, chained comparisons, `and or not`. Values stay from one block to
 * the next. Anything else makes the script one for another interpreter.
 */
import { ScriptError, UnsupportedError } from './script.js';

type Value = number | string | boolean;

interface Token {
  kind: 'number' | 'string' | 'name' | 'mark';
  text: string;
  line: number;
}

/** What is none of the others is a mark that no statement has. */
const TOKEN = new RegExp(
  [
    String.raw`\s*(?:(0[xX][0-9A-Fa-f]+|\d+(?:\.\d+)?)`,
    String.raw`("(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')`,
    String.raw`([A-Za-z_]\w*)`,
    String.raw`(==|!=|<=|>=|//|\+=|-=|<<|>>|\S))`,
  ].join('|'),
  'y',
);
const OPENS = new Set(['(', '[', '{']);
const CLOSES = new Set([')', ']', '}']);

/** Statements: split on newlines and `;` outside of strings and parentheses. */
function statementsOf(text: string, firstLine: number): Token[][] {
  const statements: Token[][] = [[]];
  let depth = 0;
  text.split('\n').forEach((piece, i) => {
    const continued = piece.endsWith('\\');
    for (const token of lineTokens(continued ? piece.slice(0, -1) : piece, firstLine + i)) {
      if (token.kind === 'mark' && OPENS.has(token.text)) depth++;
      if (token.kind === 'mark' && CLOSES.has(token.text)) depth--;
      if (depth === 0 && token.kind === 'mark' && token.text === ';') statements.push([]);
      else statements[statements.length - 1]!.push(token);
    }
    if (!continued && depth <= 0) statements.push([]);
  });
  return statements.filter((tokens) => tokens.length > 0);
}

/** Up to the comment. */
function lineTokens(text: string, line: number): Token[] {
  const tokens: Token[] = [];
  let at = 0;
  while (!/^\s*(?:#.*)?$/.test(text.slice(at))) {
    TOKEN.lastIndex = at;
    tokens.push(tokenOf(TOKEN.exec(text)!, line));
    at = TOKEN.lastIndex;
  }
  return tokens;
}

function tokenOf(match: RegExpExecArray, line: number): Token {
  const [, number, string, name, mark] = match;
  if (number !== undefined) return { kind: 'number', text: number, line };
  if (string !== undefined) return { kind: 'string', text: string.slice(1, -1), line };
  if (name !== undefined) return { kind: 'name', text: name, line };
  return { kind: 'mark', text: mark!, line };
}

/** True is 1, but a text is no number. */
function same(a: Value, b: Value): boolean {
  return typeof a === 'string' || typeof b === 'string' ? a === b : Number(a) === Number(b);
}

const COMPARISONS: Readonly<Record<string, (a: Value, b: Value) => boolean>> = {
  '==': same,
  '!=': (a, b) => !same(a, b),
  '<': (a, b) => a < b,
  '>': (a, b) => a > b,
  '<=': (a, b) => a <= b,
  '>=': (a, b) => a >= b,
};

/** Operators by how tightly they bind, loosest first. */
const BINARY: readonly Readonly<Record<string, (a: number, b: number) => number>>[] = [
  { '|': (a, b) => (a | b) >>> 0 },
  { '&': (a, b) => (a & b) >>> 0 },
  { '<<': (a, b) => a * 2 ** b, '>>': (a, b) => Math.floor(a / 2 ** b) },
  { '+': (a, b) => a + b, '-': (a, b) => a - b },
  {
    '*': (a, b) => a * b,
    '//': (a, b) => Math.floor(a / b),
    '%': (a, b) => a - b * Math.floor(a / b),
  },
];

/** Names of what a block asks of the socket under test. */
const FACT = /^(?:tcpi_|SK_MEMINFO_)/;
/** Names that the original defines for sockets and kernels of other kinds. */
const ELSEWHERE = /^(?:tcpi_|SK_MEMINFO_|TCP_|TCPI_|bbr_|dctcp_|vegas_)/;

/** Runs the blocks of one script. */
export class Code {
  private readonly variables = new Map<string, Value>();
  /** What print() said. */
  readonly printed: string[] = [];
  private tokens: Token[] = [];
  private at = 0;
  private hasSocket = false;

  /**
   * Runs one block. Throws ScriptError when an assertion fails, UnsupportedError for what this
   * interpreter or this stack does not know.
   * @param line line of the script on which the block begins
   * @param facts names that stand for what the socket under test says now (tcpi_…; without a
   *   socket there are none), and constants
   */
  run(text: string, line: number, facts: ReadonlyMap<string, number>): void {
    // What the socket said before must not answer for what it does not say now.
    for (const name of this.variables.keys()) if (FACT.test(name)) this.variables.delete(name);
    for (const [name, value] of facts) this.variables.set(name, value);
    this.hasSocket = facts.has('tcpi_state');
    for (const tokens of statementsOf(text, line)) {
      this.tokens = tokens;
      this.at = 0;
      this.statement();
    }
  }

  private get line(): number {
    return this.tokens[0]!.line;
  }

  private get text(): string {
    return this.tokens.map((token) => token.text).join(' ');
  }

  private sees(text: string, ahead = 0): boolean {
    const token = this.tokens[this.at + ahead];
    return token !== undefined && token.kind !== 'string' && token.text === text;
  }

  private accept(text: string): boolean {
    if (!this.sees(text)) return false;
    this.at++;
    return true;
  }

  private unsupported(): never {
    throw new UnsupportedError(this.line, `code: ${this.text}`);
  }

  private statement(): void {
    if (this.accept('assert')) this.assertion();
    else if (this.sees('print') && this.sees('(', 1)) this.print();
    else this.assignment();
  }

  private assignment(): void {
    const name = this.tokens[this.at];
    const operator = this.tokens[this.at + 1]?.text;
    if (name?.kind !== 'name' || !/^[+-]?=$/.test(operator ?? '')) this.unsupported();
    this.at += 2;
    const value = this.expression();
    if (this.at < this.tokens.length) this.unsupported();
    const before = operator === '=' ? 0 : this.number(this.variable(name.text));
    const sign = operator === '-=' ? -1 : 1;
    this.variables.set(name.text, operator === '=' ? value : before + sign * this.number(value));
  }

  private assertion(): void {
    const from = this.at;
    const value = this.expression();
    const source = this.tokens.slice(from, this.at);
    // What follows the comma is only said when the assertion fails.
    if (this.at < this.tokens.length && !this.sees(',')) this.unsupported();
    if (value !== false && value !== 0 && value !== '') return;
    const names = source.filter(({ kind, text }) => kind === 'name' && this.variables.has(text));
    const values = names.map(({ text }) => `${text} is ${this.variables.get(text)}`);
    const shown = source.map((token) => token.text).join(' ');
    throw new ScriptError(this.line, `assert ${shown}: ${values.join(', ') || 'it is not so'}`);
  }

  private print(): void {
    this.at += 2;
    const parts: Value[] = [];
    while (!this.accept(')')) {
      parts.push(this.expression());
      if (!this.sees(')') && !this.accept(',')) this.unsupported();
    }
    this.printed.push(parts.join(' '));
  }

  private expression(): Value {
    let value = this.conjunction();
    while (this.accept('or')) {
      const other = this.conjunction();
      value = isTrue(value) ? value : other;
    }
    return value;
  }

  private conjunction(): Value {
    let value = this.negation();
    while (this.accept('and')) {
      const other = this.negation();
      value = isTrue(value) ? other : value;
    }
    return value;
  }

  private negation(): Value {
    return this.accept('not') ? !isTrue(this.negation()) : this.comparison();
  }

  /** `a <= b < c` holds when both do. */
  private comparison(): Value {
    let left = this.binary(0);
    let holds: boolean | null = null;
    for (;;) {
      const compare = COMPARISONS[this.tokens[this.at]?.text ?? ''];
      if (compare === undefined || this.tokens[this.at]!.kind !== 'mark') break;
      this.at++;
      const right = this.binary(0);
      holds = (holds ?? true) && compare(left, right);
      left = right;
    }
    return holds ?? left;
  }

  private binary(level: number): Value {
    const operators = BINARY[level];
    if (operators === undefined) return this.term();
    let value = this.binary(level + 1);
    for (;;) {
      const token = this.tokens[this.at];
      const operate = token?.kind === 'mark' ? operators[token.text] : undefined;
      if (operate === undefined) return value;
      this.at++;
      const other = this.binary(level + 1);
      // A format string says something, it is no arithmetic.
      if (typeof value === 'string') value = `${value} ${other}`;
      else value = operate(this.number(value), this.number(other));
    }
  }

  private term(): Value {
    const token = this.tokens[this.at++];
    if (token === undefined) this.unsupported();
    if (token.kind === 'number') return Number(token.text);
    if (token.kind === 'string') return token.text;
    if (token.kind === 'name') {
      if (token.text === 'True' || token.text === 'False') return token.text === 'True';
      if (this.sees('(') || this.sees('.')) this.unsupported();
      return this.variable(token.text);
    }
    if (token.text === '-') return -this.number(this.term());
    if (token.text !== '(') this.unsupported();
    const value = this.expression();
    if (!this.accept(')')) this.unsupported();
    return value;
  }

  private variable(name: string): Value {
    const value = this.variables.get(name);
    if (value !== undefined) return value;
    if (FACT.test(name) && !this.hasSocket) {
      throw new ScriptError(this.line, `there is no socket under test to ask for ${name}`);
    }
    if (ELSEWHERE.test(name)) throw new UnsupportedError(this.line, name);
    throw new ScriptError(this.line, `${name} is not defined`);
  }

  private number(value: Value): number {
    if (typeof value === 'string') this.unsupported();
    return Number(value);
  }
}

function isTrue(value: Value): boolean {
  return value !== false && value !== 0 && value !== '';
}
