/**
 * The reactor: what keeps a process alive, what wakes it, exceptions of listeners, and how a stack
 * ends under it.
 */
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { setImmediate as turn } from 'node:timers/promises';
import { expect } from 'chai';
import type { SocketError } from '../../src/socket/errors.js';
import { createNet, type Socket } from '../../src/socket/net.js';
import { createFakeNet, HOST } from './fake-sys.js';

const FAKE = new URL('./fake-sys.js', import.meta.url).href;
const NET = new URL('../../src/socket/net.js', import.meta.url).href;

async function turns(count: number): Promise<void> {
  for (let i = 0; i < count; i++) await turn();
}

/**
 * Runs `source` in a process of its own; `net`, `fake` and `HOST` are there. Must end by itself.
 */
function program(source: string): { status: number | null; stdout: string; stderr: string } {
  const code = `
    import { createFakeNet, HOST } from '${FAKE}';
    import { createNet } from '${NET}';
    const fake = createFakeNet();
    const net = createNet(fake);
    ${source}`;
  const argv = ['--input-type=module', '-e', code];
  const options = { encoding: 'utf8', timeout: 10_000 } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, argv, options);
  return { status, stdout, stderr };
}

describe('reactor: liveness', () => {
  it('a listening server keeps the process alive until it closes', () => {
    const { status, stdout } = program(`
      const server = net.createServer().listen(80, () => {
        setTimeout(() => server.close(() => console.log('closed')), 20).unref();
        setTimeout(() => {}, 40);
      });
      process.on('exit', () => console.log('exit'));`);
    expect([status, stdout]).to.deep.equal([0, 'closed\nexit\n']);
  });

  it('unref lets it go, ref holds it again', () => {
    const { status, stdout } = program(`
      const server = net.createServer((peer) => peer.unref()).unref().listen(80, () => {
        const client = net.connect(80, HOST, () => {
          client.unref();
          server.ref();
          setTimeout(() => {
            console.log('still here');
            server.unref();
          }, 20).unref();
        });
      });`);
    expect([status, stdout]).to.deep.equal([0, 'still here\n']);
  });

  it('a connection that reads keeps the process alive, a paused one does not', () => {
    const { status, stdout } = program(`
      net.createServer((peer) => {
        peer.unref();
        setTimeout(() => peer.end('late'), 20).unref();
      }).unref().listen(80);
      const client = net.connect(80, HOST, () => {
        client.on('data', (data) => console.log(String(data)));
        client.on('close', () => {
          const second = net.connect(80, HOST, () => second.pause());
        });
      });`);
    expect([status, stdout]).to.deep.equal([0, 'late\n']);
  });

  it('what a listener throws is an uncaught exception, and the others go on', () => {
    const { status, stdout } = program(`
      process.on('uncaughtException', (error) => console.log(error.message));
      const server = net.createServer((peer) => {
        peer.on('data', (data) => {
          peer.end();
          throw new Error('thrown at ' + data);
        });
      }).listen(80);
      let left = 2;
      for (const name of ['a', 'b']) {
        const client = net.connect(80, HOST);
        client.write(name);
        client.resume().on('close', () => --left || server.close());
      }`);
    expect([status, stdout]).to.deep.equal([0, 'thrown at a\nthrown at b\n']);
  });
});

