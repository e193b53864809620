/** The parts of the simulator: dice, order of events, paths, and what routers do to packets. */
import { expect } from 'chai';
import { Dice, mix } from '../../src/sim/dice.js';
import { EventQueue } from '../../src/sim/event-queue.js';
import type { SimHost } from '../../src/sim/host.js';
import { Invariants } from '../../src/sim/invariants.js';
import { Ledger, STRETCH_MAX } from '../../src/sim/ledger.js';
import {
  completeTcpChecksum,
  corruptBits,
  cutFragments,
  cutSegments,
} from '../../src/sim/packet-forms.js';
import { Path } from '../../src/sim/path.js';
import {
  decodePacket,
  encodePacket,
  internetChecksum,
  MemoryStack,
  Peer,
} from '../../src/testing/index.js';

const segment = (payload: number, flags = 'FP.') =>
  encodePacket({
    source: 0x0a000001,
    destination: 0x0a000002,
    sport: 1,
    dport: 2,
    seq: 0xfffffff0,
    ack: 5,
    flags,
    window: 100,
    urgent: 0,
    options: [{ kind: 'TS', val: 1, ecr: 2 }, { kind: 'nop' }, { kind: 'nop' }],
    payload: Uint8Array.from({ length: payload }, (_, i) => i % 251),
    ttl: 64,
    tos: 0,
    id: 7,
    df: false,
  });

describe('sim: dice', () => {
  it('are the same for the same labels and differ for others', () => {
    const throws = (...labels: number[]) => {
      const dice = new Dice(...labels);
      return [dice.u32(), dice.u32(), dice.u32()];
    };
    expect(throws(1, 2)).to.deep.equal(throws(1, 2));
    expect(throws(1, 2)).to.not.deep.equal(throws(2, 1));
    expect(mix(1, 2)).to.not.equal(mix(1, 2, 0));
  });

  it('keep to their ranges and use them', () => {
    const dice = new Dice(1);
    const seen = new Set<number>();
    for (let i = 0; i < 1000; i++) {
      seen.add(dice.int(-1, 3));
      expect(dice.spread(5, 70)).to.be.within(5, 70);
    }
    expect([...seen].sort((a, b) => a - b)).to.deep.equal([-1, 0, 1, 2, 3]);
  });

  it('spread evenly over magnitudes', () => {
    const dice = new Dice(2);
    let small = 0;
    for (let i = 0; i < 2000; i++) if (dice.spread(1, 9999) < 100) small++;
    expect(small).to.be.within(900, 1100);
  });
});

describe('sim: event queue', () => {
  it('gives things in the order of time, then of arrival', () => {
    const queue = new EventQueue<{ atUs: number; order: number; name: number }>();
    const dice = new Dice(3);
    const all = Array.from({ length: 300 }, (_, name) => ({
      atUs: dice.int(0, 20),
      order: 0,
      name,
    }));
    for (const thing of all) queue.push(thing);
    expect(queue.nextUs()).to.equal(0);
    expect(queue.takeDue(-1)).to.equal(null);
    const names: number[] = [];
    for (let next = queue.takeDue(99); next; next = queue.takeDue(99)) names.push(next.name);
    const wanted = [...all].sort((a, b) => a.atUs - b.atUs || a.name - b.name);
    expect(names).to.deep.equal(wanted.map((thing) => thing.name));
    expect(queue.nextUs()).to.equal(Infinity);
  });
});

