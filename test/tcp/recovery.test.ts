/**
 * Loss recovery: fast retransmit, NewReno (RFC 6582), SACK (RFC 6675), limited transmit (RFC 3042),
 * reneging.
 */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { pattern, type Rig, rig } from './rig.js';

const MSS = 1000;
const SACK = '<mss 1000,nop,nop,sackOK>';
const RENO = { 'net.ipv4.tcp_congestion_control': 'reno' };

/** Segment number `n`, counted from 0, as text. */
const seg = (n: number, flags = '.') =>
  `${flags} ${n * MSS + 1}:${(n + 1) * MSS + 1}(${MSS}) ack 1`;

/** The next packet is segment `n`; with PSH or not is the business of other tests. */
function out(r: Rig, n: number): void {
  const push = ((r.host.sent[0]?.[33] ?? 0) & 8) !== 0;
  r.peer.out(seg(n, push ? 'P.' : '.'));
}

/** A connection that has sent segments 0 to 9 of `queued`. */
function flight(options: Parameters<typeof rig>[0] = {}, queued = 20): Rig {
  const r = rig({ syn: '<mss 1000>', sysctl: RENO, ...options });
  r.host.write(r.fd, pattern(queued * MSS));
  for (let n = 0; n < 10; n++) out(r, n);
  r.peer.quiet();
  return r;
}

/** An ACK of the first `n` segments with SACK blocks, given in segments. */
function ack(r: Rig, n: number, ...blocks: [number, number][]): void {
  const sack = blocks.map(([l, right]) => `${l * MSS + 1}:${right * MSS + 1}`).join(' ');
  r.peer.in(`. 1:1(0) ack ${n * MSS + 1}${blocks.length > 0 ? ` <nop,nop,sack ${sack}>` : ''}`);
}

describe('tcp: recovery without SACK', () => {
  it('limited transmit for two duplicate ACKs, fast retransmit at the third', () => {
    const r = flight();
    ack(r, 0);
    out(r, 10);
    ack(r, 0);
    out(r, 11);
    ack(r, 0);
    out(r, 0);
    r.peer.quiet();
    expect(r.tcb.ssthresh).to.equal(5);
    expect(r.tcb.caState).to.equal(3);
    expect(r.host.counter(Mib.TCPRenoRecovery)).to.equal(1);
    expect(r.host.counter(Mib.TCPFastRetrans)).to.equal(1);
    // PRR: one segment for every second that has left, as the window is to be half of what it was.
    for (const n of [12, 13]) {
      ack(r, 0);
      r.peer.quiet();
      ack(r, 0);
      out(r, n);
      r.peer.quiet();
    }
    ack(r, 12);
    // What is acknowledged is all of the episode; the window is not moved on by it.
    expect(r.tcb.caState).to.equal(3);
    out(r, 14);
    out(r, 15);
    out(r, 16);
    ack(r, 13);
    expect([r.tcb.caState, r.tcb.cwnd]).to.deep.equal([0, 5]);
  });

  it('a late segment that timestamps show is reordering by what it was late, no more', () => {
    const r = flight({
      syn: '<mss 1012,nop,nop,TS val 1 ecr 0>',
      ack: '<nop,nop,TS val 2 ecr 1000>',
      peer: { relativeTimestamps: true },
      rttMs: 100,
    });
    r.host.advance(100);
    const dup = (at: number, ecr: number) =>
      r.peer.in(`. 1:1(0) ack ${at} <nop,nop,TS val 3 ecr ${ecr}>`);
    for (let n = 0; n < 3; n++) dup(1, 1100);
    expect([r.tcb.caState, r.tcb.sender!.reordering]).to.deep.equal([3, 3]);
    // The first transmission of all five has arrived.
    dup(5001, 1100);
    expect(r.host.counter(Mib.TCPTSReorder)).to.equal(1);
    expect(r.tcb.sender!.reordering).to.equal(5);
  });

  // RFC 6582 3.2.
  it('a partial ACK: one hole per round trip, at once', () => {
    const r = flight({}, 10);
    for (let n = 0; n < 3; n++) ack(r, 0);
    out(r, 0);
    for (let n = 3; n < 7; n++) ack(r, 0);
    // 0, 4 and 8 were lost.
    ack(r, 4);
    out(r, 4);
    r.peer.quiet();
    ack(r, 8);
    out(r, 8);
    r.peer.quiet();
    ack(r, 10);
    r.host.advance(10_000);
    r.peer.quiet();
    expect(r.host.counter(Mib.TcpRetransSegs)).to.equal(3);
    expect(r.host.counter(Mib.TCPTimeouts)).to.equal(0);
  });

  it('duplicates of what was needlessly repeated start nothing (RFC 6582 4.1)', () => {
    const r = flight({}, 10);
    r.host.advance(201);
    out(r, 0);
    ack(r, 10);
    r.host.write(r.fd, pattern(MSS));
    out(r, 10);
    for (let n = 0; n < 5; n++) ack(r, 10);
    r.peer.quiet();
    // Loss is held until something above it is acknowledged (Linux:
    // tcp_is_non_sack_preventing_reopen).
    expect(r.tcb.caState).to.equal(4);
    ack(r, 11);
    expect(r.tcb.caState).to.equal(0);
    r.host.write(r.fd, pattern(4 * MSS));
    expect(r.host.sent.splice(0).length).to.equal(4);
    for (let n = 0; n < 3; n++) ack(r, 11);
    out(r, 11);
  });

  it('what is no duplicate: a moved window, text, nothing outstanding', () => {
    const r = flight({ win: 20_000 }, 10);
    for (const win of [60_000, 61_000, 62_000, 63_000]) {
      r.peer.in(`. 1:1(0) ack 1 win ${win}`);
    }
    expect(r.tcb.sender!.sackedOut).to.equal(0);
    for (let n = 0; n < 4; n++) {
      r.peer.in(`. ${n + 1}:${n + 2}(1) ack 1 win 63000`, 'x');
      r.peer.out(`. 10001:10001(0) ack ${n + 2}`);
    }
    expect(r.tcb.sender!.sackedOut).to.equal(0);
    const idle = rig();
    for (let n = 0; n < 5; n++) idle.peer.in('. 1:1(0) ack 1');
    expect(idle.tcb.sender).to.equal(null);
    idle.peer.quiet();
  });
});

