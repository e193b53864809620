/**
 * SO_BINDTODEVICE on a stack with several devices: who may bind to what, whose SYN is whose, and by
 * which device the answers leave. What Linux does was measured on 6.18.
 */
import { expect } from 'chai';
import {
  EADDRINUSE,
  EAGAIN,
  EBADF,
  EINPROGRESS,
  EINVAL,
  ENETUNREACH,
  ENODEV,
  ENOPROTOOPT,
  EPERM,
} from '../../src/net/errno.js';
import { Mib } from '../../src/net/mib.js';
import { BLOCK_LADDR } from '../../src/net/sockmem.js';
import type { Profile } from '../../src/net/sysctl.js';
import { ipv4, MemoryStack, Peer } from '../../src/testing/index.js';
import {
  bindTo,
  boundTo,
  D0,
  D1,
  LO,
  listenOn,
  peerOn,
  SO_BINDTODEVICE,
  SO_REUSEPORT,
  SOL_SOCKET,
  twoLinks,
  winner,
} from './two-links.js';

const SO_REUSEADDR = 2;
const IPPROTO_TCP = 6;
const TCP_INFO = 11;

describe('tcp: SO_BINDTODEVICE, the option', () => {
  it('binds, says the name, unbinds', () => {
    const host = twoLinks();
    const fd = host.stack.socket(0);
    expect(boundTo(host, fd)).to.equal('');
    for (const name of ['d1', 'lo', 'd0']) {
      expect(bindTo(host, fd, name)).to.equal(0);
      expect(boundTo(host, fd)).to.equal(name);
    }
    expect(bindTo(host, fd, 'd1\0rest'), 'a C string').to.equal(0);
    expect(boundTo(host, fd)).to.equal('d1');
    expect(bindTo(host, fd, '')).to.equal(0);
    expect(boundTo(host, fd)).to.equal('');
  });

  it('refuses unknown names, other levels and descriptors that are none', () => {
    const host = twoLinks();
    const fd = host.stack.socket(0);
    for (const name of ['d2', 'D0', 'd0 ', `d0${'x'.repeat(30)}`]) {
      expect(bindTo(host, fd, name)).to.equal(-ENODEV);
    }
    expect(boundTo(host, fd)).to.equal('');
    const { stack } = host;
    expect(stack.setsockoptText(fd, IPPROTO_TCP, SO_BINDTODEVICE, 'd0')).to.equal(-ENOPROTOOPT);
    expect(stack.getsockoptText(fd, IPPROTO_TCP, SO_BINDTODEVICE)).to.equal(-ENOPROTOOPT);
    expect(stack.getsockoptText(fd, SOL_SOCKET, SO_REUSEPORT)).to.equal(-ENOPROTOOPT);
    expect(bindTo(host, 99, 'd0')).to.equal(-EBADF);
    expect(boundTo(host, 99)).to.equal(-EBADF);
  });

  it('cuts names at 15 characters', () => {
    const name = 'abcdefghijklmno';
    const host = new MemoryStack({ links: [{ name, addresses: ['10.1.0.1'] }] });
    const fd = host.stack.socket(0);
    expect(bindTo(host, fd, `${name}pq`)).to.equal(0);
    expect(boundTo(host, fd)).to.equal(name);
  });

  it('without privilege: once per socket today, never in 5.0', () => {
    const answers = (profile: Profile): (string | number)[] => {
      const host = twoLinks({ profile });
      const [fd, other] = [host.stack.socket(1000), host.stack.socket(1000)];
      return [
        bindTo(host, other, ''),
        bindTo(host, other, 'd9'),
        bindTo(host, fd, 'd0'),
        bindTo(host, fd, 'd0'),
        bindTo(host, fd, 'd1'),
        bindTo(host, fd, ''),
        bindTo(host, fd, 'd9'),
        boundTo(host, fd),
      ];
    };
    expect(answers('6.18')).to.deep.equal([0, -ENODEV, 0, -EPERM, -EPERM, -EPERM, -ENODEV, 'd0']);
    expect(answers('5.0')).to.deep.equal([...new Array<number>(7).fill(-EPERM), '']);
  });

  it('keeps owners of a port apart, and only when both are bound', () => {
    const host = twoLinks();
    const { stack } = host;
    const bind = (name: string): [fd: number, error: number] => {
      const fd = stack.socket(0);
      bindTo(host, fd, name);
      return [fd, stack.bind(fd, 0, 80)];
    };
    const [a] = bind('d0');
    const [b, error] = bind('d1');
    expect(error).to.equal(0);
    expect(bind('')[1]).to.equal(-EADDRINUSE);
    expect(bind('d0')[1]).to.equal(-EADDRINUSE);
    // Setting the option asks for no conflict; listen() does, on both sides.
    expect(bindTo(host, b, 'd0')).to.equal(0);
    expect([stack.listen(a, 1), stack.listen(b, 1)]).to.deep.equal([-EADDRINUSE, -EADDRINUSE]);
    expect(bindTo(host, b, 'd1')).to.equal(0);
    expect([stack.listen(a, 1), stack.listen(b, 1)]).to.deep.equal([0, 0]);
  });
});

