/**
 * src/net/sysctl.ts: defaults of both profiles, text form, and each limit at its last good and
 * first bad value.
 */
import { expect } from 'chai';
import { getSysctl, SYSCTL_NAMES, SYSCTLS, Sysctl, setSysctl } from '../../src/net/sysctl.js';

describe('net/sysctl', () => {
  it('has every field filled from the table', () => {
    for (const profile of ['5.0', '6.18'] as const) {
      const sysctl = new Sysctl(profile);
      expect(sysctl.profile).to.equal(profile);
      const fields = Object.keys(sysctl).filter(
        (field) => !['profile', 'ipLocalReservedPorts', 'tcpFastopenKey'].includes(field),
      );
      expect(fields.sort()).to.deep.equal(SYSCTLS.map((entry) => entry.field as string).sort());
      for (const entry of SYSCTLS) {
        expect(sysctl[entry.field], entry.name).to.be.within(entry.min, entry.max);
        expect(entry.text, entry.name).to.match(/\.$/);
      }
    }
  });

  it('the profiles differ where the kernels do', () => {
    const [old, now] = [new Sysctl('5.0'), new Sysctl()];
    expect(now.profile).to.equal('6.18');
    expect([old.somaxconn, now.somaxconn]).to.deep.equal([128, 4096]);
    expect([old.tcpRmemMax, now.tcpRmemMax]).to.deep.equal([6_291_456, 33_554_432]);
    expect([old.tcpSynLinearTimeouts, now.tcpSynLinearTimeouts]).to.deep.equal([0, 4]);
    expect([old.tcpChallengeAckLimit, now.tcpChallengeAckLimit]).to.deep.equal([1000, 2 ** 31 - 1]);
    expect(old.tcpSynRetries).to.equal(now.tcpSynRetries);
  });

  it('reads and prints numbers, words and vectors', () => {
    const sysctl = new Sysctl();
    expect(getSysctl(sysctl, 'net.ipv4.tcp_rmem')).to.equal('4096 131072 33554432');
    expect(setSysctl(sysctl, 'net.ipv4.tcp_rmem', ' 4096\t131072  6291456 ')).to.equal(null);
    expect(sysctl.tcpRmemMax).to.equal(6_291_456);
    expect(setSysctl(sysctl, 'net.ipv4.tcp_rmem', '8192')).to.equal(null);
    expect(getSysctl(sysctl, 'net.ipv4.tcp_rmem')).to.equal('8192 131072 6291456');
    expect(setSysctl(sysctl, 'net.ipv4.tcp_congestion_control', 'reno')).to.equal(null);
    expect(sysctl.tcpCongestionControl).to.equal(0);
    expect(getSysctl(sysctl, 'net.ipv4.tcp_congestion_control')).to.equal('reno');
    expect(setSysctl(sysctl, 'net.ipv4.tcp_syncookies', 2)).to.equal(null);
    expect(sysctl.tcpSyncookies).to.equal(2);
  });

  it('refuses what Linux refuses and then changes nothing', () => {
    const sysctl = new Sysctl();
    const before = JSON.stringify(sysctl);
    const wrong: [string, string | number, RegExp][] = [
      ['net.ipv4.no_such_knob', '1', /unknown sysctl net\.ipv4\.no_such_knob/],
      ['net.ipv4.tcp_syncookies', '3', /"3" is not 0\.\.2/],
      ['net.ipv4.tcp_syncookies', '-1', /"-1" is not/],
      ['net.ipv4.tcp_syncookies', '', /is not/],
      ['net.ipv4.tcp_syncookies', '1.5', /is not/],
      ['net.ipv4.tcp_syncookies', '1 1', /takes 1 number/],
      ['net.ipv4.tcp_rmem', '4096 x 6291456', /"x" is not 1\.\.2147483647 bytes/],
      ['net.ipv4.tcp_congestion_control', 'bbr', /is not reno or cubic/],
      ['net.ipv4.tcp_ehash_entries', '1000', /is not a power of two 16\.\./],
      ['net.ipv4.ip_local_port_range', '40000', /lowest and the highest/],
      ['net.ipv4.ip_local_port_range', '40000 30000', /lowest and the highest/],
      ['net.ipv4.ip_local_port_range', '0 30000', /"0" is not/],
      ['net.ipv4.ip_default_ttl', 256, /is not 1\.\.255 hops/],
    ];
    for (const [name, value, message] of wrong) {
      expect(setSysctl(sysctl, name, value), name).to.match(message);
    }
    expect(JSON.stringify(sysctl)).to.equal(before);
    expect(getSysctl(sysctl, 'net.ipv4.no_such_knob')).to.equal(null);
  });

  it('accepts each limit and refuses the number beyond it', () => {
    for (const entry of SYSCTLS) {
      if (SYSCTLS.filter(({ name }) => name === entry.name).length > 1) continue;
      const sysctl = new Sysctl();
      // So that neither of the two knobs about ports is in the other's way.
      sysctl.ipLocalPortRangeLow = 65_535;
      for (const good of [entry.min, entry.max]) {
        expect(setSysctl(sysctl, entry.name, good), `${entry.name} = ${good}`).to.equal(null);
        expect(sysctl[entry.field]).to.equal(good);
      }
      for (const bad of [entry.min - 1, entry.max + 1]) {
        expect(setSysctl(sysctl, entry.name, bad), `${entry.name} = ${bad}`).to.be.a('string');
      }
    }
  });

  it('keeps privileged ports and the local port range apart', () => {
    const sysctl = new Sysctl();
    const [range, start] = ['net.ipv4.ip_local_port_range', 'net.ipv4.ip_unprivileged_port_start'];
    expect(setSysctl(sysctl, range, '1023 2000')).to.match(/must not begin below .*1024/);
    expect(setSysctl(sysctl, range, '1024 2000')).to.equal(null);
    expect(setSysctl(sysctl, start, 1025)).to.match(/must not be above .*1024/);
    expect(setSysctl(sysctl, start, 80)).to.equal(null);
    expect(setSysctl(sysctl, range, '80 2000')).to.equal(null);
    expect(getSysctl(sysctl, range)).to.equal('80 2000');
  });

  it('takes, prints and replaces a list of reserved ports', () => {
    const sysctl = new Sysctl();
    const name = 'net.ipv4.ip_local_reserved_ports';
    expect(SYSCTL_NAMES).to.include(name);
    expect(getSysctl(sysctl, name)).to.equal('');
    expect(setSysctl(sysctl, name, '8080,9148-9150')).to.equal(null);
    expect(getSysctl(sysctl, name)).to.equal('8080,9148-9150');
    expect(sysctl.ipLocalReservedPorts.has(9149)).to.equal(true);
    expect(setSysctl(sysctl, name, '8080,x')).to.match(/"x" is not a port or a range of ports/);
    expect(getSysctl(sysctl, name), 'unchanged').to.equal('8080,9148-9150');
    expect(setSysctl(sysctl, name, 81)).to.equal(null);
    expect(getSysctl(sysctl, name)).to.equal('81');
    expect(setSysctl(sysctl, name, ' ')).to.equal(null);
    expect(getSysctl(sysctl, name)).to.equal('');
    expect(new Sysctl().ipLocalReservedPorts.has(81)).to.equal(false);
  });

  it('a port range of one port is a range', () => {
    const sysctl = new Sysctl();
    expect(setSysctl(sysctl, 'net.ipv4.ip_local_port_range', '5000 5000')).to.equal(null);
    expect([sysctl.ipLocalPortRangeLow, sysctl.ipLocalPortRangeHigh]).to.deep.equal([5000, 5000]);
  });
});
