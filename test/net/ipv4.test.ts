/** src/net/ipv4.ts: what is delivered, and what is dropped under which counter. */
import { expect } from 'chai';
import fc from 'fast-check';
import { ipv4Rcv } from '../../src/net/ipv4.js';
import { icmphdr } from '../../src/net/layout.js';
import { MIB_NAMES } from '../../src/net/mib.js';
import { IFINDEX_LINK } from '../../src/net/skb.js';
import type { Profile } from '../../src/net/sysctl.js';
import {
  address,
  CaptureDevice,
  counters,
  inject,
  ipv4Packet,
  naiveChecksum,
  type PacketOptions,
  pattern,
} from './fixtures.js';
import { makeRig, PEER, type Rig, US } from './ipv4-rig.js';

/** Counters that moved while `packet` was received, without those that every packet moves. */
function verdict(packet: Uint8Array, rig: Rig = makeRig()): Record<string, number> {
  inject(rig.net, packet, ipv4Rcv);
  const { IpInReceives, IpExtInOctets, IpExtInNoECTPkts, ...rest } = counters(rig.net, MIB_NAMES);
  return rest;
}

describe('net/ipv4 in', () => {
  it('delivers a datagram with its addresses, tos and ttl', () => {
    const rig = makeRig();
    const payload = pattern(100);
    inject(rig.net, ipv4Packet(payload, { tos: 0x28, ttl: 3 }), ipv4Rcv);
    expect(rig.transport.deliveries).to.have.lengthOf(1);
    const [delivery] = rig.transport.deliveries;
    expect(delivery).to.deep.include({ saddr: PEER, daddr: US, tos: 0x28, ttl: 3 });
    expect(delivery).to.deep.include({ payload, ifindex: IFINDEX_LINK });
    expect(counters(rig.net, MIB_NAMES)).to.deep.equal({
      IpInReceives: 1,
      IpInDelivers: 1,
      IpExtInOctets: 120,
      IpExtInNoECTPkts: 1,
    });
    expect(rig.net.inputSkbs.out).to.equal(0);
  });

  it('cuts off what follows the datagram (link padding)', () => {
    const rig = makeRig();
    const packet = Buffer.concat([ipv4Packet(pattern(10)), Buffer.alloc(16)]);
    inject(rig.net, packet, ipv4Rcv);
    expect(rig.transport.deliveries[0]!.payload).to.deep.equal(pattern(10));
  });

  it('takes a superpacket of 65,535 bytes', () => {
    const rig = makeRig();
    inject(rig.net, ipv4Packet(pattern(65_515)), ipv4Rcv);
    expect(rig.transport.deliveries[0]!.payload).to.have.lengthOf(65_515);
  });

  it('sorts packets by their ECN bits', () => {
    const rig = makeRig();
    for (const tos of [0, 1, 1, 2, 2, 2, 3])
      inject(rig.net, ipv4Packet(pattern(8), { tos }), ipv4Rcv);
    expect(counters(rig.net, MIB_NAMES)).to.include({
      IpExtInNoECTPkts: 1,
      IpExtInECT1Pkts: 2,
      IpExtInECT0Pkts: 3,
      IpExtInCEPkts: 1,
    });
  });

  // RFC 1122 3.2.1.3, RFC 9293 MUST-57, MUST-63.
  const bad: [what: string, packet: Uint8Array, moved: Record<string, number>][] = [
    ['nothing at all', new Uint8Array(0), { IpInHdrErrors: 1 }],
    ['half a header', ipv4Packet(new Uint8Array(0)).subarray(0, 19), { IpInHdrErrors: 1 }],
    ['version 5', ipv4Packet(pattern(8), { versionIhl: 0x55 }), { IpInHdrErrors: 1 }],
    ['a header of 16 bytes', ipv4Packet(pattern(8), { versionIhl: 0x44 }), { IpInHdrErrors: 1 }],
    [
      'a header longer than the packet',
      ipv4Packet(pattern(8), { versionIhl: 0x4f }),
      { IpInHdrErrors: 1 },
    ],
    [
      'a wrong header checksum',
      ipv4Packet(pattern(8), { check: 1 }),
      { IpInHdrErrors: 1, IpExtInCsumErrors: 1 },
    ],
    [
      'a total length beyond the packet',
      ipv4Packet(pattern(8), { totLen: 29 }),
      { IpExtInTruncatedPkts: 1 },
    ],
    [
      'a total length below the header',
      ipv4Packet(pattern(8), { totLen: 19 }),
      { IpInHdrErrors: 1 },
    ],
    [
      'a stranger’s address',
      ipv4Packet(pattern(8), { daddr: '198.18.0.2' }),
      { IpInAddrErrors: 1 },
    ],
    ['a multicast', ipv4Packet(pattern(8), { daddr: '224.0.0.251' }), { IpExtInMcastPkts: 1 }],
    ['a broadcast', ipv4Packet(pattern(8), { daddr: '255.255.255.255' }), { IpExtInBcastPkts: 1 }],
    ['IPv6', Uint8Array.of(0x60, 0, 0, 0, 0, 0), { TunRxIpv6Dropped: 1 }],
  ];
  for (const saddr of [
    '224.0.0.1',
    '255.255.255.255',
    '0.0.0.0',
    '0.1.2.3',
    '127.0.0.1',
    '198.18.0.1',
  ]) {
    bad.push([`source ${saddr}`, ipv4Packet(pattern(8), { saddr }), { IpInAddrErrors: 1 }]);
  }
  bad.push([
    'destination 127.0.0.1',
    ipv4Packet(pattern(8), { daddr: '127.0.0.1' }),
    { IpInAddrErrors: 1 },
  ]);
  // RFC 1122 3.2.1.1, 3.2.1.2.
  for (const [what, packet, moved] of bad) {
    it(`drops ${what} silently: ${Object.keys(moved).join(', ')}`, () => {
      const rig = makeRig();
      expect(verdict(packet, rig)).to.deep.equal(moved);
      expect(rig.transport.deliveries).to.deep.equal([]);
      expect(rig.device.take()).to.deep.equal([]);
    });
  }

  describe('with subnets', () => {
    /** 10.1.0.1/24 on the first device, 10.2.0.1/24 on the second. */
    const withSubnets = (profile: Profile = '6.18'): Rig => {
      const rig = makeRig({ profile });
      rig.net.addAddress(address('10.1.0.1'), 24);
      rig.net.routes.addDevice('d1', new CaptureDevice());
      rig.net.addAddress(address('10.2.0.1'), 24, IFINDEX_LINK + 1);
      return rig;
    };

    it('a subnet’s broadcast address is no host: dropped and counted as broadcast', () => {
      for (const daddr of ['10.1.0.255', '10.2.0.255', '255.255.255.255']) {
        const rig = withSubnets();
        for (const protocol of [1, 6, 132]) {
          expect(verdict(ipv4Packet(pattern(40), { daddr, protocol }), rig)).to.deep.equal({
            IpExtInBcastPkts: 1,
          });
          rig.net.mib.fill(0);
        }
        expect(rig.transport.deliveries).to.deep.equal([]);
        expect(rig.device.take()).to.deep.equal([]);
      }
    });

    it('the lowest address was one too in 5.0, and is a stranger’s today', () => {
      const packet = ipv4Packet(pattern(40), { daddr: '10.1.0.0' });
      expect(verdict(packet, withSubnets('5.0'))).to.deep.equal({ IpExtInBcastPkts: 1 });
      expect(verdict(packet, withSubnets('6.18'))).to.deep.equal({ IpInAddrErrors: 1 });
    });

    it('nothing comes from a broadcast address', () => {
      const packet = ipv4Packet(pattern(40), { saddr: '10.1.0.255', daddr: '10.1.0.1' });
      expect(verdict(packet, withSubnets())).to.deep.equal({ IpInAddrErrors: 1 });
    });

    // RFC 1122 3.3.4.2.
    it('an address of ours is ours on every device, and the device is told', () => {
      const rig = withSubnets();
      for (const ifindex of [IFINDEX_LINK, IFINDEX_LINK + 1]) {
        inject(rig.net, ipv4Packet(pattern(8), { daddr: '10.2.0.1' }), (net, skb) => {
          skb.ifindex = ifindex;
          ipv4Rcv(net, skb);
        });
      }
      expect(rig.transport.deliveries.map((d) => d.ifindex)).to.deep.equal([2, 3]);
    });
  });

  it('IPv6 is not counted as received IPv4', () => {
    const rig = makeRig();
    inject(rig.net, Uint8Array.of(0x60, 0, 0, 0), ipv4Rcv);
    expect(counters(rig.net, MIB_NAMES)).to.deep.equal({ TunRxIpv6Dropped: 1 });
  });

  it('never throws and never leaks, whatever comes', () => {
    const rig = makeRig();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), fc.boolean(), (bytes, repair) => {
        if (repair && bytes.length >= 20) {
          bytes[0] = 0x40 | (bytes[0]! & 15);
          bytes.set(ipv4Packet(new Uint8Array(0)).subarray(12, 20), 12);
          bytes[2] = 0;
          bytes[3] = bytes.length;
          bytes[10] = bytes[11] = 0;
          const headerBytes = Math.min(bytes.length, (bytes[0]! & 15) * 4);
          const check = naiveChecksum(bytes.subarray(0, headerBytes));
          bytes[10] = check >> 8;
          bytes[11] = check & 255;
        }
        inject(rig.net, bytes, ipv4Rcv);
      }),
      { numRuns: 500 },
    );
    const waiting = rig.net.ipFrags?.size ?? 0;
    expect(rig.net.inputSkbs.out).to.equal(waiting);
    expect(rig.net.outputSkbs.out).to.equal(0);
  });

  it('traces each packet before it is looked at, and why it was dropped', () => {
    const trace: string[] = [];
    const rig = makeRig({ trace });
    inject(rig.net, ipv4Packet(pattern(8)), ipv4Rcv);
    inject(rig.net, ipv4Packet(pattern(8), { check: 1 }), ipv4Rcv);
    expect(trace).to.deep.equal(['in 28', 'in 28', 'drop IpExtInCsumErrors']);
  });
});

