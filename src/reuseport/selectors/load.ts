/**
 * What the load-aware selectors compare: open connections first, then what waits in the accept
 * queue, then how busy the thread was of late. A thread that has not shown itself for HUNG_AFTER_MS
 * counts as hung.
 */
import type { SelectorRequest } from '../selector-request.js';

/** A member whose thread gave no sign for longer gets no connection while another lives, ms. */
export const HUNG_AFTER_MS = 1000;

/**
 * Steps of utilisation that are told apart: within one, two threads are equally busy, so that noise
 * does not send every connection of a burst the same way.
 */
const UTILISATION_STEPS = 8;

export function isHung(request: SelectorRequest, i: number): boolean {
  return request.heartbeatAgeMs(i) > HUNG_AFTER_MS;
}

/** How busy the thread of member `i` was, in steps. */
export function busyStep(request: SelectorRequest, i: number): number {
  return Math.round(request.utilisation(i) * UTILISATION_STEPS);
}
