/**
 * Where the repository is, for tests that look at its files; they run compiled, from somewhere
 * below it.
 */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

function findRoot(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, 'package.json'))) {
    if (directory === '/') throw new Error('no package.json above this file');
    directory = dirname(directory);
  }
  return directory;
}

/** Absolute path of the directory that holds package.json. */
export const ROOT: string = findRoot();
