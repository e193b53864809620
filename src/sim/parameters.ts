/**
 * What a run is made of: a seed, and limits that a shrinker can lower without changing what is
 * left. Their form on the command line is here too.
 */
import { Dice, FOR_RUN } from './dice.js';

/** Everything that can go wrong, each to be switched off by name. */
export const FAULTS = [
  'loss',
  'burst',
  'jitter',
  'reorder',
  'duplicate',
  'corrupt',
  'mtu',
  'rate',
  'blackhole',
  'death',
  'reboot',
  'unreachable',
  'sysctl',
  'options',
  'offload',
  'tight',
  'rude',
  'ecn',
  'fastopen',
  'urgent',
  'again',
  'probing',
  'rare',
] as const;
export type Fault = (typeof FAULTS)[number];

/** Fewer seeds have these, by dice of their own: the others are as they were without them. */
const SELDOM: readonly Fault[] = ['probing', 'rare'];
const SELDOM_SHARE = 0.3;

export interface SimParameters {
  readonly seed: number;
  readonly hosts: number;
  /** Random calls of each host. */
  readonly calls: number;
  /** Most bytes of one direction of a connection. */
  readonly bytes: number;
  /** How long calls and faults go on, ms of virtual time. */
  readonly timeMs: number;
  readonly faults: ReadonlySet<Fault>;
}

/** The parameters that a seed means. */
export function parametersOf(seed: number): SimParameters {
  const dice = new Dice(FOR_RUN, seed);
  const hosts = dice.chance(0.85) ? dice.int(2, 5) : dice.int(6, 20);
  const calls = dice.spread(4, hosts > 5 ? 40 : 120);
  const bytes = dice.spread(100, hosts > 5 ? 200_000 : 2_000_000);
  const timeMs = dice.spread(50, 60_000);
  // A run in which everything goes wrong at once hides what one fault alone would show.
  const share = dice.pick([0, 0.15, 0.3, 0.6, 1]);
  const seldom = new Dice(FOR_RUN, seed, 1);
  const faults = new Set(
    FAULTS.filter((fault) => {
      return SELDOM.includes(fault) ? seldom.chance(share * SELDOM_SHARE) : dice.chance(share);
    }),
  );
  return { seed, hosts, calls, bytes, timeMs, faults };
}

/** The flags that replay a run. */
export function formatParameters(parameters: SimParameters): string {
  const { seed, hosts, calls, bytes, timeMs, faults } = parameters;
  const list = FAULTS.filter((fault) => faults.has(fault)).join(',');
  const sizes = `--hosts ${hosts} --calls ${calls} --bytes ${bytes} --time ${timeMs}`;
  return `--seed ${seed} ${sizes} --faults ${list === '' ? 'none' : list}`;
}

/** The faults of a list like 'loss,mtu', 'all' or 'none'; null = a name is wrong. */
export function parseFaults(text: string): Set<Fault> | null {
  if (text === 'all') return new Set(FAULTS);
  if (text === 'none') return new Set();
  const names = text.split(',');
  const faults = FAULTS.filter((fault) => names.includes(fault));
  return faults.length === names.length ? new Set(faults) : null;
}
