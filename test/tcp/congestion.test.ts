/**
 * Congestion windows: the start, growth only when used, Reno and CUBIC against their formulas
 * (RFC 9293 MAY-18), idle restart.
 */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { CA_LOSS, INFINITE_SSTHRESH } from '../../src/tcp/ca-state.js';
import { CUBIC } from '../../src/tcp/cong/cubic.js';
import type { HystartState } from '../../src/tcp/cong/hystart.js';
import { RENO } from '../../src/tcp/cong/reno.js';
import { type Sender, senderOf } from '../../src/tcp/sender.js';
import { Tcb } from '../../src/tcp/tcb.js';
import { MemoryStack } from '../../src/testing/index.js';
import { pattern, type Rig, rig } from './rig.js';

const RENO_SYSCTL = { 'net.ipv4.tcp_congestion_control': 'reno' };
const MSS = 1000;

interface Block {
  tcb: Tcb;
  s: Sender;
  host: MemoryStack;
}

/** A control block alone, with the fields that a congestion control reads; cwnd is the limit. */
function block(cwnd: number, ssthresh: number = INFINITE_SSTHRESH, srttUs = 100_000): Block {
  const host = new MemoryStack();
  host.advance(1_000_000);
  const tcb = new Tcb(host.stack.tcp, host.stack.socket(0));
  tcb.sndMss = MSS;
  tcb.cwnd = cwnd;
  tcb.ssthresh = ssthresh;
  tcb.srttUs = srttUs;
  const s = senderOf(tcb);
  s.cwndLimited = true;
  return { tcb, s, host };
}

/** Sends as much as may leave; the bytes. */
function drain(r: Rig): number {
  let bytes = 0;
  for (const packet of r.host.sent.splice(0)) bytes += packet.length - 40;
  return bytes;
}

// RFC 5681 3.1, RFC 6928 2.
describe('tcp: initial window', () => {
  it('ten segments of any size', () => {
    for (const mss of [1460, 536, 48]) {
      const r = rig({ syn: `<mss ${mss}>` });
      r.host.write(r.fd, pattern(30_000));
      expect(drain(r)).to.equal(10 * mss);
    }
  });

  it('one segment when the SYN-ACK was sent more than twice', () => {
    const repeated = rig({ rttMs: 3500 });
    repeated.host.sent.length = 0;
    repeated.host.write(repeated.fd, pattern(30_000));
    expect(drain(repeated)).to.equal(1460);
    const once = rig({ rttMs: 1500 });
    once.host.sent.length = 0;
    once.host.write(once.fd, pattern(30_000));
    expect(drain(once)).to.equal(14_600);
  });
});

describe('tcp: growth of the window', () => {
  // RFC 9293 MUST-19.
  it('slow start doubles it per round trip', () => {
    const r = rig({ syn: `<mss ${MSS},nop,wscale 7>`, sysctl: RENO_SYSCTL });
    let acked = 0;
    const flights: number[] = [];
    for (let round = 0; round < 3; round++) {
      r.host.write(r.fd, pattern(65_536));
      flights.push(drain(r));
      acked += flights.at(-1)!;
      r.peer.in(`. 1:1(0) ack ${acked + 1}`);
    }
    expect(flights).to.deep.equal([10_000, 20_000, 40_000]);
  });

  // RFC 7661.
  it('does not grow when less than half is used', () => {
    const r = rig({ syn: `<mss ${MSS}>` });
    for (let n = 0; n < 50; n++) {
      r.host.write(r.fd, pattern(5 * MSS));
      drain(r);
      r.peer.in(`. 1:1(0) ack ${(n + 1) * 5 * MSS + 1}`);
    }
    expect(r.tcb.cwnd).to.equal(10);
  });

  it('in slow start using more than half is enough, in congestion avoidance it is not', () => {
    const r = rig({ syn: `<mss ${MSS}>`, sysctl: RENO_SYSCTL });
    let acked = 0;
    const round = (segments: number) => {
      r.host.write(r.fd, pattern(segments * MSS));
      drain(r);
      acked += segments * MSS;
      r.peer.in(`. 1:1(0) ack ${acked + 1}`);
    };
    round(6);
    expect(r.tcb.cwnd).to.equal(16);
    r.tcb.cwnd = r.tcb.ssthresh = 10;
    for (let n = 0; n < 10; n++) round(9);
    expect(r.tcb.cwnd).to.equal(10);
    // Filled to the last segment, though nothing waits (Linux: tcp_write_xmit).
    round(10);
    expect(r.tcb.cwnd).to.equal(11);
  });

  it('a burst that filled it counts for its whole window of data', () => {
    const r = rig({ syn: `<mss ${MSS}>`, sysctl: RENO_SYSCTL });
    r.host.write(r.fd, pattern(20 * MSS));
    drain(r);
    for (let n = 1; n <= 20; n++) r.peer.in(`. 1:1(0) ack ${n * MSS + 1}`);
    expect(r.tcb.cwnd).to.equal(30);
  });
});

