/** Quick ACKs that wait for an answer, in a stack whose driver says when nothing else is to do. */
import { expect } from 'chai';
import { HOLD_MOST_US } from '../../src/tcp/held-acks.js';
import { pattern, type Rig, rig } from './rig.js';

describe('tcp: held ACKs', () => {
  const held = (): Rig => rig({ holdsAcks: true });

  it('the ACK of a request rides on the answer, and counts as a quick one', () => {
    const r = held();
    r.peer.in('P. 1:101(100) ack 1', pattern(100));
    r.peer.quiet();
    const { quickAcks } = r.tcb;
    r.host.write(r.fd, 'answer');
    r.peer.out('P. 1:7(6) ack 101');
    expect(r.tcb.quickAcks).to.equal(quickAcks - 1);
    expect(r.host.stack.releaseAcks()).to.equal(false);
    r.host.advance(1000);
    r.peer.out('P. 1:7(6) ack 101');
  });

  it('and on the FIN behind it', () => {
    const r = held();
    r.peer.in('P. 1:101(100) ack 1', pattern(100));
    r.host.readText(r.fd);
    r.peer.quiet();
    r.host.close(r.fd);
    r.peer.out('F. 1:1(0) ack 101');
    r.peer.quiet();
  });

  it('is left to the minisocket of a connection that both sides have closed in part', () => {
    const r = held();
    r.host.shutdown(r.fd, 1);
    r.peer.out('F. 1:1(0) ack 1');
    r.peer.in('. 1:1(0) ack 2');
    r.peer.in('P. 1:101(100) ack 2', pattern(100));
    r.peer.quiet();
    r.host.readText(r.fd);
    r.host.close(r.fd);
    r.peer.out('. 2:2(0) ack 101');
    r.peer.quiet();
  });

  it('goes alone when the driver has nothing else to do', () => {
    const r = held();
    r.peer.in('P. 1:101(100) ack 1', pattern(100));
    expect(r.host.stack.releaseAcks()).to.equal(true);
    expect(r.host.stack.nextDeadlineUs()).to.equal(r.host.nowUs);
    r.host.poll();
    r.peer.out('. 1:1(0) ack 101');
    expect(r.host.stack.releaseAcks()).to.equal(false);
  });

  it('goes alone after 4 ms, however busy the driver is', () => {
    const r = held();
    r.peer.in('P. 1:101(100) ack 1', pattern(100));
    expect(r.host.stack.nextDeadlineUs()).to.equal(r.host.nowUs + HOLD_MOST_US);
    r.host.advance(3.9);
    r.peer.quiet();
    r.host.advance(0.1);
    r.peer.out('. 1:1(0) ack 101');
  });

  it('what else the connection is served for does not send it', () => {
    const r = held();
    r.peer.in('P. 1:101(100) ack 1', pattern(100));
    r.host.stack.published(r.fd);
    r.host.poll();
    r.peer.quiet();
    r.host.advance(4);
    r.peer.out('. 1:1(0) ack 101');
    r.peer.quiet();
  });

  it('a second segment is answered at once, for both', () => {
    const r = held();
    r.peer.in('P. 1:101(100) ack 1', pattern(100));
    r.peer.in('P. 101:201(100) ack 1', pattern(100, 100));
    r.peer.out('. 1:1(0) ack 201');
    r.host.advance(4);
    r.peer.quiet();
  });

  it('text without PSH, behind a hole and into it is answered at once', () => {
    const r = held();
    r.peer.in('. 1:101(100) ack 1', pattern(100));
    r.peer.out('. 1:1(0) ack 101');
    r.peer.in('P. 201:301(100) ack 1', pattern(100, 200));
    r.peer.out('. 1:1(0) ack 101');
    r.peer.in('P. 101:201(100) ack 1', pattern(100, 100));
    r.peer.out('. 1:1(0) ack 301');
  });

  it('a connection that ends meanwhile owes nothing', () => {
    const r = held();
    r.peer.in('P. 1:101(100) ack 1', pattern(100));
    r.peer.in('R 101:101(0)');
    r.peer.quiet();
    expect(r.host.stack.releaseAcks()).to.equal(false);
    r.host.close(r.fd);
    r.host.advance(1000);
    r.peer.quiet();
  });
});
