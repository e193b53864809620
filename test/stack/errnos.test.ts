/**
 * What socket calls say when they are refused, in all states that matter for listeners, through the
 * calls of a thread and a real stack. Measured on Linux.
 */
import { expect } from 'chai';
import * as errno from '../../src/net/errno.js';
import { setSysctl } from '../../src/net/sysctl.js';
import type { Sockaddr, Sys } from '../../src/socket/sys.js';
import * as c from '../../src/socket/uapi/constants.js';
import { type SysOnStack, sysOnStack } from './sys-on-stack.js';

const US = '198.18.0.1';
const NOBODY = '198.18.0.77';

describe('errnos of calls', () => {
  let host: SysOnStack;
  let sys: Sys;
  const out: Sockaddr = { family: 0, address: '', port: 0 };

  beforeEach(() => {
    host = sysOnStack();
    sys = host.thread();
  });

  const socket = (flags: number = c.SOCK_NONBLOCK): number =>
    sys.socket(c.AF_INET, c.SOCK_STREAM | flags, 0);

  function listener(port = 80, backlog = 8): number {
    const fd = socket();
    expect(sys.bind(fd, { address: US, port })).to.equal(0);
    expect(sys.listen(fd, backlog)).to.equal(0);
    return fd;
  }

  function client(port = 80): number {
    const fd = socket();
    expect(sys.connect(fd, { address: US, port })).to.equal(-errno.EINPROGRESS);
    host.turn();
    return fd;
  }

  function pair(): { listening: number; fd: number; child: number } {
    const listening = listener();
    const fd = client();
    const child = sys.accept4(listening, c.SOCK_NONBLOCK);
    expect(child).to.be.greaterThan(2);
    return { listening, fd, child };
  }

  it('bind: bound, connected, listening, connecting', () => {
    const { listening, fd, child } = pair();
    const bound = socket();
    expect(sys.bind(bound, { address: US, port: 81 })).to.equal(0);
    const connecting = socket();
    expect(sys.connect(connecting, { address: NOBODY, port: 9 })).to.equal(-errno.EINPROGRESS);
    for (const one of [bound, fd, child, listening, connecting]) {
      expect(sys.bind(one, { address: US, port: 82 })).to.equal(-errno.EINVAL);
    }
  });

  it('bind: an address that is not ours, a port that is taken, privileged ports', () => {
    listener();
    const fd = socket();
    expect(sys.bind(fd, { address: NOBODY, port: 81 })).to.equal(-errno.EADDRNOTAVAIL);
    for (const address of [US, '0.0.0.0']) {
      expect(sys.bind(fd, { address, port: 80 })).to.equal(-errno.EADDRINUSE);
    }
    expect(sys.socket(c.AF_INET6, c.SOCK_STREAM, 0)).to.equal(-errno.EAFNOSUPPORT);
    const { stack } = host;
    const user = stack.socket(1000);
    expect(stack.bind(user, 0, 1023)).to.equal(-errno.EACCES);
    expect(setSysctl(host.sysctl, 'net.ipv4.ip_unprivileged_port_start', 1023)).to.equal(null);
    expect(stack.bind(user, 0, 1022)).to.equal(-errno.EACCES);
    expect(stack.bind(user, 0, 1023)).to.equal(0);
  });

  it('listen: connected and connecting; twice; without bind', () => {
    const { listening, fd, child } = pair();
    const connecting = socket();
    sys.connect(connecting, { address: NOBODY, port: 9 });
    for (const one of [fd, child, connecting]) expect(sys.listen(one, 1)).to.equal(-errno.EINVAL);
    expect(sys.listen(listening, 3)).to.equal(0);
    expect(host.stack.sock(listening)!.listen!.backlog).to.equal(3);
    expect(sys.listen(listening, -1)).to.equal(0);
    expect(host.stack.sock(listening)!.listen!.backlog).to.equal(4096);
    const unbound = socket();
    expect(sys.listen(unbound, 1)).to.equal(0);
    expect(sys.getsockname(unbound, out)).to.equal(0);
    expect(out.port).to.be.within(32_768, 60_999);
  });

  it('listen: a port that another took after bind()', () => {
    const both = [socket(), socket()];
    for (const fd of both) {
      sys.setsockopt(fd, c.SOL_SOCKET, c.SO_REUSEADDR, 1);
      expect(sys.bind(fd, { address: US, port: 80 })).to.equal(0);
    }
    expect(sys.listen(both[0]!, 1)).to.equal(0);
    expect(sys.listen(both[1]!, 1)).to.equal(-errno.EADDRINUSE);
  });

  it('accept: nothing there, no listener', () => {
    const { listening, fd } = pair();
    expect(sys.accept4(listening, 0)).to.equal(-errno.EAGAIN);
    for (const one of [fd, socket()]) expect(sys.accept4(one, 0)).to.equal(-errno.EINVAL);
    expect(sys.accept4(99, 0)).to.equal(-errno.EBADF);
  });

  for (const [name, end] of [
    ['shut down', (other: Sys, fd: number) => other.shutdown(fd, c.SHUT_RD)],
    ['drained', (other: Sys, fd: number) => other.setsockopt(fd, c.SOL_SOCKET, c.SO_DRAIN, 1)],
  ] as const) {
    it(`accept: ${name} while it waits`, () => {
      const other = host.thread();
      let ending = -1;
      const waiting = host.thread(() => {
        const fd = ending;
        ending = -1;
        if (fd >= 0) expect(end(other, fd)).to.equal(0);
      });
      const fd = waiting.socket(c.AF_INET, c.SOCK_STREAM, 0);
      expect(waiting.listen(fd, 1)).to.equal(0);
      ending = fd;
      expect(waiting.accept4(fd, 0)).to.equal(-errno.EINVAL);
    });
  }

  it('connect: a listener, connected, under way, refused', () => {
    const { listening, fd, child } = pair();
    const to = { address: US, port: 80 };
    for (const one of [listening, fd, child]) {
      expect(sys.connect(one, to)).to.equal(one === fd ? 0 : -errno.EISCONN);
    }
    expect(sys.connect(fd, to), 'the first only tells that it is connected').to.equal(
      -errno.EISCONN,
    );
    const connecting = socket();
    expect(sys.connect(connecting, { address: NOBODY, port: 9 })).to.equal(-errno.EINPROGRESS);
    expect(sys.connect(connecting, { address: NOBODY, port: 9 })).to.equal(-errno.EALREADY);
    const refused = socket();
    expect(sys.connect(refused, { address: US, port: 9 })).to.equal(-errno.EINPROGRESS);
    host.turn();
    expect(sys.connect(refused, to)).to.equal(-errno.ECONNREFUSED);
    expect(sys.connect(refused, to), 'stays usable').to.equal(-errno.EINPROGRESS);
  });

  it('read and write: a listener, and one that never connected', () => {
    const buffer = new Uint8Array(1);
    for (const fd of [listener(), socket()]) {
      expect(sys.read(fd, buffer)).to.equal(-errno.ENOTCONN);
      expect(sys.write(fd, buffer)).to.equal(-errno.EPIPE);
    }
  });

  it('shutdown: of a listener, and of what is not connected', () => {
    const fd = listener();
    expect(sys.shutdown(fd, c.SHUT_WR)).to.equal(0);
    expect(sys.accept4(fd, 0)).to.equal(-errno.EAGAIN);
    expect(sys.shutdown(fd, 3)).to.equal(-errno.EINVAL);
    expect(sys.shutdown(fd, c.SHUT_RDWR)).to.equal(0);
    expect(sys.accept4(fd, 0)).to.equal(-errno.EINVAL);
    expect(sys.shutdown(fd, c.SHUT_RD)).to.equal(-errno.ENOTCONN);
    expect(sys.shutdown(socket(), c.SHUT_RD)).to.equal(-errno.ENOTCONN);
    expect(sys.listen(fd, 1), 'may listen again').to.equal(0);
  });

  it('a connection that was reset before accept()', () => {
    const listening = listener();
    const fd = client();
    sys.setsockopt(fd, c.SOL_SOCKET, c.SO_LINGER, 1, 0);
    expect(sys.close(fd)).to.equal(0);
    host.turn();
    const child = sys.accept4(listening, c.SOCK_NONBLOCK);
    expect(child).to.be.greaterThan(2);
    expect(sys.getpeername(child, out)).to.equal(-errno.ENOTCONN);
    expect(sys.read(child, new Uint8Array(1))).to.equal(-errno.ECONNRESET);
    expect(sys.read(child, new Uint8Array(1))).to.equal(0);
  });

  it('ports: none left for bind(0), listen() and connect()', () => {
    expect(setSysctl(host.sysctl, 'net.ipv4.ip_local_port_range', '40000 40001')).to.equal(null);
    const bound = [socket(), socket(), socket()];
    expect(bound.map((fd) => sys.bind(fd, { address: US, port: 0 }))).to.deep.equal([
      0,
      0,
      -errno.EADDRINUSE,
    ]);
    expect(sys.listen(socket(), 1)).to.equal(-errno.EADDRINUSE);
    const to = { address: NOBODY, port: 9 };
    expect(sys.connect(socket(), to)).to.equal(-errno.EADDRNOTAVAIL);
    sys.close(bound[0]!);
    expect(sys.connect(socket(), to)).to.equal(-errno.EINPROGRESS);
    expect(sys.connect(socket(), to)).to.equal(-errno.EADDRNOTAVAIL);
    expect(sys.connect(socket(), { ...to, port: 10 }), 'another peer').to.equal(-errno.EINPROGRESS);
  });

  it('options: out of range, for listeners only, not of this kernel', () => {
    const fd = socket();
    const range = (low: number, high: number): number => low | (high << 16);
    const set = (value: number): number =>
      sys.setsockopt(fd, c.SOL_IP, c.IP_LOCAL_PORT_RANGE, value);
    expect(set(range(2000, 1000))).to.equal(-errno.EINVAL);
    for (const good of [range(1000, 1000), range(1000, 0), range(0, 65_535), 0]) {
      expect(set(good)).to.equal(0);
    }
    expect(sys.setsockopt(fd, c.SOL_SOCKET, c.SO_DRAIN, 1)).to.equal(-errno.EINVAL);
    expect(sys.getsockopt(fd, c.SOL_SOCKET, c.SO_DRAIN)).to.equal(-errno.EINVAL);
    expect(sys.setsockopt(fd, c.SOL_SOCKET, 9999, 1)).to.equal(-errno.ENOPROTOOPT);
  });
});
