/** Round-trip time and the retransmission timer (RFC 6298 with Linux's floor, RFC 1122 R2). */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { rttSample } from '../../src/tcp/rtt.js';
import type { Tcb } from '../../src/tcp/tcb.js';
import { modelTimeoutUs } from '../../src/tcp/timers.js';
import { pattern, type Rig, rig } from './rig.js';

/** Times (ms since now, in steps of `step`) at which something leaves during `seconds`. */
function departures(r: Rig, seconds: number, step = 1): number[] {
  const start = r.host.nowUs;
  const times: number[] = [];
  while (r.host.nowUs < start + seconds * 1e6) {
    r.host.advance(step);
    for (let n = r.host.sent.length; n > 0; n--) {
      r.host.sent.shift();
      times.push(Math.round((r.host.nowUs - start) / 1000));
    }
  }
  return times;
}

// RFC 9293 MUST-18.
describe('tcp: RTT estimator', () => {
  const fresh = () => ({ ...rig().tcb, srttUs: 0, rtoUs: 1_000_000 }) as Tcb;

  // RFC 6298 2.2.
  it('first sample R: RTO = R + max(2R, 200 ms)', () => {
    for (const [sample, rto] of [
      [1, 200_001],
      [50_000, 250_000],
      [100_000, 300_000],
      [150_000, 450_000],
      [1_000_000, 3_000_000],
      [50_000_000, 120_000_000],
    ] as const) {
      const tcb = fresh();
      rttSample(tcb, sample);
      expect(tcb.srttUs).to.equal(sample);
      expect(tcb.rtoUs).to.equal(rto);
    }
  });

  // RFC 6298 2.3.
  it('gains 1/8 and 1/4; 1/32 while the RTT shrinks', () => {
    const tcb = fresh();
    tcb.sndNxt = tcb.sndUna;
    rttSample(tcb, 400_000);
    expect([tcb.srttUs, tcb.mdevUs, tcb.rtoUs]).to.deep.equal([400_000, 800_000, 1_200_000]);
    // Error 400 ms, deviation 400 - 200.
    rttSample(tcb, 800_000);
    expect([tcb.srttUs, tcb.mdevUs, tcb.rtoUs]).to.deep.equal([450_000, 1_000_000, 1_450_000]);
    // Error -350 ms, deviation (350 - 250) / 8.
    rttSample(tcb, 100_000);
    expect([tcb.srttUs, tcb.mdevUs]).to.deep.equal([406_250, 1_012_500]);
    // Error 93.75 ms: the deviation falls by 253.125 - 93.75.
    rttSample(tcb, 500_000);
    expect([tcb.srttUs, tcb.mdevUs]).to.deep.equal([417_968.75, 853_125]);
    expect(tcb.rtoUs).to.equal(Math.floor(417_968.75 + 1_012_500));
  });

  it('the variance falls by a quarter of the distance per round trip, never below 200 ms', () => {
    const tcb = fresh();
    rttSample(tcb, 200_000);
    expect(tcb.rttvarUs).to.equal(400_000);
    const seen: number[] = [];
    for (let i = 0; i < 40; i++) {
      tcb.sndUna = (tcb.sndUna + 1000) | 0;
      tcb.sndNxt = tcb.sndUna;
      rttSample(tcb, 200_000);
      seen.push(tcb.rttvarUs);
      tcb.sndUna = (tcb.sndUna + 1) | 0;
    }
    expect(seen[0]).to.be.within(300_000, 400_000);
    expect(seen[1]! - 200_000).to.be.closeTo((seen[0]! - 200_000) * 0.75, 100_000);
    expect(seen.at(-1)).to.be.within(200_000, 200_010);
    expect(tcb.rtoUs).to.be.within(400_000, 400_010);
  });

  it('the handshake gives the first sample', () => {
    expect(rig({ rttMs: 100 }).tcb.rtoUs).to.equal(300_000);
    expect(rig().tcb.rtoUs).to.equal(200_001);
  });
});

describe('tcp: hypothetical time-out (Linux tcp_model_timeout)', () => {
  // RFC 6298 2.4, 2.5, 5.5.
  it('doubles from 200 ms to 120 s', () => {
    const seconds = (retries: number) => modelTimeoutUs(retries, 200_000, 120e6) / 1e6;
    expect(seconds(0)).to.equal(0.2);
    expect(seconds(3)).to.equal(3);
    expect(seconds(8)).to.equal(102.2);
    expect(seconds(9)).to.be.closeTo(204.6, 1e-9);
    expect(seconds(10)).to.be.closeTo(324.6, 1e-9);
    expect(seconds(15)).to.be.closeTo(924.6, 1e-9);
  });
});

