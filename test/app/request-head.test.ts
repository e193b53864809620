/** Request heads: what is accepted, and each malformed or smuggled form that is refused. */
import { expect } from 'chai';
import fc from 'fast-check';
import {
  FIELDS_MAX,
  HEAD_COMPLETE,
  HEAD_INCOMPLETE,
  HEAD_MAX_BYTES,
  REQUEST_LINE_MAX_BYTES,
  RequestHead,
} from '../../src/app/http/request-head.js';

/** Finds and parses `text`: the status of a refusal, or the head. */
function read(text: string): RequestHead | number {
  const bytes = Buffer.from(text, 'latin1');
  const head = new RequestHead();
  const found = head.find(bytes, 0, bytes.length, { scanned: 0, lineStart: 0 });
  if (found !== HEAD_COMPLETE) return found;
  const refused = head.parse(bytes, 0);
  return refused === 0 ? head : refused;
}

function accepted(text: string): RequestHead {
  const result = read(text);
  if (typeof result === 'number')
    throw new Error(`refused with ${result}: ${JSON.stringify(text)}`);
  return result;
}

const request = (...fields: string[]): string =>
  `GET / HTTP/1.1\r\n${['Host: x', ...fields].join('\r\n')}\r\n\r\n`;

describe('app/http/request-head', () => {
  it('reads what curl sends', () => {
    const text =
      'GET /whoami?a=1 HTTP/1.1\r\nHost: 198.18.0.1\r\nUser-Agent: curl/8\r\nAccept: */*\r\n\r\n';
    const head = accepted(text);
    expect(head).to.include({
      method: 'GET',
      target: '/whoami?a=1',
      minor: 1,
      keepAlive: true,
      contentLength: -1,
      chunked: false,
      expectContinue: false,
      accept: '*/*',
      length: text.length,
    });
  });

  it('takes the fields that it serves, whatever their case and blanks', () => {
    const head = accepted(
      request(
        'CONTENT-LENGTH:\t 12 ',
        'eXpect: 100-Continue',
        'Range: bytes=0-1',
        'If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT',
        'Accept: text/html',
        'accept: text/plain',
        'X-Other: \u00e9 ok',
      ),
    );
    expect(head).to.include({
      contentLength: 12,
      expectContinue: true,
      range: 'bytes=0-1',
      ifModifiedSince: 'Sun, 06 Nov 1994 08:49:37 GMT',
      accept: 'text/html, text/plain',
    });
    expect(accepted(request('Transfer-Encoding: Chunked')).chunked).to.equal(true);
  });

  it('forgets one request before the next', () => {
    const head = new RequestHead();
    for (const text of [request('Content-Length: 5', 'Connection: close'), request()]) {
      const bytes = Buffer.from(text);
      head.find(bytes, 0, bytes.length, { scanned: 0, lineStart: 0 });
      expect(head.parse(bytes, 0)).to.equal(0);
    }
    expect(head).to.include({ contentLength: -1, keepAlive: true });
  });

  it('keeps connections as RFC 9112 9.3 says', () => {
    const old = (...fields: string[]): RequestHead =>
      accepted(`GET / HTTP/1.0\r\n${fields.map((field) => `${field}\r\n`).join('')}\r\n`);
    expect(old().keepAlive).to.equal(false);
    expect(old('Connection: Keep-Alive').keepAlive).to.equal(true);
    expect(old('Connection: keep-alive, close').keepAlive).to.equal(false);
    expect(accepted(request('Connection: foo, CLOSE')).keepAlive).to.equal(false);
    expect(old('Expect: 100-continue').expectContinue).to.equal(false);
  });

  it('skips empty lines before the request line', () => {
    expect(accepted(`\r\n\r\n${request()}`).target).to.equal('/');
  });

  it('takes absolute-form and asterisk-form', () => {
    const target = (text: string): string => accepted(`${text} HTTP/1.1\r\nHost: x\r\n\r\n`).target;
    expect(target('GET http://x/ok?q')).to.equal('/ok?q');
    expect(target('GET HTTP://x:80')).to.equal('/');
    expect(target('GET https://x?q')).to.equal('/?q');
    expect(target('OPTIONS *')).to.equal('*');
  });

  it('serves a higher minor version as 1.1 and refuses another major', () => {
    expect(accepted('GET / HTTP/1.7\r\nHost: x\r\n\r\n').minor).to.equal(1);
    expect(read('GET / HTTP/2.0\r\nHost: x\r\n\r\n')).to.equal(505);
  });

  const malformed: [string, string][] = [
    ['no version', 'GET /\r\n\r\n'],
    ['lower-case version', 'GET / http/1.1\r\nHost: x\r\n\r\n'],
    ['version without digits', 'GET / HTTP/1.x\r\nHost: x\r\n\r\n'],
    ['version without dot', 'GET / HTTP/1-1\r\nHost: x\r\n\r\n'],
    ['two spaces', 'GET  / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a tab for a space', 'GET\t/ HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['trailing space', 'GET / HTTP/1.1 \r\nHost: x\r\n\r\n'],
    ['no method', ' / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a method that is no token', 'G(T / HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a fragment', 'GET /#a HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a control in the target', 'GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a relative target', 'GET ok HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['asterisk for GET', 'GET * HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['userinfo in the target', 'GET http://a@x/ HTTP/1.1\r\nHost: x\r\n\r\n'],
    ['a bare LF after the request line', 'GET / HTTP/1.1\nHost: x\r\n\r\n'],
    ['a bare LF after a field', 'GET / HTTP/1.1\r\nHost: x\n\r\n'],
    ['a bare LF at the end', 'GET / HTTP/1.1\r\nHost: x\r\n\n'],
    ['a LF first', `\n${request()}`],
    ['a bare CR in front', `\rX${request()}`],
    ['a bare CR in a value', request('A: b\rc')],
    ['a bare CR in front of a field', request('\rA: b')],
    ['a NUL in a value', request('A: b\0')],
    ['a DEL in a value', request('A: \x7f')],
    ['no colon', request('Foo')],
    ['an empty name', request(': x')],
    ['a space before the colon', request('Foo : x')],
    ['a name that is no token', request('F(o: x')],
    ['obs-fold', request('Foo: a', ' b')],
    ['a space before the first field', 'GET / HTTP/1.1\r\n Host: x\r\n\r\n'],
    ['no Host in 1.1', 'GET / HTTP/1.1\r\n\r\n'],
    ['two Hosts', request('Host: x')],
    ['two Hosts in 1.0', 'GET / HTTP/1.0\r\nHost: x\r\nHost: y\r\n\r\n'],
    ['a Host that is none', 'GET / HTTP/1.1\r\nHost: a/b\r\n\r\n'],
    ['a Host with a bad port', 'GET / HTTP/1.1\r\nHost: a:b\r\n\r\n'],
    ['both framings', request('Content-Length: 3', 'Transfer-Encoding: chunked')],
    ['both framings, other order', request('Transfer-Encoding: chunked', 'Content-Length: 3')],
    ['two lengths', request('Content-Length: 3', 'Content-Length: 4')],
    ['a list of lengths', request('Content-Length: 3, 3')],
    ['a signed length', request('Content-Length: +3')],
    ['a negative length', request('Content-Length: -3')],
    ['a hexadecimal length', request('Content-Length: 0x3')],
    ['an empty length', request('Content-Length:')],
    ['chunked twice', request('Transfer-Encoding: chunked, chunked')],
    ['chunked in two fields', request('Transfer-Encoding: chunked', 'Transfer-Encoding: chunked')],
    ['chunked not last', request('Transfer-Encoding: chunked, gzip')],
    ['an unknown coding alone', request('Transfer-Encoding: gzip')],
    ['a disguised coding', request('Transfer-Encoding: xchunked')],
    ['chunked in 1.0', 'POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n'],
  ];
  for (const [name, text] of malformed) {
    it(`refuses ${name} with 400`, () => expect(read(text)).to.equal(400));
  }

  it('names what it does not support', () => {
    expect(read(request('Transfer-Encoding: gzip, chunked'))).to.equal(501);
    expect(read(request('Expect: something'))).to.equal(417);
    expect(read(request('Content-Length: 99999999999999999999'))).to.equal(413);
  });

  it('limits the request line at its last good byte', () => {
    const line = (length: number): string =>
      `GET /${'a'.repeat(length - 'GET / HTTP/1.1\r\n'.length)} HTTP/1.1\r\nHost: x\r\n\r\n`;
    expect(read(line(REQUEST_LINE_MAX_BYTES))).to.be.instanceOf(RequestHead);
    expect(read(line(REQUEST_LINE_MAX_BYTES + 1))).to.equal(414);
    expect(read(`GET /${'a'.repeat(REQUEST_LINE_MAX_BYTES)}`)).to.equal(414);
  });

  it('limits the head at its last good byte', () => {
    const sized = (length: number): string =>
      request(`A: ${'a'.repeat(length - request('A: ').length)}`);
    expect(read(sized(HEAD_MAX_BYTES))).to.be.instanceOf(RequestHead);
    expect(read(sized(HEAD_MAX_BYTES + 1))).to.equal(431);
  });

  it('limits the number of fields', () => {
    const fields = (count: number): string => request(...Array(count - 1).fill('A: b'));
    expect(read(fields(FIELDS_MAX))).to.be.instanceOf(RequestHead);
    expect(read(fields(FIELDS_MAX + 1))).to.equal(431);
  });

  it('says the same however the bytes come', () => {
    for (const [, text] of [
      ...malformed,
      ['good', `\r\n${request('Content-Length: 3')}`] as const,
    ]) {
      const bytes = Buffer.from(text, 'latin1');
      const head = new RequestHead();
      const progress = { scanned: 0, lineStart: 0 };
      let found = HEAD_INCOMPLETE;
      for (let end = 1; end <= bytes.length && found === HEAD_INCOMPLETE; end++) {
        found = head.find(bytes, 0, end, progress);
      }
      const whole = read(text);
      const pieces = found === HEAD_COMPLETE ? head.parse(bytes, 0) : found;
      expect(pieces, text).to.equal(typeof whole === 'number' ? whole : 0);
    }
  });

  it('never throws and never reads past the end', () => {
    const noise = fc.oneof(
      fc.uint8Array({ maxLength: 200 }).map((bytes) => Buffer.from(bytes).toString('latin1')),
      fc
        .array(
          fc.constantFrom('GET', ' ', '/', 'HTTP/1.1', '\r\n', '\r', '\n', ':', 'Host', 'a', '\t'),
          {
            maxLength: 40,
          },
        )
        .map((parts) => parts.join('')),
    );
    fc.assert(
      fc.property(noise, (text) => {
        const result = read(text);
        if (typeof result === 'number') {
          expect(result === HEAD_INCOMPLETE || (result >= 400 && result < 600)).to.equal(true);
        } else {
          expect(result.length).to.be.at.most(text.length);
        }
      }),
      { numRuns: 500 },
    );
  });

  it('knows a head that comes again, and says of it what parsing says', () => {
    const field = fc.constantFrom(
      'Host: x',
      'Accept: */*',
      'Connection: close',
      'Connection: keep-alive',
      'Content-Length: 3',
      'Range: bytes=0-1',
      'bad field',
    );
    const line = fc.constantFrom('GET / HTTP/1.1', 'GET /a?b HTTP/1.0', 'POST /sink HTTP/1.1');
    const text = fc
      .tuple(line, fc.array(field, { maxLength: 4 }))
      .map(([first, fields]) => `${[first, ...fields].join('\r\n')}\r\n\r\n`);
    let again = 0;
    fc.assert(
      fc.property(fc.array(text, { minLength: 2, maxLength: 4 }), (texts) => {
        const head = new RequestHead();
        for (const one of [...texts, texts.at(-1)!]) {
          const bytes = Buffer.from(`${one}GET`, 'latin1');
          const expected = read(one);
          const known = head.findAgain(bytes, 0, bytes.length);
          if (known) again++;
          const found = known || head.find(bytes, 0, bytes.length, { scanned: 0, lineStart: 0 });
          const refused = known ? 0 : found === HEAD_COMPLETE ? head.parse(bytes, 0) : found;
          if (typeof expected === 'number') {
            expect(refused).to.equal(expected);
            continue;
          }
          const { method, target, minor, keepAlive, contentLength, accept, range, length } =
            expected;
          const fields = { method, target, minor, keepAlive, contentLength, accept, range, length };
          expect(head).to.include(fields);
          head.keepAlive = false; // a user may decide so, for this request
        }
      }),
      { numRuns: 200 },
    );
    expect(again).to.be.greaterThan(20);
  });
});
