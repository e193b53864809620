/** Records: every kind of value comes back, and what is usual takes no room. */
import { expect } from 'chai';
import fc from 'fast-check';
import { RecordCodec, Shape } from '../../src/tcp/record.js';

class Inner {
  count = 0;
  best: number = Infinity;
}

class Outer {
  seq = 0;
  other = 0;
  flag = false;
  atUs: number = Infinity;
  link: object | null = null;
  readonly inner: Inner = new Inner();
  extra: Inner | null = null;
  last = 0;
}

function outerShape(usual: Outer = new Outer()): Shape {
  const inner = new Shape(new Inner(), () => new Inner());
  return new Shape(usual, () => new Outer(), ['other'], { inner, extra: inner });
}

/** An object in whose fields something else stands, `other` apart. */
function used(): Outer {
  const outer = Object.assign(new Outer(), { seq: 5, flag: true, atUs: 1, last: 9 });
  outer.extra = Object.assign(new Inner(), { count: 3, best: 4 });
  outer.inner.count = 8;
  return outer;
}

/** No -0: it comes back as 0. */
const number = fc
  .oneof(
    fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    fc.maxSafeInteger(),
    fc.double({ noNaN: true }),
    fc.constantFrom(Infinity, -Infinity, 2 ** 31, -(2 ** 31), 2 ** 53, 0.5),
  )
  .map((value) => value + 0);
const inner = fc.record({ count: number, best: number });

describe('record', () => {
  it('has all that was in the object', () => {
    const codec = new RecordCodec();
    const link = fc.constantFrom(null, { a: 1 }, { b: 2 });
    const fields = { seq: number, flag: fc.boolean(), atUs: number, link, last: number };
    const extra = fc.option(inner, { nil: null });
    fc.assert(
      fc.property(fc.record(fields), inner, extra, (values, inside, more) => {
        const shape = outerShape();
        const outer = Object.assign(new Outer(), values);
        Object.assign(outer.inner, inside);
        if (more !== null) outer.extra = Object.assign(new Inner(), more);
        codec.encode(shape, outer);
        for (const target of [used(), new Outer()]) {
          codec.encode(shape, outer);
          codec.decode(shape, target);
          expect(target).to.deep.equal(outer);
          expect(target.link).to.equal(outer.link);
        }
      }),
      { numRuns: 200, seed: 3 },
    );
  });

  it('takes a byte when everything is usual, and one for each part', () => {
    const codec = new RecordCodec();
    const usual = used();
    usual.extra = null;
    // The end, and the part with its own.
    expect(codec.encode(outerShape(usual), Object.assign(used(), { extra: null }))).to.equal(4 + 1);
    usual.inner.count = 0;
    expect(codec.encode(outerShape(usual), usual)).to.equal(3);
    const target = new Outer();
    codec.decode(outerShape(usual), target);
    expect(target).to.deep.equal(usual);
  });

  it('is small when numbers are near one of the two before', () => {
    const codec = new RecordCodec();
    const outer = Object.assign(new Outer(), { seq: 1 << 30, atUs: 77, last: (1 << 30) + 1 });
    // A tag and five bytes, two, two for what is one more than the first; part and end.
    expect(codec.encode(outerShape(), outer)).to.equal(6 + 3 + 2 + 2 + 1);
  });

  it('leaves alone the fields that it has not', () => {
    const codec = new RecordCodec();
    const target = Object.assign(new Outer(), { other: 42 });
    codec.encode(outerShape(), Object.assign(new Outer(), { other: 7 }));
    codec.decode(outerShape(), target);
    expect(target.other).to.equal(42);
  });

  it('has room for more than thirty fields between two', () => {
    const keys = Array.from({ length: 100 }, (_, i) => `f${i}`);
    const zeros = (): Record<string, unknown> => Object.fromEntries(keys.map((key) => [key, 0]));
    const codec = new RecordCodec();
    for (const at of [30, 31, 32, 61, 62, 63, 93, 99]) {
      const object = { ...zeros(), [`f${at}`]: 5, f99: 'text' };
      const target = zeros();
      codec.encode(new Shape(zeros(), zeros), object);
      codec.decode(new Shape(zeros(), zeros), target);
      expect(target).to.deep.equal(object);
    }
  });

  it('keeps an object as long as a record refers to it', () => {
    const codec = new RecordCodec();
    const shape = outerShape();
    const outer = Object.assign(new Outer(), { link: {} });
    codec.encode(shape, outer);
    const first = codec.words.slice();
    codec.encode(shape, outer);
    expect(codec.keptObjects).to.equal(1);
    codec.decode(shape, used());
    expect(codec.keptObjects).to.equal(1);
    codec.words.set(first);
    codec.decode(shape, used());
    expect(codec.keptObjects).to.equal(0);
    codec.encode(shape, Object.assign(new Outer(), { link: {} }));
    expect(codec.keptObjects).to.equal(1);
  });
});
