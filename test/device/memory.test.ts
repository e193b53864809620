/** The simulated link: order, faults by seed, rate and queue, offload. */
import { expect } from 'chai';
import fc from 'fast-check';
import { type MemoryPairOptions, memoryPair } from '../../src/device/memory.js';
import { checksumFold, pseudoSum, skbChecksum } from '../../src/net/checksum.js';
import {
  CHECKSUM_NONE,
  CHECKSUM_PARTIAL,
  CHECKSUM_UNNECESSARY,
  type Skb,
} from '../../src/net/skb.js';
import {
  ACK,
  fill,
  HOST,
  makeMemory,
  makeSkb,
  packetOf,
  pattern,
  STACK,
  superPacket,
  tcp,
  udp,
} from './packets.js';

const mem = makeMemory();
const out = makeSkb(mem);
const into = makeSkb(mem);
const FIELDS = { saddr: STACK, daddr: HOST, sport: 80, dport: 9, seq: 1, ack: 2, flags: ACK };

function numbered(n: number, bytes = 20): Uint8Array {
  const payload = new Uint8Array(bytes);
  new DataView(payload.buffer).setUint32(0, n);
  return udp(STACK, HOST, 1, 2, payload);
}

function numberOf(skb: Skb): number {
  return skb.view.getUint32(skb.start + 28);
}

/** Sends `count` numbered packets `gapUs` apart, then lets time run: what arrives, and when. */
function run(
  options: MemoryPairOptions,
  count: number,
  gapUs = 0,
): { arrivals: { n: number; atUs: number }[]; pair: ReturnType<typeof memoryPair> } {
  const pair = memoryPair(options);
  const arrivals: { n: number; atUs: number }[] = [];
  const take = (atUs: number): void => {
    pair.advance(atUs);
    while (pair.b.receive(into)) arrivals.push({ n: numberOf(into), atUs });
  };
  for (let n = 0; n < count; n++) {
    take(n * gapUs);
    pair.a.transmit(fill(out, numbered(n)));
  }
  for (let next = pair.nextUs(); next !== Number.POSITIVE_INFINITY; next = pair.nextUs())
    take(next);
  return { arrivals, pair };
}

/** True when the IP header's and the UDP checksum are right. */
function isIntact(skb: Skb): boolean {
  const { view, start } = skb;
  if (skb.bytes[start] !== 0x45 || view.getUint16(start + 2) !== skb.end - start) return false;
  if (checksumFold(skbChecksum({ ...skb, end: start + 20 } as Skb, start, 0)) !== 0) return false;
  const sum = pseudoSum(
    view.getInt32(start + 12),
    view.getInt32(start + 16),
    17,
    skb.end - start - 20,
  );
  return skb.bytes[start + 9] === 17 && checksumFold(skbChecksum(skb, start + 20, sum)) === 0;
}

