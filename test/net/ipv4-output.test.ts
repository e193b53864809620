/** src/net/ipv4-output.ts and ipv4Loopback: headers, fragments, and the way back to ourselves. */
import { expect } from 'chai';
import fc from 'fast-check';
import { AssertionError } from '../../src/net/assert.js';
import { ipRouteSkb, ipSelectIdent, ipv4Loopback, ipv4Xmit } from '../../src/net/ipv4.js';
import { iphdr } from '../../src/net/layout.js';
import { MIB_NAMES } from '../../src/net/mib.js';
import type { InetProtocol, NetNs } from '../../src/net/netns.js';
import {
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  IFINDEX_LINK,
  IFINDEX_LOOPBACK,
  type Skb,
} from '../../src/net/skb.js';
import { address, CaptureDevice, counters, naiveChecksum, pattern } from './fixtures.js';
import { makeRig, PEER, TCP, US } from './ipv4-rig.js';

/**
 * Makes an skb with `linear` bytes from the transport header on, and two fragments elsewhere in the
 * arena.
 */
function outgoing(net: NetNs, linear: number, bytes0 = 0, bytes1 = 0): Skb {
  const skb = net.outputSkbs.alloc()!;
  const data = pattern(linear + bytes0 + bytes1, 11);
  skb.start += 20;
  skb.end = skb.start + linear;
  const elsewhere = net.mem.allocRing(256 << 10) * 4096;
  skb.bytes.set(data.subarray(0, linear), skb.start);
  skb.frag0 = elsewhere + 3;
  skb.frag0Bytes = bytes0;
  skb.bytes.set(data.subarray(linear, linear + bytes0), skb.frag0);
  skb.frag1 = elsewhere + 100_000;
  skb.frag1Bytes = bytes1;
  skb.bytes.set(data.subarray(linear + bytes0), skb.frag1);
  return skb;
}

interface Sent {
  header: Record<string, number>;
  payload: Uint8Array;
}

/** Decodes what the device got; every header checksum must be right. */
function sent(device: CaptureDevice): Sent[] {
  return device.take().map((packet) => {
    expect(naiveChecksum(packet.subarray(0, 20))).to.equal(0);
    const header = iphdr.decode(Buffer.from(packet));
    expect(header['tot_len']).to.equal(packet.length);
    return { header, payload: packet.slice(20) };
  });
}

