/** A command line without a process: what it says, line by line, and its exit code. */
import type { Io } from '../../src/app/command.js';
import { main } from '../../src/app/main.js';

/** What a command says, to whom it is said. */
export function listening(color = false): { io: Io; out: string[]; err: string[] } {
  const out: string[] = [];
  const err: string[] = [];
  const io: Io = {
    out: (line) => out.push(line),
    err: (line) => err.push(line),
    env: {},
    color,
  };
  return { io, out, err };
}

/** Runs one command line and collects what it says. */
export async function run(...argv: string[]): Promise<{ code: number; out: string; err: string }> {
  const { io, out, err } = listening();
  const code = await main(argv, io);
  return { code, out: out.join('\n'), err: err.join('\n') };
}
