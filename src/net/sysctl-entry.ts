/** What is known of a knob beside its value. No knob is here. */
import type { SysctlField } from './sysctl.js';

export interface SysctlEntry {
  /** Linux's name. */
  readonly name: string;
  readonly field: SysctlField;
  readonly default: number;
  /** Default of profile 5.0 where it differs. */
  readonly default50?: number;
  readonly min: number;
  readonly max: number;
  /** '' = a plain number or a switch. */
  readonly unit: string;
  /** One sentence. */
  readonly text: string;
  /** Where the meaning and the default come from. */
  readonly source: string;
  /** Words that stand for 0, 1, …; such a knob is printed as its word. */
  readonly words?: readonly string[];
  readonly powerOfTwo?: boolean;
}

type Extra = Partial<Pick<SysctlEntry, 'default50' | 'words' | 'powerOfTwo'>>;

/** An entry named `net.NAME`; `range` is default, least, most, unit. */
export function knob(
  name: string,
  field: SysctlField,
  range: readonly [value: number, min: number, max: number, unit: string],
  text: string,
  source: string,
  extra: Extra = {},
): SysctlEntry {
  const [value, min, max, unit] = range;
  return { name: `net.${name}`, field, default: value, min, max, unit, text, source, ...extra };
}
