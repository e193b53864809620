/**
 * Congestion windows: the start, growth only when used, Reno and CUBIC against their formulas, idle
 * restart.
 */
import { expect } from 'chai';
import { CUBIC } from '../../src/tcp/cong/cubic.js';
import { RENO } from '../../src/tcp/cong/reno.js';
import { Tcb } from '../../src/tcp/tcb.js';
import { MemoryStack } from '../../src/testing/index.js';
import { pattern, type Rig, rig } from './rig.js';

const RENO_SYSCTL = { 'net.ipv4.tcp_congestion_control': 'reno' };
const MSS = 1000;

/** A control block alone, with the fields that a congestion control reads. */
function block(cwnd: number, ssthresh = Infinity, srttUs = 100_000): Tcb {
  const host = new MemoryStack();
  const tcb = new Tcb(host.stack.tcp, host.stack.socket(0));
  tcb.sndMss = MSS;
  tcb.cwnd = cwnd * MSS;
  tcb.ssthresh = ssthresh * MSS;
  tcb.srttUs = srttUs;
  return tcb;
}

/** Sends as much as may leave; the bytes. */
function drain(r: Rig): number {
  let bytes = 0;
  for (const packet of r.host.sent.splice(0)) bytes += packet.length - 40;
  return bytes;
}

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

  it('does not grow when less than half is used', () => {
    const r = rig({ syn: `<mss ${MSS}>` });
    for (let n = 0; n < 50; n++) {
      r.host.write(r.fd, pattern(5 * MSS));
      drain(r);
      r.peer.in(`. 1:1(0) ack ${(n + 1) * 5 * MSS + 1}`);
    }
    expect(r.tcb.cwnd).to.equal(10 * MSS);
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
    expect(r.tcb.cwnd).to.equal(16 * MSS);
    r.tcb.cwnd = r.tcb.ssthresh = 10 * MSS;
    for (let n = 0; n < 10; n++) round(9);
    expect(r.tcb.cwnd).to.equal(10 * MSS);
    for (let n = 0; n < 10; n++) round(10);
    expect(r.tcb.cwnd).to.equal(10 * MSS);
    r.host.write(r.fd, pattern(11 * MSS));
    drain(r);
    acked += 10 * MSS;
    r.peer.in(`. 1:1(0) ack ${acked + 1}`);
    expect(r.tcb.cwnd).to.equal(11 * MSS);
  });

  it('a burst that filled it counts for its whole window of data', () => {
    const r = rig({ syn: `<mss ${MSS}>`, sysctl: RENO_SYSCTL });
    r.host.write(r.fd, pattern(20 * MSS));
    drain(r);
    for (let n = 1; n <= 20; n++) r.peer.in(`. 1:1(0) ack ${n * MSS + 1}`);
    // The last two segments left after cwnd had stopped to be the limit.
    expect(r.tcb.cwnd).to.equal(28 * MSS);
  });
});

describe('tcp: idle restart', () => {
  const grown = (sysctl: Record<string, string | number> = {}) => {
    const r = rig({ syn: `<mss ${MSS}>`, sysctl: { ...RENO_SYSCTL, ...sysctl } });
    r.host.write(r.fd, 'x');
    drain(r);
    r.peer.in('. 1:1(0) ack 2');
    r.tcb.cwnd = 64 * MSS;
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
      expect(r.tcb.ssthresh).to.equal(Infinity);
    }
    const r = grown();
    r.tcb.ssthresh = 20 * MSS;
    r.host.advance(401);
    r.host.write(r.fd, 'x');
    expect([r.tcb.cwnd, r.tcb.ssthresh]).to.deep.equal([16 * MSS, 48 * MSS]);
  });

  it('a smaller window stays, and tcp_slow_start_after_idle=0 turns it off', () => {
    const small = grown();
    small.tcb.cwnd = 4 * MSS;
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
    expect(r.tcb.cwnd).to.equal(64 * MSS);
  });
});

describe('tcp: Reno (RFC 5681)', () => {
  it('slow start by what was acknowledged up to ssthresh, then one segment per window', () => {
    const tcb = block(10, 15);
    RENO.onAck(tcb, 4 * MSS, 0);
    expect(tcb.cwnd).to.equal(14_000);
    RENO.onAck(tcb, 15 * MSS, 0);
    // One segment to ssthresh; 14 of 15 segments of a window in congestion avoidance.
    expect(tcb.cwnd).to.equal(15_933);
    tcb.cwnd = 20_000;
    for (let n = 0; n < 20; n++) RENO.onAck(tcb, MSS, 0);
    expect(tcb.cwnd).to.be.within(20_950, 21_000);
    tcb.cwnd = 2_000_000_000;
    RENO.onAck(tcb, MSS, 0);
    expect(tcb.cwnd).to.equal(2_000_000_001);
  });

  it('half on loss, at least two segments; idle changes nothing', () => {
    expect(RENO.onLoss(block(20))).to.equal(10_000);
    expect(RENO.onRto(block(20))).to.equal(10_000);
    expect(RENO.onLoss(block(3))).to.equal(2000);
    const tcb = block(20);
    RENO.onIdle(tcb, 0);
    expect(tcb.cwnd).to.equal(20_000);
    expect(RENO.name).to.equal('reno');
  });
});

