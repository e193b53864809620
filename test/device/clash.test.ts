/** Finding an address or route that exists already. */
import { expect } from 'chai';
import { checkAddresses, formatIpv4, netmaskOf, parseIpv4 } from '../../src/device/address.js';
import {
  clashError,
  findClash,
  type InterfaceSubnet,
  parseProcRoute,
  readNetworkState,
} from '../../src/device/clash.js';

const LINK = checkAddresses('198.18.0.1/24', '198.18.0.254');

function subnet(name: string, cidr: string): InterfaceSubnet {
  const [address, prefix] = cidr.split('/');
  return { name, address: parseIpv4(address!)!, netmask: netmaskOf(Number(prefix)) };
}

function clashOf(interfaces: string[], routes: string[] = [], name = 'eth0'): string | null {
  const clash = findClash(
    LINK,
    {
      interfaces: interfaces.map((cidr) => subnet(name, cidr)),
      routes: routes.map((cidr) => subnet(name, cidr)),
    },
    'tunstack0',
  );
  return clash === null ? null : `${clash.kind} ${clash.found} ${clash.name}`;
}

describe('address clashes', () => {
  it('finds the same subnet, a larger one and a smaller one', () => {
    expect(clashOf(['198.18.0.254/24'])).to.equal('address 198.18.0.254/24 eth0');
    expect(clashOf(['198.18.7.7/16'])).to.equal('address 198.18.7.7/16 eth0');
    expect(clashOf(['198.18.0.129/32'])).to.equal('address 198.18.0.129/32 eth0');
    expect(clashOf([], ['198.18.0.0/24'])).to.equal('route 198.18.0.0/24 eth0');
    expect(clashOf([], ['198.0.0.0/8'])).to.equal('route 198.0.0.0/8 eth0');
    expect(clashOf([], ['198.18.0.1/32'])).to.equal('route 198.18.0.1/32 eth0');
  });

  it('neighbours are no clash', () => {
    expect(clashOf(['198.18.1.1/24', '127.0.0.1/8'], ['198.19.0.0/16', '10.0.0.0/8'])).to.equal(
      null,
    );
  });

  it('the default route and the halves that a VPN installs are no clash', () => {
    expect(clashOf([], ['0.0.0.0/0', '128.0.0.0/1', '192.0.0.0/7'])).to.equal(null);
  });

  it('a netmask with holes is nobody’s subnet', () => {
    const state = {
      interfaces: [{ name: 'x', address: LINK.peer, netmask: 0xff00ff00 | 0 }],
      routes: [],
    };
    expect(findClash(LINK, state, 'tunstack0')).to.equal(null);
  });

  it('the device itself, made beforehand, is no clash', () => {
    expect(clashOf(['198.18.0.254/24'], ['198.18.0.0/24'], 'tunstack0')).to.equal(null);
  });

  it('says what is in the way and suggests an address that is not', () => {
    const error = clashError(LINK, { kind: 'route', name: 'eth0', found: '198.18.0.0/16' });
    expect(error).to.include({ code: 'EADDRINUSE', exitCode: 77 });
    expect(error.message).to.contain('a route to 198.18.0.0/16 on eth0 already exists');
    expect(error.remedy).to.contain('another --address');
    const address = /--address (\S+) --peer (\S+)/.exec(error.remedy)!;
    const other = checkAddresses(address[1]!, address[2]!);
    expect((other.address ^ LINK.address) & netmaskOf(15)).to.equal(0);
    expect((other.address ^ LINK.address) & netmaskOf(16)).to.not.equal(0);
    const taken = clashError(LINK, { kind: 'address', name: 'eth0', found: '198.18.0.9/24' });
    expect(taken.message).to.contain('interface eth0 already has 198.18.0.9/24');
  });

  it('parses the routing table of the kernel', () => {
    const text = [
      'Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT',
      'eth0\t00000000\t0102A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0',
      'tun0\t000012C6\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0',
      '',
    ].join('\n');
    expect(
      parseProcRoute(text).map((route) => [
        route.name,
        formatIpv4(route.address),
        formatIpv4(route.netmask),
      ]),
    ).to.deep.equal([
      ['eth0', '0.0.0.0', '0.0.0.0'],
      ['tun0', '198.18.0.0', '255.255.255.0'],
    ]);
    expect(parseProcRoute('')).to.deep.equal([]);
  });

  it('reads this machine without failing', () => {
    const state = readNetworkState();
    for (const entry of state.interfaces) expect(entry.name).to.not.equal('');
    expect(state.routes).to.be.an('array');
  });
});
