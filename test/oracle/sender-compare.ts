/**
 * Holds what two machines have done as senders against each other: the same events in the same
 * order, at about the same times (a kernel's timers are late by up to an eighth, and its machine is
 * busy). A difference that another run does not show again was the machine's load.
 */
import { sideBySide } from './compare.js';
import { told } from './full.js';
import type { Machine } from './machine.js';
import { type Entry, playSenders, type SenderScenario } from './sender-path.js';

/** Connections at once: more would make the real machine late. */
const BATCH = 24;
/** As often a difference must show before it is one. */
const ATTEMPTS = 3;
/** An attempt in which something was done so much later than it was due says nothing. */
const LATENESS_MOST_MS = 8;
const ATTEMPTS_MOST = 9;
/** Of all scenarios no more than so many may stay without an answer. */
const UNDECIDED_PART = 0.1;
/** How much more or less time a timer may take, counted from the event before. */
const EARLY_MS = 30;
const LATE_MS = 45;
const LATE_PART = 0.15;
/** A timer of ours must not go off so near something that comes in: the kernel's is less exact. */
const CLEAR_BEFORE_MS = 8;
const CLEAR_AFTER_MS = 15;
/** Two things that come in at different times must not be nearer to each other. */
const APART_MS = 5;
/** So much later than ours a kernel's timers have gone off, taken together. */
const SHIFT_MS = 50;
/** What our stack's clock shows of one moment. */
const SAME_MS = 0.5;

/** A scenario on which the machines do not agree, and both logs. */
export interface SenderDifference {
  readonly name: string;
  readonly text: string;
}

function shown({ atMs, text }: Entry): string {
  return `${String(Math.round(atMs)).padStart(5)} ${text}`;
}

/** Near the end one of them may not have come so far. */
const END_PART = 0.8;

/** Null when both did the same at about the same times. */
function difference(
  { lastMs }: SenderScenario,
  allTheirs: readonly Entry[],
  allOurs: readonly Entry[],
): string | null {
  const sure = allOurs.filter(({ atMs }) => atMs < lastMs * END_PART).length;
  const count = Math.max(sure, Math.min(allTheirs.length, allOurs.length));
  const kernel = allTheirs.slice(0, count);
  const ours = allOurs.slice(0, count);
  const apart = sideBySide(
    kernel.map(({ text }) => text),
    ours.map(({ text }) => text),
  );
  if (apart !== null) {
    // With times, which are no part of the comparison.
    const from = firstDifference(kernel, ours);
    const tail = (list: readonly Entry[]): string =>
      list
        .slice(Math.max(0, from - 12), from + 12)
        .map(shown)
        .join('\n');
    return `kernel:\n${tail(kernel)}\nours:\n${tail(ours)}`;
  }
  let last = 0;
  for (let i = 1; i < ours.length; i++) {
    const { alone, atMs, text } = ours[i]!;
    const gap = atMs - ours[last]!.atMs;
    const theirs = kernel[i]!.atMs - kernel[last]!.atMs;
    if (alone && (theirs < gap - EARLY_MS || theirs > gap * (1 + LATE_PART) + LATE_MS)) {
      return `after ${shown(ours[last]!)}: ${shown(ours[i]!)}, kernel ${Math.round(theirs)} ms`;
    }
    if (isSegment(text)) last = i;
  }
  return null;
}

/** Timers count from segments, not from what the application does. */
function isSegment(text: string): boolean {
  return text.startsWith('<') || text.startsWith('>');
}

function isCall(text: string): boolean {
  return text.startsWith('write') || text.startsWith('shutdown');
}

function firstDifference(a: readonly Entry[], b: readonly Entry[]): number {
  let i = 0;
  while (a[i] !== undefined && a[i]!.text === b[i]?.text) i++;
  return i;
}

/**
 * Does a timer go off so near something that comes in that a little more time would change the
 * order? Nothing can be said of such a scenario.
 */
export function isClose(entries: readonly Entry[]): boolean {
  const firstTimer = entries.findIndex(({ alone }) => alone);
  return entries.some(({ atMs, alone, text }, i) => {
    // What the application does is not put off with what follows from a timer.
    if (isCall(text) && firstTimer >= 0 && firstTimer < i) {
      const near = (other: Entry): boolean => Math.abs(other.atMs - atMs) < SHIFT_MS;
      if (entries.some((other) => isSegment(other.text) && near(other))) return true;
    }
    const before = entries[i - 1]?.atMs ?? 0;
    if (!alone) return atMs > before + SAME_MS && atMs < before + APART_MS;
    const since = entries.findLast(({ text }, k) => k < i && isSegment(text))?.atMs ?? 0;
    const clear = CLEAR_AFTER_MS + (atMs - since) / 8;
    return entries.some(({ atMs: other, alone: too }) => {
      return !too && other > atMs - CLEAR_BEFORE_MS && other < atMs + clear;
    });
  });
}

/** Plays `scenarios` on both machines; what differs every time. */
export async function compareSenders(
  kernel: Machine,
  ours: Machine,
  scenarios: readonly SenderScenario[],
): Promise<SenderDifference[]> {
  const found: SenderDifference[] = [];
  const undecided: SenderDifference[] = [];
  for (let i = 0; i < scenarios.length; i += BATCH) {
    await compareBatch(kernel, ours, scenarios.slice(i, i + BATCH), found, undecided);
  }
  if (undecided.length > 0) told(`${undecided.length} undecided: the machine was late each time`);
  return undecided.length > scenarios.length * UNDECIDED_PART ? [...found, ...undecided] : found;
}

async function compareBatch(
  kernel: Machine,
  ours: Machine,
  batch: readonly SenderScenario[],
  found: SenderDifference[],
  undecided: SenderDifference[],
): Promise<void> {
  let left = batch.map((scenario) => ({ scenario, differed: 0 }));
  for (let attempt = 1; left.length > 0; attempt++) {
    const played = left.map(({ scenario }) => scenario);
    const theirs = await playSenders(kernel, played);
    const own = await playSenders(ours, played);
    const again: typeof left = [];
    left.forEach((one, k) => {
      const { scenario } = one;
      const text = difference(scenario, theirs[k]!.entries, own[k]!.entries);
      if (text === null) return;
      if (theirs[k]!.lateMs <= LATENESS_MOST_MS) one.differed++;
      if (one.differed === ATTEMPTS) found.push({ name: scenario.name, text });
      else if (attempt === ATTEMPTS_MOST) undecided.push({ name: scenario.name, text });
      else again.push(one);
    });
    left = again;
  }
}
