/** Packet tables: text that comes in (RFC 9293 3.10.7.4 seventh and eighth, RFC 2018, RFC 2883). */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { pattern, type Rig, readAll, rig } from './rig.js';

const SACK = '<mss 1460,nop,nop,sackOK>';

/** Sends the bytes [from, to) of the pattern stream as one segment, without an answer yet. */
function text(r: Rig, from: number, to: number, flags = '.'): void {
  const length = to - from;
  r.peer.queue(`${flags} ${from + 1}:${to + 1}(${length}) ack 1`, pattern(length, from));
}

/** The same with everything that follows at once. */
function send(r: Rig, from: number, to: number, flags = '.'): void {
  text(r, from, to, flags);
  r.host.poll();
}

const sacks = (...blocks: [number, number][]) =>
  blocks.map(([l, right]) => `${l + 1}:${right + 1}`).join(' ');

/** Demands a pure ACK of stream offset `ack` with these SACK blocks (in stream offsets). */
function ack(r: Rig, offset: number, ...blocks: [number, number][]): void {
  const options = blocks.length === 0 ? '<>' : `<nop,nop,sack ${sacks(...blocks)}>`;
  r.peer.out(`. 1:1(0) ack ${offset + 1} ${options}`);
}

describe('tcp: text in order', () => {
  it('is acknowledged at once at first and read as sent', () => {
    const r = rig();
    send(r, 0, 1000, 'P.');
    ack(r, 1000);
    send(r, 1000, 2000);
    ack(r, 2000);
    r.peer.quiet();
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(2000));
    expect(r.host.read(r.fd)).to.equal(-11);
  });

  it('a segment without text is not acknowledged', () => {
    const r = rig();
    r.peer.in('. 1:1(0) ack 1');
    r.peer.in('P. 1:1(0) ack 1');
    r.host.advance(1000);
    r.peer.quiet();
  });

  it('without the ACK bit is dropped', () => {
    const r = rig();
    r.peer.in('P 1:6(5)', 'hello');
    r.host.advance(500);
    r.peer.quiet();
    expect(r.host.readText(r.fd)).to.equal('');
  });

  it('a duplicate is answered at once, with D-SACK where SACK was agreed on', () => {
    const r = rig({ syn: SACK });
    send(r, 0, 1000);
    ack(r, 1000);
    send(r, 0, 1000);
    ack(r, 1000, [0, 1000]);
    send(r, 500, 1000);
    ack(r, 1000, [500, 1000]);
    expect(r.host.counter(Mib.TCPDSACKOldSent)).to.equal(2);
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(1000));
    const plain = rig();
    send(plain, 0, 10);
    ack(plain, 10);
    send(plain, 0, 10);
    ack(plain, 10);
    expect(plain.host.counter(Mib.TCPDSACKOldSent)).to.equal(0);
  });

  it('the new tail of a partial overlap is taken, the old head reported', () => {
    const r = rig({ syn: SACK });
    send(r, 0, 1000);
    ack(r, 1000);
    send(r, 400, 1400);
    ack(r, 1400, [400, 1000]);
    r.peer.quiet();
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(1400));
  });
});

