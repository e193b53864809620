/** Active opens: refused, unanswered, crossed with the peer's, to ourselves; names and ports. */
import { expect } from 'chai';
import { EPOLLERR, EPOLLHUP, EPOLLIN, EPOLLOUT } from '../../src/net/epoll-bits.js';
import {
  EADDRNOTAVAIL,
  EAGAIN,
  EALREADY,
  ECONNABORTED,
  ECONNREFUSED,
  EINPROGRESS,
  EINVAL,
  EISCONN,
  ENETUNREACH,
  ENOTCONN,
  EPIPE,
  ETIMEDOUT,
} from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import { BLOCK_LADDR, BLOCK_LPORT, BLOCK_RADDR, BLOCK_RPORT } from '../../src/net/sockmem.js';
import { ipv4, MemoryStack, Peer } from '../../src/testing/index.js';
import {
  conversation,
  type Enter,
  FULL_SYN,
  fullEstablished,
  moved,
  stateOf,
  stateTable,
  synSent,
  ts,
} from './state-table.js';

const synAck = (ecr: number): string =>
  `S. 0:0(0) ack 1 <mss 1460,sackOK,TS val 7 ecr ${ecr},nop,wscale 7>`;

function soError(host: MemoryStack, fd: number): number {
  const out = new Int32Array(1);
  expect(host.stack.getsockopt(fd, 1, 4, out)).to.equal(1);
  return out[0]!;
}

/** What getsockname and getpeername show. */
function names(host: MemoryStack, fd: number): number[] {
  const at = host.mem.blockAt(fd);
  return [BLOCK_LADDR, BLOCK_LPORT, BLOCK_RADDR, BLOCK_RPORT].map(
    (word) => host.mem.ctl[at + word]!,
  );
}

