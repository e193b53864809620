/** The real TUN device, in network namespaces that the test makes itself. */
import { execFile, spawnSync } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect } from 'chai';
import type { LinkCounters } from '../../src/device/link-counters.js';

const CHILD = fileURLToPath(new URL('./tun-child.js', import.meta.url));
const LIMIT_MS = 60_000;
const root = process.geteuid?.() === 0;
/** A network namespace of its own, by root or by a user namespace. */
const namespace = root ? ['-n'] : ['-Urn'];

/** A private /dev/net/tun whose mode we choose, without touching the machine's. */
const ownDevice = (mode: string): string =>
  `mount -t tmpfs none /dev/net && mknod -m ${mode} /dev/net/tun c 10 200`;
/** An unprivileged user that may still read this checkout, wherever it is. */
const NOBODY =
  'setpriv --reuid 65534 --regid 65534 --clear-groups --inh-caps +dac_read_search ' +
  '--ambient-caps +dac_read_search';

/** What opening a device said: the fields of a DeviceError, or of the device. */
interface Outcome {
  code: string;
  message: string;
  remedy: string;
  opened: string;
  mtu: number;
  offload: { checksum: boolean; gsoMaxBytes: number };
}

type Outcomes<K extends string> = Record<K, Outcome>;

/** What a stream or an exchange of datagrams came to. */
interface Traffic {
  largestGso: number;
  largestPacket: number;
  trusted: number;
  counters: LinkCounters;
}

/** Why real devices cannot be tried here, or null. */
function whyNoDevice(): string | null {
  try {
    accessSync('/dev/net/tun', constants.R_OK | constants.W_OK);
  } catch {
    return '/dev/net/tun cannot be opened';
  }
  const run = spawnSync('unshare', [...namespace, 'true'], { encoding: 'utf8' });
  return run.status === 0 ? null : `unshare ${namespace.join(' ')} does not work`;
}

/** Why refusals cannot be provoked here, or null. */
function whyNoRefusals(): string | null {
  if (!root) return 'needs root';
  const script = `${ownDevice('0600')} && ${NOBODY} true && setpriv --bounding-set -net_admin true`;
  const run = spawnSync('unshare', ['-nm', 'sh', '-c', script], { encoding: 'utf8' });
  return run.status === 0 ? null : `no private /dev/net/tun: ${run.stderr.trim()}`;
}

/** Runs shell text in fresh namespaces; the last line of its output as JSON. */
async function inNamespace<T = Outcome>(
  script: string,
  flags: readonly string[] = namespace,
): Promise<T> {
  const { stdout } = await promisify(execFile)('unshare', [...flags, 'sh', '-ec', script], {
    timeout: LIMIT_MS,
  });
  return JSON.parse(stdout.trim().split('\n').at(-1)!) as T;
}

function child(scenario: string, options: object = {}): string {
  return `'${process.execPath}' '${CHILD}' ${scenario} '${JSON.stringify(options)}'`;
}

const noDevice = whyNoDevice();
const noRefusals = noDevice ?? whyNoRefusals();

/**
 * A suite that needs something of the machine: elsewhere one visible line, and with CI=true a
 * failure.
 */
function suite(title: string, missing: string | null, tests: () => void): void {
  describe(title, function () {
    this.timeout(LIMIT_MS);
    if (missing === null) {
      tests();
      return;
    }
    it(`not possible on this machine: ${missing}`, () => {
      expect(process.env['CI'], `${title}: ${missing}`).to.not.equal('true');
    });
  });
}

suite('TUN device in a namespace', noDevice, () => {
  for (const offload of [true, false]) {
    for (const plain of [false, true]) {
      const arena = plain ? 'a plain arena' : 'an mmapped arena';
      const name = `${offload ? 'with' : 'without'} offload, ${arena}`;

      it(`datagrams and ping ${name}`, async () => {
        const found = await inNamespace<Traffic>(child('datagrams', { offload, plain }));
        expect(found).to.deep.include({
          datagram: 'from the kernel',
          ipSummed: offload ? 1 : 0,
          pong: true,
          heard: ['198.18.0.1:7 from the device'],
          refused: [1, 22],
        });
        expect(found.counters).to.include({ txPackets: 2, txErrors: 1, rxErrors: 0, txDropped: 0 });
      });

      it(`a TCP stream both ways ${name}`, async () => {
        const found = await inNamespace<Traffic>(child('stream', { offload, plain }));
        expect(found).to.include({ upIntact: true, downIntact: true });
        if (offload) {
          expect(found.largestGso).to.equal(1460);
          expect(found.largestPacket).to.be.greaterThan(4 * 1460);
          expect(found.trusted).to.be.greaterThan(0);
        } else {
          expect(found).to.include({ largestGso: 0, trusted: 0 });
          expect(found.largestPacket).to.be.at.most(1500);
        }
        expect(found.counters).to.include({ rxErrors: 0, txErrors: 0, txDropped: 0 });
        expect(found.counters.txBytes).to.be.greaterThan(200_000);
        expect(found.counters.rxBytes).to.be.greaterThan(300_000);
      });
    }
  }

  it('lives on a worker thread, whose arena the main thread sees', async () => {
    const found = await inNamespace(child('threads'));
    expect(found).to.deep.equal({ text: 'across threads', code: 0 });
  });

  it('name taken and address clash are refused before anything is made', async () => {
    type Found = Outcomes<'sameName' | 'sameAddress' | 'larger' | 'free' | 'after'>;
    const found = await inNamespace<Found>(child('taken'));
    expect(found.sameName).to.include({ code: 'EBUSY', exitCode: 77 });
    expect(found.sameName.remedy).to.contain('--tun first1');
    expect(found.sameAddress).to.include({ code: 'EADDRINUSE', exitCode: 77 });
    expect(found.sameAddress.message).to.contain('first0');
    expect(found.larger).to.include({ code: 'EADDRINUSE' });
    expect(found.free).to.include({ opened: 'second0' });
    expect(found.after).to.include({ opened: 'third0', mtu: 1500 });
  });

  it('vanishes with its process, also by kill -9', async () => {
    const found = await inNamespace<{ before: string[]; after: string[] }>(child('killed'));
    expect(found.before).to.include('tunstack0');
    expect(found.after).to.not.include('tunstack0');
  });

  it('takes MTU and queue length, and is up', async () => {
    const options = { mtu: 9000, offload: false, txqueuelen: 777 };
    expect(await inNamespace(child('settings', options))).to.deep.equal({
      opened: { mtu: 9000, offload: { checksum: false, gsoMaxBytes: 0 }, txqueuelen: 777 },
      kernel: { mtu: 9000, txqueuelen: 777, up: true },
    });
    const defaults = await inNamespace<{ kernel: object }>(child('settings'));
    expect(defaults.kernel).to.deep.equal({ mtu: 1500, txqueuelen: 2000, up: true });
  });
});

