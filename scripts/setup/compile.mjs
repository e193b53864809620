/**
 * dist/: is it what the sources say, and if not, compile. The stamp, written last, holds a
 * fingerprint of every source's path, size and modification time; looking costs milliseconds.
 * Output without a source is removed, so that a deleted test no longer runs. Does not install.
 */
import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { runChild } from './child.mjs';
import { giveTo, giveTreeTo } from './owner.mjs';
import { SetupError } from './setup-error.mjs';

const SOURCES = ['src', 'test'];
const STAMP = join('dist', '.stamp');
const COMPILER = join('node_modules', 'typescript', 'bin', 'tsc');

/**
 * Every file under `directory`, as paths, in a fixed order; a directory that is not there has none.
 */
export function filesUnder(directory) {
  if (!existsSync(directory)) return [];
  const entries = readdirSync(directory, { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath ?? entry.path, entry.name))
    .sort();
}

/** Changes when any source, the compiler's settings or the set of dependencies changes. */
export function sourceFingerprint(root) {
  const hash = createHash('sha256');
  const files = SOURCES.flatMap((name) => filesUnder(join(root, name)));
  for (const file of [...files, join(root, 'tsconfig.json'), join(root, 'package-lock.json')]) {
    const { size, mtimeMs } = statSync(file);
    hash.update(`${relative(root, file)}\0${size}\0${mtimeMs}\n`);
  }
  return `${hash.digest('hex')}\n`;
}

/** True when dist/ is complete and as new as the sources. */
export function isCompiled(root) {
  const stamp = join(root, STAMP);
  return existsSync(stamp) && readFileSync(stamp, 'utf8') === sourceFingerprint(root);
}

/** Removes compiled files whose source is gone. */
export function removeOrphans(root) {
  for (const name of SOURCES) {
    for (const file of filesUnder(join(root, 'dist', name))) {
      const source = relative(join(root, 'dist'), file).replace(/\.(d\.ts|js\.map|js)$/, '.ts');
      if (!existsSync(join(root, source))) rmSync(file);
    }
  }
}

/** Compiles everything and stamps the result; throws SetupError with the compiler's words. */
export async function compile(root, owner) {
  giveTreeTo(owner, join(root, 'dist'));
  rmSync(join(root, STAMP), { force: true });
  // Taken before the compiler reads: a source edited meanwhile makes the next start compile again.
  const fingerprint = sourceFingerprint(root);
  const argv = [process.execPath, join(root, COMPILER), '-p', root, '--pretty', 'false'];
  const { code, output } = await runChild(argv, { cwd: root, owner });
  if (code !== 0) {
    throw new SetupError('the sources do not compile.', output.trim() || `tsc ended with ${code}.`);
  }
  removeOrphans(root);
  writeFileSync(join(root, STAMP), fingerprint);
  giveTo(owner, join(root, STAMP));
}
