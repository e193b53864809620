/**
 * The receive window: edges, scaling, closing and reopening, auto-tuning (RFC 9293 3.8.6, RFC 7323
 * 2).
 */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { initialWindow, windowScale } from '../../src/tcp/rcv-window.js';
import { MemoryStack } from '../../src/testing/index.js';
import { pattern, type Rig, readAll, rig } from './rig.js';

function send(r: Rig, from: number, to: number, flags = '.'): void {
  const length = to - from;
  r.peer.in(`${flags} ${from + 1}:${to + 1}(${length}) ack 1`, pattern(length, from));
}

/** Fills the window with segments of `size` until it is closed; returns the bytes taken. */
function fill(r: Rig, size: number): number {
  let at = 0;
  for (;;) {
    const edge = edgeOf(r);
    const length = Math.min(size, edge - at);
    if (length === 0) return at;
    send(r, at, at + length);
    at += length;
    r.host.advance(50);
    for (let n = r.host.sent.length; n > 0; n--) r.peer.out(`. 1:1(0) ack ${at + 1}`);
  }
}

/** The right edge that the peer was last offered, as a stream offset. */
function edgeOf(r: Rig): number {
  const { last } = r.peer;
  const scale = last!.flags.includes('S') ? 0 : r.tcb.rcvWscale;
  return ((last!.ack - r.peer.isn - 1) >>> 0) + last!.window * 2 ** scale;
}

describe('tcp: arithmetic of the receive window', () => {
  it('the first offer is whole segments, at most 65535', () => {
    const { tcp } = new MemoryStack().stack;
    expect(initialWindow(tcp, 65_536, 1460, 0)).to.equal(64_240);
    expect(initialWindow(tcp, 65_536, 1448, 0)).to.equal(65_160);
    expect(initialWindow(tcp, 65_536, 536, 0)).to.equal(65_392);
    expect(initialWindow(tcp, 1 << 20, 1460, 0)).to.equal(65_535);
    expect(initialWindow(tcp, 1152, 1460, 0)).to.equal(1152);
    expect(initialWindow(tcp, 1460, 1460, 0)).to.equal(1460);
  });

  it('with a scale newer kernels begin with more', () => {
    const { tcp } = new MemoryStack().stack;
    expect(initialWindow(tcp, 200_000, 1448, 2)).to.equal(199_824);
    expect(initialWindow(tcp, 1 << 20, 1448, 2)).to.equal(65_535 * 4);
    const old = new MemoryStack({ profile: '5.0' }).stack.tcp;
    expect(initialWindow(old, 200_000, 1448, 2)).to.equal(65_535);
  });

  it('the scale lets the largest buffer be offered', () => {
    const { tcb } = rig();
    const { tcp } = tcb;
    const { sysctl } = tcp.net;
    sysctl.rmemMax = 0;
    const scale = (most: number): number => {
      sysctl.tcpRmemMax = most;
      return windowScale(tcp, tcb);
    };
    expect(scale(6_291_456)).to.equal(7);
    expect(scale(33_554_432)).to.equal(10);
    expect(scale(2 ** 31)).to.equal(14);
    sysctl.rmemMax = 1 << 20;
    expect(scale(4096)).to.equal(5);
    sysctl.rmemMax = 0;
    tcb.rcvSpace = 65_535;
    expect(scale(4096)).to.equal(0);
    tcb.rcvSpace = 65_536;
    expect(scale(4096)).to.equal(1);
  });

  it('SO_RCVBUF fixes the scale', () => {
    const { tcb } = rig();
    tcb.rcvBufLocked = true;
    tcb.rcvSpace = 20_000;
    expect(windowScale(tcb.tcp, tcb)).to.equal(0);
    tcb.rcvSpace = 200_000;
    expect(windowScale(tcb.tcp, tcb)).to.equal(2);
  });
});