suite('TUN device in a user namespace', noRefusals, () => {
  it('has the queue length that was asked for, which an ioctl may not set there', async () => {
    const script = `${ownDevice('0666')}; ${NOBODY} unshare -Urn ${child('settings')}`;
    const found = await inNamespace<{ kernel: object }>(script, ['-nm']);
    expect(found.kernel).to.deep.equal({ mtu: 1500, txqueuelen: 2000, up: true });
  });
});

suite('refusals of the machine, provoked', noRefusals, () => {
  const flags = ['-nm'];

  it('/dev/net/tun absent', async () => {
    const found = await inNamespace(`mount -t tmpfs none /dev/net; ${child('open')}`, flags);
    expect(found).to.include({ code: 'ENOENT', exitCode: 77 });
    expect(found.remedy).to.contain('modprobe tun');
  });

  it('device mode 0600, not root', async () => {
    const found = await inNamespace(`${ownDevice('0600')}; ${NOBODY} ${child('open')}`, flags);
    expect(found).to.include({ code: 'EACCES', exitCode: 77 });
    expect(found.message).to.contain('uid 65534');
  });

  it('device mode 0666, no capability', async () => {
    const found = await inNamespace(`${ownDevice('0666')}; ${NOBODY} ${child('open')}`, flags);
    expect(found).to.include({ code: 'EPERM', exitCode: 77 });
    expect(found.message).to.contain('CAP_NET_ADMIN is missing');
    expect(found.remedy).to.contain('ip tuntap add');
  });

  it('root without CAP_NET_ADMIN', async () => {
    const script = `setpriv --bounding-set -net_admin --inh-caps -net_admin ${child('open')}`;
    const found = await inNamespace(script, flags);
    expect(found).to.include({ code: 'EPERM', exitCode: 77 });
    expect(found.message).to.match(/root may not .* CapEff is 0x[0-9a-f]{16}, bit 12, .* not set/);
    expect(found.remedy).to.contain('--cap-add NET_ADMIN');
  });

  it('root of a user namespace in somebody else’s network', async () => {
    const found = await inNamespace(`${ownDevice('0666')}; unshare -Ur ${child('open')}`, flags);
    expect(found).to.include({ code: 'EPERM', exitCode: 77 });
    expect(found.message).to.contain('counts only in the user namespace');
  });

  it('--rootless with a device that opens', async () => {
    const script = `${ownDevice('0666')}; ${NOBODY} unshare -Urn ${child('open')}`;
    expect(await inNamespace(script, flags)).to.include({ opened: 'tunstack0' });
  });

  it('user namespaces forbidden', async () => {
    const script = `echo 0 > /proc/sys/user/max_user_namespaces; ${child('userNamespaces')}`;
    const found = await inNamespace<{ detail: string; remedy: string }>(script, ['-Ur']);
    expect(found).to.include({ ok: false });
    expect(found.detail).to.contain('user.max_user_namespaces is 0');
    expect(found.remedy).to.contain('sysctl');
  });

  it('a device made beforehand needs no privilege when it is set up as wanted', async () => {
    type Names = 'right' | 'again' | 'otherMtu' | 'otherAddress' | 'bare' | 'bareAsRoot' | 'tap';
    type Found = Outcomes<Names> & { left: string[] };
    const found = await inNamespace<Found>(`${ownDevice('0666')}; ${child('premade')}`, flags);
    expect(found.right).to.deep.include({ opened: 'ready0', mtu: 1400, txqueuelen: 500 });
    expect(found.right.offload.gsoMaxBytes).to.equal(65_535);
    expect(found.again.offload).to.deep.equal({ checksum: false, gsoMaxBytes: 0 });
    for (const wrong of [found.otherMtu, found.otherAddress, found.bare]) {
      expect(wrong).to.include({ code: 'EPERM', exitCode: 77 });
      expect(wrong.message).to.contain('is not set up as');
    }
    expect(found.otherMtu.remedy).to.contain('ip link set ready0 mtu 1500 up');
    expect(found.bareAsRoot).to.include({ opened: 'bare0' });
    expect(found.tap).to.include({ code: 'EINVAL', exitCode: 77 });
    expect(found.left).to.include.members(['ready0', 'bare0', 'tap0']);
  });
});
