/**
 * What runs have reached: what routers did to packets, transitions between states, what
 * applications did and were told, and every counter of the stacks. A name that never counts shows a
 * blind spot: a fault that does not happen, a branch that nobody takes. Owns the sums, not the
 * events.
 */
import { MIB_COUNT, MIB_NAMES } from '../net/mib.js';
import { STATE_NAMES } from '../tcp/state.js';

/** Columns of the table: name and number. */
const NAME_WIDTH = 40;
const NUMBER_WIDTH = 13;

export class Coverage {
  private readonly sums: Map<string, number> = new Map();

  /** `name` begins with its group and a blank: 'link lost', 'state ESTAB > CLOSE-WAIT'. */
  add(name: string, count = 1): void {
    this.sums.set(name, (this.sums.get(name) ?? 0) + count);
  }

  /** All numbers of an object, as one group. */
  addAll(group: string, counts: Readonly<Record<string, number>>): void {
    for (const [name, count] of Object.entries(counts)) this.add(`${group} ${name}`, count);
  }

  /** A stack's counters, zeros as well. */
  addMib(mib: Float64Array): void {
    for (let i = 0; i < MIB_COUNT; i++) this.add(`mib ${MIB_NAMES[i]}`, mib[i]!);
  }

  addState(from: number, to: number): void {
    this.add(`state ${STATE_NAMES[from]} > ${STATE_NAMES[to]}`);
  }

  merge(other: Coverage): void {
    for (const [name, count] of other.sums) this.add(name, count);
  }

  count(name: string): number {
    return this.sums.get(name) ?? 0;
  }

  /** Name to number, in the order of names. */
  toJSON(): Record<string, number> {
    return Object.fromEntries([...this.sums].sort(([a], [b]) => (a < b ? -1 : 1)));
  }

  /** A line for each name that has happened, then those of each group that have not. */
  *lines(): Generator<string> {
    const all = Object.entries(this.toJSON());
    for (const [name, count] of all) {
      if (count > 0) yield `${name.padEnd(NAME_WIDTH)}${`${count}`.padStart(NUMBER_WIDTH)}`;
    }
    const never = all.filter(([, count]) => count === 0).map(([name]) => name);
    if (never.length > 0) yield `never: ${never.join(', ').replaceAll('mib ', '')}`;
  }
}
