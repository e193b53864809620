/** `/files/`: what is served, and that nothing outside of the root is. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { contentTypeOf } from '../../src/app/demo-server/files.js';
import { DemoWorld, request, responses } from './demo-world.js';

describe('app/demo-server/files', () => {
  let base = '';
  let world: DemoWorld;
  const big = Buffer.from(Uint8Array.from({ length: 700_001 }, (_, i) => (i * 31) % 256));

  before(() => {
    base = mkdtempSync(join(tmpdir(), 'tunstack-files-'));
    const root = join(base, 'root');
    mkdirSync(join(root, 'sub dir'), { recursive: true });
    writeFileSync(join(base, 'secret.txt'), 'secret');
    mkdirSync(join(base, 'root-sibling'));
    writeFileSync(join(base, 'root-sibling', 'x.txt'), 'sibling');
    writeFileSync(join(root, 'a.txt'), 'hello');
    writeFileSync(join(root, '.hidden'), 'h');
    writeFileSync(join(root, 'empty'), '');
    writeFileSync(join(root, 'sub dir', '<b>&"é.html'), '<p>');
    writeFileSync(join(root, 'big.bin'), big);
    utimesSync(join(root, 'a.txt'), 0, 784111777);
    symlinkSync('../secret.txt', join(root, 'out.txt'));
    symlinkSync('..', join(root, 'up'));
    symlinkSync('a.txt', join(root, 'in.txt'));
    symlinkSync('nowhere', join(root, 'dangling'));
    execFileSync('mkfifo', [join(root, 'fifo')]);
    world = new DemoWorld(root);
  });

  after(() => rmSync(base, { recursive: true }));

  const get = (path: string, ...fields: string[]): { status: number; head: string; body: string } =>
    responses(world.get(path, ...fields))[0]!;

  it('serves a file with type, length and date', () => {
    const { status, head, body } = get('/files/a.txt?query');
    expect(status).to.equal(200);
    expect(body).to.equal('hello');
    expect(head).to.contain('Content-Type: text/plain');
    expect(head).to.contain('Last-Modified: Sun, 06 Nov 1994 08:49:37 GMT');
    expect(get('/files/in.txt').body).to.equal('hello');
    expect(get('/files/./a.txt').body).to.equal('hello');
    expect(get('/files/empty')).to.include({ status: 200, body: '' });
    expect(get('/files/sub%20dir/%3Cb%3E%26%22%C3%A9.html').body).to.equal('<p>');
  });

  it('serves a large file whole, under back-pressure', () => {
    const fd = world.connect();
    world.sys.file(fd).room = 10_000;
    world.sys.peerSends(fd, request('GET', '/files/big.bin'));
    const parts: Buffer[] = [];
    for (let received = 0; received < big.length; received += parts.at(-1)!.length) {
      world.settle();
      parts.push(world.sys.peerReads(fd));
      world.sys.file(fd).room = 77_777;
    }
    world.sys.file(fd).room = Number.POSITIVE_INFINITY;
    world.settle();
    parts.push(world.sys.peerReads(fd));
    const all = Buffer.concat(parts);
    expect(all.subarray(all.indexOf('\r\n\r\n') + 4).equals(big)).to.equal(true);
  });

  it('breaks the connection when the file is cut while it is sent', () => {
    writeFileSync(join(base, 'root', 'cut.bin'), big);
    const fd = world.connect();
    world.sys.file(fd).room = 10_000;
    world.exchange(fd, request('GET', '/files/cut.bin'));
    writeFileSync(join(base, 'root', 'cut.bin'), 'short');
    world.sys.file(fd).room = Number.POSITIVE_INFINITY;
    world.settle();
    expect(world.sys.isOpen(fd)).to.equal(false);
    rmSync(join(base, 'root', 'cut.bin'));
  });

  for (const path of [
    '/files/../secret.txt',
    '/files/%2e%2e/secret.txt',
    '/files/sub%20dir/../../secret.txt',
    '/files/..%2fsecret.txt',
    '/files/%2e%2e%2froot-sibling%2fx.txt',
    '/files/out.txt',
    '/files/up/secret.txt',
    '/files/up/',
    '/files//etc/passwd',
    '/files/%00',
    '/files/a.txt%00.html',
    '/files/%zz',
    '/files/a.txt/x',
    '/files/fifo',
    '/files/dangling',
    '/files/missing',
  ]) {
    it(`has no ${path}`, () => {
      const answer = get(path);
      expect(answer.status).to.equal(404);
      expect(answer.body).to.equal('No such file.\n');
    });
  }

  it('lists a directory, and nothing that leads outside', () => {
    const { status, head, body } = get('/files/');
    expect(status).to.equal(200);
    expect(head).to.contain('text/html');
    for (const name of ['a.txt', 'in.txt', 'big.bin', '.hidden', 'sub dir/']) {
      expect(body).to.contain(`>${name}</a>`);
    }
    for (const name of ['out.txt', 'up/', 'dangling', '../'])
      expect(body).not.to.contain(`>${name}<`);
    expect(body.indexOf('sub dir')).to.be.below(body.indexOf('a.txt'));
    const sub = get('/files/sub%20dir/').body;
    expect(sub).to.contain('>../</a>').and.to.contain('&lt;b&gt;&amp;&quot;');
    expect(sub).to.contain('./%3Cb%3E%26%22%C3%A9.html');
  });

  it('lists more than fits beside a head', () => {
    const many = join(base, 'root', 'many');
    mkdirSync(many);
    for (let i = 0; i < 1000; i++) writeFileSync(join(many, `${'n'.repeat(100)}${i}`), '');
    const fd = world.connect();
    world.sys.peerSends(fd, request('GET', '/files/many/') + request('GET', '/ok'));
    world.settle();
    const [listing, ok] = responses(world.sys.peerReads(fd).toString('latin1'));
    expect(listing!.body.match(/<tr>/g)).to.have.length(1001);
    expect(listing!.body).to.match(/<\/html>\n$/);
    expect(ok!.body).to.equal('OK');
  });

  it('sends directories to their slash', () => {
    const { status, head } = get('/files/sub%20dir');
    expect(status).to.equal(301);
    expect(head).to.contain('Location: /files/sub%20dir/\r\n');
  });

  it('serves ranges', () => {
    expect(get('/files/a.txt', 'Range: bytes=1-3')).to.include({ status: 206, body: 'ell' });
    expect(get('/files/a.txt', 'Range: bytes=1-3').head).to.contain('Content-Range: bytes 1-3/5');
    const beyond = get('/files/a.txt', 'Range: bytes=5-');
    expect(beyond.status).to.equal(416);
    expect(beyond.head).to.contain('Content-Range: bytes */5');
    expect(get('/files/a.txt', 'Range: bytes=0-1,3-4').status).to.equal(200);
  });

  it('says when nothing has changed', () => {
    const since = (date: string): number =>
      get('/files/a.txt', `If-Modified-Since: ${date}`).status;
    expect(since('Sun, 06 Nov 1994 08:49:37 GMT')).to.equal(304);
    expect(since('Sun, 06 Nov 1994 08:49:36 GMT')).to.equal(200);
    expect(since('nonsense')).to.equal(200);
  });

  it('answers HEAD', () => {
    const text = world.exchange(world.connect(), request('HEAD', '/files/big.bin'));
    expect(text).to.match(/Content-Length: 700001\r\n.*\r\n\r\n$/s);
  });

  it('knows types by name', () => {
    expect(contentTypeOf('/a/b.HTML')).to.contain('text/html');
    expect(contentTypeOf('x.unknown')).to.equal('application/octet-stream');
  });

  it('says how to start with a directory when there is none', () => {
    expect(responses(new DemoWorld().get('/files/'))[0]!.body).to.contain('--root');
  });
});
