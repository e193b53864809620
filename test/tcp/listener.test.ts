/** A listener's two queues: limits, overflow, SYN-ACK timers, closing with connections in them. */
import { expect } from 'chai';
import { EAGAIN, ECONNRESET, EINVAL, ENOTCONN, EPIPE } from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import type { ListenState } from '../../src/tcp/listen-state.js';
import { type MemoryStack, Peer } from '../../src/testing/index.js';
import { conversation, moved, stateOf, synReceived } from './state-table.js';

const SYN = 'S 0:0(0) <mss 1460>';
const SYNACK = 'S. 0:0(0) ack 1 win 64240 <mss 1460>';

/** Peers with ports of their own, all at the same stack. */
function peers(host: MemoryStack, count: number): Peer[] {
  return Array.from({ length: count }, (_, i) => new Peer(host, { port: 40_000 + i }));
}

/** How many of `all` get a SYN-ACK for their SYN. */
function answered(host: MemoryStack, all: Peer[]): Peer[] {
  return all.filter((peer) => {
    peer.in(SYN);
    const got = host.sent.length > 0;
    if (got) peer.out(SYNACK);
    return got;
  });
}

/** A full SYN queue drops, instead of answering by cookies (syncookies.test.ts). */
const NO_COOKIES = { 'net.ipv4.tcp_syncookies': 0 };

const queue = (host: MemoryStack, fd: number): ListenState => host.stack.sock(fd)!.listen!;

