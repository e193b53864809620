/**
 * Super-packets that are cut before a link which does not cut (src/net/ipv4-output.ts): what leaves
 * is, byte for byte, what leaves when each segment is sent by itself.
 */
import { expect } from 'chai';
import fc from 'fast-check';
import { ipv4Xmit } from '../../src/net/ipv4.js';
import { tcphdr } from '../../src/net/layout.js';
import { Mib } from '../../src/net/mib.js';
import type { NetNs } from '../../src/net/netns.js';
import { CHECKSUM_PARTIAL, type Skb } from '../../src/net/skb.js';
import { CaptureDevice, makeMem, makeNet, naiveChecksum, pattern } from './fixtures.js';
import { PEER, TCP, US } from './ipv4-rig.js';

const FIN_AND_PSH = 0x09;
const CWR = 0x80;

interface Stretch {
  readonly seq: number;
  readonly flags: number;
  readonly options: Uint8Array;
  readonly urgent: number;
}

interface Rig {
  readonly net: NetNs;
  readonly device: CaptureDevice;
  /** Arena memory for the fragments of a packet. */
  readonly elsewhere: number;
}

function rig(mtu: number, checksum = false): Rig {
  const device = new CaptureDevice({ mtu, checksum });
  const net = makeNet({ device, mem: makeMem({ bytes: 8 << 20 }) });
  return { net, device, elsewhere: net.mem.allocRing(256 << 10) * 4096 };
}

/** A TCP packet without its IP header, text at `splits` in its linear part and two fragments. */
function packet(
  { net, elsewhere }: Rig,
  { seq, flags, options, urgent }: Stretch,
  text: Uint8Array,
  splits: readonly [number, number],
): Skb {
  const skb = net.outputSkbs.alloc()!;
  skb.start += 20;
  const at = skb.start;
  const doff = ((20 + options.length) >> 2) << 4;
  const header = { source: 80, dest: 4711, ack_seq: 7, window: 501, check: 0, urg_ptr: urgent };
  const fields = { ...header, seq: seq >>> 0, doff, flags };
  tcphdr.encode(fields, Buffer.from(skb.bytes.buffer, skb.bytes.byteOffset + at, 20));
  skb.bytes.set(options, at + 20);
  skb.end = at + 20 + options.length;
  const linear = Math.min(splits[0], text.length, 2000);
  skb.bytes.set(text.subarray(0, linear), skb.end);
  skb.end += linear;
  skb.frag0 = elsewhere + 3;
  skb.frag0Bytes = Math.min(splits[1], text.length - linear);
  skb.bytes.set(text.subarray(linear, linear + skb.frag0Bytes), skb.frag0);
  skb.frag1 = elsewhere + 100_000;
  skb.frag1Bytes = text.length - linear - skb.frag0Bytes;
  skb.bytes.set(text.subarray(text.length - skb.frag1Bytes), skb.frag1);
  skb.ipSummed = CHECKSUM_PARTIAL;
  return skb;
}

/** A packet as it is: its checksums must be right. */
function checked(bytes: Uint8Array): Uint8Array {
  const tcp = bytes.slice(20);
  const pseudo = new Uint8Array(12 + tcp.length);
  pseudo.set(bytes.subarray(12, 20));
  pseudo[9] = TCP;
  pseudo[10] = tcp.length >> 8;
  pseudo[11] = tcp.length & 255;
  pseudo.set(tcp, 12);
  expect(naiveChecksum(pseudo), 'TCP checksum').to.equal(0);
  expect(naiveChecksum(bytes.subarray(0, 20)), 'IP checksum').to.equal(0);
  return bytes;
}

const hex = (bytes: Uint8Array): string => Buffer.from(bytes).toString('hex');

const anyStretch = fc.record({
  seq: fc.integer(),
  flags: fc.nat(255),
  options: fc.nat(10).map((words) => pattern(words * 4, 3)),
  urgent: fc.nat(0xffff),
});