describe('tcp: connect', () => {
  it('is established by a SYN-ACK and answers at once', () => {
    const c = conversation();
    synSent(c);
    const { host, peer, fd } = c;
    expect(host.ready(fd) & (EPOLLIN | EPOLLOUT)).to.equal(0);
    expect(host.write(fd, 'x')).to.equal(-EAGAIN);
    expect(host.stack.connect(fd, peer.address, peer.port)).to.equal(-EALREADY);
    const before = Float64Array.from(host.stack.net.mib);
    host.events.length = 0;
    peer.in(synAck(1000));
    peer.out('. 1:1(0) ack 1 win 63 <nop,nop,TS val 1000 ecr 7>');
    expect(host.events.map(([, bits]) => bits & EPOLLOUT)).to.include(EPOLLOUT);
    expect(host.ready(fd)).to.equal(EPOLLOUT);
    expect(stateOf(host, peer)).to.equal('ESTAB');
    expect(moved(host, before)).to.deep.equal([]);
    expect(host.counter(Mib.TcpActiveOpens)).to.equal(1);
    expect(host.stack.listen(fd, 1)).to.equal(-EINVAL);
    expect(host.stack.connect(fd, peer.address, peer.port), 'tells its end').to.equal(0);
    expect(host.stack.connect(fd, peer.address, peer.port)).to.equal(-EISCONN);
    host.write(fd, 'hello');
    peer.out('P. 1:6(5) ack 1');
  });

  it('refused: that is told once, by SO_ERROR or by connect(), then the socket is as new', () => {
    for (const asked of [false, true]) {
      const c = conversation();
      synSent(c);
      const { host, peer, fd } = c;
      peer.in('R. 0:0(0) ack 1');
      expect(stateOf(host, peer)).to.equal('gone');
      expect(host.ready(fd) & (EPOLLERR | EPOLLHUP)).to.equal(EPOLLERR | EPOLLHUP);
      expect(host.counter(Mib.TcpAttemptFails)).to.equal(1);
      expect(host.stack.listen(fd, 1)).to.equal(-EINVAL);
      if (asked) expect(soError(host, fd)).to.equal(ECONNREFUSED);
      const error = asked ? ECONNABORTED : ECONNREFUSED;
      expect(host.stack.connect(fd, peer.address, peer.port)).to.equal(-error);
      expect(host.stack.connect(fd, peer.address, peer.port)).to.equal(-EINPROGRESS);
      host.poll();
      peer.localIsn = null;
      peer.out('S 0:0(0) <...>');
      peer.in('S. 0:0(0) ack 1 <mss 1460>');
      peer.out('. 1:1(0) ack 1');
      expect(host.ready(fd)).to.equal(EPOLLOUT);
    }
  });

  it('refused, then listens on the port that it was bound to', () => {
    const { host, peer } = conversation();
    const fd = host.stack.socket(0);
    host.stack.bind(fd, 0, 80);
    host.stack.connect(fd, peer.address, peer.port);
    expect(names(host, fd)).to.deep.equal([host.address, 80, peer.address, peer.port]);
    host.poll();
    peer.out('S 0:0(0) <...>');
    peer.in('R. 0:0(0) ack 1');
    expect(host.stack.connect(fd, peer.address, peer.port)).to.equal(-ECONNREFUSED);
    expect(names(host, fd)).to.deep.equal([0, 80, 0, 0]);
    const owners = host.stack.tcp.hashinfo.bhash.find(80, 0)?.owners;
    expect(owners, 'owns the port at any address').to.deep.equal([host.stack.sock(fd)]);
    expect(host.stack.listen(fd, 1)).to.equal(0);
    peer.localIsn = null;
    peer.in('S 0:0(0)');
    peer.out('S. 0:0(0) ack 1');
  });

  it('a port of our choice is given back when the attempt fails', () => {
    const { host, peer } = conversation();
    const fd = host.stack.socket(0);
    host.stack.connect(fd, peer.address, peer.port);
    const { ports } = host.stack.tcp.hashinfo.bhash;
    expect(ports).to.equal(1);
    host.poll();
    peer.localPort = names(host, fd)[1]!;
    peer.out('S 0:0(0) <...>');
    peer.in('R. 0:0(0) ack 1');
    expect(host.stack.tcp.hashinfo.bhash.ports).to.equal(0);
  });

  // RFC 9293 MUST-22, MUST-23.
  // RFC 6298 2.1.
  it('repeats the SYN after 1, 2, 3, 4, 5, 7, 11, 19, 35 and 67 s and fails after 131 s', () => {
    unanswered({}, [1, 2, 3, 4, 5, 7, 11, 19, 35, 67], 131);
  });

  it('in 5.0 after 1, 3, 7, 15, 31 and 63 s and fails after 127 s', () => {
    unanswered({ profile: '5.0' }, [1, 3, 7, 15, 31, 63], 127);
  });

  it('TCP_SYNCNT and tcp_syn_retries limit that', () => {
    const sysctl = { 'net.ipv4.tcp_syn_linear_timeouts': 0, 'net.ipv4.tcp_syn_retries': 2 };
    unanswered({ sysctl }, [1, 3], 7);
    unanswered({ profile: '5.0' }, [1], 3, (host, fd) => {
      expect(host.stack.setsockopt(fd, 6, 7, 1, 0)).to.equal(0);
    });
  });

  function unanswered(
    options: object,
    seconds: number[],
    failure: number,
    prepare: (host: MemoryStack, fd: number) => void = () => {},
  ): void {
    const { host, peer } = conversation(options);
    const fd = host.stack.socket(0);
    prepare(host, fd);
    const begin = host.nowUs;
    host.stack.connect(fd, peer.address, peer.port);
    host.poll();
    peer.out('S 0:0(0) <...>');
    const before = Float64Array.from(host.stack.net.mib);
    for (const second of seconds) {
      host.advance(second * 1000 - 1 - (host.nowUs - begin) / 1000);
      peer.quiet();
      host.advance(1);
      const wscale = 'profile' in options ? 7 : 10;
      const val = 1000 + second * 1000;
      peer.out(`S 0:0(0) win 64240 <mss 1460,sackOK,TS val ${val} ecr 0,nop,wscale ${wscale}>`);
    }
    host.advance(failure * 1000 - 1 - (host.nowUs - begin) / 1000);
    expect(host.stack.sock(fd)!.state).to.equal(2);
    host.advance(1);
    peer.quiet();
    expect(host.stack.sock(fd)!.state).to.equal(7);
    expect(soError(host, fd)).to.equal(ETIMEDOUT);
    const n = seconds.length;
    const times = (name: string): string => (n === 1 ? name : `${name}+${n}`);
    expect(moved(host, before)).to.deep.equal([
      'TCPAbortOnTimeout',
      times('TCPSynRetrans'),
      times('TCPTimeouts'),
      'TcpAttemptFails',
      times('TcpRetransSegs'),
    ]);
  }

  // RFC 9293 MUST-46.
  it('says what connect() says', () => {
    const { host, peer } = conversation();
    const { stack } = host;
    const fd = stack.socket(0);
    expect(stack.connect(fd, ipv4('224.0.0.1'), 80)).to.equal(-ENETUNREACH);
    expect(stack.connect(fd, ipv4('255.255.255.255'), 80)).to.equal(-ENETUNREACH);
    expect(names(host, fd)).to.deep.equal([0, 0, 0, 0]);
    expect(host.read(fd)).to.equal(-ENOTCONN);
    expect(host.write(fd, 'x')).to.equal(-EPIPE);
    expect(stack.attachSendRing(fd)).to.equal(-ENOTCONN);
    const listener = host.listen(81);
    expect(stack.connect(listener, peer.address, 80)).to.equal(-EISCONN);
    expect(stack.connect(fd, peer.address, 0), 'port 0 is a port').to.equal(-EINPROGRESS);
  });

  it('without an address of our own nothing can be reached', () => {
    const host = new MemoryStack({ links: [{ addresses: [] }] });
    const fd = host.stack.socket(0);
    expect(host.stack.connect(fd, ipv4('198.18.0.254'), 80)).to.equal(-ENETUNREACH);
    expect(host.stack.connect(fd, ipv4('127.0.0.1'), 80), 'lo').to.equal(-EINPROGRESS);
  });

  it('the same connection twice: EADDRNOTAVAIL, and the bound socket stays what it was', () => {
    const { host, peer } = conversation();
    const { stack } = host;
    const fds = [stack.socket(0), stack.socket(0)];
    for (const fd of fds) {
      stack.setsockopt(fd, 1, 2, 1, 0);
      expect(stack.bind(fd, 0, 80)).to.equal(0);
    }
    expect(stack.connect(fds[0]!, peer.address, peer.port)).to.equal(-EINPROGRESS);
    expect(stack.connect(fds[1]!, peer.address, peer.port)).to.equal(-EADDRNOTAVAIL);
    expect(names(host, fds[1]!)).to.deep.equal([0, 80, 0, 0]);
    const { bhash } = stack.tcp.hashinfo;
    expect(bhash.find(80, 0)!.owners.map((sk) => (sk as { fd?: number }).fd)).to.deep.equal([
      fds[1],
    ]);
    expect(stack.connect(fds[1]!, peer.address, peer.port + 1)).to.equal(-EINPROGRESS);
  });

  it('picks even ports of the range, and fails when none is left', () => {
    const { host, peer } = conversation({
      sysctl: { 'net.ipv4.ip_local_port_range': '50000 50003' },
    });
    const fds = Array.from({ length: 5 }, () => host.stack.socket(0));
    const results = fds.map((fd) => host.stack.connect(fd, peer.address, peer.port));
    expect(results).to.deep.equal([...new Array(4).fill(-EINPROGRESS), -EADDRNOTAVAIL]);
    const ports = fds.slice(0, 4).map((fd) => names(host, fd)[1]!);
    expect(ports.slice(0, 2).every((port) => port % 2 === 0)).to.equal(true);
    expect([...ports].sort()).to.deep.equal([50_000, 50_001, 50_002, 50_003]);
    expect(host.stack.connect(fds[4]!, peer.address, peer.port + 1), 'elsewhere').to.equal(
      -EINPROGRESS,
    );
  });

  it('keep-alive asked for before counts from the end of the handshake', () => {
    const c = conversation();
    const { host, peer } = c;
    synSentWith(c, (fd) => {
      host.stack.setsockopt(fd, 1, 9, 1, 0);
      host.stack.setsockopt(fd, 6, 4, 2, 0);
    });
    host.advance(3500);
    host.sent.length = 0;
    peer.in('S. 0:0(0) ack 1 <mss 1460>');
    peer.out('. 1:1(0) ack 1');
    host.advance(1999);
    peer.quiet();
    host.advance(1);
    peer.out('. 0:0(0) ack 1');
  });

  const synSentWith = (c: Parameters<Enter>[0], prepare: (fd: number) => void): void => {
    c.fd = c.host.stack.socket(0);
    prepare(c.fd);
    c.host.stack.bind(c.fd, c.host.address, 80);
    c.host.stack.connect(c.fd, c.peer.address, c.peer.port);
    c.host.poll();
    c.peer.out('S 0:0(0) <...>');
  };

  it('offers only what the knobs allow', () => {
    const rows: [Record<string, number>, string][] = [
      [{ tcp_timestamps: 0 }, 'mss 1460,nop,nop,sackOK,nop,wscale 10'],
      [{ tcp_sack: 0 }, 'mss 1460,nop,nop,TS val 1000 ecr 0,nop,wscale 10'],
      [{ tcp_window_scaling: 0 }, 'mss 1460,sackOK,TS val 1000 ecr 0'],
      [{ tcp_timestamps: 0, tcp_sack: 0, tcp_window_scaling: 0 }, 'mss 1460'],
    ];
    for (const [knobs, options] of rows) {
      const entries = Object.entries(knobs).map(([name, value]) => [`net.ipv4.${name}`, value]);
      const c = conversation({ sysctl: Object.fromEntries(entries) });
      const fd = c.host.stack.socket(0);
      c.host.stack.connect(fd, c.peer.address, c.peer.port);
      c.host.poll();
      c.peer.out(`S 0:0(0) win 64240 <${options}>`);
    }
  });
});