describe('tcp: SYN queue', () => {
  for (const [backlog, most] of [
    [0, 1],
    [1, 2],
    [2, 3],
    [4, 5],
  ] as const) {
    it(`backlog ${backlog} admits ${most} requests, in 5.0 ${backlog}`, () => {
      for (const profile of ['6.18', '5.0'] as const) {
        const { host } = conversation({ profile, sysctl: NO_COOKIES });
        const listener = host.listen(80, backlog);
        const admitted = profile === '5.0' ? backlog : most;
        const before = Float64Array.from(host.stack.net.mib);
        expect(answered(host, peers(host, 8)), profile).to.have.length(admitted);
        expect(queue(host, listener)).to.include({ reqs: admitted, young: admitted });
        const refused = 8 - admitted;
        expect(moved(host, before)).to.deep.equal([
          `ListenDrops+${refused}`,
          `TCPReqQFullDrop+${refused}`,
        ]);
      }
    });
  }

  it('listen(-1) asks for what somaxconn allows: 4096, in 5.0 128', () => {
    for (const [profile, most] of [
      ['6.18', 4096],
      ['5.0', 128],
    ] as const) {
      const { host } = conversation({ profile });
      for (const backlog of [-1, 2 ** 31 - 1, most + 1, most]) {
        const fd = host.listen(80, backlog);
        expect(host.stack.sock(fd)!.listen!.backlog).to.equal(most);
        host.close(fd);
      }
    }
  });

  it('a SYN that finds no room in the table of connections is dropped and counted', () => {
    const { host } = conversation();
    host.listen(80, 8);
    const ehash: { maxEntries: number; size: number } = host.stack.tcp.hashinfo.ehash;
    ehash.maxEntries = 1;
    expect(answered(host, peers(host, 3))).to.have.length(1);
    expect([ehash.size, host.counter(Mib.ListenDrops)]).to.deep.equal([1, 2]);
  });

  it('keeps a quarter of tcp_max_syn_backlog free while cookies are off', () => {
    const sysctl = { 'net.ipv4.tcp_syncookies': 0, 'net.ipv4.tcp_max_syn_backlog': 8 };
    const { host } = conversation({ sysctl });
    host.listen(80, 100);
    expect(answered(host, peers(host, 12))).to.have.length(7);
    expect(host.counter(Mib.ListenDrops)).to.equal(5);
    expect(host.counter(Mib.TCPReqQFullDrop)).to.equal(0);
  });

  it('repeats the SYN-ACK after 1, 3, 7, 15 and 31 s and forgets the request after 63 s', () => {
    const c = conversation();
    synReceived(c);
    const { host, peer } = c;
    const before = Float64Array.from(host.stack.net.mib);
    const begin = host.nowUs;
    for (const second of [1, 3, 7, 15, 31]) {
      host.advance(second * 1000 - 1 - (host.nowUs - begin) / 1000);
      peer.quiet();
      expect(queue(host, c.listener).young).to.equal(second === 1 ? 1 : 0);
      host.advance(1);
      peer.out(SYNACK);
    }
    host.advance(31_999);
    expect(stateOf(host, peer)).to.equal('SYN-RECV');
    host.advance(1);
    expect(stateOf(host, peer)).to.equal('gone');
    peer.quiet();
    expect(queue(host, c.listener)).to.include({ reqs: 0, young: 0 });
    expect(moved(host, before)).to.deep.equal([
      'TCPSynRetrans+5',
      'TCPTimeouts+6',
      'TcpRetransSegs+5',
    ]);
  });

  it('TCP_SYNCNT of the listener and tcp_synack_retries limit the repetitions', () => {
    for (const option of [true, false]) {
      const c = conversation(option ? {} : { sysctl: { 'net.ipv4.tcp_synack_retries': 2 } });
      c.listener = c.host.listen(80);
      if (option) expect(c.host.stack.setsockopt(c.listener, 6, 7, 2, 0)).to.equal(0);
      c.peer.in(SYN);
      c.host.advance(6999);
      expect(c.host.sent).to.have.length(3);
      expect(stateOf(c.host, c.peer)).to.equal('SYN-RECV');
      c.host.advance(1);
      expect(stateOf(c.host, c.peer)).to.equal('gone');
      expect(c.host.sent).to.have.length(3);
    }
  });

  it('old requests die sooner when the queue is more than half full of them', () => {
    const { host } = conversation();
    const listener = host.listen(80, 16);
    expect(answered(host, peers(host, 12))).to.have.length(12);
    // None is young after the first time-out: only two retries are left of five.
    host.advance(6999);
    expect(queue(host, listener).reqs).to.equal(12);
    host.advance(1);
    expect(queue(host, listener).reqs).to.be.below(12);
    host.advance(60_000);
    expect(queue(host, listener)).to.include({ reqs: 0, young: 0 });
  });

  it('answers a repeated SYN at once, at most every 500 ms, and starts the timer anew', () => {
    const c = conversation();
    synReceived(c);
    const { host, peer } = c;
    const before = Float64Array.from(host.stack.net.mib);
    host.advance(900);
    peer.in(SYN);
    peer.out(SYNACK);
    host.advance(499);
    peer.in(SYN);
    peer.quiet();
    host.advance(1);
    peer.in(SYN);
    peer.out(SYNACK);
    host.advance(999);
    peer.quiet();
    host.advance(1);
    peer.out(SYNACK);
    expect(moved(host, before)).to.deep.equal([
      'TCPACKSkippedSynRecv',
      'TCPSynRetrans+3',
      'TCPTimeouts',
      'TcpRetransSegs+3',
    ]);
  });

  it('limits repeated SYNs with data too', () => {
    const c = conversation();
    synReceived(c);
    c.peer.in('SP 0:3(3) <mss 1460>');
    c.peer.out(SYNACK);
    c.peer.in('SP 0:3(3) <mss 1460>');
    c.peer.quiet();
  });

  it('takes one RTT sample only if the SYN-ACK was never repeated', () => {
    const samples = [0, 1, 2].map((repetitions) => {
      const c = conversation();
      synReceived(c);
      for (let i = 0; i < repetitions; i++) {
        c.host.advance(600);
        c.peer.in(SYN);
        c.peer.out(SYNACK);
      }
      c.host.advance(20);
      c.peer.in('. 1:1(0) ack 1');
      const tcb = c.host.stack.sock(c.host.accept(c.listener))!;
      return [tcb.srttUs, tcb.cwnd, tcb.totalRetrans];
    });
    expect(samples).to.deep.equal([
      [20_000, 10, 0],
      [0, 10, 1],
      [0, 10, 2],
    ]);
  });

  it('a SYN and its RST in one batch: nothing is answered', () => {
    const c = conversation();
    c.listener = c.host.listen(80);
    c.peer.queue(SYN);
    c.peer.queue('R 1:1(0)');
    c.host.poll();
    c.peer.quiet();
    expect(queue(c.host, c.listener)).to.include({ reqs: 0, young: 0 });
    expect(c.host.stack.net.timers.size).to.equal(0);
  });

  it('a SYN twice in one batch has one answer', () => {
    const c = conversation();
    c.listener = c.host.listen(80);
    c.peer.queue(SYN);
    c.peer.queue(SYN);
    c.host.poll();
    c.peer.out(SYNACK);
    c.peer.quiet();
  });

  it('the children of a SYN with text have none of it', () => {
    const c = conversation();
    c.listener = c.host.listen(80);
    c.peer.in('SP 0:3(3) <mss 1460>');
    c.peer.out(SYNACK);
    c.peer.in('P. 1:4(3) ack 1', 'abc');
    c.peer.out('. 1:1(0) ack 4');
    expect(c.host.readText(c.host.accept(c.listener))).to.equal('abc');
  });
});

