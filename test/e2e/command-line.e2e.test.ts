/**
 * The command line: what is refused and how, what the tables show of a running serve, and its
 * optional services.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { ROOT } from '../repository.js';
import { connected, exchange, readExactly, whoamis } from './clients.js';
import { type Ended, must, run, scratchDirectory, suiteWith } from './machine.js';
import { startServe, TUNSTACK, withServe } from './serve-process.js';

const tunstack = (...args: string[]): Promise<Ended> => run([...TUNSTACK, ...args]);

/** Command lines that are wrong, and what must be said of them. */
const WRONG: readonly (readonly [string, RegExp])[] = [
  ['', /which command/],
  ['sevre', /no command "sevre"/],
  ['explain 1.2.3.4:5 6.7.8.9', /port is missing/],
  ['trace porrt 80', /no word of the filter/],
  ['drain', /which worker/],
  ['drain two', /a worker is a number/],
  ['lab nonsense', /nonsense/],
  ['packetdrill x.pkt', /no such file/],
  ['iperf3', /only the server/],
  ['serve --nope', /--nope/],
  ['serve extra', /extra/],
  ['serve --workers', /--workers/],
  ['serve --workers 0', /--workers 0.*1 to/],
  ['serve --workers four', /--workers four/],
  ['serve --workers 100000', /--workers 100000/],
  ['serve --port 0', /--port 0/],
  ['serve --port 65536', /--port 65536/],
  ['serve --accept fair', /--accept fair.*reuseport/],
  ['serve --select fair', /--select fair/],
  ['serve --select mine.js', /--select mine\.js.*p2c.*no file .*\/mine\.js/],
  ['serve --select p2c --accept shared', /--select p2c.*no group/],
  ['serve --select least --accept dispatch', /--select least.*no group/],
  ['serve --setup other', /--setup other/],
  ['serve --setup self --accept shared', /--setup self/],
  ['serve --backlog -1', /--backlog/],
  ['serve --profile 4.0', /--profile 4\.0/],
  ['serve --address 300.1.1.1/24', /300\.1\.1\.1/],
  ['serve --address 198.18.0.1/24 --peer 10.0.0.1', /10\.0\.0\.1/],
  ['serve --address 198.18.0.1/24 --peer 198.18.0.1', /198\.18\.0\.1/],
  ['serve --peer nobody', /nobody/],
  ['serve --mtu 20', /--mtu 20/],
  ['serve --queues 17', /--queues 17.*from 1 to 16/],
  ['serve --sysctl net.ipv4.tcp_nope=1', /tcp_nope/],
  ['serve --sysctl net.ipv4.tcp_sack', /NAME=VALUE/],
  ['serve --sysctl net.ipv4.tcp_sack=yes', /tcp_sack/],
  ['serve --root /no/such/directory', /no such directory/],
  ['serve --services --port 7', /port 7/],
  ['serve --pcap - --json', /stdout/],
  ['ss --nope', /--nope/],
];

suiteWith([], 'end to end: command line', () => {
  it('refuses what is wrong with exit code 2, and says what', async () => {
    const queue = [...WRONG];
    const client = async (): Promise<void> => {
      for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
        const [line, words] = next;
        const { code, stdout, stderr } = await tunstack(...line.split(' ').filter(Boolean));
        expect(code, `${line}\n${stderr}`).to.equal(2);
        expect(stderr, line).to.match(words);
        expect(stdout, line).to.equal('');
      }
    };
    await Promise.all([client(), client()]);
  });

  it('tells what there is', async () => {
    const text = readFileSync(join(ROOT, 'package.json'), 'utf8');
    const { version } = JSON.parse(text) as { version: string };
    expect((await tunstack('--version')).stdout).to.include(version);
    const help = await tunstack('--help');
    expect(help.code).to.equal(0);
    for (const name of ['serve', 'ss', 'lsof', 'nstat', 'doctor']) {
      expect(help.stdout).to.include(name);
      const { code, stdout } = await tunstack(name, '--help');
      expect(code, name).to.equal(0);
      expect(stdout, name).to.include(name);
    }
    expect((await tunstack('serve', '--help')).stdout).to.match(/--workers N[\s\S]*--rootless/);
  });

  it('says so when there is no running stack to ask', async () => {
    const control = join(scratchDirectory(), 'none.sock');
    for (const name of ['ss', 'nstat', 'lsof']) {
      const { code, stderr } = await tunstack(name, '--control', control);
      expect(code, name).to.equal(1);
      expect(stderr, name).to.include(control);
    }
  });
});

