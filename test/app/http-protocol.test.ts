/** HTTP connections of one worker on fake system calls: answers, framing, back-pressure, ends. */
import { createHash } from 'node:crypto';
import { expect } from 'chai';
import fc from 'fast-check';
import { LINGER_MS } from '../../src/app/demo-server/http-protocol.js';
import { CONNECTION, DemoWorld, request, responses } from './demo-world.js';

const OK = request('GET', '/ok');
const EMPTY_SHA = createHash('sha256').digest('hex');

/** The bytes of /bytes/N from `from` on. */
function pattern(from: number, length: number): Buffer {
  return Buffer.from(Uint8Array.from({ length }, (_, i) => (from + i) % 251));
}

describe('app/demo-server/http-protocol', () => {
  it('answers, keeps the connection and counts', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    const first = world.exchange(fd, OK);
    expect(first).to.equal(
      'HTTP/1.1 200 OK\r\nServer: tunstack\r\nDate: Sun, 06 Nov 1994 08:49:37 GMT\r\n' +
        'Content-Type: text/plain; charset=utf-8\r\nContent-Length: 2\r\n\r\nOK',
    );
    expect(world.exchange(fd, OK)).to.equal(first);
    expect(world.counters.stats()[2]).to.deep.equal({
      worker: 2,
      accepted: 1,
      active: 1,
      requests: 2,
      bytesIn: 2 * OK.length,
      bytesOut: 2 * first.length,
      resets: 0,
      timeouts: 0,
      restarts: 0,
      state: 'serving',
    });
  });

  it('tells requests apart that differ in method, path or query only', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    const asks = (method: string, path: string): string => {
      const [answer] = responses(world.exchange(fd, request(method, path)));
      return `${answer!.status} ${answer!.body.length}`;
    };
    for (let round = 0; round < 2; round++) {
      expect(asks('GET', '/ok')).to.equal('200 2');
      expect(asks('GET', '/ok?x')).to.equal('200 2');
      expect(asks('DELETE', '/ok')).to.match(/^405 /);
      expect(asks('GET', '/bytes/7')).to.equal('200 7');
      expect(asks('GET', '/bytes/8')).to.equal('200 8');
      expect(asks('GET', '/nothing')).to.match(/^404 /);
    }
  });

  it('tells who it is', () => {
    const world = new DemoWorld();
    expect(JSON.parse(responses(world.get('/whoami'))[0]!.body)).to.deep.equal({
      worker: 2,
      slot: 2,
      members: 4,
      hash: '0x5d1c22aa',
      remoteAddress: CONNECTION.remoteAddress,
      remotePort: 51702,
      localAddress: '198.18.0.1',
      localPort: 80,
    });
    world.members = 0;
    expect(JSON.parse(responses(world.get('/whoami'))[0]!.body)).to.include({
      slot: null,
      members: 0,
      hash: null,
    });
  });

  it('shows / as text, or as HTML to who prefers it', () => {
    const world = new DemoWorld();
    const text = world.get('/?x', 'Accept: */*');
    for (const part of ['worker 2', '0x5d1c22aa', '198.18.0.254:51702', '198.18.0.1:80']) {
      expect(text).to.contain(part);
    }
    expect(text).to.contain('Content-Type: text/plain');
    const html = world.get('/', 'Accept: text/html,*/*;q=0.8');
    expect(html)
      .to.contain('Content-Type: text/html')
      .and.to.contain('<th>slot<td>2, by a selector');
    world.members = 0;
    expect(world.get('/')).to.contain('single listener');
    world.members = 1;
    expect(world.get('/')).to.contain('1 listener\n');
  });

  it('answers HEAD with the head alone', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    const text = world.exchange(fd, request('HEAD', '/bytes/1000000') + request('HEAD', '/ok'));
    const heads = text.split('\r\n\r\n');
    expect(heads).to.have.length(3);
    expect(heads[0]).to.contain('Content-Length: 1000000');
    expect(heads[1]).to.contain('Content-Length: 2');
  });

  it('speaks HTTP/1.0', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    expect(world.exchange(fd, 'GET /ok HTTP/1.0\r\nConnection: keep-alive\r\n\r\n')).to.contain(
      'Connection: keep-alive\r\n',
    );
    expect(world.sys.isOpen(fd)).to.equal(true);
    world.exchange(fd, 'GET /ok HTTP/1.0\r\n\r\n');
    expect(world.sys.closed).to.deep.equal([{ fd, reset: false }]);
  });

  it('answers pipelined requests in order, with one write', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    const paths = ['/ok', '/bytes/3', '/nothing', '/whoami', '/ok'];
    world.sys.peerSends(fd, paths.map((path) => request('GET', path)).join(''));
    world.loop.turn();
    expect(world.sys.file(fd).written).to.have.length(1);
    const statuses = responses(world.sys.peerReads(fd).toString('latin1')).map((row) => row.status);
    expect(statuses).to.deep.equal([200, 200, 404, 200, 200]);
  });

  it('says the same whatever the cut between two events', () => {
    const stream =
      `\r\n${OK}${request('POST', '/sink', 'Content-Length: 5')}hello` +
      `${request('PUT', '/sink', 'Transfer-Encoding: chunked')}3\r\nabc\r\n0\r\nT: x\r\n\r\n` +
      `${request('GET', '/bytes/10')}${request('GET', '/ok', 'Connection: close')}`;
    const whole = (cuts: number[]): string => {
      const world = new DemoWorld();
      const fd = world.connect();
      let out = '';
      let from = 0;
      for (const to of [...cuts, stream.length]) {
        if (!world.sys.isOpen(fd)) break;
        world.sys.peerSends(fd, stream.slice(from, to));
        from = to;
        const file = world.sys.file(fd);
        world.settle();
        out += Buffer.concat(file.written.splice(0)).toString('latin1');
      }
      expect(world.sys.isOpen(fd)).to.equal(false);
      return out;
    };
    const expected = whole([]);
    expect(responses(expected).map((row) => row.status)).to.deep.equal([200, 200, 200, 200, 200]);
    expect(responses(expected)[1]!.body).to.contain(
      createHash('sha256').update('hello').digest('hex'),
    );
    for (let cut = 0; cut <= stream.length; cut++) {
      expect(whole([cut]), `cut at ${cut}`).to.equal(expected);
    }
    expect(whole(Array.from({ length: stream.length }, (_, i) => i))).to.equal(expected);
  });

  it('streams /bytes/N under back-pressure, without reading on', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    const size = 3_000_001;
    world.sys.file(fd).room = 1000;
    world.sys.peerSends(fd, request('GET', `/bytes/${size}`) + OK);
    world.loop.turn();
    world.sys.peerSends(fd, OK);
    const parts: Buffer[] = [];
    for (let received = 0; received < size; ) {
      const part = world.sys.peerReads(fd);
      parts.push(part);
      received += part.length;
      world.sys.file(fd).room = 123_457;
      world.settle();
    }
    world.sys.file(fd).room = Number.POSITIVE_INFINITY;
    world.settle();
    parts.push(world.sys.peerReads(fd));
    const all = Buffer.concat(parts);
    const start = all.indexOf('\r\n\r\n') + 4;
    expect(all.subarray(start, start + size).equals(pattern(0, size))).to.equal(true);
    const after = responses(all.subarray(start + size).toString('latin1'));
    expect(after.map((row) => row.status)).to.deep.equal([200, 200]);
    expect(world.row[2]).to.equal(3);
  });

  it('serves every length of /bytes around its buffers', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    for (const size of [0, 1, 250, 251, 252, 65536, 131072, 262295, 262296, 400000]) {
      world.sys.peerSends(fd, request('GET', `/bytes/${size}`));
      world.loop.turn();
      const all = world.sys.peerReads(fd);
      const body = all.subarray(all.indexOf('\r\n\r\n') + 4);
      expect(body.equals(pattern(0, size)), `${size}`).to.equal(true);
    }
  });

  it('lets others have their turn during a long body', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    world.exchange(fd, request('GET', '/bytes/10000000'));
    expect(world.row[4]).to.be.below(2_000_000);
    world.settle();
    expect(world.row[4]).to.be.above(10_000_000);
  });

  it('keeps stuck output in order', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    world.sys.file(fd).room = 10;
    world.sys.peerSends(fd, OK.repeat(3));
    world.loop.turn();
    let text = '';
    for (let i = 0; i < 60; i++) {
      text += world.sys.peerReads(fd).toString('latin1');
      world.sys.file(fd).room = 10;
      world.loop.turn();
      if (world.sys.file(fd).room > 0) break;
    }
    text += world.sys.peerReads(fd).toString('latin1');
    expect(responses(text).map((row) => row.body)).to.deep.equal(['OK', 'OK', 'OK']);
  });

  it('hashes what /sink gets, in any framing', () => {
    const world = new DemoWorld();
    const body = pattern(7, 600_000);
    const sha256 = createHash('sha256').update(body).digest('hex');
    const fd = world.connect();
    world.sys.readMax = 70_001;
    world.sys.peerSends(fd, request('POST', '/sink', `Content-Length: ${body.length}`));
    world.sys.peerSends(fd, body);
    world.settle();
    const [first] = responses(world.sys.peerReads(fd).toString('latin1'));
    expect(JSON.parse(first!.body)).to.deep.equal({ bytes: body.length, sha256 });
    const [empty] = responses(world.exchange(fd, request('PUT', '/sink', 'Content-Length: 0')));
    expect(JSON.parse(empty!.body)).to.deep.equal({ bytes: 0, sha256: EMPTY_SHA });
  });

  it('asks for a body that waits to be asked for', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    const head = request('POST', '/sink', 'Content-Length: 3', 'Expect: 100-continue');
    expect(world.exchange(fd, head)).to.equal('HTTP/1.1 100 Continue\r\n\r\n');
    expect(responses(world.exchange(fd, 'abc'))[0]!.status).to.equal(200);
    const refused = world.exchange(
      fd,
      request('POST', '/ok', 'Content-Length: 3', 'Expect: 100-continue'),
    );
    expect(responses(refused)[0]).to.include({ status: 405 });
  });

  it('drops bodies that nobody wants, and keeps the connection while they are small', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    const text = world.exchange(fd, `${request('POST', '/ok', 'Content-Length: 5')}hello${OK}`);
    expect(responses(text).map((row) => row.status)).to.deep.equal([405, 200]);
    expect(responses(text)[0]!.head).to.contain('Allow: GET, HEAD, OPTIONS\r\n');
    const large = world.connect();
    const answer = world.exchange(large, request('POST', '/nothing', 'Content-Length: 65537'));
    expect(responses(answer)[0]!.status).to.equal(404);
    expect(answer).to.contain('Connection: close');
    const get = world.exchange(world.connect(), request('GET', '/ok', 'Content-Length: 65537'));
    expect(responses(get)[0]!.status).to.equal(413);
    const head = request('GET', '/ok', 'Transfer-Encoding: chunked');
    const chunks = `${head}ffff\r\n${'x'.repeat(65535)}\r\n2\r\nxx`;
    expect(responses(world.exchange(world.connect(), chunks))[0]!.status).to.equal(413);
    const sink = request('POST', '/sink', `Content-Length: ${10 * 2 ** 30 + 1}`);
    expect(responses(world.exchange(world.connect(), sink))[0]!.status).to.equal(413);
  });

  it('answers what is malformed, shuts its side, and drops the rest until the peer is done', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    const [answer] = responses(world.exchange(fd, `${OK}NONSENSE\r\n\r\n${OK}`)).slice(1);
    expect(answer).to.include({ status: 400, body: '400 Bad Request\n' });
    expect(answer!.head).to.contain('Connection: close');
    expect(world.sys.file(fd).shutWrite).to.equal(true);
    expect(world.exchange(fd, OK)).to.equal('');
    world.sys.peerEnds(fd);
    world.loop.turn();
    expect(world.sys.closed).to.deep.equal([{ fd, reset: false }]);
  });

  it('does not drop for ever', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    world.exchange(fd, 'NONSENSE\r\n\r\n');
    world.nowMs += LINGER_MS - 1;
    world.loop.turn();
    expect(world.sys.isOpen(fd)).to.equal(true);
    world.nowMs += 1;
    world.loop.turn();
    expect(world.sys.isOpen(fd)).to.equal(false);
  });

  it('refuses a bad chunk in the middle of a body', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    const text = `${request('POST', '/sink', 'Transfer-Encoding: chunked')}5\r\nhello!`;
    expect(responses(world.exchange(fd, text))[0]!.status).to.equal(400);
  });

  it('says the limits with their codes', () => {
    const world = new DemoWorld();
    const status = (text: string): number =>
      responses(world.exchange(world.connect(), text))[0]!.status;
    expect(status(request('GET', '/', `A: ${'a'.repeat(17000)}`))).to.equal(431);
    expect(status(`GET /${'a'.repeat(9000)}`)).to.equal(414);
    expect(status('GET / HTTP/3.0\r\n\r\n')).to.equal(505);
    expect(status(request('GET', `/bytes/${10 * 2 ** 30 + 1}`))).to.equal(400);
    expect(status(request('GET', '/bytes/-1'))).to.equal(400);
    expect(status(request('GET', '/work/60001'))).to.equal(400);
    expect(status(request('GET', '/work/3'))).to.equal(200);
    expect(status(request('GET', '/events'))).to.equal(404);
    expect(status(request('GET', '/files/x'))).to.equal(404);
    expect(status(request('DELETE', '/sink'))).to.equal(405);
    expect(status(request('GET', '/sink'))).to.equal(405);
  });

  it('answers OPTIONS', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    const star = world.exchange(fd, request('OPTIONS', '*'));
    expect(star).to.match(/^HTTP\/1\.1 204 .*Allow: GET, POST, PUT, HEAD, OPTIONS\r\n\r\n$/s);
    expect(world.exchange(fd, request('OPTIONS', '/sink'))).to.contain('Allow: POST, PUT, OPTIONS');
  });

  it('closes when the peer is done, also in the middle of a request', () => {
    const world = new DemoWorld();
    for (const text of ['', 'GET / HT', request('POST', '/sink', 'Content-Length: 9')]) {
      const fd = world.connect();
      world.sys.peerSends(fd, text);
      world.sys.peerEnds(fd);
      for (let i = 0; i < 3 && world.sys.isOpen(fd); i++) world.loop.turn();
      expect(world.sys.isOpen(fd)).to.equal(false);
    }
    expect(world.row[1]).to.equal(0);
  });

  it('answers a peer that has ended its side', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    const file = world.sys.file(fd);
    world.sys.peerSends(fd, OK);
    world.sys.peerEnds(fd);
    world.loop.turn();
    expect(responses(Buffer.concat(file.written).toString())[0]!.body).to.equal('OK');
    world.loop.turn();
    expect(world.sys.isOpen(fd)).to.equal(false);
  });

  it('forgets a connection that is reset, reading or writing', () => {
    const world = new DemoWorld();
    const reading = world.connect();
    world.exchange(reading, 'GET');
    world.sys.peerResets(reading);
    world.loop.turn();
    const writing = world.connect();
    world.sys.file(writing).room = 5;
    world.exchange(writing, OK);
    world.sys.peerResets(writing);
    world.loop.turn();
    const streaming = world.connect();
    world.sys.file(streaming).room = 200_000;
    world.exchange(streaming, request('GET', '/bytes/1000000'));
    world.sys.peerResets(streaming);
    world.loop.turn();
    expect(world.row[1]).to.equal(0);
    expect(world.row[5]).to.equal(3);
  });

  it('stands any mutation of a stream of requests', () => {
    const post = request('POST', '/sink', 'Transfer-Encoding: chunked');
    const stream = `${OK}${post}3\r\nabc\r\n0\r\n\r\n${OK}`;
    const mutation = fc.record({
      at: fc.nat(stream.length - 1),
      byte: fc.nat(255),
      drop: fc.boolean(),
      cut: fc.nat(stream.length),
    });
    fc.assert(
      fc.property(fc.array(mutation, { minLength: 1, maxLength: 4 }), (mutations) => {
        let bytes = Buffer.from(stream, 'latin1');
        for (const { at, byte, drop } of mutations) {
          if (at >= bytes.length) continue;
          if (drop) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1)]);
          else bytes[at] = byte;
        }
        const world = new DemoWorld();
        const fd = world.connect();
        const { cut } = mutations[0]!;
        let out = '';
        for (const part of [bytes.subarray(0, cut), bytes.subarray(cut)]) {
          if (part.length > 0 && world.sys.isOpen(fd)) out += world.exchange(fd, part);
        }
        for (const row of responses(out)) expect(row.status).to.be.within(200, 505);
      }),
      { numRuns: 300 },
    );
  });

  it('lets a failing endpoint take the worker down', () => {
    const world = new DemoWorld();
    const fd = world.connect();
    world.sys.peerSends(fd, request('GET', '/debug/throw'));
    expect(() => world.loop.turn()).to.throw('asked to fail');
  });

  it('has stats of all workers', () => {
    const world = new DemoWorld();
    const { workers } = JSON.parse(responses(world.get('/stats'))[0]!.body);
    expect(workers).to.have.length(4);
    expect(workers[2]).to.include({ worker: 2, accepted: 1, active: 1 });
  });
});
