/**
 * Takes the samples of one probe: ours and the kernel's in turn, the order changing from pair to
 * pair, so that a machine that slows down slows both alike; after one warm-up of each that does not
 * count. Medians, ranges and ratios are made here, too.
 */
import type {
  Bench,
  Figure,
  Goal,
  PairProbe,
  Row,
  Side,
  SideName,
  Sizes,
  Spread,
} from './measure.js';
import { type Sides, startSides } from './sides.js';

const NAMES: readonly SideName[] = ['ours', 'kernel'];
/** Of the length of a sample. */
const WARM_UP_SHARE = 0.3;

/** Samples of one figure. */
interface Samples {
  readonly ours: number[];
  readonly kernel: number[];
}

export function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  if (sorted.length % 2 === 1) return sorted[middle]!;
  return (sorted[middle - 1]! + sorted[middle]!) / 2;
}

function spreadOf(values: readonly number[]): Spread {
  return { median: median(values), min: Math.min(...values), max: Math.max(...values) };
}

/** Ratio of the medians, and the range of the pairs' ratios. */
export function ratioOf(ours: readonly number[], kernel: readonly number[]): Spread {
  const ratios = ours.map((value, i) => value / kernel[i]!);
  return {
    median: median(ours) / median(kernel),
    min: Math.min(...ratios),
    max: Math.max(...ratios),
  };
}

/** Whether a median reaches its goal; null without one. */
function isMet(goal: Goal | null, ours: Spread, ratio: Spread | null): boolean | null {
  const held = goal === null ? null : goal.of === 'ours' ? ours : ratio;
  if (goal === null || held === null) return null;
  const { atLeast = Number.NEGATIVE_INFINITY, atMost = Number.POSITIVE_INFINITY } = goal;
  return held.median >= atLeast && held.median <= atMost;
}

export function rowOf({ name, unit, goal }: Figure, { ours, kernel }: Samples): Row {
  const our = spreadOf(ours);
  const hasRatio = kernel.length > 0 && kernel.every((value) => value !== 0);
  const ratio = hasRatio ? ratioOf(ours, kernel) : null;
  return {
    measure: name,
    unit,
    pairs: ours.length,
    ours: our,
    kernel: kernel.length === 0 ? null : spreadOf(kernel),
    ratio,
    goal,
    met: isMet(goal, our, ratio),
    samples: { ours, kernel },
  };
}

async function warmUp(probe: PairProbe, sides: Sides, bench: Bench): Promise<void> {
  const sizes: Sizes = { ...bench.sizes, seconds: bench.sizes.seconds * WARM_UP_SHARE };
  for (const name of NAMES) await probe.take(sides[name], { ...bench, sizes });
}

/** Two pairs at the same time would measure each other: a pair is one side, then the other. */
async function takePair(
  probe: PairProbe,
  sides: Sides,
  bench: Bench,
  turn: number,
): Promise<Record<SideName, readonly number[]>> {
  const order = turn % 2 === 0 ? NAMES : NAMES.toReversed();
  const taken: Record<SideName, readonly number[]> = { ours: [], kernel: [] };
  for (const name of order) {
    const side: Side = sides[name];
    taken[name] = await probe.take(side, bench);
  }
  return taken;
}

const short = (value: number): string => value.toPrecision(4);

/** All samples of a probe, with a line each; a row for each of its figures. */
export async function runPairs(probe: PairProbe, bench: Bench): Promise<Row[]> {
  const samples: Samples[] = probe.figures.map(() => ({ ours: [], kernel: [] }));
  const pairs = probe.plan.once ? 1 : bench.sizes.pairs;
  const sides = await startSides(bench.children, probe.plan, bench.sizes);
  try {
    if (!probe.plan.once) await warmUp(probe, sides, bench);
    for (let turn = 0; turn < pairs; turn++) {
      const taken = await takePair(probe, sides, bench, turn);
      probe.figures.forEach(({ name, unit }, i) => {
        const [ours, kernel] = [taken.ours[i]!, taken.kernel[i]!];
        samples[i]!.ours.push(ours);
        samples[i]!.kernel.push(kernel);
        bench.say(`${turn + 1}/${pairs} ${name}: ${short(ours)} and ${short(kernel)} ${unit}`);
      });
    }
  } finally {
    await sides.stop();
  }
  return probe.figures.map((figure, i) => rowOf(figure, samples[i]!));
}
