/** What may be typed, and what is said to what may not: flags, commands, exit codes. */
import { resolve } from 'node:path';
import { expect } from 'chai';
import { UsageError } from '../../src/app/command.js';
import { doctorLines } from '../../src/app/doctor.js';
import { editDistance, nearest, parseFlags } from '../../src/app/flags.js';
import { COMMANDS } from '../../src/app/main.js';
import { parseServeOptions, WORKERS_MAX } from '../../src/app/serve-options.js';
import { version } from '../../src/app/version.js';
import { run } from './run-main.js';

describe('app/flags', () => {
  const flags = [
    { name: 'port', value: 'P', text: 'a port' },
    { name: 'all', short: 'a', text: 'everything' },
    { name: 'set', value: 'X', repeatable: true, text: 'one more' },
  ];

  it('parses values, switches, lists and the rest', () => {
    const parsed = parseFlags('x', flags, ['--port=1', '-a', '--set', 'a', 'file', '--set=-1'], 1);
    expect([...parsed.values]).to.deep.equal([
      ['port', '1'],
      ['set', '-1'],
    ]);
    expect(parsed.lists.get('set')).to.deep.equal(['a', '-1']);
    expect([...parsed.given]).to.deep.equal(['all']);
    expect(parsed.positionals).to.deep.equal(['file']);
  });

  for (const [argv, what, type] of [
    [['--prot', '1'], 'unknown flag --prot', '--port'],
    [['--xyzzy'], 'unknown flag --xyzzy', '--help'],
    [['-z'], 'unknown flag -z', 'x'],
    [['--port'], '--port needs a value', '--port P'],
    [['--port', '--all'], '--port needs a value', '--port P'],
    [['--all=1'], '--all takes no value', '--all'],
    [['file'], 'unexpected argument "file"', '--help'],
  ] as const) {
    it(`refuses ${argv.join(' ')}`, () => {
      try {
        parseFlags('x', flags, argv);
      } catch (error) {
        expect(error).to.be.instanceOf(UsageError);
        expect((error as UsageError).message).to.contain(what);
        expect((error as UsageError).remedy).to.contain(type);
        return;
      }
      throw new Error('it was accepted');
    });
  }

  it('measures edits', () => {
    expect(editDistance('kitten', 'sitting')).to.equal(3);
    expect(editDistance('', 'abc')).to.equal(3);
    expect(nearest('serv', ['serve', 'ss'])).to.equal('serve');
    expect(nearest('qqqqqq', ['serve', 'ss'])).to.equal(null);
  });
});

