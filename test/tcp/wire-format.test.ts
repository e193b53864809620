/** Header fields and options of each kind of segment that the stack makes. */
import { expect } from 'chai';
import type { Profile } from '../../src/net/sysctl.js';
import { Peer, type TcpPacket } from '../../src/testing/index.js';
import {
  closed,
  conversation,
  established,
  FULL_SYN,
  fullEstablished,
  fullSynReceived,
  synReceived,
  ts,
} from './state-table.js';

const header = ({ id, df, ttl, tos }: TcpPacket) => ({ id, df, ttl, tos });
const STATELESS = { id: 0, df: true, ttl: 64, tos: 0 };

// RFC 9293 MUST-14, SHLD-5, MAY-3.
describe('tcp: SYN-ACK', () => {
  const rows: [string, string, string][] = [
    ['<mss 1460>', '<mss 1460>', '64240'],
    ['', '<mss 1460>', '64240'],
    ['<mss 1460,nop,nop,sackOK>', '<mss 1460,nop,nop,sackOK>', '64240'],
    ['<nop,nop,TS val 5 ecr 0>', '<mss 1460,nop,nop,TS val 1000 ecr 5>', '65160'],
    ['<sackOK,TS val 5 ecr 0>', '<mss 1460,sackOK,TS val 1000 ecr 5>', '65160'],
    ['<nop,wscale 3>', '<mss 1460,nop,wscale 10>', '64240'],
    [
      '<mss 1400,sackOK,TS val 5 ecr 0,nop,wscale 14>',
      '<mss 1460,sackOK,TS val 1000 ecr 5,nop,wscale 10>',
      '65160',
    ],
  ];
  for (const [offered, answered, window] of rows) {
    it(`answers ${offered || 'no options'} with ${answered}`, () => {
      const { host, peer } = conversation();
      host.listen(80);
      peer.in(`S 0:0(0) win 1000 ${offered}`);
      const packet = peer.out(`S. 0:0(0) ack 1 win ${window} ${answered}`);
      expect(header(packet)).to.deep.equal(STATELESS);
    });
  }

  it('offers a window scale of 7 in 5.0, and none above 14', () => {
    const profile = '5.0';
    const { host, peer } = conversation({ profile });
    host.listen(80);
    peer.in(FULL_SYN);
    peer.out('S. 0:0(0) ack 1 win 65160 <mss 1460,sackOK,TS val 1000 ecr 1000000,nop,wscale 7>');
    const huge = conversation({ sysctl: { 'net.ipv4.tcp_rmem': '4096 131072 2147483647' } });
    huge.host.listen(80);
    huge.peer.in('S 0:0(0) <nop,wscale 15>');
    huge.peer.out('S. 0:0(0) ack 1 win 64240 <mss 1460,nop,wscale 14>');
    huge.peer.in('. 1:1(0) ack 1 win 2');
    expect(huge.host.stack.sock(4)!.sndWnd, 'a scale of 15 is used as 14').to.equal(2 << 14);
  });

  // RFC 9293 MUST-67.
  it('offers what the knobs and the MTU allow', () => {
    const off = (name: string) => ({ sysctl: { [`net.ipv4.${name}`]: 0 } });
    const rows: [object, string][] = [
      [off('tcp_timestamps'), 'win 64240 <mss 1460,nop,nop,sackOK,nop,wscale 10>'],
      [off('tcp_sack'), 'win 65160 <mss 1460,nop,nop,TS val 1000 ecr 1000000,nop,wscale 10>'],
      [off('tcp_window_scaling'), 'win 65160 <mss 1460,sackOK,TS val 1000 ecr 1000000>'],
      [{ mtu: 576 }, 'win 65500 <mss 536,sackOK,TS val 1000 ecr 1000000,nop,wscale 10>'],
      [{ mtu: 9000 }, 'win 62636 <mss 8960,sackOK,TS val 1000 ecr 1000000,nop,wscale 10>'],
    ];
    for (const [options, expected] of rows) {
      const { host, peer } = conversation(options);
      host.listen(80);
      peer.in(FULL_SYN);
      peer.out(`S. 0:0(0) ack 1 ${expected}`);
    }
  });

  // RFC 9293 MUST-48, MUST-49, SHLD-22.
  it("has the listener's TOS, TTL and TCP_MAXSEG, and a new timestamp each time", () => {
    const { host, peer } = conversation();
    const fd = host.listen(80);
    host.stack.setsockopt(fd, 0, 1, 0x28, 0);
    host.stack.setsockopt(fd, 0, 2, 33, 0);
    host.stack.setsockopt(fd, 6, 2, 1000, 0);
    peer.in(FULL_SYN, undefined, { tos: 0x48 });
    const first = peer.out(
      'S. 0:0(0) ack 1 win 65208 <mss 1000,sackOK,TS val 1000 ecr 1000000,nop,wscale 10>',
    );
    expect(header(first)).to.deep.equal({ id: 0, df: true, ttl: 33, tos: 0x28 });
    host.advance(1000);
    peer.out('S. 0:0(0) ack 1 <mss 1000,sackOK,TS val 2000 ecr 1000000,nop,wscale 10>');
    peer.in(`P. 1:2(1) ack 1 ${ts(1_000_001, 2000)}`);
    const ack = peer.out('. 1:1(0) ack 2');
    expect(ack).to.include({ ttl: 33, tos: 0x28 });
    expect(host.stack.sock(host.accept(fd))!.sndMss).to.equal(988);
  });

  it('the peer has a smallest MSS of 48, and 0 is none', () => {
    for (const [mss, used] of [
      [40, 48],
      [48, 48],
      [49, 49],
      [0, 536],
    ]) {
      const { host, peer } = conversation();
      const listener = host.listen(80);
      peer.establish(listener, `<mss ${mss}>`);
      expect(host.stack.sock(4)!.sndMss).to.equal(used);
    }
  });

  // RFC 7323 5.4.
  it('timestamps have a random offset per connection, in 5.0 one per peer', () => {
    const first = (profile: Profile, port: number, ms: number): number => {
      const { host } = conversation({ profile });
      const peer = new Peer(host, { port });
      host.listen(80);
      host.advance(ms);
      peer.in(FULL_SYN);
      peer.out('S. 0:0(0) ack 1 <...>');
      return peer.last!.options.find((option) => option.kind === 'TS')!.val;
    };
    const base = first('6.18', 40_000, 0);
    expect(first('6.18', 40_000, 250), 'a clock of 1 kHz').to.equal(base + 250);
    expect(first('6.18', 40_001, 0)).to.not.equal(base);
    expect(first('5.0', 40_001, 0)).to.equal(first('5.0', 40_000, 0));
  });

  it('timestamps have a random offset, none with tcp_timestamps 2', () => {
    const { host, peer } = conversation({ sysctl: { 'net.ipv4.tcp_timestamps': 2 } });
    host.listen(80);
    peer.in(FULL_SYN);
    const plain = peer.out('S. 0:0(0) ack 1 <...>').options.find((option) => option.kind === 'TS');
    expect(plain).to.include({ val: host.nowUs / 1000 });
    const values = [1, 2].map((seed) => {
      const c = conversation({ seed });
      fullSynReceived(c);
      return c.peer.last!.options.find((option) => option.kind === 'TS')!;
    });
    expect(values[0]).not.to.deep.equal(values[1]);
  });

  // RFC 9293 MUST-8, MUST-9, SHLD-1, RFC 6528 3.
  it('ISNs: unrelated between connections and secrets, +1 per 64 ns for the same one', () => {
    const isn = (seed: number, ms: number): number => {
      const { host, peer } = conversation({ seed });
      host.listen(80);
      host.advance(ms);
      peer.in('S 0:0(0)');
      return peer.out('S. 0:0(0) ack 1').seq;
    };
    expect((isn(1, 8) - isn(1, 0)) | 0).to.equal(125_000);
    expect(Math.abs((isn(1, 0) - isn(2, 0)) | 0)).to.be.greaterThan(1_000_000);
  });
});

