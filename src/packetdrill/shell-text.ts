/**
 * Shell text of a script as commands: words with their quotes taken off, arithmetic computed, what
 * joins the commands, pipes. The part of the shell's language that test scripts use; anything else
 * (variables, loops, substitutions) makes the script one for another system. Runs nothing.
 */
import { type Shell, UnsupportedError } from './script.js';

/** Commands joined by `|`, each as its words. */
export interface Pipeline {
  commands: string[][];
  /** Runs only if what was before it succeeded, failed, or anyway. */
  when: 'success' | 'failure' | 'always';
}

interface Piece {
  /** A word, or an operator: `;`, `&&`, `||`, `|`. */
  kind: 'word' | 'operator';
  text: string;
}

/** In this order; what is quoted is one word with what touches it. */
const BLANK = /(?:[ \t]|\\\n)+/y;
const COMMENT = /#[^\n]*/y;
/** Where output goes does not matter. */
const REDIRECTION = /(?:\d?>>?[ \t]*(?:&\d|[^\s;|&]+)|<[ \t]*\/dev\/null)/y;
const OPERATOR = /(?:&&|\|\||[|;\n])/y;
const PART = new RegExp(
  [
    String.raw`"(?:[^"\\]|\\[\s\S])*"`,
    "'[^']*'",
    String.raw`\$\(\([^()]*(?:\([^()]*\)[^()]*)*\)\)`,
    String.raw`\$\{?\w+\}?`,
    String.raw`\\[^\n]`,
    '[^\\s"\'|;&#<>\\\\()`]',
  ].join('|'),
  'y',
);

function match(pattern: RegExp, text: string, at: number): string | null {
  pattern.lastIndex = at;
  return pattern.exec(text)?.[0] ?? null;
}

function piecesOf(shell: Shell): Piece[] {
  const { text, line } = shell;
  const pieces: Piece[] = [];
  for (let at = 0; at < text.length; ) {
    const skipped = match(BLANK, text, at) ?? match(COMMENT, text, at);
    const redirected = skipped ?? match(REDIRECTION, text, at);
    if (redirected !== null) {
      at += redirected.length;
      continue;
    }
    const operator = match(OPERATOR, text, at);
    if (operator !== null) {
      pieces.push({ kind: 'operator', text: operator === '\n' ? ';' : operator });
      at += operator.length;
      continue;
    }
    let word = '';
    let part = match(PART, text, at);
    if (part === null) throw new UnsupportedError(line, `the shell's \`${text.slice(at).trim()}\``);
    for (; part !== null; part = match(PART, text, at)) {
      word += unquoted(part, line);
      at += part.length;
    }
    pieces.push({ kind: 'word', text: word });
  }
  return pieces;
}

function unquoted(part: string, line: number): string {
  if (part.startsWith("'")) return part.slice(1, -1);
  if (part.startsWith('\\')) return part.slice(1);
  const inner = part.startsWith('"') ? part.slice(1, -1).replace(/\\(["\\$`])/g, '$1') : part;
  const computed = inner.replace(/\$\(\(((?:[^()]|\([^()]*\))*)\)\)/g, (_all, sum: string) =>
    String(arithmetic(sum, line)),
  );
  // The number of the process: only the names of files have it.
  const named = computed.replace(/\$\{?PPID\}?/g, '0');
  if (/\$[\w({]|`/.test(named)) throw new UnsupportedError(line, `the shell's \`${part}\``);
  return named;
}

/** `15*1024*1024`: whole numbers, `+ - * / %` and parentheses. */
function arithmetic(text: string, line: number): number {
  const tokens = text.match(/\d+|[-+*/%()]|[^\s\d]/g) ?? [];
  let at = 0;
  const fail = (): never => {
    throw new UnsupportedError(line, `the shell's \`$((${text}))\``);
  };
  const factor = (): number => {
    const token = tokens[at++];
    if (token === '-') return -factor();
    if (token === '(') {
      const value = sum();
      return tokens[at++] === ')' ? value : fail();
    }
    return token !== undefined && /^\d+$/.test(token) ? Number(token) : fail();
  };
  const product = (): number => {
    let value = factor();
    for (;;) {
      const operator = tokens[at];
      if (operator !== '*' && operator !== '/' && operator !== '%') return value;
      at++;
      const other = factor();
      if (operator === '*') value *= other;
      else if (other === 0) fail();
      else value = operator === '/' ? Math.trunc(value / other) : value % other;
    }
  };
  const sum = (): number => {
    let value = product();
    for (;;) {
      const operator = tokens[at];
      if (operator !== '+' && operator !== '-') return value;
      at++;
      value += operator === '+' ? product() : -product();
    }
  };
  const value = sum();
  return at === tokens.length ? value : fail();
}

/** The pipelines of shell text, in order. Throws UnsupportedError. */
export function pipelinesOf(shell: Shell): Pipeline[] {
  const pipelines: Pipeline[] = [];
  let current: Pipeline = { commands: [[]], when: 'always' };
  const close = (when: Pipeline['when']): void => {
    if (current.commands.some((words) => words.length > 0)) pipelines.push(current);
    current = { commands: [[]], when };
  };
  for (const { kind, text } of piecesOf(shell)) {
    if (kind === 'word') current.commands[current.commands.length - 1]!.push(text);
    else if (text === '|') current.commands.push([]);
    else if (text === '&&') close('success');
    else if (text === '||') close('failure');
    else close('always');
  }
  close('always');
  return pipelines;
}