// RFC 6675.
describe('tcp: recovery with SACK', () => {
  it('a D-SACK in the midst of what is SACKed tells of reordering', () => {
    const r = flight({ syn: SACK, rttMs: 100 }, 10);
    r.host.advance(100);
    ack(r, 0, [1, 3], [5, 10]);
    for (const n of [0, 3]) out(r, n);
    ack(r, 0, [1, 3], [5, 10]);
    r.host.advance(100);
    ack(r, 0, [1, 4], [5, 10]);
    out(r, 4);
    r.host.advance(100);
    ack(r, 0, [1, 10]);
    expect(r.tcb.sender!.reordSeen).to.equal(0);
    // Its first transmission had only been late.
    ack(r, 0, [4, 5], [1, 10]);
    expect(r.tcb.sender!.reordSeen).to.equal(1);
  });

  it('what is SACKed is one record that was repeated when a part of it was', () => {
    const r = flight({ syn: SACK, rttMs: 100 }, 10);
    r.host.advance(100);
    ack(r, 0, [1, 3], [5, 10]);
    for (const n of [0, 3]) out(r, n);
    r.host.advance(100);
    ack(r, 0, [1, 4], [5, 10]);
    // Segment 1 was never repeated, but is one with 3, which was: Linux, too, believes it.
    ack(r, 0, [1, 2], [1, 4], [5, 10]);
    expect(r.tcb.sender!.reordSeen).to.equal(1);
  });

  it('a D-SACK before a FIN that is SACKed makes no segment more', () => {
    const r = flight({ syn: SACK, rttMs: 100 }, 11);
    r.host.shutdown(r.fd, 1);
    r.host.advance(100);
    ack(r, 1);
    r.peer.out('FP. 10001:11001(1000) ack 1');
    r.host.advance(100);
    r.peer.in('. 1:1(0) ack 1001 <nop,nop,sack 2001:4001 5001:11002>');
    for (const n of [1, 4]) out(r, n);
    r.host.advance(100);
    const { packetsOut } = r.tcb.sender!;
    for (const sack of ['2001:11002', '4001:5001 2001:11002']) {
      r.peer.in(`. 1:1(0) ack 1001 <nop,nop,sack ${sack}>`);
      expect([r.tcb.sender!.packetsOut, r.tcb.sender!.sackedOut]).to.deep.equal([packetsOut, 9]);
    }
    r.peer.in('. 1:1(0) ack 11002');
    expect([r.tcb.sender!.packetsOut, r.tcb.sender!.sackedOut]).to.deep.equal([0, 0]);
  });

  it('the timer of RACK sends what is lost; it does not find the window of the sender full', () => {
    // The peer's window holds three segments back, not cwnd: nothing has grown, and nothing shall.
    const r = rig({ syn: SACK, win: 3000, rttMs: 100, sysctl: RENO });
    r.host.write(r.fd, pattern(9000));
    for (const n of [0, 1, 2]) out(r, n);
    expect([r.tcb.cwnd, r.tcb.sender!.cwndLimited]).to.deep.equal([10, false]);
    r.host.advance(100);
    r.peer.in('. 1:1(0) ack 1 win 3000 <nop,nop,sack 1001:2001>');
    r.peer.quiet();
    r.host.advance(60);
    out(r, 0);
    r.peer.quiet();
    const { inFlight, cwndLimited } = r.tcb.sender!;
    expect([r.tcb.caState, r.tcb.cwnd, inFlight, cwndLimited]).to.deep.equal([3, 2, 2, false]);
  });

  it('new text that left with a repetition is not lost because that was delivered first', () => {
    const r = flight({ syn: SACK, rttMs: 100 }, 30);
    r.host.advance(100);
    ack(r, 0, [1, 4], [6, 10]);
    for (const n of [0, 4, 5, 10, 11]) out(r, n);
    r.peer.quiet();
    r.host.advance(10);
    // It was only late.
    ack(r, 0, [1, 5], [6, 10]);
    out(r, 12);
    r.host.advance(90);
    // Of what left 100 ms ago the first hole was filled; 12 is younger than all of it.
    ack(r, 5, [6, 10], [12, 13]);
    out(r, 5);
    expect(r.tcb.sender!).to.include({ lostOut: 1, retransOut: 1 });
    r.host.sent.length = 0;
    r.host.advance(2);
    r.peer.quiet();
    r.host.advance(1);
    out(r, 10);
    expect(r.tcb.sender!).to.include({ lostOut: 3 });
  });

  it('one loss: repeated once three segments above are SACKed', () => {
    const r = flight({ syn: SACK });
    ack(r, 0, [1, 2]);
    out(r, 10);
    ack(r, 0, [1, 3]);
    out(r, 11);
    ack(r, 0, [1, 4]);
    out(r, 0);
    r.peer.quiet();
    expect(r.host.counter(Mib.TCPSackRecovery)).to.equal(1);
    // PRR: eight in flight, and one more.
    expect([r.tcb.ssthresh, r.tcb.cwnd]).to.deep.equal([5, 9]);
    ack(r, 12);
    expect([r.tcb.caState, r.tcb.cwnd]).to.deep.equal([0, 6]);
  });

  // RFC 6675 4.
  it('several holes in one round trip, as the pipe allows', () => {
    const r = flight({ syn: SACK }, 10);
    // 0, 2 and 4 were lost; one merged ACK tells about the rest.
    ack(r, 0, [5, 10], [3, 4], [1, 2]);
    out(r, 0);
    out(r, 2);
    out(r, 4);
    r.peer.quiet();
    ack(r, 2, [5, 10], [3, 4]);
    ack(r, 4, [5, 10]);
    ack(r, 10);
    r.host.advance(10_000);
    r.peer.quiet();
    expect(r.host.counter(Mib.TcpRetransSegs)).to.equal(3);
  });

  it('three SACKed segments end the waiting for reordering, however small they are', () => {
    const r = rig({ syn: SACK, listenerOptions: [[6, 1, 1]] });
    for (let n = 0; n < 8; n++) r.host.write(r.fd, pattern(10));
    expect(r.host.sent.splice(0).length).to.equal(8);
    r.peer.in('. 1:1(0) ack 1 <nop,nop,sack 51:61 31:41 11:21>');
    r.peer.out('P. 1:11(10) ack 1');
    r.peer.out('P. 21:31(10) ack 1');
    r.peer.out('P. 41:51(10) ack 1');
    r.peer.quiet();
  });

  it('three duplicate ACKs with news repeat the first hole, and only that', () => {
    const r = rig({ syn: SACK, listenerOptions: [[6, 1, 1]] });
    for (let n = 0; n < 8; n++) r.host.write(r.fd, pattern(10));
    expect(r.host.sent.splice(0).length).to.equal(8);
    r.peer.in('. 1:1(0) ack 1 <nop,nop,sack 11:21>');
    r.peer.in('. 1:1(0) ack 1 <nop,nop,sack 11:31>');
    r.peer.quiet();
    r.peer.in('. 1:1(0) ack 1 <nop,nop,sack 11:41>');
    r.peer.out('P. 1:11(10) ack 1');
    r.peer.quiet();
  });

  it('news about loss that comes with an advancing ACK is used', () => {
    const r = flight({ syn: SACK }, 10);
    ack(r, 3, [4, 10]);
    out(r, 3);
    r.peer.quiet();
  });

  it('duplicate ACKs without news (D-SACK) repeat nothing', () => {
    const r = flight({ syn: SACK }, 10);
    ack(r, 2);
    for (let n = 0; n < 5; n++) ack(r, 2, [0, 1]);
    r.peer.quiet();
    expect(r.tcb.caState).to.equal(0);
    expect(r.host.counter(Mib.TCPDSACKRecv)).to.equal(5);
  });

  // RFC 2018 5.
  it('blocks outside the window are ignored', () => {
    const r = flight({ syn: SACK }, 10);
    ack(r, 1, [12, 14], [20, 30]);
    ack(r, 1, [9, 11]);
    r.peer.in('. 1:1(0) ack 1001 <nop,nop,sack 6001:5001>');
    r.peer.in('. 1:1(0) ack 1001 <nop,nop,sack 5001:5001>');
    r.peer.in('. 1:1(0) ack 1001 <nop,nop,sack 501:3001>');
    expect(r.tcb.sender!.sackedOut).to.equal(0);
    r.peer.quiet();
  });

  it('an old ACK may still bring news', () => {
    const r = flight({ syn: SACK }, 10);
    ack(r, 2);
    ack(r, 1, [3, 4], [5, 8]);
    out(r, 2);
    out(r, 4);
  });

  it('a lost retransmission waits for the timer, which repeats only the holes', () => {
    const r = flight({ syn: SACK }, 10);
    ack(r, 0, [1, 5], [6, 10]);
    out(r, 0);
    out(r, 5);
    ack(r, 0, [1, 10]);
    r.host.advance(190);
    r.peer.quiet();
    r.host.advance(15);
    out(r, 0);
    r.peer.quiet();
    expect(r.host.counter(Mib.TCPTimeouts)).to.equal(1);
    ack(r, 10);
    r.host.advance(10_000);
    r.peer.quiet();
  });

  it('after a time-out only what was not SACKed is sent again', () => {
    const r = flight({ syn: SACK }, 10);
    ack(r, 0, [8, 9]);
    // RACK: what was sent before is given a little time.
    r.host.advance(3);
    out(r, 0);
    r.peer.quiet();
    expect([r.tcb.caState, r.tcb.sender!.lostOut]).to.deep.equal([3, 8]);
    r.host.advance(201);
    out(r, 0);
    r.peer.quiet();
    expect([r.tcb.caState, r.tcb.sender!.lostOut]).to.deep.equal([4, 9]);
    ack(r, 1, [8, 9]);
    out(r, 1);
    out(r, 2);
    ack(r, 3, [8, 9]);
    for (const n of [3, 4, 5, 6]) out(r, n);
    ack(r, 7, [8, 9]);
    out(r, 7);
    out(r, 9);
    r.peer.quiet();
    ack(r, 10);
    expect(r.tcb.caState).to.equal(0);
  });

  // RFC 2018 8.
  it('reneging: what the peer discards again is sent again', () => {
    const r = flight({ syn: SACK }, 10);
    ack(r, 0, [1, 10]);
    out(r, 0);
    // The peer has thrown away what it had SACKed.
    ack(r, 1);
    r.peer.quiet();
    r.host.advance(205);
    out(r, 1);
    expect(r.host.counter(Mib.TCPSACKReneging)).to.equal(1);
    ack(r, 2);
    out(r, 2);
    out(r, 3);
    ack(r, 10);
    r.host.advance(10_000);
    r.peer.quiet();
  });

  it('ssthresh falls once per window of data, again after progress', () => {
    const r = flight({ syn: SACK }, 10);
    ack(r, 0, [1, 5]);
    out(r, 0);
    expect(r.tcb.ssthresh).to.equal(5);
    r.host.advance(202);
    expect(r.host.sent.splice(0).length).to.equal(1);
    expect([r.tcb.ssthresh, r.tcb.cwnd, r.tcb.caState]).to.deep.equal([5, 1, 4]);
    r.host.advance(402);
    expect(r.tcb.ssthresh).to.equal(5);
    ack(r, 5);
    r.host.sent.length = 0;
    r.host.advance(2000);
    // Half of the two segments that slow start had come to, but not less than two.
    expect(r.tcb.ssthresh).to.equal(2);
  });
});

