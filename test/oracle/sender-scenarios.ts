/**
 * What senders are put through: hand-written paths, one for each thing that loss recovery does, and
 * random ones from a seed.
 */
import { seededRandom } from '../../src/testing/index.js';
import type { Fate, SenderScenario } from './sender-path.js';

const OK: Fate = {};
const LOST: Fate = { lost: true };

const PLAIN: SenderScenario = {
  name: '',
  congestion: 'reno',
  rttMs: 80,
  lastMs: 1500,
  mss: 1000,
  sack: true,
  timestamps: false,
  ecn: false,
  ackEach: 2,
  ackWaits: true,
  nodelay: false,
  writes: [[0, 30_000]],
  fin: false,
  windows: [[0, 65_535]],
  fate: () => OK,
  ackLost: () => false,
};

/** Loses the first `times` transmissions of segments. */
function losing(times: Readonly<Record<number, number>>): SenderScenario['fate'] {
  return (index, nth) => (nth <= (times[index] ?? 0) ? LOST : OK);
}

function scenario(name: string, other: Partial<SenderScenario>): SenderScenario {
  return { ...PLAIN, ...other, name };
}

/** One for each thing that recovery does. */
const CASES: readonly SenderScenario[] = [
  scenario('nothing is lost', {}),
  scenario('one loss, SACK', { fate: losing({ 3: 1 }) }),
  scenario('three losses, SACK', { fate: losing({ 2: 1, 3: 1, 7: 1 }) }),
  scenario('one loss, no SACK', { sack: false, fate: losing({ 3: 1 }) }),
  scenario('three losses, partial ACKs, no SACK', {
    sack: false,
    fate: losing({ 2: 1, 4: 1, 7: 1 }),
  }),
  scenario('a retransmission is lost', { fate: losing({ 2: 2 }), lastMs: 2500 }),
  scenario('the tail is lost: TLP', { fate: losing({ 28: 1, 29: 1 }) }),
  scenario('a single segment is lost: TLP, RTO', { writes: [[0, 500]], fate: losing({ 0: 2 }) }),
  scenario('the whole window is lost: RTO', {
    lastMs: 3000,
    fate: (index, nth) => (index < 10 && nth === 1 ? LOST : OK),
  }),
  scenario('the whole window is lost, no SACK: RTO', {
    lastMs: 3000,
    sack: false,
    fate: (index, nth) => (index < 10 && nth === 1 ? LOST : OK),
  }),
  scenario('the window is late: F-RTO', {
    lastMs: 2500,
    timestamps: true,
    fate: (index, nth) => (index < 10 && nth === 1 ? { lateMs: 400 } : OK),
  }),
  scenario('the window is late, no timestamps: F-RTO', {
    lastMs: 2500,
    fate: (index, nth) => (index < 10 && nth === 1 ? { lateMs: 400 } : OK),
  }),
  scenario('one segment is late: D-SACK undoes', {
    fate: (index, nth) => (index === 2 && nth === 1 ? { lateMs: 120 } : OK),
  }),
  scenario('one segment is late: timestamps undo', {
    timestamps: true,
    fate: (index, nth) => (index === 2 && nth === 1 ? { lateMs: 30 } : OK),
  }),
  scenario('segments come twice', { fate: (index) => ({ twice: index % 4 === 1 }) }),
  scenario('a mark: CWR', {
    ecn: true,
    fate: (index, nth) => ({ marked: index === 4 && nth === 1 }),
  }),
  scenario('a mark, then a loss: CWR, Recovery', {
    ecn: true,
    writes: [[0, 40_000]],
    fate: (index, nth) => (index === 8 && nth === 1 ? LOST : { marked: index === 2 && nth === 1 }),
  }),
  scenario('a mark and a loss in one window, no SACK', {
    ecn: true,
    sack: false,
    writes: [[0, 40_000]],
    fate: (index, nth) => (index === 8 && nth === 1 ? LOST : { marked: index === 2 && nth === 1 }),
  }),
  scenario('a mark, then a time-out', {
    ecn: true,
    lastMs: 2500,
    fate: (index, nth) => (index >= 8 && nth === 1 ? LOST : { marked: index === 2 && nth === 1 }),
  }),
  scenario('the window closes and opens', {
    lastMs: 2500,
    windows: [
      [0, 4000],
      [60, 0],
      [900, 8000],
    ],
  }),
  scenario('a small window', { windows: [[0, 3500]], writes: [[0, 20_000]], lastMs: 2000 }),
  scenario('writes and FIN', {
    fin: true,
    writes: [
      [0, 300],
      [10, 300],
      [240, 2500],
      [250, 300],
    ],
  }),
  scenario('FIN is lost', { fin: true, writes: [[0, 2000]], fate: losing({ 2: 1 }) }),
  scenario('text waits for the window: PSH at half of the largest window', {
    windows: [[0, 4000]],
    writes: [[0, 15_000]],
    sack: false,
    ackEach: 1,
    rttMs: 100,
  }),
  scenario('CUBIC: slow start and a loss', {
    congestion: 'cubic',
    writes: [[0, 120_000]],
    fate: losing({ 40: 1, 41: 1 }),
    lastMs: 1800,
  }),
  scenario('a router refuses large packets', {
    pathMtu: [100, 700],
    writes: [
      [0, 20_000],
      [600, 5000],
    ],
  }),
  scenario('a router refuses large packets, timestamps', {
    pathMtu: [100, 700],
    timestamps: true,
    writes: [
      [0, 20_000],
      [600, 5000],
    ],
  }),
];

