/** Every refusal of the machine, and what we tell people to do about it. */
import { expect } from 'chai';
import { DeviceError } from '../../src/device/errors.js';
import {
  type DeviceFailure,
  explainFailure,
  hasCapability,
  nextName,
  type ProcessFacts,
  parseCapEff,
  readProcessFacts,
} from '../../src/device/permission.js';
import { EACCES, EBUSY, EINVAL, EMFILE, ENOENT, ENOMEM, EPERM } from '../../src/net/errno.js';

const USER: ProcessFacts = {
  uid: 1000,
  capEff: '0000000000000000',
  netAdmin: false,
  container: false,
  nodeOnSudoPath: true,
};
const ROOT: ProcessFacts = { ...USER, uid: 0, capEff: '000001fffeffefff' };

function explain(failure: Omit<DeviceFailure, 'device'>, facts: ProcessFacts): DeviceError {
  return explainFailure({ device: 'tunstack0', ...failure }, facts);
}

describe('the permission table', () => {
  it('device absent: modprobe, or the container options', () => {
    const error = explain({ step: 'open', errno: ENOENT }, ROOT);
    expect(error).to.be.instanceOf(DeviceError);
    expect(error).to.include({ code: 'ENOENT', exitCode: 77 });
    expect(error.message).to.match(/\/dev\/net\/tun does not exist/);
    expect(error.remedy).to.contain('sudo modprobe tun');
    expect(error.remedy).to.contain('--device /dev/net/tun --cap-add NET_ADMIN');
  });

  it('device absent in a container: the container options come first', () => {
    const error = explain({ step: 'open', errno: ENOENT }, { ...ROOT, container: true });
    expect(error.remedy).to.match(/^start the container with --device .*\n.*modprobe tun$/);
  });

  it('device node without a driver is the same situation', () => {
    for (const errno of [6, 19]) {
      const error = explain({ step: 'open', errno }, ROOT);
      expect(error.message).to.match(/has no driver behind it/);
      expect(error.remedy).to.contain('modprobe tun');
      expect(error.exitCode).to.equal(77);
    }
  });

  it('device 0600 and not root: sudo, chmod 666, --rootless', () => {
    const error = explain({ step: 'open', errno: EACCES }, USER);
    expect(error).to.include({ code: 'EACCES', exitCode: 77 });
    expect(error.message).to.contain('uid 1000');
    for (const way of ['sudo npm start', 'chmod 666', '--rootless']) {
      expect(error.remedy).to.contain(way);
    }
  });

  it('Node that sudo does not find: sudo with the PATH', () => {
    const error = explain({ step: 'open', errno: EACCES }, { ...USER, nodeOnSudoPath: false });
    expect(error.remedy).to.contain('sudo env "PATH=$PATH" npm start');
  });

  it('device rules of a container forbid opening', () => {
    const error = explain({ step: 'open', errno: EPERM }, ROOT);
    expect(error).to.include({ code: 'EPERM', exitCode: 77 });
    expect(error.remedy).to.contain('--device /dev/net/tun');
  });

  it('no capability: sudo, a device made beforehand, ambient capability, --rootless', () => {
    const error = explain({ step: 'TUNSETIFF', errno: EPERM }, USER);
    expect(error).to.include({ code: 'EPERM', exitCode: 77 });
    expect(error.message).to.contain('CAP_NET_ADMIN').and.to.contain('0x0000000000000000');
    for (const way of [
      'sudo npm start',
      'ip tuntap add dev tunstack0 mode tun user',
      'setpriv',
      'AmbientCapabilities=CAP_NET_ADMIN',
      '--rootless',
    ]) {
      expect(error.remedy).to.contain(way);
    }
  });

  it('root without the capability: shows CapEff bit 12 and names the container option', () => {
    const error = explain({ step: 'TUNSETIFF', errno: EPERM }, ROOT);
    expect(error.message).to.contain('CapEff is 0x000001fffeffefff');
    expect(error.message).to.contain('bit 12, CAP_NET_ADMIN, is not set');
    expect(error.remedy).to.contain('--cap-add NET_ADMIN');
  });

  it('root of a user namespace that does not own the network', () => {
    const facts = { ...ROOT, capEff: '000001ffffffffff', netAdmin: true };
    const error = explain({ step: 'TUNSETIFF', errno: EPERM }, facts);
    expect(error.message).to.contain('bit 12 is set, but counts only in the user namespace');
  });

  it('capabilities that cannot be read are said to be unknown', () => {
    const error = explain({ step: 'TUNSETIFF', errno: EPERM }, { ...USER, capEff: '' });
    expect(error.message).to.contain('CapEff unknown');
  });

  it('name taken: another --tun', () => {
    const error = explain({ step: 'TUNSETIFF', errno: EBUSY }, ROOT);
    expect(error).to.include({ code: 'EBUSY', exitCode: 77 });
    expect(error.remedy).to.contain('--tun tunstack1');
  });

  it('name of another kind of interface: another --tun', () => {
    const error = explain({ step: 'TUNSETIFF', errno: EINVAL }, ROOT);
    expect(error).to.include({ code: 'EINVAL', exitCode: 77 });
    expect(error.message).to.contain('TAP');
    expect(error.remedy).to.contain('--tun tunstack1');
  });

  it('a device that has one queue when several are asked for', () => {
    const error = explain({ step: 'TUNSETIFF', errno: EINVAL, queues: 4 }, ROOT);
    expect(error).to.include({ code: 'EINVAL', exitCode: 77 });
    expect(error.message).to.contain('made without multi_queue');
    expect(error.remedy).to.contain('--queues 1').and.to.contain('mode tun multi_queue user');
  });

  it('a device made beforehand with other settings: the commands that set it up', () => {
    const wanted = { address: '198.18.0.254/24', mtu: 9000 };
    const error = explain(
      { step: 'configure', errno: EPERM, syscall: 'ioctl(SIOCSIFADDR)', wanted },
      USER,
    );
    expect(error).to.include({ code: 'EPERM', exitCode: 77 });
    expect(error.message).to.contain('ioctl(SIOCSIFADDR)').and.to.contain('198.18.0.254/24');
    expect(error.remedy).to.contain('ip addr add 198.18.0.254/24 dev tunstack0');
    expect(error.remedy).to.contain('ip link set tunstack0 mtu 9000 up');
    const bare = explain({ step: 'configure', errno: EPERM }, USER);
    expect(bare.message).to.contain('(ioctl)');
    expect(bare.remedy).to.contain('PEER/PREFIX').and.to.contain('mtu 1500');
  });

  it('anything else is reported as the system said it, exit code 1', () => {
    const rows: [Omit<DeviceFailure, 'device'>, string][] = [
      [{ step: 'open', errno: EMFILE }, 'open(/dev/net/tun) for device tunstack0 failed: EMFILE'],
      [{ step: 'TUNSETIFF', errno: ENOMEM }, 'TUNSETIFF for device tunstack0 failed: ENOMEM'],
      [
        { step: 'offload', errno: EINVAL, syscall: 'ioctl(TUNSETOFFLOAD)' },
        'ioctl(TUNSETOFFLOAD) for device tunstack0 failed: EINVAL',
      ],
      [
        { step: 'configure', errno: EINVAL, syscall: 'ioctl(SIOCSIFMTU)' },
        'ioctl(SIOCSIFMTU) for device tunstack0 failed: EINVAL',
      ],
    ];
    for (const [failure, message] of rows) {
      const error = explain(failure, ROOT);
      expect(error.message).to.equal(message);
      expect(error).to.include({ exitCode: 1, remedy: 'npx tunstack doctor' });
    }
  });

  it('an error survives as plain data', () => {
    const error = explain({ step: 'open', errno: ENOENT }, ROOT);
    const copy = new DeviceError(structuredClone(error.toJSON()));
    expect(copy.toJSON()).to.deep.equal(error.toJSON());
    expect(copy.name).to.equal('DeviceError');
    expect(copy).to.be.instanceOf(Error);
  });
});

