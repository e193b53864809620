/**
 * `consistent`: rendezvous hashing (Thaler and Ravishankar 1998). Good for: workers that keep
 * something of their clients (caches, sessions): when one of n members leaves, its share of 1/n of
 * the flows moves and no other, and one who takes its number (SelectorRequest.key) gets that share
 * back. Cost grows with the members: a hash each.
 */
import { jhash2words } from '../../net/hash.js';
import type { Selector } from '../selector-request.js';

const SEED = 0x52445a56;

/** Each member draws a number from the flow's hash and its own key; the highest takes the flow. */
export const selectConsistent: Selector = (request) => {
  const { hash, members } = request;
  let best = 0;
  let bestWeight = -1;
  for (let i = 0; i < members; i++) {
    const weight = jhash2words(hash, request.key(i), SEED) >>> 0;
    // Equal draws: the lower key, so that the order of the members never matters.
    const better =
      weight > bestWeight || (weight === bestWeight && request.key(i) < request.key(best));
    if (!better) continue;
    best = i;
    bestWeight = weight;
  }
  return best;
};
