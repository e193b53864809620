/** Making connections over the fake system calls: addresses, names, errors, signals. */
import { once } from 'node:events';
import { text } from 'node:stream/consumers';
import { expect } from 'chai';
import { HOST } from './fake-sys.js';
import { failure, listening, rig, turns } from './net-rig.js';

describe('net: connecting', () => {
  it('localhost and no host at all mean the stack itself', async () => {
    const { net } = rig();
    const server = net.createServer((peer) => peer.end(String(peer.localAddress)));
    await listening(server);
    expect(await text(net.connect(80))).to.equal(HOST);
    expect(await text(net.connect({ port: '80', host: 'localhost' }))).to.equal(HOST);
    server.close();
  });

  it('errors carry code, errno, syscall, address and port', async () => {
    const { net } = rig();
    const error = await failure(net.connect({ host: HOST, port: 81 }));
    expect(error.message).to.equal(`connect ECONNREFUSED ${HOST}:81`);
    expect({ ...error }).to.deep.equal({
      errno: -111,
      code: 'ECONNREFUSED',
      syscall: 'connect',
      address: HOST,
      port: 81,
    });
  });

  it('an error from connect() itself is an event too, also one known at once', async () => {
    const { net, fake } = rig();
    fake.failures.set('connect', -101);
    expect((await failure(net.connect(80, HOST))).code).to.equal('ENETUNREACH');
    fake.failures.set('connect', -111);
    expect((await failure(net.connect(80, HOST))).code).to.equal('ECONNREFUSED');
    fake.failures.set('socket', -24);
    expect((await failure(net.connect(80, HOST))).message).to.equal(`connect EMFILE ${HOST}:80`);
  });

  it('a time-out of the stack is ETIMEDOUT', async () => {
    const { net, fake } = rig();
    fake.holdConnects = true;
    const client = net.connect(80, HOST);
    await turns(3);
    fake.releaseConnects(-110);
    expect((await failure(client)).message).to.equal(`connect ETIMEDOUT ${HOST}:80`);
  });

  it('a spurious event does not pass for a connection', async () => {
    const { net, fake } = rig();
    const server = net.createServer();
    await listening(server);
    fake.holdConnects = true;
    const client = net.connect(80, HOST);
    await turns(3);
    client._handle?.notify(4);
    await turns(3);
    expect(client.connecting).to.equal(true);
    fake.releaseConnects(0);
    await once(client, 'connect');
    client.destroy();
    server.close();
  });

  it('IPv6 is refused as where there is no IPv6', async () => {
    const { net } = rig();
    expect((await failure(net.connect(80, '::1'))).code).to.equal('EAFNOSUPPORT');
    const bound = net.connect({ port: 80, host: HOST, localAddress: '::1' });
    expect((await failure(bound)).message).to.equal('bind EAFNOSUPPORT ::1');
    const server = net.createServer().listen(80, '::');
    expect((await failure(server)).code).to.equal('EAFNOSUPPORT');
  });

  it('binds to localAddress and localPort, and says where it failed from', async () => {
    const { net } = rig();
    const server = net.createServer((peer) => peer.end(String(peer.remotePort)));
    await listening(server);
    const options = { host: HOST, localAddress: HOST, localPort: 4000 };
    expect(await text(net.connect({ ...options, port: 80 }))).to.equal('4000');
    const error = await failure(net.connect({ ...options, port: 81 }));
    expect(error.message).to.equal(`connect ECONNREFUSED ${HOST}:81 - Local (${HOST}:4000)`);
    expect(error.localPort).to.equal(4000);
    const foreign = await failure(net.connect({ port: 80, host: HOST, localAddress: '9.9.9.9' }));
    expect(foreign.message).to.equal('bind EADDRNOTAVAIL 9.9.9.9');
    server.close();
  });

  it('names go through lookup', async () => {
    const { net } = rig();
    const server = net.createServer((peer) => peer.end('found'));
    await listening(server);
    const seen: unknown[] = [];
    const client = net.connect({
      port: 80,
      host: 'a.example',
      lookup: (name, options, callback) => {
        seen.push(name, options);
        process.nextTick(callback, null, HOST, 4);
      },
    });
    client.on('lookup', (...args) => seen.push(args));
    expect(await text(client)).to.equal('found');
    expect(seen).to.deep.equal([
      'a.example',
      { family: 4, hints: 0 },
      [null, HOST, 4, 'a.example'],
    ]);
    const answers: [Error | null, string][] = [
      [new Error('no such name'), ''],
      [null, 'nonsense'],
    ];
    for (const [error, address] of answers) {
      const lost = net.connect({
        port: 80,
        host: 'b.example',
        lookup: (_name, _options, callback) => callback(error, address, 4),
      });
      const reported = await failure(lost);
      expect(reported.message).to.equal(error?.message ?? 'Invalid IP address: nonsense');
    }
    server.close();
  });

  it('an aborted signal destroys the socket, also while connecting', async () => {
    const { net, fake } = rig();
    fake.holdConnects = true;
    const controller = new AbortController();
    const client = net.connect({ port: 80, host: HOST, signal: controller.signal });
    await turns(2);
    controller.abort();
    expect((await failure(client)).name).to.equal('AbortError');
  });

  it('there are no pipes', () => {
    const { net } = rig();
    expect(() => net.connect('/tmp/pipe')).to.throw(/no pipes/);
    expect(() => net.createServer().listen('/tmp/pipe')).to.throw(/no pipes/);
  });
});
