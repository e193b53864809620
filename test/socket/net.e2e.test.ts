/**
 * The whole way: openStack on a real TUN, our sockets talking to themselves, to the kernel, and
 * from other threads; and how a stack ends.
 */
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import http from 'node:http';
import nodeNet, { type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buffer, text } from 'node:stream/consumers';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { openStack, type StackHandle } from '../../src/index.js';
import { Agent, serve } from '../../src/socket/http.js';
import type { StackError } from '../../src/socket/open.js';
import { must, run, suiteWith } from '../e2e/machine.js';
import { differentialSuite } from './net-scenarios.js';
import { stackWorld } from './net-world.js';

const INDEX = new URL('../../src/index.js', import.meta.url).href;

/**
 * Evaluates `source` as a module in a worker that has attached; `net`, `sys` and `parentPort` are
 * there.
 */
function attachedWorker(stack: StackHandle, source: string): { worker: Worker; number: number } {
  const shared = stack.share();
  const code = `
    import { workerData, parentPort } from 'node:worker_threads';
    import { once } from 'node:events';
    import { attach } from '${INDEX}';
    const { net, sys } = attach(workerData);
    ${source}`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  return { worker: new Worker(url, { workerData: shared }), number: shared.thread };
}

async function listen(server: { listen(port: number): unknown } & NodeJS.EventEmitter) {
  server.listen(0);
  await once(server, 'listening');
  return ((server as nodeNet.Server).address() as AddressInfo).port;
}

