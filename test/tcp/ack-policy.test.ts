/** When ACKs are sent (RFC 9293 3.8.6.3, RFC 5681 4.2) and keep-alive (RFC 1122 4.2.3.6). */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { MemoryStack, Peer } from '../../src/testing/index.js';
import { pattern, type Rig, rig } from './rig.js';

/** Sends `length` bytes of text at offset `at`; ms until the ACK leaves (0 = at once), or null. */
function ackDelay(r: Rig, at: number, length: number, limitMs = 600): number | null {
  r.peer.in(`P. ${at + 1}:${at + length + 1}(${length}) ack 1`, pattern(length, at));
  for (let ms = 0; ms <= limitMs; ms++) {
    if (r.host.sent.length > 0) {
      r.peer.out(`. 1:1(0) ack ${at + length + 1}`);
      r.peer.quiet();
      return ms;
    }
    r.host.advance(1);
  }
  return null;
}

describe('tcp: ACK policy', () => {
  // RFC 9293 SHLD-18.
  it('sixteen small segments at once, then 40 ms late', () => {
    const r = rig();
    const delays: (number | null)[] = [];
    for (let n = 0; n < 20; n++) delays.push(ackDelay(r, n * 100, 100));
    expect(delays).to.deep.equal([...new Array(16).fill(0), 40, 40, 40, 40]);
    expect(r.host.counter(Mib.DelayedACKs)).to.equal(4);
  });

  it('fewer where the window is small: window / 2 segments, at least two', () => {
    const r = rig({ listenerOptions: [[1, 8, 6000]] });
    // The window is four segments of 1460: 5840 / (2 * 536) = 5.
    const delays: (number | null)[] = [];
    for (let n = 0; n < 7; n++) delays.push(ackDelay(r, n * 100, 100));
    expect(delays).to.deep.equal([0, 0, 0, 0, 0, 40, 40]);
    const tiny = rig({ listenerOptions: [[1, 8, 1]] });
    expect([0, 1, 2].map((n) => ackDelay(tiny, n * 10, 10))).to.deep.equal([0, 0, 40]);
  });

  /** A rig whose quick ACKs are used up; 1600 bytes of text have come. */
  function late(options: Parameters<typeof rig>[0] = {}): Rig {
    const r = rig(options);
    for (let n = 0; n < 16; n++) ackDelay(r, n * 100, 100);
    expect(r.tcb.quickAcks).to.equal(0);
    return r;
  }

  it('a timer that answers put off stays in the wheel and is late for nothing', () => {
    const r = late();
    const { timers } = r.host.stack.net;
    let at = 1601;
    let sent = 1;
    const request = (): void => {
      r.peer.in(`P. ${at}:${at + 10}(10) ack ${sent}`);
      at += 10;
    };
    request();
    const firstUs = timers.dueUs(r.tcb);
    expect(firstUs - r.host.nowUs).to.equal(40_000);
    for (let n = 0; n < 5; n++) {
      r.host.write(r.fd, 'answer');
      r.peer.out(`P. ${sent}:${sent + 6}(6) ack ${at}`);
      sent += 6;
      r.host.advance(5);
      request();
      expect(timers.dueUs(r.tcb)).to.equal(firstUs);
    }
    // It fires 25 ms on and finds nothing due; the ACK of the last request is due 15 ms later.
    r.host.advance(39);
    r.peer.quiet();
    r.host.advance(1);
    r.peer.out(`. ${sent}:${sent}(0) ack ${at}`);
    r.peer.quiet();
  });

  // RFC 9293 SHLD-19, RFC 1122 4.2.3.2.
  it('every second full segment is acknowledged at once', () => {
    const r = late();
    r.tcb.rcvMss = 1000;
    r.peer.in('. 1601:2601(1000) ack 1');
    r.peer.quiet();
    r.peer.in('. 2601:3601(1000) ack 1');
    r.peer.out('. 1:1(0) ack 3601');
    r.peer.in('. 3601:4601(1000) ack 1');
    r.peer.quiet();
    r.host.advance(39);
    r.peer.quiet();
    r.host.advance(1);
    r.peer.out('. 1:1(0) ack 4601');
  });

  it('an ACK that is nearly due goes with the next segment', () => {
    const r = late();
    r.peer.in('. 1601:1611(10) ack 1');
    r.host.advance(29);
    r.peer.in('. 1611:1621(10) ack 1');
    r.peer.quiet();
    r.host.advance(2);
    r.peer.in('. 1621:1631(10) ack 1');
    r.peer.out('. 1:1(0) ack 1631');
  });

  // RFC 9293 MUST-40.
  it('the delay adapts to the pace of the peer, at most the RTT or 200 ms', () => {
    const slow = late({ rttMs: 150 });
    slow.host.advance(100);
    expect(ackDelay(slow, 1600, 10)).to.equal(40);
    // The ACK was late: twice as long.
    expect(ackDelay(slow, 1610, 10)).to.be.within(60, 80);
    let last = 0;
    for (let n = 0; n < 8; n++) last = ackDelay(slow, 1620 + n * 10, 10)!;
    expect(last).to.be.within(140, 150);
    const far = late({ rttMs: 400 });
    far.host.advance(100);
    for (let n = 0; n < 12; n++) last = ackDelay(far, 1600 + n * 10, 10)!;
    expect(last).to.equal(200);
    const near = late();
    for (let n = 0; n < 8; n++) expect(ackDelay(near, 1600 + n * 10, 10)).to.equal(40);
  });

  it('rides on data while the application answers', () => {
    const r = rig();
    expect(ackDelay(r, 0, 10)).to.equal(0);
    r.host.write(r.fd, 'answer');
    r.peer.out('P. 1:7(6) ack 11');
    expect(r.tcb.pingpong).to.equal(true);
    r.peer.in('P. 11:21(10) ack 7');
    r.peer.quiet();
    r.host.advance(20);
    r.host.write(r.fd, 'answer');
    r.peer.out('P. 7:13(6) ack 21');
    r.host.advance(100);
    r.peer.quiet();
    // No answer: the delayed ACK ends the ping-pong.
    r.peer.in('P. 21:31(10) ack 13');
    r.host.advance(60);
    r.peer.out('. 13:13(0) ack 31');
    expect(r.tcb.pingpong).to.equal(false);
  });

  it('after a pause of more than an RTO the peer is in slow start: quick ACKs again', () => {
    const r = late();
    r.host.advance(300);
    expect(ackDelay(r, 1600, 10)).to.equal(0);
    expect(r.tcb.quickAcks).to.equal(15);
    const talk = rig();
    ackDelay(talk, 0, 10);
    talk.host.write(talk.fd, 'answer');
    talk.peer.out('P. 1:7(6) ack 11');
    talk.host.advance(50);
    talk.peer.in('. 11:11(0) ack 7');
    talk.host.advance(1000);
    // But not while playing ping-pong.
    talk.peer.in('P. 11:21(10) ack 7');
    talk.peer.quiet();
  });

  it('TCP_QUICKACK sends what is held back, and turns ping-pong off', () => {
    const r = late();
    r.peer.in('P. 1601:1611(10) ack 1');
    r.peer.quiet();
    // Not while the application has not read it.
    expect(r.host.stack.setsockopt(r.fd, 6, 12, 1, 0)).to.equal(0);
    r.host.poll();
    r.peer.quiet();
    r.host.read(r.fd);
    expect(r.host.stack.setsockopt(r.fd, 6, 12, 1, 0)).to.equal(0);
    r.host.poll();
    r.peer.out('. 1:1(0) ack 1611');
    r.host.stack.setsockopt(r.fd, 6, 12, 0, 0);
    expect(r.tcb.pingpong).to.equal(true);
  });

  it('estimates the segment size: the largest, or a smaller one that comes twice', () => {
    const r = rig();
    expect(r.tcb.rcvMss).to.equal(536);
    let at = 0;
    const text = (size: number, flags = '.') => {
      r.peer.in(`${flags} ${at + 1}:${at + size + 1}(${size}) ack 1`, pattern(size));
      at += size;
      r.host.read(r.fd);
      return r.tcb.rcvMss;
    };
    expect(text(1460)).to.equal(1460);
    expect(text(1000)).to.equal(1460);
    expect(text(1460)).to.equal(1460);
    expect(text(1000)).to.equal(1460);
    expect(text(1000)).to.equal(1000);
    // Below 536 only what is not the end of something counts.
    expect(text(200, 'P.')).to.equal(1000);
    expect(text(200, 'P.')).to.equal(1000);
    expect(text(200)).to.equal(1000);
    expect(text(200)).to.equal(200);
    expect(text(80)).to.equal(200);
    expect(text(80)).to.equal(200);
  });
});

