/**
 * Tokens to a Script: options, the shell text around, and the events with their times. Packets and
 * arguments have files of their own.
 */
import { lex } from './lexer.js';
import { parseExpression, parseList } from './parse-expression.js';
import { parsePacket } from './parse-packet.js';
import {
  type Action,
  type CallAction,
  type Expression,
  type Script,
  ScriptError,
  type ScriptEvent,
  type ScriptOption,
  type Shell,
  type Time,
} from './script.js';
import { TokenReader, wrong } from './token-reader.js';

export interface ParseSettings {
  /** Definitions from outside, and those that a script may replace: see lex. */
  given?: ReadonlyMap<string, string>;
  known?: ReadonlyMap<string, string>;
  /** Is told the options before anything behind them is looked at. */
  whenOptions?(options: readonly ScriptOption[]): void;
}

/**
 * A script from its text. Throws ScriptError for what is wrong and UnsupportedError for what needs
 * another system.
 */
export function parseScript(path: string, source: string, settings: ParseSettings = {}): Script {
  const reader = new TokenReader(lex(source, settings.given, settings.known));
  const options: ScriptOption[] = [];
  while (reader.is('option')) options.push(parseOption(reader));
  settings.whenOptions?.(options);
  const init = parseShell(reader);
  const events: ScriptEvent[] = [];
  while (startsTime(reader)) events.push(parseEvent(reader));
  if (events.length === 0) reader.fail('an event: a time, then what happens');
  const cleanup = parseShell(reader);
  if (!reader.is('end')) reader.fail('a time');
  checkTimes(events);
  return { path, options, init, events, cleanup };
}

/** A script begins at time 0, and absolute times follow each other. */
function checkTimes(events: readonly ScriptEvent[]): void {
  const { time, line, column } = events[0]!;
  if ((time.kind !== 'absolute' && time.kind !== 'relative') || time.us !== 0) {
    throw new ScriptError(line, 'the first event is at time 0', { column });
  }
  let latestUs = 0;
  for (const event of events) {
    if (event.time.kind !== 'absolute' && event.time.kind !== 'absolute-range') continue;
    const { us } = event.time;
    if (us < latestUs) {
      const message = `${us / 1e6}: time does not run backwards, it was ${latestUs / 1e6} before`;
      throw new ScriptError(event.line, message, { column: event.column });
    }
    latestUs = us;
  }
}

function parseOption(reader: TokenReader): ScriptOption {
  const { text, line } = reader.next();
  const equals = text.indexOf('=');
  if (equals < 0) return { line, name: text.slice(2), value: '' };
  const value = text.slice(equals + 1).replace(/^"([\s\S]*)"$/, '$1');
  return { line, name: text.slice(2, equals), value };
}

function parseShell(reader: TokenReader): Shell | null {
  if (!reader.is('shell')) return null;
  const { text, line } = reader.next();
  return { line, text };
}

function startsTime(reader: TokenReader): boolean {
  return reader.sees('+') || reader.sees('*') || reader.isNumber();
}

/** Seconds as written → whole µs. */
function parseSeconds(reader: TokenReader): number {
  if (!reader.isNumber()) reader.fail('a time in seconds');
  const token = reader.next();
  const us = Math.round(Number(token.text) * 1e6);
  if (us < 0) wrong(token, `${token.text}: time does not run backwards`);
  return us;
}

function parseTime(reader: TokenReader): Time {
  if (reader.accept('*')) return { kind: 'any' };
  const relative = reader.accept('+');
  const us = parseSeconds(reader);
  if (!reader.accept('~')) return { kind: relative ? 'relative' : 'absolute', us };
  if (relative) reader.expect('+');
  const token = reader.peek();
  const endUs = parseSeconds(reader);
  if (endUs < us) wrong(token, 'the range of times ends before it begins');
  return { kind: relative ? 'relative-range' : 'absolute-range', us, endUs };
}

function parseEvent(reader: TokenReader): ScriptEvent {
  const first = reader.peek();
  const time = parseTime(reader);
  let returnsUs: number | null = null;
  if (reader.is('ellipsis')) {
    reader.next();
    const end = reader.peek();
    returnsUs = parseSeconds(reader);
    if ('us' in time && returnsUs < time.us) wrong(end, 'the call returns before it begins');
  }
  const { line: actionLine, column: actionColumn } = reader.peek();
  const action = parseAction(reader, returnsUs);
  const outbound =
    action.kind === 'nothing' || (action.kind === 'packet' && action.direction === 'out');
  if (!outbound && time.kind !== 'relative' && time.kind !== 'absolute') {
    wrong(first, 'only an outbound packet can have a range of times or `*`');
  }
  if (returnsUs !== null && action.kind !== 'call') {
    wrong(first, 'only a system call returns at a time of its own');
  }
  const { line, column } = first;
  return { line, column, actionLine, actionColumn, time, action };
}

function parseAction(reader: TokenReader, returnsUs: number | null): Action {
  if (reader.is('shell')) return { kind: 'shell', text: reader.next().text };
  if (reader.is('code')) return { kind: 'code', text: reader.next().text };
  const connection = parseConnection(reader);
  if (reader.sees('>') && reader.sees('none', 1)) {
    reader.next();
    reader.next();
    return { kind: 'nothing', connection };
  }
  if (reader.sees('<') || reader.sees('>')) return parsePacket(reader, connection);
  if (connection === null && reader.is('word') && reader.sees('(', 1)) {
    return parseCall(reader, returnsUs);
  }
  reader.fail('a packet, a system call, `shell text` or %{ code }%');
}

/** Our own: `@name`. */
function parseConnection(reader: TokenReader): string | null {
  return reader.accept('@') ? reader.expectKind('word', 'the name of a connection').text : null;
}

function parseCall(reader: TokenReader, returnsUs: number | null): CallAction {
  const name = reader.next().text;
  reader.expect('(');
  const args = parseList(reader, ')');
  reader.expect('=');
  const result = parseExpression(reader);
  let errno: string | null = null;
  if (reader.is('word') && /^E[A-Z0-9]+$/.test(reader.peek().text)) {
    errno = reader.next().text;
    if (!reader.sees('(')) reader.fail(`a note in parentheses after ${errno}`);
  }
  const noteFlags = parseNote(reader);
  const connection = parseConnection(reader);
  return {
    ...{ kind: 'call', name, arguments: args, result, errno, noteFlags, returnsUs, connection },
  };
}

/** `(Connection refused)` says nothing; `(flags O_RDWR)` names flags. */
function parseNote(reader: TokenReader): Expression | null {
  if (!reader.accept('(')) return null;
  const flags = reader.accept('flags') ? parseExpression(reader) : null;
  let depth = 1;
  while (depth > 0) {
    if (reader.is('end')) reader.fail('`)`');
    const { text, kind } = reader.next();
    if (kind !== 'mark') continue;
    if (text === '(') depth++;
    else if (text === ')') depth--;
  }
  return flags;
}
