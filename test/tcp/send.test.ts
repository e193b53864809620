/**
 * Packet tables: what is sent when and in which pieces (RFC 9293 3.7, 3.8.6.2.1; RFC 1122 4.2.3.4).
 */
import { expect } from 'chai';
import { EAGAIN } from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import { syncMss } from '../../src/tcp/mss.js';
import { pattern, type Rig, rig } from './rig.js';

const IPPROTO_TCP = 6;
const TCP_NODELAY = 1;
const TCP_MAXSEG = 2;
const TCP_CORK = 3;

function set(r: Rig, name: number, value: number): void {
  expect(r.host.stack.setsockopt(r.fd, IPPROTO_TCP, name, value, 0)).to.equal(0);
  r.host.poll();
}

/** Sizes of the segments sent, in order; nothing may be missing between them. */
function sizes(r: Rig): number[] {
  const out: number[] = [];
  while (r.host.sent.length > 0)
    out.push(new DataView(r.host.sent.shift()!.buffer).byteLength - 40);
  return out;
}

describe('tcp: Nagle and friends', () => {
  // RFC 9293 MUST-60, SHLD-7, MAY-16.
  it('holds back small segments behind a small one that is not acknowledged', () => {
    const r = rig();
    r.host.write(r.fd, 'a');
    r.peer.out('P. 1:2(1) ack 1');
    r.host.write(r.fd, 'b');
    r.host.write(r.fd, 'c');
    r.peer.quiet();
    r.peer.in('. 1:1(0) ack 2');
    r.peer.out('P. 2:4(2) ack 1');
    expect(new TextDecoder().decode(r.peer.last!.payload)).to.equal('bc');
    r.peer.quiet();
  });

  // RFC 9293 MUST-17.
  it('with TCP_NODELAY each write leaves at once', () => {
    const r = rig({ listenerOptions: [[IPPROTO_TCP, TCP_NODELAY, 1]] });
    for (const letter of 'abc') r.host.write(r.fd, letter);
    r.peer.out('P. 1:2(1) ack 1');
    r.peer.out('P. 2:3(1) ack 1');
    r.peer.out('P. 3:4(1) ack 1');
  });

  // RFC 9293 SHLD-28.
  it('Minshall: full segments under way hold nothing back, a small tail does', () => {
    const r = rig();
    r.host.write(r.fd, pattern(1460));
    r.peer.out('P. 1:1461(1460) ack 1');
    r.host.write(r.fd, 'a');
    r.peer.out('P. 1461:1462(1) ack 1');
    r.host.write(r.fd, pattern(1500));
    r.peer.out('. 1462:2922(1460) ack 1');
    r.peer.quiet();
    r.peer.in('. 1:1(0) ack 1462');
    r.peer.out('P. 2922:2962(40) ack 1');
  });

  it('setting TCP_NODELAY sends what waits', () => {
    const r = rig();
    r.host.write(r.fd, 'a');
    r.host.write(r.fd, 'b');
    r.peer.out('P. 1:2(1) ack 1');
    set(r, TCP_NODELAY, 1);
    r.peer.out('P. 2:3(1) ack 1');
  });

  it('a FIN does not wait', () => {
    const r = rig();
    r.host.write(r.fd, 'a');
    r.host.write(r.fd, 'b');
    r.peer.out('P. 1:2(1) ack 1');
    r.host.shutdown(r.fd, 1);
    r.peer.out('FP. 2:3(1) ack 1');
  });

  // RFC 9293 MUST-60, MAY-16.
  it('TCP_CORK holds a partial segment for about 200 ms, full ones leave', () => {
    const r = rig({ listenerOptions: [[IPPROTO_TCP, TCP_CORK, 1]] });
    r.host.write(r.fd, 'abc');
    r.host.advance(200);
    r.peer.quiet();
    r.host.advance(1);
    r.peer.out('P. 1:4(3) ack 1');
    r.peer.in('. 1:1(0) ack 4');
    r.host.write(r.fd, pattern(1470));
    r.peer.out('. 4:1464(1460) ack 1');
    r.peer.quiet();
    r.peer.in('. 1:1(0) ack 1464');
    r.host.advance(200);
    r.peer.quiet();
    set(r, TCP_CORK, 0);
    r.peer.out('P. 1464:1474(10) ack 1');
    r.host.advance(150);
    r.peer.quiet();
  });

  it('a corked FIN leaves with what was held', () => {
    const r = rig({ listenerOptions: [[IPPROTO_TCP, TCP_CORK, 1]] });
    r.host.write(r.fd, 'abc');
    r.host.shutdown(r.fd, 1);
    r.peer.out('FP. 1:4(3) ack 1');
  });

  // RFC 9293 MUST-61, SHLD-27.
  it('PSH is on the last segment of what is queued', () => {
    const r = rig();
    r.host.write(r.fd, pattern(3000));
    r.peer.out('. 1:1461(1460) ack 1');
    r.peer.out('. 1461:2921(1460) ack 1');
    r.peer.out('P. 2921:3001(80) ack 1');
    r.peer.quiet();
  });
});

