/** ICMP errors about our segments: who believes them, and what follows. */
import { expect } from 'chai';
import {
  ECONNREFUSED,
  EHOSTDOWN,
  EHOSTUNREACH,
  ENETUNREACH,
  ENONET,
  ENOPROTOOPT,
  EOPNOTSUPP,
  EPROTO,
  ETIMEDOUT,
} from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import {
  type Conversation,
  conversation,
  type Enter,
  established,
  FULL_SYN,
  moved,
  stateOf,
  synReceived,
  synSent,
} from './state-table.js';

const IPPROTO_TCP = 6;
const TCP_CORK = 3;
const UNREACHABLE = 3;
const FRAG_NEEDED = 4;
const TIME_EXCEEDED = 11;
const PARAMETER_PROBLEM = 12;

/** Type, code, errno of a connection attempt, and whether a request is given up for it. */
const ERRORS: [number, number, number, boolean][] = [
  [UNREACHABLE, 0, ENETUNREACH, true],
  [UNREACHABLE, 1, EHOSTUNREACH, true],
  [UNREACHABLE, 2, ENOPROTOOPT, false],
  [UNREACHABLE, 3, ECONNREFUSED, false],
  [UNREACHABLE, 5, EOPNOTSUPP, false],
  [UNREACHABLE, 6, ENETUNREACH, false],
  [UNREACHABLE, 7, EHOSTDOWN, false],
  [UNREACHABLE, 8, ENONET, false],
  [UNREACHABLE, 9, ENETUNREACH, false],
  [UNREACHABLE, 10, EHOSTUNREACH, false],
  [UNREACHABLE, 11, ENETUNREACH, false],
  [UNREACHABLE, 12, EHOSTUNREACH, false],
  [UNREACHABLE, 13, EHOSTUNREACH, false],
  [UNREACHABLE, 14, EHOSTUNREACH, false],
  [UNREACHABLE, 15, EHOSTUNREACH, false],
  [TIME_EXCEEDED, 0, EHOSTUNREACH, true],
  [PARAMETER_PROBLEM, 0, EPROTO, true],
];

function soError({ host, fd }: Conversation): number {
  const out = new Int32Array(1);
  host.stack.getsockopt(fd, 1, 4, out);
  return out[0]!;
}

const crossed: Enter = ({ peer }) => {
  peer.in(FULL_SYN);
  peer.out('S. 0:0(0) ack 1 <...>');
};
/** 3000 bytes are out, nothing of them acknowledged. */
const outstanding: Enter = ({ host, peer, fd }) => {
  host.write(fd, new Uint8Array(3000));
  peer.out('. 1:1461(1460) ack 1');
  peer.out('. 1461:2921(1460) ack 1');
  peer.out('P. 2921:3001(80) ack 1');
};

