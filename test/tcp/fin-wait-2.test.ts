/** An orphan's FIN-WAIT-2 and its limit, and ACKs owed when a connection ends inside a batch. */
import { expect } from 'chai';
import {
  type Conversation,
  closed,
  conversation,
  type Enter,
  established,
  shut,
  stateOf,
} from './state-table.js';

const finAcked: Enter = ({ peer }) => peer.in('. 1:1(0) ack 2');

function enter(steps: Enter[], options = {}): Conversation {
  const c = conversation(options);
  for (const step of steps) step(c);
  c.peer.quiet();
  return c;
}

/** Only the listener is left. */
function gone({ host, peer }: Conversation): void {
  expect(stateOf(host, peer)).to.equal('gone');
  expect(host.mem.fdsInUse, 'descriptors').to.equal(1);
  expect(host.stack.tcp.orphans, 'orphans').to.equal(0);
  expect(host.stack.net.timers.size, 'timers').to.equal(0);
}

describe('tcp: FIN-WAIT-2 of an orphan', () => {
  it('lasts tcp_fin_timeout', () => {
    for (const seconds of [10, 60, 90, 120]) {
      const c = enter([established, closed, finAcked], {
        sysctl: { 'net.ipv4.tcp_fin_timeout': seconds },
      });
      const { host, peer } = c;
      host.advance(seconds * 1000 - 1);
      expect(stateOf(host, peer), `${seconds} s`).to.equal('FIN-WAIT-2');
      host.advance(1);
      peer.quiet();
      gone(c);
    }
  });

  it('or three and a half RTOs when that is longer', () => {
    const c = enter([established], { sysctl: { 'net.ipv4.tcp_fin_timeout': 1 } });
    const rtoMs = c.host.stack.sock(c.fd)!.rtoUs / 1000;
    closed(c);
    finAcked(c);
    c.host.advance(Math.max(1000, rtoMs * 3.5) - 1);
    expect(stateOf(c.host, c.peer)).to.equal('FIN-WAIT-2');
    c.host.advance(2);
    gone(c);
  });

  it('begins when the last reader lets go', () => {
    const c = enter([established, shut, finAcked]);
    c.host.advance(500_000);
    c.host.close(c.fd);
    c.peer.quiet();
    c.host.advance(59_999);
    expect(stateOf(c.host, c.peer)).to.equal('FIN-WAIT-2');
    c.host.advance(1);
    gone(c);
  });

  it('of more than a minute is a full socket first, which takes the FIN', () => {
    const c = enter([established, closed, finAcked], {
      sysctl: { 'net.ipv4.tcp_fin_timeout': 100 },
    });
    expect(c.host.stack.tcp.orphans).to.equal(1);
    c.peer.in('F. 1:1(0) ack 2');
    c.peer.out('. 2:2(0) ack 2');
    expect(stateOf(c.host, c.peer)).to.equal('TIME-WAIT');
    expect(c.host.stack.tcp.orphans).to.equal(0);
  });

  it('takes a FIN that comes with the ACK of ours', () => {
    const c = enter([established, closed]);
    c.peer.in('F. 1:1(0) ack 2');
    c.peer.out('. 2:2(0) ack 2');
    expect(stateOf(c.host, c.peer)).to.equal('TIME-WAIT');
  });

  it('a FIN before its turn with the ACK of ours changes nothing: the wait is limited', () => {
    const c = enter([established, closed]);
    c.peer.in('F. 0:0(0) ack 2');
    expect(stateOf(c.host, c.peer)).to.equal('FIN-WAIT-2');
    c.host.advance(60_000);
    gone(c);
  });

  it('a FIN ahead of its turn with the ACK of ours is refused', () => {
    const c = enter([established, closed]);
    c.peer.in('F. 5:5(0) ack 2');
    c.peer.out('R 2:2(0)');
    gone(c);
  });
});

describe('tcp: ACKs that are owed when a connection ends in the middle of a batch', () => {
  it('FIN and the ACK of ours together: the FIN is acknowledged from TIME-WAIT', () => {
    const c = enter([established, closed]);
    c.peer.queue('F. 1:1(0) ack 1');
    c.peer.queue('. 2:2(0) ack 2');
    c.host.poll();
    c.peer.out('. 2:2(0) ack 2');
    c.peer.quiet();
    expect(stateOf(c.host, c.peer)).to.equal('TIME-WAIT');
  });

  it('an old segment and the ACK of our FIN together', () => {
    const c = enter([established, closed]);
    c.peer.queue('. 0:0(0) ack 1');
    c.peer.queue('. 1:1(0) ack 2');
    c.host.poll();
    c.peer.out('. 2:2(0) ack 1');
    c.peer.quiet();
    expect(stateOf(c.host, c.peer)).to.equal('FIN-WAIT-2');
  });
});
