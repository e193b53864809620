/**
 * From the times and shares that a run leaves behind to the rows of its table. Evenness itself is
 * chi-square.ts.
 */
import { evenShares } from './chi-square.js';
import type { LatencyRow, ShareRow } from './experiment.js';

const US_PER_MS = 1000;
/** Figures are shown and kept to the nanosecond: floating-point dust is no result. */
const round = (ms: number): number => Math.round(ms * 1e6) / 1e6;

/**
 * The value below which `share` of the ascending `sorted` lie, interpolated between neighbours.
 * @param share in [0, 1]; an empty array has none: NaN
 */
export function quantile(sorted: ArrayLike<number>, share: number): number {
  if (sorted.length === 0) return Number.NaN;
  const at = share * (sorted.length - 1);
  const below = Math.floor(at);
  const low = sorted[below]!;
  const high = sorted[Math.min(below + 1, sorted.length - 1)]!;
  return low + (high - low) * (at - below);
}

/** @param timesUs one time per request, µs, in any order; not changed */
export function latencyRow(policy: string, timesUs: Float64Array): LatencyRow {
  const sorted = Float64Array.from(timesUs).sort();
  const n = sorted.length;
  let sum = 0;
  for (const time of sorted) sum += time;
  const mean = sum / n;
  let squares = 0;
  for (const time of sorted) squares += (time - mean) ** 2;
  const ms = (us: number): number => round(us / US_PER_MS);
  return {
    policy,
    meanMs: ms(mean),
    medianMs: ms(quantile(sorted, 0.5)),
    p99Ms: ms(quantile(sorted, 0.99)),
    minMs: ms(sorted[0]!),
    maxMs: ms(sorted[n - 1]!),
    deviationMs: ms(Math.sqrt(squares / n)),
  };
}

export function shareRow(model: 'A' | 'B' | 'C', shares: readonly number[]): ShareRow {
  const { chiSquare, pValue, maxOverMin } = evenShares(shares);
  return {
    model,
    shares: [...shares],
    maxOverMin: Number.isFinite(maxOverMin) ? maxOverMin : null,
    chiSquare,
    pValue,
  };
}
