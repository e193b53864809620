/** src/net/fragment.ts: reassembly in every order, its limits, and what spoils a datagram. */
import { expect } from 'chai';
import fc from 'fast-check';
import { ipv4Rcv } from '../../src/net/ipv4.js';
import { iphdr } from '../../src/net/layout.js';
import { MIB_NAMES } from '../../src/net/mib.js';
import type { NetNs } from '../../src/net/netns.js';
import type { Skb } from '../../src/net/skb.js';
import {
  CaptureDevice,
  counters,
  inject,
  ipv4Packet,
  makeNet,
  naiveChecksum,
  type PacketOptions,
  pattern,
  seededRandom,
} from './fixtures.js';

const UDP = 17;
const MF = 0x2000;

interface Delivery {
  header: Uint8Array;
  payload: Uint8Array;
  tos: number;
}

interface Rig {
  net: NetNs;
  device: CaptureDevice;
  deliveries: Delivery[];
}

function makeRig(): Rig {
  const device = new CaptureDevice();
  const net = makeNet({ device });
  const deliveries: Delivery[] = [];
  net.inetProtos[UDP] = {
    rcv: (skb: Skb) => {
      const header = skb.bytes.slice(skb.start, skb.transport);
      const payload = skb.bytes.slice(skb.transport, skb.end);
      deliveries.push({ header, payload, tos: skb.tos });
    },
    err: () => expect.fail('no error was sent'),
  };
  return { net, device, deliveries };
}

/** Bytes [from, to) of a datagram with payload `data` as a fragment. */
function piece(
  data: Uint8Array,
  from: number,
  to: number,
  options: PacketOptions & { more?: boolean } = {},
): Uint8Array {
  const more = options.more ?? to < data.length;
  const fragOff = (more ? MF : 0) | (from / 8);
  return ipv4Packet(data.slice(from, to), { protocol: UDP, ...options, fragOff });
}

/** `data` cut into fragments of `bytes` payload bytes. */
function cut(data: Uint8Array, bytes: number, options: PacketOptions = {}): Uint8Array[] {
  const pieces: Uint8Array[] = [];
  for (let from = 0; from < data.length; from += bytes) {
    pieces.push(piece(data, from, Math.min(data.length, from + bytes), options));
  }
  return pieces;
}

function send({ net }: Rig, ...packets: Uint8Array[]): void {
  for (const packet of packets) inject(net, packet, ipv4Rcv);
}

/** The reassembly counters that moved. */
function reasm(net: NetNs): Record<string, number> {
  const all = Object.entries(counters(net, MIB_NAMES));
  return Object.fromEntries(all.filter(([name]) => name.includes('Reasm')));
}

/** Lets `seconds` pass and the timers run. */
function advance(net: NetNs, seconds: number): void {
  net.nowUs += seconds * 1_000_000;
  net.timers.run(net.nowUs);
}

function expectIdle(net: NetNs): void {
  expect(net.ipFrags!.size).to.equal(0);
  expect(net.inputSkbs.out).to.equal(0);
  expect(net.outputSkbs.out).to.equal(0);
  expect(net.timers.size).to.equal(0);
}

