/**
 * Dice for a stack: sfc32 (Chris Doty-Humphrey's small fast chaotic generator, 128 bits of state)
 * from a seed. A run with a given seed can be repeated; without one the seed comes from the
 * operating system, and is still reported.
 */
import { randomBytes } from 'node:crypto';
import type { Random } from '../net/env.js';

const SEED_BYTES = 16;
/** Rounds after which every bit of the state depends on every bit of the seed. */
const WARM_UP = 16;

/** A generator, and the seed that makes the same one again. */
export interface SeededRandom extends Random {
  readonly seed: string;
}

/**
 * @param seed any text or number; 32 hexadecimal digits are taken as they are; undefined =
 *   unpredictable
 */
export function createRandom(seed?: string | number): SeededRandom {
  const text = seed === undefined ? randomBytes(SEED_BYTES).toString('hex') : String(seed);
  const state = /^[0-9a-f]{32}$/.test(text) ? fromHex(text) : fromText(text);
  const random = { seed: text, u32: () => sfc32(state) };
  for (let i = 0; i < WARM_UP; i++) random.u32();
  return random;
}

function fromHex(text: string): Int32Array {
  return Int32Array.from([0, 8, 16, 24], (at) => Number.parseInt(text.slice(at, at + 8), 16) | 0);
}

/** FNV-1a over the characters, four times with different beginnings. */
function fromText(text: string): Int32Array {
  return Int32Array.from([1, 2, 3, 4], (lane) => {
    let hash = 0x811c9dc5 ^ lane;
    for (let i = 0; i < text.length; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x01000193);
    return hash;
  });
}

function sfc32(state: Int32Array): number {
  const sum = (state[0]! + state[1]! + state[3]!) | 0;
  state[3] = state[3]! + 1;
  state[0] = state[1]! ^ (state[1]! >>> 9);
  state[1] = state[2]! + (state[2]! << 3);
  state[2] = ((state[2]! << 21) | (state[2]! >>> 11)) + sum;
  return sum >>> 0;
}
