/**
 * Runs one child of the set-up: as the clone's owner, output kept for when it fails, and signals
 * passed on: a set-up that is interrupted leaves no npm or compiler behind.
 */
import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { childEnvironment } from './owner.mjs';

/**
 * @param {string[]} argv command and arguments
 * @param {{ cwd: string, owner: import('./owner.mjs').Owner | null, environment?: NodeJS.ProcessEnv
 *   }} options
 * @returns {Promise<{ code: number, output: string }>} code 127 = could not be started
 */
export function runChild(argv, { cwd, owner, environment = process.env }) {
  const identity = owner === null ? {} : { uid: owner.uid, gid: owner.gid };
  return new Promise((resolve) => {
    const child = spawn(argv[0], argv.slice(1), {
      cwd,
      env: childEnvironment(environment, owner),
      stdio: ['ignore', 'pipe', 'pipe'],
      ...identity,
    });
    let output = '';
    const keep = (chunk) => {
      output = (output + chunk).slice(-100_000);
    };
    child.stdout.setEncoding('utf8').on('data', keep);
    child.stderr.setEncoding('utf8').on('data', keep);
    const stopPassing = passSignals(child);
    child.once('error', (error) => {
      stopPassing();
      resolve({ code: 127, output: `${argv[0]}: ${error.message}` });
    });
    child.once('close', (code, signal) => {
      stopPassing();
      resolve({ code: code ?? 128 + constants.signals[signal], output });
    });
  });
}

/**
 * Passes SIGINT, SIGTERM and SIGHUP on to `child`, and ends as they would have ended us once the
 * child is gone.
 */
export function passSignals(child) {
  const handlers = ['SIGINT', 'SIGTERM', 'SIGHUP'].map((signal) => {
    const handler = () => {
      child.once('exit', () => process.exit(128 + constants.signals[signal]));
      child.kill(signal);
    };
    process.on(signal, handler);
    return [signal, handler];
  });
  return () => {
    for (const [signal, handler] of handlers) process.off(signal, handler);
  };
}