// RFC 5681 4.1.
describe('tcp: idle restart', () => {
  const grown = (sysctl: Record<string, string | number> = {}) => {
    const r = rig({ syn: `<mss ${MSS}>`, sysctl: { ...RENO_SYSCTL, ...sysctl } });
    r.host.write(r.fd, 'x');
    drain(r);
    r.peer.in('. 1:1(0) ack 2');
    r.tcb.cwnd = 64;
    return r;
  };

  it('half for each RTO of silence, not below ten segments; ssthresh remembers', () => {
    for (const [ms, segments] of [
      [200, 64],
      [201, 32],
      [400, 32],
      [401, 16],
      [601, 10],
      [3_600_000, 10],
    ] as const) {
      const r = grown();
      r.host.advance(ms);
      r.host.write(r.fd, pattern(65_000));
      expect(drain(r), `${ms} ms`).to.equal(segments === 64 ? 64_000 : segments * MSS);
      expect(r.tcb.ssthresh).to.equal(INFINITE_SSTHRESH);
    }
    const r = grown();
    r.tcb.ssthresh = 20;
    r.host.advance(401);
    r.host.write(r.fd, 'x');
    expect([r.tcb.cwnd, r.tcb.ssthresh]).to.deep.equal([16, 48]);
  });

  it('a smaller window stays, and tcp_slow_start_after_idle=0 turns it off', () => {
    const small = grown();
    small.tcb.cwnd = 4;
    small.host.advance(10_000);
    small.host.write(small.fd, pattern(10_000));
    expect(drain(small)).to.equal(4 * MSS);
    const off = grown({ 'net.ipv4.tcp_slow_start_after_idle': 0 });
    off.host.advance(10_000);
    off.host.write(off.fd, pattern(65_000));
    expect(drain(off)).to.equal(64 * MSS);
  });

  it('ACKs alone are no activity and restart nothing', () => {
    const r = grown();
    for (let n = 0; n < 20; n++) {
      r.host.advance(300);
      r.peer.in(`. ${n + 1}:${n + 2}(1) ack 2`, 'x');
    }
    expect(r.tcb.cwnd).to.equal(64);
  });
});

