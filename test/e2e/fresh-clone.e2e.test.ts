/**
 * A fresh clone, offline with a warm cache of npm: `npm start` does all the set-up, once, as root
 * and in a user's clone under root, and the second time costs next to nothing.
 */
import {
  chmodSync,
  copyFileSync,
  cpSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { expect } from 'chai';
import { ROOT } from '../repository.js';
import { type Ended, must, run, scratchDirectory, suiteWith } from './machine.js';

const NOBODY = 65534;

/** What git would clone, with what is not committed yet. */
async function freshClone(): Promise<string> {
  const directory = join(scratchDirectory(), 'clone');
  const list = ['git', '-c', `safe.directory=${ROOT}`, '-C', ROOT, 'ls-files', '-co'];
  const names = (await must([...list, '--exclude-standard', '-z'])).split('\0').filter(Boolean);
  for (const name of names.filter((path) => existsSync(join(ROOT, path)))) {
    mkdirSync(join(directory, dirname(name)), { recursive: true });
    copyFileSync(join(ROOT, name), join(directory, name));
  }
  return directory;
}

function start(directory: string, env: NodeJS.ProcessEnv, ...front: string[]): Promise<Ended> {
  const line = [...front, 'npm', 'start', '--silent', '--', '--help'];
  return run(line, { cwd: directory, env: { ...process.env, ...env } });
}

function expectHelp({ code, stdout, stderr }: Ended): void {
  expect(code, stderr).to.equal(0);
  expect(stdout).to.match(/tunstack serve/);
}

/** Everything below `directory`, links not followed. */
function tree(directory: string): string[] {
  return readdirSync(directory, { withFileTypes: true, recursive: true }).map((entry) =>
    join(entry.parentPath ?? entry.path, entry.name),
  );
}

const owners = (directory: string): number[] => [
  ...new Set(tree(directory).map((path) => lstatSync(path).uid)),
];

suiteWith(['git', 'npmcache'], 'end to end: a fresh clone', () => {
  it('is set up by the first npm start, twice at once, and not again', async () => {
    const directory = await freshClone();
    expect(existsSync(join(directory, 'node_modules'))).to.equal(false);
    const both = await Promise.all([start(directory, {}), start(directory, {})]);
    for (const result of both) expectHelp(result);
    const said = both.map(({ stderr }) => stderr).join('');
    expect(said.match(/installing/g), said).to.have.lengthOf(1);
    expect(said.match(/compiling/g), said).to.have.lengthOf(1);
    const again = await start(directory, {});
    expectHelp(again);
    expect(again.stderr).to.equal('');

    // A compile that was interrupted leaves no stamp; a changed source makes it stale.
    rmSync(join(directory, 'dist', '.stamp'));
    const resumed = await start(directory, {});
    expectHelp(resumed);
    expect(resumed.stderr)
      .to.match(/compiling/)
      .and.not.match(/installing/);
    utimesSync(join(directory, 'src/net/skb.ts'), 1, 1);
    expect((await start(directory, {})).stderr).to.match(/compiling/);
    writeFileSync(join(directory, 'src/net/skb.ts'), 'export const x: number = "";\n');
    const broken = await start(directory, {});
    expect(broken.code).to.equal(1);
    expect(broken.stderr)
      .to.match(/do not compile/)
      .and.match(/src\/net\/skb\.ts/);
  });
});

suiteWith(['git', 'npmcache', 'root'], "end to end: a user's clone under root", () => {
  it('belongs to the user afterwards, down to the last file', async () => {
    const directory = await freshClone();
    const top = dirname(directory);
    const home = join(top, 'home');
    const cache = (await must(['npm', 'config', 'get', 'cache'])).trim();
    cpSync(join(cache, '_cacache'), join(home, '.npm', '_cacache'), { recursive: true });
    chmodSync(top, 0o755);
    await must(['chown', '-R', `${NOBODY}:${NOBODY}`, directory, home]);

    // The user's home is looked up in /etc/passwd, so he gets one there, in a mount namespace of
    // its own.
    const passwd = join(top, 'passwd');
    const lines = readFileSync('/etc/passwd', 'utf8').split('\n');
    const others = lines.filter((line) => line.split(':')[2] !== String(NOBODY));
    writeFileSync(passwd, `nobody:x:${NOBODY}:${NOBODY}::${home}:/bin/sh\n${others.join('\n')}`);
    const mounted = ['unshare', '-m', 'sh', '-ec', `mount --bind ${passwd} /etc/passwd; exec "$@"`];
    const first = await start(directory, {}, ...mounted, 'sh');
    expectHelp(first);
    expect(first.stderr).to.match(/installing the dependencies as nobody/);
    expect(owners(directory)).to.deep.equal([NOBODY]);

    const become = ['setpriv', '--reuid', `${NOBODY}`, '--regid', `${NOBODY}`, '--clear-groups'];
    utimesSync(join(directory, 'src/net/skb.ts'), 1, 1);
    const second = await start(directory, { HOME: home }, ...become);
    expectHelp(second);
    expect(second.stderr).to.match(/compiling/);

    // What an earlier run as root left behind: the user is told, and root gives it back.
    await must(['chown', '-R', '0:0', join(directory, 'dist')]);
    utimesSync(join(directory, 'src/net/skb.ts'), 2, 2);
    const foreign = await start(directory, { HOME: home }, ...become);
    expect(foreign.code).to.equal(1);
    expect(foreign.stderr)
      .to.match(/belongs to somebody else/)
      .and.match(/chown -R/);
    expectHelp(await start(directory, {}, ...mounted, 'sh'));
    expect(owners(directory)).to.deep.equal([NOBODY]);
  });
});
