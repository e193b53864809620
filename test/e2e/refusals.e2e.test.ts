/**
 * What the machine may refuse, provoked: exit code 77, what is wrong, and what to type; and the way
 * without privilege.
 */
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { expect } from 'chai';
import { type Ended, must, run, scratchDirectory, suiteWith } from './machine.js';
import { RUN, startServe, withServe } from './serve-process.js';

const SERVE = [...RUN, 'serve', '--json'];

/** Runs serve inside a mount namespace where `script` has rearranged /dev/net first. */
function inOwnDev(script: string, front: string, ...args: string[]): Promise<Ended> {
  const control = join(scratchDirectory(), 'control.sock');
  const shell = `${script}; exec ${front} "$@"`;
  return run(['unshare', '-m', 'sh', '-ec', shell, 'sh', ...SERVE, '--control', control, ...args]);
}

const EMPTY_DEV = 'mount -t tmpfs none /dev/net';
const deviceOfMode = (mode: string): string =>
  `${EMPTY_DEV}; mknod -m ${mode} /dev/net/tun c 10 200`;
/** Somebody without privilege who may read this checkout wherever it is. */
const NOBODY =
  'setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps +dac_read_search ' +
  '--ambient-caps +dac_read_search';

function expectRefused({ code, stdout, stderr }: Ended, ...words: RegExp[]): void {
  expect(code, stderr).to.equal(77);
  expect(stdout).to.equal('');
  for (const word of words) expect(stderr).to.match(word);
}

suiteWith(['tun', 'ip'], 'end to end: taken', () => {
  it('refuses a device that another program has', async () => {
    await withServe([], async () => {
      const other = ['--address', '198.19.0.1/24', '--peer', '198.19.0.254'];
      const control = ['--control', join(scratchDirectory(), 'c.sock')];
      expectRefused(await run([...SERVE, ...other, ...control]), /tunstack0/, /--tun/);
    });
  });

  it('refuses an address that something uses already', async () => {
    await withServe([], async () => {
      const other = ['--tun', 'tunstack7', '--control', join(scratchDirectory(), 'c.sock')];
      expectRefused(await run([...SERVE, ...other]), /198\.18\.0/, /--address/);
    });
  });

  it('refuses a control socket that another serve answers on', async () => {
    await withServe([], async (first) => {
      const other = ['--tun', 'tunstack7', '--address', '198.19.0.1/24', '--peer', '198.19.0.254'];
      const { code, stderr } = await run([...SERVE, ...other, '--control', first.control]);
      expect(code, stderr).to.equal(1);
      expect(stderr).to.include(first.control);
    });
  });
});

suiteWith(['netns', 'tun', 'root', 'ip'], 'end to end: refused', () => {
  it('without /dev/net/tun', async () => {
    expectRefused(await inOwnDev(EMPTY_DEV, ''), /\/dev\/net\/tun/, /modprobe tun/);
  });

  it('with a device that only root may open', async () => {
    expectRefused(await inOwnDev(deviceOfMode('0600'), NOBODY), /uid 65534/, /chmod 666/, /sudo/);
  });

  it('without the capability, not root', async () => {
    const result = await inOwnDev(deviceOfMode('0666'), NOBODY);
    expectRefused(result, /CAP_NET_ADMIN/, /ip tuntap add/, /--rootless/);
  });

  it('without the capability, as root', async () => {
    const without = 'setpriv --bounding-set -net_admin --inh-caps -net_admin';
    expectRefused(await inOwnDev(deviceOfMode('0666'), without), /CAP_NET_ADMIN|CapEff/);
  });

  it('--rootless where user namespaces are switched off', async () => {
    // Inside a user namespace of its own, so that the machine's limit stays as it is.
    const shell = 'echo 0 > /proc/sys/user/max_user_namespaces; exec "$@"';
    const result = await run(['unshare', '-Ur', 'sh', '-ec', shell, 'sh', ...SERVE, '--rootless']);
    expectRefused(result, /user_namespaces/);
  });
});

suiteWith(['netns', 'tun', 'root', 'ip', 'curl'], 'end to end: --rootless', () => {
  it('serves in a namespace of its own, started by somebody without privilege', async () => {
    const directory = scratchDirectory();
    chmodSync(directory, 0o777);
    const shell = `${deviceOfMode('0666')}; exec ${NOBODY} "$@"`;
    const serve = await startServe(['--rootless'], {
      argv: ['unshare', '-m', 'sh', '-ec', shell, 'sh', ...RUN, 'serve'],
      control: join(directory, 'control.sock'),
    });
    const enter = ['nsenter', '-t', String(serve.ready.pid), '-U', '-n', '--preserve-credentials'];
    expect(await must([...enter, 'curl', '-sS', serve.at('/ok')])).to.equal('OK');
    const { code, stderr } = await serve.stop();
    expect(code, stderr).to.equal(0);
  });
});