describe('tcp: retransmission timer', () => {
  // RFC 9293 MUST-19.
  it('200, 600, 1400, 3000 ms and so on for a near-zero RTT, capped at 120 s', () => {
    const r = rig();
    r.host.write(r.fd, 'hello');
    r.peer.out('P. 1:6(5) ack 1');
    const times = departures(r, 700, 5);
    const expected: number[] = [];
    for (let at = 0.2, step = 0.4; at < 700; step *= 2) {
      expected.push(at * 1000);
      at += Math.min(step, 120);
    }
    expect(times.length).to.equal(expected.length);
    times.forEach((time, i) => {
      expect(time, `retransmission ${i}`).to.be.closeTo(expected[i]!, 10);
    });
    expect(r.tcb.rtoUs).to.equal(120_000_000);
    expect(r.host.counter(Mib.TCPTimeouts)).to.equal(times.length);
    expect(r.host.counter(Mib.TcpRetransSegs)).to.equal(times.length);
  });

  // RFC 9293 MUST-20, SHLD-11, RFC 1122 4.2.3.5.
  it('gives up 924.6 s after the first transmission: ETIMEDOUT', () => {
    const r = rig();
    r.host.write(r.fd, 'hello');
    const start = r.host.nowUs;
    r.host.advance(924_000);
    expect(r.tcb.state).to.equal(1);
    r.host.advance(1000);
    expect(r.tcb.state).to.equal(7);
    expect(r.host.ready(r.fd) & 0x18).to.equal(0x18);
    expect(r.host.read(r.fd)).to.equal(-110);
    expect(r.host.read(r.fd)).to.have.length(0);
    expect(r.host.counter(Mib.TCPAbortOnTimeout)).to.equal(1);
    expect((r.host.nowUs - start) / 1e6).to.be.closeTo(925, 0.1);
    // 15 retransmissions and the first one.
    expect(r.host.sent.length).to.equal(16);
  });

  it('tcp_retries2 decides', () => {
    // Measured on Linux with next to no round-trip time: one time-out more below four.
    for (const [retries, seconds] of [
      [0, 0.6],
      [1, 1.4],
      [2, 3],
      [3, 6.2],
      [4, 6.2],
      [5, 12.6],
      [8, 102.2],
    ] as const) {
      const r = rig({ sysctl: { 'net.ipv4.tcp_retries2': retries } });
      r.host.write(r.fd, 'hello');
      r.host.advance(seconds * 1000 - 1);
      expect(r.tcb.state, `${retries}`).to.equal(1);
      r.host.advance(2);
      expect(r.tcb.state, `${retries}`).to.equal(7);
    }
  });

  it('tcp_rto_max_ms shortens what retries are worth', () => {
    for (const [orphan, seconds] of [
      [false, 15.4],
      [true, 2.4],
    ] as const) {
      const sysctl = { 'net.ipv4.tcp_rto_max_ms': 1000 };
      const r = rig({ sysctl });
      r.host.write(r.fd, 'hello');
      if (orphan) r.host.close(r.fd);
      const gone = (): boolean => (orphan ? r.host.mem.fdsInUse === 1 : r.tcb.state === 7);
      r.host.advance(seconds * 1000 - 10);
      expect(gone(), `${orphan}`).to.equal(false);
      r.host.advance(20);
      expect(gone(), `${orphan}`).to.equal(true);
    }
  });

  it('reports the soft error if there was one', () => {
    const r = rig({ sysctl: { 'net.ipv4.tcp_retries2': 2 } });
    r.host.write(r.fd, 'hello');
    r.tcb.softError = 113;
    r.host.advance(10_000);
    expect(r.host.read(r.fd)).to.equal(-113);
  });

  it('an orphan gives up after eight doublings', () => {
    const r = rig();
    r.host.write(r.fd, 'hello');
    r.host.close(r.fd);
    r.host.advance(102_000);
    expect(r.host.mem.fdsInUse).to.equal(2);
    r.host.advance(400);
    expect(r.host.mem.fdsInUse).to.equal(1);
    expect(r.host.stack.tcp.orphans).to.equal(0);
  });

  it('an orphan on a path that is not alive tries once', () => {
    const r = rig();
    r.tcb.rtoUs = 120_000_000;
    r.host.write(r.fd, 'hello');
    r.tcb.softError = 113;
    r.host.close(r.fd);
    r.host.advance(239_000);
    expect(r.host.mem.fdsInUse).to.equal(2);
    r.host.advance(2000);
    expect(r.host.mem.fdsInUse).to.equal(1);
    // The text, once more, and the FIN; when the wait is over nothing.
    expect(r.host.sent.length).to.equal(3);
  });

  // RFC 9293 MUST-35, SHLD-17.
  it('an answered window of 0 does not time out what is under way', () => {
    const r = rig();
    r.host.write(r.fd, 'hello');
    r.peer.out('P. 1:6(5) ack 1');
    r.peer.in('P. 1:2(1) ack 1 win 0', 'x');
    // What lies beyond the window would not be taken (Linux: tcp_acceptable_seq).
    r.peer.out('. 1:1(0) ack 2');
    r.peer.in('. 2:2(0) ack 1 win 0');
    for (let n = 0; n < 25; n++) {
      r.host.advance(120_000);
      while (r.host.sent.length > 0) r.peer.out('P. 1:6(5) ack 2');
      r.peer.in('. 2:2(0) ack 1 win 0');
    }
    expect(r.tcb.state).to.equal(1);
    r.host.advance(500_000);
    expect(r.tcb.state).to.equal(7);
    expect(r.host.readText(r.fd)).to.equal('x');
    expect(r.host.read(r.fd)).to.equal(-110);
  });

  // RFC 6298 5.1, 5.2, 5.3.
  it('starts with the first segment, anew with each advance, ends with the last', () => {
    const r = rig();
    r.host.write(r.fd, pattern(2920));
    r.peer.out('. 1:1461(1460) ack 1');
    r.peer.out('P. 1461:2921(1460) ack 1');
    r.host.advance(150);
    r.peer.in('. 1:1(0) ack 1461');
    r.host.advance(199);
    r.peer.quiet();
    r.host.advance(200);
    r.peer.out('P. 1461:2921(1460) ack 1');
    r.peer.in('. 1:1(0) ack 2921');
    expect(r.tcb.retransUs).to.equal(Infinity);
    r.host.advance(60_000);
    r.peer.quiet();
  });

  // RFC 6298 5.4, 5.6, RFC 5681 4.3.
  it('after the time-out: the head, then slow start through what was lost', () => {
    const r = rig();
    r.host.write(r.fd, pattern(7300));
    for (let at = 1; at < 7301; at += 1460) {
      r.peer.out(`${at === 5841 ? 'P' : ''}. ${at}:${at + 1460}(1460) ack 1`);
    }
    r.host.advance(201);
    r.peer.out('. 1:1461(1460) ack 1');
    r.peer.quiet();
    expect(r.tcb.cwnd).to.equal(1);
    // A burst of more than one segment ends with PSH.
    r.peer.in('. 1:1(0) ack 1461');
    r.peer.out('. 1461:2921(1460) ack 1');
    r.peer.out('P. 2921:4381(1460) ack 1');
    r.peer.quiet();
    r.peer.in('. 1:1(0) ack 4381');
    r.peer.out('. 4381:5841(1460) ack 1');
    r.peer.out('P. 5841:7301(1460) ack 1');
    r.peer.in('. 1:1(0) ack 7301');
    r.host.advance(60_000);
    r.peer.quiet();
    // Without SACK, until something later is acknowledged (Linux:
    // tcp_is_non_sack_preventing_reopen).
    expect(r.tcb.caState).to.equal(4);
  });

  it('repeats a FIN, alone and with the last text', () => {
    const r = rig();
    r.host.write(r.fd, pattern(10));
    r.host.shutdown(r.fd, 1);
    r.peer.out('P. 1:11(10) ack 1');
    r.peer.out('F. 11:11(0) ack 1');
    r.host.advance(201);
    r.peer.out('FP. 1:11(10) ack 1');
    r.peer.in('. 1:1(0) ack 11');
    r.peer.quiet();
    r.host.advance(401);
    // PSH of the text that it was put together with (as Linux has it).
    r.peer.out('FP. 11:11(0) ack 1');
    r.peer.in('. 1:1(0) ack 12');
    r.host.advance(10_000);
    r.peer.quiet();
  });
});