describe('facts about the process', () => {
  it('reads CapEff and tests bit 12', () => {
    const status =
      'Name:\tnode\nCapPrm:\t0000000000000000\nCapEff:\t0000000000001000\nCapBnd:\t0\n';
    expect(parseCapEff(status)).to.equal('0000000000001000');
    expect(parseCapEff('nothing')).to.equal('');
    expect(hasCapability('0000000000001000', 12)).to.equal(true);
    expect(hasCapability('0000000000000800', 12)).to.equal(false);
    expect(hasCapability('000001fffeffefff', 12)).to.equal(false);
    expect(hasCapability('000001ffffffffff', 31)).to.equal(true);
    expect(hasCapability('', 12)).to.equal(false);
  });

  it('knows this process', () => {
    const facts = readProcessFacts();
    expect(facts.uid).to.equal(process.geteuid?.());
    expect(facts.capEff).to.match(/^[0-9a-f]{16}$/);
    expect(facts.netAdmin).to.equal(hasCapability(facts.capEff, 12));
  });

  it('suggests another interface name of at most 15 characters', () => {
    expect(nextName('tunstack0')).to.equal('tunstack1');
    expect(nextName('tunstack9')).to.equal('tunstack10');
    expect(nextName('vpn')).to.equal('vpn1');
    expect(nextName('abcdefghijklmno')).to.equal('abcdefghijklmn1');
    expect(nextName('abcdefghijklmn9')).to.equal('abcdefghijklm10');
  });
});
