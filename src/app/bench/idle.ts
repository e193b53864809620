/**
 * Resident memory that the server's process needs for one idle established connection over the
 * device: all threads, everything of our stack. What the kernel keeps for a connection of its own
 * is outside of any process and not in the kernel's figure.
 */
import type { ChildProcess } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { setTimeout as delay } from 'node:timers/promises';
import { startLoad } from './loads.js';
import type { Bench, PairProbe, Side } from './measure.js';
import { addSources } from './namespace.js';

/** Connections that come and go first, so that what is made once is made. */
const FIRST = 200;
/** Until the garbage of connecting is collected and the counters have settled. */
const SETTLE_MS = 1500;
/** Connections of one client process: fewer than it has ports, and commonly has descriptors. */
const PER_HOLDER = 15_000;
/** What a process has open besides. */
const SPARE_FILES = 200;

/**
 * Opens `count` connections from as many processes as it takes, each from an address of its own,
 * and closes them after `whileHeld`.
 */
async function hold(
  side: Side,
  bench: Bench,
  count: number,
  whileHeld: () => Promise<void>,
): Promise<void> {
  const { address } = side;
  const sources = addSources(side, Math.ceil(count / PER_HOLDER));
  const holders: ChildProcess[] = [];
  try {
    for (const [i, source] of sources.entries()) {
      const most = Math.min(PER_HOLDER, count - i * PER_HOLDER);
      const job = { job: 'hold', address, count: most, source } as const;
      holders.push(await startLoad(bench, job));
    }
    await whileHeld();
  } finally {
    await Promise.all(holders.map((holder) => bench.children.stop(holder)));
  }
}

/** As many of the wanted connections as the kernel gives the server descriptors for. */
function connectionsOf(side: Side, bench: Bench): number {
  const wanted = bench.sizes.connections;
  if (side.name === 'ours') return wanted; // ours are no descriptors of the kernel
  const limits = readFileSync(`/proc/${side.pid}/limits`, 'utf8');
  const most = Number(/^Max open files\s+(\d+)/m.exec(limits)![1]) - SPARE_FILES;
  if (most < wanted) bench.say(`idle-bytes: ${most} for the kernel's server (ulimit -n)`);
  return Math.min(wanted, most);
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
    const connections = connectionsOf(side, bench);
    await hold(side, bench, Math.min(FIRST, connections), async () => {});
    await delay(SETTLE_MS);
    const before = side.residentBytes();
    let after = before;
    await hold(side, bench, connections, async () => {
      await delay(SETTLE_MS);
      after = side.residentBytes();
    });
    return [(after - before) / connections];
  },
};