// RFC 9293 MUST-54, MUST-56.
describe('tcp: ICMP errors', () => {
  for (const [type, code, errno, path] of ERRORS) {
    it(`type ${type} code ${code}: errno ${errno}${path ? ', ends a request' : ''}`, () => {
      const attempt = conversation();
      synSent(attempt);
      attempt.peer.icmp(type, code);
      attempt.peer.quiet();
      expect(stateOf(attempt.host, attempt.peer)).to.equal('gone');
      expect(soError(attempt)).to.equal(errno);
      expect(attempt.host.counter(Mib.TcpAttemptFails)).to.equal(1);

      const open = conversation();
      synSent(open);
      crossed(open);
      open.peer.icmp(type, code);
      expect(soError(open)).to.equal(errno);

      const request = conversation();
      synReceived(request);
      const before = Float64Array.from(request.host.stack.net.mib);
      request.peer.icmp(type, code);
      request.peer.quiet();
      expect(stateOf(request.host, request.peer)).to.equal(path ? 'gone' : 'SYN-RECV');
      expect(moved(request.host, before)).to.deep.equal(path ? ['ListenDrops'] : []);

      const up = conversation();
      established(up);
      outstanding(up);
      up.peer.icmp(type, code);
      up.peer.quiet();
      expect(stateOf(up.host, up.peer)).to.equal('ESTAB');
      expect(soError(up), 'soft').to.equal(errno);
      expect(soError(up), 'told once').to.equal(0);
    });
  }

  // RFC 5927 4.1.
  it('must quote a sequence number that is under way', () => {
    const up = conversation();
    established(up);
    outstanding(up);
    const stale = up.peer.lastBytes;
    up.peer.in('. 1:1(0) ack 3001');
    up.peer.icmp(UNREACHABLE, 1, 0, stale);
    expect(soError(up)).to.equal(0);
    expect(up.host.counter(Mib.OutOfWindowIcmps)).to.equal(1);

    const request = conversation();
    synReceived(request);
    const wrong = request.peer.lastBytes.slice();
    wrong[24] = wrong[24]! ^ 1;
    request.peer.icmp(UNREACHABLE, 1, 0, wrong);
    expect(stateOf(request.host, request.peer)).to.equal('SYN-RECV');
    expect(request.host.counter(Mib.OutOfWindowIcmps)).to.equal(1);
  });

  it('about nobody counts as an error, about TIME-WAIT as nothing', () => {
    const c = conversation();
    c.peer.in('. 1:1(0) ack 1');
    c.peer.out('R 1:1(0)');
    c.peer.icmp(UNREACHABLE, 1);
    expect(c.host.counter(Mib.IcmpInErrors)).to.equal(1);
    const tw = conversation();
    established(tw);
    tw.host.close(tw.fd);
    tw.peer.out('F. 1:1(0) ack 1');
    tw.peer.in('F. 1:1(0) ack 2');
    tw.peer.out('. 2:2(0) ack 2');
    const before = Float64Array.from(tw.host.stack.net.mib);
    tw.peer.icmp(UNREACHABLE, 1);
    expect(moved(tw.host, before)).to.deep.equal([]);
    expect(stateOf(tw.host, tw.peer)).to.equal('TIME-WAIT');
  });

  // RFC 9293 SHLD-25.
  it('the soft error is what a time-out reports', () => {
    for (const [soft, errno] of [
      [true, EHOSTUNREACH],
      [false, ETIMEDOUT],
    ] as const) {
      const c = conversation();
      established(c);
      outstanding(c);
      if (soft) c.peer.icmp(UNREACHABLE, 13);
      c.host.advance(2_000_000);
      expect(c.host.stack.sock(c.fd)!.state).to.equal(7);
      expect(soError(c)).to.equal(errno);
    }
  });

  // RFC 6069.
  it('net or host unreachable takes one doubling of the RTO back', () => {
    for (const [code, reverted] of [
      [0, true],
      [1, true],
      [2, false],
    ] as const) {
      const c = conversation();
      established(c);
      c.host.advance(1000);
      c.host.write(c.fd, 'x');
      c.peer.out('P. 1:2(1) ack 1');
      const tcb = c.host.stack.sock(c.fd)!;
      const rto = tcb.rtoUs / 1000;
      for (let i = 0; i < 3; i++) {
        c.host.advance(rto * 2 ** i);
        c.peer.out('P. 1:2(1) ack 1');
      }
      expect(tcb.backoff).to.equal(3);
      c.peer.icmp(UNREACHABLE, code);
      expect(tcb.backoff).to.equal(reverted ? 2 : 3);
      c.host.advance(rto * (reverted ? 4 : 8) - 1);
      c.peer.quiet();
      c.host.advance(1);
      c.peer.out('P. 1:2(1) ack 1');
    }
  });

  it('a reverted RTO that is over already sends at once', () => {
    const c = conversation();
    established(c);
    c.host.write(c.fd, 'x');
    c.peer.out('P. 1:2(1) ack 1');
    const rto = c.host.stack.sock(c.fd)!.rtoUs / 1000;
    c.host.advance(rto);
    c.peer.out('P. 1:2(1) ack 1');
    c.host.advance(rto * 1.5);
    c.peer.quiet();
    c.peer.icmp(UNREACHABLE, 1);
    c.host.advance(1);
    c.peer.out('P. 1:2(1) ack 1');
  });

  it('without an RTT sample the reverted RTO begins at a second again', () => {
    const c = conversation();
    c.listener = c.host.listen(80);
    c.peer.in('S 0:0(0)');
    c.peer.out('S. 0:0(0) ack 1');
    c.host.advance(600);
    c.peer.in('S 0:0(0)');
    c.peer.out('S. 0:0(0) ack 1');
    c.peer.in('. 1:1(0) ack 1');
    c.fd = c.host.accept(c.listener);
    c.host.write(c.fd, 'x');
    c.peer.out('P. 1:2(1) ack 1');
    // RFC 6298 5.7.
    c.host.advance(2999);
    c.peer.quiet();
    c.host.advance(1);
    c.peer.out('P. 1:2(1) ack 1');
    c.peer.icmp(UNREACHABLE, 0);
    expect(c.host.stack.sock(c.fd)!.rtoUs).to.equal(1_000_000);
    c.host.advance(1000);
    c.peer.out('P. 1:2(1) ack 1');
  });
});

