/**
 * Super-packets: what a link with segmentation offload is given, and what it gives us (merged
 * segments).
 */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import type { Skb } from '../../src/net/skb.js';
import { pattern, type Rig, readAll, rig } from './rig.js';

interface Seen {
  gsoSize: number;
  frags: number;
}

/** A rig that also tells gsoSize and fragments of each packet. */
function gso(options: Parameters<typeof rig>[0] = {}): { r: Rig; seen: Seen[] } {
  const seen: Seen[] = [];
  const trace = {
    packet(direction: 'in' | 'out', skb: Skb): void {
      if (direction === 'in') return;
      const frags = (skb.frag0Bytes > 0 ? 1 : 0) + (skb.frag1Bytes > 0 ? 1 : 0);
      seen.push({ gsoSize: skb.gsoSize, frags });
    },
  };
  const r = rig({ gsoMaxBytes: 65_535, trace, ...options });
  seen.length = 0;
  return { r, seen };
}

/** Folded, not complemented sum of the pseudo header, from the packet's own addresses. */
function pseudo(bytes: Uint8Array): number {
  const view = new DataView(bytes.buffer);
  let sum = 6 + bytes.length - 20;
  for (let at = 12; at < 20; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return sum;
}

describe('tcp: super-packets out', () => {
  it('half of cwnd in one piece of whole segments, with PSH, checksum left to the link', () => {
    const { r, seen } = gso();
    r.host.write(r.fd, pattern(20_000));
    const bytes = r.host.sent[0]!;
    expect(new DataView(bytes.buffer).getUint16(36)).to.equal(pseudo(bytes));
    const packet = r.peer.out('P. 1:7301(7300) ack 1');
    expect(packet.payload).to.deep.equal(pattern(7300));
    r.peer.out('P. 7301:14601(7300) ack 1');
    const whole = { gsoSize: 1460, frags: 1 };
    expect(seen).to.deep.equal([whole, whole]);
    r.peer.quiet();
    r.peer.in('. 1:1(0) ack 14601');
    r.peer.out('P. 14601:20001(5400) ack 1');
    expect(seen[2]!.gsoSize).to.equal(1460);
    expect(r.host.counter(Mib.TCPOrigDataSent)).to.equal(14);
    // SYN-ACK, ten, four.
    expect(r.host.counter(Mib.TcpOutSegs)).to.equal(15);
  });

  it('counts segments of text alone, whatever options come before it', () => {
    for (const gsoMaxBytes of [0, 65_535]) {
      const options = { syn: '<mss 1460,nop,nop,TS val 1 ecr 0>', ack: '<nop,nop,TS val 1 ecr 0>' };
      const { r } = gso({ gsoMaxBytes, ...options });
      r.host.write(r.fd, pattern(5 * 1448));
      expect(r.host.counter(Mib.TCPOrigDataSent)).to.equal(5);
      expect(r.host.counter(Mib.TcpOutSegs), 'with the SYN-ACK').to.equal(6);
    }
  });

  it('a short tail waits for Nagle while a small segment is under way', () => {
    const { r, seen } = gso();
    r.host.write(r.fd, 'a');
    r.peer.out('P. 1:2(1) ack 1');
    r.host.write(r.fd, pattern(3000));
    r.peer.out('P. 2:2922(2920) ack 1');
    r.peer.quiet();
    r.peer.in('. 1:1(0) ack 2');
    r.peer.out('P. 2922:3002(80) ack 1');
    expect(seen.map(({ gsoSize }) => gsoSize)).to.deep.equal([0, 1460, 0]);
  });

  it('FIN and PSH are on the last piece', () => {
    const { r, seen } = gso();
    r.host.write(r.fd, 'x');
    r.peer.out('P. 1:2(1) ack 1');
    r.peer.in('. 1:1(0) ack 2 win 0');
    r.host.write(r.fd, pattern(5000));
    r.host.shutdown(r.fd, 1);
    r.peer.in('. 1:1(0) ack 2 win 65535');
    r.peer.out('FP. 2:5002(5000) ack 1');
    expect(seen[1]!.gsoSize).to.equal(1460);
  });

  it('never larger than an IPv4 packet, and whole segments', () => {
    const { r } = gso({ syn: '<mss 1460,nop,wscale 7>' });
    r.tcb.cwnd = 1000;
    r.host.write(r.fd, pattern(65_536));
    const first = r.peer.out('P. 1:64241(64240) ack 1');
    expect(first.payload.length % 1460).to.equal(0);
    r.peer.out('P. 64241:65537(1296) ack 1');
  });

  it('a smaller limit of the link is kept', () => {
    const { r } = gso({ gsoMaxBytes: 5000 });
    r.host.write(r.fd, pattern(6000));
    r.peer.out('P. 1:4381(4380) ack 1');
    r.peer.out('P. 4381:6001(1620) ack 1');
  });

  it('a ring that wraps gives two fragments', () => {
    const { r, seen } = gso({ syn: '<mss 1460,nop,wscale 7>' });
    r.tcb.cwnd = 1000;
    let at = 0;
    for (let i = 0; i < 20; i++) {
      r.host.write(r.fd, pattern(20_000, at % 251));
      const packet = r.peer.out(`P. ${at + 1}:${at + 20_001}(20000) ack 1`);
      expect(packet.payload).to.deep.equal(pattern(20_000, at % 251));
      at += 20_000;
      r.peer.in(`. 1:1(0) ack ${at + 1}`);
    }
    expect(seen.filter(({ frags }) => frags === 2).length).to.be.within(4, 8);
  });

  it('segments cut to half of a small window are no super-packets', () => {
    const { r, seen } = gso({ win: 1000 });
    r.host.write(r.fd, pattern(3000));
    r.peer.out('. 1:501(500) ack 1');
    r.peer.out('P. 501:1001(500) ack 1');
    r.peer.quiet();
    expect(seen.map(({ gsoSize }) => gsoSize)).to.deep.equal([0, 0]);
  });

  it('retransmissions are super-packets too', () => {
    const { r } = gso({ syn: '<mss 1460,nop,nop,sackOK>' });
    r.host.write(r.fd, pattern(14_600));
    r.peer.out('P. 1:7301(7300) ack 1');
    r.peer.out('P. 7301:14601(7300) ack 1');
    r.peer.in('. 1:1(0) ack 1 <nop,nop,sack 7301:14601>');
    // Five segments were delivered, and as many may go: nothing is in flight.
    r.peer.out('P. 1:7301(7300) ack 1');
    r.peer.in('. 1:1(0) ack 14601');
    r.host.advance(5000);
    r.peer.quiet();
  });
});

describe('tcp: merged segments in', () => {
  it('count as the segments that they were made of, and are acknowledged at once', () => {
    const r = rig();
    const { net } = r.host.stack;
    const before = r.host.counter(Mib.TcpInSegs);
    const skb = net.inputSkbs.alloc()!;
    const bytes = r.peer.bytes('P. 1:10001(10000) ack 1', pattern(10_000));
    skb.bytes.set(bytes, skb.start);
    skb.end = skb.start + bytes.length;
    skb.gsoSize = 1460;
    r.host.stack.input(skb);
    net.inputSkbs.release(skb);
    r.host.poll();
    r.peer.out('. 1:1(0) ack 10001');
    expect(r.host.counter(Mib.TcpInSegs) - before).to.equal(7);
    expect(r.tcb.rcvMss).to.equal(1460);
    expect(readAll(r.host, r.fd)).to.deep.equal(pattern(10_000));
  });
});