describe('tcp: segments of a connection', () => {
  it('count their IP ID up from a random start, with DF', () => {
    const c = conversation();
    established(c);
    const { host, peer, fd } = c;
    peer.in('P. 1:2(1) ack 1');
    const { id } = peer.out('. 1:1(0) ack 2');
    host.write(fd, 'a');
    expect(header(peer.out('P. 1:2(1) ack 2'))).to.deep.equal({
      ...STATELESS,
      id: (id + 1) & 0xffff,
    });
    host.readText(fd);
    host.shutdown(fd, 1);
    expect(peer.out('F. 2:2(0) ack 2').id).to.equal((id + 2) & 0xffff);
  });

  it('always carry timestamps where agreed on, and a scaled window', () => {
    const c = conversation();
    fullEstablished(c);
    const { host, peer, fd } = c;
    host.advance(5);
    peer.in(`P. 1:4(3) ack 1 win 512 ${ts(1_000_006, 1000)}`);
    peer.out('. 1:1(0) ack 4 win 64 <nop,nop,TS val 1005 ecr 1000006>');
    host.readText(fd);
    host.write(fd, 'hello');
    peer.out('P. 1:6(5) ack 4 win 64 <nop,nop,TS val 1005 ecr 1000006>');
    host.close(fd);
    peer.out('F. 6:6(0) ack 4 win 64 <nop,nop,TS val 1005 ecr 1000006>');
  });

  it('a SYN looks like the other segments of its socket', () => {
    const { host, peer } = conversation();
    const fd = host.stack.socket(0);
    host.stack.setsockopt(fd, 0, 1, 0x10, 0);
    host.stack.bind(fd, host.address, 80);
    host.stack.connect(fd, peer.address, peer.port);
    host.poll();
    const syn = peer.out('S 0:0(0) win 64240 <mss 1460,sackOK,TS val 1000 ecr 0,nop,wscale 10>');
    peer.in('S. 0:0(0) ack 1 <mss 1460>');
    const ack = peer.out('. 1:1(0) ack 1');
    expect(header(ack)).to.deep.equal({ id: (syn.id + 1) & 0xffff, df: true, ttl: 64, tos: 0x10 });
    expect(syn).to.include({ df: true, ttl: 64, tos: 0x10 });
  });
});