describe('tcp: SYN-SENT', () => {
  stateTable(
    'the echo of a SYN-ACK or RST must be of a time since the first SYN, or 0',
    [synSent, ({ host }) => host.advance(30)],
    `
${synAck(999)} | R 1:1(0) | SYN-SENT | PAWSActive TcpOutRsts
${synAck(1031)} | R 1:1(0) | SYN-SENT | PAWSActive TcpOutRsts
${synAck(1030)} | . 1:1(0) ack 1 | ESTAB | -
${synAck(0)} | . 1:1(0) ack 1 | ESTAB | -
R. 0:0(0) ack 1 ${ts(7, 999)} | - | SYN-SENT | PAWSActive
R. 0:0(0) ack 1 ${ts(7, 1000)} | - | gone | TcpAttemptFails
`,
  );

  it('only the first wrong ACK hastens the next SYN, and in 5.0 none does', () => {
    const c = conversation();
    synSent(c);
    const { host, peer } = c;
    peer.in('. 5:5(0) ack 100');
    peer.out('R 100:100(0)');
    host.advance(7);
    peer.quiet();
    host.advance(1);
    peer.out('S 0:0(0) <...>');
    peer.in('. 5:5(0) ack 100');
    peer.out('R 100:100(0)');
    host.advance(999);
    peer.quiet();
    host.advance(1);
    peer.out('S 0:0(0) <...>');

    const old = conversation({ profile: '5.0' });
    const fd = old.host.stack.socket(0);
    old.host.stack.connect(fd, old.peer.address, old.peer.port);
    old.host.poll();
    old.peer.out('S 0:0(0) <...>');
    old.peer.localPort = names(old.host, fd)[1]!;
    old.peer.in('. 5:5(0) ack 100');
    old.peer.out('R 100:100(0)');
    old.host.advance(999);
    old.peer.quiet();
  });

  it('text and FIN of a SYN-ACK are for later', () => {
    const c = conversation();
    synSent(c);
    c.peer.in('FSP. 0:5(5) ack 1 <mss 1460>');
    c.peer.out('. 1:1(0) ack 1');
    expect(stateOf(c.host, c.peer)).to.equal('ESTAB');
    c.peer.in('P. 1:6(5) ack 1', 'hello');
    c.peer.out('. 1:1(0) ack 6');
    expect(c.host.readText(c.fd)).to.equal('hello');
  });

  it('takes what both sides want: nothing that the SYN-ACK lacks', () => {
    const c = conversation();
    synSent(c);
    c.peer.in('S. 0:0(0) ack 1');
    c.peer.out('. 1:1(0) ack 1');
    const tcb = c.host.stack.sock(c.fd)!;
    expect(tcb).to.include({ tsOk: false, sackOk: false, wscaleOk: false, sndMss: 536 });
    expect([tcb.sndWscale, tcb.rcvWscale]).to.deep.equal([0, 0]);
  });
});

