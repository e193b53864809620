/** Running inside a user namespace: the command, and why it may be forbidden. */
import { expect } from 'chai';
import {
  enterCommand,
  judgeUserNamespaces,
  probeUserNamespaces,
  rootlessCommand,
  rootlessError,
  type UserNamespaceFacts,
} from '../../src/device/rootless.js';

const REFUSED: UserNamespaceFacts = {
  status: 1,
  stderr: 'unshare: unshare failed: Operation not permitted',
  missing: false,
  maxUserNamespaces: 15_000,
  unprivilegedClone: null,
  apparmorRestrict: null,
  container: false,
};

describe('rootless', () => {
  it('runs the same program in namespaces of its own, without --rootless', () => {
    const argv = ['/app/tunstack.mjs', 'serve', '--rootless', '--port', '8080'];
    expect(rootlessCommand(argv, '/usr/bin/node', ['--enable-source-maps'])).to.deep.equal({
      command: 'unshare',
      args: [
        '-Urn',
        '--',
        '/usr/bin/node',
        '--enable-source-maps',
        '/app/tunstack.mjs',
        'serve',
        '--port',
        '8080',
      ],
    });
    expect(rootlessCommand([]).args).to.include(process.execPath);
    expect(enterCommand(42)).to.equal('nsenter --preserve-credentials -U -n -t 42');
  });

  const rows: [string, Partial<UserNamespaceFacts>, RegExp, RegExp][] = [
    ['unshare absent', { missing: true, status: null }, /not installed/, /util-linux/],
    ['no namespaces left', { maxUserNamespaces: 0 }, /max_user_namespaces is 0/, /sudo sysctl/],
    ['Debian’s knob', { unprivilegedClone: 0 }, /unprivileged_userns_clone is 0/, /clone=1/],
    ['AppArmor', { apparmorRestrict: 1 }, /AppArmor/, /apparmor_restrict_unprivileged_userns=0/],
    ['container', { container: true }, /seccomp/, /--cap-add NET_ADMIN/],
    ['unknown', {}, /Operation not permitted/, /sysctl .* or AppArmor/],
    ['silent', { stderr: '' }, /unshare -Urn failed \(1\)/, /sysctl/],
  ];
  for (const [name, facts, detail, remedy] of rows) {
    it(`forbidden: ${name}`, () => {
      const verdict = judgeUserNamespaces({ ...REFUSED, ...facts });
      expect(verdict.ok).to.equal(false);
      expect(verdict.detail).to.match(detail);
      expect(verdict.remedy).to.match(remedy);
      const error = rootlessError(verdict);
      expect(error).to.include({ exitCode: 77, remedy: verdict.remedy });
      expect(error.message).to.match(detail);
    });
  }

  it('allowed', () => {
    expect(judgeUserNamespaces({ ...REFUSED, status: 0 })).to.include({ ok: true, remedy: null });
  });

  it('probes this machine', () => {
    const facts = probeUserNamespaces();
    expect(facts.status === 0).to.equal(judgeUserNamespaces(facts).ok);
    expect(facts.maxUserNamespaces).to.satisfy((n: number | null) => n === null || n >= 0);
  });
});
