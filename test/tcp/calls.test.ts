/** bind, listen and socket as the application sees them; the one door to another state. */
import { expect } from 'chai';
import {
  EACCES,
  EADDRINUSE,
  EADDRNOTAVAIL,
  EINVAL,
  ENFILE,
  ENOMEM,
  ENOTCONN,
  EPIPE,
} from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import { BLOCK_LADDR, BLOCK_LPORT, BLOCK_STATE } from '../../src/net/sockmem.js';
import { closeSending, destroy, setState } from '../../src/tcp/set-state.js';
import { STATE_NAMES, TRANSITIONS } from '../../src/tcp/state.js';
import { ipv4, type MemoryStack, Peer } from '../../src/testing/index.js';
import { conversation, established } from './state-table.js';

const SO_REUSEADDR = 2;
const SO_REUSEPORT = 15;

function socket(host: MemoryStack, ...options: number[]): number {
  const fd = host.stack.socket(0);
  for (const option of options) host.stack.setsockopt(fd, 1, option, 1, 0);
  return fd;
}

describe('tcp: socket', () => {
  it('fails with ENFILE when no descriptor is left, the lowest free one otherwise', () => {
    const { host } = conversation({ fds: 6 });
    expect([1, 2, 3].map(() => host.stack.socket(0))).to.deep.equal([3, 4, 5]);
    expect(host.stack.socket(0)).to.equal(-ENFILE);
    host.close(4);
    expect(host.stack.socket(0)).to.equal(4);
  });
});

describe('tcp: bind', () => {
  it('refuses what Linux refuses', () => {
    const { host } = conversation();
    const { stack } = host;
    const fd = stack.socket(1000);
    expect(stack.bind(fd, ipv4('10.0.0.1'), 5000)).to.equal(-EADDRNOTAVAIL);
    expect(stack.bind(fd, 0, 1023)).to.equal(-EACCES);
    expect(stack.bind(fd, 0, 1024)).to.equal(0);
    expect(stack.bind(fd, 0, 5000), 'again').to.equal(-EINVAL);
    expect(stack.bind(stack.socket(0), 0, 1023), 'root').to.equal(0);
    expect(stack.bind(stack.socket(0), 0, 1024)).to.equal(-EADDRINUSE);
    const c = conversation();
    established(c);
    expect(c.host.stack.bind(c.fd, 0, 5000), 'connected').to.equal(-EINVAL);
  });

  it('publishes the name, and chooses an odd port for 0', () => {
    const { host } = conversation();
    const fd = socket(host);
    expect(host.stack.bind(fd, host.address, 0)).to.equal(0);
    const at = host.mem.blockAt(fd);
    expect(host.mem.ctl[at + BLOCK_LADDR]).to.equal(host.address);
    const port = host.mem.ctl[at + BLOCK_LPORT]!;
    expect(port).to.be.within(32_768, 60_999);
    expect(port % 2).to.equal(1);
  });

  it('a failed bind leaves the socket as it was', () => {
    const { host } = conversation();
    host.listen(80);
    const fd = socket(host);
    expect(host.stack.bind(fd, host.address, 80)).to.equal(-EADDRINUSE);
    expect(host.stack.bind(fd, 0, 81)).to.equal(0);
    const peer = new Peer(host, { localPort: 81 });
    expect(host.stack.listen(fd, 1)).to.equal(0);
    peer.in('S 0:0(0)');
    peer.out('S. 0:0(0) ack 1');
  });
});