describe('sim: path', () => {
  it('delays, keeps the order in spite of jitter, and loses what it says', () => {
    const path = new Path(new Dice(4), 1000, 1500);
    path.jitterUs = 500;
    path.loss = 0.25;
    let last = 0;
    let lost = 0;
    for (let i = 0; i < 4000; i++) {
      path.enqueue(i, 100);
      const fate = path.decide(100);
      expect(fate.arrivalUs).to.be.within(Math.max(last, i + 1000), Math.max(last, i + 1500));
      last = fate.arrivalUs;
      if (fate.lost) lost++;
    }
    expect(lost).to.be.within(900, 1100);
  });

  it('loses in bursts (Gilbert-Elliott)', () => {
    const path = new Path(new Dice(5), 0, 1500);
    path.burst = { enter: 0.01, leave: 0.1, loss: 1 };
    let bursts = 0;
    let lost = 0;
    let before = false;
    for (let i = 0; i < 20_000; i++) {
      path.enqueue(i, 100);
      const fate = path.decide(100);
      if (fate.lost) lost++;
      if (fate.lost && !before) bursts++;
      before = fate.lost !== 0;
    }
    // Ten packets each, and one in eleven is bad.
    expect(lost / bursts).to.be.within(8, 12);
    expect(lost / 20_000).to.be.within(0.07, 0.11);
  });

  it('has a queue with a rate and an end', () => {
    const path = new Path(new Dice(6), 0, 1500);
    path.rateBps = 8e6;
    path.queueBytes = 3000;
    const taken = Array.from({ length: 6 }, () => path.enqueue(0, 1000));
    expect(taken).to.deep.equal([true, true, true, false, false, false]);
    expect(path.decide(1000).arrivalUs).to.equal(3000);
    expect(path.enqueue(1000, 1000)).to.equal(true);
  });

  it('is well again in the calm', () => {
    const path = new Path(new Dice(7), 0, 1500);
    path.loss = path.corrupt = path.duplicate = path.reorder = 1;
    path.down = true;
    path.tellsMtu = false;
    path.calm();
    path.enqueue(0, 100);
    const { lost, bits, copyUs } = path.decide(100);
    expect({ lost, bits, copyUs, tells: path.tellsMtu }).to.deep.equal({
      lost: 0,
      bits: 0,
      copyUs: 0,
      tells: true,
    });
  });
});

describe('sim: what routers do to packets', () => {
  it('cuts a super-packet into segments that are what the whole was', () => {
    const whole = decodePacket(segment(2500));
    const parts = cutSegments(segment(2500), 1000).map((part) => decodePacket(part));
    expect(parts.map((part) => part.payload.length)).to.deep.equal([1000, 1000, 500]);
    expect(parts.map((part) => part.flags)).to.deep.equal(['.', '.', 'FP.']);
    expect(parts.map((part) => part.id)).to.deep.equal([7, 8, 9]);
    expect(parts.map((part) => (part.seq - whole.seq) >>> 0)).to.deep.equal([0, 1000, 2000]);
    expect(parts.flatMap((part) => [...part.payload])).to.deep.equal([...whole.payload]);
    expect(parts[1]!.options).to.deep.equal(whole.options);
  });

  it('cuts into fragments, and fragments again', () => {
    const bytes = segment(1000);
    const pieces = cutFragments(bytes, 576).flatMap((piece) => cutFragments(piece, 300));
    let end = 0;
    for (const piece of pieces) {
      const view = new DataView(piece.buffer);
      expect(piece.length).to.be.at.most(300);
      expect(internetChecksum(piece.subarray(0, 20))).to.equal(0);
      expect(view.getUint16(2)).to.equal(piece.length);
      expect((view.getUint16(6) & 0x1fff) * 8).to.equal(end);
      expect([...piece.subarray(20)]).to.deep.equal([
        ...bytes.subarray(20 + end).subarray(0, piece.length - 20),
      ]);
      end += piece.length - 20;
      expect((view.getUint16(6) & 0x2000) !== 0).to.equal(end < bytes.length - 20);
    }
    expect(end).to.equal(bytes.length - 20);
  });

  it('completes a checksum', () => {
    const bytes = segment(333);
    const right = bytes.slice();
    bytes[36] = bytes[37] = 0x55;
    completeTcpChecksum(bytes);
    expect(bytes).to.deep.equal(right);
  });

  it('corrupts in a way that a checksum always finds', () => {
    const dice = new Dice(8);
    for (let i = 0; i < 500; i++) {
      const bytes = segment(40);
      corruptBits(bytes, dice.int(0, bytes.length * 8 - 1), dice.int(1, 15));
      expect(bytes, 'changed').to.not.deep.equal(segment(40));
      expect(() => decodePacket(bytes)).to.throw();
    }
  });
});

