/**
 * Bad company on the real device: SYN floods with and without cookies, blind resets, hundreds of
 * clients that read nothing, clients that vanish. Good connections go on, and everything ends.
 */
import type { Socket } from 'node:net';
import { buffer } from 'node:stream/consumers';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect } from 'chai';
import { connected, readExactly } from './clients.js';
import { Forger } from './forger.js';
import { suiteWith } from './machine.js';
import { withLoss } from './nft-loss.js';
import { type ServeProcess, withServe } from './serve-process.js';

const WORKERS = 4;
const FLOOD = 6000;
const FLOOD_PER_SECOND = 2000;
const GOOD = 300;
const GOOD_PER_SECOND = 100;
const SLOW_READERS = 300;

interface Stats {
  mib: Record<string, number>;
  workers: { active: number }[];
}

/** The counters that have names in `names`, from a connection of its own. */
async function counters(serve: ServeProcess, ...names: string[]): Promise<number[]> {
  const { mib } = await serve.get<Stats>('/stats');
  return names.map((name) => mib[name] ?? 0);
}

/**
 * One request and its whole answer. Our side is not closed with the request: where the device drops
 * an ACK and text but not the FIN behind them, nobody could know a cookie in it, here as on Linux.
 */
async function ask(address: string, port: number): Promise<string> {
  const socket = await connected(address, port);
  socket.write('GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
  return (await buffer(socket)).toString('latin1');
}

/** So many requests, each on a new connection, at a fixed rate; what went wrong. */
async function goodConnections(serve: ServeProcess, count: number): Promise<string[]> {
  const { address, port } = serve.ready;
  const failures: string[] = [];
  const running: Promise<void>[] = [];
  const begun = performance.now();
  for (let i = 0; i < count; i++) {
    await sleep(Math.max(0, (1000 * i) / GOOD_PER_SECOND - (performance.now() - begun)));
    const one = ask(address, port).then(
      (text) => {
        if (!text.endsWith('\r\n\r\nOK')) failures.push(text.slice(0, 60));
      },
      (error: NodeJS.ErrnoException) => failures.push(String(error.code)),
    );
    running.push(one as Promise<void>);
  }
  await Promise.all(running);
  return failures;
}

function withForger(serve: ServeProcess): Forger {
  return new Forger(serve.ready.address, serve.ready.port);
}

suiteWith(['tun', 'root', 'ip', 'nft'], 'end to end: floods', () => {
  it(`${FLOOD} forged SYNs, cookies on: ${GOOD} good connections and none fails`, async () => {
    await withServe(['--workers', `${WORKERS}`, '--backlog', '64'], async (serve) => {
      const forger = withForger(serve);
      const [, failures] = await Promise.all([
        forger.floodSyn(FLOOD, FLOOD_PER_SECOND),
        goodConnections(serve, GOOD),
      ]);
      forger.close();
      const { mib } = await serve.get<Stats>('/stats');
      const all = JSON.stringify(Object.entries(mib).filter(([, value]) => value > 0));
      expect(failures, all).to.deep.equal([]);
      const [sent, received, full] = await counters(
        serve,
        'SyncookiesSent',
        'SyncookiesRecv',
        'TCPReqQFullDoCookies',
      );
      expect(sent, 'cookies sent').to.be.above(FLOOD / 4);
      expect(received, 'cookies that came back').to.be.above(0);
      expect(full).to.equal(sent);
    });
  });

  it('forged SYNs, cookies off: the queues are bounded, who is in stays in', async () => {
    const off = ['--sysctl', 'net.ipv4.tcp_syncookies=0'];
    await withServe(['--workers', `${WORKERS}`, '--backlog', '64', ...off], async (serve) => {
      const friend = await connected(serve.ready.address, serve.ready.port);
      const forger = withForger(serve);
      await forger.floodSyn(FLOOD / 2, FLOOD_PER_SECOND);
      forger.close();
      friend.write('GET /ok HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n');
      const chunks = await friend.toArray();
      expect(Buffer.concat(chunks).toString('latin1')).to.match(/^HTTP\/1.1 200.*OK$/s);
      const rows = await serve.json<{ state: string }[]>('ss', '-a');
      const half = rows.filter(({ state }) => state === 'SYN-RECV').length;
      expect(half, 'half-open connections').to.be.within(WORKERS, WORKERS * 65);
      const nstat = await serve.json<Record<string, number>>('nstat', '-a');
      expect(JSON.stringify(nstat)).to.match(/TCPReqQFullDrop/);
    });
  });

  it('a reset for each part of the sequence space: challenged, never believed', async () => {
    await withServe([], async (serve) => {
      const friend = await connected(serve.ready.address, serve.ready.port);
      const forger = withForger(serve);
      const begun = performance.now();
      await forger.sweepReset(serve.ready.peer, friend.localPort!, 50_000);
      expect(forger.sent).to.be.above(80_000);
      forger.close();
      friend.write('GET /ok HTTP/1.1\r\nHost: x\r\n\r\n');
      expect((await readExactly(friend, 15)).toString()).to.equal('HTTP/1.1 200 OK');
      friend.destroy();
      const [challenges, resets] = await counters(serve, 'TCPChallengeACK', 'TcpEstabResets');
      const halfSeconds = (performance.now() - begun) / 500;
      expect(challenges, 'at most one in half a second').to.be.within(1, halfSeconds + 1);
      expect(resets).to.equal(0);
    });
  }).timeout(180_000);

  it(`${SLOW_READERS} clients that read nothing: good ones served, all given back`, async () => {
    await withServe(['--workers', '2'], async (serve) => {
      const { address, port } = serve.ready;
      const slow: Socket[] = [];
      for (let i = 0; i < SLOW_READERS; i++) {
        const socket = await connected(address, port);
        socket.on('error', () => {});
        socket.write('GET /bytes/100000000 HTTP/1.1\r\nHost: x\r\n\r\n');
        slow.push(socket);
      }
      expect(await goodConnections(serve, 100)).to.deep.equal([]);
      for (const socket of slow) socket.resetAndDestroy();
      for (;;) {
        const { workers } = await serve.get<Stats>('/stats');
        // This question's own connection.
        if (workers.reduce((sum, { active }) => sum + active, 0) <= 1) break;
        await sleep(50);
      }
    });
  });

  it('clients that vanish in every state: the end comes all the same', async () => {
    await withServe([], async (serve) => {
      const { address, port, tun } = serve.ready;
      const forger = withForger(serve);
      await forger.floodSyn(100, FLOOD_PER_SECOND);
      forger.close();
      const clients: Socket[] = [];
      const requests = [
        '',
        'GET /ok HT',
        'GET /bytes/100000000 HTTP/1.1\r\nHost: x\r\n\r\n',
        'PUT /sink HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\nabc',
        'GET /bytes/1000000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n',
      ];
      for (const request of [...requests, ...requests]) {
        const socket = await connected(address, port);
        socket.on('error', () => {});
        socket.write(request);
        clients.push(socket);
      }
      for (const socket of clients.slice(requests.length)) socket.end();
      await withLoss(tun, 100, async () => {
        for (const socket of clients) socket.destroy();
        expect((await serve.stop()).code).to.equal(0);
      });
    });
  });
});
