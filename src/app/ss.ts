/** `tunstack ss`: the sockets of a running stack in the columns of ss(8). */
import type { TcpInfo } from '../socket/uapi/answers.js';
import { type Command, EXIT_OK, type Io, UsageError } from './command.js';
import { ask, CONTROL_FLAG } from './control-client.js';
import { type Flag, flagHelp, HELP_FLAG, type ParsedFlags, parseFlags } from './flags.js';
import {
  alignColumns,
  endText,
  type ListedSocket,
  ownerText,
  selectSockets,
} from './socket-table.js';

const FLAGS: readonly Flag[] = [
  { name: 'tcp', short: 't', text: 'TCP sockets (there are no others)' },
  { name: 'udp', short: 'u', text: 'UDP sockets (not built in this release)' },
  { name: 'listening', short: 'l', text: 'listeners: Recv-Q = queued, Send-Q = backlog' },
  { name: 'all', short: 'a', text: 'listeners and connections in any state' },
  { name: 'numeric', short: 'n', text: 'addresses and ports as numbers (they always are)' },
  { name: 'processes', short: 'p', text: 'the worker that owns it, and its descriptor' },
  { name: 'info', short: 'i', text: 'inside of TCP, on a line of its own' },
  { name: 'extended', short: 'e', text: 'uid, ino = descriptor, group and selector of listeners' },
  CONTROL_FLAG,
  { name: 'json', text: 'an array of objects' },
  HELP_FLAG,
];

/** What else is to be shown of each socket. */
export interface SsColumns {
  processes: boolean;
  info?: boolean;
  extended?: boolean;
}

/** The table as lines, header first. */
export function ssLines(rows: readonly ListedSocket[], columns: SsColumns): string[] {
  const head = ['State', 'Recv-Q', 'Send-Q', 'Local Address:Port', 'Peer Address:Port', 'Process'];
  const cells = rows.map((row) => [
    row.state,
    String(row.recvQ),
    String(row.sendQ),
    endText(row.local),
    endText(row.peer),
    lastCell(row, columns),
  ]);
  const lines = alignColumns([head, ...cells], [1, 2, 3, 4]);
  if (columns.info !== true) return lines;
  return lines.flatMap((line, i) => {
    const info = i === 0 ? undefined : rows[i - 1]!.info;
    return info ? [line, `\t ${infoText(info)}`] : [line];
  });
}

function lastCell(row: ListedSocket, { processes, extended }: SsColumns): string {
  const parts: string[] = [];
  // As ss: what has no descriptor is nobody's.
  if (processes && row.fd !== null) parts.push(`users:(("${ownerText(row)}",fd=${row.fd}))`);
  if (extended === true) {
    if (row.uid !== undefined) parts.push(`uid:${row.uid}`);
    if (row.fd !== null) parts.push(`ino:${row.fd}`);
    if (row.group > 0) parts.push(`group:${row.slot ?? '-'}/${row.group}`);
    if (row.selector) parts.push(`selector:${row.selector}`);
    if (row.synQueue) parts.push(`synq:${row.synQueue}`);
  }
  return parts.join(' ');
}

/** In the words and the order of ss(8). */
function infoText(info: TcpInfo): string {
  const ms = (value: number): string => String(Number(value.toFixed(3)));
  const words = [
    info.timestamps ? 'ts' : '',
    info.sack ? 'sack' : '',
    info.congestion,
    info.sndWscale === null ? '' : `wscale:${info.sndWscale},${info.rcvWscale}`,
    `rto:${ms(info.rtoMs)}`,
    info.rttMs > 0 ? `rtt:${ms(info.rttMs)}/${ms(info.rttvarMs)}` : '',
    `mss:${info.mss} pmtu:${info.pmtu} rcvmss:${info.rcvMss} advmss:${info.advMss}`,
    `cwnd:${info.cwnd}`,
    info.ssthresh === null ? '' : `ssthresh:${info.ssthresh}`,
    `lastsnd:${info.lastSentMs} lastrcv:${info.lastReceivedMs} lastack:${info.lastAckMs}`,
    info.unacked > 0 ? `unacked:${info.unacked}` : '',
    info.retransTotal > 0 ? `retrans:${info.retrans}/${info.retransTotal}` : '',
    info.lost > 0 ? `lost:${info.lost}` : '',
    `rcv_space:${info.rcvSpace}`,
  ];
  return words.filter((word) => word !== '').join(' ');
}

function refuseUnbuilt(flags: ParsedFlags): void {
  if (!flags.given.has('udp')) return;
  throw new UsageError('ss -u is not built in this release', 'tunstack ss -tanp');
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
    const json = given.has('json');
    const info = given.has('info');
    const extended = given.has('extended');
    const answer = await ask('sockets', flags.values.get('control') ?? null, io.env, {
      minisocks: wanted !== 'listening',
      details: json || extended,
      info,
    });
    const rows = selectSockets(answer as ListedSocket[], wanted);
    const columns = { processes: given.has('processes'), info, extended };
    if (json) io.out(JSON.stringify(rows));
    else for (const line of ssLines(rows, columns)) io.out(line);
    return EXIT_OK;
  },
};