describe('tcp: accept queue', () => {
  for (const [backlog, most] of [
    [0, 1],
    [1, 2],
    [2, 3],
    [4, 5],
  ] as const) {
    it(`backlog ${backlog} holds ${most} connections; SYNs are dropped then`, () => {
      const { host } = conversation();
      const listener = host.listen(80, backlog);
      const all = peers(host, 8);
      for (const peer of all.slice(0, most)) {
        peer.in(SYN);
        peer.out(SYNACK);
        peer.in('. 1:1(0) ack 1');
      }
      const before = Float64Array.from(host.stack.net.mib);
      all[most]!.in(SYN);
      all[most]!.quiet();
      expect(moved(host, before)).to.deep.equal(['ListenDrops', 'ListenOverflows']);
      const fds = all.slice(0, most).map(() => host.accept(listener));
      expect(fds).to.deep.equal(
        [...fds].sort((a, b) => a - b),
        'first in, first out',
      );
      expect(host.accept(listener)).to.equal(-EAGAIN);
      all[most]!.in(SYN);
      all[most]!.out(SYNACK);
    });
  }

  /** A listener of backlog 0 with one connection waiting and one request, which is returned. */
  function full(sysctl = {}) {
    const c = conversation({ sysctl: { ...NO_COOKIES, ...sysctl } });
    const { host } = c;
    c.listener = host.listen(80, 1);
    const [first, second, third] = peers(host, 3);
    for (const peer of [first!, second!, third!]) peer.in(SYN);
    for (const peer of [first!, second!]) peer.out(SYNACK);
    first!.in('. 1:1(0) ack 1');
    expect(host.stack.listen(c.listener, 0)).to.equal(0);
    return { ...c, late: second! };
  }

  it('a third ACK without room is ignored, and the request lives', () => {
    const { host, listener, late } = full();
    const before = Float64Array.from(host.stack.net.mib);
    late.in('. 1:1(0) ack 1');
    late.in('P. 1:4(3) ack 1', 'abc');
    late.quiet();
    expect(moved(host, before)).to.deep.equal(['ListenDrops+2', 'ListenOverflows+2']);
    host.advance(1000);
    late.out(SYNACK);
    expect(host.accept(listener)).to.be.greaterThan(2);
    late.in('P. 1:4(3) ack 1', 'abc');
    late.out('. 1:1(0) ack 4');
    expect(host.readText(host.accept(listener))).to.equal('abc');
  });

  it('tcp_abort_on_overflow resets it instead', () => {
    const { host, late } = full({ 'net.ipv4.tcp_abort_on_overflow': 1 });
    const before = Float64Array.from(host.stack.net.mib);
    late.in('. 1:1(0) ack 1');
    late.out('R 1:1(0)');
    expect(stateOf(host, late)).to.equal('gone');
    expect(moved(host, before)).to.deep.equal([
      'EmbryonicRsts',
      'ListenDrops',
      'ListenOverflows',
      'TcpOutRsts',
    ]);
  });

  it('no descriptor left for a child counts as overflow', () => {
    const c = conversation({ fds: 8 });
    synReceived(c);
    const { host, peer } = c;
    let fd = host.stack.socket(0);
    while (host.stack.socket(0) >= 0);
    const before = Float64Array.from(host.stack.net.mib);
    peer.in('. 1:1(0) ack 1');
    peer.quiet();
    expect(moved(host, before)).to.deep.equal(['ListenDrops', 'ListenOverflows']);
    host.close(fd);
    peer.in('. 1:1(0) ack 1');
    fd = host.accept(c.listener);
    expect(fd).to.be.greaterThan(2);
  });

  it('listen() again changes both limits, with connections in the queue', () => {
    const { host } = conversation({ sysctl: { 'net.core.somaxconn': 2000 } });
    const listener = host.listen(80, 2);
    const all = peers(host, 3);
    expect(answered(host, all)).to.have.length(3);
    for (const peer of all) peer.in('. 1:1(0) ack 1');
    const ring = host.mem.pagesInUse;
    expect(host.stack.listen(listener, -1)).to.equal(0);
    expect(queue(host, listener).backlog).to.equal(2000);
    expect(host.mem.pagesInUse, '8 KiB instead of 4').to.equal(ring + 1);
    expect(host.stack.listen(listener, 1)).to.equal(0);
    expect(queue(host, listener).backlog).to.equal(1);
    for (let i = 0; i < 3; i++) expect(host.accept(listener)).to.be.greaterThan(2);
  });

  it('a connection inherits the options of its listener', () => {
    const options: [number, number, number][] = [
      [1, 2, 1],
      [1, 7, 20_000],
      [1, 8, 30_000],
      [1, 9, 1],
      [1, 15, 1],
      [0, 1, 0x10],
      [0, 2, 77],
      [6, 1, 1],
      [6, 3, 1],
      [6, 4, 111],
      [6, 5, 22],
      [6, 6, 3],
      [6, 13, 0],
    ];
    const { host, peer } = conversation();
    const listener = host.listen(80);
    const out = new Int32Array(2);
    for (const [level, name, value] of options) {
      expect(host.stack.setsockopt(listener, level, name, value, 0)).to.equal(0);
    }
    host.stack.setsockopt(listener, 1, 13, 1, 7);
    peer.in(SYN);
    peer.out('S. 0:0(0) ack 1');
    peer.in('. 1:1(0) ack 1');
    const fd = host.accept(listener);
    for (const [level, name] of [...options, [1, 13]] as [number, number][]) {
      const words = host.stack.getsockopt(listener, level, name, out);
      const expected = [...out.subarray(0, words)];
      host.stack.getsockopt(fd, level, name, out);
      expect([...out.subarray(0, words)], `${level} ${name}`).to.deep.equal(expected);
    }
    host.advance(110_999);
    peer.quiet();
    host.advance(1);
    peer.out('. 0:0(0) ack 1');
  });

  it('a reset connection is accepted, and read says so', () => {
    const c = conversation();
    synReceived(c);
    const { host, peer } = c;
    peer.in('. 1:1(0) ack 1');
    peer.in('R 1:1(0)');
    const fd = host.accept(c.listener);
    expect(fd).to.be.greaterThan(2);
    expect(host.read(fd)).to.equal(-ECONNRESET);
    expect(host.read(fd)).to.have.length(0);
    expect(host.write(fd, 'x')).to.equal(-EPIPE);
    host.close(fd);
    peer.quiet();
  });

  it('text and FIN before accept() wait in the connection', () => {
    const c = conversation();
    synReceived(c);
    const { host, peer } = c;
    peer.in('P. 1:4(3) ack 1', 'abc');
    peer.out('. 1:1(0) ack 4');
    peer.in('F. 4:4(0) ack 1');
    host.advance(60);
    peer.out('. 1:1(0) ack 5');
    const fd = host.accept(c.listener);
    expect(host.readText(fd)).to.equal('abc');
    expect(host.read(fd)).to.have.length(0);
    expect(host.write(fd, 'xyz')).to.equal(3);
    peer.out('P. 1:4(3) ack 5');
  });
});

