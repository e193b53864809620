/** Server and Socket over the fake system calls: what `node:net` cannot show side by side. */
import { AsyncLocalStorage } from 'node:async_hooks';
import { subscribe, tracingChannel, unsubscribe } from 'node:diagnostics_channel';
import { once } from 'node:events';
import { resolve } from 'node:path';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import { createNet, type Socket } from '../../src/socket/net.js';
import type { Server } from '../../src/socket/server.js';
import type { AddressInfo } from '../../src/socket/tcp-base.js';
import {
  IPPROTO_TCP,
  SO_KEEPALIVE,
  SO_REUSEPORT,
  SOL_SOCKET,
  TCP_KEEPIDLE,
  TCP_NODELAY,
} from '../../src/socket/uapi/constants.js';
import { HOST } from './fake-sys.js';
import { failure, listening, pair, rig, turns } from './net-rig.js';

describe('net: sockets', () => {
  it('setTimeout fires once there is no traffic, and can be taken back', async () => {
    const { net } = rig();
    const { server, client, peer } = await pair(net);
    const fired = once(client, 'timeout');
    expect(client.setTimeout(5, () => client.end())).to.equal(client);
    await fired;
    expect(client.timeout).to.equal(5);
    await once(client.resume(), 'close');
    const never = () => expect.fail('this time-out was taken back');
    peer.setTimeout(1, never);
    peer.setTimeout(0, never);
    server.close();
  });

  it('a write that makes progress is not a time-out', async () => {
    const { net } = rig(1000);
    const { server, client, peer } = await pair(net);
    peer.pause();
    client.write(Buffer.alloc(5000));
    let timeouts = 0;
    client.on('timeout', () => timeouts++);
    client.setTimeout(1e6);
    await turns(3);
    client._onTimeout();
    const waiting = client._handle!.writeQueueSize;
    expect(timeouts).to.equal(0);
    client._onTimeout();
    expect([timeouts, client._handle!.writeQueueSize]).to.deep.equal([1, waiting]);
    client.destroy();
    peer.destroy();
    server.close();
  });

  it('setNoDelay and setKeepAlive reach the stack, before and after connecting', async () => {
    const { net, fake } = rig();
    const server = net.createServer({ noDelay: true, keepAlive: true });
    await listening(server);
    fake.options.length = 0;
    const client = net.connect({ port: 80, host: HOST, noDelay: true });
    client.setKeepAlive(true, 7000);
    const [peer] = (await once(server, 'connection')) as [Socket];
    if (client.connecting) await once(client, 'connect');
    const set = fake.options.map((line) => line.replace(/^\d+ /, ''));
    expect(set).to.include.members([
      `${IPPROTO_TCP} ${TCP_NODELAY} 1 0`,
      `${SOL_SOCKET} ${SO_KEEPALIVE} 1 0`,
      `${IPPROTO_TCP} ${TCP_KEEPIDLE} 7 0`,
    ]);
    expect(set.filter((line) => line === `${IPPROTO_TCP} ${TCP_NODELAY} 1 0`)).to.have.length(2);
    fake.options.length = 0;
    client.setNoDelay().setKeepAlive(true, 7000);
    expect(fake.options).to.deep.equal([]);
    client.setNoDelay(false).setKeepAlive(false);
    expect(fake.options).to.have.length(2);
    client.destroy();
    peer.destroy();
    server.close();
  });

  it('partial writes are finished, in order, one byte at a time if need be', async () => {
    const { net, fake } = rig();
    const { server, client, peer } = await pair(net);
    fake.writeMax = 1;
    client.cork();
    for (const part of ['', 'abc', '', 'defgh', 'ijklmnopqrstuvwxyz', '']) client.write(part);
    client.uncork();
    client.end('!');
    expect(await text(peer)).to.equal('abcdefghijklmnopqrstuvwxyz!');
    expect(client.bytesWritten).to.equal(27);
    server.close();
  });

  it('a failing write is an error with the syscall in it', async () => {
    const { net, fake } = rig();
    const { server, client, peer } = await pair(net);
    fake.failures.set('write', -32);
    client.write('x');
    expect((await failure(client)).message).to.equal('write EPIPE');
    fake.failures.set('read', -5);
    expect((await failure(peer)).message).to.equal('read EIO');
    server.close();
  });

  it('a reset while a write waits is one error', async () => {
    const { net, fake } = rig(1000);
    const { server, client, peer } = await pair(net);
    peer.pause();
    const results: unknown[] = [];
    client.write(Buffer.alloc(5000), (error) => results.push(error));
    client.write('x', (error) => results.push(error?.message));
    await turns(3);
    fake.resetFromPeer(client._handle!.fd);
    const error = await failure(client);
    expect(error.message).to.equal('read ECONNRESET');
    await once(client, 'close');
    // As Node has it: the write under way ends without a word, those behind it with the error.
    expect(results).to.deep.equal([null, 'read ECONNRESET']);
    peer.destroy();
    server.close();
  });

  it('getters of a socket without a connection', () => {
    const { net } = rig();
    const socket = new net.Socket();
    expect([socket.pending, socket.connecting, socket.readyState]).to.deep.equal([
      true,
      false,
      'open',
    ]);
    expect([socket.address(), socket.remoteAddress, socket.localPort]).to.deep.equal([
      {},
      undefined,
      undefined,
    ]);
    expect([socket.bytesRead, socket.bytesWritten, socket.bufferSize]).to.deep.equal([
      0,
      0,
      undefined,
    ]);
    expect(socket).to.be.instanceOf(net.Socket);
    socket.destroy();
  });

  it('reads into a buffer of the program with onread', async () => {
    const { net } = rig();
    const server = net.createServer((peer) => peer.end('abcdefghij'));
    await listening(server);
    const got: string[] = [];
    const socket = net.connect({
      port: 80,
      host: HOST,
      onread: {
        buffer: Buffer.alloc(4),
        callback: (nread, buffer) => {
          got.push(Buffer.from(buffer.subarray(0, nread)).toString());
          if (got.length === 2) setImmediate(() => socket.resume());
          return got.length !== 2;
        },
      },
    });
    await once(socket, 'close');
    expect(got).to.deep.equal(['abcd', 'efgh', 'ij']);
    server.close();
  });

  it('takes over a connected descriptor', async () => {
    const { net, fake } = rig();
    const listener = fake.sys.socket(2, 1, 0);
    fake.sys.bind(listener, { address: HOST, port: 80 });
    fake.sys.listen(listener, 1);
    const client = net.connect(80, HOST);
    await once(client, 'connect');
    const socket = new net.Socket({ fd: fake.sys.accept4(listener, 0) });
    socket.end('taken');
    expect(await text(client)).to.equal('taken');
    expect(() => new net.Socket({ fd: 999 })).to.throw('open EBADF');
    expect(fake.sys.fcntl(listener, 3, 0)).to.equal(0);
  });

  it('leaves no descriptor behind', async () => {
    const { net, fake } = rig();
    const before = fake.openFds();
    const { server, client, peer } = await pair(net);
    client.end();
    peer.resume();
    await Promise.all([once(peer, 'close'), once(client.resume(), 'close')]);
    net.connect(81, HOST).on('error', () => {});
    server.close();
    await once(server, 'close');
    await turns(5);
    expect(fake.openFds()).to.equal(before);
  });
});

