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

  /** A length in bytes. */
  size(i: number): number {
    return sizeOf(this.at(i), this.line);
  }

  /** The items of a list at argument `i`; argument `i + 1` says how many there are. */
  counted(i: number): readonly Expression[] {
    const items = this.list(i);
    if (this.number(i + 1) === items.length) return items;
    const message = `${this.call}: the list has ${items.length} items, not ${this.number(i + 1)}`;
    throw new ScriptError(this.line, message);
  }

  /** Throws ScriptError unless argument `i` is a buffer: `...` (zeros) or NULL. */
  buffer(i: number): void {
    if (this.isEllipsis(i) || this.isNull(i)) return;
    throw new ScriptError(this.line, `${this.call}: a buffer is written as ... or NULL`);
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

  /**
   * The address at argument `i`: `otherwise` for `...` and NULL, or what
   * `{sa_family=AF_INET, sin_port=htons(P), sin_addr=inet_addr("A")}` says.
   */
  address(
    i: number,
    otherwise: { address: string; port: number },
  ): { address: string; port: number } {
    if (this.isEllipsis(i) || this.isNull(i)) return otherwise;
    const fields = this.fields(i);
    if (fields.number('sa_family') !== constants.AF_INET) {
      throw new UnsupportedError(this.line, 'addresses of another family');
    }
    return {
      address: addressText(fields.value('sin_addr'), this.line),
      port: fields.number('sin_port'),
    };
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

  /** The length of an iovec: `{..., n}`. */
  length(): number {
    const [buffer, length] = this.fields;
    if (this.fields.length === 2 && buffer!.value.kind === 'ellipsis') {
      return sizeOf(length!.value, this.line);
    }
    throw new ScriptError(this.line, 'a vector is written as {..., N}');
  }

  /** The items of `name(N)=[…]`, which must be N. */
  counted(name: string): readonly Expression[] {
    const field = this.fields.find((candidate) => candidate.name === name);
    const { value, parameter = null } = field ?? { value: this.value(name) };
    if (value.kind !== 'list') throw new ScriptError(this.line, `${name} is a list`);
    if (parameter === null || numberOf(parameter, this.line) === value.items.length) {
      return value.items;
    }
    throw new ScriptError(this.line, `${name}: the list has ${value.items.length} items`);
  }
}

/** As much as one buffer of a script may have. */
const MOST_BYTES = 1 << 28;

function sizeOf(item: Expression, line: number): number {
  const size = numberOf(item, line);
  if (Number.isInteger(size) && size >= 0 && size <= MOST_BYTES) return size;
  throw new ScriptError(line, `a length is 0 to ${MOST_BYTES} bytes`);
}

/** `inet_addr("A")`, "A" or INADDR_ANY. */
function addressText(item: Expression, line: number): string {
  if (item.kind === 'string') return item.value;
  if (item.kind === 'apply' && item.name === 'inet_addr' && item.arguments.length === 1) {
    return addressText(item.arguments[0]!, line);
  }
  if (item.kind === 'symbol' && item.name === 'INADDR_ANY') return '0.0.0.0';
  throw new ScriptError(line, 'an address is written as inet_addr("192.0.2.1")');
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
