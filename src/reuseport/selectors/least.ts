/**
 * `least`: the member with the fewest open connections. Good for: connections of very different
 * cost and length, in groups of tens or a few hundred: it looks at every member for every SYN.
 * Members whose thread hangs get nothing while another lives; among equals a die decides.
 */
import type { Selector } from '../selector-request.js';
import { busyStep, isHung } from './load.js';

/** Not looked at yet: only members with equally many connections are looked at closer. */
const UNKNOWN = -1;

export const selectLeast: Selector = (request) => {
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
};