describe('net: servers', () => {
  it('listens with the asked backlog, on all addresses without a host', async () => {
    const { net } = rig();
    const server = net.createServer().listen(0);
    expect(server.listening).to.equal(true);
    await once(server, 'listening');
    const { address, family, port } = server.address() as AddressInfo;
    expect([address, family, port > 0]).to.deep.equal(['0.0.0.0', 'IPv4', true]);
    expect(() => server.listen(0)).to.throw('more than once');
    await server[Symbol.asyncDispose]();
    expect(server.listening).to.equal(false);
    await server[Symbol.asyncDispose]();
  });

  it('reusePort lets several listen on one port', async () => {
    const { net, fake } = rig();
    const servers = [net.createServer(), net.createServer()];
    for (const server of servers) server.listen({ port: 80, reusePort: true });
    await Promise.all(servers.map((server) => once(server, 'listening')));
    const option = ` ${SOL_SOCKET} ${SO_REUSEPORT} 1 0`;
    expect(fake.options.filter((line) => line.endsWith(option))).to.have.length(2);
    const error = await failure(net.createServer().listen(80));
    expect(error.message).to.equal('listen EADDRINUSE: address already in use 0.0.0.0:80');
    expect([error.errno, error.syscall, error.port]).to.deep.equal([-98, 'listen', 80]);
    for (const server of servers) server.close();
  });

  it('takes over a listening descriptor and closes it in the end', async () => {
    const { net, fake } = rig();
    const fd = fake.sys.socket(2, 1, 0);
    fake.sys.bind(fd, { address: HOST, port: 80 });
    fake.sys.listen(fd, 5);
    const server = net.createServer((peer) => peer.end('inherited')).listen({ fd });
    expect(await text(net.connect(80, HOST))).to.equal('inherited');
    server.close();
    expect(fake.sys.fcntl(fd, 3, 0)).to.equal(-9);
    const error = await failure(net.createServer().listen({ fd: 77 }));
    expect(error.message).to.equal('listen EBADF: bad file descriptor');
  });

  it('a shared listener is served by several and closed by none', async () => {
    const { net, fake } = rig();
    const fd = fake.sys.socket(2, 1, 0);
    fake.sys.bind(fd, { address: HOST, port: 80 });
    fake.sys.listen(fd, 5);
    const second = createNet(fake);
    const servers = [net, second].map((each, i) =>
      each.createServer((peer) => peer.end(`server ${i}`)).listen({ fd, shared: true }),
    );
    const answers = new Set<string>();
    for (let i = 0; i < 4; i++) answers.add(await text(net.connect(80, HOST)));
    for (const answer of answers) expect(answer).to.match(/^server [01]$/);
    for (const server of servers) server.close();
    expect(fake.sys.fcntl(fd, 3, 0)).to.be.at.least(0);
  });

  it('a signal closes it', async () => {
    const { net } = rig();
    const controller = new AbortController();
    const server = net.createServer().listen({ port: 80, signal: controller.signal });
    await once(server, 'listening');
    controller.abort();
    await once(server, 'close');
    const late = net.createServer().listen({ port: 80, signal: controller.signal });
    await once(late, 'close');
  });

  it('an error of accept is an event, an aborted connection is none', async () => {
    const { net, fake } = rig();
    const server = net.createServer((peer) => peer.end('fine'));
    await listening(server);
    fake.acceptError = -24;
    const failed = failure(server);
    const first = text(net.connect(80, HOST));
    expect((await failed).message).to.equal('accept EMFILE');
    fake.acceptError = -103;
    expect(await text(net.connect(80, HOST))).to.equal('fine');
    expect(await first).to.equal('fine');
    server.close();
  });

  it('a selector is attached once the listener listens: a name, a path, a file URL', async () => {
    const cases: [string | URL, string][] = [
      ['rr', 'rr'],
      ['/srv/mine.js', '/srv/mine.js'],
      ['./mine.js', resolve('mine.js')],
      ['mine.cjs', resolve('mine.cjs')],
      [new URL('file:///srv/m%20x.mjs'), '/srv/m x.mjs'],
    ];
    for (const [selector, attached] of cases) {
      const { net, fake } = rig();
      const server = net.createServer().listen({ port: 80, reusePort: true, selector });
      await once(server, 'listening');
      expect(fake.options.at(-1)!.split(' ').slice(3, -1).join(' ')).to.equal(attached);
      const count = fake.options.length;
      // The group has one: it stays.
      expect(server._handle!.select('least')).to.equal(0);
      expect(fake.options).to.have.length(count);
      server.close();
    }
  });

  it('the hash needs no attaching, nonsense is refused', () => {
    const { net, fake } = rig();
    net.createServer().listen({ port: 80, selector: 'hash' }).close();
    expect(fake.options.filter((line) => line.includes('hash'))).to.deep.equal([]);
    for (const selector of [5, null, {}, true]) {
      const wrong = { port: 80, selector: selector as unknown as string };
      expect(() => net.createServer().listen(wrong)).to.throw(TypeError, /"?options.selector"?/);
    }
    expect(() => net.createServer().listen({ port: 80, selector: '' })).to.throw(
      /options.selector/,
    );
  });

  it('a selector that the stack refuses is an error event of Node’s shape', async () => {
    const { net } = rig();
    for (const how of [{ selector: 'p2c' }, { reusePort: true, selector: 'nobody' }]) {
      const server = net.createServer().listen({ port: 80, host: HOST, ...how });
      const error = await failure(server);
      expect(error).to.include({ code: 'EINVAL', errno: -22, syscall: 'setsockopt', port: 80 });
      expect(error.message).to.equal(`setsockopt EINVAL: invalid argument ${HOST}:80`);
      expect(server.listening).to.equal(false);
    }
  });

  it('close before the lookup is over means not listening at all', async () => {
    const { net } = rig();
    const server = net.createServer().listen(80, HOST);
    server.close();
    await once(server, 'close');
    await turns(3);
    expect(server.listening).to.equal(false);
  });

  it('a rejected async listener costs its connection', async () => {
    const { net } = rig();
    const { captureRejections } = await import('node:events').then(
      ({ EventEmitter }) => EventEmitter,
    );
    expect(captureRejections).to.equal(false);
    const server = net.createServer();
    const onRejection = Reflect.get(server, Symbol.for('nodejs.rejection')) as (
      this: Server,
      error: Error,
      event: string,
      socket?: Socket,
    ) => void;
    const socket = new net.Socket();
    const lost = failure(socket);
    onRejection.call(server, new Error('mine'), 'connection', socket);
    expect((await lost).message).to.equal('mine');
    const own = failure(server);
    onRejection.call(server, new Error('other'), 'listening');
    expect((await own).message).to.equal('other');
  });
});

