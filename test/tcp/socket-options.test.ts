/** What socket options do to a connection, its packets and its readiness. */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { RING_CAPACITY } from '../../src/net/ring.js';
import { BLOCK_NOTSENT, BLOCK_RCVLOWAT } from '../../src/net/sockmem.js';
import { decodePacket } from '../../src/testing/packet.js';
import { pattern, type Rig, rig } from './rig.js';

const [SOL_SOCKET, IPPROTO_IP, IPPROTO_TCP] = [1, 0, 6];
const [EPERM, EINVAL, EDOM, ENOENT] = [-1, -22, -33, -2];
const [EPOLLIN, EPOLLOUT] = [1, 4];
const [TCP_CONGESTION, TCP_NOTSENT_LOWAT, TCP_WINDOW_CLAMP, TCP_LINGER2] = [13, 25, 10, 8];
const [SO_RCVLOWAT, SO_RCVTIMEO, SO_SNDBUF, SO_RCVBUF] = [18, 20, 7, 8];
const [SO_SNDBUFFORCE, SO_BUF_LOCK, IP_MTU_DISCOVER, TCP_USER_TIMEOUT] = [32, 72, 10, 18];

function set(r: Rig, level: number, name: number, value: number, value2 = 0): number {
  return r.host.stack.setsockopt(r.fd, level, name, value, value2);
}

function get(r: Rig, level: number, name: number): number {
  const out = new Int32Array(4);
  const words = r.host.stack.getsockopt(r.fd, level, name, out);
  return words < 0 ? words : out[0]!;
}

