/** Requirements of RFC 9293 that no other table shows, each with its number. */
import { expect } from 'chai';
import { EADDRINUSE, EINPROGRESS } from '../../src/net/errno.js';
import { internetChecksum, ipv4, MemoryStack, Peer } from '../../src/testing/index.js';
import { conversation, established, fullEstablished, stateOf } from './state-table.js';

const SO_REUSEADDR = 2;

/** Where the options of an IPv4/TCP packet without IP options begin. */
const OPTIONS_AT = 40;
const EIGHT_NOPS = '<nop,nop,nop,nop,nop,nop,nop,nop>';

/** A host with two addresses, as a server with two names has. */
function twoAddresses(): MemoryStack {
  const links = [{ name: 'd0', addresses: ['198.18.0.1/24', '198.18.0.2/24'] }];
  return new MemoryStack({ links, fds: 64, arenaBytes: 2 << 20 });
}

describe('tcp: RFC 9293, header and options', () => {
  it('MUST-1, REC-1: a window field above 32767 is a large window, and is scaled', () => {
    const c = conversation();
    established(c);
    expect(c.host.stack.sock(c.fd)!.sndWnd).to.equal(65_535);
    const scaled = conversation();
    fullEstablished(scaled);
    scaled.peer.in('. 1:1(0) ack 1 win 65535 <nop,nop,TS val 1000002 ecr 1000>');
    expect(scaled.host.stack.sock(scaled.fd)!.sndWnd).to.equal(65_535 << 7);
  });

  it('MUST-2: SYN-ACK, ACK, text, FIN and RST all leave with a right checksum', () => {
    const c = conversation();
    const sums: number[] = [];
    /** The sum over a TCP segment and its pseudo-header, which must come to 0. */
    const sum = (packet: Uint8Array): void => {
      const view = new DataView(packet.buffer, packet.byteOffset, packet.byteLength);
      let pseudo = 6 + packet.length - 20;
      for (let at = 12; at < 20; at += 2) pseudo += view.getUint16(at);
      sums.push(internetChecksum(packet.subarray(20), pseudo));
    };
    c.listener = c.host.listen(80, 8);
    c.peer.in('S 0:0(0) <mss 1460>');
    c.peer.out('S. 0:0(0) ack 1');
    sum(c.peer.lastBytes);
    c.peer.in('P. 1:4(3) ack 1');
    c.peer.out('. 1:1(0) ack 4');
    sum(c.peer.lastBytes);
    const fd = c.host.accept(c.listener);
    c.host.readText(fd);
    c.host.write(fd, 'odd');
    c.peer.out('P. 1:4(3) ack 4');
    sum(c.peer.lastBytes);
    c.host.close(fd);
    c.peer.out('F. 4:4(0) ack 4');
    sum(c.peer.lastBytes);
    c.peer.in('P. 4:5(1) ack 5');
    c.peer.out('R 5:5(0)');
    sum(c.peer.lastBytes);
    expect(sums).to.deep.equal([0, 0, 0, 0, 0]);
  });

  /** Eight option bytes whose sum is that of eight no-operations: the checksum stays right. */
  const strange: [what: string, bytes: number[]][] = [
    ['unknown', [0x63, 8, 0, 0, 0, 0, 0xa0, 0xfb]],
    ['unknown and not aligned', [1, 0x63, 7, 0, 0, 0, 0xfb, 0xa0]],
    ['of length 0', [1, 0x63, 0, 0, 0, 0, 2, 0xa1]],
  ];
  for (const [what, bytes] of strange) {
    it(`MUST-5, MUST-6, MUST-7, MUST-64: text behind an option ${what} is taken`, () => {
      const c = conversation();
      established(c);
      const packet = c.peer.bytes(`P. 1:4(3) ack 1 ${EIGHT_NOPS}`, 'abc');
      packet.set(bytes, OPTIONS_AT);
      c.host.inject(packet);
      c.peer.out('. 1:1(0) ack 4');
      expect(c.host.readText(c.fd)).to.equal('abc');
    });
  }

  it('MUST-65, MUST-69: no segment but the SYN has an MSS, and none an end of list', () => {
    const c = conversation();
    fullEstablished(c);
    c.host.write(c.fd, 'x');
    c.peer.out('P. 1:2(1) ack 1');
    const kinds = c.peer.last!.options.map(({ kind }) => kind);
    expect(kinds).to.deep.equal(['nop', 'nop', 'TS']);
  });
});

