/** The end of a connection as the application wants it: shutdown, close, linger, abort, orphans. */
import { expect } from 'chai';
import { EPOLLHUP, EPOLLIN, EPOLLOUT, EPOLLRDHUP } from '../../src/net/epoll-bits.js';
import { EAGAIN, EBADF, ECONNRESET, EINVAL, ENOTCONN, EPIPE } from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import { BLOCK_OWNER } from '../../src/net/sockmem.js';
import { Peer } from '../../src/testing/index.js';
import {
  type Conversation,
  closed,
  conversation,
  type Enter,
  established,
  FULL_SYN,
  fullEstablished,
  moved,
  shut,
  stateOf,
  synSent,
  ts,
} from './state-table.js';

const unread: Enter = ({ peer }) => {
  peer.in('P. 1:6(5) ack 1');
  peer.out('. 1:1(0) ack 6');
};
const finReceived: Enter = ({ host, peer }) => {
  peer.in('F. 1:1(0) ack 1');
  host.advance(5);
  peer.out('. 1:1(0) ack 2');
};
const finAcked: Enter = ({ peer }) => peer.in('. 1:1(0) ack 2');
const finCrossed: Enter = ({ peer }) => {
  peer.in('F. 1:1(0) ack 1');
  peer.out('. 2:2(0) ack 2');
};
const lastAck: Enter = (c) => {
  finReceived(c);
  expect(c.host.shutdown(c.fd, 1)).to.equal(0);
  c.peer.out('F. 1:1(0) ack 2');
};
const crossed: Enter = ({ peer }) => {
  peer.in(FULL_SYN);
  peer.out('S. 0:0(0) ack 1 <...>');
};
const linger0: Enter = ({ host, fd }) => {
  expect(host.stack.setsockopt(fd, 1, 13, 1, 0)).to.equal(0);
};

function enter(steps: Enter[], options = {}): Conversation {
  const c = conversation(options);
  for (const step of steps) step(c);
  c.peer.quiet();
  return c;
}

/** Nothing of the connection is left but what `fds` descriptors and `listener` need. */
function gone({ host, peer }: Conversation, fds = 1): void {
  const { tcp, net } = host.stack;
  expect(stateOf(host, peer)).to.equal('gone');
  expect(host.mem.fdsInUse, 'descriptors').to.equal(fds);
  expect(tcp.orphans, 'orphans').to.equal(0);
  expect(net.timers.size, 'timers').to.equal(0);
}