describe('net: observability', () => {
  it("publishes sockets and listens on Node's channels", async () => {
    const { net } = rig();
    const seen: string[] = [];
    const onClient = () => seen.push('client');
    const onServer = () => seen.push('server');
    const listen = tracingChannel('net.server.listen');
    const hooks = {
      asyncStart: () => seen.push('asyncStart'),
      asyncEnd: () => seen.push('asyncEnd'),
      error: () => seen.push('error'),
      start: () => {},
      end: () => {},
    };
    subscribe('net.client.socket', onClient);
    subscribe('net.server.socket', onServer);
    listen.subscribe(hooks);
    const { server, client, peer } = await pair(net);
    await failure(net.createServer().listen(80));
    await turns(2);
    unsubscribe('net.client.socket', onClient);
    unsubscribe('net.server.socket', onServer);
    listen.unsubscribe(hooks);
    expect(seen).to.deep.equal([
      'asyncStart',
      'asyncEnd',
      'client',
      'server',
      'asyncStart',
      'error',
    ]);
    client.destroy();
    peer.destroy();
    server.close();
  });

  it('callbacks run in the async context of their own socket', async () => {
    const { net } = rig();
    const storage = new AsyncLocalStorage<string>();
    const seen: string[] = [];
    const server = storage.run('server', () => net.createServer());
    storage.run('server', () => server.listen(80));
    server.on('connection', (peer) => {
      seen.push(`connection ${storage.getStore()}`);
      peer.end('x');
    });
    for (const name of ['a', 'b']) {
      await storage.run(name, async () => {
        const client = net.connect(80, HOST);
        client.on('data', () => seen.push(`data ${storage.getStore()}`));
        await once(client, 'close');
      });
    }
    expect(seen).to.deep.equal(['connection server', 'data a', 'connection server', 'data b']);
    server.close();
  });
});