describe('tcp: RFC 9293, opening', () => {
  it('MUST-42: the port of an active open may be listened on meanwhile', () => {
    const { host, peer } = conversation();
    const { stack } = host;
    const [active, passive, strict] = [stack.socket(0), stack.socket(0), stack.socket(0)];
    for (const fd of [active, passive]) stack.setsockopt(fd, 1, SO_REUSEADDR, 1, 0);
    expect(stack.bind(active, host.address, 80)).to.equal(0);
    expect(stack.connect(active, peer.address, peer.port)).to.equal(-EINPROGRESS);
    host.poll();
    peer.out('S 0:0(0)  <...>');
    expect(stack.bind(strict, host.address, 80), 'not who does not want it').to.equal(-EADDRINUSE);
    expect(stack.bind(passive, host.address, 80)).to.equal(0);
    expect(stack.listen(passive, 1)).to.equal(0);
    // MUST-41: the open that is under way has not noticed.
    peer.in('S. 0:0(0) ack 1 <mss 1460>');
    peer.out('. 1:1(0) ack 1');
    expect(stateOf(host, peer)).to.equal('ESTAB');
    const other = new Peer(host, { port: 41_000 });
    other.in('S 0:0(0) <mss 1460>');
    other.out('S. 0:0(0) ack 1');
    expect(stateOf(host, other)).to.equal('SYN-RECV');
  });

  it('MUST-43, MUST-44: an active open comes from the address bound, else from the first', () => {
    const host = twoAddresses();
    const sources = ['198.18.0.2', null].map((address) => {
      const fd = host.stack.socket(0);
      if (address !== null) expect(host.stack.bind(fd, ipv4(address), 0)).to.equal(0);
      expect(host.stack.connect(fd, ipv4('198.18.0.254'), 80)).to.equal(-EINPROGRESS);
      host.poll();
      const syn = host.sent.shift()!;
      return [...syn.subarray(12, 16)].join('.');
    });
    expect(sources).to.deep.equal(['198.18.0.2', '198.18.0.1']);
  });

  it('MUST-45: all segments of a connection come from the address that its SYN went to', () => {
    for (const localAddress of ['198.18.0.1', '198.18.0.2']) {
      const host = twoAddresses();
      const listener = host.listen(80);
      const peer = new Peer(host, { localAddress });
      const froms: number[] = [];
      const out = (text: string): void => void froms.push(peer.out(text).source | 0);
      peer.in('S 0:0(0) <mss 1460>');
      out('S. 0:0(0) ack 1');
      peer.in('P. 1:4(3) ack 1');
      out('. 1:1(0) ack 4');
      const fd = host.accept(listener);
      host.write(fd, 'abc');
      out('P. 1:4(3) ack 4');
      host.readText(fd);
      host.close(fd);
      out('F. 4:4(0) ack 4');
      peer.in('F. 4:4(0) ack 5');
      out('. 5:5(0) ack 5');
      expect(froms).to.deep.equal(Array(5).fill(ipv4(localAddress)));
    }
  });
});

describe('tcp: RFC 9293, while data flows', () => {
  it('MUST-58, MUST-59: five segments of one batch have one ACK', () => {
    const c = conversation();
    established(c);
    for (let at = 1; at < 6; at++) c.peer.queue(`P. ${at}:${at + 1}(1) ack 1`);
    c.host.poll();
    c.peer.out('. 1:1(0) ack 6');
    c.peer.quiet();
  });

  it('SHLD-21, SHLD-22: a new IP_TOS is on the next segment, but for the ECN bits', () => {
    const c = conversation();
    established(c);
    const tos: number[] = [];
    for (const value of [0, 0x28, 0xbb, 0]) {
      expect(c.host.stack.setsockopt(c.fd, 0, 1, value, 0)).to.equal(0);
      c.host.write(c.fd, 'x');
      const at = 1 + tos.length;
      tos.push(c.peer.out(`P. ${at}:${at + 1}(1) ack 1`).tos);
      c.peer.in(`. 1:1(0) ack ${at + 1}`);
    }
    expect(tos).to.deep.equal([0, 0x28, 0xb8, 0]);
  });
});
