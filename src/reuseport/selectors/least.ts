/**
 * `least`: the member with the fewest open connections, of those the one with the shortest accept
 * queue, of those the least busy one; among equals a die decides. Good for: connections of very
 * different cost and length. Members whose thread hangs get nothing while another lives. It looks
 * at every member for a SYN, unless a few draws find one that has nothing to do at all.
 */
import type { Selector, SelectorRequest } from '../selector-request.js';
import { busyStep, isHung } from './load.js';

/** Not looked at yet: only members with equally many connections are looked at closer. */
const UNKNOWN = -1;

/** Draws before the members are walked. */
const DRAWS = 4;

export const selectLeast: Selector = (request) => {
  // Nobody can have less to do than nothing, and of those who have nothing each is drawn as often
  // as another: the choice is that of the walk, which costs much more where everybody is equal.
  for (let draw = 0; draw < DRAWS; draw++) {
    const i = request.randomBelow(request.members);
    if (request.connections(i) !== 0 || request.queueLength(i) !== 0) continue;
    if (!isHung(request, i) && busyStep(request, i) === 0) return i;
  }
  return leastOfAll(request);
};

/** The walk over all members. */
function leastOfAll(request: SelectorRequest): number {
  const { members } = request;
  let best = 0;
  let bestHung = isHung(request, 0);
  let bestConnections = request.connections(0);
  let bestWaiting = UNKNOWN;
  let bestBusy = UNKNOWN;
  let equals = 1;
  for (let i = 1; i < members; i++) {
    const connections = request.connections(i);
    if (connections > bestConnections && !bestHung) continue;
    const hung = isHung(request, i);
    if (hung && !bestHung) continue;
    let order = hung === bestHung ? connections - bestConnections : -1;
    let waiting = UNKNOWN;
    let busy = UNKNOWN;
    if (order === 0) {
      if (bestWaiting === UNKNOWN) bestWaiting = request.queueLength(best);
      waiting = request.queueLength(i);
      order = waiting - bestWaiting;
    }
    if (order === 0) {
      if (bestBusy === UNKNOWN) bestBusy = busyStep(request, best);
      busy = busyStep(request, i);
      order = busy - bestBusy;
    }
    // The k-th of k equals replaces the choice with probability 1/k: each gets the same chance.
    if (order > 0 || (order === 0 && request.randomBelow(++equals) !== 0)) continue;
    best = i;
    if (order === 0) continue;
    bestHung = hung;
    bestConnections = connections;
    bestWaiting = waiting;
    bestBusy = busy;
    equals = 1;
  }
  return best;
}
