/** System calls in strace's grammar, line by line. */
import { expect } from 'chai';
import * as errno from '../../src/net/errno.js';
import { straced } from '../../src/socket/strace.js';
import {
  bytesText,
  messageText,
  optionText,
  resultText,
  sockTypeText,
} from '../../src/socket/strace-values.js';
import type { Sockaddr, Sys } from '../../src/socket/sys.js';
import * as c from '../../src/socket/uapi/constants.js';
import { inlineStack } from '../stack/inline-stack.js';

const ADDRESS = '198.18.0.1';

describe('socket/strace', () => {
  let lines: string[];
  let sys: Sys;

  beforeEach(() => {
    lines = [];
    sys = straced(inlineStack().thread().sys, (line) => lines.push(line), { pid: 'worker 2' });
  });

  /** The line written by `call`, without the prefix. */
  function line(call: () => number): string {
    lines.length = 0;
    call();
    expect(lines).to.have.length(1);
    expect(lines[0]!.slice(0, 11)).to.equal('[worker 2] ');
    return lines[0]!.slice(11);
  }

  function pair(): [number, number] {
    const listening = sys.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, 0);
    sys.bind(listening, { address: ADDRESS, port: 80 });
    sys.listen(listening, 511);
    const fd = sys.socket(c.AF_INET, c.SOCK_STREAM | c.SOCK_NONBLOCK, 0);
    sys.connect(fd, { address: ADDRESS, port: 80 });
    return [fd, sys.accept4(listening, c.SOCK_NONBLOCK)];
  }

  it('the life of a server, line by line', () => {
    const text = new TextEncoder().encode('GET / HTTP/1.1\r\nHost: 198.18.0.1\r\n\r\n');
    const [fd, child] = pair();
    sys.write(fd, text);
    const epfd = sys.epoll_create1(c.EPOLL_CLOEXEC);
    sys.epoll_ctl(epfd, c.EPOLL_CTL_ADD, child, { events: c.EPOLLIN | c.EPOLLET, data: child });
    sys.epoll_wait(epfd, [], 512, -1);
    sys.read(child, new Uint8Array(32768));
    sys.read(child, new Uint8Array(32768));
    sys.shutdown(child, c.SHUT_WR);
    sys.close(child);
    sys.close(child);
    const peer = '{sa_family=AF_INET, sin_port=htons(50000), sin_addr=inet_addr("198.18.0.1")}';
    const local = '{sa_family=AF_INET, sin_port=htons(80), sin_addr=inet_addr("198.18.0.1")}';
    expect(lines).to.deep.equal(
      [
        'socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_IP) = 3',
        `bind(3, ${local}, 16) = 0`,
        'listen(3, 511) = 0',
        'socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK, IPPROTO_IP) = 4',
        `connect(4, ${local}, 16) = -1 EINPROGRESS (Operation now in progress)`,
        `accept4(3, ${peer}, [16], SOCK_NONBLOCK) = 5`,
        'write(4, "GET / HTTP/1.1\\r\\nHost: 198.18.0.1"..., 36) = 36',
        'epoll_create1(EPOLL_CLOEXEC) = 6',
        'epoll_ctl(6, EPOLL_CTL_ADD, 5, {EPOLLIN|EPOLLET, {u32=5, u64=5}}) = 0',
        'epoll_wait(6, [{EPOLLIN, {u32=5, u64=5}}], 512, -1) = 1',
        'read(5, "GET / HTTP/1.1\\r\\nHost: 198.18.0.1"..., 32768) = 36',
        'read(5, "", 32768) = -1 EAGAIN (Resource temporarily unavailable)',
        'shutdown(5, SHUT_WR) = 0',
        'close(5) = 0',
        'close(5) = -1 EBADF (Bad file descriptor)',
      ].map((text) => `[worker 2] ${text}`),
    );
  });

  it('a number is a pid as strace -f writes it', () => {
    const out: string[] = [];
    straced(inlineStack().thread().sys, (text) => out.push(text), { pid: 812 }).close(77);
    expect(out).to.deep.equal(['[pid   812] close(77) = -1 EBADF (Bad file descriptor)']);
  });

  it('addresses', () => {
    const [fd] = pair();
    const out: Sockaddr = { family: 0, address: '', port: 0 };
    const local = '{sa_family=AF_INET, sin_port=htons(50000), sin_addr=inet_addr("198.18.0.1")}';
    expect(line(() => sys.getsockname(fd, out))).to.equal(`getsockname(4, ${local}, [16]) = 0`);
    expect(out.port).to.equal(50000);
    expect(line(() => sys.getpeername(3, out))).to.equal(
      'getpeername(3, NULL, NULL) = -1 ENOTCONN (Transport endpoint is not connected)',
    );
    expect(line(() => sys.accept4(3, 0))).to.equal(
      'accept4(3, NULL, NULL, 0) = -1 EAGAIN (Resource temporarily unavailable)',
    );
    expect(line(() => sys.bind(fd, { address: 0xc6120002, port: 7 }))).to.contain(
      'inet_addr("198.18.0.2")',
    );
    expect(line(() => sys.connect(fd, undefined as never))).to.equal(
      'connect(4, NULL, 16) = -1 EINVAL (Invalid argument)',
    );
  });

  it('options', () => {
    const [fd] = pair();
    const out = new Int32Array(2);
    const { SOL_SOCKET, SO_LINGER, SO_REUSEPORT, SO_ERROR, TCP_NODELAY, SOL_TCP } = c;
    expect(line(() => sys.setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, 1))).to.equal(
      'setsockopt(4, SOL_SOCKET, SO_REUSEPORT, [1], 4) = 0',
    );
    expect(line(() => sys.setsockopt(fd, SOL_SOCKET, SO_LINGER, 1, 5))).to.equal(
      'setsockopt(4, SOL_SOCKET, SO_LINGER, {l_onoff=1, l_linger=5}, 8) = 0',
    );
    expect(line(() => sys.getsockopt(fd, SOL_SOCKET, SO_LINGER, out))).to.equal(
      'getsockopt(4, SOL_SOCKET, SO_LINGER, {l_onoff=1, l_linger=5}, [8]) = 0',
    );
    expect(line(() => sys.getsockopt(fd, SOL_SOCKET, SO_ERROR))).to.equal(
      'getsockopt(4, SOL_SOCKET, SO_ERROR, [0], [4]) = 0',
    );
    expect(line(() => sys.getsockopt(fd, SOL_TCP, TCP_NODELAY, out))).to.equal(
      'getsockopt(4, SOL_TCP, TCP_NODELAY, [0, 0], [8]) = 0',
    );
    expect(line(() => sys.getsockopt(fd, 41, 3))).to.equal(
      'getsockopt(4, 0x29 /* SOL_??? */, 0x3, NULL, NULL) = ' +
        '-1 ENOPROTOOPT (Protocol not available)',
    );
    expect(optionText(c.SOL_TCP, c.TCP_DEFER_ACCEPT)).to.equal('SOL_TCP, TCP_DEFER_ACCEPT');
    expect(optionText(c.SOL_TCP, c.TCP_LINGER2)).to.equal('SOL_TCP, TCP_LINGER2');
    expect(optionText(c.SOL_TCP, c.TCP_SYNCNT)).to.equal('SOL_TCP, TCP_SYNCNT');
    expect(optionText(c.SOL_IP, c.IP_TTL)).to.equal('SOL_IP, IP_TTL');
    expect(optionText(c.SOL_SOCKET, 999)).to.equal('SOL_SOCKET, 0x3e7 /* SO_??? */');
  });

  it('fcntl, ioctl, eventfd', () => {
    const [fd] = pair();
    expect(line(() => sys.fcntl(fd, c.F_GETFL))).to.equal(
      'fcntl(4, F_GETFL) = 2050 (flags O_RDWR|O_NONBLOCK)',
    );
    expect(line(() => sys.fcntl(fd, c.F_SETFL, c.O_RDWR | c.O_NONBLOCK))).to.equal(
      'fcntl(4, F_SETFL, O_RDWR|O_NONBLOCK) = 0',
    );
    expect(line(() => sys.fcntl(fd, c.F_SETOWN, 3))).to.equal('fcntl(4, F_SETOWN, 3) = 0');
    expect(line(() => sys.fcntl(fd, 99))).to.equal(
      'fcntl(4, 0x63 /* F_??? */) = -1 EINVAL (Invalid argument)',
    );
    const out = new Int32Array(1);
    expect(line(() => sys.ioctl(fd, c.FIONREAD, out))).to.equal('ioctl(4, FIONREAD, [0]) = 0');
    expect(line(() => sys.ioctl(fd, 1, out))).to.equal(
      'ioctl(4, 0x1, NULL) = -1 ENOTTY (Inappropriate ioctl for device)',
    );
    expect(line(() => sys.eventfd(1, c.EFD_NONBLOCK | c.EFD_SEMAPHORE))).to.equal(
      'eventfd2(1, EFD_SEMAPHORE|EFD_NONBLOCK) = 6',
    );
  });

  it('reading and writing in parts, with flags', () => {
    const [fd, child] = pair();
    const text = (part: string): Uint8Array => new TextEncoder().encode(part);
    expect(line(() => sys.writev(fd, [text('ab'), text('c')]))).to.equal(
      'writev(4, [{iov_base="ab", iov_len=2}, {iov_base="c", iov_len=1}], 2) = 3',
    );
    expect(line(() => sys.recvfrom(child, new Uint8Array(8), c.MSG_PEEK))).to.equal(
      'recvfrom(5, "abc", 8, MSG_PEEK, NULL, NULL) = 3',
    );
    expect(line(() => sys.readv(child, [new Uint8Array(2), new Uint8Array(9)]))).to.equal(
      'readv(5, [{iov_base="ab", iov_len=2}, {iov_base="c", iov_len=9}], 2) = 3',
    );
    expect(line(() => sys.sendto(fd, text('x'), c.MSG_NOSIGNAL | c.MSG_DONTWAIT))).to.equal(
      'sendto(4, "x", 1, MSG_DONTWAIT|MSG_NOSIGNAL, NULL, 0) = 1',
    );
    expect(line(() => sys.sendto(fd, text('x'), 0x10000, { address: ADDRESS, port: 1 }))).to.equal(
      'sendto(4, "x", 1, 0x10000, {sa_family=AF_INET, sin_port=htons(1), ' +
        'sin_addr=inet_addr("198.18.0.1")}, 16) = 1',
    );
    expect(line(() => sys.read(child, new Uint8Array(9), 1, 4))).to.equal('read(5, "xx", 4) = 2');
  });

  it('messages, urgent data, times and disconnecting', () => {
    const [fd, child] = pair();
    const text = (part: string): Uint8Array => new TextEncoder().encode(part);
    const iov = [text('ab'), text('cd')];
    expect(line(() => sys.sendmsg(fd, { iov }, c.MSG_MORE | c.MSG_NOSIGNAL))).to.equal(
      'sendmsg(4, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="ab", iov_len=2}, ' +
        '{iov_base="cd", iov_len=2}], msg_iovlen=2, msg_controllen=0, msg_flags=0}, ' +
        'MSG_NOSIGNAL|MSG_MORE) = 4',
    );
    const into = { iov: [new Uint8Array(3), new Uint8Array(5)], flags: 0 };
    expect(line(() => sys.recvmsg(child, into, c.MSG_PEEK))).to.equal(
      'recvmsg(5, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="abc", iov_len=3}, ' +
        '{iov_base="d", iov_len=5}], msg_iovlen=2, msg_controllen=0, msg_flags=0}, MSG_PEEK) = 4',
    );
    expect(line(() => sys.recvmsg(child, into, c.MSG_TRUNC))).to.equal(
      'recvmsg(5, {msg_name=NULL, msg_namelen=0, msg_iov=[{iov_base="", iov_len=3}, ' +
        '{iov_base="", iov_len=5}], msg_iovlen=2, msg_controllen=0, msg_flags=0}, MSG_TRUNC) = 4',
    );
    expect(line(() => sys.recvmsg(child, into, 0))).to.equal(
      'recvmsg(5, {msg_namelen=0}, 0) = -1 EAGAIN (Resource temporarily unavailable)',
    );
    const inq = { level: c.SOL_TCP, type: c.TCP_CM_INQ, data: 7 };
    expect(messageText({ iov: [], control: [inq, { ...inq, level: 99 }] }, 0, c.MSG_OOB)).to.equal(
      '{msg_name=NULL, msg_namelen=0, msg_iov=[], msg_iovlen=0, msg_control=[' +
        '{cmsg_len=20, cmsg_level=SOL_TCP, cmsg_type=0x24}, ' +
        '{cmsg_len=20, cmsg_level=0x63, cmsg_type=0x24}], msg_controllen=48, msg_flags=MSG_OOB}',
    );
    expect(line(() => sys.setsockopt(fd, c.SOL_SOCKET, c.SO_RCVTIMEO, 1, 500_000))).to.equal(
      'setsockopt(4, SOL_SOCKET, SO_RCVTIMEO_OLD, ' +
        '"\\1\\0\\0\\0\\0\\0\\0\\0 \\241\\7\\0\\0\\0\\0\\0", 16) = 0',
    );
    const nowhere = { family: c.AF_UNSPEC, address: 0, port: 0 };
    expect(line(() => sys.connect(fd, nowhere))).to.equal(
      `connect(4, {sa_family=AF_UNSPEC, sa_data="${'\\0'.repeat(14)}"}, 16) = 0`,
    );
    const out = new Int32Array(1);
    expect(line(() => sys.ioctl(child, c.SIOCATMARK, out))).to.equal(
      'ioctl(5, SIOCATMARK, [0]) = 0',
    );
    expect(line(() => sys.ioctl(fd, c.SIOCOUTQNSD, out))).to.equal(
      'ioctl(4, SIOCOUTQNSD, [0]) = 0',
    );
    expect(optionText(c.SOL_IP, c.IP_MTU_DISCOVER)).to.equal('SOL_IP, IP_MTU_DISCOVER');
    expect(optionText(c.SOL_IP, 3)).to.equal('SOL_IP, 0x3 /* SO_??? */');
  });

  it('epoll and poll', () => {
    const [fd] = pair();
    expect(line(() => sys.epoll_create1(0))).to.equal('epoll_create1(0) = 6');
    expect(line(() => sys.epoll_ctl(6, c.EPOLL_CTL_DEL, fd))).to.equal(
      'epoll_ctl(6, EPOLL_CTL_DEL, 4, NULL) = -1 ENOENT (No such file or directory)',
    );
    expect(line(() => sys.epoll_ctl(6, 9, fd, { events: 0, data: 1 }))).to.equal(
      'epoll_ctl(6, 0x9 /* EPOLL_CTL_??? */, 4, {0, {u32=1, u64=1}}) = ' +
        '-1 EINVAL (Invalid argument)',
    );
    expect(line(() => sys.epoll_wait(6, [], 4, 0))).to.equal('epoll_wait(6, [], 4, 0) = 0');
    const fds = [{ fd, events: c.POLLIN | c.POLLOUT, revents: 0 }];
    expect(line(() => sys.poll(fds, 5000))).to.equal(
      'poll([{fd=4, events=POLLIN|POLLOUT}], 1, 5000) = 1 ([{fd=4, revents=POLLOUT}])',
    );
    fds[0]!.events = c.POLLIN;
    expect(line(() => sys.poll(fds, 0))).to.equal(
      'poll([{fd=4, events=POLLIN}], 1, 0) = 0 (Timeout)',
    );
  });

  it('quotes bytes as C does', () => {
    const bytes = (...list: number[]): string => bytesText(Uint8Array.from(list), 0, list.length);
    expect(bytes(9, 10, 11, 12, 13, 34, 92)).to.equal('"\\t\\n\\v\\f\\r\\"\\\\"');
    expect(bytes(0, 1, 0x7f, 0xff)).to.equal('"\\0\\1\\177\\377"');
    // A digit after it makes the octal number three digits long.
    expect(bytes(0, 0x37, 0, 0x38)).to.equal('"\\0007\\08"');
    expect(bytesText(new Uint8Array(33).fill(0x61), 0, 32)).to.equal(`"${'a'.repeat(32)}"`);
    expect(bytesText(new Uint8Array(33).fill(0x61), 0, 33)).to.equal(`"${'a'.repeat(32)}"...`);
  });

  it('names types and errors, also strange ones', () => {
    expect(sockTypeText(c.SOCK_DGRAM | c.SOCK_CLOEXEC)).to.equal('SOCK_DGRAM|SOCK_CLOEXEC');
    expect(sockTypeText(9)).to.equal('9 /* SOCK_??? */');
    expect(resultText(-errno.EDESTADDRREQ)).to.equal(
      '-1 EDESTADDRREQ (Destination address required)',
    );
    expect(resultText(-errno.EPROTO)).to.equal('-1 EPROTO (Protocol error)');
    // Every error that a call can return has its sentence.
    for (const value of Object.values(errno)) expect(resultText(-value)).not.to.contain('Unknown');
    expect(resultText(-4000)).to.equal('-1 ERRNO_4000 (Unknown error)');
    expect(line(() => sys.socket(77, c.SOCK_STREAM, 77))).to.equal(
      'socket(0x4d /* AF_??? */, SOCK_STREAM, 0x4d /* IPPROTO_??? */) = ' +
        '-1 EAFNOSUPPORT (Address family not supported by protocol)',
    );
    expect(line(() => sys.shutdown(99, 7))).to.equal(
      'shutdown(99, 7 /* SHUT_??? */) = -1 EBADF (Bad file descriptor)',
    );
  });
});
