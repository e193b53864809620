/** Bytes to the echo port and back on one connection, both ways at once, Gbit/s each way. */
import type { BulkResult } from './load-job.js';
import { gbitPerSecond, runLoad } from './loads.js';
import type { PairProbe } from './measure.js';

export const echo: PairProbe = {
  kind: 'pair',
  figures: [
    {
      name: 'echo',
      unit: 'Gbit/s',
      goal: { of: 'ratio', atLeast: 1 },
      about: 'through the echo service, both ways at once, counted once',
    },
  ],
  plan: { server: 'demo' },
  async take({ address }, bench) {
    const { seconds } = bench.sizes;
    const moved = await runLoad<BulkResult>(bench, { job: 'echo', address, seconds });
    return [gbitPerSecond(moved.bytes, moved.seconds)];
  },
};