// RFC 9293 MUST-18.
describe('tcp: Karn', () => {
  it('an ACK of something sent twice gives no sample: the backed-off RTO stays', () => {
    const r = rig();
    r.host.write(r.fd, 'hello');
    r.peer.out('P. 1:6(5) ack 1');
    r.host.advance(650);
    r.peer.out('P. 1:6(5) ack 1');
    r.peer.out('P. 1:6(5) ack 1');
    expect(r.tcb.rtoUs).to.equal(800_004);
    r.peer.in('. 1:1(0) ack 6');
    expect(r.tcb.rtoUs).to.equal(800_004);
    // As in Linux the back-off lasts until there is a sample.
    expect(r.tcb.backoff).to.equal(2);
    r.host.write(r.fd, 'again');
    r.peer.out('P. 6:11(5) ack 1');
    r.host.advance(700);
    r.peer.quiet();
    // A new segment, sent once: 700 ms; error 699.999, deviation 2 / 4 of a microsecond less.
    r.peer.in('. 1:1(0) ack 11');
    expect(r.tcb.srttUs).to.be.closeTo(87_501, 1);
    expect(r.tcb.rtoUs).to.be.closeTo(87_501 + 700_001, 2);
  });

  // RFC 7323 4.1.
  it('a timestamp echo is a sample even then', () => {
    const r = rig({ syn: '<mss 1460,nop,nop,TS val 1 ecr 0>', ack: '<nop,nop,TS val 2 ecr 0>' });
    r.host.write(r.fd, 'hello');
    r.peer.out('P. 1:6(5) ack 1');
    r.host.advance(250);
    const packet = r.peer.out('P. 1:6(5) ack 1');
    const ts = packet.options.find((option) => option.kind === 'TS')!;
    r.host.advance(30);
    r.peer.in(`. 1:1(0) ack 6 <nop,nop,TS val 3 ecr ${ts.val}>`);
    // 80 ms since the second transmission: srtt 10 ms, the deviation well below 200 ms.
    expect(r.tcb.srttUs).to.be.closeTo(10_000, 500);
    expect(r.tcb.rtoUs).to.be.closeTo(210_000, 500);
  });
});
