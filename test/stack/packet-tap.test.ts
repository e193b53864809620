/** The stack thread's side of a trace: batches, their bounds, and who is asked for what. */
import { expect } from 'chai';
import type { Trace } from '../../src/net/env.js';
import { Decision } from '../../src/reuseport/decision.js';
import { type Explanation, explain } from '../../src/reuseport/decision-json.js';
import { G_TAP_DROPPED, G_TAP_IN_FLIGHT } from '../../src/socket/uapi/layout.js';
import { BATCHES_IN_FLIGHT, PacketTap, type TapBatch } from '../../src/stack/packet-tap.js';
import { readRecords } from '../../src/stack/tap-record.js';
import { Watchers } from '../../src/stack/watchers.js';
import { MemoryStack, Peer } from '../../src/testing/index.js';

interface Scene {
  host: MemoryStack;
  trace: Trace;
  tap: PacketTap;
  watchers: Watchers;
  ctl: Int32Array;
  posted: TapBatch[];
  /** Time of the tap, µs. */
  clock: { us: number };
}

function scene(capture: ConstructorParameters<typeof Watchers>[2] = null): Scene {
  const trace: Trace = { packet: undefined, decision: undefined };
  const host = new MemoryStack({ fds: 64, arenaBytes: 4 << 20, trace });
  const ctl = new Int32Array(new SharedArrayBuffer(256));
  const posted: TapBatch[] = [];
  const clock = { us: 0 };
  const tap = new PacketTap({
    ctl,
    nowUs: () => clock.us,
    epochUs: 5_000_000,
    explain: (decision) => explain(decision),
    post: (batch, transfer) => {
      expect(transfer[0]).to.equal(batch.packets.buffer);
      posted.push(batch);
    },
  });
  const watchers = new Watchers(trace, host.stack.tcp.hashinfo, capture, tap);
  return { host, trace, tap, watchers, ctl, posted, clock };
}

describe('stack/watchers', () => {
  it('leave no hook and no decision when nobody watches', () => {
    const { host, trace, watchers, posted } = scene();
    const { hashinfo } = host.stack.tcp;
    expect([trace.packet, trace.decision, hashinfo.decision]).to.deep.equal([
      undefined,
      undefined,
      null,
    ]);
    watchers.setTap(128);
    expect(hashinfo.decision).to.be.instanceOf(Decision);
    new Peer(host).in('S 0:0(0)');
    watchers.setTap(0);
    expect([trace.packet, trace.decision, hashinfo.decision]).to.deep.equal([
      undefined,
      undefined,
      null,
    ]);
    new Peer(host).in('S 0:0(0)');
    watchers.flush();
    // What had been collected when the last tracer left is posted still.
    expect(posted.map((batch) => batch.count)).to.deep.equal([2]);
  });

  it('keep a capture going whoever traces', () => {
    const seen: string[] = [];
    const capture = {
      packet: (direction: string) => seen.push(direction),
      decision: () => seen.push('decision'),
      flush: () => seen.push('flush'),
    };
    const { host, watchers } = scene({
      ...capture,
      packet: (d) => void capture.packet(d),
      decision: () => void capture.decision(),
      flush: () => void capture.flush(),
    });
    const syn = (): void => new Peer(host).in('S 0:0(0)');
    syn();
    watchers.setTap(128);
    syn();
    watchers.setTap(0);
    syn();
    watchers.flush();
    const each = ['in', 'decision', 'out'];
    expect(seen).to.deep.equal([...each, ...each, ...each, 'flush']);
  });
});

describe('stack/packet-tap', () => {
  it('batches packets with their decisions', () => {
    const { host, watchers, posted, clock, ctl } = scene();
    watchers.setTap(128);
    host.listen(80, 8);
    clock.us = 123.6;
    const peer = new Peer(host, { port: 40_000 });
    peer.in('S 0:0(0) <mss 1460>');
    peer.out('S. 0:0(0) ack 1 <...>');
    peer.in('. 1:1(0) ack 1');
    peer.in('P. 1:201(200) ack 1');
    watchers.flush();
    expect(posted).to.have.lengthOf(1);
    const [batch] = posted;
    const records = readRecords(batch!.packets);
    expect(records).to.have.lengthOf(batch!.count);
    expect(records.map((record) => record.direction).slice(0, 4)).to.deep.equal([
      'in',
      'out',
      'in',
      'in',
    ]);
    expect(records[0]).to.include({ timestampUs: 5_000_124, length: 44 });
    const data = records.find((record) => record.length === 240)!;
    expect(data.data.length).to.equal(128);
    const decided = batch!.decisions as [number, Explanation][];
    expect(decided.map(([packet]) => packet)).to.deep.equal([0]);
    expect(decided[0]![1]).to.include({ verdict: 'listener' });
    expect(ctl[G_TAP_IN_FLIGHT]).to.equal(1);
    expect(() => readRecords(batch!.packets.subarray(0, 60))).to.throw(RangeError);
  });

  it('posts what is full or old, never more than the reader takes, and counts the rest', () => {
    const { host, watchers, posted, clock, ctl } = scene();
    watchers.setTap(1 << 30);
    const peer = new Peer(host, { port: 40_000 });
    peer.in('R 0:0(0)');
    clock.us = 25_000;
    peer.in('R 0:0(0)');
    expect(posted.map((batch) => batch.count)).to.deep.equal([1]);
    for (let i = 0; i < 2000; i++) peer.in('R 0:0(0)');
    expect(posted.map((batch) => batch.count)).to.deep.equal([1, 1024]);
    watchers.flush();
    for (let i = posted.length; i < BATCHES_IN_FLIGHT; i++) {
      peer.in('R 0:0(0)');
      watchers.flush();
    }
    expect(ctl[G_TAP_IN_FLIGHT]).to.equal(BATCHES_IN_FLIGHT);
    // A SYN that is not kept takes its decision with it.
    peer.in('S 0:0(0)');
    watchers.flush();
    expect(posted).to.have.lengthOf(BATCHES_IN_FLIGHT);
    expect(ctl[G_TAP_DROPPED]).to.be.greaterThan(0);
    const dropped = ctl[G_TAP_DROPPED];
    Atomics.sub(ctl, G_TAP_IN_FLIGHT, 1);
    peer.in('R 0:0(0)');
    watchers.flush();
    expect(posted).to.have.lengthOf(BATCHES_IN_FLIGHT + 1);
    expect(posted.at(-1)!.decisions).to.deep.equal([]);
    expect(ctl[G_TAP_DROPPED]).to.equal(dropped);
  });

  it('takes super-packets whole, from both ends of a ring', () => {
    const { host, watchers, posted } = scene();
    watchers.setTap(262_144);
    const skb = host.stack.net.inputSkbs.alloc()!;
    skb.end = skb.start + 60_000;
    skb.frag0 = skb.start;
    skb.frag0Bytes = 3000;
    skb.frag1 = skb.start + 5;
    skb.frag1Bytes = 1000;
    for (let i = 0; i < skb.end - skb.start; i++) skb.bytes[skb.start + i] = i % 251;
    for (let i = 0; i < 6; i++) host.stack.net.trace!.packet!('out', skb);
    watchers.flush();
    const all = posted.flatMap((batch) => readRecords(batch.packets));
    expect(all).to.have.lengthOf(6);
    for (const { data, length } of all) {
      expect([data.length, length]).to.deep.equal([64_000, 64_000]);
      expect([data[59_999], data[60_000], data[63_000]]).to.deep.equal([59_999 % 251, 0, 5]);
    }
  });
});
