/**
 * Plays scenarios on the kernel and on our stack and compares what was written down. Many run at
 * once on each machine, so that real time is waited for once for all of them; what they have in
 * common is only time and the knobs. A difference that another run does not show again was the
 * machine's load, not a difference.
 */
import { kernelAtLeast } from './kernel-sockets.js';
import type { Knobs, Machine } from './machine.js';
import { Play, type Script } from './play.js';

export interface Scenario {
  readonly name: string;
  readonly script: Script;
  readonly knobs?: Knobs;
  /** The kernel version from which on Linux does what our profile 6.18 does. */
  readonly since?: readonly [number, number];
  /** Timers of a second and more: only in the full run. */
  readonly slow?: boolean;
  /**
   * Our stack is not as the kernel, and why: the test demands that they differ. docs/DIFFERENCES.md
   * tells more.
   */
  readonly differs?: string;
}

/** Every timer that is not waited for on purpose has fired by then (delayed ACKs), ms. */
const QUIET_MS = 80;
/** Scenarios that are played at once. */
const BATCH = 200;
/** As often a difference must show before it is one. */
const ATTEMPTS = 3;

/** Plays so far: each has ports of its own, for what was closed may be in TIME-WAIT. */
let played = 0;
/** Numbers begin again here: a port is free again by then. */
const PLAYS_MAX = 28_000;

function nextNumber(): number {
  const number = played;
  played = (played + 1) % PLAYS_MAX;
  return number;
}

/** Does the running kernel do what this scenario expects of it? */
export function appliesHere({ since }: Scenario): boolean {
  return since === undefined || kernelAtLeast(since[0], since[1]);
}

interface Running {
  readonly play: Play;
  readonly steps: Generator<number, void, void> | null;
  dueMs: number;
  done: boolean;
}

/** Plays all of `scripts` at once; the log of each. */
export async function playAll(machine: Machine, scripts: readonly Script[]): Promise<string[][]> {
  const batch: Play[] = [];
  const running: Running[] = [];
  for (const script of scripts) {
    const play = new Play(machine, nextNumber(), batch);
    batch.push(play);
    play.resume();
    const steps = script(play) ?? null;
    play.suspend();
    running.push({ play, steps, dueMs: machine.now(), done: false });
  }
  for (let left = running.filter((one) => !one.done); left.length > 0; ) {
    const due = Math.min(...left.map(({ dueMs }) => dueMs));
    if (due > machine.now()) await machine.wait(due - machine.now());
    batch[0]!.drain();
    for (const one of left) if (one.dueMs <= machine.now()) step(one);
    left = left.filter((one) => !one.done);
  }
  await machine.wait(QUIET_MS);
  batch[0]!.drain();
  for (const { play } of running) play.finish();
  // What closing has sent belongs to nobody.
  batch.length = 0;
  while (machine.read() !== null);
  return running.map(({ play }) => play.log);
}

/** Runs a scenario to its next pause. */
function step(one: Running): void {
  one.play.resume();
  const next = one.steps?.next();
  one.play.suspend();
  if (next === undefined || next.done === true) one.done = true;
  else one.dueMs = one.play.machine.now() + next.value;
}

/** A scenario on which the machines do not agree. */
export interface Difference {
  readonly name: string;
  /** Both logs, side by side where they differ. */
  readonly text: string;
}

/** Plays `scenarios` on both machines; what differs every time. */
export async function compare(
  kernel: Machine,
  ours: Machine,
  scenarios: readonly Scenario[],
): Promise<Difference[]> {
  const found: Difference[] = [];
  for (const [knobs, group] of groupsByKnobs(scenarios)) {
    const before = [kernel, ours].map((machine) => machine.set(knobs));
    try {
      for (let i = 0; i < group.length; i += BATCH) {
        found.push(...(await compareGroup(kernel, ours, group.slice(i, i + BATCH))));
      }
    } finally {
      kernel.set(before[0]!);
      ours.set(before[1]!);
    }
  }
  return found;
}

async function compareGroup(
  kernel: Machine,
  ours: Machine,
  group: readonly Scenario[],
): Promise<Difference[]> {
  const found: Difference[] = [];
  let left = group;
  for (let attempt = 1; attempt < ATTEMPTS && left.length > 0; attempt++) {
    const texts = await playBoth(kernel, ours, left);
    const again: Scenario[] = [];
    left.forEach((scenario, i) => {
      const text = texts[i]!;
      if (text === null) return;
      if (scenario.differs === undefined) again.push(scenario);
      else found.push({ name: scenario.name, text });
    });
    left = again;
  }
  // Alone it takes so little time that the kernel's timers rarely come in between.
  for (const scenario of left) {
    const [text] = await playBoth(kernel, ours, [scenario]);
    if (text !== null) found.push({ name: scenario.name, text: text! });
  }
  return found;
}

/** Of each scenario what differs, null = nothing. */
async function playBoth(
  kernel: Machine,
  ours: Machine,
  scenarios: readonly Scenario[],
): Promise<(string | null)[]> {
  const scripts = scenarios.map(({ script }) => script);
  const theirs = await playAll(kernel, scripts);
  const own = await playAll(ours, scripts);
  return theirs.map((log, i) => sideBySide(log, own[i]!));
}

function groupsByKnobs(scenarios: readonly Scenario[]): [Knobs, Scenario[]][] {
  const groups = new Map<string, [Knobs, Scenario[]]>();
  for (const scenario of scenarios) {
    const knobs = scenario.knobs ?? {};
    const key = JSON.stringify(knobs);
    const group = groups.get(key) ?? [knobs, []];
    group[1].push(scenario);
    groups.set(key, group);
  }
  return [...groups.values()];
}

/** Null when both are the same; else all lines, those of one machine only marked as such. */
export function sideBySide(kernel: readonly string[], ours: readonly string[]): string | null {
  if (kernel.length === ours.length && kernel.every((line, i) => line === ours[i])) return null;
  const lines: string[] = [];
  let k = 0;
  let o = 0;
  while (k < kernel.length || o < ours.length) {
    if (kernel[k] === ours[o]) {
      lines.push(`          ${kernel[k]}`);
      k++;
      o++;
      continue;
    }
    const inOurs = k < kernel.length ? ours.indexOf(kernel[k]!, o) : -1;
    const inKernel = o < ours.length ? kernel.indexOf(ours[o]!, k) : -1;
    const kernelFirst = inOurs < 0 || (inKernel >= 0 && inKernel - k <= inOurs - o);
    if (k < kernel.length && kernelFirst) lines.push(`  kernel: ${kernel[k++]}`);
    else lines.push(`  ours:   ${ours[o++]}`);
  }
  return lines.join('\n');
}
