/** SYN cookies: a full SYN queue forgets nothing because it remembers nothing. */
import { expect } from 'chai';
import { EAGAIN } from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import { BLOCK_HASH, BLOCK_MEMBERS, BLOCK_SLOT } from '../../src/net/sockmem.js';
import { cookieOptions, cookieTimestamp } from '../../src/tcp/syncookies.js';
import { MemoryStack, type MemoryStackOptions, Peer } from '../../src/testing/index.js';

const FULL = '<mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>';

/** A listener whose SYN queue is full, and how many peers that took. */
function flooded(options: MemoryStackOptions = {}, backlog = 4): [MemoryStack, number] {
  const host = new MemoryStack(options);
  const listener = host.listen(80, backlog);
  for (let i = 0; i <= backlog; i++) {
    const peer = new Peer(host, { port: 30_000 + i });
    peer.in('S 0:0(0)');
    peer.out('S. 0:0(0) ack 1 <...>');
  }
  return [host, listener];
}

/** The TSval of the SYN-ACK that a peer has just been sent. */
function tsvalOf(peer: Peer): number {
  const option = peer.last!.options.find(({ kind }) => kind === 'TS');
  return option?.kind === 'TS' ? option.val : 0;
}

// RFC 4987.
describe('tcp: SYN cookies', () => {
  it('a full SYN queue answers by a cookie, and the ACK makes the connection', () => {
    const [host, listener] = flooded();
    const peer = new Peer(host);
    peer.in('S 0:0(0) win 65535 <mss 1460>');
    peer.out('S. 0:0(0) ack 1 win 64240 <mss 1460>');
    expect(host.stack.sock(listener)!.listen!.reqs).to.equal(5);
    // Nothing is remembered, so nothing is repeated.
    host.advance(900);
    peer.quiet();
    peer.in('. 1:1(0) ack 1 win 1000');
    const fd = host.accept(listener);
    expect(fd).to.be.above(0);
    peer.in('P. 1:6(5) ack 1 win 1000', 'hello');
    expect(host.readText(fd)).to.equal('hello');
    expect(host.counter(Mib.TCPReqQFullDoCookies)).to.equal(1);
    expect(host.counter(Mib.SyncookiesSent)).to.equal(1);
    expect(host.counter(Mib.SyncookiesRecv)).to.equal(1);
    expect(host.counter(Mib.TCPReqQFullDrop)).to.equal(0);
    expect(host.stack.sock(listener)!.listen!.reqs).to.equal(5);
  });

  it('the ACK may carry text', () => {
    const [host, listener] = flooded();
    const peer = new Peer(host);
    peer.in('S 0:0(0) <mss 1460>');
    peer.out('S. 0:0(0) ack 1 <...>');
    peer.in('P. 1:6(5) ack 1', 'hello');
    peer.out('. 1:1(0) ack 6');
    expect(host.readText(host.accept(listener))).to.equal('hello');
  });

  for (const [announced, remembered] of [
    ['<mss 1400>', 1300],
    ['<mss 1440>', 1440],
    ['<mss 9000>', 1460],
    ['<mss 1299>', 536],
    ['<mss 100>', 536],
    ['', 536],
  ] as const) {
    it(`remembers an MSS of ${announced || 'nothing'} as ${remembered}`, () => {
      const [host, listener] = flooded();
      const peer = new Peer(host);
      peer.in(`S 0:0(0) ${announced}`.trim());
      peer.out('S. 0:0(0) ack 1 <...>');
      peer.in('. 1:1(0) ack 1');
      expect(host.stack.sock(host.accept(listener))!.sndMss).to.equal(remembered);
    });
  }

  it('options survive in the timestamp', () => {
    const [host, listener] = flooded();
    const peer = new Peer(host);
    peer.in(`S 0:0(0) win 65535 ${FULL}`);
    peer.out('S. 0:0(0) ack 1 win 65160 <...>');
    const ecr = tsvalOf(peer);
    peer.in(`. 1:1(0) ack 1 win 100 <nop,nop,TS val 101 ecr ${ecr}>`);
    const tcb = host.stack.sock(host.accept(listener))!;
    expect([tcb.tsOk, tcb.sackOk, tcb.sndWscale, tcb.rcvWscale]).to.deep.equal([true, true, 7, 10]);
    expect([tcb.sndWnd, tcb.sndMss]).to.deep.equal([100 << 7, 1448]);
  });

  it('without a timestamp there is nothing to carry them', () => {
    const [host, listener] = flooded();
    const peer = new Peer(host);
    peer.in('S 0:0(0) <mss 1460,nop,nop,sackOK,nop,wscale 7>');
    peer.out('S. 0:0(0) ack 1 <mss 1460>');
    peer.in('. 1:1(0) ack 1 win 100');
    const tcb = host.stack.sock(host.accept(listener))!;
    expect([tcb.sackOk, tcb.wscaleOk, tcb.sndWnd]).to.deep.equal([false, false, 100]);
  });

  it('an echo that claims what we do not offer is no cookie of ours', () => {
    // tcp_timestamps = 2: no random offset, the bits are visible.
    const sysctl = { 'net.ipv4.tcp_sack': 0, 'net.ipv4.tcp_timestamps': 2 };
    const [host] = flooded({ sysctl });
    const peer = new Peer(host);
    peer.in(`S 0:0(0) ${FULL}`);
    peer.out('S. 0:0(0) ack 1 <...>');
    expect(cookieOptions(tsvalOf(peer))).to.deep.equal({ wscale: 7, sack: false, ecn: false });
    peer.in(`. 1:1(0) ack 1 <nop,nop,TS val 101 ecr ${tsvalOf(peer) | 0x10}>`);
    peer.out('R 1:1(0)');
    expect(host.counter(Mib.TcpPassiveOpens)).to.equal(0);
  });

  it('a wrong ACK is reset and counted, but only while cookies are out', () => {
    const [host] = flooded();
    const stranger = new Peer(host, { port: 50_000 });
    stranger.in('. 1:1(0) ack 1');
    stranger.out('R 1:1(0)');
    expect(host.counter(Mib.SyncookiesFailed)).to.equal(0);
    const peer = new Peer(host);
    peer.in('S 0:0(0)');
    peer.out('S. 0:0(0) ack 1 <...>');
    stranger.in('. 1:1(0) ack 1');
    stranger.out('R 1:1(0)');
    expect(host.counter(Mib.SyncookiesFailed)).to.equal(1);
    host.advance(121_000);
    host.sent.splice(0);
    stranger.in('. 1:1(0) ack 1');
    stranger.out('R 1:1(0)');
    expect(host.counter(Mib.SyncookiesFailed)).to.equal(1);
  });

  it('a SYN-ACK that brings a good cookie is none, nor is a RST', () => {
    const [host, listener] = flooded();
    const peer = new Peer(host);
    peer.in('S 0:0(0) <mss 1460>');
    peer.out('S. 0:0(0) ack 1 <...>');
    peer.in('S. 1:1(0) ack 1');
    peer.out('R 1:1(0)');
    peer.in('R. 1:1(0) ack 1');
    peer.quiet();
    expect(host.counter(Mib.SyncookiesRecv)).to.equal(0);
    expect(host.accept(listener)).to.equal(-EAGAIN);
    peer.in('. 1:1(0) ack 1');
    expect(host.accept(listener)).to.be.above(0);
  });

  it('a cookie is good for this minute and the next', () => {
    // The clock stands at one second, in minute 0.
    for (const [ms, good] of [
      [118_500, true],
      [119_500, false],
    ] as const) {
      const host = new MemoryStack({ sysctl: { 'net.ipv4.tcp_syncookies': 2 } });
      const listener = host.listen(80);
      const peer = new Peer(host);
      peer.in('S 0:0(0)');
      peer.out('S. 0:0(0) ack 1 <...>');
      host.advance(ms);
      const late = new Peer(host, { port: 41_000 });
      late.in('S 0:0(0)');
      late.out('S. 0:0(0) ack 1 <...>');
      peer.in('. 1:1(0) ack 1');
      expect(host.accept(listener) > 0, `after ${ms} ms`).to.equal(good);
      expect(host.counter(Mib.SyncookiesFailed)).to.equal(good ? 0 : 1);
    }
  });

  it('a full accept queue: no cookie is sent, and the ACK of one is dropped', () => {
    const host = new MemoryStack({ sysctl: { 'net.ipv4.tcp_syncookies': 2 } });
    const listener = host.listen(80, 0);
    const peers = [0, 1].map((i) => new Peer(host, { port: 40_000 + i }));
    for (const peer of peers) {
      peer.in('S 0:0(0)');
      peer.out('S. 0:0(0) ack 1 <...>');
    }
    for (const peer of peers) peer.in('. 1:1(0) ack 1');
    expect(host.sent).to.deep.equal([]);
    expect(host.counter(Mib.ListenOverflows)).to.equal(1);
    expect(host.counter(Mib.ListenDrops)).to.equal(1);
    const third = new Peer(host, { port: 40_002 });
    third.in('S 0:0(0)');
    third.quiet();
    expect(host.counter(Mib.ListenOverflows)).to.equal(2);
    expect(host.accept(listener)).to.be.above(0);
    peers[1]!.in('. 1:1(0) ack 1');
    expect(host.accept(listener)).to.be.above(0);
  });

  it('no descriptor left: dropped, nothing kept', () => {
    const host = new MemoryStack({ fds: 8, sysctl: { 'net.ipv4.tcp_syncookies': 2 } });
    const listener = host.listen(80);
    const peer = new Peer(host);
    peer.in('S 0:0(0)');
    peer.out('S. 0:0(0) ack 1 <...>');
    while (host.stack.socket(0) > 0);
    peer.in('. 1:1(0) ack 1');
    peer.quiet();
    expect(host.accept(listener)).to.equal(-EAGAIN);
    expect(host.stack.sock(listener)!.listen!.reqs).to.equal(0);
  });

  it('0: a full SYN queue drops', () => {
    const [host] = flooded({ sysctl: { 'net.ipv4.tcp_syncookies': 0 } });
    const peer = new Peer(host);
    peer.in('S 0:0(0)');
    peer.quiet();
    expect(host.counter(Mib.TCPReqQFullDrop)).to.equal(1);
    expect(host.counter(Mib.ListenDrops)).to.equal(1);
  });

  it('in a group the ACK may come to another member than the SYN did', () => {
    const host = new MemoryStack({ sysctl: { 'net.ipv4.tcp_syncookies': 2 } });
    host.listen(80, 64, { reuseport: true });
    const peers = Array.from({ length: 16 }, (_, i) => new Peer(host, { port: 40_000 + i }));
    for (const peer of peers) {
      peer.in('S 0:0(0)');
      peer.out('S. 0:0(0) ack 1 <...>');
    }
    const other = host.listen(80, 64, { reuseport: true });
    for (const peer of peers) peer.in('. 1:1(0) ack 1');
    expect(host.sent).to.deep.equal([]);
    expect(host.counter(Mib.SyncookiesRecv)).to.equal(16);
    const at = host.mem.blockAt(host.accept(other));
    expect(host.mem.ctl[at + BLOCK_SLOT]).to.equal(1);
    expect(host.mem.ctl[at + BLOCK_MEMBERS]).to.equal(2);
    expect(host.mem.ctl[at + BLOCK_HASH]).to.be.below(0, 'the upper half of the hash space');
  });

  it('the timestamp never runs ahead of the clock, and gives back what went in', () => {
    for (let nowMs = 1000; nowMs < 1200; nowMs++) {
      for (let wscale = -1; wscale <= 14; wscale++) {
        for (const sack of [false, true]) {
          const options = { wscale, sack, ecn: nowMs % 2 === 0 };
          const stamp = cookieTimestamp(nowMs, options);
          expect(stamp).to.be.within(nowMs - 127, nowMs);
          expect(cookieOptions(stamp)).to.deep.equal(options);
        }
      }
    }
  });
});
