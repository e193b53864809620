/**
 * `tunstack COMMAND ARGS`: the table of commands, the texts of `--help` and `--version`, and the
 * one place where an error becomes words and an exit code. Commands are in a file each.
 */
import { bench } from './bench.js';
import { type Command, EXIT_FAILED, EXIT_OK, EXIT_USAGE, type Io, UsageError } from './command.js';
import { doctor } from './doctor.js';
import { drain } from './drain.js';
import { explain } from './explain.js';
import { nearest } from './flags.js';
import { iperf3 } from './iperf3.js';
import { lab } from './lab.js';
import { lsof } from './lsof.js';
import { nstat } from './nstat.js';
import { packetdrill } from './packetdrill.js';
import { processIo } from './process-io.js';
import { serve } from './serve.js';
import { ss } from './ss.js';
import { trace } from './trace.js';
import { version } from './version.js';

export const COMMANDS: readonly Command[] = [
  serve,
  doctor,
  ss,
  lsof,
  nstat,
  explain,
  trace,
  drain,
  lab,
  bench,
  packetdrill,
  iperf3,
];

/**
 * Runs one command line (without node and script).
 * @returns the exit code; it never throws
 */
export async function main(argv: readonly string[], io: Io = processIo()): Promise<number> {
  const [name, ...rest] = argv;
  try {
    if (name === undefined) {
      throw new UsageError(
        'which command?',
        `one of ${COMMANDS.map((row) => row.name).join(', ')}`,
      );
    }
    if (name === '--help' || name === '-h' || name === 'help') {
      io.out(helpText());
      return EXIT_OK;
    }
    if (name === '--version' || name === '-V' || name === 'version') {
      io.out(`tunstack ${version()}`);
      return EXIT_OK;
    }
    const command = COMMANDS.find((candidate) => candidate.name === name);
    if (command === undefined) throw unknownCommand(name);
    if (rest.includes('--version')) {
      io.out(`tunstack ${version()}`);
      return EXIT_OK;
    }
    return await command.run(rest, io);
  } catch (error) {
    return report(error, io);
  }
}

function unknownCommand(name: string): UsageError {
  const near = nearest(
    name,
    COMMANDS.map((command) => command.name),
  );
  return new UsageError(
    `there is no command "${name}"`,
    near === null ? 'tunstack --help' : `tunstack ${near}`,
  );
}

/** What went wrong, why, and what to type, on stderr; the exit code that goes with it. */
function report(error: unknown, io: Io): number {
  const { message, remedy, exitCode } = describe(error);
  io.err(`tunstack: ${message}`);
  for (const line of remedy.split('\n')) if (line !== '') io.err(`  try: ${line}`);
  return exitCode;
}

function describe(error: unknown): { message: string; remedy: string; exitCode: number } {
  if (error instanceof UsageError) {
    return { message: error.message, remedy: error.remedy, exitCode: EXIT_USAGE };
  }
  if (!(error instanceof Error))
    return { message: String(error), remedy: '', exitCode: EXIT_FAILED };
  // DeviceError, StackError and FailedError carry these; whatever else comes is a mistake of ours,
  // so its stack is shown.
  const { remedy, exitCode } = error as Error & { remedy?: unknown; exitCode?: unknown };
  if (typeof exitCode === 'number') {
    return {
      message: error.message,
      remedy: typeof remedy === 'string' ? remedy : '',
      exitCode,
    };
  }
  return { message: error.stack ?? error.message, remedy: '', exitCode: EXIT_FAILED };
}

function helpText(): string {
  const rows = COMMANDS.map((command) => `  ${command.name.padEnd(14)}${command.summary}`);
  return [
    'tunstack COMMAND [ARGS]',
    '',
    ...rows,
    '',
    '  COMMAND --help says what it takes; --version prints the version.',
    '  Exit codes: 0 fine, 1 failed, 2 usage, 77 missing privilege or device.',
  ].join('\n');
}