describe('tcp: ACK fields that prove nothing', () => {
  it('beyond what was sent: dropped; newer kernels answer with a challenge', () => {
    for (const profile of ['5.0', '6.18'] as const) {
      const r = rig({ profile });
      r.host.write(r.fd, 'hello');
      r.peer.out('P. 1:6(5) ack 1');
      r.peer.in('P. 1:2(1) ack 7', 'x');
      if (profile === '6.18') r.peer.out('. 6:6(0) ack 1');
      r.peer.quiet();
      expect(r.host.readText(r.fd)).to.equal('');
      expect(r.tcb.sndUna).to.equal((r.peer.localIsn! + 1) | 0);
    }
  });

  it('older than the largest window: challenged; less old ones still carry text', () => {
    for (const profile of ['5.0', '6.18'] as const) {
      const r = rig({ profile, win: 4000, syn: '<mss 1460>' });
      for (let at = 1; at < 8001; at += 1000) {
        r.host.write(r.fd, pattern(1000));
        r.peer.out(`P. ${at}:${at + 1000}(1000) ack 1`);
        r.peer.in(`. 1:1(0) ack ${at + 1000} win 4000`);
      }
      r.peer.in('P. 1:2(1) ack 4001 win 4000', 'x');
      r.peer.out('. 8001:8001(0) ack 2');
      expect(r.host.readText(r.fd)).to.equal('x');
      r.peer.in('P. 2:3(1) ack 4000 win 4000', 'y');
      r.peer.out('. 8001:8001(0) ack 2');
      expect(r.host.readText(r.fd)).to.equal('');
      expect(r.host.counter(Mib.TCPChallengeACK)).to.equal(1);
    }
  });

  it('before the first byte: newer kernels know that nobody can acknowledge that', () => {
    for (const profile of ['5.0', '6.18'] as const) {
      const r = rig({ profile });
      r.host.write(r.fd, 'hello');
      r.peer.out('P. 1:6(5) ack 1');
      r.peer.in('. 1:1(0) ack 6');
      r.peer.bytes('. 1:1(0) ack 6');
      const spoofed = r.peer.bytes('P. 1:2(1) ack 6', 'x');
      // ISS - 10, with the checksum to match.
      const old = rewriteAck(spoofed, (r.peer.localIsn! - 10) >>> 0);
      r.host.inject(old);
      r.peer.out(`. 6:6(0) ack ${profile === '5.0' ? 2 : 1}`);
      expect(r.host.readText(r.fd)).to.equal(profile === '5.0' ? 'x' : '');
    }
  });
});

/** The packet with another ACK field; its checksum is adapted (RFC 1624 by plain arithmetic). */
function rewriteAck(packet: Uint8Array, ack: number): Uint8Array {
  const bytes = packet.slice();
  const view = new DataView(bytes.buffer);
  let sum = ~view.getUint16(36) & 0xffff;
  for (const at of [28, 30]) sum += ~view.getUint16(at) & 0xffff;
  view.setUint32(28, ack);
  for (const at of [28, 30]) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(36, ~sum & 0xffff);
  return bytes;
}