interface SocketRow {
  state: string;
  recvQ: number;
  sendQ: number;
  local: { address: string; port: number };
  peer: { address: string; port: number };
  worker: number;
  fd: number;
}

suiteWith(['tun', 'ip'], 'end to end: tables', () => {
  it('shows listeners and connections as ss, lsof and nstat do', async () => {
    await withServe(['--backlog', '33'], async (serve) => {
      const { address, port } = serve.ready;
      const socket = await connected(address, port);
      socket.write('GET /ok HTTP/1.1\r\nHost: x\r\n\r\n');
      await readExactly(socket, 15);
      const listeners = await serve.json<SocketRow[]>('ss', '-t', '-l', '-n');
      expect(listeners).to.have.lengthOf(4);
      expect(listeners.map(({ worker }) => worker).sort()).to.deep.equal([0, 1, 2, 3]);
      for (const row of listeners) {
        expect(row).to.include({ state: 'LISTEN', recvQ: 0, sendQ: 33 });
        expect(row.local.port).to.equal(port);
        expect(row.fd).to.be.a('number');
      }
      const rows = await serve.json<SocketRow[]>('ss', '-t', '-n');
      const ours = rows.find(({ peer }) => peer.port === socket.localPort);
      expect(ours, JSON.stringify(rows)).to.deep.include({
        state: 'ESTAB',
        local: { address, port },
        peer: { address: '198.18.0.254', port: socket.localPort },
      });
      const table = await serve.command('ss', '-t', '-l', '-n', '-p');
      expect(table.stdout).to.match(/^State\s+Recv-Q\s+Send-Q\s+Local Address:Port/);
      expect(table.stdout.trim().split('\n')).to.have.lengthOf(5);
      const files = await serve.command('lsof', `-i:${port}`);
      expect(files.stdout).to.match(/^COMMAND\s+PID/);
      expect(files.stdout).to.match(/\(LISTEN\)/);
      const counters = await serve.command('nstat', '-a', '-z');
      expect(counters.stdout).to.match(/TcpPassiveOpens\s+1\b/);
      socket.destroy();
    });
  });

  it('counts in /stats what its workers did', async () => {
    await withServe([], async (serve) => {
      await whoamis(serve.ready.address, serve.ready.port, 40);
      const stats = await serve.get<{
        workers: { worker: number; accepted: number; requests: number }[];
        listeners: unknown[];
        tcp: object;
        mib: Record<string, number>;
      }>('/stats');
      const sum = (key: 'accepted' | 'requests'): number =>
        stats.workers.reduce((total, row) => total + row[key], 0);
      expect(stats.workers.map(({ worker }) => worker)).to.deep.equal([0, 1, 2, 3]);
      expect(sum('accepted')).to.equal(41);
      expect(sum('requests')).to.be.within(40, 41);
      expect(stats.listeners).to.have.lengthOf(4);
      expect(stats.mib['TcpPassiveOpens']).to.equal(41);
      expect(stats.tcp).to.be.an('object');
    });
  });
});

