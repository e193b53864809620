/** What a handshake leaves to the sender: RTO (RFC 6298 2.2, 5.7) and window (RFC 5681 3.1). */
import { expect } from 'chai';
import type { Tcb } from '../../src/tcp/tcb.js';
import { ipv4, MemoryStack, Peer } from '../../src/testing/index.js';

const STAMPED = '<mss 1000,sackOK,TS val 100 ecr 0>';

/** What the sender begins with. */
type Begun = Pick<Tcb, 'srttUs' | 'rtoUs' | 'cwnd'>;

function begun({ srttUs, rtoUs, cwnd }: Tcb): Begun {
  return { srttUs, rtoUs, cwnd };
}

/** A child whose SYN-ACK left `again` times more, each by its timer; answered 20 ms later. */
function accepted(again: number, stamps: boolean, echo: 'first' | 'last' = 'last'): Begun {
  const host = new MemoryStack({ arenaBytes: 8 << 20 });
  const listener = host.listen(80);
  const peer = new Peer(host, { relativeTimestamps: true });
  peer.in(`S 0:0(0) ${stamps ? STAMPED : '<mss 1000>'}`);
  peer.out('S. 0:0(0) ack 1 <...>');
  let stamp = 1000;
  for (let i = 0; i < again; i++) {
    host.advance(1000 * 2 ** i);
    stamp += 1000 * 2 ** i;
    peer.out('S. 0:0(0) ack 1 <...>');
  }
  host.advance(20);
  const ecr = echo === 'first' ? 1000 : stamp;
  peer.in(`. 1:1(0) ack 1 ${stamps ? `<nop,nop,TS val 101 ecr ${ecr}>` : ''}`);
  const tcb = host.stack.sock(host.accept(listener))!;
  return begun(tcb);
}

/** A connection of ours, likewise. */
function connected(again: number, stamps: boolean, echo: 'first' | 'last' = 'last'): Begun {
  const host = new MemoryStack({ arenaBytes: 8 << 20 });
  const fd = host.stack.socket(0);
  host.stack.connect(fd, ipv4('198.18.0.254'), 80);
  host.advance(0);
  const tcb = host.stack.sock(fd)!;
  const peer = new Peer(host, { port: 80, localPort: tcb.num, relativeTimestamps: true });
  peer.out('S 0:0(0) <...>');
  for (let i = 0; i < again; i++) {
    host.advance(1000);
    peer.out('S 0:0(0) <...>');
  }
  host.advance(20);
  const ecr = echo === 'first' ? 1000 : 1000 + again * 1000;
  peer.in(`S. 0:0(0) ack 1 ${stamps ? `<mss 1000,sackOK,TS val 9 ecr ${ecr}>` : '<mss 1000>'}`);
  return begun(tcb);
}

describe('tcp: after the handshake', () => {
  for (const [name, open] of [
    ['accepted', accepted],
    ['connected', connected],
  ] as const) {
    it(`${name}: the round trip of a SYN that left once`, () => {
      expect(open(0, false)).to.include({ srttUs: 20_000, rtoUs: 220_000, cwnd: 10 });
      expect(open(0, true)).to.include({ srttUs: 20_000, rtoUs: 220_000 });
    });

    it(`${name}: 3 s when it left again, unless a timestamp tells`, () => {
      expect(open(1, false)).to.include({ srttUs: 0, rtoUs: 3_000_000 });
      expect(open(1, true)).to.include({ srttUs: 20_000, rtoUs: 220_000 });
      expect(open(1, true, 'first')).to.include({ srttUs: 1_020_000, rtoUs: 3_060_000 });
    });

    it(`${name}: one segment after two time-outs, unless the first was not lost`, () => {
      expect([open(2, false).cwnd, open(1, true).cwnd, open(2, true).cwnd]).to.deep.equal([
        1, 10, 1,
      ]);
      expect(open(2, true, 'first').cwnd).to.equal(10);
    });
  }

  it('a SYN that the peer repeats is no time-out of ours', () => {
    const host = new MemoryStack({ arenaBytes: 8 << 20 });
    const listener = host.listen(80);
    const peer = new Peer(host);
    for (let i = 0; i < 3; i++) {
      peer.in('S 0:0(0) <mss 1000>');
      peer.out('S. 0:0(0) ack 1 <...>');
      host.advance(600);
    }
    peer.in('. 1:1(0) ack 1');
    const tcb = host.stack.sock(host.accept(listener))!;
    expect(tcb).to.include({ cwnd: 10, srttUs: 0, rtoUs: 3_000_000 });
    host.write(tcb.fd, 'x');
    peer.out('P. 1:2(1) ack 1');
    host.advance(2999);
    peer.quiet();
    host.advance(1);
    peer.out('P. 1:2(1) ack 1');
  });

  it('a Fast Open child, too: one segment, and 3 s', () => {
    const host = new MemoryStack({
      arenaBytes: 8 << 20,
      sysctl: { 'net.ipv4.tcp_fastopen': 0x602 },
    });
    const listener = host.listen(80);
    const peer = new Peer(host);
    peer.in('S 0:3(3) <mss 1000>');
    peer.out('S. 0:0(0) ack 4 <...>');
    const tcb = host.stack.sock(host.accept(listener))!;
    for (const ms of [1000, 2000]) {
      host.advance(ms);
      peer.out('S. 0:0(0) ack 4 <...>');
    }
    host.advance(20);
    peer.in('. 4:4(0) ack 1');
    // Without SACK the state stays until text is acknowledged.
    expect(tcb).to.include({ cwnd: 1, caState: 4, srttUs: 0, rtoUs: 3_000_000 });
    host.write(tcb.fd, new Uint8Array(3000));
    peer.out('. 1:1001(1000) ack 4');
    peer.quiet();
  });
});
