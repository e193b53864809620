/** connect() to AF_UNSPEC: what the peer is told, and a socket that is as new. */
import { expect } from 'chai';
import { BLOCK_EVENTS } from '../../src/net/sockmem.js';
import { TCP_CLOSE } from '../../src/tcp/state.js';
import { MemoryStack, Peer } from '../../src/testing/index.js';
import { pattern, rig } from './rig.js';

const EPOLLHUP = 0x10;
const ECONNRESET = 104;

describe('tcp: disconnecting', () => {
  it('a connection is reset, what waits is forgotten, memory and tables are as before', () => {
    const r = rig({ syn: '<mss 1000,sackOK,nop,wscale 3>' });
    r.host.write(r.fd, pattern(5000));
    r.host.sent.length = 0;
    r.peer.in('. 2001:3001(1000) ack 1001', pattern(1000));
    r.peer.in('P. 1:101(100) ack 1001', pattern(100));
    r.host.sent.length = 0;
    const { stack } = r.host;
    expect(r.tcb.sender).to.not.equal(null);
    expect(stack.disconnect(r.fd)).to.equal(0);
    expect(r.peer.out('R. 5001:5001(0) ack 101 <...>').flags).to.equal('R.');
    expect(r.tcb.state).to.equal(TCP_CLOSE);
    expect(r.tcb.sender).to.equal(null);
    expect(r.tcb.ofo).to.equal(null);
    expect(r.host.mem.ctl[r.tcb.at + BLOCK_EVENTS]! & EPOLLHUP).to.equal(EPOLLHUP);
    expect(r.host.read(r.fd)).to.equal(-ECONNRESET);
    expect(r.host.read(r.fd)).to.equal(-107);
    expect(stack.nextDeadlineUs()).to.be.above(r.host.nowUs);
    // The peer's next segment finds nobody.
    r.peer.in('. 101:101(0) ack 1001');
    r.peer.out('R 1001:1001(0)');
  });

  it('options stay, and the connection that follows has nothing of the old one', () => {
    const r = rig({
      syn: '<mss 1000,sackOK,TS val 5 ecr 0,nop,wscale 3>',
      ack: '<nop,nop,TS val 6 ecr 0>',
    });
    const { stack } = r.host;
    stack.setsockopt(r.fd, 6, 1, 1, 0);
    stack.setsockopt(r.fd, 1, 8, 20_000, 0);
    stack.setsockopt(r.fd, 6, 18, 777, 0);
    r.host.write(r.fd, pattern(3000));
    stack.disconnect(r.fd);
    r.host.poll();
    r.host.sent.length = 0;
    const out = new Int32Array(2);
    for (const [level, name, value] of [
      [6, 1, 1],
      [1, 8, 40_000],
      [6, 18, 777],
    ] as const) {
      expect(stack.getsockopt(r.fd, level, name, out)).to.equal(1);
      expect(out[0]).to.equal(value);
    }
    const again = new Peer(r.host, { port: 50_000 });
    expect(stack.connect(r.fd, again.address, 50_000)).to.equal(-115);
    r.host.poll();
    const syn = again.out('S 0:0(0) <...>');
    again.localPort = syn.sport;
    again.in('S. 0:0(0) ack 1 win 8000 <mss 500>');
    again.out('. 1:1(0) ack 1');
    expect([r.tcb.tsOk, r.tcb.sackOk, r.tcb.wscaleOk]).to.deep.equal([false, false, false]);
    r.host.write(r.fd, pattern(700));
    again.out('. 1:501(500) ack 1');
    again.out('P. 501:701(200) ack 1');
    again.in('P. 1:11(10) ack 701', pattern(10));
    expect([...(r.host.read(r.fd) as Uint8Array)]).to.deep.equal([...pattern(10)]);
  });

  it('a listener resets those who wait, and can listen again', () => {
    const host = new MemoryStack();
    const listener = host.listen(80);
    const peer = new Peer(host);
    peer.in('S 0:0(0) <mss 1460>');
    peer.out('S. 0:0(0) ack 1 <...>');
    peer.in('. 1:1(0) ack 1');
    expect(host.stack.disconnect(listener)).to.equal(0);
    host.poll();
    peer.out('R. 1:1(0) ack 1');
    expect(host.accept(listener)).to.equal(-22);
    const other = new Peer(host, { port: 40_001 });
    other.in('S 0:0(0) <mss 1460>');
    other.out('R. 0:0(0) ack 1');
    expect(host.stack.listen(listener, 5)).to.equal(0);
    const third = new Peer(host, { port: 40_002 });
    expect(third.establish(listener)).to.be.above(0);
  });

  it('in the last states nothing goes out, unless something had not been sent', () => {
    const r = rig();
    r.peer.in('F. 1:1(0) ack 1');
    r.host.advance(50);
    r.host.sent.length = 0;
    r.host.shutdown(r.fd, 1);
    r.peer.out('F. 1:1(0) ack 2');
    expect(r.host.stack.disconnect(r.fd)).to.equal(0);
    r.host.poll();
    r.peer.quiet();
    const held = rig({ win: 0 });
    held.peer.in('F. 1:1(0) ack 1 win 0');
    held.host.write(held.fd, 'text');
    held.host.advance(50);
    held.host.sent.length = 0;
    held.host.shutdown(held.fd, 1);
    expect(held.host.stack.disconnect(held.fd)).to.equal(0);
    held.peer.out('R. 1:1(0) ack 2');
  });

  it('what is closed or was never open stays so', () => {
    const host = new MemoryStack();
    const fd = host.stack.socket(0);
    expect(host.stack.disconnect(fd)).to.equal(0);
    expect(host.stack.disconnect(77)).to.equal(-9);
    expect(host.stack.bind(fd, 0, 99)).to.equal(0);
    expect(host.stack.disconnect(fd)).to.equal(0);
    expect(host.stack.sock(fd)!.num).to.equal(99);
    expect(host.sent).to.have.length(0);
  });
});
