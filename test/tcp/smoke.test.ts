/** The main road: handshake, data both ways, close both ways. */
import { expect } from 'chai';
import { MemoryStack, Peer } from '../../src/testing/index.js';

describe('tcp: the main road', () => {
  it('accepts, receives, sends and closes', () => {
    const host = new MemoryStack();
    const listener = host.listen(80);
    const peer = new Peer(host);
    peer.in('S 0:0(0) win 65535 <mss 1460,sackOK,TS val 100 ecr 0,nop,wscale 7>');
    peer.out('S. 0:0(0) ack 1 win 65160 <...>');
    peer.in('. 1:1(0) ack 1 win 512');
    const fd = host.accept(listener);
    expect(fd).to.be.greaterThan(2);
    peer.in('P. 1:6(5) ack 1 win 512', 'hello');
    expect(host.readText(fd)).to.equal('hello');
    peer.out('. 1:1(0) ack 6 <...>');
    expect(host.write(fd, 'world!')).to.equal(6);
    peer.out('P. 1:7(6) ack 6 <...>');
    peer.in('. 6:6(0) ack 7 win 512');
    host.close(fd);
    peer.out('F. 7:7(0) ack 6 <...>');
    peer.in('F. 6:6(0) ack 8 win 512');
    peer.out('. 8:8(0) ack 7 <...>');
    peer.quiet();
    host.advance(61_000);
    peer.quiet();
    expect(host.stack.tcp.timewaits).to.equal(0);
  });
});
