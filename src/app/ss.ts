/** `tunstack ss`: the sockets of a running stack in the columns of ss(8). */
import { type Command, EXIT_OK, type Io, UsageError } from './command.js';
import { ask, CONTROL_FLAG } from './control-client.js';
import { type Flag, flagHelp, HELP_FLAG, type ParsedFlags, parseFlags } from './flags.js';
import {
  alignColumns,
  endText,
  ownerText,
  type ShownSocket,
  selectSockets,
} from './socket-table.js';

const FLAGS: readonly Flag[] = [
  { name: 'tcp', short: 't', text: 'TCP sockets (there are no others)' },
  { name: 'udp', short: 'u', text: 'UDP sockets (not built in this release)' },
  { name: 'listening', short: 'l', text: 'listeners: Recv-Q = queued, Send-Q = backlog' },
  { name: 'all', short: 'a', text: 'listeners and connections in any state' },
  { name: 'numeric', short: 'n', text: 'addresses and ports as numbers (they always are)' },
  { name: 'processes', short: 'p', text: 'the worker that owns it, and its descriptor' },
  { name: 'info', short: 'i', text: 'inside of TCP (not built in this release)' },
  { name: 'extended', short: 'e', text: 'more details (not built in this release)' },
  CONTROL_FLAG,
  { name: 'json', text: 'an array of objects' },
  HELP_FLAG,
];

const UNBUILT: readonly [string, string][] = [
  ['udp', '-u'],
  ['info', '-i'],
  ['extended', '-e'],
];

/** The table as lines, header first. */
export function ssLines(rows: readonly ShownSocket[], processes: boolean): string[] {
  const head = ['State', 'Recv-Q', 'Send-Q', 'Local Address:Port', 'Peer Address:Port', 'Process'];
  const cells = rows.map((row) => [
    row.state,
    String(row.recvQ),
    String(row.sendQ),
    endText(row.local),
    endText(row.peer),
    processes ? `users:(("${ownerText(row)}",fd=${row.fd}))` : '',
  ]);
  return alignColumns([head, ...cells], [1, 2, 3, 4]);
}

function refuseUnbuilt(flags: ParsedFlags): void {
  for (const [name, short] of UNBUILT) {
    if (flags.given.has(name)) {
      throw new UsageError(`ss ${short} is not built in this release`, 'tunstack ss -tanp');
    }
  }
}

export const ss: Command = {
  name: 'ss',
  summary: 'sockets of a running stack',
  async run(argv: readonly string[], io: Io): Promise<number> {
    const flags = parseFlags('ss', FLAGS, argv);
    if (flags.given.has('help')) {
      io.out(`tunstack ss [FLAGS]: ${ss.summary}\n\n${flagHelp(FLAGS)}`);
      return EXIT_OK;
    }
    refuseUnbuilt(flags);
    const { given } = flags;
    const wanted = given.has('all') ? 'all' : given.has('listening') ? 'listening' : 'connected';
    const answer = await ask('sockets', flags.values.get('control') ?? null, io.env);
    const rows = selectSockets(answer as ShownSocket[], wanted);
    if (given.has('json')) io.out(JSON.stringify(rows));
    else for (const line of ssLines(rows, given.has('processes'))) io.out(line);
    return EXIT_OK;
  },
};