describe('tcp: text out of order', () => {
  // RFC 9293 SHLD-31, MAY-13.
  it('is answered by a duplicate ACK each and published when the hole is filled', () => {
    const r = rig();
    send(r, 1000, 2000);
    ack(r, 0);
    send(r, 2000, 3000);
    ack(r, 0);
    expect(r.host.readText(r.fd)).to.equal('');
    send(r, 0, 1000);
    ack(r, 3000);
    r.peer.quiet();
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(3000));
    expect(r.host.counter(Mib.TCPOFOQueue)).to.equal(2);
  });

  it('SACK blocks: newest first, at most four', () => {
    const r = rig({ syn: SACK });
    send(r, 1000, 1100);
    ack(r, 0, [1000, 1100]);
    send(r, 3000, 3100);
    ack(r, 0, [3000, 3100], [1000, 1100]);
    send(r, 2000, 2100);
    ack(r, 0, [2000, 2100], [3000, 3100], [1000, 1100]);
    send(r, 5000, 5100);
    ack(r, 0, [5000, 5100], [3000, 3100], [2000, 2100], [1000, 1100]);
    send(r, 4000, 4100);
    ack(r, 0, [4000, 4100], [5000, 5100], [3000, 3100], [2000, 2100]);
    send(r, 0, 1000);
    ack(r, 1100, [4000, 4100], [5000, 5100], [3000, 3100], [2000, 2100]);
  });

  it('three blocks beside a timestamp', () => {
    const r = rig({ syn: '<mss 1460,sackOK,TS val 10 ecr 0>', ack: '<nop,nop,TS val 11 ecr 0>' });
    for (const at of [100, 300, 500, 700]) {
      r.peer.queue(`. ${at + 1}:${at + 11}(10) ack 1 <nop,nop,TS val 12 ecr 0>`);
    }
    r.host.poll();
    const packet = r.peer.out('. 1:1(0) ack 1 <...>');
    const isn = r.peer.isn;
    const sack = packet.options.find((option) => option.kind === 'sack');
    expect(sack).to.deep.equal({
      kind: 'sack',
      blocks: [700, 500, 300].map((at) => [(isn + at + 1) >>> 0, (isn + at + 11) >>> 0]),
    });
  });

  it('touching and overlapping blocks are merged', () => {
    const r = rig({ syn: SACK });
    send(r, 1000, 1100);
    ack(r, 0, [1000, 1100]);
    send(r, 1200, 1300);
    ack(r, 0, [1200, 1300], [1000, 1100]);
    send(r, 1050, 1250);
    ack(r, 0, [1050, 1100], [1000, 1300]);
    send(r, 900, 1000);
    ack(r, 0, [900, 1300]);
  });

  it('a duplicate out of order is reported by D-SACK before the block that holds it', () => {
    const r = rig({ syn: SACK });
    send(r, 1000, 2000);
    ack(r, 0, [1000, 2000]);
    send(r, 1200, 1300);
    ack(r, 0, [1200, 1300], [1000, 2000]);
    expect(r.host.counter(Mib.TCPDSACKOfoSent)).to.equal(1);
    send(r, 0, 1000);
    ack(r, 2000);
  });

  it('a hole filled in part or from both sides is acknowledged at once', () => {
    const r = rig({ syn: SACK });
    for (let i = 0; i < 20; i++) {
      send(r, i * 10, i * 10 + 10);
      if (i < 16) ack(r, i * 10 + 10);
    }
    r.peer.quiet();
    send(r, 400, 500);
    ack(r, 200, [400, 500]);
    send(r, 200, 300);
    ack(r, 300, [400, 500]);
    send(r, 300, 450);
    ack(r, 500, [400, 450]);
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(500));
  });

  it('one duplicate ACK for each segment of a batch', () => {
    const r = rig();
    for (let i = 1; i <= 4; i++) text(r, i * 100, i * 100 + 100);
    r.host.poll();
    for (let i = 0; i < 4; i++) ack(r, 0);
    r.peer.quiet();
  });

  // RFC 9293 MUST-59.
  it('no duplicate ACKs are left over when the same batch fills the hole', () => {
    const r = rig();
    for (let i = 1; i <= 4; i++) text(r, i * 100, i * 100 + 100);
    text(r, 0, 100);
    r.host.poll();
    ack(r, 500);
    r.peer.quiet();
  });

  it('more holes than can be remembered: the newest range is dropped, nothing breaks', () => {
    const r = rig({ syn: SACK });
    for (let i = 1; i <= 257; i++) {
      text(r, i * 20, i * 20 + 10);
      if (i % 50 === 0) r.host.poll();
    }
    r.host.poll();
    expect(r.host.counter(Mib.TCPOFODrop)).to.equal(1);
    r.host.sent.length = 0;
    send(r, 0, 5200);
    ack(r, 5200, [20, 30]);
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(5200));
  });

  it('once all holes are closed ACKs ride on data again', () => {
    const r = rig({ syn: SACK });
    send(r, 100, 200);
    ack(r, 0, [100, 200]);
    send(r, 0, 100);
    ack(r, 200);
    r.host.write(r.fd, 'x');
    r.peer.out('P. 1:2(1) ack 201');
    send(r, 200, 300);
    r.host.write(r.fd, 'y');
    r.peer.in('. 301:301(0) ack 2');
    r.peer.out('P. 2:3(1) ack 301');
    r.peer.quiet();
  });
});

