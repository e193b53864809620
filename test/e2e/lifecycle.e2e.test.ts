/**
 * How serve ends: by each signal, directly and through npm, by force, and with a worker that fails.
 * Nothing is left.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'chai';
import { ask as askControl } from '../../src/app/control-client.js';
import type { ShownSocket } from '../../src/app/socket-table.js';
import { connected, exchange, whoamis } from './clients.js';
import { devices, must, processesMarked, scratchDirectory, suiteWith } from './machine.js';
import { type ServeProcess, startServe, summaryOf, withServe } from './serve-process.js';

const NPM_START = ['npm', 'start', '--silent', '--'];

/** An environment entry by which everything that a serve starts can be found. */
function mark(): { name: string; env: Record<string, string> } {
  const value = `${process.pid}-${Math.random().toString(36).slice(2)}`;
  return { name: `TUNSTACK_E2E_MARK=${value}`, env: { TUNSTACK_E2E_MARK: value } };
}

function expectNothingLeft(serve: ServeProcess, name: string): void {
  expect(devices(), 'device').to.not.include(serve.ready.tun);
  expect(existsSync(serve.control), 'control socket').to.equal(false);
  expect(processesMarked(name), 'processes').to.deep.equal([]);
}

/** One request on `socket`, which stays open; the answer's head and body as text. */
async function ask(socket: Socket, path: string): Promise<string> {
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  return chunk.toString('latin1');
}

/** 'ECONNRESET' and the like, or 'end'. */
function endOf(socket: Socket): Promise<string> {
  return new Promise((resolve) => {
    socket.once('error', (error: NodeJS.ErrnoException) => resolve(String(error.code)));
    socket.once('end', () => resolve('end'));
  });
}

suiteWith(['tun', 'ip'], 'end to end: the end of serve', () => {
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    it(`stops cleanly on ${signal}`, async () => {
      const { name, env } = mark();
      const serve = await startServe([], { env });
      expect(devices()).to.include('tunstack0');
      expect(existsSync(serve.control)).to.equal(true);
      await whoamis(serve.ready.address, serve.ready.port, 8);
      const result = await serve.stop(signal);
      expect(result.code, result.stderr).to.equal(0);
      const summary = summaryOf(result);
      expect(summary.event).to.equal('summary');
      expect(summary.connections.reduce((sum, count) => sum + count, 0)).to.equal(8);
      expectNothingLeft(serve, name);
    });

    it(`stops cleanly on ${signal} to npm`, async () => {
      const { name, env } = mark();
      const serve = await startServe([], { env, argv: NPM_START });
      const result = await serve.stop(signal);
      expect(result.stdout).to.include('"summary"');
      expectNothingLeft(serve, name);
    });
  }

  it('finishes what is being answered, and closes what is idle', async () => {
    const serve = await startServe();
    const { address, port } = serve.ready;
    const idle = await connected(address, port);
    expect(await ask(idle, '/ok')).to.match(/OK$/);
    const busy = await connected(address, port);
    const answer = ask(busy, '/work/400');
    const ends = [endOf(idle), endOf(busy)];
    await exchange(address, port, '/ok'); // by then the request of `busy` has arrived
    const stopped = serve.stop();
    expect(await answer).to.match(/OK$/);
    expect(await Promise.all(ends)).to.deep.equal(['end', 'end']);
    expect((await stopped).code).to.equal(0);
  });

  it('leaves at once on a second SIGINT', async () => {
    const { name, env } = mark();
    const serve = await startServe(['--workers', '1'], { env });
    const socket = await connected(serve.ready.address, serve.ready.port);
    socket.on('error', () => {});
    expect(await ask(socket, '/ok')).to.match(/OK$/);
    socket.write('GET /work/30000 HTTP/1.1\r\nHost: x\r\n\r\n');
    const started = performance.now();
    // Two signals at the same moment may arrive as one: an impatient person presses again and
    // again.
    const pressing = setInterval(() => serve.child.kill('SIGINT'), 100);
    await serve.stop('SIGINT');
    clearInterval(pressing);
    expect(performance.now() - started).to.be.below(4000);
    expectNothingLeft(serve, name);
    socket.destroy();
  });

  it('leaves only a socket file when killed, which the next one replaces', async () => {
    const { name, env } = mark();
    const serve = await startServe([], { env });
    const { signal } = await serve.stop('SIGKILL');
    expect(signal).to.equal('SIGKILL');
    expect(devices()).to.not.include('tunstack0');
    expect(processesMarked(name)).to.deep.equal([]);
    expect(existsSync(serve.control)).to.equal(true);
    const next = await startServe([], { control: serve.control });
    expect(await whoamis(next.ready.address, next.ready.port, 4)).to.have.lengthOf(4);
    expect((await next.stop()).code).to.equal(0);
    expect(existsSync(serve.control)).to.equal(false);
  });

  it('stops on a signal that comes while it starts', async () => {
    const { name, env } = mark();
    const control = join(scratchDirectory(), 'control.sock');
    const line = [...NPM_START, '--json', '--control', control];
    const child = spawn(line[0]!, line.slice(1), {
      env: { ...process.env, ...env },
      stdio: 'ignore',
    });
    await once(child, 'spawn');
    child.kill('SIGTERM');
    await once(child, 'exit');
    expect(processesMarked(name)).to.deep.equal([]);
    expect(devices()).to.not.include('tunstack0');
  });

  it('frees its device for the next start, ten times in a row', async () => {
    for (let turn = 0; turn < 10; turn++) {
      await withServe(['--workers', '2'], async ({ ready }) => {
        expect(await whoamis(ready.address, ready.port, 2)).to.have.lengthOf(2);
      });
    }
  });
});