describe('tcp: closing a listener', () => {
  const ways: [string, (host: MemoryStack, fd: number) => number][] = [
    ['close', (host, fd) => host.close(fd)],
    ['shutdown(SHUT_RD)', (host, fd) => host.shutdown(fd, 0)],
    ['abort', (host, fd) => host.stack.abort(fd)],
  ];
  for (const [name, end] of ways) {
    it(`${name} resets what waits in the accept queue`, () => {
      const { host } = conversation();
      const listener = host.listen(80, 8);
      const [plain, withText, ended, reset] = peers(host, 4);
      expect(answered(host, [plain!, withText!, ended!, reset!])).to.have.length(4);
      plain!.in('. 1:1(0) ack 1');
      withText!.in('P. 1:4(3) ack 1');
      withText!.out('. 1:1(0) ack 4');
      ended!.in('F. 1:1(0) ack 1');
      host.advance(60);
      ended!.out('. 1:1(0) ack 2');
      reset!.in('. 1:1(0) ack 1');
      reset!.in('R 1:1(0)');
      expect(end(host, listener)).to.equal(0);
      host.poll();
      plain!.out('R. 1:1(0) ack 1');
      withText!.out('R. 1:1(0) ack 4');
      ended!.out('R. 1:1(0) ack 2');
      reset!.quiet();
      const { stack } = host;
      expect(stack.tcp.orphans).to.equal(0);
      expect(stack.tcp.hashinfo.ehash.size).to.equal(0);
      expect(host.mem.fdsInUse).to.equal(name === 'shutdown(SHUT_RD)' ? 1 : 0);
      plain!.in(SYN);
      plain!.out('R. 0:0(0) ack 1');
    });
  }

  it('requests get their RST with their ACK, and a repeated SYN is answered like any other', () => {
    const { host } = conversation();
    const listener = host.listen(80, 8);
    const [acks, syns, resets, silent] = peers(host, 4);
    expect(answered(host, [acks!, syns!, resets!, silent!])).to.have.length(4);
    host.close(listener);
    acks!.quiet();
    acks!.in('. 1:1(0) ack 1');
    acks!.out('R 1:1(0)');
    syns!.in(SYN);
    syns!.out('R. 0:0(0) ack 1');
    resets!.in('R 1:1(0)');
    resets!.quiet();
    expect(host.stack.tcp.hashinfo.ehash.size).to.equal(1);
    host.advance(1000);
    silent!.quiet();
    expect(host.stack.tcp.hashinfo.ehash.size).to.equal(0);
    expect(host.stack.net.timers.size).to.equal(0);
  });

  it('after shutdown(SHUT_RD) it may listen again, and old requests complete', () => {
    const c = conversation();
    synReceived(c);
    const { host, peer } = c;
    expect(host.shutdown(c.listener, 1), 'SHUT_WR is ignored').to.equal(0);
    expect(host.accept(c.listener)).to.equal(-EAGAIN);
    expect(host.shutdown(c.listener, 0)).to.equal(0);
    expect(host.accept(c.listener)).to.equal(-EINVAL);
    expect(host.shutdown(c.listener, 0)).to.equal(-ENOTCONN);
    expect(host.stack.listen(c.listener, 4)).to.equal(0);
    expect(queue(host, c.listener)).to.include({ reqs: 1, young: 1, backlog: 4 });
    peer.in('. 1:1(0) ack 1');
    expect(host.accept(c.listener)).to.be.greaterThan(2);
    expect(queue(host, c.listener)).to.include({ reqs: 0, young: 0 });
  });

  it('a former listener can connect, and has the whole receive buffer', () => {
    const { host, peer } = conversation();
    const fd = host.listen(80);
    host.shutdown(fd, 2);
    expect(host.stack.connect(fd, peer.address, peer.port)).to.equal(-115);
    host.poll();
    peer.out('S 0:0(0) <...>');
    peer.in('S. 0:0(0) ack 1 <mss 1460>');
    peer.out('. 1:1(0) ack 1');
    for (let i = 0; i < 10; i++) {
      const from = 1 + i * 1460;
      peer.in(`. ${from}:${from + 1460}(1460) ack 1`);
    }
    expect(host.read(fd)).to.have.length(14_600);
  });
});
