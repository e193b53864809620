/**
 * Each SYN that reaches the tables has exactly one decision, told before anything is sent for it.
 */
import { expect } from 'chai';
import type { Trace } from '../../src/net/env.js';
import { Decision } from '../../src/reuseport/decision.js';
import { type MemoryStack, Peer } from '../../src/testing/index.js';
import { conversation } from './state-table.js';

interface Watched {
  host: MemoryStack;
  /** `in`, `out`, and verdicts, in order. */
  seen: string[];
}

function watched(): Watched {
  const seen: string[] = [];
  const trace: Trace = {
    packet: (direction) => seen.push(direction),
    decision: (decision) => seen.push((decision as Decision).verdict),
  };
  const { host } = conversation({ trace });
  host.stack.tcp.hashinfo.decision = new Decision();
  return { host, seen };
}

/** What was seen since the last call. */
function take(seen: string[]): string[] {
  return seen.splice(0);
}

describe('tcp: the decision of a SYN', () => {
  it('is the group’s once, the request’s when the SYN comes again, and nobody’s for an ACK', () => {
    const { host, seen } = watched();
    const listener = host.listen(80, 8, { reuseport: true });
    const peer = new Peer(host);
    peer.in('S 0:0(0)');
    expect(take(seen)).to.deep.equal(['in', 'reuseport', 'out']);
    peer.out('S. 0:0(0) ack 1');
    host.advance(600);
    expect(take(seen)).to.deep.equal([]);
    peer.in('S 0:0(0)');
    expect(take(seen)).to.deep.equal(['in', 'request', 'out']);
    peer.out('S. 0:0(0) ack 1');
    peer.in('. 1:1(0) ack 1');
    expect(take(seen)).to.deep.equal(['in']);
    peer.in('S 500:500(0)');
    expect(take(seen).slice(0, 2)).to.deep.equal(['in', 'established']);
    expect(host.accept(listener)).to.be.greaterThan(2);
  });

  it('comes before the RST of a closed port, and also when a queue is full', () => {
    const { host, seen } = watched();
    const stranger = new Peer(host, { port: 1 });
    stranger.in('S 0:0(0)');
    expect(take(seen)).to.deep.equal(['in', 'no-socket', 'out']);
    stranger.out('R. 0:0(0) ack 1');
    const listener = host.listen(80, 0);
    const first = new Peer(host, { port: 2 });
    first.in('S 0:0(0) <mss 1460>');
    first.out('S. 0:0(0) ack 1 <...>');
    first.in('. 1:1(0) ack 1');
    take(seen);
    // The accept queue takes one: this SYN is dropped.
    new Peer(host, { port: 3 }).in('S 0:0(0)');
    expect(take(seen)).to.deep.equal(['in', 'listener']);
    expect(host.accept(listener)).to.be.greaterThan(2);
  });

  it('of a SYN in TIME-WAIT is the listener’s, or TIME-WAIT’s when it opens nothing', () => {
    const { host, seen } = watched();
    const listener = host.listen(80, 8);
    const peer = new Peer(host);
    host.close(peer.establish(listener));
    peer.out('F. 1:1(0) ack 1');
    peer.in('F. 1:1(0) ack 2');
    take(seen);
    peer.in('S 2:2(0)');
    expect(take(seen)).to.deep.equal(['in', 'time-wait', 'out']);
    peer.in('S 1000:1000(0)');
    expect(take(seen)).to.deep.equal(['in', 'listener', 'out']);
  });
});