// RFC 9293 MUST-10.
describe('tcp: simultaneous open', () => {
  const crossed: Enter = ({ peer }) => {
    peer.in(FULL_SYN);
    peer.out('S. 0:0(0) ack 1 win 64240 <mss 1460,sackOK,TS val 1000 ecr 1000000,nop,wscale 10>');
  };

  it("the peer's SYN-ACK ends it, and is acknowledged as known", () => {
    const c = conversation();
    synSent(c);
    crossed(c);
    expect(stateOf(c.host, c.peer)).to.equal('SYN-RECV');
    expect(c.host.stack.connect(c.fd, 1, 1)).to.equal(-EALREADY);
    c.peer.in('S. 0:0(0) ack 1 <mss 1460,sackOK,TS val 1000001 ecr 1000,nop,wscale 7>');
    c.peer.out('. 1:1(0) ack 1 win 63 <nop,nop,TS val 1000 ecr 1000001,nop,nop,sack 0:1>');
    expect(stateOf(c.host, c.peer)).to.equal('ESTAB');
    expect(c.host.ready(c.fd)).to.equal(EPOLLOUT);
    c.host.write(c.fd, 'hello');
    c.peer.out('P. 1:6(5) ack 1');
  });

  it('so does a bare ACK', () => {
    const c = conversation();
    synSent(c);
    crossed(c);
    c.host.advance(10);
    c.peer.in(`. 1:1(0) ack 1 win 512 ${ts(1_000_001, 1000)}`);
    c.peer.quiet();
    expect(stateOf(c.host, c.peer)).to.equal('ESTAB');
    const tcb = c.host.stack.sock(c.fd)!;
    expect(tcb.sndWnd, 'scaled').to.equal(512 << 7);
    expect(tcb.srttUs).to.equal(10_000);
  });

  it('the SYN-ACK is repeated after 1, 3, 7, 15, 31 and 63 s, then ETIMEDOUT', () => {
    const c = conversation();
    synSent(c);
    crossed(c);
    const { host, peer, fd } = c;
    for (const gap of [1, 2, 4, 8, 16, 32]) {
      host.advance(gap * 1000 - 1);
      peer.quiet();
      host.advance(1);
      peer.out('S. 0:0(0) ack 1 win 64240 <...>');
    }
    host.advance(64_000);
    peer.quiet();
    expect(soError(host, fd)).to.equal(ETIMEDOUT);
    expect(host.counter(Mib.TcpAttemptFails)).to.equal(1);
  });

  // RFC 9293 MUST-11.
  it('a RST is a reset connection, not a refused one', () => {
    const c = conversation();
    synSent(c);
    crossed(c);
    c.peer.in('R 1:1(0)');
    expect(soError(c.host, c.fd)).to.equal(104);
    expect(c.host.counter(Mib.TcpAttemptFails)).to.equal(1);
  });

  it('a socket connects to itself', () => {
    const { host } = conversation();
    const fd = host.stack.socket(0);
    host.stack.bind(fd, host.address, 6002);
    expect(host.stack.connect(fd, host.address, 6002)).to.equal(-EINPROGRESS);
    host.advance(10);
    expect(host.stack.sock(fd)!.state).to.equal(1);
    expect(host.write(fd, 'abc')).to.equal(3);
    host.advance(10);
    expect(host.readText(fd)).to.equal('abc');
    host.close(fd);
    host.advance(200_000);
    expect(host.mem.fdsInUse).to.equal(0);
    expect(host.stack.tcp.hashinfo.ehash.size).to.equal(0);
  });

  it('address 0 is ourselves', () => {
    const { host } = conversation();
    const listener = host.listen(80);
    const fd = host.stack.socket(0);
    expect(host.stack.connect(fd, 0, 80)).to.equal(-EINPROGRESS);
    host.advance(10);
    expect(names(host, fd)[2], 'as Linux: 127.0.0.1').to.equal(ipv4('127.0.0.1'));
    expect(host.accept(listener)).to.be.greaterThan(2);
  });
});

