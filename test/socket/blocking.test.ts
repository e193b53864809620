/** Calls that wait: for how much, for how long, and what ends them, on a stack in virtual time. */
import { expect } from 'chai';
import * as errno from '../../src/net/errno.js';
import * as c from '../../src/socket/uapi/constants.js';
import { ADDRESS, VirtualWorld } from '../stack/virtual-thread.js';

const text = (characters: string): Uint8Array => new TextEncoder().encode(characters);
const words = (bytes: Uint8Array, count: number): string =>
  new TextDecoder().decode(bytes.subarray(0, Math.max(0, count)));

describe('socket: calls that wait', () => {
  let world: VirtualWorld;
  let nextPort = 80;

  beforeEach(() => {
    world = new VirtualWorld();
    nextPort = 80;
  });

  /** A blocking connection of the thread that waits, and its other end. */
  function pair(): [fd: number, peer: number] {
    const { sys, other } = world;
    const listener = other.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, 0);
    const to = { address: ADDRESS, port: nextPort++ };
    other.bind(listener, to);
    other.listen(listener, 5);
    const fd = sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
    expect(sys.connect(fd, to)).to.equal(0);
    return [fd, other.accept4(listener, c.SOCK_NONBLOCK)];
  }

  const send = (fd: number, characters: string, flags = 0): void => {
    world.other.sendto(fd, text(characters), flags);
  };

  /** What `call` returns, and how many ms it took. */
  function timed(call: () => number): [result: number, ms: number] {
    const start = world.nowMs;
    return [call(), Math.round(world.nowMs - start)];
  }

  it('a read ends with the first bytes', () => {
    const [fd, peer] = pair();
    const into = new Uint8Array(10);
    world.later(30, () => send(peer, 'abc'));
    expect(timed(() => world.sys.read(fd, into))).to.deep.equal([3, 30]);
    expect(words(into, 3)).to.equal('abc');
  });

  it('SO_RCVLOWAT: with so many, or as many as were asked for', () => {
    const [fd, peer] = pair();
    world.sys.setsockopt(fd, c.SOL_SOCKET, c.SO_RCVLOWAT, 6);
    for (const [ms, part] of [
      [10, 'ab'],
      [20, 'cd'],
      [30, 'efgh'],
    ] as const) {
      world.later(ms, () => send(peer, part));
    }
    const into = new Uint8Array(20);
    expect(timed(() => world.sys.read(fd, into))).to.deep.equal([8, 30]);
    expect(words(into, 8)).to.equal('abcdefgh');
    world.later(5, () => send(peer, 'ijklmn'));
    expect(timed(() => world.sys.read(fd, into, 0, 2))).to.deep.equal([2, 5]);
    expect(timed(() => world.sys.read(fd, into, 0, 4))).to.deep.equal([4, 0]);
  });

  it('MSG_WAITALL: with all of it, at the end of the stream, or with an error to come', () => {
    const [fd, peer] = pair();
    const into = new Uint8Array(10);
    const all = () => world.sys.recvfrom(fd, into, c.MSG_WAITALL);
    world.later(10, () => send(peer, 'abcdef'));
    world.later(20, () => send(peer, 'ghijkl'));
    expect(timed(all)).to.deep.equal([10, 20]);
    world.later(10, () => world.other.shutdown(peer, c.SHUT_WR));
    expect(timed(all)).to.deep.equal([2, 10]);
    expect(timed(all)).to.deep.equal([0, 0]);
    const [next, end] = pair();
    send(end, 'xy');
    world.later(10, () => {
      world.other.setsockopt(end, c.SOL_SOCKET, c.SO_LINGER, 1, 0);
      world.other.close(end);
    });
    const rest = () => world.sys.recvfrom(next, into, c.MSG_WAITALL);
    expect(timed(rest)).to.deep.equal([2, 10]);
    expect(timed(rest)).to.deep.equal([-errno.ECONNRESET, 0]);
  });

  it('MSG_PEEK with MSG_WAITALL waits for more than is there, and takes nothing', () => {
    const [fd, peer] = pair();
    const into = new Uint8Array(4);
    send(peer, 'ab');
    world.later(15, () => send(peer, 'c'));
    world.later(25, () => send(peer, 'de'));
    const look = () => world.sys.recvfrom(fd, into, c.MSG_PEEK | c.MSG_WAITALL);
    expect(timed(look)).to.deep.equal([4, 25]);
    expect(words(into, 4)).to.equal('abcd');
    expect(timed(() => world.sys.recvfrom(fd, new Uint8Array(9), 0))).to.deep.equal([5, 0]);
  });

  it('recv of nothing waits for something', () => {
    const [fd, peer] = pair();
    world.later(12, () => send(peer, 'a'));
    expect(timed(() => world.sys.recvfrom(fd, new Uint8Array(0), 0))).to.deep.equal([0, 12]);
    expect(timed(() => world.sys.read(fd, new Uint8Array(4)))).to.deep.equal([1, 0]);
  });

  it('SO_RCVTIMEO bounds the whole call, not each wait in it', () => {
    const [fd, peer] = pair();
    world.sys.setsockopt(fd, c.SOL_SOCKET, c.SO_RCVTIMEO, 0, 100_000);
    const into = new Uint8Array(10);
    expect(timed(() => world.sys.read(fd, into))).to.deep.equal([-errno.EAGAIN, 100]);
    world.later(60, () => send(peer, 'ab'));
    expect(timed(() => world.sys.recvfrom(fd, into, c.MSG_WAITALL))).to.deep.equal([2, 100]);
    world.sys.setsockopt(fd, c.SOL_SOCKET, c.SO_RCVTIMEO, -1, 0);
    expect(timed(() => world.sys.read(fd, into))).to.deep.equal([-errno.EAGAIN, 0]);
    world.sys.setsockopt(fd, c.SOL_SOCKET, c.SO_RCVTIMEO, 0, 0);
    world.later(500, () => send(peer, 'c'));
    expect(timed(() => world.sys.read(fd, into))).to.deep.equal([1, 500]);
  });

  it('SO_RCVTIMEO of a listener is for accept()', () => {
    const { sys } = world;
    const fd = sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
    sys.bind(fd, { address: ADDRESS, port: 81 });
    sys.listen(fd, 1);
    sys.setsockopt(fd, c.SOL_SOCKET, c.SO_RCVTIMEO, 0, 40_000);
    expect(timed(() => sys.accept4(fd, 0))).to.deep.equal([-errno.EAGAIN, 40]);
  });

  it('SO_SNDTIMEO: a write that finds no room ends with what it had', () => {
    const [fd, peer] = pair();
    world.sys.setsockopt(fd, c.SOL_SOCKET, c.SO_SNDTIMEO, 0, 200_000);
    const write = () => world.sys.write(fd, new Uint8Array(1 << 20));
    let [count, ms] = timed(write);
    expect(count).to.be.within(65_536, 300_000);
    for (let tries = 0; count > 0 && tries < 10; tries++) [count, ms] = timed(write);
    expect([count, ms]).to.deep.equal([-errno.EAGAIN, 200]);
    world.later(50, () => {
      while (world.other.read(peer, new Uint8Array(1 << 20)) > 0);
    });
    expect(world.sys.write(fd, new Uint8Array(1000))).to.equal(1000);
  });

  it('SO_SNDTIMEO: connect() says EINPROGRESS and goes on', () => {
    const { sys } = world;
    const fd = sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
    sys.setsockopt(fd, c.SOL_SOCKET, c.SO_SNDTIMEO, 1, 0);
    const nobody = { address: '198.18.0.77', port: 80 };
    expect(timed(() => sys.connect(fd, nobody))).to.deep.equal([-errno.EINPROGRESS, 1000]);
    expect(timed(() => sys.connect(fd, nobody))).to.deep.equal([-errno.EALREADY, 0]);
  });

  it('the urgent mark ends a read, also with MSG_WAITALL; the byte never waits', () => {
    const [fd, peer] = pair();
    const into = new Uint8Array(10);
    const all = () => world.sys.recvfrom(fd, into, c.MSG_WAITALL);
    world.later(10, () => send(peer, 'abc', c.MSG_OOB));
    expect(timed(all)).to.deep.equal([2, 10]);
    expect(timed(() => world.sys.recvfrom(fd, into, c.MSG_OOB))).to.deep.equal([1, 0]);
    expect(words(into, 1)).to.equal('c');
    expect(world.sys.recvfrom(fd, into, c.MSG_OOB)).to.equal(-errno.EINVAL);
    world.later(10, () => send(peer, '0123456789'));
    expect(timed(all)).to.deep.equal([10, 10]);
    expect(words(into, 10)).to.equal('0123456789');
    const fds = [{ fd, events: c.POLLPRI, revents: 0 }];
    world.later(7, () => send(peer, '!', c.MSG_OOB));
    expect(timed(() => world.sys.poll(fds, 100))).to.deep.equal([1, 7]);
    expect(fds[0]!.revents).to.equal(c.POLLPRI);
  });

  it('readv waits once, for the first byte', () => {
    const [fd, peer] = pair();
    const [one, two] = [new Uint8Array(2), new Uint8Array(5)];
    world.later(5, () => send(peer, 'abc'));
    expect(timed(() => world.sys.readv(fd, [one, two]))).to.deep.equal([3, 5]);
    expect([words(one, 2), words(two, 1)]).to.deep.equal(['ab', 'c']);
    world.sys.setsockopt(fd, c.SOL_SOCKET, c.SO_RCVLOWAT, 4);
    world.later(5, () => send(peer, 'abc'));
    world.later(9, () => send(peer, 'def'));
    expect(timed(() => world.sys.readv(fd, [one, two]))).to.deep.equal([6, 9]);
    expect([words(one, 2), words(two, 4)]).to.deep.equal(['ab', 'cdef']);
  });

  it('recvmsg: flags, what is left, and what is lost without room for it', () => {
    const [fd, peer] = pair();
    world.sys.setsockopt(fd, c.SOL_TCP, c.TCP_INQ, 1);
    send(peer, 'abcdef', c.MSG_OOB);
    send(peer, 'gh');
    const control: { level: number; type: number; data: number }[] = [];
    const message = { iov: [new Uint8Array(2), new Uint8Array(1)], control, flags: 0 };
    expect(world.sys.recvmsg(fd, message, 0)).to.equal(3);
    expect(control).to.deep.equal([{ level: c.SOL_TCP, type: c.TCP_CM_INQ, data: 5 }]);
    expect(world.sys.recvmsg(fd, { iov: message.iov }, c.MSG_PEEK)).to.equal(2);
    const bare: { iov: Uint8Array[]; flags?: number } = { iov: [new Uint8Array(4)] };
    expect(world.sys.recvmsg(fd, bare, c.MSG_TRUNC)).to.equal(2);
    expect(bare.flags).to.equal(c.MSG_CTRUNC);
    expect([...bare.iov[0]!]).to.deep.equal([0, 0, 0, 0]);
    expect(world.sys.recvmsg(fd, message, c.MSG_OOB)).to.equal(1);
    expect(message.flags).to.equal(c.MSG_OOB);
    expect(words(message.iov[0]!, 1)).to.equal('f');
    send(peer, 'x', c.MSG_OOB);
    bare.iov = [];
    expect(world.sys.recvmsg(fd, bare, c.MSG_OOB)).to.equal(0);
    expect(bare.flags).to.equal(c.MSG_OOB | c.MSG_TRUNC | c.MSG_CTRUNC);
    expect(world.sys.recvmsg(fd, bare, c.MSG_DONTWAIT)).to.equal(0);
  });

  it('sendmsg with MSG_FASTOPEN connects, and writes all buffers', () => {
    const { sys, other } = world;
    world.sysctl.tcpFastopen = 3;
    const listener = other.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, 0);
    const to = { address: ADDRESS, port: 90 };
    other.bind(listener, to);
    other.listen(listener, 5);
    const fd = sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
    const iov = [text('ab'), text('cde')];
    expect(sys.sendmsg(fd, { iov, name: to }, c.MSG_FASTOPEN)).to.equal(5);
    const into = new Uint8Array(9);
    expect(other.read(other.accept4(listener, c.SOCK_NONBLOCK), into)).to.equal(5);
    expect(words(into, 5)).to.equal('abcde');
    expect(sys.sendmsg(sys.socket(c.AF_INET, c.SOCK_STREAM, 0), { iov }, c.MSG_FASTOPEN)).to.equal(
      -errno.EINVAL,
    );
  });

  describe('the first write() after TCP_FASTOPEN_CONNECT', () => {
    /** A socket whose SYN waits for text, which needs no cookie. */
    function opening(to: { address: string; port: number }): number {
      world.sysctl.tcpFastopen = 0x607;
      const fd = world.sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
      expect(world.sys.setsockopt(fd, c.SOL_TCP, c.TCP_FASTOPEN_CONNECT, 1)).to.equal(0);
      expect(timed(() => world.sys.connect(fd, to))).to.deep.equal([0, 0]);
      return fd;
    }

    function listening(): { listener: number; to: { address: string; port: number } } {
      const to = { address: ADDRESS, port: nextPort++ };
      const listener = world.other.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, 0);
      world.other.bind(listener, to);
      world.other.listen(listener, 5);
      return { listener, to };
    }

    it('returns once there is a connection, with all that was written', () => {
      const { sys, other } = world;
      const { listener, to } = listening();
      const fd = opening(to);
      expect(sys.write(fd, new Uint8Array(100_000))).to.equal(100_000);
      expect(sys.connect(fd, to)).to.equal(-errno.EISCONN);
      const child = other.accept4(listener, c.SOCK_NONBLOCK);
      const into = new Uint8Array(200_000);
      let got = 0;
      for (let count = 1; count > 0; got += Math.max(0, count)) count = other.read(child, into);
      expect(got).to.equal(100_000);
    });

    it('tells that nobody listens, and the socket can be used again', () => {
      const { sys } = world;
      const fd = opening({ address: ADDRESS, port: 7 });
      expect(sys.write(fd, text('abc'))).to.equal(-errno.ECONNREFUSED);
      expect(sys.connect(fd, listening().to)).to.equal(0);
      expect(sys.write(fd, text('abc'))).to.equal(3);
    });

    it('waits as long as SO_SNDTIMEO; then what the SYN has taken counts', () => {
      const { sys } = world;
      const fd = opening({ address: '198.18.0.77', port: 80 });
      sys.setsockopt(fd, c.SOL_SOCKET, c.SO_SNDTIMEO, 1, 500_000);
      expect(timed(() => sys.write(fd, new Uint8Array(5000)))).to.deep.equal([1420, 1500]);
      expect(timed(() => sys.write(fd, text('more')))).to.deep.equal([-errno.EAGAIN, 1500]);
    });

    it('one SYN takes the buffers of writev(); who does not wait is not kept', () => {
      const { sys, other } = world;
      const { listener, to } = listening();
      expect(sys.writev(opening(to), [text('ab'), text('cde')])).to.equal(5);
      const into = new Uint8Array(9);
      expect(other.read(other.accept4(listener, c.SOCK_NONBLOCK), into)).to.equal(5);
      const silent = opening({ address: '198.18.0.77', port: 80 });
      const now = (): number => sys.sendto(silent, text('abc'), c.MSG_DONTWAIT);
      expect(timed(now)).to.deep.equal([3, 0]);
      expect(now()).to.equal(-errno.EAGAIN);
    });
  });

  it('a SYN with text has left when who does not wait comes back', () => {
    const { sys, sysctl } = world;
    sysctl.tcpFastopen = 0x607;
    world.busy = true;
    const to = { address: '198.18.0.77', port: 80 };
    const opened = (...ways: ((fd: number) => number)[]): number[] => {
      const fd = sys.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, 0);
      return ways.map((way) => way(fd));
    };
    const writable = (fd: number): number => {
      const file = { fd, events: c.EPOLLOUT, revents: 0 };
      return sys.poll([file], 0);
    };
    const early = (fd: number): number => sys.sendto(fd, text('abc'), c.MSG_FASTOPEN, to);
    const more = (fd: number): number => sys.write(fd, text('de'));
    expect(opened(early, writable, more)).to.deep.equal([3, 0, -errno.EAGAIN]);
    const wish = (fd: number): number =>
      sys.setsockopt(fd, c.SOL_TCP, c.TCP_FASTOPEN_CONNECT, 1) || sys.connect(fd, to);
    expect(opened(wish, writable, more, writable)).to.deep.equal([0, 1, 2, 0]);
    const vector = (fd: number): number => sys.writev(fd, [text('ab'), text('cde')]);
    expect(opened(wish, vector, more)).to.deep.equal([0, 5, -errno.EAGAIN]);
  });

  it('whoever asks for EPOLLRDNORM or EPOLLPRI only is woken by them', () => {
    const [fd, peer] = pair();
    const epfd = world.sys.epoll_create1(0);
    const events: { events: number; data: number }[] = [];
    const wait = () => world.sys.epoll_wait(epfd, events, 4, 1000);
    world.sys.epoll_ctl(epfd, c.EPOLL_CTL_ADD, fd, { events: c.EPOLLRDNORM, data: 1 });
    world.later(20, () => send(peer, 'abc'));
    expect(timed(wait)).to.deep.equal([1, 20]);
    expect(events[0]!.events).to.equal(c.EPOLLRDNORM);
    world.sys.epoll_ctl(epfd, c.EPOLL_CTL_MOD, fd, { events: c.EPOLLPRI, data: 2 });
    world.later(20, () => send(peer, 'd', c.MSG_OOB));
    expect(timed(wait)).to.deep.equal([1, 20]);
    expect(events[0]).to.deep.equal({ events: c.EPOLLPRI, data: 2 });
  });

  it('sendmsg: no control messages; one write for all buffers', () => {
    const [fd, peer] = pair();
    const iov = [text('ab'), text(''), text('cd')];
    const control = [{ level: 1, type: 1, data: 1 }];
    expect(world.sys.sendmsg(fd, { iov, control }, 0)).to.equal(-errno.EINVAL);
    expect(world.sys.sendmsg(fd, { iov, control: [] }, c.MSG_MORE)).to.equal(4);
    const into = new Uint8Array(10);
    expect(world.other.read(peer, into)).to.equal(-errno.EAGAIN);
    expect(world.sys.sendmsg(fd, { iov: [] }, 0)).to.equal(0);
    expect(world.sys.write(fd, text('e'))).to.equal(1);
    expect(world.other.read(peer, into)).to.equal(5);
    // A flag that nobody knows.
    expect(world.sys.sendmsg(fd, { iov }, 0x100000)).to.equal(4);
    expect(world.sys.recvmsg(99, { iov }, 0)).to.equal(-errno.EBADF);
    expect(world.sys.sendmsg(fd, { iov: [5 as never] }, 0)).to.equal(-errno.EFAULT);
  });

  describe('SO_LINGER', () => {
    const linger = (fd: number, seconds: number): void => {
      world.sys.setsockopt(fd, c.SOL_SOCKET, c.SO_LINGER, 1, seconds);
    };

    /** Fills the peer's window, so that a FIN cannot leave. */
    function stuff(fd: number): void {
      world.sys.fcntl(fd, c.F_SETFL, c.O_NONBLOCK);
      for (let i = 0; i < 50; i++) {
        while (world.sys.write(fd, new Uint8Array(1 << 16)) > 0);
        world.passUntil(world.nowMs + 1, () => false);
      }
      world.sys.fcntl(fd, c.F_SETFL, 0);
    }

    it('close() waits for the acknowledgement of the FIN', () => {
      const [fd, peer] = pair();
      stuff(fd);
      linger(fd, 5);
      world.later(300, () => {
        const drain = (): void => {
          while (world.other.read(peer, new Uint8Array(1 << 20)) > 0);
        };
        drain();
        for (let ms = 1; ms < 3000; ms += 50) world.later(ms, drain);
      });
      const [result, ms] = timed(() => world.sys.close(fd));
      expect(result).to.equal(0);
      expect(ms).to.be.within(300, 4000);
      expect(world.sys.read(fd, new Uint8Array(1))).to.equal(-errno.EBADF);
    });

    it('but no longer than that', () => {
      const [fd] = pair();
      stuff(fd);
      linger(fd, 2);
      expect(timed(() => world.sys.close(fd))).to.deep.equal([0, 2000]);
      expect(world.sys.close(fd)).to.equal(-errno.EBADF);
    });

    it('a non-blocking socket waits as well, one with nothing to wait for does not', () => {
      const [fd] = pair();
      stuff(fd);
      linger(fd, 2);
      world.sys.fcntl(fd, c.F_SETFL, c.O_NONBLOCK);
      expect(timed(() => world.sys.close(fd))).to.deep.equal([0, 2000]);
      const fresh = world.sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
      linger(fresh, 2);
      expect(timed(() => world.sys.close(fresh))).to.deep.equal([0, 0]);
    });

    it('unread text resets at once', () => {
      const [fd, peer] = pair();
      linger(fd, 2);
      send(peer, 'x');
      expect(timed(() => world.sys.close(fd))).to.deep.equal([0, 0]);
      expect(world.other.read(peer, new Uint8Array(1))).to.equal(-errno.ECONNRESET);
    });
  });

  it('connect() to AF_UNSPEC wakes a reader, and the socket connects again', () => {
    const [fd, peer] = pair();
    send(peer, 'unread');
    expect(world.sys.shutdown(fd, c.SHUT_WR)).to.equal(0);
    const nowhere = { family: c.AF_UNSPEC, address: 0, port: 0 };
    expect(world.sys.connect(fd, nowhere)).to.equal(0);
    const into = new Uint8Array(10);
    expect(world.sys.read(fd, into)).to.equal(-errno.ECONNRESET);
    expect(world.sys.read(fd, into)).to.equal(-errno.ENOTCONN);
    expect(world.other.getsockopt(peer, c.SOL_SOCKET, c.SO_ERROR)).to.equal(errno.EPIPE);
    expect(world.sys.connect(fd, { address: ADDRESS, port: 80 })).to.equal(0);
    expect(world.sys.write(fd, text('again'))).to.equal(5);
    const other = { family: 10, address: 0, port: 0 };
    expect(world.sys.connect(fd, other)).to.equal(-errno.EAFNOSUPPORT);
    expect(world.sys.bind(fd, { ...other, port: 9 })).to.equal(-errno.EAFNOSUPPORT);
  });
});
