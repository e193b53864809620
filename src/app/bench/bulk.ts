/**
 * Bulk to the client (GET /bytes/N) and from it (the discard port), Gbit/s of payload over 1 and 4
 * connections, and what a gigabyte costs in CPU time of the server's process. The client is
 * load-bulk.ts.
 */
import type { BulkResult } from './load-job.js';
import { gbitPerSecond, runLoad } from './loads.js';
import type { Bench, Figure, PairProbe, Side } from './measure.js';

/** Bytes of one response: many in a sample of seconds, and few heads. */
export const BLOCK_BYTES = 64e6;
const GIGABYTE = 1e9;

export type Direction = 'out' | 'in';

const WORDS: Readonly<Record<Direction, string>> = { out: 'to the client', in: 'from the client' };

export function runBulk(
  direction: Direction,
  connections: number,
  side: Side,
  bench: Bench,
): Promise<BulkResult> {
  const target = { address: side.address, seconds: bench.sizes.seconds, connections };
  return runLoad<BulkResult>(
    bench,
    direction === 'out'
      ? { ...target, job: 'bulk-out', block: BLOCK_BYTES }
      : { ...target, job: 'bulk-in' },
  );
}

function bulkProbe(direction: Direction, connections: number): PairProbe {
  const way = WORDS[direction];
  const speed: Figure = {
    name: `bulk-${direction}-${connections}`,
    unit: 'Gbit/s',
    goal: { of: 'ratio', atLeast: 1 },
    about: `payload ${way} on ${connections} ${connections === 1 ? 'connection' : 'connections'}`,
  };
  const cost: Figure = {
    name: direction === 'out' ? 'cpu-per-gb' : 'cpu-per-gb-in',
    unit: 's',
    goal: { of: 'ratio', atMost: 1 },
    about: `CPU seconds of the server's process per gigabyte ${way}`,
  };
  return {
    kind: 'pair',
    figures: connections === 1 ? [speed, cost] : [speed],
    plan: { server: 'demo' },
    async take(side, bench) {
      const before = side.cpuSeconds();
      const { bytes, seconds } = await runBulk(direction, connections, side, bench);
      const cpu = side.cpuSeconds() - before;
      return [gbitPerSecond(bytes, seconds), (cpu * GIGABYTE) / bytes];
    },
  };
}

export const bulk: readonly PairProbe[] = [
  bulkProbe('out', 1),
  bulkProbe('out', 4),
  bulkProbe('in', 1),
  bulkProbe('in', 4),
];
