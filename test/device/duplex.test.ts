/** A Node Duplex of packets as a device. */
import { Duplex } from 'node:stream';
import { expect } from 'chai';
import { fromDuplex } from '../../src/device/duplex.js';
import { fill, HOST, makeMemory, makeSkb, packetOf, pattern, STACK, udp } from './packets.js';

const mem = makeMemory();
const skb = makeSkb(mem);

/** A stream whose written chunks are collected until somebody lets them through. */
function makeDuplex(): { duplex: Duplex; written: Buffer[]; release: () => void } {
  const written: Buffer[] = [];
  let waiting: (() => void)[] = [];
  const duplex = new Duplex({
    writableHighWaterMark: 100,
    read() {},
    write(chunk: Buffer, _encoding, done) {
      written.push(chunk);
      waiting.push(done);
    },
  });
  const release = (): void => {
    const held = waiting;
    waiting = [];
    for (const done of held) done();
  };
  return { duplex, written, release };
}

const packet = (n: number, bytes = 10): Uint8Array => udp(HOST, STACK, n, 2, pattern(bytes, n));
const nextTurn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

describe('device over a Duplex', () => {
  it('one chunk is one packet, in order', async () => {
    const { duplex } = makeDuplex();
    const device = fromDuplex(duplex, 1400);
    let rung = 0;
    device.onReadable = () => rung++;
    expect(device).to.include({ mtu: 1400 });
    expect(device.offload).to.deep.equal({ checksum: false, gsoMaxBytes: 0 });
    for (let n = 0; n < 3; n++) duplex.push(packet(n));
    await nextTurn();
    expect(rung).to.equal(1);
    for (let n = 0; n < 3; n++) {
      expect(device.receive(skb)).to.equal(true);
      expect(Buffer.compare(packetOf(skb), packet(n))).to.equal(0);
    }
    expect(device.receive(skb)).to.equal(false);
    expect(device.counters).to.include({ rxPackets: 3, rxBytes: 114, rxErrors: 0 });
  });

  it('what is no packet, too large, or too much is counted', async () => {
    const { duplex } = makeDuplex();
    const device = fromDuplex(duplex, 1400);
    duplex.push(new Uint8Array(19));
    duplex.push(packet(1, 5000));
    await nextTurn();
    expect(device.counters.rxErrors).to.equal(1);
    expect(device.receive(makeSkb(mem, 4096))).to.equal(false);
    expect(device.counters.rxErrors).to.equal(2);
    for (let n = 0; n < 1025; n++) duplex.push(packet(n));
    await nextTurn();
    expect(device.counters.rxErrors).to.equal(3);
    let received = 0;
    while (device.receive(skb)) received++;
    expect(received).to.equal(1024);
  });

  it('sends a copy with its fragments as one chunk', () => {
    const { duplex, written } = makeDuplex();
    const device = fromDuplex(duplex, 1400);
    const whole = packet(5, 60);
    fill(skb, whole.subarray(0, 28));
    skb.frag0 = skb.base + 4096;
    skb.frag0Bytes = 40;
    skb.frag1 = skb.base + 8192;
    skb.frag1Bytes = 20;
    skb.bytes.set(whole.subarray(28, 68), skb.frag0);
    skb.bytes.set(whole.subarray(68), skb.frag1);
    expect(device.transmit(skb)).to.equal(true);
    skb.bytes.fill(0, skb.start, skb.end);
    expect(Buffer.compare(written[0]!, whole)).to.equal(0);
    expect(device.counters).to.include({ txPackets: 1, txBytes: whole.length });
  });

  it('drops while the stream wants a pause, and goes on after it', async () => {
    const { duplex, release } = makeDuplex();
    const device = fromDuplex(duplex, 1400);
    const send = (): boolean => device.transmit(fill(skb, packet(1, 30)));
    expect([send(), send(), send()]).to.deep.equal([true, true, false]);
    expect(device.counters).to.include({ txDropped: 1, txErrors: 0 });
    while (duplex.writableNeedDrain) {
      release();
      await nextTurn();
    }
    expect(send()).to.equal(true);
  });

  it('a stream that fails or is closed refuses everything and throws nothing', async () => {
    for (const end of [
      (duplex: Duplex) => duplex.destroy(new Error('unplugged')),
      (duplex: Duplex) => duplex.push(null),
    ]) {
      const { duplex } = makeDuplex();
      const device = fromDuplex(duplex, 1400);
      end(duplex);
      await nextTurn();
      expect(device.closed).to.equal(true);
      expect(device.transmit(fill(skb, packet(1)))).to.equal(false);
      expect(device.counters.txErrors).to.equal(1);
    }
    const { duplex } = makeDuplex();
    const device = fromDuplex(duplex, 1400);
    device.close();
    expect(device.closed).to.equal(true);
    expect(duplex.destroyed).to.equal(true);
  });
});
