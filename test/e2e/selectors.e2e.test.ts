/**
 * `serve --select`: the built-in selectors and users' files on real connections, files that do not
 * behave, and a worker that hangs.
 */
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { Agent, get, type IncomingMessage } from 'node:http';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { setTimeout as pause } from 'node:timers/promises';
import { expect } from 'chai';
import { HUNG_AFTER_MS } from '../../src/reuseport/selectors/load.js';
import { exchange, shares, type Whoami, whoamis } from './clients.js';
import { run, scratchDirectory, suiteWith } from './machine.js';
import { RUN, type ServeProcess, withServe } from './serve-process.js';

const ask = ({ ready }: ServeProcess, count: number, atOnce = 8): Promise<Whoami[]> =>
  whoamis(ready.address, ready.port, count, atOnce);

/** A module in a directory of its own. */
function file(name: string, source: string): string {
  const path = join(scratchDirectory(), name);
  writeFileSync(path, source);
  return path;
}

/** Lines of a serve's stderr about a selector. */
function said({ stderr }: ServeProcess): string[] {
  return stderr.split('\n').filter((line) => line.startsWith('tunstack: selector '));
}

async function counter(serve: ServeProcess, name: string): Promise<number> {
  const { mib } = await serve.get<{ mib: Record<string, number> }>('/stats');
  return mib[name]!;
}

/** Every answer comes from the member that the hash names. */
function expectByHash(answers: readonly Whoami[]): void {
  for (const { hash, slot, members } of answers) {
    expect(slot).to.equal(Math.floor((Number(hash) * members) / 2 ** 32));
  }
}

