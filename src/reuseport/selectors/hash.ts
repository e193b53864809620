/**
 * `hash`: what Linux does without a program. Good for: being exactly Linux. Costs nothing, spreads
 * many connections evenly, knows nothing of who is busy; a leaver moves about half of the flows.
 */
import type { Selector } from '../selector-request.js';

/** Leaves every choice to the hash. */
export const selectHash: Selector = () => -1;