describe('tcp: close', () => {
  /** State, what close() sends, and the counters besides TcpOutRsts that move; '' = nothing. */
  const resets: [string, Enter[], string, string[]][] = [
    [
      'unread data',
      [established, unread],
      'R. 1:1(0) ack 6',
      ['TCPAbortOnClose', 'TcpEstabResets'],
    ],
    [
      'unread data before lingering',
      [established, unread, linger0],
      'R. 1:1(0) ack 6',
      ['TCPAbortOnClose', 'TcpEstabResets'],
    ],
    [
      'unread data in LAST-ACK',
      [
        established,
        unread,
        ({ host, peer }) => {
          peer.in('F. 6:6(0) ack 1');
          host.advance(50);
          peer.out('. 1:1(0) ack 7');
        },
        ({ host, peer, fd }) => {
          host.shutdown(fd, 1);
          peer.out('F. 1:1(0) ack 7');
        },
      ],
      'R. 2:2(0) ack 7',
      ['TCPAbortOnClose'],
    ],
    ['linger 0', [established, linger0], 'R. 1:1(0) ack 1', ['TCPAbortOnData', 'TcpEstabResets']],
    [
      'linger 0 in CLOSE-WAIT',
      [established, finReceived, linger0],
      'R. 1:1(0) ack 2',
      ['TCPAbortOnData', 'TcpEstabResets'],
    ],
    ['linger 0 in FIN-WAIT-1', [established, shut, linger0], 'R. 2:2(0) ack 1', ['TCPAbortOnData']],
    [
      'linger 0 in FIN-WAIT-2',
      [established, shut, finAcked, linger0],
      'R. 2:2(0) ack 1',
      ['TCPAbortOnData'],
    ],
    ['linger 0 in CLOSING', [established, shut, finCrossed, linger0], '', ['TCPAbortOnData']],
    ['linger 0 in LAST-ACK', [established, lastAck, linger0], '', ['TCPAbortOnData']],
    ['linger 0 in SYN-SENT', [synSent, linger0], '', ['TCPAbortOnData']],
    [
      'linger 0 in SYN-RECEIVED',
      [synSent, crossed, linger0],
      'R. 1:1(0) ack 1',
      ['TCPAbortOnData'],
    ],
    ['SYN-SENT', [synSent], '', []],
  ];
  for (const [name, steps, out, counters] of resets) {
    it(`ends at once: ${name}`, () => {
      const c = enter(steps);
      const fds = c.host.mem.fdsInUse - 1;
      const before = Float64Array.from(c.host.stack.net.mib);
      expect(c.host.close(c.fd)).to.equal(0);
      if (out !== '') c.peer.out(out);
      c.peer.quiet();
      const expected = out === '' ? counters : [...counters, 'TcpOutRsts'].sort();
      expect(moved(c.host, before)).to.deep.equal(expected);
      gone(c, fds);
    });
  }

  it('the RST carries timestamps, window and the next IP ID', () => {
    const c = enter([fullEstablished, linger0]);
    c.peer.in(`P. 1:2(1) ack 1 win 512 ${ts(1_000_002, 1000)}`);
    const { id } = c.peer.out('. 1:1(0) ack 2');
    c.host.readText(c.fd);
    c.host.close(c.fd);
    const rst = c.peer.out('R. 1:1(0) ack 2 win 64 <nop,nop,TS val 1000 ecr 1000002>');
    expect(rst.id).to.equal((id + 1) & 0xffff);
  });

  it('sends what is queued and the FIN behind it, then waits for its ACK', () => {
    const c = enter([established]);
    const { host, peer, fd } = c;
    host.write(fd, 'bye');
    peer.out('P. 1:4(3) ack 1');
    host.close(fd);
    peer.out('F. 4:4(0) ack 1');
    expect(stateOf(host, peer)).to.equal('FIN-WAIT-1');
    peer.in('. 1:1(0) ack 4');
    expect(stateOf(host, peer)).to.equal('FIN-WAIT-1');
    peer.in('. 1:1(0) ack 5');
    expect(stateOf(host, peer)).to.equal('FIN-WAIT-2');
    peer.in('F. 1:1(0) ack 5');
    peer.out('. 5:5(0) ack 2');
    expect(stateOf(host, peer)).to.equal('TIME-WAIT');
    host.advance(60_000);
    gone(c);
  });

  it('lets out what a cork held back', () => {
    for (const end of ['close', 'shutdown'] as const) {
      const c = enter([established]);
      const { host, peer, fd } = c;
      host.stack.setsockopt(fd, 6, 3, 1, 0);
      host.write(fd, 'abc');
      peer.quiet();
      if (end === 'close') host.close(fd);
      else host.shutdown(fd, 1);
      peer.out('FP. 1:4(3) ack 1');
    }
  });

  it('the descriptor is gone at once, its socket belongs to nobody', () => {
    const c = enter([established]);
    const { host, fd } = c;
    const at = host.mem.blockAt(fd);
    expect(host.mem.ctl[at + BLOCK_OWNER]).to.be.greaterThan(0);
    closed(c);
    const { stack } = host;
    expect(host.mem.ctl[at + BLOCK_OWNER]).to.equal(0);
    expect(stack.tcp.orphans).to.equal(1);
    for (const result of [
      stack.close(fd),
      stack.abort(fd),
      stack.bind(fd, 0, 1),
      stack.listen(fd, 1),
      stack.connect(fd, 0, 1),
      stack.shutdown(fd, 2),
      stack.setsockopt(fd, 1, 2, 1, 0),
      stack.getsockopt(fd, 1, 2, new Int32Array(1)),
      stack.attachSendRing(fd),
      stack.close(9999),
    ]) {
      expect(result).to.equal(-EBADF);
    }
    stack.published(fd);
    stack.consumed(fd);
    stack.published(9999);
    c.peer.quiet();
  });

  it('a peer that keeps sending to an orphan is reset', () => {
    for (const steps of [
      [established, closed],
      [established, closed, finAcked],
    ]) {
      const c = enter(steps);
      c.peer.in(`P. 1:4(3) ack ${steps.length - 1}`);
      c.peer.out(`R ${steps.length - 1}:${steps.length - 1}(0)`);
      gone(c);
    }
  });

  it('text in the ACK of the FIN resets an orphan too', () => {
    const c = enter([established, closed]);
    c.peer.in('P. 1:4(3) ack 2');
    c.peer.out('R 2:2(0)');
    expect(c.host.counter(Mib.TCPAbortOnData)).to.equal(1);
    gone(c);
  });

  it('too many orphans: reset instead of a farewell', () => {
    const { host } = conversation({ sysctl: { 'net.ipv4.tcp_max_orphans': 1 } });
    const listener = host.listen(80);
    const [first, second] = [40_000, 40_001].map((port) => new Peer(host, { port }));
    const fds = [first!, second!].map((peer) => peer.establish(listener));
    host.close(fds[0]!);
    first!.out('F. 1:1(0) ack 1');
    host.close(fds[1]!);
    second!.out('R. 1:1(0) ack 1');
    expect(host.counter(Mib.TCPAbortOnMemory)).to.equal(1);
    expect(host.stack.tcp.orphans).to.equal(1);
  });

  it('in SYN-RECEIVED: the FIN goes at once, the SYN-ACK again until it is acknowledged', () => {
    const c = enter([synSent, crossed]);
    const { host, peer, fd } = c;
    host.close(fd);
    peer.out('F. 1:1(0) ack 1 win 63 <...>');
    expect(stateOf(host, peer)).to.equal('FIN-WAIT-1');
    host.advance(1000);
    peer.out('S. 0:0(0) ack 1 <...>');
    peer.quiet();
    for (const text of ['. 1:1(0) ack 0', '. 1:1(0) ack 3']) {
      peer.in(text);
      peer.out(text.endsWith('0') ? 'R 0:0(0)' : 'R 3:3(0)');
    }
    peer.in('. 1:1(0) ack 1');
    expect(stateOf(host, peer)).to.equal('FIN-WAIT-1');
    host.advance(2000);
    peer.out('F. 1:1(0) ack 1');
    peer.in('. 1:1(0) ack 2');
    expect(stateOf(host, peer)).to.equal('FIN-WAIT-2');
    peer.in('F. 1:1(0) ack 2');
    peer.out('. 2:2(0) ack 2');
    host.advance(60_000);
    gone(c, 0);
  });

  it('in SYN-RECEIVED with nobody there: gives up like any handshake', () => {
    const c = enter([synSent, crossed]);
    c.host.close(c.fd);
    c.host.advance(130_000);
    const synAcks = c.host.sent.filter((packet) => packet[33] === 0x12);
    expect(synAcks).to.have.length(6);
    gone(c, 0);
  });
});

