/**
 * A script from its text to a verdict: options and definitions of the script and of the command
 * line, the run, and what its end means. Event after event is interpreter.ts.
 */
import { Interpreter, type InterpreterSettings } from './interpreter.js';
import { checkNeeds } from './needs.js';
import { parseScript } from './parser.js';
import { type RunOptions, runOptions } from './run-options.js';
import {
  type Comparison,
  type Script,
  ScriptError,
  type ScriptOption,
  UnsupportedError,
} from './script.js';

export type Outcome =
  | {
      verdict: 'ok';
      printed: readonly string[];
      /** Failures that the script says are not fatal. */
      survived: readonly string[];
      /** Packets that nobody has expected, where that is no failure. */
      leftover: readonly string[];
    }
  | Failure
  /** The script is for another system: what it needs. */
  | { verdict: 'skipped'; line: number; reason: string };

export interface Failure {
  verdict: 'failed';
  line: number;
  /** From 1. */
  column: number;
  message: string;
  comparison: Comparison | null;
  printed: readonly string[];
  survived: readonly string[];
}

export interface RunSettings extends InterpreterSettings {
  /** Over those of the script: name and value. */
  options?: readonly ScriptOption[];
  /** User definitions, see lex. */
  defines?: ReadonlyMap<string, string>;
}

/**
 * What the runner of the kernel's selftests defines for IPv4: a script that is run without it means
 * the same. The cookies are those of the key and the addresses that the suites use.
 */
const KNOWN_DEFINES: ReadonlyMap<string, string> = new Map([
  ['TFO_COOKIE', '3021b9d889017eeb'],
  ['TFO_COOKIE_ZERO', 'b7c12350a90dc8f5'],
  ['CMSG_LEVEL_IP', 'SOL_IP'],
  ['CMSG_TYPE_RECVERR', 'IP_RECVERR'],
]);

/** Runs a script from its text. Errors of the script are a failure with its line. */
export function runScript(path: string, source: string, settings: RunSettings = {}): Outcome {
  return outcomeOf(() => parseWithDefines(path, source, settings), settings);
}

/** Runs a script that has been parsed. */
export function runParsed(script: Script, settings: RunSettings = {}): Outcome {
  return outcomeOf(() => script, settings);
}

function outcomeOf(parse: () => Script, settings: RunSettings): Outcome {
  let interpreter: Interpreter | null = null;
  let script: Script | null = null;
  try {
    script = parse();
    const run = runOptions([...script.options, ...(settings.options ?? [])]);
    checkNeeds(script);
    interpreter = new Interpreter(script, run, settings);
    interpreter.play();
    const leftover = judgeLeftover(script, run, interpreter.leftover());
    interpreter.cleanUp();
    const { survived } = interpreter;
    return { verdict: 'ok', printed: interpreter.code.printed, survived, leftover };
  } catch (error) {
    if (error instanceof UnsupportedError) {
      return { verdict: 'skipped', line: error.line, reason: error.message };
    }
    if (!(error instanceof ScriptError)) throw error;
    const printed = interpreter?.code.printed ?? [];
    const column = columnOf(error, script);
    const { line, message, comparison } = error;
    const survived = interpreter?.survived ?? [];
    return { verdict: 'failed', line, column, message, comparison, printed, survived };
  } finally {
    interpreter?.release();
  }
}

/** A script of the public suites: they all begin with the suite's settings. */
function isOfPublicSuite(script: Script): boolean {
  return /\b(?:defaults\.sh|set_sysctls\.py)\b/.test(script.init?.text ?? '');
}

function judgeLeftover(
  script: Script,
  run: RunOptions,
  left: readonly string[],
): readonly string[] {
  const mode = run.leftover ?? (isOfPublicSuite(script) ? 'note' : 'fail');
  if (left.length === 0 || mode === 'note') return left;
  const { line } = script.events.at(-1)!;
  const more = left.length > 1 ? ` and ${left.length - 1} more` : '';
  throw new ScriptError(line, `expected nothing more at the end, got ${left[0]}${more}`);
}

/** Where on its line the trouble is: the action, or its time when only that is wrong. */
function columnOf(error: ScriptError, script: Script | null): number {
  if (error.column !== null) return error.column;
  const event = script?.events.find(({ line }) => line === error.line);
  if (event === undefined) return 1;
  const timeIsWrong = error.comparison?.late === true || event.actionLine !== event.line;
  return timeIsWrong ? event.column : event.actionColumn;
}

/**
 * A script from its text, with what is defined for all of them. It may bring definitions of its
 * own; those from outside win. Throws ScriptError and UnsupportedError.
 */
export function parseWithDefines(path: string, source: string, settings: RunSettings = {}): Script {
  return parseScript(path, source, {
    given: settings.defines ?? new Map(),
    known: KNOWN_DEFINES,
    // What a script for another system says in another language need not be understood.
    whenOptions: (options) => {
      runOptions([...options, ...(settings.options ?? [])]);
    },
  });
}
