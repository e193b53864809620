/**
 * What a command is, where it may write, and how it says that it was asked wrongly. Commands write
 * through `Io`, so that tests can read what they say: data on `out`, narration on `err`.
 */

export const EXIT_OK = 0;
export const EXIT_FAILED = 1;
export const EXIT_USAGE = 2;
/** Missing privilege or device. */
export const EXIT_PRIVILEGE = 77;
/** Left by a second SIGINT, as a shell reports a death by signal 2. */
export const EXIT_INTERRUPTED = 130;

export interface Io {
  /** One line of data, without its newline. */
  out(line: string): void;
  /** One line of narration. */
  err(line: string): void;
  /** Nobody reads `out` any more (`| head` has left). Absent = somebody always does. */
  gone?(): boolean;
  readonly env: NodeJS.ProcessEnv;
  /** Lines on `out` may carry colour: a terminal, and NO_COLOR is not set. */
  readonly color: boolean;
}

export interface Command {
  readonly name: string;
  /** One line for the list of commands. */
  readonly summary: string;
  /**
   * @param argv what follows the command's name. @returns the exit code. Throws UsageError or
   * FailedError
   */
  run(argv: readonly string[], io: Io): Promise<number>;
}

/** The command line is wrong: says what, why, and what to type. Exit code 2. */
export class UsageError extends Error {
  readonly remedy: string;

  /** @param message what is wrong and why; @param remedy what to type instead, '' = see --help */
  constructor(message: string, remedy: string) {
    super(message);
    this.name = 'UsageError';
    this.remedy = remedy;
  }
}

/** The command could not do its work. */
export class FailedError extends Error {
  readonly remedy: string;
  readonly exitCode: number;

  constructor(message: string, remedy: string, exitCode: number = EXIT_FAILED) {
    super(message);
    this.name = 'FailedError';
    this.remedy = remedy;
    this.exitCode = exitCode;
  }
}
