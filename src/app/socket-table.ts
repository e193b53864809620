/**
 * The sockets of a running stack as its control socket lists them, and which of them a question is
 * about.
 */

import type { SocketRow, StackHandle } from '../socket/open.js';
import type { MinisockRow, SocketDetail } from '../socket/uapi/answers.js';
import type { ControlFields } from './control-protocol.js';

/** A socket that has a descriptor. */
export type ShownSocket = SocketRow;

/**
 * `ss --json` prints these: sockets with a descriptor and, without one (`fd` null), half-open and
 * TIME-WAIT connections. The optional fields are there when they were asked for.
 */
export interface ListedSocket extends Omit<ShownSocket, 'fd'>, Partial<Omit<SocketDetail, 'fd'>> {
  fd: number | null;
  /** Without a descriptor: until its timer fires, and SYN-ACKs sent again. */
  expiresMs?: number;
  retransmits?: number;
}

/** Knows which worker a thread is now: threads that are started again change places. */
export interface Roster {
  workerOf(thread: number): number | null;
}

/** Rows as people know them, with the number of the worker instead of the thread's. */
export function shownSockets(rows: readonly SocketRow[], roster: Roster): ShownSocket[] {
  return rows.map((row) => {
    const worker = row.thread === null ? null : roster.workerOf(row.thread);
    return row.worker === worker ? row : { ...row, worker };
  });
}

/** A half-open connection is its listener's owner's. */
function listedMinisock(row: MinisockRow, roster: Roster): ListedSocket {
  const { thread } = row;
  const worker = thread === null ? null : roster.workerOf(thread);
  return { ...row, recvQ: 0, sendQ: 0, fd: null, worker };
}

/**
 * Answers the control command `sockets`: with the request's `minisocks` also those without a
 * descriptor, with `details` what `ss -e` shows, with `info` also what `ss -i` shows.
 */
export async function listSockets(
  handle: Pick<StackHandle, 'sockets' | 'questions'>,
  roster: Roster,
  { minisocks, details, info }: ControlFields,
): Promise<ListedSocket[]> {
  const rows: ListedSocket[] = shownSockets(handle.sockets(), roster);
  if (details === true || info === true) {
    const known = new Map((await handle.questions.details()).map((row) => [row.fd, row]));
    for (const [i, row] of rows.entries()) {
      const detail = known.get(row.fd!);
      if (detail === undefined) continue;
      const { info: inside, ...rest } = detail;
      rows[i] = { ...row, ...rest, ...(info === true ? { info: inside } : {}) };
    }
  }
  if (minisocks !== true) return rows;
  const more = await handle.questions.minisocks();
  return [...rows, ...more.map((row) => listedMinisock(row, roster))];
}

const LISTEN = 'LISTEN';
/** What ss leaves out unless asked for everything. */
const NOT_CONNECTED = [LISTEN, 'UNCONN', 'SYN-RECV', 'TIME-WAIT'];

export type Wanted = 'connected' | 'listening' | 'all';

export function selectSockets<T extends ListedSocket>(rows: readonly T[], wanted: Wanted): T[] {
  if (wanted === 'all') return [...rows];
  if (wanted === 'listening') return rows.filter((row) => row.state === LISTEN);
  return rows.filter((row) => !NOT_CONNECTED.includes(row.state));
}

/** `ss` writes any address as 0.0.0.0 and no peer as 0.0.0.0:*. */
export function endText(end: { address: string; port: number }): string {
  return `${end.address}:${end.port === 0 ? '*' : end.port}`;
}

export function ownerText(row: ListedSocket): string {
  return row.worker === null ? 'master' : `worker ${row.worker}`;
}

/** Columns padded to their widest cell; `right` names the columns that are numbers. */
export function alignColumns(rows: readonly string[][], right: readonly number[]): string[] {
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  return rows.map((row) =>
    row
      .map((cell, i) => (right.includes(i) ? cell.padStart(widths[i]!) : cell.padEnd(widths[i]!)))
      .join(' ')
      .trimEnd(),
  );
}