describe('tcp: abort', () => {
  const rows: [string, Enter[], string][] = [
    ['ESTABLISHED', [established], 'R. 1:1(0) ack 1'],
    ['CLOSE-WAIT', [established, finReceived], 'R. 1:1(0) ack 2'],
    ['FIN-WAIT-1', [established, shut], 'R. 2:2(0) ack 1'],
    ['FIN-WAIT-2', [established, shut, finAcked], 'R. 2:2(0) ack 1'],
    ['CLOSING', [established, shut, finCrossed], ''],
    ['LAST-ACK', [established, lastAck], ''],
    ['SYN-RECEIVED', [synSent, crossed], 'R. 1:1(0) ack 1'],
    ['SYN-SENT', [synSent], ''],
    ['reset before', [established, ({ peer }) => peer.in('R 1:1(0)')], ''],
  ];
  for (const [name, steps, out] of rows) {
    it(`in ${name}`, () => {
      const c = enter(steps);
      const fds = c.host.mem.fdsInUse - 1;
      expect(c.host.stack.abort(c.fd)).to.equal(0);
      if (out !== '') c.peer.out(out);
      c.peer.quiet();
      gone(c, fds);
    });
  }

  it('of an open socket that is not connected frees it', () => {
    const { host } = conversation();
    const fd = host.stack.socket(0);
    expect(host.stack.bind(fd, 0, 5000)).to.equal(0);
    expect(host.stack.abort(fd)).to.equal(0);
    expect(host.mem.fdsInUse).to.equal(0);
    const next = host.stack.socket(0);
    expect(host.stack.bind(next, 0, 5000), 'the port is free').to.equal(0);
  });
});