// RFC 9293 MUST-50.
describe('net/ipv4 options', () => {
  const send = (options: number[]): { rig: Rig; moved: Record<string, number> } => {
    const rig = makeRig();
    const moved = verdict(ipv4Packet(pattern(8), { options: Uint8Array.from(options) }), rig);
    return { rig, moved };
  };

  it('are skipped', () => {
    const good = [
      [1, 1, 1, 1],
      [0, 9, 9, 9],
      [7, 4, 5, 0], // record route
      [148, 4, 0, 0],
      [148, 4, 0, 0, 7, 7, 4, 0, 0, 0, 0, 0], // router alert, record route
    ];
    for (const options of good) {
      const { rig, moved } = send(options);
      expect(moved, `${options}`).to.deep.equal({ IpInDelivers: 1 });
      expect(rig.transport.deliveries[0]!.payload).to.deep.equal(pattern(8));
    }
  });

  it('source routes are refused', () => {
    for (const type of [131, 137]) {
      const { rig, moved } = send([type, 7, 4, 10, 0, 0, 1, 0]);
      expect(moved).to.deep.equal({ IpInHdrErrors: 1 });
      expect(rig.device.take()).to.deep.equal([]);
    }
  });

  // RFC 1122 3.2.2.5.
  it('malformed ones are reported with a pointer', () => {
    for (const [options, pointer] of [
      [[7, 1, 0, 0], 20],
      [[7, 0, 0, 0], 20],
      [[1, 7, 4, 0], 21],
      [[1, 1, 1, 7], 23],
    ] as const) {
      const { rig, moved } = send([...options]);
      expect(moved).to.include({ IpInHdrErrors: 1, IcmpOutParmProbs: 1 });
      expect(moved).to.not.have.property('IpInDelivers');
      const error = icmphdr.decode(Buffer.from(rig.device.take()[0]!), 20);
      expect(error).to.include({ type: 12, code: 0, id: pointer << 8 });
    }
  });
});

describe('net/ipv4 unknown protocols', () => {
  it('IGMP is none, though we are in no group', () => {
    const rig = makeRig();
    const moved = verdict(ipv4Packet(pattern(16), { protocol: 2 }), rig);
    expect(moved).to.include({ IpInDelivers: 1 });
    expect(rig.device.take()).to.deep.equal([]);
  });

  const options: PacketOptions = { protocol: 132 };

  it('are reported as protocol unreachable', () => {
    const rig = makeRig();
    const packet = ipv4Packet(pattern(16), options);
    expect(verdict(packet, rig)).to.include({ IpInUnknownProtos: 1, IcmpOutDestUnreachs: 1 });
    const [error] = rig.device.take();
    expect(icmphdr.decode(Buffer.from(error!), 20)).to.include({ type: 3, code: 2 });
    expect(error!.subarray(28)).to.deep.equal(Uint8Array.from(packet));
  });
});