// RFC 9293 MUST-19.
describe('tcp: Reno (RFC 5681)', () => {
  it('slow start by what was acknowledged up to ssthresh, then one segment per window', () => {
    const { tcb, s } = block(10, 15);
    RENO.congAvoid(tcb, s, 4);
    expect(tcb.cwnd).to.equal(14);
    RENO.congAvoid(tcb, s, 15);
    // One segment to ssthresh; 14 of 15 segments of a window in congestion avoidance.
    expect([tcb.cwnd, s.cwndCnt]).to.deep.equal([15, 14]);
    RENO.congAvoid(tcb, s, 1);
    expect([tcb.cwnd, s.cwndCnt]).to.deep.equal([16, 0]);
    tcb.cwnd = 20;
    for (let n = 0; n < 20; n++) RENO.congAvoid(tcb, s, 1);
    expect(tcb.cwnd).to.equal(21);
    RENO.congAvoid(tcb, s, 63);
    expect(tcb.cwnd).to.equal(24);
  });

  it('credit from a larger window counts for one segment only', () => {
    const { tcb, s } = block(40, 5);
    RENO.congAvoid(tcb, s, 39);
    tcb.cwnd = 10;
    RENO.congAvoid(tcb, s, 1);
    expect([tcb.cwnd, s.cwndCnt]).to.deep.equal([11, 1]);
  });

  it('half on loss, at least two segments', () => {
    for (const [cwnd, half] of [
      [20, 10],
      [21, 10],
      [3, 2],
    ] as const) {
      const { tcb, s } = block(cwnd);
      expect(RENO.ssthresh(tcb, s)).to.equal(half);
    }
    expect(RENO.name).to.equal('reno');
  });

  it('does not grow unless cwnd is the limit', () => {
    const { tcb, s } = block(10, 5);
    s.cwndLimited = false;
    RENO.congAvoid(tcb, s, 100);
    expect(tcb.cwnd).to.equal(10);
    tcb.ssthresh = 100;
    s.maxPacketsOut = 5;
    RENO.congAvoid(tcb, s, 5);
    expect(tcb.cwnd).to.equal(10);
    s.maxPacketsOut = 6;
    RENO.congAvoid(tcb, s, 5);
    expect(tcb.cwnd).to.equal(15);
  });
});

interface CubicView {
  lastMaxCwnd: number;
  k: number;
  originPoint: number;
  epochMs: number;
  cnt: number;
  found: boolean;
  delayMinUs: number;
}

