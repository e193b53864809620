/**
 * Dice of the simulator. One seed fixes a run; every part of a run throws dice of its own, named by
 * labels, so that leaving a host, a call or a fault out does not change what the others do. Owns no
 * distribution but the simplest.
 */
import type { Random } from '../net/env.js';

/** What the dice of a run are for: the first label. */
export const FOR_RUN = 1;
export const FOR_HOST = 2;
export const FOR_STACK = 3;
export const FOR_PATH = 4;
export const FOR_CALL = 5;
export const FOR_CHILD = 6;
export const FOR_PACKETS = 7;
export const FOR_LIFE = 8;
export const FOR_RARE = 9;
export const FOR_FILE = 10;

/** Murmur3's finalizer: int32 to int32. */
function scramble(word: number): number {
  let z = word | 0;
  z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
  z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
  return z ^ (z >>> 16);
}

/** One number out of several, int32. */
export function mix(...labels: readonly number[]): number {
  let state = 0x243f6a88;
  for (const label of labels) state = scramble(Math.imul(state, 31) + label + 0x9e3779b9);
  return state;
}

export class Dice implements Random {
  private state: number;

  constructor(...labels: readonly number[]) {
    this.state = mix(...labels);
  }

  /** Uniform unsigned 32-bit integer (a Weyl sequence through a finalizer). */
  u32(): number {
    this.state = (this.state + 0x9e3779b9) | 0;
    return scramble(this.state) >>> 0;
  }

  /** Uniform in [0, 1). */
  uniform(): number {
    return this.u32() / 2 ** 32;
  }

  chance(probability: number): boolean {
    return this.uniform() < probability;
  }

  /** Uniform integer, both ends included. */
  int(low: number, high: number): number {
    return low + Math.floor(this.uniform() * (high - low + 1));
  }

  /** Integer whose logarithm is uniform, both ends (at least 1) included. */
  spread(low: number, high: number): number {
    const value = Math.exp(Math.log(low) + this.uniform() * Math.log((high + 1) / low));
    return Math.min(high, Math.floor(value));
  }

  pick<T>(list: readonly T[]): T {
    return list[this.int(0, list.length - 1)]!;
  }
}
