/** Fast Open beyond the packet scripts: counters, limits, migration, and nothing left behind. */
import { expect } from 'chai';
import { ECONNREFUSED, EHOSTUNREACH, EINPROGRESS, EOPNOTSUPP } from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import { setSysctl } from '../../src/net/sysctl.js';
import { ipv4, type MemoryStack, Peer } from '../../src/testing/index.js';
import { join, start, tcbOf } from './migrate-rig.js';

const TCP_FASTOPEN = 23;
const IPPROTO_TCP = 6;
/** Server without cookies. */
const NO_COOKIE = { 'net.ipv4.tcp_fastopen': 0x202 };
const SYN = 'S 0:5(5) <mss 1460>';
const SYNACK = 'S. 0:0(0) ack 6 <...>';

function listener(host: MemoryStack, most = 5): number {
  const fd = join(host);
  expect(host.stack.setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN, most, 0)).to.equal(0);
  return fd;
}

/** A client whose SYN with text has been taken. */
function opened(host: MemoryStack, port = 40_000): Peer {
  const peer = new Peer(host, { port });
  peer.in(SYN, 'hello');
  peer.out(SYNACK);
  return peer;
}

describe('tcp: Fast Open server', () => {
  it('counts those that wait, and forgets them with the third ACK or the end', () => {
    const host = start({ sysctl: NO_COOKIE });
    const fd = listener(host);
    const queue = tcbOf(host, fd).listen!;
    const [a, b, c] = [opened(host, 1), opened(host, 2), opened(host, 3)];
    expect(queue.fastopenLen).to.equal(3);
    expect(host.counter(Mib.TCPFastOpenPassive)).to.equal(3);
    expect(host.counter(Mib.TcpPassiveOpens)).to.equal(3);
    a.in('. 6:6(0) ack 1');
    expect(queue.fastopenLen).to.equal(2);
    b.in('R 6:6(0)');
    expect(queue.fastopenLen).to.equal(1);
    const children = [host.accept(fd), host.accept(fd), host.accept(fd)];
    for (const child of children) expect(host.readText(child)).to.equal('hello');
    c.in('R 6:6(0)');
    // After accept() a RST keeps the place for a minute.
    expect(queue.fastopenLen).to.equal(1);
    expect(queue.fastopenResets).to.have.length(1);
    for (const child of children) host.close(child);
    expect(queue.fastopenLen).to.equal(1);
  });

  it('an ICMP error ends a child that nobody has accepted; for others it is a soft one', () => {
    const host = start({ sysctl: NO_COOKIE });
    const fd = listener(host);
    const [a, b] = [opened(host, 1), opened(host, 2)];
    const [first, second] = [host.accept(fd), host.accept(fd)];
    const c = opened(host, 3);
    const soError = (child: number): number => {
      const out = new Int32Array(1);
      host.stack.getsockopt(child, 1, 4, out);
      return out[0]!;
    };
    a.icmp(3, 1);
    a.in('. 6:6(0) ack 1');
    expect(host.write(first, 'x')).to.equal(1);
    a.out('P. 1:2(1) ack 6');
    host.write(second, new Uint8Array(3000));
    b.out('. 1:1461(1460) ack 6');
    b.icmp(3, 13);
    expect(soError(second)).to.equal(EHOSTUNREACH);
    expect(host.readText(second)).to.equal('hello');
    host.sent.length = 0;
    c.icmp(3, 3);
    const third = host.accept(fd);
    expect(soError(third)).to.equal(ECONNREFUSED);
    expect(tcbOf(host, fd).listen!.fastopenLen).to.equal(1);
    c.in('. 6:6(0) ack 1');
    c.out('R 1:1(0)');
  });

  it('text of a child that a router refuses before the third ACK goes again, smaller', () => {
    const host = start({ sysctl: NO_COOKIE });
    const fd = listener(host);
    const peer = opened(host);
    const child = host.accept(fd);
    host.write(child, new Uint8Array(2000));
    peer.out('. 1:1461(1460) ack 6');
    peer.icmp(3, 4, 1000);
    peer.out('P. 1461:2001(540) ack 6');
    peer.out('. 1:961(960) ack 6');
    peer.out('. 961:1921(960) ack 6');
    peer.out('P. 1921:2001(80) ack 6');
    peer.in('. 6:6(0) ack 2001');
    host.write(child, new Uint8Array(1000));
    peer.out('. 2001:2961(960) ack 6');
  });

  it('over the limit the usual way is gone', () => {
    const host = start({ sysctl: NO_COOKIE });
    listener(host, 1);
    opened(host, 1);
    const peer = new Peer(host, { port: 2 });
    peer.in(SYN, 'hello');
    peer.out('S. 0:0(0) ack 1 <...>');
    expect(host.counter(Mib.TCPFastOpenListenOverflow)).to.equal(1);
  });

  it('a child that waits for its third ACK moves, and is counted there', () => {
    const host = start({ sysctl: NO_COOKIE });
    const first = listener(host);
    const peer = opened(host);
    const second = listener(host);
    host.close(first);
    peer.quiet();
    const queue = tcbOf(host, second).listen!;
    expect(queue.fastopenLen).to.equal(1);
    const child = host.accept(second);
    expect(host.readText(child)).to.equal('hello');
    expect(host.write(child, 'yes')).to.equal(3);
    peer.out('P. 1:4(3) ack 6');
    peer.in('. 6:6(0) ack 4');
    expect(queue.fastopenLen).to.equal(0);
    expect(host.counter(Mib.TCPMigrateReqSuccess)).to.equal(1);
  });

  it('without a descriptor left it falls back to a request', () => {
    const host = start({ sysctl: NO_COOKIE, fds: 64 });
    listener(host);
    while (host.stack.socket(0) >= 0);
    const peer = new Peer(host);
    peer.in(SYN, 'hello');
    peer.out('S. 0:0(0) ack 1 <...>');
    expect(host.counter(Mib.TCPFastOpenPassiveFail)).to.equal(1);
    expect(host.counter(Mib.TCPFastOpenPassive)).to.equal(0);
  });

  it('a child whose SYN-ACKs are not answered times out and leaves nothing', () => {
    const sysctl = { ...NO_COOKIE, 'net.ipv4.tcp_synack_retries': 1 };
    const host = start({ sysctl });
    const fd = listener(host);
    const peer = opened(host);
    const child = host.accept(fd);
    host.advance(1000);
    peer.out(SYNACK);
    host.advance(2000);
    peer.out(SYNACK);
    host.advance(4000);
    peer.quiet();
    expect(tcbOf(host, fd).listen!.fastopenLen).to.equal(0);
    expect(host.counter(Mib.TCPAbortOnTimeout)).to.equal(1);
    host.close(child);
    host.close(fd);
    expect(host.stack.mem.fdsInUse).to.equal(0);
  });
});

