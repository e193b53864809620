/** Reading a segment: headers that do not fit, options of every kind and of no kind. */
import { expect } from 'chai';
import { Mib } from '../../src/net/mib.js';
import { encodePacket, internetChecksum, type MemoryStack, Peer } from '../../src/testing/index.js';
import { conversation, established, moved, synReceived } from './state-table.js';

/** A SYN with these option bytes, which need not make sense; checksums are right. */
function synWithOptions(host: MemoryStack, port: number, options: number[]): Uint8Array {
  const peer = new Peer(host, { port });
  const base = peer.bytes('S 0:0(0) win 1000');
  while (options.length % 4 !== 0) options.push(0);
  return withHeader(base, 20 + options.length, options);
}

/** The packet with `extra` bytes behind its TCP header and a data offset of `headerBytes`. */
function withHeader(packet: Uint8Array, headerBytes: number, extra: number[]): Uint8Array {
  const bytes = new Uint8Array(packet.length + extra.length);
  bytes.set(packet);
  bytes.set(extra, 40);
  bytes[32] = (headerBytes / 4) << 4;
  const view = new DataView(bytes.buffer);
  view.setUint16(2, bytes.length);
  view.setUint16(10, 0);
  view.setUint16(10, internetChecksum(bytes.subarray(0, 20)));
  view.setUint16(36, 0);
  let pseudo = 6 + bytes.length - 20;
  for (let at = 12; at < 20; at += 2) pseudo += view.getUint16(at);
  view.setUint16(36, internetChecksum(bytes.subarray(20), pseudo));
  return bytes;
}

describe('tcp: a header that does not fit', () => {
  it('is counted and dropped', () => {
    const { host, peer } = conversation();
    host.listen(80);
    const whole = peer.bytes('S 0:0(0)');
    const bad = [withHeader(whole, 16, []), withHeader(whole, 24, []), withHeader(whole, 60, [])];
    const short = withHeader(whole, 20, []).slice(0, 39);
    new DataView(short.buffer).setUint16(2, 39);
    short[10] = short[11] = 0;
    new DataView(short.buffer).setUint16(10, internetChecksum(short.subarray(0, 20)));
    bad.push(short);
    for (const packet of bad) host.inject(packet);
    peer.quiet();
    expect(host.counter(Mib.TcpInSegs)).to.equal(4);
    expect(host.counter(Mib.TcpInErrs)).to.equal(4);
    expect(host.counter(Mib.TcpInCsumErrors)).to.equal(0);
    host.inject(whole);
    peer.out('S. 0:0(0) ack 1');
  });

  // RFC 9293 MUST-3.
  it('a wrong checksum is counted and never answered', () => {
    const { host, peer } = conversation();
    for (const text of ['S 0:0(0)', '. 0:0(0) ack 5', 'P. 0:5(5) ack 5']) {
      const packet = peer.bytes(text);
      packet[37] = packet[37]! ^ 1;
      host.inject(packet);
    }
    peer.quiet();
    expect(host.counter(Mib.TcpInErrs)).to.equal(3);
    expect(host.counter(Mib.TcpInCsumErrors)).to.equal(3);
    expect(host.counter(Mib.TcpOutRsts)).to.equal(0);
  });

  it('a checksum that the link vouches for is not looked at', () => {
    const { host, peer } = conversation();
    const packet = peer.bytes('. 0:0(0) ack 5');
    packet[37] = packet[37]! ^ 1;
    const skb = host.stack.net.inputSkbs.alloc()!;
    skb.bytes.set(packet, skb.start);
    skb.end = skb.start + packet.length;
    skb.ipSummed = 1;
    host.stack.input(skb);
    host.stack.net.inputSkbs.release(skb);
    peer.out('R 5:5(0)');
  });
});

