/**
 * `rr`: one after the other. Good for: connections that all cost about the same; shares differ by
 * one at most, which no die achieves. It does not notice a worker that is stuck.
 */
import type { Selector } from '../selector-request.js';

/** A round of its own, beginning with member 0. */
export function makeRoundRobin(): Selector {
  let next = 0;
  return (request) => {
    const index = next < request.members ? next : 0;
    if (!request.dryRun) next = index + 1;
    return index;
  };
}
