/** `tunstack nstat`: counters of a running stack under Linux's names, in the form of nstat(8). */
import { MIB_NAMES, nstatName } from '../net/mib.js';
import { type Command, EXIT_OK, type Io } from './command.js';
import { ask, CONTROL_FLAG } from './control-client.js';
import { type Flag, flagHelp, HELP_FLAG, parseFlags } from './flags.js';

const FLAGS: readonly Flag[] = [
  { name: 'ignore', short: 'a', text: 'absolute values (they always are)' },
  { name: 'zeros', short: 'z', text: 'also counters that are zero' },
  CONTROL_FLAG,
  { name: 'json', text: 'one object, {"kernel":{NAME:VALUE}}' },
  HELP_FLAG,
];

const NAME_COLUMNS = 32;
const VALUE_COLUMNS = 18;

/** As nstat(8) prints: name, value, rate (of which we keep no history). */
export function nstatLines(counters: Readonly<Record<string, number>>): string[] {
  const rows = Object.entries(counters).map(
    ([name, value]) => `${name.padEnd(NAME_COLUMNS)}${String(value).padEnd(VALUE_COLUMNS)} 0.0`,
  );
  return ['#kernel', ...rows];
}

/** The counters to show, by the names of nstat(8): those of TcpExt get their group as prefix. */
function selectCounters(
  mib: Readonly<Record<string, number>>,
  zeros: boolean,
): Record<string, number> {
  const rows = MIB_NAMES.map((name, index) => [nstatName(index), mib[name] ?? 0] as const);
  return Object.fromEntries(rows.filter(([, value]) => zeros || value !== 0));
}

export const nstat: Command = {
  name: 'nstat',
  summary: "counters of a running stack under Linux's names",
  async run(argv: readonly string[], io: Io): Promise<number> {
    const flags = parseFlags('nstat', FLAGS, argv);
    if (flags.given.has('help')) {
      io.out(`tunstack nstat [FLAGS]: ${nstat.summary}\n\n${flagHelp(FLAGS)}`);
      return EXIT_OK;
    }
    const answer = await ask('counters', flags.values.get('control') ?? null, io.env);
    const zeros = flags.given.has('zeros');
    const counters = selectCounters(answer as Record<string, number>, zeros);
    if (flags.given.has('json')) io.out(JSON.stringify({ kernel: counters }));
    else for (const line of nstatLines(counters)) io.out(line);
    return EXIT_OK;
  },
};