// RFC 9293 MUST-16.
describe('tcp: segment size', () => {
  const table: [string, Parameters<typeof rig>[0] & object, number][] = [
    ['536 without an MSS option', { syn: '' }, 536],
    ["the peer's", { syn: '<mss 700>' }, 700],
    ['the path', { syn: '<mss 9000>' }, 1460],
    ['a small path', { mtu: 576 }, 536],
    ['less 12 with timestamps', { syn: '<mss 1460,nop,nop,TS val 1 ecr 0>' }, 1448],
    ['TCP_MAXSEG', { listenerOptions: [[IPPROTO_TCP, TCP_MAXSEG, 500]] }, 500],
    ['never below 48', { syn: '<mss 40>' }, 48],
    ['which includes timestamps', { syn: '<mss 40,nop,nop,TS val 1 ecr 0>' }, 36],
    ['at tcp_min_snd_mss', { syn: '<mss 64>', sysctl: { 'net.ipv4.tcp_min_snd_mss': 100 } }, 100],
    ['half of a small window', { win: 1000 }, 500],
    ['half of the window from 537 bytes on', { win: 537 }, 268],
    ['the whole window up to 536 bytes', { win: 536 }, 536],
  ];
  for (const [name, options, mss] of table) {
    it(`${name}: ${mss}`, () => {
      const r = rig(options);
      r.host.write(r.fd, pattern(3 * mss));
      // PSH: half of the largest window without one (Linux: forced_push).
      const push = r.tcb.maxWindow >> 1 < mss ? 'P' : '';
      const packet = r.peer.out(`${push}. 1:${mss + 1}(${mss}) ack 1`);
      expect(packet.payload).to.deep.equal(pattern(mss));
    });
  }

  it('a smaller path MTU learnt later counts, a larger one does not', () => {
    const r = rig();
    r.tcb.pmtu = 1000;
    syncMss(r.host.stack.tcp, r.tcb, 1460);
    r.host.write(r.fd, pattern(2000));
    r.peer.out('. 1:961(960) ack 1');
    r.tcb.pmtu = 9000;
    syncMss(r.host.stack.tcp, r.tcb, 9000);
    expect(r.tcb.sndMss).to.equal(1460);
  });

  it('a window below the floor: what it takes, from the probe timer', () => {
    for (const syn of ['<mss 1460>', '<mss 1460,nop,nop,TS val 1 ecr 0>']) {
      const r = rig({ win: 20, syn });
      r.host.write(r.fd, pattern(100));
      r.host.advance(200);
      r.peer.quiet();
      r.host.advance(1);
      r.peer.out('P. 1:21(20) ack 1');
      r.peer.quiet();
    }
  });
});

