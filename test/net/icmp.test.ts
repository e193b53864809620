/**
 * src/net/icmp.ts and icmp-rate-limit.ts: echo, errors in, errors out, and when there must be none.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { icmpSend } from '../../src/net/icmp.js';
import { ipv4Loopback, ipv4Rcv, ipv4Xmit } from '../../src/net/ipv4.js';
import { icmphdr, iphdr } from '../../src/net/layout.js';
import { MIB_NAMES } from '../../src/net/mib.js';
import type { NetNs } from '../../src/net/netns.js';
import { CHECKSUM_UNNECESSARY, type Skb } from '../../src/net/skb.js';
import {
  address,
  CaptureDevice,
  counters,
  inject,
  ipv4Packet,
  makeNet,
  naiveChecksum,
  type PacketOptions,
  pattern,
} from './fixtures.js';

const ICMP = 1;
const TCP = 6;

/** An ICMP message with a correct checksum; `rest` is the word after it. */
function icmp(type: number, code: number, rest: number, data: Uint8Array): Uint8Array {
  const message = Buffer.alloc(8 + data.length);
  const header = { type, code, checksum: 0, id: rest >>> 16, sequence: rest & 0xffff };
  message.set(data, 8);
  icmphdr.encode(header, message);
  icmphdr.encode({ ...header, checksum: naiveChecksum(message) }, message);
  return message;
}

function icmpPacket(message: Uint8Array, options: PacketOptions = {}): Uint8Array {
  return ipv4Packet(message, { protocol: ICMP, ...options });
}

const echo = (data: Uint8Array, code = 0): Uint8Array => icmp(8, code, 0x12340007, data);

interface ReportedError {
  protocol: number;
  type: number;
  code: number;
  info: number;
  saddr: number;
  daddr: number;
  quoted: Uint8Array;
}

interface Rig {
  net: NetNs;
  device: CaptureDevice;
  errors: ReportedError[];
}

function makeRig(mtu = 1500): Rig {
  const device = new CaptureDevice({ mtu });
  const net = makeNet({ device });
  const errors: ReportedError[] = [];
  net.inetProtos[TCP] = {
    rcv: () => {},
    err: (skb: Skb, type, code, info) => {
      const { protocol, saddr, daddr } = skb;
      const quoted = skb.bytes.slice(skb.transport, skb.end);
      errors.push({ protocol, type, code, info, saddr, daddr, quoted });
    },
  };
  return { net, device, errors };
}

/** The ICMP counters that moved. */
function icmpCounters(net: NetNs): Record<string, number> {
  const all = Object.entries(counters(net, MIB_NAMES));
  return Object.fromEntries(all.filter(([name]) => name.startsWith('Icmp')));
}

/** What was sent, put together from its fragments. */
function reply(device: CaptureDevice): { header: Record<string, number>; message: Uint8Array } {
  const packets = device.take();
  const header = iphdr.decode(Buffer.from(packets[0]!));
  const message = Buffer.concat(packets.map((packet) => packet.subarray(20)));
  expect(naiveChecksum(message)).to.equal(0);
  return { header, message };
}

describe('net/icmp timestamp', () => {
  const request = (bytes: number): Uint8Array =>
    icmpPacket(icmp(13, 3, 0x12340007, pattern(bytes)));

  it('a request is answered with its own time and twice ours, UT', () => {
    const { net, device } = makeRig();
    // 1994-11-06 08:49:37 UT and 250 ms.
    net.utcUs = Date.UTC(1994, 10, 6, 8, 49, 37) * 1000;
    net.nowUs = 250_999;
    inject(net, request(20), ipv4Rcv);
    const { header, message } = reply(device);
    expect(header).to.include({ tot_len: 40, frag_off: 0, ttl: 64 });
    const now = [0x01, 0xe4, 0xe1, 0xe2];
    expect([...message.subarray(0, 2)]).to.deep.equal([14, 0]);
    expect([...message.subarray(4)]).to.deep.equal([0x12, 0x34, 0, 7, 0, 1, 2, 3, ...now, ...now]);
    expect(icmpCounters(net)).to.include({ IcmpInTimestamps: 1, IcmpOutTimestampReps: 1 });
  });

  it('not without its time, nor by who does not know the date', () => {
    const { net, device } = makeRig();
    inject(net, request(12), ipv4Rcv);
    net.utcUs = 0;
    inject(net, request(3), ipv4Rcv);
    expect(device.take()).to.deep.equal([]);
    expect(icmpCounters(net)).to.include({ IcmpInTimestamps: 2, IcmpInErrors: 1 });
    expect(net.outputSkbs.out).to.equal(0);
  });

  it('no buffer: counted', () => {
    const { net } = makeRig();
    net.utcUs = 0;
    while (net.outputSkbs.alloc() !== null);
    inject(net, request(12), ipv4Rcv);
    expect(icmpCounters(net)).to.include({ IcmpOutErrors: 1 });
  });
});

