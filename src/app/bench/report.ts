/** Rows of measures as a table for people: medians, ranges, the goal and whether it was met. */
import { alignColumns } from '../socket-table.js';
import type { Goal, Row, Spread } from './measure.js';

function number(value: number): string {
  if (Math.abs(value) >= 1000) return Math.round(value).toLocaleString('en-US');
  if (Math.abs(value) >= 100) return value.toFixed(0);
  return Math.abs(value) >= 1 ? value.toFixed(2) : value.toPrecision(3);
}

function cell(spread: Spread | null): string {
  if (spread === null) return '-';
  return `${number(spread.median)} (${number(spread.min)}-${number(spread.max)})`;
}

export function goalText(goal: Goal | null): string {
  if (goal === null) return '-';
  const bound = goal.atLeast === undefined ? `<= ${goal.atMost}` : `>= ${goal.atLeast}`;
  return goal.of === 'ratio' ? `ratio ${bound}` : `ours ${bound}`;
}

const verdict = (met: boolean | null): string => (met === null ? '-' : met ? 'yes' : 'no');

const HEAD = ['measure', 'unit', 'pairs', 'ours', 'kernel', 'ours / kernel', 'goal', 'met'];

/** The table's lines: median (lowest-highest) of each side; the ratio is that of the medians. */
export function tableLines(rows: readonly Row[]): string[] {
  const cells = rows.map((row) => [
    row.measure,
    row.unit,
    String(row.pairs),
    cell(row.ours),
    cell(row.kernel),
    cell(row.ratio),
    goalText(row.goal),
    verdict(row.met),
  ]);
  return alignColumns([HEAD, ...cells], [2]);
}
