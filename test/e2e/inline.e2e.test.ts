/**
 * `serve --inline`: the worker in the stack's own thread, with every model and with several queues;
 * and everybody else's questions meanwhile.
 */
import { expect } from 'chai';
import type { ShownSocket } from '../../src/app/socket-table.js';
import { exchange, shares, whoamis } from './clients.js';
import { devices, must, run, suiteWith } from './machine.js';
import { type ServeProcess, startServe, TUNSTACK, withServe } from './serve-process.js';

const MEBIBYTES_64 = 64 << 20;

async function serves(serve: ServeProcess, workers: number): Promise<void> {
  const { address, port } = serve.ready;
  const answers = await whoamis(address, port, 40 * workers);
  expect(Math.min(...shares(answers, workers))).to.be.above(0);
  const url = `http://${address}:${port}/bytes/${MEBIBYTES_64}`;
  const bytes = await must(['sh', '-c', `curl -s ${url} | wc -c`]);
  expect(Number(bytes)).to.equal(MEBIBYTES_64);
}

suiteWith(['tun', 'ip', 'curl'], 'end to end: workers in stack threads', () => {
  const crews: readonly (readonly string[])[] = [
    ['--workers', '1'],
    ['--workers', '2', '--queues', '2'],
    ['--workers', '2', '--select', 'cpu'],
    ['--workers', '1', '--setup', 'self'],
    ['--workers', '1', '--accept', 'shared'],
    ['--workers', '2', '--accept', 'dispatch'],
  ];
  for (const crew of crews) {
    it(`serves with ${crew.join(' ')}, and leaves in order`, async () => {
      const workers = Number(crew[1]);
      await withServe(['--inline', ...crew], async (serve) => {
        expect(serve.ready).to.include({ inline: true, queues: workers, workers });
        await serves(serve, workers);
      });
    });
  }

  it('a worker that throws leaves the stack as it is, and is started again in it', async () => {
    const args = ['--inline', '--workers', '1'];
    const options = { env: { TUNSTACK_TEST: '1' } };
    await withServe(
      args,
      async (serve) => {
        const { address, port } = serve.ready;
        for (const times of [1, 2]) {
          await exchange(address, port, '/debug/throw').catch(() => '');
          await serve.said(/worker 0 failed: asked to fail by/, times);
          await serve.said(/worker 0 is back \(slot 0 of 1\)/, times);
          expect(await exchange(address, port, '/ok')).to.contain('OK');
        }
        const { workers } = await serve.get<{ workers: { restarts: number }[] }>('/stats');
        expect(workers[0]!.restarts).to.equal(2);
      },
      options,
    );
  });

  it('Ctrl-C under load ends it with 0, and nothing is left', async () => {
    const serve = await startServe(['--inline', '--workers', '1']);
    const { address, port } = serve.ready;
    const url = `http://${address}:${port}/bytes/10000000000`;
    const client = must(['sh', '-c', `curl -s --max-time 30 ${url} > /dev/null || true`]);
    await exchange(address, port, '/ok');
    const { code } = await serve.stop('SIGINT');
    expect(code).to.equal(0);
    await client;
    expect(devices()).to.not.include(serve.ready.tun);
  });

  it('refuses any other number of queues, and more workers than there can be queues', async () => {
    for (const args of [
      ['--workers', '2', '--queues', '1'],
      ['--workers', '17'],
    ]) {
      const { code, stderr } = await run([...TUNSTACK, 'serve', '--inline', ...args]);
      expect(code).to.equal(2);
      expect(stderr).to.contain('serve: --inline --workers');
    }
  });

  it('ss and explain are answered while the worker runs', async () => {
    await withServe(['--inline', '--workers', '1'], async (serve) => {
      const rows = await serve.json<ShownSocket[]>('ss', '-tln');
      expect(rows.map(({ state, worker }) => [state, worker])).to.deep.equal([['LISTEN', 0]]);
      const { address, peer, port } = serve.ready as typeof serve.ready & { peer: string };
      const said = await serve.json<{ verdict: { worker: number } }>(
        'explain',
        `${peer}:40000`,
        `${address}:${port}`,
      );
      expect(said).to.have.property('verdict');
    });
  });

  it('trace shows the packets of a request while the worker answers it', async () => {
    await withServe(['--inline', '--workers', '1'], async (serve) => {
      const { address, port } = serve.ready;
      let over = false;
      const tracing = serve.command('trace', '--count', '8').finally(() => {
        over = true;
      });
      while (!over) expect(await exchange(address, port, '/ok')).to.contain('OK');
      const { code, stdout } = await tracing;
      expect(code).to.equal(0);
      expect(stdout.trim().split('\n').length).to.be.at.least(8);
      expect(stdout).to.contain(`IP ${serve.ready.peer}.`);
      expect(stdout).to.contain(`IP ${address}.${port} > `);
    });
  });

  it('a worker is drained and comes back', async () => {
    await withServe(['--inline', '--workers', '2'], async (serve) => {
      const { address, port } = serve.ready;
      expect((await serve.command('drain', '0')).code).to.equal(0);
      expect(shares(await whoamis(address, port, 40), 2)).to.deep.equal([0, 40]);
      expect((await serve.command('drain', '--resume', '0')).code).to.equal(0);
      expect(Math.min(...shares(await whoamis(address, port, 80), 2))).to.be.above(0);
    });
  });
});
