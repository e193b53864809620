/**
 * The set-up's decisions, without running npm or the compiler (test/e2e/fresh-clone.e2e.test.ts
 * does that).
 */
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect } from 'chai';
import { ROOT } from './repository.js';

// biome-ignore lint/suspicious/noExplicitAny: the scripts are plain JavaScript
type Script = any;
const script = async (name: string): Promise<Script> =>
  await import(pathToFileURL(join(ROOT, 'scripts', name)).href);

const nodeVersion = await script('setup/node-version.mjs');
const owner = await script('setup/owner.mjs');
const lock = await script('setup/lock.mjs');
const install = await script('setup/install.mjs');
const compile = await script('setup/compile.mjs');
const setup = await script('setup.mjs');
const child = await script('setup/child.mjs');
const cover = await script('cover.mjs');
const testRun = await script('test.mjs');

/** A directory of its own for a test, with the given files (contents by path). */
function scratch(files: Record<string, string> = {}): string {
  const directory = mkdtempSync(join(tmpdir(), 'tunstack-setup-'));
  made.push(directory);
  for (const [path, text] of Object.entries(files)) put(join(directory, path), text);
  return directory;
}

function put(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
}

const made: string[] = [];

describe('set-up', () => {
  afterEach(() => {
    for (const directory of made.splice(0)) rmSync(directory, { recursive: true, force: true });
  });

  describe('Node', () => {
    it('is new enough from the floor on', () => {
      const { nodeIsAtLeast, NODE_FLOOR } = nodeVersion;
      expect(nodeIsAtLeast('20.19.0', NODE_FLOOR)).to.equal(true);
      expect(nodeIsAtLeast('20.18.3', NODE_FLOOR)).to.equal(false);
      expect(nodeIsAtLeast('18.20.8', NODE_FLOOR)).to.equal(false);
      expect(nodeIsAtLeast('21.0.0', NODE_FLOOR)).to.equal(true);
      expect(nodeIsAtLeast('9.99.0', NODE_FLOOR)).to.equal(false);
    });

    it('has one floor', () => {
      const { engines } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as {
        engines: { node: string };
      };
      expect(engines.node).to.equal(`>=${nodeVersion.NODE_FLOOR.join('.')}`);
    });

    it('parses what runs before the version check in an old Node', () => {
      for (const name of ['run.mjs', 'tunstack.mjs', 'setup/node-version.mjs']) {
        const text = readFileSync(join(ROOT, 'scripts', name), 'utf8');
        const code = text.replace(/\/\*[\s\S]*?\*\//g, '');
        expect(code, name).to.not.match(/\?\.|\?\?|^await |= await |\|\|=|&&=|#\w+ *[=(]/m);
      }
    });
  });

  describe('owner', () => {
    const passwd = 'root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:U:/home/user:/bin/sh\n';

    it('is looked up by number', () => {
      expect(owner.passwdEntry(passwd, 1000)).to.deep.equal({ name: 'user', home: '/home/user' });
      expect(owner.passwdEntry(passwd, 1001)).to.equal(null);
    });

    it('is nobody else when we are not root', () => {
      expect(owner.cloneOwner(scratch({ 'package.json': '{}' }), 1000)).to.equal(null);
    });

    it("gets an environment without npm's and without root's", () => {
      const environment = {
        PATH: '/bin',
        NODE_OPTIONS: '--inspect',
        NODE_ENV: 'production',
        npm_lifecycle_event: 'start',
        npm_config_local_prefix: '/root/x',
        npm_config_cache: '/root/.npm',
        XDG_RUNTIME_DIR: '/run/user/0',
        HOME: '/root',
      };
      const user = { uid: 1000, gid: 1000, name: 'user', home: '/home/user' };
      expect(owner.childEnvironment(environment, user)).to.deep.equal({
        PATH: '/bin',
        HOME: '/home/user',
        USER: 'user',
        LOGNAME: 'user',
      });
      expect(owner.childEnvironment(environment, null)).to.deep.equal({
        PATH: '/bin',
        npm_config_cache: '/root/.npm',
        XDG_RUNTIME_DIR: '/run/user/0',
        HOME: '/root',
      });
    });
  });

  describe('lock', () => {
    it('lets one in at a time', async () => {
      const path = join(scratch(), 'lock');
      let inside = 0;
      let waited = 0;
      let most = 0;
      const work = async (): Promise<void> => {
        most = Math.max(most, ++inside);
        for (let turn = 0; turn < 10; turn++) await Promise.resolve();
        inside--;
      };
      const onWait = (): void => void waited++;
      await Promise.all([1, 2, 3].map(() => lock.withLock(path, work, { onWait })));
      expect(most).to.equal(1);
      expect(existsSync(path)).to.equal(false);
    });

    it('is free again after work that failed', async () => {
      const path = join(scratch(), 'lock');
      const failing = lock.withLock(path, () => Promise.reject(new Error('no')));
      expect(await failing.catch((error: Error) => error.message)).to.equal('no');
      expect(await lock.withLock(path, () => Promise.resolve(7))).to.equal(7);
    });

    it('is taken over from a dead holder, never from a living one', async () => {
      const path = join(scratch(), 'lock');
      let held = '';
      await lock.withLock(path, async () => {
        held = readFileSync(path, 'utf8');
      });
      expect(lock.holderIsGone(held, 0)).to.equal(false);
      const dead = JSON.stringify({ ...JSON.parse(held), start: '1' });
      expect(lock.holderIsGone(dead, 0)).to.equal(true);
      const elsewhere = JSON.stringify({ ...JSON.parse(dead), namespace: 'pid:[1]' });
      expect(lock.holderIsGone(elsewhere, 29_000)).to.equal(false);
      expect(lock.holderIsGone(elsewhere, 31_000)).to.equal(true);
      expect(lock.holderIsGone('', 0)).to.equal(false);
      writeFileSync(path, dead);
      expect(await lock.withLock(path, () => Promise.resolve('ours'))).to.equal('ours');
    });
  });

  describe('dependencies', () => {
    const lockFile = {
      packages: {
        '': {},
        'node_modules/a': { version: '1.0.0' },
        'node_modules/a-x64': { version: '1.0.0', optional: true, cpu: ['x64'] },
        'node_modules/a-arm64': { version: '1.0.0', optional: true, cpu: ['arm64'] },
      },
    };
    const files = {
      'package.json': JSON.stringify({ dependencies: { a: '1.0.0' } }),
      'package-lock.json': JSON.stringify(lockFile),
      'node_modules/a/package.json': '{}',
    };
    const record = (version: string): string =>
      JSON.stringify({
        packages: {
          'node_modules/a': { version },
          [`node_modules/a-${process.arch}`]: { version: '1.0.0' },
        },
      });

    it('are complete when what belongs on this machine is there', () => {
      const have = { packages: { 'node_modules/a': { version: '1.0.0' } } };
      const complete = (arch: string): boolean =>
        install.recordIsComplete(lockFile, have, 'linux', arch, 'glibc');
      expect(complete('x64')).to.equal(false);
      expect(complete('riscv64')).to.equal(true);
      expect(install.belongsHere({ libc: ['musl'] }, 'linux', 'x64', 'glibc')).to.equal(false);
      expect(install.belongsHere({ os: ['!win32', 'linux'] }, 'linux', 'x64', 'musl')).to.equal(
        true,
      );
    });

    it('are missing, unstamped, ready', () => {
      const root = scratch(files);
      expect(install.installState(root), 'no record: npm did not finish').to.equal('missing');
      put(join(root, 'node_modules/.package-lock.json'), record('1.0.0'));
      expect(install.installState(root)).to.equal('unstamped');
      install.stampInstall(root, null);
      expect(install.installState(root)).to.equal('ready');
    });

    it('are missing when the lock file changed or a package went away', () => {
      const root = scratch({ ...files, 'node_modules/.package-lock.json': record('0.9.0') });
      install.stampInstall(root, null);
      expect(install.installState(root)).to.equal('ready');
      put(join(root, 'package-lock.json'), `${JSON.stringify(lockFile)}\n`);
      expect(install.installState(root)).to.equal('missing');
      install.stampInstall(root, null);
      rmSync(join(root, 'node_modules/a'), { recursive: true });
      expect(install.installState(root)).to.equal('missing');
    });

    it('are installed by the npm that called, else the one beside node, else any', () => {
      const root = scratch({ 'bin/node': '', 'npm-cli.js': '' });
      const node = join(root, 'bin/node');
      const caller = join(root, 'npm-cli.js');
      expect(install.npmCommand({ npm_execpath: caller }, node)).to.deep.equal([node, caller]);
      expect(install.npmCommand({ npm_execpath: '/x/yarn.js' }, node)).to.deep.equal(['npm']);
      const beside = join(root, 'lib/node_modules/npm/bin/npm-cli.js');
      put(beside, '');
      expect(install.npmCommand({}, node)).to.deep.equal([node, beside]);
    });

    it('explain why they could not be installed', () => {
      const explain = (output: string, code = 1): string =>
        install.explainInstallFailure(output, code).message;
      expect(explain('npm error code EAI_AGAIN')).to.match(/registry can't be reached/);
      expect(explain('npm error code EACCES')).to.match(/may not write/);
      expect(explain('npm error code ENOSPC')).to.match(/disk is full/);
      expect(explain('npm error code EUSAGE')).to.match(/npm ended with 1/);
      expect(explain('npm: ENOENT', 127)).to.match(/npm could not be started/);
    });

    it('are all in the lock file, for every platform, so that npm ci accepts it', () => {
      const text = readFileSync(join(ROOT, 'package-lock.json'), 'utf8');
      const { packages } = JSON.parse(text) as {
        packages: Record<string, { optionalDependencies?: Record<string, string> }>;
      };
      for (const entry of Object.values(packages)) {
        for (const name of Object.keys(entry.optionalDependencies ?? {})) {
          expect(packages, name).to.have.property(`node_modules/${name}`);
        }
      }
    });
  });

  describe('compiled code', () => {
    const files = {
      'tsconfig.json': '{}',
      'package-lock.json': '{}',
      'src/a.ts': '',
      'test/b.test.ts': '',
      'dist/src/a.js': '',
      'dist/src/a.d.ts': '',
      'dist/src/a.js.map': '',
      'dist/test/gone.test.js': '',
      'dist/test/gone.test.js.map': '',
    };

    it('is stale without a stamp, and after any source was touched, added or removed', () => {
      const root = scratch(files);
      const stamp = (): void => put(join(root, 'dist/.stamp'), compile.sourceFingerprint(root));
      expect(compile.isCompiled(root)).to.equal(false);
      const changes = [
        () => utimesSync(join(root, 'src/a.ts'), 1, 1),
        () => put(join(root, 'src/c.ts'), ''),
        () => rmSync(join(root, 'test/b.test.ts')),
        () => put(join(root, 'tsconfig.json'), '{ }'),
      ];
      for (const change of changes) {
        stamp();
        expect(compile.isCompiled(root)).to.equal(true);
        change();
        expect(compile.isCompiled(root)).to.equal(false);
      }
    });

    it('loses what has no source', () => {
      const root = scratch(files);
      compile.removeOrphans(root);
      const left = compile.filesUnder(join(root, 'dist')) as string[];
      expect(left.map((path) => path.slice(root.length + 1))).to.deep.equal([
        'dist/src/a.d.ts',
        'dist/src/a.js',
        'dist/src/a.js.map',
      ]);
    });
  });

  it('does nothing in an installed package', async () => {
    const root = scratch({ 'package.json': '{}', 'dist/src/index.js': '' });
    await setup.setUp(root);
    expect(existsSync(join(root, '.build'))).to.equal(false);
  });

  it('keeps what a failing child said', async () => {
    const run = (argv: string[]): Promise<{ code: number; output: string }> =>
      child.runChild(argv, { cwd: '/', owner: null });
    const said = await run(['sh', '-c', 'echo out; echo err >&2; exit 3']);
    expect(said.code).to.equal(3);
    expect(said.output).to.include('out').and.include('err');
    expect((await run(['/no/such/program'])).code).to.equal(127);
    expect((await run(['sh', '-c', 'kill -9 $$'])).code).to.equal(137);
  });
});

describe('test and cover', () => {
  it('tell end-to-end tests from the others', () => {
    const root = scratch({
      'dist/test/a.test.js': '',
      'dist/test/net/b.test.js': '',
      'dist/test/net/vectors.js': '',
      'dist/test/e2e/c.e2e.test.js': '',
    });
    const names = (kind: string): string[] =>
      testRun.testFiles(root, kind).map((path: string) => path.slice(root.length + 11));
    expect(names('unit')).to.deep.equal(['a.test.js', 'net/b.test.js']);
    expect(names('e2e')).to.deep.equal(['e2e/c.e2e.test.js']);
    rmSync(root, { recursive: true });
    expect(names('unit')).to.deep.equal([]);
  });

  it('take a network namespace with the rights there are', () => {
    expect(testRun.namespaceCommand(0)).to.include.ordered.members(['unshare', '-n']);
    expect(testRun.namespaceCommand(1000)).to.include.ordered.members(['unshare', '-Urn']);
  });

  it('sum branches by room', () => {
    const branches = (covered: number, total: number): object => ({ branches: { covered, total } });
    const summary = {
      total: branches(9, 9),
      '/r/src/net/a.ts': branches(3, 4),
      '/r/src/net/b.ts': branches(5, 6),
      '/r/src/tcp/input/a.ts': branches(1, 1),
    };
    const rows = cover.roomBranches(summary, '/r') as { room: string; percent: number }[];
    expect(rows.map(({ room, percent }) => [room, percent])).to.deep.equal([
      ['src/net', 80],
      ['src/reuseport', 0],
      ['src/tcp', 100],
    ]);
  });

  it('count rooms below the floor, and all of them when there is no report', () => {
    const root = scratch({ 'package.json': '{}' });
    const lines: string[] = [];
    const say = (line: string): number => lines.push(line);
    expect(cover.reportCover(root, say)).to.equal(3);
    const branches = (covered: number): object => ({ branches: { covered, total: 100 } });
    const summary = {
      [join(root, 'src/net/a.ts')]: branches(95),
      [join(root, 'src/tcp/b.ts')]: branches(94),
      [join(root, 'src/reuseport/c.ts')]: branches(100),
    };
    mkdirSync(join(root, 'coverage'));
    writeFileSync(join(root, 'coverage', 'coverage-summary.json'), JSON.stringify(summary));
    expect(cover.reportCover(root, say)).to.equal(1);
    expect(lines.filter((line) => line.includes('below'))).to.deep.equal([
      'src/tcp: 94.00 % of 100 branches (94) below 95 %',
    ]);
    rmSync(root, { recursive: true });
  });
});
