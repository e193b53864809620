/**
 * One packet script on the running kernel, and what its end means. Real time is coarser than the
 * virtual clock that scripts are written for: a kernel's timers are late by up to an eighth and
 * come in steps, a busy machine is later. So times are compared with a wider tolerance, and a
 * difference is one when it shows every time.
 */
import { parseWithDefines, runParsed } from '../../src/packetdrill/run.js';
import type { Script, ScriptOption } from '../../src/packetdrill/script.js';
import { World } from '../../src/packetdrill/world.js';
import { mutationsOf } from '../packetdrill/mutations.js';
import { KernelWorld } from './kernel-world.js';

/** What to play; it goes to a thread of its own. */
export interface ScriptAsked {
  readonly name: string;
  readonly source: string;
  /** One that takes longer is skipped, s. */
  readonly longestS: number;
  /** Number of the change to make, see mutationsOf; null = as it is. */
  readonly mutation: number | null;
  /** As often a difference must show before it is one. */
  readonly attempts: number;
}

export interface ScriptAnswer {
  readonly name: string;
  readonly verdict: 'ok' | 'failed' | 'skipped';
  /** `name:line: expected …, got …`, or why it was skipped. */
  readonly text: string;
  /** What was changed, or ''. */
  readonly change: string;
}

/** A share of the wait, and µs: a timer's step, and how late a thread may be on a busy machine. */
const TOLERANCE: readonly ScriptOption[] = [
  { line: 0, name: 'tolerance_percent', value: '20' },
  { line: 0, name: 'tolerance_usecs', value: '40000' },
];
/** How much longer than on the virtual clock a script may take: shares, and µs. */
const LIMIT_SHARE = 1.25;
const LIMIT_US = 4_000_000;

/** Names of what only our stack has. */
const OWN = /\b(?:SO_ATTACH_REUSEPORT_SELECTOR|SO_DRAIN)\b/;

/** How long a script takes on the virtual clock, µs; also has this thread's code compiled. */
function durationUs(script: Script): number {
  let world: World | null = null;
  runParsed(script, {
    makeWorld(options) {
      world = new World(options);
      return world;
    },
  });
  return (world as World | null)?.nowUs ?? 0;
}

function playOnce(script: Script, name: string, limitUs: number): ScriptAnswer {
  const outcome = runParsed(script, {
    options: TOLERANCE,
    makeWorld: (options) => new KernelWorld(options, limitUs),
  });
  const { verdict } = outcome;
  if (outcome.verdict === 'ok') return { name, verdict, text: '', change: '' };
  if (outcome.verdict === 'skipped') return { name, verdict, text: outcome.reason, change: '' };
  return { name, verdict, text: `${name}:${outcome.line}: ${outcome.message}`, change: '' };
}

/** Until it is as the script says, or has not been so often enough. */
function playAgain(script: Script, name: string, limitUs: number, attempts: number): ScriptAnswer {
  let answer = playOnce(script, name, limitUs);
  for (let attempt = 1; attempt < attempts && answer.verdict === 'failed'; attempt++) {
    answer = playOnce(script, name, limitUs);
  }
  return answer;
}

/** Plays a script, as it is or with one change. */
export function playScript(asked: ScriptAsked): ScriptAnswer {
  const { name, source, longestS, mutation, attempts } = asked;
  const skipped = (text: string): ScriptAnswer => ({ name, verdict: 'skipped', text, change: '' });
  const own = OWN.exec(source.replace(/\/\/.*/g, ''));
  if (own !== null) return skipped(`${own[0]} is ours`);
  const script = parseWithDefines(name, source);
  const us = durationUs(script);
  if (us > longestS * 1e6) return skipped(`takes more than ${longestS} s`);
  const limitUs = us * LIMIT_SHARE + LIMIT_US;
  if (mutation === null) return playAgain(script, name, limitUs, attempts);
  const { line, what, scripts } = mutationsOf(script)[mutation]!;
  const change = `${name}:${line}: another ${what}`;
  // A bound can be changed to where it says less: one of all forms must fail.
  let answer = skipped('');
  for (const form of scripts) {
    answer = { ...playOnce(form, name, limitUs), change };
    if (answer.verdict !== 'ok') break;
  }
  return answer;
}
