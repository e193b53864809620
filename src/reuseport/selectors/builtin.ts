/**
 * The selectors that come with the stack, by name. Each is a plain function in a file of its own;
 * they see nothing but a SelectorRequest, as a user's own do.
 */
import type { Selector } from '../selector-request.js';
import { selectConsistent } from './consistent.js';
import { selectCpu } from './cpu.js';
import { selectHash } from './hash.js';
import { selectLeast } from './least.js';
import { selectP2c } from './p2c.js';
import { selectRandom } from './random.js';
import { makeRoundRobin } from './round-robin.js';

/** For each name what makes a selector: one that remembers something is made per attachment. */
const BUILTIN: ReadonlyMap<string, () => Selector> = new Map([
  ['hash', () => selectHash],
  ['random', () => selectRandom],
  ['rr', makeRoundRobin],
  ['least', () => selectLeast],
  ['p2c', () => selectP2c],
  ['consistent', () => selectConsistent],
  ['cpu', () => selectCpu],
]);

export const SELECTOR_NAMES: readonly string[] = [...BUILTIN.keys()];

/** A selector to attach to one group, null when there is none of that name. */
export function builtinSelector(name: string): Selector | null {
  return BUILTIN.get(name)?.() ?? null;
}
