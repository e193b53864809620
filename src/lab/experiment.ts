/**
 * What an experiment of the lab is and what it hands back. The shapes are those that `tunstack lab
 * NAME --json` prints. Nothing in this room reads a clock: time is a number that an experiment
 * moves, and all chance comes from one seed.
 */
import type { Random } from '../net/env.js';
import { seededRandom } from '../testing/memory-stack.js';

/** A cell of a row; arrays are shares or orders. */
export type Value = string | number | boolean | null | readonly number[];
export type Row = Readonly<Record<string, Value>>;

/** One claim of the literature and whether this run bears it out. */
export interface Verdict {
  readonly claim: string;
  readonly holds: boolean;
}

/** Times of requests, milliseconds; the deviation is that of the whole population. */
export interface LatencyRow {
  readonly policy: string;
  readonly meanMs: number;
  readonly medianMs: number;
  readonly p99Ms: number;
  readonly minMs: number;
  readonly maxMs: number;
  readonly deviationMs: number;
}

/** How many connections each worker got under a model, and how likely chance alone is that bad. */
export interface ShareRow {
  readonly model: 'A' | 'B' | 'C';
  readonly shares: readonly number[];
  /** Null when a worker got nothing. */
  readonly maxOverMin: number | null;
  readonly chiSquare: number;
  readonly pValue: number;
}

export interface Report {
  readonly experiment: string;
  readonly seed: number;
  /** Sizes of the run, what is real and what is simulated, where it differs from the source. */
  readonly parameters: Readonly<Record<string, Value>>;
  readonly rows: readonly Row[];
  /** The published figures, each with its source. */
  readonly published: readonly Row[];
  readonly verdicts: readonly Verdict[];
}

export interface LabOptions {
  readonly seed: number;
  /** How often to repeat what scatters, where an experiment repeats; default: its own choice. */
  readonly runs?: number;
  /** Share of the full number of requests or flows, in (0, 1]; 1 = what the verdicts are for. */
  readonly scale: number;
}

export interface Experiment {
  readonly name: string;
  /** One line for the list of experiments. */
  readonly summary: string;
  /** It repeats something, LabOptions.runs times. */
  readonly repeats?: boolean;
  run(options: LabOptions): Report;
}

/** Verdicts call a share uneven beyond chance below this probability. */
export const SIGNIFICANCE = 0.001;

/** `full` requests at this scale, at least `least`. */
export function scaled(full: number, { scale }: LabOptions, least = 1): number {
  return Math.max(least, Math.round(full * scale));
}

/** Throws of a die, from one seed. */
export class Dice {
  readonly random: Random;

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  /** Uniform in [0, 1). */
  uniform(): number {
    return this.random.u32() / 0x1_0000_0000;
  }

  /** Uniform integer in [0, n). */
  below(n: number): number {
    return Math.floor(this.uniform() * n);
  }

  /** Exponential with this mean: the times between events that know nothing of each other. */
  exponential(mean: number): number {
    return -mean * Math.log(1 - this.uniform());
  }
}