describe('tcp: what options do', () => {
  it('IP_MTU_DISCOVER decides about DF, and whether ICMP is believed', () => {
    for (const [value, df, mss] of [
      [0, false, 1460],
      [1, true, 960],
      [2, true, 960],
      [3, false, 960],
      [4, false, 1460],
      [5, false, 1460],
    ] as const) {
      const r = rig();
      expect(set(r, IPPROTO_IP, IP_MTU_DISCOVER, value)).to.equal(0);
      r.host.write(r.fd, pattern(1460));
      expect(r.peer.out('P. 1:1461(1460) ack 1').df, `IP_PMTUDISC ${value}`).to.equal(df);
      r.peer.icmp(3, 4, 1000);
      expect(r.tcb.sndMss, `IP_PMTUDISC ${value}`).to.equal(mss);
    }
  });

  it('SO_RCVLOWAT: less is enough when hardly more may come', () => {
    const r = rig({ listenerOptions: [[SOL_SOCKET, SO_RCVBUF, 3000]] });
    expect(set(r, SOL_SOCKET, SO_RCVLOWAT, 2900)).to.equal(0);
    r.peer.in('. 1:1001(1000) ack 1', pattern(1000));
    expect(r.host.ready(r.fd) & EPOLLIN).to.equal(0);
    expect(r.host.mem.ctl[r.tcb.at + BLOCK_RCVLOWAT]).to.equal(2900);
    r.peer.in('. 1001:2001(1000) ack 1', pattern(1000));
    expect(r.host.mem.ctl[r.tcb.at + BLOCK_RCVLOWAT]).to.equal(1);
    expect(r.host.ready(r.fd) & EPOLLIN).to.equal(EPOLLIN);
  });

  it('SO_RCVLOWAT: nobody is woken for less, and at once when enough waits', () => {
    const r = rig();
    set(r, SOL_SOCKET, SO_RCVLOWAT, 2000);
    r.host.events.length = 0;
    r.peer.in('P. 1:1001(1000) ack 1', pattern(1000));
    expect(r.host.events.filter(([fd]) => fd === r.fd)).to.have.length(0);
    set(r, SOL_SOCKET, SO_RCVLOWAT, 1000);
    expect(r.host.events).to.deep.include([r.fd, EPOLLIN]);
    expect(r.host.ready(r.fd) & EPOLLIN).to.equal(EPOLLIN);
  });

  it('SO_RCVLOWAT makes room for so much, unless SO_RCVBUF forbids', () => {
    const r = rig();
    set(r, SOL_SOCKET, SO_RCVLOWAT, 300_000);
    expect(get(r, SOL_SOCKET, SO_RCVBUF)).to.equal(600_000);
    set(r, SOL_SOCKET, SO_RCVBUF, 10_000);
    expect(set(r, SOL_SOCKET, SO_RCVLOWAT, 300_000)).to.equal(0);
    expect(get(r, SOL_SOCKET, SO_RCVLOWAT)).to.equal(10_000);
    expect(get(r, SOL_SOCKET, SO_RCVBUF)).to.equal(20_000);
    expect(r.host.stack.setsockopt(r.listener, SOL_SOCKET, SO_RCVLOWAT, 1 << 20, 0)).to.equal(0);
  });

  it('TCP_NOTSENT_LOWAT and its sysctl: room to write, and word when there is again', () => {
    const r = rig({ sysctl: { 'net.ipv4.tcp_notsent_lowat': 3000 } });
    expect(r.host.mem.ctl[r.tcb.at + BLOCK_NOTSENT]).to.equal(3000);
    expect(get(r, IPPROTO_TCP, TCP_NOTSENT_LOWAT)).to.equal(0);
    expect(r.host.write(r.fd, pattern(50_000))).to.equal(16_384);
    expect(r.host.ready(r.fd) & EPOLLOUT).to.equal(0);
    r.host.events.length = 0;
    r.peer.in('. 1:1(0) ack 14601');
    expect(r.host.events).to.deep.include([r.fd, EPOLLOUT]);
    expect(r.host.ready(r.fd) & EPOLLOUT).to.equal(EPOLLOUT);
    set(r, IPPROTO_TCP, TCP_NOTSENT_LOWAT, -1);
    expect(r.host.mem.ctl[r.tcb.at + BLOCK_NOTSENT]).to.equal(0);
    expect(r.host.write(r.fd, pattern(40_000))).to.equal(40_000);
  });

  it('TCP_WINDOW_CLAMP: the offer shrinks no edge, and grows again', () => {
    const r = rig();
    expect(get(r, IPPROTO_TCP, TCP_WINDOW_CLAMP)).to.be.above(60_000);
    expect(set(r, IPPROTO_TCP, TCP_WINDOW_CLAMP, 0)).to.equal(EINVAL);
    set(r, IPPROTO_TCP, TCP_WINDOW_CLAMP, 3000);
    expect(get(r, IPPROTO_TCP, TCP_WINDOW_CLAMP)).to.equal(3000);
    const edge = (r.tcb.rcvWup + r.tcb.rcvWnd) | 0;
    r.peer.in('P. 1:1461(1460) ack 1', pattern(1460));
    r.host.read(r.fd);
    r.host.advance(50);
    expect((r.tcb.rcvWup + r.tcb.rcvWnd) | 0).to.equal(edge);
    expect(r.tcb.rcvSsthresh).to.equal(3000);
    set(r, IPPROTO_TCP, TCP_WINDOW_CLAMP, 50_000);
    expect(r.tcb.windowClamp).to.equal(50_000);
    expect(r.tcb.rcvSsthresh).to.be.above(3000);
    set(r, IPPROTO_TCP, TCP_WINDOW_CLAMP, 50_000);
    expect(set(r, IPPROTO_TCP, TCP_WINDOW_CLAMP, 1)).to.equal(0);
    expect(get(r, IPPROTO_TCP, TCP_WINDOW_CLAMP)).to.equal(1152);
  });

  it('SO_SNDBUF gives a ring that is there more memory', () => {
    const r = rig();
    r.host.write(r.fd, pattern(1000));
    const capacity = () => r.host.mem.ctl[r.tcb.sndRing + RING_CAPACITY]!;
    const before = capacity();
    set(r, SOL_SOCKET, SO_SNDBUF, before);
    expect(capacity()).to.equal(2 * before);
    expect(r.host.write(r.fd, pattern(2 * before))).to.equal(2 * before - 1000);
  });

  it('what takes privilege', () => {
    const r = rig();
    const user = r.host.stack.socket(1000);
    const as = (name: number, value: number): number =>
      r.host.stack.setsockopt(user, SOL_SOCKET, name, value, 0);
    expect(as(SO_SNDBUFFORCE, 1)).to.equal(EPERM);
    expect(as(SO_SNDBUFFORCE + 1, 1)).to.equal(EPERM);
    expect([as(12, 6), as(12, 7), as(36, 1), as(1, 1), as(1, 0)]).to.deep.equal([
      0,
      EPERM,
      EPERM,
      -13,
      0,
    ]);
    expect([set(r, SOL_SOCKET, 12, 7), set(r, SOL_SOCKET, 36, 9)]).to.deep.equal([0, 0]);
    expect([get(r, SOL_SOCKET, 12), get(r, SOL_SOCKET, 36)]).to.deep.equal([7, 9]);
    expect(set(r, SOL_SOCKET, SO_BUF_LOCK, 4)).to.equal(EINVAL);
    expect(set(r, SOL_SOCKET, SO_BUF_LOCK, 2)).to.equal(0);
    expect([r.tcb.sndBufLocked, r.tcb.rcvBufLocked]).to.deep.equal([false, true]);
  });

  it('SO_BUF_LOCK before anything was written locks what there is by default', () => {
    const r = rig({ listenerOptions: [[SOL_SOCKET, SO_BUF_LOCK, 3]] });
    const sndbuf = get(r, SOL_SOCKET, SO_SNDBUF);
    expect(r.host.write(r.fd, pattern(sndbuf + 1000))).to.equal(sndbuf);
    expect(get(r, SOL_SOCKET, SO_SNDBUF)).to.equal(sndbuf);
  });

  it('times: rounded up to ticks, none and never, what is no time', () => {
    const r = rig();
    const out = new Int32Array(2);
    for (const [seconds, us, error, back] of [
      [0, 1, 0, [0, 4000]],
      [3, 999_999, 0, [4, 0]],
      [-1, 0, 0, [0, 0]],
      [1, 1_000_000, EDOM, [0, 0]],
      [1, -1, EDOM, [0, 0]],
      [2 ** 31 - 1, 0, 0, [2_147_483, 647_000]],
    ] as const) {
      expect(set(r, SOL_SOCKET, SO_RCVTIMEO, seconds, us)).to.equal(error);
      expect(r.host.stack.getsockopt(r.fd, SOL_SOCKET, SO_RCVTIMEO, out)).to.equal(2);
      expect([...out]).to.deep.equal(back);
    }
  });

  it('TCP_CONGESTION by name', () => {
    const r = rig();
    const { stack } = r.host;
    expect(stack.getsockoptText(r.fd, IPPROTO_TCP, TCP_CONGESTION)).to.equal('cubic');
    expect(stack.setsockoptText(r.fd, IPPROTO_TCP, TCP_CONGESTION, 'reno\0')).to.equal(0);
    expect(stack.getsockoptText(r.fd, IPPROTO_TCP, TCP_CONGESTION)).to.equal('reno');
    expect(stack.setsockoptText(r.fd, IPPROTO_TCP, TCP_CONGESTION, 'bbr')).to.equal(ENOENT);
    expect(stack.setsockoptText(r.fd, IPPROTO_TCP, 1, 'x')).to.equal(-92);
    expect(stack.getsockoptText(r.fd, IPPROTO_TCP, 1)).to.equal(-92);
  });

  it('TCP_INFO counts', () => {
    const r = rig({ rttMs: 20 });
    r.host.write(r.fd, pattern(3000));
    r.peer.in('. 1:1(0) ack 1461');
    r.peer.in('P. 101:201(100) ack 1461', pattern(100));
    r.peer.in('P. 1:101(100) ack 3001', pattern(100));
    r.host.write(r.fd, pattern(10));
    r.host.advance(1000);
    const info = new Int32Array(70);
    expect(r.host.stack.getsockopt(r.fd, IPPROTO_TCP, 11, info)).to.equal(70);
    const long = (at: number): number => (info[at]! >>> 0) + info[at + 1]! * 2 ** 32;
    const again = info[60]!;
    expect(again).to.be.above(0);
    const retrans = info[25]!;
    expect([long(30), long(32)]).to.deep.equal([3000, 200]);
    expect([long(50), long(52)]).to.deep.equal([3010 + 10 * retrans, 10 * retrans]);
    // The third ACK and three more came; three segments went and one again and again, and ACKs.
    expect([info[35], info[38], info[39], info[56]]).to.deep.equal([4, 2, 4 + retrans, 1]);
    expect(info[34]).to.be.above(4 + retrans);
    expect([info[57], info[58]]).to.deep.equal([65_535, r.tcb.rcvWnd]);
    expect(info[26]).to.not.equal(0);
  });

  it('orphans: one too many ends when it must send again', () => {
    const sysctl = { 'net.ipv4.tcp_max_orphans': 1 };
    const r = rig({ sysctl });
    r.host.write(r.fd, pattern(100));
    r.peer.out('P. 1:101(100) ack 1');
    r.host.close(r.fd);
    r.peer.out('F. 101:101(0) ack 1');
    expect(r.host.stack.orphans).to.equal(1);
    // A path that said that it is broken weighs twice.
    r.tcb.softError = 113;
    r.host.advance(250);
    expect(r.host.stack.orphans).to.equal(0);
    expect(r.host.counter(Mib.TCPAbortOnMemory)).to.equal(1);
    expect(decodePacket(r.host.sent.at(-1)!).flags).to.equal('R.');
  });

  it('TCP_USER_TIMEOUT shorter than the first time-out', () => {
    const r = rig({ rttMs: 50 });
    set(r, IPPROTO_TCP, TCP_USER_TIMEOUT, 10);
    r.host.write(r.fd, 'x');
    r.host.advance(700);
    expect(r.host.read(r.fd)).to.equal(-110);
    expect(r.host.counter(Mib.TCPAbortOnTimeout)).to.equal(1);
  });

  it('TCP_LINGER2 none: an orphan ends with the acknowledgement of its FIN', () => {
    const r = rig();
    set(r, IPPROTO_TCP, TCP_LINGER2, -1);
    r.host.close(r.fd);
    r.peer.out('F. 1:1(0) ack 1');
    r.peer.in('. 1:1(0) ack 2');
    r.peer.quiet();
    expect(r.host.stack.orphans).to.equal(0);
    expect(r.host.counter(Mib.TCPAbortOnData)).to.equal(1);
  });
});
