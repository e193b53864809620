/** `tunstack drain` under load: nobody is lost, nobody new comes, and the way back. */
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { expect } from 'chai';
import type { DrainStatus } from '../../src/app/drain-orders.js';
import type { ShownSocket } from '../../src/app/socket-table.js';
import { connected, type Whoami, whoamis } from './clients.js';
import { Load } from './load.js';
import { suiteWith } from './machine.js';
import { type ServeProcess, withServe } from './serve-process.js';

const VICTIM = 2;

/** One request on `socket`, which stays open; the body of the answer. */
async function ask(socket: Socket, path: string): Promise<string> {
  socket.write(`GET ${path} HTTP/1.1\r\nHost: x\r\n\r\n`);
  const [chunk] = (await once(socket, 'data')) as [Buffer];
  const text = chunk.toString('latin1');
  return text.slice(text.indexOf('\r\n\r\n') + 4);
}

/** An open connection that worker VICTIM serves. */
async function connectionOfVictim({ ready }: ServeProcess): Promise<Socket> {
  for (;;) {
    const socket = await connected(ready.address, ready.port);
    const { worker } = JSON.parse(await ask(socket, '/whoami')) as Whoami;
    if (worker === VICTIM) return socket;
    socket.destroy();
  }
}

/** Worker and place in the group of each listener. */
async function listeners(serve: ServeProcess): Promise<(number | null)[][]> {
  const rows = await serve.json<ShownSocket[]>('ss', '-ltn');
  return rows.map(({ worker, slot, group }) => [worker, slot, group]).sort((a, b) => a[1]! - b[1]!);
}

async function statuses(serve: ServeProcess, ...args: string[]): Promise<DrainStatus[]> {
  const { code, stdout, stderr } = await serve.command('drain', ...args, '--json');
  expect(code, stderr).to.equal(0);
  const lines = stdout.trim().split('\n');
  return lines.map((line) => JSON.parse(line) as DrainStatus);
}

suiteWith(['tun', 'ip'], 'end to end: drain', () => {
  it('takes a worker out of the group under load without losing a connection', async () => {
    await withServe([], async (serve) => {
      const { address, port } = serve.ready;
      const open = await connectionOfVictim(serve);
      const load = new Load(address, port);
      await load.serves(500);
      const { code, stdout, stderr } = await serve.command('drain', String(VICTIM));
      expect(code, stderr).to.equal(0);
      expect(stdout).to.match(/worker 2: listener closed; \d+ connections? goe?s? on\n$/);
      await load.serves(500);
      const { failures } = await load.stop();
      expect(failures).to.deep.equal([]);
      // The last of the group has taken the free place.
      expect(await listeners(serve)).to.deep.equal([
        [0, 0, 3],
        [1, 1, 3],
        [3, 2, 3],
      ]);
      for (const { worker, members } of await whoamis(address, port, 100)) {
        expect(worker).to.not.equal(VICTIM);
        expect(members).to.equal(3);
      }
      expect(await ask(open, '/ok')).to.equal('OK');
      const again = await serve.command('drain', String(VICTIM));
      expect(again.code).to.equal(1);
      expect(again.stderr).to.match(/worker 2 is drained already/);
      open.destroy();
    });
  });

  it('brings it back with --resume as the last member', async () => {
    await withServe([], async (serve) => {
      const [first, ...rest] = await statuses(serve, '0');
      expect(first).to.include({ worker: 0, drained: true, warning: '' });
      const last = rest.at(-1) ?? first!;
      expect(last).to.include({ state: 'drained', queued: 0, halfOpen: 0 });
      const back = await statuses(serve, '--resume', '0');
      expect(back.at(-1)).to.include({ state: 'serving', drained: false, slot: 3, members: 4 });
      expect((await listeners(serve)).at(-1)).to.deep.equal([0, 3, 4]);
      const answers = await whoamis(serve.ready.address, serve.ready.port, 100);
      expect(answers.some(({ worker, slot }) => worker === 0 && slot === 3)).to.equal(true);
    });
  });

  it('keeps a drained worker drained when that fails', async () => {
    const body = async (serve: ServeProcess): Promise<void> => {
      const open = await connectionOfVictim(serve);
      open.on('error', () => {});
      await statuses(serve, String(VICTIM));
      open.write('GET /debug/throw HTTP/1.1\r\nHost: x\r\n\r\n');
      await serve.said(/worker 2 is back \(drained\)/);
      expect(await listeners(serve)).to.have.lengthOf(3);
    };
    await withServe([], body, { env: { TUNSTACK_TEST: '1' } });
  });

  it('says what happens when nobody is left, and refuses what cannot be', async () => {
    await withServe(['--workers', '2'], async (serve) => {
      expect((await serve.command('drain', '2')).code).to.equal(2);
      expect((await serve.command('drain', '2')).stderr).to.match(/no worker 2: they are 0 to 1/);
      expect((await serve.command('drain', '--resume', '0')).code).to.equal(1);
      await statuses(serve, '0');
      const last = await serve.command('drain', '1');
      expect(last.code).to.equal(0);
      expect(last.stderr).to.match(/no worker takes connections any more.*refused \(RST\)/);
      const { address, port } = serve.ready;
      const refused = await connected(address, port).catch((error: unknown) => error);
      expect(refused).to.have.property('code', 'ECONNREFUSED');
      await statuses(serve, '--resume', '1');
      expect(await whoamis(address, port, 4)).to.have.lengthOf(4);
    });
  });

  for (const model of ['shared', 'dispatch']) {
    it(`has a worker accept no more under --accept ${model}, and again`, async () => {
      await withServe(['--accept', model], async (serve) => {
        const { address, port } = serve.ready;
        const load = new Load(address, port);
        await load.serves(200);
        const { code, stdout } = await serve.command('drain', '1');
        expect(code).to.equal(0);
        expect(stdout).to.match(/worker 1: accepts no more; \d+ connections? goe?s? on\n$/);
        await load.serves(200);
        expect((await load.stop()).failures).to.deep.equal([]);
        const others = await whoamis(address, port, 60);
        expect(others.every(({ worker }) => worker !== 1)).to.equal(true);
        const back = await serve.command('drain', '--resume', '1');
        expect(back.stdout).to.match(/worker 1: accepts again\n$/);
        if (model === 'shared') return; // who is quickest may get them all
        const all = await whoamis(address, port, 60);
        expect(all.some(({ worker }) => worker === 1)).to.equal(true);
      });
    });
  }
});
