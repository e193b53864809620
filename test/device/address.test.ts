/** Addresses on the command line and in ioctls: parsing, printing, and which go together. */
import { expect } from 'chai';
import fc from 'fast-check';
import {
  checkAddresses,
  formatIpv4,
  netmaskOf,
  parseCidr,
  parseIpv4,
  prefixOf,
} from '../../src/device/address.js';
import { DeviceError } from '../../src/device/errors.js';

function refusalOf(address: string, peer: string, prefix?: number): DeviceError {
  try {
    checkAddresses(address, peer, prefix);
  } catch (error) {
    expect(error).to.be.instanceOf(DeviceError);
    return error as DeviceError;
  }
  throw new Error(`${address} ${peer} was accepted`);
}

describe('IPv4 addresses as text', () => {
  it('round-trips every address', () => {
    fc.assert(
      fc.property(fc.integer(), (address) => {
        expect(parseIpv4(formatIpv4(address))).to.equal(address | 0);
      }),
      { numRuns: 200, seed: 1 },
    );
  });

  it('refuses what is not four decimal bytes', () => {
    for (const text of ['', '1.2.3', '1.2.3.4.5', '1.2.3.256', '01.2.3.4', '1.2.3.x', ' 1.2.3.4']) {
      expect(parseIpv4(text), text).to.equal(null);
    }
    expect(parseIpv4('255.255.255.255')).to.equal(-1);
    expect(parseIpv4('0.0.0.0')).to.equal(0);
  });

  it('reads CIDRs', () => {
    expect(parseCidr('10.0.0.1/8')).to.deep.equal({ address: 0x0a000001, prefix: 8 });
    expect(parseCidr('10.0.0.1')).to.deep.equal({ address: 0x0a000001, prefix: null });
    expect(parseCidr('10.0.0.1/0')?.prefix).to.equal(0);
    expect(parseCidr('10.0.0.1/32')?.prefix).to.equal(32);
    for (const text of ['10.0.0.1/33', '10.0.0.1/', '10.0.0.1/x', '10.0.0.1/-1', '10.0.0/8']) {
      expect(parseCidr(text), text).to.equal(null);
    }
  });

  it('netmask and prefix length are each other', () => {
    for (let prefix = 0; prefix <= 32; prefix++)
      expect(prefixOf(netmaskOf(prefix))).to.equal(prefix);
    expect(prefixOf(0xff00ff00 | 0)).to.equal(null);
    expect(prefixOf(1)).to.equal(null);
  });
});

describe('checkAddresses', () => {
  it('accepts the defaults, a prefix apart, and a /31', () => {
    expect(checkAddresses('198.18.0.1/24', '198.18.0.254')).to.deep.equal({
      address: 0xc6120001 | 0,
      peer: 0xc61200fe | 0,
      prefix: 24,
    });
    expect(checkAddresses('10.0.0.1', '10.0.0.2', 30).prefix).to.equal(30);
    expect(checkAddresses('10.0.0.0/31', '10.0.0.1').prefix).to.equal(31);
    expect(checkAddresses('10.0.0.1/1', '10.0.0.2').prefix).to.equal(1);
  });

  const rows: [string, string, RegExp][] = [
    ['x', '198.18.0.254', /not an IPv4 CIDR/],
    ['198.18.0.1', '198.18.0.254', /no prefix length/],
    ['198.18.0.1/0', '198.18.0.254', /cannot hold the stack and the host/],
    ['198.18.0.1/32', '198.18.0.1', /cannot hold the stack and the host/],
    ['198.18.0.1/24', 'x', /--peer x: not an IPv4 address/],
    ['198.18.0.1/24', '198.18.1.254', /not in the subnet of --address, 198\.18\.0\.0\/24/],
    ['198.18.0.1/30', '198.18.0.5', /not in the subnet/],
    ['198.18.0.1/24', '198.18.0.1', /are both 198\.18\.0\.1/],
    ['198.18.0.0/24', '198.18.0.254', /--address 198\.18\.0\.0 is the network address/],
    ['198.18.0.255/24', '198.18.0.254', /--address 198\.18\.0\.255 is the broadcast address/],
    ['198.18.0.1/24', '198.18.0.0', /--peer 198\.18\.0\.0 is the network address/],
    ['198.18.0.1/24', '198.18.0.255', /--peer 198\.18\.0\.255 is the broadcast address/],
    ['127.0.0.1/8', '127.0.0.2', /not a unicast address/],
    ['224.0.0.1/24', '224.0.0.2', /not a unicast address/],
    ['0.0.0.1/24', '0.0.0.2', /not a unicast address/],
  ];
  for (const [address, peer, message] of rows) {
    it(`refuses ${address} with ${peer}`, () => {
      const error = refusalOf(address, peer);
      expect(error.message).to.match(message);
      expect(error).to.include({ exitCode: 2, code: 'EINVAL' });
      expect(error.remedy).to.not.equal('');
    });
  }

  it('refuses a prefix that is no whole number', () => {
    expect(refusalOf('10.0.0.1', '10.0.0.2', 24.5).exitCode).to.equal(2);
  });

  it('whatever it accepts are two different hosts of one subnet', () => {
    fc.assert(
      fc.property(fc.integer(), fc.integer(), fc.integer({ min: 1, max: 31 }), (a, p, prefix) => {
        const host = netmaskOf(prefix);
        const peer = (a & host) | (p & ~host);
        let link: ReturnType<typeof checkAddresses>;
        try {
          link = checkAddresses(formatIpv4(a), formatIpv4(peer), prefix);
        } catch (error) {
          expect((error as DeviceError).exitCode).to.equal(2);
          return;
        }
        expect(link.address).to.not.equal(link.peer);
        expect((link.address ^ link.peer) & host).to.equal(0);
      }),
      { numRuns: 200, seed: 2 },
    );
  });
});
