/** From samples to figures: medians, ranges and ratios, as objects and as a table. */

export function median(values) {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

function spread(values) {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/**
 * @param {Map<string, [number, number][]>} samples measure → pairs of (ours, kernel)
 * @returns one object a measure; ratio is ours / kernel, of each pair
 */
export function figureRows(samples, measures) {
  return [...samples].map(([measure, pairs]) => ({
    measure,
    unit: measures[measure].unit,
    pairs: pairs.length,
    ours: spread(pairs.map(([ours]) => ours)),
    kernel: spread(pairs.map(([, kernel]) => kernel)),
    ratio: spread(pairs.map(([ours, kernel]) => ours / kernel)),
  }));
}

function number(value) {
  if (Math.abs(value) >= 1000) return Math.round(value).toString();
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}

const cell = ({ median: middle, min, max }) => `${number(middle)} (${number(min)}-${number(max)})`;

/** The rows as text, columns aligned. */
export function tableText(rows) {
  const head = ['measure', 'unit', 'ours', 'kernel', 'ours/kernel'];
  const cells = rows.map(({ measure, unit, ours, kernel, ratio }) => [
    measure,
    unit,
    cell(ours),
    cell(kernel),
    cell(ratio),
  ]);
  const widths = head.map((title, column) =>
    Math.max(title.length, ...cells.map((row) => row[column].length)),
  );
  const line = (row) =>
    `${row
      .map((text, column) => text.padEnd(widths[column]))
      .join('  ')
      .trimEnd()}\n`;
  return [head, ...cells].map(line).join('');
}