suiteWith(['tun', 'ip'], 'end to end: selectors', () => {
  for (const name of ['random', 'least', 'p2c', 'consistent']) {
    it(`--select ${name} answers with every worker`, async () => {
      await withServe(['--select', name], async (serve) => {
        const counts = shares(await ask(serve, 200), 4);
        expect(Math.min(...counts), counts.join(' ')).to.be.above(15);
        expect(await counter(serve, 'TunSelectorFallback')).to.equal(0);
        expect(serve.stderr).to.equal('');
      });
    });
  }

  for (const setup of ['inherit', 'self']) {
    it(`--select rr deals out one by one (--setup ${setup})`, async () => {
      await withServe(['--select', 'rr', '--setup', setup, '--workers', '5'], async (serve) => {
        expect(shares(await ask(serve, 200), 5)).to.deep.equal([40, 40, 40, 40, 40]);
      });
    });
  }

  it('--select cpu: a worker for each queue', async () => {
    await withServe(['--select', 'cpu', '--queues', '1'], async (serve) => {
      expect(shares(await ask(serve, 40), 4)).to.deep.equal([40, 0, 0, 0]);
    });
    await withServe(['--select', 'cpu', '--queues', '2'], async (serve) => {
      const counts = shares(await ask(serve, 100), 4);
      expect(counts.slice(2)).to.deep.equal([0, 0]);
      expect(Math.min(...counts.slice(0, 2)), counts.join(' ')).to.be.above(25);
    });
  });

  it('--select FILE.js chooses, in each setup, and shows in --strace', async () => {
    const path = file('by-port.js', 'export default (request) => request.sport % request.members;');
    for (const setup of ['inherit', 'self']) {
      await withServe(['--select', path, '--setup', setup, '--strace'], async (serve) => {
        for (const answer of await ask(serve, 60)) {
          expect(answer.slot).to.equal(answer.remotePort % 4);
        }
        const attached = serve.stderr.match(/setsockopt\(\d+, SOL_SOCKET, SO_ATTACH_REUSE.* = 0/g);
        expect(attached ?? []).to.have.length(setup === 'self' ? 1 : 0);
      });
    }
  });

  it('a file that throws is detached with one line, and the hash serves', async () => {
    const path = file('throws.cjs', "module.exports = () => { throw new Error('no luck'); };");
    await withServe(['--select', path], async (serve) => {
      expectByHash(await ask(serve, 50));
      expect(said(serve)).to.deep.equal([
        `tunstack: selector ${path} detached: it threw Error: no luck; ` +
          'the hash chooses from now on',
      ]);
      expect(await counter(serve, 'TunSelectorDetached')).to.equal(1);
    });
  });

  it('a file that answers NaN leaves it to the hash, and is told once', async () => {
    const path = file('nan.mjs', 'export default () => NaN;');
    await withServe(['--select', path], async (serve) => {
      expectByHash(await ask(serve, 50));
      expect(said(serve)).to.have.length(1);
      expect(said(serve)[0]).to.contain(`${path} answered NaN (members are 0 to 3)`);
      expect(await counter(serve, 'TunSelectorFallback')).to.be.at.least(50);
      expect(await counter(serve, 'TunSelectorDetached')).to.equal(0);
    });
  });

  it('a file that burns a millisecond a call is detached with one line', async () => {
    const path = file(
      'burns.js',
      `export default () => {
        const end = performance.now() + 1;
        while (performance.now() < end);
        return 3;
      };`,
    );
    await withServe(['--select', path], async (serve) => {
      const answers = await ask(serve, 100, 1);
      const chosen = answers.findIndex(({ slot }) => slot !== 3);
      // Three where the machine is so busy that each call lasts 10 ms: no call costs more.
      expect(chosen).to.be.within(3, 40);
      expectByHash(answers.slice(chosen + 1));
      expect(said(serve)).to.have.length(1);
      expect(said(serve)[0]).to.match(/detached: it is too slow .*; the hash chooses from now on$/);
      expect(await counter(serve, 'TunSelectorDetached')).to.equal(1);
    });
  });

  it('a file that cannot be read ends serve with the reason', async () => {
    const cases: [string, string, RegExp][] = [
      ['syntax.js', 'export default (', /SyntaxError/],
      ['text.cjs', "module.exports = 'p2c';", /neither its default export nor/],
    ];
    for (const [name, source, reason] of cases) {
      const path = file(name, source);
      for (const setup of ['inherit', 'self']) {
        const control = join(scratchDirectory(), 'control.sock');
        const argv = ['serve', '--control', control, '--select', path, '--setup', setup];
        const { code, stdout, stderr } = await run([...RUN, ...argv]);
        expect(code, stderr).to.equal(1);
        expect(stdout).to.equal('');
        expect(stderr).to.contain(`tunstack: selector ${path} refused: `).and.to.match(reason);
        expect(stderr).to.match(/--select .* was refused \(EINVAL\)/);
        expect(stderr).not.to.match(/^\s+at /m);
      }
    }
  });

  it('a group founded anew is given the selector again, a living one keeps its own', async () => {
    const path = file('nan.cjs', 'module.exports = () => NaN;');
    for (const [workers, lines] of [
      [1, 2],
      [2, 1],
    ]) {
      const args = ['--select', path, '--workers', String(workers)];
      const body = async (serve: ServeProcess): Promise<void> => {
        const { ready } = serve;
        await ask(serve, 1);
        await exchange(ready.address, ready.port, '/debug/exit').catch(() => '');
        await serve.said(/ is back/);
        await ask(serve, 1);
        // Told by the stack thread: on a busy machine after the answer.
        await serve.said(new RegExp(`(?:tunstack: selector [^]*?){${lines}}`));
        expect(said(serve)).to.have.length(lines!);
      };
      await withServe(args, body, { env: { TUNSTACK_TEST: '1' } });
    }
  });
});

/** The body of a GET on the one connection of `agent`. */
async function getOn(agent: Agent, serve: ServeProcess, path: string): Promise<string> {
  const request = get(serve.at(path), { agent });
  const [response] = (await once(request, 'response')) as [IncomingMessage];
  return await text(response);
}

interface Meanwhile {
  /** Connections of each worker while one hangs, and which one that is. */
  counts: number[];
  hung: number;
  /** They were all answered before the hanging one came back. */
  inTime: boolean;
}

suiteWith(['tun', 'ip'], 'end to end: a worker that hangs', () => {
  /** 50 connections while one worker is at work for three seconds. */
  async function meanwhile(serve: ServeProcess): Promise<Meanwhile> {
    const agent = new Agent({ keepAlive: true, maxSockets: 1 });
    const { worker } = JSON.parse(await getOn(agent, serve, '/whoami')) as Whoami;
    let over = false;
    const work = getOn(agent, serve, '/work/3000').then(() => {
      over = true;
    });
    // The time after which it counts as hung has to pass.
    await pause(HUNG_AFTER_MS + 200);
    const counts = shares(await ask(serve, 50), 4);
    const inTime = !over;
    await work;
    agent.destroy();
    return { counts, hung: worker, inTime };
  }

  for (const name of ['least', 'p2c']) {
    it(`gets no new connection under --select ${name}; the others answer`, async () => {
      await withServe(['--select', name], async (serve) => {
        const { counts, hung, inTime } = await meanwhile(serve);
        expect(inTime, 'answered while the work was going on').to.equal(true);
        expect(counts[hung]).to.equal(0);
        // It is alive again, and so it is asked again.
        expect(shares(await ask(serve, 60), 4)[hung]).to.be.above(0);
      });
    });
  }

  it('does get them under the hash, and they wait', async () => {
    await withServe([], async (serve) => {
      const { counts, hung, inTime } = await meanwhile(serve);
      expect(inTime).to.equal(false);
      expect(counts[hung]).to.be.above(0);
    });
  });
});