// RFC 9293 MAY-5, MUST-24.
describe('tcp: keep-alive', () => {
  const keep = (extra: [number, number, number][] = []) => {
    const r = rig();
    for (const [level, name, value] of [...extra, [1, 9, 1] as const]) {
      expect(r.host.stack.setsockopt(r.fd, level, name, value, 0)).to.equal(0);
    }
    return r;
  };
  const probe = (r: Rig) => r.peer.out('. 0:0(0) ack 1');

  // RFC 9293 MUST-25.
  it('is off by default', () => {
    const r = rig();
    r.host.advance(100_000_000);
    r.peer.quiet();
  });

  // RFC 9293 MUST-28, MUST-29, SHLD-12.
  it('7200 s idle, nine probes 75 s apart, then RST and ETIMEDOUT', () => {
    const r = keep();
    r.host.advance(7_199_999);
    r.peer.quiet();
    r.host.advance(2);
    probe(r);
    for (let n = 2; n <= 9; n++) {
      r.host.advance(74_990);
      r.peer.quiet();
      r.host.advance(10);
      probe(r);
    }
    r.host.advance(74_990);
    r.peer.quiet();
    r.host.advance(10);
    r.peer.out('R. 1:1(0) ack 1');
    expect(r.host.counter(Mib.TCPKeepAlive)).to.equal(9);
    expect(r.tcb.state).to.equal(7);
    expect(r.host.read(r.fd)).to.equal(-110);
  });

  it('an answer starts it anew, also when the interval is longer than the idle time', () => {
    const r = keep([
      [6, 4, 10],
      [6, 5, 30],
      [6, 6, 2],
    ]);
    for (let n = 0; n < 10; n++) {
      r.host.advance(30_001);
      probe(r);
      r.peer.in('. 1:1(0) ack 1');
      r.peer.quiet();
    }
    expect(r.tcb.state).to.equal(1);
    r.host.advance(30_001);
    probe(r);
    r.host.advance(30_001);
    probe(r);
    r.host.advance(30_001);
    r.peer.out('R. 1:1(0) ack 1');
  });

  // RFC 9293 MUST-26.
  it('what the peer sends postpones it, what we send does not', () => {
    const r = keep([[6, 4, 100]]);
    r.host.advance(90_000);
    r.peer.in('. 1:1(0) ack 1');
    r.host.advance(99_000);
    r.peer.quiet();
    r.host.advance(1001);
    probe(r);
  });

  // RFC 9293 MUST-26.
  it('not while something is unacknowledged: the retransmissions find out', () => {
    const r = keep([[6, 4, 1]]);
    r.host.write(r.fd, 'hello');
    r.peer.out('P. 1:6(5) ack 1');
    r.host.advance(5000);
    while (r.host.sent.length > 0) r.peer.out('P. 1:6(5) ack 1');
    expect(r.host.counter(Mib.TCPKeepAlive)).to.equal(0);
  });

  it('set before connect() it starts then, but not during the handshake', () => {
    const host = new MemoryStack({ arenaBytes: 8 << 20 });
    const fd = host.stack.socket(0);
    host.stack.setsockopt(fd, 1, 9, 1, 0);
    host.stack.setsockopt(fd, 6, 4, 2, 0);
    const peer = new Peer(host, { localPort: 0 });
    expect(host.stack.connect(fd, peer.address, peer.port)).to.equal(-115);
    peer.localPort = host.stack.sock(fd)!.num;
    host.poll();
    host.advance(3900);
    expect(host.counter(Mib.TCPKeepAlive)).to.equal(0);
    peer.localIsn = host.stack.sock(fd)!.iss >>> 0;
    host.sent.length = 0;
    peer.in('S. 0:0(0) ack 1 <mss 1460>');
    peer.out('. 1:1(0) ack 1');
    host.advance(4100);
    peer.out('. 0:0(0) ack 1');
  });

  it('works while one side is closed, and can be turned off', () => {
    const r = keep([[6, 4, 10]]);
    r.host.shutdown(r.fd, 1);
    r.peer.out('F. 1:1(0) ack 1');
    r.peer.in('. 1:1(0) ack 2');
    r.host.advance(10_001);
    r.peer.out('. 1:1(0) ack 1');
    r.peer.in('. 1:1(0) ack 2');
    r.host.stack.setsockopt(r.fd, 1, 9, 0, 0);
    r.host.advance(1_000_000);
    r.peer.quiet();
  });

  // RFC 9293 MUST-27.
  it('TCP_KEEPIDLE on a connection counts from when the peer was last heard', () => {
    const r = keep();
    r.host.advance(60_000);
    expect(r.host.stack.setsockopt(r.fd, 6, 4, 100, 0)).to.equal(0);
    r.host.advance(39_990);
    r.peer.quiet();
    r.host.advance(20);
    probe(r);
    const over = keep();
    over.host.advance(60_000);
    over.host.stack.setsockopt(over.fd, 6, 4, 10, 0);
    over.host.advance(1);
    probe(over);
  });
});
