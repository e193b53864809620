/**
 * `tunstack packetdrill FILE…`: runs packet scripts in memory on a virtual clock, a line a script
 * and a sum at the end. Exit code 1 when one failed; 2 when a file cannot be read or a flag is
 * wrong.
 */
import { readFileSync } from 'node:fs';
import { explainFailure } from '../packetdrill/explain.js';
import { type Outcome, runScript } from '../packetdrill/run.js';
import { runOptions } from '../packetdrill/run-options.js';
import { ScriptError, type ScriptOption, UnsupportedError } from '../packetdrill/script.js';
import { type Command, EXIT_FAILED, EXIT_OK, type Io, UsageError } from './command.js';
import { type Flag, flagHelp, HELP_FLAG, type ParsedFlags, parseFlags } from './flags.js';

const US = 'µs that an event may be early or late (4000)';
/** What only arranges the original's network and memory. */
const NO_EFFECT = 'taken and of no effect';
/** Passed on to the scripts; those of the command line win over a script's own. */
const RUN_FLAGS: readonly Flag[] = [
  { name: 'tolerance_usecs', value: 'N', text: US },
  { name: 'tolerance_percent', value: 'F', text: 'the same as share of the waiting time (12.5)' },
  { name: 'mtu', value: 'N', text: "the device's MTU (1500)" },
  { name: 'local_ip', value: 'IP', text: "the stack's address (192.168.0.1)" },
  { name: 'remote_ip', value: 'IP', text: "the peer's address (192.0.2.1)" },
  { name: 'bind_port', value: 'P', text: 'port that bind() binds to (8080)' },
  { name: 'connect_port', value: 'P', text: 'port that connect() goes to (8080)' },
  { name: 'tcp_ts_tick_usecs', value: 'N', text: 'compare timestamps with this tick (0: do not)' },
  { name: 'tcp_ts_ecr_scaled', text: 'an ecr that was never sent is computed' },
  { name: 'strict_segments', text: 'an expected packet is one segment' },
  { name: 'non_fatal', value: 'KINDS', text: 'packet,syscall: report these and go on' },
  { name: 'ip_version', value: 'V', text: 'ipv4' },
  { name: 'init_scripts', value: 'FILES', text: "as shell text before the script's own" },
  { name: 'leftover', value: 'HOW', text: 'unexpected packets at the end: fail, or only note' },
  { name: 'mss', value: 'N', text: NO_EFFECT },
  { name: 'gateway_ip', value: 'IP', text: NO_EFFECT },
  { name: 'netmask_ip', value: 'IP', text: NO_EFFECT },
  { name: 'send_omit_free', text: NO_EFFECT },
  { name: 'is_anyip', text: NO_EFFECT },
];
const FLAGS: readonly Flag[] = [
  ...RUN_FLAGS,
  {
    name: 'define',
    short: 'D',
    value: 'SYM=VALUE',
    repeatable: true,
    text: 'replaces the word SYM in the scripts',
  },
  { name: 'profile', value: 'V', text: 'kernel to be like: 6.18 or 5.0 (6.18)' },
  { name: 'seed', value: 'N', text: "of the stack's dice (1)" },
  { name: 'verbose', short: 'v', text: 'also what the scripts print' },
  { name: 'json', text: 'one object a script, and one with the sums' },
  HELP_FLAG,
];

const MANY_FILES = 100_000;
/** Options on the command line stand on no line of a script. */
const NO_LINE = 0;

function asOptions(flags: ParsedFlags): ScriptOption[] {
  const options = RUN_FLAGS.flatMap(({ name }): ScriptOption[] => {
    const value = flags.values.get(name) ?? (flags.given.has(name) ? '' : null);
    return value === null ? [] : [{ line: NO_LINE, name, value }];
  });
  try {
    runOptions(options);
  } catch (error) {
    if (!(error instanceof ScriptError || error instanceof UnsupportedError)) throw error;
    throw new UsageError(`packetdrill: ${error.message}`, 'tunstack packetdrill --help');
  }
  return options;
}