suiteWith(['netns', 'tun'], 'net on a TUN device', () => {
  let stack: StackHandle;
  before(async () => {
    stack = await openStack({ tun: 'tunstacknet', seed: 7 });
  });
  after(() => stack.close());

  differentialSuite('on the stack', () => stackWorld(stack.net, stack.address));

  it('serves the kernel: 20 MiB in, 20 MiB out', async () => {
    const server = http.createServer(async (request, response) => {
      response.end(await buffer(request));
    });
    const stackServer = stack.net.createServer();
    serve(server, stackServer);
    const port = await listen(stackServer);
    const body = Buffer.alloc(20 << 20, 'tunstack');
    const url = `http://${stack.address}:${port}/`;
    const answer = await fetch(url, { method: 'POST', body });
    expect(body.equals(Buffer.from(await answer.arrayBuffer()))).to.equal(true);
    server.closeAllConnections();
    server.close();
    await once(server, 'close');
  });

  it('is a client of the kernel: http.Agent, and a port where nobody listens', async () => {
    const kernel = http.createServer((request, response) => {
      response.end(String(request.socket.remoteAddress));
    });
    const port = await listen(kernel);
    const agent = new Agent(stack.net, { keepAlive: true });
    const request = http.get({ host: stack.peer, port, agent });
    const [response] = (await once(request, 'response')) as [http.IncomingMessage];
    expect(await text(response)).to.match(/(^|:)198\.18\.0\.1$/);
    agent.destroy();
    kernel.close();
    const refused = stack.net.connect(1, stack.peer);
    const [error] = (await once(refused, 'error')) as [Error];
    expect(error.message).to.equal(`connect ECONNREFUSED ${stack.peer}:1`);
  });

  it('a worker attaches, serves, and shows up in sockets()', async () => {
    const { worker, number } = attachedWorker(
      stack,
      `const server = net.createServer((socket) => socket.end('from the worker'));
       server.listen({ port: 8090, reusePort: true });
       await once(server, 'listening');
       parentPort.postMessage('ready');
       parentPort.once('message', () => server.close(() => parentPort.close()));`,
    );
    await once(worker, 'message');
    expect(await text(nodeNet.connect(8090, stack.address))).to.equal('from the worker');
    const row = stack.sockets().find((each) => each.local.port === 8090 && each.state === 'LISTEN');
    expect(row).to.include({ thread: number, worker: number - 1, sendQ: 511 });
    const exited = once(worker, 'exit');
    worker.postMessage('end');
    await exited;
    expect(stack.threadGone(number)).to.be.at.least(0);
  });

  it('an idle worker ends by itself once its server is unref-ed', async () => {
    const { worker, number } = attachedWorker(
      stack,
      `const server = net.createServer().listen(8091);
       await once(server, 'listening');
       parentPort.postMessage('ready');
       setTimeout(() => server.unref(), 20);`,
    );
    let unrefed = false;
    await once(worker, 'message');
    worker.once('exit', () => {
      unrefed = true;
    });
    await once(worker, 'exit');
    expect(unrefed).to.equal(true);
    expect(stack.threadGone(number)).to.be.at.least(0);
    expect(stack.sockets().some((row) => row.local.port === 8091)).to.equal(false);
  });

  it('counts under the names of Linux', () => {
    const counters = stack.counters();
    expect(counters['TcpPassiveOpens']).to.be.greaterThan(0);
    expect(counters['TunRxPackets']).to.be.greaterThan(0);
  });

  it('closing leaves nothing behind, and can be repeated', async () => {
    const other = await openStack({ tun: 'tunstackend', address: '10.9.0.1/24', peer: '10.9.0.9' });
    const server = other.net.createServer();
    const port = await listen(server);
    const client = nodeNet.connect(port, other.address);
    const [peer] = (await once(server, 'connection')) as [nodeNet.Socket];
    const closed = [once(peer, 'close'), once(server, 'close')];
    client.on('error', () => {});
    await Promise.all([other.close(), other.close(), ...closed]);
    await other[Symbol.asyncDispose]();
    client.destroy();
    expect(await must(['cat', '/proc/net/dev'])).to.not.include('tunstackend');
    expect(() => other.share()).to.throw('the stack has been closed');
  });

  it('a stack whose device is deleted says so to everybody', async () => {
    const other = await openStack({ tun: 'tunstackdel', address: '10.8.0.1/24', peer: '10.8.0.9' });
    const server = other.net.createServer();
    await listen(server);
    const fatal = new Promise<StackError>((resolve) => {
      other.onFatal = resolve;
    });
    const failed = once(server, 'error') as Promise<[NodeJS.ErrnoException]>;
    await must(['ip', 'link', 'del', 'tunstackdel']);
    expect((await fatal).message).to.match(/tunstackdel is gone/);
    expect((await failed)[0].code).to.equal('ENETDOWN');
    await other.close();
  });

  /** Opens a stack, listens and closes. */
  const IDLE = `
    import { openStack } from '${INDEX}';
    const link = { address: '10.7.0.1/24', peer: '10.7.0.9' };
    const stack = await openStack({ tun: 'tunstackidle', ...link });
    const server = stack.net.createServer().listen(80, () => server.close());`;

  for (const flags of [[], ['--max-old-space-size=512']]) {
    it(`a program with nothing left to do ends, and the device with it ${flags}`, async () => {
      const argv = [process.execPath, ...flags, '--input-type=module', '-e', IDLE];
      const { code: status, stderr } = await run(argv);
      expect([status, stderr]).to.deep.equal([0, '']);
      expect(await must(['cat', '/proc/net/dev'])).to.not.include('tunstackidle');
    });
  }

  it('a program started with flags for the whole process opens a stack', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'tunstack-flags-'));
    try {
      const file = join(directory, 'idle.mjs');
      writeFileSync(file, IDLE);
      const { code, stderr } = await run([process.execPath, '--max-old-space-size=512', file]);
      expect([code, stderr]).to.deep.equal([0, '']);
    } finally {
      rmSync(directory, { recursive: true });
    }
  });

  it('the same name twice is refused with a remedy', async () => {
    const error = await openStack({ tun: 'tunstacknet' }).then(
      () => null,
      (reason: StackError) => reason,
    );
    expect(error).to.include({ name: 'StackError', exitCode: 77 });
    expect(error?.remedy).to.not.equal('');
  });
});