describe('net/fragment', () => {
  it('puts a datagram together, with a header that says so', () => {
    const rig = makeRig();
    const data = pattern(4000);
    send(rig, ...cut(data, 1480, { tos: 0x10, ttl: 9 }));
    expect(rig.deliveries).to.have.lengthOf(1);
    const [{ header, payload }] = rig.deliveries as [Delivery];
    expect(Buffer.compare(payload, data)).to.equal(0);
    expect(naiveChecksum(header)).to.equal(0);
    expect(iphdr.decode(Buffer.from(header))).to.include({
      tot_len: 4020,
      frag_off: 0,
      tos: 0x10,
      id: 0x1234,
    });
    expect(reasm(rig.net)).to.deep.equal({ IpReasmReqds: 3, IpReasmOKs: 1 });
    expect(counters(rig.net, MIB_NAMES)).to.include({ IpInReceives: 3, IpInDelivers: 1 });
    expectIdle(rig.net);
  });

  // RFC 1122 3.3.2.
  it('in any order, of any sizes, with duplicates', () => {
    fc.assert(
      fc.property(
        fc.integer({ min: 9, max: 8000 }),
        // At most 250 fragments: so few never leave more holes than are borne.
        fc.array(fc.integer({ min: 4, max: 120 }), { minLength: 1, maxLength: 12 }),
        fc.integer(),
        fc.nat(4),
        (length, sizes, seed, duplicates) => {
          const rig = makeRig();
          const random = seededRandom(seed);
          const data = pattern(length, seed & 0xff);
          const pieces: Uint8Array[] = [];
          for (let from = 0, i = 0; from < length; i++) {
            const to = Math.min(length, from + sizes[i % sizes.length]! * 8);
            pieces.push(piece(data, from, to));
            from = to;
          }
          if (pieces.length === 1) return;
          rig.net.sysctl.ipfragMaxDist = 0;
          // Duplicates of all but the first to come, so that none comes after the last missing
          // piece.
          const order = pieces.map((packet) => ({ packet, key: random.u32() }));
          order.sort((a, b) => a.key - b.key);
          const last = order.pop()!;
          for (let n = 0; n < duplicates && order.length > 0; n++) {
            order.push(order[random.u32() % order.length]!);
          }
          send(rig, ...order.map(({ packet }) => packet), last.packet);
          expect(rig.deliveries).to.have.lengthOf(1);
          expect(Buffer.compare(rig.deliveries[0]!.payload, data)).to.equal(0);
          expectIdle(rig.net);
        },
      ),
      { numRuns: 80 },
    );
  });

  it('takes the largest datagram, 65,535 bytes, also backwards', () => {
    const rig = makeRig();
    const data = pattern(65_515);
    send(rig, ...cut(data, 1480).reverse());
    expect(Buffer.compare(rig.deliveries[0]!.payload, data)).to.equal(0);
    expectIdle(rig.net);
  });

  it('drops what would be one byte longer', () => {
    const rig = makeRig();
    send(rig, piece(pattern(65_516), 65_512, 65_516));
    expect(reasm(rig.net)).to.deep.equal({ IpReasmReqds: 1, IpReasmFails: 1 });
    expectIdle(rig.net);
    // Within the limit by itself, but not behind the first fragment's longer header.
    const data = pattern(65_515);
    const options = Uint8Array.of(1, 1, 1, 0);
    const [first, ...others] = cut(data, 1480);
    expect(first).to.have.lengthOf(1500);
    send(rig, ...others, piece(data, 0, 1480, { options }));
    expect(rig.deliveries).to.deep.equal([]);
    expect(reasm(rig.net)).to.include({ IpReasmFails: 2 });
    expectIdle(rig.net);
  });

  it('keeps the options of the first fragment', () => {
    const rig = makeRig();
    const data = pattern(100);
    const options = Uint8Array.of(148, 4, 0, 0);
    send(rig, piece(data, 48, 100), piece(data, 0, 48, { options }));
    expect(rig.deliveries[0]!.header).to.have.lengthOf(24);
    expect(naiveChecksum(rig.deliveries[0]!.header)).to.equal(0);
    expect(rig.deliveries[0]!.payload).to.deep.equal(data);
  });

  it('cuts a fragment that is not the last to a multiple of eight', () => {
    const rig = makeRig();
    const data = pattern(40);
    send(rig, piece(data, 0, 21, { more: true }), piece(data, 16, 40));
    expect(rig.deliveries[0]!.payload).to.deep.equal(data);
  });

  it('the whole has come in where its latest piece has', () => {
    const rig = makeRig();
    const data = pattern(24);
    const seen: number[][] = [];
    rig.net.inetProtos[UDP]!.rcv = (skb) => seen.push([skb.ifindex, skb.cpu]);
    for (const [packet, ifindex, cpu] of [
      [piece(data, 0, 8), 2, 0],
      [piece(data, 16, 24), 3, 1],
      [piece(data, 8, 16, { more: true }), 4, 2],
    ] as const) {
      inject(rig.net, packet, (net, skb) => {
        Object.assign(skb, { ifindex, cpu });
        ipv4Rcv(net, skb);
      });
    }
    expect(seen).to.deep.equal([[4, 2]]);
  });

  it('keeps datagrams apart by source, destination, protocol and id', () => {
    const rig = makeRig();
    rig.net.addAddress((198 << 24) | (18 << 16) | 7);
    const datagrams: PacketOptions[] = [
      {},
      { id: 1 },
      { saddr: '198.18.0.253' },
      { daddr: '198.18.0.7' },
      { protocol: 1 },
    ];
    const data = pattern(24);
    for (const options of datagrams) send(rig, piece(data, 0, 8, options));
    expect(rig.net.ipFrags!.size).to.equal(5);
    send(rig, piece(data, 8, 24, { id: 1 }));
    expect(rig.deliveries).to.have.lengthOf(1);
    expect(rig.net.ipFrags!.size).to.equal(4);
  });

  const data = pattern(48);
  const spoiled: [what: string, packets: Uint8Array[], overlaps: number][] = [
    ['an overlap from the left', [piece(data, 8, 24), piece(data, 0, 16)], 1],
    ['an overlap from the right', [piece(data, 0, 16), piece(data, 8, 24)], 1],
    ['a fragment around another', [piece(data, 8, 16), piece(data, 0, 24)], 1],
    [
      'a bridge into the next stretch',
      [piece(data, 0, 8), piece(data, 16, 32), piece(data, 8, 24)],
      1,
    ],
    ['a second, shorter end', [piece(data, 40, 48), piece(data, 16, 24, { more: false })], 0],
    ['a second, longer end', [piece(data, 16, 24, { more: false }), piece(data, 40, 48)], 0],
    ['data past the end', [piece(data, 16, 24, { more: false }), piece(data, 24, 32)], 0],
    ['an end before known data', [piece(data, 32, 40), piece(data, 8, 16, { more: false })], 0],
    ['an empty fragment', [piece(data, 0, 8), piece(data, 8, 8, { more: true })], 0],
    ['a fragment of seven bytes that is not the last', [piece(data, 0, 7, { more: true })], 0],
  ];
  for (const [what, packets, overlaps] of spoiled) {
    it(`${what} spoils the datagram`, () => {
      const rig = makeRig();
      send(rig, ...packets);
      expect(rig.deliveries).to.deep.equal([]);
      expect(reasm(rig.net)).to.deep.equal({
        IpReasmReqds: packets.length,
        IpReasmFails: 1,
        ...(overlaps > 0 ? { IpExtReasmOverlaps: overlaps } : {}),
      });
      expectIdle(rig.net);
    });
  }

  it('128 stretches with holes are borne, one more is not', () => {
    const rig = makeRig();
    rig.net.sysctl.ipfragMaxDist = 0;
    const long = pattern(8 * 300);
    const scattered = (i: number): Uint8Array => piece(long, i * 16, i * 16 + 8);
    for (let i = 127; i >= 0; i--) send(rig, scattered(i));
    expect(reasm(rig.net)).to.deep.equal({ IpReasmReqds: 128 });
    send(rig, scattered(128));
    expect(reasm(rig.net)).to.deep.equal({ IpReasmReqds: 129, IpReasmFails: 1 });
    expectIdle(rig.net);
  });

  // RFC 3168 5.3.
  it('congestion seen by one fragment is congestion of the datagram', () => {
    for (const [tos, expected] of [
      [[2, 3, 2], 3],
      [[1, 2, 3], 3],
      [[2, 2, 2], 2],
      [[0, 0, 0], 0],
      [[3, 3, 3], 3],
    ] as const) {
      const rig = makeRig();
      for (const [i, bits] of tos.entries()) {
        send(rig, piece(data, i * 16, i * 16 + 16, { tos: 0x40 | bits }));
      }
      expect(rig.deliveries[0]!.tos).to.equal(0x40 | expected);
      expect(rig.deliveries[0]!.header[1]).to.equal(0x40 | expected);
      expect(naiveChecksum(rig.deliveries[0]!.header)).to.equal(0);
    }
    const rig = makeRig();
    send(rig, piece(data, 0, 16, { tos: 0 }), piece(data, 16, 48, { tos: 3 }));
    expect(rig.deliveries).to.deep.equal([]);
    expect(reasm(rig.net)).to.include({ IpReasmFails: 1 });
    expectIdle(rig.net);
  });
});

