/** src/net/udp-closed.ts: what datagrams get where nobody listens. */
import { expect } from 'chai';
import { ipv4Rcv } from '../../src/net/ipv4.js';
import { udphdr } from '../../src/net/layout.js';
import { MIB_NAMES } from '../../src/net/mib.js';
import type { NetNs } from '../../src/net/netns.js';
import { closedUdp } from '../../src/net/udp-closed.js';
import {
  CaptureDevice,
  counters,
  inject,
  ipv4Packet,
  makeNet,
  naiveChecksum,
  pattern,
} from './fixtures.js';

const UDP = 17;

interface Rig {
  net: NetNs;
  device: CaptureDevice;
}

function makeRig(): Rig {
  const device = new CaptureDevice();
  const net = makeNet({ device });
  net.inetProtos[UDP] = closedUdp(net);
  return { net, device };
}

/** A datagram of 20 bytes for port 9; the length field and the checksum as asked for. */
function datagram(length = 28, check: number | null = null): Uint8Array {
  const bytes = Buffer.alloc(28);
  bytes.set(pattern(20), 8);
  const header = { source: 4000, dest: 9, len: length, check: 0 };
  udphdr.encode(header, bytes);
  const pseudo = Buffer.from([198, 18, 0, 254, 198, 18, 0, 1, 0, UDP, 0, length]);
  const sum = naiveChecksum(Buffer.concat([pseudo, bytes.subarray(0, length)]));
  udphdr.encode({ ...header, check: check ?? sum }, bytes);
  return ipv4Packet(bytes, { protocol: UDP, tos: 0x10 });
}

function moved(net: NetNs): Record<string, number> {
  const all = Object.entries(counters(net, MIB_NAMES));
  return Object.fromEntries(all.filter(([name]) => /^(Udp|Icmp(Out|InErrors))/.test(name)));
}

const REPORTED = { UdpNoPorts: 1, IcmpOutMsgs: 1, IcmpOutDestUnreachs: 1 };

describe('net/udp-closed', () => {
  for (const [name, packet] of [
    ['with a correct checksum', datagram()],
    ['without a checksum', datagram(28, 0)],
  ] as const) {
    it(`a datagram ${name} is answered with port unreachable, quoted whole`, () => {
      const { net, device } = makeRig();
      inject(net, packet, ipv4Rcv);
      const [error] = device.take();
      // Type 3, code 3; TOS of the datagram with precedence internetwork control.
      expect([error![1], error![9], error![20], error![21]]).to.deep.equal([0xd0, 1, 3, 3]);
      expect(Buffer.compare(error!.subarray(28), packet)).to.equal(0);
      expect(naiveChecksum(error!.subarray(20))).to.equal(0);
      expect(moved(net)).to.deep.equal(REPORTED);
    });
  }

  it('bytes behind the length that the header tells are not quoted', () => {
    const { net, device } = makeRig();
    inject(net, datagram(24), ipv4Rcv);
    const [error] = device.take();
    expect(error!.length).to.equal(20 + 8 + 20 + 24);
    expect(moved(net)).to.deep.equal(REPORTED);
  });

  for (const [name, packet, expected] of [
    ['a wrong checksum', datagram(28, 1), { UdpInErrors: 1, UdpInCsumErrors: 1 }],
    ['a length beyond the packet', datagram(29), { UdpInErrors: 1 }],
    ['a length below the header', datagram(7), { UdpInErrors: 1 }],
    ['half a header', ipv4Packet(new Uint8Array(4), { protocol: UDP }), { UdpInErrors: 1 }],
  ] as const) {
    it(`${name}: counted, no answer`, () => {
      const { net, device } = makeRig();
      inject(net, packet, ipv4Rcv);
      expect(device.take()).to.deep.equal([]);
      expect(moved(net)).to.deep.equal(expected);
    });
  }

  it('an ICMP error about a datagram of ours is about none', () => {
    const { net, device } = makeRig();
    const quoted = ipv4Packet(datagram().subarray(20), {
      protocol: UDP,
      saddr: '198.18.0.1',
      daddr: '198.18.0.254',
    });
    const message = Buffer.concat([Buffer.from([3, 3, 0, 0, 0, 0, 0, 0]), quoted]);
    message.writeUInt16BE(naiveChecksum(message), 2);
    inject(net, ipv4Packet(message, { protocol: 1 }), ipv4Rcv);
    expect(device.take()).to.deep.equal([]);
    expect(moved(net)).to.deep.equal({ IcmpInErrors: 1 });
  });
});