describe('tcp: SO_BINDTODEVICE, listeners', () => {
  it('a bound listener takes SYNs of its device only; others get a RST', () => {
    const host = twoLinks();
    const fd = listenOn(host, 80, { dev: 'd1' });
    // Which of our addresses they name does not matter: the device is where they come in.
    for (const [port, localAddress] of [
      [1, '10.1.0.1'],
      [2, '10.2.0.1'],
    ] as const) {
      expect(winner(host, peerOn(host, D1, port, localAddress), [fd])).to.equal(fd);
      expect(winner(host, peerOn(host, D0, port, localAddress), [fd])).to.equal(null);
    }
  });

  it('one for each device, and the same addresses and ports meet on both', () => {
    const host = twoLinks();
    const fds = [listenOn(host, 80, { dev: 'd0' }), listenOn(host, 80, { dev: 'd1' })];
    const options = { address: '10.5.5.5', port: 999, localAddress: '10.1.0.1' };
    const children = [D0, D1].map((ifindex, i) => {
      const peer = new Peer(host, { ...options, ingress: { ifindex } });
      peer.in('S 0:0(0) win 65535 <mss 1460>');
      peer.out('S. 0:0(0) ack 1 <...>');
      peer.in('. 1:1(0) ack 1');
      const child = host.accept(fds[i]!);
      peer.in('P. 1:3(2) ack 1', `#${i}`);
      peer.out('. 1:1(0) ack 3');
      return child;
    });
    expect(children.map((fd) => host.readText(fd))).to.deep.equal(['#0', '#1']);
    expect(children.map((fd) => boundTo(host, fd))).to.deep.equal(['d0', 'd1']);
    expect(host.stack.tcp.hashinfo.ehash.size).to.equal(2);
  });

  it('of two groups the one that listened last takes all, whatever the scores', () => {
    for (const profile of ['5.0', '6.18'] as const) {
      const host = twoLinks({ profile });
      const bound = listenOn(host, 80, { dev: 'd0', reuseport: true });
      const unbound = listenOn(host, 80, { reuseport: true });
      for (let port = 1; port < 20; port++) {
        expect(winner(host, peerOn(host, D0, port), [bound, unbound])).to.equal(unbound);
      }
      const again = listenOn(host, 80, { dev: 'd0', reuseport: true });
      const taken = new Set<number | null>();
      for (let port = 20; port < 60; port++) {
        taken.add(winner(host, peerOn(host, D0, port), [bound, unbound, again]));
      }
      expect(taken, 'now the group of d0').to.deep.equal(new Set([bound, again]));
      expect(winner(host, peerOn(host, D1), [bound, unbound, again])).to.equal(unbound);
    }
  });

  it('a change takes effect at once', () => {
    const host = twoLinks();
    const fd = listenOn(host, 80);
    expect(winner(host, peerOn(host, D0, 1), [fd])).to.equal(fd);
    bindTo(host, fd, 'd1');
    expect(winner(host, peerOn(host, D0, 2), [fd])).to.equal(null);
    expect(winner(host, peerOn(host, D1, 2), [fd])).to.equal(fd);
    bindTo(host, fd, '');
    expect(winner(host, peerOn(host, D0, 3), [fd])).to.equal(fd);
  });

  it('a member that changes its device stays in the group, and answers by its device', () => {
    const host = twoLinks();
    const [moved, stayed] = [
      listenOn(host, 80, { reuseport: true }),
      listenOn(host, 80, { reuseport: true }),
    ];
    bindTo(host, moved, 'd1');
    const leftBy = [0, 0];
    for (let port = 1; port <= 40; port++) {
      peerOn(host, D0, port).in('S 0:0(0) win 65535 <mss 1460>');
      const [d0, d1] = host.links;
      const [out0, out1] = [d0!.sent.splice(0), d1!.sent.splice(0)];
      expect(out0.length + out1.length).to.equal(1);
      leftBy[out0.length > 0 ? 0 : 1]!++;
    }
    expect(Math.min(...leftBy)).to.be.greaterThan(8);
    const reqs = [moved, stayed].map((fd) => host.stack.sock(fd)!.listen!.reqs);
    expect(reqs).to.deep.equal([leftBy[1], leftBy[0]]);
    // With nobody left for d0 the scan finds no one.
    bindTo(host, stayed, 'd1');
    expect(winner(host, peerOn(host, D0, 99), [moved, stayed])).to.equal(null);
  });

  it('children are bound to the device that the SYN was taken on', () => {
    const host = twoLinks();
    const listener = listenOn(host, 80, { dev: 'd1' });
    // From the subnet of d0, and still answered by d1.
    const peer = new Peer(host, {
      address: '10.1.0.50',
      localAddress: '10.1.0.1',
      ingress: { ifindex: D1 },
    });
    peer.in('S 0:0(0) win 65535 <mss 8960>');
    const { options } = peer.out('S. 0:0(0) ack 1 <mss 8960>');
    expect(options, 'the MTU of d1').to.deep.equal([{ kind: 'mss', value: 8960 }]);
    // What becomes of the listener meanwhile does not concern the request.
    bindTo(host, listener, '');
    peer.in('. 1:1(0) ack 1');
    const child = host.accept(listener);
    expect(boundTo(host, child)).to.equal('d1');
    host.write(child, 'hello');
    peer.out('P. 1:6(5) ack 1');
    // The same segment by the other device is nobody's: a listener gets it, and resets.
    peer.ingress = { ifindex: D0 };
    peer.in('. 1:1(0) ack 6');
    peer.out('R 6:6(0) ack 0');
    peer.ingress = { ifindex: D1 };
    host.close(child);
    peer.out('F. 6:6(0) ack 1');
    peer.in('F. 1:1(0) ack 7');
    peer.out('. 7:7(0) ack 2');
    // TIME-WAIT keeps the device too.
    peer.in('F. 1:1(0) ack 7');
    peer.out('. 7:7(0) ack 2');
    expect(host.links[0]!.sent).to.deep.equal([]);
  });

  it('children of an unbound listener are bound to none and follow the routes', () => {
    const host = twoLinks();
    const listener = listenOn(host, 80);
    // Came in by d1, but its subnet is that of d0.
    const peer = new Peer(host, { address: '10.1.0.50', ingress: { ifindex: D1 } });
    peer.in('S 0:0(0) win 65535 <mss 1460>');
    peer.quiet();
    peer.ingress = { ifindex: D0 };
    peer.out('S. 0:0(0) ack 1 <mss 1460>');
    peer.in('. 1:1(0) ack 1');
    const child = host.accept(listener);
    expect(boundTo(host, child)).to.equal('');
    peer.ingress = { ifindex: D1 };
    peer.in('P. 1:3(2) ack 1', 'hi');
    expect(host.readText(child)).to.equal('hi');
  });

  it('a RST of a bound listener leaves by its device, that of nobody by the route', () => {
    const host = twoLinks();
    listenOn(host, 80, { dev: 'd1' });
    const stray = (localPort: number): number[] => {
      new Peer(host, { address: '10.1.0.50', localPort, ingress: { ifindex: D1 } }).in(
        '. 1:1(0) ack 1',
      );
      return host.links.map((link) => link.sent.splice(0).length);
    };
    expect(stray(80)).to.deep.equal([0, 1]);
    expect(stray(81)).to.deep.equal([1, 0]);
  });

  it('the port is shared by SO_REUSEADDR sockets bound to different devices', () => {
    const host = twoLinks();
    const { stack } = host;
    const fds = ['d0', 'd1', 'lo'].map((dev) => {
      const fd = stack.socket(0);
      stack.setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, 1, 0);
      bindTo(host, fd, dev);
      expect(stack.bind(fd, 0, 80)).to.equal(0);
      expect(stack.listen(fd, 8)).to.equal(0);
      return fd;
    });
    expect(winner(host, peerOn(host, D0), fds)).to.equal(fds[0]);
    expect(winner(host, peerOn(host, D1), fds)).to.equal(fds[1]);
    expect(host.stack.net.routes.device(LO)!.name).to.equal('lo');
  });
});