describe('tcp: Fast Open client', () => {
  const server = ipv4('198.18.0.254');

  it('is refused while its side is off', () => {
    const host = start({ sysctl: { 'net.ipv4.tcp_fastopen': 2 } });
    const fd = host.stack.socket(0);
    expect(host.stack.connect(fd, server, 80, true)).to.equal(-EOPNOTSUPP);
  });

  it('a SYN that waits for text is not sent, and close() leaves nothing of it', () => {
    const host = start({ sysctl: { 'net.ipv4.tcp_fastopen': 5 } });
    const fd = host.stack.socket(0);
    expect(host.stack.connect(fd, server, 80, true)).to.equal(0);
    expect(host.stack.connect(fd, server, 80, true)).to.equal(0);
    host.advance(10_000);
    expect(host.sent).to.have.length(0);
    expect(host.counter(Mib.TcpActiveOpens)).to.equal(0);
    host.close(fd);
    expect(host.stack.mem.fdsInUse).to.equal(0);
  });

  /** Text without a cookie in a SYN that has crossed the peer's: nobody knows whether it came. */
  function crossed(): { host: MemoryStack; fd: number; peer: Peer } {
    const host = start({ sysctl: { 'net.ipv4.tcp_fastopen': 5 } });
    const fd = host.stack.socket(0);
    expect(host.stack.connect(fd, server, 80, true)).to.equal(0);
    host.write(fd, 'hello');
    const peer = new Peer(host, { port: 80, localPort: tcbOf(host, fd).num });
    peer.out('S 0:5(5) <...>');
    peer.in('S 0:0(0) <mss 1460>');
    peer.out('S. 0:0(0) ack 1 <...>');
    return { host, fd, peer };
  }

  const crossings: [string, string, string][] = [
    ['a SYN-ACK without it', 'S. 0:0(0) ack 1 <mss 1460>', 'P. 1:6(5) ack 1'],
    ['an ACK without it', '. 1:1(0) ack 1', 'P. 1:6(5) ack 1'],
  ];
  for (const [name, answer, again] of crossings) {
    it(`text in a SYN that crosses the peer's goes again after ${name}`, () => {
      const { host, fd, peer } = crossed();
      peer.in(answer);
      peer.out(again);
      expect(host.counter(Mib.TCPFastOpenActiveFail)).to.equal(1);
      peer.in('. 1:1(0) ack 6');
      host.advance(1_000_000);
      peer.quiet();
      host.close(fd);
      peer.out('F. 6:6(0) ack 1');
    });
  }

  it('text in a SYN that crosses goes again with the FIN of a close() before the answer', () => {
    const { host, fd, peer } = crossed();
    host.close(fd);
    peer.out('FP. 1:6(5) ack 1');
    peer.in('S. 0:0(0) ack 1 <mss 1460>');
    host.sent.length = 0;
    peer.in('F. 1:1(0) ack 7');
    peer.out('. 7:7(0) ack 2');
    host.advance(1_000_000);
    expect(host.stack.mem.fdsInUse).to.equal(0);
  });

  it('a peer that has taken a part of it when the SYNs crossed gets the rest', () => {
    const { peer } = crossed();
    peer.in('. 1:1(0) ack 3');
    peer.out('P. 3:6(3) ack 1');
  });

  it('a peer that has taken it when the SYNs crossed does not get it again', () => {
    const { host, fd, peer } = crossed();
    peer.in('S. 0:0(0) ack 6 <mss 1460>');
    peer.out('. 6:6(0) ack 1');
    host.advance(1_000_000);
    peer.quiet();
    expect(host.counter(Mib.TCPFastOpenActive)).to.equal(1);
    host.close(fd);
    peer.out('F. 6:6(0) ack 1');
  });

  /** A SYN with 1200 bytes has left. */
  function sentWithText(bytes = 1200): { host: MemoryStack; fd: number; peer: Peer } {
    const host = start({ sysctl: { 'net.ipv4.tcp_fastopen': 5 } });
    const fd = host.stack.socket(0);
    expect(host.stack.connect(fd, server, 80, true)).to.equal(0);
    host.write(fd, new Uint8Array(bytes));
    const peer = new Peer(host, { port: 80, localPort: tcbOf(host, fd).num });
    peer.out(`S 0:${bytes}(${bytes}) <...>`);
    return { host, fd, peer };
  }

  it('a SYN whose text a router refuses goes again at once, without', () => {
    const { host, fd, peer } = sentWithText();
    host.advance(100);
    peer.icmp(3, 4, 1000);
    peer.out('S 0:0(0) <...>');
    expect(host.counter(Mib.TCPSynRetrans)).to.equal(1);
    peer.icmp(3, 4, 1000);
    host.advance(999);
    peer.quiet();
    host.advance(1);
    peer.out('S 0:0(0) <...>');
    peer.in('S. 0:0(0) ack 1 <mss 1460>');
    peer.out('. 1:961(960) ack 1');
    peer.out('P. 961:1201(240) ack 1');
    expect(host.counter(Mib.TcpRetransSegs)).to.equal(4);
    expect(host.counter(Mib.TCPOrigDataSent)).to.equal(1);
    // It cannot be told which of the SYNs was answered.
    expect(tcbOf(host, fd).srttUs).to.equal(0);
  });

  it('one that has no text waits for its time-out', () => {
    const host = start({ sysctl: { 'net.ipv4.tcp_fastopen': 1 } });
    const fd = host.stack.socket(0);
    expect(host.stack.connect(fd, server, 80, true)).to.equal(-EINPROGRESS);
    const peer = new Peer(host, { port: 80, localPort: tcbOf(host, fd).num });
    host.advance(0);
    const syn = host.sent[0]!;
    peer.icmp(3, 4, 1000, syn);
    expect(host.sent).to.deep.equal([syn]);
    expect(tcbOf(host, fd).pmtu).to.equal(1000);
  });

  it('text that goes again does not hold back what is written next', () => {
    const { host, fd, peer } = sentWithText(5);
    peer.in('S. 0:0(0) ack 1 <mss 1460>');
    peer.out('P. 1:6(5) ack 1');
    host.write(fd, 'abc');
    peer.out('P. 6:9(3) ack 1');
    host.write(fd, 'd');
    peer.quiet();
    peer.in('. 1:1(0) ack 9');
    peer.out('P. 9:10(1) ack 1');
  });

  it('a FIN in the SYN-ACK is the end of the stream', () => {
    const { host, fd, peer } = sentWithText(5);
    peer.in('SF. 0:2(2) ack 6', 'hi');
    peer.quiet();
    expect(host.readText(fd)).to.equal('hi');
    expect(tcbOf(host, fd).state).to.equal(8);
    host.advance(200);
    peer.out('. 6:6(0) ack 4');
    peer.in('P. 3:6(3) ack 6', 'abc');
    peer.out('R 6:6(0)');
    expect(host.counter(Mib.TCPAbortOnData)).to.equal(1);
  });

  it('remembers a bounded number of peers', () => {
    const host = start({ sysctl: { 'net.ipv4.tcp_fastopen': 1 } });
    const { tcp } = host.stack;
    const fd = host.stack.socket(0);
    expect(host.stack.connect(fd, server, 80, true)).to.equal(-EINPROGRESS);
    for (let i = 0; i < 1024; i++) {
      const known = { mss: 1000, cookie: null, exp: false, tryExp: 0 };
      tcp.fastopenCache!.peers.set(`${i}`, known);
    }
    host.poll();
    const peer = new Peer(host, { port: 80, localPort: tcbOf(host, fd).num });
    const syn = host.sent.shift()!;
    peer.localIsn = new DataView(syn.buffer).getUint32(24);
    peer.in('S. 0:0(0) ack 1 <mss 1000>');
    peer.out('. 1:1(0) ack 1');
    expect(tcp.fastopenCache!.peers.size).to.equal(1024);
    expect(tcp.fastopenCache!.peers.has('0')).to.equal(false);
  });
});

describe('net.ipv4.tcp_fastopen_key', () => {
  it('takes one key or two, and nothing else', () => {
    const { sysctl } = start().stack.net;
    const name = 'net.ipv4.tcp_fastopen_key';
    for (const bad of ['', '1-2-3', '1-2-3-4-5', '1-2-3-x', '1-2-3-123456789', '1-2-3-4,5']) {
      expect(setSysctl(sysctl, name, bad), bad).to.match(/is not like/);
    }
    expect(setSysctl(sysctl, name, 'a-b-c-d,ffffffff-0-0-1')).to.equal(null);
    expect([...sysctl.tcpFastopenKey]).to.deep.equal([10, 11, 12, 13, -1, 0, 0, 1]);
  });
});
