/**
 * Connections a second, one request each: 64 and 256 clients that ask /ok with `Connection: close`,
 * so that the server closes first and keeps the TIME-WAIT.
 */
import { wrk } from './loads.js';
import type { PairProbe } from './measure.js';

const CLOSE: readonly string[] = ['Connection: close'];

function probe(clients: number): PairProbe {
  return {
    kind: 'pair',
    figures: [
      {
        name: `connections-${clients}`,
        unit: '1/s',
        goal: { of: 'ratio', atLeast: 2.5 },
        about: `connections with one GET /ok each, ${clients} clients (wrk)`,
      },
    ],
    plan: { server: 'demo' },
    async take(side, bench) {
      return [(await wrk(side, bench, clients, CLOSE)).perSecond];
    },
  };
}

export const connections: readonly PairProbe[] = [probe(64), probe(256)];