describe('tcp: segments without a connection', () => {
  it('the RST has ID 0, no options, window 0 and the TOS of what it answers without ECN', () => {
    const { peer } = conversation();
    peer.in('. 5:5(0) ack 7', undefined, { tos: 0x2b });
    expect(header(peer.out('R 7:7(0) ack 0 win 0'))).to.deep.equal({ ...STATELESS, tos: 0x28 });
    expect(peer.last!.options).to.deep.equal([]);
  });

  it('ACKs of a request: TOS of what they answer, timestamps if there are any', () => {
    const c = conversation();
    synReceived(c);
    c.peer.in('P. 70000:70003(3) ack 1', undefined, { tos: 0x2b });
    expect(header(c.peer.out('. 1:1(0) ack 1 win 64240'))).to.deep.equal({
      ...STATELESS,
      tos: 0x28,
    });
    c.peer.in('P. 70000:70003(3) ack 1');
    expect(header(c.peer.out('. 1:1(0) ack 1 win 64240'))).to.deep.equal(STATELESS);
    const full = conversation();
    fullSynReceived(full);
    full.peer.in(`P. 70000:70003(3) ack 1 ${ts(1_000_001, 1000)}`);
    full.peer.out('. 1:1(0) ack 1 win 63 <nop,nop,TS val 1000 ecr 1000000>');
  });

  it('the last ACK of a connection is its own, later ones are TIME-WAITs', () => {
    const c = conversation();
    established(c);
    c.host.stack.setsockopt(c.fd, 0, 2, 40, 0);
    closed(c);
    const { id } = c.peer.last!;
    c.peer.in('F. 1:1(0) ack 2');
    expect(header(c.peer.out('. 2:2(0) ack 2'))).to.deep.equal({
      ...STATELESS,
      id: (id + 1) & 0xffff,
      ttl: 40,
    });
    c.peer.in('F. 1:1(0) ack 2', undefined, { tos: 0x28 });
    expect(header(c.peer.out('. 2:2(0) ack 2'))).to.deep.equal(STATELESS);
  });
});