// RFC 1191 3, 6.4.
describe('tcp: path MTU discovery', () => {
  it('sends what was too large again, smaller, at once', () => {
    const c = conversation();
    established(c);
    outstanding(c);
    c.peer.icmp(UNREACHABLE, FRAG_NEEDED, 1000);
    expect(c.peer.out('. 1:961(960) ack 1').df).to.equal(true);
    expect(soError(c)).to.equal(0);
    expect(c.host.stack.sock(c.fd)).to.include({ pmtu: 1000, sndMss: 960, pmtuLocked: false });
  });

  it('what just fits is not lost, though a FIN goes with it', () => {
    const c = conversation();
    established(c);
    c.host.write(c.fd, new Uint8Array(1460));
    const packet = c.host.sent[0]!;
    c.host.stack.setsockopt(c.fd, IPPROTO_TCP, TCP_CORK, 1, 0);
    c.host.write(c.fd, new Uint8Array(960));
    c.host.close(c.fd);
    c.peer.out('P. 1:1461(1460) ack 1');
    c.peer.out('FP. 1461:2421(960) ack 1');
    c.peer.icmp(UNREACHABLE, FRAG_NEEDED, 1000, packet);
    c.peer.out('. 1:961(960) ack 1');
    c.peer.out('P. 961:1461(500) ack 1');
    c.peer.quiet();
  });

  it('does not believe less than 552, and lets routers cut those', () => {
    const c = conversation();
    established(c);
    outstanding(c);
    c.peer.icmp(UNREACHABLE, FRAG_NEEDED, 300);
    expect(c.peer.out('. 1:513(512) ack 1').df).to.equal(false);
  });

  it('exactly 552 is a size like any other', () => {
    const c = conversation();
    established(c);
    outstanding(c);
    c.peer.icmp(UNREACHABLE, FRAG_NEEDED, 552);
    expect(c.peer.out('. 1:513(512) ack 1').df).to.equal(true);
  });

  it('a larger MTU than the known one is no news', () => {
    const c = conversation();
    established(c);
    outstanding(c);
    c.peer.icmp(UNREACHABLE, FRAG_NEEDED, 1500);
    c.peer.quiet();
    c.peer.icmp(UNREACHABLE, FRAG_NEEDED, 1000);
    c.peer.out('. 1:961(960) ack 1');
    c.host.sent.length = 0;
    c.peer.icmp(UNREACHABLE, FRAG_NEEDED, 1200);
    c.peer.quiet();
    expect(c.host.stack.sock(c.fd)).to.include({ pmtu: 1000, sndMss: 960 });
  });

  it('with nothing under way it only counts for later', () => {
    const c = conversation();
    established(c);
    c.host.write(c.fd, 'x');
    c.peer.out('P. 1:2(1) ack 1');
    const packet = c.peer.lastBytes.slice();
    c.peer.in('. 1:1(0) ack 2');
    packet[27] = packet[27]! + 1;
    c.peer.icmp(UNREACHABLE, FRAG_NEEDED, 1000, packet);
    c.peer.quiet();
    c.host.write(c.fd, new Uint8Array(961));
    c.peer.out('. 2:962(960) ack 1');
  });

  it('in SYN-SENT it counts for the connection', () => {
    const c = conversation();
    synSent(c);
    c.peer.icmp(UNREACHABLE, FRAG_NEEDED, 1000);
    c.peer.quiet();
    c.peer.in('S. 0:0(0) ack 1 <mss 1460>');
    c.peer.out('. 1:1(0) ack 1');
    expect(c.host.stack.sock(c.fd)!.sndMss).to.equal(960);
  });

  // RFC 9293 MUST-20.
  it('a path that is doubted after R1 is looked up again: what is too old no longer holds', () => {
    for (const [ageSeconds, mtu] of [
      [500, 1000],
      [650, 0],
    ] as const) {
      const c = conversation({ parkAfterUs: Infinity });
      established(c);
      outstanding(c);
      c.peer.icmp(UNREACHABLE, FRAG_NEEDED, 1000);
      c.peer.in('. 1:1(0) ack 3001');
      c.host.advance(ageSeconds * 1000);
      c.host.sent.length = 0;
      const tcb = c.host.stack.sock(c.fd)!;
      c.host.write(c.fd, new Uint8Array(1460));
      // SHLD-10: not before the third retransmission, at 1.4 s; the limit is 3 s after the first.
      c.host.advance(6199);
      expect([tcb.pmtu, tcb.sndMss, tcb.retransmits]).to.deep.equal([1000, 960, 4]);
      c.host.advance(2);
      expect([tcb.pmtu, tcb.retransmits]).to.deep.equal([mtu, 5]);
      expect(tcb.sndMss).to.equal(mtu === 0 ? 1460 : 960);
    }
  });

  it('each SYN but the first looks the path up again', () => {
    const c = conversation();
    synSent(c);
    c.peer.icmp(UNREACHABLE, FRAG_NEEDED, 1000);
    const tcb = c.host.stack.sock(c.fd)!;
    // As if the knowledge of another connection had been newer.
    c.host.stack.tcp.paths!.set(tcb.daddr, 1200, false, c.host.nowUs);
    c.host.advance(1000);
    expect(tcb.pmtu).to.equal(1000);
    c.host.advance(1000);
    expect(tcb.pmtu).to.equal(1200);
  });

  it('a request does not care', () => {
    const c = conversation();
    synReceived(c);
    c.peer.icmp(UNREACHABLE, FRAG_NEEDED, 1000);
    expect(stateOf(c.host, c.peer)).to.equal('SYN-RECV');
  });
});