describe('tcp: receive window', () => {
  it('takes text up to the exact edge and refuses what begins there', () => {
    const r = rig();
    expect(edgeOf(r)).to.equal(64_240);
    send(r, 0, 1460);
    r.peer.out('. 1:1(0) ack 1461 win 62780');
    readAll(r.host, r.fd);
    send(r, 63_240, 64_240);
    r.peer.out('. 1:1(0) ack 1461 win 64240');
    const edge = 1460 + 64_240;
    for (const at of [edge - 1, edge, edge + 1]) {
      send(r, at, at + 1);
      r.peer.out('. 1:1(0) ack 1461 win 64240');
      expect(r.host.counter(Mib.TCPOFOQueue)).to.equal(2);
      expect(r.tcb.ofo!.bytes).to.equal(1001);
    }
  });

  it('what ends beyond the edge: taken when nothing waits, else refused by newer kernels', () => {
    for (const profile of ['5.0', '6.18'] as const) {
      const r = rig({ profile });
      send(r, 64_000, 64_300);
      r.peer.out('. 1:1(0) ack 1');
      expect(r.tcb.ofo!.bytes).to.equal(300);
      send(r, 0, 10);
      r.peer.out('. 1:1(0) ack 11');
      const before = r.host.counter(Mib.BeyondWindow);
      const right = edgeOf(r);
      send(r, right - 10, right + 10);
      r.peer.out('. 1:1(0) ack 11');
      expect(r.host.counter(Mib.BeyondWindow) - before).to.equal(profile === '5.0' ? 0 : 1);
      readAll(r.host, r.fd);
      // What begins there is refused by all, and counted by those that have the counter.
      const beyond = edgeOf(r) + 1;
      send(r, beyond, beyond + 10);
      expect(r.host.sent.splice(0).length).to.be.greaterThan(0);
      expect(r.host.counter(Mib.BeyondWindow) - before).to.equal(profile === '5.0' ? 0 : 2);
    }
  });

  // RFC 9293 MUST-39, SHLD-14, MAY-8, RFC 1122 4.2.3.3.
  it('closes when the reader sleeps, never shrinks, answers probes, reopens doubled', () => {
    const r = rig();
    let edge = edgeOf(r);
    let at = 0;
    while (at < edge) {
      const length = Math.min(1460, edge - at);
      send(r, at, at + length);
      at += length;
      r.host.advance(50);
      while (r.host.sent.length > 0) r.peer.out(`. 1:1(0) ack ${at + 1}`);
      expect(edgeOf(r)).to.be.at.least(edge);
      edge = edgeOf(r);
    }
    expect(at).to.be.within(60_000, 65_536);
    expect(r.host.counter(Mib.TCPToZeroWindowAdv)).to.equal(1);
    // A probe of either kind.
    r.peer.in(`. ${at}:${at}(0) ack 1`);
    r.peer.out(`. 1:1(0) ack ${at + 1} win 0`);
    send(r, at, at + 1);
    r.peer.out(`. 1:1(0) ack ${at + 1} win 0`);
    expect(r.host.counter(Mib.BeyondWindow)).to.equal(1);
    // 1/16 of 65536 must be free, and a segment.
    r.host.read(r.fd, 4000 - (65_536 - at));
    r.peer.quiet();
    // Who asks is told of no sliver either.
    send(r, at, at + 1);
    r.peer.out(`. 1:1(0) ack ${at + 1} win 0`);
    r.host.read(r.fd, 96);
    r.peer.out(`. 1:1(0) ack ${at + 1} win 2920`);
    expect(r.host.counter(Mib.TCPFromZeroWindowAdv)).to.equal(1);
    // Not before twice that can be offered.
    r.host.read(r.fd, 1743);
    r.peer.quiet();
    r.host.read(r.fd, 1);
    r.peer.out(`. 1:1(0) ack ${at + 1} win 5840`);
    r.host.read(r.fd);
    r.peer.out(`. 1:1(0) ack ${at + 1} win 64240`);
  });

  it('scaled: offers multiples of the unit, closes, and never offers more than is free', () => {
    const r = rig({ syn: '<mss 1460,nop,wscale 7>' });
    expect(r.tcb.rcvWscale).to.equal(10);
    const taken = fill(r, 2048);
    expect(taken).to.be.within(61_000, 65_536 + 1023);
    expect(r.peer.last!.window).to.equal(0);
    readAll(r.host, r.fd);
    r.peer.out(`. 1:1(0) ack ${taken + 1} win 64`);
  });

  // RFC 1122 4.2.3.3: with segments this large that is more than a sixteenth of the space.
  it('less than a segment is not offered, whatever part of the space it is', () => {
    const r = rig({ mtu: 9000, syn: '<mss 8960,nop,wscale 7>' });
    const taken = fill(r, 8960);
    expect(r.tcb.rcvMss).to.equal(8960);
    expect(r.tcb.rcvSpace).to.equal(65_536);
    // An eighth is free, in whole units of the scale.
    expect(r.host.read(r.fd, taken - 65_536 + 8192)).to.have.length(taken - 65_536 + 8192);
    r.peer.quiet();
    r.peer.in(`. ${taken}:${taken}(0) ack 1`);
    r.peer.out(`. 1:1(0) ack ${taken + 1} win 0`);
    r.host.read(r.fd, 1024);
    r.peer.out(`. 1:1(0) ack ${taken + 1} win 9`);
  });

  it('what is left of a scaled window is rounded down, not up', () => {
    const r = rig({ syn: '<mss 1460,nop,wscale 7>' });
    const taken = fill(r, 2048);
    const { rcvSpace, rcvWscale } = r.tcb;
    expect([rcvSpace, rcvWscale]).to.deep.equal([65_536, 10]);
    // 5000 bytes are free: four units and a part of one.
    r.host.read(r.fd, taken - rcvSpace + 5000);
    r.peer.in(`. ${taken}:${taken}(0) ack 1`);
    r.peer.out(`. 1:1(0) ack ${taken + 1} win 4`);
  });

  it('segments below the unit of the scale cannot keep it open for ever', () => {
    const r = rig({ syn: '<mss 1460,nop,wscale 7>' });
    const taken = fill(r, 1000);
    expect(taken).to.be.within(65_536, 131_072);
    expect(r.peer.last!.window).to.equal(0);
    expect(r.host.counter(Mib.TCPToZeroWindowAdv)).to.equal(1);
    // What was offered before the field was rounded down is still taken (RFC 7323 2.4).
    const open = r.tcb.rcvWup + r.tcb.rcvWnd - r.tcb.rcvNxt;
    expect(open).to.be.within(1, 1023);
    send(r, taken, taken + open);
    r.host.advance(50);
    r.peer.out(`. 1:1(0) ack ${taken + open + 1} win 0`);
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(taken + open));
    r.peer.out(`. 1:1(0) ack ${taken + open + 1} win 63`);
  });

  it('one-byte segments cannot push the edge beyond the ring', () => {
    const r = rig({ syn: '<mss 1460,nop,wscale 7>', listenerOptions: [[1, 8, 2304]] });
    for (let i = 0; i < 9000; i++) {
      r.peer.queue(`. ${i + 1}:${i + 2}(1) ack 1`, pattern(1, i));
      if (i % 7 === 0) r.host.poll();
      r.host.sent.length = 0;
    }
    const got = readAll(r.host, r.fd);
    expect(got.length).to.be.within(2048, 8192);
    expect(got).to.deep.equal(pattern(got.length));
  });

  it('older kernels drop text at the closed window in a later step', () => {
    const r = rig({ profile: '5.0' });
    const taken = fill(r, 1460);
    send(r, taken, taken + 1);
    r.peer.out(`. 1:1(0) ack ${taken + 1} win 0`);
    expect(r.host.counter(Mib.TCPZeroWindowDrop)).to.equal(1);
    expect(r.host.counter(Mib.BeyondWindow)).to.equal(0);
  });

  it('a small SO_RCVBUF makes a small window', () => {
    const r = rig({ listenerOptions: [[1, 8, 4000]] });
    expect(edgeOf(r)).to.equal(2920);
    send(r, 0, 2000);
    r.peer.out('. 1:1(0) ack 2001');
    expect(fill(rig({ listenerOptions: [[1, 8, 1]] }), 536)).to.be.within(900, 1152);
  });

  // RFC 9293 MUST-39, RFC 1122 4.2.3.3.
  it('less than a segment is nothing, although it is more than a sixteenth', () => {
    const r = rig({ listenerOptions: [[1, 8, 8000]] });
    const at = fill(r, 1460);
    r.host.read(r.fd, 600);
    r.peer.quiet();
    send(r, at, at + 1);
    r.peer.out(`. 1:1(0) ack ${at + 1} win 0`);
    r.host.read(r.fd, 1620);
    r.peer.out(`. 1:1(0) ack ${at + 1} win 2920`);
  });

  // RFC 9293 MUST-39.
  it('a window below a segment grows once half of it more is free', () => {
    const r = rig({ listenerOptions: [[1, 8, 1000]] });
    expect(edgeOf(r)).to.equal(1152);
    send(r, 0, 1152);
    r.peer.out('. 1:1(0) ack 1153 win 0');
    r.host.read(r.fd, 300);
    r.peer.quiet();
    r.host.read(r.fd, 276);
    r.peer.quiet();
    r.host.read(r.fd, 1);
    r.peer.out('. 1:1(0) ack 1153 win 577');
    r.host.read(r.fd);
    // Not twice as much.
    r.peer.quiet();
    send(r, 1152, 1162);
    r.host.advance(50);
    r.peer.out('. 1:1(0) ack 1163 win 577');
  });

  it('no window update once the reader has shut down', () => {
    const r = rig();
    const taken = fill(r, 1460);
    r.host.shutdown(r.fd, 0);
    r.host.read(r.fd);
    r.peer.quiet();
    expect(taken).to.be.greaterThan(60_000);
  });
});

