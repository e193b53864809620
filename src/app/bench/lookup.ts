/** `lookup-curve` as a probe: what the tables cost as they grow (bench-lookup.ts measures it). */
import { FULL, type LookupCurve, measureLookupCurve, QUICK } from '../bench-lookup.js';
import { alignColumns } from '../socket-table.js';
import type { AloneProbe } from './measure.js';

/** The curve as a table, ns of CPU an operation. */
function curveLines({ points, pairs }: LookupCurve): string[] {
  const ns = (value: number | null): string => (value === null ? '-' : value.toFixed(0));
  const rows = points.map((point) => [
    point.operation,
    point.size.toLocaleString('en-US'),
    point.of,
    ns(point.median),
    ns(point.min),
    ns(point.max),
    ns(point.reads),
    ns(point.beyond),
    point.visited === null ? '-' : point.visited.toFixed(2),
  ]);
  const head = ['operation', 'size', 'of', 'median', 'min', 'max', 'reads', 'beyond', 'visited'];
  return [
    `ns of CPU an operation, ${pairs} rounds`,
    ...alignColumns([head, ...rows], [1, 3, 4, 5, 6, 7, 8]),
    'visited: table rows looked at. reads: the same reads of plain arrays of the same size alone,',
    'which grow with the tables because caches do not. beyond: what the operation takes besides.',
  ];
}

export const lookup: AloneProbe = {
  kind: 'alone',
  needsNetwork: false,
  figures: [
    {
      name: 'lookup-curve',
      unit: 'ns',
      goal: null,
      about: 'lookup, insert and remove as the tables grow, in memory (no privilege)',
    },
  ],
  run(_, quick) {
    const curve = measureLookupCurve(quick ? QUICK : FULL);
    return { json: [curve], lines: curveLines(curve), rows: [] };
  },
};