describe('tcp: FIN', () => {
  const state = (r: Rig) => r.tcb.state;

  it('with text: both are taken; the ACK waits for what the application does', () => {
    const r = rig();
    send(r, 0, 100, 'FP.');
    r.peer.quiet();
    r.host.advance(39);
    r.peer.quiet();
    r.host.advance(1);
    r.peer.out('. 1:1(0) ack 102');
    expect(state(r)).to.equal(8);
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(100));
    expect(r.host.read(r.fd)).to.have.length(0);
  });

  it('out of order, with and without text, waits for the hole', () => {
    for (const bare of [false, true]) {
      const r = rig({ syn: SACK });
      if (bare) {
        send(r, 100, 200);
        ack(r, 0, [100, 200]);
        r.peer.in('F. 201:201(0) ack 1');
      } else {
        send(r, 100, 200, 'FP.');
      }
      // It has a sequence number, too.
      ack(r, 0, [100, 201]);
      expect(state(r)).to.equal(1);
      send(r, 0, 100);
      r.peer.out('. 1:1(0) ack 202');
      expect(state(r)).to.equal(8);
      expect(readAll(r.host, r.fd)).to.deep.equal(pattern(200));
    }
  });

  it('a repeated one is acknowledged again', () => {
    const r = rig();
    r.peer.in('F. 1:1(0) ack 1');
    r.peer.quiet();
    // Nothing was received before: the next tick of the clock.
    r.host.advance(4);
    r.peer.out('. 1:1(0) ack 2');
    r.peer.in('F. 1:1(0) ack 1');
    r.peer.out('. 1:1(0) ack 2');
  });

  it('whose text overlaps what is there', () => {
    const r = rig({ syn: SACK });
    send(r, 0, 100);
    ack(r, 100);
    send(r, 50, 150, 'F.');
    r.host.advance(40);
    // Once the stream is complete there is nothing to report.
    r.peer.out('. 1:1(0) ack 152 <>');
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(150));
    const all = rig();
    send(all, 0, 100);
    ack(all, 100);
    send(all, 0, 100, 'F.');
    all.host.advance(40);
    all.peer.out('. 1:1(0) ack 102');
    expect(state(all)).to.equal(8);
  });

  it('text behind it is not text: before the FIN is reached', () => {
    const r = rig();
    send(r, 100, 200, 'F.');
    ack(r, 0);
    send(r, 150, 400);
    ack(r, 0);
    send(r, 0, 100);
    r.peer.out('. 1:1(0) ack 202');
    expect(state(r)).to.equal(8);
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(200));
  });

  it('a second FIN behind the first is none', () => {
    const r = rig();
    send(r, 0, 100, 'F.');
    r.host.advance(40);
    r.peer.out('. 1:1(0) ack 102');
    r.peer.in('F. 92:102(10) ack 1');
    r.peer.out('. 1:1(0) ack 102');
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(100));
    expect(state(r)).to.equal(8);
    r.host.advance(1000);
    r.peer.quiet();
  });

  it('data may still be sent after the peer has closed', () => {
    const r = rig();
    r.peer.in('F. 1:1(0) ack 1');
    r.host.advance(5);
    r.peer.out('. 1:1(0) ack 2');
    r.host.write(r.fd, 'more');
    r.peer.out('P. 1:5(4) ack 2');
    r.peer.in('. 2:2(0) ack 5');
    r.host.close(r.fd);
    r.peer.out('F. 5:5(0) ack 2');
    r.peer.in('. 2:2(0) ack 6');
    expect(r.host.mem.fdsInUse).to.equal(1);
  });
});
