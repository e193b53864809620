/**
 * Reads every file of the repository and holds it to the rules; and holds each rule to a sample it
 * must object to.
 */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect } from 'chai';
import { ROOT } from './repository.js';
import { blank } from './tidy/blank.js';
import { importsOf } from './tidy/imports.js';
import { type Finding, RULES } from './tidy/rules.js';

const TREES = ['src', 'test', 'scripts', 'docs', '.ci'];
const TEXT = /\.(ts|mjs|js|json|md|pkt|sh|html|css)$|^\.ci\/run$/;

function filesOf(directory: string): string[] {
  if (!existsSync(join(ROOT, directory))) return [];
  const entries = readdirSync(join(ROOT, directory), { withFileTypes: true, recursive: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => relative(ROOT, join(entry.parentPath ?? entry.path, entry.name)));
}

function repositoryFiles(): string[] {
  const top = readdirSync(ROOT).filter((name) => /\.(md|json)$/.test(name));
  const files = [...TREES.flatMap(filesOf), ...top].filter((path) => TEXT.test(path));
  return files.filter((path) => path !== 'package-lock.json').sort();
}

const exists = (path: string): boolean => existsSync(join(ROOT, path));
const said = ({ path, line, message }: Finding): string => `${path}:${line}: ${message}`;

/** What each rule must object to: [path, text]. */
const BAD: Readonly<Record<string, readonly (readonly [string, string])[]>> = {
  importDirection: [
    ['src/net/a.ts', "import { x } from '../tcp/tcb.js';\n"],
    ['src/net/a.ts', "import { x } from 'koffi';\n"],
    ['src/tcp/input/a.ts', "import { readFileSync } from 'node:fs';\n"],
    ['src/reuseport/a.ts', "export type { X } from '../stack/stack.js';\n"],
    ['src/stack/stack.ts', "import { x } from '../device/tun.js';\n"],
    ['src/stack/pump.ts', "import { x } from '../socket/sys.js';\n"],
    ['src/socket/sys.ts', "import type { Tcb } from '../tcp/tcb.js';\n"],
    ['src/device/tun.ts', "const x = await import('../tcp/tcb.js');\n"],
    ['src/app/ss.ts', "import {\n  x,\n} from '../tcp/tcb.js';\n"],
    ['src/testing/a.ts', "import '../device/tun.js';\n"],
    ['src/elsewhere/a.ts', 'export {};\n'],
  ],
  inputDoesNotSend: [['src/tcp/input/ack.ts', "import { write } from '../output/write.js';\n"]],
  coreIsPure: [
    ['src/net/a.ts', 'const now = Date.now();\n'],
    ['src/tcp/a.ts', 'const x = Math.random();\n'],
    ['src/tcp/a.ts', 'performance.now();\n'],
    ['src/udp/a.ts', 'setTimeout(f, 1);\n'],
    ['src/stack/stack.ts', 'console.log(1);\n'],
    ['src/net/a.ts', 'process.exit(1);\n'],
    ['src/reuseport/a.ts', 'Buffer.alloc(1);\n'],
    ['src/reuseport/a.ts', 'const x = BigInt(1);\n'],
    ['src/reuseport/a.ts', 'const x = 1_000n;\n'],
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a sample of source text
    ['src/net/a.ts', 'const x = `${Date.now()}`;\n'],
  ],
  length: [['src/net/a.ts', '\n'.repeat(501)]],
  width: [['scripts/a.mjs', `// ${'x'.repeat(98)}\n`]],
  opening: [
    ['src/net/a.ts', 'export {};\n'],
    ['scripts/a.mjs', '#!/usr/bin/env node\nimport x from "y";\n'],
  ],
  leftovers: [['docs/a.md', `${'TO'}${'DO'}: write this\n`]],
  everyTestRuns: [
    ['test/net/a.test.ts', 'it.only("x", f);\n'],
    ['test/net/a.test.ts', 'describe.skip("x", f);\n'],
  ],
  names: [
    ['src/net/someThing.ts', ''],
    ['src/net/Sysctl.ts', ''],
    ['src/net/utils.ts', ''],
    ['scripts/test-helper.mjs', ''],
    ['src/tcp/socket-manager.ts', ''],
  ],
  links: [
    ['README.md', 'see [this](docs/NOWHERE.md)\n'],
    ['docs/adr/1.md', 'see [this](../../NOWHERE.md#part)\n'],
  ],
  selfContained: [
    ['src/net/a.ts', `// ${'/wo'}${'rk/main'} has it\n`],
    ['README.md', `as ${'is'}${'sue 12'} says\n`],
  ],
  endOfFile: [
    ['src/net/a.ts', 'export {};'],
    ['src/net/a.ts', 'export {};\n\n'],
  ],
};

/** What the rules must leave alone. */
const GOOD: readonly (readonly [string, string])[] = [
  ['src/net/a.ts', "/** Not a Date, 5n or process. */\nimport { x } from './skb.js';\n"],
  ['src/tcp/tcb.ts', "/** A. */\nconst s = 'console'; // Date\nconst snd = { process: 1 };\n"],
  ['src/stack/pump.ts', "/** A. */\nimport { a } from '../socket/uapi/layout.js';\n"],
  ['src/testing/a.ts', "/** A. */\nimport { a } from '../device/memory.js';\n"],
  ['scripts/a.mjs', '#!/usr/bin/env node\n/** A. */\n'],
  ['docs/a.md', '[a](https://example.org) [b](#here)\n```\n[c](nowhere)\n```\n'],
];

describe('tidy', () => {
  const files = repositoryFiles();

  for (const [name, rule] of Object.entries(RULES)) {
    it(`${name}: objects to its bad samples`, () => {
      const samples = BAD[name] ?? [];
      expect(samples, 'a rule without a sample proves nothing').to.not.have.lengthOf(0);
      for (const [path, text] of samples) {
        expect(
          rule(path, text, () => false),
          `${path}\n${text}`,
        ).to.not.have.lengthOf(0);
      }
    });

    it(`${name}: the repository keeps it`, () => {
      const findings = files.flatMap((path) =>
        rule(path, readFileSync(join(ROOT, path), 'utf8'), exists),
      );
      expect(findings.map(said)).to.deep.equal([]);
    });
  }

  it('objects to nothing in good samples', () => {
    for (const [path, text] of GOOD) {
      const findings = Object.values(RULES).flatMap((rule) => rule(path, text, () => true));
      expect(findings.map(said)).to.deep.equal([]);
    }
  });

  it('leaves the length of functions to the linter, which is set to check it', () => {
    const { linter } = JSON.parse(readFileSync(join(ROOT, 'biome.json'), 'utf8')) as {
      linter: { rules: { complexity: Record<string, unknown> } };
    };
    expect(linter.rules.complexity['noExcessiveLinesPerFunction']).to.deep.equal({
      level: 'error',
      options: { maxLines: 70 },
    });
  });

  it('reads this repository and not an empty one', () => {
    expect(files).to.include.members(['package.json', 'src/net/skb.ts', 'scripts/run.mjs']);
  });

  it('blanks comments and strings but not code', () => {
    // biome-ignore lint/suspicious/noTemplateCurlyInString: a sample of source text
    const source = "a/* x\n'*/b'c//'+`d${e/*f*/+`g`}h`//i\nconst j = /[/'k]/.test(l) / 2; // m";
    expect(blank(source)).to.equal(
      // biome-ignore lint/suspicious/noTemplateCurlyInString: a sample of source text
      "a    \n   b'   '+` ${e     +` `} `   \nconst j = /     /.test(l) / 2;     ",
    );
    expect(blank("f('x') // y", true)).to.equal("f('x')     ");
  });

  it('finds every form of import', () => {
    const source = "import 'a';\nimport b from 'b';\nexport { c } from 'c';\nawait import('d');\n";
    expect(importsOf(source)).to.deep.equal([
      { specifier: 'a', line: 1 },
      { specifier: 'b', line: 2 },
      { specifier: 'c', line: 3 },
      { specifier: 'd', line: 4 },
    ]);
    expect(importsOf("// import 'a';\n")).to.deep.equal([]);
  });
});