describe('tcp: the window of the peer', () => {
  it('is used to its last byte, never beyond', () => {
    const r = rig({ win: 2920 });
    r.host.write(r.fd, pattern(5000));
    r.peer.out('. 1:1461(1460) ack 1');
    r.peer.out('P. 1461:2921(1460) ack 1');
    r.peer.quiet();
    r.peer.in('. 1:1(0) ack 1461 win 2920');
    r.peer.out('. 2921:4381(1460) ack 1');
    r.peer.quiet();
  });

  it('is scaled as agreed on', () => {
    const r = rig({ syn: '<mss 1460,nop,wscale 2>', win: 730 });
    // The SYN's own window is not scaled, the ACK's is: 2920.
    r.host.write(r.fd, pattern(5000));
    r.peer.out('. 1:1461(1460) ack 1');
    r.peer.out('P. 1461:2921(1460) ack 1');
    r.peer.quiet();
    const large = rig({ syn: '<mss 1460,nop,wscale 14>', win: 65_535 });
    expect(large.tcb.sndWnd).to.equal(1_073_725_440);
  });

  it('an old segment does not move it, a newer one may close it', () => {
    const r = rig();
    r.peer.in('P. 1:2(1) ack 1 win 5000', 'x');
    r.peer.out('. 1:1(0) ack 2');
    expect(r.tcb.sndWnd).to.equal(65_535);
    r.peer.in('P. 2:3(1) ack 1 win 5000', 'y');
    r.peer.out('. 1:1(0) ack 3');
    expect(r.tcb.sndWnd).to.equal(5000);
    r.peer.in('P. 1:2(1) ack 1 win 9000', 'x');
    r.peer.out('. 1:1(0) ack 3');
    expect(r.tcb.sndWnd).to.equal(5000);
    r.peer.in('. 3:3(0) ack 1 win 0');
    expect(r.tcb.sndWnd).to.equal(0);
    r.peer.in('. 3:3(0) ack 1 win 60');
    expect(r.tcb.sndWnd).to.equal(60);
    r.peer.in('. 3:3(0) ack 1 win 50');
    expect(r.tcb.sndWnd).to.equal(60);
  });

  // RFC 9293 MUST-38.
  it('sender SWS: a piece below half the largest window waits for the probe timer', () => {
    const r = rig();
    r.host.write(r.fd, pattern(1460));
    r.peer.out('P. 1:1461(1460) ack 1');
    r.peer.in('. 1:1(0) ack 1461 win 1000');
    r.host.write(r.fd, pattern(3000));
    r.host.advance(200);
    r.peer.quiet();
    r.host.advance(1);
    r.peer.out('P. 1461:2461(1000) ack 1');
    r.peer.in('. 1:1(0) ack 2461 win 1459');
    r.peer.quiet();
    r.peer.in('. 1:1(0) ack 2461 win 1460');
    r.peer.out('. 2461:3921(1460) ack 1');
  });

  // RFC 9293 MUST-34, SHLD-15, SHLD-16.
  it('what shrinks below what was sent: no more is sent, the old is repeated', () => {
    const r = rig();
    r.host.write(r.fd, pattern(4380));
    expect(sizes(r)).to.deep.equal([1460, 1460, 1460]);
    r.host.write(r.fd, pattern(5000));
    sizes(r);
    r.peer.in('. 1:1(0) ack 1461 win 1460');
    r.peer.in('. 2:2(0) ack 1461 win 1000');
    r.peer.quiet();
    r.host.advance(201);
    // Only what the window still takes (Linux: __tcp_retransmit_skb).
    r.peer.out('. 1461:2461(1000) ack 1');
  });
});

