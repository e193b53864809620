/** The control socket, both ends, and the tables that are printed from it. */
import { existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect } from 'chai';
import { FailedError, UsageError } from '../../src/app/command.js';
import { ask } from '../../src/app/control-client.js';
import { defaultControlPath, PATH_MAX_BYTES } from '../../src/app/control-protocol.js';
import { type ControlAnswers, ControlServer, isLive } from '../../src/app/control-server.js';
import { lsofLines } from '../../src/app/lsof.js';
import { nstatLines } from '../../src/app/nstat.js';
import { type ShownSocket, selectSockets } from '../../src/app/socket-table.js';
import { ssLines } from '../../src/app/ss.js';
import { run } from './run-main.js';

const row = (fields: Partial<ShownSocket>): ShownSocket => ({
  state: 'ESTAB',
  recvQ: 0,
  sendQ: 0,
  local: { address: '198.18.0.1', port: 80 },
  peer: { address: '198.18.0.254', port: 51702 },
  worker: 2,
  fd: 11,
  group: 0,
  slot: 2,
  thread: 3,
  hash: 0,
  listener: null,
  ...fields,
});

const SOCKETS: ShownSocket[] = [
  row({
    state: 'LISTEN',
    recvQ: 1,
    sendQ: 511,
    local: { address: '0.0.0.0', port: 80 },
    peer: { address: '0.0.0.0', port: 0 },
    fd: 6,
    group: 4,
  }),
  row({ sendQ: 4096 }),
  row({ state: 'TIME-WAIT', worker: null, fd: -1 }),
];

const ANSWERS: ControlAnswers = {
  stats: () => ({ workers: [] }),
  sockets: () => SOCKETS,
  counters: () => ({ TcpInSegs: 42, TcpOutRsts: 0 }),
  drain: (request) => ({ ...request, asked: true }),
  'drain-status': () => {
    throw new UsageError('that is no worker', 'tunstack drain 3');
  },
};

async function fails(promise: Promise<unknown>, what: RegExp): Promise<void> {
  const error = await promise.then(
    () => null,
    (reason: unknown) => reason,
  );
  expect(error).to.be.instanceOf(FailedError);
  expect((error as FailedError).message).to.match(what);
}

