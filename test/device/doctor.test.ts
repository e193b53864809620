/** What the doctor says about good and bad machines. */
import { expect } from 'chai';
import { checkAddresses } from '../../src/device/address.js';
import { diagnose, judgeMachine, type MachineFacts } from '../../src/device/doctor.js';
import { DeviceError } from '../../src/device/errors.js';

const GOOD: MachineFacts = {
  nodeVersion: '20.19.0',
  process: {
    uid: 0,
    capEff: '000001ffffffffff',
    netAdmin: true,
    container: false,
    nodeOnSudoPath: true,
  },
  koffiError: null,
  tunMode: 0o666,
  openErrno: 0,
  deviceExists: false,
  device: 'tunstack0',
  link: checkAddresses('198.18.0.1/24', '198.18.0.254'),
  clash: null,
  userNamespaces: {
    status: 0,
    stderr: '',
    missing: false,
    maxUserNamespaces: 1,
    unprivilegedClone: null,
    apparmorRestrict: null,
    container: false,
  },
};
const USER = { ...GOOD.process, uid: 1000, capEff: '0000000000000000', netAdmin: false };

/** Names of the checks that failed, `ok` of the whole, and the text of the named check. */
function judge(
  facts: Partial<MachineFacts>,
  name = '',
): { ok: boolean; bad: string[]; text: string } {
  const report = judgeMachine({ ...GOOD, ...facts });
  const check = report.checks.find((row) => row.name === name);
  return {
    ok: report.ok,
    bad: report.checks.filter((row) => !row.ok).map((row) => row.name),
    text: `${check?.detail} | ${check?.remedy}`,
  };
}

describe('doctor', () => {
  it('finds nothing on a good machine', () => {
    const report = judgeMachine(GOOD);
    expect(report.ok).to.equal(true);
    expect(report.checks.map((row) => row.name)).to.deep.equal([
      'node',
      'koffi',
      '/dev/net/tun',
      'open',
      'CAP_NET_ADMIN',
      'address',
      'user namespaces',
    ]);
    expect(report.checks.every((row) => row.ok && row.remedy === null)).to.equal(true);
  });

  it('Node: last bad and first good version, and sudo that does not find it', () => {
    expect(judge({ nodeVersion: '20.18.3' }, 'node')).to.deep.equal({
      ok: false,
      bad: ['node'],
      text: 'Node 20.18.3 is too old | install Node 20.19 or newer',
    });
    expect(judge({ nodeVersion: '18.20.0' }).ok).to.equal(false);
    expect(judge({ nodeVersion: '22.0.0' }).ok).to.equal(true);
    const nvm = { ...USER, nodeOnSudoPath: false, netAdmin: true };
    const found = judge({ process: nvm }, 'node');
    expect(found.ok).to.equal(true);
    expect(found.text).to.contain('sudo env "PATH=$PATH" npm start');
  });

  it('koffi that does not load', () => {
    const koffiError = new DeviceError({
      code: 'ENOKOFFI',
      message: 'koffi cannot be loaded',
      remedy: 'npm ci',
      exitCode: 1,
    });
    const found = judge({ koffiError, openErrno: null }, 'koffi');
    expect(found).to.deep.equal({
      ok: false,
      bad: ['koffi', 'open'],
      text: 'koffi cannot be loaded | npm ci',
    });
  });

  it('device absent, closed to us, or without the capability', () => {
    const absent = judge({ tunMode: null, openErrno: 2 }, '/dev/net/tun');
    expect(absent.bad).to.deep.equal(['/dev/net/tun', 'open']);
    expect(absent.text).to.contain('modprobe tun');
    expect(judge({ tunMode: null, openErrno: null }, '/dev/net/tun').text).to.contain('modprobe');
    const closed = judge({ tunMode: 0o600, openErrno: 13, process: USER }, 'open');
    expect(closed.bad).to.deep.equal(['open', 'CAP_NET_ADMIN']);
    expect(closed.text).to.contain('chmod 666');
    const incapable = judge({ process: USER }, 'CAP_NET_ADMIN');
    expect(incapable).to.include({ ok: false });
    expect(incapable.text).to.contain('--rootless');
  });

  it('a device made beforehand does without the capability', () => {
    const found = judge({ process: USER, deviceExists: true }, 'CAP_NET_ADMIN');
    expect(found).to.include({ ok: true });
    expect(found.bad).to.deep.equal(['CAP_NET_ADMIN']);
    expect(found.text).to.contain('device tunstack0 exists');
  });

  it('address clash', () => {
    const clash = { kind: 'route', name: 'eth0', found: '198.18.0.0/15' } as const;
    const found = judge({ clash }, 'address');
    expect(found).to.include({ ok: false });
    expect(found.text).to.contain('another --address');
  });

  it('user namespaces are optional; --rootless also needs a device that opens', () => {
    const forbidden = { ...GOOD.userNamespaces, status: 1, unprivilegedClone: 0 };
    const found = judge({ userNamespaces: forbidden }, 'user namespaces');
    expect(found).to.include({ ok: true });
    expect(found.bad).to.deep.equal(['user namespaces']);
    expect(found.text).to.contain('kernel.unprivileged_userns_clone=1');
    expect(judge({ tunMode: 0o600 }, 'user namespaces').text).to.contain('chmod 666');
    expect(judge({ tunMode: null, openErrno: 2 }, 'user namespaces').text).to.contain('mode 0666');
  });

  it('looks at this machine and changes nothing', () => {
    const report = diagnose();
    expect(report.checks).to.have.length(7);
    expect(report.checks.find((row) => row.name === 'koffi')?.ok).to.equal(true);
    for (const check of report.checks) {
      if (!check.ok) expect(check.remedy, check.name).to.not.equal(null);
    }
    expect(() => diagnose({ address: 'x' })).to.throw(DeviceError, /not an IPv4 CIDR/);
  });
});
