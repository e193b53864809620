/**
 * The sockets of a running stack as its control socket lists them, and which of them a question is
 * about.
 */

import type { SocketRow } from '../socket/open.js';

/** `ss --json` prints these. */
export type ShownSocket = SocketRow;

/**
 * Rows as people know them: the acceptor of model A, the thread after the workers, is no worker.
 */
export function shownSockets(rows: readonly SocketRow[], workers: number): ShownSocket[] {
  return rows.map((row) =>
    row.worker !== null && row.worker >= workers ? { ...row, worker: null } : row,
  );
}

const LISTEN = 'LISTEN';
/** What ss leaves out unless asked for everything. */
const NOT_CONNECTED = [LISTEN, 'UNCONN', 'SYN-RECV', 'TIME-WAIT'];

export type Wanted = 'connected' | 'listening' | 'all';

export function selectSockets(rows: readonly ShownSocket[], wanted: Wanted): ShownSocket[] {
  if (wanted === 'all') return [...rows];
  if (wanted === 'listening') return rows.filter((row) => row.state === LISTEN);
  return rows.filter((row) => !NOT_CONNECTED.includes(row.state));
}

/** `ss` writes any address as 0.0.0.0 and no peer as 0.0.0.0:*. */
export function endText(end: { address: string; port: number }): string {
  return `${end.address}:${end.port === 0 ? '*' : end.port}`;
}

export function ownerText(row: ShownSocket): string {
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