describe('memory link', () => {
  it('carries packets both ways, in order, byte for byte, at once by default', () => {
    const { a, b } = memoryPair();
    expect(a.offload).to.deep.equal({ checksum: false, gsoMaxBytes: 0 });
    expect(a.mtu).to.equal(1500);
    for (let n = 0; n < 3; n++) expect(a.transmit(fill(out, numbered(n)))).to.equal(true);
    const back = tcp({ ...FIELDS, payload: pattern(99) });
    expect(b.transmit(fill(out, back))).to.equal(true);
    for (let n = 0; n < 3; n++) {
      expect(b.receive(into)).to.equal(true);
      expect(Buffer.compare(packetOf(into), numbered(n))).to.equal(0);
      expect(into).to.include({ ipSummed: CHECKSUM_NONE, gsoSize: 0 });
    }
    expect(b.receive(into)).to.equal(false);
    expect(a.receive(into)).to.equal(true);
    expect(Buffer.compare(packetOf(into), back)).to.equal(0);
    expect(a.counters).to.include({
      txPackets: 3,
      txBytes: 144,
      rxPackets: 1,
      rxBytes: back.length,
    });
    expect(b.counters).to.include({ txPackets: 1, rxPackets: 3, rxBytes: 144 });
    expect(a.inFlight + b.inFlight).to.equal(0);
  });

  it('copies: the sender may reuse its memory', () => {
    const { a, b } = memoryPair();
    a.transmit(fill(out, numbered(7)));
    out.bytes.fill(0, out.start, out.end);
    b.receive(into);
    expect(Buffer.compare(packetOf(into), numbered(7))).to.equal(0);
  });

  it('gathers fragments', () => {
    const { a, b } = memoryPair();
    const packet = tcp({ ...FIELDS, payload: pattern(300) });
    fill(out, packet.subarray(0, 40));
    out.frag0 = into.base + 65_536;
    out.frag0Bytes = 201;
    out.frag1 = into.base + 70_000;
    out.frag1Bytes = 99;
    out.bytes.set(packet.subarray(40, 241), out.frag0);
    out.bytes.set(packet.subarray(241), out.frag1);
    expect(a.transmit(out)).to.equal(true);
    expect(b.receive(into)).to.equal(true);
    expect(Buffer.compare(packetOf(into), packet)).to.equal(0);
  });

  it('delays: arrives exactly when it should, not a µs before', () => {
    const { a, b, advance, nextUs } = memoryPair({ delayUs: 500 });
    expect(nextUs()).to.equal(Number.POSITIVE_INFINITY);
    advance(100);
    a.transmit(fill(out, numbered(0)));
    expect(nextUs()).to.equal(600);
    advance(599);
    expect(b.receive(into)).to.equal(false);
    advance(600);
    advance(50); // time does not go back
    expect(b.receive(into)).to.equal(true);
  });

  it('a rate spaces packets; a full queue refuses', () => {
    // 48 bytes at 8 Mbit/s: 48 µs each.
    const { arrivals } = run({ rateBps: 8e6, delayUs: 10 }, 4);
    expect(arrivals.map((x) => x.atUs)).to.deep.equal([58, 106, 154, 202]);
    const { a, advance } = memoryPair({ rateBps: 8e6, queueBytes: 96 });
    const send = (): boolean => a.transmit(fill(out, numbered(0)));
    expect([send(), send(), send()]).to.deep.equal([true, true, false]);
    expect(a.counters).to.include({ txPackets: 2, txDropped: 1, txErrors: 0 });
    advance(47);
    expect(send()).to.equal(false);
    advance(48);
    expect(send()).to.equal(true);
  });

  it('jitter does not reorder, reordering does', () => {
    const steady = run({ delayUs: 100, jitterUs: 5000, seed: 9 }, 200, 3);
    expect(steady.arrivals.map((x) => x.n)).to.deep.equal([...Array(200).keys()]);
    expect(new Set(steady.arrivals.map((x) => x.atUs)).size).to.be.greaterThan(5);
    const { arrivals, pair } = run({ reorder: 0.2, seed: 9 }, 200, 100);
    expect(pair.a.faults.reordered).to.be.within(20, 60);
    const order = arrivals.map((x) => x.n);
    expect(order).to.not.deep.equal([...Array(200).keys()]);
    expect([...order].sort((x, y) => x - y)).to.deep.equal([...Array(200).keys()]);
    // What is not late is seen at the next look, 100 µs on.
    const late = arrivals.filter((x) => x.atUs > x.n * 100 + 100);
    expect(late).to.have.length.within(20, 60);
    for (const { n, atUs } of late) expect(atUs).to.be.within(n * 100 + 1000, n * 100 + 1100);
  });

  it('keeps account of every packet, for every seed and mix of faults', () => {
    const rate = fc.double({ min: 0, max: 0.5, noNaN: true });
    fc.assert(
      fc.property(fc.integer(), rate, rate, rate, (seed, loss, duplicate, reorder) => {
        const options = { seed, loss, duplicate, reorder, jitterUs: 300, delayUs: 50 };
        const { arrivals, pair } = run(options, 40, 20);
        const { lost, duplicated } = pair.a.faults;
        expect(arrivals.length).to.equal(40 - lost + duplicated);
        expect(new Set(arrivals.map((x) => x.n)).size).to.equal(40 - lost);
        expect(run(options, 40, 20).arrivals).to.deep.equal(arrivals);
      }),
      { numRuns: 40, seed: 5 },
    );
  });

  it('the seed matters, and the directions have dice of their own', () => {
    const first = run({ seed: 1, loss: 0.5 }, 64).arrivals.map((x) => x.n);
    expect(run({ seed: 2, loss: 0.5 }, 64).arrivals.map((x) => x.n)).to.not.deep.equal(first);
    const pair = memoryPair({ seed: 1, loss: 0.5 });
    for (let n = 0; n < 64; n++) pair.b.transmit(fill(out, numbered(n)));
    const reverse: number[] = [];
    while (pair.a.receive(into)) reverse.push(numberOf(into));
    expect(reverse).to.not.deep.equal(first);
  });

  it('corruption changes one bit, and a checksum finds it', () => {
    const pair = memoryPair({ corrupt: 1, seed: 3 });
    for (let n = 0; n < 100; n++) {
      const packet = numbered(n);
      pair.a.transmit(fill(out, packet));
      expect(pair.b.receive(into)).to.equal(true);
      const wrongBits = packetOf(into).reduce(
        (bits, byte, i) => bits + (byte ^ packet[i]!).toString(2).replaceAll('0', '').length,
        0,
      );
      expect(wrongBits).to.equal(1);
      expect(isIntact(into), `packet ${n}`).to.equal(false);
    }
    expect(pair.a.faults.corrupted).to.equal(100);
  });

  it('a packet that is too large for the receiver’s buffer is counted', () => {
    const { a, b } = memoryPair({ mtu: 9000 });
    a.transmit(fill(out, udp(STACK, HOST, 1, 2, new Uint8Array(5000))));
    expect(b.receive(makeSkb(mem, 4096))).to.equal(false);
    expect(b.counters.rxErrors).to.equal(1);
    expect(b.receive(into)).to.equal(false);
  });

  it('refuses what the link cannot carry and says why', () => {
    const { a } = memoryPair();
    const rows: [() => Skb, RegExp][] = [
      [() => fill(out, new Uint8Array(19)), /packet of 19 bytes/],
      [() => fill(out, udp(STACK, HOST, 1, 2, new Uint8Array(1473))), /1501 bytes .* mtu 1500/],
      [() => superPacket(out, FIELDS, 0, 0), /partial checksum without offload/],
      [() => Object.assign(fill(out, tcp(FIELDS)), { gsoSize: 9 }), /super-packet without offload/],
    ];
    rows.forEach(([make, message], i) => {
      expect(a.transmit(make())).to.equal(false);
      expect(a.lastFault).to.match(message);
      expect(a.counters.txErrors).to.equal(i + 1);
    });
    expect(a.transmit(fill(out, udp(STACK, HOST, 1, 2, new Uint8Array(1472))))).to.equal(true);
  });
});

