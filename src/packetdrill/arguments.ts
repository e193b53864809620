/**
 * Arguments of a script's system calls: numbers and names to values. A name that the stack's
 * interface does not have makes the script one for another system.
 */
import * as errnos from '../net/errno.js';
import * as constants from '../socket/uapi/constants.js';
import { type Expression, ScriptError, type StructField, UnsupportedError } from './script.js';

const NAMES: ReadonlyMap<string, number> = new Map<string, number>([
  ...Object.entries(constants).filter((entry): entry is [string, number] => {
    return typeof entry[1] === 'number';
  }),
  ...Object.entries(errnos),
  ['NULL', 0],
  ['O_RDONLY', 0],
  ['O_WRONLY', 1],
  ['INADDR_ANY', 0],
]);

/** Names of what the stack takes and does nothing about. */
const WITHOUT_MEANING = new Set(['MSG_EOR']);

/** Has the name a value here, and a meaning? */
export function isKnownName(name: string): boolean {
  return NAMES.has(name) && !WITHOUT_MEANING.has(name);
}

/** The arguments of one call, with the line for messages. */
export class Arguments {
  readonly line: number;
  readonly call: string;
  private readonly items: readonly Expression[];

  constructor(call: string, items: readonly Expression[], line: number) {
    this.call = call;
    this.items = items;
    this.line = line;
  }

  /** Throws ScriptError unless there are as many as the call takes. */
  mustBe(least: number, most: number = least): void {
    const { length } = this.items;
    if (length >= least && length <= most) return;
    const wanted = least === most ? `${least}` : `${least} to ${most}`;
    throw new ScriptError(this.line, `${this.call} takes ${wanted} arguments, not ${length}`);
  }

  at(i: number): Expression {
    const item = this.items[i];
    if (item === undefined) throw new ScriptError(this.line, `${this.call} lacks an argument`);
    return item;
  }

  isEllipsis(i: number): boolean {
    return this.at(i).kind === 'ellipsis';
  }

  number(i: number): number {
    return numberOf(this.at(i), this.line);
  }

  /** A number, or the one number of `[n]`. */
  boxed(i: number): number {
    const item = this.at(i);
    if (item.kind !== 'list') return this.number(i);
    if (item.items.length !== 1) throw new ScriptError(this.line, 'a list of one number is meant');
    return numberOf(item.items[0]!, this.line);
  }

  /** The items of a list. */
  list(i: number): readonly Expression[] {
    const item = this.at(i);
    if (item.kind === 'list') return item.items;
    throw new ScriptError(this.line, `argument ${i + 1} of ${this.call} is a list: [...]`);
  }

  /** Is argument `i` a null pointer? As buffers all others are zeros. */
  isNull(i: number): boolean {
    const item = this.at(i);
    return item.kind === 'symbol' && item.name === 'NULL';
  }

  /** AF_UNSPEC at argument `i`, by itself or in a structure. */
  isUnspecified(i: number): boolean {
    const item = this.items[i];
    if (item === undefined || item.kind === 'ellipsis') return false;
    if (item.kind === 'symbol') return item.name === 'AF_UNSPEC';
    if (item.kind !== 'struct') return false;
    const fields = this.fields(i);
    return fields.has('sa_family') && fields.number('sa_family') === constants.AF_UNSPEC;
  }

  fields(i: number): Fields {
    return new Fields(this.at(i), this.line, this.call);
  }
}

/** A structure by the names of its fields. */
export class Fields {
  private readonly fields: readonly StructField[];
  private readonly line: number;

  constructor(item: Expression, line: number, call: string) {
    if (item.kind !== 'struct') throw new ScriptError(line, `${call}: a structure is meant: {...}`);
    this.fields = item.fields;
    this.line = line;
  }

  has(name: string): boolean {
    return this.fields.some((field) => field.name === name);
  }

  value(name: string): Expression {
    const field = this.fields.find((candidate) => candidate.name === name);
    if (field === undefined) throw new ScriptError(this.line, `the structure lacks ${name}`);
    return field.value;
  }

  number(name: string): number {
    return numberOf(this.value(name), this.line);
  }

  /** The value of the last field: lengths stand last in an iovec. */
  last(): number {
    return numberOf(this.fields[this.fields.length - 1]!.value, this.line);
  }
}

/** The number that an expression means. */
export function numberOf(item: Expression, line: number): number {
  switch (item.kind) {
    case 'number':
      return item.value;
    case 'symbol':
      return constant(item.name, line);
    case 'or':
      return item.terms.reduce((bits, term) => bits | numberOf(term, line), 0);
    case 'apply':
      if (item.name === 'htons' && item.arguments.length === 1) {
        return numberOf(item.arguments[0]!, line);
      }
  }
  throw new ScriptError(line, 'a number is meant');
}

function constant(name: string, line: number): number {
  const value = NAMES.get(name);
  if (value === undefined) throw new UnsupportedError(line, name);
  return value;
}
