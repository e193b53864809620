/**
 * stdout and stderr of this process as `Io`, written synchronously: a line is out when the call
 * returns, also from a worker thread whose event loop never runs and also just before the process
 * leaves.
 */
import { writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { Io } from './command.js';

const STDOUT = 1;
const STDERR = 2;
/** Nobody rings it: waiting on it is a pause. */
const NEVER = new Int32Array(new SharedArrayBuffer(4));
const PIPE_FULL_WAIT_MS = 1;

export function processIo(): Io {
  let gone = false;
  return {
    out: (line) => {
      if (!writeLine(STDOUT, line)) gone = true;
    },
    err: (line) => {
      writeLine(STDERR, line);
    },
    gone: () => gone,
    env: process.env,
    color: isatty(STDOUT) && !process.env['NO_COLOR'],
  };
}

/** One line on stderr, from any thread. */
export function writeStderr(line: string): void {
  writeLine(STDERR, line);
}

/** False: the reader has gone. */
function writeLine(file: number, line: string): boolean {
  let rest = Buffer.from(`${line}\n`);
  while (rest.length > 0) {
    try {
      rest = rest.subarray(writeSync(file, rest));
    } catch (error) {
      // A pipe that is full for the moment; a reader that has gone (EPIPE) wants no more lines.
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return false;
      Atomics.wait(NEVER, 0, 0, PIPE_FULL_WAIT_MS);
    }
  }
  return true;
}