describe('net/icmp echo', () => {
  it('a request is answered with its own data, id, sequence and tos', () => {
    const { net, device } = makeRig();
    inject(net, icmpPacket(echo(pattern(56)), { tos: 0xb8, ttl: 5 }), ipv4Rcv);
    const { header, message } = reply(device);
    expect(header).to.include({
      tos: 0xb8,
      ttl: 64,
      protocol: ICMP,
      frag_off: 0,
      saddr: address('198.18.0.1') >>> 0,
      daddr: address('198.18.0.254') >>> 0,
    });
    const expected = icmp(0, 0, 0x12340007, pattern(56));
    expect(Buffer.compare(message, expected)).to.equal(0);
    expect(icmpCounters(net)).to.deep.equal({
      IcmpInMsgs: 1,
      IcmpInEchos: 1,
      IcmpOutMsgs: 1,
      IcmpOutEchoReps: 1,
    });
    expect([net.inputSkbs.out, net.outputSkbs.out]).to.deep.equal([0, 0]);
  });

  it('answers any data, also none, with a correct checksum', () => {
    const { net, device } = makeRig();
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(255), (data, code) => {
        inject(net, icmpPacket(echo(data, code)), ipv4Rcv);
        const { message } = reply(device);
        expect([message[0], message[1]]).to.deep.equal([0, code]);
        expect(Buffer.compare(message.subarray(8), data)).to.equal(0);
      }),
      { numRuns: 150 },
    );
  });

  it('an answer that is all zeros has the checksum 0xffff, as any receiver computes it', () => {
    const { net, device } = makeRig();
    inject(net, icmpPacket(icmp(8, 0, 0, new Uint8Array(4))), ipv4Rcv);
    expect([...reply(device).message]).to.deep.equal([0, 0, 255, 255, ...Array(8).fill(0)]);
    // Here the sum itself is 0xffff.
    inject(net, icmpPacket(icmp(8, 0, 0xffff, new Uint8Array(4))), ipv4Rcv);
    expect([...reply(device).message.subarray(2, 4)]).to.deep.equal([0, 0]);
  });

  it('an answer of 65,535 bytes leaves in fragments', () => {
    const { net, device } = makeRig();
    inject(net, icmpPacket(echo(pattern(65_507))), ipv4Rcv);
    expect(counters(net, MIB_NAMES)).to.include({ IpFragOKs: 1, IpFragCreates: 45 });
    const { message } = reply(device);
    expect(message).to.have.lengthOf(65_515);
    expect(Buffer.compare(message.subarray(8), pattern(65_507))).to.equal(0);
  });

  it('sums anew when the link vouched for the request', () => {
    const { net, device } = makeRig();
    const packet = icmpPacket(echo(pattern(31)));
    packet[22] = packet[22]! ^ 0xff;
    inject(net, packet, (ns, skb) => {
      skb.ipSummed = CHECKSUM_UNNECESSARY;
      ipv4Rcv(ns, skb);
    });
    expect(reply(device).message[0]).to.equal(0);
  });

  it('is silent with icmp_echo_ignore_all', () => {
    const { net, device } = makeRig();
    net.sysctl.icmpEchoIgnoreAll = 1;
    inject(net, icmpPacket(echo(pattern(8))), ipv4Rcv);
    expect(device.take()).to.deep.equal([]);
    expect(icmpCounters(net)).to.deep.equal({ IcmpInMsgs: 1, IcmpInEchos: 1 });
  });

  it('counts when there is no buffer for the answer', () => {
    const { net, device } = makeRig();
    while (net.outputSkbs.alloc() !== null);
    inject(net, icmpPacket(echo(pattern(8))), ipv4Rcv);
    expect(device.take()).to.deep.equal([]);
    expect(icmpCounters(net)).to.include({ IcmpOutErrors: 1 });
  });

  it('we can ping ourselves', () => {
    const { net, device } = makeRig();
    const us = address('198.18.0.1');
    const skb = net.outputSkbs.alloc()!;
    skb.start += 20;
    const request = echo(pattern(56));
    skb.bytes.set(request, skb.start);
    skb.end = skb.start + request.length;
    ipv4Xmit(net, skb, us, us, ICMP, 0, 64, 1, false);
    net.outputSkbs.release(skb);
    expect(ipv4Loopback(net)).to.equal(true);
    expect(ipv4Loopback(net)).to.equal(false);
    expect(icmpCounters(net)).to.include({ IcmpInEchos: 1, IcmpOutEchoReps: 1, IcmpInEchoReps: 1 });
    expect(device.take()).to.deep.equal([]);
    expect([net.inputSkbs.out, net.outputSkbs.out]).to.deep.equal([0, 0]);
  });
});