describe('net/fragment time-out', () => {
  it('after ipfrag_time the sender is told, when the first fragment is known', () => {
    const rig = makeRig();
    const first = piece(pattern(2000), 0, 1000, { tos: 0x20 });
    send(rig, first);
    advance(rig.net, 29.999_999);
    expect(rig.net.ipFrags!.size).to.equal(1);
    advance(rig.net, 0.000_001);
    expect(reasm(rig.net)).to.deep.equal({ IpReasmReqds: 1, IpReasmTimeout: 1, IpReasmFails: 1 });
    const [error] = rig.device.take();
    expect([error![20], error![21]]).to.deep.equal([11, 1]);
    expect(naiveChecksum(error!.subarray(20))).to.equal(0);
    expect(error).to.have.lengthOf(576);
    expect(Buffer.compare(error!.subarray(28), first.subarray(0, 548))).to.equal(0);
    expectIdle(rig.net);
  });

  it('quotes a small first fragment whole and nothing else', () => {
    const rig = makeRig();
    const long = pattern(600);
    const first = piece(long, 0, 24);
    send(rig, piece(long, 24, 400), first);
    advance(rig.net, 30);
    const [error] = rig.device.take();
    expect(Buffer.compare(error!.subarray(28), first)).to.equal(0);
  });

  it('nobody is told without the first fragment', () => {
    const rig = makeRig();
    send(rig, piece(pattern(2000), 8, 1000));
    advance(rig.net, 30);
    expect(reasm(rig.net)).to.include({ IpReasmTimeout: 1, IpReasmFails: 1 });
    expect(rig.device.take()).to.deep.equal([]);
    expectIdle(rig.net);
  });

  it('counts from the first fragment, not from the latest', () => {
    const rig = makeRig();
    rig.net.sysctl.ipfragTime = 5;
    const long = pattern(100);
    send(rig, piece(long, 0, 8));
    advance(rig.net, 4);
    send(rig, piece(long, 8, 16));
    advance(rig.net, 1);
    expectIdle(rig.net);
    // A late rest begins a new datagram and times out by itself.
    send(rig, piece(long, 16, 100));
    expect(rig.deliveries).to.deep.equal([]);
    expect(rig.net.ipFrags!.size).to.equal(1);
  });
});

