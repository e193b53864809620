/**
 * Small answers that comparing with the kernel has settled (test/oracle plays them on both): what
 * reading says after the end of the stream, who counts what, which options a RST carries.
 */
import { expect } from 'chai';
import { EAGAIN } from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import { MemoryStack, Peer } from '../../src/testing/index.js';
import { pattern, readAll, rig } from './rig.js';

const SACK = '<mss 1460,sackOK>';

describe('tcp: as Linux, the end of the stream', () => {
  it('stays the end of the stream when an error follows; the error waits for SO_ERROR', () => {
    const r = rig();
    r.peer.in('FP. 1:4(3) ack 1', 'abc');
    r.peer.in('R 5:5(0)');
    expect(r.host.readText(r.fd)).to.equal('abc');
    for (let i = 0; i < 2; i++) expect(r.host.read(r.fd)).to.have.length(0);
    const out = new Int32Array(1);
    expect(r.host.stack.getsockopt(r.fd, 1, 4, out)).to.equal(1);
    expect(out[0]).to.equal(32);
  });

  it('an error without it is told once', () => {
    const r = rig();
    r.peer.in('R 1:1(0)');
    expect(r.host.read(r.fd)).to.equal(-104);
    expect(r.host.read(r.fd)).to.have.length(0);
  });

  it('the FIN of the application carries the ACK that waits for it', () => {
    const r = rig();
    r.peer.in('F. 1:1(0) ack 1');
    r.peer.quiet();
    r.host.close(r.fd);
    r.peer.out('F. 1:1(0) ack 2');
    r.host.advance(100);
    r.peer.quiet();
  });

  it('any further segment shows that the peer waits for that ACK', () => {
    const r = rig();
    r.peer.in('F. 1:1(0) ack 1');
    r.peer.in('. 7:7(0) ack 1');
    r.peer.out('. 1:1(0) ack 2');
  });

  it('text that runs over the place of a waiting FIN is believed', () => {
    const r = rig();
    r.peer.in('F. 3:3(0) ack 1');
    r.peer.out('. 1:1(0) ack 1');
    r.peer.in('P. 1:6(5) ack 1', 'abcde');
    r.peer.out('. 1:1(0) ack 6');
    expect(r.host.readText(r.fd)).to.equal('abcde');
    expect(r.host.read(r.fd)).to.equal(-EAGAIN);
  });

  it('a FIN within what waits already says nothing', () => {
    const r = rig({ syn: SACK });
    r.peer.in('P. 4:9(5) ack 1', 'defgh');
    r.peer.out('. 1:1(0) ack 1 <nop,nop,sack 4:9>');
    r.peer.in('F. 6:6(0) ack 1');
    r.peer.out('. 1:1(0) ack 1 <nop,nop,sack 6:7 4:9>');
    r.peer.in('P. 1:4(3) ack 1', 'abc');
    r.peer.out('. 1:1(0) ack 9');
    expect(r.host.readText(r.fd)).to.equal('abcdefgh');
  });
});

describe('tcp: as Linux, SACK', () => {
  it('goes with a FIN and a RST, too', () => {
    const r = rig({ syn: SACK });
    r.peer.in('P. 2:5(3) ack 1', 'bcd');
    r.peer.out('. 1:1(0) ack 1 <nop,nop,sack 2:5>');
    r.host.shutdown(r.fd, 1);
    r.peer.out('F. 1:1(0) ack 1 <nop,nop,sack 2:5>');
    r.host.stack.abort(r.fd);
    r.host.poll();
    r.peer.out('R. 2:2(0) ack 1 <nop,nop,sack 2:5>');
  });

  it('text past the right edge is kept whole while nothing waits to be read', () => {
    const r = rig({ syn: SACK });
    r.peer.in('P. 64240:64243(3) ack 1', 'abc');
    r.peer.out('. 1:1(0) ack 1 <nop,nop,sack 64240:64243>');
  });
});

describe('tcp: as Linux, windows', () => {
  it('a window that closes without progress is believed by newer kernels', () => {
    for (const profile of ['5.0', '6.18'] as const) {
      const r = rig({ profile });
      r.peer.in('. 1:1(0) ack 1 win 0');
      expect(r.tcb.sndWnd).to.equal(profile === '5.0' ? 65_535 : 0);
    }
  });

  it('one segment of the space is held back until large segments have come', () => {
    const r = rig();
    r.peer.in('P. 1:101(100) ack 1', pattern(100));
    r.peer.out('. 1:1(0) ack 101 win 64140');
    expect(r.tcb.rcvSsthresh).to.equal(65_536 - 1460);
    readAll(r.host, r.fd);
    r.peer.in('P. 101:1561(1460) ack 1', pattern(1460, 100));
    r.peer.last = null;
    expect(r.tcb.rcvSsthresh).to.equal(65_536);
  });

  it('SO_RCVBUF of a listener decides the scale', () => {
    for (const [bytes, scale] of [
      [10_000, 0],
      [200_000, 2],
    ] as const) {
      const r = rig({ syn: '<mss 1460,nop,wscale 7>', listenerOptions: [[1, 8, bytes]] });
      expect(r.tcb.rcvWscale).to.equal(scale);
    }
  });
});

describe('tcp: as Linux, half-open connections', () => {
  const synFrom = (host: MemoryStack, port: number): Peer => {
    const peer = new Peer(host, { port });
    peer.in('S 0:0(0) win 65535 <mss 1460>');
    return peer;
  };

  it('a request that tcp_abort_on_overflow ends is no failed attempt', () => {
    const host = new MemoryStack({ sysctl: { 'net.ipv4.tcp_abort_on_overflow': 1 } });
    host.listen(80, 1);
    const [first, second] = [40_000, 40_001].map((port) => synFrom(host, port));
    first!.out('S. 0:0(0) ack 1 <...>');
    second!.out('S. 0:0(0) ack 1 <...>');
    first!.in('. 1:1(0) ack 1');
    const third = synFrom(host, 40_002);
    third.out('S. 0:0(0) ack 1 <...>');
    second!.in('. 1:1(0) ack 1');
    third.in('. 1:1(0) ack 1');
    third.out('R 1:1(0)');
    expect(host.counter(Mib.EmbryonicRsts)).to.equal(1);
    expect(host.counter(Mib.TcpAttemptFails)).to.equal(0);
  });

  it('a RST in the window is challenged at most every 500 ms, with text or without', () => {
    const host = new MemoryStack();
    host.listen(80);
    const peer = synFrom(host, 40_000);
    peer.out('S. 0:0(0) ack 1 <...>');
    peer.in('FR. 7:10(3) ack 1');
    peer.out('. 1:1(0) ack 1');
    peer.in('R 2:2(0)');
    peer.quiet();
    expect(host.counter(Mib.TCPACKSkippedChallenge)).to.equal(1);
    expect(host.counter(Mib.TCPACKSkippedSynRecv)).to.equal(0);
  });

  it('a wrong third ACK is looked at as the answer to a cookie', () => {
    const host = new MemoryStack();
    host.listen(80, 0);
    const held = synFrom(host, 40_000);
    held.out('S. 0:0(0) ack 1 <...>');
    const cookie = synFrom(host, 40_001);
    cookie.out('S. 0:0(0) ack 1 <...>');
    held.in('. 1:1(0) ack 2');
    held.out('R 2:2(0)');
    expect(host.counter(Mib.SyncookiesFailed)).to.equal(1);
    held.in('. 1:1(0) ack 1');
    held.quiet();
    expect(host.counter(Mib.TcpPassiveOpens)).to.equal(1);
  });
});