describe('net/icmp in', () => {
  it('drops bad checksums, short messages and unknown types', () => {
    const { net, device } = makeRig();
    const corrupt = echo(pattern(20));
    corrupt[15] = corrupt[15]! ^ 1;
    inject(net, icmpPacket(corrupt), ipv4Rcv);
    expect(icmpCounters(net)).to.deep.equal({
      IcmpInMsgs: 1,
      IcmpInErrors: 1,
      IcmpInCsumErrors: 1,
    });
    const short = Uint8Array.of(8, 0, 0xf7, 0xff, 0, 0, 0);
    inject(net, icmpPacket(short), ipv4Rcv);
    inject(net, icmpPacket(icmp(19, 0, 0, pattern(8))), ipv4Rcv);
    expect(icmpCounters(net)).to.include({ IcmpInMsgs: 3, IcmpInErrors: 3, IcmpInCsumErrors: 1 });
    expect(device.take()).to.deep.equal([]);
  });

  // RFC 9293 MUST-55, RFC 6633.
  it('counts every type and answers only echo', () => {
    const { net, device } = makeRig();
    for (const type of [0, 1, 4, 5, 13, 14, 17, 18]) {
      inject(net, icmpPacket(icmp(type, 0, 0, pattern(28))), ipv4Rcv);
    }
    expect(icmpCounters(net)).to.deep.equal({
      IcmpInMsgs: 8,
      IcmpInEchoReps: 1,
      IcmpInSrcQuenchs: 1,
      IcmpInRedirects: 1,
      IcmpInTimestamps: 1,
      IcmpInTimestampReps: 1,
      IcmpInAddrMasks: 1,
      IcmpInAddrMaskReps: 1,
    });
    expect(device.take()).to.deep.equal([]);
  });

  /** A packet of ours as an error would quote it. */
  const ours = (payload: Uint8Array, options: PacketOptions = {}): Uint8Array =>
    ipv4Packet(payload, { saddr: '198.18.0.1', daddr: '203.0.113.9', ...options });

  it('hands errors to the transport that they are about', () => {
    for (const [type, code, rest, info] of [
      [3, 0, 0, 0],
      [3, 3, 0x55550000, 0],
      [3, 4, 1280, 1280],
      [3, 4, 0xffff0000 | 576, 576],
      [3, 15, 0, 0],
      [11, 0, 77, 0],
      [12, 0, 20 << 24, 20],
    ] as const) {
      const { net, errors, device } = makeRig();
      const quote = ours(pattern(40)).subarray(0, 28);
      inject(net, icmpPacket(icmp(type, code, rest, quote)), ipv4Rcv);
      expect(errors).to.deep.equal([
        {
          protocol: TCP,
          type,
          code,
          info,
          saddr: address('198.18.0.1'),
          daddr: address('203.0.113.9'),
          quoted: pattern(8),
        },
      ]);
      expect(device.take()).to.deep.equal([]);
      expect(icmpCounters(net)).to.not.have.property('IcmpInErrors');
    }
  });

  it('honours the quoted header’s own length', () => {
    const { net, errors } = makeRig();
    const quote = ours(pattern(9), { options: Uint8Array.of(1, 1, 1, 0) });
    inject(net, icmpPacket(icmp(3, 1, 0, quote)), ipv4Rcv);
    expect(errors[0]!.quoted).to.deep.equal(pattern(9));
  });

  it('ignores what it cannot attribute', () => {
    const cases: [what: string, quote: Uint8Array][] = [
      ['no quote', new Uint8Array(0)],
      ['half a header', ours(pattern(8)).subarray(0, 19)],
      ['seven bytes of transport', ours(pattern(8)).subarray(0, 27)],
      ['an impossible header length', ours(pattern(8), { versionIhl: 0x44 })],
      ['a header longer than the quote', ours(pattern(8), { versionIhl: 0x4f })],
      ['another version', ours(pattern(8), { versionIhl: 0x65 })],
      ['a later fragment', ours(pattern(8), { fragOff: 0x2001 })],
      ['a packet that is not ours', ours(pattern(8), { saddr: '198.18.0.2' })],
    ];
    for (const [what, quote] of cases) {
      const { net, errors } = makeRig();
      inject(net, icmpPacket(icmp(3, 3, 0, quote)), ipv4Rcv);
      expect(errors, what).to.deep.equal([]);
      expect(icmpCounters(net), what).to.deep.equal({
        IcmpInMsgs: 1,
        IcmpInErrors: 1,
        IcmpInDestUnreachs: 1,
      });
    }
  });

  it('ignores unknown codes and protocols that nobody handles', () => {
    const { net, errors } = makeRig();
    inject(net, icmpPacket(icmp(3, 16, 0, ours(pattern(8)))), ipv4Rcv);
    inject(net, icmpPacket(icmp(3, 3, 0, ours(pattern(8), { protocol: 17 }))), ipv4Rcv);
    expect(errors).to.deep.equal([]);
    expect(icmpCounters(net)).to.deep.equal({ IcmpInMsgs: 2, IcmpInDestUnreachs: 2 });
  });
});

