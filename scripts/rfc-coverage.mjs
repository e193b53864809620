/**
 * `node scripts/run.mjs rfc`: writes docs/RFC-COVERAGE.md from the tags in src and test. What is a
 * tag and what the document says is test/rfc/coverage.ts, which must have been compiled.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

/** Writes the document; `compiled` is the folder that tsc wrote to. The exit code. */
export async function writeCoverage(root, compiled = join(root, 'dist')) {
  const module = pathToFileURL(join(compiled, 'test', 'rfc', 'coverage.js')).href;
  const { collectTags, DOCUMENT, findings, renderCoverage, taggedFiles } = await import(module);
  const tags = collectTags(taggedFiles(root));
  writeFileSync(join(root, DOCUMENT), renderCoverage(tags));
  const open = findings(tags).filter(({ status }) => status === 'open' || status === 'unmet');
  for (const { requirement, status } of open) {
    const [id, section, what] = requirement;
    process.stdout.write(`${status}: ${id} (${section}) ${what}\n`);
  }
  process.stdout.write(`wrote ${DOCUMENT}\n`);
  return 0;
}
