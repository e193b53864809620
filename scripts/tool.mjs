/** Runs a development tool with our standard streams, signals passed on. */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { passSignals } from './setup/child.mjs';

/** Its exit code; 1 when it could not be started. */
export function tool(argv, cwd) {
  return new Promise((resolve) => {
    const child = spawn(argv[0], argv.slice(1), { cwd, stdio: 'inherit' });
    const stopPassing = passSignals(child);
    child.once('error', (error) => {
      stopPassing();
      process.stderr.write(`tunstack: ${argv[0]}: ${error.message}\n`);
      resolve(1);
    });
    child.once('close', (code, signal) => {
      stopPassing();
      resolve(code ?? 128 + constants.signals[signal]);
    });
  });
}
