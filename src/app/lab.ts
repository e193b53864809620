/**
 * `tunstack lab EXPERIMENT`: the published experiments replayed in virtual time on the real lookup,
 * queues and selectors (src/lab). No privilege, no device. Exit code 1 when a verdict does not
 * hold.
 */
import type { Experiment, LabOptions } from '../lab/experiment.js';
import { EXPERIMENTS } from '../lab/experiments.js';
import { type Command, EXIT_FAILED, EXIT_OK, type Io, UsageError } from './command.js';
import { type Flag, flagHelp, HELP_FLAG, nearest, parseFlags } from './flags.js';
import { reportLines } from './lab-tables.js';

const DEFAULT_SEED = 1;
const SEED_MAX = 0xffff_ffff;
/** One run has no deviation. */
const RUNS_MIN = 2;
const RUNS_MAX = 1000;

const FLAGS: readonly Flag[] = [
  { name: 'seed', value: 'N', text: `of all chance in the run (default ${DEFAULT_SEED})` },
  {
    name: 'scale',
    value: 'S',
    text: 'share of the requests or flows, above 0 to 1 (default 1, what the verdicts are for)',
  },
  {
    name: 'runs',
    value: 'N',
    text: 'how often cloudflare repeats the run under the hash, which scatters (2 to 1000; 7)',
  },
  {
    name: 'json',
    text: 'one object: experiment, seed, parameters, rows, published, verdicts',
  },
  HELP_FLAG,
];

function list(): string {
  return EXPERIMENTS.map(({ name, summary }) => `  ${name.padEnd(14)}${summary}`).join('\n');
}

function experimentOf(name: string | undefined): Experiment {
  const found = EXPERIMENTS.find((candidate) => candidate.name === name);
  if (found !== undefined) return found;
  const names = EXPERIMENTS.map((candidate) => candidate.name);
  const what = name === undefined ? 'which experiment?' : `there is no experiment "${name}".`;
  const near = name === undefined ? null : nearest(name, names);
  throw new UsageError(
    `lab: ${what} There are:\n${list()}`,
    `tunstack lab ${near ?? names.at(-1)}`,
  );
}

function seedOf(text: string | undefined): number {
  if (text === undefined) return DEFAULT_SEED;
  const seed = Number(text);
  if (!/^\d+$/.test(text) || seed > SEED_MAX) {
    throw new UsageError(
      `lab: --seed must be an integer in 0..${SEED_MAX}, not "${text}"`,
      'tunstack lab models --seed 7',
    );
  }
  return seed;
}

function scaleOf(text: string | undefined): number {
  const scale = text === undefined ? 1 : Number(text);
  if (!(scale > 0 && scale <= 1)) {
    throw new UsageError(
      `lab: --scale must be above 0 and at most 1, not "${text}"`,
      'tunstack lab models --scale 0.1',
    );
  }
  return scale;
}

function runsOf(text: string | undefined, { name, repeats }: Experiment): number | undefined {
  if (text === undefined) return undefined;
  const runs = Number(text);
  if (!/^\d+$/.test(text) || runs < RUNS_MIN || runs > RUNS_MAX) {
    throw new UsageError(
      `lab: --runs must be an integer in ${RUNS_MIN}..${RUNS_MAX}, not "${text}"`,
      'tunstack lab cloudflare --runs 50',
    );
  }
  if (repeats) return runs;
  throw new UsageError(`lab: ${name} repeats nothing`, `tunstack lab ${name}`);
}

/** Runs it, prints the report, and names every verdict that does not hold. The exit code. */
export function runExperiment(
  experiment: Experiment,
  options: LabOptions,
  json: boolean,
  io: Io,
): number {
  const report = experiment.run(options);
  if (json) io.out(JSON.stringify(report));
  else for (const line of reportLines(report, io.color)) io.out(line);
  const failed = report.verdicts.filter((verdict) => !verdict.holds);
  for (const { claim } of failed) io.err(`tunstack: lab ${experiment.name}: not so: ${claim}`);
  return failed.length === 0 ? EXIT_OK : EXIT_FAILED;
}

export const lab: Command = {
  name: 'lab',
  summary: 'published experiments replayed in virtual time',
  async run(argv: readonly string[], io: Io): Promise<number> {
    const flags = parseFlags('lab', FLAGS, argv, 1);
    if (flags.given.has('help')) {
      io.out(`tunstack lab EXPERIMENT [FLAGS]: ${lab.summary}\n\n${list()}\n\n${flagHelp(FLAGS)}`);
      return EXIT_OK;
    }
    const experiment = experimentOf(flags.positionals[0]);
    const seed = seedOf(flags.values.get('seed'));
    const scale = scaleOf(flags.values.get('scale'));
    const runs = runsOf(flags.values.get('runs'), experiment);
    const options = { seed, scale, ...(runs === undefined ? {} : { runs }) };
    return runExperiment(experiment, options, flags.given.has('json'), io);
  },
};
