/**
 * One iperf3 test in words and as JSON, as far as the server knows it: the lines that iperf3's
 * server prints, and the same facts under iperf3's names. Collects and words; measures nothing.
 */
import type { Results } from './iperf3-protocol.js';

/** One stream in one interval or over a whole test. */
export interface StreamRow {
  socket: number;
  sends: boolean;
  bytes: number;
  /** Of senders. */
  retransmits: number;
  cwndBytes: number;
  rttUs: number;
  rttvarUs: number;
  pmtu: number;
}

/** All streams in one interval, seconds since the test (or what counts of it) began. */
export interface Interval {
  start: number;
  end: number;
  omitted: boolean;
  rows: readonly StreamRow[];
}

const RULE = '-'.repeat(59);
const DASHES = '- '.repeat(25).trimEnd();

/** What a server says while it waits. */
export function listeningLines(port: number, test: number): string[] {
  return [RULE, `Server listening on ${port} (test #${test})`, RULE];
}

function scaled(value: number, base: number, units: readonly string[]): string {
  let unit = 0;
  while (value >= base && unit < units.length - 1) {
    value /= base;
    unit++;
  }
  const digits = value < 9.995 ? 2 : value < 99.95 ? 1 : 0;
  return `${value.toFixed(digits).padStart(4)} ${units[unit]}`;
}

/** Bytes in powers of 1024, as iperf3 writes them: `64.0 MBytes`. */
export function bytesText(bytes: number): string {
  return scaled(bytes, 1024, ['Bytes', 'KBytes', 'MBytes', 'GBytes', 'TBytes']);
}

/** Bits a second in powers of 1000: `1.23 Gbits/sec`. */
export function rateText(bitsPerSecond: number): string {
  return scaled(bitsPerSecond, 1000, ['bits/sec', 'Kbits/sec', 'Mbits/sec', 'Gbits/sec']);
}

function bitsPerSecond(bytes: number, seconds: number): number {
  return seconds > 0 ? (bytes * 8) / seconds : 0;
}

/** Which columns the streams of a test need. */
export interface Shape {
  receives: boolean;
  sends: boolean;
  streams: number;
}

/** The head of a table; `cwnd` only above intervals. */
export function headLine({ receives, sends }: Shape, cwnd: boolean): string {
  const role = receives && sends ? '[Role]' : '';
  const sender = sends ? `         Retr${cwnd ? '  Cwnd' : ''}` : '';
  return `[ ID]${role} Interval           Transfer     Bitrate${sender}`;
}

interface Span {
  start: number;
  end: number;
}

function line(
  name: string,
  shape: Shape,
  { start, end }: Span,
  row: Pick<StreamRow, 'sends' | 'bytes' | 'retransmits'>,
  tail: string,
): string {
  const role = shape.receives && shape.sends ? `[${row.sends ? 'TX' : 'RX'}-S]` : '';
  const times = `${start.toFixed(2).padStart(6)}-${end.toFixed(2).padEnd(6)}`;
  const amount = bytesText(row.bytes);
  const rate = rateText(bitsPerSecond(row.bytes, end - start));
  const retransmits = row.sends ? `  ${String(row.retransmits).padStart(3)}  ` : '                ';
  return `[${name}]${role} ${times} sec  ${amount}  ${rate}${retransmits} ${tail}`.trimEnd();
}

function sumOf(rows: readonly StreamRow[]): Pick<StreamRow, 'sends' | 'bytes' | 'retransmits'> {
  return {
    sends: rows[0]!.sends,
    bytes: rows.reduce((sum, row) => sum + row.bytes, 0),
    retransmits: rows.reduce((sum, row) => sum + row.retransmits, 0),
  };
}

/** The rows that belong under one sum: with two directions, those of one each. */
function directions(rows: readonly StreamRow[]): (readonly StreamRow[])[] {
  const all = [rows.filter((row) => !row.sends), rows.filter((row) => row.sends)];
  return all.filter((some) => some.length > 0);
}