describe('tcp: receive auto-tuning', () => {
  /** Sends windowfuls and reads all of each at once; the receive space after each round. */
  function rounds(r: Rig, count: number, rest = 0): number[] {
    let at = 0;
    const spaces: number[] = [];
    for (let n = 0; n < count; n++) {
      const edge = Math.max(edgeOf(r), at + 2000);
      while (at < edge - 1460) {
        r.peer.queue(`. ${at + 1}:${at + 1461}(1460) ack 1`, pattern(1460, at));
        at += 1460;
        if (at % 29_200 === 0) r.host.poll();
      }
      r.host.poll();
      const got = readAll(r.host, r.fd);
      expect(got).to.deep.equal(pattern(got.length, at - got.length));
      r.host.advance(50 + rest);
      while (r.host.sent.length > 0) r.peer.out(`. 1:1(0) ack ${lastAck(r)}`);
      spaces.push(r.tcb.rcvSpace);
    }
    return spaces;
  }

  /** The ACK number of the next packet, as a text offset. */
  function lastAck(r: Rig): number {
    const view = new DataView(r.host.sent[0]!.buffer);
    return (view.getUint32(28) - r.peer.isn) >>> 0;
  }

  it('the space follows what is read in a round trip, up to tcp_rmem[2] / 2', () => {
    const sysctl = { 'net.ipv4.tcp_rmem': '4096 131072 2097152' };
    const r = rig({ syn: '<mss 1460,nop,wscale 7>', sysctl });
    const spaces = rounds(r, 12);
    // The first window read whole was 41 segments. From ten, the first guess, to them:
    // 2 * 41 and twice 3.1 times as much again.
    const first = 2 * 59_860 + 2 * Math.floor((2 * 59_860 * (59_860 - 14_600)) / 14_600);
    expect(spaces.slice(0, 2)).to.deep.equal([65_536, first]);
    expect(spaces.at(-1)).to.equal(1_048_576);
    expect(edgeOf(r)).to.be.greaterThan(1_048_576);
  });

  it("what waits past a hole is room for the sender, not the application's fault", () => {
    const r = rig({ syn: '<mss 1460,nop,wscale 7>' });
    for (let at = 1460; at < 58_400; at += 1460) send(r, at, at + 1460);
    // Ten segments twice, and the 39 past the hole.
    expect(r.tcb.rcvSpace).to.equal(2 * 14_600 + 58_400);
  });

  it('text that has just come does not count against who could not read it yet', () => {
    const r = rig({ syn: '<mss 1460,nop,wscale 7>' });
    r.tcb.rcvRttUs = 10_000;
    for (let at = 0; at < 29_200; at += 1460) send(r, at, at + 1460);
    readAll(r.host, r.fd);
    r.host.advance(50);
    send(r, 29_200, 58_400);
    expect(r.tcb.rcvqSpace).to.equal(29_200);
    // What the application has left for a round trip does.
    r.host.advance(50);
    send(r, 58_400, 59_860);
    expect(r.tcb.rcvqSpace).to.equal(29_200);
  });

  it('also from a default that is no power of two', () => {
    const sysctl = { 'net.ipv4.tcp_rmem': '4096 100000 600000' };
    const r = rig({ syn: '<mss 1460,nop,wscale 7>', sysctl });
    expect(rounds(r, 12).at(-1)).to.equal(300_000);
  });

  it('not when told not to, nor with SO_RCVBUF, nor for a reader that sleeps', () => {
    const off = rig({
      syn: '<mss 1460,nop,wscale 7>',
      sysctl: { 'net.ipv4.tcp_moderate_rcvbuf': 0 },
    });
    expect(rounds(off, 6).at(-1)).to.equal(65_536);
    const locked = rig({ syn: '<mss 1460,nop,wscale 7>', listenerOptions: [[1, 8, 65_536]] });
    expect(rounds(locked, 6).at(-1)).to.equal(65_536);
    const asleep = rig({ syn: '<mss 1460,nop,wscale 7>' });
    fill(asleep, 1460);
    expect(asleep.tcb.rcvSpace).to.equal(65_536);
  });
});