describe('tcp: listen', () => {
  // RFC 9293 MUST-41.
  it('two SO_REUSEADDR sockets may bind, one may listen', () => {
    const { host } = conversation();
    const [a, b] = [socket(host, SO_REUSEADDR), socket(host, SO_REUSEADDR)];
    for (const fd of [a, b]) expect(host.stack.bind(fd, 0, 80)).to.equal(0);
    expect(host.stack.listen(a, 1)).to.equal(0);
    expect(host.stack.listen(b, 1)).to.equal(-EADDRINUSE);
    expect(host.mem.ctl[host.mem.blockAt(b) + BLOCK_STATE]).to.equal(7);
    expect(host.stack.bind(socket(host, SO_REUSEADDR), 0, 80)).to.equal(-EADDRINUSE);
    host.close(a);
    expect(host.stack.listen(b, 1)).to.equal(0);
  });

  it('reads SO_REUSEPORT when it is called', () => {
    const { host } = conversation();
    const [a, b] = [socket(host, SO_REUSEPORT), socket(host, SO_REUSEPORT)];
    for (const fd of [a, b]) expect(host.stack.bind(fd, 0, 80)).to.equal(0);
    expect(host.stack.listen(a, 1)).to.equal(0);
    host.stack.setsockopt(b, 1, SO_REUSEPORT, 0, 0);
    expect(host.stack.listen(b, 1)).to.equal(-EADDRINUSE);
    host.stack.setsockopt(b, 1, SO_REUSEPORT, 1, 0);
    expect(host.stack.listen(b, 1)).to.equal(0);
  });

  it('binds an unbound socket; its port is gone when it stops', () => {
    const { host } = conversation();
    const fd = socket(host);
    expect(host.stack.listen(fd, 1)).to.equal(0);
    const word = host.mem.blockAt(fd) + BLOCK_LPORT;
    const port = host.mem.ctl[word]!;
    expect(port).to.be.within(32_768, 60_999);
    const peer = new Peer(host, { localPort: port });
    peer.in('S 0:0(0)');
    peer.out('S. 0:0(0) ack 1');
    host.shutdown(fd, 0);
    expect(host.stack.bind(socket(host), 0, port)).to.equal(0);
    expect(host.stack.listen(fd, 1)).to.equal(0);
    expect(host.mem.ctl[word]).not.to.equal(port);
  });

  it('fails when no port is left for it, and when there is no memory', () => {
    const { host } = conversation({ sysctl: { 'net.ipv4.ip_local_port_range': '50000 50000' } });
    expect(host.stack.listen(socket(host), 1)).to.equal(0);
    expect(host.stack.listen(socket(host), 1)).to.equal(-EADDRINUSE);
    const full = conversation().host;
    const listener = full.listen(80, 1);
    while (full.mem.allocRing(4096) !== 0);
    expect(full.stack.listen(socket(full), 1)).to.equal(-ENOMEM);
    expect(full.stack.listen(listener, 4000), 'a larger queue').to.equal(-ENOMEM);
    expect(full.stack.sock(listener)!.listen!.backlog).to.equal(1);
  });

  it('a group that is full refuses, and the socket does not listen', () => {
    const { host } = conversation();
    const [a, b] = [socket(host, SO_REUSEPORT), socket(host, SO_REUSEPORT)];
    for (const fd of [a, b]) expect(host.stack.bind(fd, 0, 80)).to.equal(0);
    expect(host.stack.listen(a, 1)).to.equal(0);
    const group = host.stack.sock(a)!.reuseportCb!;
    const { maxSocks } = group;
    group.numSocks = maxSocks;
    group.maxSocks = 65_535;
    const pages = host.mem.pagesInUse;
    try {
      group.socks.length = 65_535;
      group.numSocks = 65_535;
      expect(host.stack.listen(b, 1)).to.equal(-ENOMEM);
    } finally {
      group.numSocks = 1;
      group.maxSocks = maxSocks;
    }
    expect(host.mem.pagesInUse, 'the accept ring is given back').to.equal(pages);
    expect(host.stack.sock(b)!.state).to.equal(7);
    expect(host.stack.listen(b, 1)).to.equal(0);
  });

  it('a listener is nothing to read from, write to or give memory to', () => {
    const { host } = conversation();
    const fd = host.listen(80);
    expect(host.read(fd)).to.equal(-ENOTCONN);
    expect(host.write(fd, 'x')).to.equal(-EPIPE);
    host.stack.published(fd);
    host.stack.consumed(fd);
    expect(host.stack.tcp.hasDirty).to.equal(false);
  });
});

