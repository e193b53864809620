/** The POSIX calls over an in-memory stack: values, errnos, options. */
import { expect } from 'chai';
import * as errno from '../../src/net/errno.js';
import { BLOCK_ERROR, BLOCK_OWNER, type SocketMemory } from '../../src/net/sockmem.js';
import type { Sockaddr, Sys } from '../../src/socket/sys.js';
import * as c from '../../src/socket/uapi/constants.js';
import { G_STATE, STACK_DEAD, T_CMD_TAIL, threadAt } from '../../src/socket/uapi/layout.js';
import { declareDead } from '../../src/socket/uapi/shared.js';
import { SLOW_PORT } from '../stack/fake-stack.js';
import { type InlineStack, inlineStack } from '../stack/inline-stack.js';

const ADDRESS = '198.18.0.1';

function nobody(): Sockaddr {
  return { family: 0, address: '', port: 0 };
}

describe('socket/sys: calls on shared memory', () => {
  let inline: InlineStack;
  let sys: Sys;
  let mem: SocketMemory;

  beforeEach(() => {
    inline = inlineStack();
    sys = inline.thread().sys;
    mem = inline.shared.mem;
  });

  function listener(port = 80): number {
    const fd = sys.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, 0);
    expect(sys.bind(fd, { address: ADDRESS, port })).to.equal(0);
    expect(sys.listen(fd, 16)).to.equal(0);
    return fd;
  }

  function client(port = 80): number {
    const fd = sys.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, c.IPPROTO_TCP);
    expect(sys.connect(fd, { address: ADDRESS, port })).to.equal(-errno.EINPROGRESS);
    return fd;
  }

  /** [ours, theirs, listener] */
  function pair(): [number, number, number] {
    const listening = listener();
    const fd = client();
    const child = sys.accept4(listening, c.SOCK_NONBLOCK);
    expect(child).to.be.greaterThan(0);
    return [fd, child, listening];
  }

  describe('socket', () => {
    it('gives the lowest free descriptor from 3 on', () => {
      expect(sys.socket(c.AF_INET, c.SOCK_STREAM, 0)).to.equal(3);
      expect(sys.socket(c.AF_INET, c.SOCK_STREAM, 0)).to.equal(4);
      expect(sys.close(3)).to.equal(0);
      expect(sys.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, 0)).to.equal(3);
      expect(sys.fcntl(3, c.F_GETFL)).to.equal(c.O_RDWR | c.O_NONBLOCK);
      expect(sys.fcntl(4, c.F_GETFL)).to.equal(c.O_RDWR);
    });

    it('refuses what is not TCP over IPv4', () => {
      expect(sys.socket(c.AF_INET6, c.SOCK_STREAM, 0)).to.equal(-errno.EAFNOSUPPORT);
      expect(sys.socket(c.AF_INET, c.SOCK_DGRAM, 0)).to.equal(-errno.EPROTONOSUPPORT);
      expect(sys.socket(c.AF_INET, c.SOCK_RAW, 1)).to.equal(-errno.EPROTONOSUPPORT);
      expect(sys.socket(c.AF_INET, 7, 0)).to.equal(-errno.ESOCKTNOSUPPORT);
      expect(sys.socket(c.AF_INET, c.SOCK_STREAM, c.IPPROTO_UDP)).to.equal(-errno.EPROTONOSUPPORT);
      expect(sys.socket(c.AF_INET, c.SOCK_STREAM | 0x100, 0)).to.equal(-errno.EINVAL);
    });

    it('ends with -ENFILE when all descriptors are taken', () => {
      let fd = 0;
      for (let i = 0; i < 256; i++) fd = sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
      expect(fd).to.equal(-1);
      expect(sys.eventfd(0, 0)).to.equal(-errno.ENFILE);
      expect(sys.epoll_create1(0)).to.equal(-errno.ENFILE);
    });
  });

  describe('addresses', () => {
    it('checks what is bound or connected to', () => {
      const fd = sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
      const bad = ['', '1.2.3', '1.2.3.256', '01.2.3.4', '1.2.3.4.5', 'localhost'];
      for (const address of bad) {
        expect(sys.bind(fd, { address, port: 1 }), address).to.equal(-errno.EINVAL);
      }
      expect(sys.bind(fd, { address: 1.5, port: 1 })).to.equal(-errno.EINVAL);
      expect(sys.bind(fd, { address: 2 ** 32, port: 1 })).to.equal(-errno.EINVAL);
      expect(sys.bind(fd, { address: ADDRESS, port: 65536 })).to.equal(-errno.EINVAL);
      expect(sys.connect(fd, undefined as never)).to.equal(-errno.EINVAL);
    });

    it('tells local and peer address', () => {
      const [fd, child, listening] = pair();
      const out = nobody();
      expect(sys.getsockname(listening, out)).to.equal(0);
      expect(out).to.deep.equal({ family: c.AF_INET, address: ADDRESS, port: 80 });
      expect(sys.getpeername(child, out)).to.equal(0);
      expect(out).to.deep.equal({ family: c.AF_INET, address: ADDRESS, port: 50000 });
      expect(sys.getpeername(fd, out)).to.equal(0);
      expect(out.port).to.equal(80);
      expect(sys.getpeername(listening, out)).to.equal(-errno.ENOTCONN);
      expect(sys.getpeername(99, out)).to.equal(-errno.EBADF);
      expect(sys.getsockname(99, out)).to.equal(-errno.EBADF);
    });

    it('takes numbers as addresses', () => {
      const fd = sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
      expect(sys.bind(fd, { address: 0xc6120002, port: 7 })).to.equal(0);
      const out = nobody();
      sys.getsockname(fd, out);
      expect(out.address).to.equal('198.18.0.2');
    });
  });

  describe('accept4', () => {
    it('takes children in order, with their peer, owner and mode', () => {
      const listening = listener();
      client();
      client();
      const out = nobody();
      const first = sys.accept4(listening, c.SOCK_NONBLOCK, out);
      expect(out.port).to.equal(50000);
      const second = sys.accept4(listening, 0, out);
      expect(out.port).to.equal(50001);
      expect(sys.fcntl(first, c.F_GETFL) & c.O_NONBLOCK).to.equal(c.O_NONBLOCK);
      expect(sys.fcntl(second, c.F_GETFL) & c.O_NONBLOCK).to.equal(0);
      expect(sys.fcntl(second, c.F_GETOWN)).to.equal(1);
      expect(sys.accept4(listening, 0)).to.equal(-errno.EAGAIN);
    });

    it('refuses what does not listen', () => {
      const [fd] = pair();
      expect(sys.accept4(fd, 0)).to.equal(-errno.EINVAL);
      expect(sys.accept4(200, 0)).to.equal(-errno.EBADF);
      expect(sys.accept4(fd, 1)).to.equal(-errno.EINVAL);
      expect(sys.accept4(sys.eventfd(0, 0), 0)).to.equal(-errno.ENOTSOCK);
      expect(sys.accept4(sys.epoll_create1(0), 0)).to.equal(-errno.EOPNOTSUPP);
    });

    it('takes a connection without a word to the stack', () => {
      const listening = listener();
      client();
      const { ctl, layout } = inline.shared;
      const posted = () => [0, 1, 2].map((thread) => ctl[threadAt(layout, thread) + T_CMD_TAIL]);
      const before = posted();
      expect(sys.accept4(listening, 0)).to.be.above(listening);
      expect(posted()).to.deep.equal(before);
      sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
      expect(posted()).to.not.deep.equal(before);
    });
  });

  describe('read and write', () => {
    it('carries bytes in both directions, also through the wrap of sequence numbers', () => {
      const [fd, child] = pair();
      const data = new Uint8Array(1000).map((_, i) => i % 251);
      for (let round = 0; round < 10; round++) {
        expect(sys.write(fd, data)).to.equal(1000);
        const into = new Uint8Array(1200);
        expect(sys.read(child, into, 100)).to.equal(1000);
        expect(into.subarray(100, 1100)).to.deep.equal(data);
        expect(sys.write(child, data, 10, 20)).to.equal(20);
        expect(sys.read(fd, into, 0, 7)).to.equal(7);
        expect(sys.read(fd, into)).to.equal(13);
      }
    });

    it('-EAGAIN when there is nothing, 0 at the end of the stream', () => {
      const [fd, child] = pair();
      const into = new Uint8Array(10);
      expect(sys.read(child, into)).to.equal(-errno.EAGAIN);
      sys.write(fd, new Uint8Array([1, 2]));
      sys.close(fd);
      expect(sys.read(child, into)).to.equal(2);
      expect(sys.read(child, into)).to.equal(0);
      expect(sys.read(child, into)).to.equal(0);
      expect(sys.read(fd, into)).to.equal(-errno.EBADF);
    });

    it('says -ENOTCONN, -EPIPE, -EAGAIN before a connection is there', () => {
      const byte = new Uint8Array(1);
      const fd = sys.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, 0);
      expect(sys.read(fd, byte)).to.equal(-errno.ENOTCONN);
      expect(sys.write(fd, byte)).to.equal(-errno.EPIPE);
      const slow = client(SLOW_PORT);
      expect(sys.read(slow, byte)).to.equal(-errno.EAGAIN);
      expect(sys.write(slow, byte)).to.equal(-errno.EAGAIN);
      const listening = listener();
      expect(sys.read(listening, byte)).to.equal(-errno.ENOTCONN);
      expect(sys.write(listening, byte)).to.equal(-errno.EPIPE);
    });

    it('hands out a pending error once', () => {
      const fd = client(81);
      expect(sys.read(fd, new Uint8Array(1))).to.equal(-errno.ECONNREFUSED);
      expect(sys.read(fd, new Uint8Array(1))).to.equal(0);
      const other = client(81);
      expect(sys.write(other, new Uint8Array(1))).to.equal(-errno.ECONNREFUSED);
      expect(sys.write(other, new Uint8Array(1))).to.equal(-errno.EPIPE);
      const third = client(81);
      expect(sys.getsockopt(third, c.SOL_SOCKET, c.SO_ERROR)).to.equal(errno.ECONNREFUSED);
      expect(sys.getsockopt(third, c.SOL_SOCKET, c.SO_ERROR)).to.equal(0);
    });

    it('reads what came before an error', () => {
      const [fd, child] = pair();
      sys.write(fd, new Uint8Array([7]));
      Atomics.store(mem.ctl, mem.blockAt(child) + BLOCK_ERROR, errno.ECONNRESET);
      const into = new Uint8Array(4);
      expect(sys.read(child, into)).to.equal(1);
      expect(sys.read(child, into)).to.equal(-errno.ECONNRESET);
    });

    it('takes only what fits, then -EAGAIN until a third is free', () => {
      const [fd, child] = pair();
      const data = new Uint8Array(6000).map((_, i) => i % 251);
      // 4096 bytes go over to the reader's ring, which is then full; 4096 stay.
      expect(sys.write(fd, data)).to.equal(4096);
      expect(sys.write(fd, data)).to.equal(4096);
      expect(sys.write(fd, data)).to.equal(-errno.EAGAIN);
      const out = new Int32Array(1);
      expect(sys.ioctl(fd, c.SIOCOUTQ, out)).to.equal(0);
      expect(out[0]).to.equal(4096);
      expect(sys.ioctl(child, c.FIONREAD, out)).to.equal(0);
      expect(out[0]).to.equal(4096);
      const fds = [{ fd, events: c.POLLOUT, revents: 0 }];
      expect(sys.poll(fds, 0)).to.equal(0);
      const into = new Uint8Array(2048);
      expect(sys.read(child, into)).to.equal(2048);
      expect(inline.stack.log).to.include(`consumed ${child}`);
      expect(sys.poll(fds, 0)).to.equal(1);
      expect(sys.write(fd, data)).to.equal(2048);
    });

    it('tells the stack once while the notice is on its way', () => {
      const [fd] = pair();
      sys.write(fd, new Uint8Array(1));
      inline.stack.log.length = 0;
      inline.held = true;
      for (let i = 0; i < 5; i++) expect(sys.write(fd, new Uint8Array(1))).to.equal(1);
      inline.held = false;
      inline.turn();
      expect(inline.stack.log).to.deep.equal([`published ${fd}`]);
    });

    it('refuses ranges outside of the buffer, and descriptors that are no stream', () => {
      const [fd] = pair();
      const eight = new Uint8Array(8);
      expect(sys.read(fd, eight, 9)).to.equal(-errno.EFAULT);
      expect(sys.read(fd, eight, 0, 9)).to.equal(-errno.EFAULT);
      expect(sys.write(fd, eight, -1, 1)).to.equal(-errno.EFAULT);
      expect(sys.write(fd, 'text' as never)).to.equal(-errno.EFAULT);
      expect(sys.read(fd, eight, 0, 0)).to.equal(0);
      expect(sys.write(fd, eight, 0, 0)).to.equal(0);
      const epfd = sys.epoll_create1(0);
      expect(sys.read(epfd, eight)).to.equal(-errno.EINVAL);
      expect(sys.write(epfd, eight)).to.equal(-errno.EINVAL);
      expect(sys.read(1.5, eight)).to.equal(-errno.EBADF);
      expect(sys.write(-1, eight)).to.equal(-errno.EBADF);
    });

    it('gathers and scatters', () => {
      const [fd, child] = pair();
      const text = (part: string) => new TextEncoder().encode(part);
      expect(sys.writev(fd, [text('ab'), text(''), text('cdef')])).to.equal(6);
      const [one, two] = [new Uint8Array(3), new Uint8Array(10)];
      expect(sys.readv(child, [one, new Uint8Array(0), two])).to.equal(6);
      expect(new TextDecoder().decode(one)).to.equal('abc');
      expect(new TextDecoder().decode(two.subarray(0, 3))).to.equal('def');
      expect(sys.readv(child, [one])).to.equal(-errno.EAGAIN);
      expect(sys.writev(fd, [text('x'), 1 as never])).to.equal(1);
      expect(sys.readv(child, [one, two])).to.equal(1);
      expect(sys.writev(fd, [1 as never])).to.equal(-errno.EFAULT);
      expect(sys.readv(fd, [1 as never])).to.equal(-errno.EFAULT);
      const many = new Array<Uint8Array>(1025).fill(one);
      expect(sys.readv(fd, many)).to.equal(-errno.EINVAL);
      expect(sys.writev(fd, many)).to.equal(-errno.EINVAL);
      // A full ring ends a gathering write early.
      expect(sys.writev(fd, [new Uint8Array(9000), one])).to.equal(4096);
      expect(sys.writev(fd, [new Uint8Array(9000), one])).to.equal(4096);
      expect(sys.writev(fd, [one, one])).to.equal(-errno.EAGAIN);
    });

    it('knows MSG_PEEK and MSG_DONTWAIT, and passes over what means nothing to TCP', () => {
      const [fd, child] = pair();
      expect(sys.sendto(fd, new Uint8Array([5, 6]), c.MSG_NOSIGNAL | c.MSG_DONTWAIT)).to.equal(2);
      const into = new Uint8Array(4);
      const looks = [c.MSG_PEEK, c.MSG_DONTWAIT].map((how) => sys.recvfrom(child, into, how));
      expect(looks).to.deep.equal([2, 2]);
      expect([...into]).to.deep.equal([5, 6, 0, 0]);
      sys.fcntl(child, c.F_SETFL, 0);
      expect(sys.recvfrom(child, into, c.MSG_DONTWAIT)).to.equal(-errno.EAGAIN);
      expect(sys.sendto(fd, into.subarray(2), c.MSG_DONTROUTE | c.MSG_EOR)).to.equal(2);
      expect(sys.recvfrom(child, into, c.MSG_CONFIRM | c.MSG_EOR)).to.equal(2);
      expect(sys.recvfrom(sys.eventfd(0, 0), into, 0)).to.equal(-errno.ENOTSOCK);
      expect(sys.sendto(99, into, 0)).to.equal(-errno.EBADF);
    });

    it('-ENOBUFS when the arena has no memory for a send ring', () => {
      const [fd] = pair();
      while (mem.allocRing(4096) !== 0);
      expect(sys.write(fd, new Uint8Array(1))).to.equal(-errno.ENOBUFS);
    });
  });

  describe('shutdown and close', () => {
    it('SHUT_WR: the peer reads to the end, we get -EPIPE at once', () => {
      const [fd, child] = pair();
      sys.write(fd, new Uint8Array([1]));
      inline.held = true;
      expect(sys.shutdown(fd, c.SHUT_WR)).to.equal(0);
      expect(sys.write(fd, new Uint8Array(1))).to.equal(-errno.EPIPE);
      inline.held = false;
      inline.turn();
      const into = new Uint8Array(4);
      expect(sys.read(child, into)).to.equal(1);
      expect(sys.read(child, into)).to.equal(0);
      expect(sys.write(child, into)).to.equal(4);
      expect(sys.read(fd, into)).to.equal(4);
    });

    it('SHUT_RD: what has come is read, then 0', () => {
      const [fd, child] = pair();
      sys.write(fd, new Uint8Array([1]));
      expect(sys.shutdown(child, c.SHUT_RD)).to.equal(0);
      expect(sys.read(child, new Uint8Array(4))).to.equal(1);
      expect(sys.read(child, new Uint8Array(4))).to.equal(0);
      const fds = [{ fd: child, events: c.POLLIN | c.POLLRDHUP, revents: 0 }];
      expect(sys.poll(fds, 0)).to.equal(1);
      expect(fds[0]!.revents).to.equal(c.POLLIN | c.POLLRDHUP);
    });

    it('refuses what is not connected, and strange values', () => {
      const fd = sys.socket(c.AF_INET, c.SOCK_STREAM, 0);
      expect(sys.shutdown(fd, c.SHUT_WR)).to.equal(-errno.ENOTCONN);
      expect(sys.shutdown(fd, 3)).to.equal(-errno.EINVAL);
      expect(sys.shutdown(99, 0)).to.equal(-errno.EBADF);
    });

    it('a second close is -EBADF, also before the stack has seen the first', () => {
      const [fd] = pair();
      inline.held = true;
      expect(sys.close(fd)).to.equal(0);
      expect(sys.close(fd)).to.equal(-errno.EBADF);
      expect(sys.write(fd, new Uint8Array(1))).to.equal(-errno.EBADF);
      expect(sys.setsockopt(fd, c.SOL_SOCKET, c.SO_KEEPALIVE, 1)).to.equal(-errno.EBADF);
      inline.held = false;
      inline.turn();
      expect(sys.close(fd)).to.equal(-errno.EBADF);
      expect(sys.close(2)).to.equal(-errno.EBADF);
    });

    it('leaves no memory and no descriptor behind', () => {
      const pages = mem.pagesInUse;
      const [fd, child, listening] = pair();
      client();
      sys.write(fd, new Uint8Array(100));
      sys.write(child, new Uint8Array(100));
      for (const one of [fd, child, listening]) expect(sys.close(one)).to.equal(0);
      expect(inline.stack.open).to.equal(1);
      expect(mem.fdsInUse).to.equal(1);
      expect(mem.pagesInUse).to.equal(pages);
    });
  });

  describe('options and modes', () => {
    it('setsockopt and getsockopt reach the stack', () => {
      const [fd] = pair();
      expect(sys.setsockopt(fd, c.SOL_SOCKET, c.SO_LINGER, 1, 5)).to.equal(0);
      const out = new Int32Array(4);
      expect(sys.getsockopt(fd, c.SOL_SOCKET, c.SO_LINGER, out)).to.equal(2);
      expect([...out]).to.deep.equal([1, 5, 0, 0]);
      expect(sys.getsockopt(fd, c.SOL_SOCKET, c.SO_LINGER, out.subarray(0, 1))).to.equal(1);
      expect(sys.getsockopt(fd, c.SOL_SOCKET, c.SO_LINGER)).to.equal(1);
      expect(sys.getsockopt(fd, 77, 1)).to.equal(-errno.ENOPROTOOPT);
      expect(sys.setsockopt(fd, 77, 1, 1)).to.equal(-errno.ENOPROTOOPT);
      expect(sys.setsockopt(sys.eventfd(0, 0), 1, 1, 1)).to.equal(-errno.ENOTSOCK);
      expect(sys.getsockopt(99, 1, 1)).to.equal(-errno.EBADF);
    });

    it('answers facts without asking', () => {
      const [fd, , listening] = pair();
      const out = new Int32Array(1);
      const ask = (name: number, from = fd) => sys.getsockopt(from, c.SOL_SOCKET, name);
      expect(ask(c.SO_TYPE)).to.equal(c.SOCK_STREAM);
      expect(ask(c.SO_DOMAIN)).to.equal(c.AF_INET);
      expect(ask(c.SO_PROTOCOL)).to.equal(c.IPPROTO_TCP);
      expect(ask(c.SO_ACCEPTCONN)).to.equal(0);
      expect(ask(c.SO_ACCEPTCONN, listening)).to.equal(1);
      expect(sys.getsockopt(fd, c.SOL_SOCKET, c.SO_TYPE, out)).to.equal(1);
      expect(out[0]).to.equal(1);
      expect(sys.getsockopt(fd, c.SOL_SOCKET, c.SO_TYPE, new Int32Array(0))).to.equal(
        -errno.EINVAL,
      );
    });

    it('fcntl and ioctl', () => {
      const [fd, , listening] = pair();
      const out = new Int32Array([0]);
      expect(sys.fcntl(fd, c.F_SETFL, 0)).to.equal(0);
      expect(sys.fcntl(fd, c.F_GETFL)).to.equal(c.O_RDWR);
      expect(sys.ioctl(fd, c.FIONBIO, new Int32Array([1]))).to.equal(0);
      expect(sys.fcntl(fd, c.F_GETFL)).to.equal(c.O_RDWR | c.O_NONBLOCK);
      expect(sys.ioctl(fd, c.FIONBIO, out)).to.equal(0);
      expect(sys.fcntl(fd, c.F_GETFL)).to.equal(c.O_RDWR);
      expect(sys.fcntl(fd, c.F_GETFD)).to.equal(0);
      expect(sys.fcntl(fd, c.F_SETFD, 1)).to.equal(0);
      expect(sys.fcntl(fd, 1024)).to.equal(-errno.EINVAL);
      expect(sys.fcntl(99, c.F_GETFL)).to.equal(-errno.EBADF);
      expect(sys.ioctl(99, c.FIONREAD, out)).to.equal(-errno.EBADF);
      expect(sys.ioctl(fd, 1, out)).to.equal(-errno.ENOTTY);
      expect(sys.ioctl(listening, c.FIONREAD, out)).to.equal(-errno.EINVAL);
      expect(sys.ioctl(listening, c.SIOCOUTQ, out)).to.equal(-errno.EINVAL);
    });

    it('F_SETOWN moves a file to the calling thread', () => {
      const listening = listener();
      const other = inline.thread();
      expect(mem.ctl[mem.blockAt(listening) + BLOCK_OWNER]).to.equal(1);
      expect(other.sys.fcntl(listening, c.F_SETOWN, 0)).to.equal(0);
      expect(sys.fcntl(listening, c.F_GETOWN)).to.equal(2);
    });

    it('F_SETOWN gives a file to another thread', () => {
      const listening = listener();
      expect(sys.fcntl(listening, c.F_SETOWN, 3)).to.equal(0);
      expect(sys.fcntl(listening, c.F_GETOWN)).to.equal(3);
      expect(sys.fcntl(listening, c.F_SETOWN, -1)).to.equal(-errno.EINVAL);
      expect(sys.fcntl(listening, c.F_SETOWN, 1000)).to.equal(-errno.EINVAL);
    });
  });

  describe('eventfd', () => {
    const counter = (low: number, high = 0) => {
      const bytes = new Uint8Array(8);
      new DataView(bytes.buffer).setUint32(0, low, true);
      new DataView(bytes.buffer).setUint32(4, high, true);
      return bytes;
    };

    it('adds up and is taken whole', () => {
      const fd = sys.eventfd(3, c.EFD_NONBLOCK);
      expect(sys.write(fd, counter(4))).to.equal(8);
      const into = new Uint8Array(8);
      expect(sys.read(fd, into)).to.equal(8);
      expect(into).to.deep.equal(counter(7));
      expect(sys.read(fd, into)).to.equal(-errno.EAGAIN);
    });

    it('counts down by one as a semaphore', () => {
      const fd = sys.eventfd(2, c.EFD_NONBLOCK | c.EFD_SEMAPHORE);
      const into = new Uint8Array(8);
      expect(sys.read(fd, into)).to.equal(8);
      expect(into).to.deep.equal(counter(1));
      expect(sys.read(fd, into)).to.equal(8);
      expect(sys.read(fd, into)).to.equal(-errno.EAGAIN);
    });

    it('has a largest count: 2^32 - 2 is the last good one', () => {
      const fd = sys.eventfd(0, c.EFD_NONBLOCK);
      expect(sys.write(fd, counter(0xfffffffe))).to.equal(8);
      expect(sys.poll([{ fd, events: c.POLLOUT, revents: 0 }], 0)).to.equal(0);
      expect(sys.write(fd, counter(1))).to.equal(-errno.EAGAIN);
      const into = new Uint8Array(8);
      expect(sys.read(fd, into)).to.equal(8);
      expect(into).to.deep.equal(counter(0xfffffffe));
      expect(sys.write(fd, counter(0, 1))).to.equal(-errno.EAGAIN);
      expect(sys.write(fd, counter(0xffffffff))).to.equal(-errno.EAGAIN);
      expect(sys.write(fd, counter(0xffffffff, 0xffffffff))).to.equal(-errno.EINVAL);
    });

    it('refuses short buffers, strange flags, and ioctl', () => {
      const fd = sys.eventfd(1, 0);
      expect(sys.read(fd, new Uint8Array(7))).to.equal(-errno.EINVAL);
      expect(sys.write(fd, new Uint8Array(7))).to.equal(-errno.EINVAL);
      expect(sys.eventfd(0, 2)).to.equal(-errno.EINVAL);
      expect(sys.ioctl(fd, c.FIONREAD, new Int32Array(1))).to.equal(-errno.ENOTTY);
      expect(sys.close(fd)).to.equal(0);
      expect(sys.read(fd, new Uint8Array(8))).to.equal(-errno.EBADF);
    });
  });

  it('says -EIO when the stack has died', () => {
    const listening = listener();
    const fd = client();
    const { port, sys: other } = inline.thread();
    expect(port.failure).to.equal(null);
    declareDead(inline.shared.ctl, inline.shared.layout, 'assertion: x > 0');
    expect(mem.ctl[G_STATE]).to.equal(STACK_DEAD);
    expect(other.socket(c.AF_INET, c.SOCK_STREAM, 0)).to.equal(-errno.EIO);
    expect(other.read(fd, new Uint8Array(1))).to.equal(-errno.EIO);
    expect(other.write(fd, new Uint8Array(1))).to.equal(-errno.EIO);
    expect(other.accept4(listening, 0)).to.be.greaterThan(0);
    expect(other.accept4(listening, 0)).to.equal(-errno.EIO);
    expect(other.shutdown(fd, 1)).to.equal(-errno.EIO);
    expect(other.close(fd)).to.equal(-errno.EIO);
    expect(port.dead()).to.equal(true);
    expect(port.failure).to.equal('the stack thread died: assertion: x > 0');
  });
});
