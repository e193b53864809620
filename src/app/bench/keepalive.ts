/**
 * Requests a second over 64 connections that stay: the demo server's /ok beside the raw responder,
 * and what a million of them cost in CPU time of the server's process.
 */
import { wrk } from './loads.js';
import type { PairProbe } from './measure.js';

export const KEEPALIVE_CONNECTIONS = 64;
const MILLION = 1e6;

export const keepalive: PairProbe = {
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
