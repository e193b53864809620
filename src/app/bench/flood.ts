/**
 * SYNs from addresses that never answer, as many as the server answers, with SYN cookies on, while
 * a hundred connections a second go on: how many SYNs are answered with a cookie, how many of the
 * good connections fail, and how long the slowest hundredth of them takes.
 */
import type { FloodResult, GoodResult } from './load-job.js';
import { runLoad } from './loads.js';
import type { PairProbe } from './measure.js';

const GOOD_PER_SECOND = 100;
/** Soon full: from then on every SYN is answered with a cookie. */
const BACKLOG = 128;
const COOKIES = 'TcpExtSyncookiesSent';

export const flood: PairProbe = {
  kind: 'pair',
  figures: [
    {
      name: 'synflood',
      unit: '1/s',
      goal: null,
      about: 'SYNs of a flood answered with cookies, 100 good connections/s going on',
    },
    {
      name: 'synflood-failed',
      unit: 'connections',
      goal: { of: 'ours', atMost: 0 },
      about: 'good connections that failed meanwhile',
    },
    {
      name: 'synflood-good-p99',
      unit: 'ms',
      goal: null,
      about: 'time of a good connection meanwhile, SYN to end, 99th percentile',
    },
  ],
  plan: { server: 'demo', backlog: BACKLOG, sysctl: { 'net.ipv4.tcp_syncookies': '1' } },
  async take(side, bench) {
    const { address, device } = side;
    const { seconds } = bench.sizes;
    const before = await side.counter(COOKIES);
    const [syns, good] = await Promise.all([
      runLoad<FloodResult>(bench, { job: 'flood', address, device, seconds }),
      runLoad<GoodResult>(bench, { job: 'good', address, seconds, perSecond: GOOD_PER_SECOND }),
    ]);
    const cookies = (await side.counter(COOKIES)) - before;
    return [cookies / syns.seconds, good.failed, good.p99Ms];
  },
};
