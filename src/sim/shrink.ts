/**
 * Runs of the simulator and what to do with one that fails: make it smaller (fewer hosts, fewer
 * calls, fewer bytes, fewer faults, shorter) as long as it fails in the same way.
 */
import { ArenaPool } from './arena.js';
import { Coverage } from './coverage.js';
import { SimFailure } from './failure.js';
import { FAULTS, type SimParameters } from './parameters.js';
import type { Log } from './trace.js';
import { type RunResult, World } from './world.js';

/** What a run has come to; a failure has a kind that shrinking keeps. */
export type Outcome =
  | { readonly ok: true; readonly result: RunResult }
  | { readonly ok: false; readonly kind: string; readonly message: string };

const ARENAS = new ArenaPool();

/**
 * One run, told to `log`, and what it reaches added to `coverage`. Whatever the stack throws is a
 * failure of the run.
 */
export function runOnce(
  parameters: SimParameters,
  log: Log | null = null,
  coverage: Coverage = new Coverage(),
): Outcome {
  const world = new World(parameters, ARENAS, log, coverage);
  try {
    return { ok: true, result: world.run() };
  } catch (error) {
    if (error instanceof SimFailure) {
      return { ok: false, kind: error.kind, message: error.message };
    }
    const { message, stack = '' } = error as Error;
    return { ok: false, kind: `throw ${message}`, message: stack };
  } finally {
    world.dispose();
  }
}

/** Smaller runs to try, boldest first. */
function* smaller(parameters: SimParameters): Generator<SimParameters> {
  const { hosts, calls, bytes, timeMs, faults } = parameters;
  for (const fewer of [2, hosts >> 1, hosts - 1]) {
    if (fewer >= 2 && fewer < hosts) yield { ...parameters, hosts: fewer };
  }
  for (const fault of FAULTS) {
    if (!faults.has(fault)) continue;
    const rest = new Set(faults);
    rest.delete(fault);
    yield { ...parameters, faults: rest };
  }
  for (const share of [4, 2, 4 / 3]) {
    const fewer = Math.floor(calls / share);
    if (fewer < calls) yield { ...parameters, calls: fewer };
    const less = Math.floor(bytes / share);
    if (less > 0 && less < bytes) yield { ...parameters, bytes: less };
    const shorter = Math.floor(timeMs / share);
    if (shorter > 0 && shorter < timeMs) yield { ...parameters, timeMs: shorter };
  }
}

/** The smallest run found in at most `tries` that fails as `parameters` does. */
export function shrink(
  parameters: SimParameters,
  kind: string,
  tries = 300,
  fails: (candidate: SimParameters) => boolean = (candidate) => {
    const outcome = runOnce(candidate);
    return !outcome.ok && outcome.kind === kind;
  },
): SimParameters {
  let best = parameters;
  let left = tries;
  for (let progress = true; progress && left > 0; ) {
    progress = false;
    for (const candidate of smaller(best)) {
      if (left-- <= 0) break;
      if (!fails(candidate)) continue;
      best = candidate;
      progress = true;
      break;
    }
  }
  return best;
}
