/** Bodies in every framing, every cut, and every way to get them wrong. */
import { expect } from 'chai';
import fc from 'fast-check';
import {
  BodyReader,
  CHUNK_EXTENSION_MAX_BYTES,
  TRAILERS_MAX_BYTES,
} from '../../src/app/http/body-reader.js';

interface Outcome {
  content: string;
  complete: boolean;
  refused: number;
  /** Bytes that were left over. */
  rest: string;
}

/** Feeds `text` cut after each of `cuts`. */
function feed(
  text: string,
  length: number,
  chunked: boolean,
  cuts: number[] = [],
  max = 1e6,
): Outcome {
  const reader = new BodyReader();
  reader.begin(length, chunked, max);
  const bytes = Buffer.from(text, 'latin1');
  let content = '';
  const sink = {
    content(from: Buffer, start: number, end: number): void {
      content += from.toString('latin1', start, end);
    },
  };
  let at = 0;
  for (const end of [...cuts, bytes.length]) {
    if (reader.complete || reader.refused !== 0) break;
    at = reader.feed(bytes, at, end, sink);
  }
  return { content, complete: reader.complete, refused: reader.refused, rest: text.slice(at) };
}

const chunked = (text: string): Outcome => feed(text, -1, true);

describe('app/http/body-reader', () => {
  it('reads a body of a known length and leaves the rest', () => {
    expect(feed('hello, more', 5, false)).to.deep.equal({
      content: 'hello',
      complete: true,
      refused: 0,
      rest: ', more',
    });
    expect(feed('', 0, false).complete).to.equal(true);
    expect(feed('x', -1, false)).to.include({ complete: true, rest: 'x' });
    expect(feed('hel', 5, false)).to.include({ content: 'hel', complete: false });
  });

  it('reads chunks, extensions and trailers', () => {
    expect(chunked('5\r\nhello\r\n0\r\n\r\nGET')).to.deep.equal({
      content: 'hello',
      complete: true,
      refused: 0,
      rest: 'GET',
    });
    expect(chunked('00a;x="y" \t;z\r\n0123456789\r\n0 ;q\r\nA-b: c d\r\nE:\r\n\r\n')).to.include({
      content: '0123456789',
      complete: true,
    });
  });

  const bad: [string, string][] = [
    ['no size', '\r\n'],
    ['a size that is none', 'g\r\n'],
    ['a signed size', '+5\r\nhello\r\n'],
    ['a prefixed size', '0x5\r\nhello\r\n'],
    ['a blank after the size', '5 \r\nhello\r\n'],
    ['a blank, then a digit', '5 5\r\n'],
    ['a bare LF after the size', '5\nhello'],
    ['a bare CR after the size', '5\rhello'],
    ['a LF in an extension', '5;a\nhello'],
    ['a NUL in an extension', '5;\0\r\nhello'],
    ['more content than the size', '5\r\nhello!\r\n'],
    ['a bare LF after the content', '5\r\nhello\n0\r\n'],
    ['a bare CR after the content', '5\r\nhello\r0\r\n'],
    ['a size beyond 2^52', '10000000000000\r\n'],
    ['a trailer without colon', '0\r\nabc\r\n\r\n'],
    ['a trailer that is folded', '0\r\n a: b\r\n\r\n'],
    ['a trailer without name', '0\r\n: b\r\n\r\n'],
    ['a control in a trailer', '0\r\na: \x01\r\n\r\n'],
    ['a bare CR in a trailer', '0\r\na: b\rc\r\n\r\n'],
    ['a bare CR at the end', '0\r\n\rX'],
  ];
  for (const [name, text] of bad) {
    it(`refuses ${name}`, () => expect(chunked(text).refused, text).to.equal(400));
  }

  it('limits extensions, trailers and content', () => {
    const extension = (length: number): Outcome => chunked(`1;${'a'.repeat(length - 2)}\r\nx`);
    expect(extension(CHUNK_EXTENSION_MAX_BYTES).refused).to.equal(0);
    expect(extension(CHUNK_EXTENSION_MAX_BYTES + 1).refused).to.equal(400);
    const trailers = (length: number): Outcome =>
      chunked(`0\r\na:${'b'.repeat(length - 4)}\r\n\r\n`);
    expect(trailers(TRAILERS_MAX_BYTES)).to.include({ refused: 0, complete: true });
    expect(trailers(TRAILERS_MAX_BYTES + 2).refused).to.equal(431);
    expect(feed('x', 11, false, [], 10).refused).to.equal(413);
    expect(feed('0123456789', 10, false, [], 10)).to.include({ refused: 0, complete: true });
    expect(feed('6\r\n012345\r\n5\r\n67890', -1, true, [], 10).refused).to.equal(413);
  });

  it('says the same for every cut', () => {
    const texts = [
      '5\r\nhello\r\n1;a=b\r\n!\r\n0\r\nTrailer: value\r\n\r\nrest',
      ...bad.map(([, text]) => text),
    ];
    for (const text of texts) {
      const whole = chunked(text);
      for (let cut = 0; cut <= text.length; cut++) {
        expect(feed(text, -1, true, [cut]), `${text} cut at ${cut}`).to.deep.equal(whole);
      }
    }
  });

  it('gives back what was chunked', () => {
    const pieces = fc.array(fc.uint8Array({ minLength: 1, maxLength: 50 }), { maxLength: 8 });
    fc.assert(
      fc.property(pieces, fc.array(fc.nat(400), { maxLength: 6 }), (parts, cuts) => {
        const content = Buffer.concat(parts).toString('latin1');
        const framed = parts
          .map(
            (part) => `${part.length.toString(16)}\r\n${Buffer.from(part).toString('latin1')}\r\n`,
          )
          .join('');
        const text = `${framed}0\r\n\r\nnext`;
        const at = cuts.filter((cut) => cut < text.length).sort((a, b) => a - b);
        expect(feed(text, -1, true, at)).to.deep.equal({
          content,
          complete: true,
          refused: 0,
          rest: 'next',
        });
      }),
      { numRuns: 200 },
    );
  });

  it('never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 100 }), (bytes) => {
        const outcome = chunked(Buffer.from(bytes).toString('latin1'));
        expect([0, 400, 413, 431]).to.include(outcome.refused);
      }),
      { numRuns: 300 },
    );
  });
});