describe('tcp: simultaneous close', () => {
  it('goes through CLOSING to TIME-WAIT on both sides', () => {
    const c = conversation();
    fullEstablished(c);
    const { host, peer, fd } = c;
    host.close(fd);
    peer.out('F. 1:1(0) ack 1');
    peer.in(`F. 1:1(0) ack 1 win 512 ${ts(1_000_002, 1000)}`);
    peer.out('. 2:2(0) ack 2 win 64 <nop,nop,TS val 1000 ecr 1000002>');
    expect(stateOf(host, peer)).to.equal('CLOSING');
    peer.in(`. 2:2(0) ack 2 win 512 ${ts(1_000_002, 1000)}`);
    peer.quiet();
    expect(stateOf(host, peer)).to.equal('TIME-WAIT');
  });

  it('two stacks do it with each other', () => {
    const { host } = conversation();
    const listener = host.listen(80);
    const client = host.stack.socket(0);
    host.stack.connect(client, host.address, 80);
    host.advance(1);
    const server = host.accept(listener);
    host.stack.close(client);
    host.stack.close(server);
    host.advance(1);
    expect(host.stack.tcp.timewaits).to.equal(2);
    host.advance(60_000);
    expect(host.stack.tcp.timewaits).to.equal(0);
    expect(host.stack.tcp.hashinfo.ehash.size).to.equal(0);
    new Peer(host).quiet();
  });
});
