/** The version of this package, as its package.json says. */
import { existsSync, readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

/** Looks for the package.json above the compiled file, however deep the output lies. */
export function version(): string {
  let directory = dirname(fileURLToPath(import.meta.url));
  while (!existsSync(join(directory, 'package.json'))) {
    const above = dirname(directory);
    if (above === directory) return 'unknown';
    directory = above;
  }
  const manifest: { version: string } = JSON.parse(
    readFileSync(join(directory, 'package.json'), 'utf8'),
  );
  return manifest.version;
}