describe('tcp: CUBIC (RFC 9438)', () => {
  const BETA = 717 / 1024;

  /** One round trip of `srtt` in congestion avoidance: an ACK for each segment of the window. */
  function roundTrip(tcb: Tcb, nowUs: number): void {
    const acks = Math.floor(tcb.cwnd / MSS);
    for (let n = 0; n < acks; n++) CUBIC.onAck(tcb, MSS, nowUs + (tcb.srttUs * n) / acks);
  }

  it('falls to 717/1024, at least two segments', () => {
    expect(CUBIC.onLoss(block(100))).to.equal(70_019);
    expect(CUBIC.onRto(block(100))).to.equal(70_019);
    expect(CUBIC.onLoss(block(2))).to.equal(2000);
    expect(CUBIC.name).to.equal('cubic');
  });

  it('slow start until ssthresh', () => {
    const tcb = block(10, 20);
    CUBIC.onAck(tcb, 5 * MSS, 0);
    expect(tcb.cwnd).to.equal(15_000);
    expect(tcb.congestionState).to.equal(null);
  });

  it('follows W(t) = 0.4 (t - K)^3 + Wmax after a loss', () => {
    const wMax = 400;
    const tcb = block(wMax);
    tcb.ssthresh = CUBIC.onLoss(tcb);
    tcb.cwnd = tcb.ssthresh;
    const w0 = tcb.cwnd / MSS;
    expect(w0).to.be.closeTo(wMax * BETA, 0.01);
    const k = Math.cbrt((wMax - w0) / 0.4);
    const start = 1_000_000;
    for (let t = 0; t < 100; t++) {
      const seconds = t * 0.1;
      const curve = 0.4 * (seconds - k) ** 3 + wMax;
      // Linux's and the RFC's target: the curve one round trip ahead.
      expect(tcb.cwnd / MSS, `after ${seconds} s`).to.be.closeTo(curve, curve * 0.02 + 1);
      roundTrip(tcb, start + t * 100_000);
    }
    expect(tcb.cwnd / MSS).to.be.greaterThan(wMax);
  });

  it('the friendly region is as fast as Reno with alpha = 3 (1 - beta) / (1 + beta)', () => {
    const tcb = block(10, Infinity, 10_000);
    tcb.ssthresh = CUBIC.onLoss(tcb);
    tcb.cwnd = tcb.ssthresh;
    const alpha = (3 * (1 - BETA)) / (1 + BETA);
    let reno = tcb.cwnd / MSS;
    // Below the old window with alpha per round trip, from there on with one segment.
    for (let t = 0; t < 20; t++) {
      roundTrip(tcb, 1_000_000 + t * 10_000);
      reno += (reno < 10 ? alpha : 1) * (Math.floor(reno) / reno);
    }
    expect(tcb.cwnd / MSS).to.be.closeTo(reno, 1.5);
    expect(tcb.cwnd / MSS).to.be.greaterThan(15);
  });

  it('fast convergence: a second loss below the old maximum aims lower', () => {
    const tcb = block(100);
    tcb.ssthresh = CUBIC.onLoss(tcb);
    tcb.cwnd = 80 * MSS;
    tcb.ssthresh = CUBIC.onLoss(tcb);
    expect((tcb.congestionState as { wMax: number }).wMax).to.be.closeTo(
      (80 * (1 + BETA)) / 2,
      0.001,
    );
    tcb.cwnd = 90 * MSS;
    CUBIC.onLoss(tcb);
    expect((tcb.congestionState as { wMax: number }).wMax).to.equal(90);
  });

  it('after a time-out the curve begins at its origin', () => {
    const tcb = block(100);
    tcb.ssthresh = CUBIC.onRto(tcb);
    tcb.cwnd = tcb.ssthresh;
    CUBIC.onAck(tcb, MSS, 1_000_000);
    const s = tcb.congestionState as { k: number; origin: number };
    expect([s.k, s.origin]).to.deep.equal([0, 70.019]);
  });

  it('never more than half as much again per window, and a new stage after idling', () => {
    const tcb = block(10, 5, 1_000_000);
    CUBIC.onIdle(tcb, 0);
    expect(tcb.congestionState).to.equal(null);
    CUBIC.onAck(tcb, MSS, 1);
    CUBIC.onAck(tcb, MSS, 60_000_000);
    expect(tcb.cwnd).to.be.at.most(10_000 + 2 * 500 + 200);
    CUBIC.onIdle(tcb, 60_000_000);
    expect((tcb.congestionState as { epochUs: number }).epochUs).to.equal(0);
  });
});