describe('net/ipv4 out: segments of a super-packet', () => {
  it('are what each would be by itself, whatever is in it and wherever it lies', () => {
    fc.assert(
      fc.property(
        anyStretch,
        fc.constantFrom(1, 2, 536, 1448, 1460, 2048, 2049, 8900),
        fc.integer({ min: 2, max: 30 }),
        fc.nat(8948),
        fc.tuple(fc.nat(3000), fc.nat(40_000)),
        fc.nat(0xffff),
        (stretch, mss, count, rest, splits, id) => {
          const bytes = Math.min(mss * (count - 1) + 1 + (rest % mss), 65_000);
          if (bytes <= mss) return;
          const text = pattern(bytes, 5);
          const whole = rig(9000);
          const skb = packet(whole, stretch, text, splits);
          skb.gsoSize = mss;
          expect(ipv4Xmit(whole.net, skb, US, PEER, TCP, 2, 64, id, true)).to.equal(true);
          const apart = rig(9000);
          for (let at = 0; at < bytes; at += mss) {
            const last = at + mss >= bytes;
            let flags = at === 0 ? stretch.flags : stretch.flags & ~CWR;
            if (!last) flags &= ~FIN_AND_PSH;
            const one = { ...stretch, seq: (stretch.seq + at) | 0, flags };
            const piece = packet(apart, one, text.subarray(at, at + mss), splits);
            const nth = (id + at / mss) & 0xffff;
            ipv4Xmit(apart.net, piece, US, PEER, TCP, 2, 64, nth, true);
            apart.net.outputSkbs.release(piece);
          }
          const got = whole.device.take().map(checked);
          const wanted = apart.device.take();
          for (const [i, packet] of wanted.entries()) {
            // The checksum that `checked` has found right.
            packet.set(got[i]!.subarray(36, 38), 36);
          }
          expect(got.map(hex)).to.deep.equal(wanted.map(hex));
          expect([...whole.net.mib]).to.deep.equal([...apart.net.mib]);
          whole.net.outputSkbs.release(skb);
          expect(whole.net.outputSkbs.out, 'buffers given back').to.equal(0);
        },
      ),
      { numRuns: 50 },
    );
  });

  it('leave their checksums to a link that sums but does not cut', () => {
    const r = rig(1500, true);
    const { net, device } = r;
    const stretch = { seq: 1, flags: 0x18, options: new Uint8Array(0), urgent: 0 };
    const skb = packet(r, stretch, pattern(3000), [0, 5000]);
    skb.gsoSize = 1460;
    expect(ipv4Xmit(net, skb, US, PEER, TCP, 0, 64, 1, true)).to.equal(true);
    const sums = device.take().map((bytes) => (bytes[36]! << 8) | bytes[37]!);
    const pseudo = (length: number): number => {
      const sum = (US >>> 16) + (US & 0xffff) + (PEER >>> 16) + (PEER & 0xffff) + TCP + length;
      return (sum & 0xffff) + (sum >>> 16);
    };
    expect(sums).to.deep.equal([pseudo(1480), pseudo(1480), pseudo(100)]);
  });

  it('are cut further when they are larger than the MTU and may be', () => {
    const r = rig(576);
    const { net, device } = r;
    const stretch = { seq: 1, flags: 0x18, options: new Uint8Array(0), urgent: 0 };
    const skb = packet(r, stretch, pattern(2000), [0, 5000]);
    skb.gsoSize = 1000;
    expect(ipv4Xmit(net, skb, US, PEER, TCP, 0, 64, 1, false)).to.equal(true);
    expect(device.take().map((bytes) => bytes.length)).to.deep.equal([572, 488, 572, 488]);
    const never = packet(r, stretch, pattern(2000), [0, 5000]);
    never.gsoSize = 1000;
    expect(ipv4Xmit(net, never, US, PEER, TCP, 0, 64, 1, true)).to.equal(false);
    expect(net.mib[Mib.IpFragFails]).to.equal(2);
  });

  it('are lost one by one when the link is full, and all when there is no buffer', () => {
    const r = rig(1500);
    const { net, device } = r;
    const stretch = { seq: 1, flags: 0x18, options: new Uint8Array(0), urgent: 0 };
    const skb = packet(r, stretch, pattern(3000), [0, 5000]);
    skb.gsoSize = 1460;
    device.full = true;
    expect(ipv4Xmit(net, skb, US, PEER, TCP, 0, 64, 1, true)).to.equal(false);
    expect(net.mib[Mib.IpOutDiscards]).to.equal(3);
    const last = packet(r, stretch, pattern(3000), [0, 5000]);
    last.gsoSize = 1460;
    while (net.outputSkbs.alloc() !== null);
    device.full = false;
    expect(ipv4Xmit(net, last, US, PEER, TCP, 0, 64, 1, true)).to.equal(false);
    expect(net.mib[Mib.IpOutDiscards]).to.equal(4);
    expect(device.take()).to.have.lengthOf(0);
  });
});
