/** TCP_DEFER_ACCEPT: a connection is one when text has come. */
import { expect } from 'chai';
import { EAGAIN, EINPROGRESS } from '../../src/net/errno.js';
import type { MemoryStack } from '../../src/testing/index.js';
import { type Conversation, conversation, moved, stateOf } from './state-table.js';

const IPPROTO_TCP = 6;
const TCP_SYNCNT = 7;
const TCP_DEFER_ACCEPT = 9;
const SYN = 'S 0:0(0) <mss 1460>';
const SYNACK = 'S. 0:0(0) ack 1 <...>';
const ACK = '. 1:1(0) ack 1';

function option(host: MemoryStack, fd: number): number {
  const out = new Int32Array(1);
  expect(host.stack.getsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, out)).to.equal(1);
  return out[0]!;
}

function set(host: MemoryStack, fd: number, seconds: number): void {
  expect(host.stack.setsockopt(fd, IPPROTO_TCP, TCP_DEFER_ACCEPT, seconds, 0)).to.equal(0);
}

/** Half-open at a listener that waits `seconds` for text. */
function deferring(seconds: number, sysctl: Record<string, number> = {}): Conversation {
  const c = conversation({ sysctl });
  c.listener = c.host.listen(80, 8);
  set(c.host, c.listener, seconds);
  c.peer.in(SYN);
  c.peer.out(SYNACK);
  return c;
}

describe('tcp: TCP_DEFER_ACCEPT', () => {
  it('rounds seconds up to whole SYN-ACK time-outs', () => {
    const { host } = conversation();
    const fd = host.stack.socket(0);
    expect(option(host, fd)).to.equal(0);
    const rows = [
      [5, 7],
      [0, 0],
      [1, 1],
      [2, 3],
      [3, 3],
      [4, 7],
      [63, 63],
      [64, 127],
      [127, 127],
      [128, 247],
      [247, 247],
      [248, 367],
      [29_887, 29_887],
      [1_000_000, 29_887],
      [2 ** 31 - 1, 29_887],
      [-1, 0],
    ] as const;
    for (const [seconds, rounded] of rows) {
      set(host, fd, seconds);
      expect(option(host, fd), String(seconds)).to.equal(rounded);
    }
  });

  it('a bare ACK is dropped, SYN-ACKs stop until the last time-out, then one is enough', () => {
    const { host, peer, listener } = deferring(5);
    const before = Float64Array.from(host.stack.net.mib);
    const begin = host.nowUs;
    const until = (second: number): void =>
      host.advance(second * 1000 - (host.nowUs - begin) / 1000);
    peer.in(ACK);
    until(6.999);
    peer.quiet();
    expect(stateOf(host, peer)).to.equal('SYN-RECV');
    expect(host.accept(listener)).to.equal(-EAGAIN);
    until(7);
    peer.out(SYNACK);
    expect(moved(host, before)).to.deep.equal([
      'TCPDeferAcceptDrop',
      'TCPSynRetrans',
      'TCPTimeouts+3',
      'TcpRetransSegs',
    ]);
    peer.in(ACK);
    const fd = host.accept(listener);
    expect(fd).to.be.greaterThan(2);
    expect(option(host, fd), 'is the listener’s').to.equal(0);
  });

  it('text with the ACK or after it completes at once, and so does a FIN', () => {
    for (const [segment, answer] of [
      ['P. 1:4(3) ack 1', '. 1:1(0) ack 4'],
      ['F. 1:1(0) ack 1', '. 1:1(0) ack 2'],
    ] as const) {
      for (const acked of [true, false]) {
        const { host, peer, listener } = deferring(5);
        if (acked) peer.in(ACK);
        peer.quiet();
        peer.in(segment);
        host.advance(60);
        peer.out(answer);
        expect(host.accept(listener)).to.be.greaterThan(2);
      }
    }
  });

  it('without an ACK the SYN-ACK is repeated as ever', () => {
    const { host, peer } = deferring(5);
    for (const second of [1, 2, 4, 8, 16]) {
      host.advance(second * 1000);
      peer.out(SYNACK);
    }
    host.advance(32_000);
    peer.quiet();
    expect(stateOf(host, peer)).to.equal('gone');
  });

  it('one that acknowledged outlives the retries until its time is over', () => {
    for (const acked of [true, false]) {
      const { host, peer, listener } = deferring(15);
      expect(host.stack.setsockopt(listener, IPPROTO_TCP, TCP_SYNCNT, 2, 0)).to.equal(0);
      if (acked) peer.in(ACK);
      host.advance(7000);
      expect(stateOf(host, peer)).to.equal(acked ? 'SYN-RECV' : 'gone');
      host.sent.length = 0;
      host.advance(8000);
      if (!acked) continue;
      peer.out(SYNACK);
      expect(stateOf(host, peer)).to.equal('SYN-RECV');
      host.advance(16_000);
      peer.quiet();
      expect(stateOf(host, peer)).to.equal('gone');
    }
  });

  it('with a full accept queue the ACK is noted, and SYN-ACKs stop, too', () => {
    const { host, peer, listener } = deferring(5);
    const before = Float64Array.from(host.stack.net.mib);
    host.stack.sock(listener)!.listen!.backlog = -1;
    peer.in('P. 1:4(3) ack 1', 'abc');
    peer.quiet();
    host.advance(6999);
    peer.quiet();
    host.advance(1);
    peer.out(SYNACK);
    host.stack.sock(listener)!.listen!.backlog = 8;
    peer.in('P. 1:4(3) ack 1', 'abc');
    peer.out('. 1:1(0) ack 4');
    expect(moved(host, before)).to.deep.equal([
      'ListenDrops',
      'ListenOverflows',
      'TCPSynRetrans',
      'TCPTimeouts+3',
      'TcpPassiveOpens',
      'TcpRetransSegs',
    ]);
  });

  it('a client that sets it keeps its last ACK for what it writes, 200 ms at most', () => {
    for (const writes of [true, false]) {
      const { host, peer } = conversation();
      const fd = host.stack.socket(0);
      set(host, fd, 1);
      expect(host.stack.bind(fd, host.address, 80)).to.equal(0);
      expect(host.stack.connect(fd, peer.address, peer.port)).to.equal(-EINPROGRESS);
      host.poll();
      peer.out('S 0:0(0) <...>');
      peer.in('S. 0:0(0) ack 1 <mss 1460>');
      peer.quiet();
      host.advance(199);
      peer.quiet();
      if (writes) {
        expect(host.write(fd, 'abc')).to.equal(3);
        peer.out('P. 1:4(3) ack 1');
      } else {
        host.advance(1);
        peer.out('. 1:1(0) ack 1');
      }
      peer.quiet();
    }
  });
});