describe('sim: ledger', () => {
  const half = () => new Ledger().half(1, 2, 3, 4, 5);

  it('knows the bytes of every half by its name and their place', () => {
    const ledger = new Ledger();
    const one = ledger.half(1, 2, 3, 4, 5);
    const other = ledger.half(1, 2, 3, 4, 6);
    expect(ledger.half(1, 2, 3, 4, 5)).to.equal(one);
    expect([...one.bytes(0, 50)]).to.not.deep.equal([...other.bytes(0, 50)]);
    expect([...one.bytes(100_000, 10)]).to.deep.equal([...one.bytes(99_990, 20).subarray(10)]);
  });

  it('finds what is wrong, and bytes that were never written', () => {
    const written = half();
    written.written = 200_000;
    const got = new Uint8Array(3 * STRETCH_MAX);
    for (let at = 0; at < got.length; at += 1024) got.set(written.bytes(at, 1024), at);
    written.verify(got, 150_000, 0);
    got[70_000]! ^= 1;
    expect(() => written.verify(got, 150_000, 0)).to.throw(/byte 70000 is/);
    expect(() => written.verify(got, 10, 199_995)).to.throw(/byte 200005 of 200000/);
  });

  it('a half has one owner at a time', () => {
    const one = half();
    const owner = (gone: boolean) => ({ gone, deaf: false, peer: null });
    one.adopt(owner(false));
    expect(() => one.adopt(owner(false))).to.throw(/two owners/);
    const begun = half();
    begun.adopt(owner(true));
    begun.adopt(owner(false));
    expect(begun.reborn).to.equal(true);
  });
});

describe('sim: invariants', () => {
  it('a connection by the same SYN cookie as the one before is another one', () => {
    const host = new MemoryStack({
      arenaBytes: 8 << 20,
      sysctl: { 'net.ipv4.tcp_syncookies': 2 },
    });
    const listener = host.listen(80);
    const invariants = new Invariants({ stack: host.stack, index: 0 } as unknown as SimHost);
    const peer = new Peer(host);
    peer.in('S 0:0(0) win 65535 <mss 1460>');
    peer.out('S. 0:0(0) ack 1 <...>');
    const open = () => {
      peer.in('. 1:1(0) ack 1 win 65535');
      const fd = host.accept(listener);
      return { fd, tcb: host.stack.sock(fd)! };
    };
    const one = open();
    peer.in('P. 1:11(10) ack 1', new Uint8Array(10));
    peer.out('. 1:1(0) ack 11');
    invariants.check();
    peer.in('R 11:11(0)');
    host.close(one.fd);
    host.poll();
    const { iss } = one.tcb;
    const other = open();
    // All that could tell them apart is the same.
    expect(other.tcb).to.equal(one.tcb);
    expect([other.fd, other.tcb.iss]).to.deep.equal([one.fd, iss]);
    expect(other.tcb.rcvNxt).to.equal((other.tcb.irs + 1) | 0);
    expect(() => invariants.check()).to.not.throw();
    expect(invariants.checks).to.equal(4);
  });

  it('a window may have become smaller before the first look, but nothing more may leave', () => {
    const host = new MemoryStack({ arenaBytes: 8 << 20 });
    const listener = host.listen(80);
    const invariants = new Invariants({ stack: host.stack, index: 0 } as unknown as SimHost);
    const peer = new Peer(host);
    peer.in('S 0:0(0) win 65535 <mss 1460>');
    peer.out('S. 0:0(0) ack 1 <...>');
    peer.in('. 1:1(0) ack 1 win 65535');
    const fd = host.accept(listener);
    const tcb = host.stack.sock(fd)!;
    host.write(fd, new Uint8Array(100));
    host.poll();
    peer.out('P. 1:101(100) ack 1');
    peer.in('. 1:1(0) ack 11 win 0');
    expect([(tcb.sndNxt - tcb.sndUna) | 0, tcb.sndWnd]).to.deep.equal([90, 0]);
    expect(() => invariants.check()).to.not.throw();
    tcb.sndNxt = (tcb.sndNxt + 1) | 0;
    expect(() => invariants.check()).to.throw("1 bytes beyond the peer's");
  });
});
