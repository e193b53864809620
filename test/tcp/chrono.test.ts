/** What a sender has waited for: TCP_INFO's busy time and its parts, and who holds a burst back. */
import { expect } from 'chai';
import { pattern, type Rig, rig } from './rig.js';

const [SOL_SOCKET, IPPROTO_TCP, SO_SNDBUF, TCP_INFO] = [1, 6, 7, 11];

/** [busy, limited by the window, limited by the send buffer], ms. */
function times(r: Rig): number[] {
  const info = new Int32Array(70);
  r.host.stack.getsockopt(r.fd, IPPROTO_TCP, TCP_INFO, info);
  return [42, 44, 46].map((word) => (info[word]! + info[word + 1]! * 2 ** 32) / 1000);
}

describe('tcp: what the sender waits for', () => {
  it('is busy from the first byte to the last ACK', () => {
    const r = rig();
    r.host.advance(10);
    expect(times(r)).to.deep.equal([0, 0, 0]);
    r.host.write(r.fd, 'abc');
    r.host.advance(30);
    expect(times(r)).to.deep.equal([30, 0, 0]);
    r.host.write(r.fd, 'def');
    r.host.advance(10);
    r.peer.in('. 1:1(0) ack 4');
    r.host.advance(5);
    r.peer.in('. 1:1(0) ack 7');
    r.host.advance(100);
    expect(times(r)).to.deep.equal([45, 0, 0]);
    r.host.close(r.fd);
    expect(r.tcb.counts.chrono, 'a FIN, too').to.equal(1);
  });

  it('is limited by the window of the peer while that takes nothing', () => {
    const r = rig({ win: 1000, syn: '<mss 500>' });
    r.host.write(r.fd, pattern(3000));
    r.host.advance(20);
    expect(times(r)).to.deep.equal([20, 20, 0]);
    r.peer.in('. 1:1(0) ack 1001 win 0');
    r.host.advance(30);
    expect(times(r)).to.deep.equal([50, 50, 0]);
    r.peer.in('. 1:1(0) ack 1001 win 5000');
    r.host.advance(40);
    expect(times(r)).to.deep.equal([90, 50, 0]);
    r.peer.in('. 1:1(0) ack 3001 win 5000');
    r.host.advance(7);
    expect(times(r)).to.deep.equal([90, 50, 0]);
  });

  it('is limited by the send buffer when a writer waits and all has left', () => {
    const r = rig({ syn: '<mss 1000>' });
    r.host.stack.setsockopt(r.fd, SOL_SOCKET, SO_SNDBUF, 1024, 0);
    const taken = r.host.write(r.fd, pattern(20_000));
    expect(taken).to.equal(4608);
    r.host.advance(20);
    expect(times(r)).to.deep.equal([20, 0, 20]);
    // A third of it is free.
    r.peer.in('. 1:1(0) ack 3001');
    r.host.advance(10);
    expect(times(r)).to.deep.equal([30, 0, 20]);
    r.host.write(r.fd, pattern(20_000));
    r.host.advance(5);
    expect(times(r)).to.deep.equal([35, 0, 25]);
    r.peer.in(`. 1:1(0) ack ${r.tcb.sndNxt - r.tcb.iss}`);
    r.host.advance(100);
    expect(times(r)).to.deep.equal([35, 0, 25]);
  });

  it('a buffer that is just full, with nobody waiting, limits nothing', () => {
    const r = rig({ syn: '<mss 1000>' });
    r.host.stack.setsockopt(r.fd, SOL_SOCKET, SO_SNDBUF, 1024, 0);
    expect(r.host.write(r.fd, pattern(4608))).to.equal(4608);
    r.host.advance(20);
    expect(times(r)).to.deep.equal([20, 0, 0]);
  });

  it('a burst that waits to become larger is held back by cwnd', () => {
    const r = rig({ syn: '<mss 1000>', rttMs: 1 });
    r.host.write(r.fd, pattern(8000));
    r.host.advance(0.6);
    const s = r.tcb.sender!;
    expect([s.packetsOut, s.cwndLimited]).to.deep.equal([8, false]);
    r.host.write(r.fd, pattern(30_000));
    expect([s.packetsOut, s.cwndLimited]).to.deep.equal([8, true]);
  });
});