function asDefines(texts: readonly string[]): Map<string, string> {
  return new Map(
    texts.map((text): [string, string] => {
      const match = /^(\w+)=([\s\S]+)$/.exec(text);
      if (match !== null) return [match[1]!, match[2]!];
      throw new UsageError(`packetdrill: --define ${text}: SYM=VALUE is meant`, '-D MSS=1460');
    }),
  );
}

function readScript(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    throw new UsageError(`packetdrill: ${reason}`, 'tunstack packetdrill test/packetdrill/*/*.pkt');
  }
}

/** The line of one script. */
function outcomeLine(path: string, outcome: Outcome): string {
  switch (outcome.verdict) {
    case 'ok':
      return `${path} … ok`;
    case 'failed':
      return `${path}:${outcome.line}: ${outcome.message}`;
    case 'skipped':
      return `${path} … skipped (line ${outcome.line} needs ${outcome.reason})`;
  }
}

/** What there is to say beside the line of a script. */
function narrate(path: string, source: string, outcome: Outcome, verbose: boolean, io: Io): void {
  if (outcome.verdict === 'skipped') return;
  if (verbose) for (const line of outcome.printed) io.err(line);
  for (const line of outcome.survived) io.err(`${path}: ${line}`);
  if (outcome.verdict === 'failed') {
    for (const line of explainFailure(path, source, outcome)) io.err(line);
    return;
  }
  const { length } = outcome.leftover;
  if (length === 0 || !verbose) return;
  io.err(`${path}: ${length} packets at the end that nobody expected: ${outcome.leftover[0]}, …`);
}

function positive(flags: ParsedFlags, name: string, otherwise: number): number {
  const text = flags.values.get(name);
  if (text === undefined) return otherwise;
  if (/^\d+$/.test(text)) return Number(text);
  throw new UsageError(`packetdrill: --${name} ${text}: a number is meant`, `--${name} 1`);
}

export const packetdrill: Command = {
  name: 'packetdrill',
  summary: 'run packet scripts in memory on a virtual clock',
  async run(argv: readonly string[], io: Io): Promise<number> {
    const flags = parseFlags('packetdrill', FLAGS, argv, MANY_FILES);
    if (flags.given.has('help')) {
      const usage = `tunstack packetdrill [FLAGS] FILE.pkt…: ${packetdrill.summary}`;
      io.out(`${usage}\n\n${flagHelp(FLAGS)}`);
      return EXIT_OK;
    }
    if (flags.positionals.length === 0) {
      throw new UsageError('packetdrill: which scripts?', 'tunstack packetdrill FILE.pkt');
    }
    const profile = flags.values.get('profile') ?? '6.18';
    if (profile !== '6.18' && profile !== '5.0') {
      throw new UsageError(`packetdrill: --profile ${profile}: 6.18 or 5.0`, '--profile 6.18');
    }
    const options = asOptions(flags);
    const defines = asDefines(flags.lists.get('define') ?? []);
    const seed = positive(flags, 'seed', 1);
    const json = flags.given.has('json');
    const sums = { passed: 0, failed: 0, skipped: 0 };
    for (const path of flags.positionals) {
      const source = readScript(path);
      const outcome = runScript(path, source, { options, defines, profile, seed });
      sums[outcome.verdict === 'ok' ? 'passed' : outcome.verdict]++;
      if (json) io.out(JSON.stringify({ file: path, ...outcome }));
      else io.out(outcomeLine(path, outcome));
      narrate(path, source, outcome, flags.given.has('verbose'), io);
    }
    const { passed, failed, skipped } = sums;
    if (json) io.out(JSON.stringify(sums));
    else io.out(`${passed} passed, ${failed} failed, ${skipped} skipped`);
    return failed > 0 ? EXIT_FAILED : EXIT_OK;
  },
};
