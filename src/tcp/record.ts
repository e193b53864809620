/**
 * Objects as a few dozen bytes: only the fields that differ from what is usual, each as a tag (how
 * many fields were skipped, and the kind of value) with the value. Numbers are differences from an
 * earlier number, for most are one of our sequence numbers, one of the peer's, or a time. The
 * fields are those that the object has: there is no list of them here, so that none can be
 * forgotten; -0 comes back as 0. What the records are for is parking.ts; where they are kept,
 * net/cell-store.ts.
 */
import { assert } from '../net/assert.js';
import { cellWords } from '../net/cell-store.js';
import { type Compare, type Fill, fieldCompare, fieldFill } from './fields.js';

type Fields = Record<string, unknown>;

/** Kinds of value: the three low bits of a tag; the others say how many fields were skipped. */
const INT = 0; // difference of int32 from the last one, zigzag, LEB128
const INT_OTHER = 1; // difference from the one before the last; these two change places
const WHOLE = 2; // difference of any other whole number from the last one of these
const FLOAT = 3; // eight bytes
const CONSTANT = 4; // index in CONSTANTS
const KEPT = 5; // number of a kept object
const PART = 7; // a record of its own follows
const CONSTANTS: readonly unknown[] = [null, false, true];
const SKIP_SHIFT = 3;
const SKIP_MOST = 30;
/** Tags: 31 fields are skipped and another tag follows; the record ends. */
const EXTEND: number = 31 << SKIP_SHIFT;
const END: number = (31 << SKIP_SHIFT) | PART;

/** Largest difference that is a WHOLE. */
const WHOLE_MOST: number = 2 ** 51;
/** More than any record takes. */
const SCRATCH_BYTES = 8192;

/** Objects and texts that records refer to, each once, as long as a record does. */
class KeptObjects {
  private readonly values: unknown[] = [];
  private readonly uses: number[] = [];
  private readonly numbers = new Map<unknown, number>();
  private readonly free: number[] = [];

  get size(): number {
    return this.numbers.size;
  }

  hold(value: unknown): number {
    let number = this.numbers.get(value);
    if (number === undefined) {
      number = this.free.pop() ?? this.values.length;
      this.values[number] = value;
      this.uses[number] = 0;
      this.numbers.set(value, number);
    }
    this.uses[number]!++;
    return number;
  }

  release(number: number): unknown {
    const value = this.values[number];
    if (--this.uses[number]! === 0) {
      this.numbers.delete(value);
      this.values[number] = null;
      this.free.push(number);
    }
    return value;
  }
}

/** What is known of the objects of one class. */
export class Shape {
  /** Fields that a record has, and of each the value that takes no room: of parts null. */
  readonly keys: readonly string[];
  readonly usual: readonly unknown[];
  /** Of each field: its shape when it is an object of this record's own, else null. */
  readonly parts: readonly (Shape | null)[];
  /** Indices of those that are not null. */
  readonly partsAt: readonly number[];
  /** Makes what a record has and the object to be filled has not. */
  readonly make: (owner: never) => object;
  /** Indices of fields that are not usual, of the object that is looked at. */
  readonly hits: Int32Array;
  readonly compare: Compare;
  /** Gives all fields but parts their usual values. */
  readonly fill: Fill;

  /**
   * @param usual an object with all fields and their usual values
   * @param without fields that no record has
   * @param parts shapes of the fields that belong to one object alone
   */
  constructor(
    usual: object,
    make: (owner: never) => object,
    without: readonly string[] = [],
    parts: Readonly<Record<string, Shape>> = {},
  ) {
    this.keys = Object.keys(usual).filter((key) => !without.includes(key));
    this.parts = this.keys.map((key) => parts[key] ?? null);
    this.usual = this.keys.map((key) => (key in parts ? null : (usual as Fields)[key]));
    this.partsAt = [...this.parts.keys()].filter((i) => this.parts[i] !== null);
    this.make = make;
    this.hits = new Int32Array(this.keys.length);
    this.compare = fieldCompare(this.keys, this.usual);
    const whole = [...this.keys.keys()].filter((i) => this.parts[i] === null);
    this.fill = fieldFill(
      whole.map((i) => this.keys[i]!),
      whole.map((i) => this.usual[i]),
    );
  }
}

/** int32 → u32 that is small when the number is near 0. */
function zigzag(difference: number): number {
  return ((difference << 1) ^ (difference >> 31)) >>> 0;
}

/** Writes one record at a time into `words`, and reads it from there. */
export class RecordCodec {
  readonly words: Int32Array = new Int32Array(cellWords(SCRATCH_BYTES));
  private readonly bytes: Uint8Array = new Uint8Array(this.words.buffer);
  private readonly view: DataView = new DataView(this.words.buffer);
  private readonly kept = new KeptObjects();
  private at = 0;
  private kind = 0;
  private lastInt = 0;
  private otherInt = 0;
  private lastWhole = 0;

  /** Objects that records refer to. */
  get keptObjects(): number {
    return this.kept.size;
  }

  /** Writes the record of `object`; its size, bytes. */
  encode(shape: Shape, object: object): number {
    this.at = this.lastInt = this.otherInt = this.lastWhole = 0;
    this.write(shape, object as Fields);
    return this.at;
  }

