/**
 * Round trip of one byte to the echo port: median and 99th percentile of each sample, µs. Only an
 * idle machine gives figures worth keeping: with other work the 99th percentile is the scheduler's.
 */
import type { PingPongResult } from './load-job.js';
import { runLoad } from './loads.js';
import type { PairProbe } from './measure.js';

export const latency: PairProbe = {
  kind: 'pair',
  figures: [
    {
      name: 'pingpong-p50',
      unit: 'µs',
      goal: { of: 'ratio', atMost: 1.2 },
      about: 'one byte there and back, median (blocking client)',
    },
    {
      name: 'pingpong-p99',
      unit: 'µs',
      goal: { of: 'ratio', atMost: 1.5 },
      about: 'the same, 99th percentile',
    },
  ],
  plan: { server: 'demo' },
  async take(side, bench) {
    const { address } = side;
    const { seconds } = bench.sizes;
    const { p50, p99 } = await runLoad<PingPongResult>(bench, {
      job: 'ping-pong',
      address,
      seconds,
    });
    return [p50, p99];
  },
};
