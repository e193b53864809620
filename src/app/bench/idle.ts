/**
 * Resident memory that the server's process needs for one idle established connection over the
 * device: all threads, everything of our stack. What the kernel keeps for a connection of its own
 * is outside of any process and not in the kernel's figure.
 */
import { setTimeout as delay } from 'node:timers/promises';
import { startLoad } from './loads.js';
import type { Bench, PairProbe, Side } from './measure.js';
import { addSources } from './namespace.js';

/** Connections that come and go first, so that what is made once is made. */
const FIRST = 200;
/** Until the garbage of connecting is collected and the counters have settled. */
const SETTLE_MS = 1500;
/** Connections from one client address: fewer than it has ports. */
const PER_SOURCE = 40_000;

async function hold(
  side: Side,
  bench: Bench,
  count: number,
  sources: string[],
  whileHeld: () => Promise<void>,
): Promise<void> {
  const { address } = side;
  const holder = await startLoad(bench, { job: 'hold', address, count, sources });
  try {
    await whileHeld();
  } finally {
    await bench.children.stop(holder);
  }
}

export const idle: PairProbe = {
  kind: 'pair',
  figures: [
    {
      name: 'idle-bytes',
      unit: 'bytes',
      goal: { of: 'ours', atMost: 1024 },
      about: 'RSS of the process per idle connection (--connections N; once)',
    },
  ],
  plan: { server: 'demo', once: true },
  async take(side, bench) {
    const { connections } = bench.sizes;
    const sources = addSources(side, Math.ceil(connections / PER_SOURCE));
    await hold(side, bench, Math.min(FIRST, connections), sources, async () => {});
    await delay(SETTLE_MS);
    const before = side.residentBytes();
    let after = before;
    await hold(side, bench, connections, sources, async () => {
      await delay(SETTLE_MS);
      after = side.residentBytes();
    });
    return [(after - before) / connections];
  },
};