// RFC 9293 MUST-4, MUST-6, MUST-7, MUST-64.
describe('tcp: options of a SYN', () => {
  /** Option bytes, and the options that the SYN-ACK then carries. */
  const rows: [string, number[], string][] = [
    ['none', [], '<mss 1460>'],
    ['end of list stops', [0, 4, 2], '<mss 1460>'],
    ['no-operation skips', [1, 1, 4, 2], '<mss 1460,nop,nop,sackOK>'],
    ['unknown is skipped by its length', [99, 5, 4, 2, 0, 4, 2], '<mss 1460,nop,nop,sackOK>'],
    ['a length of 0 stops', [99, 0, 4, 2], '<mss 1460>'],
    ['a length of 1 stops', [99, 1, 4, 2], '<mss 1460>'],
    ['a length beyond the header stops', [4, 2, 99, 9], '<mss 1460,nop,nop,sackOK>'],
    ['a kind without a length stops', [1, 1, 1, 99], '<mss 1460>'],
    ['SACK-permitted of a wrong size is ignored', [4, 3, 0, 1], '<mss 1460>'],
    ['window scale of a wrong size is ignored', [3, 2, 1, 1], '<mss 1460>'],
    ['window scale', [3, 3, 9, 1], '<mss 1460,nop,wscale 10>'],
    ['timestamps of a wrong size are ignored', [8, 6, 0, 0, 0, 1, 1, 1], '<mss 1460>'],
    ['SACK blocks mean nothing', [5, 10, 0, 0, 0, 1, 0, 0, 0, 2], '<mss 1460>'],
    ['half a SACK block', [5, 6, 0, 0, 0, 1], '<mss 1460>'],
    ['an empty SACK option', [5, 2, 4, 2], '<mss 1460,nop,nop,sackOK>'],
  ];
  for (const [name, options, answer] of rows) {
    it(name, () => {
      const { host, peer } = conversation();
      host.listen(80);
      host.inject(synWithOptions(host, peer.port, options));
      peer.out(`S. 0:0(0) ack 1 ${answer}`);
    });
  }

  for (const [name, options, mss] of [
    ['MSS', [2, 4, 2, 0], 512],
    ['MSS of a wrong size', [2, 3, 2, 1], 536],
    ['MSS 0', [2, 4, 0, 0], 536],
    ['the last of two counts', [2, 4, 2, 0, 2, 4, 2, 1], 513],
  ] as const) {
    it(`${name} gives segments of ${mss}`, () => {
      const { host, peer } = conversation();
      host.listen(80);
      host.inject(synWithOptions(host, peer.port, [...options]));
      peer.out('S. 0:0(0) ack 1');
      peer.in('. 1:1(0) ack 1');
      expect(host.stack.sock(4)!.sndMss).to.equal(mss);
    });
  }

  // RFC 9293 MUST-5, MUST-65.
  it('MSS, window scale and SACK-permitted mean nothing without SYN', () => {
    const c = conversation();
    established(c);
    const tcb = c.host.stack.sock(c.fd)!;
    c.peer.in('P. 1:2(1) ack 1 <mss 100,nop,wscale 5,nop,nop,sackOK>');
    c.peer.out('. 1:1(0) ack 2');
    expect(tcb).to.include({ sndMss: 1460, sndWscale: 0, sackOk: false });
  });
});

describe('tcp: buffers run out', () => {
  it('what cannot be sent is not sent, and nothing breaks', () => {
    const c = conversation();
    synReceived(c);
    const { host, peer } = c;
    const taken = [];
    for (;;) {
      const skb = host.stack.net.outputSkbs.alloc();
      if (skb === null) break;
      taken.push(skb);
    }
    peer.in('P. 70000:70001(1) ack 1');
    peer.in('. 1:1(0) ack 7');
    new Peer(host, { port: 41_000 }).in('S 0:0(0)');
    const fd = host.stack.socket(0);
    host.stack.connect(fd, peer.address, 5);
    host.poll();
    peer.quiet();
    for (const skb of taken) host.stack.net.outputSkbs.release(skb);
    host.advance(1000);
    expect(host.sent.length, 'SYN-ACKs and SYN again').to.equal(3);
  });

  it('the established table is full: a SYN is dropped', () => {
    const { host } = conversation({ fds: 5, sysctl: { 'net.ipv4.tcp_max_tw_buckets': 0 } });
    host.listen(80, 100);
    const before = Float64Array.from(host.stack.net.mib);
    for (let port = 1; port <= 12; port++) {
      host.inject(encodePacket({ ...synOf(host), sport: port }));
    }
    expect(host.sent).to.have.length(10);
    expect(moved(host, before)).to.deep.equal(['ListenDrops+2']);
  });

  const synOf = (host: MemoryStack) => ({
    source: 0xc612_00fe,
    destination: host.address >>> 0,
    sport: 1,
    dport: 80,
    seq: 1,
    ack: 0,
    flags: 'S',
    window: 1000,
    urgent: 0,
    options: [],
    payload: new Uint8Array(0),
    ttl: 64,
    tos: 0,
    id: 0,
    df: false,
  });
});
