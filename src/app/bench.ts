/**
 * `tunstack bench MEASURE…`: measurements on this machine. Built so far: `lookup`, the cost of
 * the tables as they grow (bench-lookup.ts); the other measures are refused.
 */
import { FULL, type LookupCurve, measureLookupCurve, QUICK } from './bench-lookup.js';
import { type Command, EXIT_OK, type Io, UsageError } from './command.js';
import { type Flag, flagHelp, HELP_FLAG, parseFlags } from './flags.js';
import { alignColumns } from './socket-table.js';

const FLAGS: readonly Flag[] = [
  { name: 'quick', text: 'fewer sizes and rounds: a look, not a figure to quote' },
  { name: 'json', text: 'one object: measure, unit, pairs, points' },
  HELP_FLAG,
];

const LOOKUP: readonly string[] = ['lookup', 'lookup-curve'];
/** Measures that have a name already. */
const LATER: readonly string[] = [
  ...['http', 'cps', 'bulk', 'memory', 'accept', 'keepalive', 'keepalive-http', 'connections-64'],
  ...['connections-256', 'bulk-out-1', 'bulk-out-4', 'bulk-in-1', 'bulk-in-4', 'echo'],
  ...['pingpong-p50', 'pingpong-p99', 'cpu-per-gb', 'cpu-per-mreq', 'plain-out-1500'],
  ...['plain-in-1500', 'plain-out-65000', 'plain-in-65000', 'idle-bytes', 'idle-bytes-1m'],
  ...['synflood'],
];
const MEASURES_MAX = 16;

function checkMeasures(measures: readonly string[]): void {
  const wrong = measures.find((measure) => !LOOKUP.includes(measure));
  if (measures.length > 0 && wrong === undefined) return;
  if (wrong === undefined) {
    throw new UsageError(
      'bench: which measure? Built so far: lookup; the others are not built yet',
      'tunstack bench lookup',
    );
  }
  throw new UsageError(
    LATER.includes(wrong)
      ? `bench: ${wrong} is not built yet; built so far: lookup`
      : `bench: there is no measure "${wrong}"; built so far: lookup`,
    'tunstack bench lookup',
  );
}

/** The curve as a table, ns an operation. */
export function curveLines({ points, pairs }: LookupCurve): string[] {
  const ns = (value: number): string => value.toFixed(0);
  const rows = points.map((point) => [
    point.operation,
    point.size.toLocaleString('en-US'),
    point.of,
    ns(point.median),
    ns(point.min),
    ns(point.max),
    point.visited === null ? '-' : point.visited.toFixed(2),
  ]);
  const head = ['operation', 'size', 'of', 'median', 'min', 'max', 'visited'];
  return [`ns an operation, ${pairs} rounds`, ...alignColumns([head, ...rows], [1, 3, 4, 5, 6])];
}

export const bench: Command = {
  name: 'bench',
  summary: 'measurements on this machine (lookup; others later)',
  async run(argv: readonly string[], io: Io): Promise<number> {
    const flags = parseFlags('bench', FLAGS, argv, MEASURES_MAX);
    if (flags.given.has('help')) {
      io.out(`tunstack bench lookup [FLAGS]: ${bench.summary}\n\n${flagHelp(FLAGS)}`);
      return EXIT_OK;
    }
    checkMeasures(flags.positionals);
    const curve = measureLookupCurve(flags.given.has('quick') ? QUICK : FULL);
    if (flags.given.has('json')) io.out(JSON.stringify(curve));
    else for (const line of curveLines(curve)) io.out(line);
    return EXIT_OK;
  },
};