describe('tcp: CUBIC (RFC 9438)', () => {
  const BETA = 717 / 1024;
  const view = (b: Block) => b.tcb.congestionState as unknown as CubicView;

  /** One round trip in congestion avoidance: an ACK for each segment of the window. */
  function roundTrip(b: Block): void {
    const acks = b.tcb.cwnd;
    for (let n = 0; n < acks; n++) {
      b.host.advance(b.tcb.srttUs / 1000 / acks);
      CUBIC.congAvoid(b.tcb, b.s, 1);
    }
  }

  /** A loss: ssthresh and cwnd. */
  function reduce(b: Block): void {
    b.tcb.cwnd = b.tcb.ssthresh = CUBIC.ssthresh(b.tcb, b.s);
  }

  // RFC 9438 4.6.
  it('falls to 717/1024, at least two segments', () => {
    for (const [cwnd, reduced] of [
      [100, 70],
      [10, 7],
      [2, 2],
    ] as const) {
      const { tcb, s } = block(cwnd);
      expect(CUBIC.ssthresh(tcb, s)).to.equal(reduced);
    }
    expect(CUBIC.name).to.equal('cubic');
  });

  // RFC 9438 4.10.
  it('slow start until ssthresh', () => {
    const { tcb, s } = block(10, 20);
    CUBIC.congAvoid(tcb, s, 5);
    expect(tcb.cwnd).to.equal(15);
    expect(tcb.congestionState).to.equal(null);
    s.cwndLimited = false;
    tcb.cwnd = 20;
    CUBIC.congAvoid(tcb, s, 50);
    expect(tcb.cwnd).to.equal(20);
  });

  // RFC 9438 4.2, 4.4, 4.5.
  it('follows W(t) = 0.4 (t - K)^3 + Wmax after a loss', () => {
    const wMax = 400;
    const b = block(wMax);
    reduce(b);
    const w0 = b.tcb.cwnd;
    expect(w0).to.equal(280);
    const k = Math.cbrt((wMax - w0) / 0.4);
    for (let t = 0; t < 100; t++) {
      const seconds = t * 0.1;
      const curve = 0.4 * (seconds - k) ** 3 + wMax;
      expect(b.tcb.cwnd, `after ${seconds} s`).to.be.closeTo(curve, curve * 0.03 + 2);
      roundTrip(b);
    }
    expect(b.tcb.cwnd).to.be.greaterThan(wMax);
  });

  // RFC 9438 4.3.
  it('the friendly region is as fast as Reno with alpha = 3 (1 - beta) / (1 + beta)', () => {
    const b = block(10, INFINITE_SSTHRESH, 10_000);
    reduce(b);
    const alpha = (3 * (1 - BETA)) / (1 + BETA);
    const start = b.tcb.cwnd;
    for (let t = 0; t < 20; t++) roundTrip(b);
    expect(b.tcb.cwnd).to.be.closeTo(start + 20 * alpha, 3);
  });

  // RFC 9438 4.7.
  it('fast convergence: a second loss below the old maximum aims lower', () => {
    const b = block(100);
    reduce(b);
    b.tcb.cwnd = 80;
    reduce(b);
    expect(view(b).lastMaxCwnd).to.equal(Math.floor((80 * (1 + BETA)) / 2));
    b.tcb.cwnd = 90;
    CUBIC.ssthresh(b.tcb, b.s);
    expect(view(b).lastMaxCwnd).to.equal(90);
  });

  // RFC 9438 4.8.
  it('after a time-out the curve begins at its origin', () => {
    const b = block(100);
    reduce(b);
    CUBIC.setState!(b.tcb, CA_LOSS);
    expect(view(b).lastMaxCwnd).to.equal(0);
    CUBIC.congAvoid(b.tcb, b.s, 1);
    expect([view(b).k, view(b).originPoint]).to.deep.equal([0, 70]);
    // The first growth is at least a twentieth per round trip.
    expect(view(b).cnt).to.equal(20);
  });

  it('never more than half as much again per window', () => {
    const b = block(10, 5, 1_000_000);
    CUBIC.congAvoid(b.tcb, b.s, 1);
    b.host.advance(60_000);
    CUBIC.congAvoid(b.tcb, b.s, 10);
    expect(view(b).cnt).to.equal(2);
    expect(b.tcb.cwnd).to.equal(15);
  });

  it('a pause is no time on the curve', () => {
    const b = block(100);
    CUBIC.txStart!(b.tcb);
    expect(b.tcb.congestionState).to.equal(null);
    reduce(b);
    CUBIC.txStart!(b.tcb);
    expect(view(b).epochMs).to.equal(0);
    CUBIC.congAvoid(b.tcb, b.s, 1);
    const epoch = view(b).epochMs;
    b.tcb.lastSentUs = b.host.nowUs;
    b.host.advance(5000);
    CUBIC.txStart!(b.tcb);
    expect(view(b).epochMs).to.equal(epoch + 5000);
    b.tcb.lastSentUs = 0;
    CUBIC.txStart!(b.tcb);
    expect(view(b).epochMs).to.equal(Math.floor(b.host.nowUs / 1000));
  });
});

