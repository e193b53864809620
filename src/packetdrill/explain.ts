/**
 * A failure for people: the place in the script with a mark under it, and what was expected above
 * what came, field under field, with the fields that differ marked.
 */
import type { Failure } from './run.js';
import type { Comparison } from './script.js';

/** A packet's text as fields: at blanks, and after commas. */
function fieldsOf(text: string): string[] {
  return text.split(/(?<=,)| /);
}

/** Does field `i` follow the one before without a blank? */
function isGlued(fields: readonly string[], i: number): boolean {
  return i > 0 && fields[i - 1]!.endsWith(',');
}

interface Rows {
  expected: string;
  got: string;
  marks: string;
}

/** Both texts with their fields below each other, if they have as many, and marks. */
function alignedRows(expected: string, got: string): Rows {
  const [wanted, is] = [fieldsOf(expected), fieldsOf(got)];
  const rows: Rows = { expected: '', got: '', marks: '' };
  if (wanted.length !== is.length) {
    let at = 0;
    while (expected[at] === got[at] && at < expected.length) at++;
    return { expected, got, marks: `${' '.repeat(at)}^` };
  }
  wanted.forEach((field, i) => {
    const other = is[i]!;
    const width = Math.max(field.length, other.length);
    const gap = i === 0 || isGlued(wanted, i) ? '' : ' ';
    rows.expected += gap + field.padEnd(width);
    rows.got += gap + other.padEnd(width);
    rows.marks += gap + (field === other ? ' ' : '^').repeat(width);
  });
  return rows;
}

function comparisonLines(comparison: Comparison): string[] {
  const { expected, got, expectedAt, gotAt } = comparison;
  const rows = alignedRows(expected, got);
  const width = Math.max(rows.expected.length, rows.got.length);
  const line = (label: string, text: string, when: string): string =>
    `${label.padEnd(10)}${text.padEnd(width)}  ${when}`.trimEnd();
  const lines = [line('expected', rows.expected, expectedAt), line('got', rows.got, gotAt)];
  if (rows.marks.trim() !== '') lines.push(line('', rows.marks, ''));
  return lines;
}

/**
 * What is worth reading below `FILE:LINE: expected …, got …`.
 * @param source the script's text
 */
export function explainFailure(path: string, source: string, failure: Failure): string[] {
  const { line, column, comparison } = failure;
  const text = (source.split('\n')[line - 1] ?? '').replaceAll('\t', ' ');
  const margin = ' '.repeat(String(line).length);
  const lines = [
    `${margin}--> ${path}:${line}:${column}`,
    `${margin} |`,
    `${line} | ${text}`,
    `${margin} | ${' '.repeat(Math.max(0, column - 1))}^`,
  ];
  if (comparison !== null) {
    for (const one of comparisonLines(comparison)) lines.push(`${margin} = ${one}`);
  }
  return lines;
}
