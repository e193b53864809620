/**
 * `p2c`: power of two choices (Mitzenmacher 2001): two members at random, the less loaded one. Good
 * for: almost everything. The longest queue stays near that of `least` at a constant cost however
 * large the group is, and a burst does not all run to the one who was idle a moment ago. A member
 * whose thread hangs gets nothing while another lives.
 */
import type { Selector, SelectorRequest } from '../selector-request.js';
import { busyStep, isHung } from './load.js';

/** Draws of a pair before the members are walked for one that lives. */
const DRAWS = 3;

export const selectP2c: Selector = (request) => {
  const { members } = request;
  if (members === 1) return 0;
  for (let draw = 0; draw < DRAWS; draw++) {
    const picked = pickOfTwo(request);
    if (!isHung(request, picked)) return picked;
  }
  const alive = firstAlive(request);
  return alive >= 0 ? alive : pickOfTwo(request);
};

/** One of two members drawn: one that lives, the less loaded one, either. */
function pickOfTwo(request: SelectorRequest): number {
  const { members } = request;
  const a = request.randomBelow(members);
  // The second is one of the others, each with the same chance.
  const other = request.randomBelow(members - 1);
  const b = other < a ? other : other + 1;
  const hung = isHung(request, a);
  if (hung !== isHung(request, b)) return hung ? b : a;
  const order = compareLoad(request, a, b);
  if (order !== 0) return order < 0 ? a : b;
  return request.randomBelow(2) === 0 ? a : b;
}

/** Below 0: member `a` has less to do than member `b`; 0: as much. */
function compareLoad(request: SelectorRequest, a: number, b: number): number {
  const connections = request.connections(a) - request.connections(b);
  if (connections !== 0) return connections;
  const waiting = request.queueLength(a) - request.queueLength(b);
  if (waiting !== 0) return waiting;
  return busyStep(request, a) - busyStep(request, b);
}

/** Most members hang: the first that does not, from a random one on; -1 = all hang. */
function firstAlive(request: SelectorRequest): number {
  const { members } = request;
  const start = request.randomBelow(members);
  for (let step = 0; step < members; step++) {
    const i = (start + step) % members;
    if (!isHung(request, i)) return i;
  }
  return -1;
}