describe('app/control', () => {
  let directory = '';
  let path = '';
  let server: ControlServer | null = null;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'tunstack-control-'));
    path = join(directory, 'c.sock');
  });

  afterEach(() => {
    server?.close();
    server = null;
    rmSync(directory, { recursive: true });
  });

  it('answers its commands, and only its owner', async () => {
    server = await ControlServer.open(path, ANSWERS);
    expect(statSync(path).mode & 0o777).to.equal(0o600);
    expect(await ask('counters', path, {})).to.deep.equal({ TcpInSegs: 42, TcpOutRsts: 0 });
    expect(await ask('sockets', path, {})).to.deep.equal(SOCKETS);
    const request = { cmd: 'drain', worker: 2 };
    expect(await ask('drain', path, {}, { worker: 2 })).to.deep.equal({ ...request, asked: true });
    const refused = await ask('drain-status', path, {}).catch((reason: unknown) => reason);
    expect(refused).to.be.instanceOf(UsageError);
    expect(refused).to.include({ message: 'that is no worker', remedy: 'tunstack drain 3' });
    server.close();
    expect(existsSync(path)).to.equal(false);
  });

  it('answers line by line, and says what it does not understand', async () => {
    const failing = { ...ANSWERS, stats: () => JSON.parse('{') as unknown };
    server = await ControlServer.open(path, failing);
    const text = await new Promise<string>((resolve) => {
      let all = '';
      const socket = connect(path, () => {
        socket.write('{"cmd":"count');
        socket.write('ers"}\nnonsense\n{"cmd":"toString"}\n7\n{"cmd":"stats"}\n');
      });
      socket.setEncoding('utf8').on('data', (more: string) => {
        all += more;
        if (all.split('\n').length === 6) {
          socket.destroy();
          resolve(all);
        }
      });
    });
    const lines = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line) as object);
    expect(lines[0]).to.deep.equal({ TcpInSegs: 42, TcpOutRsts: 0 });
    for (const line of lines.slice(1)) expect(line).to.have.property('error');
    await fails(ask('stats', path, {}), /the running stack says/);
  });

  it('hangs up on an endless line', async () => {
    server = await ControlServer.open(path, ANSWERS);
    await new Promise<void>((resolve) => {
      const socket = connect(path, () => socket.write('x'.repeat(5000)));
      socket.on('error', () => {});
      socket.on('close', () => resolve());
    });
  });

  it('replaces the file of a dead process, not that of a live one', async () => {
    server = await ControlServer.open(path, ANSWERS);
    expect(await isLive(path)).to.equal(true);
    await fails(ControlServer.open(path, ANSWERS), /a running tunstack answers there/);
    expect(existsSync(path)).to.equal(true);
    server.close();
    // A process that was killed leaves its file: imitate it by a second name of a listening socket.
    const other = createServer();
    const { linkSync } = await import('node:fs');
    await new Promise<void>((resolve) => other.listen(`${path}.other`, resolve));
    linkSync(`${path}.other`, path);
    await new Promise((resolve) => other.close(resolve));
    expect(existsSync(path)).to.equal(true);
    server = await ControlServer.open(path, ANSWERS);
    expect(await isLive(path)).to.equal(true);
  });

  it('leaves other files alone, and says when a path cannot be', async () => {
    writeFileSync(path, 'precious');
    await fails(ControlServer.open(path, ANSWERS), /another kind/);
    expect(statSync(path).size).to.equal(8);
    await fails(ControlServer.open('x'.repeat(PATH_MAX_BYTES + 1), ANSWERS), /at most/);
    await fails(ControlServer.open(join(directory, 'no', 'c'), ANSWERS), /--control/);
  });

  it('says where it looked for a stack', async () => {
    await fails(ask('stats', path, {}), /no running stack at .*c\.sock/);
    const mute = createServer((socket) => socket.resume().end());
    await new Promise<void>((resolve) => mute.listen(path, resolve));
    await fails(ask('stats', path, {}), /hung up/);
    await new Promise((resolve) => mute.close(resolve));
  });

  it('has a default place for everybody', () => {
    const name = 'tunstack.sock';
    const found = defaultControlPath({ XDG_RUNTIME_DIR: directory });
    expect([join('/run', name), join(directory, name)]).to.include(found);
    expect(defaultControlPath({ XDG_RUNTIME_DIR: '/does/not/exist' })).to.match(/tunstack\.sock$/);
  });

  it('serves ss, lsof and nstat', async () => {
    server = await ControlServer.open(path, ANSWERS);
    const at = ['--control', path];
    expect((await run('ss', '-tlnp', ...at)).out.split('\n')).to.have.length(2);
    expect((await run('ss', ...at)).out)
      .to.contain('ESTAB')
      .and.not.to.contain('LISTEN');
    expect(JSON.parse((await run('ss', '-a', '--json', ...at)).out)).to.deep.equal(SOCKETS);
    expect((await run('lsof', '-i:80', ...at)).out).to.contain('*:80 (LISTEN)');
    expect(JSON.parse((await run('lsof', '--json', ...at)).out)).to.have.length(3);
    expect(await run('lsof', '-i:81', ...at)).to.include({ code: 1, out: '' });
    expect((await run('nstat', ...at)).out).to.match(/^#kernel\nTcpInSegs +42 +0\.0$/);
    const { kernel } = JSON.parse((await run('nstat', '-z', '--json', ...at)).out);
    expect(kernel).to.include({ TcpInSegs: 42, TcpOutRsts: 0, TcpExtListenDrops: 0 });
    expect((await run('ss', '-u', ...at)).code).to.equal(2);
    expect((await run('lsof', '-i:x', ...at)).code).to.equal(2);
    server.close();
    expect((await run('ss', ...at)).code).to.equal(1);
  });
});

describe('app tables', () => {
  it('prints ss columns', () => {
    expect(ssLines(SOCKETS.slice(0, 2), { processes: true })).to.deep.equal([
      'State  Recv-Q Send-Q Local Address:Port  Peer Address:Port Process',
      'LISTEN      1    511         0.0.0.0:80          0.0.0.0:* users:(("worker 2",fd=6))',
      'ESTAB       0   4096      198.18.0.1:80 198.18.0.254:51702 users:(("worker 2",fd=11))',
    ]);
    expect(ssLines(SOCKETS, { processes: false })[1]).to.match(/0\.0\.0\.0:\*$/);
    expect(ssLines([], { processes: true })).to.have.length(1);
  });

  it('prints lsof columns', () => {
    expect(lsofLines(SOCKETS)).to.deep.equal([
      'COMMAND  PID  FD TYPE NODE NAME',
      'tunstack   2  6u IPv4 TCP  *:80 (LISTEN)',
      'tunstack   2 11u IPv4 TCP  198.18.0.1:80->198.18.0.254:51702 (ESTABLISHED)',
      'tunstack   - -1u IPv4 TCP  198.18.0.1:80->198.18.0.254:51702 (TIME_WAIT)',
    ]);
  });

  it('prints nstat rows', () => {
    expect(nstatLines({ TcpInSegs: 42 })).to.deep.equal([
      '#kernel',
      'TcpInSegs                       42                 0.0',
    ]);
  });

  it('selects as ss does', () => {
    expect(selectSockets(SOCKETS, 'connected')).to.have.length(1);
    expect(selectSockets(SOCKETS, 'listening')).to.have.length(1);
    expect(selectSockets(SOCKETS, 'all')).to.have.length(3);
  });
});
