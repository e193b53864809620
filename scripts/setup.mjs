/**
 * All that a fresh clone needs before anything runs: dependencies, then compiled code, one line on
 * stderr a step, and nothing at all (a few milliseconds) when both are there. Two at once take
 * turns. An installed package has neither sources nor need of this.
 */
import { accessSync, constants, existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { compile, isCompiled } from './setup/compile.mjs';
import { install, installState, stampInstall } from './setup/install.mjs';
import { withLock } from './setup/lock.mjs';
import { cloneOwner, giveTo } from './setup/owner.mjs';
import { SetupError } from './setup/setup-error.mjs';

function say(text) {
  process.stderr.write(`tunstack: ${text}\n`);
}

/** True in a clone; false in an installed package, which has no sources. */
export function isClone(root) {
  return existsSync(join(root, 'tsconfig.json')) && existsSync(join(root, 'src'));
}

/** Throws a SetupError when the set-up could not write `path` (or create it). */
export function requireWritable(root, name) {
  const path = join(root, name);
  const target = existsSync(path) ? path : root;
  try {
    accessSync(target, constants.W_OK);
  } catch (error) {
    throw unwritable(target, error.code);
  }
}

function unwritable(path, code) {
  if (code === 'EROFS') {
    return new SetupError(
      `the set-up has to write ${path}, but that disk is read-only.`,
      'Run `npm run build` once where it can be written, or copy the clone to another disk.',
    );
  }
  return new SetupError(
    `the set-up has to write ${path}, but it belongs to somebody else ` +
      '(from an earlier run as root?).',
    `sudo chown -R "$(id -un)" '${path}'     # or use a clone of your own`,
  );
}

async function bringUpToDate(root, owner, wantCompiled) {
  const started = performance.now();
  const state = installState(root);
  if (state === 'missing') {
    requireWritable(root, 'node_modules');
    say(`installing the dependencies${owner === null ? '' : ` as ${owner.name}`} (npm ci) …`);
    await install(root, owner);
  } else if (state === 'unstamped') {
    stampInstall(root, owner);
  }
  if (wantCompiled && !isCompiled(root)) {
    requireWritable(root, 'dist');
    say('compiling (tsc) …');
    await compile(root, owner);
  }
  say(`set up in ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

/**
 * Installs and compiles what is missing in the clone `root`; throws SetupError.
 * @param {{ compiled?: boolean }} options compiled: false = dependencies are enough
 */
export async function setUp(root, { compiled = true } = {}) {
  if (!isClone(root)) return;
  const ready = () => installState(root) !== 'missing' && (!compiled || isCompiled(root));
  if (ready()) return;
  const owner = cloneOwner(root);
  const directory = join(root, '.build');
  requireWritable(root, '.build');
  if (!existsSync(directory)) {
    mkdirSync(directory, { recursive: true });
    giveTo(owner, directory);
  }
  const work = async () => {
    if (!ready()) await bringUpToDate(root, owner, compiled);
  };
  const onWait = () => say('waiting for another set-up of this clone to finish …');
  await withLock(join(directory, 'setup.lock'), work, { owner, onWait });
}
