/**
 * Bulk without offload: our stack packet by packet with checksums in software, at MTU 1500 and
 * 65,000. The kernel's side has the same MTU and sends no segment larger than it, but need not sum
 * what never leaves the machine: a report, not a race.
 */
import { runBulk } from './bulk.js';
import { gbitPerSecond } from './loads.js';
import type { Figure, PairProbe } from './measure.js';

function plainProbe(mtu: number, goal: number): PairProbe {
  const figure = (direction: string, way: string): Figure => ({
    name: `plain-${direction}-${mtu}`,
    unit: 'Gbit/s',
    goal: { of: 'ours', atLeast: goal },
    about: `--no-offload, MTU ${mtu}, one connection ${way}`,
  });
  return {
    kind: 'pair',
    figures: [figure('out', 'to the client'), figure('in', 'from the client')],
    plan: { server: 'demo', mtu, offload: false },
    async take(side, bench) {
      const out = await runBulk('out', 1, side, bench);
      const back = await runBulk('in', 1, side, bench);
      return [gbitPerSecond(out.bytes, out.seconds), gbitPerSecond(back.bytes, back.seconds)];
    },
  };
}

export const plain: readonly PairProbe[] = [plainProbe(1500, 2), plainProbe(65_000, 8)];