suiteWith(['tun', 'ip'], 'end to end: a worker that fails', () => {
  it('takes its connections with it and nothing else', async () => {
    const serve = await startServe([], { env: { TUNSTACK_TEST: '1' } });
    const { address, port } = serve.ready;
    const sockets = await Promise.all(Array.from({ length: 32 }, () => connected(address, port)));
    const workers = await Promise.all(
      sockets.map(async (socket) => {
        const text = await ask(socket, '/whoami');
        return (JSON.parse(text.slice(text.indexOf('\r\n\r\n'))) as { worker: number }).worker;
      }),
    );
    const victim = workers[0]!;
    const theirs = sockets.filter((_, index) => workers[index] === victim);
    const others = sockets.filter((_, index) => workers[index] !== victim);
    expect(others).to.not.have.lengthOf(0);
    const ends = theirs.map(endOf);
    theirs[0]!.write('GET /debug/throw HTTP/1.1\r\nHost: x\r\n\r\n');
    expect(new Set(await Promise.all(ends))).to.deep.equal(new Set(['ECONNRESET']));
    const lost = `its ${theirs.length} connections? (was|were) reset; starting again in 0.1 s`;
    await serve.said(new RegExp(`worker ${victim} failed: asked to fail by /debug/throw; ${lost}`));
    for (const socket of others) expect(await ask(socket, '/ok')).to.match(/OK$/);
    await serve.said(new RegExp(`worker ${victim} is back \\(slot 3 of 4\\)`));
    for (const answer of await whoamis(address, port, 100)) {
      expect(answer.members).to.equal(4);
      expect(answer.worker === victim).to.equal(answer.slot === 3);
    }
    for (const socket of sockets) socket.destroy();
    expect(summaryOf(await serve.stop()).failed).to.deep.equal([victim]);
  });

  it('is not offered without TUNSTACK_TEST', async () => {
    await withServe(['--workers', '1'], async (serve) => {
      expect((await fetch(serve.at('/debug/throw'))).status).to.equal(404);
    });
  });
});

/** How many handshakes are under way. */
async function halfOpen({ control }: ServeProcess): Promise<number> {
  const rows = (await askControl(
    'sockets',
    control,
    {},
    { minisocks: true, details: true },
  )) as ShownSocket[];
  return rows.filter(({ state }) => state === 'SYN-RECV').length;
}

/** Loses what clients send after their SYN. @returns ends that */
async function withoutThirdPackets(tun: string): Promise<() => Promise<unknown>> {
  await must(['nft', 'add', 'table', 'ip', 'tunstack']);
  const chain = '{ type filter hook output priority 0; }';
  await must(['nft', 'add', 'chain', 'ip', 'tunstack', 'out', chain]);
  const match = ['oifname', tun, 'tcp', 'flags', '&', 'ack', '==', 'ack', 'drop'];
  await must(['nft', 'add', 'rule', 'ip', 'tunstack', 'out', ...match]);
  return () => must(['nft', 'delete', 'table', 'ip', 'tunstack']);
}

/** What a new connection gets at once: 'ECONNREFUSED', or 'nothing'. */
async function knock({ ready }: ServeProcess): Promise<string> {
  const socket = connect({ host: ready.address, port: ready.port });
  const nothing = pause(50).then(() => 'nothing');
  const answer = await Promise.race([endOf(socket), nothing]);
  socket.destroy();
  return answer;
}

suiteWith(['tun', 'ip', 'nft'], 'end to end: handshakes when serve ends', () => {
  for (const model of ['reuseport', 'shared', 'dispatch']) {
    it(`finish and are served, while nobody new is let in (--accept ${model})`, async () => {
      const serve = await startServe(['--accept', model]);
      const { address, port, tun } = serve.ready;
      const again = await withoutThirdPackets(tun);
      const late = Array.from({ length: 20 }, () => exchange(address, port, '/ok'));
      while ((await halfOpen(serve)) < late.length) await pause(5);
      const stopped = serve.stop();
      while ((await knock(serve)) !== 'ECONNREFUSED');
      await again();
      for (const answer of await Promise.all(late)) expect(answer).to.match(/OK$/);
      const { code, stderr } = await stopped;
      expect(code, stderr).to.equal(0);
    });
  }
});