describe('net/ipv4 out', () => {
  it('prepends a header and gathers the fragments', () => {
    const { net, device } = makeRig();
    const skb = outgoing(net, 20, 700, 33);
    expect(ipv4Xmit(net, skb, US, PEER, TCP, 0x10, 64, 0xabcd, true)).to.equal(true);
    const [packet] = sent(device);
    expect(packet!.header).to.deep.include({
      version_ihl: 0x45,
      tos: 0x10,
      tot_len: 773,
      id: 0xabcd,
      frag_off: 0x4000,
      ttl: 64,
      protocol: TCP,
      saddr: US >>> 0,
      daddr: PEER >>> 0,
    });
    expect(packet!.payload).to.deep.equal(pattern(753, 11));
    expect(counters(net, MIB_NAMES)).to.deep.equal({
      IpOutRequests: 1,
      IpOutTransmits: 1,
      IpExtOutOctets: 773,
    });
  });

  it('takes a packet of exactly the MTU, refuses one byte more with DF', () => {
    const { net, device } = makeRig();
    const fits = outgoing(net, 20, 1460);
    expect(ipv4Xmit(net, fits, US, PEER, TCP, 0, 64, 1, true)).to.equal(true);
    const large = outgoing(net, 20, 1461);
    expect(ipv4Xmit(net, large, US, PEER, TCP, 0, 64, 1, true)).to.equal(false);
    expect(sent(device)).to.have.lengthOf(1);
    expect(counters(net, MIB_NAMES)).to.include({ IpFragFails: 1, IpOutTransmits: 1 });
  });

  it('leaves a superpacket to the link, up to 65,535 bytes', () => {
    const { net, device } = makeRig();
    const skb = outgoing(net, 20, 60_000, 5495);
    skb.gsoSize = 1460;
    expect(ipv4Xmit(net, skb, US, PEER, TCP, 0, 64, 1, true)).to.equal(true);
    expect(sent(device)[0]!.header['tot_len']).to.equal(65_535);
    const larger = outgoing(net, 20, 60_000, 5496);
    larger.gsoSize = 1460;
    expect(() => ipv4Xmit(net, larger, US, PEER, TCP, 0, 64, 1, true)).to.throw(AssertionError);
  });

  it('counts what the link refuses', () => {
    const trace: string[] = [];
    const { net, device } = makeRig({ trace });
    device.full = true;
    expect(ipv4Xmit(net, outgoing(net, 28), US, PEER, TCP, 0, 64, 1, true)).to.equal(false);
    expect(counters(net, MIB_NAMES)).to.deep.equal({ IpOutRequests: 1, IpOutDiscards: 1 });
    expect(trace).to.deep.equal(['out 48', 'drop IpOutDiscards']);
  });

  it('fragments any mixture of linear part and fragments into pieces that make the whole', () => {
    fc.assert(
      fc.property(
        fc.constantFrom(68, 69, 576, 1500, 9000),
        fc.nat(3900),
        fc.nat(40_000),
        fc.nat(20_000),
        (mtu, linear, bytes0, bytes1) => {
          const { net, device } = makeRig({ mtu });
          const total = linear + bytes0 + bytes1;
          const skb = outgoing(net, linear, bytes0, bytes1);
          expect(ipv4Xmit(net, skb, US, PEER, 17, 0, 64, 7, false)).to.equal(true);
          const pieces = sent(device);
          const whole = new Uint8Array(total);
          let next = 0;
          for (const [i, { header, payload }] of pieces.entries()) {
            const last = i === pieces.length - 1;
            const fragOff = header['frag_off']!;
            expect(payload.length + 20).to.be.at.most(mtu);
            expect((fragOff & 0x1fff) * 8).to.equal(next);
            expect(fragOff & 0xe000).to.equal(last ? 0 : 0x2000);
            if (!last) expect(payload.length % 8).to.equal(0);
            expect(header['id']).to.equal(7);
            whole.set(payload, next);
            next += payload.length;
          }
          expect(next).to.equal(total);
          expect(Buffer.compare(whole, pattern(total, 11))).to.equal(0);
          expect(net.outputSkbs.out).to.equal(1);
        },
      ),
      { numRuns: 60 },
    );
  });

  it('cuts shorter where a piece of the linear part does not fit a header buffer', () => {
    const { net, device } = makeRig({ mtu: 9000 });
    const skb = net.inputSkbs.alloc()!;
    skb.start += 20;
    skb.end = skb.start + 20_000;
    skb.bytes.set(pattern(20_000), skb.start);
    expect(ipv4Xmit(net, skb, US, PEER, 17, 0, 64, 7, false)).to.equal(true);
    const whole = Buffer.concat(sent(device).map(({ payload }) => payload));
    expect(Buffer.compare(whole, pattern(20_000))).to.equal(0);
    expect(counters(net, MIB_NAMES)).to.include({ IpFragOKs: 1, IpFragCreates: 5 });
  });

  it('completes a checksum that was left to the link before it fragments', () => {
    const { net, device } = makeRig();
    const skb = outgoing(net, 8, 3000);
    skb.view.setUint16(skb.start + 6, 0);
    skb.ipSummed = CHECKSUM_PARTIAL;
    skb.csumStart = skb.start;
    skb.csumOffset = 6;
    expect(ipv4Xmit(net, skb, US, PEER, 17, 0, 64, 7, false)).to.equal(true);
    const whole = Buffer.concat(sent(device).map(({ payload }) => payload));
    expect(naiveChecksum(whole)).to.equal(0);
  });

  it('stops fragmenting when the link refuses a piece or buffers run out', () => {
    const refused = makeRig();
    refused.device.full = true;
    const skb = outgoing(refused.net, 8, 5000);
    expect(ipv4Xmit(refused.net, skb, US, PEER, 17, 0, 64, 7, false)).to.equal(false);
    expect(counters(refused.net, MIB_NAMES)).to.deep.equal({
      IpOutRequests: 1,
      IpOutDiscards: 1,
      IpFragCreates: 1,
    });
    const dry = makeRig();
    const big = outgoing(dry.net, 8, 5000);
    while (dry.net.outputSkbs.alloc() !== null);
    expect(ipv4Xmit(dry.net, big, US, PEER, 17, 0, 64, 7, false)).to.equal(false);
    expect(counters(dry.net, MIB_NAMES)).to.deep.equal({ IpOutRequests: 1, IpFragFails: 1 });
  });

  it('identifications count up per destination and differ between destinations', () => {
    const { net } = makeRig();
    const first = ipSelectIdent(net, US, PEER, 1);
    expect(ipSelectIdent(net, US, PEER, 1)).to.equal((first + 1) & 0xffff);
    const others = [1, 2, 3, 4, 5].map((i) => ipSelectIdent(net, US, PEER + i, 1));
    expect(new Set(others).size).to.equal(5);
    for (let i = 0; i < 70_000; i++) {
      expect(ipSelectIdent(net, US, PEER, 1)).to.be.within(0, 0xffff);
    }
  });
});

