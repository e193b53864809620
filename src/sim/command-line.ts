/**
 * The command line of the simulator: what to run and how often. Values are checked here; what they
 * mean is the business of whoever runs them.
 */
import { FAULTS, type Fault, parseFaults } from './parameters.js';

const FUZZERS = ['packets', 'threads', 'http'] as const;
export type Fuzzer = (typeof FUZZERS)[number];

/** Parameters that are set by hand instead of by the seed. */
export interface Overrides {
  hosts?: number;
  calls?: number;
  bytes?: number;
  timeMs?: number;
  faults?: Set<Fault>;
}

export interface SimOptions {
  seed: number;
  runs: number;
  json: boolean;
  verbose: boolean;
  shrink: boolean;
  table: boolean;
  write: boolean;
  help: boolean;
  coverage: boolean;
  fuzz: Fuzzer | null;
  readonly overrides: Overrides;
}

export const HELP: string = `npm run sim -- [OPTIONS]
  --seed N      first seed (1)
  --runs N      seeds from there on (1; packets, turns or streams with --fuzz)
  --json        one JSON object a run, and one with the sums
  --verbose     with one run: its packets and what its applications do
  --coverage    how often everything has happened that can, in all runs
  --no-shrink   a failing run is not made smaller
  --hosts N --calls N --bytes N --time MS --faults LIST
                instead of what the seed says; LIST: all, none, or of
                ${FAULTS.join(',')}
  --fuzz packets|threads|http
                random and mutated packets into every state; hostile threads on the shared
                memory; requests into the demo's parser
  --table       throughput over loss, round-trip time and window (--write: into
                test/sim/netsim.txt)
Exit codes: 0 fine, 1 a run failed, 2 usage.
`;

/** Flags with a number: least and most. */
const NUMBERS: Readonly<Record<string, readonly [least: number, most: number]>> = {
  '--seed': [0, 2 ** 31 - 1],
  '--runs': [1, 1e10],
  '--hosts': [2, 20],
  '--calls': [0, 1e6],
  '--bytes': [1, 1e9],
  '--time': [1, 1e8],
};
const SWITCHES = ['--json', '--verbose', '--table', '--write', '--coverage', '--help'] as const;
type Switch = 'json' | 'verbose' | 'table' | 'write' | 'coverage' | 'help';

function freshOptions(): SimOptions {
  return {
    seed: 1,
    runs: 1,
    json: false,
    verbose: false,
    shrink: true,
    table: false,
    write: false,
    help: false,
    coverage: false,
    fuzz: null,
    overrides: {},
  };
}

function takeNumber(options: SimOptions, flag: string, value: number): void {
  if (flag === '--seed') options.seed = value;
  else if (flag === '--runs') options.runs = value;
  else if (flag === '--hosts') options.overrides.hosts = value;
  else if (flag === '--calls') options.overrides.calls = value;
  else if (flag === '--bytes') options.overrides.bytes = value;
  else options.overrides.timeMs = value;
}

/** The options, or the words of what is wrong with them. */
export function parseCommandLine(argv: readonly string[]): SimOptions | string {
  const options = freshOptions();
  const rest = [...argv];
  while (rest.length > 0) {
    const flag = rest.shift()!;
    const range = NUMBERS[flag];
    if (range !== undefined) {
      const text = rest.shift() ?? '';
      const value = Number(text);
      const fits = /^\d+$/.test(text) && value >= range[0] && value <= range[1];
      if (!fits) return `${flag}: a number from ${range[0]} to ${range[1]}`;
      takeNumber(options, flag, value);
    } else if (flag === '--faults') {
      const faults = parseFaults(rest.shift() ?? '');
      if (faults === null) return `${flag}: all, none, or of ${FAULTS.join(',')}`;
      options.overrides.faults = faults;
    } else if (flag === '--fuzz') {
      const fuzz = FUZZERS.find((name) => name === rest[0]);
      if (fuzz === undefined) return `${flag}: one of ${FUZZERS.join(', ')}`;
      options.fuzz = fuzz;
      rest.shift();
    } else if (flag === '--no-shrink') {
      options.shrink = false;
    } else if (SWITCHES.some((name) => name === flag)) {
      options[flag.slice(2) as Switch] = true;
    } else {
      return `there is no ${flag}`;
    }
  }
  return options;
}
