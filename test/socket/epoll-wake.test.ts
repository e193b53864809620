/** Which thread is woken when several wait for one listener. */
import { expect } from 'chai';
import * as errno from '../../src/net/errno.js';
import type { Sys } from '../../src/socket/sys.js';
import {
  AF_INET,
  EFD_NONBLOCK,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  EPOLLET,
  EPOLLEXCLUSIVE,
  EPOLLIN,
  F_SETFL,
  POLLIN,
  POLLNVAL,
  POLLOUT,
  SOCK_STREAM,
} from '../../src/socket/uapi/constants.js';
import { T_SLEEPING, T_WAKE, threadAt } from '../../src/socket/uapi/layout.js';
import { declareDead } from '../../src/socket/uapi/shared.js';
import type { ThreadPort } from '../../src/socket/uapi/thread-port.js';
import { SLOW_PORT } from '../stack/fake-stack.js';
import type { InlineStack } from '../stack/inline-stack.js';
import { epollRig } from './epoll-rig.js';

const ADDRESS = '198.18.0.1';
const byte = (): Uint8Array => new Uint8Array([1]);

describe('socket/epoll: who wakes whom', () => {
  const { fresh, listener, client, pair, add, ready } = epollRig();
  let inline: InlineStack;
  let sys: Sys;
  let port: ThreadPort;
  let epfd: number;

  beforeEach(() => {
    ({ inline, sys, port, epfd } = fresh());
  });

  describe('EPOLLEXCLUSIVE', () => {
    function sleeping(...threads: { port: ThreadPort }[]): void {
      for (const thread of threads) thread.port.arm();
    }
    function wakes(number: number): number {
      return inline.shared.ctl[threadAt(inline.shared.layout, number) + T_WAKE]!;
    }

    it('wakes the first sleeper that registered; plain interests all', () => {
      const listening = listener(81);
      const threads = [inline.thread(), inline.thread(), inline.thread(), inline.thread()];
      const instances = threads.map(({ sys: of }) => of.epoll_create1(0));
      threads.forEach(({ sys: of }, i) => {
        const exclusive = i === 3 ? 0 : EPOLLEXCLUSIVE;
        const event = { events: EPOLLIN | exclusive, data: i };
        expect(of.epoll_ctl(instances[i]!, EPOLL_CTL_ADD, listening, event)).to.equal(0);
      });
      sleeping(threads[1]!, threads[2]!, threads[3]!);
      client(81);
      // Thread number 1 is awake: it is told too, but the wake-up goes on to the next.
      const got = threads.map(({ sys: of }, i) => ready(4, instances[i]!, of).length);
      expect(got).to.deep.equal([1, 1, 0, 1]);
      expect([1, 2, 3, 4].map(wakes)).to.deep.equal([0, 1, 0, 1]);
    });

    it('two connections in one batch wake two sleepers', () => {
      const listening = listener(81);
      const threads = [inline.thread(), inline.thread(), inline.thread()];
      const instances = threads.map(({ sys: of }) => of.epoll_create1(0));
      threads.forEach(({ sys: of }, i) => {
        const event = { events: EPOLLIN | EPOLLEXCLUSIVE, data: i };
        of.epoll_ctl(instances[i]!, EPOLL_CTL_ADD, listening, event);
      });
      const fds = [client(SLOW_PORT), client(SLOW_PORT)];
      sleeping(...threads);
      for (const fd of fds) inline.stack.establish(fd, 81);
      inline.syscalls.flush();
      expect([1, 2, 3].map(wakes)).to.deep.equal([1, 1, 0]);
    });

    it('passes the wake-up on when the woken instance is closed', () => {
      const listening = listener(81);
      const [one, two] = [inline.thread(), inline.thread()];
      const [first, second] = [one.sys.epoll_create1(0), two.sys.epoll_create1(0)];
      const event = { events: EPOLLIN | EPOLLEXCLUSIVE, data: 1 };
      one.sys.epoll_ctl(first, EPOLL_CTL_ADD, listening, event);
      two.sys.epoll_ctl(second, EPOLL_CTL_ADD, listening, event);
      sleeping(one, two);
      client(81);
      expect(ready(4, second, two.sys)).to.have.length(0);
      expect(one.sys.close(first)).to.equal(0);
      expect(ready(4, second, two.sys)).to.have.length(1);
      expect(one.sys.epoll_wait(first, [], 1, 0)).to.equal(-errno.EBADF);
    });
  });

  describe('eventfd', () => {
    it('is reported through the stack to whoever watches it', () => {
      const fd = sys.eventfd(0, EFD_NONBLOCK);
      const other = inline.thread().sys;
      const eight = new Uint8Array([1, 0, 0, 0, 0, 0, 0, 0]);
      add(fd, EPOLLIN | EPOLLET);
      expect(ready()).to.deep.equal([]);
      other.write(fd, eight);
      expect(ready()).to.deep.equal([[fd, EPOLLIN]]);
      expect(ready()).to.deep.equal([]);
      other.write(fd, eight);
      expect(ready()).to.deep.equal([[fd, EPOLLIN]]);
      sys.epoll_ctl(epfd, EPOLL_CTL_DEL, fd);
      other.write(fd, eight);
      expect(ready()).to.deep.equal([]);
      expect(add(fd, EPOLLIN)).to.equal(0);
      expect(ready()).to.deep.equal([[fd, EPOLLIN]]);
    });
  });

  describe('sleeping', () => {
    it('a time-out ends with 0', () => {
      const [, child] = pair();
      add(child, EPOLLIN);
      expect(sys.epoll_wait(epfd, [], 4, 1)).to.equal(0);
      expect(sys.poll([{ fd: child, events: POLLIN, revents: 0 }], 1)).to.equal(0);
      expect(sys.poll([], 1)).to.equal(0);
    });

    it('poll: revents, bad descriptors, negative ones', () => {
      const [fd, child] = pair();
      sys.write(fd, byte());
      const fds = [
        { fd: child, events: POLLIN, revents: 0 },
        { fd, events: POLLIN | POLLOUT, revents: 99 },
        { fd: 99, events: 0, revents: 0 },
        { fd: -1, events: POLLIN, revents: 5 },
      ];
      expect(sys.poll(fds, -1)).to.equal(3);
      expect(fds.map(({ revents }) => revents)).to.deep.equal([POLLIN, POLLOUT, POLLNVAL, 0]);
    });

    it('blocking calls return what is there without sleeping', () => {
      const [fd, child] = pair();
      sys.fcntl(child, F_SETFL, 0);
      sys.write(fd, byte());
      expect(sys.read(child, new Uint8Array(9))).to.equal(1);
      listener(81);
      const slow = sys.socket(AF_INET, SOCK_STREAM, 0);
      expect(sys.connect(slow, { address: ADDRESS, port: 81 })).to.equal(0);
      const refused = sys.socket(AF_INET, SOCK_STREAM, 0);
      expect(sys.connect(refused, { address: ADDRESS, port: 82 })).to.equal(-errno.ECONNREFUSED);
    });

    it('a doorbell rung before the wait is not missed', async () => {
      const [fd, child] = pair();
      add(child, EPOLLIN);
      ready();
      port.arm();
      sys.write(fd, byte());
      expect(port.ring()).to.equal(null);
      port.arm();
      expect(ready()).to.deep.equal([[child, EPOLLIN]]);
      const ring = port.ring();
      expect(ring).to.be.instanceOf(Promise);
      inline.thread().sys.write(fd, byte());
      await ring;
      port.disarm();
      const word = threadAt(inline.shared.layout, 0) + T_SLEEPING;
      expect(inline.shared.ctl[word]).to.equal(0);
    });

    it('a blocking wait inside the event loop has the loop look again', async () => {
      const [, child] = pair();
      add(child, EPOLLIN);
      port.arm();
      const ring = port.ring();
      expect(sys.epoll_wait(epfd, [], 4, 1)).to.equal(0);
      await ring;
    });

    it('everything wakes and says so when the stack dies', async () => {
      port.arm();
      const ring = port.ring();
      declareDead(inline.shared.ctl, inline.shared.layout, '');
      await ring;
      expect(port.failure).to.equal('the stack has been closed');
      expect(sys.epoll_wait(epfd, [], 4, 0)).to.equal(-errno.EIO);
      expect(sys.epoll_wait(epfd, [], 4, -1)).to.equal(-errno.EIO);
      expect(sys.poll([], -1)).to.equal(-errno.EIO);
    });
  });

  it('arm with an instance counts as asleep in that one only', () => {
    const listening = listener(81);
    const [one, two] = [inline.thread(), inline.thread()];
    const idle = one.sys.epoll_create1(0);
    const [first, second] = [one.sys.epoll_create1(0), two.sys.epoll_create1(0)];
    const event = { events: EPOLLIN | EPOLLEXCLUSIVE, data: 1 };
    one.sys.epoll_ctl(first, EPOLL_CTL_ADD, listening, event);
    two.sys.epoll_ctl(second, EPOLL_CTL_ADD, listening, event);
    one.port.arm(idle);
    two.port.arm(second);
    client(81);
    // The first sleeps, but not for the listener: the wake-up goes on.
    expect(ready(4, second, two.sys)).to.have.length(1);
    one.port.arm(first);
    expect(two.sys.accept4(listening, 0)).to.be.greaterThan(0);
    client(81);
    expect(ready(4, first, one.sys)).to.have.length(1);
  });
});