describe('tcp: zero-window probes', () => {
  /** A connection with 'hello' behind a closed window. */
  function closed(options: Parameters<typeof rig>[0] = {}): Rig {
    const r = rig(options);
    r.host.write(r.fd, 'x');
    r.peer.out('P. 1:2(1) ack 1');
    r.peer.in('. 1:1(0) ack 2 win 0');
    r.host.write(r.fd, 'hello');
    r.peer.quiet();
    return r;
  }

  /** Times of the probes in ms since now; each answered if told so. */
  function probes(r: Rig, seconds: number, answer: boolean): number[] {
    const start = r.host.nowUs;
    const times: number[] = [];
    for (let ms = 0; ms < seconds * 1000; ms += 50) {
      r.host.advance(50);
      while (r.host.sent.length > 0) {
        r.peer.out('. 1:1(0) ack 1');
        times.push(Math.floor((r.host.nowUs - start) / 1000 / 50) * 50);
        if (answer) r.peer.in('. 1:1(0) ack 2 win 0');
      }
    }
    return times;
  }

  // RFC 9293 MUST-36, MUST-37, SHLD-29, SHLD-30.
  it('first after the RTO, then doubling up to two minutes, for ever while answered', () => {
    const r = closed();
    const times = probes(r, 1100, true);
    const expected: number[] = [];
    for (let n = 0, at = 0, step = 0.2; n < 18; n++, step = Math.min(step * 2, 120)) {
      at += step;
      expected.push(at * 1000);
    }
    expect(times.length).to.equal(17);
    // Each answer, which comes up to 50 ms late, puts the next one off.
    for (const [n, time] of times.entries()) {
      expect(time, `probe ${n + 1}`).to.be.within(expected[n]! - 50, expected[n]! + 51 * (n + 1));
    }
    expect(r.host.counter(Mib.TCPWinProbe)).to.equal(17);
    r.peer.in('. 1:1(0) ack 2 win 100');
    r.peer.out('P. 2:7(5) ack 1');
    r.peer.in('. 1:1(0) ack 7 win 100');
    r.host.advance(10_000);
    r.peer.quiet();
  });

  it('the waits double at most as often as tcp_retries2 says', () => {
    const r = closed({ sysctl: { 'net.ipv4.tcp_retries2': 3 } });
    const times = probes(r, 12, true);
    expect(times.length).to.be.within(8, 9);
    const waits = times.slice(1).map((time, i) => Math.round((time - times[i]!) / 200) * 200);
    expect(waits.slice(0, 6)).to.deep.equal([400, 800, 1600, 1600, 1600, 1600]);
  });

  it('an answer does not keep a window that is closed on what is under way for ever', () => {
    const r = rig();
    expect(r.host.stack.setsockopt(r.fd, 6, 18, 5000, 0)).to.equal(0);
    r.host.write(r.fd, 'hello');
    r.peer.out('P. 1:6(5) ack 1');
    r.peer.in('P. 1:2(1) ack 1 win 0', 'x');
    r.peer.out('. 1:1(0) ack 2');
    const start = r.host.nowUs;
    while (r.tcb.state === 1) {
      r.host.advance(50);
      if (r.host.sent.length > 0) r.peer.in('. 2:2(0) ack 1 win 0');
      r.host.sent.length = 0;
    }
    // TCP_USER_TIMEOUT from the first repetition on.
    expect((r.host.nowUs - start) / 1e6).to.be.closeTo(5.2, 0.1);
  });

  it('not answered: given up after tcp_retries2 of them', () => {
    const r = closed();
    const times = probes(r, 924, false);
    expect(times.length).to.equal(15);
    expect(r.tcb.state).to.equal(1);
    probes(r, 1, false);
    expect(r.tcb.state).to.equal(7);
    expect(r.host.read(r.fd)).to.equal(-110);
    expect(r.host.counter(Mib.TCPAbortOnTimeout)).to.equal(1);
  });

  it('an orphan is given up after eight, or when it has been probed for minutes', () => {
    for (const [answer, count, seconds] of [
      [false, 8, 102.2],
      [true, 10, 324.6],
    ] as const) {
      const r = closed();
      r.host.close(r.fd);
      r.peer.quiet();
      expect(probes(r, Math.floor(seconds), answer).length).to.equal(count);
      expect(r.host.mem.fdsInUse).to.equal(2);
      expect(probes(r, 2, answer)).to.deep.equal([]);
      expect(r.host.mem.fdsInUse).to.equal(1);
      expect(r.host.stack.tcp.orphans).to.equal(0);
    }
  });

  it('tcp_orphan_retries counts for orphans', () => {
    const r = closed({ sysctl: { 'net.ipv4.tcp_orphan_retries': 3 } });
    r.host.close(r.fd);
    expect(probes(r, 60, false).length).to.equal(3);
    expect(r.host.mem.fdsInUse).to.equal(1);
  });

  it('a FIN waits for the window too', () => {
    const r = rig();
    r.host.write(r.fd, 'x');
    r.peer.out('P. 1:2(1) ack 1');
    r.peer.in('. 1:1(0) ack 2 win 0');
    r.host.shutdown(r.fd, 1);
    r.peer.quiet();
    r.host.advance(201);
    r.peer.out('. 1:1(0) ack 1');
    r.peer.in('. 1:1(0) ack 2 win 1');
    r.peer.out('F. 2:2(0) ack 1');
  });
});

