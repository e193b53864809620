/**
 * Random sequences of segments and socket calls at a listener, from a seed: SYNs, ACKs, text, FINs
 * and RSTs with numbers near the edges, options now and then, accept(), recv() and close() between
 * them. A sequence is data, so that one on which the machines differ can be made shorter.
 */
import { seededRandom } from '../../src/testing/index.js';
import { compare, type Difference, type Scenario } from './compare.js';
import type { Machine } from './machine.js';
import type { Flow, Play, Sock } from './play.js';

export type Step =
  | { readonly kind: 'segment'; readonly flow: number; readonly text: string; readonly tos: number }
  | { readonly kind: 'accept' | 'listen' | 'stop' }
  | { readonly kind: 'recv' | 'close' | 'shutdown'; readonly child: number };

export interface Sequence {
  readonly name: string;
  readonly backlog: number;
  readonly reuseport: boolean;
  readonly steps: readonly Step[];
}

const STEPS_LEAST = 5;
const STEPS_MOST = 12;
const FLOWS = 2;

class Dice {
  private readonly random: { u32(): number };

  constructor(seed: number) {
    this.random = seededRandom(seed);
  }

  below(n: number): number {
    return this.random.u32() % n;
  }

  of<T>(values: readonly T[]): T {
    return values[this.below(values.length)]!;
  }

  /** One of `often` nine times of ten, else one of `seldom`. */
  mostly<T>(often: readonly T[], seldom: readonly T[]): T {
    return this.of(this.below(10) < 9 ? often : seldom);
  }
}

const OPTIONS: readonly string[] = [
  '<mss 1460>',
  '',
  '<mss 1460,sackOK>',
  '<mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>',
  '<mss 536,nop,nop,TS val 100 ecr 0>',
  '<nop,wscale 3>',
];

const FLAGS: readonly string[] = ['.', '.', 'P.', 'P.', 'F.', 'FP.', 'R', 'R.', 'S', 'S.', '-'];
const ODD_FLAGS: readonly string[] = ['SF', 'SR', 'F', 'P', 'SP', 'SF.', 'FR.', 'SP.'];
const SEQUENCES: readonly number[] = [0, 1, 1, 1, 1, 2, 4, 4, 6, 7];
/** Where each peer's FIN is. */
const FIN_AT: readonly number[] = [6, 7];
const FAR_SEQUENCES: readonly number[] = [
  ...[1000, 64_238, 64_240, 64_241, 64_242, 65_161, 70_000, 0x7fffffff, 0x80000001, 0xfffffff0],
  0xffffffff,
];
const ACKS: readonly number[] = [1, 1, 1, 1, 1, 2];
const LATE_ACKS: readonly number[] = [3, 1000, 70_000];
const EARLY_ACKS: readonly number[] = [0, 0x80000001, 0xffff0000, 0xffffffff];

function stamp(dice: Dice): string {
  const val = dice.mostly([101, 102, 103, 104, 105], [0, 99, 100, 0x7fffff00, 0x80000064]);
  const ecr = dice.mostly([1000], [0, 900, 5000]);
  return `<nop,nop,TS val ${val} ecr ${ecr}>`;
}

/**
 * A peer's FINs are all in one place and no text covers it, though some may lie behind it: what
 * Linux makes of a peer that contradicts itself depends on how it keeps segments.
 */
function sequenceNumber(dice: Dice, flow: number, flags: string, length: number): number {
  const finAt = FIN_AT[flow]!;
  if (flags.includes('F')) return finAt - length;
  const seq = dice.mostly(SEQUENCES, FAR_SEQUENCES);
  return seq <= finAt && seq + length > finAt ? finAt - length : seq;
}

function segment(dice: Dice, flow: number, options: string): Step {
  const flags = dice.mostly(FLAGS, ODD_FLAGS);
  const syn = flags.includes('S');
  const length = flags.includes('P') || dice.below(8) === 0 ? dice.of([1, 3, 3, 5]) : 0;
  const seq = syn ? dice.mostly([0], SEQUENCES) : sequenceNumber(dice, flow, flags, length);
  // An ACK from before the connection does not update the timestamp, but in Linux's fast path.
  const odd = options.includes('TS') ? LATE_ACKS : [...LATE_ACKS, ...EARLY_ACKS];
  const ack = flags.includes('.') ? ` ack ${dice.mostly(ACKS, odd)}` : '';
  const win = dice.mostly([65_535, 1000], [0, 1]);
  const stamped = options.includes('TS') && dice.below(10) > 0 ? stamp(dice) : '';
  const text = `${flags} ${seq}:${seq + length}(${length})${ack} win ${win} `;
  const tos = dice.mostly([0], [0x28, 2]);
  return { kind: 'segment', flow, text: text + (syn ? options : stamped), tos };
}