/** Where PSH is, with bursts of several segments as the kernel makes them by default. */
export const PUSH_CASES: readonly SenderScenario[] = [
  scenario('PSH at the end of bursts', { writes: [[0, 7500]], rttMs: 100 }),
  scenario('PSH at the end of each write', {
    writes: [
      [0, 1000],
      [3, 2000],
      [6, 3000],
    ],
  }),
  scenario('PSH of what is repeated', {
    sack: false,
    writes: [
      [0, 1000],
      [1, 2000],
    ],
    fate: losing({ 0: 1, 1: 1, 2: 1 }),
  }),
  scenario('PSH of a FIN that is repeated', {
    writes: [[0, 10]],
    fin: true,
    sack: false,
    fate: losing({ 0: 2 }),
  }),
];

const LARGE: Partial<SenderScenario> = { mss: 1460, pushAtEnds: true };

/** tcp_mtu_probing 1: a search begins with a black hole. */
export const BLACK_HOLE_CASES: readonly SenderScenario[] = [
  scenario('a black hole for large packets', {
    ...LARGE,
    pathMtu: [300, 1200],
    blackHole: true,
    writes: [
      [0, 20_000],
      [400, 20_000],
    ],
    lastMs: 7000,
  }),
  scenario('a black hole, timestamps, no SACK', {
    ...LARGE,
    sack: false,
    timestamps: true,
    pathMtu: [300, 1200],
    blackHole: true,
    writes: [
      [0, 20_000],
      [400, 20_000],
    ],
    lastMs: 7000,
  }),
];

/** tcp_mtu_probing 2: larger packets are tried as soon as possible. */
export const PROBING_CASES: readonly SenderScenario[] = [
  scenario('probes that arrive', { ...LARGE, writes: [[0, 90_000]] }),
  scenario('probes that arrive, timestamps, FIN', {
    ...LARGE,
    timestamps: true,
    writes: [[0, 60_000]],
    fin: true,
  }),
  scenario('a probe is lost', {
    ...LARGE,
    pathMtu: [70, 1350],
    blackHole: true,
    writes: [[0, 90_000]],
  }),
  scenario('a probe is lost, no SACK', {
    ...LARGE,
    sack: false,
    pathMtu: [70, 1350],
    blackHole: true,
    writes: [[0, 90_000]],
  }),
];

/** A number in [0, 1) that depends on `seed` and two numbers only. */
function chance(seed: number, a: number, b: number): number {
  const random = seededRandom((seed * 0x9e3779b1 + a * 0x85ebca6b + b * 0xc2b2ae35) | 0);
  random.u32();
  return random.u32() / 2 ** 32;
}

/** After so many transmissions nothing more is lost. */
const LOSSES_MOST = 4;

/** The scenario of `seed`. */
export function randomScenario(seed: number): SenderScenario {
  const random = seededRandom(seed);
  const of = <T>(values: readonly T[]): T => values[random.u32() % values.length]!;
  const loss = of([0, 0.01, 0.03, 0.08, 0.2, 0.4]);
  const late = of([0, 0, 0, 0.03, 0.1]);
  const lateMs = of([15, 35, 120, 300]);
  const twice = of([0, 0, 0, 0.05]);
  const ecn = of([false, false, true]);
  const marks = ecn ? of([0.02, 0.1]) : 0;
  const acksLost = of([0, 0, 0, 0.1, 0.3]);
  const pauseMs = of([110, 350, 1300]);
  const mss = of([536, 1000, 1460]);
  const writes: (readonly [number, number])[] = [[0, of([2000, 9000, 30_000, 60_000])]];
  if (random.u32() % 2 === 0) writes.push([pauseMs, of([100, 4000, 30_000])]);
  // What CUBIC does after a loss depends on the milliseconds since then.
  const congestion = loss + late + marks === 0 ? of(['reno', 'cubic'] as const) : 'reno';
  const small = of([3, 5, 9, 14]) * mss - of([0, 100]);
  return {
    name: `seed ${seed}`,
    congestion,
    rttMs: of([60, 80, 130]),
    lastMs: 3500,
    mss,
    sack: of([true, true, true, false]),
    timestamps: of([true, false]),
    ecn,
    ackEach: of([1, 2]),
    // Otherwise a timer that is late changes which segments an ACK is for.
    ackWaits: false,
    nodelay: of([true, false]),
    writes,
    fin: of([true, false]),
    pushAtEnds: true,
    windows: [[0, of([65_535, 65_535, small])]],
    fate(index, nth) {
      if (nth > LOSSES_MOST) return OK;
      const roll = chance(seed, index, nth);
      if (roll < loss) return LOST;
      if (roll < loss + late) return { lateMs };
      if (roll < loss + late + twice) return { twice: true };
      return { marked: roll > 1 - marks };
    },
    ackLost: (nth) => chance(seed, -1, nth) < acksLost,
  };
}

/** Seeds on which kernel and stack, or their peers, once differed. */
const FOUND: readonly number[] = [20_032, 20_099, 60_069, 60_114];

export const SENDER_CASES: readonly SenderScenario[] = [...CASES, ...FOUND.map(randomScenario)];