describe('tcp: send buffer', () => {
  it('SO_SNDBUF bounds what is queued; EPOLLOUT comes when a third is free', () => {
    const r = rig({ listenerOptions: [[1, 7, 4500]] });
    expect(r.host.ready(r.fd) & 4).to.equal(4);
    expect(r.host.write(r.fd, pattern(20_000))).to.equal(9000);
    expect(r.host.write(r.fd, 'x')).to.equal(-EAGAIN);
    expect(r.host.ready(r.fd) & 4).to.equal(0);
    expect(sizes(r)).to.deep.equal([1460, 1460, 1460, 1460, 1460, 1460, 240]);
    r.host.events.length = 0;
    r.peer.in('. 1:1(0) ack 3000');
    expect(r.host.ready(r.fd) & 4).to.equal(0);
    expect(r.host.events).to.deep.equal([]);
    r.peer.in('. 1:1(0) ack 3001');
    expect(r.host.events).to.deep.equal([[r.fd, 4]]);
    expect(r.host.ready(r.fd) & 4).to.equal(4);
    expect(r.host.write(r.fd, pattern(20_000))).to.equal(3000);
  });

  it('grows with the congestion window, up to tcp_wmem[2]', () => {
    const r = rig({
      sysctl: { 'net.ipv4.tcp_wmem': '4096 16384 262144' },
      win: 65_535,
      syn: '<mss 1460,nop,wscale 7>',
    });
    let acked = 0;
    let seen = 0;
    let largest = 0;
    for (let round = 0; round < 400; round++) {
      for (;;) {
        const taken = r.host.write(r.fd, pattern(50_000, seen % 251));
        if (taken <= 0) break;
        seen += taken;
      }
      largest = Math.max(largest, seen - acked);
      for (const bytes of r.host.sent.splice(0)) {
        const view = new DataView(bytes.buffer);
        const seq = (view.getUint32(24) - r.peer.localIsn! - 1) >>> 0;
        expect(bytes.slice(40)).to.deep.equal(pattern(bytes.length - 40, seq % 251));
        acked = seq + bytes.length - 40;
      }
      r.host.advance(1);
      r.peer.in(`. 1:1(0) ack ${acked + 1}`);
      if (acked > 3_000_000) break;
    }
    expect(acked).to.be.greaterThan(3_000_000);
    expect(largest).to.equal(262_144);
  });

  it('no memory for it: ENOBUFS, and later it works', () => {
    const r = rig({ arenaBytes: 512 << 10 });
    const { mem } = r.host;
    const taken: number[] = [];
    for (let page = mem.allocRing(16 << 10); page !== 0; page = mem.allocRing(16 << 10)) {
      taken.push(page);
    }
    expect(r.host.write(r.fd, 'hello')).to.equal(-105);
    for (const page of taken) mem.freeRing(page, 16 << 10);
    expect(r.host.write(r.fd, 'hello')).to.equal(5);
    r.peer.out('P. 1:6(5) ack 1');
  });
});

describe('tcp: a link that refuses packets', () => {
  it('is like a loss: what it refused is sent again', () => {
    const r = rig();
    r.host.linkFull = true;
    r.host.write(r.fd, pattern(3000));
    r.peer.quiet();
    expect(r.host.counter(Mib.IpOutDiscards)).to.equal(3);
    r.host.linkFull = false;
    r.host.advance(200);
    r.peer.quiet();
    r.host.advance(1);
    r.peer.out('. 1:1461(1460) ack 1');
    r.peer.in('. 1:1(0) ack 1461');
    r.peer.out('. 1461:2921(1460) ack 1');
    r.peer.out('P. 2921:3001(80) ack 1');
    r.peer.in('. 1:1(0) ack 3001');
    r.host.advance(5000);
    r.peer.quiet();
  });

  it('no packet buffers: counted, sent again later', () => {
    const r = rig();
    const { outputSkbs } = r.host.stack.net;
    const held = [];
    for (let skb = outputSkbs.alloc(); skb !== null; skb = outputSkbs.alloc()) held.push(skb);
    r.host.write(r.fd, 'hello');
    r.peer.quiet();
    for (const skb of held) outputSkbs.release(skb);
    r.host.advance(201);
    r.peer.out('P. 1:6(5) ack 1');
  });
});