describe('net/ipv4 out, by two devices', () => {
  const twoDevices = () => {
    const { net, device } = makeRig();
    const second = new CaptureDevice({ mtu: 576 });
    net.routes.addDevice('d1', second);
    net.addAddress(address('10.2.0.1'), 24, IFINDEX_LINK + 1);
    return { net, devices: [device, second] };
  };
  const lengths = (devices: CaptureDevice[]): number[][] =>
    devices.map((d) => d.take().map((packet) => packet.length));

  it('the subnet decides, else the first device, and each has its MTU', () => {
    const { net, devices } = twoDevices();
    const send = (daddr: string): void => {
      ipv4Xmit(net, outgoing(net, 1000), US, address(daddr), TCP, 0, 64, 1, false);
    };
    send('10.2.0.9');
    expect(lengths(devices)).to.deep.equal([[], [572, 468]]);
    send('10.3.0.9');
    expect(lengths(devices)).to.deep.equal([[1020], []]);
  });

  it('who is bound to a device sends by it', () => {
    const { net, devices } = twoDevices();
    for (const [daddr, oif] of [
      [PEER, IFINDEX_LINK + 1],
      [address('10.2.0.9'), IFINDEX_LINK],
      [US, IFINDEX_LINK + 1],
    ] as const) {
      const skb = outgoing(net, 100);
      expect(ipRouteSkb(net, skb, daddr, oif).ifindex).to.equal(oif);
      expect(ipv4Xmit(net, skb, US, daddr, TCP, 0, 64, 1, true)).to.equal(true);
    }
    expect(lengths(devices)).to.deep.equal([[120], [120, 120]]);
    expect(net.loopback.length).to.equal(0);
  });

  it('bound to lo everything comes back, even what is not for us', () => {
    const { net, devices } = twoDevices();
    const skb = outgoing(net, 100);
    ipRouteSkb(net, skb, PEER, IFINDEX_LOOPBACK);
    ipv4Xmit(net, skb, US, PEER, TCP, 0, 64, 1, true);
    ipv4Loopback(net);
    expect(lengths(devices)).to.deep.equal([[], []]);
    expect(counters(net, MIB_NAMES)).to.include({ TunLoopbackPackets: 1, IpInAddrErrors: 1 });
  });
});

describe('net/ipv4 to ourselves', () => {
  it('comes back through ipv4Loopback as a copy', () => {
    const { net, device, transport } = makeRig();
    const skb = outgoing(net, 20, 500, 600);
    expect(ipv4Xmit(net, skb, US, US, TCP, 0, 64, 1, true)).to.equal(true);
    skb.bytes.fill(0, skb.frag0, skb.frag0 + 500);
    expect(transport.deliveries).to.have.lengthOf(0);
    expect(ipv4Loopback(net)).to.equal(false);
    expect(transport.deliveries[0]).to.deep.include({
      saddr: US,
      daddr: US,
      ifindex: IFINDEX_LINK,
      ipSummed: CHECKSUM_NONE,
      payload: pattern(1120, 11),
    });
    expect(device.take()).to.deep.equal([]);
    expect(net.outputSkbs.out).to.equal(1);
    expect(counters(net, MIB_NAMES)).to.include({ TunLoopbackPackets: 1, IpInDelivers: 1 });
  });

  it('superpackets keep their segment size; a checksum left to the link is vouched for', () => {
    const { net, transport } = makeRig();
    const skb = outgoing(net, 20, 40_000);
    skb.gsoSize = 1448;
    skb.ipSummed = CHECKSUM_PARTIAL;
    ipv4Xmit(net, skb, US, US, TCP, 0, 64, 1, true);
    ipv4Loopback(net);
    expect(transport.deliveries[0]).to.deep.include({
      gsoSize: 1448,
      ipSummed: CHECKSUM_UNNECESSARY,
      payload: pattern(40_020, 11),
    });
    expect(net.inputSkbs.out).to.equal(0);
  });

  it('works for 127.0.0.1', () => {
    const { net, transport } = makeRig();
    const localhost = address('127.0.0.1');
    ipv4Xmit(net, outgoing(net, 30), localhost, localhost, TCP, 0, 64, 1, true);
    ipv4Loopback(net);
    expect(transport.deliveries[0]).to.include({
      saddr: localhost,
      daddr: localhost,
      ifindex: IFINDEX_LOOPBACK,
    });
  });

  it('is bounded: 512 small packets or 16 superpackets wait, the next is dropped', () => {
    for (const [bytes, limit] of [
      [0, 512],
      [30_000, 16],
    ] as const) {
      const { net, transport } = makeRig();
      const skb = outgoing(net, 30, bytes);
      const start = skb.start;
      for (let i = 0; i <= limit; i++) {
        skb.start = start;
        const sentIt = ipv4Xmit(net, skb, US, US, TCP, 0, 64, 1, true);
        expect(sentIt).to.equal(i < limit);
      }
      expect(counters(net, MIB_NAMES)).to.include({ TunLoopbackDropped: 1 });
      let calls = 1;
      while (ipv4Loopback(net)) calls++;
      expect(calls).to.equal(Math.ceil(limit / 64));
      expect(transport.deliveries).to.have.lengthOf(limit);
      expect([net.inputSkbs.out, net.outputSkbs.out]).to.deep.equal([0, 1]);
    }
  });

  it('what is sent while receiving waits for the next call', () => {
    const { net } = makeRig();
    let received = 0;
    const echoing: InetProtocol = {
      rcv: () => {
        received++;
        const skb = outgoing(net, 30);
        ipv4Xmit(net, skb, US, US, TCP, 0, 64, 1, true);
        net.outputSkbs.release(skb);
      },
      err: () => expect.fail('no error was sent'),
    };
    net.inetProtos[TCP] = echoing;
    echoing.rcv(net.outputSkbs.alloc()!);
    received = 0;
    expect(ipv4Loopback(net)).to.equal(true);
    expect(received).to.equal(1);
  });
});
