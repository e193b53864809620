/**
 * src/packetdrill/{shell-text,shell,sysctls}.ts: the shell text of scripts, of which nothing is
 * executed: what it sets, what it reads, when it fails, and what it leaves to other systems.
 */
import { expect } from 'chai';
import { getSysctl, Sysctl } from '../../src/net/sysctl.js';
import { ScriptError, UnsupportedError } from '../../src/packetdrill/script.js';
import { ShellRunner } from '../../src/packetdrill/shell.js';
import { pipelinesOf } from '../../src/packetdrill/shell-text.js';

const line = 7;

function commands(text: string): unknown {
  return pipelinesOf({ line, text }).map(({ commands: all, when }) =>
    when === 'always' ? all : [when, ...all],
  );
}

/** A world of one counter; what was done to it. */
function world(): { shell: (text: string) => void; sysctl: Sysctl; log: string[]; count: number } {
  const sysctl = new Sysctl('6.18');
  const it = { sysctl, log: [] as string[], count: 0, shell: (_text: string): void => {} };
  const runner = new ShellRunner({
    sysctl,
    counters: () => ({ TcpExtBeyondWindow: it.count, TcpInSegs: 5 }),
    setMtu: (mtu) => it.log.push(`mtu ${mtu}`),
    refuse: (on) => it.log.push(`refuse ${on}`),
    sleep: (us) => it.log.push(`sleep ${us}`),
  });
  it.shell = (text) => runner.run({ line, text });
  return it;
}

describe('packetdrill shell text', () => {
  it('splits words, quotes, comments and lines', () => {
    expect(commands('a b\n# c\nd\\\n  e "f g"h \'i j\' # k')).to.deep.equal([
      [['a', 'b']],
      [['d', 'e', 'f gh', 'i j']],
    ]);
    expect(commands('a;b&&c||d|e')).to.deep.equal([
      ...[[['a']], [['b']], ['success', ['c']], ['failure', ['d'], ['e']]],
    ]);
  });

  it('takes away where output goes', () => {
    expect(commands('a 2>/dev/null b > /dev/null 2>&1; c >>x')).to.deep.equal([
      ...[[['a', 'b']], [['c']]],
    ]);
  });

  it('computes', () => {
    expect(commands('x="4096 $((15*1024*1024)) $((2 + 3 * (4 - 1) % 5 / 2))"')).to.deep.equal([
      [['x=4096 15728640 4']],
    ]);
    expect(commands('/tmp/r_$PPID.sh $PPID')).to.deep.equal([[['/tmp/r_0.sh', '0']]]);
  });

  it('leaves variables, substitutions and broken sums to other systems', () => {
    for (const text of [
      'a $HOME',
      'a $(b)',
      'a "$x"',
      'a $((1/0))',
      'a $((1+))',
      'a $((x))',
      'a &',
      '"a',
    ]) {
      expect(() => commands(text), text).to.throw(UnsupportedError);
    }
  });
});