  /**
   * Gives all fields of `object` the values of the record, which is not good any more afterwards:
   * the objects that it refers to are let go.
   */
  decode(shape: Shape, object: object): void {
    this.at = this.lastInt = this.otherInt = this.lastWhole = 0;
    this.read(shape, object as Fields);
  }

  private write(shape: Shape, object: Fields): void {
    const { keys, parts, hits } = shape;
    const count = shape.compare(object, hits);
    let next = 0;
    for (let n = 0; n < count; n++) {
      const i = hits[n]!;
      let skipped = i - next;
      for (; skipped > SKIP_MOST; skipped -= SKIP_MOST + 1) this.bytes[this.at++] = EXTEND;
      this.writeField(skipped << SKIP_SHIFT, object[keys[i]!], parts[i]!);
      next = i + 1;
    }
    this.bytes[this.at++] = END;
  }

  private writeField(tag: number, value: unknown, part: Shape | null): void {
    if (typeof value === 'number') {
      this.writeNumber(tag, value);
    } else if (value === null || typeof value === 'boolean') {
      this.bytes[this.at++] = tag | CONSTANT;
      this.bytes[this.at++] = CONSTANTS.indexOf(value);
    } else if (part !== null) {
      this.bytes[this.at++] = tag | PART;
      this.write(part, value as Fields);
    } else {
      this.bytes[this.at++] = tag | KEPT;
      this.writeVarint(this.kept.hold(value));
    }
  }

  private writeNumber(tag: number, value: number): void {
    const apart = value - this.lastWhole;
    if ((value | 0) === value) {
      const fromLast = zigzag((value - this.lastInt) | 0);
      const fromOther = zigzag((value - this.otherInt) | 0);
      if (fromLast > fromOther) this.otherInt = this.lastInt;
      this.lastInt = value;
      this.bytes[this.at++] = tag | (fromLast > fromOther ? INT_OTHER : INT);
      this.writeVarint(Math.min(fromLast, fromOther));
    } else if (Number.isSafeInteger(value) && Math.abs(apart) < WHOLE_MOST) {
      this.lastWhole = value;
      this.bytes[this.at++] = tag | WHOLE;
      this.writeVarint(apart < 0 ? -2 * apart - 1 : 2 * apart);
    } else {
      this.bytes[this.at++] = tag | FLOAT;
      this.view.setFloat64(this.at, value);
      this.at += 8;
    }
  }

  private writeVarint(value: number): void {
    while (value >= 128) {
      this.bytes[this.at++] = (value & 127) | 128;
      value = Math.floor(value / 128);
    }
    this.bytes[this.at++] = value;
  }

  private read(shape: Shape, object: Fields): void {
    const { keys, parts, partsAt } = shape;
    shape.fill(object);
    let part = 0;
    for (let i = this.nextField(0); i >= 0; i = this.nextField(i + 1)) {
      for (; partsAt[part]! < i; part++) object[keys[partsAt[part]!]!] = null;
      if (this.kind !== PART) {
        object[keys[i]!] = this.readValue();
      } else {
        this.readPart(parts[i]!, object, keys[i]!);
        part++;
      }
    }
    for (; part < partsAt.length; part++) object[keys[partsAt[part]!]!] = null;
  }

  /** Index of the next field that the record has, its kind in `kind`; -1 at the end. */
  private nextField(from: number): number {
    for (;;) {
      const tag = this.bytes[this.at++]!;
      if (tag === END) return -1;
      if (tag === EXTEND) {
        from += SKIP_MOST + 1;
        continue;
      }
      this.kind = tag & PART;
      return from + (tag >>> SKIP_SHIFT);
    }
  }

  private readPart(part: Shape, owner: Fields, key: string): void {
    let object = owner[key] as Fields | null;
    if (object === null) {
      object = part.make(owner as never) as Fields;
      owner[key] = object;
    }
    this.read(part, object);
  }

  private readValue(): unknown {
    switch (this.kind) {
      case INT:
        this.lastInt = this.nextInt(this.lastInt);
        return this.lastInt;
      case INT_OTHER: {
        const value = this.nextInt(this.otherInt);
        this.otherInt = this.lastInt;
        this.lastInt = value;
        return value;
      }
      case WHOLE: {
        const code = this.readVarint();
        const half = Math.floor(code / 2);
        this.lastWhole += code % 2 === 0 ? half : -half - 1;
        return this.lastWhole;
      }
      case FLOAT:
        this.at += 8;
        return this.view.getFloat64(this.at - 8);
      case KEPT:
        return this.kept.release(this.readVarint());
      default:
        assert(this.kind === CONSTANT, 'record: no such kind of value');
        return CONSTANTS[this.bytes[this.at++]!];
    }
  }

  private nextInt(from: number): number {
    const code = this.readVarint();
    return (from + ((code >>> 1) ^ -(code & 1))) | 0;
  }

  private readVarint(): number {
    let value = 0;
    for (let scale = 1; ; scale *= 128) {
      const byte = this.bytes[this.at++]!;
      value += (byte & 127) * scale;
      if (byte < 128) return value;
    }
  }
}