describe('tcp: shutdown', () => {
  it('SHUT_WR ends sending only', () => {
    const c = enter([established, shut]);
    const { host, peer, fd } = c;
    expect(host.write(fd, 'x')).to.equal(-EPIPE);
    expect(host.stack.attachSendRing(fd)).to.equal(-EPIPE);
    peer.in('P. 1:4(3) ack 2', 'abc');
    peer.out('. 2:2(0) ack 4');
    expect(host.readText(fd)).to.equal('abc');
    expect(stateOf(host, peer)).to.equal('FIN-WAIT-2');
    host.advance(1_000_000);
    expect(stateOf(host, peer), 'no limit while somebody may read').to.equal('FIN-WAIT-2');
    expect(host.shutdown(fd, 1), 'again').to.equal(0);
    peer.quiet();
    peer.in('F. 4:4(0) ack 2');
    peer.out('. 2:2(0) ack 5');
    expect(host.read(fd)).to.have.length(0);
    expect(host.ready(fd) & (EPOLLIN | EPOLLRDHUP | EPOLLHUP)).to.equal(
      EPOLLIN | EPOLLRDHUP | EPOLLHUP,
    );
    host.close(fd);
    expect(host.mem.fdsInUse).to.equal(1);
  });

  it('SHUT_RD reads the end at once, and text still comes in', () => {
    const c = enter([established]);
    const { host, peer, fd } = c;
    host.events.length = 0;
    expect(host.shutdown(fd, 0)).to.equal(0);
    expect(host.events).to.deep.equal([[fd, EPOLLIN | EPOLLRDHUP]]);
    peer.quiet();
    expect(host.read(fd)).to.have.length(0);
    peer.in('P. 1:4(3) ack 1', 'abc');
    peer.out('. 1:1(0) ack 4');
    expect(host.readText(fd)).to.equal('abc');
  });

  it('SHUT_RDWR: text that comes now resets the connection', () => {
    const c = enter([established]);
    const { host, peer, fd } = c;
    expect(host.shutdown(fd, 2)).to.equal(0);
    peer.out('F. 1:1(0) ack 1');
    peer.in('P. 1:4(3) ack 1');
    peer.out('R 1:1(0)');
    expect(host.read(fd)).to.equal(-ECONNRESET);
    expect(host.counter(Mib.TCPAbortOnData)).to.equal(1);
    expect(stateOf(host, peer)).to.equal('gone');
  });

  it('refuses what it cannot do', () => {
    const c = enter([established]);
    expect(c.host.shutdown(c.fd, 3)).to.equal(-EINVAL);
    expect(c.host.shutdown(c.fd, -1)).to.equal(-EINVAL);
    expect(c.host.shutdown(c.host.stack.socket(0), 2)).to.equal(-ENOTCONN);
    c.peer.in('R 1:1(0)');
    expect(c.host.shutdown(c.fd, 1)).to.equal(-ENOTCONN);
    c.peer.quiet();
  });

  it('in SYN-SENT gives the attempt up with ECONNRESET; another one may follow', () => {
    const c = enter([synSent]);
    const { host, peer, fd } = c;
    const before = Float64Array.from(host.stack.net.mib);
    expect(host.shutdown(fd, 1)).to.equal(0);
    peer.quiet();
    expect(stateOf(host, peer)).to.equal('gone');
    expect(moved(host, before)).to.deep.equal([]);
    const out = new Int32Array(1);
    host.stack.getsockopt(fd, 1, 4, out);
    expect(out[0]).to.equal(ECONNRESET);
    expect(host.stack.connect(fd, peer.address, peer.port)).to.equal(-115);
    host.poll();
    peer.localIsn = null;
    peer.out('S 0:0(0) <...>');
  });

  it('in SYN-RECEIVED waits for the end of the handshake', () => {
    const c = enter([synSent, crossed]);
    const { host, peer, fd } = c;
    expect(host.shutdown(fd, 1)).to.equal(0);
    peer.quiet();
    expect(stateOf(host, peer)).to.equal('SYN-RECV');
    expect(host.write(fd, 'x')).to.equal(-EAGAIN);
    peer.in('. 1:1(0) ack 1');
    peer.out('F. 1:1(0) ack 1');
    expect(stateOf(host, peer)).to.equal('FIN-WAIT-1');
  });

  it('both ways in CLOSE-WAIT ends in LAST-ACK; its ACK ends all', () => {
    const c = enter([established, lastAck]);
    const { host, peer, fd } = c;
    peer.in('. 2:2(0) ack 2');
    expect(stateOf(host, peer)).to.equal('gone');
    expect(host.ready(fd) & EPOLLHUP).to.equal(EPOLLHUP);
    expect(host.ready(fd) & EPOLLOUT).to.equal(EPOLLOUT);
    expect(host.read(fd)).to.have.length(0);
    host.close(fd);
    gone(c);
  });
});
