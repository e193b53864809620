/**
 * What a measure is: a probe takes one sample of one side (ours, or Node on the kernel's stack) and
 * gives one or several figures; each figure has a name, a unit and, where one is set, a goal. Types
 * only; the measures are in a file each, the runner is pairs.ts.
 */
import type { Children } from './children.js';

export type SideName = 'ours' | 'kernel';

/** A server under test, as the probes see it. */
export interface Side {
  readonly name: SideName;
  /** Where it listens, dotted. */
  readonly address: string;
  /** The client's own address on the link to it, and the name of that link. */
  readonly peer: string;
  readonly device: string;
  readonly pid: number;
  /** CPU time of the whole process so far, all threads, user and system, seconds. */
  cpuSeconds(): number;
  /** Resident memory of the process, bytes. */
  residentBytes(): number;
  /** A counter of this side's own stack, by its name in nstat(8). */
  counter(name: string): Promise<number>;
}

export type Congestion = 'reno' | 'cubic';

/** How much of everything. */
export interface Sizes {
  readonly pairs: number;
  /** Length of one sample, seconds. */
  readonly seconds: number;
  /** Worker threads of our side. */
  readonly workers: number;
  /** They run in the stack threads of as many queues (serve --inline). */
  readonly inline: boolean;
  readonly congestion: Congestion;
  /** Idle connections over the device, and in memory. */
  readonly connections: number;
  readonly crowd: number;
}

/** What a probe has while it takes a sample. */
export interface Bench {
  readonly sizes: Sizes;
  readonly children: Children;
  /** One line of narration. */
  say(line: string): void;
}

/** What a median is held against. */
export interface Goal {
  /** The ratio ours / kernel, or our figure itself. */
  readonly of: 'ratio' | 'ours';
  readonly atLeast?: number;
  readonly atMost?: number;
}

export interface Figure {
  readonly name: string;
  readonly unit: string;
  readonly goal: Goal | null;
  /** One line for `--list`. */
  readonly about: string;
}

/** What serves on each side. */
export interface ServerPlan {
  /** `demo` = serve with its services, beside the raw responder; `http` = node:http on both. */
  readonly server: 'demo' | 'http';
  readonly mtu?: number;
  /** False = packet by packet on our side, and no segments larger than the MTU on the other. */
  readonly offload?: boolean;
  /** Of every listener; default BACKLOG of sides.ts. */
  readonly backlog?: number;
  /** Knobs of both stacks. */
  readonly sysctl?: Readonly<Record<string, string>>;
  /** One sample of each side is all: a process gives no memory back. */
  readonly once?: boolean;
}

/** One kind of sample, beside the kernel's. */
export interface PairProbe {
  readonly kind: 'pair';
  readonly figures: readonly Figure[];
  readonly plan: ServerPlan;
  /** A value for each figure, in their order. Throws when the server did not do what was asked. */
  take(side: Side, bench: Bench): Promise<readonly number[]>;
}

/** What a measurement in this process says: rows of the table, or a curve with lines of its own. */
export interface Said {
  /** One object for each measure, for `--json`. */
  readonly json: readonly object[];
  readonly lines: readonly string[];
  readonly rows: readonly Row[];
}

/** A measurement in this process alone: no kernel beside it. */
export interface AloneProbe {
  readonly kind: 'alone';
  /** It opens devices: needs root, and a network namespace. */
  readonly needsNetwork: boolean;
  readonly figures: readonly Figure[];
  /** @param quick a look, not a figure to quote */
  run(sizes: Sizes, quick: boolean): Said;
}

export type Probe = PairProbe | AloneProbe;

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

/** One measure as `--json` prints it. */
export interface Row {
  readonly measure: string;
  readonly unit: string;
  readonly pairs: number;
  readonly ours: Spread;
  readonly kernel: Spread | null;
  /** Median: of the medians; min and max: of the pairs. */
  readonly ratio: Spread | null;
  readonly goal: Goal | null;
  readonly met: boolean | null;
  readonly samples: { readonly ours: readonly number[]; readonly kernel: readonly number[] };
  /** The curve behind the figure, where there is one. */
  readonly points?: readonly object[];
}