/** Sends an error about `packet` as if its transport had refused it. */
function report(net: NetNs, packet: Uint8Array, type = 3, code = 3, info = 0): void {
  inject(net, packet, (ns, skb) => {
    const { view, start } = skb;
    skb.saddr = view.getInt32(start + 12);
    skb.daddr = view.getInt32(start + 16);
    skb.protocol = view.getUint8(start + 9);
    skb.tos = view.getUint8(start + 1);
    skb.transport = start + (view.getUint8(start) & 15) * 4;
    icmpSend(ns, skb, type, code, info);
  });
}

const fromPeer = (payload: Uint8Array, options: PacketOptions = {}): Uint8Array =>
  ipv4Packet(payload, { protocol: 17, ...options });

describe('net/icmp out', () => {
  it('quotes the packet and tells its sender', () => {
    const { net, device } = makeRig();
    const packet = fromPeer(pattern(100), { tos: 0xff });
    report(net, packet, 3, 4, 1280);
    const { header, message } = reply(device);
    // TOS: precedence internetwork control, the packet's service without its ECN bit.
    expect(header).to.include({ tos: 0xde, protocol: ICMP, daddr: address('198.18.0.254') >>> 0 });
    expect(icmphdr.decode(Buffer.from(message))).to.include({ type: 3, code: 4, sequence: 1280 });
    expect(Buffer.compare(message.subarray(8), packet)).to.equal(0);
    expect(icmpCounters(net)).to.deep.equal({ IcmpOutMsgs: 1, IcmpOutDestUnreachs: 1 });
    expect(net.outputSkbs.out).to.equal(0);
  });

  it('is at most 576 bytes long, and no longer than the MTU', () => {
    for (const [mtu, bytes] of [
      [1500, 576],
      [576, 576],
      [300, 300],
    ] as const) {
      const { net, device } = makeRig(mtu);
      const packet = fromPeer(pattern(1000));
      report(net, packet);
      const sent = device.take();
      expect(sent).to.have.lengthOf(1);
      expect(sent[0]).to.have.lengthOf(bytes);
      expect(naiveChecksum(sent[0]!.subarray(20))).to.equal(0);
      expect(Buffer.compare(sent[0]!.subarray(28), packet.subarray(0, bytes - 28))).to.equal(0);
    }
  });

  it('never reports what RFC 1122 3.2.2 forbids', () => {
    const forbidden: [what: string, packet: Uint8Array][] = [
      ['multicast', fromPeer(pattern(8), { daddr: '224.0.0.1' })],
      ['broadcast', fromPeer(pattern(8), { daddr: '255.255.255.255' })],
      ['source multicast', fromPeer(pattern(8), { saddr: '239.1.1.1' })],
      ['source broadcast', fromPeer(pattern(8), { saddr: '255.255.255.255' })],
      ['source zero', fromPeer(pattern(8), { saddr: '0.0.0.0' })],
      ['source loopback', fromPeer(pattern(8), { saddr: '127.0.0.1' })],
      ['a later fragment', fromPeer(pattern(8), { fragOff: 1 })],
      ['an ICMP error', icmpPacket(icmp(3, 3, 0, pattern(28)))],
      ['an ICMP redirect', icmpPacket(icmp(5, 0, 0, pattern(28)))],
      ['ICMP without a type', icmpPacket(new Uint8Array(0))],
    ];
    for (const [what, packet] of forbidden) {
      const { net, device } = makeRig();
      report(net, packet);
      expect(device.take(), what).to.deep.equal([]);
      expect(icmpCounters(net), what).to.deep.equal({});
    }
  });

  it('reports first fragments and ICMP queries', () => {
    for (const packet of [
      fromPeer(pattern(8), { fragOff: 0x2000 }),
      icmpPacket(icmp(8, 0, 0, pattern(8))),
      icmpPacket(icmp(0, 0, 0, pattern(8))),
      icmpPacket(icmp(13, 0, 0, pattern(12))),
    ]) {
      const { net, device } = makeRig();
      report(net, packet, 11, 1);
      expect(device.take()).to.have.lengthOf(1);
    }
  });

  it('counts when there is no buffer', () => {
    const { net } = makeRig();
    while (net.outputSkbs.alloc() !== null);
    report(net, fromPeer(pattern(8)));
    expect(icmpCounters(net)).to.deep.equal({ IcmpOutErrors: 1 });
  });
});