describe('app/serve-options', () => {
  it('has the defaults of the contract', () => {
    expect(parseServeOptions([])).to.deep.equal({
      workers: 4,
      port: 80,
      accept: 'reuseport',
      select: 'hash',
      setup: 'inherit',
      backlog: 511,
      profile: '6.18',
      tun: 'tunstack0',
      address: '198.18.0.1/24',
      peer: '198.18.0.254',
      mtu: 1500,
      queues: 1,
      inline: false,
      offload: true,
      spinUs: 50,
      root: null,
      services: false,
      sysctl: {},
      strace: false,
      pcap: null,
      control: null,
      json: false,
      rootless: false,
      help: false,
    });
  });

  it('takes every flag', () => {
    const argv =
      '--workers 2 --port 8080 --accept shared --select hash --setup inherit --backlog 0 ' +
      '--profile 5.0 --tun t0 --address 10.0.0.1/30 --peer 10.0.0.2 --mtu 9000 --queues 3 ' +
      '--no-offload --spin 70 --root . --services --strace ' +
      '--sysctl net.ipv4.tcp_syncookies=0 --sysctl net.core.somaxconn=8 ' +
      '--pcap f --control c --json --rootless';
    expect(parseServeOptions(argv.split(' '))).to.include({
      workers: 2,
      port: 8080,
      accept: 'shared',
      backlog: 0,
      profile: '5.0',
      tun: 't0',
      address: '10.0.0.1/30',
      peer: '10.0.0.2',
      mtu: 9000,
      queues: 3,
      offload: false,
      spinUs: 70,
      root: '.',
      services: true,
      strace: true,
      pcap: 'f',
      control: 'c',
      json: true,
      rootless: true,
    });
    const { sysctl } = parseServeOptions(argv.split(' '));
    expect(sysctl).to.deep.equal({ 'net.ipv4.tcp_syncookies': '0', 'net.core.somaxconn': '8' });
  });

  it('takes a selector by name, or a file, which becomes an absolute path', () => {
    expect(parseServeOptions([]).select).to.equal('hash');
    for (const name of ['hash', 'random', 'rr', 'least', 'p2c', 'consistent', 'cpu']) {
      expect(parseServeOptions(['--select', name]).select).to.equal(name);
    }
    const { select } = parseServeOptions(['--select', 'examples/selectors/by-subnet.js']);
    expect(select).to.equal(resolve('examples/selectors/by-subnet.js'));
    expect(() => parseServeOptions(['--select', 'lease'])).to.throw(
      UsageError,
      /--select lease: must be one of hash, random, rr, .*no file \/.*\/lease$/,
    );
  });

  it('takes limits at their last good value', () => {
    expect(parseServeOptions(['--workers', String(WORKERS_MAX)]).workers).to.equal(WORKERS_MAX);
    expect(parseServeOptions(['--port', '65535']).port).to.equal(65535);
    expect(parseServeOptions(['--mtu', '68']).mtu).to.equal(68);
    expect(parseServeOptions(['--mtu', '65535']).mtu).to.equal(65535);
    expect(parseServeOptions(['--queues', '16']).queues).to.equal(16);
  });

  for (const line of [
    '--workers 0',
    `--workers ${WORKERS_MAX + 1}`,
    '--workers four',
    '--workers 1.5',
    '--port 0',
    '--port 65536',
    '--port -1',
    '--accept all',
    '--setup none',
    '--setup self --accept shared',
    '--profile 4.19',
    '--backlog -1',
    '--mtu 67',
    '--spin -1',
    '--mtu 65536',
    '--sysctl net.ipv4.tcp_syncookies',
    '--sysctl =1',
    '--sysctl net.ipv4.tcp_syncooky=1',
    '--sysctl net.ipv4.tcp_syncookies=9',
    '--sysctl net.ipv4.tcp_migrate_req=2',
    '--pcap - --json',
    '--services --port 7',
    '--select mine.js',
    '--select nonsense',
    '--select RR',
    '--select .',
    '--select p2c --accept shared',
    '--select rr --accept dispatch',
    '--queues 17',
    '--queues 0',
    '--queues two',
    '--queues 2 --pcap -',
    'extra',
  ]) {
    it(`refuses ${line} as a usage error`, () => {
      expect(() => parseServeOptions(line.split(' '))).to.throw(UsageError);
    });
  }

  it('refuses addresses that cannot be, with exit code 2', async () => {
    for (const line of [
      '--address 10.0.0.1',
      '--address nonsense',
      '--peer 10.0.0.1',
      '--peer 198.18.0.1',
    ]) {
      const { code, err } = await run('serve', ...line.split(' '));
      expect(code, err).to.equal(2);
    }
  });
});

describe('app/main', () => {
  it('suggests a command', async () => {
    expect(await run('sevre')).to.deep.equal({
      code: 2,
      out: '',
      err: 'tunstack: there is no command "sevre"\n  try: tunstack serve',
    });
    expect((await run('qqqqqqq')).err).to.contain('--help');
    expect((await run()).code).to.equal(2);
  });

  it('prints help and version on stdout', async () => {
    const { code, out } = await run('--help');
    expect(code).to.equal(0);
    for (const command of COMMANDS) expect(out).to.contain(`  ${command.name}`);
    expect(await run('--version')).to.include({ code: 0, out: `tunstack ${version()}` });
    expect(version()).to.match(/^\d+\.\d+\.\d+/);
    for (const name of ['serve', 'doctor', 'ss', 'lsof', 'nstat']) {
      const help = await run(name, '--help');
      expect(help, name).to.include({ code: 0, err: '' });
      expect(help.out).to.contain('--help');
      expect(await run(name, '--version')).to.include({ out: `tunstack ${version()}` });
    }
  });

  it('says what, why and what to type', async () => {
    expect(await run('serve', '--prot', '8080')).to.deep.equal({
      code: 2,
      out: '',
      err: 'tunstack: serve: unknown flag --prot\n  try: tunstack serve --port',
    });
    const { code, err } = await run('serve', '--root', '/does/not/exist');
    expect(code).to.equal(2);
    expect(err).to.contain('no such directory');
  });
});

describe('app/doctor', () => {
  const report = {
    ok: false,
    checks: [
      { name: 'node', ok: true, detail: 'fine', remedy: null, required: true },
      { name: 'tun', ok: false, detail: 'absent', remedy: 'a\nb', required: true },
      { name: 'userns', ok: false, detail: 'no', remedy: null, required: false },
    ],
  };

  it('prints a line a check, and the remedy', () => {
    expect(doctorLines(report, false)).to.deep.equal([
      'ok  node    fine',
      'NO  tun     absent',
      '      a',
      '      b',
      '--  userns  no',
      'tunstack serve cannot run here yet.',
    ]);
    expect(doctorLines({ ok: true, checks: [report.checks[0]!] }, true)).to.deep.equal([
      '\u001b[32mok\u001b[0m  node  fine',
      'tunstack serve can run here.',
    ]);
  });
});