suiteWith(['tun', 'ip', 'curl'], 'end to end: what serve can be asked to do', () => {
  it('serves echo, discard and chargen under --services', async () => {
    await withServe(['--services'], async ({ ready }) => {
      const sent = Buffer.alloc(300_000, 'tunstack');
      const echo = await connected(ready.address, 7);
      echo.write(sent);
      expect((await readExactly(echo, sent.length)).equals(sent)).to.equal(true);
      const discard = await connected(ready.address, 9);
      discard.write(sent);
      discard.end();
      const chargen = await connected(ready.address, 19);
      const text = (await readExactly(chargen, 74 * 95)).toString('latin1');
      expect(text.slice(0, 75)).to.match(/^ !"#\$%&.{65}\r\n!$/);
      for (const socket of [echo, discard, chargen]) socket.destroy();
    });
  });

  it('traces system calls in the grammar of strace under --strace', async () => {
    const serve = await startServe(['--strace']);
    await exchange(serve.ready.address, serve.ready.port, '/ok');
    const { stderr } = await serve.stop();
    const lines = stderr.split('\n');
    const call = /^\[worker \d\] (\w+)\(.*\)\s+= (-?\d+)/;
    const names = new Set(lines.map((line) => call.exec(line)?.[1]));
    expect([...names]).to.include.members(['accept4', 'read', 'epoll_wait', 'close']);
    expect(stderr).to.match(/accept4\(\d+, \{sa_family=AF_INET, sin_port=htons\(\d+\), sin_addr=/);
    expect(stderr).to.match(/read\(\d+, "GET \/ok HTTP\/1\.1\\r\\nHost: /);
    expect(stderr).to.match(/= -1 EAGAIN \(Resource temporarily unavailable\)/);
  });

  it('serves files under --root, and nothing outside of it', async () => {
    const directory = scratchDirectory();
    writeFileSync(join(directory, 'a b.txt'), 'contents of a b\n');
    await withServe(['--root', directory], async (serve) => {
      expect(await must(['curl', '-sS', serve.at('/files/a%20b.txt')])).to.equal(
        'contents of a b\n',
      );
      expect(await must(['curl', '-sS', '-r', '0-7', serve.at('/files/a%20b.txt')])).to.equal(
        'contents',
      );
      expect(await must(['curl', '-sS', serve.at('/files/')])).to.include('a%20b.txt');
      const status = ['curl', '-sS', '-o', '/dev/null', '-w', '%{http_code}', '--path-as-is'];
      for (const path of ['/files/none', '/files/../etc/passwd', '/files/%2e%2e/etc/passwd']) {
        const code = await must([...status, `http://198.18.0.1${path}`]);
        expect(code, path).to.match(/^40[034]$/);
      }
    });
  });

  it('answers the requests of the table', async () => {
    await withServe(['--port', '8080'], async (serve) => {
      const status = ['curl', '-sS', '-o', '/dev/null', '-w', '%{http_code}'];
      expect(await must(['curl', '-sS', serve.at('/')])).to.match(/worker \d/);
      expect(await must(['curl', '-sS', '-H', 'Accept: text/html', serve.at('/')])).to.match(
        /<!doctype html>/i,
      );
      expect(await must(['curl', '-sS', serve.at('/work/20')])).to.equal('OK');
      expect(await must(['curl', '-sS', '-I', serve.at('/bytes/5')])).to.match(
        /content-length: 5/i,
      );
      expect(await must(['curl', '-sS', '--http1.0', serve.at('/ok')])).to.equal('OK');
      const chunked = ['-H', 'Transfer-Encoding: chunked', '-d', 'hello'];
      expect(JSON.parse(await must(['curl', '-sS', ...chunked, serve.at('/sink')]))).to.deep.equal({
        bytes: 5,
        sha256: '2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824',
      });
      expect(await must([...status, serve.at('/none')])).to.equal('404');
      expect(await must([...status, '-X', 'DELETE', serve.at('/ok')])).to.equal('405');
      const long = ['-H', `X: ${'x'.repeat(70_000)}`];
      expect(await must([...status, ...long, serve.at('/ok')])).to.equal('431');
    });
  });

  it('runs beside another one with a device and an address of its own', async () => {
    await withServe([], async (first) => {
      const other = ['--tun', 'tunstack7', '--address', '198.19.0.1/24', '--peer', '198.19.0.254'];
      await withServe(other, async (second) => {
        expect(await exchange(first.ready.address, 80, '/ok')).to.match(/OK$/);
        expect(await exchange(second.ready.address, 80, '/ok')).to.match(/OK$/);
      });
      expect(await exchange(first.ready.address, 80, '/ok')).to.match(/OK$/);
    });
  });

  it('has nobody at a port that nothing listens on', async () => {
    await withServe([], async ({ ready }) => {
      const refused = await connected(ready.address, 81).catch((error) => error.code as string);
      expect(refused).to.equal('ECONNREFUSED');
    });
  });
});
