/** The command line of `bench`: its flags, their limits, and the sizes that follow from them. */
import { MAX_QUEUES } from '../../socket/uapi/layout.js';
import { UsageError } from '../command.js';
import { type Flag, HELP_FLAG, nearest, type ParsedFlags, parseFlags } from '../flags.js';
import { WORKERS_MAX } from '../serve-options.js';
import type { Congestion, Sizes } from './measure.js';
import { figureNames, GROUPS, resolveNames } from './registry.js';

export const BENCH_FLAGS: readonly Flag[] = [
  { name: 'pairs', value: 'N', text: 'samples of each side, in turn (5; with --quick 2)' },
  { name: 'seconds', value: 'S', text: 'length of a sample (3; with --quick 1)' },
  { name: 'workers', value: 'N', text: 'worker threads of our server (1)' },
  { name: 'inline', text: 'our workers run in stack threads, as with serve --inline' },
  { name: 'congestion', value: 'NAME', text: 'of both sides: reno or cubic (reno)' },
  {
    name: 'connections',
    value: 'N',
    text: 'idle ones over the device, for idle-bytes (100000; with --quick 10000)',
  },
  { name: 'crowd', value: 'N', text: 'connections in memory, for idle-bytes-1m (1000000)' },
  { name: 'quick', text: 'fewer and shorter samples: a look, not a figure to quote' },
  { name: 'list', text: 'the measures, and what each is held against' },
  { name: 'json', text: 'one object a line for each measure, with all samples' },
  HELP_FLAG,
];

const MEASURES_MAX = 64;
const PAIRS_MAX = 64;
const SECONDS_MAX = 60;
const CONNECTIONS_MAX = 120_000;
const CROWD_MAX = 4_000_000;
const PAIRS = { full: 5, quick: 2 } as const;
const SECONDS = { full: 3, quick: 1 } as const;
const CONNECTIONS = { full: 100_000, quick: 10_000 } as const;

export interface BenchOptions {
  readonly help: boolean;
  readonly list: boolean;
  readonly json: boolean;
  readonly quick: boolean;
  readonly names: ReadonlySet<string>;
  readonly sizes: Sizes;
}

function wrong(name: string, value: string, must: string): UsageError {
  return new UsageError(`bench: --${name} ${value}: ${must}`, 'tunstack bench --help');
}

function number(flags: ParsedFlags, name: string, min: number, max: number, otherwise: number) {
  const text = flags.values.get(name);
  if (text === undefined) return otherwise;
  const value = /^\d{1,9}(\.\d{1,3})?$/.test(text) ? Number(text) : Number.NaN;
  if (value >= min && value <= max) return value;
  throw wrong(name, text, `must be a number from ${min} to ${max}`);
}

function whole(flags: ParsedFlags, name: string, min: number, max: number, otherwise: number) {
  const value = number(flags, name, min, max, otherwise);
  if (Number.isInteger(value)) return value;
  throw wrong(name, String(value), 'must be a whole number');
}

function congestion(flags: ParsedFlags): Congestion {
  const text = flags.values.get('congestion') ?? 'reno';
  if (text === 'reno' || text === 'cubic') return text;
  throw wrong('congestion', text, 'must be reno or cubic: both sides have those');
}

/** @param words none = all */
function names(words: readonly string[]): Set<string> {
  const found = resolveNames(words.length === 0 ? ['all'] : words);
  if (found instanceof Set) return found;
  const known = [...figureNames(), ...Object.keys(GROUPS), 'all'];
  const near = nearest(found.unknown, known);
  throw new UsageError(
    `bench: there is no measure "${found.unknown}"`,
    near === null ? 'tunstack bench --list' : `tunstack bench ${near}`,
  );
}

/** Throws UsageError. */
export function parseBenchOptions(argv: readonly string[]): BenchOptions {
  const flags = parseFlags('bench', BENCH_FLAGS, argv, MEASURES_MAX);
  const quick = flags.given.has('quick');
  const inline = flags.given.has('inline');
  const size = quick ? 'quick' : 'full';
  return {
    help: flags.given.has('help'),
    list: flags.given.has('list'),
    json: flags.given.has('json'),
    quick,
    names: names(flags.positionals),
    sizes: {
      pairs: whole(flags, 'pairs', 1, PAIRS_MAX, PAIRS[size]),
      seconds: number(flags, 'seconds', 0.1, SECONDS_MAX, SECONDS[size]),
      workers: whole(flags, 'workers', 1, inline ? MAX_QUEUES : WORKERS_MAX, 1),
      inline,
      congestion: congestion(flags),
      connections: whole(flags, 'connections', 1, CONNECTIONS_MAX, CONNECTIONS[size]),
      crowd: whole(flags, 'crowd', 1000, CROWD_MAX, 1_000_000),
    },
  };
}