describe('packetdrill shell', () => {
  it('sets knobs in every spelling, and puts back what set_sysctls.py has changed', () => {
    const { shell, sysctl } = world();
    shell('sysctl -q net.ipv4.tcp_syn_retries=3 net/ipv4/tcp_fin_timeout=9');
    expect(getSysctl(sysctl, 'net.ipv4.tcp_syn_retries')).to.equal('3');
    expect(getSysctl(sysctl, 'net.ipv4.tcp_fin_timeout')).to.equal('9');
    shell(
      './set_sysctls.py /proc/sys/net/ipv4/tcp_sack=0 \\\n /proc/sys/net/ipv4/tcp_syn_retries=4',
    );
    expect(getSysctl(sysctl, 'net.ipv4.tcp_sack')).to.equal('0');
    shell('/tmp/sysctl_restore_$PPID.sh');
    expect(getSysctl(sysctl, 'net.ipv4.tcp_sack')).to.equal('1');
    expect(getSysctl(sysctl, 'net.ipv4.tcp_syn_retries')).to.equal('3');
    shell('sysctl -w net.ipv4.tcp_rmem="4096 131072 $((32*1024*1024))"');
    expect(getSysctl(sysctl, 'net.ipv4.tcp_rmem')).to.match(/^4096\s131072\s33554432$/);
  });

  it('has the start of both suites', () => {
    const { shell, sysctl } = world();
    shell('../common/defaults.sh');
    expect(getSysctl(sysctl, 'net.ipv4.tcp_fastopen')).to.equal(String(0x70403));
    shell('./defaults.sh');
    expect(getSysctl(sysctl, 'net.ipv4.tcp_fastopen')).to.equal('3');
    expect(getSysctl(sysctl, 'net.ipv4.tcp_slow_start_after_idle')).to.equal('0');
  });

  it('says which knob or value is not there', () => {
    const { shell } = world();
    for (const [text, reason] of [
      ['sysctl -q net.ipv4.tcp_nonsense=1', 'the sysctl net.ipv4.tcp_nonsense'],
      ['sysctl -q net.ipv4.tcp_ecn=3', 'AccECN'],
      ['sysctl -q net.ipv4.tcp_shrink_window=1', 'tcp_shrink_window=1'],
      ['sysctl net.inet.tcp.ecn.enable=1', "FreeBSD's sysctl net.inet.tcp.ecn.enable"],
      ['sysctl kern.x=1', "FreeBSD's sysctl kern.x"],
      ['sysctl x.y=1', 'the setting x.y=1'],
      ['sysctl -q net.ipv4.tcp_sack=maybe', 'tcp_sack=maybe'],
      ['modprobe tcp_bbr', 'the command `modprobe`'],
      ['ip route add 1.2.3.4/32 dev tun0', 'the command `ip route'],
      ['tc qdisc replace dev tun0 root fq', 'the command `tc qdisc'],
      ['sleep long', 'the command `sleep long`'],
      ['grep x /proc/net/tcp', 'the command `grep x'],
    ] as const) {
      expect(() => shell(text), text).to.throw(UnsupportedError, reason);
    }
    shell('sysctl -e -q net.ipv4.tcp_nonsense=1; sysctl -q net.ipv4.tcp_dsack=1');
  });

  it('acts on the device and the clock', () => {
    const { shell, log } = world();
    shell(
      'ip link set dev tun0 mtu 9000; ip link set tun0 up; ip tcp_metrics flush all >/dev/null',
    );
    shell('tc qdisc delete dev tun0 root 2>/dev/null ; tc qdisc add dev tun0 root pfifo limit 0');
    shell('tc qdisc replace dev tun0 root pfifo && sleep 0.25; ethtool -K tun0 tso off gso off');
    expect(log).to.deep.equal([
      ...['mtu 9000', 'refuse false', 'refuse true', 'refuse false', 'sleep 250000'],
    ]);
  });

  it('fails when the last command does', () => {
    const { shell } = world();
    expect(() => shell('false')).to.throw(ScriptError, 'failed with 1: false');
    expect(() => shell('true && false')).to.throw(ScriptError);
    expect(() => shell('echo a | grep -q b')).to.throw(ScriptError);
    for (const text of ['false || true', 'false; true', 'true || false', 'false && false || :']) {
      shell(text);
    }
    shell(
      'sysctl -n net.ipv4.tcp_sack | grep -q ^1$; echo "a b" | grep -v c | grep -ci "A B" | grep 1',
    );
    shell(
      'sysctl net.ipv4.tcp_sack | grep -qF "tcp_sack = 1"; echo a.b | grep -w b | grep -E "a|x"',
    );
    expect(() => shell('sysctl net.ipv4.none')).to.throw(UnsupportedError);
  });

  it('counts as nstat does: what is new since it was asked', () => {
    const it = world();
    it.shell('nstat -n');
    it.count = 2;
    it.shell('nstat -s | grep TcpExtBeyondWindow | grep -q " 2 "');
    it.shell('nstat | grep TcpExtBeyondWindow | grep -q " 2 "');
    expect(() => it.shell('nstat | grep -q TcpExtBeyondWindow')).to.throw(ScriptError);
    it.shell('nstat -z TcpExtBeyondWindow | grep -q " 0 "');
    it.shell('nstat -a | grep TcpInSegs | grep -q " 5 "; nstat -r | grep -q TcpInSegs');
    expect(() => it.shell('nstat -a TcpInSegs | grep -q Beyond')).to.throw(ScriptError);
  });
});
