/** Users' modules: what is read, what is refused, and what is said about it. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect } from 'chai';
import type { SelectorRequest } from '../../src/reuseport/selector-request.js';
import { loadSelector } from '../../src/stack/load-selector.js';

const LOADER = fileURLToPath(new URL('../../src/stack/load-selector.js', import.meta.url));

describe('stack/load-selector', () => {
  let directory: string;

  before(() => {
    directory = mkdtempSync(join(tmpdir(), 'tunstack-selector-'));
  });

  after(() => rmSync(directory, { recursive: true }));

  function module(name: string, text: string): string {
    const path = join(directory, name);
    writeFileSync(path, text);
    return path;
  }

  function refusal(path: string): { message: string; code?: unknown } {
    try {
      loadSelector(path);
    } catch (error) {
      return error as Error;
    }
    throw new Error(`${path} was taken`);
  }

  const good: [string, string][] = [
    ['es.mjs', 'export default () => 3;'],
    ['es-by-syntax.js', 'export default function pick() { return 3; }'],
    ['common.cjs', 'module.exports = () => 3;'],
    ['common.js', 'module.exports = () => 3;'],
    ['compiled.cjs', 'exports.__esModule = true; exports.default = () => 3;'],
    ['imports.mjs', "import os from 'node:os'; export default () => os.EOL.length + 2;"],
    ['wähle & pick.mjs', 'export default () => 3;'],
  ];
  for (const [name, text] of good) {
    it(`takes ${name}`, () => {
      expect(loadSelector(module(name, text))({} as SelectorRequest)).to.equal(3);
    });
  }

  it('takes the example of this repository', () => {
    const selector = loadSelector(resolve('examples/selectors/by-subnet.js'));
    const ages = [0, 0, 0];
    const request = { saddr: 0, members: 3, heartbeatAgeMs: (i: number) => ages[i]! };
    const pick = (saddr: number): number =>
      selector({ ...request, saddr } as unknown as SelectorRequest);
    const subnets = Array.from({ length: 300 }, (_, i) => (0xc0a80000 + i * 256) >>> 0);
    const counts = [0, 0, 0];
    for (const subnet of subnets) {
      const index = pick(subnet + 1);
      expect(pick(subnet + 254)).to.equal(index);
      counts[index]!++;
    }
    expect(Math.min(...counts)).to.be.above(50);
    ages.fill(1001);
    expect(pick(1)).to.equal(-1);
  });

  const bad: [string, string, RegExp][] = [
    ['await.mjs', 'await 1; export default () => 1;', /^it has a top-level await, .* cannot wait/],
    ['syntax.mjs', 'export default () => 1 +', /^SyntaxError: .*; `node --check \/.*syntax\.mjs`/],
    ['named.mjs', 'export const pick = () => 1;', /default export.*module\.exports.*function/],
    ['number.cjs', 'module.exports = 5;', /function/],
    ['nothing.cjs', '', /function/],
    ['null.cjs', 'module.exports = null;', /function/],
    ['throws.mjs', "throw new RangeError('no\\nway');", /^RangeError: no, in line 1$/],
    ['throws-later.cjs', "\n\nthrow new Error('no');", /^no, in line 3$/],
    ['throws-null.cjs', 'throw null;', /null/],
    ['requires.cjs', "require('./not-there.js')", /not-there/],
    ['imports-nothing.mjs', "import './not-there.js'", /not-there/],
  ];
  for (const [name, text, reason] of bad) {
    it(`refuses ${name}`, () => {
      const error = refusal(module(name, text));
      expect(error.message).to.match(reason);
      expect(error.message).not.to.contain('\n');
      expect(error.code).not.to.equal('ENOENT');
    });
  }

  it('a file that is not there, or a directory, is ENOENT', () => {
    const empty = join(directory, 'empty');
    mkdirSync(empty);
    for (const path of [join(directory, 'none.js'), empty, '/']) {
      const error = refusal(path);
      expect(error.code).to.equal('ENOENT');
      expect(error.message).to.equal('there is no such file');
    }
  });

  it('Node says nothing about reading ES modules so; what the module says is heard', () => {
    const path = module(
      'warns.mjs',
      "process.emitWarning('mine', 'ExperimentalWarning'); export default () => 1;",
    );
    const script = `
      import { loadSelector } from ${JSON.stringify(LOADER)};
      loadSelector(${JSON.stringify(path)});
      process.emitWarning('after');`;
    const argv = ['--input-type=module', '-e', script];
    const said = execFileSync('sh', ['-c', 'exec "$@" 2>&1', 'sh', process.execPath, ...argv]);
    expect(said.toString()).to.match(/ExperimentalWarning: mine/);
    expect(said.toString()).to.match(/Warning: after/);
    expect(said.toString()).not.to.match(/require\(\)|CommonJS|ES Module/);
  });
});