describe('tcp: HyStart', () => {
  const view = (b: Block) => b.tcb.congestionState as unknown as CubicView;

  /** Eight ACKs and more of one round, all within the same moment. */
  function round(b: Block, rttUs: number, acks = 9): void {
    b.tcb.sndUna = b.tcb.sndNxt;
    b.tcb.sndNxt = (b.tcb.sndNxt + 100) | 0;
    for (let n = 0; n < acks; n++) CUBIC.acked!(b.tcb, b.s, rttUs);
  }

  it('the delay: a round that takes an eighth longer ends slow start', () => {
    const b = block(100);
    round(b, 100_000);
    expect(view(b).delayMinUs).to.equal(100_000);
    b.host.advance(100);
    round(b, 112_400);
    expect(b.tcb.ssthresh).to.equal(INFINITE_SSTHRESH);
    b.host.advance(100);
    round(b, 112_600);
    expect(b.tcb.ssthresh).to.equal(100);
    expect(b.host.counter(Mib.TCPHystartDelayDetect)).to.equal(1);
    expect(b.host.counter(Mib.TCPHystartDelayCwnd)).to.equal(100);
    // Found once: no more is looked for.
    b.tcb.ssthresh = INFINITE_SSTHRESH;
    round(b, 200_000);
    expect(b.tcb.ssthresh).to.equal(INFINITE_SSTHRESH);
  });

  it('the delay: between 4 and 16 ms more', () => {
    for (const [rtt, slack] of [
      [1000, 4000],
      [400_000, 16_000],
    ] as const) {
      const b = block(50);
      round(b, rtt);
      b.host.advance(rtt / 1000);
      round(b, rtt + slack - 1);
      expect(b.tcb.ssthresh).to.equal(INFINITE_SSTHRESH);
      b.host.advance(rtt / 1000);
      round(b, rtt + slack + 1);
      expect(b.tcb.ssthresh).to.equal(50);
    }
  });

  it('the train: ACKs in a row for more than half of the round trip', () => {
    const b = block(60);
    round(b, 100_000, 1);
    for (let ms = 0; ms < 50; ms += 2) {
      b.host.advance(2);
      CUBIC.acked!(b.tcb, b.s, 100_000);
      if (ms < 48) expect(b.tcb.ssthresh, `${ms} ms`).to.equal(INFINITE_SSTHRESH);
    }
    b.host.advance(2);
    CUBIC.acked!(b.tcb, b.s, 100_000);
    expect(b.tcb.ssthresh).to.equal(60);
    expect(b.host.counter(Mib.TCPHystartTrainDetect)).to.equal(1);
    expect(b.host.counter(Mib.TCPHystartTrainCwnd)).to.equal(60);
  });

  it('a gap ends the train, and below sixteen segments nothing ends slow start', () => {
    const b = block(60);
    round(b, 100_000, 1);
    b.host.advance(60);
    for (let n = 0; n < 3; n++) CUBIC.acked!(b.tcb, b.s, 100_000);
    expect(b.tcb.ssthresh).to.equal(INFINITE_SSTHRESH);
    const small = block(15);
    round(small, 10_000);
    small.host.advance(10);
    round(small, 100_000);
    expect(small.tcb.ssthresh).to.equal(INFINITE_SSTHRESH);
  });

  it('without a sample, and for a second after a reduction, nothing is learnt', () => {
    const b = block(60);
    CUBIC.acked!(b.tcb, b.s, -1);
    expect(b.tcb.congestionState).to.equal(null);
    b.tcb.cwnd = b.tcb.ssthresh = CUBIC.ssthresh(b.tcb, b.s);
    CUBIC.congAvoid(b.tcb, b.s, 1);
    CUBIC.acked!(b.tcb, b.s, 5000);
    expect(view(b).delayMinUs).to.equal(0);
    b.host.advance(1000);
    CUBIC.acked!(b.tcb, b.s, 5000);
    expect(view(b).delayMinUs).to.equal(5000);
  });
});

describe('tcp: another congestion control in the midst of a connection', () => {
  it('the same one keeps what it knows, another one begins anew and takes nothing back', () => {
    const { tcb, s, host } = block(100);
    CUBIC.ssthresh(tcb, s);
    tcb.congestion = CUBIC;
    const known = tcb.congestionState;
    s.priorSsthresh = 50;
    const set = (value: number) => host.stack.setsockopt(tcb.fd, 6, 13, value, 0);
    host.stack.tcp.socks[tcb.fd] = tcb;
    expect(set(1)).to.equal(0);
    expect([tcb.congestionState === known, s.priorSsthresh]).to.deep.equal([true, 50]);
    expect(set(0)).to.equal(0);
    expect([tcb.congestionState, s.priorSsthresh]).to.deep.equal([null, 0]);
  });

  it('the first round of HyStart begins with the first ACK', () => {
    const { tcb, s, host } = block(20);
    // An ACK without a round-trip time comes first.
    CUBIC.congAvoid(tcb, s, 1);
    host.advance(500);
    tcb.sndNxt = (tcb.sndNxt + 5000) | 0;
    CUBIC.acked!(tcb, s, 100_000);
    const { roundStartUs, endSeq } = tcb.congestionState as HystartState;
    expect([roundStartUs, endSeq]).to.deep.equal([host.stack.net.nowUs, tcb.sndNxt]);
  });
});