describe('net/icmp rate limits', () => {
  /** Errors that leave when `count` packets of `saddr` are refused now. */
  const burst = ({ net, device }: Rig, count: number, saddr = '203.0.113.1'): number => {
    for (let i = 0; i < count; i++) report(net, fromPeer(pattern(8), { saddr }));
    return device.take().length;
  };

  it('a destination gets six at once, then one a second', () => {
    const rig = makeRig();
    expect(burst(rig, 20)).to.equal(6);
    expect(icmpCounters(rig.net)).to.include({ IcmpOutRateLimitHost: 14, IcmpOutMsgs: 6 });
    rig.net.nowUs += 999_999;
    expect(burst(rig, 3)).to.equal(0);
    rig.net.nowUs += 1;
    expect(burst(rig, 3)).to.equal(1);
    rig.net.nowUs += 2_500_000;
    expect(burst(rig, 3)).to.equal(2);
    rig.net.nowUs += 3_600_000_000;
    expect(burst(rig, 20)).to.equal(6);
  });

  it('destinations do not disturb each other', () => {
    const rig = makeRig();
    expect(burst(rig, 7, '203.0.113.1')).to.equal(6);
    expect(burst(rig, 7, '203.0.113.2')).to.equal(6);
    expect(burst(rig, 7, '203.0.113.1')).to.equal(0);
  });

  it('the whole stack sends 50 at once, then 1000 a second', () => {
    const rig = makeRig();
    rig.net.sysctl.icmpRatelimit = 0;
    expect(burst(rig, 60)).to.equal(50);
    expect(icmpCounters(rig.net)).to.include({ IcmpOutRateLimitGlobal: 10 });
    rig.net.nowUs += 10_000;
    expect(burst(rig, 60)).to.equal(10);
    rig.net.nowUs += 60_000_000;
    expect(burst(rig, 60)).to.equal(50);
  });

  it('apply to the types of icmp_ratemask only, and not to ourselves', () => {
    const rig = makeRig();
    rig.net.sysctl.icmpRatemask = 0;
    expect(burst(rig, 100)).to.equal(100);
    const echoing = makeRig();
    for (let i = 0; i < 100; i++) inject(echoing.net, icmpPacket(echo(pattern(8))), ipv4Rcv);
    expect(echoing.device.take()).to.have.lengthOf(100);
    const local = makeRig();
    for (let i = 0; i < 100; i++) report(local.net, fromPeer(pattern(8), { saddr: '198.18.0.1' }));
    expect(local.net.loopback.length).to.equal(100);
  });
});
