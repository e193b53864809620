/** Every measure of the bench, its groups, and which probes a command line asks for. */
import { bulk } from './bulk.js';
import { connections } from './connections.js';
import { crowd } from './crowd.js';
import { deviceLimits } from './device-limits.js';
import { echo } from './echo.js';
import { flood } from './flood.js';
import { idle } from './idle.js';
import { keepalive } from './keepalive.js';
import { latency } from './latency.js';
import { lookup } from './lookup.js';
import type { Figure, Probe } from './measure.js';
import { plain } from './plain.js';
import { steps } from './steps.js';

/** In the order in which `all` runs them. */
export const PROBES: readonly Probe[] = [
  ...keepalive,
  ...connections,
  ...bulk,
  echo,
  latency,
  ...plain,
  idle,
  crowd,
  lookup,
  flood,
  deviceLimits,
  steps,
];

/** Short names for several. */
export const GROUPS: Readonly<Record<string, readonly string[]>> = {
  http: ['keepalive', 'keepalive-http', 'cpu-per-mreq'],
  cps: ['connections-64', 'connections-256'],
  bulk: PROBES.flatMap(({ figures }) => figures.map(({ name }) => name)).filter((name) =>
    name.startsWith('bulk-'),
  ),
  'bulk-out': ['bulk-out-1', 'bulk-out-4'],
  'bulk-in': ['bulk-in-1', 'bulk-in-4'],
  lookup: ['lookup-curve'],
  memory: ['idle-bytes', 'idle-bytes-1m'],
  device: deviceLimits.figures.map(({ name }) => name),
  steps: steps.figures.map(({ name }) => name),
  crowd: crowd.figures.map(({ name }) => name),
  accept: ['connections-64', 'connections-256', 'synflood', 'synflood-failed'],
};

export function figureNames(): string[] {
  return PROBES.flatMap(({ figures }: Probe) => figures.map(({ name }: Figure) => name));
}

/** The figures that `words` (names, groups, `all`) stand for, or the first word that is none. */
export function resolveNames(words: readonly string[]): Set<string> | { unknown: string } {
  const known = figureNames();
  const wanted = new Set<string>();
  for (const word of words) {
    const named = word === 'all' ? known : (GROUPS[word] ?? [word]);
    for (const name of named) {
      if (!known.includes(name)) return { unknown: word };
      wanted.add(name);
    }
  }
  return wanted;
}

/** The probes that give at least one of `names`. */
export function probesFor(names: ReadonlySet<string>): Probe[] {
  return PROBES.filter(({ figures }) => figures.some(({ name }) => names.has(name)));
}
