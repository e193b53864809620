/** Selectors for library users, on a real TUN: `listen({ selector })`, warnings, event loops. */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import nodeNet from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { Worker } from 'node:worker_threads';
import { expect } from 'chai';
import { openStack, type Server, type StackHandle } from '../../src/index.js';
import { HUNG_AFTER_MS } from '../../src/reuseport/selectors/load.js';
import { scratchDirectory, suiteWith } from '../e2e/machine.js';

const INDEX = new URL('../../src/index.js', import.meta.url).href;

/** A worker whose server on `port` answers with its number, and which can be told to hang. */
async function member(stack: StackHandle, port: number, how: object): Promise<Worker> {
  const shared = stack.share();
  const code = `
    import { workerData, parentPort } from 'node:worker_threads';
    import { attach } from '${INDEX}';
    const { net, threadNumber } = attach(workerData);
    const server = net.createServer((socket) => socket.end(String(threadNumber)));
    server.listen({ port: ${port}, ...${JSON.stringify(how)} });
    server.on('listening', () => parentPort.postMessage(threadNumber));
    parentPort.on('message', (ms) => {
      parentPort.postMessage('hangs');
      for (const end = performance.now() + ms; performance.now() < end; );
      parentPort.postMessage('is back');
    });`;
  const url = new URL(`data:text/javascript,${encodeURIComponent(code)}`);
  const worker = new Worker(url, { workerData: shared });
  await once(worker, 'message');
  worker.once('exit', () => stack.threadGone(shared.thread));
  return worker;
}

suiteWith(['netns', 'tun'], 'net with selectors', () => {
  let stack: StackHandle;
  const warnings: string[] = [];

  before(async () => {
    stack = await openStack({ tun: 'tunstacksel', seed: 7 });
    stack.onWarning = (message) => warnings.push(message);
  });
  after(() => stack.close());

  const ask = (port: number): Promise<string> => text(nodeNet.connect(port, stack.address));

  function servers(count: number, port: number, selector: string | URL): Server[] {
    return Array.from({ length: count }, (_, i) => {
      const server = stack.net.createServer((socket) => socket.end(String(i)));
      return server.listen({ port, reusePort: true, selector });
    });
  }

  it('a module given as a file URL picks among the servers of one thread', async () => {
    const path = join(scratchDirectory(), 'second.mjs');
    writeFileSync(path, 'export default () => 1;');
    const all = servers(3, 8100, new URL(`file://${path}`));
    await Promise.all(all.map((server) => once(server, 'listening')));
    expect(await Promise.all([1, 2, 3].map(() => ask(8100)))).to.deep.equal(['1', '1', '1']);
    for (const server of all) server.close();
    expect(warnings).to.deep.equal([]);
  });

  it('a module that is no good is an error event, and a warning with the reason', async () => {
    const [server] = servers(1, 8101, '/no/such/selector.mjs');
    const warned = new Promise<string>((resolve) => {
      stack.onWarning = resolve;
    });
    const [error] = (await once(server!, 'error')) as [NodeJS.ErrnoException];
    expect(error).to.include({ code: 'ENOENT', syscall: 'setsockopt' });
    expect(await warned).to.equal('selector /no/such/selector.mjs refused: there is no such file');
    stack.onWarning = null;
    const [path, heard] = [join(scratchDirectory(), 'bad.cjs'), once(process, 'warning')];
    writeFileSync(path, 'module.exports = 1;');
    const [other] = servers(1, 8102, path);
    await once(other!, 'error');
    const [warning] = (await heard) as [Error & { code?: string }];
    expect(warning).to.include({ name: 'StackWarning', code: 'TUN_SELECTOR' });
    expect(warning.message).to.match(/bad\.cjs refused: neither/);
    stack.onWarning = (message) => warnings.push(message);
  });

  it('p2c passes over a worker whose event loop hangs', async () => {
    const how = { reusePort: true, selector: 'p2c' };
    const workers = [await member(stack, 8103, how), await member(stack, 8103, how)];
    const fair = await Promise.all(Array.from({ length: 40 }, () => ask(8103)));
    expect(new Set(fair).size).to.equal(2);
    // A sleeping event loop is no hanging one, however long it sleeps.
    await pause(HUNG_AFTER_MS + 200);
    const rested = await Promise.all(Array.from({ length: 40 }, () => ask(8103)));
    expect(new Set(rested).size).to.equal(2);
    const [first] = workers;
    first!.postMessage(3000);
    await once(first!, 'message');
    const back = once(first!, 'message');
    // What it was sent before anybody could know waits for it, and rings a bell that it ignores.
    const early = Array.from({ length: 10 }, () => ask(8103));
    await pause(HUNG_AFTER_MS + 200);
    let over = false;
    void back.then(() => {
      over = true;
    });
    const answers = await Promise.all(Array.from({ length: 30 }, () => ask(8103)));
    expect(over).to.equal(false);
    expect(new Set(answers).size).to.equal(1);
    await back;
    expect(new Set(await Promise.all(early)).size).to.equal(2);
    await Promise.all(workers.map((worker) => worker.terminate()));
  });
});