function step(dice: Dice, options: readonly string[]): Step {
  const choice = dice.below(20);
  const flow = dice.below(FLOWS);
  if (choice < 13) return segment(dice, flow, options[flow]!);
  if (choice < 15) return { kind: 'accept' };
  if (choice < 17) return { kind: 'recv', child: dice.below(2) };
  if (choice < 18) return { kind: 'close', child: dice.below(2) };
  if (choice < 19) return { kind: 'shutdown', child: dice.below(2) };
  return { kind: dice.of(['listen', 'stop', 'accept', 'accept'] as const) };
}

/** The sequence that belongs to `seed`: it begins with a SYN, mostly with a whole handshake. */
export function sequenceOf(seed: number): Sequence {
  const dice = new Dice(seed);
  const options = Array.from({ length: FLOWS }, () => dice.of(OPTIONS));
  const steps: Step[] = [];
  for (let flow = 0; flow < FLOWS; flow++) {
    const offered = options[flow]!;
    if (flow > 0 && dice.below(2) === 0) break;
    steps.push({ kind: 'segment', flow, text: `S 0:0(0) win 65535 ${offered}`, tos: 0 });
    if (dice.below(3) === 0) continue;
    const stamped = offered.includes('TS') ? '<nop,nop,TS val 101 ecr 1000>' : '';
    steps.push({ kind: 'segment', flow, text: `. 1:1(0) ack 1 win 65535 ${stamped}`, tos: 0 });
    if (dice.below(2) === 0) steps.push({ kind: 'accept' });
  }
  const count = STEPS_LEAST + dice.below(STEPS_MOST - STEPS_LEAST + 1);
  while (steps.length < count) steps.push(step(dice, options));
  const reuseport = dice.below(4) === 0;
  return { name: `seed ${seed}`, backlog: dice.mostly([2, 1], [0]), reuseport, steps };
}

/** Descriptors of a sequence that runs. */
interface Holding {
  listener: Sock;
  /** Accepted and not closed. */
  children: Sock[];
  flows: Flow[];
}

function perform(step: Step, holding: Holding): void {
  const { listener, children, flows } = holding;
  switch (step.kind) {
    case 'segment':
      flows[step.flow]!.in(step.text, undefined, { tos: step.tos });
      return;
    case 'accept': {
      const child = listener.accept();
      if (child !== null) children.push(child);
      return;
    }
    case 'listen':
      listener.listen(1);
      return;
    case 'stop':
      listener.shutdown(2);
      return;
    case 'recv':
      children[step.child]?.recv();
      return;
    case 'shutdown':
      children[step.child]?.shutdown(1);
      return;
    case 'close':
      children.splice(step.child, 1)[0]?.close();
  }
}

export function scenarioOf(sequence: Sequence): Scenario {
  const { name, backlog, reuseport, steps } = sequence;
  return {
    name,
    script: (play: Play) => {
      const listener = play.listener({ backlog, reuseport });
      const flows = Array.from({ length: FLOWS }, () => play.flow());
      const holding: Holding = { listener, children: [], flows };
      for (const step of steps) perform(step, holding);
      return undefined;
    },
  };
}

/**
 * Plays `sequences` on both machines; those on which they differ, made as short as dropping steps
 * makes them.
 */
export async function compareSequences(
  kernel: Machine,
  ours: Machine,
  sequences: readonly Sequence[],
): Promise<Difference[]> {
  const differences = await compare(kernel, ours, sequences.map(scenarioOf));
  const found: Difference[] = [];
  for (const difference of differences) {
    const sequence = sequences.find(({ name }) => name === difference.name)!;
    found.push(await shorter(kernel, ours, sequence, difference));
  }
  return found;
}

/** Drops steps as long as there is one without which the machines still differ. */
async function shorter(
  kernel: Machine,
  ours: Machine,
  sequence: Sequence,
  difference: Difference,
): Promise<Difference> {
  const candidates = sequence.steps.map((_step, i) => ({
    ...sequence,
    name: `${sequence.name} without ${i}`,
    steps: sequence.steps.toSpliced(i, 1),
  }));
  const [still] = await compare(kernel, ours, candidates.map(scenarioOf));
  if (still === undefined) return difference;
  const candidate = candidates.find(({ name }) => name === still.name)!;
  return shorter(kernel, ours, { ...candidate, name: sequence.name }, still);
}
