/**
 * Flags of a command from one table: parsing (node:util parseArgs, strict), the help text, and for
 * an unknown flag the nearest known one. Values stay strings here; what they mean is checked by
 * whoever owns the table.
 */
import { parseArgs } from 'node:util';
import { UsageError } from './command.js';

export interface Flag {
  /** Without the dashes. */
  readonly name: string;
  /** One letter, without the dash. */
  readonly short?: string;
  /** Placeholder of its value in the help; absent = the flag takes none. */
  readonly value?: string;
  readonly repeatable?: boolean;
  /** What it does, with its default. */
  readonly text: string;
}

export interface ParsedFlags {
  /** The last value of each flag that takes one and was given. */
  readonly values: ReadonlyMap<string, string>;
  /** All values of repeatable flags, in order. */
  readonly lists: ReadonlyMap<string, readonly string[]>;
  /** Flags without value that were given. */
  readonly given: ReadonlySet<string>;
  readonly positionals: readonly string[];
}

export const HELP_FLAG: Flag = { name: 'help', short: 'h', text: 'this text' };

/**
 * @param positionals how many arguments beside flags the command takes at most
 * Throws UsageError for an unknown flag, a missing or an unexpected value, too many arguments.
 */
export function parseFlags(
  command: string,
  flags: readonly Flag[],
  argv: readonly string[],
  positionals = 0,
): ParsedFlags {
  const { tokens } = parseArgs({
    args: [...argv],
    options: Object.fromEntries(flags.map((flag) => [flag.name, parseArgsOption(flag)])),
    strict: false,
    allowPositionals: true,
    tokens: true,
  });
  const values = new Map<string, string>();
  const lists = new Map<string, string[]>();
  const given = new Set<string>();
  const rest: string[] = [];
  for (const token of tokens) {
    if (token.kind === 'positional') rest.push(token.value);
    if (token.kind !== 'option') continue;
    const flag = flags.find((candidate) => candidate.name === token.name);
    if (flag === undefined) throw unknownFlag(command, flags, token.rawName);
    takeOption(command, flag, token.value, { values, lists, given });
  }
  if (rest.length > positionals) {
    throw new UsageError(
      `${command}: unexpected argument "${rest[positionals]}"`,
      `tunstack ${command} --help`,
    );
  }
  return { values, lists, given, positionals: rest };
}

function parseArgsOption(flag: Flag): { type: 'string' | 'boolean'; short?: string } {
  const type = flag.value === undefined ? 'boolean' : 'string';
  return flag.short === undefined ? { type } : { type, short: flag.short };
}

function takeOption(
  command: string,
  flag: Flag,
  value: string | undefined,
  into: { values: Map<string, string>; lists: Map<string, string[]>; given: Set<string> },
): void {
  if (flag.value === undefined) {
    if (value !== undefined) {
      throw new UsageError(
        `${command}: --${flag.name} takes no value, but "${value}" was given`,
        `tunstack ${command} --${flag.name}`,
      );
    }
    into.given.add(flag.name);
    return;
  }
  // A value that looks like a flag is a forgotten value: parseArgs takes `--port --json` as port
  // "--json".
  if (value === undefined || value.startsWith('--')) {
    throw new UsageError(
      `${command}: --${flag.name} needs a value`,
      `tunstack ${command} --${flag.name} ${flag.value}`,
    );
  }
  into.values.set(flag.name, value);
  if (flag.repeatable) into.lists.set(flag.name, [...(into.lists.get(flag.name) ?? []), value]);
}

function unknownFlag(command: string, flags: readonly Flag[], rawName: string): UsageError {
  const names = flags.map((flag) => `--${flag.name}`);
  const near = nearest(rawName, names);
  return new UsageError(
    `${command}: unknown flag ${rawName}`,
    near === null ? `tunstack ${command} --help` : `tunstack ${command} ${near}`,
  );
}

/**
 * The candidate that takes the fewest edits from `word`, null when even that is more than a third
 * of its length + 1.
 */
export function nearest(word: string, candidates: readonly string[]): string | null {
  let best: string | null = null;
  let bestDistance = Math.floor(word.length / 3) + 2;
  for (const candidate of candidates) {
    const distance = editDistance(word, candidate);
    if (distance < bestDistance) {
      bestDistance = distance;
      best = candidate;
    }
  }
  return best;
}

/** Levenshtein distance. */
export function editDistance(a: string, b: string): number {
  let previous = Array.from({ length: b.length + 1 }, (_, i) => i);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitute = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(substitute, previous[j]! + 1, row[j - 1]! + 1));
    }
    previous = row;
  }
  return previous[b.length]!;
}

/** The table as help text, one flag a line. */
export function flagHelp(flags: readonly Flag[]): string {
  const heads = flags.map((flag) => {
    const short = flag.short === undefined ? '' : `-${flag.short}, `;
    return `${short}--${flag.name}${flag.value === undefined ? '' : ` ${flag.value}`}`;
  });
  const width = Math.max(...heads.map((head) => head.length)) + 2;
  return flags.map((flag, i) => `  ${heads[i]!.padEnd(width)}${flag.text}`).join('\n');
}
