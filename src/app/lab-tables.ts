/**
 * A report of the lab as text for people: what was run, our rows and the published ones as tables,
 * a line for each verdict. Pure functions from values to lines.
 */
import type { Report, Row, Value, Verdict } from '../lab/experiment.js';
import { alignColumns } from './socket-table.js';

const GREEN = '\u001b[32m';
const RED = '\u001b[31m';
const PLAIN = '\u001b[0m';
const COLUMNS_MAX = 100;

/** Digits that carry meaning in a table; --json has them all. */
function cell(value: Value | undefined): string {
  if (value === undefined || value === null) return '-';
  if (Array.isArray(value)) return value.join(' ');
  if (typeof value !== 'number' || Number.isInteger(value)) return String(value);
  if (Math.abs(value) >= 100) return value.toFixed(1);
  return Math.abs(value) < 0.001 ? value.toExponential(1) : value.toPrecision(4);
}

/** Column names in the order of their first appearance, one line for each row. */
export function tableLines(rows: readonly Row[]): string[] {
  const names = [...new Set(rows.flatMap((row) => Object.keys(row)))];
  const isNumber = (name: string): boolean =>
    rows.every(({ [name]: value }) => typeof (value ?? 0) === 'number');
  const right = names.flatMap((name, i) => (isNumber(name) ? [i] : []));
  return alignColumns([names, ...rows.map((row) => names.map((name) => cell(row[name])))], right);
}

/** `name  text`, broken at spaces so that it stays on the screen. */
function wrapped(name: string, text: string, width: number): string[] {
  const lines: string[] = [];
  let line = '';
  for (const word of text.split(' ')) {
    if (line !== '' && width + line.length + 1 + word.length > COLUMNS_MAX) {
      lines.push(line);
      line = '';
    }
    line = line === '' ? word : `${line} ${word}`;
  }
  lines.push(line);
  return lines.map((part, i) => (i === 0 ? name : '').padEnd(width) + part);
}

export function verdictLine({ claim, holds }: Verdict, color: boolean): string {
  const mark = holds ? '✓' : '✗';
  if (!color) return `${mark} ${claim}`;
  return `${holds ? GREEN : RED}${mark}${PLAIN} ${claim}`;
}

/** Everything that `tunstack lab NAME` prints. */
export function reportLines(report: Report, color: boolean): string[] {
  const parameters = Object.entries({ seed: report.seed, ...report.parameters });
  const width = Math.max(...parameters.map(([name]) => name.length)) + 4;
  return [
    `${report.experiment}: ours`,
    ...tableLines(report.rows).map((line) => `  ${line}`),
    'published',
    ...tableLines(report.published).map((line) => `  ${line}`),
    'parameters',
    ...parameters.flatMap(([name, value]) => wrapped(`  ${name}`, cell(value), width)),
    'verdicts',
    ...report.verdicts.map((verdict) => `  ${verdictLine(verdict, color)}`),
  ];
}