/** One interval, with the head above the first. */
export function intervalLines(interval: Interval, shape: Shape, first: boolean): string[] {
  const many = shape.streams > (shape.receives && shape.sends ? 2 : 1);
  const omitted = interval.omitted ? '(omitted)' : '';
  const lines = first ? [headLine(shape, true)] : many ? [DASHES] : [];
  for (const row of interval.rows) {
    const tail = row.sends ? `${bytesText(row.cwndBytes)} ${omitted}` : omitted;
    lines.push(line(String(row.socket).padStart(3), shape, interval, row, tail));
  }
  if (!many) return lines;
  for (const rows of directions(interval.rows)) {
    lines.push(line('SUM', shape, interval, sumOf(rows), omitted));
  }
  return lines;
}

/** The table at the end of a test. */
export function finalLines(total: Interval, shape: Shape): string[] {
  const lines = [DASHES, headLine(shape, false)];
  // As far to the right as under the columns of a receiver.
  const side = (sends: boolean): string => (sends ? '          sender' : 'receiver');
  for (const row of total.rows) {
    lines.push(line(String(row.socket).padStart(3), shape, total, row, side(row.sends)));
  }
  if (shape.streams <= (shape.receives && shape.sends ? 2 : 1)) return lines;
  for (const rows of directions(total.rows)) {
    const sum = sumOf(rows);
    lines.push(line('SUM', shape, total, sum, side(sum.sends)));
  }
  return lines;
}

interface JsonSum extends Span {
  seconds: number;
  bytes: number;
  bits_per_second: number;
  retransmits?: number;
  sender: boolean;
}

function jsonSum({ start, end }: Span, bytes: number, sender: boolean, resent: number): JsonSum {
  const seconds = end - start;
  return {
    start,
    end,
    seconds,
    bytes,
    bits_per_second: bitsPerSecond(bytes, seconds),
    // A receiver cannot know.
    ...(resent >= 0 ? { retransmits: resent } : {}),
    sender,
  };
}

function jsonRow(span: Span, row: StreamRow): object {
  const { socket, bytes, retransmits, cwndBytes, rttUs, rttvarUs, pmtu, sends } = row;
  const facts = { snd_cwnd: cwndBytes, rtt: rttUs, rttvar: rttvarUs, pmtu };
  return {
    socket,
    ...jsonSum(span, bytes, sends, sends ? retransmits : -1),
    ...(sends ? facts : {}),
  };
}

/** An interval under iperf3's names. */
export function jsonInterval(interval: Interval): object {
  const { omitted, rows } = interval;
  const sums = directions(rows).map((some) => {
    const { bytes, sends, retransmits } = sumOf(some);
    return { ...jsonSum(interval, bytes, sends, sends ? retransmits : -1), omitted };
  });
  return {
    streams: rows.map((row) => ({ ...jsonRow(interval, row), omitted })),
    sum: sums[0],
    ...(sums.length > 1 ? { sum_bidir_reverse: sums[1] } : {}),
  };
}

/** Both sides of every stream, as far as they are known; `remote` null = the client's are not. */
export function jsonEnd(total: Interval, own: Results, remote: Results | null): object {
  const told = (i: number): JsonSum | null => {
    const id = own.streams[i]!.id;
    const theirs = remote?.streams.find((stream) => stream.id === id);
    if (theirs === undefined) return null;
    const { sends } = total.rows[i]!;
    const span = { start: theirs.start_time, end: theirs.end_time };
    return jsonSum(span, theirs.bytes, !sends, sends ? -1 : theirs.retransmits);
  };
  const cpu = (side: string, results: Results | null): Record<string, number> =>
    results === null
      ? {}
      : {
          [`${side}_total`]: results.cpu_util_total,
          [`${side}_user`]: results.cpu_util_user,
          [`${side}_system`]: results.cpu_util_system,
        };
  return {
    streams: total.rows.map((row, i) => {
      const ours = jsonRow(total, row);
      return row.sends ? { sender: ours, receiver: told(i) } : { sender: told(i), receiver: ours };
    }),
    sums: directions(total.rows).map((rows) => {
      const { bytes, sends, retransmits } = sumOf(rows);
      return jsonSum(total, bytes, sends, sends ? retransmits : -1);
    }),
    cpu_utilization_percent: { ...cpu('host', own), ...cpu('remote', remote) },
  };
}
