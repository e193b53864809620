/**
 * Requests a second over 64 connections that stay: the demo server's /ok beside the raw responder,
 * with what a million of them cost in CPU time of the server's process; and node:http over our
 * `net`-shaped API beside node:http on the kernel's stack.
 */
import { wrk } from './loads.js';
import type { PairProbe } from './measure.js';

const KEEPALIVE_CONNECTIONS = 64;
const MILLION = 1e6;

const raw: PairProbe = {
  kind: 'pair',
  figures: [
    {
      name: 'keepalive',
      unit: '1/s',
      goal: { of: 'ratio', atLeast: 1.5 },
      about: 'GET /ok on 64 kept connections (wrk)',
    },
    {
      name: 'cpu-per-mreq',
      unit: 's',
      goal: { of: 'ratio', atMost: 1 },
      about: "CPU seconds of the server's process per million of those requests",
    },
  ],
  plan: { server: 'demo' },
  async take(side, bench) {
    const before = side.cpuSeconds();
    const { requests, perSecond } = await wrk(side, bench, KEEPALIVE_CONNECTIONS);
    return [perSecond, ((side.cpuSeconds() - before) * MILLION) / requests];
  },
};

const nodeHttp: PairProbe = {
  kind: 'pair',
  figures: [
    {
      name: 'keepalive-http',
      unit: '1/s',
      goal: { of: 'ratio', atLeast: 1 },
      about: "the same from node:http, over our net beside the kernel's",
    },
  ],
  plan: { server: 'http' },
  async take(side, bench) {
    return [(await wrk(side, bench, KEEPALIVE_CONNECTIONS)).perSecond];
  },
};

export const keepalive: readonly PairProbe[] = [raw, nodeHttp];