describe('net/fragment limits', () => {
  const data = pattern(24);
  const start = (rig: Rig, id: number): void => send(rig, piece(data, 0, 8, { id }));
  const finish = (rig: Rig, id: number): void => send(rig, piece(data, 8, 24, { id }));

  it('24 datagrams at most; a new one pushes out the oldest', () => {
    const rig = makeRig();
    for (let id = 0; id < 24; id++) start(rig, id);
    expect(reasm(rig.net)).to.deep.equal({ IpReasmReqds: 24 });
    start(rig, 24);
    expect(rig.net.ipFrags!.size).to.equal(24);
    expect(reasm(rig.net)).to.deep.equal({ IpReasmReqds: 25, IpReasmFails: 1 });
    finish(rig, 1);
    expect(rig.deliveries).to.have.lengthOf(1);
    finish(rig, 0);
    expect(rig.deliveries).to.have.lengthOf(1);
  });

  it('ipfrag_high_thresh bounds their memory; 0 turns reassembly off', () => {
    const rig = makeRig();
    rig.net.sysctl.ipfragHighThresh = 3 * (128 << 10);
    for (let id = 0; id < 3; id++) start(rig, id);
    expect(reasm(rig.net)).to.not.have.property('IpReasmFails');
    start(rig, 3);
    expect(rig.net.ipFrags!.size).to.equal(3);
    rig.net.sysctl.ipfragHighThresh = 0;
    start(rig, 9);
    expect(reasm(rig.net)).to.deep.equal({ IpReasmReqds: 5, IpReasmFails: 5 });
    expectIdle(rig.net);
  });

  it('makes room in an exhausted pool, and does without when there is nothing to give up', () => {
    const rig = makeRig();
    start(rig, 1);
    const { inputSkbs } = rig.net;
    const held: Skb[] = [];
    // One buffer is left: it carries the incoming packet.
    for (;;) {
      const skb = inputSkbs.alloc();
      if (skb === null) break;
      held.push(skb);
    }
    inputSkbs.release(held.pop()!);
    start(rig, 2);
    expect(reasm(rig.net)).to.deep.equal({ IpReasmReqds: 2, IpReasmFails: 1 });
    finish(rig, 2);
    expect(rig.deliveries).to.have.lengthOf(1);
    held.push(inputSkbs.alloc()!);
    start(rig, 3);
    expect(reasm(rig.net)).to.deep.equal({ IpReasmReqds: 4, IpReasmOKs: 1, IpReasmFails: 2 });
    expect(rig.net.ipFrags!.size).to.equal(0);
  });

  it('starts afresh when too many fragments of the sender came between two', () => {
    const long = pattern(600);
    for (const [between, whole] of [
      [63, true],
      [64, false],
    ] as const) {
      const rig = makeRig();
      send(rig, piece(long, 0, 8, { id: 1 }));
      for (let i = 0; i < between; i++) send(rig, piece(long, 0, 8, { id: 2 }));
      send(rig, piece(long, 8, 600, { id: 1 }));
      expect(rig.deliveries.length === 1, `${between} between`).to.equal(whole);
      expect(reasm(rig.net)['IpReasmFails'] ?? 0).to.equal(whole ? 0 : 1);
    }
    const rig = makeRig();
    rig.net.sysctl.ipfragMaxDist = 0;
    send(rig, piece(long, 0, 8, { id: 1 }));
    for (let i = 0; i < 500; i++) send(rig, piece(long, 0, 8, { id: 2 }));
    send(rig, piece(long, 8, 600, { id: 1 }));
    expect(rig.deliveries).to.have.lengthOf(1);
  });

  it('an echo request in fragments is answered in fragments', () => {
    const rig = makeRig();
    const request = Buffer.alloc(60_008);
    request[0] = 8;
    request.set(pattern(60_000), 8);
    request.writeUInt16BE(naiveChecksum(request), 2);
    send(rig, ...cut(request, 1480, { protocol: 1 }));
    const packets = rig.device.take();
    expect(packets).to.have.lengthOf(41);
    const answer = Buffer.concat(packets.map((packet) => packet.subarray(20)));
    expect(answer[0]).to.equal(0);
    expect(naiveChecksum(answer)).to.equal(0);
    expect(Buffer.compare(answer.subarray(8), pattern(60_000))).to.equal(0);
    expectIdle(rig.net);
  });
});
