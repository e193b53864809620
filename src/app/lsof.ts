/** `tunstack lsof -i:PORT`: who has the port, in the columns of lsof(8). */
import { type Command, EXIT_FAILED, EXIT_OK, type Io, UsageError } from './command.js';
import { ask, CONTROL_FLAG } from './control-client.js';
import { type Flag, flagHelp, HELP_FLAG, parseFlags } from './flags.js';
import { alignColumns, type ShownSocket } from './socket-table.js';

const FLAGS: readonly Flag[] = [
  CONTROL_FLAG,
  { name: 'json', text: 'an array of objects' },
  HELP_FLAG,
];

/** ss's words for TCP states → lsof's. */
const STATES: Readonly<Record<string, string>> = { ESTAB: 'ESTABLISHED' };

function endText(end: { address: string; port: number }): string {
  return `${end.address === '0.0.0.0' ? '*' : end.address}:${end.port}`;
}

function nameText(row: ShownSocket): string {
  const state = STATES[row.state] ?? row.state.replace('-', '_');
  const ends =
    row.peer.port === 0 ? endText(row.local) : `${endText(row.local)}->${endText(row.peer)}`;
  return `${ends} (${state})`;
}

/** The table as lines, header first; PID is the worker, `-` for the master. */
export function lsofLines(rows: readonly ShownSocket[]): string[] {
  const head = ['COMMAND', 'PID', 'FD', 'TYPE', 'NODE', 'NAME'];
  const cells = rows.map((row) => [
    'tunstack',
    row.worker === null ? '-' : String(row.worker),
    `${row.fd}u`,
    'IPv4',
    'TCP',
    nameText(row),
  ]);
  return alignColumns([head, ...cells], [1, 2]);
}

/** Port of `-i:PORT`, 0 = any. */
function takePort(argv: readonly string[]): { port: number; rest: string[] } {
  const rest = argv.filter((argument) => !/^-i(:\d{1,5})?$/.test(argument));
  const chosen = argv.find((argument) => argument.startsWith('-i'));
  const bad = argv.find((argument) => argument.startsWith('-i') && rest.includes(argument));
  if (bad !== undefined) {
    throw new UsageError(`lsof: ${bad}: must be -i:PORT`, 'tunstack lsof -i:80');
  }
  return { port: chosen === undefined ? 0 : Number(chosen.slice(3)), rest };
}

export const lsof: Command = {
  name: 'lsof',
  summary: 'who has a port: lsof -i:80',
  async run(argv: readonly string[], io: Io): Promise<number> {
    const { port, rest } = takePort(argv);
    const flags = parseFlags('lsof', FLAGS, rest);
    if (flags.given.has('help')) {
      io.out(`tunstack lsof [-i:PORT] [FLAGS]: ${lsof.summary}\n\n${flagHelp(FLAGS)}`);
      return EXIT_OK;
    }
    const answer = await ask('sockets', flags.values.get('control') ?? null, io.env);
    const rows = (answer as ShownSocket[]).filter(
      (row) => port === 0 || row.local.port === port || row.peer.port === port,
    );
    if (flags.given.has('json')) io.out(JSON.stringify(rows));
    else if (rows.length > 0) for (const line of lsofLines(rows)) io.out(line);
    return rows.length > 0 ? EXIT_OK : EXIT_FAILED; // as lsof: nothing found is 1
  },
};