describe('tcp: states', () => {
  /** RFC 9293 3.3.2 with Linux's names; LISTEN to SYN-RECV happens by way of a new socket. */
  const LEGAL = [
    'UNCONN LISTEN',
    'UNCONN SYN-SENT',
    'UNCONN SYN-RECV',
    'LISTEN UNCONN',
    'SYN-SENT SYN-RECV',
    'SYN-SENT ESTAB',
    'SYN-SENT UNCONN',
    'SYN-RECV ESTAB',
    'SYN-RECV FIN-WAIT-1',
    'SYN-RECV CLOSE-WAIT',
    'SYN-RECV UNCONN',
    'ESTAB FIN-WAIT-1',
    'ESTAB CLOSE-WAIT',
    'ESTAB UNCONN',
    'FIN-WAIT-1 FIN-WAIT-2',
    'FIN-WAIT-1 CLOSING',
    'FIN-WAIT-1 TIME-WAIT',
    'FIN-WAIT-1 UNCONN',
    'FIN-WAIT-2 TIME-WAIT',
    'FIN-WAIT-2 UNCONN',
    'CLOSE-WAIT LAST-ACK',
    'CLOSE-WAIT UNCONN',
    'CLOSING TIME-WAIT',
    'CLOSING UNCONN',
    'LAST-ACK UNCONN',
    'TIME-WAIT UNCONN',
  ];

  it('any other transition is a programming error', () => {
    const { host } = conversation();
    const fd = host.stack.socket(0);
    const tcb = host.stack.sock(fd)!;
    const legal: string[] = [];
    for (let from = 1; from < 12; from++) {
      for (let to = 1; to < STATE_NAMES.length; to++) {
        if (((TRANSITIONS[from]! >>> to) & 1) === 1) {
          legal.push(`${STATE_NAMES[from]} ${STATE_NAMES[to]}`);
          continue;
        }
        tcb.state = from;
        expect(() => setState(host.stack.tcp, tcb, to)).to.throw(
          `TCP state ${STATE_NAMES[from]} → ${STATE_NAMES[to]} of fd ${fd}`,
        );
        expect(tcb.state).to.equal(from);
      }
    }
    tcb.state = 7;
    expect(legal).to.have.members(LEGAL);
  });

  it('FIN is queued once, and an open socket is not destroyed', () => {
    const c = conversation();
    established(c);
    const tcb = c.host.stack.sock(c.fd)!;
    expect(() => destroy(c.host.stack.tcp, tcb)).to.throw('destroyed while open');
    closeSending(c.host.stack.tcp, tcb);
    closeSending(c.host.stack.tcp, tcb);
    c.host.poll();
    c.peer.out('F. 1:1(0) ack 1');
    c.peer.quiet();
  });

  it('are told to the trace', () => {
    const seen: string[] = [];
    const c = conversation({
      trace: {
        state: (fd, from, to) => seen.push(`${fd} ${STATE_NAMES[from]} ${STATE_NAMES[to]}`),
      },
    });
    established(c);
    c.peer.in('R 1:1(0)');
    expect(seen).to.deep.equal([
      '3 UNCONN LISTEN',
      '4 UNCONN SYN-RECV',
      '4 SYN-RECV ESTAB',
      '4 ESTAB UNCONN',
    ]);
  });

  it('CurrEstab counts ESTABLISHED and CLOSE-WAIT', () => {
    const c = conversation();
    const current = () => c.host.counter(Mib.TcpCurrEstab);
    established(c);
    expect(current()).to.equal(1);
    c.peer.in('F. 1:1(0) ack 1');
    expect(current()).to.equal(1);
    c.host.close(c.fd);
    expect(c.host.stack.sock(c.fd)!.state).to.equal(9);
    expect(current()).to.equal(0);
    expect(c.host.counter(Mib.TcpEstabResets)).to.equal(0);
  });
});