describe('memory link with offload', () => {
  const payload = pattern(20_000);

  function makeSuper(): Skb {
    superPacket(out, FIELDS, payload.length, 1460);
    out.frag0 = into.base + 65_536;
    out.frag0Bytes = payload.length;
    out.bytes.set(payload, out.frag0);
    return out;
  }

  it('carries super-packets, whose checksum the receiver need not look at', () => {
    const { a, b } = memoryPair({ offload: true });
    expect(a.offload).to.deep.equal({ checksum: true, gsoMaxBytes: 65_535 });
    expect(a.transmit(makeSuper()), a.lastFault).to.equal(true);
    expect(b.receive(into)).to.equal(true);
    expect(into).to.include({ ipSummed: CHECKSUM_UNNECESSARY, gsoSize: 1460 });
    expect(into.end - into.start).to.equal(20_040);
    expect(Buffer.compare(packetOf(into).subarray(40), payload)).to.equal(0);
  });

  it('a corrupted one has its whole checksum, which finds the damage', () => {
    const pair = memoryPair({ offload: true, corrupt: 1 });
    for (let i = 0; i < 20; i++) {
      expect(pair.a.transmit(makeSuper())).to.equal(true);
      expect(pair.b.receive(into)).to.equal(true);
      expect(into.ipSummed).to.equal(CHECKSUM_NONE);
      const { view, start } = into;
      const tcpSum = pseudoSum(view.getInt32(start + 12), view.getInt32(start + 16), 6, 20_020);
      const ip = checksumFold(skbChecksum({ ...into, end: start + 20 } as Skb, start, 0));
      expect(ip === 0 && checksumFold(skbChecksum(into, start + 20, tcpSum)) === 0).to.equal(false);
    }
  });

  it('a duplicate of a corrupted packet is intact', () => {
    const pair = memoryPair({ offload: true, corrupt: 1, duplicate: 1 });
    pair.a.transmit(makeSuper());
    expect(pair.b.receive(into)).to.equal(true);
    expect(into.ipSummed).to.equal(CHECKSUM_NONE);
    expect(pair.b.receive(into)).to.equal(true);
    expect(into.ipSummed).to.equal(CHECKSUM_UNNECESSARY);
    expect(Buffer.compare(packetOf(into).subarray(40), payload)).to.equal(0);
  });

  it('complete checksums pass as they are', () => {
    const { a, b } = memoryPair({ offload: true });
    expect(a.transmit(fill(out, numbered(1)))).to.equal(true);
    expect(b.receive(into)).to.equal(true);
    expect(into.ipSummed).to.equal(CHECKSUM_NONE);
    expect(isIntact(into)).to.equal(true);
  });

  it('refuses each mistake of a partial checksum or a super-packet', () => {
    const { a } = memoryPair({ offload: true });
    const csumStart = out.base + 64 + 20;
    const sum = makeSuper().view.getUint16(csumStart + 16);
    // Fields of the skb that are wrong, or a byte of the TCP header (offset, value) that is.
    const rows: [Partial<Skb> | [number, number], RegExp][] = [
      [{ csumStart: csumStart + 4 }, /csumStart is not at the transport header/],
      [{ csumOffset: 19 }, /outside of the linear data/],
      [[17, (sum + 1) & 255], /not the pseudo-header sum/],
      [{ csumOffset: 6 }, /not the pseudo-header sum/],
      [[12, 0x40], /header is not in the linear data/],
      [[12, 0xf0], /header is not in the linear data/],
      [{ gsoSize: 1461 }, /segments of 1501 bytes/],
      [{ gsoSize: 0 }, /packet of 20040 bytes .* mtu 1500/],
      [{ ipSummed: CHECKSUM_NONE }, /super-packet with a complete checksum/],
      [{ frag0Bytes: 65_536 }, /packet of 65576 bytes/],
    ];
    for (const [wrong, message] of rows) {
      const skb = makeSuper();
      if (Array.isArray(wrong)) skb.bytes[csumStart + wrong[0]] = wrong[1];
      else Object.assign(skb, wrong);
      expect(a.transmit(skb), String(message)).to.equal(false);
      expect(a.lastFault).to.match(message);
    }
    expect(a.counters).to.include({ txErrors: rows.length, txPackets: 0 });
  });

  it('a super-packet must be TCP', () => {
    const { a } = memoryPair({ offload: true });
    const packet = udp(STACK, HOST, 1, 2, new Uint8Array(100));
    fill(out, packet);
    out.view.setUint16(out.start + 26, pseudoSum(STACK, HOST, 17, 108));
    Object.assign(out, { ipSummed: CHECKSUM_PARTIAL, csumStart: out.start + 20, csumOffset: 6 });
    expect(a.transmit(out), a.lastFault).to.equal(true);
    out.gsoSize = 10;
    expect(a.transmit(out)).to.equal(false);
    expect(a.lastFault).to.match(/not TCP/);
  });

  it('small super-packets and the last good segment size pass', () => {
    const { a } = memoryPair({ offload: true });
    superPacket(out, FIELDS, 100, 1460);
    out.frag0 = into.base + 65_536;
    out.frag0Bytes = 100;
    expect(a.transmit(out), a.lastFault).to.equal(true);
    superPacket(out, FIELDS, 0, 0);
    expect(a.transmit(out), a.lastFault).to.equal(true);
  });
});