describe('reactor: polling', () => {
  it('serves more sockets at once than one epoll_wait reports', async () => {
    const net = createNet(createFakeNet());
    const server = net.createServer((peer) => peer.pipe(peer)).listen(80);
    await once(server, 'listening');
    const answers = await Promise.all(
      Array.from({ length: 400 }, (_, i) => {
        const client = net.connect(80, HOST);
        client.end(String(i));
        return text(client);
      }),
    );
    expect(answers).to.deep.equal(answers.map((_, i) => String(i)));
    server.close();
  });

  it('sleeps when there is nothing to do', async () => {
    const fake = createFakeNet();
    const net = createNet(fake);
    const server = net.createServer().listen(80);
    await turns(5);
    const before = fake.calls.get('epoll_wait');
    await turns(50);
    expect(fake.calls.get('epoll_wait')).to.equal(before);
    server.close();
  });

  it('copes with a bell that has rung already', async () => {
    const fake = createFakeNet();
    let refused = 0;
    const { doorbell } = fake;
    const impatient = { ...doorbell, ring: () => (refused++ < 3 ? null : doorbell.ring()) };
    const net = createNet({ ...fake, doorbell: impatient });
    const server = net.createServer((peer) => peer.end('woken')).listen(80);
    await turns(20);
    expect(await text(net.connect(80, HOST))).to.equal('woken');
    expect(refused).to.be.greaterThan(3);
    server.close();
  });

  it('reads and writes take turns when both can go on', async () => {
    const net = createNet(createFakeNet(4096));
    const bytes = 200_000;
    const server = net.createServer((peer) => peer.end(Buffer.alloc(bytes, 'b'))).listen(80);
    server.on('connection', (peer: Socket) => peer.resume());
    const client = net.connect(80, HOST);
    client.end(Buffer.alloc(bytes, 'a'));
    expect((await text(client)).length).to.equal(bytes);
    server.close();
  });

  it('small chunks are not kept in slabs, large ones are not copied', async () => {
    const net = createNet(createFakeNet(1 << 20));
    const server = net.createServer((peer) => {
      peer.write('small');
      peer.on('data', () => peer.end(Buffer.alloc(60_000)));
    });
    server.listen(80);
    const client = net.connect(80, HOST);
    const [small] = (await once(client, 'data')) as [Buffer];
    client.write('more');
    const [large] = (await once(client, 'data')) as [Buffer];
    expect(small.buffer.byteLength).to.equal(Buffer.poolSize);
    expect([large.length, large.buffer.byteLength]).to.deep.equal([60_000, 65_536]);
    server.close();
  });

  it('without an epoll instance every attempt fails with its errno', async () => {
    const fake = createFakeNet();
    fake.failures.set('epoll_create1', -24);
    const net = createNet(fake);
    const server = net.createServer().listen(80);
    const [error] = (await once(server, 'error')) as [SocketError];
    expect(error.code).to.equal('EMFILE');
    const [second] = (await once(net.connect(80, HOST), 'error')) as [SocketError];
    expect(second.code).to.equal('EMFILE');
  });
});

describe('reactor: the end of a stack', () => {
  async function busy() {
    const fake = createFakeNet();
    const net = createNet(fake);
    const server = net.createServer();
    server.listen(80);
    const accepted = once(server, 'connection') as Promise<[Socket]>;
    const client = net.connect(80, HOST);
    const [peer] = await accepted;
    if (client.connecting) await once(client, 'connect');
    await turns(5);
    return { fake, net, server, client, peer };
  }

  it('death is an error for every socket and server', async () => {
    const { fake, server, client, peer } = await busy();
    const errors: string[] = [];
    for (const each of [client, peer, server]) {
      each.on('error', (error: Error) => errors.push(error.message));
    }
    const closed = [client, peer, server].map(
      (each) => new Promise((done) => each.on('close', done)),
    );
    const before = new Map(fake.calls);
    fake.die();
    await Promise.all(closed);
    expect(errors.sort()).to.deep.equal(['accept ENETDOWN', 'read ENETDOWN', 'read ENETDOWN']);
    expect(fake.calls.get('close')).to.equal(before.get('close'));
  });

  it('death while connecting is a failed connect', async () => {
    const { fake, net, client, peer, server } = await busy();
    for (const each of [client, peer, server]) each.on('error', () => {});
    fake.holdConnects = true;
    const third = net.connect(80, HOST);
    const failed = once(third, 'error') as Promise<[SocketError]>;
    await turns(5);
    net.shutdown(true);
    net.shutdown(true);
    expect((await failed)[0].message).to.equal('connect ENETDOWN');
  });

  it('an orderly end closes everything without an error', async () => {
    const { fake, net, server, client, peer } = await busy();
    const before = fake.openFds();
    const closed = [once(client, 'close'), once(peer, 'close'), once(server, 'close')];
    net.shutdown();
    expect(await Promise.all(closed)).to.deep.equal([[false], [false], []]);
    // Both ends, the listener and the epoll instance.
    expect(before - fake.openFds()).to.equal(4);
  });
});
