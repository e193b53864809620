/**
 * node_modules: is it what package-lock.json says, and if not, make it so with `npm ci`. Works
 * offline when npm's cache has the packages, and never runs install scripts (none of ours needs
 * one). Does not compile.
 */
import { createHash } from 'node:crypto';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { runChild } from './child.mjs';
import { giveTo, giveTreeTo } from './owner.mjs';
import { SetupError } from './setup-error.mjs';

/**
 * Written last: its presence says that the install was finished, its content for which lock file.
 */
const STAMP = join('node_modules', '.tunstack-stamp');

function readOr(path, fallback) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return fallback;
  }
}

/** What the stamp must hold: the lock file's hash and the platform the native parts are for. */
export function installFingerprint(root) {
  const hash = createHash('sha256').update(readFileSync(join(root, 'package-lock.json')));
  return `${hash.digest('hex')} ${process.platform} ${process.arch}\n`;
}

/** Does a package of the lock file belong on this machine? */
export function belongsHere(entry, platform, arch, libc) {
  const matches = (list, value) =>
    list === undefined || (list.includes(value) && !list.includes(`!${value}`));
  return matches(entry.os, platform) && matches(entry.cpu, arch) && matches(entry.libc, libc);
}

function libcName() {
  return process.report.getReport().header.glibcVersionRuntime === undefined ? 'musl' : 'glibc';
}

/**
 * True when npm's own record of node_modules (written by npm at the end) has every package of the
 * lock file.
 */
export function recordIsComplete(lock, record, platform, arch, libc) {
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (path === '' || !belongsHere(entry, platform, arch, libc)) continue;
    if (record.packages[path]?.version !== entry.version) return false;
  }
  return true;
}

function directDependencies(root) {
  const { dependencies = {}, devDependencies = {} } = JSON.parse(
    readFileSync(join(root, 'package.json'), 'utf8'),
  );
  return [...Object.keys(dependencies), ...Object.keys(devDependencies)];
}

/** 'ready'; 'unstamped' = complete, by somebody else's npm; 'missing' = must be installed. */
export function installState(root) {
  const present = (name) => existsSync(join(root, 'node_modules', name, 'package.json'));
  if (!directDependencies(root).every(present)) return 'missing';
  if (readOr(join(root, STAMP), '') === installFingerprint(root)) return 'ready';
  try {
    const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8'));
    const record = JSON.parse(
      readFileSync(join(root, 'node_modules', '.package-lock.json'), 'utf8'),
    );
    const complete = recordIsComplete(lock, record, process.platform, process.arch, libcName());
    return complete ? 'unstamped' : 'missing';
  } catch {
    return 'missing';
  }
}

/** How to call npm: the one that called us, else the one beside node, else the one on PATH. */
export function npmCommand(environment, nodePath) {
  const caller = environment['npm_execpath'];
  const beside = join(dirname(nodePath), '..', 'lib', 'node_modules', 'npm', 'bin', 'npm-cli.js');
  for (const script of [caller, beside]) {
    if (script?.endsWith('npm-cli.js') && existsSync(script)) {
      return [nodePath, script];
    }
  }
  return ['npm'];
}

const NPM_CI = [
  ...['ci', '--include=dev', '--include=optional', '--prefer-offline', '--no-audit', '--no-fund'],
  ...['--ignore-scripts', '--loglevel=error', '--update-notifier=false', '--fetch-retries=2'],
  ...['--fetch-retry-mintimeout=500', '--fetch-retry-maxtimeout=2000'],
];

/** What, why and what to do for a failed `npm ci` whose output is given. */
export function explainInstallFailure(output, code) {
  const lines = output.trim().split('\n').slice(-12).join('\n');
  if (code === 127) {
    return new SetupError(
      `npm could not be started: ${lines}`,
      'Install npm (it comes with Node), or run `npm ci` yourself and try again.',
    );
  }
  if (
    /EAI_AGAIN|ENOTFOUND|ENETUNREACH|ECONNREFUSED|ETIMEDOUT|ENOTCACHED|EHOSTUNREACH/.test(output)
  ) {
    return new SetupError(
      "the dependencies could not be installed: the npm registry can't be reached and npm's " +
        'cache does not hold them all.',
      'Connect once and run it again, or copy node_modules from a machine of the same kind.\n' +
        lines,
    );
  }
  if (/ENOSPC/.test(output)) {
    return new SetupError('the dependencies could not be installed: the disk is full.', lines);
  }
  if (/EACCES|EPERM|EROFS/.test(output)) {
    return new SetupError(
      'the dependencies could not be installed: npm may not write there.',
      `Look who owns node_modules and npm's cache (npm config get cache).\n${lines}`,
    );
  }
  return new SetupError(`the dependencies could not be installed: npm ended with ${code}.`, lines);
}

/**
 * Records that node_modules is complete; a disk that cannot be written only costs time at the next
 * start.
 */
export function stampInstall(root, owner) {
  try {
    writeFileSync(join(root, STAMP), installFingerprint(root));
    giveTo(owner, join(root, STAMP));
  } catch {
    // Read-only or foreign node_modules: complete all the same.
  }
}

/** Runs `npm ci` in `root` as the owner and stamps the result; throws SetupError. */
export async function install(root, owner) {
  giveTreeTo(owner, join(root, 'node_modules'));
  rmSync(join(root, STAMP), { force: true });
  const argv = [...npmCommand(process.env, process.execPath), ...NPM_CI];
  const { code, output } = await runChild(argv, { cwd: root, owner });
  if (code !== 0) throw explainInstallFailure(output, code);
  stampInstall(root, owner);
}