describe('tcp: SO_BINDTODEVICE, connections', () => {
  function connect(host: MemoryStack, to: string, dev = ''): number {
    const fd = host.stack.socket(0);
    bindTo(host, fd, dev);
    expect(host.stack.connect(fd, ipv4(to), 80)).to.equal(-EINPROGRESS);
    host.poll();
    return fd;
  }

  it('nothing comes from a group’s address; 127.0.0.1 does not leave', () => {
    const cases: [from: string, dev: string, to: string, result: number, source: string][] = [
      ['127.0.0.1', '', '10.1.0.77', -EINVAL, '127.0.0.1'],
      ['127.0.0.1', 'd0', '127.0.0.1', -EINVAL, '127.0.0.1'],
      ['127.0.0.1', 'd0', '0.0.0.0', -EINVAL, '127.0.0.1'],
      ['127.0.0.1', '', '10.1.0.1', -EINPROGRESS, '127.0.0.1'],
      ['127.0.0.1', 'lo', '10.1.0.77', -EINPROGRESS, '127.0.0.1'],
      ['10.1.0.255', '', '10.1.0.77', -EINPROGRESS, '10.1.0.1'],
      ['10.1.0.255', '', '127.0.0.1', -EINPROGRESS, '127.0.0.1'],
      ['224.0.0.1', '', '0.0.0.0', -EINPROGRESS, '127.0.0.1'],
      ['255.255.255.255', '', '10.2.0.77', -EINPROGRESS, '10.2.0.1'],
      ['10.1.0.1', '', '10.2.0.255', -ENETUNREACH, '10.1.0.1'],
    ];
    for (const [from, dev, to, result, expected] of cases) {
      const host = twoLinks();
      const fd = host.stack.socket(0);
      bindTo(host, fd, dev);
      expect(host.stack.bind(fd, ipv4(from), 0)).to.equal(0);
      expect(host.stack.connect(fd, ipv4(to), 80), `${from} ${to}`).to.equal(result);
      expect(source(host, fd), `${from} ${to}`).to.equal(ipv4(expected));
    }
  });

  // RFC 9293 MUST-57.
  it('SYNs to broadcast addresses are dropped and counted, whoever listens', () => {
    const host = twoLinks();
    listenOn(host, 80);
    for (const localAddress of ['10.1.0.255', '10.2.0.255', '255.255.255.255']) {
      peerOn(host, D0, 1, localAddress).in('S 0:0(0) win 65535 <mss 1460>');
    }
    expect(host.links.map((link) => link.sent.length)).to.deep.equal([0, 0]);
    expect(host.counter(Mib.IpExtInBcastPkts)).to.equal(3);
    expect(host.counter(Mib.TcpInSegs)).to.equal(0);
  });

  function source(host: MemoryStack, fd: number): number {
    return host.mem.ctl[host.mem.blockAt(fd) + BLOCK_LADDR]!;
  }

  // RFC 9293 MUST-44.
  it('leave by the device bound to, else by the subnet, else by the first', () => {
    const cases: [to: string, dev: string, from: string, link: number][] = [
      ['10.1.0.5', '', '10.1.0.1', 0],
      ['10.9.3.3', '', '10.9.0.7', 0],
      ['10.2.0.5', '', '10.2.0.1', 1],
      ['8.8.8.8', '', '10.1.0.1', 0],
      ['8.8.8.8', 'd1', '10.2.0.1', 1],
      ['10.2.0.5', 'd0', '10.1.0.1', 0],
      ['10.1.0.5', 'd1', '10.2.0.1', 1],
      ['10.2.0.1', 'd0', '10.1.0.1', 0],
      ['127.0.0.1', 'd1', '10.2.0.1', 1],
    ];
    for (const [to, dev, from, link] of cases) {
      const host = twoLinks();
      const fd = connect(host, to, dev);
      expect(source(host, fd), `${to} ${dev}`).to.equal(ipv4(from));
      expect(host.links.map((l) => l.sent.length)).to.deep.equal(link === 0 ? [1, 0] : [0, 1]);
    }
  });

  it('segments fit the device’s MTU, also when it changes', () => {
    const host = twoLinks();
    const fd = connect(host, '10.2.0.99');
    const peer = new Peer(host, {
      address: '10.2.0.99',
      port: 80,
      localAddress: '10.2.0.1',
      localPort: host.stack.sock(fd)!.num,
      ingress: { ifindex: D1 },
    });
    const { options } = peer.out('S 0:0(0) <...>');
    expect(options[0]).to.deep.equal({ kind: 'mss', value: 8960 });
    peer.in('S. 0:0(0) ack 1 <mss 4000>');
    peer.out('. 1:1(0) ack 1');
    const info = new Int32Array(26);
    const mtuAndMss = (): number[] => {
      host.stack.getsockopt(fd, IPPROTO_TCP, TCP_INFO, info);
      return [info[15]!, info[4]!];
    };
    expect(mtuAndMss()).to.deep.equal([9000, 4000]);
    host.write(fd, new Uint8Array(4500));
    peer.out('. 1:4001(4000) ack 1');
    peer.out('P. 4001:4501(500) ack 1');
    expect(bindTo(host, fd, 'd0')).to.equal(0);
    expect(mtuAndMss()).to.deep.equal([1500, 1460]);
    // From now on it hears d0 only: the ACK on d1 is nobody's.
    peer.in('. 1:1(0) ack 4501');
    peer.out('R 4501:4501(0) ack 0');
    peer.ingress = { ifindex: D0 };
    peer.in('. 1:1(0) ack 4501');
    host.write(fd, new Uint8Array(2000));
    peer.out('. 4501:5961(1460) ack 1');
    peer.out('P. 5961:6501(540) ack 1');
    expect(bindTo(host, fd, 'd1')).to.equal(0);
    expect(mtuAndMss()).to.deep.equal([9000, 4000]);
  });

  it('lookups follow the option while a connection is in the table', () => {
    const host = twoLinks();
    const listener = listenOn(host, 80);
    const peer = peerOn(host, D0);
    const fd = peer.establish(listener);
    bindTo(host, fd, 'd1');
    peer.in('P. 1:2(1) ack 1', 'x');
    peer.out('R 1:1(0) ack 0');
    expect(host.read(fd)).to.equal(-EAGAIN);
    bindTo(host, fd, 'd0');
    peer.in('P. 1:2(1) ack 1', 'x');
    expect(host.readText(fd)).to.equal('x');
  });
});
