/**
 * `random`: a fair die for each connection. Good for: comparing others with; it spreads as well as
 * the hash and, unlike it, nobody who chooses his ports can choose his worker.
 */
import type { Selector } from '../selector-request.js';

export const selectRandom: Selector = (request) => request.randomBelow(request.members);
