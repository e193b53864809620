/**
 * The tasks behind the npm scripts: a table from name to function, each after the set-up it needs.
 * Exit codes: 0 fine, 1 failed, 2 usage; the program's own codes pass through.
 */
import { existsSync, realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { SetupError, setupErrorText } from './setup/setup-error.mjs';
import { setUp } from './setup.mjs';
import { tool } from './tool.mjs';

/** The clone, or the installed package. */
export const ROOT = dirname(dirname(realpathSync(fileURLToPath(import.meta.url))));

async function program(argv) {
  const main = join(ROOT, 'dist', 'src', 'app', 'main.js');
  if (!existsSync(main)) {
    throw new SetupError(`${main} is missing.`, 'Reinstall the package, or run this in a clone.');
  }
  const module = await import(pathToFileURL(main).href);
  return await module.main(argv);
}

function lint(argv) {
  const biome = join(ROOT, 'node_modules', '@biomejs', 'biome', 'bin', 'biome');
  return tool([process.execPath, biome, 'check', '--error-on-warnings', ...argv, '.'], ROOT);
}

async function test(argv) {
  const { runTests } = await import('./test.mjs');
  return await runTests(ROOT, argv);
}

function cover(argv) {
  return test(['--unit', '--cover', ...argv]);
}

async function check(argv) {
  const linted = await lint([]);
  const tested = await test(argv);
  return linted === 0 ? tested : linted;
}

async function rfc() {
  const { writeCoverage } = await import('./rfc-coverage.mjs');
  return await writeCoverage(ROOT);
}

async function goodput(argv) {
  const { runGoodput } = await import('./goodput.mjs');
  return await runGoodput(ROOT, argv);
}

async function sim(argv) {
  const { runSimTask } = await import('./sim.mjs');
  return await runSimTask(ROOT, argv);
}

/** name → what it does and whether it needs compiled code. */
const TASKS = {
  serve: { compiled: true, run: (argv) => program(['serve', ...argv]) },
  build: { compiled: true, run: async () => 0 },
  lint: { compiled: false, run: lint },
  test: { compiled: true, run: test },
  check: { compiled: true, run: check },
  cover: { compiled: true, run: cover },
  bench: { compiled: true, run: (argv) => program(['bench', ...argv]) },
  goodput: { compiled: true, run: goodput },
  sim: { compiled: true, run: sim },
  rfc: { compiled: true, run: rfc },
};

/** Set for children of a task: this clone was set up a moment ago, whatever is edited meanwhile. */
const ALREADY = 'TUNSTACK_SET_UP';

async function afterSetUp(compiled, run) {
  try {
    if (process.env[ALREADY] !== ROOT) {
      await setUp(ROOT, { compiled });
      if (compiled) process.env[ALREADY] = ROOT;
    }
    return await run();
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(setupErrorText(error));
    return 1;
  }
}

/** Runs the task `name`; the exit code. */
export async function runTask(name, argv) {
  const task = Object.hasOwn(TASKS, name) ? TASKS[name] : null;
  if (task === null) {
    const names = Object.keys(TASKS).join(', ');
    process.stderr.write(`usage: node scripts/run.mjs TASK [ARGUMENTS]\n  tasks: ${names}\n`);
    return 2;
  }
  return await afterSetUp(task.compiled, () => task.run(argv));
}

/** Runs the program (`tunstack COMMAND …`); the exit code. */
export async function runProgram(argv) {
  return await afterSetUp(true, () => program(argv));
}
